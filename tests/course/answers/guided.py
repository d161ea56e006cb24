"""Right answers to the exercises of guided, each written in another way."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from camwidgets.course.exercises.guided import _correlation, _interpolated, _ranks, _walk
from camwidgets.maps import upsample


def _rules_by_autograd(x: Tensor, gradient: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    (plain,) = torch.autograd.grad(torch.relu(x), x, gradient)
    return [plain, gradient.relu(), plain.relu()]


def _rules_by_where(x: Tensor, gradient: Tensor) -> tuple:
    x, g = x.numpy(), gradient.numpy()
    return np.where(x > 0, g, 0), np.maximum(g, 0), np.where((x > 0) & (g > 0), g, 0)


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0) * (gradient > 0)


def _guided_by_function(x: Tensor, layers: list[Tensor]) -> Tensor:
    x = x.clone().requires_grad_()
    h = x
    for layer in layers:
        h = _GuidedReLU.apply(layer @ h)
    h.sum().backward()
    return x.grad


def _guided_by_hand(x: Tensor, layers: list[Tensor]) -> Tensor:
    before = []
    for layer in layers:
        before.append(layer @ x)
        x = before[-1].clamp(min=0)
    gradient = torch.ones_like(x)
    for layer, z in zip(reversed(layers), reversed(before), strict=True):
        gradient = layer.T @ torch.where((z > 0) & (gradient > 0), gradient, 0.0)
    return gradient


def _guided_by_hook_before(x: Tensor, layers: list[Tensor]) -> Tensor:
    x.requires_grad_()
    h = x
    for layer in layers:
        z = layer @ h
        z.register_hook(F.relu)
        h = F.relu(z)
    return torch.autograd.grad(h.sum(), x)[0]


def _picture_by_loop(values: Tensor) -> list:
    flat = values.flatten().tolist()
    peak = max(abs(v) for v in flat)
    flat = [0.5 + 0.5 * v / peak if peak else 0.5 for v in flat]
    return np.reshape(flat, values.shape).tolist()


def _product_by_image(heat: Tensor, detail: Tensor) -> list[Tensor]:
    size = detail.shape[-2:]
    return [
        _interpolated(one[None], size, mode="bilinear")[0, 0] * d
        for one, d in zip(heat, detail, strict=True)
    ]


def _shares_by_bincount(heat: Tensor, cells: Tensor) -> np.ndarray:
    sums = np.bincount(cells.numpy().ravel(), heat.double().numpy().ravel())
    return sums[1:] / (sums.sum() or 1.0)


def _shares_by_loop(heat: Tensor, cells: Tensor) -> list[float]:
    total = float(heat.sum())
    sums = [float((heat * (cells == k)).sum()) for k in range(1, int(cells.max()) + 1)]
    return [s / total if total else 0.0 for s in sums]


def _weights_by_loop(features: Tensor, gradient: Tensor) -> list[float]:
    weights = []
    for A, g in zip(features, gradient, strict=True):
        kept = [float(v) for v, a in zip(g.flatten(), A.flatten(), strict=True) if a > 0 and v > 0]
        weights.append(sum(kept) / A.numel())
    return weights


def _spearman_by_differences(a: Tensor, b: Tensor) -> float:
    n = a.numel()
    d = _ranks(a) - _ranks(b)
    return 1 - 6 * float((d**2).sum()) / (n * (n**2 - 1))


def _spearman_by_counting(a: Tensor, b: Tensor) -> np.ndarray:
    ranks = [(m.flatten()[:, None] > m.flatten()).sum(dim=1).numpy() for m in (a, b)]
    return np.corrcoef(*ranks)[0, 1]


def _spearman_by_cosine(a: Tensor, b: Tensor) -> Tensor:
    x, y = (_ranks(m) - _ranks(m).mean() for m in (a, b))
    return x @ y / (x.norm() * y.norm())


RIGHT = {
    "guided.saliency": (
        lambda gradient: gradient.abs().max(dim=1).values,
        lambda gradient: np.abs(gradient.numpy()).max(axis=1),
        lambda gradient: torch.maximum(gradient.amax(1), -gradient.amin(1)),
        lambda gradient: [torch.stack([*g.abs()]).amax(0) for g in gradient.double()],
    ),
    "guided.three_rules": (
        _rules_by_autograd,
        _rules_by_where,
        lambda x, gradient: torch.stack(
            [gradient * (x > 0), gradient.relu(), gradient.relu() * (x > 0)]
        ),
        lambda x, gradient: (
            gradient.masked_fill(x <= 0, 0),
            gradient.clamp(min=0).double(),
            gradient.clamp(min=0).masked_fill(x <= 0, 0),
        ),
    ),
    "guided.gradient": (
        _guided_by_function,
        _guided_by_hand,
        _guided_by_hook_before,
        lambda x, layers: _walk(x, layers, lambda g: g * (g > 0)).double().numpy(),
        lambda x, layers: _walk(x.double(), [w.double() for w in layers], torch.relu),
    ),
    "guided.signed_picture": (
        lambda values: (
            (values / values.abs().max() + 1) / 2 if values.any() else values.double() + 0.5
        ),
        _picture_by_loop,
        lambda values: (
            0.5 + (values / values.abs().amax(dim=(0, 1, 2), keepdim=True)).nan_to_num() / 2
        ),
        lambda values: 0.5 + values.numpy() / 2 / (np.abs(values.numpy()).max() or 1),
    ),
    "guided.product": (
        _product_by_image,
        lambda heat, detail: torch.einsum(
            "nhw,nchw->nchw",
            upsample(heat.double(), tuple(detail.shape[2:])),
            detail.double(),
        ),
        lambda heat, detail: upsample(heat.unsqueeze(1), detail.shape[2:]) * detail,
        lambda heat, detail: (
            _interpolated(heat, detail.shape[2:], mode="bilinear").expand_as(detail).numpy()
            * detail.numpy()
        ),
    ),
    "guided.cell_shares": (
        _shares_by_bincount,
        _shares_by_loop,
        lambda heat, cells: (
            F.one_hot(cells).flatten(0, 1).double().T[1:]
            @ heat.flatten().double()
            / (heat.double().sum() if heat.any() else 1)
        ),
        lambda heat, cells: (
            torch.zeros(int(cells.max()) + 1).index_add(0, cells.flatten(), heat.flatten())[1:]
            / heat.sum()
        ).nan_to_num(),
    ),
    "guided.positive_weights": (
        _weights_by_loop,
        lambda features, gradient: (
            torch.where((features > 0) & (gradient > 0), gradient, 0.0).flatten(1).mean(1)
        ),
        lambda features, gradient: (np.maximum(gradient.numpy(), 0) * (features.numpy() > 0)).mean(
            (1, 2)
        ),
        lambda features, gradient: (
            torch.einsum("khw,khw->k", gradient.relu().double(), features.sign().double())
            / features[0].numel()
        ),
    ),
    "guided.rank_correlation": (
        _spearman_by_differences,
        _spearman_by_counting,
        _spearman_by_cosine,
        lambda a, b: _correlation(_ranks(-a), _ranks(-b)),
        lambda a, b: [_correlation(_ranks(a), _ranks(b))],
    ),
}
