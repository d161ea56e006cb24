"""Hints: the last one is a line of a right answer, and none is empty or a stranger."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import camwidgets as cw
from camwidgets.course.exercises import Exercise, diagnose, exercises
from camwidgets.course.exercises.grad_cam import alpha_weights, heat_map

EVERY = list(dict.fromkeys(exercises().values()))
every_exercise = pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.name)

HOOKED = """
kept = []
hook = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
output = model(images)
hook.remove()
"""

# What goes into the gap, and the lines round the hint where it is not the whole body.
GAPS = {
    "cam.global_average_pool": ("1, 2", "{}"),
    "cam.weighted_sum": ("ij", "{}"),
    "cam.all_classes": ("cij", "{}"),
    "cam.normalize": ("> 0", "peak = heat.amax((1, 2), True)\n{}"),
    "cam.overlay": ("(1 - alpha)", "{}"),
    "cam.bounding_box": (
        "+ 1",
        "rows, columns = torch.where(heat >= share * heat.max())\n{}",
    ),
    "cam.pointing_hit": ("heat.argmax()", "{}"),
    "cam.mass_inside": ("heat.sum()", "{}"),
    "clinic.features_at": ("layer", "kept = []\n{}\nmodel(images)\nhook.remove()\nreturn kept[0]"),
    "clinic.gradient_at": (
        "backward",
        HOOKED + "kept[0].retain_grad()\n{}\nreturn kept[0].grad",
    ),
    "clinic.top_class_maps": ("1", "{}"),
    "clinic.accumulate": ("0", "heat = heat_map(features, alpha)\n{}"),
    "clinic.steady_scores": (
        "eval",
        "before = model.training\n{}\noutput = model(images)\nmodel.train(before)\nreturn output",
    ),
    "grad_cam.alpha_weights": ("1", "{}"),
    "grad_cam.heat_map": ("relu", "{}"),
    "grad_cam.upsample_to": ("2", "{}"),
    "grad_cam.features_and_gradient": (
        "kept[0]",
        HOOKED + "{}\nreturn kept[0].detach(), gradient",
    ),
    "grad_cam.batch_maps": ("nij", "{}"),
    "grad_cam.difference": ("b", "{}"),
    "grad_cam.counterfactual": ("-", "{}"),
    "grad_cam.softmax_factor": ("p", "{}"),
    "grad_cam.near_count": ("-", "{}"),
    "guided.saliency": ("1", "{}"),
    "guided.three_rules": ("plain * (gradient > 0)", "{}\nreturn plain, deconvnet, guided"),
    "guided.gradient": (
        "0",
        "x = x.clone().requires_grad_()\nh = x\nfor layer in layers:\n"
        "    h = torch.relu(layer @ h)\n    {}\nh.sum().backward()\nreturn x.grad",
    ),
    "guided.signed_picture": ("values.abs().max()", "{}"),
    "guided.product": (":, None", "{}"),
    "guided.cell_shares": (
        "int(cells.max()) + 1",
        "shares = {}\nreturn shares if heat.any() else torch.zeros(int(cells.max()))",
    ),
    "guided.positive_weights": ("(1, 2)", "{}"),
    "guided.rank_correlation": (
        "argsort()",
        "{}\nothers = b.flatten().argsort().argsort()\n"
        "return torch.corrcoef(torch.stack([ranks, others]).double())[0, 1]",
    ),
    "shortcut.concentration": ("heat.mean()", "{}"),
    "shortcut.coarse_view": (
        "1",
        "H, W = mark.shape\nsquares = mark.float().reshape(size, H // size, size, W // size)\n{}",
    ),
    "shortcut.called_after": ("target", "others = before.argmax(dim=1) != target\n{}"),
    "shortcut.probability_change": ("before.softmax(dim=1)[:, target]", "{}"),
    "shortcut.marked_share": ("mean()", "{}"),
    "shortcut.worst_group": ("min", "{}"),
    "training.to_tensor": ("3, 1, 2", "{}"),
    "training.accuracy": ("1", "{}"),
    "training.confusion": (
        "p",
        "table = torch.zeros(classes, classes)\nfor t, p in zip(labels, predicted):\n    {}\n"
        "return table",
    ),
    "trust.rank_accuracy": (
        "hottest",
        "hottest = heat.flatten().topk(int(mask.sum())).indices\n{}",
    ),
    "trust.box_iou": (
        "overlap",
        "area_a, area_b = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))\n"
        "width = max(0, min(a[2], b[2]) - max(a[0], b[0]))\n"
        "overlap = width * max(0, min(a[3], b[3]) - max(a[1], b[1]))\n{}",
    ),
    "trust.delete_hottest": (
        "image.mean(dim=(1, 2), keepdim=True)",
        "gone = torch.zeros(heat.numel(), dtype=torch.bool)\n"
        "gone[heat.flatten().argsort(descending=True)[: int(share * heat.numel())]] = True\n{}",
    ),
    "trust.area": ("mean", "{}"),
    "trust.similarity": (
        "variance_b",
        "c1, c2 = 0.01**2, 0.03**2\ncovariance = ((a - a.mean()) * (b - b.mean())).mean()\n"
        "variance_a, variance_b = a.var(correction=0), b.var(correction=0)\n{}\n"
        "light = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)\n"
        "return light * structure",
    ),
    "trust.bootstrap_interval": ("0.975", "means = scores[draws].mean(dim=1)\n{}"),
    "welcome.brightest": ("1", "{}"),
    "your_own.to_input": (
        "torch.tensor(std)[:, None, None]",
        "pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255\n{}",
    ),
    "your_own.top_names": ("indices", "{}"),
    "your_own.odd_colours": (
        "-1",
        "edge = np.ones(picture.shape[:2], bool)\nedge[1:-1, 1:-1] = False\n{}",
    ),
    "your_own.hottest_window": ("1", "means = F.avg_pool2d(heat[None], side, stride=1)[0]\n{}"),
    "your_own.cover": (
        "image",
        "square = torch.zeros(image.shape[1:], dtype=torch.bool)\n"
        "square[top : top + side, left : left + side] = True\n"
        "colour = image[:, ~square].mean(dim=1)\n{}",
    ),
    "your_own.p_value": ("len(controls) + 1", "{}"),
    "your_own.skill": (
        "of_guess",
        "error, of_guess = ((p - values).abs().mean() for p in (predictions, guess))\n{}",
    ),
}


@every_exercise
def test_the_last_hint_with_its_gap_filled_is_right(exercise: Exercise) -> None:
    assert exercise.name in GAPS, (
        f'add to GAPS above: "{exercise.name}": (what goes into the gap, the lines round it)'
    )
    filling, lines = GAPS[exercise.name]
    code = exercise.hints[2].split("`")[1]
    assert "___" in code, f"the third hint has no gap: write ___ for it in {code!r}"
    body = lines.replace("{}", code.replace("___", filling))
    names = {
        **{"torch": torch, "nn": nn, "np": np, "F": F, "cw": cw},
        **{"heat_map": heat_map, "alpha_weights": alpha_weights},
    }
    exec(f"def mine({', '.join(exercise.parameters)}):\n{textwrap.indent(body, '    ')}", names)
    verdict = diagnose(exercise, names["mine"])
    assert verdict.kind == "right", (body, verdict)


@every_exercise
def test_the_hints_go_from_words_to_code(exercise: Exercise) -> None:
    where, which, line = exercise.hints
    for words in (where, which):
        assert len(words.split()) >= 6, f"a hint of fewer than six words: {words!r}"
        assert "___" not in words, f"only the third hint has a gap, not {words!r}"
    assert where != which
    assert line.startswith("`"), f"the third hint begins with its line of code: {line!r}"
    for text in (*exercise.hints, *(mistake.says for mistake in exercise.mistakes)):
        assert text.count("`") % 2 == 0, text
        assert text.strip() == text
        assert text


def test_no_hint_stands_in_two_exercises() -> None:
    hints = [text for exercise in EVERY for text in exercise.hints[:2]]
    assert len(set(hints)) == len(hints)


@every_exercise
def test_a_thousandth_is_too_much(exercise: Exercise) -> None:
    """A guard against a tolerance that is loosened."""

    def nudged(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(map(nudged, value))
        if isinstance(value, (bool, str, np.ndarray)):
            return value
        return value * 1.001 + 0.0005

    first = exercise.expected[0]
    names = isinstance(first, tuple) and isinstance(first[0], str)
    if names or isinstance(first, (bool, list, np.ndarray)):
        assert exercise.tolerance <= 1e-4
        return
    verdict = diagnose(exercise, lambda *given: nudged(exercise.reference(*given)))
    assert verdict.kind == "wrong", verdict
