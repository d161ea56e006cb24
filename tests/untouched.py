"""A snapshot of all that a call could leave behind: in the model, the images and PyTorch itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

HOOKS = [name for name in vars(nn.Module()) if name.endswith("_hooks") or "_hooks_" in name]


class Same:
    """Equal to another if both hold the same object."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Same) and other.thing is self.thing

    __hash__ = None


class Value:
    """A tensor: the same object, with the same values and flags."""

    def __init__(self, tensor: Tensor | None) -> None:
        self.tensor = tensor
        if tensor is not None:
            self.copy = tensor.detach().clone()
            self.flags = (tensor.requires_grad, tensor.is_leaf, tensor.dtype)
            self.version = None if tensor.is_inference() else tensor._version
            self.hooks = list(tensor._backward_hooks or ())

    def __eq__(self, other: Any) -> bool:
        if self.tensor is None or other.tensor is None:
            return self.tensor is other.tensor
        return (
            self.tensor is other.tensor
            and bool(torch.isclose(self.copy, other.copy, 0, 0, equal_nan=True).all())
            and (self.flags, self.version, self.hooks) == (other.flags, other.version, other.hooks)
        )

    __hash__ = None


def snapshot(model: nn.Module, images: Tensor) -> dict[str, Any]:
    state: dict[str, Any] = {
        "images": Value(images),
        "images.grad": Value(images.grad if images.is_leaf else None),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "random numbers": torch.get_rng_state().tolist(),
        "function modes": torch.overrides._get_current_function_mode_stack(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "default dtype": torch.get_default_dtype(),
    }
    for name, module in model.named_modules():
        state[f"{name}: training"] = module.training
        for key, value in vars(module).items():
            state[f"{name}: attribute {key}"] = Same(value)
        for key in HOOKS:
            state[f"{name}: {key}"] = dict(getattr(module, key) or {})
        for key, p in module._parameters.items():
            state[f"{name}: parameter {key}"] = Value(p)
            state[f"{name}: gradient of {key}"] = Value(None if p is None else p.grad)
        for key, b in module._buffers.items():
            state[f"{name}: buffer {key}"] = Value(b)
        if isinstance(module, nn.RNNBase):
            state[f"{name}: flat weights"] = [Same(w) for w in module._flat_weights]
    return state


@contextmanager
def untouched(model: nn.Module, images: Tensor) -> Iterator[None]:
    before = snapshot(model, images)
    try:
        yield
    finally:
        after = snapshot(model, images)
        changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        assert not changed, f"left behind: {sorted(changed)}"
