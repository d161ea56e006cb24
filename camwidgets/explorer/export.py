"""Files: the present picture as PNG, the whole Explorer as one HTML page that works alone."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..maps import upsample
from ..pictures import overlay
from .view import COLORMAPS, View


def caption(
    *,
    method: str,
    layer: str,
    name: str,
    score: float,
    score_name: str,
    heat: np.ndarray,
    size: tuple[int, int],
    mask: np.ndarray | None,
) -> str:
    """What the picture shows, in a line; view.js writes the same one."""
    layered = method.endswith("Grad-CAM")
    score_only = name == score_name
    parts = [method, layer if layered else "", "" if score_only else name]
    parts.append(f"{score_name} {_number(score)}")
    if not heat.max() > 0:
        where = "at this layer " if layered else "in the last map " if method == "CAM" else ""
        what = "output" if score_only else "class"
        parts.append(f"blank: nothing {where}speaks for this {what}")
    else:
        full = upsample(torch.from_numpy(heat), size).numpy()
        y, x = np.unravel_index(full.argmax(), full.shape)
        parts.append(f"hottest {_number(float(full[y, x]))} at ({x}, {y})")
        if mask is not None and mask.any():
            share = 100 * full[mask].sum() / full.sum()
            parts.append(f"{share:.0f} % of the heat inside the outline")
    return " · ".join(filter(None, parts))


def _number(x: float) -> str:
    """Three significant digits, as in view.js."""
    if x != 0 and (abs(x) < 1e-3 or abs(x) >= 1e5):
        digits, power = f"{x:.2e}".split("e")
        return f"{digits}e{int(power):+d}"
    return np.format_float_positional(float(f"{x:.3g}"), trim="-")


def png(
    picture: np.ndarray,
    heat: np.ndarray,
    mask: np.ndarray | None,
    alpha: float,
    colormap: str,
    line: str,
) -> bytes:
    """The overlay with its scale and its caption.

    Drawn without pyplot, which belongs to the notebook's own thread.
    """
    height, width = picture.shape[:2]
    figure = Figure((5.2, 4.6 * min(height / width, 1.6) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(overlay(picture, heat, alpha, colormap, opacity="constant"))
    axes.axis("off")
    if mask is not None and mask.any() and not mask.all():
        axes.contour(mask, [0.5], colors="black", linewidths=2.5)
        axes.contour(mask, [0.5], colors="white", linewidths=1)
    peak = float(heat.max())
    scale = ScalarMappable(Normalize(0, peak if peak > 0 else 1), colormap)
    bar = figure.colorbar(scale, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    figure.supxlabel(line, fontsize=8, wrap=True)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()


def write_html(path: str | Path, view: View, choice: dict[str, Any], title: str) -> Path:
    """One page: the view's own module and style, its data, and plain controls.

    Args:
        path: where to write it.
        view: what holds the pages of the atlas.
        choice: the view's traits that say which picture to begin with.
        title: of the page.
    """
    state = {"info": view.info, "labels": [], "message": "", **choice}
    pages = [getattr(view, f"page_{k}") for k in range(view.info["images"])]
    data = {
        "state": state,
        "pages": [base64.b64encode(page).decode() for page in pages],
        "colormaps": COLORMAPS,
    }
    parts = {
        "title": html.escape(title),
        "style": view._css,
        "data": json.dumps(data).replace("<", "\\u003c"),
        "module": view._esm,
    }
    text = PAGE
    for name, part in parts.items():
        text = text.replace(f"[[{name}]]", part)
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>[[title]]</title>
<style>
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 48rem; padding: 0 1rem; }
.cw-controls { font: 13px/1.4 system-ui, sans-serif; }
.cw-controls label { display: grid; grid-template-columns: 3.6rem minmax(4rem, 1fr) auto;
  gap: 0.6rem; align-items: center; min-height: 2rem; }
.cw-controls input { accent-color: light-dark(#1976d2, #64b5f6); min-width: 0; }
.cw-controls select { grid-column: 2 / -1; font: inherit; padding: 0.15rem; }
.cw-controls output:empty { display: none; }
.cw-controls output { min-width: 4.5em; text-align: right; }
[[style]]
</style>
<main class="cw-explorer">
<div id="view"></div>
<div class="cw-controls"><div id="where"></div><div id="how"></div></div>
</main>
<script type="application/json" id="data">[[data]]</script>
<script type="module">
[[module]]

const data = JSON.parse(document.getElementById("data").textContent);

/* As much of a widget model as `render` needs. */
class Model extends EventTarget {
  values = { ...data.state };
  get(key) { return this.values[key]; }
  set(key, value) {
    if (this.values[key] === value) return;
    this.values[key] = value;
    this.dispatchEvent(new Event(`change:${key}`));
  }
  on(event, action) { this.addEventListener(event, action); }
  off(event, action) { this.removeEventListener(event, action); }
  save_changes() {}
}

const model = new Model();
data.pages.forEach((page, k) => (model.values[`page_${k}`] = new DataView(decode(page).buffer)));

const { info } = data.state;
const namesOfClasses = () => {
  const page = unpack(model.get(`page_${model.get("image")}`));
  return [...page.top, ...info.extras].map((id) => info.names[id]);
};

/** A labelled slider or menu over a list of names, linked to one of the model's numbers. */
function control(place, key, label, names, { slider = true, unit = 1 } = {}) {
  if (names().length < 2) return;
  const input = slider ? make("input", "", { type: "range", min: 0 }) : make("select");
  const value = make("output");
  const show = () => {
    const list = names();
    if (slider) input.max = list.length - 1;
    else if (!input.length) list.forEach((name, k) => input.add(new Option(name, k)));
    const at = Math.round(model.get(key) / unit);
    input.value = at;
    input.setAttribute("aria-valuetext", list[at]);
    if (slider) value.textContent = list[at];
  };
  input.addEventListener("input", () => model.set(key, Number(input.value) * unit));
  [`change:${key}`, "change:image"].forEach((event) => model.on(event, show));
  document.getElementById(place).append(make("label", "", {}, label, input, value));
  show();
}

const shares = Array.from({ length: 21 }, (_, k) => (k / 20).toFixed(2));
control("where", "layer", "layer", () => info.layers);
control("where", "rank", "class", namesOfClasses);
control("where", "image", "image", () => data.pages.map((_, k) => String(k)));
control("how", "method", "method", () => info.methods, { slider: false });
control("how", "alpha", "alpha", () => shares, { unit: 0.05 });
control("how", "colormap", "colours", () => data.colormaps, { slider: false });
render({ model, el: document.getElementById("view") });
</script>
</html>
"""
