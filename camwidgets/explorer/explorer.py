"""The Explorer: sliders over the atlas of some images."""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets
from torch import nn

from . import export
from .inputs import Preprocess, prepare
from .old_atlas import Atlas
from .view import COLORMAPS, View, colour_tables

AT_ONCE_BYTES = 8_000_000
AT_ONCE_SECONDS = 15.0
_with_a_model: deque[Atlas] = deque()
MODELS_KEPT = 3


class Explorer(widgets.VBox):
    """Move through every map of some images: layer, class, method, image, at a slider's speed.

    The maps are computed once, on a private copy of the model, and answered in the browser from
    then on. Shown is what the model sees: the preprocessed image with its normalisation undone.
    Scores are the model's raw outputs; the bars show their softmax. Guided methods are shown as
    the largest magnitude among the channels. Of a model with more than 20 classes the ten highest
    of each image are offered; `explorer.target = 99` adds any other.

    Args:
        model: a CNN that gives scores (N, K), or one value per image, (N,); left untouched.
        images: uint8 (H, W, 3) RGB or (H, W) gray arrays: one, a list, or an array of them.
        class_names: one name per score.
        layers: names (or modules) to offer; None chooses those at which a step is complete.
        preprocess: one image → the model's float tensor (C, H, W); None divides by 255. Where it
            does not take an array, it is given a PIL image, as torchvision's transforms expect.
        masks: the true region of each image, bool (H, W), or None for an image without one.
        methods: some of "Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM"; None offers
            all that suit the model.

    Attributes:
        layer, target, method, colormap, alpha, image_index: the present choice, to read or set.
        layer_slider, class_slider, method_dropdown, colormap_dropdown, alpha_slider,
            image_slider: their controls.

    Raises:
        TypeError, ValueError: what does not fit, in a sentence.
    """

    layer = traitlets.Unicode()
    target = traitlets.Int()
    method = traitlets.Unicode()
    colormap = traitlets.Unicode("inferno")
    alpha = traitlets.Float(0.5)
    image_index = traitlets.Int(0)
    _open = False
    _offering = False

    def __init__(
        self,
        model: nn.Module,
        images: Any,
        class_names: Sequence[str] | None = None,
        *,
        layers: Sequence[str | nn.Module] | None = None,
        preprocess: Preprocess | None = None,
        masks: Sequence[np.ndarray | None] | None = None,
        methods: Sequence[str] | None = None,
    ) -> None:
        self._atlas = Atlas(model, prepare(images, preprocess, masks), layers, methods)
        self._name_of_model = type(model).__name__
        self._names = _names(class_names, self._atlas)
        self._extras: list[int] = []
        self._compute_first()

        self._view = View(len(self._atlas.pages))
        self._make_controls()
        page = self._atlas.page(0)
        best = max(page.top, key=lambda c: page.maps[c].score)
        super().__init__(
            [self._view, self._controls_box()],
            layer=self._atlas.layers[-1],
            target=best,
            method=self._atlas.methods[0],
        )
        self.add_class("cw-explorer")
        self._send_atlas()
        self._connect()
        self._open = True

    # -- what is computed ---------------------------------------------------------------------

    def _compute_first(self) -> None:
        """All pages, or as many as are quick and small; the rest when they are asked for."""
        atlas, start, size = self._atlas, time.monotonic(), 0
        for index in range(len(atlas.pages)):
            size += len(atlas.page(index).pack())
            if size > AT_ONCE_BYTES or time.monotonic() - start > AT_ONCE_SECONDS:
                break
        if atlas.model is not None:
            _with_a_model.append(atlas)
        while len(_with_a_model) > MODELS_KEPT:
            _with_a_model.popleft().release()

    def _send_atlas(self) -> None:
        """Everything that the browser draws from."""
        atlas = self._atlas
        with self._view.hold_sync():
            self._view.info = {
                "images": len(atlas.pages),
                "layers": atlas.layers,
                "methods": atlas.methods,
                "names": self._names,
                "few": atlas.few,
                "extras": list(self._extras),
                "scoreName": atlas.score_name,
                "tables": colour_tables(),
                "note": atlas.note,
            }
            for index, page in enumerate(atlas.pages):
                if page is not None:
                    self._view.set_trait(f"page_{index}", page.pack())

    def _page(self, also: Sequence[int] = ()) -> Any:
        """The present image's page; computed and sent to the browser if that is not done yet."""
        index = self.image_index
        before = self._atlas.pages[index]
        try:
            page = self._atlas.page(index, also)
            self._view.message = ""
        except Exception as error:
            self._view.message = str(error)
            raise
        if page is not before:
            self._view.set_trait(f"page_{index}", page.pack())
        return page

    # -- controls -----------------------------------------------------------------------------

    def _make_controls(self) -> None:
        def style(name: str) -> dict[str, Any]:
            return {
                "description": name,
                "style": {"description_width": "3.6rem"},
                "layout": {"width": "auto", "margin": "2px 0"},
            }

        atlas = self._atlas
        self.layer_slider = widgets.SelectionSlider(
            options=atlas.layers, index=len(atlas.layers) - 1, **style("layer")
        )
        self.class_slider = widgets.SelectionSlider(options=self._options(), **style("class"))
        self.alpha_slider = widgets.FloatSlider(0.5, min=0, max=1, step=0.05, **style("alpha"))
        self.image_slider = widgets.IntSlider(0, min=0, max=len(atlas.pages) - 1, **style("image"))
        self.method_dropdown = widgets.Dropdown(options=atlas.methods, **style("method"))
        self.colormap_dropdown = widgets.Dropdown(options=COLORMAPS, **style("colours"))

    def _controls_box(self) -> widgets.Box:
        """Two columns, under the picture and under the bars; what offers no choice is left out."""
        single = {
            self.layer_slider: len(self._atlas.layers) == 1,
            self.class_slider: self._atlas.classes == 1,
            self.image_slider: len(self._atlas.pages) == 1,
            self.method_dropdown: len(self._atlas.methods) == 1,
        }
        columns = (
            (self.layer_slider, self.class_slider, self.image_slider),
            (self.method_dropdown, self.alpha_slider, self.colormap_dropdown),
        )
        box = widgets.Box(
            [widgets.VBox([c for c in column if not single.get(c)]) for column in columns]
        )
        box.add_class("cw-controls")
        return box

    def _connect(self) -> None:
        """Traits ↔ sliders here, sliders ↔ picture in the browser."""
        self._links = [
            traitlets.link((self, "layer"), (self.layer_slider, "value")),
            traitlets.link((self, "method"), (self.method_dropdown, "value")),
            traitlets.link((self, "colormap"), (self.colormap_dropdown, "value")),
            traitlets.link((self, "alpha"), (self.alpha_slider, "value")),
            traitlets.link((self, "image_index"), (self.image_slider, "value")),
        ]
        self._choose_class()
        self.observe(self._choose_image, "image_index")
        self.observe(self._choose_class, "target")
        self.class_slider.observe(self._class_slid, "index")
        self._linked = [
            (self.layer_slider, "index", "layer"),
            (self.class_slider, "index", "rank"),
            (self.method_dropdown, "index", "method"),
            (self.colormap_dropdown, "index", "colormap"),
            (self.alpha_slider, "value", "alpha"),
            (self.image_slider, "value", "image"),
        ]
        if not self._atlas.few:
            self._linked.append((self.class_slider, "_options_labels", "labels"))
        for slider, there, here in self._linked:
            setattr(self._view, here, getattr(slider, there))
            self._links.append(widgets.jslink((slider, there), (self._view, here)))

    def _classes(self) -> list[int]:
        """The classes that the class slider offers for the present image, by rank."""
        page = self._atlas.pages[self.image_index]
        return [*page.top, *self._extras]

    def _options(self) -> list[tuple[str, int]]:
        return [(self._names[c], c) for c in self._classes()]

    def _choose_image(self, change: Any) -> None:
        """Another image keeps the class or, where classes are ranked, the rank."""
        self._page(self._extras)
        self._offer(self.class_slider.index)

    def _choose_class(self, change: Any = None) -> None:
        """After `target` was set: move the slider there, offering the class if it is a new one."""
        if self.class_slider.value == self.target:
            return
        if self.target not in self._classes():
            self._extras.append(self.target)
            self._page(self._extras)
            self._view.info = {**self._view.info, "extras": list(self._extras)}
        self._offer(self._classes().index(self.target))

    def _class_slid(self, change: Any) -> None:
        if not self._offering:
            self.target = self._classes()[self.class_slider.index]

    def _offer(self, rank: int) -> None:
        """The present image's classes on the class slider, which stands at `rank`."""
        options = self._options()
        self._offering = True
        try:
            if list(self.class_slider.options) != options:
                self.class_slider.options = options
            self.class_slider.index = rank  # after the options: the browser clamps to what it has
        finally:
            self._offering = False
        self.target = options[rank][1]

    # -- what may be set ----------------------------------------------------------------------

    @traitlets.validate("layer", "method", "colormap")
    def _known(self, proposal: Any) -> str:
        name = proposal.trait.name
        known = {
            "layer": self._atlas.layers,
            "method": self._atlas.methods,
            "colormap": COLORMAPS,
        }[name]
        if proposal.value not in known:
            raise ValueError(
                f"There is no {name} {proposal.value!r} here; there is "
                f"{', '.join(map(repr, known))}. {self._atlas.note if name == 'method' else ''}"
            )
        return proposal.value

    @traitlets.validate("target")
    def _a_class(self, proposal: Any) -> int:
        if not 0 <= proposal.value < self._atlas.classes:
            raise ValueError(
                f"target {proposal.value} is not among the classes 0 to {self._atlas.classes - 1}."
            )
        return proposal.value

    @traitlets.validate("alpha")
    def _a_share(self, proposal: Any) -> float:
        if not 0 <= proposal.value <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {proposal.value}.")
        return proposal.value

    @traitlets.validate("image_index")
    def _an_image(self, proposal: Any) -> int:
        if not 0 <= proposal.value < len(self._atlas.pages):
            raise ValueError(
                f"image_index {proposal.value} is not among the images 0 to "
                f"{len(self._atlas.pages) - 1}."
            )
        return proposal.value

    # -- what leaves --------------------------------------------------------------------------

    def to_html(self, path: str | Path) -> Path:
        """Write one HTML file that works alone: no kernel, no network, the same pixels."""
        for index in range(len(self._atlas.pages)):
            self._atlas.page(index, self._extras)
        self._send_atlas()
        choice = {here: getattr(slider, there) for slider, there, here in self._linked}
        return export.write_html(path, self._view, choice, repr(self))

    def to_png(self, path: str | Path) -> Path:
        """Write the present picture, with its scale and its caption."""
        path = Path(path)
        path.write_bytes(self._png())
        return path

    def close(self) -> None:
        """Let the model's copy and everything shown go. An Explorer may be closed twice."""
        if not self._open:
            return
        self._open = False
        self._atlas.release()
        if self._atlas in _with_a_model:
            _with_a_model.remove(self._atlas)
        for link in self._links:
            link.unlink()
        self._links = []
        box = self.children[-1]
        controls = [slider for slider, _, _ in self._linked]
        for part in (self._view, *controls, *box.children, box):
            for piece in (part.layout, getattr(part, "style", None), part):
                if piece is not None:
                    piece.close()
        self.layout.close()
        super().close()

    def _png(self) -> bytes:
        atlas = self._atlas
        page = self._page([self.target])
        maps = page.maps[self.target]
        heat = page.heat(self.method, atlas.layers.index(self.layer), self.target)
        line = export.caption(
            method=self.method,
            layer=self.layer,
            name=self._names[self.target],
            score=maps.score,
            score_name=atlas.score_name,
            heat=heat,
            size=page.picture.shape[:2],
            mask=page.mask,
        )
        return export.png(page.picture, heat, page.mask, self.alpha, self.colormap, line)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {
            "text/plain": repr(self),
            "image/png": base64.b64encode(self._png()).decode(),
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            },
        }

    def __repr__(self) -> str:
        atlas = self._atlas

        def some(count: int, one: str, many: str) -> str:
            return f"{count} {one if count == 1 else many}"

        return (
            f"Explorer({self._name_of_model}, {some(len(atlas.pages), 'image', 'images')}, "
            f"{some(len(atlas.layers), 'layer', 'layers')}, "
            f"{some(atlas.classes, 'class', 'classes')}; layer={self.layer!r}, "
            f"target={self._names[self.target]!r}, method={self.method!r}, alpha={self.alpha:g})"
        )


def _names(class_names: Sequence[str] | None, atlas: Atlas) -> list[str]:
    if class_names is None:
        one = atlas.classes == 1
        return ["output"] if one else [f"class {c}" for c in range(atlas.classes)]
    if isinstance(class_names, str) or len(class_names) != atlas.classes:
        raise ValueError(
            f"class_names must hold {atlas.classes} names, one per score of the model; it holds "
            f"{1 if isinstance(class_names, str) else len(class_names)}."
        )
    return [str(name) for name in class_names]
