"""The atlas of an image: the maps of every layer and class, from one forward pass.

The gradient at every layer comes from one backward pass per class (`Recording.gradients`), guided
backpropagation from one more. Maps are kept as people look at them: ReLU applied, at their own
resolution, as bytes from 0 to 255 with the value that 255 stands for.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..maps import cam_of, guided_backprop_of, record, run, trace, upsample
from ..maps.targets import scores
from .inputs import Inputs
from .stops import stops

METHODS = ("Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM")
FEW = 20
"""up to so many classes, each has its maps at once"""
TOP = 10
"""of more classes, each image's first so many"""


@dataclass(frozen=True)
class Heat:
    """A map's positive part: `values` · `peak` / 255."""

    values: np.ndarray
    """uint8 (h, w)"""
    peak: float

    @classmethod
    def of(cls, heat: Tensor) -> Heat:
        """From a float map (h, w)."""
        heat = heat.detach().clamp(min=0).float().cpu()
        peak = float(heat.max())
        share = 255 * heat / peak if peak > 0 else heat
        return cls(share.round().byte().numpy(), peak)

    def raw(self) -> Tensor:
        """The values in the method's own units, float32 (h, w)."""
        return torch.from_numpy(self.values).float() * (self.peak / 255)


@dataclass(frozen=True)
class ClassMaps:
    """All maps of one class of one image."""

    score: float
    probability: float | None
    grad_cam: list[Heat]
    """one per layer"""
    cam: Heat | None
    guided: Heat | None
    """the largest magnitude among the channels, at the image's resolution"""


@dataclass
class Page:
    """What the atlas holds of one image."""

    picture: np.ndarray
    mask: np.ndarray | None
    top: list[int]
    """the classes offered for this image: all in their order, or the highest first"""
    maps: dict[int, ClassMaps] = field(default_factory=dict)

    def heat(self, method: str, layer: int, target: int) -> np.ndarray:
        """One map in the method's own units, float32 (h, w).

        Guided backpropagation is shown as the largest magnitude among the channels. As Grad-CAM
        is the same for all channels, guided Grad-CAM's is their product.
        """
        maps = self.maps[target]
        if method == "Grad-CAM":
            return maps.grad_cam[layer].raw().numpy()
        if method == "CAM":
            return maps.cam.raw().numpy()
        guided = maps.guided.raw()
        if method == "guided Grad-CAM":
            guided = guided * upsample(maps.grad_cam[layer].raw(), tuple(guided.shape))
        return guided.numpy()

    def pack(self) -> bytes:
        """The page as the browser gets it.

        The length of a JSON header (4 bytes, little endian), the header, then bytes in this
        order: the picture (H, W, 3), the mask (H, W) if there is one, and for each class of the
        header its Grad-CAM maps by layer, its CAM and its guided backpropagation, where given.
        """
        every = list(self.maps.values())
        heats = [h for m in every for h in (*m.grad_cam, m.cam, m.guided) if h is not None]
        header = {
            "size": self.picture.shape[:2],
            "mask": self.mask is not None,
            "top": self.top,
            "classes": list(self.maps),
            "scores": [m.score for m in every],
            "probabilities": [m.probability for m in every],
            "heats": [
                {
                    "gradCam": [[*h.values.shape, h.peak] for h in m.grad_cam],
                    "cam": m.cam and [*m.cam.values.shape, m.cam.peak],
                    "guided": m.guided and [*m.guided.values.shape, m.guided.peak],
                }
                for m in every
            ],
        }
        text = json.dumps(header).encode()
        mask = b"" if self.mask is None else self.mask.astype(np.uint8).tobytes()
        body = b"".join(h.values.tobytes() for h in heats)
        return len(text).to_bytes(4, "little") + text + self.picture.tobytes() + mask + body


class Atlas:
    """The pages of some images, computed on a private copy of the model."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        layers: Sequence[str | nn.Module] | None = None,
        methods: Sequence[str] | None = None,
    ) -> None:
        self._lock = Lock()
        items = [inputs.item(k) for k in range(len(inputs))]
        self._inputs = SimpleNamespace(
            tensors=[each.tensor for each in items],
            pictures=[each.picture for each in items],
            masks=[each.mask for each in items],
        )
        inputs = self._inputs
        self.pages: list[Page | None] = [None] * len(items)
        self.note = ""
        self.model, first = _private(model, inputs.tensors[0])
        output = _output(self.model, first)
        self.classes = 1 if output.dim() == 1 else output.shape[1]
        self.score_name = _score_name(output)
        if layers is None:
            traced = trace(self.model, first)
            names: Sequence[Any] = stops(traced.calls, traced.output)
        else:
            own = {module: name for name, module in model.named_modules()}
            names = [own.get(x, x) if isinstance(x, nn.Module) else x for x in layers]
        if not names:
            raise ValueError(
                "No layer of this model gives a feature map (N, K, h, w) larger than 1×1, so there "
                "is nothing to show."
                if layers is None
                else "layers is empty: name at least one, or leave it out."
            )
        self.layers = list(record(self.model, first, names).features)
        self.methods = self._suitable(first, methods)

    @property
    def few(self) -> bool:
        """Whether every class has its maps from the start."""
        return self.classes <= FEW

    def page(self, index: int, also: Iterable[int] = ()) -> Page:
        """The page of one image, with the classes in `also`; computes what is missing.

        Once nothing can be missing any more, the copy of the model is let go.

        Raises:
            ValueError: a score is not finite, or the private model is gone.
        """
        with self._lock:
            page = self.pages[index]
            if page is None or not page.maps.keys() >= set(also):
                page = self.pages[index] = self._compute(index, page, also)
            if self.few and all(self.pages):
                self._let_go()
            return page

    def release(self) -> None:
        """Let the private copy of the model go. The pages stay; new ones cannot be computed."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self.model = None
        self._inputs.tensors.clear()

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
                cam_of(record(self.model, x))
            except ValueError as error:
                reasons["CAM"] = str(error)
        if any(name.startswith("guided") for name in wanted):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    guided_backprop_of(record(self.model, x, [], pixels=True))
            except ValueError as error:
                found = str(error).partition("found: ")[2].partition(")")[0]
                reason = f"The guided methods are left out: the model calls no ReLU ({found})."
                reasons |= dict.fromkeys(METHODS[2:], reason)
                self.note = reason
        for name in asked or ():
            if name in reasons:
                raise ValueError(reasons[name])
        return [name for name in wanted if name not in reasons]

    def _compute(self, index: int, page: Page | None, also: Iterable[int]) -> Page:
        if self.model is None:
            raise ValueError(
                "This needs the model, whose copy this Explorer has let go: build it again."
            )
        x = _like_model(self.model, self._inputs.tensors[index][None])
        recording = record(self.model, x, self.layers)
        output = recording.output.detach()
        scores(recording.output, None)
        if page is None:
            k = self.classes
            order = output[0].argsort(descending=True).tolist() if not self.few else range(k)
            picture, mask = self._inputs.pictures[index], self._inputs.masks[index]
            page = Page(picture, mask, list(order)[:TOP] if not self.few else list(order))
        missing = [c for c in dict.fromkeys([*page.top, *also]) if c not in page.maps]
        cams = self._cams(x, missing)
        guided = self._guided(x, missing)
        probability = output[0].softmax(0) if self.score_name == "logit" else None
        maps = dict(page.maps)
        for c in missing:
            target = None if output.dim() == 1 else c
            heats = []
            if any(name.endswith("Grad-CAM") for name in self.methods):
                gradients = recording.gradients(target)
                for name, A in recording.features.items():
                    alpha = gradients[name].mean(dim=(2, 3))
                    heats.append(Heat.of(torch.einsum("nk,nkij->ij", alpha, A.detach())))
            score = float(output[0] if output.dim() == 1 else output[0, c])
            p = None if probability is None else float(probability[c])
            maps[c] = ClassMaps(score, p, heats, cams.get(c), guided.get(c))
        return Page(page.picture, page.mask, page.top, maps)

    def _cams(self, x: Tensor, classes: list[int]) -> dict[int, Heat]:
        if "CAM" not in self.methods:
            return {}
        recording = record(self.model, x)
        return {c: Heat.of(cam_of(recording, c)[0]) for c in classes}

    def _guided(self, x: Tensor, classes: list[int]) -> dict[int, Heat]:
        if not any(name.startswith("guided") for name in self.methods):
            return {}
        recording = record(self.model, x, [], pixels=True)
        heats = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for c in classes:
                target = None if recording.output.dim() == 1 else c
                gradient = guided_backprop_of(recording, target)
                heats[c] = Heat.of(gradient[0].abs().amax(dim=0))
        return heats


def _private(model: nn.Module, tensor: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy of the model in eval mode, and one image as it takes it, (1, C, H, W)."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}.")
    try:
        own = copy.deepcopy(model).eval()
    except Exception as error:
        raise ValueError(
            f"The Explorer works on a copy of the model, and this one cannot be copied: {error}"
        ) from error
    for parameter in own.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    return own, _like_model(own, tensor[None])


def _like_model(model: nn.Module, x: Tensor) -> Tensor:
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    return x if weight is None else x.to(weight)


def _output(model: nn.Module, x: Tensor) -> Tensor:
    """What the model gives for an image, checked to be one row of scores."""
    try:
        output = run(model, x)
    except Exception as error:
        if isinstance(error, TypeError):
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{reason}. `preprocess` must turn one picture into the tensor (C, H, W) that the "
            "model expects."
        ) from error
    if not isinstance(output, Tensor) or output.dim() not in (1, 2) or len(output) != len(x):
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
    if not torch.isfinite(output).all():
        raise ValueError(
            "The model's output is NaN or infinite: look for NaN in its weights; a training that "
            "diverged leaves them."
        )
    return output


def _score_name(output: Tensor) -> str:
    """What to call a score: a softmax at the model's end has made probabilities of logits."""
    if output.dim() == 1 or output.shape[1] == 1:
        return "output"
    one = torch.ones(len(output)).to(output)
    if (output >= 0).all() and torch.allclose(output.sum(dim=1), one, atol=1e-3):
        return "probability"
    return "logit"
