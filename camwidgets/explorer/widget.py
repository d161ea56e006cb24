"""The Explorer: one widget, whose choices are traits and whose picture is drawn in the browser."""

from __future__ import annotations

import base64
import html
import time
import uuid
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from threading import Lock, Thread, get_ident
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython.display import display
from torch import nn

from ..maps.asked import warn
from . import export
from .atlas import CLOSED, Atlas, Part
from .display import COLORMAPS, MINUS, TWO_SIDED, Look, Which, keys, table
from .filler import Filler
from .inputs import Preprocess, prepare
from .sitter import METHODS

HERE = Path(__file__).parent
VIEWS = ("one", "compare", "overview", "ask")
LISTS = {"colormap": COLORMAPS, "opacity": ("heat", "constant"), "scale": ("own", "all")}
LISTS["view"] = VIEWS


class Refused(ValueError, traitlets.TraitError):
    """A choice that does not exist; everything stays as it was."""


def _choice(trait: traitlets.TraitType) -> traitlets.TraitType:
    """A trait that the page and Python share; what the page sends is not sent back to it."""
    return trait.tag(sync=True, echo_update=False, choice=True)


def _told(trait: traitlets.TraitType) -> traitlets.TraitType:
    """A trait by which Python tells the page something."""
    return trait.tag(sync=True, echo_update=False, told=True)


class Explorer(anywidget.AnyWidget):
    """Move through every map of some images: layer, class, method, image, at a slider's speed.

    Maps are computed on a private copy of the model, the first at once, the rest in the
    background, and answered in the browser from then on, whether the kernel is busy or gone.
    Shown is what the model sees: the preprocessed image with its normalisation undone. Of a model
    with more than 20 classes the ten highest of each image are offered; `explorer.target = 99`
    adds any other. Explorers of the same unchanged model share one copy of it; each keeps at most
    256 MiB of maps, computes at most 64 MiB before they are looked at, and lets all go by `close`.

    Args:
        model: gives scores (N, K), or one value per image, (N,), or an output with such `logits`;
            it is not touched. Or several, {"name": model, …}: a model slider. A softmax or sigmoid
            at its end is recognised, and the maps are those of the logits before it.
        images: one picture or up to 1,000: arrays (uint8 RGB or gray, and other depths, with
            opacity, channels first), tensors, PIL images, file names; a list or array of them,
            (picture, label) pairs, a batch, a data set. See `explorer.inputs.prepare`.
        class_names: one name per score; a list, {index: name} or {name: index}, or weights of
            torchvision; of several models, one for all or {model: names}. None takes the data
            set's, if it has any. One score with two names has two sides, and each can be asked for.
        layers: names (or modules) to offer; None chooses the steps that a person would name. Of
            several models, one list for all or {model: list}.
        preprocess: one picture → the model's float tensor (C, H, W), or weights of torchvision,
            which bring theirs; None divides by 255. It is given a PIL image, as torchvision's
            transforms expect, and where it does not take that, the array, or a tensor.
        masks: the true region of each image: (H, W), true inside; or as a picture or its file,
            black or transparent outside; or None for an image without one.
        labels: the true class of each image, its number or name, or None.
        methods: some of "Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM", "HiResCAM",
            "LayerCAM", "Grad-CAM++", "Eigen-CAM"; None offers those of the first four that suit
            the model. {"mine": f} adds a method of one's own beside them, with its difference to
            Grad-CAM: `f(model, image, layer, target)` gives a map (h, w).
        activation: what turns scores into the shares of the bars: "softmax", "sigmoid" (several
            classes may hold at once) or "none"; None goes by the model's ending, and takes a
            model without one for a classifier by softmax.
        **state: choices to begin with, as `state()` gives them: `layer="blocks.2"`, `alpha=0.3`, …

    Attributes:
        model_name, image_index, layer, target, method: the map that is shown.
        alpha, colormap, opacity ("heat": it follows the map; "constant"), scale ("own" or "all"
            maps of the picture), signed (both signs), threshold (share of the scale below which
            nothing shows), outline: how it is shown.
        atlas: what is computed of these models and images; see `explorer.atlas`.
        view, other: "one", "compare" (with the choices in `other`), "overview" or "ask".

    Raises:
        TypeError, ValueError: what does not fit, in a sentence.
    """

    _esm = (HERE / "explorer.js").read_text(encoding="utf-8")
    _css = (HERE / "explorer.css").read_text(encoding="utf-8")

    model_name = _choice(traitlets.Unicode())
    image_index = _choice(traitlets.Int(0))
    layer = _choice(traitlets.Unicode())
    target = _choice(traitlets.Int(0))
    method = _choice(traitlets.Unicode())
    alpha = _choice(traitlets.Float(0.5))
    colormap = _choice(traitlets.Unicode("inferno"))
    opacity = _choice(traitlets.Unicode("heat"))
    scale = _choice(traitlets.Unicode("own"))
    signed = _choice(traitlets.Bool(False))
    threshold = _choice(traitlets.Float(0.0))
    outline = _choice(traitlets.Bool(True))
    view = _choice(traitlets.Unicode("one"))
    other = _choice(traitlets.Dict())

    uid = _told(traitlets.Unicode())
    offer = _told(traitlets.Dict())
    extras = traitlets.List(traitlets.Int()).tag(sync=True, echo_update=False)
    progress = _told(traitlets.List(traitlets.Int(), [0, 0]))
    message = _told(traitlets.Unicode())

    _filler: Filler | None = None
    """None before there is anything to close"""

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        images: Any,
        class_names: Any = None,
        *,
        layers: Sequence[str | nn.Module] | Mapping[str, Any] | None = None,
        preprocess: Preprocess | None = None,
        masks: Sequence[np.ndarray | None] | None = None,
        labels: Sequence[int | str | None] | None = None,
        methods: Sequence[str] | Mapping[str, Any] | None = None,
        activation: str | None = None,
        **state: Any,
    ) -> None:
        self._open = False
        self._sending = Lock()
        self._asking = Lock()
        self._last_ask: dict[str, Any] = {}
        """by the view that asks"""
        self._sent: list[str] = []
        self._progressed_at = 0.0
        self._page_thread = 0
        self._pages = 0
        unknown = [name for name in state if name not in self._choices()]
        if unknown:
            raise TypeError(
                f"An Explorer has no {unknown[0]!r}; besides its arguments it takes the choices "
                f"{', '.join(self._choices())}."
            )
        if type(model) is nn.ModuleDict:
            model = dict(model.items())
        if isinstance(model, (list, tuple)) or type(model) is nn.ModuleList:
            raise TypeError("Several models need names: Explorer({'A': a, 'B': b}, images).")
        self._several = isinstance(model, Mapping)
        models = model if self._several else {type(model).__name__: model}
        models = _named({str(name).strip(): each for name, each in models.items()}, len(models))
        inputs = prepare(images, preprocess, masks, labels)
        self.atlas = Atlas(
            models,
            inputs,
            layers=layers,
            methods=methods,
            activation=activation,
            class_names=class_names,
        )
        self._call = export.call(
            model=self._several,
            class_names=class_names,
            layers=layers,
            preprocess=preprocess,
            masks=masks,
            labels=labels,
            methods=methods,
            activation=activation,
        )
        offer = self._offered()
        first = self._begin(offer, state)
        self._filler = Filler(self.atlas, self._deliver, self._progressed)
        for key in self._sent:
            self._filler.delivered(key)
        try:
            super().__init__(uid=uuid.uuid4().hex, offer=offer, **{**first, **state})
            if not self._is_offered():
                self.extras = [self.target]
            self.on_msg(self._heard)
            self.observe(self._look, [*self._choices()])
            self._open = True
            self._look_at()
        except BaseException:  # Ctrl-C, too, must leave no half of an Explorer
            self.close()
            raise

    # -- what is offered, and where to begin ------------------------------------------------------

    @classmethod
    def _choices(cls) -> list[str]:
        return list(cls.class_trait_names(choice=True))

    def _offered(self) -> dict[str, Any]:
        """The atlas's offer, the differences to a user's own methods, and the colour tables."""
        offer = dict(self.atlas.offer)
        offer["methods"] = {
            name: [
                *methods,
                *(f"{own}{MINUS}" for own in methods if own not in METHODS),
            ]
            if "Grad-CAM" in methods
            else list(methods)
            for name, methods in offer["methods"].items()
        }
        tables = {name: table(name).tobytes() for name in (*COLORMAPS, TWO_SIDED)}
        offer["tables"] = {name: base64.b64encode(t).decode() for name, t in tables.items()}
        offer["colormaps"] = list(COLORMAPS)
        offer["call"] = self._call
        return offer

    def _begin(self, offer: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """The first choice: the last layer, the first method, the picture's top class."""
        name = state.get("model_name", offer["models"][0])
        index = state.get("image_index", 0)
        if name not in offer["models"]:
            raise ValueError(_no_such("model_name", name, offer["models"]))
        if not isinstance(index, Integral) or not 0 <= index < offer["images"]:
            raise ValueError(_out_of("image_index", index, "images", offer["images"]))
        m = offer["models"].index(name)
        best = _top(self._fetch(f"scores/{m}/{index}"))
        first = {
            "model_name": name,
            "image_index": int(index),
            "layer": offer["layers"][name][-1],
            "target": best,
            "method": offer["methods"][name][0],
        }
        chosen = {**first, **{key: state[key] for key in first if key in state}}
        known = (
            chosen["method"] in offer["methods"][name]
            and isinstance(chosen["target"], Integral)
            and 0 <= chosen["target"] < offer["classes"][name]
        )
        target = int(chosen["target"]) if known else best
        which = Which(m, index, target, chosen["layer"], chosen["method"])
        for key in [f"picture/{index}", *(keys(which) if known else [])]:
            self._fetch(key)
        return first

    def _fetch(self, key: str) -> Part:
        """A part of the atlas, and a note that the page gets it with its first state."""
        part = self.atlas.part(key)
        if key not in self._sent:
            self._sent.append(key)
        return part

    # -- what is sent -----------------------------------------------------------------------------

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The traits; as a whole also every part that was sent and is still there."""
        state = super().get_state(key, drop_defaults)
        if key is None:
            self._pages += 1
            with self._sending:
                parts = [self.atlas.have(name) for name in self._sent]
            state |= {f"part_{k}": part.pack() for k, part in enumerate(parts) if part is not None}
            state["sent"] = len(parts)
        return state

    def _deliver(self, part: Part) -> None:
        """Send a part to the page, once."""
        with self._sending:
            if not self._open:
                return
            k = len(self._sent)
            self._sent.append(part.key)
            content = {"method": "update", "state": {"sent": k + 1}}
            self._send(content | {"buffer_paths": [[f"part_{k}"]]}, [part.pack()])
        self._filler.delivered(part.key)

    def _progressed(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._open and (done == total or now - self._progressed_at > 0.5):
            self._progressed_at = now
            self.progress = [done, total]

    # -- what is heard ----------------------------------------------------------------------------

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Choices from the page; one that does not exist is answered with those that hold.

        Others hear of them only where a second page has asked for the whole state.
        """
        told = self.trait_names(told=True)
        chosen = {key: value for key, value in sync_data.items() if key not in told}
        self._page_thread = get_ident()
        try:
            super().set_state(chosen)
            if self._pages > 1:
                self._send({"method": "echo_update", "state": chosen, "buffer_paths": []})
        except traitlets.TraitError as error:
            self.message = str(error)
            self.send_state(self._choices())
        finally:
            self._page_thread = 0

    def _heard(self, _: Any, content: Any, buffers: Sequence[Any]) -> None:
        """The page wants parts, or asks about a painted picture: answered on a thread."""
        if isinstance(content, dict) and ("want" in content or "ask" in content):
            if "ask" in content:
                self._last_ask[str(content.get("view"))] = content
            Thread(target=self._answer, args=(content, list(buffers)), daemon=True).start()

    def _answer(self, content: dict[str, Any], buffers: list[Any]) -> None:
        for key in _list(content.get("want")):
            try:
                part = self.atlas.part(str(key))
            except BaseException as error:  # a method of the user's may call exit()
                part = Part(str(key), {"key": str(key), "error": _sentence(error)})
            self._deliver(part)
        if "ask" not in content:
            return
        with self._asking:
            view = content.get("view")
            if self._last_ask[str(view)] is not content:  # painted on since
                return
            answer: dict[str, Any] = {"answer": content["ask"], "view": view}
            try:
                parts = self._asked(content, buffers)
            except BaseException as error:
                parts = []
                answer["error"] = _sentence(error)
        if self._open:
            self.send(answer, [part.pack() for part in parts])

    def _asked(self, content: dict[str, Any], buffers: list[Any]) -> list[Part]:
        m, i = content.get("model"), content.get("image")
        if m not in range(len(self.offer["models"])) or i not in range(self.offer["images"]):
            raise ValueError("There is no such model or picture.")
        height, width = self.atlas.part(f"picture/{i}").header["size"]
        data = np.frombuffer(buffers[0] if buffers else b"", np.uint8)
        if data.size != height * width * 3:
            raise ValueError(f"The painted picture must hold {height} × {width} RGB pixels.")
        shown = [str(key) for key in _list(content.get("shown"))]
        classes = self.offer["classes"][self.offer["models"][m]]
        extras = [c for c in self.extras if c < classes]
        return self.atlas.ask(m, i, data.reshape(height, width, 3), shown, extras)

    # -- choices ----------------------------------------------------------------------------------

    @traitlets.validate("colormap", "opacity", "scale", "view")
    def _one_of(self, proposal: Any) -> str:
        name = proposal.trait.name
        if proposal.value not in LISTS[name]:
            raise Refused(_no_such(name, proposal.value, LISTS[name]))
        return proposal.value

    @traitlets.validate("model_name")
    def _a_model(self, proposal: Any) -> str:
        if proposal.value not in self.offer["models"]:
            raise Refused(_no_such("model_name", proposal.value, self.offer["models"]))
        return proposal.value

    @traitlets.validate("layer", "method")
    def _known(self, proposal: Any) -> str:
        name = proposal.trait.name
        known = self.offer[f"{name}s"][self.model_name]
        if proposal.value not in known:
            note = self.offer["note"] if name == "method" else ""
            raise Refused(f"{_no_such(name, proposal.value, known)} {note}".strip())
        return proposal.value

    @traitlets.validate("target")
    def _a_class(self, proposal: Any) -> int:
        count = self.offer["classes"][self.model_name]
        if not 0 <= proposal.value < count:
            raise Refused(_out_of("target", proposal.value, "classes", count))
        return int(proposal.value)

    @traitlets.validate("image_index")
    def _an_image(self, proposal: Any) -> int:
        if not 0 <= proposal.value < self.offer["images"]:
            raise Refused(_out_of("image_index", proposal.value, "images", self.offer["images"]))
        return int(proposal.value)

    @traitlets.validate("alpha", "threshold")
    def _a_share(self, proposal: Any) -> float:
        if not 0 <= proposal.value <= 1:
            raise Refused(f"{proposal.trait.name} must lie between 0 and 1, not {proposal.value}.")
        return float(proposal.value)

    @traitlets.validate("other")
    def _a_second_choice(self, proposal: Any) -> dict[str, Any]:
        """Each of its choices must be one of some model's; the page settles those of another."""
        offer, most = self.offer, max(self.offer["classes"].values())
        known = {
            "model_name": offer["models"],
            "layer": _united(offer["layers"]),
            "target": range(most),
            "method": _united(offer["methods"]),
        }
        for key, value in proposal.value.items():
            if key not in known:
                raise Refused(f"other may hold {', '.join(known)}, not {key!r}.")
            if value not in known[key]:
                is_class = key == "target"
                says = _out_of(key, value, "classes", most) if is_class else None
                raise Refused(f"other: {says or _no_such(key, value, known[key])}")
        return dict(proposal.value)

    @traitlets.validate("extras")
    def _classes(self, proposal: Any) -> list[int]:
        most = max(self.offer["classes"].values())
        for c in proposal.value:
            if c not in range(most):
                raise Refused(_out_of("extras", c, "classes", most))
        return proposal.value

    def notify_change(self, change: Any) -> None:
        """Tell of a change; of another model once what it has not is settled.

        So nobody who is told, as an observer or a link, meets the layer of one model with another.
        """
        settled = self._settled() if change.name == "model_name" and self.offer else {}
        if not settled:
            super().notify_change(change)
            return
        with self.hold_sync(), self.hold_trait_notifications():
            self.notify_change(change)
            for name, value in settled.items():
                setattr(self, name, value)

    def _settled(self) -> dict[str, Any]:
        """The choices that have to follow as the model is another one; as in front/core.js."""
        offer, name = self.offer, self.model_name
        changes: dict[str, Any] = {}
        if self.layer not in offer["layers"][name]:
            changes["layer"] = offer["layers"][name][-1]
        if self.method not in offer["methods"][name]:
            changes["method"] = offer["methods"][name][0]
        if self.target >= offer["classes"][name]:
            changes["target"] = 0
        return changes

    @traitlets.observe("model_name", "image_index", "target")
    def _settle_class(self, change: Any) -> None:
        """Of many classes: what has to follow a choice made in Python; the page settles its own."""
        if not self._open or self._page_thread == get_ident() or self._is_offered():
            return
        if change.name == "target":
            self.extras = [*self.extras, self.target]
        else:
            self.target = _top(self._scores())

    def _scores(self) -> Part:
        return self.atlas.part(f"scores/{self._m}/{self.image_index}")

    def _is_offered(self) -> bool:
        """Whether the page has the class among those of the picture."""
        few = self.offer["few"][self.model_name]
        return few or self.target in [*self._scores().header["classes"], *self.extras]

    def _look(self, change: Any) -> None:
        if not self._open:
            warn(CLOSED)
            return
        self.message = ""
        if change.name in ("model_name", "image_index", "target", "method"):
            self._look_at()

    def _look_at(self) -> None:
        self._filler.look_at(self._m, self.image_index, self.target, self.method)

    @property
    def _m(self) -> int:
        return self.offer["models"].index(self.model_name)

    def state(self) -> dict[str, Any]:
        """The present choices, to be given back as keyword arguments: `Explorer(…, **state)`."""
        choices = {name: getattr(self, name) for name in self._choices()}
        return choices | {"other": dict(self.other)}

    # -- what leaves ------------------------------------------------------------------------------

    def to_html(self, path: str | Path, title: str | None = None) -> Path:
        """Write one HTML file that works alone: no kernel, no network, the same pixels.

        Args:
            path: where to.
            title: the page's; None names the models.
        """
        models = self.offer["models"]
        usual = f"What {' and '.join(models)} {'look' if len(models) > 1 else 'looks'} at"
        title = str(title or "").strip() or usual
        return export.write_html(path, self, self.atlas, title)

    def to_png(self, path: str | Path) -> Path:
        """Write the present picture, with its scale and its caption."""
        path = Path(path)
        path.write_bytes(self.still().png)
        return path

    def code(self) -> str:
        """The shortest Python that gives the present picture."""
        name = self.model_name
        first = {
            "model_name": self.offer["models"][0],
            "image_index": 0,
            "layer": self.offer["layers"][name][-1],
            "target": _top(self._scores()) if self._open else None,
            "method": self.offer["methods"][name][0],
        }
        return export.code(self._call, self.state(), first)

    def close(self) -> None:
        """Let the model's copy and everything shown go. An Explorer may be closed twice."""
        if self._filler is None:
            return
        with self._sending:
            self._open = False
        try:
            self._filler.close()
        finally:
            self.atlas.close()
            self.layout.close()
            super().close()

    def still(self) -> export.Still:
        """The present picture without a browser: its PNG and its caption."""
        which = Which(self._m, self.image_index, self.target, self.layer, self.method, self.signed)
        look = Look(self.colormap, self.alpha, self.opacity, self.threshold)
        return export.still(
            self.atlas,
            which,
            look,
            scale=self.scale,
            outline=self.outline,
            offer=self.offer,
            model=self.model_name if self._several else "",
        )

    def _ipython_display_(self, **kwargs: Any) -> None:
        """The widget; and under it, hidden by the living widget, a picture for dead pages."""
        if not self._open:
            display({"text/plain": f"{self!r}\n{CLOSED}"}, raw=True)
            return
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        kind = "application/vnd.jupyter.widget-view+json"
        display({"text/plain": repr(self), kind: view}, raw=True)
        display({"text/plain": "", "text/html": self._repr_html_()}, raw=True)

    def _repr_html_(self) -> str:
        still = self.still()
        data = base64.b64encode(still.png).decode()
        return (
            f'<figure class="cw-still" style="margin: 0"><img alt="{html.escape(still.caption)}" '
            f'src="data:image/png;base64,{data}" style="max-width: 100%"></figure>'
        )

    def __repr__(self) -> str:
        offer = self.offer

        def some(count: int, one: str, many: str) -> str:
            return f"{count} {one if count == 1 else many}"

        name = self.model_name
        what = ", ".join(offer["models"])
        return (
            f"Explorer({what}, {some(offer['images'], 'image', 'images')}, "
            f"{some(len(offer['layers'][name]), 'layer', 'layers')}, "
            f"{some(offer['classes'][name], 'class', 'classes')}; layer={self.layer!r}, "
            f"target={offer['names'][name][self.target]!r}, method={self.method!r}, "
            f"alpha={self.alpha:g}{'' if self._open else '; closed'})"
        )

    @property
    def model_id(self) -> str:
        """By this a box, or a page, finds the widget."""
        if self.comm is None:
            raise ValueError(CLOSED)
        return super().model_id

    def __reduce_ex__(self, *_: Any) -> Any:
        raise TypeError(
            "An Explorer cannot be copied or pickled: keep explorer.state(), and build another one "
            "as Explorer(model, images, **state)."
        )

    __copy__ = __deepcopy__ = __reduce_ex__


def _list(thing: Any) -> list[Any]:
    """What the page sent as a list; of nonsense nothing."""
    return thing if isinstance(thing, list) else []


def _named(models: dict[str, Any], count: int) -> dict[str, Any]:
    if not models:
        raise ValueError("model is empty: give at least one model.")
    if len(models) < count or "" in models:
        raise ValueError("Each of several models needs a name of its own, which is not empty.")
    return models


def _united(lists: Mapping[str, Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in lists.values() for name in names))


def _top(scores: Part) -> int:
    """The class with the highest score."""
    return scores.header["classes"][int(np.argmax(scores.header["scores"]))]


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _no_such(name: str, value: Any, known: Sequence[str]) -> str:
    return f"There is no {name} {value!r} here; there is {', '.join(map(repr, known))}."


def _out_of(name: str, value: Any, what: str, count: int) -> str:
    return f"{name} {value} is not among the {what} 0 to {count - 1}."
