"""Grad-CAM: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks.

ICCV 2017, section 3; equations numbered as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .recording import Recording, ToMaps, record
from .targets import Target


def grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    relu: bool = True,
    reshape_transform: ToMaps | None = None,
) -> Tensor:
    """L^c = ReLU(Σ_k α_k^c A^k), equation (2), with α_k^c the mean gradient, equation (1).

    In a network that ends in global average pooling and one linear layer, `grad_cam(relu=False)`
    at the map that is pooled is `cam` / (h·w). (A ReLU called as a function between the last
    layer and the pooling has no name: the last layer is then not the map that is pooled.)

    Args:
        model: any network with feature maps, with any head; it is not touched.
        images: float tensor (N, C, H, W).
        layer: a dotted name as in `layer_names`, or the module; None is the last map larger than
            1×1 on the way to the score, see `record`.
        target: None (each image's top class), an int, one int per image, or a callable that takes
            the model's output and returns one score per image, (N,). Scores are logits.
        relu: False keeps what speaks against the class, as negative values.
        reshape_transform: for a layer whose output is in no order that is recognised, see `record`.

    Returns:
        (N, h, w), unnormalised, at the layer's resolution; of a float16 model as float32.

    Raises:
        TypeError, ValueError: an unknown layer or target, or images the model cannot take.
    """
    return weighted(
        *features_and_gradient(model, images, layer, target, reshape_transform), relu=relu
    )


def grad_cam_of(
    recording: Recording, target: Target = None, *, relu: bool = True
) -> dict[str, Tensor]:
    """`grad_cam` of every recorded layer, (N, h, w) by name, from one backward pass."""
    gradients = recording.gradients(target)
    return {k: weighted(A, gradients[k], relu=relu) for k, A in recording.features.items()}


def weighted(A: Tensor, gradient: Tensor, *, relu: bool = True) -> Tensor:
    """Equations (1) and (2): A and ∂y^c/∂A, both (…, K, h, w), to L^c (…, h, w)."""
    alpha = gradient.mean(dim=(-2, -1))
    L = torch.einsum("...k,...kij->...ij", alpha, A)
    return L.relu() if relu else L


def features_and_gradient(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    reshape_transform: ToMaps | None = None,
) -> tuple[Tensor, Tensor]:
    """The layer's feature map A and ∂y^c/∂A, both (N, K, h, w) and off the graph."""
    layers = None if layer is None else [layer]
    recording = record(model, images, layers, target=target, reshape_transform=reshape_transform)
    (gradient,) = recording.gradients(target, last=True).values()
    (A,) = recording.features.values()
    return A, gradient
