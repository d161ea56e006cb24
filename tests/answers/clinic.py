"""Right answers to the exercises of clinic, each written in another way."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets.course.exercises.grad_cam import (
    Captured,
    _summed_in_a_loop,
    features_and_gradient,
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


def _features_by_loop(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    kept = []
    for name, module in model.named_modules():
        if name == layer:
            hook = module.register_forward_hook(lambda m, i, o: kept.append(o))
    with torch.no_grad():
        model(images)
    hook.remove()
    return kept[0]


def _features_by_extractor(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    module = model.get_submodule(layer)
    kept = {}
    forward = module.forward

    def spy(x: Tensor) -> Tensor:
        kept[layer] = forward(x)
        return kept[layer]

    module.forward = spy
    try:
        model(images)
    finally:
        del module.forward
    return kept[layer].detach().double()


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


def _weighted_by_loop(features: Tensor, alpha: Tensor) -> Tensor:
    pairs = zip(features, alpha, strict=True)
    return torch.stack([_summed_in_a_loop(*pair) for pair in pairs])


def _clipped_by_numpy(features: Tensor, alpha: Tensor) -> np.ndarray:
    heat = np.zeros(features.shape[1:])
    for weight, channel in zip(alpha.numpy(), features.numpy(), strict=True):
        heat += weight.astype(float) * channel
    heat = np.clip(heat, 0, None)
    return heat / (heat.max() or 1)


def _norm_guarded(features: Tensor, alpha: Tensor) -> Tensor:
    heat = torch.tensordot(alpha.double(), features.double(), dims=1).clamp(min=0)
    return torch.nan_to_num(heat / heat.max(), nan=0.0)


def _only_norm_in_eval(model: nn.Module, images: Tensor) -> Tensor:
    modes = {m: m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    for module in modes:
        module.eval()
    output = model(images)
    for module, training in modes.items():
        module.train(training)
    return output


def _mode_by_mode(model: nn.Module, images: Tensor) -> Tensor:
    modes = [(module, module.training) for module in model.modules()]
    try:
        return torch.cat([model.eval()(image[None]) for image in images])
    finally:
        for module, training in modes:
            module.training = training


def _there_and_back(model: nn.Module, images: Tensor) -> Tensor:
    if not model.training:
        return model(images)
    model.eval()
    output = model(images).tolist()
    model.train()
    return output


RIGHT = {
    "clinic.features_at": (
        _features_by_loop,
        _features_by_extractor,
        lambda model, images, layer: _capture_by_backward(model, images, layer, 0)[0],
    ),
    "clinic.gradient_at": (
        lambda *arguments: _capture_by_backward(*arguments)[1],
        lambda *arguments: _capture_by_backward_hook(*arguments)[1],
        lambda *arguments: _capture_image_by_image(*arguments)[1],
        lambda *arguments: _capture_in_float64(*arguments)[1],
    ),
    "clinic.weighted_sum": (
        _weighted_by_bmm,
        _weighted_by_loop,
        lambda features, alpha: (alpha.double()[..., None, None] * features).sum(1),
        lambda features, alpha: (alpha[:, None] @ features.flatten(2)).view(
            len(features), *features.shape[2:]
        ),
    ),
    "clinic.top_class_maps": (
        lambda features, weight, output: torch.stack(
            [
                (weight[o.argmax()][:, None, None] * f).sum(0)
                for f, o in zip(features, output, strict=True)
            ]
        ),
        lambda features, weight, output: torch.einsum("ck,nkij->ncij", weight, features)[
            torch.arange(len(output)), output.argmax(1)
        ],
        lambda features, weight, output: _weighted_by_bmm(
            features.double(), weight.double()[output.argmax(1)]
        ),
        lambda features, weight, output: torch.einsum(
            "nc,ck,nkij->nij",
            F.one_hot(output.argmax(1), output.shape[1]).float(),
            weight,
            features,
        ),
    ),
    "clinic.accumulate": (
        _clipped_by_numpy,
        _norm_guarded,
        lambda features, alpha: (
            (m := _summed_in_a_loop(features, alpha).relu())
            / torch.where(m.max() > 0, m.max(), torch.ones(()))
        ),
        lambda features, alpha: (
            (m := (alpha @ features.flatten(1)).view(features.shape[1:]).relu())
            / (m.max().item() or 1.0)
        ),
    ),
    "clinic.steady_scores": (
        _only_norm_in_eval,
        _mode_by_mode,
        _there_and_back,
        lambda model, images: deepcopy(model).eval()(images),
        lambda model, images: deepcopy(model).double().eval()(images.double()).detach().numpy(),
    ),
}
