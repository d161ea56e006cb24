"""Maps while a network is being trained: the same pictures, class and scale after each epoch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from .maps import grad_cam, stand_in
from .pictures import Picture, _blend, _picture, _resized, _share, heat_grid

FRAMES = 8
LARGE = 50_000_000
STRIP = 20
"""Rows of pixels under each frame of a GIF, for its caption."""


class MapsEachEpoch:
    """Grad-CAM of fixed pictures after each epoch, for a film of how a network learns to look.

    Call it after each epoch: `film(epoch, model)` in a loop of your own,
    `fit(…, callbacks=[film])` in the course, `Trainer(callbacks=[film.lightning()])` in Lightning,
    `model.fit(…, callbacks=[film.keras()])` in Keras.
    Then `film.strip()` and `film.gif(path)` show the maps on one scale over all epochs, and
    `Explorer(film.models, pictures)` has a slider for the epoch. What it cost is told by
    `film.cost`. The model and the training are not touched; the maps are those of eval mode.

    Args:
        images: float (N, C, H, W), as the model takes them; not of the training set, if you can.
        target: the class, one per image, or a function of the model's output, as in `grad_cam`.
            It stays the same over all epochs: not None, which would follow the top class.
        pictures: the same images as people look at them, uint8 (H, W, 3) or (H, W); by default the
            images themselves, if they lie in [0, 1].
        layer: as in `grad_cam`; None takes the default layer.
        models: keep a copy of the model after each epoch, for the Explorer. Without it only the
            maps are kept.

    Attributes:
        epochs: their numbers, from 1 (0 is before the training).
        maps: for each epoch float (N, h, w), as `grad_cam` gives them.
        models: {"epoch 1": model, …}, in eval mode, on the CPU.
        seconds: what all calls took together.
    """

    def __init__(
        self,
        images: Tensor,
        target: Any,
        *,
        pictures: Sequence[np.ndarray] | None = None,
        layer: str | None = None,
        models: bool = True,
    ) -> None:
        if target is None:
            raise ValueError(
                "target must be fixed, or the film would show another class in each epoch: give a "
                "class, one per image, or a function of the model's output."
            )
        self._images = images.detach().clone()
        self._pictures = [_picture(p) for p in (_as_seen(images) if pictures is None else pictures)]
        if len(self._pictures) != len(images):
            raise ValueError(
                f"pictures must be the {len(images)} images as people look at them, not "
                f"{len(self._pictures)} of them."
            )
        heights = sorted({len(picture) for picture in self._pictures})
        if len(heights) > 1:
            raise ValueError(
                f"pictures stand side by side in the film: give them one height, not {heights}."
            )
        self._target, self._layer, self._keep = target, layer, models
        self.epochs: list[int] = []
        self.maps: list[Tensor] = []
        self.models: dict[str, nn.Module] = {}
        self.seconds = 0.0

    def __call__(self, epoch: int, model: nn.Module, history: object = None) -> None:
        """Take the maps of one epoch.

        Args:
            epoch: counted from 0, as `range` and `fit` do; -1 is before the training. Taken again,
                an epoch replaces itself and all after it: a training that was started over.
            model: as it is now.
            history: what `fit` hands to its callbacks; not used.
        """
        start = time.perf_counter()
        while self.epochs and self.epochs[-1] > epoch:
            self.models.pop(_name(self.epochs.pop()), None)
            self.maps.pop()
        where = next(model.parameters(), self._images).device
        found = grad_cam(model, self._images.to(where), self._layer, self._target)
        self.epochs.append(epoch + 1)
        self.maps.append(found.cpu())
        if self._keep:
            if len(self.epochs) == 1 and _bytes(model) > LARGE:
                warnings.warn(
                    f"Each epoch keeps a copy of the model, {_bytes(model) / 1e6:.0f} MB; "
                    "MapsEachEpoch(…, models=False) keeps the maps alone.",
                    stacklevel=2,
                )
            self.models[_name(epoch + 1)] = stand_in(model, own=True).cpu()
        self.seconds += time.perf_counter() - start

    @property
    def cost(self) -> str:
        """What the film took so far: time, and memory for maps and models."""
        if not self.epochs:
            return "Nothing taken yet."
        each = self.seconds / len(self.epochs)
        sizes = [
            sum(heat.numel() * heat.element_size() for heat in self.maps),
            sum(map(_bytes, self.models.values())),
        ]
        return (
            f"{len(self.epochs)} epochs, {len(self._images)} pictures: {self.seconds:.2f} s in "
            f"all, {1000 * each:.0f} ms an epoch; maps {sizes[0] / 1e6:.2f} MB, "
            f"{len(self.models)} models {sizes[1] / 1e6:.2f} MB."
        )

    def strip(self, alt: str | None = None, *, signed: bool = False) -> Picture:
        """A row a picture, a column an epoch, one scale; of many epochs eight, evenly spread.

        alt: what is to be seen, in words; by default only what is shown. signed: as in `heat_row`.
        """
        taken = np.unique(np.linspace(0, self._last(), FRAMES).round().astype(int))
        titles = [_name(self.epochs[k]) for k in taken]
        return heat_grid(
            self._pictures,
            [[self.maps[k][i] for k in taken] for i in range(len(self._pictures))],
            titles,
            alt=alt
            or f"{len(self._pictures)} pictures, each with its map after {titles[0]} to "
            f"{titles[-1]}, on one scale.",
            signed=signed,
        )

    def gif(self, path: str | Path, *, seconds: float = 0.6, alpha: float = 0.5) -> Path:
        """An animation, the pictures side by side, a frame an epoch, one scale over all of them.

        Args:
            path: the file to write, such as "film.gif".
            seconds: how long each epoch is shown; the last one stays three times as long.
            alpha: how much of the map covers the picture.
        """
        self._last()
        top = max(float(heat.max()) for heat in self.maps)
        frames = []
        for epoch, heats in zip(self.epochs, self.maps, strict=True):
            panels = []
            for image, heat in zip(self._pictures, heats, strict=True):
                share = _share(_resized(heat.numpy(), image.shape[:2]), 0.0, top)
                panels.append(_blend(image, share, alpha, "inferno"))
            frame = np.concatenate(panels, axis=1)
            frame = frame.repeat(max(1, 128 // len(frame)), 0).repeat(max(1, 128 // len(frame)), 1)
            captioned = Image.new("RGB", (frame.shape[1], len(frame) + STRIP), "white")
            captioned.paste(Image.fromarray(frame))
            ImageDraw.Draw(captioned).text((4, len(frame) + 4), _name(epoch), fill="black")
            frames.append(captioned)
        times = [round(1000 * seconds)] * (len(frames) - 1) + [round(3000 * seconds)]
        path = Path(path)
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
        return path

    def lightning(self) -> Any:
        """A Lightning callback that takes the maps when a training epoch ends.

        ImportError where neither lightning nor pytorch_lightning is installed.
        """
        try:
            from lightning.pytorch import Callback
        except ImportError:
            try:
                from pytorch_lightning import Callback
            except ImportError:
                raise ImportError("Lightning is not installed: pip install lightning.") from None
        film = self

        class TakesMaps(Callback):
            def on_train_epoch_end(self, trainer: Any, module: nn.Module) -> None:
                if trainer.is_global_zero:
                    film(trainer.current_epoch, module)

        return TakesMaps()

    def keras(self) -> Any:
        """A Keras callback that takes the maps when an epoch ends.

        ImportError where Keras 3 is not installed or not on PyTorch.
        """
        from .keras import TakesMaps

        return TakesMaps(self)

    def _last(self) -> int:
        if not self.maps:
            raise ValueError("There is no epoch yet: call the film after each epoch.")
        return len(self.maps) - 1


def _name(epoch: int) -> str:
    return f"epoch {epoch}"


def _bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def _as_seen(images: Tensor) -> list[np.ndarray]:
    if images.shape[1] not in (1, 3) or images.min() < 0 or images.max() > 1:
        raise ValueError(
            "The images do not lie in [0, 1], so they cannot be shown as they are: give `pictures`,"
            " the same images as uint8 arrays."
        )
    seen = (255 * images.detach().cpu()).round().to(torch.uint8).movedim(1, -1).numpy()
    return list(seen[..., 0] if seen.shape[-1] == 1 else seen)
