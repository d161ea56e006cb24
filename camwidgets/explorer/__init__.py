"""The Explorer: every map of some images, moved through at the speed of a slider.

`inputs` turns pictures into what the model sees, `atlas` computes the maps, `filler` in the
background, `widget` holds the choices and sends what the browser draws from, `front` (JavaScript,
bundled into explorer.js) draws it, `display` does its arithmetic in Python, `export` writes files.
"""

from __future__ import annotations

from .widget import Explorer

__all__ = ["Explorer"]
