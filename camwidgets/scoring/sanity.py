"""Does a map depend on what the model learned? Randomise the model and compare the maps.

Adebayo et al. 2018, "Sanity checks for saliency maps": a map that stays the same when the weights
are replaced by random ones cannot explain the model. Keep the target fixed while comparing: a
randomised model has another top class, and another target is another question. Compare signed
maps (`relu=False`): of a random model, the ReLU often leaves a blank map, which has no order.

    target = model(images).argmax(1)
    before = explain(model, images, target)
    for name, randomised in cascading(model, images):
        print(name, spearman(before, explain(randomised, images, target)).nanmean())
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..maps import trace
from .faithfulness import blur
from .localisation import as_maps


def cascading(model: nn.Module, images: Tensor, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Re-initialise the layers from the output downwards, each on top of those before.

    Yields (name of the layer reached, a copy of the model in which it and every layer above it are
    random), from the last layer in forward order to the first. Layers are the modules that hold
    parameters themselves and run on `images` (N, C, H, W); each is initialised by its own
    `reset_parameters`. A batch norm is set back to the identity by its own, which is not random:
    it is no stop of its own and goes with the layer whose output it is given. Every copy is the
    caller's and in eval mode; the model and the global random state stay as they were. ValueError
    names a layer without `reset_parameters`.
    """
    randomised = deepcopy(model).eval()
    for stop in _stops(randomised, images):
        for name, step in stop.items():
            _reset(randomised.get_submodule(name), seed + step)
        yield name, deepcopy(randomised)


def independent(model: nn.Module, images: Tensor, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Like `cascading`, but each copy has that one layer random and all others as learned."""
    learned = deepcopy(model).eval()
    for stop in _stops(learned, images):
        randomised = deepcopy(learned)
        for name, step in stop.items():
            _reset(randomised.get_submodule(name), seed + step)
        yield name, randomised


def _stops(model: nn.Module, images: Tensor) -> list[dict[str, int]]:
    """Layers that become random together, the last to run first: {name: its step}.

    A layer that `reset_parameters` makes the same each time goes with the next one below that it
    makes random; those with none below go with the last.
    """
    stops: list[dict[str, int]] = []
    waiting: dict[str, int] = {}
    for step, name in enumerate(_from_the_top(model, images)):
        waiting[name] = step
        if _is_drawn(model.get_submodule(name)):
            stops.append(waiting)
            waiting = {}
    if waiting and stops:
        stops[-1] = {**waiting, **stops[-1]}
    return stops or [waiting] * bool(waiting)


def _is_drawn(layer: nn.Module) -> bool:
    """Whether `reset_parameters` draws, that is, gives other weights with another seed."""
    drawn = []
    for seed in (0, 1):
        fresh = deepcopy(layer)
        _reset(fresh, seed)
        drawn.append([parameter.detach() for parameter in fresh.parameters(recurse=False)])
    return not all(map(torch.equal, *drawn))


def _from_the_top(model: nn.Module, images: Tensor) -> list[str]:
    """Names of the layers with parameters of their own, the last to run first.

    A layer that runs several times counts where it runs last.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    }
    for name, module in layers.items():
        if not hasattr(module, "reset_parameters"):
            raise ValueError(
                f"layer {name!r} ({type(module).__name__}) has parameters but no reset_parameters "
                "method, so it cannot be randomised; give its class one."
            )
    ran: dict[str, None] = {}
    for call in trace(model, images[:1]).calls:
        name = call.name.partition("#")[0]
        if name in layers:
            ran.pop(name, None)
            ran[name] = None
    return list(reversed(ran))


def _reset(layer: nn.Module, seed: int) -> None:
    """Initialise on the CPU: the same weights on every device, and one random state to guard."""
    fresh: Any = deepcopy(layer).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        fresh.reset_parameters()
    layer.load_state_dict(fresh.state_dict())


# ---- how alike are two maps ----------------------------------------------------------------------


def _two_maps(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    a, b = as_maps(a, "a"), as_maps(b, "b")
    if a.shape != b.shape:
        raise ValueError(
            f"the maps have shapes {tuple(a.shape)} and {tuple(b.shape)}; they must agree."
        )
    return a, b.to(a)


def spearman(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> Tensor:
    """Rank correlation of each pair of maps (N, h, w): (N,) from -1 to 1.

    Equal pixels get their average rank. A constant map has no order: NaN.
    """
    ranks = [_average_ranks(maps.flatten(1)) for maps in _two_maps(a, b)]
    x, y = (rank - rank.mean(dim=1, keepdim=True) for rank in ranks)
    return (x * y).sum(dim=1) / (x.norm(dim=1) * y.norm(dim=1))


def _average_ranks(values: Tensor) -> Tensor:
    """Ranks (N, P) scaled to 0..1; those of equal values are averaged."""
    values = values.contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above).to(values.dtype) / (2 * values.shape[1])


def ssim(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> Tensor:
    """Structural similarity of each pair of maps (N, h, w), each scaled to 0..1 first: (N,).

    Gaussian window 11 × 11 of σ = 1.5, C1 = 0.01², C2 = 0.03²; the mean is over all positions, at
    the borders with the part of the window that lies inside. A constant map is scaled to 0.
    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
    """
    a, b = (_to_unit_range(maps) for maps in _two_maps(a, b))

    def window(maps: Tensor) -> Tensor:
        return blur(maps, 1.5)

    mean_a, mean_b = window(a), window(b)
    variances = window(a * a) - mean_a**2 + window(b * b) - mean_b**2
    covariance = window(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).mean(dim=(1, 2))


def _to_unit_range(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0.0)
