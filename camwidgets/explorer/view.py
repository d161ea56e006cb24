"""The picture of the Explorer: an anywidget whose browser half is view.js and view.css."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import anywidget
import matplotlib
import numpy as np
import traitlets

HERE = Path(__file__).parent
COLORMAPS = ("inferno", "viridis", "jet")


class View(anywidget.AnyWidget):
    """Draws one map over its picture; every choice is a number that a slider can be linked to.

    The pages of the atlas are the traits `page_0`, `page_1`, …: empty until they are computed.
    """

    _esm = (HERE / "view.js").read_text(encoding="utf-8")
    _css = (HERE / "view.css").read_text(encoding="utf-8")

    info = traitlets.Dict().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    rank = traitlets.Int(0).tag(sync=True)
    method = traitlets.Int(0).tag(sync=True)
    colormap = traitlets.Int(0).tag(sync=True)
    alpha = traitlets.Float(0.5).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)

    def __init__(self, pages: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_traits(**{f"page_{k}": traitlets.Bytes().tag(sync=True) for k in range(pages)})


def colour_tables() -> list[str]:
    """The colour maps as base64 of 256 RGB bytes, in the order of `COLORMAPS`."""
    steps = np.arange(256)
    tables = [matplotlib.colormaps[name](steps, bytes=True)[:, :3] for name in COLORMAPS]
    return [base64.b64encode(table.tobytes()).decode() for table in tables]
