"""Guided backpropagation and its relatives, and guided Grad-CAM.

Springenberg et al., Striving for Simplicity: The All Convolutional Net, ICLR 2015 workshop,
section 3.4; Selvaraju et al., Grad-CAM, ICCV 2017, section 3.2 (Guided Grad-CAM).

All are the gradient ∂y^c/∂x but for what a ReLU passes on. Let g be the gradient that arrives
behind it, and g·1[x > 0] the one that it passes on by its own derivative. Then

    the gradient passes  g·1[x > 0]              (Simonyan et al. 2014)
    a deconvnet          max(g, 0)               (Zeiler and Fergus, ECCV 2014)
    guided backprop      max(g, 0)·1[x > 0]      = max(g·1[x > 0], 0)

The rules act on the ReLUs of autograd's graph, however the model asked for them: `nn.ReLU`,
`F.relu`, in place, repeated, `clamp(min=0)`, `maximum(x, 0)`, `threshold(x, 0, 0)`, ReLU6.
"""

from __future__ import annotations

from torch import Tensor, nn

from .display import upsample
from .grad_cam_2017 import weighted
from .recording import Recording, ToMaps, record
from .targets import Target


def guided_rule(before: Tensor, behind: Tensor) -> Tensor:
    """What a ReLU passes on in guided backpropagation."""
    return before.clamp(min=0)


def deconvnet_rule(before: Tensor, behind: Tensor) -> Tensor:
    """What a ReLU passes on in a deconvnet."""
    return behind.clamp(min=0)


def guided_backprop(model: nn.Module, images: Tensor, target: Target = None) -> Tensor:
    """∂y^c/∂x where every ReLU also stops negative gradients.

    Args:
        model: a CNN with ReLU or ReLU6; it is not touched.
        images: float tensor (N, C, H, W).
        target: as in `grad_cam`.

    Returns:
        (N, C, H, W), signed, unnormalised.

    Warns:
        UserWarning: some activations are no ReLUs, and pass gradients unguided.

    Raises:
        ValueError: the model met no ReLU (the message names the activations found).
        TypeError, ValueError: as `grad_cam`.
    """
    recording = record(model, images, [], pixels=True)
    return recording.image_gradient(target, guided_rule, last=True)


def deconvnet(model: nn.Module, images: Tensor, target: Target = None) -> Tensor:
    """The deconvnet signal, (N, C, H, W): positive gradients pass a ReLU whatever its input was.

    As a rule for gradients in Springenberg et al. 2015, section 3.4. Args, errors: as
    `guided_backprop`.
    """
    recording = record(model, images, [], pixels=True)
    return recording.image_gradient(target, deconvnet_rule, last=True)


def gradient(model: nn.Module, images: Tensor, target: Target = None) -> Tensor:
    """∂y^c/∂x, (N, C, H, W), signed: Simonyan et al., Deep Inside Convolutional Networks, 2014."""
    return record(model, images, [], pixels=True).image_gradient(target, last=True)


def guided_grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    reshape_transform: ToMaps | None = None,
) -> Tensor:
    """Grad-CAM, upsampled to the image, times guided backpropagation: where × what.

    Both come from one forward pass. Args, errors: as `grad_cam` and `guided_backprop`.

    Returns:
        (N, C, H, W), signed, unnormalised.
    """
    layers = None if layer is None else [layer]
    recording = record(
        model,
        images,
        layers,
        target=target,
        pixels=True,
        reshape_transform=reshape_transform,
    )
    (gradient,) = recording.gradients(target).values()
    (A,) = recording.features.values()
    where = upsample(weighted(A, gradient), images.shape[2:])
    return where[:, None] * recording.image_gradient(target, guided_rule, last=True)


def guided_backprop_of(recording: Recording, target: Target = None) -> Tensor:
    """`guided_backprop`, (N, C, H, W), from a recording made with `pixels=True`."""
    return recording.image_gradient(target, guided_rule)


def deconvnet_of(recording: Recording, target: Target = None) -> Tensor:
    """`deconvnet`, (N, C, H, W), from a recording made with `pixels=True`."""
    return recording.image_gradient(target, deconvnet_rule)


def gradient_of(recording: Recording, target: Target = None) -> Tensor:
    """`gradient`, (N, C, H, W), from a recording made with `pixels=True`."""
    return recording.image_gradient(target)
