"""Keras 3 models, on its torch backend, as the modules that maps and the Explorer take.

    net = camwidgets.keras.as_torch(model)
    camwidgets.grad_cam(net, images, "mixed7")       # images (N, C, H, W), as everywhere here

Keras counts its axes (N, H, W, C) by default. Here and nowhere else they are put in order:
pictures go in as (N, C, H, W), and what a layer shows to the maps is (N, K, h, w).
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from .maps.double import Shared

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import keras
except ImportError as error:
    raise ImportError(
        'camwidgets.keras needs Keras 3 on PyTorch: pip install "camwidgets[keras]", and '
        'os.environ["KERAS_BACKEND"] = "torch" before Keras is imported for the first time. '
        f"(Python said: {error}.)"
    ) from error

__all__ = ["KerasNet", "TakesMaps", "as_torch"]


def as_torch(model: keras.Model) -> KerasNet:
    """A Keras model as a PyTorch module, for maps and the Explorer.

    Its layers have the names that `get_layer` knows; those of a nested model, or of a layer in a
    wrapper, have dotted paths: "inception_v3.mixed7". It runs with `training=False`. Where the
    model ends in a layer with softmax or sigmoid, or in `keras.activations` of those names, the
    module gives what went into it: the logits.

    The weights are shared, so that after more training the module is the trained one; running
    the module does not touch the model.

    Args:
        model: Sequential, Functional, subclassed or nested; built, with one picture as its input.

    Raises:
        TypeError: no Keras 3 model.
        ValueError: another backend, a model without weights yet, or one with several inputs.
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(
            f"as_torch takes a Keras 3 model, not {type(model).__name__}. A PyTorch model needs no "
            "adapter; a tf.keras model can be saved as .keras and loaded by Keras 3."
        )
    if keras.config.backend() != "torch":
        raise ValueError(
            f"Keras runs on {keras.config.backend()} here, and maps need it on PyTorch: set "
            'os.environ["KERAS_BACKEND"] = "torch" before Keras is imported, in a fresh kernel. '
            "A model saved as .keras loads there too."
        )
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} has no weights yet: call it once on an image, or start it "
            "with keras.Input."
        )
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) > 1:
        raise ValueError(
            f"The model {model.name!r} takes {len(inputs)} inputs, and a map explains one picture: "
            "fix the others in a keras.Model with a single input."
        )
    return KerasNet(model)


class KerasLayer(nn.Module):
    """A Keras layer as PyTorch's hooks see it: its name, its weights, what goes in and out."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._parameters.update(weights)

    def forward(self, given: Any, output: Any) -> Any:
        """What Keras made of `given`, handed on; a map is (N, K, h, w)."""
        return output


class KerasDense(KerasLayer, nn.Linear):
    """A Dense layer, whose kernel is the weight of a linear layer, transposed."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        nn.Module.__init__(self)
        self._parameters.update({"bias": None, **weights})
        self.in_features, self.out_features = self.kernel.shape

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs), in the kernel's memory."""
        return self.kernel.T


class KerasNet(nn.Module):
    """A Keras model seen from PyTorch; `as_torch` makes it."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self._source = source = _Source(model)
        self._modules.update(_parts(source, model, ""))
        self._parameters.update(source.weights_of(model, ""))

    def forward(self, images: Tensor) -> Any:
        """The model's output for images (N, C, H, W), logits in place of softmax and sigmoid."""
        source, calls = self._source, Counter()
        if source.heads is None:
            with torch.no_grad():
                source.heads = self._find_heads(images[:1])
        parts = dict(self.named_modules(remove_duplicate=False))

        def show(path: str, given: tuple, output: Any) -> Any:
            calls[path] += 1
            if (path, calls[path]) in source.heads:
                output = _logits(output)
            x = given[0] if given else None
            shown = keras.tree.map_structure(source.channels_first, x)
            y = shown if output is x else source.channels_first(output)
            return source.channels_last(parts[path](shown, y))

        output = self._run(images, show)
        return keras.tree.map_structure(lambda y: source.channels_first(_logits(y)), output)

    def _find_heads(self, image: Tensor) -> set[tuple[str, int]]:
        """(path, number of the call) of what ends in softmax or sigmoid and is the model's end."""
        calls: Counter[str] = Counter()
        ends: list[tuple[tuple[str, int], Tensor]] = []

        def note(path: str, given: tuple, output: Any) -> None:
            calls[path] += 1
            if _logits(output) is not output:
                ends.append(((path, calls[path]), output))

        found = keras.tree.flatten(self._run(image, note))
        return {call for call, output in ends if any(output is y for y in found)}

    def _run(self, images: Tensor, visit: Callable[[str, tuple, Any], Any]) -> Any:
        """The Keras model on this module's tensors; `visit` after each call of a layer.

        A stateless scope lends the tensors to the model for this thread and drops every update.
        The hook is PyTorch's own for all modules, so that no layer is changed; it answers to the
        layers of this model, in this thread.
        """
        source, thread = self._source, threading.get_ident()
        tensors = dict(self.named_parameters(remove_duplicate=False))
        state = [(variable, tensors[name]) for name, variable in source.variables.items()]

        def hook(module: nn.Module, given: tuple, output: Any) -> Any:
            path = source.paths.get(id(module)) if threading.get_ident() == thread else None
            return None if path is None else visit(path, given, output)

        handle = register_module_forward_hook(hook)
        try:
            with keras.StatelessScope(state):
                return source.model(source.channels_last(images), training=False)
        finally:
            handle.remove()


class TakesMaps(keras.callbacks.Callback):
    """`film(epoch, net)` after each epoch of `fit`; `MapsEachEpoch.keras` makes it."""

    def __init__(self, film: Callable[[int, KerasNet], object]) -> None:
        super().__init__()
        self.film = film

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Called by Keras, with the epoch counted from 0."""
        self.film(epoch, as_torch(self.model))


class _Source(Shared):
    """The Keras model and who is who in it; copies of a `KerasNet` share this too."""

    __slots__ = ("heads", "last", "model", "paths", "variables")

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        # id of a Keras layer → its dotted path
        self.paths: dict[int, str] = {}
        # name of a parameter of the `KerasNet` → the Keras variable
        self.variables: dict[str, keras.Variable] = {}
        # path and number of the calls that end in softmax or sigmoid and are the model's end
        self.heads: set[tuple[str, int]] | None = None
        layers = model._flatten_layers()
        formats = (getattr(layer, "data_format", None) for layer in layers)
        known = next(filter(None, formats), keras.config.image_data_format())
        self.last = known == "channels_last"

    def __deepcopy__(self, memo: dict) -> _Source:
        return self

    def weights_of(self, layer: keras.Layer, prefix: str) -> dict[str, Tensor]:
        """The tensors of this layer that belong to no layer inside it."""
        taken, weights = {id(variable) for variable in self.variables.values()}, {}
        for variable in layer.variables:
            if id(variable) not in taken:
                name = _free(variable.name, weights)
                self.variables[prefix + name], weights[name] = variable, variable.value
        return weights

    def channels_first(self, x: Any) -> Any:
        """A map or picture (N, h, w, K) of the model as (N, K, h, w); anything else as it is."""
        return x.permute(0, 3, 1, 2) if self.last and _is_4d(x) else x

    def channels_last(self, x: Any) -> Any:
        """The way back."""
        return x.permute(0, 2, 3, 1) if self.last and _is_4d(x) else x


def _parts(source: _Source, layer: keras.Layer, prefix: str) -> dict[str, KerasLayer]:
    """A module for each layer inside `layer`, and in those for the layers inside them."""
    parts: dict[str, KerasLayer] = {}
    for inner in layer._layers:
        if id(inner) in source.paths or isinstance(inner, keras.layers.InputLayer):
            continue
        name = _free(inner.name, parts)
        source.paths[id(inner)] = prefix + name
        below = _parts(source, inner, f"{prefix}{name}.")
        weights = source.weights_of(inner, f"{prefix}{name}.")
        dense = isinstance(inner, keras.layers.Dense) and "kernel" in weights
        kind = type(type(inner).__name__, (KerasDense if dense else KerasLayer,), {})
        parts[name] = kind(weights)
        parts[name]._modules.update(below)
    return parts


def _free(name: str, taken: dict[str, Any]) -> str:
    """`name`, or the first of name_1, name_2, … that is not taken."""
    free, k = name, 0
    while free in taken:
        k += 1
        free = f"{name}_{k}"
    return free


def _logits(output: Any) -> Any:
    """What went into the softmax or sigmoid that `output` is the result of, or the output."""
    return getattr(output, "_keras_logits", output)


def _is_4d(x: Any) -> bool:
    return isinstance(x, Tensor) and x.ndim == 4
