"""The lessons on real cells: in a lesson, make one line of another.

    from camwidgets.course import (           →    from camwidgets.course.nih import (

Then `load_crops`, `trained`, `save` and the networks speak of the NIH malaria cells, in two
classes. They are read from the folder that CAMWIDGETS_NIH names, else from `cell_images` beside
the notebook (`load_nih_cells(download=True)` fetches it). A lesson's ring, trophozoite, schizont
and gametocyte are all "Parasitized" here. Lesson 01 runs so from top to bottom. The others run
in parts: nobody has drawn masks of these parasites, so scores against masks are nan or refused, and
cells that pick a crop by its number, or a third class, find none.
"""

from __future__ import annotations

import os
from functools import cache

from torch import nn

from . import *  # noqa: F403  (everything that is the same for both)
from . import __all__ as __all__
from . import datasets, training
from .datasets import Crops, to_tensor
from .folders import NIH_CLASSES, load_nih_cells
from .networks import FlattenCNN as _FlattenCNN
from .networks import GapCNN as _GapCNN

PER_CLASS = {"train": 625, "test": 250}
"""As many cells as the course draws: a training takes as long."""


class _Names(tuple):
    """Two names, in which any of the course's parasites is found as well."""

    def index(self, name: str, *within: int) -> int:
        known = name in datasets.CLASS_NAMES
        return int(name != datasets.CLASS_NAMES[0]) if known else super().index(name, *within)


CLASS_NAMES = _Names(NIH_CLASSES)


def load_crops(split: str = "train", *, shortcut: bool = False) -> Crops:
    """Cells of the patients of this split; with shortcut=True the infected ones carry a mark."""
    crops = _cells(split, os.environ.get("CAMWIDGETS_NIH", "cell_images"))
    return datasets._plant_shortcut(crops, seed=split == "test") if shortcut else crops


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
    return datasets.replace(cells, class_names=CLASS_NAMES)


def _learn(model: nn.Module, *, shortcut: bool = False) -> training.History:
    crops = load_crops("train", shortcut=shortcut)
    return training.fit(model, to_tensor(crops.images), training.torch.from_numpy(crops.labels))


def _learn_shortcut(model: nn.Module) -> training.History:
    return _learn(model, shortcut=True)


def _known(name: str) -> str:
    ours = f"nih-{name}"
    return ours if ours in training._NETWORKS else name


training._NETWORKS.update(
    {
        "nih-gap": (GapCNN, _learn),
        "nih-flatten": (FlattenCNN, _learn),
        "nih-shortcut": (GapCNN, _learn_shortcut),
        "nih-coarse": (lambda: GapCNN(coarse=True), _learn_shortcut),
    }
)
