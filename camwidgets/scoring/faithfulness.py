"""Does the model need what a map points at? Change the picture there and watch the class.

Shapes: images float (N, C, H, W) as the model takes them, heat float (N, H, W) at their size.
`target` is a class, one class per image, or None for each image's own top class (chosen once, on
the unchanged image); what is watched is its softmax probability, as in the papers. A callable
that takes the model's output and returns one score per image is watched as it is, for logits or
for a model that returns a tuple or dict; so is the output (N,) of a regression.

The model runs in eval mode without gradients and is left as it was. All N images go through it at
once: score a large set in slices. Pixels of equal heat are taken in a seeded random order, so that
a blank map is the random baseline and not a sweep from the top edge down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..maps import run
from ..maps.targets import Target, classes, scores
from .localisation import as_maps

Baseline = Literal["mean", "blur"]


# ---- curves --------------------------------------------------------------------------------------


def deletion(
    model: nn.Module,
    images: Tensor,
    heat: Tensor | np.ndarray,
    target: Target = None,
    *,
    steps: int = 32,
    until: float = 1.0,
    baseline: Baseline = "mean",
    seed: int = 0,
) -> Tensor:
    """Confidence while the hottest pixels are replaced by the baseline image: (N, steps + 1).

    Column k has k / steps of the pixels replaced, or of the share `until` of them: steps=10 and
    until=0.2 look closely at the first fifth, where small objects are gone. A faithful map falls
    early: small `area`.
    Petsiuk et al. 2018, "RISE".
    """
    images, heat = _images_and_heat(images, heat)
    blank = baseline_image(images, baseline)
    return _curve(model, images, blank, images, heat, target, steps, until, seed)


def insertion(
    model: nn.Module,
    images: Tensor,
    heat: Tensor | np.ndarray,
    target: Target = None,
    *,
    steps: int = 32,
    until: float = 1.0,
    baseline: Baseline = "blur",
    seed: int = 0,
) -> Tensor:
    """Confidence while the hottest pixels are put into the baseline image: (N, steps + 1).

    Column k has k / steps of the pixels put in, or of the share `until` of them. A faithful map
    rises early: large `area`.
    Petsiuk et al. 2018, "RISE".
    """
    images, heat = _images_and_heat(images, heat)
    blank = baseline_image(images, baseline)
    return _curve(model, blank, images, images, heat, target, steps, until, seed)


def area(curve: Tensor) -> Tensor:
    """Area under each evenly spaced curve (N, steps + 1) over 0..1, by trapezoids. Returns (N,)."""
    if curve.ndim != 2 or curve.shape[1] < 2:
        raise ValueError(
            f"curve has shape {tuple(curve.shape)}; it must be (N, steps + 1) with a step or more."
        )
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1))


def _curve(
    model: nn.Module,
    start: Tensor,
    end: Tensor,
    images: Tensor,
    heat: Tensor,
    target: Target,
    steps: int,
    until: float,
    seed: int,
) -> Tensor:
    if steps < 1:
        raise ValueError(f"steps is {steps}; a curve needs 1 step or more.")
    if not 0 < until <= 1:
        raise ValueError(f"until is {until}; it must be a share of the pixels, above 0 up to 1.")
    rank = _rank(heat, seed)
    watch = _watch(model, images, target)
    changed = (
        torch.where(_hottest(rank, until * step / steps), end, start) for step in range(steps + 1)
    )
    return torch.stack([watch(one) for one in changed], dim=1)


def baseline_image(images: Tensor, baseline: Baseline) -> Tensor:
    """What stands where a pixel was removed, (N, C, H, W).

    "mean": each image's own mean colour. "blur": the image blurred until only its coarse colours
    remain, σ a sixteenth of the shorter side.
    """
    if baseline == "mean":
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    if baseline == "blur":
        return blur(images, min(images.shape[2:]) / 16)
    raise ValueError(f'baseline is {baseline!r}; it must be "mean" or "blur".')


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (..., H, W), the window cut at 3.5 σ and at the borders (weights sum to 1).

    σ is in pixels.
    """
    for axis in (-1, -2):
        position = torch.arange(images.shape[axis], device=images.device)
        distance = (position[:, None] - position).abs()
        distance = distance.to(torch.promote_types(images.dtype, torch.float32))
        weights = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= 3.5 * sigma)
        weights = (weights / weights.sum(dim=1, keepdim=True)).to(images.dtype)
        images = images @ weights.T if axis == -1 else weights @ images
    return images


# ---- ROAD ----------------------------------------------------------------------------------------


def road(
    model: nn.Module,
    images: Tensor,
    heat: Tensor | np.ndarray,
    target: Target = None,
    *,
    fractions: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
    noise: float = 0.01,
    seed: int = 0,
) -> Tensor:
    """Drop in confidence once each fraction of hottest pixels is imputed: (N, len(fractions)).

    A faithful map drops far. With -heat the least relevant pixels go first, and the drop should be
    small. Replacing pixels by a constant draws the outline of the map into the picture, which a
    model can read; imputation by the neighbours hides it.
    Rong et al. 2022, "A consistent and efficient evaluation strategy for attribution methods".
    """
    images, heat = _images_and_heat(images, heat)
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError(f"fractions is {fractions}; it needs numbers between 0 and 1, ends out.")
    rank = _rank(heat, seed)
    watch = _watch(model, images, target)
    before = watch(images)
    drops = [
        before - watch(impute(images, _hottest(rank, fraction)[:, 0], noise=noise, seed=seed))
        for fraction in fractions
    ]
    return torch.stack(drops, dim=1)


@torch.no_grad()
def impute(images: Tensor, removed: Tensor, *, noise: float = 0.01, seed: int = 0) -> Tensor:
    """Noisy linear imputation: every removed pixel becomes the weighted mean of its neighbours.

    The four direct neighbours weigh 1/6, the four diagonal ones 1/12 (at the border those that
    exist, rescaled to sum to 1); removed pixels are neighbours too, so that this is a system of
    linear equations. It is symmetric and positive definite, and conjugate gradients solve it for
    all images at once, to about 1e-4 of the picture's contrast. Then Gaussian noise of deviation
    `noise`, in the images' units, is added to the imputed pixels.
    images (N, C, H, W), removed bool (N, H, W); Rong et al. 2022.
    """
    if removed.dtype != torch.bool or removed.shape != images[:, 0].shape:
        raise ValueError(
            f"removed is {removed.dtype} of shape {tuple(removed.shape)}; "
            f"it must be bool of shape {tuple(images[:, 0].shape)}."
        )
    if removed.flatten(1).all(dim=1).any():
        raise ValueError("every pixel of an image is removed; at least one must stay.")
    hole = removed[:, None]
    filled = _solve(images if images.dtype == torch.float64 else images.float(), hole)
    grain = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    filled = filled + noise * grain.to(filled)
    return torch.where(hole, filled.to(images.dtype), images)


def _solve(images: Tensor, hole: Tensor) -> Tensor:
    """Conjugate gradients (Hestenes and Stiefel 1952) for `gap(x) = 0` on the hole."""
    rows, columns = (_one_two_one(side, images) for side in images.shape[2:])

    def window(x: Tensor) -> Tensor:
        return rows @ x @ columns / 12

    def gap(x: Tensor) -> Tensor:
        return hole * (weight * x - window(x))

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(dim=(2, 3), keepdim=True)

    weight = window(torch.ones_like(images[:1]))
    tiny = torch.finfo(images.dtype).tiny
    known_mean = (images * ~hole).sum(dim=(2, 3), keepdim=True) / (~hole).sum((2, 3), keepdim=True)
    x = torch.where(hole, known_mean, images)
    residual = -gap(x)
    direction, size = residual, dot(residual, residual)
    enough = 1e-8 * size
    for _ in range(int(hole.sum(dim=(2, 3)).max())):
        if (size <= enough).all():
            break
        bent = gap(direction)
        stride = size / dot(direction, bent).clamp(min=tiny)
        x = x + stride * direction
        residual = residual - stride * bent
        size, previous = dot(residual, residual), size
        direction = residual + size / previous.clamp(min=tiny) * direction
    return x


def _one_two_one(side: int, like: Tensor) -> Tensor:
    """The matrix that adds twice a pixel and its two neighbours along a side: 1, 2, 1.

    Along both sides it weighs direct neighbours 2, diagonal ones 1 and the pixel itself 4, which
    drops out of the equation.
    """
    position = torch.arange(side, device=like.device)
    return (2 - (position[:, None] - position).abs()).clamp(min=0).to(like.dtype)


# ---- occlusion -----------------------------------------------------------------------------------


def occlusion(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    size: tuple[int, int] = (8, 8),
    baseline: Baseline = "mean",
) -> Tensor:
    """Drop in confidence when each of h × w cells is covered by the baseline: (N, h, w) signed.

    A slow map (h · w forward passes) that needs no gradient: a reference for those that do.
    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks".
    """
    images = _as_model_images(images)
    blank = baseline_image(images, baseline)
    cells = torch.arange(size[0] * size[1], dtype=torch.float32).view(1, 1, *size)
    cell = F.interpolate(cells, tuple(images.shape[2:])).to(images.device)
    watch = _watch(model, images, target)
    before = watch(images)
    drops = [
        before - watch(torch.where(cell == number, blank, images))
        for number in range(cells.numel())
    ]
    return torch.stack(drops, dim=1).view(len(images), *size)


# ---- what they share -----------------------------------------------------------------------------


def _as_model_images(images: Tensor | np.ndarray) -> Tensor:
    images = torch.as_tensor(images).detach()
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; "
            "they must be floats of shape (N, C, H, W), as the model takes them."
        )
    return images


def _images_and_heat(
    images: Tensor | np.ndarray, heat: Tensor | np.ndarray
) -> tuple[Tensor, Tensor]:
    images, heat = _as_model_images(images), as_maps(heat)
    if heat.shape != images[:, 0].shape:
        raise ValueError(
            f"heat has shape {tuple(heat.shape)}; these images need {tuple(images[:, 0].shape)}: "
            "bring the maps to their size with camwidgets.upsample(maps, (H, W))."
        )
    return images, heat.to(images.device)


def _rank(heat: Tensor, seed: int) -> Tensor:
    """Place of each pixel from the hottest (0) to the coldest, ties shuffled: (N, 1, H, W)."""
    flat = heat.flatten(1)
    generator = torch.Generator().manual_seed(seed)
    shuffle = torch.randperm(flat.shape[1], generator=generator).to(heat.device)
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).view_as(heat)[:, None]


def _hottest(rank: Tensor, fraction: float) -> Tensor:
    return rank < int(fraction * rank[0].numel() + 1e-6)


def _watch(model: nn.Module, images: Tensor, target: Target) -> Callable[[Tensor], Tensor]:
    """Return the function from changed images to the confidence (N,) in the target."""
    output = run(model, images)
    if callable(target) or (isinstance(output, Tensor) and output.ndim == 1):
        return lambda changed: scores(run(model, changed), target)
    index = classes(output, target)[:, None]
    if output.shape[1] == 1:
        raise ValueError(
            "the model has one output, whose softmax is always 1; give a callable target, "
            "for example lambda output: output[:, 0].sigmoid()."
        )
    return lambda changed: run(model, changed).softmax(dim=1).gather(1, index)[:, 0]
