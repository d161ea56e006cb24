"""Score-CAM: Wang et al., Score-CAM: Score-Weighted Visual Explanations, CVPR 2020 workshops.

Section 3, definitions 1 to 3: no gradient; each channel is weighted by what the score gains when
the image is seen through that channel alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .asked import check
from .display import upsample
from .recording import ToMaps, record, run, unchanged
from .targets import Target, classes, scores


def score_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    relu: bool = True,
    reshape_transform: ToMaps | None = None,
    batch_size: int = 32,
) -> Tensor:
    """L^c = ReLU(Σ_k α_k^c A^k), α^c the softmax over k of y^c(x ∘ H^k) - y^c(0).

    H^k is A^k, upsampled to the image and brought to 0…1, equation (6); the baseline is a black
    (all zero) input. K + 1 forward passes an image, with a progress bar where that takes long.

    Args, errors as `grad_cam`, but a callable target is given the output for masked copies of one
    image, and:
        batch_size: how many masked images go through the model at once.

    Returns:
        (N, h, w), unnormalised, at the layer's resolution.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more masked images at once, not {batch_size}.")
    from tqdm.auto import tqdm  # it looks for a notebook: not a thing for `import camwidgets.maps`

    layers = None if layer is None else [layer]
    check(model, images)
    with unchanged(model):
        recording = record(
            model, images, layers, target=target, reshape_transform=reshape_transform
        )
        (A,) = recording.features.values()
        if not callable(target) and recording.output.ndim == 2:
            target = classes(recording.output, target)
        H = upsample(A, images.shape[2:])
        low, high = H.amin((2, 3), keepdim=True), H.amax((2, 3), keepdim=True)
        H = torch.where(high > low, (H - low) / torch.where(high > low, high - low, 1), 0)
        N, K = A.shape[:2]
        gains = torch.empty(N, K, dtype=A.dtype, device=A.device)
        with tqdm(total=N * K, desc="Score-CAM", unit="mask", leave=False, delay=2) as bar:
            for n in range(N):
                x = images[n : n + 1].detach()
                black = _score(model, torch.zeros_like(x), target, n)
                for k in range(0, K, batch_size):
                    masks = H[n, k : k + batch_size, None].to(x.dtype)
                    gains[n, k : k + batch_size] = _score(model, x * masks, target, n) - black
                    bar.update(len(masks))
    L = torch.einsum("nk,nkij->nij", gains.softmax(dim=1), A)
    return L.relu() if relu else L


def _score(model: nn.Module, x: Tensor, target: Target, n: int) -> Tensor:
    """The score (len(x),) that belongs to image n."""
    if isinstance(target, Tensor):
        target = int(target[n])
    return scores(run(model, x), target, len(x)).detach()
