"""Guided backpropagation and guided Grad-CAM.

Springenberg et al., Striving for Simplicity: The All Convolutional Net, ICLR 2015 workshop,
section 3.4; Selvaraju et al., Grad-CAM, ICCV 2017, section 3.2 (Guided Grad-CAM).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .display import upsample
from .grad_cam import grad_cam
from .recording import check, eval_mode, run
from .targets import Target, differentiable, scores

RELUS = {F.relu, F.relu_, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
OTHER_ACTIVATIONS = (
    "celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish prelu rrelu selu "
    "sigmoid silu softplus softsign tanh threshold clamp clamp_min"
)


def guided_backprop(model: nn.Module, images: Tensor, target: Target = None) -> Tensor:
    """∂y^c/∂x where every ReLU also stops negative gradients.

    A gradient passes a ReLU where the ReLU's input was positive (its own derivative) and the
    gradient that arrives is positive. ReLUs are met as they are called, so modules, functions,
    methods, in-place and repeated ones count alike.

    Args:
        model: a CNN with ReLU or ReLU6; left exactly as it was.
        images: float tensor (N, C, H, W).
        target: as in `grad_cam`.

    Returns:
        (N, C, H, W), signed, unnormalised.

    Raises:
        ValueError: the model met no ReLU (the message names the activations found).
        TypeError, ValueError: as `grad_cam`.
    """
    return input_gradient(model, images, target, guided_rule)


def guided_grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
) -> Tensor:
    """Grad-CAM, upsampled to the image, times guided backpropagation: where × what.

    Args, errors: as `grad_cam` and `guided_backprop`.

    Returns:
        (N, C, H, W), signed, unnormalised.
    """
    where = upsample(grad_cam(model, images, layer, target), images.shape[2:])
    return where[:, None] * guided_backprop(model, images, target)


def guided_rule(relu: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """ReLU whose backward pass also drops negative gradients."""
    y = relu(x, *args, **kwargs)
    if y.requires_grad:
        y.register_hook(lambda gradient: gradient.clamp(min=0))
    return y


def input_gradient(
    model: nn.Module, images: Tensor, target: Target, rule: Callable[..., Tensor] | None = None
) -> Tensor:
    """∂y^c/∂x, (N, C, H, W), with `rule(relu, x, …)` called in place of each `relu(x, …)`."""
    check(model, images)
    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        x = images.detach().clone().requires_grad_()
        if rule is None:
            output = run(model, x)
        else:
            with ReLURule(rule) as relus:
                output = run(model, x)
            if not relus.met:
                found = ", ".join(sorted(relus.others)) or "none"
                raise ValueError(
                    "This method changes how gradients pass ReLUs, and the model called none "
                    f"(activations found: {found}). grad_cam works with any activation."
                )
        score = differentiable(scores(output, target, len(x)))
        (gradient,) = torch.autograd.grad(score.sum(), x)
    return gradient


class ReLURule(TorchFunctionMode):
    """While active, each ReLU that PyTorch is asked for goes through `rule(relu, x, …)`."""

    def __init__(self, rule: Callable[..., Tensor]) -> None:
        super().__init__()
        self.rule = rule
        self.met = 0
        self.others: set[str] = set()

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in RELUS or _is_relu6(func, *args, **kwargs):
            self.met += 1
            return self.rule(func, *args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        if name in OTHER_ACTIVATIONS.split():
            self.others.add(name)
        return func(*args, **kwargs)


def _is_relu6(
    func: Callable, x: Any = None, min_val: float = -1, max_val: float = 1, *_: Any, **__: Any
) -> bool:
    return func in (F.hardtanh, F.hardtanh_) and min_val == 0 and max_val > 0
