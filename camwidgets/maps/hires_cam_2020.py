"""HiResCAM: Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations, 2020.

Section 3.2: the gradient is not averaged over the positions before it meets the map.
"""

from __future__ import annotations

from torch import Tensor, nn

from .grad_cam_2017 import features_and_gradient
from .recording import Recording, ToMaps
from .targets import Target


def hires_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    relu: bool = True,
    reshape_transform: ToMaps | None = None,
) -> Tensor:
    """L^c = Σ_k ∂y^c/∂A^k ∘ A^k, (N, h, w), with the ReLU of Grad-CAM unless `relu=False`.

    Where all behind the layer is linear, the sum over the positions is the score without its
    bias: `relu=False` then says exactly what each position adds. Args, errors as `grad_cam`.
    """
    return elementwise(
        *features_and_gradient(model, images, layer, target, reshape_transform), relu=relu
    )


def hires_cam_of(
    recording: Recording, target: Target = None, *, relu: bool = True
) -> dict[str, Tensor]:
    """`hires_cam` of every recorded layer, (N, h, w) by name, from one backward pass."""
    gradients = recording.gradients(target)
    return {k: elementwise(A, gradients[k], relu=relu) for k, A in recording.features.items()}


def elementwise(A: Tensor, gradient: Tensor, *, relu: bool = True) -> Tensor:
    """A and ∂y^c/∂A, both (…, K, h, w), to L^c (…, h, w)."""
    L = (gradient * A).sum(dim=-3)
    return L.relu() if relu else L
