"""A stand-in for a model: what is run in its place, so that the model itself is never touched."""

from __future__ import annotations

import builtins
import contextlib
import copy
import dis
import functools
import inspect
import operator
import random
import sys
import weakref
from array import array
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from types import (
    BuiltinMethodType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from .writes import constants, writes

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
CONTAINERS = (dict, list, tuple, set, frozenset, deque, MappingProxyType)
BASES = (OrderedDict, dict, list, set, deque)
PLAIN = {str, int, float, bool, type(None), type}
LOOKUPS = (weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
WEAK = (*LOOKUPS, *PROXIES, weakref.ref)
MODES = {"train": ("self", "mode"), "eval": ("self",)}
TABLES = frozenset(vars(nn.Module()))
"""what PyTorch gives each module for itself: its tables of parameters, hooks, ..."""
CACHED = type(functools.cache(len))
FOLLOWED = (
    *(*CONTAINERS, *LOOKUPS, weakref.ref, nn.Module),
    *(FunctionType, MethodType, BuiltinMethodType, functools.partial),
)
"""what is looked into where an object that is none of the model's own holds it"""
STATES = (
    *(np.ndarray, np.random.Generator, np.random.RandomState, random.Random, torch.Generator),
    *(array, bytearray),
)
"""what a forward pass may change and what refers to nothing"""


class Shared:
    """A base for objects that a model's stand-ins share with it, whatever they hold."""

    __slots__ = ()


OUTSIDE = (Shared, Enum, ModuleType, BaseException, Dataset, DataLoader)
"""no parts of a model, though it may keep them"""


def stand_in(model: nn.Module, *, own: bool = False) -> nn.Module:
    """A model of the same modules in eval mode, to be run, hooked and changed at will.

    Each module is a new object of the same class with attributes of its own: hook tables and
    other containers are copies, buffers too, and parameters are constants that share the model's
    numbers (but for those that the model's own code may change, which are copies). Modules that
    the model refers to elsewhere (in a list, a bound method, a closure, an object) are replaced
    there as well. No `__init__` runs and nothing needs to be copyable. `DataParallel` and compiled
    modules are unwrapped.

    Args:
        model: any module; only read.
        own: copies of the parameters too, so that later training does not reach the stand-in.

    Raises:
        TypeError: `model` is no module.
        ValueError: TorchScript or a quantised model, whose layers cannot be watched.
    """
    return doubles(model, own=own)[0]


def doubles(model: nn.Module, *, own: bool = False) -> list[Any]:
    """A `stand_in`, and behind it all other things of which it has doubles, always in one order."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {instead(model)}.")
    double = _Double(model, own)
    with torch.inference_mode(False):
        double.module(model)
        while double.learnt_late():
            double = _Double(model, own, double)
            double.module(model)
        for module in double.with_modes:
            module.eval()
    return list(double.made.values())


def unwrapped(module: Any) -> nn.Module:
    """The module inside `DataParallel`, `DistributedDataParallel` and `torch.compile`."""
    while _wraps(module.__class__):
        module = module.module if isinstance(module, WRAPPERS) else module._orig_mod
    return module


@functools.lru_cache(maxsize=1024)
def _wraps(kind: Any) -> bool:
    return issubclass(kind, WRAPPERS) or kind.__module__.startswith("torch._dynamo.")


class _Double:
    """Doubles modules and what refers to them; each thing once, so that what is shared stays so."""

    def __init__(self, model: nn.Module, own: bool, before: _Double | None = None) -> None:
        self.model = model
        self.own = own or bool(before and before.writes)
        self.made: dict[int, Any] = {}
        self.cold: dict[int, Any] = {}
        """what leads to no module, as far as the packages known by then tell"""
        self.left: dict[int, Any] = {}
        """what was ever cold"""
        self.stores: set[int] = before.stores | before.shared() if before else set()
        """what the model holds and functions too, which have to see its double"""
        self.written: set[int] = set()
        """the constants that the model may change when it runs"""
        self.writes: bool = False
        """whether it may change its weights when it runs"""
        self.with_modes: list[nn.Module] = []
        """the doubles whose classes do more than usual where the mode is set"""
        self.packages: set[str] = before.packages if before else {"collections", "types"}
        """where the model's classes come from: other objects of theirs belong to it"""

    def shared(self) -> set[int]:
        """What has a double and was left as it is in a function or an object."""
        return self.left.keys() & self.made.keys()

    def learnt_late(self) -> bool:
        """Whether what was doubled first did not know what was seen later."""
        return (self.writes and not self.own) or bool(self.shared())

    def module(self, module: nn.Module) -> nn.Module:
        inner = unwrapped(module)
        if id(inner) in self.made:
            return self.made[id(inner)]
        of: Any = type(inner)
        known = _known(of, getattr(of, "forward", None))
        if known.package not in self.packages:
            self.packages.add(known.package)
            self.cold.clear()
        if not known.is_torch_s or inner._forward_hooks or inner._forward_pre_hooks:
            self.writes = self.writes or writes(inner)
            self.written.update(map(id, constants(inner)))
        new = self.made[id(inner)] = object.__new__(known.double)
        attributes = new.__dict__
        attributes.update(vars(inner), training=False)
        for key, value in attributes.items():
            if type(value) not in PLAIN:  # most of the rest are tables of hooks without any
                if key not in TABLES:
                    attributes[key] = self.thing(value)
                else:
                    attributes[key] = self.table(key, value) if value else type(value)()
        if known.is_torch_s:
            return new
        self.with_modes += [new] if known.sets_modes else []
        self.fill_slots(inner, new)
        for name in known.shared:
            attributes.setdefault(name, self.thing(getattr(of, name)))
        for name, method, plain, bind in known.methods:
            if type(plain) is CACHED:  # its entries would keep the stand-in
                plain = functools.lru_cache(**plain.cache_parameters())(plain.__wrapped__)
            if self.leads(plain):
                plain = self.thing(plain)
            now = getattr(of, name)
            same = getattr(now, "__func__", now) is method
            if plain is not method and same and name not in attributes:
                attributes[name] = (
                    MethodType(plain, of if bind is classmethod else new) if bind else plain
                )
        return new

    def thing(self, value: Any) -> Any:
        """The double of any attribute; itself if it is no part of the model."""
        kind: Any = type(value)
        if kind in PLAIN:
            return value
        return self.made[id(value)] if id(value) in self.made else _way(kind)(self, value)

    def tensor(self, tensor: Tensor) -> Tensor:
        if is_lazy(tensor):
            raise ValueError(
                "The model has lazy layers: call it once on an image to give them shapes."
            )
        kind: Any = type(tensor)
        is_parameter = kind is nn.Parameter or isinstance(tensor, nn.Parameter)
        copied = self.own or id(tensor) in self.written or tensor.is_inference()
        constant = tensor.detach()
        if copied or not is_parameter:
            constant = constant.clone()
        if issubclass(kind, nn.Parameter):
            constant = Tensor._make_subclass(kind, constant, False)
        self.made[id(tensor)] = constant
        for name, part in vars(tensor).items():
            vars(constant)[name] = self.thing(part)
        if is_parameter:
            vars(constant)["is_copy"] = copied
        return constant

    def plain_dict(self, value: dict) -> dict:
        new = self.made[id(value)] = type(value)()
        for key, part in list(value.items()):
            new[key if type(key) is str else self.thing(key)] = self.thing(part)
        return new

    def fixed(self, value: Any) -> Any:
        """The double of a tuple or a frozen set: itself if nothing in it has one."""
        kind: Any = type(value)
        if PLAIN.issuperset(map(type, value)):
            return value
        parts = list(map(self.thing, value))
        if all(map(operator.is_, parts, value)):
            return value
        if hasattr(kind, "n_fields"):  # what PyTorch's functions of several results give
            return kind(parts)
        base = tuple if isinstance(value, tuple) else frozenset
        return self.fill(value, base.__new__(kind, parts))

    def view(self, value: MappingProxyType) -> MappingProxyType:
        return type(value)({self.thing(key): self.thing(part) for key, part in value.items()})

    def container(self, value: Any) -> Any:
        kind: Any = type(value)
        base: Any = next(b for b in BASES if isinstance(value, b))
        new = self.made[id(value)] = kind.__new__(kind)
        if base is deque:
            deque.__init__(new, (), value.maxlen)
        elif isinstance(value, defaultdict):
            new.default_factory = self.thing(value.default_factory)
        if base in (OrderedDict, dict):
            for key, part in list(base.items(value)):
                base.__setitem__(new, self.thing(key), self.thing(part))
        else:
            (set.update if base is set else base.extend)(new, map(self.thing, list(value)))
        return new if kind is base else self.fill_slots(value, self.fill(value, new))

    def weak(self, value: Any) -> Any:
        """The double of a weak reference, proxy or collection; of a dead one, itself."""
        kind: Any = type(value)
        if kind in PROXIES:
            held = _behind(value)
            return value if held is None else weakref.proxy(self.thing(held))
        if issubclass(kind, weakref.ref):
            held = value()
            simple = kind in (weakref.ref, weakref.WeakMethod)
            return kind(self.thing(held)) if simple and held is not None else value
        new = self.made[id(value)] = kind()
        if isinstance(value, weakref.WeakSet):
            new.update(map(self.thing, list(value)))
        else:
            new.update([(self.thing(key), self.thing(part)) for key, part in value.items()])
        return new

    def other(self, value: Any) -> Any:
        """The double of a function or an object, if it leads to a module or is the model's."""
        kind: Any = type(value)
        if kind is FunctionType and hasattr(value, "_torchdynamo_orig_callable"):
            return self.thing(value._torchdynamo_orig_callable)
        if not self.belongs(value) and not self.leads(value):
            return value
        if kind is FunctionType:
            return self.function(value)
        if kind is MethodType:
            return MethodType(self.led(value.__func__), self.thing(value.__self__))
        if kind is BuiltinMethodType:
            return getattr(self.thing(value.__self__), value.__name__)
        if kind is functools.partial:
            arguments = map(self.thing, value.args)
            return kind(self.thing(value.func), *arguments, **self.thing(value.keywords))
        if kind is CACHED:
            return functools.lru_cache(**value.cache_parameters())(self.thing(value.__wrapped__))
        return self.instance(value)

    def table(self, name: str, value: Any) -> Any:
        """The double of a module's own table; a hook that leads to no module stays as it is."""
        if "hooks" not in name:
            return self.thing(value)
        new = self.made[id(value)] = type(value)()
        new.update((key, self.led(hook)) for key, hook in list(value.items()))
        return new

    def optimizer(self, value: torch.optim.Optimizer) -> Any:
        self.writes = True
        return self.instance(value)

    def function(self, function: FunctionType) -> Callable:
        known = function.__globals__
        outside = [name for name in self.outside(function) if self.leads(known[name])]
        new = self.made[id(function)] = FunctionType(
            function.__code__,
            {**known} if outside else known,
            function.__name__,
            None,
            tuple(map(self.cell, function.__closure__ or ())),
        )
        new.__globals__.update({name: self.thing(known[name]) for name in outside})
        new.__defaults__ = tuple(map(self.led, function.__defaults__ or ()))
        options = function.__kwdefaults__ or {}
        new.__kwdefaults__ = {name: self.led(value) for name, value in options.items()}
        return new

    def outside(self, function: FunctionType) -> list[str]:
        """The global variables that a function uses and that may lead to a module."""
        known = function.__globals__
        own = str(function.__module__).partition(".")[0] in self.packages - {"torch"}
        names = (name for name in _used(function.__code__) if name in known)
        return [n for n in names if _refers(known[n]) or (own and not self.looks(known[n]))]

    def looks(self, value: Any) -> bool:
        """Whether this is a function around the whole model, which only looks at it."""
        return type(value) is FunctionType and any(
            held is self.model for held in _contents(value.__closure__ or ())
        )

    def cell(self, cell: CellType) -> CellType:
        if id(cell) not in self.made:
            self.made[id(cell)] = cell
            for content in filter(self.leads, _contents([cell])):
                new = self.made[id(cell)] = CellType()
                new.cell_contents = self.thing(content)
        return self.made[id(cell)]

    def led(self, value: Any) -> Any:
        """The double of what a function holds; itself if that leads to no module."""
        return self.thing(value) if self.leads(value) else value

    def instance(self, value: Any) -> Any:
        kind: Any = type(value)
        if self.is_named(value):
            return value
        try:
            new = kind() if kind is SimpleNamespace else object.__new__(_endless(kind))
        except TypeError:  # its class is not written in Python
            return value
        self.made[id(value)] = new
        return self.fill_slots(value, self.fill(value, new))

    def is_named(self, value: Any) -> bool:
        """Whether this holds nothing and has a name, as a constant of a program has."""
        kind: Any = type(value)
        if getattr(value, "__dict__", None) or _slots(kind):
            return False
        program = sys.modules.get(kind.__module__)
        return any(value is each for each in list(vars(program).values()) if program)

    def fill(self, old: Any, new: Any) -> Any:
        for key, part in list(getattr(old, "__dict__", {}).items()):
            new.__dict__[key] = self.thing(part)
        return new

    def fill_slots(self, old: Any, new: Any) -> Any:
        kind: Any = type(old)
        for slot in _slots(kind):
            if hasattr(old, slot):
                object.__setattr__(new, slot, self.thing(getattr(old, slot)))
        return new

    def belongs(self, value: Any) -> bool:
        """Whether this is an object of the model's own, by where its class comes from."""
        return _package(value) in self.packages - {"torch"} and not isinstance(value, OUTSIDE)

    def leads(self, value: Any) -> bool:
        """Whether a module, or a store of the model's, is reached from here.

        The way goes through functions, containers and the model's own objects.
        """
        seen: dict[int, Any] = {}
        to_see = [value]
        while to_see:
            part = to_see.pop()
            part = _behind(part) if type(part) in PROXIES else part
            if type(part) in PLAIN or id(part) in seen or id(part) in self.cold:
                continue
            if isinstance(part, nn.Module) or id(part) in self.stores:
                return True
            seen[id(part)] = part
            to_see += self.parts(part)
        self.cold.update(seen)
        self.left.update(seen)
        return False

    def parts(self, value: Any) -> Iterable[Any]:
        kind: Any = type(value)
        if isinstance(value, CONTAINERS):
            return _items(value)
        if isinstance(value, LOOKUPS):
            return _items(_alive(value))
        if isinstance(value, weakref.ref):
            return (value(),)
        if kind is MethodType:
            return (value.__self__, value.__func__)
        if kind is BuiltinMethodType:
            return (value.__self__,)
        if kind is functools.partial:
            return (value.func, *value.args, *value.keywords.values())
        if kind is CACHED:
            return (value.__wrapped__,)
        if kind is FunctionType:
            return (
                *_contents(value.__closure__ or ()),
                *(value.__defaults__ or ()),
                *(value.__kwdefaults__ or {}).values(),
                *(value.__globals__[name] for name in self.outside(value)),
            )
        if isinstance(value, (*OUTSIDE, type)):
            return ()
        slots = (getattr(value, slot, None) for slot in _slots(kind))
        held = [*slots, *getattr(value, "__dict__", {}).values()]
        return held if self.belongs(value) else (p for p in held if isinstance(p, FOLLOWED))


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


def _behind(proxy: Any) -> Any:
    """What a weak proxy stands for; None if that is gone."""
    try:
        return proxy.__init__.__self__
    except ReferenceError:
        return None


def _alive(weak: Any) -> Any:
    """What a weak collection holds now, as a plain one."""
    return set(weak) if isinstance(weak, weakref.WeakSet) else dict(weak)


def _items(container: Any) -> list[Any]:
    if isinstance(container, (dict, MappingProxyType)):
        return [part for item in list(container.items()) for part in item]
    return list(container)


def _contents(cells: Iterable[CellType]) -> Iterable[Any]:
    for cell in cells:
        with contextlib.suppress(ValueError):  # not filled yet
            yield cell.cell_contents


def _refers(value: Any) -> bool:
    """Whether this is a module, its method, or a container of modules."""
    value = value.__self__ if type(value) is MethodType else value
    value = _behind(value) if type(value) in PROXIES else value
    if isinstance(value, CONTAINERS):
        return any(isinstance(part, nn.Module) for part in _items(value))
    return isinstance(value, nn.Module)


@functools.lru_cache(maxsize=4096)
def _way(kind: type) -> Callable[[_Double, Any], Any]:
    """How things of a kind are doubled."""
    ways: list[tuple[Any, Callable[[_Double, Any], Any]]] = [
        (nn.Module, _Double.module),
        (Tensor, _Double.tensor),
        (MappingProxyType, _Double.view),
        ((tuple, frozenset), _Double.fixed),
        (BASES, _Double.plain_dict if kind in (dict, OrderedDict) else _Double.container),
        (torch.optim.Optimizer, _Double.optimizer),
        (random.SystemRandom, lambda self, value: value),
        (STATES, lambda self, value: self.made.setdefault(id(value), copy.deepcopy(value))),
        (WEAK, _Double.weak),
    ]
    return next((way for bases, way in ways if issubclass(kind, bases)), _Double.other)


class _Kind(NamedTuple):
    """What doubling needs to know of a class of modules."""

    double: Any
    """its double's class"""
    package: str
    is_torch_s: bool
    sets_modes: bool
    methods: list[tuple[str, Any, Any, Any]]
    shared: list[str]
    """the modules that all of its objects share"""


@functools.lru_cache(maxsize=1024)
def _known(kind: Any, forward: Any) -> _Kind:
    """What is known of a class and its `forward`: a class may be given another one."""
    _refuse(kind)
    own = _own(kind)
    shared = [name for base in own for name, part in vars(base).items() if _refers(part)]
    package = kind.__module__.partition(".")[0]
    sets_modes = any(map(_sets_modes, own))
    return _Kind(_endless(kind), package, not own, sets_modes, _methods(kind), shared)


def _sets_modes(kind: type) -> bool:
    """Whether a class has a train() or eval() that sets the mode, and not one that trains."""
    for name, given in MODES.items():
        code = getattr(vars(kind).get(name), "__code__", None)
        if code and code.co_varnames[: code.co_argcount] == given and MODES.keys() & code.co_names:
            return True
    return False


def _own(kind: Any) -> list[type]:
    """The class and its bases but for those of PyTorch."""
    return [base for base in kind.__mro__[:-1] if not base.__module__.startswith("torch.")]


@functools.lru_cache(maxsize=1024)
def _endless(kind: Any) -> Any:
    """The class, or a subclass whose `__del__` closes nothing that the model has open."""
    if not hasattr(kind, "__del__"):
        return kind
    plain = {"__module__": kind.__module__, "__del__": lambda self: None}
    return type(kind)(kind.__name__, (kind,), plain)


@functools.lru_cache(maxsize=1024)
def _slots(kind: Any) -> list[str]:
    return [
        name
        for base in kind.__mro__
        if "__slots__" in vars(base)
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType)
    ]


def _methods(kind: Any) -> list[tuple[str, Any, Any, Any]]:
    """The methods that a module's double may need of its own, of classes that are not torch's.

    Each with the function inside (of one that is compiled, the plain one), and what it is bound by:
    nothing if it is static.
    """
    found: list[tuple[str, Any, Any, Any]] = []
    for name in {name for base in _own(kind) for name in vars(base)}:
        method = inspect.getattr_static(kind, name)
        bind = type(method) if type(method) in (staticmethod, classmethod) else FunctionType
        method = getattr(method, "__func__", method)
        plain = getattr(method, "_torchdynamo_orig_callable", method)
        if type(plain) is CACHED:
            found.append((name, method, plain, FunctionType))
        if type(plain) is not FunctionType:
            continue
        names, given = plain.__globals__, vars(builtins)
        known = [names.get(n, given.get(n)) for n in _used(plain.__code__)]  # None: it comes later
        held = [*known, *_contents(plain.__closure__ or ()), *(plain.__defaults__ or ())]
        if plain is not method or any(map(_may_lead, held)):
            found.append((name, method, plain, None if bind is staticmethod else bind))
    return found


def _may_lead(value: Any) -> bool:
    """Whether this is no import, no class, and none of PyTorch's functions."""
    if isinstance(value, (type, ModuleType, BuiltinMethodType)):
        return False
    return type(value) is not FunctionType or not str(value.__module__).startswith("torch.")


@functools.lru_cache(maxsize=4096)
def _used(code: CodeType) -> tuple[str, ...]:
    """The global variables that a function and those inside it use."""
    inner = [name for part in code.co_consts if isinstance(part, CodeType) for name in _used(part)]
    steps = dis.get_instructions(code)
    own = [step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return tuple(dict.fromkeys([*own, *inner]))


def _refuse(kind: type[nn.Module]) -> None:
    if issubclass(kind, torch.jit.ScriptModule):
        raise ValueError(
            f"A TorchScript module ({kind.__name__}) has no layers that can be watched: give the "
            "Python model that it was made from, with the same state_dict."
        )
    if "quantized" in kind.__module__.split(".") and kind.__module__.startswith("torch."):
        raise ValueError(
            f"A quantised layer ({kind.__module__}.{kind.__name__}) passes no gradient: give the "
            "float model that it was made from."
        )


def instead(model: Any) -> str:
    """The kind of what was given in place of a model, and how to come from it to one."""
    if isinstance(model, (Mapping, Tensor)):
        hint = ": of weights, make the model and call load_state_dict"
    elif isinstance(model, (str, Path)):
        hint = ": make the model and load its weights from that file"
    elif isinstance(model, type) or inspect.isfunction(model):
        hint = f": if it makes the model, call it, {model.__name__}(…)"
    else:
        hint = ""
    return type(model).__name__ + hint
