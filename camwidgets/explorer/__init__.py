"""The Explorer: every map of some images, moved through at the speed of a slider.

`inputs` turns pictures into what the model sees, `atlas` computes the maps, `view` (Python,
JavaScript, CSS) shows them, `explorer` joins them with sliders, `export` writes files.
"""

from __future__ import annotations

from .explorer import Explorer

__all__ = ["Explorer"]
