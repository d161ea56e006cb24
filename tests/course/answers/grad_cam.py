"""Right answers to the exercises of grad_cam, each written in another way."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets.course.exercises.grad_cam import (
    Captured,
    _summed_in_a_loop,
    alpha_weights,
    features_and_gradient,
    heat_map,
)


def _capture_by_backward(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    kept = {}

    def keep(module, inputs, output):
        output.retain_grad()
        kept["features"] = output

    hook = model.get_submodule(layer).register_forward_hook(keep)
    model(images)[:, target].sum().backward()
    hook.remove()
    return kept["features"].detach(), kept["features"].grad


def _capture_by_backward_hook(
    model: nn.Module, images: Tensor, layer: str, target: int
) -> list[Tensor]:
    found = []
    module = dict(model.named_modules())[layer]
    hooks = [
        module.register_forward_hook(lambda m, i, o: found.append(o.detach())),
        module.register_full_backward_hook(lambda m, i, o: found.append(o[0])),
    ]
    output = model(images)
    output.backward(F.one_hot(torch.tensor(target), output.shape[1]).expand_as(output).float())
    for hook in hooks:
        hook.remove()
    return found


def _capture_image_by_image(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    pairs = [features_and_gradient(model, image[None], layer, target) for image in images]
    return torch.cat([f for f, _ in pairs]), torch.cat([g for _, g in pairs])


def _capture_in_float64(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    return _capture_by_backward(deepcopy(model).double(), images.double(), layer, target)


def _weighted_by_bmm(features: Tensor, alpha: Tensor) -> Tensor:
    n, k, h, w = features.shape
    return torch.bmm(alpha[:, None], features.reshape(n, k, h * w)).reshape(n, h, w)


RIGHT = {
    "grad_cam.alpha_weights": (
        lambda gradient: [float(channel.mean()) for channel in gradient],
        lambda gradient: gradient.flatten(1).mean(1),
        lambda gradient: torch.einsum("kij->k", gradient.double()) / gradient[0].numel(),
        lambda gradient: np.mean(gradient.numpy(), axis=(1, 2)),
        lambda gradient: F.adaptive_avg_pool2d(gradient, 1)[:, 0, 0],
    ),
    "grad_cam.heat_map": (
        lambda features, alpha: _summed_in_a_loop(features, alpha).clamp(min=0),
        lambda features, alpha: F.relu((alpha[:, None, None] * features).sum(0)),
        lambda features, alpha: (alpha @ features.flatten(1)).view(features.shape[1:]).relu(),
        lambda features, alpha: np.maximum(
            np.einsum("k,kij", alpha.double().numpy(), features.double().numpy()), 0
        ),
        lambda features, alpha: torch.tensordot(alpha, features, dims=1).relu(),
    ),
    "grad_cam.upsample_to": (
        lambda heats, images: F.interpolate(
            heats.unsqueeze(1).double(), tuple(images.shape[-2:]), mode="bilinear"
        ).squeeze(1),
        lambda heats, images: torch.stack(
            [
                F.interpolate(
                    heat[None, None], (images.shape[2], images.shape[3]), mode="bilinear"
                )[0, 0]
                for heat in heats
            ]
        ),
        lambda heats, images: F.interpolate(
            heats[None], images.shape[2:], mode="bilinear", align_corners=False
        )[0],
        lambda heats, images: nn.Upsample(images.shape[2:], mode="bilinear")(heats[:, None])[:, 0],
    ),
    "grad_cam.features_and_gradient": (
        _capture_by_backward,
        _capture_by_backward_hook,
        _capture_image_by_image,
        _capture_in_float64,
    ),
    "grad_cam.batch_maps": (
        lambda features, gradients: torch.stack(
            [
                heat_map(f, alpha_weights(g))
                for f, g in zip(features.double(), gradients.double(), strict=True)
            ]
        ),
        lambda features, gradients: F.relu(
            (gradients.mean((2, 3), keepdim=True) * features).sum(1)
        ),
        lambda features, gradients: _weighted_by_bmm(features, gradients.mean((2, 3))).relu(),
        lambda features, gradients: np.einsum(
            "nk,nkij->nij", gradients.numpy().mean((2, 3)), features.numpy()
        ).clip(0),
    ),
    "grad_cam.difference": (
        lambda output, a, b: [float(row[a] - row[b]) for row in output],
        lambda output, a, b: output.double()[:, [a, b]] @ torch.tensor([1.0, -1.0]).double(),
        lambda output, a, b: output.T[a] - output.T[b],
        lambda output, a, b: output.log_softmax(1)[:, a] - output.log_softmax(1)[:, b],
    ),
    "grad_cam.counterfactual": (
        lambda features, gradient: (
            sum(-g.mean() * f for f, g in zip(features, gradient, strict=True))
        ).clamp(min=0),
        lambda features, gradient: F.relu(
            -torch.einsum("kxy,kij->ij", gradient.double(), features.double()) / gradient[0].numel()
        ),
        lambda features, gradient: (
            (-gradient.flatten(1).mean(1) @ features.flatten(1)).reshape(features.shape[1:]).relu()
        ),
        lambda features, gradient: _summed_in_a_loop(features, -alpha_weights(gradient)).relu(),
    ),
    "grad_cam.softmax_factor": (
        lambda output, target: torch.autograd.grad(
            (y := output.clone().requires_grad_()).softmax(1)[:, target].sum(), y
        )[0][:, target],
        lambda output, target: [float(p - p * p) for p in output.double().softmax(1)[:, target]],
        lambda output, target: (p := output.softmax(1))[:, target] * (p.sum(1) - p[:, target]),
        lambda output, target: (
            (p := (e := np.exp(output.double().numpy()))[:, target] / e.sum(1)) * (1 - p)
        ),
    ),
    "grad_cam.near_count": (
        lambda output, count: [-((float(y) - count) ** 2) for y in output],
        lambda output, count: -F.mse_loss(output, torch.full_like(output, count), reduction="none"),
        lambda output, count: -(output.double() - count).square(),
        lambda output, count: (output - count) * (count - output),
    ),
}
