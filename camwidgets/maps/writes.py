"""Which of its parameters a model may change when it runs: read from its code."""

from __future__ import annotations

import dis
import functools
import inspect
import re
from types import CodeType, FunctionType
from typing import Any

from torch import nn

UNSEEN = {"data", "detach", "inference_mode", "no_grad", "set_grad_enabled"}
"""where autograd does not look, a parameter can be changed in place"""


def written(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that a module's own code may change, as a clamp or a mask of weights does.

    All beneath the module if that code changes something in place where autograd does not look;
    else the constants that it holds itself.
    """
    kind: Any = type(module)
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    is_torch_s = kind.__module__.startswith("torch.")
    if is_torch_s and not hooks:
        return []
    codes = [hook.__code__ for hook in hooks if type(hook) is FunctionType]
    if _writes(kind, kind.forward) or any(map(_changes, codes)):
        return list(module.parameters())
    if is_torch_s:
        return []
    return [p for p in module._parameters.values() if p is not None and not p.requires_grad]


@functools.lru_cache(maxsize=1024)
def _writes(kind: Any, forward: Any) -> bool:
    """Whether the class's forward, or what it calls by name, changes something unseen."""
    to_read, read = [(forward, False)], set()
    while to_read:
        function, decorated = to_read.pop()
        function = getattr(function, "fget", getattr(function, "__func__", function))
        if type(function) is not FunctionType or (function, decorated) in read:
            continue
        if str(function.__module__).startswith("torch."):
            continue
        if _changes(function.__code__, decorated):
            return True
        read.add((function, decorated))
        to_read.append((getattr(function, "__wrapped__", None), True))
        for name in function.__code__.co_names:
            known = (inspect.getattr_static(kind, name, None), function.__globals__.get(name))
            to_read += [(each, False) for each in known]
    return False


@functools.lru_cache(maxsize=4096)
def _changes(code: CodeType, decorated: bool = False) -> bool:
    """Whether this code changes something in place and has autograd look away.

    A decorator may be what has it look away.
    """
    if not decorated and not UNSEEN & set(code.co_names):
        return False
    return any(
        step.opname == "STORE_SUBSCR"
        or step.opname.startswith("INPLACE")
        or (step.opname == "BINARY_OP" and step.argrepr.endswith("="))
        or re.fullmatch(r"[a-z]\w*[a-z0-9]_", str(step.argval))
        for step in dis.get_instructions(code)
    )
