"""A stand-in for a model: what is run in its place, so that the model itself is never touched."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import CellType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
CONTAINERS = {dict, OrderedDict, defaultdict, list, tuple, set, deque}
EMPTY = CONTAINERS - {defaultdict}
PLAIN = {str, int, float, bool, type(None), type}


def stand_in(model: nn.Module, *, own: bool = False) -> nn.Module:
    """A model of the same modules in eval mode, to be run, hooked and changed at will.

    Each module is a new object of the same class with attributes of its own: hook tables and
    other containers are copies, buffers too, and parameters are constants that share the model's
    numbers. Modules that the model refers to elsewhere (in a list, a bound method, a closure) are
    replaced there as well. Nothing is called, so no `__init__` runs and nothing needs to be
    copyable. `DataParallel` and compiled modules are unwrapped.

    Args:
        model: any module; only read.
        own: copies of the parameters too, so that later training does not reach the stand-in.

    Raises:
        TypeError: `model` is no module.
        ValueError: TorchScript or a quantised model, whose layers cannot be watched.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}.")
    with torch.inference_mode(False), torch.no_grad():
        return _Double(own).module(model)


def unwrapped(module: Any) -> nn.Module:
    """The module inside `DataParallel`, `DistributedDataParallel` and `torch.compile`."""
    while True:
        if isinstance(module, WRAPPERS):
            module = module.module
        elif "_orig_mod" in vars(module).get("_modules", ()):
            module = module._orig_mod
        else:
            return module


class _Double:
    """Doubles modules and what refers to them; each thing once, so that what is shared stays so."""

    def __init__(self, own: bool) -> None:
        self.own = own
        self.made: dict[int, Any] = {}

    def module(self, module: nn.Module) -> nn.Module:
        inner = unwrapped(module)
        if id(inner) in self.made:
            return self.made[id(inner)]
        _refuse(inner)
        new = self.made[id(inner)] = object.__new__(type(inner))
        attributes = new.__dict__
        for key, value in vars(inner).items():
            kind = type(value)
            if kind in PLAIN:
                attributes[key] = value
            elif kind in EMPTY and not value:  # most of a module's attributes: its hook tables
                attributes[key] = kind()
            else:
                attributes[key] = self.thing(value)
        attributes.update(training=False, _compiled_call_impl=None)
        return new

    def thing(self, value: Any) -> Any:
        """The double of any attribute; itself if it refers to nothing of the model's."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind in EMPTY and not value:
            return kind()
        if id(value) in self.made:
            return self.made[id(value)]
        if isinstance(value, nn.Module):
            return self.module(value)
        if isinstance(value, Tensor):
            return self.tensor(value)
        if kind in CONTAINERS:
            return self.container(value)
        if kind is MethodType:
            return MethodType(value.__func__, self.thing(value.__self__))
        if kind is partial:
            return partial(
                self.thing(value.func),
                *map(self.thing, value.args),
                **self.thing(value.keywords),
            )
        if kind is FunctionType:
            return self.function(value)
        if kind is SimpleNamespace or _holds_modules(value):
            new = self.made[id(value)] = (
                object.__new__(kind) if _holds_modules(value) else SimpleNamespace()
            )
            new.__dict__.update({key: self.thing(part) for key, part in vars(value).items()})
            return new
        return value

    def tensor(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, (UninitializedBuffer, UninitializedParameter)):
            raise ValueError(
                "The model has lazy layers: call it once on an image to give them shapes."
            )
        constant = tensor.detach()
        if self.own or not isinstance(tensor, nn.Parameter) or tensor.is_inference():
            constant = constant.clone()
        self.made[id(tensor)] = constant
        return constant

    def container(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self.thing, value))
        new = value.copy()
        self.made[id(value)] = new
        new.clear()
        if isinstance(value, dict):
            new.update((key, self.thing(part)) for key, part in value.items())
        elif isinstance(value, set):
            new.update(map(self.thing, value))
        else:
            new.extend(map(self.thing, value))
        return new

    def function(self, function: FunctionType) -> Callable:
        plain = getattr(function, "_torchdynamo_orig_callable", None)
        if plain is not None:
            return self.thing(plain)
        cells = function.__closure__ or ()
        contents = [_content(cell) for cell in cells]
        defaults, options = function.__defaults__ or (), function.__kwdefaults__ or {}
        names = {name: function.__globals__.get(name) for name in function.__code__.co_names}
        outside = {name: self.thing(value) for name, value in names.items() if _refers(value)}
        if not outside and not any(map(_refers, (*contents, *defaults, *options.values()))):
            return function
        new = FunctionType(
            function.__code__,
            {**function.__globals__, **outside} if outside else function.__globals__,
            function.__name__,
            tuple(map(self.thing, defaults)),
            tuple(
                CellType(self.thing(content)) if _refers(content) else cell
                for cell, content in zip(cells, contents, strict=True)
            ),
        )
        new.__kwdefaults__ = self.thing(options)
        return new


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _refers(value: Any) -> bool:
    """Whether a function's outside variable leads to a module."""
    value = getattr(value, "__self__", value)
    if type(value) in CONTAINERS:
        parts = value.values() if isinstance(value, dict) else value
        return any(isinstance(part, nn.Module) for part in parts)
    return isinstance(value, nn.Module)


def _holds_modules(value: Any) -> bool:
    """Whether this object, of a class written in Python, has modules among its attributes."""
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict) or isinstance(value, type):
        return False
    return any(map(_refers, attributes.values()))


def _refuse(module: nn.Module) -> None:
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            f"A TorchScript module ({kind.__name__}) has no layers that can be watched: give the "
            "Python model that it was made from, with the same state_dict."
        )
    if "quantized" in kind.__module__.split(".") and kind.__module__.startswith("torch."):
        raise ValueError(
            f"A quantised layer ({kind.__module__}.{kind.__name__}) passes no gradient: give the "
            "float model that it was made from."
        )
