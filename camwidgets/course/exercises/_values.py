"""Answers as values: read, compared, put into words, brought into the form that is asked."""

from __future__ import annotations

import decimal
import inspect
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ._running import ITEMS, LIMIT, Yielded

HALF = {torch.float16: 0.004, torch.bfloat16: 0.008}  # the error that halves make by themselves
TEXT = (str, np.str_)


# Reading


def read(value: Any) -> torch.Tensor:
    """A tensor, array, number or nested list of these as a float64 tensor; else TypeError."""
    return _read(value, [LIMIT])


def _read(value: Any, left: list[int], depth: int = 0) -> torch.Tensor:
    kind = type(value)
    if issubclass(kind, (list, tuple)):
        left[0] -= len(value)
        if depth > 8 or left[0] < 0 or len(value) > ITEMS:
            raise TypeError("too many numbers")
        if not value or all(type(item) in (float, int, bool) for item in value):
            return torch.tensor(value, dtype=torch.float64)
        return torch.stack([_read(item, left, depth + 1) for item in value])
    if issubclass(kind, torch.Tensor):
        if value.is_complex() or value.layout != torch.strided or value.numel() > LIMIT:
            raise TypeError("complex, sparse or too many numbers")
        return value.detach().cpu().double()
    if issubclass(kind, (numbers.Real, decimal.Decimal)):
        return torch.tensor(float(value), dtype=torch.float64)
    if hasattr(kind, "__array__") or hasattr(kind, "__array_interface__"):
        array = np.asarray(value)
        if array.size > LIMIT or array.dtype.kind not in "biufO":
            raise TypeError("not numbers, or too many")
        return torch.from_numpy(np.array(array, dtype=np.float64))
    raise TypeError(f"a {kind.__name__} is not a number")


def readable(value: Any) -> torch.Tensor | None:
    """What `read` gives, or None."""
    try:
        return read(value)
    except Exception:
        return None


def parts(value: Any) -> list | None:
    """The items of a sequence, or None."""
    kind = type(value)
    if issubclass(kind, (list, tuple)):
        return list(value)
    if issubclass(kind, (np.ndarray, torch.Tensor)) and value.ndim and len(value) <= ITEMS:
        return list(value)
    return None


def is_uint8(value: Any) -> bool:
    """Whether `value` holds numbers of one byte."""
    try:
        return getattr(value, "dtype", np.asarray(value).dtype) in (torch.uint8, np.uint8)
    except Exception:
        return False


def half_type(value: Any) -> torch.dtype | None:
    """float16 or bfloat16 if a part of `value` has that type."""
    kind = type(value)
    if issubclass(kind, (list, tuple)):
        return next(filter(None, map(half_type, value[:100])), None)
    if issubclass(kind, torch.Tensor):
        return value.dtype if value.dtype in HALF else None
    is_half = issubclass(kind, (np.ndarray, np.generic)) and value.dtype == np.float16
    return torch.float16 if is_half else None


# Comparing


def agree(answer: Any, like: Any, tolerance: float, also: Sequence[Any] = ()) -> bool:
    """Whether `answer` says the same as `like`; NaN agrees with NaN.

    tolerance: the error allowed, as a share of the largest absolute value of `like`, or absolute
    where that is 0. also: other values that are right; each value may be that of any of them. One
    number may stand in an array or list by itself.
    """
    if isinstance(like, str):
        return type(answer) in TEXT and answer == like
    if like is None:
        return answer is None
    if isinstance(like, (list, tuple)):
        items = parts(answer)
        return (
            items is not None
            and len(items) == len(like)
            and all(agree(a, b, tolerance) for a, b in zip(items, like, strict=True))
        )
    given, asked = readable(answer), readable(like)
    if asked is None:
        return False
    if given is not None and not asked.ndim and given.numel() == 1:
        given = given.reshape(())
    if given is None or given.shape != asked.shape or (is_uint8(like) and not is_uint8(answer)):
        return False
    largest = asked.nan_to_num().abs().max().item() if asked.numel() else 0.0
    allowed = tolerance * (largest or 1.0)
    fits = torch.zeros(asked.shape, dtype=torch.bool)
    for right in (asked, *map(read, also)):
        fits |= torch.isclose(given, right, rtol=0.0, atol=allowed, equal_nan=True)
    return bool(fits.all())


# What a function did to its arguments


def touched(values: Any, originals: Any) -> set[str]:
    """What has changed in `values`, which were equal to `originals`: words of `LEFT_BEHIND`."""
    try:
        return _touched(values, originals)
    except Exception:
        return {"inputs"}


LEFT_BEHIND = {
    "hooks": "The model has other hooks afterwards than before: keep what `register_..._hook` "
    "gives back, and call its `remove()`, that of your own hook alone.",
    "mode": "The model is left in another mode than it came in: remember `model.training`, and put "
    "it back.",
    "model": "Your function changes its input: the model has other weights, statistics or "
    "functions afterwards. Work on a copy, or put them back.",
    "inputs": "Your function changes its input. Whoever calls it may need the input afterwards; "
    "an operation that makes a new tensor is safer.",
    "requires_grad": "Your function changes `requires_grad` of what it was given.",
    "grad": "A `.grad` stays behind in what your function was given; `torch.autograd.grad` leaves "
    "none.",
}


def _touched(values: Any, originals: Any) -> set[str]:
    if isinstance(originals, (list, tuple)):
        if len(values) != len(originals):
            return {"inputs"}
        return set().union(*(_touched(a, b) for a, b in zip(values, originals, strict=True)))
    if isinstance(originals, torch.nn.Module):
        return _touched_model(values, originals)
    found = set()
    if isinstance(originals, torch.Tensor):
        if values.requires_grad != originals.requires_grad:
            found.add("requires_grad")
        if values.is_leaf and values.grad is not None and originals.grad is None:
            found.add("grad")
    if isinstance(originals, (torch.Tensor, np.ndarray)) and (
        values.dtype != originals.dtype or not agree(values, originals, 0.0)
    ):
        found.add("inputs")
    return found


def _touched_model(model: torch.nn.Module, original: torch.nn.Module) -> set[str]:
    found = set()
    if [name for name, _ in model.named_modules()] != [n for n, _ in original.named_modules()]:
        return {"model"}
    for module, before in zip(model.modules(), original.modules(), strict=True):
        if module.training != before.training:
            found.add("mode")
        if any(len(hooks) != len(vars(before)[name]) for name, hooks in _hooks(module)):
            found.add("hooks")
        if "forward" in vars(module) or type(module) is not type(before):
            found.add("model")
    for of in (torch.nn.Module.named_parameters, torch.nn.Module.named_buffers):
        now, then = dict(of(model)), dict(of(original))
        if now.keys() != then.keys():
            return found | {"model"}
        for name in then:
            found |= {"model" if f == "inputs" else f for f in _touched(now[name], then[name])}
    return found


def _hooks(module: torch.nn.Module) -> list[tuple[str, dict]]:
    return [(n, h) for n, h in vars(module).items() if n.endswith("hooks") and isinstance(h, dict)]


# Words


def brief(value: Any) -> str:
    """An argument of a trial, in a word or two."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{tuple(value.shape)}" + ("" if value.any() else " of zeros")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        short = len(value) <= 4 and all(isinstance(part, int) for part in value)
        return repr(value) if short else f"(a {type(value).__name__} of {len(value)})"
    if isinstance(value, torch.nn.Module):
        return "in train mode" if value.training else "in eval mode"
    return f"(a {type(value).__name__})"


def form(value: Any, in_parts: bool = False) -> str:
    """Type or shape of what came back; `in_parts` tells a sequence by its length, not its shape."""
    kind = type(value)
    if issubclass(kind, str):
        return "a string"
    if issubclass(kind, bool):
        return "True or False"
    if kind is Yielded:
        return f"a generator of {len(value)}"
    shape = readable(value)
    if issubclass(kind, (list, tuple)) and (in_parts or shape is None or shape.ndim < 2):
        return f"a {kind.__name__} of {len(value)}"
    if shape is None:
        large = issubclass(kind, torch.Tensor) and value.numel() > LIMIT
        return f"a tensor of {value.numel()} numbers" if large else f"a {kind.__name__}"
    return f"shape {tuple(shape.shape)}" if shape.ndim else "one number"


def form_complaint(answer: Any, expected: Any) -> str:
    """What is wrong with the type, shape or dtype of `answer`; empty if nothing is."""
    if inspect.iscoroutine(answer):
        return "A coroutine came back: write `def`, without `async`."
    if isinstance(expected, (list, tuple)):
        items = parts(answer)
        fits = items is not None and len(items) == len(expected)
        if fits:
            complaints = (form_complaint(a, b) for a, b in zip(items, expected, strict=True))
            return next(filter(None, complaints), "")
    elif isinstance(expected, str):
        fits = type(answer) in TEXT
    else:
        given, asked = readable(answer), read(expected)
        fits = given is not None and (
            given.shape == asked.shape or (not asked.ndim and given.numel() == 1)
        )
        if fits and is_uint8(expected) and not is_uint8(answer):
            return "The shape is right, the dtype is not: uint8 is asked."
    if fits:
        return ""
    if type(answer) is Yielded and len(answer) == 1 and not form_complaint(answer[0], expected):
        return "A generator came back: write `return` where you wrote `yield`."
    in_parts = isinstance(expected, (list, tuple))
    return f"What came back: {form(answer, in_parts)}. What is asked: {form(expected, in_parts)}."


# The form that is asked


def same_form(answer: Any, like: Any) -> bool:
    """Whether a caller meets the same types, shapes and dtypes in `answer` as in `like`."""
    if type(answer) is not type(like):
        return False
    if isinstance(like, (list, tuple)):
        return len(answer) == len(like) and all(map(same_form, answer, like))
    if isinstance(like, torch.Tensor):
        alike = (answer.shape, answer.dtype, answer.device) == (like.shape, like.dtype, like.device)
        return alike and answer.requires_grad == like.requires_grad
    return not isinstance(like, np.ndarray) or (answer.shape, answer.dtype) == (
        like.shape,
        like.dtype,
    )


def formed(answer: Any, like: Any, live: bool) -> Any:
    """`answer` with the types and dtypes of `like`; tensors keep their graph if `live`."""
    if isinstance(like, str):
        return str(answer)
    if isinstance(like, list):  # its length changes with the input
        return [formed(item, like[0], live) for item in parts(answer) or []]
    if isinstance(like, tuple):
        items = parts(answer)
        if items and all(isinstance(item, str) for item in (*items, *like)):
            return tuple(items)  # names, as many as there are
        if items is None or len(items) != len(like):
            raise TypeError("another number of parts")
        return tuple(formed(a, b, live) for a, b in zip(items, like, strict=True))
    if isinstance(like, (bool, int, float)):
        number = float(read(answer).reshape(()))
        return type(like)(round(number) if type(like) is int else number)
    if isinstance(like, np.ndarray):
        return read(answer).numpy().astype(like.dtype)
    made = (_with_graph(answer) if live else read(answer)).to(like.dtype)
    return made if like.ndim else made.reshape(())


def _with_graph(answer: Any) -> torch.Tensor:
    if isinstance(answer, torch.Tensor):
        return answer
    if isinstance(answer, (list, tuple)):
        return torch.stack([_with_graph(item) for item in answer])
    return torch.as_tensor(answer)
