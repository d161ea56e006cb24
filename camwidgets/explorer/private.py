"""The Explorer's own copy of a model, shared by all Explorers of the same unchanged model.

A busy or retraining notebook cannot disturb it, nor it the notebook.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from types import CellType, FunctionType, MethodType
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
import torch
from torch import Tensor, nn

from ..maps.double import BASES, PLAIN, doubles
from .guard import Guard


class Private:
    """A stand-in for a model with tensors of its own, and the guard to use it under.

    It lives as long as something holds it, an Explorer say: there are as many copies as there are
    states of models that live Explorers show, and none of them loses its own to another.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parts = doubles(model, own=True)
        self.model: nn.Module = self.parts[0]
        self.guard = Guard()


_known: WeakKeyDictionary[nn.Module, ReferenceType[Private]] = WeakKeyDictionary()


def private(model: nn.Module) -> Private:
    """The copy of this model: the one that is there, if the model is unchanged, or a new one.

    Raises:
        TypeError, ValueError: no module, or one that has no stand-in.
    """
    known = _known[model]() if isinstance(model, nn.Module) and model in _known else None
    if known is None or not _Comparison(doubles(model), known.parts).holds():
        known = Private(model)
        _known[model] = ref(known)
    return known


class _Comparison:
    """Whether all doubles of a model now are like those of then.

    The numbers are compared one by one, a small part of a forward pass: a change through `.data`
    leaves no other trace.
    """

    def __init__(self, now: list[Any], then: list[Any]) -> None:
        self.now, self.then = now, then
        self.place = {id(part): k for k, part in enumerate(now)}
        self.before = {id(part): k for k, part in enumerate(then)}

    def holds(self) -> bool:
        return len(self.now) == len(self.then) and all(map(self.alike, self.now, self.then))

    def alike(self, one: Any, other: Any) -> bool:
        """Whether two doubles are, but for what they hold that was doubled itself."""
        if one is other:
            return True
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            same = (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
            return same and torch.equal(one, other)
        if type(one) is not type(other):
            return False
        if isinstance(one, np.ndarray):
            return np.array_equal(one, other)
        if isinstance(one, FunctionType):
            return one.__code__ is other.__code__ and self.hold_the_same(
                (*one.__defaults__, *one.__kwdefaults__.values()),
                (*other.__defaults__, *other.__kwdefaults__.values()),
            )
        if isinstance(one, (set, frozenset)):
            return len(one) == len(other)
        return self.hold_the_same(_inside(one), _inside(other))

    def hold_the_same(self, some: Iterable[Any], others: Iterable[Any]) -> bool:
        some, others = list(some), list(others)
        return len(some) == len(others) and all(map(self.same, some, others))

    def same(self, one: Any, other: Any) -> bool:
        """Whether two doubles hold the same in one place."""
        kind = type(one)
        if one is other or self.place.get(id(one), -1) == self.before.get(id(other), -2):
            return True
        if kind is not type(other):
            return False
        if kind in PLAIN:
            return one == other
        if kind is MethodType:
            return self.same(one.__func__, other.__func__)
        return isinstance(one, (tuple, *BASES)) and self.hold_the_same(one, other)


def _inside(thing: Any) -> Iterable[Any]:
    """What a double holds, in order."""
    yield from vars(thing).values() if hasattr(thing, "__dict__") else ()
    if isinstance(thing, dict):
        yield from (part for item in thing.items() for part in item)
    elif isinstance(thing, CellType):
        with suppress(ValueError):  # not filled yet
            yield thing.cell_contents
    elif isinstance(thing, (list, deque)):
        yield from thing
