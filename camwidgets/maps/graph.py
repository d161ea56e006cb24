"""Autograd's graph: which nodes a score comes through, and what its ReLUs do with gradients."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from .asked import warn

Rule = Callable[[Tensor, Tensor], Tensor]
"""(the gradient before a ReLU by its own derivative, the gradient behind it) → the one before"""

ACTIVATIONS = {
    *("Abs", "Atan", "Celu", "Clamp", "ClampMax", "ClampMin", "Copysign", "Cos", "Elu", "Erf"),
    *("Exp", "Expm1", "Fmax", "Fmin", "Gelu", "Glu", "Hardshrink", "Hardsigmoid", "Hardswish"),
    *("Hardtanh", "Hypot", "IndexFill", "LeakyRelu", "LogSigmoid", "Logaddexp", "MaskedFill"),
    *("MaskedScatter", "MaskedSelect", "Maximum", "Minimum", "Mish", "Prelu", "PreluKernel"),
    *("Rrelu", "RreluWithNoise", "Selu", "Sigmoid", "Sign", "Silu", "Sin", "Softplus"),
    *("Softshrink", "Softsign", "Tanh", "Threshold", "Where", "Xlogy"),
}
CHOOSING = {
    *("Max", "Amax", "Min", "Amin", "Sort", "Topk", "Kthvalue", "Median", "Nanmedian", "Cummax"),
    *("Cummin", "Gather"),
}
"""what takes some of the numbers along an axis"""
ONLY_SHOWN = ("Upsample", "View", "UnsafeView", "Clone", "Slice", "Alias", "Permute", "Transpose")
LEARNED = ("Convolution", "Addmm", "Mm", "Bmm")


def autograd_on() -> AbstractContextManager[Any]:
    """While active, autograd follows what is computed, whatever the caller has switched off."""
    if torch.is_grad_enabled() and not torch.is_inference_mode_enabled():
        return nullcontext()
    switched = ExitStack()
    switched.enter_context(torch.inference_mode(False))
    switched.enter_context(torch.enable_grad())
    return switched


def name_of(node: Any) -> str:
    """A node's operation: ReluBackward0 → Relu."""
    return _operation(node.name())


@functools.lru_cache(maxsize=1024)
def _operation(name: str) -> str:
    return re.sub(r"Backward\d*$", "", name.rpartition("::")[2])


def dims_of(node: Any) -> list[int]:
    """The axes that an operation was asked for, those from the end as negative numbers."""
    dims = getattr(node, "_saved_dims", getattr(node, "_saved_dim", ()))
    return [signed(dim) for dim in ((dims,) if isinstance(dims, int) else dims or ())]


def signed(number: int) -> int:
    """A number as it was given; autograd shows a negative one as if it had no sign."""
    return number - 2**64 if number >= 2**63 else number


def reached(root: Any, beyond: Callable[[Any], bool] = lambda node: True) -> set[Any]:
    """The nodes that lead to `root`, itself among them; past a node only if `beyond` says so."""
    seen, stack = {root}, [root]
    while stack:
        here = stack.pop()
        for node, _ in here.next_functions if beyond(here) else ():
            if node is not None and node not in seen:
                seen.add(node)
                stack.append(node)
    return seen


def on_every_path(root: Any) -> set[Any]:
    """The nodes that every path from `root` to its end passes through."""
    arrows = Counter(after for node in reached(root) for after, _ in node.next_functions)
    shared, ready, open_arrows = set(), [root], 0
    missing = Counter(arrows)
    while ready:
        node = ready.pop()
        if not ready and not open_arrows:
            shared.add(node)
        for after, _ in node.next_functions:
            if after is not None:
                missing[after] -= 1
                open_arrows += 1
                if not missing[after]:
                    open_arrows -= arrows[after]
                    ready.append(after)
    return shared


def shown_in(output: Any, root: Any) -> set[Any]:
    """The nodes of the model's own output, where that is a map from which the score is read off.

    Args:
        output: what the model gave.
        root: the score's node.
    """
    own: set[Any] = set()
    for tensor in _tensors(output):
        if tensor.ndim > 2 and tensor.grad_fn is not None:
            own |= reached(tensor.grad_fn, lambda node: name_of(node).startswith(ONLY_SHOWN))
    return own & behind_the_last_weights(root) if own else own


def behind_the_last_weights(root: Any) -> set[Any]:
    """The nodes between the last operations with weights, which are among them, and `root`."""
    return reached(root, lambda node: not name_of(node).endswith(LEARNED))


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (dict, list, tuple)):
        for part in output.values() if isinstance(output, dict) else output:
            yield from _tensors(part)
    elif is_dataclass(output):
        yield from _tensors(vars(output))


@contextmanager
def relus_follow(rule: Rule, relus: Iterable[Any]) -> Iterator[None]:
    """While active, gradients pass these nodes by `rule`."""
    hooks: list[Any] = []
    try:
        hooks += (node.register_hook(_hook(rule)) for node in relus)
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(rule: Rule) -> Callable:
    def change(before: tuple[Tensor | None, ...], behind: tuple[Tensor, ...]) -> tuple:
        return tuple(g if g is None else rule(g, behind[0]) for g in before)

    return change


def relus_before(root: Any) -> list[Any]:
    """The ReLUs that lead to `root`; activations that are none are told in a warning.

    Raises:
        ValueError: there is no ReLU; the message names the activations found.
    """
    relus, others = [], Counter[str]()
    for node in reached(root):
        if is_relu(node):
            relus.append(node)
        elif name := _other_activation(node):
            others[name] += 1
    if not relus:
        raise ValueError(
            "This method changes how gradients pass ReLUs, and the model called none (activations "
            f"found: {', '.join(sorted(others)) or 'none'}). grad_cam works with any activation."
        )
    if others:
        found = ", ".join(f"{count} × {name}" for name, count in sorted(others.items()))
        warn(
            f"guided in {len(relus)} of {len(relus) + others.total()} activations: through the "
            f"others ({found}) gradients pass by their own derivatives."
        )
    return relus


def is_relu(node: Any) -> bool:
    """Whether a node is a ReLU or ReLU6, in whatever words the model asked for it."""
    name = name_of(node)
    if name == "Hardtanh":
        return node._saved_min_val == 0
    if name == "Threshold":
        return node._saved_threshold == 0
    if name in ("Clamp", "ClampMin"):
        low = node._saved_min
        return _is_zero(low)
    if name == "LeakyRelu":
        return node._saved_negative_slope == 0
    if name in ("Maximum", "Fmax"):
        sides = zip(node.next_functions, (node._saved_other, node._saved_self), strict=True)
        return any(edge[0] is not None and _is_zero(bound) for edge, bound in sides)
    return name == "Relu"


def _is_zero(bound: Any) -> bool:
    return bound is not None and not torch.as_tensor(bound).any()


def _other_activation(node: Any) -> str:
    """What to call an activation that is no ReLU; empty for any other node."""
    name = name_of(node)
    if isinstance(node, BackwardCFunction) and name != "BackwardHookFunction":
        return f"{name} (a torch.autograd.Function)"
    if name == "DifferentiableGraph":
        return "scripted code"
    if name in ACTIVATIONS:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Kernel")).lower()
    before = [edge[0] for edge in node.next_functions]
    if name in CHOOSING and _is_put_together(before[0], dims_of(node)):
        return "choice among stacked numbers"
    if name == "Index" and _counts_numbers(node):
        return "choice of some numbers"
    if name == "IndexPut" and before[-1] is None:
        return "assignment to some numbers"
    if name == "CopySlices" and len([node for node in before if node is not None]) == 1:
        return "change in place of a part"
    shape = tuple(node._input_metadata[0].shape)
    if any(_is_mask(factor, shape) for factor in _constant_factors(node, name, before)):
        return "multiplication by a mask"
    return ""


def _is_put_together(node: Any, dims: list[int]) -> bool:
    """Whether this stacks or joins tensors along one of these axes."""
    if node is None or name_of(node) not in ("Stack", "Cat"):
        return False
    axes = len(node._input_metadata[0].shape)
    return bool({dim % axes for dim in dims} & {dim % axes for dim in dims_of(node)})


def _counts_numbers(node: Any) -> bool:
    """Whether an index of a map says of each number by itself whether it is taken."""
    indices = [index for index in node._saved_indices if index is not None]
    axes = sum(index.ndim if index.dtype == torch.bool else 1 for index in indices)
    return axes == len(node._saved_self_sym_sizes) > 2


def _constant_factors(node: Any, name: str, before: list[Any]) -> Iterator[Any]:
    """What a node multiplies its input by, where that is no part of the graph."""
    if name == "Mul":
        yield from (node._saved_other,) if before[1] is None else ()
        yield from (node._saved_self,) if before[0] is None else ()
    elif name == "Div" and before[1] is None:
        yield _inverse(node._saved_other)
    elif name == "Lerp" and before[-1] is None and isinstance(node._saved_weight, Tensor):
        yield from (node._saved_weight, 1 - node._saved_weight)
    elif name == "Addcmul":
        yield from (node._saved_tensor2,) if before[2] is None else ()
        yield from (node._saved_tensor1,) if before[1] is None else ()
    elif name == "Addcdiv" and before[2] is None:
        yield _inverse(node._saved_tensor2)


def _inverse(divisor: Any) -> Any:
    return 1 / divisor if isinstance(divisor, Tensor) else divisor


def _is_mask(factor: Any, shape: tuple[int, ...]) -> bool:
    """Whether a factor, one for each number, makes some of them vanish."""
    if not isinstance(factor, Tensor) or factor.shape != shape:
        return False
    size = factor.abs() if factor.dtype != torch.bool else factor
    zero = size <= 1e-6 * size.amax()
    return bool(zero.any() and not zero.all())
