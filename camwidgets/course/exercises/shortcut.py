"""Exercises of lesson 05: is it the ink? Measures for a suspected shortcut and its repair."""

from __future__ import annotations

import torch

from ._draws import distinct, normal, order, positive, sizes
from ._engine import Exercise, Mistake

# concentration


def concentration(heat: torch.Tensor, mark: torch.Tensor) -> float:
    """How many times hotter the mark is than the whole map, on average.

    heat: float (H, W), no negative values, not blank. mark: bool (H, W), not empty. Returns the
    mean heat on the mark divided by the mean heat of the whole map: 1 for a uniform map.
    """
    return (heat[mark].mean() / heat.mean()).item()


def _heat_and_mark(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = distinct(generator, 2, 6, 11)
    heat = torch.rand(height, width, generator=generator) ** 2
    mark = torch.zeros(height, width, dtype=torch.bool)
    mark[1:4, 2 : 4 + height % 2] = True
    mark[3, 2] = False  # no rectangle
    heat[mark] += 0.5
    if height % 2:
        heat[heat < 0.6] = 0  # as a ReLU leaves it
    return heat, mark


CONCENTRATION = Exercise(
    name="shortcut.concentration",
    reference=concentration,
    cases=_heat_and_mark,
    edges=(
        (positive(3, 4), torch.ones(3, 4, dtype=torch.bool)),
        (torch.eye(3), 1 - torch.eye(3) > 0),
        (1e-20 * positive(4, 3), normal(4, 3) > 0),
        (positive(1, 5), order(1, 5) > 2),
        (positive(5, 1), order(5, 1) == 4),
        (positive(1, 1), torch.ones(1, 1, dtype=torch.bool)),
        (300 * positive(4, 4), normal(4, 4) > 0),
        (9 * positive(66, 70), normal(66, 70) > 1),
        (2.0 * (order(20, 20) == 7), order(20, 20) == 7),
    ),
    hints=(
        "Two means: that of the heat on the mark, and that of the heat everywhere.",
        "`heat[mark]` holds the values on the mark, as a flat tensor.",
        "`return (heat[mark].mean() / ___).item()`",
    ),
    mistakes=(
        Mistake(
            lambda heat, mark: (heat[mark].sum() / heat.sum()).item(),
            "You have the share of the heat on the mark. A large mark gets a large share for "
            "nothing: divide by its share of the area, or compare means.",
        ),
        Mistake(
            lambda heat, mark: (heat[mark].mean() / heat[~mark].mean()).item(),
            "You compared the mark with the rest; asked is the mark against the whole map.",
        ),
        Mistake(
            lambda heat, mark: (heat.mean() / heat[mark].mean()).item(),
            "Your fraction is upside down: it falls when the mark gets hotter.",
        ),
        Mistake(
            lambda heat, mark: heat[mark].mean().item(),
            "You have the mean heat on the mark. Without the map's own mean it cannot be "
            "compared between maps.",
        ),
        Mistake(
            lambda heat, mark: (heat[mark].max() / heat.max()).item(),
            "You compared the hottest values; asked are means.",
        ),
        Mistake(
            lambda heat, mark: (heat[mark].mean() / heat.max()).item(),
            "You divided by the map's maximum; divide by its mean.",
        ),
        Mistake(
            lambda heat, mark: mark.float().mean().item(),
            "You have the mark's share of the area; the heat is not in it yet.",
        ),
    ),
)


# coarse_view


def coarse_view(mark: torch.Tensor, size: int) -> torch.Tensor:
    """A mark as a map of size × size positions can show it.

    mark: bool (H, W). size: a whole number that divides H and W. Returns float (size, size): of
    each position's pixels, the share that lies in the mark.
    """
    height, width = mark.shape
    squares = mark.float().reshape(size, height // size, size, width // size)
    return squares.mean(dim=(1, 3))


def _mark_and_size(generator: torch.Generator) -> tuple[torch.Tensor, int]:
    size = sizes(generator, (2, 4))[0]
    high, wide = distinct(generator, 2, 2, 4)
    mark = torch.rand(size * high, size * wide, generator=generator) < 0.35
    mark[0, 0], mark[-1, -1] = True, False
    mark[:high, -wide:] = False  # a position without any mark
    return mark, size


COARSE_VIEW = Exercise(
    name="shortcut.coarse_view",
    reference=coarse_view,
    cases=_mark_and_size,
    edges=(
        (normal(4, 6) > 0, 1),
        (normal(3, 3) > 0, 3),
        (normal(2, 8) > 0, 2),
        (normal(8, 2) > 0, 2),
        (torch.ones(4, 6, dtype=torch.bool), 2),
        (torch.zeros(6, 4, dtype=torch.bool), 2),
        (normal(1, 5) > 0, 1),
        (torch.ones(1, 1, dtype=torch.bool), 1),
        (normal(12, 24) > 0.5, 12),
        (normal(66, 88) > 0, 11),
    ),
    hints=(
        "Each position of the map stands for a block of H // size times W // size pixels. What "
        "is the mean of the mark over such a block?",
        "`mark.float().reshape(size, H // size, size, W // size)` has the position on axes 0 and "
        "2, the pixels of its block on axes 1 and 3.",
        "`return squares.mean(dim=(___, 3))`",
    ),
    mistakes=(
        Mistake(
            lambda mark, size: (coarse_view(mark, size) > 0).float(),
            "You asked whether a position holds any mark; asked is how much of it.",
        ),
        Mistake(
            lambda mark, size: coarse_view(mark, size) * mark.numel() / size**2,
            "You counted the pixels; divide by how many a position has.",
        ),
        Mistake(
            lambda mark, size: coarse_view(mark, size) / coarse_view(mark, size).max(),
            "You divided by the largest; the share of a position's own pixels is asked.",
        ),
        Mistake(
            lambda mark, size: mark[:: mark.shape[0] // size, :: mark.shape[1] // size].float(),
            "You took one pixel of each position; all its pixels count.",
        ),
        Mistake(
            lambda mark, size: coarse_view(mark, size) * mark.numel() / mark.sum() / size**2,
            "You have the share of the mark in each position; asked is the share of the position.",
        ),
        Mistake(
            lambda mark, size: coarse_view(mark, size).T,
            "Rows and columns are exchanged.",
        ),
        Mistake(
            lambda mark, size: 1 - coarse_view(mark, size),
            "You have the share that is not marked.",
        ),
    ),
)


# called_after


def called_after(before: torch.Tensor, after: torch.Tensor, target: int) -> float:
    """Of the images that are not called `target` before: the share that is called so after.

    before, after: float (N, C), the scores of the same N images before and after a change; at
    least one is not called target before. Returns a number from 0 to 1.
    """
    others = before.argmax(dim=1) != target
    return (after[others].argmax(dim=1) == target).float().mean().item()


def _scores(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Scores of about twenty images; about a third changes to the target, some from it."""
    classes, count = sizes(generator, (3, 6), (17, 23))
    target = sizes(generator, (0, classes - 1))[0]
    before = 2 * torch.randn(count, classes, generator=generator)
    after = before + torch.randn(count, classes, generator=generator)
    before[:6, target] = before[:6].amax(dim=1) + 0.5
    after[0, target] = -9
    after[1:4, target] = after[1:4].amax(dim=1) + 0.5
    after[8:13, target] = after[8:13].amax(dim=1) + 0.5
    before[8:13, target] = -1
    after[13:15, target] -= 3
    return before, after, target


CALLED_AFTER = Exercise(
    name="shortcut.called_after",
    reference=called_after,
    cases=_scores,
    edges=(
        (torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, -0.5]]), 1),
        (torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, -1.5]]), 1),
        (torch.eye(3)[[0, 0, 1, 2]], torch.eye(3)[[1, 0, 0, 0]], 0),
        (torch.eye(3)[[0, 0, 1, 2]], torch.eye(3)[[2, 2, 2, 0]], 2),
        (-positive(6, 6), -positive(6, 6).flip(1), 0),
        (normal(5, 2), normal(5, 2), 0),
        (normal(12, 4), -normal(12, 4), 3),
        (9 * normal(70, 12), 9 * normal(12, 70).T, 10),
    ),
    hints=(
        "First leave out the images that were called target already. Of the rest, how many are "
        "called so now?",
        "`scores.argmax(dim=1)` is what each image is called. A boolean tensor picks rows.",
        "`return (after[others].argmax(dim=1) == ___).float().mean().item()`",
    ),
    mistakes=(
        Mistake(
            lambda before, after, target: (after.argmax(1) == target).float().mean().item(),
            "You counted images that were called target before the change, too.",
        ),
        Mistake(
            lambda before, after, target: (
                ((before.argmax(1) != target) & (after.argmax(1) == target)).float().mean().item()
            ),
            "You divided by all images; divide by those that were not called target before.",
        ),
        Mistake(
            lambda before, after, target: (
                ((before.argmax(1) != target) & (after.argmax(1) == target)).sum().item()
            ),
            "You have the number of images; asked is the share.",
        ),
        Mistake(
            lambda before, after, target: called_after(after, before, target),
            "Before and after are exchanged.",
        ),
        Mistake(
            lambda before, after, target: (
                (before.argmax(1) != after.argmax(1)).float().mean().item()
            ),
            "You counted every change of the answer; asked are changes to target.",
        ),
        Mistake(
            lambda before, after, target: (
                (after[:, target] > before[:, target]).float().mean().item()
            ),
            "You counted where the score rises. It may rise without becoming the highest.",
        ),
    ),
)


# probability_change


def probability_change(before: torch.Tensor, after: torch.Tensor, target: int) -> torch.Tensor:
    """By how much the probability of `target` changes, image by image.

    before, after: float (N, C), scores (logits) of the same N images before and after a change.
    Returns (N,), from -1 to 1: positive where the probability rises.
    """
    return after.softmax(dim=1)[:, target] - before.softmax(dim=1)[:, target]


PROBABILITY_CHANGE = Exercise(
    name="shortcut.probability_change",
    reference=probability_change,
    cases=_scores,
    edges=(
        (normal(1, 3), -normal(1, 3), 0),
        (normal(5, 2), normal(5, 2).flip(1), 1),
        (normal(4, 4), normal(4, 4).T.clone(), 3),
        (-positive(3, 5), -positive(3, 5).flip(0), 0),
        (20 * normal(3, 3), normal(3, 3), 1),
        (normal(3, 4), normal(3, 4), 2),
        (torch.zeros(2, 3), torch.eye(3)[:2], 0),
        (normal(2, 1), -normal(2, 1), 0),
        (normal(70, 12), normal(12, 70).T, 10),
    ),
    hints=(
        "The network gives scores. What makes probabilities of them, and along which axis?",
        "`scores.softmax(dim=1)` gives (N, C), each row adding up to 1; take the column target.",
        "`return after.softmax(dim=1)[:, target] - ___`",
    ),
    mistakes=(
        Mistake(
            lambda before, after, target: after[:, target] - before[:, target],
            "You have the change of the score; make probabilities with softmax first.",
        ),
        Mistake(
            lambda before, after, target: probability_change(after, before, target),
            "The sign is turned round: after minus before.",
        ),
        Mistake(
            lambda before, after, target: probability_change(before, after, target).abs(),
            "You dropped the sign; it says whether the probability rises or falls.",
        ),
        Mistake(
            lambda before, after, target: (after.softmax(0) - before.softmax(0))[:, target],
            "Your softmax runs over the images; it has to run over the classes, `dim=1`.",
        ),
        Mistake(
            lambda before, after, target: (
                after.log_softmax(1)[:, target] - before.log_softmax(1)[:, target]
            ),
            "You took the logarithm of the probability.",
        ),
        Mistake(
            lambda before, after, target: after[:, target].sigmoid() - before[:, target].sigmoid(),
            "Sigmoid looks at one score alone; five classes share one probability: softmax.",
        ),
        Mistake(
            lambda before, after, target: probability_change(before, after, target).mean(),
            "You took the mean over the images; asked is one number an image, (N,).",
        ),
        Mistake(
            lambda before, after, target: after.softmax(1)[:, target],
            "You have the probability after; subtract the one before.",
        ),
    ),
)


# marked_share


def marked_share(labels: torch.Tensor, marked: torch.Tensor, classes: int) -> torch.Tensor:
    """Of each class's images: the share that carries a mark.

    labels: int64 (N,), 0 to classes - 1, every class present. marked: bool (N,). Returns float
    (classes,), each from 0 to 1.
    """
    return torch.stack([marked[labels == c].float().mean() for c in range(classes)])


def _labels_and_marked(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, int]:
    classes = sizes(generator, (3, 5))[0]
    counts = distinct(generator, classes, 6, 13)
    labels = torch.repeat_interleave(torch.arange(classes), torch.tensor(counts))
    marked = torch.cat([torch.arange(n) < 1 + n * (c + 1) // 8 for c, n in enumerate(counts)])
    order = torch.randperm(len(labels), generator=generator)
    return labels[order], marked[order], classes


MARKED_SHARE = Exercise(
    name="shortcut.marked_share",
    reference=marked_share,
    cases=_labels_and_marked,
    edges=(
        (torch.tensor([0, 0, 0]), torch.tensor([True, False, False]), 1),
        (torch.tensor([0]), torch.tensor([True]), 1),
        (torch.tensor([2, 1, 0]), torch.tensor([True, False, True]), 3),
        (torch.tensor([2, 1, 0]), torch.tensor([False, True, True]), 3),
        (torch.tensor([1, 0, 1, 0]), torch.zeros(4, dtype=torch.bool), 2),
        (torch.tensor([1, 0, 1, 0, 1]), torch.ones(5, dtype=torch.bool), 2),
        (torch.arange(24) % 12, normal(24) > 0, 12),
        (7 * torch.arange(300) % 12, torch.arange(300) % 7 > 4, 12),
    ),
    hints=(
        "Go class by class: which images belong to it, and which of those are marked?",
        "`marked[labels == c]` are the marks of class c; the mean of booleans is a share.",
        "`return torch.stack([marked[labels == c].float().___ for c in range(classes)])`",
    ),
    mistakes=(
        Mistake(
            lambda labels, marked, classes: (
                torch.bincount(labels[marked], minlength=classes) / marked.sum()
            ),
            "You asked of the marked images how many belong to each class; asked is the other "
            "way round: of each class's images, how many are marked.",
        ),
        Mistake(
            lambda labels, marked, classes: torch.bincount(
                labels[marked], minlength=classes
            ).float(),
            "You counted the marked images; divide by the size of the class.",
        ),
        Mistake(
            lambda labels, marked, classes: (
                torch.bincount(labels[marked], minlength=classes) / len(labels)
            ),
            "You divided by all images; divide by the size of the class.",
        ),
        Mistake(
            lambda labels, marked, classes: 1 - marked_share(labels, marked, classes),
            "You have the share that carries no mark.",
        ),
        Mistake(
            lambda labels, marked, classes: torch.bincount(labels, minlength=classes) / len(labels),
            "You have each class's share of the images; the marks are not in it.",
        ),
        Mistake(
            lambda labels, marked, classes: marked.float().mean().item(),
            "You have the share over all images; asked is one number a class.",
        ),
    ),
)


# worst_group


def worst_group(right: torch.Tensor, groups: torch.Tensor) -> float:
    """The accuracy in the group that comes off worst (Sagawa et al. 2020, section 2).

    right: bool (N,), whether the answer for each image is right. groups: int64 (N,), the number
    of each image's group; numbers may be missing. Returns a number from 0 to 1.
    """
    return min(right[groups == g].float().mean().item() for g in groups.unique())


def _right_and_groups(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Four groups of different sizes; each may be the worst, and some numbers are missing."""
    counts = [9, 20, *sizes(generator, (5, 7)), 12]
    shares = torch.tensor([0.8, 0.35 + 0.2 * float(torch.rand(1, generator=generator)), 0.7, 0.95])
    shares = shares[torch.randperm(4, generator=generator)].tolist()
    numbers = torch.randperm(7, generator=generator)[:4]
    groups = torch.repeat_interleave(numbers, torch.tensor(counts))
    right = torch.cat(
        [torch.arange(n) < round(share * n) for n, share in zip(counts, shares, strict=True)]
    )
    order = torch.randperm(len(groups), generator=generator)
    return right[order], groups[order]


def _smallest_group(right: torch.Tensor, groups: torch.Tensor) -> float:
    numbers, sizes = groups.unique(return_counts=True)
    return right[groups == numbers[sizes.argmin()]].float().mean().item()


def _group_accuracies(right: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    return torch.stack([right[groups == g].float().mean() for g in groups.unique()])


WORST_GROUP = Exercise(
    name="shortcut.worst_group",
    reference=worst_group,
    cases=_right_and_groups,
    edges=(
        (torch.tensor([True, False, True]), torch.tensor([4, 4, 4])),
        (torch.tensor([True]), torch.tensor([0])),
        (torch.tensor([False]), torch.tensor([3])),
        (torch.ones(5, dtype=torch.bool), torch.tensor([0, 7, 7, 0, 2])),
        (torch.tensor([True, False, True, True]), torch.tensor([0, 5, 5, 0])),
        (torch.tensor([True, False, True, False]), torch.tensor([1, 1, 2, 2])),
        (torch.arange(30) % 5 > 0, torch.arange(30) // 2),
        (torch.arange(12) % 3 < 2, torch.arange(12) % 3 * 150),
        (torch.tensor([True, False, True, False]), torch.tensor([2, 7, 2, 2])),
        ((torch.arange(300) % 77 != 60) | (torch.arange(300) < 77), torch.arange(300) % 77),
    ),
    hints=(
        "First an accuracy for each group that there is; then choose among them.",
        "`groups.unique()` lists the groups; `right[groups == g]` are the answers of one of them.",
        "`return ___(right[groups == g].float().mean().item() for g in groups.unique())`",
    ),
    mistakes=(
        Mistake(
            lambda right, groups: right.float().mean().item(),
            "You have the accuracy over all images: large groups hide small ones in it.",
        ),
        Mistake(
            lambda right, groups: _group_accuracies(right, groups).mean().item(),
            "You took the mean over the groups; asked is the worst.",
        ),
        Mistake(
            lambda right, groups: _group_accuracies(right, groups).max().item(),
            "That is the best group; asked is the worst.",
        ),
        Mistake(
            _smallest_group,
            "That is the group with the fewest images; asked is the lowest accuracy.",
        ),
        Mistake(
            lambda right, groups: 1 - worst_group(right, groups),
            "You have the share of wrong answers in the worst group; asked is the accuracy.",
        ),
        Mistake(
            lambda right, groups: int(_group_accuracies(right, groups).argmin()),
            "You returned which group is worst; asked is its accuracy.",
        ),
        Mistake(
            _group_accuracies,
            "You returned all groups' accuracies; asked is the lowest of them.",
        ),
    ),
)
