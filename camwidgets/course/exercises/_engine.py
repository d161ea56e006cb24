"""The engine behind `check` and `hint`: what an exercise is, and how an answer is diagnosed."""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import re
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..verdict import Verdict

RANDOM_TRIALS = 8


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer: `answer` computes it, `says` is the sentence that names it."""

    answer: Callable
    says: str


@dataclass(frozen=True, eq=False)
class Exercise:
    """An exercise with all that is needed to judge an answer without giving it away.

    name: "catalogue.exercise", the catalogue being the name of the file that it stands in.
    reference: a right answer; its docstring says what is given and what is asked, with shapes,
        and its parameters' names are used in the verdicts.
    cases: one random set of arguments, drawn from the generator that it is given; let the sizes
        vary, so that a size written into the code is found out.
    hints: three steps: where to look; which operation; the line with one gap.
    mistakes: typical wrong answers, each different from the reference and from the others.
    edges: sets of arguments that are always tried too, such as a map of zeros.
    tolerance: the error allowed, as a share of the right answer's largest absolute value
        (absolute where the right answer is zero everywhere).

    The right answer is a tensor, an array, a number, a bool, a string, or a list or tuple of
    these. Where it is uint8 the learner's must be uint8; other dtypes are not compared.
    """

    name: str
    reference: Callable
    cases: Callable[[torch.Generator], tuple]
    hints: tuple[str, str, str]
    mistakes: tuple[Mistake, ...]
    edges: tuple[tuple, ...] = ()
    tolerance: float = 1e-4

    @property
    def trials(self) -> range:
        """Numbers of the trials: the random ones first, then the edges."""
        return range(RANDOM_TRIALS + len(self.edges))

    def arguments(self, trial: int) -> tuple:
        """Fresh arguments of one trial, the same at every call."""
        if trial >= RANDOM_TRIALS:
            return copy.deepcopy(self.edges[trial - RANDOM_TRIALS])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(trial)  # layers are initialised by this one
            return self.cases(torch.Generator().manual_seed(trial))

    def answers(self, function: Callable) -> tuple:
        """What `function` answers in each trial."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(function(*self.arguments(trial)) for trial in self.trials)

    @cached_property
    def expected(self) -> tuple:
        """The right answer of each trial."""
        return self.answers(self.reference)

    @cached_property
    def mistaken(self) -> tuple[tuple, ...]:
        """For each typical mistake, its answer in each trial."""
        return tuple(self.answers(mistake.answer) for mistake in self.mistakes)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The arguments of each trial in words: "features (3, 4, 5) and weights (3,)"."""
        return tuple(self._describe(trial) for trial in self.trials)

    def _describe(self, trial: int) -> str:
        names = inspect.signature(self.reference).parameters
        words = [f"{n} {_brief(v)}" for n, v in zip(names, self.arguments(trial), strict=False)]
        return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


@cache
def exercises() -> dict[str, Exercise]:
    """Every exercise of every catalogue in this folder, by name."""
    package = __name__.rpartition(".")[0]
    found: dict[str, Exercise] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith("_"):
            for thing in vars(importlib.import_module(f"{package}.{module.name}")).values():
                if isinstance(thing, Exercise):
                    found[thing.name] = thing
    for name in [name for name in found if name.startswith("clinic.")]:
        found[name.replace("clinic.", "grad_cam.")] = found[name]  # where lesson 03 had them
    return found


def check(name: str, function: Callable) -> Callable:
    """Judge `function` and show the verdict; never raises because of what it does.

    Returns `function` if it is right, otherwise the reference, so that the lesson goes on.
    ValueError if there is no exercise called `name`.
    """
    exercise = _find(name)
    verdict = diagnose(exercise, function)
    verdict.show()
    return function if verdict.kind == "right" else exercise.reference


_steps: dict[str, int] = {}


def hint(name: str) -> None:
    """Show a hint, one step further at each call. ValueError if there is no such exercise."""
    hints = _find(name).hints
    step = _steps[name] = _steps.get(name, 0) + 1
    shown = min(step, len(hints))
    lines = [hints[shown - 1]]
    if step > len(hints):
        lines.append("This is the last hint; there is no further one.")
    Verdict("note", f"Hint {shown} of {len(hints)}", tuple(lines)).show()


def _find(name: str) -> Exercise:
    if name not in exercises():
        known = ", ".join(sorted(exercises()))
        raise ValueError(f"There is no exercise {name!r}; the exercises are: {known}.")
    return exercises()[name]


def diagnose(exercise: Exercise, function: Callable) -> Verdict:
    """Try `function` on the exercise's inputs; only a verdict of the kind "right" accepts it."""
    if not callable(function):
        return _not_yet(
            exercise,
            "This is not a function",
            f"check was given {_form(function)}: hand over the function itself, its name without "
            "brackets.",
        )
    if complaint := _parameters_complaint(function, exercise):
        return _not_yet(exercise, "The parameters do not fit", complaint)

    given, answers = [], []
    for trial in exercise.trials:
        given.append(exercise.arguments(trial))
        try:
            answer = function(*given[-1])
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            lines = _error_lines(error)
            return _not_yet(exercise, "Your function raises an error", *lines, trial=trial)
        if answer is None or answer is ...:
            said = f"Your function gives back {answer}. Write its body, end with return."
            return Verdict("note", "Nothing there yet", (said, _onward(exercise)))
        if inspect.iscoroutine(answer):
            answer.close()  # or Python complains later that nobody awaited it
        answers.append(answer)

    verdict = judge(exercise, answers)
    unchanged = (
        _unchanged(g, exercise.arguments(t)) for g, t in zip(given, exercise.trials, strict=True)
    )
    if verdict.kind == "right" and not all(unchanged):
        note = (
            "One thing to know: your function changes its input. Whoever calls it may need the "
            "input afterwards; an operation that makes a new tensor is safer."
        )
        return Verdict("right", verdict.title, (*verdict.lines, note))
    return verdict


def judge(exercise: Exercise, answers: list) -> Verdict:
    """The verdict on one answer per trial: their form, then their values."""
    right = [
        _agree(answer, expected, exercise.tolerance)
        for answer, expected in zip(answers, exercise.expected, strict=True)
    ]
    if all(right):
        tried = f"Tried on {len(answers)} inputs, the first: {exercise.inputs[0]}."
        return Verdict("right", "Right", (tried,))
    trial = right.index(False)
    recognised = _recognise(exercise, answers, right) or _transposed(exercise, answers)
    if complaint := _form_complaint(answers[trial], exercise.expected[trial]):
        title = "Not the form that is asked"
        return _not_yet(exercise, title, complaint, *recognised, trial=trial)
    lines = recognised or _differences(exercise, answers, right)
    return _not_yet(exercise, "Not yet", *lines, trial=trial)


def _not_yet(exercise: Exercise, title: str, *lines: str, trial: int | None = None) -> Verdict:
    tried = () if trial is None else (f"Tried on {exercise.inputs[trial]}.",)
    return Verdict("wrong", title, (*lines, *tried, _onward(exercise)))


def _onward(exercise: Exercise) -> str:
    return f'hint("{exercise.name}") helps. The lesson goes on with a working version.'


# The learner's function: its parameters and its errors


def _parameters_complaint(function: Callable, exercise: Exercise) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return ""
    asked = list(inspect.signature(exercise.reference).parameters)
    try:
        signature.bind(*asked)
    except TypeError:
        return f"Asked is ({', '.join(asked)}); your function takes {signature}."
    return ""


def _error_lines(error: BaseException) -> Iterator[str]:
    message = next(iter(str(error).splitlines()), "")
    message = re.sub(r" at 0x[0-9a-fA-F]+", "", message)
    yield f"{type(error).__name__}: {textwrap.shorten(message, 300)}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)[1:]  # without the frame of diagnose
    torch_folder = str(Path(torch.__file__).parent)
    own = [frame for frame in frames if not frame.filename.startswith(torch_folder)]
    own = [frame for frame in own if frame.filename == own[0].filename]
    if own:
        source = f": {own[-1].line}" if own[-1].line else ""
        yield f"It happens in your line {own[-1].lineno}{source}"


# Reading and comparing answers


def _numbers(value: Any) -> torch.Tensor:
    """A tensor, array, number or nested list of these as a float64 tensor; else TypeError."""
    if isinstance(value, (list, tuple)):
        return torch.stack([_numbers(item) for item in value]) if value else torch.zeros(0)
    if isinstance(value, (np.ndarray, np.generic)):
        value = torch.from_numpy(np.array(value, dtype=np.float64))
    if not isinstance(value, (torch.Tensor, bool, int, float)):
        raise TypeError(f"a {type(value).__name__} is not a number")
    tensor = torch.as_tensor(value).detach().cpu()
    if tensor.is_complex() or tensor.layout != torch.strided:
        raise TypeError("complex or sparse numbers")
    return tensor.double()


def _readable(value: Any) -> torch.Tensor | None:
    try:
        return _numbers(value)
    except Exception:
        return None


def _is_uint8(value: Any) -> bool:
    return getattr(value, "dtype", None) in (torch.uint8, np.uint8)


def _agree(answer: Any, like: Any, tolerance: float) -> bool:
    """Whether `answer` says the same as `like`; NaN agrees with NaN."""
    if isinstance(like, str):
        return isinstance(answer, str) and answer == like
    if isinstance(like, (list, tuple)):
        parts = _parts(answer)
        return (
            parts is not None
            and len(parts) == len(like)
            and all(_agree(a, b, tolerance) for a, b in zip(parts, like, strict=True))
        )
    given, asked = _readable(answer), _numbers(like)
    if given is None or given.shape != asked.shape or (_is_uint8(like) and not _is_uint8(answer)):
        return False
    largest = asked.nan_to_num().abs().max().item() if asked.numel() else 0.0
    allowed = tolerance * (largest or 1.0)
    return torch.allclose(given, asked, rtol=0.0, atol=allowed, equal_nan=True)


def _parts(value: Any) -> list | None:
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim:
        return list(value)
    return None


def _unchanged(values: Any, originals: Any) -> bool:
    if isinstance(originals, (list, tuple)):
        return len(values) == len(originals) and all(
            _unchanged(a, b) for a, b in zip(values, originals, strict=True)
        )
    if isinstance(originals, torch.nn.Module):
        return _unchanged(list(values.state_dict().values()), list(originals.state_dict().values()))
    if isinstance(originals, (np.ndarray, torch.Tensor)):
        return _agree(values, originals, 0.0)
    return True


# Words for values


def _brief(value: Any) -> str:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{tuple(value.shape)}" + ("" if value.any() else " of zeros")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        short = len(value) <= 4 and all(isinstance(part, int) for part in value)
        return repr(value) if short else f"(a {type(value).__name__} of {len(value)})"
    return f"(a {type(value).__name__})"


def _form(value: Any) -> str:
    if isinstance(value, str):
        return "a string"
    numbers = _readable(value)
    if isinstance(value, (list, tuple)) and (numbers is None or numbers.ndim < 2):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, bool):
        return "True or False"
    if numbers is None:
        return f"a {type(value).__name__}"
    if not numbers.ndim:
        return "one number"
    return f"shape {tuple(numbers.shape)}"


def _form_complaint(answer: Any, expected: Any) -> str:
    """What is wrong with the type, shape or dtype of `answer`; empty if nothing is."""
    if inspect.isgenerator(answer):
        return "A generator came back: write return where you wrote yield."
    if inspect.iscoroutine(answer):
        return "A coroutine came back: write def, without async."
    if isinstance(expected, (list, tuple)):
        parts = _parts(answer)
        fits = parts is not None and len(parts) == len(expected)
        if fits:
            complaints = (_form_complaint(a, b) for a, b in zip(parts, expected, strict=True))
            return next(filter(None, complaints), "")
    elif isinstance(expected, str):
        fits = isinstance(answer, str)
    else:
        given = _readable(answer)
        fits = given is not None and given.shape == _numbers(expected).shape
        if fits and _is_uint8(expected) and not _is_uint8(answer):
            return "The shape is right, the dtype is not: uint8 is asked."
    return "" if fits else f"What came back: {_form(answer)}. What is asked: {_form(expected)}."


# What is wrong with a wrong answer


def _recognise(exercise: Exercise, answers: list, right: list[bool]) -> tuple[str, ...]:
    """The sentence of the mistake that computes these answers.

    The edges count only for an answer that is right in every random trial, so that a mistake is
    recognised too where its author took better care of the edges than the catalogue did.
    """
    random_ones = slice(RANDOM_TRIALS if not all(right[:RANDOM_TRIALS]) else None)
    for mistake, mistaken in zip(exercise.mistakes, exercise.mistaken, strict=True):
        pairs = zip(answers[random_ones], mistaken[random_ones], strict=True)
        if all(_agree(answer, wrong, exercise.tolerance) for answer, wrong in pairs):
            return (mistake.says,)
    return ()


def _differences(exercise: Exercise, answers: list, right: list[bool]) -> Iterator[str]:
    """Where answers of the right form differ, without saying what the right values are."""
    trial = right.index(False)
    random_ones = right[:RANDOM_TRIALS]
    if all(random_ones):
        yield f"Right on the {RANDOM_TRIALS} random inputs, not on {exercise.inputs[trial]}."
    elif any(random_ones):
        yield (
            f"Right on {exercise.inputs[random_ones.index(True)]}, not on every other input. "
            "Is there a size or a value in your code that should come from the input?"
        )
    answer, expected = answers[trial], exercise.expected[trial]
    if isinstance(expected, (list, tuple)):
        for position, (part, asked) in enumerate(zip(_parts(answer), expected, strict=True)):
            if not _agree(part, asked, exercise.tolerance):
                yield f"Item {position} of what came back is not right."
        return
    if isinstance(expected, str):
        yield f"Your answer: {answer!r}."
        return
    given, asked = _numbers(answer), _numbers(expected)
    if not given.isfinite().all():
        yield "There are NaN or infinite values in your answer: look for a division by zero."
        return
    off = (given - asked).abs() > exercise.tolerance * (asked.abs().max().item() or 1.0)
    if given.ndim:
        index = off.nonzero()[0].tolist()
        yield (
            f"{off.sum()} of {off.numel()} values differ, the first at {index}, "
            f"where yours is {given[tuple(index)]:.4g}."
        )
    else:
        yield f"Your answer is {bool(given) if isinstance(expected, bool) else f'{given:.4g}'}."
    yield from _factors(exercise, answers)


def _transposed(exercise: Exercise, answers: list) -> tuple[str, ...]:
    pairs = [(_readable(a), _readable(e)) for a, e in zip(answers, exercise.expected, strict=True)]
    swapped = all(
        given is not None and given.ndim == 2 and _agree(given.T, asked, exercise.tolerance)
        for given, asked in pairs
        if asked is None or asked.any()
    )
    return ("Your answer is transposed: rows and columns are swapped.",) if swapped else ()


def _factors(exercise: Exercise, answers: list) -> Iterator[str]:
    """A sentence if the answers are the right ones times a factor."""
    pairs = [(_readable(a), _numbers(e)) for a, e in zip(answers, exercise.expected, strict=True)]
    pairs = [(given, asked) for given, asked in pairs if asked.any()]
    if any(given is None or given.shape != asked.shape for given, asked in pairs):
        return
    factors = torch.stack([(given * asked).sum() / (asked * asked).sum() for given, asked in pairs])
    if not factors.all() or not all(
        _agree(given, factor * asked, exercise.tolerance)
        for (given, asked), factor in zip(pairs, factors, strict=True)
    ):
        return
    if _agree(factors, -torch.ones_like(factors), exercise.tolerance):
        yield "Every value has the wrong sign."
    elif _agree(factors, factors[:1].expand_as(factors), exercise.tolerance):
        yield "Your values are off by a constant factor."
    elif any(asked.numel() > 1 for _, asked in pairs):
        yield "Your values are off by a factor that changes with the input: its size, perhaps."
