"""Grad-CAM++: Chattopadhyay et al., Generalized Gradient-based Visual Explanations.

WACV 2018, section 3; equations numbered as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .grad_cam_2017 import features_and_gradient
from .recording import Recording, ToMaps
from .targets import Target


def grad_cam_plus_plus(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    relu: bool = True,
    reshape_transform: ToMaps | None = None,
) -> Tensor:
    """L^c = ReLU(Σ_k w_k^c A^k) with w_k^c = Σ_ij α_ij^kc ReLU(∂y^c/∂A^k_ij), equation (5).

    The paper's score is Y^c = exp(y^c), of which all derivatives are powers of ∂y^c/∂A, equation
    (19). The factor exp(y^c) that all weights share is left out. Args, errors as `grad_cam`.
    """
    return of_third_order(
        *features_and_gradient(model, images, layer, target, reshape_transform), relu=relu
    )


def grad_cam_plus_plus_of(
    recording: Recording, target: Target = None, *, relu: bool = True
) -> dict[str, Tensor]:
    """`grad_cam_plus_plus` of every recorded layer, (N, h, w) by name, from one backward pass."""
    gradients = recording.gradients(target)
    return {k: of_third_order(A, gradients[k], relu=relu) for k, A in recording.features.items()}


def of_third_order(A: Tensor, gradient: Tensor, *, relu: bool = True) -> Tensor:
    """A and g = ∂y^c/∂A, both (…, K, h, w), to L^c (…, h, w), by equation (19):

    α_ij = g_ij² / (2 g_ij² + g_ij³ Σ_ab A_ab), and 0 where g_ij is 0.
    """
    sum_of_A = A.sum(dim=(-2, -1), keepdim=True)
    denominator = 2 + gradient * sum_of_A  # g² cancels, which keeps small gradients exact
    fits = (gradient != 0) & (denominator != 0)
    alpha = torch.where(fits, 1 / torch.where(fits, denominator, 1), 0)
    w = (alpha * gradient.relu()).sum(dim=(-2, -1))
    L = torch.einsum("...k,...kij->...ij", w, A)
    return L.relu() if relu else L
