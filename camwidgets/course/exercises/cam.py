"""Exercises of lesson 02: class activation maps, from the feature maps to a score for the map."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from ._draws import distinct, normal, order, positive, sizes
from ._engine import Exercise, Mistake

Box = tuple[int, int, int, int]


# global_average_pool


def global_average_pool(features: torch.Tensor) -> torch.Tensor:
    """Mean of each feature map over its positions.

    features: float (K, h, w). Returns (K,).
    """
    return features.mean(dim=(1, 2))


def _features(generator: torch.Generator) -> tuple[torch.Tensor]:
    return (torch.randn(distinct(generator, 3), generator=generator),)


GLOBAL_AVERAGE_POOL = Exercise(
    name="cam.global_average_pool",
    reference=global_average_pool,
    cases=_features,
    edges=(
        (normal(1, 4, 5),),
        (normal(4, 1, 1),),
        (normal(3, 1, 5),),
        (normal(3, 5, 1),),
        (normal(1, 1, 1),),
        (normal(4, 4, 4),),
        (normal(12, 2, 3).relu(),),
        (torch.zeros(3, 2, 4),),
        (30 * normal(70, 20, 21),),
    ),
    hints=(
        "The features have three axes: channels, rows, columns. One number per channel is "
        "asked: which two axes have to go?",
        "`features.mean(dim=...)` takes several axes at once, as a tuple.",
        "`return features.mean(dim=(___))`",
    ),
    mistakes=(
        Mistake(
            lambda features: features.mean(dim=0),
            "You averaged over the channels, not over the positions.",
        ),
        Mistake(
            lambda features: features.sum(dim=(1, 2)),
            "You have the sum over the positions; asked is the mean.",
        ),
        Mistake(
            lambda features: features.amax(dim=(1, 2)),
            "You took the largest value of each map: that is global max pooling.",
        ),
        Mistake(
            lambda features: features.mean(),
            "You averaged over everything; each channel keeps its own mean.",
        ),
        Mistake(
            lambda features: features.mean(dim=1),
            "You averaged over the rows; the columns are still there.",
        ),
        Mistake(
            lambda features: features.mean(dim=2),
            "You averaged over the columns; the rows are still there.",
        ),
        Mistake(
            lambda features: features.mean(dim=(1, 2), keepdim=True),
            "The means are right, but the averaged axes are still there with length 1: leave "
            "`keepdim` out.",
        ),
        Mistake(
            lambda features: features.sum(dim=(1, 2)) / len(features),
            "You divided by the number of channels; divide by the number of positions, h · w.",
        ),
    ),
)


# weighted_sum


def weighted_sum(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The class activation map L_ij = Σ_k w_k A^k_ij (Zhou et al. 2016, equation 2).

    features: float (K, h, w). weights: float (K,), those of one class. Returns (h, w), signed.
    """
    return torch.einsum("kij,k->ij", features, weights)


def _one_class(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    (features,) = _features(generator)
    return features, torch.randn(len(features), generator=generator)


def _from_ones(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return torch.ones(features.shape[1:]) + weighted_sum(features, weights)


WEIGHTED_SUM = Exercise(
    name="cam.weighted_sum",
    reference=weighted_sum,
    cases=_one_class,
    edges=(
        (normal(1, 3, 4), torch.tensor([-2.0])),
        (normal(4, 1, 1), normal(4)),
        (normal(3, 1, 5), normal(3)),
        (normal(3, 5, 1), normal(3)),
        (normal(1, 1, 1), normal(1)),
        (normal(4, 4, 4), normal(4)),
        (positive(12, 2, 3), torch.zeros(12)),
        (torch.zeros(3, 2, 4), normal(3)),
        (30 * normal(70, 20, 21), normal(70)),
    ),
    hints=(
        "Each channel's map is multiplied by one number, its weight. Then the maps are added.",
        "`weights[:, None, None]` has the shape (K, 1, 1) and multiplies map by map; the sum goes "
        "over the channels. Or `einsum`, which names the axes.",
        '`return torch.einsum("kij,k->___", features, weights)`',
    ),
    mistakes=(
        Mistake(
            lambda features, weights: weighted_sum(features, weights) / len(weights),
            "You averaged over the channels; asked is the sum.",
        ),
        Mistake(
            lambda features, weights: features * weights[:, None, None],
            "Each map has its weight; now add them up over the channels.",
        ),
        Mistake(
            lambda features, weights: features.sum(dim=0),
            "You added the maps without their weights.",
        ),
        Mistake(
            lambda features, weights: (features * weights[:, None, None]).sum(dim=(1, 2)),
            "You summed over the positions: one number per channel is left, and no map.",
        ),
        Mistake(
            lambda features, weights: weighted_sum(features, weights).sum(),
            "You summed over everything; sum over the channels only.",
        ),
        Mistake(
            lambda features, weights: weighted_sum(features, weights).relu(),
            "You removed what is negative (ReLU); the map asked here is signed.",
        ),
        Mistake(
            lambda features, weights: weighted_sum(features, weights.abs()),
            "You dropped the signs of the weights: a negative weight speaks against the class.",
        ),
        Mistake(
            lambda features, weights: weighted_sum(features, weights.softmax(0)),
            "You put the weights through a softmax; they are used as they are.",
        ),
        Mistake(
            _from_ones,
            "Every position has 1 too much: a sum begins with zeros, not with ones.",
        ),
    ),
)


# all_classes


def all_classes(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The class activation maps of all classes at once.

    features: float (K, h, w). weights: float (C, K), one row per class, as in nn.Linear.weight.
    Returns (C, h, w), signed.
    """
    return torch.einsum("kij,ck->cij", features, weights)


def _classes(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    (features,) = _features(generator)
    classes = sizes(generator, (9, 12))[0]
    return features, torch.randn(classes, len(features), generator=generator)


ALL_CLASSES = Exercise(
    name="cam.all_classes",
    reference=all_classes,
    cases=_classes,
    edges=(
        (normal(3, 4, 5), normal(1, 3)),
        (normal(1, 3, 4), normal(5, 1)),
        (normal(4, 1, 1), normal(2, 4)),
        (normal(3, 1, 5), normal(3, 3)),
        (normal(3, 5, 1), normal(4, 3)),
        (normal(1, 1, 1), normal(1, 1)),
        (normal(4, 4, 4), normal(4, 4)),
        (positive(12, 2, 3), torch.zeros(5, 12)),
        (30 * normal(70, 12, 13), normal(12, 70)),
    ),
    hints=(
        "One row of the weights is one class. For one class you have the map already.",
        "Keep the axis of the classes, sum over the channels: a loop with `torch.stack`, or "
        "`einsum` with one more letter.",
        '`return torch.einsum("kij,ck->___", features, weights)`',
    ),
    mistakes=(
        Mistake(
            lambda features, weights: all_classes(features, weights).permute(1, 2, 0),
            "The classes are your last axis; they come first: (C, h, w).",
        ),
        Mistake(
            lambda features, weights: all_classes(features, weights).mT,
            "Rows and columns of your maps are swapped.",
        ),
        Mistake(
            lambda features, weights: all_classes(features, weights)[0],
            "You have the map of the first class only.",
        ),
        Mistake(
            lambda features, weights: all_classes(features, weights).sum(dim=0),
            "You added up the classes; each class keeps its own map.",
        ),
        Mistake(
            lambda features, weights: all_classes(features, weights).relu(),
            "You removed what is negative (ReLU); the maps asked here are signed.",
        ),
        Mistake(
            lambda features, weights: all_classes(features, weights).softmax(dim=0),
            "You put a softmax over the classes at each position; the maps stay as they are.",
        ),
        Mistake(
            lambda features, weights: all_classes(features, weights).mean(dim=(1, 2)),
            "You averaged over the positions: these are the class scores, not their maps.",
        ),
        Mistake(
            lambda features, weights: all_classes(features, weights) / len(features),
            "You averaged over the channels; asked is the sum.",
        ),
    ),
)


# normalize


def normalize(heat: torch.Tensor) -> torch.Tensor:
    """Each map divided by its own maximum, if that is positive; else a map of zeros.

    heat: float (N, h, w), of any sign. Returns (N, h, w); negative values stay negative.
    """
    peak = heat.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0, heat / peak, torch.zeros_like(heat))


def _heats(generator: torch.Generator) -> tuple[torch.Tensor]:
    """Maps of both signs and different peaks: one of zeros, one without any positive value."""
    heat = torch.randn(distinct(generator, 3), generator=generator)
    heat = heat * torch.arange(1.0, len(heat) + 1)[:, None, None]
    heat[1] = 0
    heat[2] = -heat[2].abs() - 0.1
    return (heat,)


def _min_max(heat: torch.Tensor) -> torch.Tensor:
    low, high = heat.amin(dim=(1, 2), keepdim=True), heat.amax(dim=(1, 2), keepdim=True)
    return (heat - low) / (high - low)


NORMALIZE = Exercise(
    name="cam.normalize",
    reference=normalize,
    cases=_heats,
    edges=(
        (torch.tensor([[[1e-9, 5e-10], [0.0, -1e-9]]]),),
        (torch.zeros(2, 3, 4),),
        (1e-20 * normal(2, 3, 4),),
        (normal(1, 3, 4),),
        (-positive(1, 4, 3),),
        (normal(5, 1, 1),),
        (normal(3, 1, 4),),
        (normal(3, 4, 1),),
        (normal(4, 4, 4),),
        (positive(2, 3, 3),),
        (torch.full((1, 1, 1), 3.0),),
        (30 * normal(12, 20, 21),),
    ),
    hints=(
        "Each map has its own maximum. What happens if that maximum is 0, or negative?",
        "`amax` over rows and columns with `keepdim=True` has the shape (N, 1, 1); `torch.where` "
        "chooses map by map between the quotient and 0.",
        "`return torch.where(peak ___, heat / peak, 0)`",
    ),
    mistakes=(
        Mistake(
            lambda heat: heat / heat.amax(dim=(1, 2), keepdim=True),
            "A map of zeros becomes NaN, and a map without positive values is turned over: "
            "these two stay for you to treat.",
        ),
        Mistake(
            lambda heat: (heat / heat.amax(dim=(1, 2), keepdim=True)).nan_to_num(),
            "A map without positive values is turned over: its maximum is negative.",
        ),
        Mistake(
            lambda heat: heat / heat.max(),
            "You divided all maps by one maximum; each map has its own.",
        ),
        Mistake(
            _min_max,
            "You moved the minimum to 0 as well: then nobody sees any more where zero was.",
        ),
        Mistake(
            lambda heat: normalize(heat.relu()),
            "You removed what is negative; here the negative values are kept.",
        ),
        Mistake(
            lambda heat: torch.where(
                heat.amax(dim=(1, 2), keepdim=True) > 0,
                heat / heat.abs().amax(dim=(1, 2), keepdim=True),
                0,
            ),
            "You divided by the largest absolute value; divide by the maximum.",
        ),
        Mistake(
            lambda heat: torch.where(
                heat.amax(dim=(1, 2), keepdim=True) > 0,
                heat / (heat.amax(dim=(1, 2), keepdim=True) + 1e-8),
                0,
            ),
            "A small number in your divisor distorts a map whose peak is small itself.",
        ),
        Mistake(
            lambda heat: torch.where(
                heat.amax(dim=(1, 2), keepdim=True) > 0,
                heat / heat.sum(dim=(1, 2), keepdim=True),
                0,
            ),
            "You divided by the sum; divide by the maximum.",
        ),
        Mistake(
            lambda heat: torch.where(
                heat.amax(dim=(1, 2), keepdim=True) > 0,
                heat / heat.amax(dim=(1, 2), keepdim=True),
                heat,
            ),
            "A map without positive values stays as it was with you; asked are zeros.",
        ),
    ),
)


# overlay


def overlay(image: np.ndarray, colours: np.ndarray, alpha: float) -> np.ndarray:
    """The colours of a heat map laid over its image: (1 - alpha) · image + alpha · colours.

    image, colours: uint8 (H, W, 3), 0 to 255. alpha: 0 (the image alone) to 1 (the colours
    alone). Returns uint8 (H, W, 3), rounded (cutting off the decimals is accepted too).
    """
    return np.round((1 - alpha) * image + alpha * colours.astype(float)).astype(np.uint8)


def _blend(generator: torch.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    height, width = distinct(generator, 2)
    return (*_pixels(height, width, generator), sizes(generator, (1, 19))[0] / 20)


def _pixels(height: int, width: int, generator: torch.Generator | None = None) -> np.ndarray:
    """Two pictures."""
    shape = (2, height, width, 3)
    generator = generator or torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8).numpy()


def _rounded(image: np.ndarray, colours: np.ndarray, alpha: float, shift: float) -> np.ndarray:
    return np.floor((1 - alpha) * image + alpha * colours.astype(float) + shift).astype(np.uint8)


OVERLAY = Exercise(
    name="cam.overlay",
    reference=overlay,
    cases=_blend,
    also=tuple(partial(_rounded, shift=down + near) for down in (0, 0.5) for near in (-1e-3, 1e-3)),
    edges=tuple(
        (*_pixels(*shape), alpha)
        for shape in ((4, 3), (1, 1), (1, 5), (5, 1), (4, 4), (66, 70))
        for alpha in (0.0, 0.3, 1.0)
    ),
    hints=(
        "With alpha = 0 the image must come out, with alpha = 1 the colours: what is the share "
        "of each in between?",
        "Multiply by the shares (the result is a float array), add, round, and turn it into "
        "`uint8` last.",
        "`return np.round(___ * image + alpha * colours).astype(np.uint8)`",
    ),
    mistakes=(
        Mistake(
            lambda image, colours, alpha: overlay(colours, image, alpha),
            "Alpha weighs the image with you; it is the share of the colours.",
        ),
        Mistake(
            lambda image, colours, alpha: image + colours,
            "You added `uint8` to `uint8`: beyond 255 it starts again at 0, and alpha is missing.",
        ),
        Mistake(
            lambda image, colours, alpha: (image + alpha * colours).clip(0, 255).astype(np.uint8),
            "The image keeps its full strength with you, so bright places burn out: its share "
            "is 1 - alpha.",
        ),
        Mistake(
            lambda image, colours, alpha: overlay(image, colours, 0.5),
            "You blended half and half; alpha decides the shares.",
        ),
        Mistake(
            lambda image, colours, alpha: (
                ((1 - alpha) * image + alpha * colours).astype(np.uint8) // 255
            ),
            "You divided by 255 and made whole numbers of it: almost all is 0 now. `uint8` runs "
            "from 0 to 255.",
        ),
        Mistake(
            lambda image, colours, alpha: (1 - alpha) * image + alpha * colours,
            "The values are right, but floats from 0 to 255 are shown as white: round and turn "
            "them into uint8.",
        ),
        Mistake(
            lambda image, colours, alpha: ((1 - alpha) * image + alpha * colours) / 255,
            "These are floats from 0 to 1; asked is `uint8` from 0 to 255.",
        ),
        Mistake(
            lambda image, colours, alpha: overlay(image, colours[..., ::-1], alpha),
            "Red and blue of the colours are swapped: they are RGB already.",
        ),
    ),
)


# bounding_box


def bounding_box(heat: torch.Tensor, share: float) -> Box:
    """The smallest box round all cells that reach `share` of the map's maximum.

    heat: float (h, w), its maximum positive. share: 0 to 1. Returns (left, top, right, bottom),
    whole numbers; right and bottom are exclusive, so that heat[top:bottom, left:right] is the box.
    """
    rows, columns = torch.where(heat >= share * heat.max())
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _blob(generator: torch.Generator) -> tuple[torch.Tensor, float]:
    """A hill that falls off unevenly to below 0, with some roughness and one very cold cell."""
    height, width = distinct(generator, 2, 9, 13)
    top, left = sizes(generator, (2, 5), (3, 6))
    rows, columns = torch.arange(height)[:, None] - top, torch.arange(width) - left
    far = (rows / 0.9) ** 2 + (columns * (1 + 0.3 * (columns > 0))) ** 2
    heat = 3 * torch.exp(-far / 9) + 0.1 * torch.rand(height, width, generator=generator)
    heat[-1, -1] = -3.5
    return heat - 0.15, sizes(generator, (3, 18))[0] / 20


def _box_of(hot: torch.Tensor) -> Box:
    return bounding_box(hot.float(), 1.0)


BOUNDING_BOX = Exercise(
    name="cam.bounding_box",
    reference=bounding_box,
    cases=_blob,
    edges=(
        (torch.tensor([[0.1, 0.5, 0.3], [0.0, 0.2, 1.0]]), 0.5),
        (normal(4, 5), 1.0),
        (normal(5, 4), 0.0),
        (F.pad(torch.tensor([[0.0, 2.0]]), (1, 1, 1, 1), value=-1.0), 0.0),
        (torch.tensor([[0.0, 2.0, 0.0, 1.99], [1.99, 0.0, 2.0, 0.0]]), 1.0),
        (torch.full((1, 1), 3.0), 0.4),
        (positive(1, 6), 0.5),
        (positive(6, 1), 0.5),
        (torch.ones(3, 4), 1.0),
        (1e-12 * positive(5, 6), 0.6),
        (order(66, 70) - 99, 0.9),
    ),
    hints=(
        "Which cells count? Those that reach a share of the map's maximum. In which rows and "
        "columns do they stand?",
        "`rows, columns = torch.where(heat >= ...)` lists their positions; their smallest and "
        "largest are the sides. Right and bottom are the first that no longer belong.",
        "`return columns.min(), rows.min(), columns.max() ___, rows.max() ___`",
    ),
    mistakes=(
        Mistake(
            lambda heat, share: tuple(bounding_box(heat, share)[i] for i in (1, 0, 3, 2)),
            "You gave rows before columns; asked is left, top, right, bottom.",
        ),
        Mistake(
            lambda heat, share: tuple(
                side - (i > 1) for i, side in enumerate(bounding_box(heat, share))
            ),
            "Right and bottom are the last row and column inside with you; asked are the first "
            "ones outside.",
        ),
        Mistake(
            lambda heat, share: _box_of(heat >= share),
            "You compared with the share itself; compare with share · maximum.",
        ),
        Mistake(
            lambda heat, share: _box_of(heat.abs() >= share * heat.abs().max()),
            "You took absolute values: what is strongly negative is not hot.",
        ),
        Mistake(
            lambda heat, share: _box_of(heat == heat.max()),
            "Your box holds the hottest cell only.",
        ),
        Mistake(
            lambda heat, share: _box_of(heat > 0),
            "Your box holds all that is positive; only what reaches share · maximum counts.",
        ),
        Mistake(
            lambda heat, share: _box_of(heat - heat.min() >= share * (heat.max() - heat.min())),
            "You measured from the coldest cell up; measure from zero.",
        ),
        Mistake(
            lambda heat, share: (
                *bounding_box(heat, share)[:2],
                bounding_box(heat, share)[2] - bounding_box(heat, share)[0],
                bounding_box(heat, share)[3] - bounding_box(heat, share)[1],
            ),
            "Your last two numbers are width and height; asked are right and bottom.",
        ),
    ),
)


# pointing_hit


def pointing_hit(heat: torch.Tensor, mask: torch.Tensor) -> bool:
    """Pointing game: does the hottest cell lie in the mask? (Zhang et al. 2018, section 4.2)

    heat: float (H, W), its largest value occurring once. mask: bool (H, W), True on the object.
    Returns True or False.
    """
    return bool(mask.flatten()[heat.argmax()])


def _pointing(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A map of distinct values of both signs; its hottest cell lies in the mask now and then.

    Some masks hold cold cells only, some none.
    """
    height, width = distinct(generator, 2)
    heat = torch.randperm(height * width, generator=generator).reshape(height, width) / 7.0 - 3
    mask = torch.rand(height, width, generator=generator) < 0.3
    hit, empty = torch.rand(2, generator=generator)
    mask[divmod(int(heat.argmax()), width)] = hit < 0.5
    return heat, mask & (empty < 0.8) & ((empty < 0.6) | (heat < heat.mean()))


POINTING_HIT = Exercise(
    name="cam.pointing_hit",
    reference=pointing_hit,
    cases=_pointing,
    edges=(
        (torch.eye(3, 4) + torch.arange(4) / 10, torch.zeros(3, 4, dtype=torch.bool)),
        (torch.arange(6.0).reshape(2, 3), torch.arange(6).reshape(2, 3) == 5),
        (torch.arange(6.0).reshape(2, 3), torch.arange(6).reshape(2, 3) < 5),
        (order(3, 4) - 12, order(3, 4) == 11),
        (order(3, 4) - 12, order(3, 4) < 11),
        (order(1, 1) - 1, torch.ones(1, 1, dtype=torch.bool)),
        (order(1, 1), torch.zeros(1, 1, dtype=torch.bool)),
        (order(1, 6), order(1, 6) > 3),
        (order(6, 1), order(6, 1) < 3),
        (order(3, 3), torch.ones(3, 3, dtype=torch.bool)),
        (order(66, 70) - 99, order(66, 70) > 4618),
    ),
    hints=(
        "Where is the map hottest? Ask the mask at that very place.",
        "`heat.argmax()` is a position in the flattened map; flatten the mask too, or turn the "
        "position into a row and a column as in lesson 00.",
        "`return bool(mask.flatten()[___])`",
    ),
    mistakes=(
        Mistake(
            lambda heat, mask: not pointing_hit(heat, mask),
            "True and False are swapped: a hit is when the hottest cell lies inside.",
        ),
        Mistake(
            lambda heat, mask: bool(mask.any()),
            "You asked whether there is a mask at all; ask it at the hottest cell.",
        ),
        Mistake(
            lambda heat, mask: pointing_hit(-heat, mask),
            "You asked at the coldest cell.",
        ),
        Mistake(
            lambda heat, mask: int(heat.argmax()),
            "You gave the place of the hottest cell; now ask the mask at that place.",
        ),
        Mistake(
            lambda heat, mask: bool(heat[mask].mean() > heat[~mask].mean()),
            "You compared the mean heat inside with that outside; here the hottest cell alone "
            "decides.",
        ),
        Mistake(
            lambda heat, mask: mask == (heat == heat.max()),
            "You compared cell by cell; one True or False is asked.",
        ),
    ),
)


# mass_inside


def mass_inside(heat: torch.Tensor, mask: torch.Tensor) -> float:
    """Which share of the heat lies in the mask? (Wang et al. 2020, section 4.3)

    heat: float (H, W), no negative values. mask: bool (H, W), True on the object. Returns a
    number from 0 to 1; for a map of zeros, 0.
    """
    total = heat.sum()
    return (heat[mask].sum() / total).item() if total > 0 else 0.0


def _mass(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = distinct(generator, 2)
    heat = torch.randn(height, width, generator=generator).relu()
    mask = torch.rand(height, width, generator=generator) < 0.4
    return heat, mask


MASS_INSIDE = Exercise(
    name="cam.mass_inside",
    reference=mass_inside,
    cases=_mass,
    edges=(
        (torch.zeros(2, 3), torch.tensor([[True, False, True], [False, False, True]])),
        (torch.ones(2, 4), torch.zeros(2, 4, dtype=torch.bool)),
        (positive(3, 4), torch.ones(3, 4, dtype=torch.bool)),
        (1e-20 * positive(3, 4), normal(3, 4) > 0),
        (positive(1, 5), normal(1, 5) > 0),
        (positive(5, 1), normal(5, 1) > 0),
        (positive(1, 1), torch.ones(1, 1, dtype=torch.bool)),
        (torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)),
        (300 * positive(4, 4), normal(4, 4) > 0),
        (30 * positive(66, 70), normal(66, 70) > 1),
    ),
    hints=(
        "A share is a part divided by the whole. What is the whole, and when must you not "
        "divide by it?",
        "`heat[mask]` are the values inside; their sum divided by the sum of all. A map of zeros "
        "has no mass: give 0.",
        "`return heat[mask].sum() / ___ if heat.any() else 0.0`",
    ),
    mistakes=(
        Mistake(
            lambda heat, mask: heat[mask].sum() / heat.sum(),
            "A map of zeros makes NaN: 0 divided by 0. Its share is 0.",
        ),
        Mistake(
            lambda heat, mask: heat[mask].sum(),
            "You have the heat inside; divide by all the heat.",
        ),
        Mistake(
            lambda heat, mask: heat[mask].mean(),
            "You took the mean inside; the share is a sum divided by a sum.",
        ),
        Mistake(
            lambda heat, mask: mass_inside(heat, ~mask),
            "That is the share outside the mask.",
        ),
        Mistake(
            lambda heat, mask: heat[mask].sum() / (heat[~mask].sum()),
            "You divided inside by outside; divide by all the heat.",
        ),
        Mistake(
            lambda heat, mask: mask.float().mean(),
            "That is the share of the area that the mask covers; weigh cells by their heat.",
        ),
        Mistake(
            lambda heat, mask: heat[mask].sum() / mask.sum() / heat.mean(),
            "You compared mean heat with mean heat; asked is sum divided by sum.",
        ),
        Mistake(
            lambda heat, mask: mass_inside((heat > 0).float(), mask),
            "You counted the cells that are warm at all; weigh each by its heat.",
        ),
    ),
)
