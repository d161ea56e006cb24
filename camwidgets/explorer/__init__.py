"""The Explorer: every map of some images, moved through at the speed of a slider.

Pictures: `given` tells apart what people have, `inputs` makes of it what the model sees, and back.
Models: `private` copies them, `endings` finds the logits, `stops` the layers, `names` the classes;
a `sitter` is one of them, ready to be looked at. `atlas` computes what there is to show, part by
part, `filler` does so in the background, `guard` keeps threads and forks apart.
The screen: `widget` holds the choices and sends what the browser draws from, `front` (JavaScript,
bundled into explorer.js) draws it, `display` does its arithmetic in Python, `export` writes files.
"""

from __future__ import annotations

from .widget import Explorer

__all__ = ["Explorer"]
