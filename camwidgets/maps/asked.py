"""What is asked of a model: whether it can be had, and if not, what would work."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .double import instead, unwrapped

FEW = 12
"""up to so many names are listed; of more, the nearest"""
PASSED_THROUGH = ("camwidgets.", "contextlib", "functools", "torch.", "traitlets.")
"""modules whose lines are no place for a warning"""
WRAP = (
    "The maps call the model with the images alone. Wrap it:\n"
    "    class OfImages(torch.nn.Module):\n"
    "        def __init__(self, model): super().__init__(); self.model = model\n"
    "        def forward(self, images): return self.model(images, the_other_input)"
)


def check(model: nn.Module, images: Tensor) -> None:
    """Raise the TypeError or ValueError that says why this model cannot be run on these images."""
    if any(base.__module__.startswith("keras.") for base in type(model).__mro__):
        raise TypeError(
            "This is a Keras model: give camwidgets.keras.as_torch(model), which takes images "
            "(N, C, H, W) and knows the layers by Keras's names."
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {instead(model)}.")
    if isinstance(images, (tuple, list, dict)) and any(
        isinstance(part, Tensor)
        for part in (images.values() if isinstance(images, dict) else images)
    ):
        raise TypeError(
            f"images must be one float tensor (N, C, H, W), not a {type(images).__name__} of "
            f"tensors. For several images of one size, torch.stack(list_of_images). {WRAP}"
        )
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images must be a float tensor (N, C, H, W), not {type(images).__name__}; a picture "
            "(H, W, 3) of numbers 0 to 255 becomes one by "
            "torch.from_numpy(picture).permute(2, 0, 1)[None] / 255."
        )
    if not images.is_floating_point():
        raise TypeError(
            f"images must hold floats, as the model takes them, not {images.dtype}; "
            "images.float() / 255 turns bytes into numbers from 0 to 1."
        )
    if images.ndim != 4:
        raise ValueError(
            f"images must be (N, C, H, W); this tensor has shape {tuple(images.shape)}. "
            + {
                3: "For one image (C, H, W), use images[None].",
                2: "For one gray image (H, W), use images[None, None].",
                5: "Of a video (N, T, C, H, W) ask frame by frame: images.flatten(0, 1), with a "
                "model of single frames.",
            }.get(images.ndim, "Give it four axes.")
        )
    if images.numel() == 0:
        raise ValueError(f"images is empty, {tuple(images.shape)}: give at least one image.")
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is not None:
        here, there = (images.dtype, images.device), (weight.dtype, weight.device)
        if here != there:
            raise ValueError(
                f"images are {here[0]} on {here[1]}, the model's weights {there[0]} on {there[1]}: "
                "use images.to(next(model.parameters()))."
            )
    if torch._C._functorch.is_functorch_wrapped_tensor(images):
        raise ValueError(
            "images are inside torch.func or vmap, where layers cannot be watched: ask for the map "
            "outside of it, of a whole batch at once."
        )
    if images.is_meta:
        raise ValueError(
            "images and model are on the meta device and hold no numbers: build the model on a "
            "real one, model.to_empty(device='cpu'), and load its state_dict."
        )
    if not images.sum().isfinite() and not torch.isfinite(images).all():  # a sum is quick
        raise ValueError("images hold NaN or infinite values: clean them before asking for a map.")


def refuse_other_inputs(model: nn.Module, error: Exception) -> None:
    """Raise the ValueError for a model that does not take the images alone, if `error` says so."""
    if type(error).__module__ != "builtins":  # the user's own
        return
    if re.search(r"too many indices|invalid index|tensor|Tensor", str(error)):
        raise ValueError(
            f"The model stopped on a tensor of images: {type(error).__name__}: "
            f"{first_line(error)}. If it takes a dict or several inputs: {WRAP}"
        ) from error
    try:
        signature = inspect.signature(model.forward)
        signature.bind(None)
    except ValueError:
        return
    except TypeError:
        raise ValueError(f"This model's forward takes {signature}. {WRAP}") from None


def find(
    model: nn.Module, double: nn.Module, layers: dict[str, nn.Module], layer: str | nn.Module
) -> tuple[str, int]:
    """A layer's name among the stand-in's layers, and which of its runs is meant; 0 for any.

    Raises:
        TypeError: `layer` is neither a name nor a module.
        UnknownLayer: the model has no such layer.
    """
    if isinstance(layer, str):
        name, run = layer, 0
        if name not in layers and (numbered := re.fullmatch(r"(.+)#([1-9]\d*)", layer)):
            name, run = numbered[1], int(numbered[2])
        found = _known(double, layers, name)
        problem = f"The model has no layer named {layer!r}"
    elif isinstance(layer, nn.Module):
        run, modules = 0, unwrapped(model).named_modules()
        same = (name for name, known in modules if unwrapped(known) is unwrapped(layer))
        found = _known(double, layers, next(same, ""))
        problem = f"This {type(layer).__name__} is no layer of the model"
    else:
        raise TypeError(f"layer must be a name or a module, not {type(layer).__name__}.")
    if found is None:
        raise UnknownLayer(problem)
    return found, run


def _known(double: nn.Module, layers: dict[str, nn.Module], name: str) -> str | None:
    """The name as the stand-in has it: no wrappers in it, and the first of a shared layer's."""
    plain = ".".join(part for part in name.split(".") if part != "_orig_mod")
    bare = ".".join(part for part in plain.split(".") if part != "module")
    for way in (name, plain, plain.removeprefix("module."), bare):
        if way in layers:
            return way
        shared = dict(double.named_modules(remove_duplicate=False)).get(way) if way else None
        if shared is not None:
            return next((known for known, module in layers.items() if module is shared), None)
    return None


class UnknownLayer(ValueError):
    """No such layer; whoever has run the model can say which there are."""


def nearest(names: Sequence[str], wanted: Any) -> str:
    """The names, or of many the nearest to what was wanted and how many there are."""
    if len(names) <= FEW:
        return f"Layers that give maps: {listed(names)}."
    close = difflib.get_close_matches(str(wanted), names, FEW // 2, cutoff=0.3) or names[-3:]
    return (
        f"The nearest of the {len(names)} layers that give maps: {listed(close)}; "
        "layer_names(model, images) gives all."
    )


def listed(names: Sequence[str]) -> str:
    """Names in quotation marks."""
    return ", ".join(repr(name) for name in names) or "none"


def form(value: Any) -> str:
    """A tensor's shape, or the type of anything else, in words."""
    if isinstance(value, Tensor):
        return f"of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def warn(message: str) -> None:
    """Warn at the line of whoever asked, outside of this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(PASSED_THROUGH):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def first_line(error: BaseException) -> str:
    """An error's message up to its first line break."""
    return str(error).partition("\n")[0]
