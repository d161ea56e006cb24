"""camwidgets: what a CNN looks at, as maps, an explorer and a course.

The public names below are loaded on first use, so that `camwidgets.maps` needs torch alone and
`import camwidgets` is quick. `maps`, `pictures`, `scoring`, `explorer` and `course` are packages of
their own, loaded as `camwidgets.scoring` when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import course, explorer, maps, pictures, scoring
    from .explorer import Explorer
    from .film import MapsEachEpoch
    from .maps import (
        cam,
        eigen_cam,
        grad_cam,
        grad_cam_plus_plus,
        guided_backprop,
        guided_grad_cam,
        hires_cam,
        layer_cam,
        layer_names,
        normalize,
        score_cam,
        upsample,
    )
    from .pictures import figure_picture, gallery, heat_grid, heat_row, load_image, overlay

__version__ = "0.1.0"

__all__ = [
    "Explorer",
    "MapsEachEpoch",
    "cam",
    "course",
    "eigen_cam",
    "explorer",
    "figure_picture",
    "gallery",
    "grad_cam",
    "grad_cam_plus_plus",
    "guided_backprop",
    "guided_grad_cam",
    "heat_grid",
    "heat_row",
    "hires_cam",
    "layer_cam",
    "layer_names",
    "load_image",
    "maps",
    "normalize",
    "overlay",
    "pictures",
    "score_cam",
    "scoring",
    "upsample",
]
_MODULES = {"course", "explorer", "maps", "pictures", "scoring"}
_PICTURES = ("figure_picture", "gallery", "heat_grid", "heat_row", "load_image", "overlay")
_HOMES = {"Explorer": "explorer", "MapsEachEpoch": "film"} | dict.fromkeys(_PICTURES, "pictures")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module 'camwidgets' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'maps')}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
