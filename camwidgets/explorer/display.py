"""How a map becomes a picture: the same arithmetic as front/heat.js, paint.js and words.js.

Values are upsampled first, then coloured, then blended. Here it serves files (PNG), captions, and
the tests that hold the browser's half to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import cv2
import matplotlib
import numpy as np

GUIDED = ("guided backprop", "guided Grad-CAM")
MINUS = " − Grad-CAM"
"""a user's own method minus the reference is offered as a method of its own"""
COLORMAPS = ("inferno", "viridis", "jet")
TWO_SIDED = "RdBu_r"

GetPart = Callable[[str], Any]


@dataclass(frozen=True)
class Which:
    """What picks one map."""

    m: int
    i: int
    c: int
    layer: str
    method: str
    signed: bool = False


@dataclass(frozen=True)
class Look:
    """How it is shown."""

    colormap: str = "inferno"
    alpha: float = 0.5
    opacity: str = "heat"
    threshold: float = 0.0


@dataclass(frozen=True)
class Field:
    """One map at its picture's size."""

    values: np.ndarray
    """float32 (H, W): the positive part, or both signs; of guided methods the largest magnitude"""
    signed: bool
    planes: np.ndarray | None = None
    """float32 (C, H, W): the channels of a signed guided map"""

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return float(np.abs(self.values).max())


def has_layers(method: str) -> bool:
    """Whether a method's maps belong to a layer."""
    return method not in ("CAM", "guided backprop")


def keys(which: Which) -> list[str]:
    """The parts of the atlas that a map is made of."""
    place = f"{which.m}/{which.i}/{which.c}"
    if which.method == "guided backprop":
        return [f"guided/{place}"]
    if which.method == "guided Grad-CAM":
        return [f"maps/{place}/Grad-CAM", f"guided/{place}"]
    if which.method.endswith(MINUS):
        mine = which.method.removesuffix(MINUS)
        return [f"maps/{place}/{mine}", f"maps/{place}/Grad-CAM"]
    return [f"maps/{place}/{which.method}"]


def upsampled(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Bilinear, as `F.interpolate(align_corners=False)`: float64 (h, w) → float32 (H, W)."""
    rows = values
    for axis in (1, 0):
        n, N = rows.shape[axis], size[axis]
        at = np.maximum(0, (np.arange(N) + 0.5) * n / N - 0.5)
        low = np.minimum(np.floor(at).astype(int), n - 1)
        part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, n - 1)
        rows = rows.take(low, axis) * (1 - part) + rows.take(high, axis) * part
    return rows.astype(np.float32)


def field(part: GetPart, which: Which) -> Field:
    """One map at its picture's size.

    Raises:
        ValueError: the sentence of a method that failed.
    """
    size = part(f"picture/{which.i}").header["size"]
    first, *more = [part(key) for key in keys(which)]
    for each in (first, *more):
        if each.error:
            raise ValueError(each.error)
    if which.method in GUIDED:
        (values,) = (more[0] if more else first).raw()
        planes = np.stack([upsampled(plane, size) for plane in values])
        if more:
            planes = planes * upsampled(np.maximum(_map(first, which.layer), 0), size)
        index = np.abs(planes).argmax(axis=0)
        strongest = np.take_along_axis(planes, index[None], 0)[0]
        if which.signed:
            return Field(strongest, True, planes)
        return Field(np.abs(strongest), False)
    values = _map(first, which.layer)
    if more:
        return Field(upsampled(values, size) - upsampled(_map(more[0], which.layer), size), True)
    return Field(upsampled(values if which.signed else np.maximum(values, 0), size), which.signed)


def _map(part: Any, layer: str) -> np.ndarray:
    for entry, values in zip(part.header["maps"], part.raw(), strict=True):
        if entry["layer"] in (layer, None):
            return values
    raise ValueError(f"There is no map of layer {layer!r}.")


def limit(part: GetPart, which: Which, scale: str, layers: Iterable[str]) -> float:
    """The value at the end of the colour scale: this map's own, or that of all of the picture."""
    own = field(part, which).peak
    if scale != "all":
        return own
    stops = list(layers) if has_layers(which.method) else [which.layer]
    classes = part(f"scores/{which.m}/{which.i}").header["classes"]
    others = [
        Which(which.m, which.i, c, layer, which.method, which.signed)
        for c in classes
        for layer in stops
    ]
    return max([own, *(field(part, other).peak for other in others)])


def table(colormap: str) -> np.ndarray:
    """A colour map as uint8 (256, 3)."""
    return matplotlib.colormaps[colormap](np.arange(256), bytes=True)[:, :3]


def painted(picture: np.ndarray, heat: Field, top: float, look: Look) -> np.ndarray:
    """The map laid over its picture, uint8 (H, W, 3); `top` is the end of the scale."""
    strength = np.abs(heat.values).astype(np.float64)
    if heat.planes is not None:
        planes = heat.planes if len(heat.planes) == 3 else heat.values[None]
        gray = np.clip(127.5 + (127.5 / top if top > 0 else 0) * planes.astype(float), 0, 255)
        cover = np.where(strength < look.threshold * top, 0, look.alpha)[..., None]
        return _blended(picture, gray.transpose(1, 2, 0), cover)
    share = np.clip(heat.values.astype(np.float64) / top, -1, 1) if top > 0 else 0 * strength
    place = (share + 1) / 2 if heat.signed else share
    index = np.clip(np.floor(place * 256), 0, 255).astype(int)
    cover = (
        look.alpha * np.abs(share) if look.opacity == "heat" else np.full_like(share, look.alpha)
    )
    cover = np.where(np.abs(share) < look.threshold, 0, cover)[..., None]
    colours = table(TWO_SIDED if heat.signed else look.colormap)
    return _blended(picture, colours[index].astype(float), cover)


def _blended(picture: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return np.rint((1 - cover) * picture + cover * colour).astype(np.uint8)


def box(values: np.ndarray, bar: float) -> tuple[int, int, int, int] | None:
    """The tight box (left, top, right, bottom) of the largest part at or above `bar`.

    Pixels that touch at a corner belong together; of parts of equal size the first is taken.
    """
    hot = (values >= bar).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    if count == 1:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = 1 + np.flatnonzero(areas == areas.max())
    first = min(largest, key=lambda k: (labels == k).argmax())
    left, top, width, height = (int(v) for v in stats[first, :4])
    return left, top, left + width, top + height


def caption(
    *,
    model: str,
    method: str,
    layer: str,
    name: str,
    score: float,
    score_name: str,
    heat: Field,
    mask: np.ndarray | None,
    bar: float,
) -> str:
    """What the picture shows, in a line; words.js writes the same one.

    Args:
        model: its name, or "" where there is only one.
        bar: the value below which nothing is painted; 0 for none.
    """
    only = name == score_name
    parts = [model, method, layer if has_layers(method) else "", "" if only else name]
    parts.append(f"{score_name} {number(score)}")
    values = heat.values
    high, low = float(values.max()), float(values.min())

    def at(index: int) -> str:
        y, x = divmod(int(index), values.shape[1])
        return f"{number(float(values[y, x]))} at ({x}, {y})"

    if method.endswith(MINUS):
        parts.append(f"largest difference {number(heat.peak)}")
    elif not (heat.peak if heat.signed else high) > 0:
        where = "at this layer " if has_layers(method) else ""
        where = "in the last map " if method == "CAM" else where
        what = "output" if only else "class"
        speaks = "for or against" if heat.signed else "for"
        parts.append(f"blank: nothing {where}speaks {speaks} this {what}")
    else:
        if high > 0:
            parts.append(f"hottest {at(values.argmax())}")
        if heat.signed and low < 0:
            parts.append(f"most against {at(values.argmin())}")
        if mask is not None and mask.any() and high > 0:
            parts += _measures(values.astype(np.float64), mask.astype(bool), bar)
    return " · ".join(filter(None, parts))


def _measures(values: np.ndarray, mask: np.ndarray, bar: float) -> list[str]:
    positive = np.maximum(values, 0)
    share = 100 * positive[mask].sum() / positive.sum()
    maxima = values == values.max()
    hit = (maxima & mask).sum() / maxima.sum()
    words = [
        f"{int(np.floor(share + 0.5))} % of the heat inside the outline",
        f"pointing {'hit' if hit == 1 else 'miss' if hit == 0 else 'tie'}",
    ]
    if bar > 0:
        words.append(f"box IoU {_fixed(_iou(box(values, bar), mask))}")
    return words


def _iou(found: tuple[int, int, int, int] | None, mask: np.ndarray) -> float:
    if found is None:
        return 0.0
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    truth = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    width = max(0, min(found[2], truth[2]) - max(found[0], truth[0]))
    height = max(0, min(found[3], truth[3]) - max(found[1], truth[1]))
    areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in (found, truth)]
    return float(width * height / (sum(areas) - width * height))


def _fixed(x: float) -> str:
    return str(Decimal(x).quantize(Decimal("0.01"), ROUND_HALF_UP))


def number(x: float) -> str:
    """Three significant digits, as in numbers.js."""
    if not np.isfinite(x):
        return str(x)
    if x == 0:
        return "0"
    exact = Decimal(x)
    power = exact.adjusted()
    rounded = exact.quantize(Decimal(1).scaleb(power - 2), ROUND_HALF_UP)
    if abs(x) < 1e-3 or abs(x) >= 1e5:
        digits, power = f"{rounded:.2e}".split("e")
        return f"{digits}e{int(power):+d}"
    text = f"{rounded:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
