"""The lessons on real cells: in a lesson, make one line of another.

    from camwidgets.course import (           →    from camwidgets.course.nih import (

Then `load_crops`, `trained`, `save` and the networks speak of the NIH malaria cells, in two
classes. They are read from the folder that CAMWIDGETS_NIH names, else from `cell_images` beside
the notebook (`load_nih_cells(download=True)` fetches it). A lesson's ring, trophozoite and
gametocyte are all "Parasitized" here; its schizont, which stands beside a ring in lesson 04, is
"Uninfected". Lessons 01 to 06 run so from top to bottom; a claim that was made about the course's
cells may be "not so here".

Nobody has drawn outlines of these parasites. In their place stands what is bluer than the rest
of its cell, so that the masks say "here is stain", not "here is a parasite": a map scored
against them is compared with a colour. Lesson 06 scores a stain, blue minus red, against masks:
here that is a colour against itself, and says nothing.
"""

from __future__ import annotations

import os
from functools import cache, partial

import numpy as np
import torch
from torch import nn

from . import *  # noqa: F403  (everything that is the same for both)
from . import __all__ as __all__
from . import datasets, training
from .datasets import Crops, to_tensor
from .folders import NIH_CLASSES, load_nih_cells
from .networks import FlattenCNN as _FlattenCNN
from .networks import GapCNN as _GapCNN

HEALTHY = ("uninfected", "schizont")
PER_CLASS = {"train": 625, "test": 250}
"""As many cells as the course draws: a training takes as long."""


class _Names(tuple):
    """Two names, in which the course's are found as well."""

    def index(self, name: str, *within: int) -> int:
        known = name in datasets.CLASS_NAMES
        return int(name not in HEALTHY) if known else super().index(name, *within)


CLASS_NAMES = _Names(NIH_CLASSES)
BLUER = 15
"""so far above the cell's median is the blue minus the red of what counts as stained"""


def load_crops(split: str = "train", *, shortcut: bool = False) -> Crops:
    """Cells of the patients of this split; with shortcut=True the infected ones carry a mark."""
    crops = _cells(split, os.environ.get("CAMWIDGETS_NIH", "cell_images"))
    return datasets._plant_shortcut(crops, seed=split == "test") if shortcut else crops


def shuffled_crops(count: int = 200, seed: int = 0) -> Crops:
    """As `datasets.shuffled_crops`, of these cells."""
    return datasets._shuffled(load_crops("train"), count, seed)


class GapCNN(_GapCNN):
    """`networks.GapCNN` with two classes."""

    def __init__(self, classes: int = 2, coarse: bool = False):
        super().__init__(classes, coarse)


class FlattenCNN(_FlattenCNN):
    """`networks.FlattenCNN` with two classes."""

    def __init__(self, classes: int = 2):
        super().__init__(classes)


def trained(name: str, told_as: str | None = None) -> nn.Module:
    """As `training.trained`, learned from these cells and kept beside the others."""
    return training.trained(_known(name), told_as)


def save(model: nn.Module, name: str) -> None:
    """As `training.save`, beside the others."""
    training.save(model, _known(name))


@cache
def _cells(split: str, folder: str) -> Crops:
    cells = load_nih_cells(folder, split=split, per_class=PER_CLASS.get(split))
    print(
        "Nobody has outlined the parasites of these cells: what is bluer than the rest of its cell "
        "stands in for a mask. A stain scored against it is scored against itself."
    )
    masks = (
        np.stack([_stained(image) for image in cells.images]) & (cells.labels > 0)[:, None, None]
    )
    return datasets.replace(cells, masks=masks, class_names=CLASS_NAMES)


def _stained(image: np.ndarray) -> np.ndarray:
    """What is bluer than the rest of its cell, bool (H, W); at the least its bluest 2 %."""
    cell = image.any(axis=-1)
    if not cell.any():
        return cell
    blue = image[..., 2].astype(float) - image[..., 0]
    return cell & (blue >= min(np.median(blue[cell]) + BLUER, np.quantile(blue[cell], 0.98)))


def _learn(model: nn.Module, *, shortcut: bool = False) -> training.History:
    crops = load_crops("train", shortcut=shortcut)
    epochs = max(8, round(8 * PER_CLASS["train"] / len(crops)))  # few cells: half as many steps
    images, labels = to_tensor(crops.images), torch.from_numpy(crops.labels)
    return training.fit(model, images, labels, epochs=epochs)


def _learn_by_heart(model: nn.Module) -> training.History:
    return training._by_heart(model, shuffled_crops())


def _known(name: str) -> str:
    ours = f"nih-{name}"
    return ours if ours in training.NETWORKS else name


training.NETWORKS.update(
    {
        "nih-gap": (GapCNN, _learn),
        "nih-flatten": (FlattenCNN, _learn),
        "nih-shortcut": (GapCNN, partial(_learn, shortcut=True)),
        "nih-memorised": (GapCNN, _learn_by_heart),
        "nih-coarse": (lambda: GapCNN(coarse=True), partial(_learn, shortcut=True)),
    }
)
