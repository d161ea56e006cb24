"""Right answers to the exercises of training, each written in another way, and some wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F


def _confusion_by_cells(labels: torch.Tensor, predicted: torch.Tensor, classes: int) -> list:
    pairs = list(zip(labels.tolist(), predicted.tolist(), strict=True))
    return [[pairs.count((t, p)) for p in range(classes)] for t in range(classes)]


def _confusion_by_add_at(labels: torch.Tensor, predicted: torch.Tensor, classes: int) -> np.ndarray:
    table = np.zeros((classes, classes))
    np.add.at(table, (labels.numpy(), predicted.numpy()), 1)
    return table


def _confusion_in(table: Callable, dtype: Any) -> Callable:
    """Counts of a type that cannot count far enough."""

    def counts(labels: torch.Tensor, predicted: torch.Tensor, classes: int) -> Any:
        counted = table((classes, classes), dtype=dtype)
        for t, p in zip(labels.tolist(), predicted.tolist(), strict=True):
            counted[t, p] += 1
        return counted

    return counts


RIGHT = {
    "training.to_tensor": (
        lambda images: np.transpose(images, (0, 3, 1, 2)) / 255,
        lambda images: torch.stack(
            [torch.tensor(images[..., c].astype(float)) for c in range(3)], dim=1
        ).div(255),
        lambda images: torch.einsum("nhwc->nchw", torch.tensor(images) / 255.0),
        lambda images: np.moveaxis(images.astype(np.float32), -1, 1) / 255,
    ),
    "training.accuracy": (
        lambda scores, labels: (
            sum(
                max(range(len(row)), key=row.__getitem__) == label
                for row, label in zip(scores.tolist(), labels.tolist(), strict=True)
            )
            / len(labels)
        ),
        lambda scores, labels: np.mean(scores.numpy().argmax(axis=1) == labels.numpy()),
        lambda scores, labels: (
            (scores.double().softmax(1).max(1).indices == labels).double().mean()
        ),
    ),
    "training.confusion": (
        _confusion_by_cells,
        _confusion_by_add_at,
        lambda labels, predicted, classes: torch.bincount(
            labels * classes + predicted, minlength=classes**2
        ).reshape(classes, classes),
        lambda labels, predicted, classes: (
            F.one_hot(labels, classes).double().T @ F.one_hot(predicted, classes).double()
        ),
    ),
}

WRONG = {
    "training.accuracy": (
        lambda scores, labels: (scores.sigmoid().argmax(1) == labels).float().mean(),
        lambda scores, labels: (scores.tanh().argmax(1) == labels).float().mean(),
    ),
    "training.confusion": (
        _confusion_in(torch.zeros, torch.uint8),
        _confusion_in(torch.zeros, torch.int8),
        _confusion_in(torch.zeros, torch.float16),
        _confusion_in(torch.zeros, torch.bfloat16),
        _confusion_in(np.zeros, np.uint8),
        _confusion_in(np.zeros, np.int8),
        lambda labels, predicted, classes: torch.bincount(
            labels.to(torch.uint8) * classes + predicted.to(torch.uint8), minlength=classes**2
        ).reshape(classes, classes),
    ),
}
