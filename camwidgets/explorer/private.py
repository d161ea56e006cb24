"""The Explorer's own copy of a model, shared by all Explorers of the same unchanged model.

A busy or retraining notebook cannot disturb it, nor it the notebook.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from ..maps import stand_in
from .guard import Guard


class Private:
    """A stand-in for a model with tensors of its own, and the guard to use it under.

    It lives as long as something holds it, an Explorer say: there are as many copies as there are
    states of models that live Explorers show, and none of them loses its own to another.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = stand_in(model, own=True)
        self.guard = Guard()


_known: WeakKeyDictionary[nn.Module, ReferenceType[Private]] = WeakKeyDictionary()


def private(model: nn.Module) -> Private:
    """The copy of this model: the one that is there, if the model is unchanged, or a new one.

    Raises:
        TypeError, ValueError: no module, or one that has no stand-in.
    """
    known = _known[model]() if isinstance(model, nn.Module) and model in _known else None
    if known is None or not _same(stand_in(model), known.model):
        known = Private(model)
        _known[model] = ref(known)
    return known


def _same(model: nn.Module, own: nn.Module) -> bool:
    """Whether two stand-ins are of the same modules with the same hooks, settings and numbers.

    The numbers are compared one by one, a small part of a forward pass: a change through `.data`
    leaves no other trace.
    """
    pairs = zip(model.modules(), own.modules(), strict=False)
    return len(list(model.modules())) == len(list(own.modules())) and all(
        _settings(a) == _settings(b) and _equal(_tensors(a), _tensors(b)) for a, b in pairs
    )


def _settings(module: nn.Module) -> dict[str, Any]:
    """The class, the hooks, and what is set by numbers, words and functions."""
    plain = (bool, int, float, str, type(None), FunctionType)
    found: dict[str, Any] = {"class": type(module)}
    for name, value in vars(module).items():
        if name.endswith("_hooks"):
            found[name] = list(value or ())
        elif isinstance(value, plain):
            found[name] = value
    return found


def _tensors(module: nn.Module) -> dict[str, Tensor | None]:
    return {**module._parameters, **module._buffers}


def _equal(some: dict[str, Tensor | None], others: dict[str, Tensor | None]) -> bool:
    return some.keys() == others.keys() and all(
        _alike(tensor, others[name]) for name, tensor in some.items()
    )


def _alike(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
