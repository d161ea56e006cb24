"""Run a model, keep what its layers give, and leave the model exactly as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import UninitializedParameter

from .targets import Target, differentiable, scores

Visit = Callable[[str, nn.Module, tuple, Any], Any]


@dataclass(frozen=True)
class Recording:
    """One forward pass: what the model gave, and the feature maps A of the layers asked for."""

    output: Any
    features: dict[str, Tensor]
    """name → A (N, K, h, w), in forward order, attached to the graph that leads to `output`"""
    model: nn.Module

    def gradients(self, target: Target = None) -> dict[str, Tensor]:
        """∂y^c/∂A for every recorded layer, by one backward pass; the graph is kept for more.

        Args:
            target: the class c, or another score; see `targets.Target`.

        Raises:
            TypeError, ValueError: the target does not fit the output.
            ValueError: the score does not depend on one of the layers.
        """
        layers = list(self.features.values())
        with eval_mode(self.model), torch.inference_mode(False), torch.enable_grad():
            score = differentiable(scores(self.output, target, len(layers[0])))
            found = torch.autograd.grad(score.sum(), layers, retain_graph=True, allow_unused=True)
        unused = [name for name, g in zip(self.features, found, strict=True) if g is None]
        if unused:
            raise ValueError(
                f"The score does not depend on {_listed(unused)}: "
                "choose a layer that lies on the way to the output."
            )
        return dict(zip(self.features, found, strict=True))


def record(
    model: nn.Module, images: Tensor, layers: Sequence[str | nn.Module] | None = None
) -> Recording:
    """Run the model once and keep the feature maps of some layers.

    The graph starts at the shallowest layer asked for; parameters take no part in it. Each map is
    the layer's own output even if the model changes it in place afterwards, because a clone is
    what travels on. A layer that is called more than once counts by its last call.

    Args:
        model: any module; its training flags, gradients, buffers and hooks are left untouched.
        images: float tensor (N, C, H, W) as the model takes it.
        layers: dotted names or the modules themselves. None records the last layer in forward
            order whose map is larger than 1×1.

    Raises:
        TypeError: `model` is no module, or `images` no float tensor.
        ValueError: an unknown layer, a layer that gives no map, or images the model cannot take.
    """
    check(model, images)
    wanted = None if layers is None else [_name_of(model, images, layer) for layer in layers]
    features: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: tuple, output: Any) -> Tensor | None:
        if not is_map(output, images) or (wanted is not None and name not in wanted):
            return None
        if wanted is None:
            features.clear()
            output = output.detach()
        features.pop(name, None)
        A = output if output.requires_grad else output.detach().requires_grad_()
        features[name] = A.clone()  # a layer may hand on its input itself: nn.Identity, in-place
        return features[name].clone()

    output = run(model, images.detach(), keep)
    missing = [name for name in wanted or () if name not in features]
    if missing or not features:
        asked = f"Layer {_listed(missing)}" if missing else "This model"
        raise ValueError(
            f"{asked} gives no feature map (N, K, h, w) larger than 1×1. "
            f"Layers that do: {_listed(layer_names(model, images))}."
        )
    return Recording(output, features, model)


def layer_names(model: nn.Module, images: Tensor) -> list[str]:
    """Names of the layers whose output is a feature map (N, K, h, w) with h·w > 1.

    In forward order (by each layer's last call), found by running the model on `images`, so that
    it works for input of any size and number of channels.

    Args:
        model: any module; left exactly as it was.
        images: float tensor (N, C, H, W) as the model takes it.

    Raises:
        TypeError: `model` is no module, or `images` no float tensor.
        ValueError: images the model cannot take.
    """
    names: dict[str, None] = {}

    def note(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if is_map(output, images):
            names.pop(name, None)
            names[name] = None

    run(model, images, note, grad=False)
    return list(names)


def is_map(output: Any, images: Tensor) -> bool:
    """Whether a layer's output is a feature map (N, K, h, w) of these images with h·w > 1."""
    return (
        isinstance(output, Tensor)
        and output.is_floating_point()
        and output.dim() == 4
        and len(output) == len(images)
        and output.shape[2] * output.shape[3] > 1
    )


def run(model: nn.Module, images: Tensor, visit: Visit | None = None, *, grad: bool = True) -> Any:
    """The model's output for `images`, in eval mode, with nothing left behind.

    Parameters are used detached and buffers as copies (`torch.func.functional_call`): gradients
    flow to activations and to `images` alone, and batch-norm statistics cannot change. The
    caller's grad mode does not matter.

    Args:
        model: any module.
        images: float tensor (N, C, H, W).
        visit: called as `visit(name, module, inputs, output)` after each submodule has run;
            what it returns, unless None, is handed on in place of the output.
        grad: whether to record a graph.

    Raises:
        TypeError, ValueError: what `check` finds, or PyTorch's own complaint about these images.
    """
    check(model, images)
    try:
        with (
            eval_mode(model),
            _watched(model, visit),
            torch.inference_mode(False),
            torch.set_grad_enabled(grad),
        ):
            state = {name: _constant(p) for name, p in model.named_parameters()}
            state |= {name: b.detach().clone() for name, b in model.named_buffers()}
            return functional_call(model, state, (images.clone(),))
    except RuntimeError as error:
        raise ValueError(
            f"The model stopped on images of shape {tuple(images.shape)}: {error}"
        ) from error


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode; at the end, come what may, every module gets back the attributes it had."""
    before = {module: vars(module).copy() for module in model.modules()}
    try:
        for module in before:
            module.training = False
        yield
    finally:
        for module, attributes in before.items():
            vars(module).clear()
            vars(module).update(attributes)


@contextmanager
def _watched(model: nn.Module, visit: Visit | None) -> Iterator[None]:
    hooks = []
    try:
        for name, module in model.named_modules() if visit else ():
            if name and "parametrizations" not in name.split("."):
                hooks.append(module.register_forward_hook(partial(_visit_named, visit, name)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _constant(parameter: Tensor) -> Tensor:
    return (parameter.clone() if parameter.is_inference() else parameter).detach()


def _visit_named(visit: Visit, name: str, module: nn.Module, inputs: tuple, output: Any) -> Any:
    return visit(name, module, inputs, output)


def check(model: nn.Module, images: Tensor) -> None:
    """Raise the TypeError or ValueError that says why this model cannot be run on these images."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}.")
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
    if images.dim() != 4:
        raise ValueError(
            f"images must be (N, C, H, W); this tensor has shape {tuple(images.shape)}. "
            "For one image (C, H, W), use images[None]."
        )
    if images.numel() == 0:
        raise ValueError(f"images is empty, {tuple(images.shape)}: give at least one image.")
    if not torch.isfinite(images).all():
        raise ValueError("images hold NaN or infinite values: clean them before asking for a map.")
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        raise ValueError("The model has lazy layers: call it once on an image to give them shapes.")
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is not None:
        here, there = (images.dtype, images.device), (weight.dtype, weight.device)
        if here != there:
            raise ValueError(
                f"images are {here[0]} on {here[1]}, the model's weights {there[0]} on {there[1]}: "
                "use images.to(next(model.parameters()))."
            )


def _name_of(model: nn.Module, images: Tensor, layer: str | nn.Module) -> str:
    if isinstance(layer, str):
        module = dict(model.named_modules(remove_duplicate=False)).get(layer)
        problem = f"The model has no layer named {layer!r}"
    elif isinstance(layer, nn.Module):
        module = layer
        problem = f"This {type(layer).__name__} is no layer of the model"
    else:
        raise TypeError(f"layer must be a name or a module, not {type(layer).__name__}.")
    name = next((name for name, known in model.named_modules() if known is module), None)
    if not name:
        raise ValueError(f"{problem}. Its layers are: {_listed(layer_names(model, images))}.")
    return name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
