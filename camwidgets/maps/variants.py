"""Relatives of the three main methods, to compare them with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .grad_cam import features_and_gradient
from .guided import input_gradient
from .targets import Target


def gradient(model: nn.Module, images: Tensor, target: Target = None) -> Tensor:
    """∂y^c/∂x, (N, C, H, W), signed: Simonyan et al., Deep Inside Convolutional Networks, 2014."""
    return input_gradient(model, images, target)


def deconvnet(model: nn.Module, images: Tensor, target: Target = None) -> Tensor:
    """The deconvnet signal, (N, C, H, W): positive gradients pass a ReLU whatever its input was.

    Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014; as a rule
    for gradients in Springenberg et al. 2015, section 3.4.

    Args, errors: as `guided_backprop`.
    """
    return input_gradient(model, images, target, deconvnet_rule)


def deconvnet_rule(relu: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """ReLU forwards; backwards the positive part of the gradient, unmasked."""
    copy = x.detach().clone()
    y = relu(copy, *args, **kwargs)
    in_place = y is copy
    unmasked = x + (y - x.detach())
    if unmasked.requires_grad:
        unmasked.register_hook(lambda gradient: gradient.clamp(min=0))
    return x.copy_(unmasked) if in_place else unmasked


def layer_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
) -> Tensor:
    """L^c = ReLU(Σ_k ReLU(∂y^c/∂A^k) · A^k), (N, h, w): each position has weights of its own.

    Jiang et al., LayerCAM, IEEE Transactions on Image Processing 2021. Args as in `grad_cam`.
    """
    A, g = features_and_gradient(model, images, layer, target)
    return (g.relu() * A).sum(dim=1).relu()


def positive_grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
) -> Tensor:
    """Grad-CAM with 1[A>0] · 1[g>0] · g in place of the gradient g, (N, h, w).

    Some packages offer this weighting as "guided gradients". It is neither Grad-CAM nor guided
    Grad-CAM: it drops what speaks against the class. Args as in `grad_cam`.
    """
    A, g = features_and_gradient(model, images, layer, target)
    alpha = (g * (A > 0) * (g > 0)).mean(dim=(2, 3), keepdim=True)
    return (alpha * A).sum(dim=1).relu()
