"""Right answers to the exercises of clinic, each written in another way, and some wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets.course.exercises.grad_cam import _summed_in_a_loop

from .grad_cam import (
    _capture_by_backward,
    _capture_by_backward_hook,
    _capture_image_by_image,
    _capture_in_float64,
    _weighted_by_bmm,
)


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


def _clipped_by_numpy(features: Tensor, alpha: Tensor) -> np.ndarray:
    heat = np.zeros(features.shape[1:])
    for weight, channel in zip(alpha.numpy(), features.numpy(), strict=True):
        heat += weight.astype(float) * channel
    heat = np.clip(heat, 0, None)
    return heat / (heat.max() or 1)


def _norm_guarded(features: Tensor, alpha: Tensor) -> Tensor:
    heat = torch.tensordot(alpha.double(), features.double(), dims=1).clamp(min=0)
    return torch.nan_to_num(heat / heat.max(), nan=0.0)


def _norms_in_eval(within: Callable) -> Callable:
    """Only those batch norms in eval mode that are found `within` the model."""

    def scores(model: nn.Module, images: Tensor) -> Tensor:
        modes = {m: m.training for m in within(model) if isinstance(m, nn.BatchNorm2d)}
        for module in modes:
            module.eval()
        output = model(images)
        for module, training in modes.items():
            module.train(training)
        return output

    return scores


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
        _norms_in_eval(nn.Module.modules),
        _mode_by_mode,
        _there_and_back,
        lambda model, images: deepcopy(model).eval()(images),
        lambda model, images: deepcopy(model).double().eval()(images.double()).detach().numpy(),
    ),
}

WRONG = {
    "clinic.top_class_maps": (
        lambda features, weight, output: torch.einsum(
            "nk,nkij->nij", weight[output.sigmoid().argmax(dim=1)], features
        ),
    ),
    "clinic.steady_scores": (_norms_in_eval(nn.Module.children),),
}
