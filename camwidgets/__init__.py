"""camwidgets: what a CNN looks at, as maps, an explorer and a course.

The public names below are loaded on first use, so that `camwidgets.maps` needs torch alone and
`import camwidgets` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .explorer import Explorer
    from .film import MapsEachEpoch
    from .maps import (
        cam,
        grad_cam,
        guided_backprop,
        guided_grad_cam,
        layer_names,
        normalize,
        upsample,
    )
    from .pictures import gallery, heat_row, load_image, overlay

__version__ = "0.1.0"

__all__ = [
    "Explorer",
    "MapsEachEpoch",
    "cam",
    "gallery",
    "grad_cam",
    "guided_backprop",
    "guided_grad_cam",
    "heat_row",
    "layer_names",
    "load_image",
    "normalize",
    "overlay",
    "upsample",
]
_PICTURES = ("gallery", "heat_row", "load_image", "overlay")
_HOMES = {"Explorer": "explorer", "MapsEachEpoch": "film"} | dict.fromkeys(_PICTURES, "pictures")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'camwidgets' has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES.get(name, 'maps')}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
