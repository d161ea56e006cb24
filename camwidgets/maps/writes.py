"""Whether a model may change its parameters when it runs: read from its code."""

from __future__ import annotations

import dis
import functools
import inspect
import re
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import nn

UNSEEN = {"data", "detach", "inference_mode", "init", "no_grad", "set_grad_enabled", "state_dict"}
"""where autograd does not look, a parameter can be changed in place"""
SETS_ALL = {"load_state_dict", "reset_parameters"}


def writes(module: nn.Module) -> bool:
    """Whether a module's own code, or a hook of it, may change parameters, as a clamp does.

    It may if it changes something in place where autograd does not look.
    """
    kind: Any = next(k for k in type(module).__mro__ if not k.__module__.startswith("camwidgets."))
    own = vars(module)
    helpers = frozenset(map(type, own.values()))
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    starts = (own.get("forward", kind.forward), kind.__call__, *hooks)
    return any(_writes(kind, *found, helpers) for start in starts for found in _code_of(start))


def constants(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of its own that take no gradient, which any code may change in place."""
    if type(module).__module__.startswith("torch."):
        return []
    return [p for p in module._parameters.values() if p is not None and not p.requires_grad]


def _code_of(thing: Any) -> Iterator[tuple[Any, bool]]:
    """The functions that a call of this runs, and whether they are decorated."""
    thing = thing.func if isinstance(thing, functools.partial) else thing
    thing = getattr(thing, "fget", getattr(thing, "__func__", thing))
    if type(thing) is not FunctionType:
        thing = inspect.getattr_static(type(thing), "__call__", None)
    if type(thing) is FunctionType and not str(thing.__module__).startswith("torch."):
        yield thing, False
        yield from ((inner, True) for inner, _ in _code_of(getattr(thing, "__wrapped__", None)))


@functools.lru_cache(maxsize=4096)
def _writes(kind: Any, function: Any, decorated: bool, helpers: frozenset[type]) -> bool:
    """Whether a function, or what it calls by name, changes something unseen.

    Args:
        kind: the class whose methods it may call.
        helpers: the classes of the objects that it may use.
    """
    to_read, read = [(function, decorated)], set()
    while to_read:
        function, decorated = to_read.pop()
        if (function, decorated) in read:
            continue
        read.add((function, decorated))
        names = _names(function.__code__)
        if _changes(function.__code__, decorated):
            return True
        for name in names:
            known = function.__globals__.get(name)
            around = known if isinstance(known, type) else type(known)
            for owner in {kind, *helpers, around}:
                for base in owner.__mro__:
                    for called in names if owner is around else (name,):
                        to_read += _code_of(vars(base).get(called))
            to_read += _code_of(known)
    return False


@functools.lru_cache(maxsize=4096)
def _names(code: CodeType) -> frozenset[str]:
    """The names that code uses, also as text for getattr, with that of functions inside it."""
    found = {*code.co_names}
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found |= _names(part)
        elif "getattr" in found and isinstance(part, str):
            found.add(part)
    return frozenset(found)


@functools.lru_cache(maxsize=4096)
def _changes(code: CodeType, decorated: bool = False) -> bool:
    """Whether this code changes something in place and has autograd look away.

    A decorator may be what has it look away.
    """
    names = _names(code)
    if SETS_ALL & names or any(type(c) is tuple and "out" in c for c in code.co_consts):
        return True
    return (decorated or bool(UNSEEN & names)) and any(map(_is_in_place, _steps(code)))


def _steps(code: CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _steps(part)


def _is_in_place(step: dis.Instruction) -> bool:
    return (
        step.opname in ("STORE_SUBSCR", "STORE_SLICE")
        or step.opname.startswith("INPLACE")
        or (step.opname == "BINARY_OP" and step.argrepr.endswith("="))
        or bool(re.fullmatch(r"[a-z]\w*[a-z0-9]_", str(step.argval)))
    )
