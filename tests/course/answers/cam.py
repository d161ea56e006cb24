"""Right answers to the exercises of cam, each written in another way, and some wrong ones."""

from __future__ import annotations

import numpy as np
import torch

from camwidgets.course.exercises.cam import weighted_sum


def _weighted_sum_by_loop(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    heat = torch.zeros(features.shape[1:], dtype=torch.float64)
    for feature, weight in zip(features, weights, strict=True):
        heat += weight * feature
    return heat


def _normalize_by_loop(heat: torch.Tensor) -> list:
    return [
        (one / one.max()).tolist() if one.max() > 0 else (0 * one).tolist() for one in heat.double()
    ]


def _normalize_in_numpy(heat: torch.Tensor) -> np.ndarray:
    values = heat.numpy().copy()
    peaks = values.max(axis=(1, 2))
    values[peaks <= 0] = 0
    values[peaks > 0] /= peaks[peaks > 0, None, None]
    return values


def _box_by_loop(heat: torch.Tensor, share: float) -> list[int]:
    threshold = share * max(map(max, heat.tolist()))
    hot = [
        (column, row)
        for row, values in enumerate(heat.tolist())
        for column, value in enumerate(values)
        if value >= threshold
    ]
    columns, rows = zip(*hot, strict=True)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def _box_by_any(heat: torch.Tensor, share: float) -> torch.Tensor:
    hot = heat >= heat.max() * share
    columns, rows = hot.any(dim=0).nonzero(), hot.any(dim=1).nonzero()
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).squeeze(1)


def _box_in_numpy(heat: torch.Tensor, share: float) -> np.ndarray:
    cells = np.argwhere(heat.double().numpy() >= share * float(heat.max()))
    return np.concatenate([cells.min(axis=0)[::-1], cells.max(axis=0)[::-1] + 1])


def _hit_by_divmod(heat: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return mask[row, column]


def _mass_by_loop(heat: torch.Tensor, mask: torch.Tensor) -> float:
    inside = total = 0.0
    for value, in_mask in zip(heat.flatten().tolist(), mask.flatten().tolist(), strict=True):
        total += value
        inside += value if in_mask else 0.0
    return inside / total if total else 0.0


RIGHT = {
    "cam.global_average_pool": (
        lambda features: [sum(map(sum, one.tolist())) / one.numel() for one in features],
        lambda features: torch.einsum("kij->k", features) / features[0].numel(),
        lambda features: features.flatten(1).double().mean(1),
        lambda features: torch.nn.AdaptiveAvgPool2d(1)(features).flatten(),
        lambda features: features.numpy().mean(axis=(1, 2)),
    ),
    "cam.weighted_sum": (
        _weighted_sum_by_loop,
        lambda features, weights: (features * weights[:, None, None]).sum(0),
        lambda features, weights: (weights @ features.flatten(1)).reshape(features.shape[1:]),
        lambda features, weights: torch.tensordot(weights.double(), features.double(), 1),
        lambda features, weights: np.tensordot(weights.numpy(), features.numpy(), axes=(0, 0)),
        lambda features, weights: features.permute(1, 2, 0) @ weights,
    ),
    "cam.all_classes": (
        lambda features, weights: torch.stack(
            [_weighted_sum_by_loop(features, row) for row in weights]
        ),
        lambda features, weights: (weights @ features.flatten(1)).unflatten(1, features.shape[1:]),
        lambda features, weights: torch.tensordot(weights.double(), features.double(), 1),
        lambda features, weights: torch.nn.functional.conv2d(
            features[None], weights[:, :, None, None]
        )[0],
        lambda features, weights: [weighted_sum(features, row) for row in weights],
    ),
    "cam.normalize": (
        _normalize_by_loop,
        _normalize_in_numpy,
        lambda heat: torch.nan_to_num(
            heat.double() / heat.double().amax((1, 2), True).clamp(min=0), 0.0, 0.0, 0.0
        ),
        lambda heat: torch.stack([h / h.max() if h.max() > 0 else h * 0 for h in heat]),
    ),
    "cam.overlay": (
        lambda image, colours, alpha: (image * (1 - alpha) + colours * alpha).astype("uint8"),
        lambda image, colours, alpha: (
            torch.lerp(
                torch.tensor(image, dtype=torch.float64),
                torch.tensor(colours, dtype=torch.float64),
                alpha,
            )
            .round()
            .to(torch.uint8)
        ),
        lambda image, colours, alpha: np.rint(
            image.astype(np.float32) + np.float32(alpha) * (colours.astype(np.float32) - image)
        ).astype(np.uint8),
        lambda image, colours, alpha: (
            255 * ((1 - alpha) * (image / 255) + alpha * (colours / 255)) + 0.5
        ).astype(np.uint8),
    ),
    "cam.bounding_box": (_box_by_loop, _box_by_any, _box_in_numpy),
    "cam.pointing_hit": (
        _hit_by_divmod,
        lambda heat, mask: heat[mask].amax() == heat.max() if mask.any() else False,
        lambda heat, mask: np.any(mask.numpy() & (heat.numpy() == heat.numpy().max())),
        lambda heat, mask: bool((mask * (heat == heat.max())).sum()),
    ),
    "cam.mass_inside": (
        _mass_by_loop,
        lambda heat, mask: torch.nan_to_num((heat * mask).sum() / heat.sum()),
        lambda heat, mask: np.average(mask.numpy(), weights=heat.numpy()) if heat.sum() > 0 else 0,
        lambda heat, mask: torch.where(mask, heat.double(), 0).sum() / (heat.sum() or 1),
    ),
}

WRONG = {
    "cam.bounding_box": (lambda heat, share: (0, 0, heat.shape[1], heat.shape[0]),),
    "cam.pointing_hit": (
        lambda heat, mask: bool(mask.any()) and bool(heat[mask].max() > heat.mean()),
    ),
}
