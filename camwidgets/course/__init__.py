"""The course: its pictures, networks, training, guesses and exercises."""

from .accidents import explain_missing_names
from .card import VerdictCard
from .claims import claim
from .datasets import (
    CLASS_NAMES,
    Crops,
    Fields,
    erase_mark,
    load_crops,
    load_fields,
    paint_mark,
    shuffled_crops,
    to_tensor,
)
from .exercises import check, hint
from .folders import Measured, load_image_folder, load_nih_cells, load_pets, load_table
from .guesses import predict
from .imagenet import Pretrained, photograph, pretrained
from .networks import CountCNN, FlattenCNN, GapCNN
from .training import History, accuracy, fit, save, scores, trained

__all__ = [
    "CLASS_NAMES",
    "CountCNN",
    "Crops",
    "Fields",
    "FlattenCNN",
    "GapCNN",
    "History",
    "Measured",
    "Pretrained",
    "VerdictCard",
    "accuracy",
    "check",
    "claim",
    "erase_mark",
    "fit",
    "hint",
    "load_crops",
    "load_fields",
    "load_image_folder",
    "load_nih_cells",
    "load_pets",
    "load_table",
    "paint_mark",
    "photograph",
    "predict",
    "pretrained",
    "save",
    "scores",
    "shuffled_crops",
    "to_tensor",
    "trained",
]

explain_missing_names()
