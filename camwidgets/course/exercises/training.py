"""Exercises of lesson 01: from pictures to a tensor, and an honest look at the scores."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from ._draws import distinct, normal, positive, sizes
from ._engine import Exercise, Mistake

# to_tensor


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Pictures as a CNN takes them.

    images: uint8 array (N, H, W, 3), 0 to 255. Returns a float tensor (N, 3, H, W), 0 to 1.
    """
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _images(generator: torch.Generator) -> tuple[np.ndarray]:
    number, height, width = sizes(generator, (4, 8), (4, 8), (4, 8))
    return (_pixels(number, height, width, generator),)


def _pixels(
    number: int, height: int, width: int, generator: torch.Generator | None = None
) -> np.ndarray:
    shape = (number, height, width, 3)
    generator = generator or torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, generator=generator).to(torch.uint8).numpy()


TO_TENSOR = Exercise(
    name="training.to_tensor",
    reference=to_tensor,
    cases=_images,
    edges=(
        (np.full((2, 3, 4, 3), 51, np.uint8),),
        (np.zeros((2, 4, 3, 3), np.uint8),),
        (_pixels(2, 4, 5) // 128,),
        (_pixels(1, 5, 4),),
        (_pixels(3, 1, 1),),
        (_pixels(2, 1, 6),),
        (_pixels(2, 5, 1),),
        (_pixels(1, 1, 1),),
        (_pixels(12, 3, 3),),
        (_pixels(20, 12, 14),),
    ),
    tolerance=1e-5,
    hints=(
        "Compare the two shapes: which axis of the array holds the colours, and where does the "
        "tensor want it? Then compare the two ranges of values.",
        "`torch.from_numpy` makes a tensor, `permute` puts axes into another order, float comes "
        "before the division.",
        "`return torch.from_numpy(images).permute(0, ___).float() / 255`",
    ),
    mistakes=(
        Mistake(
            lambda images: torch.from_numpy(images).permute(0, 3, 1, 2).float(),
            "Your values still run from 0 to 255; asked is 0 to 1.",
        ),
        Mistake(
            lambda images: torch.from_numpy(images).float() / 255,
            "The colours are still the last axis; a CNN wants them right after N.",
        ),
        Mistake(
            lambda images: torch.from_numpy(images).permute(0, 3, 2, 1).float() / 255,
            "Height and width are swapped: your pictures lie on their side.",
        ),
        Mistake(
            lambda images: torch.from_numpy(images).reshape(-1, 3, *images.shape[1:3]) / 255,
            "You used `reshape` (or `view`): it cuts the same row of numbers anew and mixes "
            "colours with positions. `permute` moves an axis.",
        ),
        Mistake(
            lambda images: (
                torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
            ),
            "Red and blue are swapped: the pictures are RGB already.",
        ),
        Mistake(
            lambda images: torch.from_numpy(images).permute(0, 3, 1, 2) // 255,
            "Your values are whole numbers: what lies between 0 and 1 is lost. `//` does that, and "
            "a whole-number type; `float()` comes before the division.",
        ),
        Mistake(
            lambda images: torch.from_numpy(images).permute(0, 3, 1, 2).float() / images.max(),
            "You divided by the brightest pixel of this batch; the same picture would change "
            "with its neighbours. Divide by a fixed number.",
        ),
        Mistake(
            lambda images: torch.from_numpy(images).permute(0, 3, 1, 2).float() / 256,
            "You divided by 256; the brightest value of `uint8` is one less.",
        ),
    ),
)


# accuracy


def accuracy(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images whose highest score is that of their label.

    scores: float (N, C), one row per image. labels: int64 (N,), 0 to C - 1. Returns a number
    between 0 and 1.
    """
    return (scores.argmax(dim=1) == labels).float().mean().item()


def _scores(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Some images are classified rightly, most wrongly, and some have no positive score."""
    number, classes = distinct(generator, 2, 6, 11)
    scores = torch.randn(number, classes, generator=generator) - 0.5
    labels = torch.randint(classes, (number,), generator=generator)
    labels[:4] = scores[:4].argmax(dim=1)
    return scores, labels


ACCURACY = Exercise(
    name="training.accuracy",
    reference=accuracy,
    cases=_scores,
    edges=(
        (torch.eye(3), torch.arange(3)),
        (torch.eye(3), torch.tensor([1, 2, 0])),
        (torch.tensor([[-3.0, -1.0, -2.0]]), torch.tensor([1])),
        (torch.tensor([[-3.0, -1.0, -2.0]]), torch.tensor([0])),
        (normal(5, 1), torch.zeros(5, dtype=torch.int64)),
        (-positive(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])),
        (normal(1, 1), torch.tensor([0])),
        (normal(70, 12), torch.arange(70) % 12),
        (20 * normal(30, 6), (20 * normal(30, 6)).argmax(1)),
    ),
    hints=(
        "One row of the scores is one image. Which class does a row vote for?",
        "`scores.argmax(dim=...)` gives a class per image; == compares with the labels; the mean "
        "of True and False, as floats, is a share.",
        "`return (scores.argmax(dim=___) == labels).float().mean().item()`",
    ),
    mistakes=(
        Mistake(
            lambda scores, labels: (scores.argmax(1) == labels).sum(),
            "You counted the right ones; divide by the number of images.",
        ),
        Mistake(
            lambda scores, labels: (scores.argmax(1) != labels).float().mean(),
            "You computed the share of wrong answers.",
        ),
        Mistake(
            lambda scores, labels: 100 * (scores.argmax(1) == labels).float().mean(),
            "You gave per cent; asked is a share between 0 and 1.",
        ),
        Mistake(
            lambda scores, labels: (scores.argmin(1) == labels).float().mean(),
            "You took the lowest score of each image; the vote goes to the highest.",
        ),
        Mistake(
            lambda scores, labels: (scores.argmax(1) == labels).sum() / scores.numel(),
            "You divided by the number of scores; divide by the number of images.",
        ),
        Mistake(
            lambda scores, labels: (scores.max(1).values == labels).float().mean(),
            "Your answer is 0 on every input, or nearly so. Is it the highest score's position "
            "that you compare with the label, not the score itself? Do you count image by image, "
            "and divide by `/`, not `//`?",
        ),
        Mistake(
            lambda scores, labels: (scores.argmax(1) == labels).float(),
            "You have one verdict per image; take their mean.",
        ),
        Mistake(
            lambda scores, labels: F.softmax(scores, 1)[range(len(labels)), labels].mean(),
            "You averaged the probability of the right class; accuracy asks only whether it is "
            "the highest.",
        ),
    ),
)


# confusion


def confusion(labels: torch.Tensor, predicted: torch.Tensor, classes: int) -> torch.Tensor:
    """How often each class was taken for each other one.

    labels, predicted: int64 (N,), 0 to classes - 1. Returns counts (classes, classes): row t,
    column p says how many images of class t were predicted as class p. A class that does not
    occur has a row of zeros.
    """
    table = torch.zeros(classes, classes, dtype=torch.int64)
    for t, p in zip(labels, predicted, strict=True):
        table[t, p] += 1
    return table


def _predictions(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, int]:
    """The last class never occurs and is never predicted."""
    number, classes = sizes(generator, (20, 39), (3, 6))
    labels = torch.randint(classes - 1, (number,), generator=generator)
    predicted = torch.randint(classes - 1, (number,), generator=generator)
    predicted[::3] = labels[::3]
    return labels, predicted, classes


CONFUSION = Exercise(
    name="training.confusion",
    reference=confusion,
    cases=_predictions,
    edges=(
        (torch.tensor([1]), torch.tensor([0]), 2),
        (torch.tensor([0, 0, 0]), torch.tensor([0, 0, 0]), 1),
        (torch.tensor([0, 2, 2, 2]), torch.tensor([2, 0, 2, 0]), 3),
        (torch.tensor([5, 5, 4]), torch.tensor([5, 4, 1]), 6),
        (torch.tensor([1, 1, 2]), torch.tensor([3, 3, 3]), 4),
        (torch.tensor([0, 1]), torch.tensor([1, 0]), 9),
        (torch.arange(300) ** 2 % 13, torch.arange(300) % 14, 14),
        (torch.arange(2500) // 2400, torch.arange(2500) // 2300, 17),
        (torch.arange(400) % 20, torch.arange(400) // 20, 20),
    ),
    hints=(
        "Begin with a table of zeros, (classes, classes). Each image adds 1 to one cell.",
        "Go through the images: the label is the row, the prediction is the column.",
        "`table[t, ___] += 1`",
    ),
    mistakes=(
        Mistake(
            lambda labels, predicted, classes: confusion(predicted, labels, classes),
            "Rows and columns are swapped: a row is a true class.",
        ),
        Mistake(
            lambda labels, predicted, classes: (
                confusion(labels, predicted, classes) / max(1, len(labels))
            ),
            "You gave shares of all images; asked are counts.",
        ),
        Mistake(
            lambda labels, predicted, classes: (
                confusion(labels, predicted, classes)
                / confusion(labels, predicted, classes).sum(1, keepdim=True)
            ),
            "You divided each row by its sum: asked are counts, and a class that does not "
            "occur makes NaN.",
        ),
        Mistake(
            lambda labels, predicted, classes: confusion(labels, predicted, classes).clamp(max=1),
            "Each cell counts to 1 only, however often a pair occurs. (`table[labels, predicted] "
            "+= 1` adds once.) Use a loop, `bincount` or `np.add.at`.",
        ),
        Mistake(
            lambda labels, predicted, classes: confusion(labels, predicted, classes)[:-1, :-1],
            "The last class does not occur here and has no row in your table: its size is classes.",
        ),
        Mistake(
            lambda labels, predicted, classes: confusion(labels, labels, classes),
            "You counted the labels against themselves.",
        ),
        Mistake(
            lambda labels, predicted, classes: confusion(labels, predicted, classes).fill_diagonal_(
                0
            ),
            "You counted the errors only; right answers stand on the diagonal.",
        ),
    ),
)
