"""camwidgets: what a CNN looks at, as maps, an explorer and a course.

The public names below are loaded on first use, so that `camwidgets.maps` needs torch alone and
`import camwidgets` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .explorer import Explorer
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

_HOME = {
    "Explorer": "explorer",
    "cam": "maps",
    "gallery": "pictures",
    "grad_cam": "maps",
    "guided_backprop": "maps",
    "guided_grad_cam": "maps",
    "heat_row": "pictures",
    "layer_names": "maps",
    "load_image": "pictures",
    "normalize": "maps",
    "overlay": "pictures",
    "upsample": "maps",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'camwidgets' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
