"""What leaves an Explorer: the present picture as PNG, the code that gives it, one HTML file."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .atlas import Atlas, Part
from .display import (
    TWO_SIDED,
    Look,
    Which,
    box,
    caption,
    field,
    keys,
    limit,
    number,
    painted,
    table,
)

SIDE = 448
"""pixels of a picture's longer side, at least"""
INK, QUIET, PAPER = (31, 35, 40), (91, 99, 107), (255, 255, 255)


@dataclass(frozen=True)
class Still:
    """A picture without a browser."""

    png: bytes
    caption: str


def still(
    atlas: Atlas,
    which: Which,
    look: Look,
    *,
    scale: str,
    outline: bool,
    offer: dict[str, Any],
    model: str,
) -> Still:
    """The picture under its map, with outline, colour bar and caption."""
    name = offer["models"][which.m]
    picture, *mask = atlas.part(f"picture/{which.i}").raw()
    heat = field(atlas.part, which)
    top = limit(atlas.part, which, scale, offer["layers"][name])
    bar = look.threshold * top
    line = caption(
        model=model,
        method=which.method,
        layer=which.layer,
        name=offer["names"][name][which.c],
        score=score(atlas, which),
        score_name=offer["scoreName"][name],
        heat=heat,
        mask=mask[0] if mask else None,
        bar=0 if heat.planes is not None else bar,
    )
    pixels = painted(picture, heat, top, look)
    frame = box(heat.values, bar) if bar > 0 and heat.planes is None else None
    colours = (
        None if heat.planes is not None else table(TWO_SIDED if heat.signed else look.colormap)
    )
    edge = mask[0].astype(bool) if mask and outline else None
    words = plain_words(line, which.c)
    return Still(_png(pixels, edge, frame, colours, top, heat.signed, words), line)


def score(atlas: Atlas, which: Which) -> float:
    """The score of a class of a picture."""
    header = atlas.part(f"scores/{which.m}/{which.i}").header
    if which.c in header["classes"]:
        return header["scores"][header["classes"].index(which.c)]
    return atlas.part(keys(which)[-1]).header["score"]


def _png(
    pixels: np.ndarray,
    mask: np.ndarray | None,
    frame: tuple[int, int, int, int] | None,
    colours: np.ndarray | None,
    top: float,
    signed: bool,
    line: str,
) -> bytes:
    height, width = pixels.shape[:2]
    zoom = max(1, -(-SIDE // max(height, width)))
    W, H = zoom * width, zoom * height
    font = _font(13)
    rows = _wrapped(line, font, W + 70)
    page = Image.new("RGB", (W + 90, H + 28 + 18 * len(rows)), PAPER)
    page.paste(Image.fromarray(pixels).resize((W, H), Image.Resampling.BICUBIC), (10, 10))
    draw = ImageDraw.Draw(page)
    for a, b in _edges(mask):
        _line(draw, [(10 + zoom * x, 10 + zoom * y) for x, y in (a, b)])
    if frame is not None:
        left, upper, right, lower = (10 + zoom * edge for edge in frame)
        corners = [(left, upper), (right, upper), (right, lower), (left, lower), (left, upper)]
        _line(draw, corners)
    if colours is None:
        colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    strip = Image.fromarray(np.ascontiguousarray(colours[::-1, None])).resize((12, H))
    page.paste(strip, (W + 18, 10))
    ends = (top, 0, -top) if signed else (top, top / 2, 0)
    for place, value in zip((0, 0.5, 1), ends, strict=True):
        if top > 0 or value == 0:
            y = 10 + place * (H - 13)
            draw.text((W + 35, y), number(value), fill=QUIET, font=_font(11))
    for k, row in enumerate(rows):
        draw.text((10, H + 18 + 18 * k), row, fill=INK, font=font)
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()


def _line(draw: ImageDraw.ImageDraw, points: list[tuple[int, int]]) -> None:
    draw.line(points, fill=(0, 0, 0), width=4)
    draw.line(points, fill=(255, 255, 255), width=2)


def _edges(mask: np.ndarray | None) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The border of a mask along the pixels' edges."""
    if mask is None:
        return
    padded = np.pad(mask, 1)
    for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist():
        yield (x, y), (x + 1, y)
    for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist():
        yield (x, y), (x, y + 1)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def plain_words(line: str, c: int) -> str:
    """The caption with what the font can draw: other names become their class's number."""
    missing = bytes(_font(13).getmask("\U0010fffe"))
    parts = " ".join(line.split()).split(" · ")
    drawn = [all(bytes(_font(13).getmask(s)) != missing for s in part) for part in parts]
    return " · ".join(part if ok else f"class {c}" for part, ok in zip(parts, drawn, strict=True))


def _wrapped(line: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    rows = [""]
    for part in line.split(" "):
        while font.getlength(part) > width:
            part = f"{part[: len(part) * 3 // 4]}…"
        longer = f"{rows[-1]} {part}".strip()
        if font.getlength(longer) <= width or not rows[-1]:
            rows[-1] = longer
        else:
            rows.append(part)
    return rows


# -- code -----------------------------------------------------------------------------------------


def call(*, model: bool, **given: Any) -> str:
    """How the Explorer was made: arguments that were given are taken to be variables."""
    words = ["models" if model else "model", "images"]
    for name, value in given.items():
        if value is None:
            continue
        short = isinstance(value, str) or (
            isinstance(value, Sequence) and value and all(isinstance(v, str) for v in value)
        )
        if name == "class_names":
            words.append(name)
        else:
            words.append(f"{name}={value!r}" if short else f"{name}={name}")
    return f"cw.Explorer({', '.join(words)}"


PLAIN = {
    "alpha": 0.5,
    "colormap": "inferno",
    "opacity": "heat",
    "scale": "own",
    "signed": False,
    "threshold": 0.0,
    "outline": True,
    "view": "one",
    "other": {},
}


def code(start: str, state: dict[str, Any], first: dict[str, Any]) -> str:
    """The shortest call that gives this state; front/code.js writes the same one.

    Args:
        start: the call so far.
        state: the choices.
        first: where such an Explorer of the state's model and picture begins.
    """
    usual = {**PLAIN, **first}
    if state["view"] != "compare":
        state = {**state, "other": {}}
    changed = [f"{key}={_short(value)}" for key, value in state.items() if value != usual[key]]
    return f"{', '.join([start, *changed])})"


def _short(value: Any) -> str:
    """A value as Python reads it: 1.0 as 1, which JavaScript does not tell apart."""
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


# -- one file -------------------------------------------------------------------------------------


def every_part(atlas: Atlas, offer: dict[str, Any], extras: Sequence[int]) -> Iterator[Part]:
    """All that a page without a kernel can show; what fails is there with its sentence."""
    atlas.refuse_closed()
    wanted = []
    for i in range(offer["images"]):
        wanted.append(f"picture/{i}")
        for m, name in enumerate(offer["models"]):
            scores = f"scores/{m}/{i}"
            wanted.append(scores)
            try:
                classes = atlas.part(scores).header["classes"]
            except ValueError:  # said by the part itself, below
                continue
            for c in (c for c in [*classes, *extras] if c < offer["classes"][name]):
                for method in offer["methods"][name]:
                    wanted += keys(Which(m, i, c, "", method))
    for key in dict.fromkeys(wanted):
        try:
            yield atlas.part(key)
        except ValueError as error:
            yield Part(key, {"key": key, "error": str(error)})


def write_html(path: str | Path, explorer: Any, atlas: Atlas, title: str) -> Path:
    """One page: the Explorer's own front end, its state, and a model without a kernel."""
    offer = explorer.offer
    parts = list(every_part(atlas, offer, explorer.extras))
    state = {
        **explorer.state(),
        "uid": explorer.uid,
        "offer": offer,
        "extras": explorer.extras,
        "message": "",
        "progress": [0, 0],
        "kernel": False,
    }
    data = {"state": state, "parts": [base64.b64encode(part.pack()).decode() for part in parts]}
    texts = {
        "title": html.escape(title),
        "legend": LEGEND,
        "style": explorer._css,
        "data": json.dumps(data).replace("<", "\\u003c"),
        "module": explorer._esm.replace("</script", "<\\/script"),
    }
    text = re.sub(r"\[\[(\w+)\]\]", lambda place: texts[place[1]], PAGE)
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


LEGEND = (
    "A map says how much each place of the picture speaks for the chosen class at the chosen "
    "layer of the network: the hotter the colour, the more. It shows where the network found its "
    "reasons, not whether they are good ones, and not where the object ends."
)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>[[title]]</title>
<style>
:root { color-scheme: light dark; }
body {
  margin: 0 auto; max-width: 52rem; padding: 1.5rem 1rem; background: light-dark(#fff, #17191c);
  color: light-dark(#1f2328, #e6e8ea); font: 14px/1.5 system-ui, sans-serif;
}
h1 { margin: 0 0 1rem; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; }
footer { margin-top: 1.5rem; max-width: 44rem; color: light-dark(#59616a, #a8adb3); }
[[style]]
</style>
<main>
<h1>[[title]]</h1>
<div id="explorer"></div>
<footer>[[legend]]</footer>
</main>
<script type="application/json" id="data">[[data]]</script>
<script type="module">
[[module]]
openFile(JSON.parse(document.getElementById("data").textContent),
  document.getElementById("explorer"));
</script>
</html>
"""
