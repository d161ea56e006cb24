"""Pictures of maps: colour a map, lay it over a photograph, small figures.

Arrays are uint8 RGB (H, W, 3); maps are float (h, w) arrays or tensors of any resolution.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .files import load_image as load_image

Array = np.ndarray
Opacity = Literal["heat", "constant"]
WIDTH = 8.6
"""Inches, at 100 pixels each: wider, and a page of 900 pixels would shrink the labels."""


def overlay(
    image: Array,
    heat: Any,
    alpha: float = 0.5,
    colormap: str = "inferno",
    *,
    opacity: Opacity = "heat",
) -> Array:
    """A map laid over its picture, uint8 (H, W, 3): the hotter, the more of it is seen.

    The map is upsampled first (bilinear), then divided by its maximum and coloured: colouring
    first would blend colours that stand for no value in between. Negative values count as 0, and
    where there is no heat the picture stays as it is.

    Args:
        image: uint8 (H, W, 3) RGB or (H, W) gray.
        heat: float (h, w), any resolution and scale.
        alpha: how much the map covers the picture at its hottest place: 0 not at all, 1 wholly.
        colormap: a Matplotlib name. "inferno" and "viridis" are uniform: equal steps of heat look
            equal. "jet", which many papers show, has bands that the data do not have.
        opacity: "heat": each pixel is covered by alpha · its share of the maximum; "constant":
            every pixel by alpha, the cold ones too, as in (1 - alpha) · image + alpha · colour.

    Raises:
        ValueError: shapes, alpha, opacity or the colour map's name do not fit.
    """
    image, heat = _picture(image), _map(heat)
    share = np.clip(_resized(heat, image.shape[:2]), 0, None)
    peak = heat.max()
    return _blend(image, share / peak if peak > 0 else share, alpha, colormap, opacity)


@dataclass(frozen=True, repr=False)
class Picture:
    """A figure whose alternative text reaches a screen reader: an HTML <img> with its alt."""

    png: bytes
    alt: str

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        return (
            f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{data}" '
            'style="max-width: 100%">'
        )

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"


def figure_picture(figure: Figure, alt: str) -> Picture:
    """A Matplotlib figure as a `Picture`; the figure is closed.

    Args:
        figure: any figure.
        alt: one or two sentences that say what is to be seen.
    """
    if not alt.strip():
        raise ValueError("alt must say in words what the figure shows.")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100, bbox_inches="tight")
    plt.close(figure)
    return Picture(png.getvalue(), alt)


def gallery(
    images: Sequence[Array],
    titles: Sequence[str] | None = None,
    *,
    alt: str,
    columns: int | None = None,
) -> Picture:
    """Pictures in a grid.

    Args:
        images: uint8 (H, W, 3) or (H, W) arrays.
        titles: one a picture.
        alt: what is to be seen, in words.
        columns: pictures in a row; by default up to eight.
    """
    if len(images) == 0:
        raise ValueError("images is empty: give at least one picture.")
    _check_count("titles", titles, len(images))
    columns = columns or min(len(images), 8)
    rows = -(-len(images) // columns)
    figure, axes = _panels(rows, columns, titled=titles is not None)
    for k, axis in enumerate(axes.flat):
        axis.axis("off")
        if k < len(images):
            axis.imshow(_picture(images[k]), interpolation="nearest")
            axis.set_title(titles[k] if titles is not None else "", fontsize=9)
    return figure_picture(figure, alt)


def heat_row(
    image: Array,
    heats: Sequence[Any],
    titles: Sequence[str] | None = None,
    *,
    alt: str,
    mask: Array | None = None,
    signed: bool = False,
    alpha: float = 0.5,
    colormap: str | None = None,
    scale: str | None = None,
) -> Picture:
    """One picture and its maps side by side, all on one scale: `heat_grid` with one row."""
    return heat_grid(
        [image],
        [heats],
        titles,
        alt=alt,
        masks=None if mask is None else [mask],
        signed=signed,
        alpha=alpha,
        colormap=colormap,
        scale=scale,
    )


def heat_grid(
    images: Sequence[Array],
    heats: Sequence[Sequence[Any]],
    titles: Sequence[str] | None = None,
    *,
    alt: str,
    rows: Sequence[str] | None = None,
    masks: Sequence[Array] | None = None,
    signed: bool = False,
    alpha: float = 0.5,
    colormap: str | None = None,
    scale: str | None = None,
) -> Picture:
    """A row a picture: the picture, then its maps as overlays, one scale and one colour bar.

    Every pixel is covered by alpha, cold ones too, so that equal values look alike everywhere.
    A map without a positive value (in a signed figure: without any value) is marked "blank".

    Args:
        images: uint8 (H, W, 3) or (H, W) arrays.
        heats: for each picture its maps, float (h, w), raw values.
        titles: one a map; they stand over the first row.
        alt: what is to be seen, in words.
        rows: one label a picture.
        masks: one boolean (H, W) a picture, drawn as an outline.
        signed: False shows positive values only; True both signs about a neutral middle.
        alpha: how much of the map covers the picture.
        colormap: a Matplotlib name; by default "inferno", or "RdBu_r" if signed.
        scale: what the colour bar says about its numbers; by default "value of the map", or
            "against (−), for (+)" if signed.
    """
    colormap = colormap or ("RdBu_r" if signed else "inferno")
    maps = [[_map(heat) for heat in row] for row in heats]
    if len(maps) != len(images) or not maps or len({len(row) for row in maps}) != 1:
        raise ValueError("heats must hold, for each picture, the same number of maps.")
    if not maps[0]:
        raise ValueError("heats is empty: give at least one map.")
    _check_count("titles", titles, len(maps[0]))
    _check_count("rows", rows, len(maps))
    _check_count("masks", masks, len(maps))
    top = max(float(np.abs(m).max() if signed else m.max()) for row in maps for m in row)
    low = -top if signed else 0.0
    figure, axes = _panels(len(maps), len(maps[0]) + 1, titled=titles is not None)
    for i, row in enumerate(maps):
        image = _picture(images[i])
        if masks is not None and np.shape(masks[i]) != image.shape[:2]:
            raise ValueError(
                f"A mask has shape {np.shape(masks[i])}; its picture needs {image.shape[:2]}."
            )
        panels = [image] + [
            _blend(image, _share(_resized(m, image.shape[:2]), low, top), alpha, colormap)
            for m in row
        ]
        for j, (axis, panel) in enumerate(zip(axes[i], panels, strict=True)):
            axis.imshow(panel, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if masks is not None and masks[i].any():
                axis.contour(masks[i], [0.5], colors="white", linewidths=2)
                axis.contour(masks[i], [0.5], colors="black", linewidths=0.7)
            if titles is not None and i == 0 and j > 0:
                axis.set_title(titles[j - 1], fontsize=9)
            if j > 0 and not (np.any(row[j - 1]) if signed else (row[j - 1] > 0).any()):
                axis.set_xlabel("blank", fontsize=9)
        if rows is not None:
            axes[i, 0].set_ylabel(rows[i], fontsize=9)
    table = ScalarMappable(Normalize(low, top if top > 0 else 1), colormap)
    bar = figure.colorbar(table, ax=axes, fraction=0.025, pad=0.02)
    bar.set_label(scale or ("against (−), for (+)" if signed else "value of the map"), fontsize=9)
    return figure_picture(figure, alt)


def _check_count(name: str, given: Sequence[Any] | None, count: int) -> None:
    if given is not None and len(given) != count:
        raise ValueError(f"{name} must hold {count}, one for each, not {len(given)}.")


def _panels(rows: int, columns: int, *, titled: bool) -> tuple[Figure, Array]:
    side = min(2.2, WIDTH / columns)
    figure = Figure((columns * side, rows * side + 0.3 * titled), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _share(values: Array, low: float, top: float) -> Array:
    return np.clip((values - low) / (top - low), 0, 1) if top > low else np.zeros_like(values)


def _blend(
    image: Array, share: Array, alpha: float, colormap: str, opacity: Opacity = "constant"
) -> Array:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}.")
    if colormap not in matplotlib.colormaps:
        raise ValueError(f"There is no colour map {colormap!r}; try 'inferno', 'viridis' or 'jet'.")
    if opacity not in ("heat", "constant"):
        raise ValueError(f"opacity must be 'heat' or 'constant', not {opacity!r}.")
    colour = 255 * matplotlib.colormaps[colormap](share)[..., :3]
    cover = alpha * share[..., None] if opacity == "heat" else alpha
    return _to_bytes((1 - cover) * image + cover * colour)


def _picture(image: Any) -> Array:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            "A picture must be uint8 with shape (H, W, 3) or (H, W), "
            f"not {image.dtype} {image.shape}."
        )
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _map(heat: Any) -> Array:
    heat = np.asarray(heat.detach().cpu() if hasattr(heat, "detach") else heat, dtype=np.float32)
    if heat.ndim != 2 or heat.size == 0:
        raise ValueError(
            f"A map must have shape (h, w), not {heat.shape}: choose one image, as in maps[0]."
        )
    if not np.isfinite(heat).all():
        raise ValueError("The map holds NaN or infinite values.")
    return heat


def _resized(heat: Array, size: tuple[int, int]) -> Array:
    return cv2.resize(heat, size[::-1], interpolation=cv2.INTER_LINEAR)


def _to_bytes(image: Array) -> Array:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
