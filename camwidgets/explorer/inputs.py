"""Pictures in, tensors out, and back: what the model sees, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Preprocess = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Inputs:
    """What the model gets, and how it looks."""

    tensors: list[Tensor]
    """each (C, H, W), float"""
    pictures: list[np.ndarray]
    """each uint8 (H, W, 3): the tensor with its normalisation undone"""
    masks: list[np.ndarray | None]
    """each bool (H, W), in the geometry of the picture"""

    def painted(self, index: int, picture: np.ndarray) -> Tensor:
        """The tensor of a picture that was painted on; what was left alone stays exact."""
        tensor, shown = self.tensors[index], self.pictures[index]
        paint = torch.from_numpy(picture.copy()).permute(2, 0, 1).to(tensor) / 255
        if len(tensor) != 3:
            paint = paint.mean(dim=0, keepdim=True).expand_as(tensor)
        changed = torch.from_numpy((picture != shown).any(axis=2))
        return torch.where(changed, paint, tensor)


def prepare(
    images: Any, preprocess: Preprocess | None = None, masks: Sequence[Any] | None = None
) -> Inputs:
    """Tensors for the model, the pictures that they amount to, and the masks moved along.

    The normalisation is undone by two probes: what `preprocess` makes of an all-black and of an
    all-white image are the two ends of each element's scale. Where that gives no scale (each
    image standardised by itself, say), the tensor is shown from its minimum to its maximum.

    Args:
        images: uint8 (H, W, 3) RGB or (H, W) gray arrays: one, a list, or an array of them.
        preprocess: one such image (or its PIL twin) → float tensor (C, H, W); None divides by 255.
        masks: one bool (H, W) per image, or None for an image without one.

    Raises:
        TypeError, ValueError: what does not fit, in a sentence.
    """
    images = _arrays(images)
    masks = [None] * len(images) if masks is None else _masks(masks, images)
    preprocess = preprocess or _to_tensor
    tensors = [_tensor(preprocess, image) for image in images]
    if len({tensor.shape for tensor in tensors}) > 1:
        raise ValueError(
            "After preprocessing the images have different sizes, "
            f"{', '.join(sorted({str(tuple(t.shape)) for t in tensors}))}: "
            "give a `preprocess` that resizes or crops them to one size."
        )
    pictures, moved = [], []
    for image, tensor, mask in zip(images, tensors, masks, strict=True):
        shown = _shown(preprocess, image, tensor)
        pictures.append(_rgb(_stretched(tensor) if shown is None else shown))
        moved.append(None if mask is None else _moved(preprocess, image, tensor, mask))
    return Inputs(tensors, pictures, moved)


def _arrays(images: Any) -> list[np.ndarray]:
    if isinstance(images, Tensor):
        raise TypeError(
            "images must be pictures (uint8 arrays as people look at them), not a tensor; "
            "`preprocess` is what turns each of them into the model's tensor."
        )
    if isinstance(images, np.ndarray):
        one = images.ndim == 2 or (images.ndim == 3 and images.shape[2] == 3)
        images = [images] if one else list(images) if images.ndim else [images]
    elif isinstance(images, Image.Image):
        images = [images]
    arrays = [np.asarray(image) for image in images]
    if not arrays:
        raise ValueError("images is empty: give at least one picture.")
    for k, array in enumerate(arrays):
        if array.dtype != np.uint8:
            raise ValueError(
                f"images must hold bytes from 0 to 255 (uint8), as people look at them; image {k} "
                f"is {array.dtype}. If it runs from 0 to 1: (255 * image).astype('uint8')."
            )
        if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or 0 in array.shape:
            raise ValueError(
                f"Each image must be RGB (H, W, 3) or gray (H, W); image {k} has shape "
                f"{array.shape}."
            )
    return arrays


def _masks(masks: Any, images: list[np.ndarray]) -> list[np.ndarray | None]:
    if isinstance(masks, np.ndarray) and masks.ndim == 2:
        masks = [masks]
    masks = [None if mask is None else np.asarray(mask) for mask in masks]
    if len(masks) != len(images):
        raise ValueError(f"masks must hold one mask per image: {len(images)}, not {len(masks)}.")
    for k, (mask, image) in enumerate(zip(masks, images, strict=True)):
        if mask is not None and mask.shape != image.shape[:2]:
            raise ValueError(f"Mask {k} has shape {mask.shape}; its image needs {image.shape[:2]}.")
    return [None if mask is None else mask.astype(bool) for mask in masks]


def _to_tensor(image: np.ndarray) -> Tensor:
    chw = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(chw)).float() / 255


def _tensor(preprocess: Preprocess, image: np.ndarray) -> Tensor:
    try:
        result = preprocess(image.copy())
    except Exception as first:
        try:
            result = preprocess(Image.fromarray(image))
        except Exception:
            raise ValueError(
                "`preprocess` failed on an image, as an array and as a PIL image: "
                f"{type(first).__name__}: {first}"
            ) from first
    if (
        not isinstance(result, Tensor)
        or not result.is_floating_point()
        or result.dim() != 3
        or 0 in result.shape
    ):
        found = (
            f"{result.dtype} {tuple(result.shape)}"
            if isinstance(result, Tensor)
            else f"a {type(result).__name__}"
        )
        raise ValueError(
            f"`preprocess` must turn one image into a float tensor (C, H, W); it gave {found}."
        )
    return result.detach().clone()


def _shown(preprocess: Preprocess, image: np.ndarray, tensor: Tensor) -> Tensor | None:
    """(tensor - black) / (white - black), from 0 to 1, or None where the probes give no scale."""
    black = _tensor(preprocess, np.zeros_like(image))
    white = _tensor(preprocess, np.full_like(image, 255))
    if black.shape != tensor.shape or white.shape != tensor.shape:
        return None
    shown = (tensor - black) / (white - black)
    if not torch.isfinite(shown).all() or shown.min() < -0.01 or shown.max() > 1.01:
        return None
    return shown.clamp(0, 1)


def _stretched(tensor: Tensor) -> Tensor:
    low, high = tensor.min(), tensor.max()
    return (tensor - low) / (high - low) if high > low else torch.zeros_like(tensor)


def _rgb(shown: Tensor) -> np.ndarray:
    """Three channels are colours; any other number of them is shown as its mean, in gray."""
    colours = shown if len(shown) == 3 else shown.mean(dim=0, keepdim=True).expand(3, -1, -1)
    return (255 * colours).round().byte().permute(1, 2, 0).cpu().contiguous().numpy()


def _moved(
    preprocess: Preprocess, image: np.ndarray, tensor: Tensor, mask: np.ndarray
) -> np.ndarray:
    """The mask, sent through the same resizing and cropping as its image."""
    as_image = np.where(mask if image.ndim == 2 else mask[..., None], 255, np.zeros_like(image))
    as_image = as_image.astype(np.uint8)
    shown = _shown(preprocess, as_image, _tensor(preprocess, as_image))
    if shown is not None:
        return (shown.mean(dim=0) >= 0.5).cpu().numpy()
    if mask.shape == tuple(tensor.shape[1:]):
        return mask
    raise ValueError(
        "The masks cannot follow this `preprocess`: give images and masks at the model's size, "
        f"{tuple(tensor.shape[1:])}."
    )
