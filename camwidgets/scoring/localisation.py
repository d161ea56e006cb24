"""Does a map point at the object? Scores against masks, the baselines they must beat, intervals.

Shapes: heat float (N, H, W) at the image's size, mask bool (N, H, W), scores float (N,).
NumPy arrays are taken too. No score changes when the heat is multiplied by a positive number.

The rules for the awkward cases, the same in every score:

- An empty mask cannot be hit or missed: the score is NaN, and averages leave it out.
- Equal pixels have no order among themselves: pointing and rank accuracy give the value expected
  if the tie were broken at random. A constant map, blank or not, therefore scores chance.
- A map without positive heat has no mass and no box: both scores are 0, not NaN, because a method
  must not gain by leaving its hard images blank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..maps import upsample

RESAMPLES = 2000
SHARES = tuple(percent / 100 for percent in range(5, 100, 5))


def as_maps(maps: Tensor | np.ndarray, name: str = "heat") -> Tensor:
    """Return `maps` (N, h, w) detached, as float32 or float64; `name` is for the error.

    Raises ValueError if the shape is another one or if a value is NaN or infinite.
    """
    maps = torch.as_tensor(maps).detach()
    if maps.ndim != 3:
        raise ValueError(
            f"{name} has shape {tuple(maps.shape)}; it must be (N, H, W): "
            f"a single map becomes a batch of one by {name}[None]."
        )
    if maps.dtype != torch.float64:
        maps = maps.float()
    if not maps.isfinite().all():
        raise ValueError(f"{name} holds NaN or infinite values; only finite maps can be scored.")
    return maps


def _as_masks(mask: Tensor | np.ndarray) -> Tensor:
    mask = torch.as_tensor(mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}; it must be bool, for example mask > 0.")
    if mask.ndim != 3:
        raise ValueError(f"mask has shape {tuple(mask.shape)}; it must be (N, H, W).")
    return mask


def _heat_and_mask(heat: Tensor | np.ndarray, mask: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    heat, mask = as_maps(heat), _as_masks(mask)
    if heat.shape != mask.shape:
        raise ValueError(
            f"heat has shape {tuple(heat.shape)} and mask {tuple(mask.shape)}; they must agree: "
            "bring the maps to the masks' size with camwidgets.upsample(maps, (H, W))."
        )
    return heat, mask.to(heat.device)


def _unless_empty(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask.flatten(1).any(dim=1), math.nan)


# ---- scores ------------------------------------------------------------------------------------


def pointing_hit(
    heat: Tensor | np.ndarray, mask: Tensor | np.ndarray, tolerance: float = 0
) -> Tensor:
    """Pointing game: 1 if the mask meets the disc of `tolerance` pixels around the maximum, else 0.

    Where several pixels share the maximum: the share of them that would hit. Returns (N,).
    Zhang et al. 2018, "Top-down neural attention by excitation backprop" (15 pixels there).
    """
    heat, mask = _heat_and_mask(heat, mask)
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance}; it must be a radius of 0 pixels or more.")
    reach = int(tolerance)
    offset = torch.arange(-reach, reach + 1, device=heat.device)
    disc = (offset[:, None] ** 2 + offset**2 <= tolerance**2).to(heat.dtype)
    near_mask = F.conv2d(mask[:, None].to(heat.dtype), disc[None, None], padding=reach)[:, 0] > 0.5
    maxima = heat == heat.amax(dim=(1, 2), keepdim=True)
    hits = (maxima & near_mask).sum(dim=(1, 2)) / maxima.sum(dim=(1, 2))
    return _unless_empty(hits.to(heat.dtype), mask)


def mass(heat: Tensor | np.ndarray, mask: Tensor | np.ndarray) -> Tensor:
    """Energy-based pointing game: Σ heat⁺ inside the mask / Σ heat⁺. Returns (N,) in 0..1.

    Negative heat counts as none; a map without positive heat scores 0.
    Wang et al. 2020, "Score-CAM".
    """
    heat, mask = _heat_and_mask(heat, mask)
    positive = heat.clamp(min=0)
    total = positive.sum(dim=(1, 2))
    inside = (positive * mask).sum(dim=(1, 2))
    return _unless_empty(torch.where(total > 0, inside / total, 0.0), mask)


def rank_accuracy(heat: Tensor | np.ndarray, mask: Tensor | np.ndarray) -> Tensor:
    """Of the K hottest pixels, K the number of pixels in the mask: the share inside it. (N,).

    Pixels that tie for the last places share them equally.
    Arras et al. 2022, "CLEVR-XAI" (relevance rank accuracy).
    """
    heat, mask = _heat_and_mask(heat, mask)
    heat, inside = heat.flatten(1), mask.flatten(1)
    size = inside.sum(dim=1, keepdim=True)
    last = heat.sort(dim=1, descending=True).values.gather(1, (size - 1).clamp(min=0))
    above, tied = heat > last, heat == last
    places = size - above.sum(dim=1, keepdim=True)
    chance = places / tied.sum(dim=1, keepdim=True)
    expected = (above & inside) + chance * (tied & inside)
    return _unless_empty((expected.sum(dim=1) / size[:, 0]).to(heat.dtype), mask)


def box(heat: Tensor | np.ndarray, share: float) -> Tensor:
    """Tight box of the largest connected component at or above `share` of the map's maximum.

    Returns int64 (N, 4): left, top, right, bottom in pixels, right and bottom exclusive; all 0
    where the map has no positive heat. Pixels that touch at a corner are connected; of components
    of equal size the first that OpenCV labels is taken.
    Zhou et al. 2016, "Learning deep features for discriminative localization" (share 0.2);
    Selvaraju et al. 2017, "Grad-CAM" (0.15).
    """
    heat = as_maps(heat)
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must be above 0 and at most 1.")
    peak = heat.amax(dim=(1, 2), keepdim=True)
    hot = (heat >= share * peak) & (peak > 0)
    boxes = [_largest_component(one) for one in hot.cpu().numpy().astype(np.uint8)]
    return torch.tensor(boxes, dtype=torch.int64, device=heat.device).view(-1, 4)


def _largest_component(hot: np.ndarray) -> tuple[int, int, int, int]:
    count, _, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    if count == 1:
        return 0, 0, 0, 0
    largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax()  # 0 is the background
    left, top, width, height = (int(value) for value in stats[largest, :4])
    return left, top, left + width, top + height


def box_iou(heat: Tensor | np.ndarray, mask: Tensor | np.ndarray, share: float) -> Tensor:
    """Intersection over union of `box(heat, share)` with the tight box of the whole mask. (N,).

    A map without positive heat has no box and scores 0. "Localised" commonly means at least 0.5.
    """
    heat, mask = _heat_and_mask(heat, mask)
    found, truth = box(heat, share), _mask_box(mask)
    corner = torch.maximum(found[:, :2], truth[:, :2]), torch.minimum(found[:, 2:], truth[:, 2:])
    overlap = (corner[1] - corner[0]).clamp(min=0).prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (found, truth)]
    return _unless_empty((overlap / (areas[0] + areas[1] - overlap)).to(heat.dtype), mask)


def _mask_box(mask: Tensor) -> Tensor:
    columns, rows = mask.any(dim=1).byte(), mask.any(dim=2).byte()
    left, top = columns.argmax(dim=1), rows.argmax(dim=1)
    right = mask.shape[2] - columns.flip(1).argmax(dim=1)
    bottom = mask.shape[1] - rows.flip(1).argmax(dim=1)
    return torch.stack([left, top, right, bottom], dim=1)


def choose_threshold(
    heat: Tensor | np.ndarray, mask: Tensor | np.ndarray, shares: Sequence[float] = SHARES
) -> float:
    """Return the share whose boxes have the highest mean IoU; of equals, the first.

    Choose it on other images than those that are then scored, or the score flatters the map.
    Raises ValueError if no share is given or every mask is empty.
    """
    heat, mask = _heat_and_mask(heat, mask)
    if len(shares) == 0:
        raise ValueError("shares is empty; give at least one share of the maximum, such as 0.2.")
    if not mask.any():
        raise ValueError("every mask is empty; a threshold needs images with an object in them.")
    return max(shares, key=lambda share: box_iou(heat, mask, share).nanmean().item())


# ---- baselines: maps that know nothing of the model ----------------------------------------------


def _as_images(images: Tensor | np.ndarray) -> Tensor:
    images = torch.as_tensor(images).detach()
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}; they must be (N, C, H, W).")
    return images if images.dtype == torch.float64 else images.float()


def centre_map(images: Tensor | np.ndarray) -> Tensor:
    """A Gaussian hill in the middle of each image, σ a quarter of each side. Returns (N, H, W).

    Photographers centre their objects: a map that does not beat this one has found nothing.
    """
    images = _as_images(images)
    hills = []
    for side in images.shape[2:]:
        position = torch.arange(side, dtype=images.dtype, device=images.device)
        hills.append(torch.exp(-0.5 * ((position - (side - 1) / 2) / (side / 4)) ** 2))
    return (hills[0][:, None] * hills[1]).repeat(len(images), 1, 1)


def uniform_map(images: Tensor | np.ndarray) -> Tensor:
    """Ones, (N, H, W): every score is then the one that chance gives."""
    return torch.ones_like(_as_images(images)[:, 0])


def edge_map(images: Tensor | np.ndarray) -> Tensor:
    """Sobel gradient magnitude of the mean over channels, borders replicated. Returns (N, H, W).

    Adebayo et al. 2018 ("Sanity checks for saliency maps") compare with an edge detector, because
    edges look like an explanation.
    """
    gray = _as_images(images).mean(dim=1, keepdim=True)
    across = gray.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    sobel = torch.stack([across, across.T])[:, None]
    return F.conv2d(F.pad(gray, (1, 1, 1, 1), mode="replicate"), sobel).norm(dim=1)


def resolution_ceiling(mask: Tensor | np.ndarray, size: tuple[int, int]) -> Tensor:
    """The map (N, H, W) that a layer of `size` = (h, w) cells would show if it knew the mask.

    The mask averaged over each cell, upsampled bilinearly. Score it like any map: what it lacks
    to 1 is what the resolution costs. It stands for a perfect map, not for a strict bound: mass
    rewards a map that keeps to the single cell deepest inside the mask.
    """
    mask = _as_masks(mask)
    cells = F.adaptive_avg_pool2d(mask[:, None].float(), size)[:, 0]
    return upsample(cells, tuple(mask.shape[1:]))


# ---- how sure is a mean --------------------------------------------------------------------------


def bootstrap_interval(
    scores: Tensor | np.ndarray | Sequence[float], level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of the scores (N,) with its percentile bootstrap interval: (mean, low, high).

    NaN scores are left out; where nothing else remains, all three are NaN. The scores are drawn
    with replacement 2,000 times. Efron and Tibshirani 1993, "An introduction to the bootstrap".
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, for example 0.95.")
    values = torch.as_tensor(scores).detach().cpu().double().flatten()
    values = values[~values.isnan()]
    count = len(values)
    if count == 0:
        return math.nan, math.nan, math.nan
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randint(count, (count,), generator=generator) for _ in range(RESAMPLES))
    means = torch.stack([values[draw].mean() for draw in draws])
    tail = (1 - level) / 2
    return values.mean().item(), means.quantile(tail).item(), means.quantile(1 - tail).item()


def wilson(
    hits: Tensor | np.ndarray | Sequence[float], level: float = 0.95
) -> tuple[float, float, float]:
    """Share of hits (N,) with its Wilson score interval: (share, low, high).

    For scores that are hits or misses, such as the pointing game. Where all are hits the bootstrap
    says [1, 1], as if no more could ever be missed; 10 of 10 are in truth [0.72, 1]. Scores
    between 0 and 1 count as parts of a hit; NaN scores are left out, and where nothing else
    remains, all three are NaN. ValueError for scores outside 0..1.
    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, for example 0.95.")
    values = torch.as_tensor(hits).detach().cpu().double().flatten()
    values = values[~values.isnan()]
    if ((values < 0) | (values > 1)).any():
        raise ValueError(
            "a share needs scores from 0 (missed) to 1 (hit); for other scores use "
            "bootstrap_interval."
        )
    count = len(values)
    if count == 0:
        return math.nan, math.nan, math.nan
    share = values.mean().item()
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = share + z**2 / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    bottom = 1 + z**2 / count
    return share, max(0.0, (middle - reach) / bottom), min(1.0, (middle + reach) / bottom)
