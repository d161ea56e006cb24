"""The atlas: all that an Explorer can show, in parts that are computed when they are wanted.

A part has a key, and the browser gets it as a JSON header and raw numbers behind it:

    picture/i            what the model sees of image i, and its mask
    scores/m/i           what model m makes of it
    maps/m/i/c/METHOD    the maps of class c, of every layer if the method knows layers
    guided/m/i/c         guided backpropagation

Maps are kept signed, at their own resolution, as 16-bit integers and the value of one step.
Guided Grad-CAM is the product of two of them, which whoever shows it works out.
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import maps
from .endings import ending, plain, reading, rows
from .inputs import Inputs
from .names import class_names as names_of
from .names import given_names
from .private import private
from .stops import stops

LAYERED = ("Grad-CAM",)
METHODS = ("Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM")
FEW = 20
"""of so many classes, all are offered"""
TOP = 10
"""of more classes, each image's highest; any other can be asked for"""
KEPT_BYTES = 256 * 2**20
"""how much of what was computed an atlas keeps; the oldest parts go first and can come again"""
STEPS = 32767

Method = Callable[[nn.Module, Tensor, str, int], Any]


@dataclass(frozen=True)
class Part:
    """One piece of an atlas."""

    key: str
    header: dict[str, Any]
    arrays: tuple[np.ndarray, ...] = ()
    """uint8 for pictures, little-endian int16 for maps"""

    def pack(self) -> bytes:
        """As the browser gets it.

        The length of the JSON header (4 bytes, little endian), the header, spaces up to a
        multiple of 4, and the arrays one after the other.
        """
        text = json.dumps(self.header).encode()
        text += b" " * (-len(text) % 4)
        return b"".join(
            [len(text).to_bytes(4, "little"), text, *(array.tobytes() for array in self.arrays)]
        )

    def raw(self) -> list[np.ndarray]:
        """The numbers as the browser reads them: maps as float64, a picture and mask as uint8."""
        units = [each["unit"] for each in self.header.get("maps", [])] or [self.header.get("unit")]
        if units == [None]:
            return list(self.arrays)
        return [array * unit for array, unit in zip(self.arrays, units, strict=True)]

    @property
    def error(self) -> str | None:
        """What went wrong, in a sentence."""
        return self.header.get("error")


def packed(values: Tensor) -> tuple[np.ndarray, float]:
    """Numbers as int16 and the value of one step: the largest magnitude / 32767."""
    values = values.detach().double().cpu()
    unit = float(values.abs().max()) / STEPS
    steps = (values / unit).round() if unit > 0 else values * 0
    return steps.numpy().astype("<i2"), unit


class Sitter:
    """A model as the atlas uses it: its private copy, and what there is to show of it."""

    def __init__(
        self,
        name: str,
        model: nn.Module,
        x: Tensor,
        layers: Sequence[str | nn.Module] | None,
        methods: Sequence[str],
        activation: str | None,
        named: int | None,
    ) -> None:
        self.name = name
        self.private = private(model)
        own = self.private.model
        x = self.like(x[None])
        with self.private.lock:
            output, kind = _first_output(own, x)
            self.reading = reading(kind, output[0], activation, named)
            self.model = plain(own, self.reading.cut)
            self.layers = self._layers(model, x, layers)
            self.note = ""
            self.methods = self._suitable(x, methods)
        self.classes = 2 if self.reading.activation == "sides" else output.shape[1]
        self._sat: tuple[int, Any] | None = None

    @property
    def lock(self) -> Any:
        """To be held while the model is used."""
        return self.private.lock

    def like(self, x: Tensor) -> Tensor:
        """The tensor with the type and on the device of the model's weights."""
        weight = next((p for p in self.private.model.parameters() if p.is_floating_point()), None)
        return x if weight is None else x.to(weight)

    def target(self, c: int) -> Any:
        """What asks `maps` for class c."""
        if self.reading.activation != "sides":
            return c
        sign = 1 if c else -1
        return lambda output: sign * output[:, 0]

    def offered(self, scores: Tensor) -> list[int]:
        """The classes to offer for an image: all in their order, or the highest first."""
        if self.few:
            return list(range(self.classes))
        return scores.argsort(descending=True)[:TOP].tolist()

    @property
    def few(self) -> bool:
        """Whether all classes are offered."""
        return self.classes <= FEW

    def record(self, x: Tensor) -> Any:
        """A forward pass with the layers recorded."""
        return maps.record(self.model, self.like(x[None]), self.layers)

    def scores(self, recording: Any) -> Tensor:
        """One score per class."""
        row = recording.output[0].detach()
        if not torch.isfinite(row).all():
            raise ValueError(
                "the model's output is NaN or infinite: look for NaN in its weights (a training "
                "that diverged leaves them) and in the picture."
            )
        return self.reading.scores(row)

    def grad_cam(self, recording: Any, c: int) -> dict[str, Tensor]:
        """Signed Grad-CAM of every layer."""
        gradients = recording.gradients(self.target(c))
        return {
            name: torch.einsum("k,kij->ij", gradients[name][0].mean(dim=(1, 2)), A[0].detach())
            for name, A in recording.features.items()
        }

    def cam(self, x: Tensor, c: int) -> Tensor:
        """Signed CAM."""
        x = self.like(x[None])
        if self.reading.activation == "sides":
            return maps.cam(self.model, x, 0)[0] * (1 if c else -1)
        return maps.cam(self.model, x, c)[0]

    def guided(self, x: Tensor, c: int) -> Tensor:
        """Guided backpropagation, (C, H, W)."""
        return maps.guided_backprop(self.model, self.like(x[None]), self.target(c))[0]

    def _layers(self, model: nn.Module, x: Tensor, layers: Any) -> list[str]:
        if layers is not None:
            own = {module: name for name, module in model.named_modules()}
            layers = [
                own.get(each, each) if isinstance(each, nn.Module) else each for each in layers
            ]
            if not layers:
                raise ValueError("layers is empty: name at least one, or leave it out.")
        found = stops(self.model, x) if layers is None else layers
        if not found:
            raise ValueError(
                "No layer of this model gives a feature map (N, K, h, w) larger than 1×1, so there "
                "is nothing to show."
            )
        return list(maps.record(self.model, x, found).features)

    def _suitable(self, x: Tensor, asked: Sequence[str] | None) -> list[str]:
        """The methods that this model can take; a method asked for by name must be one."""
        unknown = [name for name in asked or () if name not in METHODS]
        if unknown or (asked is not None and not asked):
            raise ValueError(
                f"methods must be some of {', '.join(map(repr, METHODS))}"
                + (f", not {unknown[0]!r}." if unknown else "; it is empty.")
            )
        wanted = METHODS if asked is None else [name for name in METHODS if name in asked]
        reasons = {}
        if "CAM" in wanted:
            try:
                maps.cam(self.model, x, 0)
            except ValueError as error:
                reasons["CAM"] = str(error)
        if any(name.startswith("guided") for name in wanted):
            try:
                maps.guided_backprop(self.model, x, 0)
            except ValueError as error:
                self.note = f"The guided methods are left out. {error}"
                reasons |= dict.fromkeys(METHODS[2:], self.note)
        for name in asked or ():
            if name in reasons:
                raise ValueError(reasons[name])
        return [name for name in wanted if name not in reasons]


class Atlas:
    """Everything there is to show of some images and models, computed part by part.

    Args:
        models: name → a model that gives scores (N, K), or one value per image, (N,).
        inputs: the images.
        layers: names (or modules) to offer; None chooses those at which a step is complete.
        methods: some of `METHODS`, or {name: f} to add methods of one's own: f(model, image,
            layer, class) with a float tensor (1, C, H, W), the layer's name and the class's
            number gives a map (h, w).
        activation: "softmax", "sigmoid" or "none": what the model's scores mean; None goes by
            the model's ending.
        class_names: see `names.class_names`.

    Raises:
        TypeError, ValueError: what does not fit, in a sentence.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        inputs: Inputs,
        *,
        layers: Sequence[str | nn.Module] | None = None,
        methods: Sequence[str] | Mapping[str, Method] | None = None,
        activation: str | None = None,
        class_names: Any = None,
    ) -> None:
        own = dict(methods) if isinstance(methods, Mapping) else {}
        chosen = None if isinstance(methods, Mapping) else methods
        named = None if class_names is None else len(given_names(class_names))
        first = inputs.item(0).tensor
        self._inputs = inputs
        self._own = own
        self._named = class_names is not None
        self._sitters = [
            Sitter(name, model, first, layers, chosen, activation, named)
            for name, model in models.items()
        ]
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._bytes = 0
        self._guard = Lock()
        self._recordings: dict[int, tuple[int, Any]] = {}
        self.offer = {
            "models": [sitter.name for sitter in self._sitters],
            "images": len(inputs),
            "layers": {s.name: s.layers for s in self._sitters},
            "methods": {s.name: [*s.methods, *own] for s in self._sitters},
            "names": {s.name: names_of(class_names, s.classes) for s in self._sitters},
            "classes": {s.name: s.classes for s in self._sitters},
            "few": {s.name: s.few for s in self._sitters},
            "scoreName": {s.name: s.reading.score_name for s in self._sitters},
            "activation": {s.name: s.reading.activation for s in self._sitters},
            "note": " ".join(dict.fromkeys(s.note for s in self._sitters if s.note)),
            "labels": [],
        }

        self.offer["labels"] = [self._truth(i) for i in range(len(inputs))]

    # -- parts ------------------------------------------------------------------------------------

    def have(self, key: str) -> Part | None:
        """The part, if it is there."""
        with self._guard:
            part = self._parts.get(key)
            if part is not None:
                self._parts.move_to_end(key)
            return part

    def part(self, key: str) -> Part:
        """The part, computed now if it is not there. For any thread.

        Raises:
            ValueError: it cannot be computed; the sentence names the image.
        """
        part = self.have(key)
        if part is None:
            kind, *rest = key.split("/", 4 if key.startswith("maps/") else -1)
            part = {
                "picture": self._picture,
                "scores": self._scores,
                "maps": self._maps,
                "guided": self._guided,
            }[kind](key, *rest)
            self._keep(part)
        return part

    def wanted(
        self, model: int, image: int, target: int, layer: str | None, method: str
    ) -> Iterator[str]:
        """The keys of all that is offered, in the order of what is looked at.

        This image before the others, this model before the others, this class and method first.
        """
        images = sorted(range(self.offer["images"]), key=lambda i: abs(i - image))
        models = sorted(range(len(self._sitters)), key=lambda m: m != model)
        yield from self._view(model, image, target, method)
        for m, i in chain(((m, image) for m in models), ((model, i) for i in images)):
            yield from (f"picture/{i}", f"scores/{m}/{i}")
        for i in images:
            for m in models:
                yield from (f"picture/{i}", f"scores/{m}/{i}")
                scores = self.have(f"scores/{m}/{i}")
                for c in self._ranked(scores, target):
                    for name in self.built_in(m):
                        yield self.key(m, i, c, name)

    def _view(self, m: int, i: int, c: int, method: str) -> Iterator[str]:
        yield from (f"picture/{i}", f"scores/{m}/{i}", self.key(m, i, c, "Grad-CAM"))
        if method in self._own:
            yield self.key(m, i, c, method)

    def built_in(self, m: int) -> list[str]:
        """The methods of a model that have parts of their own, the user's left out."""
        names = self._sitters[m].methods
        parts = ["Grad-CAM"] if any(n.endswith("Grad-CAM") for n in names) else []
        parts += ["CAM"] if "CAM" in names else []
        return parts + (["guided"] if any(n.startswith("guided") for n in names) else [])

    @staticmethod
    def key(m: int, i: int, c: int, method: str) -> str:
        """The key of a method's maps of one class."""
        return f"guided/{m}/{i}/{c}" if method == "guided" else f"maps/{m}/{i}/{c}/{method}"

    @staticmethod
    def _ranked(scores: Part | None, target: int) -> list[int]:
        if scores is None or scores.error:
            return [target]
        ranked = sorted(
            zip(scores.header["scores"], scores.header["classes"], strict=True), reverse=True
        )
        return list(dict.fromkeys([target, *(c for _, c in ranked)]))

    def close(self) -> None:
        """Let the models and all parts go."""
        with self._guard:
            self._parts.clear()
            self._recordings.clear()
            self._bytes = 0

    def _keep(self, part: Part) -> None:
        with self._guard:
            if part.key not in self._parts:
                self._parts[part.key] = part
                self._bytes += _size(part)
            while self._bytes > KEPT_BYTES and len(self._parts) > 1:
                self._bytes -= _size(self._parts.popitem(last=False)[1])

    # -- how each is computed ---------------------------------------------------------------------

    def _picture(self, key: str, image: str) -> Part:
        i = int(image)
        item = self._inputs.item(i)
        picture, mask = item.picture, item.mask
        header = {
            "key": key,
            "size": list(picture.shape[:2]),
            "mask": mask is not None,
            "truth": self._truth(i),
            "title": self._inputs.title(i),
        }
        return Part(key, header, (picture,) if mask is None else (picture, mask.astype(np.uint8)))

    def _truth(self, i: int) -> int | None:
        """The true class of an image, if it is known and the first model knows classes."""
        label, first = self._inputs.label(i), self._sitters[0]
        names = self.offer["names"][first.name]
        if label is None or first.classes == 1 or (isinstance(label, str) and not self._named):
            return None
        c = names.index(label) if label in names else label
        if isinstance(c, str) or not 0 <= c < first.classes:
            raise ValueError(
                f"{self._inputs.named(i)} has the label {label!r}, which is not among the model's "
                f"{first.classes} classes."
            )
        return c

    def _scores(self, key: str, model: str, image: str) -> Part:
        m, i = int(model), int(image)
        with self._sitting(m, i) as recording:
            return self._scores_part(key, m, recording)

    def _scores_part(
        self, key: str, m: int, recording: Any, classes: list[int] | None = None
    ) -> Part:
        sitter = self._sitters[m]
        scores = sitter.scores(recording)
        classes = sitter.offered(scores) if classes is None else classes
        shares = sitter.reading.shares(scores)
        header = {
            "key": key,
            "classes": classes,
            "scores": [float(scores[c]) for c in classes],
            "shares": [shares[c] for c in classes],
        }
        return Part(key, header)

    def _maps(self, key: str, model: str, image: str, target: str, method: str) -> Part:
        m, i, c = int(model), int(image), int(target)
        if method in self._own:
            return self._own_maps(key, m, i, c, method)
        with self._sitting(m, i) as recording:
            return self._maps_part(key, m, recording, self._inputs.item(i).tensor, c, method)

    def _maps_part(self, key: str, m: int, recording: Any, x: Tensor, c: int, method: str) -> Part:
        sitter = self._sitters[m]
        if method == "CAM":
            found: dict[str | None, Tensor] = {None: sitter.cam(x, c)}
        else:
            found = dict(sitter.grad_cam(recording, c))
        return _packed_maps(key, found, self._score(m, recording, c))

    def _score(self, m: int, recording: Any, c: int) -> dict[str, Any]:
        scores = self._sitters[m].scores(recording)
        return {
            "score": float(scores[c]),
            "share": self._sitters[m].reading.shares(scores)[c],
        }

    def _own_maps(self, key: str, m: int, i: int, c: int, method: str) -> Part:
        sitter = self._sitters[m]
        x = sitter.like(self._inputs.item(i).tensor[None])
        found: dict[str | None, Tensor] = {}
        try:
            for layer in sitter.layers:
                with sitter.lock, torch.enable_grad():
                    scratch = copy.deepcopy(sitter.private.model).requires_grad_()
                heat = self._own[method](scratch, x.clone(), layer, c)
                found[layer] = _heat(heat)
        except Exception as error:
            sentence = f"{method}, layer {layer}: {type(error).__name__}: {error}"
            return Part(key, {"key": key, "maps": [], "error": sentence})
        return _packed_maps(key, found, {})

    def _guided(self, key: str, model: str, image: str, target: str) -> Part:
        m, i, c = int(model), int(image), int(target)
        with self._sitting(m, i) as recording:
            values = self._sitters[m].guided(self._inputs.item(i).tensor, c)
            score = self._score(m, recording, c)
        steps, unit = packed(_finite(values, "Guided backpropagation"))
        return Part(key, {"key": key, "shape": list(steps.shape), "unit": unit, **score}, (steps,))

    @contextmanager
    def _sitting(self, m: int, i: int) -> Iterator[Any]:
        """The recording of an image, under the model's lock; the last one of a model is kept."""
        sitter = self._sitters[m]
        with sitter.lock, _naming(self._inputs.named(i)):
            index, recording = self._recordings.get(m, (None, None))
            if index != i:
                recording = sitter.record(self._inputs.item(i).tensor)
                sitter.scores(recording)
                self._recordings[m] = i, recording
            yield recording

    # -- painted pictures -------------------------------------------------------------------------

    def ask(self, model: int, image: int, picture: np.ndarray) -> list[Part]:
        """What the model makes of a picture that was painted on, uint8 (H, W, 3).

        Returns:
            its scores and maps for the classes offered for the image, under "asked/…" keys.
        """
        sitter = self._sitters[model]
        classes = self.part(f"scores/{model}/{image}").header["classes"]
        with sitter.lock, _naming(self._inputs.named(image)):
            x = self._inputs.item(image).painted(picture)
            recording = sitter.record(x)
            parts = [
                self._scores_part(f"asked/scores/{model}/{image}", model, recording, list(classes))
            ]
            for c in classes:
                for name in self.built_in(model):
                    if name != "guided":
                        key = f"asked/{self.key(model, image, c, name)}"
                        parts.append(self._maps_part(key, model, recording, x, c, name))
        return parts


def _packed_maps(key: str, found: Mapping[str | None, Tensor], more: Mapping[str, Any]) -> Part:
    listed, arrays = [], []
    for layer, heat in found.items():
        steps, unit = packed(_finite(heat, "The map" if layer is None else f"The map of {layer}"))
        listed.append({"layer": layer, "shape": list(steps.shape), "unit": unit})
        arrays.append(steps)
    return Part(key, {"key": key, "maps": listed, **more}, tuple(arrays))


def _finite(values: Tensor, what: str) -> Tensor:
    if not torch.isfinite(values).all():
        raise ValueError(f"{what} holds NaN or infinite values: look for NaN in the weights.")
    return values


def _heat(heat: Any) -> Tensor:
    """What a method of the user's gave, as a map (h, w)."""
    heat = torch.as_tensor(heat).detach()
    while heat.dim() > 2 and len(heat) == 1:
        heat = heat[0]
    if heat.dim() != 2 or heat.numel() == 0:
        raise ValueError(f"it must give a map (h, w), not {tuple(heat.shape)}.")
    return _finite(heat.double(), "the map")


def _size(part: Part) -> int:
    return sum(array.nbytes for array in part.arrays) + 1000


@contextmanager
def _naming(image: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error)
        if reason.startswith(image):
            raise
        raise ValueError(f"{image}: {reason}") from error


def _first_output(model: nn.Module, x: Tensor) -> tuple[Tensor, str | None]:
    """What the model gives for the first image, checked to be one row of scores, and its ending."""
    try:
        output, kind = ending(model, x.clone())
    except Exception as error:
        if isinstance(error, (TypeError, torch.OutOfMemoryError)):
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{reason}. `preprocess` must turn one picture into the tensor (C, H, W) that the "
            "model expects."
        ) from error
    scores = rows(output)
    if scores is None or len(scores) != len(x):
        found = (
            f"a tensor of shape {tuple(output.shape)}"
            if isinstance(output, Tensor)
            else f"a {type(output).__name__}"
        )
        raise ValueError(
            f"The Explorer needs one score per class, (N, K), or one value per image, (N,); this "
            f"model gives {found}. Wrap it so that it returns such scores:\n"
            "    class Logits(torch.nn.Module):\n"
            "        def __init__(self, model): super().__init__(); self.model = model\n"
            "        def forward(self, images): return self.model(images)['logits']"
        )
    if not torch.isfinite(scores).all():
        raise ValueError(
            "The model's output is NaN or infinite for image 0: look for NaN in its weights; a "
            "training that diverged leaves them."
        )
    return scores, kind
