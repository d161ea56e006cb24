"""A model as the Explorer uses it: what there is to show of it, and the maps of one image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import maps
from ..maps.graph import relus_before
from ..maps.recording import Call
from ..maps.targets import differentiable
from .endings import ACTIVATED, Meaning, Watch, is_activated, meaning, plain, rows
from .private import private
from .stops import stops

Method = Callable[[nn.Module, Tensor, str, int], Any]
"""a method of the user's: model, image (1, C, H, W), layer, class → a map (h, w)"""

LAYERED: dict[str, Callable[[maps.Recording, Any], dict[str, Tensor]]] = {
    "Grad-CAM": lambda recording, target: maps.grad_cam_of(recording, target, relu=False),
    "HiResCAM": lambda recording, target: maps.hires_cam_of(recording, target, relu=False),
    "LayerCAM": maps.layer_cam_of,
    "Grad-CAM++": maps.grad_cam_plus_plus_of,
    "Eigen-CAM": lambda recording, target: maps.eigen_cam_of(recording, relu=False),
}
OFFERED = ("Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM")
"""without being asked for"""
METHODS = (*LAYERED, *OFFERED[1:])
FEW = 20
"""of so many classes, all are offered"""
TOP = 10
"""of more classes, each image's highest; any other can be asked for"""

NOT_FINITE = (
    "The model's output is NaN or infinite: look for NaN in its weights; a training that diverged "
    "leaves them."
)


class Sitter:
    """A private copy of a model, and what it offers.

    To be made costs two forward passes and one backward pass, those that the first picture needs.

    Args:
        model: the user's; it is not touched.
        x: the first image, (C, H, W).
        image: how messages call it.
        layers, methods, activation: see `Atlas`.
        names: the class names given.

    Attributes:
        layers: the names of the layers offered, in forward order.
        methods: the names of the methods offered.
        classes: how many there are to ask for.
        meaning: what its scores mean.
        note: what the user should know, in sentences.
        first, best, first_maps: the first image's recording, top class, and its Grad-CAM.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        image: str,
        layers: Sequence[str | nn.Module] | None,
        methods: Sequence[str] | None,
        activation: str | None,
        names: list[str] | None,
    ) -> None:
        self._no_guided = ""
        self.private = private(model)
        self.guard = self.private.guard
        own = self.private.model
        with self.guard.held(), torch.inference_mode(False), torch.enable_grad():
            calls, row, kind = _traced(own, self._like_model(x), image)
            named = names and len(names)
            self.meaning: Meaning = meaning(kind, row[0].detach(), activation, named)
            self.classes = 2 if self.meaning.activation == "sides" else row.shape[1]
            self.model = plain(own, cut=self.meaning.cut)
            found = stops(calls, row)
            names_wanted = found if layers is None else _names_of(layers, model)
            if not names_wanted:
                raise ValueError(
                    "No layer of this model gives a feature map (N, K, h, w) larger than 1×1, so "
                    "there is nothing to show."
                )
            self._recorded = list(dict.fromkeys([*names_wanted, *found[-1:]]))  # CAM reads the last
            self.note = self.meaning.note
            wanted = OFFERED if methods is None else methods
            self._pixels = any(name.startswith("guided") for name in wanted)
            self.first = self.record(x)
            self._pixels = self._pixels and self._has_relus(self.first)
            self.layers = [name for name in self.first.layers if name in names_wanted]
            self.methods = self._suitable(self.first, methods)
            self.best = int(self.scores(self.first).argmax())
            self.first_maps: dict[str | None, Tensor] = {}
            if any(name.endswith("Grad-CAM") for name in self.methods):
                self.first_maps = self.maps(self.first, self.best, "Grad-CAM")
                if layers is None:
                    self._drop_what_does_not_count()

    # -- reading an image -------------------------------------------------------------------------

    @property
    def few(self) -> bool:
        """Whether all classes are offered for every image."""
        return self.classes <= FEW

    def offered(self, scores: Tensor) -> list[int]:
        """The classes to offer for an image: all in their order, or the highest first."""
        if self.few:
            return list(range(self.classes))
        return scores.argsort(descending=True)[:TOP].tolist()

    def record(self, x: Tensor) -> maps.Recording:
        """A forward pass of an image (C, H, W) from which everything else is read."""
        return maps.record(self.model, self._like_model(x), self._recorded, pixels=self._pixels)

    def scores(self, recording: maps.Recording) -> Tensor:
        """One score a class, (classes,).

        Raises:
            ValueError: they are not finite.
        """
        row = recording.output[0].detach().float()
        if not torch.isfinite(row).all():
            raise ValueError(NOT_FINITE)
        return self.meaning.scores(row)

    def maps(self, recording: maps.Recording, c: int, method: str) -> dict[str | None, Tensor]:
        """The signed maps of class c by a built-in method: layer → (h, w); CAM knows one layer."""
        if method == "CAM":
            sides = self.meaning.activation == "sides"
            cam = maps.cam_of(recording, 0 if sides else c)[0]
            return {None: -cam if sides and c == 0 else cam}
        found = LAYERED[method](recording, self._target(c))
        return {name: found[name][0] for name in self.layers}

    def guided(self, recording: maps.Recording, c: int) -> Tensor:
        """Guided backpropagation, (C, H, W), signed."""
        return maps.guided_backprop_of(recording, self._target(c))[0]

    def own_maps(self, method: Method, x: Tensor, c: int) -> Iterator[tuple[str, Any]]:
        """What a method of the user's gives, layer by layer.

        It may do with its model what it likes: it gets a copy, which ends in scores as the maps
        take them, with weights that take gradients.
        """
        sides = self.meaning.activation == "sides"
        x = self._like_model(x)
        for layer in self.layers:
            with self.guard.held(), torch.inference_mode(False):
                own = maps.stand_in(self.private.model, own=True)
                for weight in own.parameters():
                    weight.requires_grad_(weight.is_floating_point())
                own = plain(own, cut=self.meaning.cut, sides=sides)
            with torch.inference_mode(False), torch.enable_grad():
                yield layer, method(own, x.clone(), layer, c)

    def _target(self, c: int) -> Any:
        """What asks `maps` for class c."""
        if self.meaning.activation != "sides":
            return c
        return (lambda output: output[:, 0]) if c else (lambda output: -output[:, 0])

    def _like_model(self, x: Tensor) -> Tensor:
        """A batch of one, with the type and on the device of the model's weights.

        Of a gray picture in three equal channels, as from a file, a model of one gets one.
        """
        model = self.private.model
        conv = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        if conv is not None and conv.in_channels == 1 and len(x) == 3 and (x == x[:1]).all():
            x = x[:1]
        weight = next((p for p in model.parameters() if p.is_floating_point()), None)
        if weight is not None and weight.is_meta:
            raise ValueError(
                "The model's weights are on the meta device: load their numbers first."
            )
        return x[None] if weight is None else x[None].to(weight)

    # -- what is offered --------------------------------------------------------------------------

    def _has_relus(self, recording: maps.Recording) -> bool:
        """Whether there are ReLUs for the guided methods; a note says if not."""
        try:
            with warnings.catch_warnings(record=True) as told:
                relus_before(recording.output.grad_fn)
        except ValueError as error:
            self._no_guided = f"The guided methods are left out. {error}"
            self.note += self._no_guided
            return False
        self.note += "".join(f"Guided methods: {each.message} " for each in told)
        return True

    def _suitable(self, recording: maps.Recording, asked: Sequence[str] | None) -> list[str]:
        """The methods that this model can take; a method asked for by name must be one."""
        unknown = [name for name in asked or () if name not in METHODS]
        if unknown or (asked is not None and not asked):
            raise ValueError(
                f"methods must be some of {', '.join(map(repr, METHODS))}"
                + (f", not {unknown[0]!r}." if unknown else "; it is empty.")
            )
        reasons = {} if self._pixels else dict.fromkeys(OFFERED[2:], self._no_guided)
        try:
            maps.cam_of(recording, 0)
        except ValueError as error:
            reasons["CAM"] = str(error)
        for name in asked or ():
            if name == "CAM" and name in reasons:
                maps.cam(self.model, recording.images, 0)  # its message names the head
            if name in reasons:
                raise ValueError(reasons[name])
        wanted = OFFERED if asked is None else METHODS
        return [n for n in wanted if n not in reasons and (asked is None or n in asked)]

    def _drop_what_does_not_count(self) -> None:
        """Leave out the last layers, if the score does not depend on their maps.

        Behind the last attention a class token may be all that still counts.
        """
        counts = [bool(self.first_maps[name].any()) for name in self.layers]
        if any(counts):
            last = len(counts) - counts[::-1].index(True)
            self.layers = self.layers[:last]
            self.first_maps = {name: self.first_maps[name] for name in self.layers}


def _names_of(layers: Sequence[str | nn.Module], model: nn.Module) -> list[str]:
    """The names of some layers of the user's model."""
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers must be a list of names or modules, not {layers!r}.")
    names = {module: name for name, module in model.named_modules()}
    found = [names.get(x, x) if isinstance(x, nn.Module) else x for x in layers]
    if not found:
        raise ValueError("layers is empty: name at least one, or leave it out.")
    return found


def _traced(model: nn.Module, x: Tensor, image: str) -> tuple[list[Call], Tensor, str | None]:
    """The calls of every layer, a row of scores, and the kind of the ending if there is one."""
    try:
        with Watch() as watch:
            traced = maps.trace(model, x)
    except ValueError as error:
        if error.__cause__ is None:  # not about the picture
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{image}: {reason}. `preprocess` must turn one picture into the tensor (C, H, W) that "
            "the model expects."
        ) from error
    row = rows(traced.output)
    if row is None or len(row) != 1:
        found, scores = _described(traced.output)
        raise ValueError(
            f"The Explorer needs one score per class, (N, K), or one value per image, (N,); this "
            f"model gives {found}. Wrap it so that it returns such scores:\n"
            "    class Logits(torch.nn.Module):\n"
            "        def __init__(self, model): super().__init__(); self.model = model\n"
            f"        def forward(self, images): return {scores}"
        )
    if not torch.isfinite(row).all():
        raise ValueError(f"{image}: {NOT_FINITE}")
    differentiable(row)
    ending = watch.ending(row)
    if ending is not None:
        return traced.calls, row, ending[0]
    return traced.calls, row, ACTIVATED if is_activated(row) else None


def _described(output: Any) -> tuple[str, str]:
    """What an output is, and how a forward could make scores of it."""
    if isinstance(output, Tensor):
        places = tuple(range(2, output.ndim))
        pooled = f".mean(dim={places})" if places else "[None]"
        return f"a tensor of shape {tuple(output.shape)}", f"self.model(images){pooled}"
    if isinstance(output, Mapping):
        found = [name for name, each in output.items() if rows(each) is not None]
        return f"a {type(output).__name__}", f"self.model(images)[{(*found, 'logits')[0]!r}]"
    if isinstance(output, (tuple, list)):
        found = [k for k, each in enumerate(output) if rows(each) is not None]
        return f"a {type(output).__name__}", f"self.model(images)[{(*found, 0)[0]}]"
    return f"a {type(output).__name__}", "self.model(images).logits"


def by_model(name: str, value: Any, models: Mapping[str, Any]) -> dict[str, Any]:
    """The same value for every model, or, if it is {model: a list}, each one's own, or None.

    Raises:
        ValueError: a list for a model that is not there.
    """
    if isinstance(value, Mapping) and not any(isinstance(v, (str, int)) for v in value.values()):
        own = {str(model): each for model, each in value.items()}
        unknown = [model for model in own if model not in models]
        if len(unknown) < len(own):
            if unknown:
                raise ValueError(f"{name} names {unknown[0]!r}, which is none of the models.")
            return {model: own.get(model) for model in models}
    return dict.fromkeys(models, value)
