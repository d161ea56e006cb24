"""Small changes to right answers: each is refused, unless it changes nothing that is asked."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from camwidgets.course.exercises import Exercise, diagnose, exercises
from camwidgets.course.exercises import _values as values

every_exercise = pytest.mark.parametrize(
    "exercise", dict.fromkeys(exercises().values()), ids=lambda e: e.name
)

# What may be done to a parameter, because the answer is the same by the text or by algebra:
# ranks and argmax do not feel a shift or a factor; a sum does not feel an order.
POINTWISE = "abs relu clamp"
NO_MATTER = {
    "cam.global_average_pool": {"features": "flip1 flip2 turn"},
    "grad_cam.alpha_weights": {"gradient": "flip1 flip2 turn"},
    "grad_cam.batch_maps": {"gradients": "flip2 flip3 turn"},
    "grad_cam.counterfactual": {"gradient": "flip1 flip2 turn"},
    "grad_cam.upsample_to": {"images": "abs relu clamp more shift flip0 flip1 flip2 flip3 zeros"},
    "grad_cam.difference": {"output": "shift"},
    "grad_cam.softmax_factor": {"output": "shift"},
    "guided.saliency": {"gradient": "abs flip1"},
    "guided.three_rules": {"x": "relu clamp more"},
    "guided.gradient": {"x": "more"},
    "guided.positive_weights": {"features": "abs relu clamp more", "gradient": "relu"},
    "guided.signed_picture": {"values": "more"},
    "guided.rank_correlation": {"a": "more shift squeeze", "b": "more shift squeeze"},
    "guided.product": {"heat": "abs relu"},
    "guided.cell_shares": {"heat": "abs relu more", "cells": "abs relu"},
    "cam.normalize": {"heat": "more"},
    "cam.overlay": {"image": "abs relu nine2", "colours": "abs relu nine2"},
    "cam.bounding_box": {"heat": "more"},
    "cam.pointing_hit": {"heat": "more shift squeeze"},
    "cam.mass_inside": {"heat": "abs relu more"},
    "clinic.accumulate": {"features": "more", "alpha": "more"},
    "clinic.top_class_maps": {"output": "more shift"},
    "shortcut.concentration": {"heat": "abs relu more"},
    "shortcut.called_after": {"before": "more shift", "after": "more shift"},
    "shortcut.probability_change": {"before": "shift", "after": "shift"},
    "shortcut.marked_share": {"labels": "abs relu squeeze"},
    "shortcut.worst_group": {"groups": "abs relu more shift squeeze"},
    "training.to_tensor": {"images": "abs relu"},
    "training.accuracy": {"scores": "more shift", "labels": "abs relu squeeze"},
    "training.confusion": {"labels": "abs relu", "predicted": "abs relu"},
    "trust.rank_accuracy": {"heat": "more shift squeeze"},
    "trust.delete_hottest": {"heat": "more shift"},
    "trust.area": {"curve": "flip0 squeeze"},
    "trust.similarity": {"a": "abs relu clamp squeeze", "b": "abs relu clamp squeeze"},
    "trust.bootstrap_interval": {"draws": "abs relu flip0 flip1"},
    "welcome.brightest": {"heat": "more shift"},
    "your_own.to_input": {"picture": "abs relu nine2"},
    "your_own.top_names": {"logits": "more shift squeeze"},
    "your_own.odd_colours": {"picture": "abs relu nine2 flip2 squeeze"},
    "your_own.hottest_window": {"heat": "more shift"},
    "your_own.p_value": {"controls": "flip0 squeeze"},
    "your_own.skill": {"predictions": "squeeze", "values": "squeeze"},
}


def changes(value: Any) -> Iterator[tuple[str, Callable]]:
    """Ways to look at a tensor that lose or distort something."""
    yield "abs", torch.abs
    yield "relu", lambda x: x.clamp(min=0)
    yield "clamp", lambda x: x.clamp(max=1)
    yield "zeros", torch.zeros_like
    yield "squeeze", torch.squeeze
    yield "more", lambda x: x * 1.01 if x.is_floating_point() else x + 1
    yield "shift", lambda x: x + 0.01 if x.is_floating_point() else x + 1
    for axis in range(value.ndim):
        yield f"flip{axis}", lambda x, axis=axis: x.flip(axis)
        yield f"first{axis}", lambda x, axis=axis: x.narrow(axis, 0, 1).expand_as(x)
        yield f"nine{axis}", lambda x, axis=axis: x.narrow(axis, 0, min(9, x.shape[axis]))
        yield f"last{axis}", lambda x, axis=axis: x.narrow(axis, 0, max(1, x.shape[axis] - 1))
    if value.ndim > 1:
        yield "turn", lambda x: x.transpose(-1, -2)


def seen_through(exercise: Exercise, place: int, change: Callable) -> Callable:
    """The reference, one of its arguments changed before."""

    def mutant(*arguments: Any) -> Any:
        changed = list(arguments)
        value = changed[place]
        if isinstance(value, np.ndarray):
            changed[place] = change(torch.from_numpy(value)).numpy().astype(value.dtype)
        else:
            changed[place] = change(value)
        return exercise.reference(*changed)

    return mutant


def agrees(exercise: Exercise, mutant: Callable, tolerance: float) -> bool:
    """Whether `mutant` answers every trial as the reference does."""
    for trial in exercise.trials:
        try:
            answer = mutant(*exercise.arguments(trial))
        except Exception:
            return False
        also = exercise.allowed[trial] if tolerance == exercise.tolerance else ()
        if not values.agree(answer, exercise.expected[trial], tolerance, also):
            return False
    return True


def accepted(exercise: Exercise, mutant: Callable) -> bool:
    return agrees(exercise, mutant, exercise.tolerance) and (
        diagnose(exercise, mutant).kind == "right"
    )


@every_exercise
def test_every_parameter_matters_and_so_do_its_sizes_and_signs(exercise: Exercise) -> None:
    tried = 0
    for place, name in enumerate(exercise.parameters):
        value = exercise.given[0][place]
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        ways: list[tuple[str, Callable]] = []
        if isinstance(value, torch.Tensor):
            ways = (
                list(changes(value)) if value.dtype != torch.bool else [("not", torch.bitwise_not)]
            )
        elif isinstance(value, (int, float)):
            ways = [("more", lambda x: x + 1), ("fixed", lambda x, value=value: value)]
        elif isinstance(value, (str, tuple, list)):
            ways = [("fixed", lambda x, value=value: value)]
        allowed = NO_MATTER.get(exercise.name, {}).get(name, "").split()
        for way, change in ways:
            mutant = seen_through(exercise, place, change)
            if way in allowed or (way.startswith(("nine", "last", "first")) and "images" in name):
                continue
            tried += 1
            assert not accepted(exercise, mutant), (
                f"accepted too after `{way}` (see changes) of `{name}`: add a trial to `cases` or "
                f"`edges` that tells them apart; or, where the text allows it, add to NO_MATTER"
            )
    assert tried or exercise.name == "clinic.steady_scores"


OTHER = {
    "mean": ("sum", "amax"),
    "sum": ("mean",),
    "amax": ("amin", "mean"),
    "max": ("min",),
    "min": ("max",),
    "argmax": ("argmin",),
    "softmax": ("log_softmax", "sigmoid"),
}
COMPARISONS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE, ast.Eq, ast.NotEq)
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv)


def mutations(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Programs that differ from this one in one place."""
    for node in ast.walk(tree):
        fields: list[tuple[str, Any]] = []
        if isinstance(node, ast.Attribute):
            fields = [("attr", other) for other in OTHER.get(node.attr, ())]
        elif isinstance(node, ast.Compare):
            fields = [("ops", [o()]) for o in COMPARISONS if type(node.ops[0]) is not o]
        elif isinstance(node, ast.BinOp):
            fields = [("op", o()) for o in ARITHMETIC if type(node.op) is not o]
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            fields = [("value", node.value + 1), ("value", node.value - 1)]
        elif isinstance(node, ast.Constant) and type(node.value) is float:
            fields = [("value", node.value * 1.01), ("value", node.value * 0.99)]
        elif isinstance(node, ast.IfExp):
            fields = [("test", ast.Constant(True)), ("test", ast.Constant(False))]
        for name, value in fields:
            before = getattr(node, name)
            setattr(node, name, value)
            yield f"{type(node).__name__} {name}", ast.unparse(ast.fix_missing_locations(tree))
            setattr(node, name, before)


@every_exercise
def test_a_change_in_one_place_of_the_code_is_noticed(exercise: Exercise) -> None:
    module = sys.modules[exercise.reference.__module__]
    source = textwrap.dedent(inspect.getsource(exercise.reference))
    for what, program in mutations(ast.parse(source)):
        names = dict(vars(module))
        exec(program, names)
        mutant = names[exercise.reference.__name__]
        if accepted(exercise, mutant):
            assert agrees(exercise, mutant, 1e-7), (
                f"accepted, but it answers otherwise; add to `edges`: {what}\n{program}"
            )
