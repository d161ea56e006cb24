"""The Explorer's own copy of a model, shared by all Explorers of the same unchanged model.

A busy or retraining notebook cannot disturb it, nor it the notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
import torch
from torch import Tensor, nn

from ..maps import stand_in
from .guard import Guard

PLAIN = (bool, int, float, str, type(None), FunctionType)


class Private:
    """A stand-in for a model with tensors of its own, and the guard to use it under.

    It lives as long as something holds it, an Explorer say: there are as many copies as there are
    states of models that live Explorers show, and none of them loses its own to another.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = stand_in(model, own=True)
        self.settings = [_settings(module) for module in self.model.modules()]
        """as they were before it ran: a forward pass may change them"""
        self.guard = Guard()


_known: WeakKeyDictionary[nn.Module, ReferenceType[Private]] = WeakKeyDictionary()


def private(model: nn.Module) -> Private:
    """The copy of this model: the one that is there, if the model is unchanged, or a new one.

    Raises:
        TypeError, ValueError: no module, or one that has no stand-in.
    """
    known = _known[model]() if isinstance(model, nn.Module) and model in _known else None
    if known is None or not _same(stand_in(model), known):
        known = Private(model)
        _known[model] = ref(known)
    return known


def _same(model: nn.Module, own: Private) -> bool:
    """Whether a stand-in is of the same modules with the same hooks, settings and numbers.

    The numbers are compared one by one, a small part of a forward pass: a change through `.data`
    leaves no other trace.
    """
    ours, theirs = list(model.modules()), list(own.model.modules())
    return len(ours) == len(theirs) and all(
        _alike(_settings(a), settings) and _alike(_tensors(a), _tensors(b))
        for a, b, settings in zip(ours, theirs, own.settings, strict=True)
    )


def _settings(module: nn.Module) -> dict[str, Any]:
    """The class, the hooks, and what is set by numbers, words, functions and lists of them."""
    found: dict[str, Any] = {"class": type(module)}
    for name, value in vars(module).items():
        if name.endswith("_hooks"):
            found[name] = list(value or ())
        elif name not in ("_parameters", "_buffers"):
            found[name] = _kept(value)
    return found


def _kept(value: Any, depth: int = 4) -> Any:
    """A copy of what can be compared, so far down, of objects what is plain; else None."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if depth and isinstance(value, Mapping):
        return {name: _kept(each, depth - 1) for name, each in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_kept(each, depth - 1) for each in value]
    if isinstance(value, (nn.Module, type)) or not hasattr(value, "__dict__"):
        return None
    plain = {name: each for name, each in vars(value).items() if isinstance(each, PLAIN)}
    return {"class": type(value), **plain}


def _tensors(module: nn.Module) -> dict[str, Tensor | None]:
    return {**module._parameters, **module._buffers}


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return type(one) is type(other) and bool(one == other)
