"""Right answers to the exercises of shortcut, each written in another way."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def _concentration_by_loop(heat: torch.Tensor, mark: torch.Tensor) -> float:
    pairs = list(zip(heat.double().flatten().tolist(), mark.flatten().tolist(), strict=True))
    on = [value for value, inside in pairs if inside]
    return (sum(on) / len(on)) / (sum(value for value, _ in pairs) / len(pairs))


def _coarse_view_by_loop(mark: torch.Tensor, size: int) -> torch.Tensor:
    height, width = mark.shape[0] // size, mark.shape[1] // size
    out = torch.zeros(size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            square = mark[i * height : (i + 1) * height, j * width : (j + 1) * width]
            out[i, j] = square.double().mean()
    return out


def _coarse_view_by_matmul(mark: torch.Tensor, size: int) -> torch.Tensor:
    rows, columns = (
        torch.eye(size).repeat_interleave(n // size, dim=1) * size / n for n in mark.shape
    )
    return rows @ mark.float() @ columns.T


def _called_after_by_loop(before: torch.Tensor, after: torch.Tensor, target: int) -> float:
    turned = [
        int(b.argmax() != target and a.argmax() == target)
        for b, a in zip(before, after, strict=True)
    ]
    return sum(turned) / sum(int(b.argmax() != target) for b in before)


def _called_after_in_numpy(before: torch.Tensor, after: torch.Tensor, target: int) -> np.ndarray:
    first, second = before.numpy().argmax(1), after.numpy().argmax(1)
    return np.mean(second[first != target] == target)


def _change_by_hand(before: torch.Tensor, after: torch.Tensor, target: int) -> torch.Tensor:
    def probability(scores: torch.Tensor) -> torch.Tensor:
        powers = scores.double().exp()
        return powers[:, target] / powers.sum(dim=1)

    return probability(after) - probability(before)


def _change_by_loop(before: torch.Tensor, after: torch.Tensor, target: int) -> list[torch.Tensor]:
    return [a.softmax(0)[target] - b.softmax(0)[target] for b, a in zip(before, after, strict=True)]


def _marked_share_by_loop(labels: torch.Tensor, marked: torch.Tensor, classes: int) -> list[float]:
    counts, marks = [0] * classes, [0] * classes
    for label, mark in zip(labels.tolist(), marked.tolist(), strict=True):
        counts[label] += 1
        marks[label] += mark
    return [m / n for m, n in zip(marks, counts, strict=True)]


def _marked_share_by_matmul(
    labels: torch.Tensor, marked: torch.Tensor, classes: int
) -> torch.Tensor:
    one_hot = F.one_hot(labels, classes).double()
    return marked.double() @ one_hot / one_hot.sum(0)


def _worst_group_in_numpy(right: torch.Tensor, groups: torch.Tensor) -> np.ndarray:
    answers, numbers = right.numpy(), groups.numpy()
    return np.min([answers[numbers == g].mean() for g in np.unique(numbers)])


def _worst_group_by_counting(right: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    sizes = torch.bincount(groups).double()
    hits = torch.bincount(groups, weights=right.double())
    return (hits / sizes)[sizes > 0].min()


def _worst_group_by_loop(right: torch.Tensor, groups: torch.Tensor) -> float:
    answers: dict[int, list[bool]] = {}
    for ok, group in zip(right.tolist(), groups.tolist(), strict=True):
        answers.setdefault(group, []).append(ok)
    return min(sum(oks) / len(oks) for oks in answers.values())


RIGHT = {
    "shortcut.concentration": (
        _concentration_by_loop,
        lambda heat, mark: (
            torch.einsum("ij,ij->", heat.double(), mark.double())
            / heat.double().sum()
            / mark.double().mean()
        ),
        lambda heat, mark: (heat.flatten() @ mark.flatten().float()) / mark.sum() / heat.mean(),
    ),
    "shortcut.coarse_view": (
        _coarse_view_by_loop,
        _coarse_view_by_matmul,
        lambda mark, size: F.adaptive_avg_pool2d(mark[None].double(), size)[0],
        lambda mark, size: (
            torch.einsum(
                "iajb->ij",
                mark.float().reshape(size, mark.shape[0] // size, size, mark.shape[1] // size),
            )
            / (mark.numel() / size**2)
        ),
    ),
    "shortcut.called_after": (
        _called_after_by_loop,
        _called_after_in_numpy,
        lambda before, after, target: (
            (before.argmax(1) != target).double()
            @ (after.argmax(1) == target).double()
            / (before.argmax(1) != target).sum()
        ),
    ),
    "shortcut.probability_change": (
        _change_by_hand,
        _change_by_loop,
        lambda before, after, target: torch.einsum(
            "nc,c->n",
            (after.double().softmax(1) - before.double().softmax(1)),
            torch.eye(before.shape[1]).double()[target],
        ),
    ),
    "shortcut.marked_share": (
        _marked_share_by_loop,
        _marked_share_by_matmul,
        lambda labels, marked, classes: (
            torch.einsum("nc,n->c", F.one_hot(labels, classes).float(), marked.float())
            / torch.bincount(labels, minlength=classes)
        ),
    ),
    "shortcut.worst_group": (_worst_group_in_numpy, _worst_group_by_counting, _worst_group_by_loop),
}
