"""The Explorer's own copy of a model, shared by all Explorers of the same unchanged model.

A busy or retraining notebook cannot disturb it, nor it the notebook.
"""

from __future__ import annotations

import copy
import os
from threading import RLock
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, ref

import torch
from torch import Tensor, nn


class Private:
    """A copy of a model in eval mode, with tensors of its own, and the lock to use it under.

    It lives as long as something that holds it, an Explorer say; so there are as many copies as
    there are states of models that a live Explorer shows.
    """

    def __init__(self, model: nn.Module) -> None:
        try:
            self.model = copy.deepcopy(model).eval()
        except Exception as error:
            raise ValueError(
                f"The Explorer works on a copy of the model, and this one cannot be copied: {error}"
            ) from error
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        self.lock = RLock()
        _alive.add(self)


_alive: WeakSet[Private] = WeakSet()
_known: WeakKeyDictionary[nn.Module, ReferenceType[Private]] = WeakKeyDictionary()


def private(model: nn.Module) -> Private:
    """The copy of this model: one that is there, if the model has not changed since, or a new one.

    Raises:
        TypeError, ValueError: no module, or one that cannot be copied.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}.")
    known = _known.get(model, lambda: None)()
    if known is None or not _same(model, known.model):
        known = Private(model)
        _known[model] = ref(known)
    return known


def _same(model: nn.Module, own: nn.Module) -> bool:
    """Whether both hold the same numbers.

    They are compared one by one: a change through `.data` leaves no other trace, and reading
    all weights costs a small part of a forward pass.
    """
    theirs, ours = _tensors(model), _tensors(own)
    return theirs.keys() == ours.keys() and all(
        t.device == ours[name].device and t.dtype == ours[name].dtype and torch.equal(t, ours[name])
        for name, t in theirs.items()
    )


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _after_fork() -> None:
    """A lock that another thread held at the fork would be held for ever in the child."""
    for one in _alive:
        one.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
