"""The engine behind `check` and `hint`: what an exercise is, and how an answer is diagnosed."""

from __future__ import annotations

import copy
import dis
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..verdict import Verdict
from . import _running
from ._running import Outcome, TooLong, run, settle, undisturbed
from ._values import (
    HALF,
    LEFT_BEHIND,
    agree,
    brief,
    form,
    form_complaint,
    formed,
    half_type,
    parts,
    read,
    readable,
    same_form,
    touched,
)

RANDOM_TRIALS = 12


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer: `answer` computes it, `says` is the sentence that names it.

    method: the name of the method that it is, where it is no mistake but another method.
    """

    answer: Callable
    says: str
    method: str = ""


@dataclass(frozen=True, eq=False)
class Exercise:
    """An exercise with all that is needed to judge an answer without giving it away.

    name: "catalogue.exercise", the catalogue being the name of the file that it stands in.
    reference: a right answer; its docstring says what is given and what is asked, with shapes,
        and its parameters' names are used in the verdicts.
    cases: one random set of arguments, drawn from the generator that it is given; sizes are 2 or
        more and differ, so that typical mistakes can be told apart.
    hints: three steps: where to look; which operation; the line with one gap.
    mistakes: typical wrong answers, each different from the reference and from the others.
    edges: sets of arguments that are always tried too, or functions like `cases` that draw one:
        sizes of one, zeros, ties, negative values, whatever the text allows.
    tolerance: the error allowed, as a share of the right answer's largest absolute value
        (absolute where the right answer is zero everywhere).
    also: functions that compute other answers that the text allows (rounded down, say); each
        value of an answer may be that of the reference or of any of them.
    keeps: whether the text asks that what is handed in stays as it is. (A `.grad` is mentioned
        only; a hook that stays is always refused.)

    The right answer is a tensor, an array, a number, a bool, a string, or a tuple of these. Where
    it is uint8 the learner's must be uint8; other dtypes are not compared.
    """

    name: str
    reference: Callable
    cases: Callable[[torch.Generator], tuple]
    hints: tuple[str, str, str]
    mistakes: tuple[Mistake, ...]
    edges: tuple[tuple | Callable[[torch.Generator], tuple], ...] = ()
    tolerance: float = 1e-4
    also: tuple[Callable, ...] = ()
    keeps: bool = False

    @property
    def trials(self) -> range:
        """Numbers of the trials: the random ones first, then the edges."""
        return range(RANDOM_TRIALS + len(self.edges))

    def arguments(self, trial: int) -> tuple:
        """Fresh arguments of one trial, the same at every call."""
        return copy.deepcopy(self.given[trial])

    @cached_property
    def given(self) -> tuple[tuple, ...]:
        """The arguments of each trial, to be read only."""
        return tuple(map(self._drawn, self.trials))

    @cached_property
    def given_numbers(self) -> dict[str, list[torch.Tensor | None]]:
        """Each parameter's values in the trials, read; None where they are not numbers."""
        columns = zip(*self.given, strict=True)
        return {n: list(map(readable, c)) for n, c in zip(self.parameters, columns, strict=True)}

    def _drawn(self, trial: int) -> tuple:
        draw = self.cases if trial < RANDOM_TRIALS else self.edges[trial - RANDOM_TRIALS]
        if callable(draw):
            with undisturbed():
                torch.default_generator.manual_seed(trial)  # layers are initialised by this one
                draw = draw(torch.Generator().manual_seed(trial))
        return tuple(a.contiguous() if isinstance(a, torch.Tensor) else a for a in draw)

    def answers(self, function: Callable) -> tuple:
        """What `function` answers in each trial."""
        answers = []
        for trial in self.trials:
            arguments = self.arguments(trial)
            with undisturbed():
                answers.append(settle(function(*arguments)))
        return tuple(answers)

    @cached_property
    def expected(self) -> tuple:
        """The right answer of each trial."""
        return self.answers(self.reference)

    @cached_property
    def allowed(self) -> tuple[tuple, ...]:
        """For each trial, the other answers that the text allows."""
        return tuple(zip(*map(self.answers, self.also), strict=True)) or ((),) * len(self.trials)

    @cached_property
    def mistaken(self) -> tuple[tuple, ...]:
        """For each typical mistake, its answer in each trial; None where it raises an error."""

        def or_none(function: Callable) -> Callable:
            def answer(*arguments: Any) -> Any:
                with suppress(Exception):
                    return function(*arguments)

            return answer

        return tuple(self.answers(or_none(mistake.answer)) for mistake in self.mistakes)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The arguments of each trial in words: "features (3, 4, 5) and weights (3,)"."""
        return tuple(self._describe(trial) for trial in self.trials)

    @property
    def parameters(self) -> list[str]:
        """The names of what is given."""
        return list(inspect.signature(self.reference).parameters)

    def _describe(self, trial: int) -> str:
        words = [
            f"{n} {brief(v)}" for n, v in zip(self.parameters, self.given[trial], strict=False)
        ]
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
    return found


def check(name: str, function: Callable) -> Callable:
    """Judge `function` and show the verdict; never raises because of what it does.

    Returns `function` if it is right, otherwise the reference, so that the lesson goes on. A right
    function whose results have another form than the reference's (a list, float64, an array of
    one number) comes back in a wrapper that gives them that form. ValueError if there is no
    exercise called `name`.
    """
    exercise = _find(name)
    function = (
        getattr(function, "_learners", function) if inspect.isfunction(function) else function
    )
    if lent := _lent(function):
        lent.show()
        return exercise.reference
    trying = _Trying(exercise, function)
    verdict = trying.verdict
    if trying.printed:
        trying.printed()
    verdict.show()
    if verdict.kind != "right":
        return exercise.reference
    return function if trying.has_the_form else _in_form(exercise, function)


_steps: dict[str, int] = {}


def hint(name: str) -> None:
    """Show the hints so far and one more at each call. ValueError if there is no such exercise."""
    hints = _find(name).hints
    step = _steps[name] = _steps.get(name, 0) + 1
    shown = min(step, len(hints))
    lines = [f"{number}. {text}" for number, text in enumerate(hints[:shown], 1)]
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
    return _Trying(exercise, function).verdict


# Whose function is it?


def _lent(function: Any) -> Verdict | None:
    """The verdict on a function that is the course's own."""
    if not inspect.isfunction(function) or not str(function.__module__).startswith("camwidgets."):
        return None
    own = [e.name for e in exercises().values() if e.reference is function]
    whose = (
        f"Under this name stands the lesson's own `{function.__name__}`, which an earlier check "
        "lent you. Nothing of yours was judged."
        if own
        else f"This is `{function.__name__}` of camwidgets. Nothing of yours was judged."
    )
    so = "Run the cell that defines your function, and hand over the name that stands after `def`."
    return Verdict("note", "That is not your function", (whose, so))


# Trying it


@dataclass
class _Trying:
    """One function, tried on one exercise's inputs."""

    exercise: Exercise
    function: Any
    printed: Callable[[], None] | None = None
    answers: list = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    has_the_form: bool = True

    @cached_property
    def verdict(self) -> Verdict:
        try:
            return self._verdict()
        except KeyboardInterrupt:
            raise
        except BaseException:  # what came back defends itself against being looked at
            says = (
                "What came back cannot be read. Asked is " + form(self.exercise.expected[0]) + "."
            )
            return _not_yet(self.exercise, "Not the form that is asked", says)

    def _verdict(self) -> Verdict:
        exercise = self.exercise
        if not callable(self.function):
            return _not_yet(
                exercise,
                "This is not a function",
                f"check was given {form(self.function)}: hand over the function itself, its name "
                "without brackets.",
            )
        if complaint := _parameters_complaint(self.function, exercise):
            return _not_yet(exercise, "The parameters do not fit", complaint)
        failure: tuple[BaseException, int] | None = None
        for trial in exercise.trials:
            error = self._try(trial).error
            if error is not None and failure is None:
                failure = error, trial
            if (trial < RANDOM_TRIALS and failure) or isinstance(error, TooLong):
                return _failed(exercise, *failure)
        if failure:
            verdict = judge(exercise, self.answers)
            told = judge(
                exercise, [*self.answers[:RANDOM_TRIALS], *exercise.expected[RANDOM_TRIALS:]]
            )
            return _failed(exercise, *failure) if told.kind == "right" else verdict
        missing = [a is None or a is ... or a is NotImplemented for a in self.answers]
        if all(missing):
            return _nothing(exercise, self)
        if any(missing):
            trial = missing.index(True)
            says = (
                f"Your function gives back {self.answers[trial]} here, and a result on other "
                "inputs: one way through it has no `return`."
            )
            return _not_yet(exercise, "Not for every input", says, trial=trial)
        verdict = judge(exercise, self.answers)
        if verdict.kind != "right":
            return verdict
        return self._with_what_is_left(verdict)

    def _try(self, trial: int) -> Outcome:
        given = self.exercise.arguments(trial)
        outcome = run(self.function, given)
        if not trial:
            self.printed = outcome.printed
        if inspect.iscoroutine(outcome.answer):
            outcome.answer.close()  # or Python complains later that nobody awaited it
        self.answers.append(outcome.settled if outcome.error is None else _Failed())
        self.left |= touched(given, self.exercise.given[trial])
        if outcome.hooks:
            self.left.add("hooks")
        if outcome.error is None and self.has_the_form:
            self.has_the_form = same_form(outcome.answer, self.exercise.expected[trial])
        return outcome

    def _with_what_is_left(self, verdict: Verdict) -> Verdict:
        left = [kind for kind in LEFT_BEHIND if kind in self.left]
        refused = [k for k in left if k == "hooks" or (self.exercise.keeps and k != "grad")]
        if refused:
            says = (LEFT_BEHIND[kind] for kind in refused)
            return _not_yet(self.exercise, "The values are right, but something changes", *says)
        notes = [
            f"One thing to know: {LEFT_BEHIND[k][0].lower()}{LEFT_BEHIND[k][1:]}" for k in left
        ]
        if dtype := half_type(self.answers[0]):
            notes.append(_half(dtype))
        if self.has_the_form and not _keeps_graph(self.exercise, self.function):
            self.has_the_form = False
        return Verdict("right", verdict.title, (*verdict.lines, *notes))


class _Failed:
    """Stands for an answer where there was an error."""


def _failed(exercise: Exercise, error: BaseException, trial: int) -> Verdict:
    late = isinstance(error, TooLong)
    title = "Your function does not come back" if late else "Your function raises an error"
    return _not_yet(exercise, title, *_error_lines(error), trial=trial)


def _nothing(exercise: Exercise, trying: _Trying) -> Verdict:
    says = f"Your function gives back {trying.answers[0]}. Write its body, end with return."
    if _computes(trying.function):
        says = f"Your function gives back {trying.answers[0]} on every input."
        says += " It shows something; " if trying.printed else " "
        says += "a function gives back what stands behind `return`."
    return Verdict("note", "Nothing there yet", (says, _onward(exercise)))


def _computes(function: Callable) -> bool:
    """Whether its body does more than name something."""
    code = getattr(function, "__code__", None)
    return code is None or any(
        re.match("CALL|BINARY|STORE|GET_ITER|COMPARE", i.opname) for i in dis.get_instructions(code)
    )


def _not_yet(
    exercise: Exercise, title: str, *lines: str, trial: int | None = None, kind: str = "wrong"
) -> Verdict:
    tried = () if trial is None else (f"Tried on {exercise.inputs[trial]}.",)
    return Verdict(kind, title, (*lines, *tried, _onward(exercise)))


def _onward(exercise: Exercise) -> str:
    return f'`hint("{exercise.name}")` helps. The lesson goes on with a working version.'


def _half(dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    return f"Your values are {name}, which keeps two or three digits; the course works in float32."


# The learner's function: its parameters and its errors


def _parameters_complaint(function: Callable, exercise: Exercise) -> str:
    try:
        signature = inspect.signature(function)
    except Exception:  # some built-in functions have none
        return ""
    try:
        signature.bind(*exercise.parameters)
    except TypeError:
        return f"Asked is `({', '.join(exercise.parameters)})`; your function takes `{signature}`."
    return ""


def _error_lines(error: BaseException) -> Iterator[str]:
    if isinstance(error, TooLong):
        yield (
            f"It was stopped after {_running.SECONDS:g} seconds: either a loop never ends, or it "
            "does far more work than is needed."
        )
    else:
        try:
            message = next(iter(str(error).splitlines()), "")
        except BaseException:
            message = ""
        message = re.sub(r" at 0x[0-9a-fA-F]+", "", message)
        yield f"{type(error).__name__}: {textwrap.shorten(message, 300)}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    inner = [i for i, frame in enumerate(frames) if frame.filename == _running.__file__]
    frames = frames[inner[-1] + 1 :] if inner else []
    torch_folder = str(Path(torch.__file__).parent)
    own = [frame for frame in frames if not frame.filename.startswith(torch_folder)]
    own = [frame for frame in own if frame.filename == own[0].filename]
    if own:
        source = f": `{textwrap.shorten(own[-1].line, 120)}`" if own[-1].line else ""
        yield f"It happens in your line {own[-1].lineno}{source}"


# The learner's answers


def judge(exercise: Exercise, answers: list) -> Verdict:
    """The verdict on one answer per trial: their form, then their values."""
    half = half_type(answers[0])
    tolerance = max(exercise.tolerance, HALF.get(half, 0.0))
    right = [
        agree(answer, expected, tolerance, also)
        for answer, expected, also in zip(answers, exercise.expected, exercise.allowed, strict=True)
    ]
    if all(right):
        tried = f"Tried on {len(answers)} inputs, the first: {exercise.inputs[0]}."
        return Verdict("right", "Right", (tried,))
    trial = right.index(False)
    notes = (_half(half),) if half else ()
    mistake = _recognise(exercise, answers, right)
    if mistake and mistake.method:
        title = f"That is {mistake.method}"
        return _not_yet(exercise, title, mistake.says, trial=trial, kind="note")
    known = (mistake.says,) if mistake else ()
    general = () if mistake else _in_general(exercise, answers)
    if complaint := form_complaint(answers[trial], exercise.expected[trial]):
        title = "Not the form that is asked"
        where = () if known or general else _where_right(exercise, right)
        return _not_yet(exercise, title, complaint, *known, *general, *where, *notes, trial=trial)
    lines = known or (*general, *_differences(exercise, answers, right))
    return _not_yet(exercise, "Not yet", *lines, *notes, trial=trial)


def _recognise(exercise: Exercise, answers: list, right: list[bool]) -> Mistake | None:
    """The mistake that computes these answers.

    The edges count only for an answer that is right in every random trial, so that a mistake is
    recognised too where its author took better care of the edges than the catalogue did.
    """
    random_ones = slice(RANDOM_TRIALS if not all(right[:RANDOM_TRIALS]) else None)
    tolerance = max(exercise.tolerance, HALF.get(half_type(answers[0]), 0.0))
    for mistake, mistaken in zip(exercise.mistakes, exercise.mistaken, strict=True):
        pairs = zip(answers[random_ones], mistaken[random_ones], strict=True)
        if all(agree(answer, wrong, tolerance) for answer, wrong in pairs):
            return mistake
    return None


# Reasons that can be told from the answers alone


def _in_general(exercise: Exercise, answers: list) -> tuple[str, ...]:
    pairs = [(readable(a), readable(e)) for a, e in zip(answers, exercise.expected, strict=True)]
    for find in (_constant, _unchanged_input, _transposed, _axes_of_one):
        if says := find(exercise, answers, pairs):
            return (says,)
    return ()


def _constant(exercise: Exercise, answers: list, pairs: list) -> str:
    given = [g for g, _ in pairs]
    if any(g is None or g.shape != given[0].shape for g in given):
        return ""
    varied = any(not agree(e, exercise.expected[0], 1e-9) for e in exercise.expected)
    if not varied or not all(torch.equal(g, given[0]) for g in given):
        return ""
    return "Your function gives the same answer on every input."


def _unchanged_input(exercise: Exercise, answers: list, pairs: list) -> str:
    for name, inputs in exercise.given_numbers.items():
        if all(
            i is not None and g is not None and g.shape == i.shape and torch.equal(g, i)
            for i, (g, _) in zip(inputs, pairs, strict=True)
        ):
            return f"What came back is `{name}` itself, unchanged."
    return ""


def _transposed(exercise: Exercise, answers: list, pairs: list) -> str:
    telling = [(g, e) for g, e in pairs if e is None or e.any()]
    if all(g is not None and g.ndim == 2 and agree(g.T, e, exercise.tolerance) for g, e in telling):
        return "Your answer is transposed: rows and columns are swapped."
    return ""


def _axes_of_one(exercise: Exercise, answers: list, pairs: list) -> str:
    """Where only axes of length 1 are missing or too many."""
    if any(
        g is None or e is None or not agree(g.squeeze(), e.squeeze(), exercise.tolerance)
        for g, e in pairs
    ):
        return ""
    fewer = any(g.ndim < e.ndim for g, e in pairs)
    says = "The values are right; an axis of length 1 is "
    return says + ("missing: `squeeze()` takes away every one." if fewer else "too many.")


def _where_right(exercise: Exercise, right: list[bool]) -> Iterator[str]:
    """On which inputs the answers are right, if on some, and what these have in common."""
    wrong, random_ones = right.index(False), right[:RANDOM_TRIALS]
    if not any(right):
        return
    if what := _telling(exercise, right):
        yield what
    elif all(random_ones):
        yield f"Right on the {RANDOM_TRIALS} random inputs, not on {exercise.inputs[wrong]}."
    elif any(random_ones):
        yield (
            f"Right on {sum(right)} of {len(right)} inputs, one of them "
            f"{exercise.inputs[random_ones.index(True)]}."
        )


def _telling(exercise: Exercise, right: list[bool]) -> str:
    """What all inputs with a right answer have and no other one, if that is one thing alone."""
    said = [None if isinstance(e, tuple) else readable(e) for e in exercise.expected]
    # zeros, True and small counts are right by chance now and then
    telling = [t for t in exercise.trials if said[t] is not None and (said[t] % 1).any()]
    if sum(right[t] for t in telling) < 2 or all(right[t] for t in telling):
        return ""
    found = {
        fact: says
        for name, values in exercise.given_numbers.items()
        for fact, says, holds in _facts(name, values, right)
        if all(holds[t] == right[t] for t in telling)
    }
    return next(iter(found.values())) if len(found) == 1 else ""


def _facts(name: str, values: list, right: list[bool]) -> Iterator[tuple[str, str, list[bool]]]:
    """What can be said of one argument: the fact, a sentence, and the trials that it holds in."""
    if any(v is None for v in values):
        return
    holds = [not (n < 0).any() for n in values]
    yield "sign", f"Right where `{name}` has no negative value, and only there.", holds
    for axis in range(min(n.ndim for n in values)):
        sizes = [n.shape[axis] for n in values]
        where = f"Right where axis {axis} of `{name}`"
        for size in {s for s, fine in zip(sizes, right, strict=True) if fine}:
            says = f"{where} has length {size}, and only there"
            if size in sizes[:RANDOM_TRIALS]:  # an edge may be right by chance
                says += ": perhaps a length in your code should come from the input"
            yield f"length {size}", f"{says}.", [s == size for s in sizes]
        yield "long", f"{where} is longer than 1, and only there.", [s > 1 for s in sizes]


def _differences(exercise: Exercise, answers: list, right: list[bool]) -> Iterator[str]:
    """Where answers of the right form differ, without saying what the right values are."""
    trial = right.index(False)
    yield from _where_right(exercise, right)
    answer, expected = answers[trial], exercise.expected[trial]
    if isinstance(expected, (list, tuple)):
        for position, (part, asked) in enumerate(zip(parts(answer), expected, strict=True)):
            if not agree(part, asked, exercise.tolerance):
                told = _apart("it", part, asked, exercise.tolerance)
                yield f"Item {position} of what came back is not right{told and ': ' + told}."
        return
    if not isinstance(expected, str) and not read(answer).isfinite().all():
        yield "There are NaN or infinite values in your answer: look for a division by zero."
        return
    told = _apart("your answer", answer, expected, exercise.tolerance, exercise.allowed[trial])
    if told:
        yield f"{told[0].upper()}{told[1:]}."
    if not isinstance(expected, (bool, str)):
        yield from _factors(exercise, answers)


def _apart(
    subject: str, answer: Any, expected: Any, tolerance: float, allowed: Iterable = ()
) -> str:
    """Where two values of one form differ; "" where that is not said in a few words."""
    if isinstance(expected, (list, tuple)):
        return ""
    if isinstance(expected, str):
        return f"{subject} is {answer!r}"
    given, asked = read(answer).reshape(read(expected).shape), read(expected)
    if not given.ndim:
        return f"{subject} is {bool(given) if isinstance(expected, bool) else f'{given:.4g}'}"
    near = (given - asked).abs() <= tolerance * (asked.abs().max().item() or 1.0)
    off = ~near  # NaN too
    for value in allowed:
        off &= given != read(value)
    if not off.any():
        return ""
    index = off.nonzero()[0].tolist()
    return (
        f"{off.sum()} of {off.numel()} values differ, the first at {index}, "
        f"where yours is {given[tuple(index)]:.4g}"
    )


def _factors(exercise: Exercise, answers: list) -> Iterator[str]:
    """A sentence if the answers are the right ones times a factor that is not 1."""
    trials = [trial for trial in exercise.trials if read(exercise.expected[trial]).any()]
    pairs = [(readable(answers[t]), read(exercise.expected[t])) for t in trials]
    if any(given is None or given.shape != asked.shape for given, asked in pairs):
        return
    factors = torch.stack([(given * asked).sum() / (asked * asked).sum() for given, asked in pairs])
    if (
        len({round(asked.abs().sum().item(), 9) for _, asked in pairs}) < 3
        or agree(factors, torch.ones_like(factors), exercise.tolerance)
        or not factors.all()
        or not all(
            agree(given, factor * asked, exercise.tolerance)
            for (given, asked), factor in zip(pairs, factors, strict=True)
        )
    ):
        return
    if agree(factors, -torch.ones_like(factors), exercise.tolerance):
        yield "Every value has the wrong sign."
    elif agree(factors, factors[:1].expand_as(factors), exercise.tolerance):
        yield "Your values are off by a constant factor."
    elif sum((asked != 0).sum() > 1 for _, asked in pairs) > 2:
        yield (
            "Your values are off by a factor that changes with the input"
            + "".join(_sizes_as_factor(exercise, trials, factors))
            + "."
        )


def _sizes_as_factor(exercise: Exercise, trials: list[int], factors: torch.Tensor) -> list[str]:
    for position, name in enumerate(exercise.parameters):
        values = [exercise.given[trial][position] for trial in trials]
        if not all(isinstance(v, (torch.Tensor, np.ndarray)) for v in values):
            continue
        sizes = {
            f"the length of axis {axis} of `{name}`": [v.shape[axis] for v in values]
            for axis in range(min(v.ndim for v in values))
        }
        sizes[f"the number of rows times columns of `{name}`"] = [
            v.shape[-1] * v.shape[-2] if v.ndim > 1 else 0 for v in values
        ]
        for what, lengths in sizes.items():
            lengths = torch.tensor(lengths).double()
            if len(lengths.unique()) > 1 and agree(factors, lengths, 1e-3):
                return [f": {what}"]
            if len(lengths.unique()) > 1 and agree(1 / factors, lengths, 1e-3):
                return [f": one over {what}"]
    return []


# What check hands back


def _keeps_graph(exercise: Exercise, function: Callable) -> bool:
    """Whether gradients run through `function` where they run through the reference."""
    if not any(map(_is_float, exercise.given[0])) or not isinstance(
        exercise.expected[0], torch.Tensor
    ):
        return True

    def live() -> tuple:
        return tuple(a.requires_grad_() if _is_float(a) else a for a in exercise.arguments(0))

    reference, own = run(exercise.reference, live()), run(function, live())
    if not reference.answer.requires_grad:
        return True
    return isinstance(own.answer, torch.Tensor) and own.answer.requires_grad


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _in_form(exercise: Exercise, function: Callable) -> Callable:
    """`function`, its results in the form of the reference's.

    Where a gradient is asked that does not run through `function`, the reference lends its own.
    """

    @functools.wraps(function, assigned=("__name__", "__qualname__", "__doc__"), updated=())
    def in_form(*arguments: Any, **named: Any) -> Any:
        live = torch.is_grad_enabled() and any(
            isinstance(a, torch.Tensor) and a.requires_grad for a in arguments
        )
        if live and not through:
            arguments_now = [a.detach() if isinstance(a, torch.Tensor) else a for a in arguments]
            lent = exercise.reference(*arguments, **named)
            value = formed(settle(function(*arguments_now, **named)), lent, False)
            return value + (lent - lent.detach()) if isinstance(lent, torch.Tensor) else value
        answer = function(*arguments, **named)
        kept = answer if live else settle(answer)
        try:
            return formed(kept, exercise.expected[0], live)
        except Exception:
            return answer

    through = _keeps_graph(exercise, function)
    in_form._learners = function
    return in_form
