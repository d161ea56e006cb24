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

import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..maps import Recording
from .display import GUIDED, MINUS
from .guard import Guard
from .inputs import Inputs
from .names import class_names as names_of
from .names import listed_names
from .sitter import LAYERED, METHODS, TOP, Method, Sitter, by_model

KEPT_BYTES = 256 * 2**20
"""how much of what was computed an atlas keeps; the oldest parts go first and can come again"""
STEPS = 32767
NUMBERS = {"picture": 1, "scores": 2, "guided": 3, "maps": 3}
"""how many numbers the key of a part of each kind holds"""
CLOSED = (
    "This Explorer is closed: build it again, with the same choices as "
    "Explorer(model, images, **explorer.state())."
)


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
        units = [each["unit"] for each in self.header.get("maps", ())]
        units = [self.header["unit"]] if "unit" in self.header else units
        if not units:
            return list(self.arrays)
        return [array * unit for array, unit in zip(self.arrays, units, strict=True)]

    @property
    def error(self) -> str | None:
        """What went wrong, in a sentence."""
        return self.header.get("error")

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return sum(array.nbytes for array in self.arrays) + 1000


def packed(values: Tensor, what: str = "The map") -> tuple[np.ndarray, float]:
    """Numbers as int16 and the value of one step: the largest magnitude / 32767.

    Raises:
        ValueError: some are not finite; the message begins with `what` they are.
    """
    values = values.detach().double().cpu()
    unit = float(values.abs().max()) / STEPS
    if not math.isfinite(unit):
        raise ValueError(f"{what} holds NaN or infinite values: look for NaN in the weights.")
    steps = (values / unit).round() if unit > 0 else torch.zeros_like(values)
    return steps.numpy().astype("<i2"), unit


class Atlas:
    """Everything there is to show of some images and models, computed part by part.

    Args:
        models: name → a model that gives scores (N, K), or one value per image, (N,).
        inputs: the images.
        layers: names (or modules) to offer; None chooses those at which a step is complete. Of
            several models, one list for all or {model: list}.
        methods: some of `METHODS`; or {name: f} to add methods of one's own: f(model, image,
            layer, class), with a float tensor (1, C, H, W), the layer's name and the class's
            number, gives a map (h, w).
        activation: "softmax", "sigmoid" or "none": what the model's scores mean; None goes by
            the model's ending.
        class_names: see `names.listed_names`; of several models, one for all or {model: names}.

    Raises:
        TypeError, ValueError: what does not fit, in a sentence.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        inputs: Inputs,
        *,
        layers: Any = None,
        methods: Sequence[str] | Mapping[str, Method] | None = None,
        activation: str | None = None,
        class_names: Any = None,
    ) -> None:
        self._inputs = inputs
        methods = [methods] if isinstance(methods, str) else methods
        self._own = _own_methods(methods)
        layers_by = by_model("layers", layers, models)
        self._guard = Guard()
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._bytes = 0
        self._recordings: OrderedDict[tuple[int, int], Recording] = OrderedDict()
        names = {
            m: listed_names(own) for m, own in by_model("class_names", class_names, models).items()
        }
        if class_names is None and inputs.class_names is not None:
            names = dict.fromkeys(models, inputs.class_names)
        self._named = any(names.values())
        first = inputs.item(0).tensor
        sitters, called = {}, {}
        for name, model in models.items():
            with _naming_model(name, models):
                sitters[name] = Sitter(
                    model,
                    first,
                    inputs.named(0),
                    layers_by[name],
                    None if self._own else methods,
                    activation,
                    names[name],
                )
                classes = sitters[name].classes
                if class_names is None and len(names[name] or ()) != classes:
                    names[name] = None  # the data set's are not the model's
                sides = sitters[name].meaning.activation == "sides"
                called[name] = names_of(names[name], classes, sides=sides)
        self._sitters = list(sitters.values())
        notes = dict.fromkeys(sitter.note.strip() for sitter in self._sitters if sitter.note)
        self.offer: dict[str, Any] = {
            "models": list(sitters),
            "images": len(inputs),
            "layers": {name: s.layers for name, s in sitters.items()},
            "methods": {name: [*s.methods, *self._own] for name, s in sitters.items()},
            "names": called,
            "classes": {name: s.classes for name, s in sitters.items()},
            "few": {name: s.few for name, s in sitters.items()},
            "scoreName": {name: s.meaning.score_name for name, s in sitters.items()},
            "activation": {name: s.meaning.activation for name, s in sitters.items()},
            "note": " ".join(notes),
        }
        self.offer["labels"] = [self._truth(i) for i in range(len(inputs))]
        for m, sitter in enumerate(self._sitters):
            self._begin(m, sitter)

    def _begin(self, m: int, sitter: Sitter) -> None:
        """Keep what choosing the layers has computed already: the first picture."""
        self._remember(m, 0, sitter.first)
        self._keep(self._scores_part(f"scores/{m}/0", sitter, sitter.first))
        if sitter.first_maps:
            key = self.key(m, 0, sitter.best, "Grad-CAM")
            with _naming(self._inputs.named(0)):
                score = self._score(sitter, sitter.first, sitter.best)
                self._keep(_packed_maps(key, sitter.first_maps, score))
        del sitter.first, sitter.first_maps

    # -- parts ------------------------------------------------------------------------------------

    def have(self, key: str) -> Part | None:
        """The part, if it is there."""
        with self._guard.held():
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
            part = self._computed(key)
            self._keep(part)
        return part

    def wanted(
        self,
        model: int,
        image: int,
        target: int,
        method: str,
        *,
        ahead: bool = True,
    ) -> Iterator[str]:
        """The keys of all that is offered, in the order of what is looked at.

        First what is on the screen, then the other classes and methods of this image, a first map
        of each other image and model, and the rest. Some keys come twice.

        Args:
            model, image, target, method: what is looked at.
            ahead: False leaves out what belongs to other images and models.
        """
        names = ["guided", "Grad-CAM"] if method in GUIDED else [method, "Grad-CAM"]
        yield from (f"picture/{image}", f"scores/{model}/{image}")
        for name in names:
            if name in self._own or name in self.with_parts(model):
                yield self.key(model, image, target, name)
        yield from self._of(model, image, target)
        if not ahead:
            return
        images = sorted(range(len(self._inputs)), key=lambda i: abs(i - image))
        models = sorted(range(len(self._sitters)), key=lambda m: m != model)
        for m, i in [*((model, i) for i in images[1:]), *((m, image) for m in models[1:])]:
            yield from (f"picture/{i}", f"scores/{m}/{i}")
            for name in self.with_parts(m)[:1]:
                yield self.key(m, i, min(target, self._sitters[m].classes - 1), name)
        for i in images:
            for m in models:
                yield from self._of(m, i, target)

    def count(self, model: int, *, ahead: bool = True) -> int:
        """About how many different keys `wanted` gives."""
        ours = list(enumerate(self._sitters)) if ahead else [(model, self._sitters[model])]
        maps = sum((s.classes if s.few else TOP) * len(self.with_parts(m)) for m, s in ours)
        return (len(self._inputs) if ahead else 1) * (1 + len(ours) + maps)

    def _of(self, m: int, i: int, target: int) -> Iterator[str]:
        """The keys of one model and image; the highest classes first."""
        yield from (f"picture/{i}", f"scores/{m}/{i}")
        try:
            scores = self.part(f"scores/{m}/{i}")
        except BaseException:  # said by the part itself
            return
        ranked = zip(scores.header["scores"], scores.header["classes"], strict=True)
        classes = [c for _, c in sorted(ranked, reverse=True)]
        if target < self._sitters[m].classes:
            classes.insert(0, target)
        for name in self.with_parts(m):
            for c in classes:
                yield self.key(m, i, c, name)

    def with_parts(self, m: int) -> list[str]:
        """The built-in methods of a model that have parts of their own.

        Guided Grad-CAM has none: it is a product of two.
        """
        offered = set(self._sitters[m].methods)
        if "guided Grad-CAM" in offered:
            offered.add("Grad-CAM")
        guided = any(name.startswith("guided") for name in offered)
        return [n for n in (*LAYERED, "CAM") if n in offered] + ["guided"] * guided

    @staticmethod
    def key(m: int, i: int, c: int, method: str) -> str:
        """The key of a method's maps of one class."""
        return f"guided/{m}/{i}/{c}" if method == "guided" else f"maps/{m}/{i}/{c}/{method}"

    def close(self) -> None:
        """Let the models and all parts go."""
        with self._guard.held():
            self._parts.clear()
            self._recordings.clear()
            self._bytes = 0
            self._sitters = []

    def refuse_closed(self) -> None:
        """Raise the ValueError that says that it is closed, if it is."""
        if not self._sitters:
            raise ValueError(CLOSED)

    def _keep(self, part: Part) -> None:
        with self._guard.held():
            if not self._sitters:
                return
            replaced = self._parts.pop(part.key, None)
            self._bytes += part.size - (0 if replaced is None else replaced.size)
            self._parts[part.key] = part
            while self._bytes > KEPT_BYTES and len(self._parts) > 1:
                self._bytes -= self._parts.popitem(last=False)[1].size

    def _sitter(self, m: int) -> Sitter:
        sitters = self._sitters
        if not sitters:
            raise ValueError(CLOSED)
        return sitters[m]

    # -- how each is computed ---------------------------------------------------------------------

    def _computed(self, key: str) -> Part:
        kind, m, i, c, method = self._read(key)
        if kind == "picture":
            return self._picture(key, i)
        sitter = self._sitter(m)
        tensor = self._inputs.item(i).tensor
        with sitter.guard.held(), _naming(self._inputs.named(i)):
            recording = self._recording(m, i, tensor)
            if kind == "scores":
                return self._scores_part(key, sitter, recording)
            if method not in self._own:
                return self._maps_part(key, sitter, recording, c, method)
            score = self._score(sitter, recording, c)
        return self._own_maps(key, sitter, tensor, c, method, score)

    def _read(self, key: str) -> tuple[str, int, int, int, str | None]:
        """A key's kind, model, image, class and method, as far as it has them.

        Raises:
            ValueError: there is no such part.
        """
        kind, *words = key.split("/", 4)
        method = words.pop() if kind == "maps" and len(words) == 4 else None
        numbers = [int(word) for word in words if word.isdecimal()]
        if len(words) == len(numbers) == NUMBERS.get(kind):
            m, i, c = ([0] * (kind == "picture") + numbers + [0])[:3]
            if m < len(self._sitters) and i < len(self._inputs) and c < self._sitters[m].classes:
                known = {*self._own, *self.with_parts(m)} - {"guided"}
                if (method in known) == (kind == "maps"):
                    return kind, m, i, c, method
        raise ValueError(f"There is no part {key!r}." if self._sitters else CLOSED)

    def _picture(self, key: str, i: int) -> Part:
        item = self._inputs.item(i)
        header = {
            "key": key,
            "size": list(item.picture.shape[:2]),
            "mask": item.mask is not None,
            "truth": self._truth(i),
            "title": self._inputs.title(i),
        }
        mask = () if item.mask is None else (item.mask.astype(np.uint8),)
        return Part(key, header, (item.picture, *mask))

    def _truth(self, i: int) -> int | None:
        """The true class of an image, if it is known and the first model knows classes."""
        label, name = self._inputs.label(i), self.offer["models"][0]
        names, classes = self.offer["names"][name], self.offer["classes"][name]
        if label is None or classes == 1 or (isinstance(label, str) and not self._named):
            return None
        c = names.index(label) if label in names else label
        if isinstance(c, str) or not 0 <= c < classes:
            raise ValueError(
                f"{self._inputs.named(i)} has the label {label!r}, which is not among the model's "
                f"{classes} classes."
            )
        return c

    def _scores_part(
        self,
        key: str,
        sitter: Sitter,
        recording: Recording,
        classes: Iterable[int] | None = None,
    ) -> Part:
        scores = sitter.scores(recording)
        offered = list(sitter.offered(scores) if classes is None else classes)
        shares = sitter.meaning.shares(scores)
        header = {
            "key": key,
            "classes": offered,
            "scores": [float(scores[c]) for c in offered],
            "shares": [shares[c] for c in offered],
        }
        return Part(key, header)

    def _maps_part(
        self, key: str, sitter: Sitter, recording: Recording, c: int, method: str | None = None
    ) -> Part:
        """The part of a built-in method, or of guided backpropagation if it is None."""
        score = self._score(sitter, recording, c)
        if method is not None:
            return _packed_maps(key, sitter.maps(recording, c, method), score)
        steps, unit = packed(sitter.guided(recording, c), "Guided backpropagation")
        return Part(key, {"key": key, "shape": list(steps.shape), "unit": unit, **score}, (steps,))

    def _score(self, sitter: Sitter, recording: Recording, c: int) -> dict[str, Any]:
        scores = sitter.scores(recording)
        return {"score": float(scores[c]), "share": sitter.meaning.shares(scores)[c]}

    def _own_maps(
        self, key: str, sitter: Sitter, x: Tensor, c: int, method: str, score: dict[str, Any]
    ) -> Part:
        """Maps by a method of the user's; what goes wrong in it is said in the part."""
        found: dict[str | None, Tensor] = {}
        try:
            for layer, heat in sitter.own_maps(self._own[method], x, c):
                found[layer] = _heat(heat)
        except Exception as error:
            where = sitter.layers[len(found)]
            sentence = f"{method} at {where}: {type(error).__name__}: {error}"
            return Part(key, {"key": key, "maps": [], "error": sentence, **score})
        return _packed_maps(key, found, score)

    def _recording(self, m: int, i: int, tensor: Tensor) -> Recording:
        """The recording of an image; the last two are kept. The model's guard must be held."""
        with self._guard.held():
            recording = self._recordings.get((m, i))
        if recording is None:
            sitter = self._sitter(m)
            recording = sitter.record(tensor)
            sitter.scores(recording)
            self._remember(m, i, recording)
        return recording

    def _remember(self, m: int, i: int, recording: Recording) -> None:
        with self._guard.held():
            self._recordings[m, i] = recording
            while len(self._recordings) > 2:
                self._recordings.popitem(last=False)

    # -- painted pictures -------------------------------------------------------------------------

    def ask(
        self,
        model: int,
        image: int,
        picture: np.ndarray,
        shown: Sequence[str] = (),
        extras: Sequence[int] = (),
    ) -> list[Part]:
        """What the model makes of a picture that was painted on, uint8 (H, W, 3).

        Args:
            model, image: which; `picture` is the image with the paint.
            shown: the keys of what is on the screen, which may be another class, guided
                backpropagation or a method of the user's.
            extras: classes whose scores are wanted beside those offered for the image.

        Returns:
            its scores for these classes, its maps for those offered, and what is shown, all under
            "asked/…" keys.
        """
        sitter = self._sitter(model)
        classes = self.part(f"scores/{model}/{image}").header["classes"]
        x = self._inputs.item(image).painted(picture)
        with sitter.guard.held(), _naming(self._inputs.named(image)):
            recording = sitter.record(x)
            key = f"asked/scores/{model}/{image}"
            usual = [(c, n) for n in self.with_parts(model) if n != "guided" for c in classes]
            looked_at = [(c, method or kind) for kind, _, _, c, method in map(self._read, shown)]
            known = dict.fromkeys([*classes, *extras, *(c for c, _ in looked_at)])
            parts = [self._scores_part(key, sitter, recording, known)]
            own = [(c, method) for c, method in looked_at if method in self._own]
            for c, method in dict.fromkeys([*usual, *looked_at]):
                if method not in self._own:
                    key = f"asked/{self.key(model, image, c, method)}"
                    which = None if method == "guided" else method
                    parts.append(self._maps_part(key, sitter, recording, c, which))
            scores = [self._score(sitter, recording, c) for c, _ in own]
        for (c, method), score in zip(own, scores, strict=True):
            key = f"asked/{self.key(model, image, c, method)}"
            parts.append(self._own_maps(key, sitter, x, c, method, score))
        return parts


def _own_methods(methods: Any) -> dict[str, Method]:
    """The user's own methods, by name."""
    listed = list(methods) if isinstance(methods, Iterable) else [methods]
    if any(map(callable, listed)):
        raise TypeError("A method of your own needs a name: methods={'mine': function}.")
    if not isinstance(methods, Mapping):
        wrong = [name for name in listed if not isinstance(name, str)]
        if methods is not None and wrong:
            raise TypeError(f"methods must be names or {{name: function}}, not {wrong[0]!r}.")
        return {}
    for name, method in methods.items():
        if not callable(method) or not isinstance(name, str) or name in METHODS:
            raise TypeError(
                "methods as a mapping adds methods of your own, {name: function}, beside the "
                f"built-in ones: {name!r} is "
                + ("a built-in one." if name in METHODS else f"{type(method).__name__}.")
            )
        if not name.strip() or name == "guided" or name.endswith(MINUS):
            raise ValueError(f"A method of your own cannot be called {name!r}.")
    return dict(methods)


def _packed_maps(key: str, found: Mapping[str | None, Tensor], more: Mapping[str, Any]) -> Part:
    listed, arrays = [], []
    for layer, heat in found.items():
        steps, unit = packed(heat, "The map" if layer is None else f"The map of {layer}")
        listed.append({"layer": layer, "shape": list(steps.shape), "unit": unit})
        arrays.append(steps)
    return Part(key, {"key": key, "maps": listed, **more}, tuple(arrays))


def _heat(heat: Any) -> Tensor:
    """What a method of the user's gave, as a map (h, w)."""
    if heat is None or isinstance(heat, (tuple, Mapping)):
        forgot = ": is its `return` missing?" if heat is None else "."
        raise ValueError(f"it must give a map (h, w), and gave a {type(heat).__name__}{forgot}")
    heat = heat.detach() if isinstance(heat, Tensor) else torch.from_numpy(np.array(heat))
    if heat.is_complex():
        raise ValueError("it must give a map of real numbers, not complex ones.")
    while heat.ndim > 2 and len(heat) == 1:
        heat = heat[0]
    if heat.ndim != 2 or heat.numel() == 0:
        raise ValueError(f"it must give a map (h, w), not {tuple(heat.shape)}.")
    if not torch.isfinite(heat).all():
        raise ValueError(
            "its map holds NaN or infinite values: look for a division by 0, as of a blank map by "
            "its maximum."
        )
    return heat.double()


def _naming_model(name: str, models: Mapping[str, Any]) -> AbstractContextManager[None]:
    return _naming(f"Model {name!r}") if len(models) > 1 else nullcontext()


@contextmanager
def _naming(image: str) -> Iterator[None]:
    """Put a name before what went wrong with an image; lack of memory stays what it is."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError) as error:
        if str(error).startswith(image):
            raise
        raise ValueError(f"{image}: {error}") from error
