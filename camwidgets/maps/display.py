"""What happens to a map before it meets the eye: size and scale. Neither adds information."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def upsample(maps: Tensor, size: int | Sequence[int]) -> Tensor:
    """Maps at another size, bilinear with align_corners=False: (…, h, w) → (…, H, W).

    Args:
        maps: float tensor, the last two axes being positions.
        size: (H, W), or one number for both.

    Raises:
        TypeError, ValueError: `maps` is no float tensor with at least two axes.
    """
    _check(maps)
    h, w = maps.shape[-2:]
    size = [size, size] if isinstance(size, int) else list(size)
    flat = maps.reshape(-1, 1, h, w)
    return F.interpolate(flat, size=size, mode="bilinear", align_corners=False).reshape(
        *maps.shape[:-2], *size
    )


def normalize(maps: Tensor) -> Tensor:
    """Each map (…, h, w) divided by its maximum where that is positive, else all zeros.

    No epsilon is added to the divisor, so a map whose peak is 1e-9 comes out the same as one
    whose peak is 1, and a blank map stays blank. Negative values keep their sign.

    Raises:
        TypeError, ValueError: `maps` is no float tensor with at least two axes, or not finite.
    """
    _check(maps)
    if not torch.isfinite(maps).all():
        raise ValueError("maps hold NaN or infinite values: look for the layer that makes them.")
    peak = maps.amax(dim=(-2, -1), keepdim=True)
    return torch.where(peak > 0, maps / torch.where(peak > 0, peak, 1), 0)


def _check(maps: Tensor) -> None:
    if not isinstance(maps, Tensor) or not maps.is_floating_point():
        raise TypeError(
            f"maps must be a float tensor, not {getattr(maps, 'dtype', type(maps).__name__)}."
        )
    if maps.ndim < 2 or maps.numel() == 0:
        raise ValueError(f"maps must be (…, h, w) and not empty, not {tuple(maps.shape)}.")
