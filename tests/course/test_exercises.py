"""The engine of the exercises, and every exercise of every catalogue."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from answers import RIGHT, WRONG

from camwidgets import normalize as of_the_library
from camwidgets.course.exercises import Exercise, Mistake, check, diagnose, exercises, hint
from camwidgets.course.exercises import _engine as engine
from camwidgets.course.exercises import _running as running
from camwidgets.course.exercises import _values as values

every_exercise = pytest.mark.parametrize(
    "exercise", dict.fromkeys(exercises().values()), ids=lambda e: e.name
)


# Every registered exercise


def numeric(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray, bool, int, float, np.generic))


def perturbations(value: Any, rng: np.random.Generator) -> Iterator[Any]:
    """Wrong variants of a right answer: turned, moved, scaled, of another shape or type."""
    if isinstance(value, str):
        yield from (value + "x", value[:-1], value.swapcase() + ".", len(value))
    elif isinstance(value, (list, tuple)):
        yield from (value[1:], (*value, value[-1]), value[::-1])
        place = rng.integers(len(value))
        for wrong in perturbations(value[place], rng):
            yield (*value[:place], wrong, *value[place + 1 :])
    elif isinstance(value, (bool, np.bool_)):
        yield from (not value, [value, value], 0.5)
    else:
        right = torch.as_tensor(value).detach().double().numpy()
        size = np.abs(right).max() or 1.0
        wrongs = [right * f for f in (-1.0, 0.0, 0.9, 1.1, 2.0)]
        wrongs += [right + s * size for s in (-0.5, -0.02, 0.02, 0.5, 1.0, np.nan, np.inf)]
        wrongs += [right + rng.uniform(0.02, 0.5) * size * rng.choice([-1, 1], right.shape)]
        wrongs += [[right, right], str(right)]
        for axis in range(right.ndim):
            wrongs += [np.roll(right, 1, axis), right.mean(axis), right.take([0], axis)]
            wrongs += [np.flip(right, axis), right.sum(axis, keepdims=True)]
        if right.ndim > 1:
            wrongs += [right.T, right.swapaxes(-1, -2)]
        if right.ndim:
            wrongs.append(right[..., None])
            one = right.copy()
            one[tuple(rng.integers(right.shape))] += 0.02 * size * rng.choice([-1, 1])
            wrongs.append(one)
        as_asked = np.uint8 if getattr(value, "dtype", None) in (torch.uint8, np.uint8) else None
        for wrong in wrongs:
            if as_asked and isinstance(wrong, np.ndarray):
                yield np.nan_to_num(wrong).clip(0, 255).astype(np.uint8)
            else:
                yield wrong


@every_exercise
def test_reference_is_right(exercise: Exercise) -> None:
    verdict = diagnose(exercise, exercise.reference)
    assert verdict.kind == "right", verdict
    assert "changes its input" not in str(verdict)


@every_exercise
def test_right_spellings_are_never_refused(exercise: Exercise) -> None:
    catalogue = exercise.name.split(".")[0]
    assert len(RIGHT.get(exercise.name, ())) >= 3, (
        f"tests/course/answers/{catalogue}.py needs three right answers or more to {exercise.name}"
    )
    for spelling in RIGHT[exercise.name]:
        verdict = diagnose(exercise, spelling)
        assert verdict.kind == "right", verdict


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused(name: str) -> None:
    for number, answer in enumerate(WRONG[name]):
        assert diagnose(exercises()[name], answer).kind == "wrong", number


@pytest.mark.parametrize("name", ["cam.bounding_box", "cam.pointing_hit"])
def test_wrong_answers_are_not_taken_for_another_mistake(name: str) -> None:
    exercise = exercises()[name]
    for answer in WRONG[name]:
        verdict = diagnose(exercise, answer)
        assert not any(mistake.says in verdict.lines for mistake in exercise.mistakes), verdict


@every_exercise
def test_right_answers_of_another_make_are_accepted(exercise: Exercise) -> None:
    """float64, numpy, detached or part of a graph, lists: the same answer."""

    def converted(value: Any, into: Callable) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(converted(item, into) for item in value)
        return value if isinstance(value, (str, bool)) or values.is_uint8(value) else into(value)

    makes = [
        lambda value: torch.as_tensor(value).detach().double(),
        lambda value: torch.as_tensor(value).detach().double().requires_grad_(),
        lambda value: torch.as_tensor(value).detach().numpy(),
        lambda value: torch.as_tensor(value).tolist(),
    ]
    for make in makes:
        answers = tuple(converted(value, make) for value in exercise.expected)
        verdict = engine.judge(exercise, answers)
        assert verdict.kind == "right", verdict


@every_exercise
def test_mistakes_are_recognised_by_their_own_sentence(exercise: Exercise) -> None:
    for mistake in exercise.mistakes:
        verdict = diagnose(exercise, mistake.answer)
        assert verdict.kind == ("note" if mistake.method else "wrong"), mistake.says
        assert mistake.says in verdict.lines, verdict
        assert sum(other.says in verdict.lines for other in exercise.mistakes) == 1


@every_exercise
def test_stubs_hand_back_the_reference(exercise: Exercise) -> None:
    for nothing in (None, ...):
        handed_back = check(exercise.name, lambda *arguments, nothing=nothing: nothing)
        assert handed_back is exercise.reference


@every_exercise
def test_500_perturbed_answers_are_refused(exercise: Exercise) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for attempt in count():
        trial = attempt % len(exercise.expected)
        for wrong in perturbations(exercise.expected[trial], rng):
            same = numeric(wrong) and np.array_equal(
                np.asarray(wrong, dtype=float), np.asarray(exercise.expected[trial], dtype=float)
            )
            if same or values.agree(wrong, exercise.expected[trial], 1e-6):
                continue  # such as a symmetric map, mirrored
            expected, also = exercise.expected[trial], exercise.allowed[trial]
            assert not values.agree(wrong, expected, exercise.tolerance, also), (wrong, expected)
            if refused % 25 == 0:
                answers = [*exercise.expected[:trial], wrong, *exercise.expected[trial + 1 :]]
                assert engine.judge(exercise, answers).kind != "right"
            refused += 1
        if refused >= 500:
            break
        assert attempt < 1000, "no wrong answers to try"


@every_exercise
def test_exercise_is_complete(exercise: Exercise) -> None:
    doc = exercise.reference.__doc__ or ""
    assert "Returns" in doc, "the docstring says what is given and what is asked"
    assert len(exercise.hints) == 3
    assert "___" in exercise.hints[2], "the last hint is the line with one gap"
    assert len({mistake.says for mistake in exercise.mistakes}) == len(exercise.mistakes)
    catalogue = exercise.name.partition(".")[0]
    assert exercise.reference.__module__ == f"camwidgets.course.exercises.{catalogue}"


@every_exercise
def test_trials_repeat_exactly_and_leave_the_global_generator_alone(exercise: Exercise) -> None:
    state, again = torch.get_rng_state(), replace(exercise)
    for trial in exercise.trials:
        assert not values.touched(exercise.arguments(trial), again.arguments(trial))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(exercise.inputs)) > 1, "sizes vary"


@every_exercise
def test_verdicts_hold_no_right_answer(exercise: Exercise) -> None:
    for expected, trial in zip(exercise.expected, exercise.trials, strict=True):
        if not numeric(expected) or torch.as_tensor(expected).numel() == 1:
            continue
        wrong = torch.full(expected.shape, 77)
        answers = [wrong if t == trial else exercise.expected[t] for t in exercise.trials]
        text = str(engine.judge(exercise, answers))
        for value in torch.as_tensor(expected).double().unique().tolist()[:500]:
            if len(shown := f"{value:.4g}") > 4:  # a short one may be part of a size
                assert shown not in text


# The engine, on an exercise of its own


def weighted(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum over the rows. values: (n, m), weights: (n,). Returns (m,)."""
    return weights @ values


def draw(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    n, m = (torch.randperm(5, generator=generator)[:2] + 2).tolist()
    return torch.randn(n, m, generator=generator), torch.rand(n, generator=generator) + 0.5


def toy_exercise(reference: Callable = weighted, **changes: Any) -> Exercise:
    parts = {
        "cases": draw,
        "hints": ("Look at the rows.", "Multiply, then add.", "return weights @ ___"),
        "mistakes": (
            Mistake(lambda values, weights: values.sum(0), "You left the weights out."),
            Mistake(lambda values, weights: values @ values.T, "You multiplied values by values."),
        ),
    }
    return Exercise("toy.weighted", reference, **(parts | changes))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Exercise:
    exercise = toy_exercise()
    monkeypatch.setitem(exercises(), exercise.name, exercise)
    monkeypatch.setattr(engine, "_steps", {})
    return exercise


def verdict_on(function: Any, exercise: Exercise | None = None) -> str:
    verdict = diagnose(exercise or toy_exercise(), function)
    assert verdict.kind != "right"
    return str(verdict)


def test_right_function_comes_back_itself(toy: Exercise, capsys: pytest.CaptureFixture) -> None:
    def mine(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (values * weights[:, None]).sum(0)

    assert check(toy.name, mine) is mine
    out = capsys.readouterr().out
    assert out.startswith("✓ Right\n")
    assert "values (" in out, "says what it tried"


def test_wrong_function_is_replaced_by_the_reference(
    toy: Exercise, capsys: pytest.CaptureFixture
) -> None:
    assert check(toy.name, lambda values, weights: values.sum(0)) is weighted
    out = capsys.readouterr().out
    assert out.startswith("✗ Not yet\n  You left the weights out.\n")
    assert 'hint("toy.weighted")' in out


def test_verdicts_are_the_same_at_every_run(toy: Exercise) -> None:
    for function in (weighted, lambda values, weights: values, lambda values, weights: {}["x"]):
        assert repr(diagnose(toy, function)) == repr(diagnose(toy_exercise(), function))


def test_html_says_the_same_is_escaped_and_read_out() -> None:
    def raises(values: torch.Tensor, weights: torch.Tensor) -> None:
        raise ValueError("<b> & </b>")

    html = diagnose(toy_exercise(), raises)._repr_html_()
    assert 'role="status"' in html
    assert "&lt;b&gt; &amp; &lt;/b&gt;" in html
    assert "Your function raises an error" in html


def test_unknown_exercise_lists_the_known_ones() -> None:
    for ask in (lambda: check("cam.nothing", weighted), lambda: hint("cam.nothing")):
        with pytest.raises(ValueError, match=r"'cam\.nothing'.*welcome\.brightest"):
            ask()


def test_hints_go_one_step_further_each_time(toy: Exercise, capsys: pytest.CaptureFixture) -> None:
    shown = []
    for _ in range(5):
        hint(toy.name)
        shown.append(capsys.readouterr().out)
    for step in range(3):
        assert f"Hint {step + 1} of 3" in shown[step]
        assert toy.hints[step] in shown[step]
        assert "last hint" not in shown[step]
    assert shown[3] == shown[4]
    assert toy.hints[2] in shown[3]
    assert "last hint" in shown[3]


@pytest.mark.parametrize("nothing", [None, ...])
def test_nothing_there_yet(nothing: Any) -> None:
    text = verdict_on(lambda values, weights: nothing)
    assert text.startswith("○ Nothing there yet")


def test_an_error_is_told_with_the_learners_own_line() -> None:
    def helper(values: torch.Tensor) -> torch.Tensor:
        return values @ torch.ones(99)

    def mine(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return 2 * helper(values)

    text = verdict_on(mine)
    line = helper.__code__.co_firstlineno + 1
    assert "RuntimeError: size mismatch" in text
    assert f"It happens in your line {line}: `return values @ torch.ones(99)`" in text
    assert "Traceback" not in text
    assert __file__ not in text


def test_an_error_inside_a_module_is_told_with_the_learners_own_line() -> None:
    class Net(torch.nn.Module):
        def forward(self, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return values.nonsense()

    assert "return values.nonsense()" in verdict_on(Net())


def test_an_error_message_holds_no_address() -> None:
    def mine(values: torch.Tensor, weights: torch.Tensor) -> None:
        raise RuntimeError(f"cannot use {object()}")

    assert not re.search("0x[0-9a-f]", verdict_on(mine))


def recurse(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return recurse(values, weights)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (recurse, "RecursionError"),
        (lambda values, weights: sys.exit(3), "SystemExit: 3"),
        (lambda values, weights: next(iter(())), "StopIteration"),
        (lambda values, weights: [][0], "IndexError: list index out of range"),
        (torch.bmm, "RuntimeError"),
    ],
)
def test_no_error_gets_out(function: Callable, said: str) -> None:
    assert said in verdict_on(function)


def test_an_interruption_does_get_out() -> None:
    def interrupted(values: torch.Tensor, weights: torch.Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        diagnose(toy_exercise(), interrupted)


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (torch.zeros(2, 3), "check was given shape (2, 3)"),
        (None, "check was given a NoneType"),
        (lambda values: values, "Asked is `(values, weights)`; your function takes `(values)`."),
        (lambda: 1, "your function takes `()`"),
        (lambda values, weights, more: 1, "your function takes `(values, weights, more)`"),
    ],
)
def test_what_cannot_be_called_so(thing: Any, said: str) -> None:
    assert said in verdict_on(thing)


async def coroutine(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return weights @ values


def generator(values: torch.Tensor, weights: torch.Tensor) -> Iterator[torch.Tensor]:
    yield weights @ values


class Strange:
    """Nothing about it can be asked."""

    def __getattr__(self, name: str) -> None:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize(
    ("function", "came_back"),
    [
        (lambda values, weights: (weights @ values)[None], "shape (1, "),
        (lambda values, weights: 3.0, "one number"),
        (lambda values, weights: "a map", "a string"),
        (lambda values, weights: {"a": 1}, "a dict"),
        (lambda values, weights: [[1.0], [2.0, 3.0]], "a list of 2"),
        (lambda values, weights: [object()], "a list of 1"),
        (lambda values, weights: np.array(["a"]), "a ndarray"),
        (lambda values, weights: Strange(), "a Strange"),
        (lambda values, weights: (weights @ values).to_sparse(), "a Tensor"),
        (lambda values, weights: (weights @ values) * 1j, "a Tensor"),
        (lambda values, weights: torch.zeros(3, device="meta"), "a Tensor"),
        (lambda values, weights: weighted, "a function"),
        (coroutine, "A coroutine"),
        (generator, "A generator"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_another_form_than_asked(function: Callable, came_back: str) -> None:
    text = verdict_on(function)
    assert text.startswith("✗ Not the form that is asked")
    assert came_back in text


def test_a_mistake_of_another_shape_gets_its_sentence_too() -> None:
    text = verdict_on(lambda values, weights: values @ values.T)
    assert "Not the form that is asked" in text
    assert "You multiplied values by values." in text


def test_a_mistake_in_float64_numpy_is_recognised() -> None:
    text = verdict_on(lambda values, weights: values.double().numpy().sum(0))
    assert "You left the weights out." in text


def test_a_mistake_is_recognised_where_the_learner_took_care_of_the_edges() -> None:
    exercise = toy_exercise(
        reference=lambda values: values / values.max() if values.any() else values,
        cases=lambda generator: (torch.rand(4, generator=generator),),
        edges=((torch.zeros(4),),),
        mistakes=(Mistake(lambda values: values / values.sum(), "You divided by the sum."),),
    )
    careful = verdict_on(lambda values: values / (values.sum() or 1), exercise)
    assert "You divided by the sum." in careful
    only_the_edge = verdict_on(lambda values: values / values.max(), exercise)
    assert "You divided by the sum." not in only_the_edge
    assert "NaN" in only_the_edge
    assert "of zeros" in only_the_edge


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda values, weights: -(weights @ values), "Every value has the wrong sign."),
        (lambda values, weights: 3 * (weights @ values), "off by a constant factor"),
        (lambda values, weights: (weights @ values) / len(weights), "changes with the input"),
        (lambda values, weights: (weights @ values) / 0, "NaN or infinite"),
        (lambda values, weights: (weights @ values) * torch.nan, "NaN or infinite"),
        (lambda values, weights: (weights @ values) + 50, "values differ, the first at [0]"),
    ],
)
def test_unrecognised_answers_are_told_apart(function: Callable, said: str) -> None:
    text = verdict_on(function)
    assert said in text
    others = ("wrong sign", "constant factor", "changes with the input", "NaN or infinite")
    assert [o for o in others if o in text and o not in said] == []


def test_transposed_answers_are_named_square_or_not() -> None:
    for sizes in ((3, 4), (3, 3)):
        exercise = toy_exercise(
            reference=lambda values: values + 1,
            cases=lambda generator, sizes=sizes: (torch.randn(sizes, generator=generator),),
            mistakes=(),
        )
        assert "transposed" in verdict_on(lambda values: values.T + 1, exercise)
        assert "transposed" not in verdict_on(lambda values: values.T + 2, exercise)


def test_a_size_written_into_the_code_is_suspected() -> None:
    exercise = toy_exercise()
    n = min(len(exercise.arguments(trial)[1]) for trial in exercise.trials)

    def mine(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return weights[:n] @ values[:n]

    assert "should come from the input" in verdict_on(mine)


def test_a_size_of_edges_alone_is_not_suspected() -> None:
    exercise = toy_exercise(edges=((-torch.rand(9, 2), torch.rand(9)),) * 2)
    text = verdict_on(lambda values, weights: weights[-9:] @ values * (len(weights) == 9), exercise)
    assert "Right where axis 0 of `weights` has length 9, and only there." in text


def test_what_is_right_on_the_edges_alone_is_no_hint_at_a_size() -> None:
    exercise = toy_exercise(
        reference=lambda values: values.sum(0) + values.any(),
        cases=lambda generator: (torch.rand(3, 2, generator=generator),),
        edges=((torch.zeros(3, 2),),),
        mistakes=(),
    )
    edge_alone = verdict_on(lambda values: values.sum(0), exercise)
    assert "Right on" not in edge_alone
    all_but_the_edge = verdict_on(lambda values: values.sum(0) + 1, exercise)
    assert "Right on the 12 random inputs, not on values (3, 2) of zeros." in all_but_the_edge
    assert "should come from the input" not in edge_alone + all_but_the_edge


def test_where_it_differs_is_told_with_the_learners_value_only() -> None:
    exercise = toy_exercise(
        reference=lambda values: values * 0 + 0.1234,
        cases=lambda generator: (torch.rand(2, 3, generator=generator),),
        mistakes=(),
    )
    off = torch.full((2, 3), 0.1234)
    off[1, 2] = 0.5678
    text = verdict_on(lambda values: off, exercise)
    assert "1 of 6 values differ, the first at [1, 2], where yours is 0.5678." in text
    assert "0.1234" not in text


def test_tuples_are_compared_item_by_item() -> None:
    exercise = toy_exercise(
        reference=lambda values: (values.sum(0), len(values), "rows"),
        cases=lambda generator: (torch.rand(3, 2, generator=generator),),
        mistakes=(),
    )

    def answer(*parts: Any) -> str:
        return str(diagnose(exercise, lambda values: parts))

    total = exercise.expected[0][0]
    right = diagnose(exercise, lambda values: [values.numpy().sum(0), np.int64(3), "rows"])
    assert right.kind == "right"
    told = str(diagnose(exercise, lambda values: (2 * values.sum(0), 4, "columns")))
    assert "Item 0 of what came back is not right: 2 of 2 values differ, the first at [0]" in told
    assert f"where yours is {2 * total[0]:.4g}." in told
    assert "Item 1 of what came back is not right: it is 4." in told
    assert "Item 2 of what came back is not right: it is 'columns'." in told
    told = answer(total * float("nan"), 3, "rows")
    assert "Item 0 of what came back is not right: 2 of 2 values differ" in told
    assert "where yours is nan." in told
    assert "What is asked: a tuple of 3" in answer(total, 3)
    assert "What came back: shape (2,). What is asked: one number" in answer(total, total, "rows")
    pair = toy_exercise(
        reference=lambda values: (values, -values), cases=exercise.cases, mistakes=()
    )
    text = verdict_on(lambda values: [values] * 3, pair)
    assert "What came back: a list of 3. What is asked: a tuple of 2." in text


def test_uint8_is_asked_where_the_right_answer_is_uint8() -> None:
    exercise = toy_exercise(
        reference=lambda image: 255 - image,
        cases=lambda generator: (
            torch.randint(256, (3, 4), generator=generator).to(torch.uint8).numpy(),
        ),
        mistakes=(),
    )
    assert diagnose(exercise, lambda image: torch.from_numpy(~image)).kind == "right"
    assert "uint8 is asked" in verdict_on(lambda image: 255.0 - image, exercise)


# Whatever the answer does


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SECONDS", 0.2)


def endless(values: torch.Tensor, weights: torch.Tensor) -> None:
    while True:
        pass


def stubborn(values: torch.Tensor, weights: torch.Tensor) -> None:
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def chatty(values: torch.Tensor, weights: torch.Tensor) -> None:
    while True:
        print("still here")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("function", [endless, stubborn, chatty])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_endless_loop_is_given_up(
    toy: Exercise, function: Callable, elsewhere: bool, capsys: pytest.CaptureFixture
) -> None:
    if elsewhere and function is stubborn:
        pytest.skip("without signals it may go on for long")
    handed_back = []
    if elsewhere:
        thread = threading.Thread(target=lambda: handed_back.append(check(toy.name, function)))
        thread.start()
        thread.join()
    else:
        handed_back.append(check(toy.name, function))
    assert handed_back == [weighted]
    text = capsys.readouterr().out
    assert "Your function does not come back" in text
    assert "after 0.2 seconds" in text
    assert len(text) < 4000


def test_what_it_prints_and_draws_is_shown_once(
    toy: Exercise, capsys: pytest.CaptureFixture
) -> None:
    def mine(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        print("shape", tuple(values.shape))
        print("oh", file=sys.stderr)
        plt.figure()
        return weights @ values

    figures = plt.get_fignums()
    check(toy.name, mine)
    shown = capsys.readouterr()
    assert shown.out.count("shape") == shown.err.count("oh") == 1
    assert shown.out.startswith(f"shape {tuple(toy.arguments(0)[0].shape)}")
    assert plt.get_fignums() == figures


def disturb(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    torch.autograd.set_detect_anomaly(True)
    torch.inference_mode().__enter__()
    torch.set_printoptions(precision=1)
    torch.manual_seed(9)
    torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    np.random.seed(9)
    np.seterr(all="raise")
    np.set_printoptions(precision=1)
    random.seed(9)
    warnings.simplefilter("error")
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)
    os.environ["CAMWIDGETS_TEST"] = "1"
    os.chdir(os.sep)
    return weights @ values


def test_global_state_is_as_before() -> None:
    def state() -> list:
        return [
            *(str(get()) for get, _ in running._GLOBALS),
            torch.is_inference_mode_enabled(),
            warnings.filters[:],
            running._global_hooks(),
            torch.overrides._get_current_function_mode_stack(),
        ]

    before = state()
    for function in (disturb, lambda values, weights: disturb(values, weights) / 0):
        diagnose(toy_exercise(), function)
        assert state() == before


def test_hooks_on_all_modules_are_refused_too() -> None:
    assert "other hooks" in verdict_on(disturb)


@pytest.mark.parametrize("exercise", list(dict.fromkeys(exercises().values()))[::6])
def test_references_are_right_in_any_global_state(exercise: Exercise) -> None:
    fresh = replace(exercise)  # nothing is worked out yet
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")
            assert diagnose(fresh, fresh.reference).kind == "right"
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(dtype)


class Unspeakable(BaseException):
    def __str__(self) -> str:
        raise SystemExit


class Untouchable:
    def __getattribute__(self, name: str) -> None:
        raise SystemExit


class Nameless(type):
    __name__ = property(lambda cls: 1 / 0)


itself: list = []
itself.append(itself)
nested: list = []
for _ in range(5000):
    nested = [nested]


ODD_RESULTS = {
    "untouchable": Untouchable,
    "nameless": Nameless("Odd", (), {}),
    "recursive": lambda: itself,
    "nested": lambda: nested,
    "huge tensor": lambda: torch.zeros(1).expand(10**12),
    "long list": lambda: [0] * 10**6,
    "long string": lambda: "x" * 10**6,
    "endless": count,
    "long range": lambda: range(10**15),
    "objects": lambda: np.array([object()]),
    "complex tensor": lambda: torch.zeros(3) * 1j,
    "complex array": lambda: np.zeros(3) * 1j,
    "dict": lambda: {1: 2},
    "error": lambda: ValueError("no"),
}


@pytest.mark.parametrize("kind", ODD_RESULTS)
def test_check_survives_any_result(toy: Exercise, kind: str, capsys: pytest.CaptureFixture) -> None:
    assert check(toy.name, lambda values, weights: ODD_RESULTS[kind]()) is weighted
    assert len(capsys.readouterr().out) < 1000


def test_check_survives_an_error_that_cannot_be_told() -> None:
    def mine(values: torch.Tensor, weights: torch.Tensor) -> None:
        raise Unspeakable

    assert "Unspeakable" in verdict_on(mine)


# Whose function, and what comes back


def test_a_function_that_was_lent_is_not_the_learners(capsys: pytest.CaptureFixture) -> None:
    lent = check("cam.weighted_sum", lambda features, weights: ...)
    for handed_over, named in ((lent, "lent you"), (of_the_library, "of camwidgets")):
        capsys.readouterr()
        assert check("cam.weighted_sum", handed_over) is lent
        text = capsys.readouterr().out
        assert "That is not your function" in text
        assert named in text
        assert "Right" not in text


def test_a_result_of_another_form_comes_in_the_form_that_is_asked(toy: Exercise) -> None:
    def mine(values: torch.Tensor, weights: torch.Tensor) -> list[float]:
        return (weights.double() @ values.double()).tolist()

    formed = check(toy.name, mine)
    assert formed is not mine
    assert formed.__name__ == "mine"
    values_, weights = toy.arguments(3)
    assert values.same_form(formed(values_, weights), weighted(values_, weights))
    assert check(toy.name, formed) is not formed, "the learner's own is judged again"
    assert check(toy.name, formed)._learners is mine


def test_gradients_run_through_what_check_hands_back() -> None:
    for mine in (
        lambda output, a, b: [float(row[a] - row[b]) for row in output],
        lambda output, a, b: output.numpy()[:, a] - output.numpy()[:, b],
        lambda output, a, b: (output[:, a] - output[:, b]).detach(),
        lambda output, a, b: [row[a] - row[b] for row in output.double()],
    ):
        score = check("grad_cam.difference", mine)
        output = torch.randn(3, 4).requires_grad_()
        score(output, 1, 2).sum().backward()
        assert torch.equal(output.grad, torch.tensor([0.0, 1, -1, 0]).expand(3, 4))
        assert torch.allclose(score(output, 1, 2), output[:, 1] - output[:, 2])


@every_exercise
def test_what_is_handed_back_has_the_form_that_is_asked(exercise: Exercise) -> None:
    for answer in RIGHT[exercise.name]:
        handed_back = check(exercise.name, answer)
        for trial in exercise.trials:
            result = handed_back(*exercise.arguments(trial))
            assert values.same_form(result, exercise.expected[trial]), answer


@pytest.mark.parametrize(
    "make",
    [
        lambda result: map(float, result),
        lambda result: (value for value in result),
        lambda result: dict(enumerate(result)).values(),
        lambda result: deque(result.tolist()),
        lambda result: result.half(),
        lambda result: result.bfloat16(),
        lambda result: result.numpy().astype(np.float16),
        lambda result: [Fraction(value) for value in result.tolist()],
    ],
)
def test_right_results_of_any_kind(make: Callable) -> None:
    verdict = diagnose(toy_exercise(), lambda values, weights: make(weights @ values))
    assert verdict.kind == "right", verdict


@pytest.mark.parametrize("make", [np.array, torch.tensor, list, lambda one: np.array([one])])
def test_one_number_may_stand_in_an_array(make: Callable) -> None:
    exercise = toy_exercise(reference=lambda values, weights: values.sum().item(), mistakes=())
    verdict = diagnose(exercise, lambda values, weights: make([values.sum().item()]))
    assert verdict.kind == "right"
    two = verdict_on(lambda values, weights: make([values.sum().item()] * 2), exercise)
    assert "What is asked: one number" in two


def test_half_precision_is_named() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        near = diagnose(toy_exercise(), lambda values, weights, d=dtype: (weights @ values).to(d))
        far = verdict_on(lambda values, weights, d=dtype: (1.02 * (weights @ values)).to(d))
        assert near.kind == "right"
        assert name in str(near)
        assert name in far


# What is left behind


def test_each_trial_gets_its_own_inputs_and_changes_to_them_are_mentioned() -> None:
    exercise = toy_exercise(edges=((torch.ones(2, 3), torch.ones(2)),))

    def in_place(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return values.mul_(weights[:, None]).sum(0)

    for _ in range(2):
        verdict = diagnose(exercise, in_place)
        assert verdict.kind == "right"
        assert "changes its input" in str(verdict)
    assert "changes its input" not in str(diagnose(exercise, weighted))


def test_changes_to_a_model_are_noticed() -> None:
    exercise = toy_exercise(
        reference=lambda model, values: model(values),
        cases=lambda generator: (torch.nn.Linear(3, 2), torch.rand(4, 3, generator=generator)),
        mistakes=(),
    )

    def steps(model: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
        answer = model(values)
        model.weight.data.zero_()
        return answer

    assert "changes its input" in str(diagnose(exercise, steps))
    assert "changes its input" not in str(diagnose(exercise, lambda model, x: model(x)))


def test_tolerance_is_a_share_of_the_largest_value() -> None:
    for size in (1e-9, 1.0, 1e9):
        exercise = toy_exercise(
            reference=lambda values, size=size: values * size,
            cases=lambda generator: (torch.linspace(-1, 1, 5),),
            mistakes=(),
            tolerance=1e-3,
        )
        near = diagnose(exercise, lambda values, size=size: values * size + 0.9e-3 * size)
        assert near.kind == "right"
        verdict_on(lambda values, size=size: values * size + 1.1e-3 * size, exercise)


@pytest.mark.filterwarnings("error")
def test_warnings_of_the_catalogue_stay_inside() -> None:
    exercise = toy_exercise(
        mistakes=(Mistake(lambda values, weights: np.ones(1) / np.zeros(1), "By zero."),)
    )
    verdict_on(lambda values, weights: values, exercise)


def test_a_debugger_works_after_a_check_in_another_thread():
    """A request to stop a thread that nobody meets has Python 3.11 hang as soon as it traces."""
    program = """
import sys, threading
from camwidgets.course.exercises._running import _limited
def work():
    with _limited(60):
        pass
thread = threading.Thread(target=work)
thread.start()
thread.join()
sys.settrace(lambda *_: None)
(lambda: None)()
sys.settrace(None)
print("fine")
"""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.stdout == "fine\n", run.stderr
