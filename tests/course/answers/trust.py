"""Right answers to the exercises of trust, each written in another way."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from camwidgets.course.exercises.trust import Box


def _rank_accuracy_by_sorting(heat: torch.Tensor, mask: torch.Tensor) -> float:
    pairs = sorted(zip(heat.flatten().tolist(), mask.flatten().tolist(), strict=True), reverse=True)
    count = sum(mask.flatten().tolist())
    return sum(inside for _, inside in pairs[:count]) / count


def _iou_by_drawing(a: Box, b: Box) -> float:
    canvas = np.zeros((2, 32, 32), bool)
    for layer, (left, top, right, bottom) in zip(canvas, (a, b), strict=True):
        layer[top:bottom, left:right] = True
    return (canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum()


def _iou_by_sets(a: Box, b: Box) -> float:
    first, second = ({(x, y) for x in range(c[0], c[2]) for y in range(c[1], c[3])} for c in (a, b))
    return len(first & second) / len(first | second)


def _iou_in_torch(a: Box, b: Box) -> torch.Tensor:
    a, b = torch.tensor(a).double(), torch.tensor(b).double()
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    overlap = sides.prod()
    return overlap / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap)


def _delete_by_loop(image: torch.Tensor, heat: torch.Tensor, share: float) -> torch.Tensor:
    out, mean = image.clone(), image.mean(dim=(1, 2))
    order = heat.flatten().argsort(descending=True)[: int(share * heat.numel())]
    for index in order.tolist():
        row, column = divmod(index, heat.shape[1])
        out[:, row, column] = mean
    return out


def _delete_by_threshold(image: torch.Tensor, heat: torch.Tensor, share: float) -> torch.Tensor:
    count = int(share * heat.numel())
    threshold = (*heat.flatten().sort(descending=True).values, -torch.inf)[count]
    return torch.where(heat > threshold, image.mean((1, 2), keepdim=True), image)


def _delete_in_numpy(image: torch.Tensor, heat: torch.Tensor, share: float) -> np.ndarray:
    out = image.double().numpy().copy()
    order = np.argsort(-heat.numpy().ravel())[: int(share * heat.numel())]
    flat = out.reshape(len(out), -1)
    flat[:, order] = image.double().numpy().mean(axis=(1, 2))[:, None]
    return out


def _area_by_loop(curve: torch.Tensor) -> float:
    heights = curve.tolist()
    step = 1 / (len(heights) - 1)
    return sum(step * (left + right) / 2 for left, right in pairwise(heights))


def _similarity_in_numpy(a: torch.Tensor, b: torch.Tensor) -> float:
    x, y = a.double().numpy().ravel(), b.double().numpy().ravel()
    (xx, xy), (_, yy) = np.cov(x, y, ddof=0)
    light = (2 * x.mean() * y.mean() + 1e-4) / (x.mean() ** 2 + y.mean() ** 2 + 1e-4)
    return light * (2 * xy + 9e-4) / (xx + yy + 9e-4)


def _similarity_by_loop(a: torch.Tensor, b: torch.Tensor) -> float:
    pairs = list(zip(a.double().flatten().tolist(), b.double().flatten().tolist(), strict=True))
    mean_a, mean_b = sum(p for p, _ in pairs) / len(pairs), sum(q for _, q in pairs) / len(pairs)
    variances = sum((p - mean_a) ** 2 + (q - mean_b) ** 2 for p, q in pairs) / len(pairs)
    covariance = sum((p - mean_a) * (q - mean_b) for p, q in pairs) / len(pairs)
    light = (2 * mean_a * mean_b + 0.0001) / (mean_a**2 + mean_b**2 + 0.0001)
    return light * (2 * covariance + 0.0009) / (variances + 0.0009)


def _similarity_by_matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    maps = torch.stack([a.flatten(), b.flatten()]).double()
    means = maps.mean(dim=1, keepdim=True)
    light, moments = means @ means.T, (maps - means) @ (maps - means).T / maps.shape[1]
    first = (2 * light[0, 1] + 1e-4) / (light.trace() + 1e-4)
    return first * (2 * moments[0, 1] + 9e-4) / (moments.trace() + 9e-4)


def _similarity_by_moments(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    x, y, products = a.mean(), b.mean(), (a * b).mean()
    spread = a.square().mean() - x**2 + b.square().mean() - y**2
    light = (2 * x * y + 0.01**2) / (x**2 + y**2 + 0.01**2)
    return light * (2 * (products - x * y) + 0.03**2) / (spread + 0.03**2)


def _bootstrap_by_loop(scores: torch.Tensor, draws: torch.Tensor) -> tuple[float, float]:
    means = [scores[draw].double().mean().item() for draw in draws]
    return tuple(np.quantile(means, [0.025, 0.975]))


RIGHT = {
    "trust.rank_accuracy": (
        _rank_accuracy_by_sorting,
        lambda heat, mask: (
            mask.flatten()[heat.flatten().argsort(descending=True)[: mask.sum()]].double().mean()
        ),
        lambda heat, mask: (
            ((heat >= heat.flatten().sort().values[-int(mask.sum())]) & mask).sum() / mask.sum()
        ),
        lambda heat, mask: mask.view(-1)[heat.view(-1).topk(mask.sum()).indices].double().mean(),
    ),
    "trust.box_iou": (_iou_by_drawing, _iou_by_sets, _iou_in_torch),
    "trust.delete_hottest": (_delete_by_loop, _delete_by_threshold, _delete_in_numpy),
    "trust.area": (
        _area_by_loop,
        lambda curve: torch.trapezoid(curve.double(), dx=1 / (len(curve) - 1)),
        lambda curve: np.trapezoid(curve.numpy(), np.linspace(0, 1, len(curve))),
        lambda curve: (curve.sum() - (curve[0] + curve[-1]) / 2) / (len(curve) - 1),
        lambda curve: torch.trapezoid(curve, torch.linspace(0, 1, len(curve))),
    ),
    "trust.similarity": (
        _similarity_in_numpy,
        _similarity_by_loop,
        _similarity_by_matmul,
        _similarity_by_moments,
    ),
    "trust.bootstrap_interval": (
        _bootstrap_by_loop,
        lambda scores, draws: (
            scores[draws].double().mean(1).quantile(torch.tensor([0.025, 0.975]).double())
        ),
        lambda scores, draws: np.percentile(
            scores.numpy()[draws.numpy()].mean(axis=1), [2.5, 97.5]
        ),
    ),
}
