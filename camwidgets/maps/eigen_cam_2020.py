"""Eigen-CAM: Muhammad and Yeasin, Eigen-CAM: Class Activation Map using Principal Components.

IJCNN 2020, section III. It asks what the layer shows most of; no class and no gradient enter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .recording import Recording, ToMaps, record
from .targets import Target


def eigen_cam(
    model: nn.Module,
    images: Tensor,
    layer: str | nn.Module | None = None,
    target: Target = None,
    *,
    relu: bool = True,
    reshape_transform: ToMaps | None = None,
) -> Tensor:
    """L = ReLU(A V_1), (N, h, w): A as (h·w, K), V_1 its first right singular vector.

    A singular vector has no sign of its own; the one is taken with which the map's sum is
    positive. `target` decides only on the default layer. Args, errors as `grad_cam`, but:

        relu: False is the paper's L = A V_1, which has negative places too.
    """
    layers = None if layer is None else [layer]
    recording = record(model, images, layers, target=target, reshape_transform=reshape_transform)
    (L,) = eigen_cam_of(recording, relu=relu).values()
    return L


def eigen_cam_of(recording: Recording, *, relu: bool = True) -> dict[str, Tensor]:
    """`eigen_cam` of every recorded layer, (N, h, w) by name; no backward pass."""
    return {k: first_component(A, relu=relu) for k, A in recording.features.items()}


def first_component(A: Tensor, *, relu: bool = True) -> Tensor:
    """A (N, K, h, w), projected on its first right singular vector, (N, h, w)."""
    positions = A.flatten(2).mT
    wide = positions.float() if A.dtype == torch.bfloat16 else positions  # it has no svd
    V = torch.linalg.svd(wide, full_matrices=False).Vh.to(A.dtype)
    L = (positions @ V[:, 0, :, None]).view(len(A), *A.shape[2:])
    L = L * torch.where(L.sum(dim=(1, 2), keepdim=True) < 0, -1, 1)
    return L.relu() if relu else L
