"""The exercises' references at values worked out by hand, where a threshold or an edge decides."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from camwidgets.course.exercises._engine import exercises


def t(*values: object) -> torch.Tensor:
    """A float tensor of these rows or numbers."""
    return torch.tensor(values, dtype=torch.float64)


YES, NO = True, False
WORKED = [
    # from share · maximum on, and nothing just below: 0.98 · share is another share
    ("cam.bounding_box", (t([0, 0.495, 0.5, 1, 0.5, 0.499]), 0.5), (2, 0, 5, 1)),
    ("cam.bounding_box", (t([0, 3.95], [4, 8], [3.99, 0]), 0.5), (0, 1, 2, 2)),
    ("cam.bounding_box", (t([1, 2], [3, 4]), 1.0), (1, 1, 2, 2)),
    ("cam.bounding_box", (t([1, 2], [3, 4]), 0.25), (0, 0, 2, 2)),
    ("cam.normalize", (t([[1, -2]], [[0, 0]], [[-1, -4]]),), t([[1, -2]], [[0, 0]], [[0, 0]])),
    ("cam.normalize", (t([[1e-9, 5e-10]]),), t([[1, 0.5]])),
    ("cam.pointing_hit", (t([0.99, 1.0]), torch.tensor([[NO, YES]])), YES),
    ("cam.pointing_hit", (t([1.01, 1.0]), torch.tensor([[NO, YES]])), NO),
    ("cam.mass_inside", (t([1, 2, 5]), torch.tensor([[YES, NO, YES]])), 6 / 8),
    ("cam.mass_inside", (t([0, 0]), torch.tensor([[YES, NO]])), 0),
    ("cam.mass_inside", (t([1, 3]), torch.tensor([[NO, NO]])), 0),
    ("cam.global_average_pool", (t([[1, 2], [3, 6]], [[-4, 0], [0, 0]]),), t(3, -1)),
    ("cam.weighted_sum", (t([[1, 2]], [[3, -4]]), t(2, -1)), t([-1, 8])),
    ("trust.rank_accuracy", (t([4, 3, 2, 1]), torch.tensor([[YES, NO, YES, NO]])), 1 / 2),
    ("trust.rank_accuracy", (t([4, 3, 2, 1]), torch.tensor([[YES] * 4])), 1),
    ("trust.box_iou", ((0, 0, 4, 2), (2, 1, 6, 3)), 2 / 14),
    ("trust.box_iou", ((0, 0, 2, 2), (2, 0, 4, 2)), 0),
    ("trust.delete_hottest", (t([[8, 4, 2, 2]]), t([4, 3, 2, 1]), 0.5), t([[4, 4, 2, 2]])),
    ("trust.delete_hottest", (t([[8, 4, 2, 2]]), t([4, 3, 2, 1]), 0.49), t([[4, 4, 2, 2]])),
    ("trust.delete_hottest", (t([[8, 4, 2, 2]]), t([4, 3, 2, 1]), 0.0), t([[8, 4, 2, 2]])),
    ("trust.delete_hottest", (t([[8, 4, 2, 2]]), t([4, 3, 2, 1]), 1.0), t([[4, 4, 4, 4]])),
    ("trust.area", (t(0, 1, 0),), 1 / 2),
    ("trust.area", (t(1, 0),), 1 / 2),
    ("trust.similarity", (t([0, 1]), t([0, 1])), 1),
    ("trust.similarity", (t([0, 1]), t([1, 0])), (9e-4 - 0.5) / (9e-4 + 0.5)),
    ("trust.similarity", (t([0, 0]), t([1, 1])), 1e-4 / (1 + 1e-4)),
    ("trust.bootstrap_interval", (t(0, 40), torch.arange(2).repeat(41, 1)), (20, 20)),
    ("trust.bootstrap_interval", (t(*range(41)), torch.arange(41)[:, None]), (1, 39)),
    ("shortcut.concentration", (t([1, 2, 3]), torch.tensor([[NO, NO, YES]])), 1.5),
    ("shortcut.coarse_view", (torch.tensor([[YES, NO, YES, YES]] * 2), 1), t([0.75])),
    ("shortcut.called_after", (t([1, 0], [1, 0], [0, 1]), t([0, 1], [1, 0], [0, 1]), 1), 1 / 2),
    ("shortcut.probability_change", (t([0, 0]), t([math.log(3), 0]), 0), t(0.25)),
    ("shortcut.marked_share", (torch.tensor([0, 0, 1]), torch.tensor([YES, NO, NO]), 2), t(0.5, 0)),
    ("shortcut.worst_group", (torch.tensor([YES, NO, YES]), torch.tensor([4, 4, 9])), 1 / 2),
    ("guided.saliency", (t([[[1, -2]], [[-3, 0]]]),), t([[3, 2]])),
    ("guided.signed_picture", (t([[0, 1, -4]]),), t([[0.5, 0.625, 0]])),
    ("guided.cell_shares", (t([1, 2, 5]), torch.tensor([[2, 0, 1]])), t(5 / 8, 1 / 8)),
    ("guided.rank_correlation", (t([1, 2, 30]), t([3, 20, 1])), -1 / 2),
    ("training.accuracy", (t([0, 1], [0.49, 0.5], [1, 0]), torch.tensor([1, 0, 0])), 2 / 3),
    ("training.confusion", (torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2), [[1, 1], [0, 1]]),
    ("welcome.brightest", (t([0, 0.99], [1, 0]),), (1, 0)),
    (
        "your_own.to_input",
        (np.uint8([[[0, 51, 255], [255, 0, 51]]]), (0.5, 0.2, 0.0), (0.5, 0.1, 2.0)),
        [[[-1, 1]], [[0, -2]], [[0.5, 0.1]]],
    ),
    # the frame is 8 zeros, so each distance is the length of the pixel itself
    (
        "your_own.odd_colours",
        (np.uint8([[0, 0, 0], [0, 1, 0], [0, 0, 0]])[..., None] * [3, 4, 0],),
        [[0, 0, 0], [0, 5, 0], [0, 0, 0]],
    ),
    ("your_own.hottest_window", (t([9, 0, 0, 0], [0, 0, 5, 5], [0, 0, 5, 5]), 2), (1, 2)),
    ("your_own.hottest_window", (t([-1, -2], [-3, -0.5]), 1), (1, 1)),
    (
        "your_own.cover",
        (t([[1, 2], [3, 9]], [[0, 0], [3, 5]]), 1, 1, 1),
        [[[1, 2], [3, 2]], [[0, 0], [3, 1]]],
    ),
    ("your_own.p_value", (1.0, t(1, 2, 3)), 2 / 4),
    ("your_own.p_value", (0.0, t(1, 2, 3)), 1 / 4),
    ("your_own.p_value", (9.0, t(1, 2, 3)), 1),
    ("your_own.skill", (t(1, 3), t(0, 4), 2.0), 1 / 2),
    ("your_own.skill", (t(4, 0), t(0, 4), 2.0), -1),
]


@pytest.mark.parametrize(
    ("name", "given", "wanted"), WORKED, ids=[f"{name}-{k}" for k, (name, *_) in enumerate(WORKED)]
)
def test_reference_by_hand(name, given, wanted) -> None:
    answer = exercises()[name].reference(*given)
    np.testing.assert_allclose(np.asarray(answer), np.asarray(wanted), rtol=1e-6, atol=1e-9)
