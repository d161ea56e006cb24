"""Grad-CAM: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks.

ICCV 2017, section 3; equations numbered as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .recording import record
from .targets import Target


def grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    relu: bool = True,
) -> Tensor:
    """L^c = ReLU(Σ_k α_k^c A^k), equation (2), with α_k^c the mean gradient, equation (1).

    In a network that ends in global average pooling and one linear layer, `grad_cam(relu=False)`
    at the map that is pooled is `cam` / (h·w). (A ReLU called as a function between the last
    layer and the pooling has no name: the last layer is then not the map that is pooled.)

    Args:
        model: any CNN, with any head; left exactly as it was.
        images: float tensor (N, C, H, W).
        layer: a dotted name or the module; None is the last layer in forward order whose map is
            larger than 1×1.
        target: None (each image's top class), an int, one int per image, or a callable that takes
            the model's output and returns one score per image, (N,). Scores are logits.
        relu: False keeps what speaks against the class, as negative values.

    Returns:
        (N, h, w), unnormalised, at the layer's resolution.

    Raises:
        TypeError, ValueError: an unknown layer or target, or images the model cannot take.
    """
    A, gradient = features_and_gradient(model, images, layer, target)
    alpha = gradient.mean(dim=(2, 3))
    L = torch.einsum("nk,nkij->nij", alpha, A)
    return L.relu() if relu else L


def features_and_gradient(
    model: nn.Module, images: Tensor, layer: str | nn.Module | None, target: Target
) -> tuple[Tensor, Tensor]:
    """The layer's feature map A and ∂y^c/∂A, both (N, K, h, w) and off the graph."""
    recording = record(model, images, None if layer is None else [layer])
    gradients = recording.gradients(target)
    ((name, A),) = recording.features.items()
    return A.detach(), gradients[name]
