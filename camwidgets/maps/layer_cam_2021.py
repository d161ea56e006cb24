"""LayerCAM: Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps.

IEEE Transactions on Image Processing 2021, section III: made for shallow layers.
"""

from __future__ import annotations

from torch import Tensor, nn

from .grad_cam_2017 import features_and_gradient
from .recording import Recording, ToMaps
from .targets import Target


def layer_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    reshape_transform: ToMaps | None = None,
) -> Tensor:
    """L^c = ReLU(Σ_k ReLU(∂y^c/∂A^k) ∘ A^k), (N, h, w): a weight for each position.

    Args, errors as `grad_cam`.
    """
    return positive_weights(*features_and_gradient(model, images, layer, target, reshape_transform))


def layer_cam_of(recording: Recording, target: Target = None) -> dict[str, Tensor]:
    """`layer_cam` of every recorded layer, (N, h, w) by name, from one backward pass."""
    gradients = recording.gradients(target)
    return {k: positive_weights(A, gradients[k]) for k, A in recording.features.items()}


def positive_weights(A: Tensor, gradient: Tensor) -> Tensor:
    """A and ∂y^c/∂A, both (…, K, h, w), to L^c (…, h, w)."""
    return (gradient.relu() * A).sum(dim=-3).relu()
