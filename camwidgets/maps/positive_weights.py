"""Grad-CAM with positive weights alone: no paper's, but what some packages call Grad-CAM."""

from __future__ import annotations

from torch import Tensor, nn

from .grad_cam_2017 import features_and_gradient, weighted
from .recording import Recording, ToMaps
from .targets import Target


def positive_grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    reshape_transform: ToMaps | None = None,
) -> Tensor:
    """Grad-CAM with 1[A>0] · 1[g>0] · g in place of the gradient g, (N, h, w).

    Some packages offer this weighting as "guided gradients"; in tf-explain it is the default. It
    is neither Grad-CAM nor guided Grad-CAM: it drops what speaks against the class. Args as in
    `grad_cam`.
    """
    A, g = features_and_gradient(model, images, layer, target, reshape_transform)
    return weighted(A, g * (A > 0) * (g > 0))


def positive_grad_cam_of(recording: Recording, target: Target = None) -> dict[str, Tensor]:
    """`positive_grad_cam` of every recorded layer, (N, h, w) by name, from one backward pass."""
    gradients = recording.gradients(target)
    return {
        k: weighted(A, gradients[k] * (A > 0) * (gradients[k] > 0))
        for k, A in recording.features.items()
    }
