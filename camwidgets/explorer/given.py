"""Pictures as people have them: one or many, with labels or without, in memory or in files.

`listed` tells them apart; `read` makes of each one either bytes, uint8 (H, W, 3) or (H, W), or,
where a float tensor was given, that tensor (C, H, W). What is not certain is refused in a
sentence that names the picture.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ..pictures import load_image

MOST = 1000
"""pictures in one Explorer"""
CLOSE = 1e-3
"""by so much, less than a grey level, resizing may leave the range from 0 to 1"""
DEPTHS = (8, 12, 16, 32, 64)
"""bits of a whole number, as cameras and files have them"""


@dataclass(frozen=True)
class Given:
    """A picture as it was given, not read yet."""

    thing: Any
    """an array, tensor, PIL image or file; or a `Row`, which gives one of them"""
    place: int
    label: int | str | None = None

    @property
    def title(self) -> str | None:
        """The name of its file, if it came from one."""
        name = getattr(self.thing, "filename", None) or self.thing
        return Path(name).name if isinstance(name, (str, Path)) else None

    def __str__(self) -> str:
        return f"Image {self.place}" + (f" ({self.title})" if self.title else "")


class Row:
    """A picture of a data set, read when it is called."""

    def __init__(self, dataset: Any, index: int) -> None:
        self._dataset, self._index = dataset, index

    def __call__(self) -> Any:
        """What the data set gives: a picture, or a pair or mapping that holds one."""
        return self._dataset[self._index]


# -- one or many ----------------------------------------------------------------------------------


def listed(images: Any) -> list[Given]:
    """Each picture with its label, if it brings one.

    Raises:
        TypeError, ValueError: none, too many, or things that are no pictures.
    """
    images, labels = batched(images)
    if labels is None:
        images, labels = parted(images)
    if _is_one(images):
        return [_checked(Given(images, 0, labels))]
    if hasattr(images, "batch_size") and hasattr(images, "dataset"):
        raise TypeError(
            "images is a DataLoader: give its pictures, `loader.dataset`, or a batch, "
            "`next(iter(loader))`."
        )
    things = _things(images)
    if labels is None:
        labels = _labels_of(images, len(things)) or [None] * len(things)
    found = []
    for k, thing in enumerate(things):
        picture, label = parted(thing)
        found.append(_checked(Given(picture, k, labels[k] if label is None else label)))
    return found


def _things(images: Any) -> list[Any]:
    indexed = hasattr(images, "__getitem__") and hasattr(images, "__len__")
    if isinstance(images, Mapping) or not (indexed or isinstance(images, Iterable)):
        raise TypeError(
            "images must be pictures (arrays, tensors, PIL images or file names), not "
            f"{type(images).__name__}."
        )
    if isinstance(images, (set, frozenset)):
        raise TypeError("images is a set, which has no order: give a list, as sorted(images).")
    things = None if indexed else list(islice(images, MOST + 1))
    count = len(images) if things is None else len(things)
    if count > MOST:
        raise ValueError(
            f"images holds {'more than ' if things else ''}{count if indexed else MOST} pictures, "
            f"and an Explorer takes up to {MOST}: choose some, for example "
            "torch.utils.data.Subset(dataset, range(20)) or images[:20]."
        )
    if not count:
        raise ValueError("images is empty: give at least one picture.")
    if things is not None:
        return things
    if isinstance(images, (list, tuple, np.ndarray, Tensor)):
        return list(images)
    return [Row(images, k) for k in range(count)]


def batched(images: Any) -> tuple[Any, list[Any] | None]:
    """(pictures, labels) of a batch or of a slice of a data set; else (images, None)."""
    pair = _paired(images)
    if not (isinstance(pair, (tuple, list)) and len(pair) > 1 and _are_pictures(pair[0])):
        return images, None
    pictures, labels = pair[:2]
    if pair is not images and labels is None:
        return pictures, None
    sized = hasattr(labels, "__len__") and getattr(labels, "ndim", 1) in (1, 2)
    if not sized or isinstance(labels, (str, Mapping)) or any(map(_is_picture, labels)):
        return images, None
    if len(labels) != len(pictures):
        raise ValueError(f"images holds {len(pictures)} pictures, but {len(labels)} labels.")
    return pictures, [class_of(label) for label in labels]


def _are_pictures(thing: Any) -> bool:
    """Whether a thing is certainly several pictures."""
    if isinstance(thing, (list, tuple)):
        return len(thing) > 0 and all(map(_is_picture, thing))
    shape = getattr(thing, "shape", ())
    gray = len(shape) == 3 and shape[0] not in (1, 3, 4) and shape[2] not in (1, 3, 4)
    return len(shape) == 4 or gray


def _paired(thing: Any) -> Any:
    """Of a row or slice of a data set that is a mapping, (its pictures, its labels)."""
    if isinstance(thing, Mapping):
        for name in ("image", "img", "pixel_values"):
            if name in thing:
                return thing[name], thing.get("label", thing.get("labels"))
    return thing


def parted(thing: Any) -> tuple[Any, Any]:
    """(picture, label) of a pair or of a row of a data set; else (thing, None)."""
    thing = _paired(thing)
    if isinstance(thing, tuple) and len(thing) == 1 and _is_picture(thing[0]):
        return thing[0], None
    if isinstance(thing, (tuple, list)) and len(thing) > 1 and _is_picture(thing[0]):
        first, second = thing[0], thing[1]
        if isinstance(thing, tuple) and not _is_picture(second):
            return first, class_of(second)
        if len(thing) == 2 and not isinstance(second, str) and class_of(second) is not None:
            return first, class_of(second)
    return thing, None


def class_of(label: Any) -> int | str | None:
    """A label as a class's number or name, or None where it is nothing of the kind."""
    if isinstance(label, (Tensor, np.ndarray, np.generic)) and label.ndim == 0:
        label = label.item()
    if isinstance(label, (str, Integral)):
        return label if isinstance(label, str) else int(label)
    return int(label) if isinstance(label, Real) and float(label).is_integer() else None


def _labels_of(dataset: Any, count: int) -> Sequence[Any] | None:
    """The labels that a data set keeps beside its pictures, so that none has to be read."""
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        whole = _labels_of(dataset.dataset, len(dataset.dataset))
        return None if whole is None else [whole[i] for i in dataset.indices]
    for name in ("targets", "labels", "_labels"):
        labels = getattr(dataset, name, None)
        if hasattr(labels, "__len__") and len(labels) == count:
            return [class_of(label) for label in labels]
    return None


def classes_of(dataset: Any) -> list[str] | None:
    """The class names that a data set keeps, in the order of its labels, as torchvision's do."""
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        return classes_of(dataset.dataset)
    classes = getattr(dataset, "classes", None)
    return [str(name) for name in classes] if isinstance(classes, (list, tuple)) else None


def _is_picture(thing: Any) -> bool:
    if isinstance(thing, str):
        return Path(thing).suffix != "" or os.path.isfile(thing)
    return isinstance(thing, (Image.Image, Path)) or getattr(thing, "ndim", 0) >= 2


def _is_one(images: Any) -> bool:
    if isinstance(images, (str, Path, Image.Image)):
        return True
    if isinstance(images, (bytes, bytearray)):
        raise TypeError(
            "images is the content of a file: give the file's name, or "
            "PIL.Image.open(io.BytesIO(data))."
        )
    if isinstance(images, io.IOBase):
        raise TypeError("images is an open file: give its name, or PIL.Image.open(file).")
    if not isinstance(images, (np.ndarray, Tensor)):
        return False
    shape = tuple(images.shape)
    if len(shape) == 3 and shape[0] == 4 and shape[2] not in (1, 3, 4):
        raise ValueError(
            f"images of shape {shape} may be one picture with four channels or four gray ones: "
            "say images[None] for the one, list(images) for the four."
        )
    if len(shape) == 2 or (len(shape) == 3 and (shape[0] in (1, 3) or shape[2] in (1, 3, 4))):
        return True
    of_things = len(shape) == 1 and str(images.dtype)[0] in "O<o"
    if len(shape) not in (3, 4) and not of_things:
        raise ValueError(
            f"images of shape {shape} are no pictures: one is (H, W) or (H, W, 3), several are "
            "(N, H, W) or (N, H, W, 3); channels may come first."
        )
    return False


# -- one picture ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whites:
    """The largest values of whole and of real numbers in the arrays that are in memory.

    What stands for white is the same for all of them: a dark picture among bright ones is dark.
    """

    whole: float = 0.0
    real: float = 0.0

    @classmethod
    def of(cls, given: Iterable[Given]) -> Whites:
        """Over the pictures that are arrays or tensors; bytes need no scale."""
        highest = {"i": 0.0, "f": 0.0}
        for thing in (each.thing for each in given):
            if isinstance(thing, (np.ndarray, Tensor)) and 0 not in thing.shape:
                kind = _kind(thing)
                if kind in highest:
                    highest[kind] = max(highest[kind], float(thing.max().item()))
        return cls(highest["i"], highest["f"])


def read(given: Given, whites: Whites, model_s_own: bool) -> tuple[np.ndarray | Tensor, Given]:
    """The picture, and what is known of it now.

    Args:
        given: which.
        whites: of all pictures.
        model_s_own: whether a float tensor may hold any numbers, as the model takes them.

    Returns:
        uint8 (H, W, 3) or (H, W); or a float tensor (C, H, W), if that is what was given. Its
        numbers run from 0 to 1 unless it is the model's own.

    Raises:
        TypeError, ValueError: it is no picture.
    """
    if isinstance(given.thing, Row):
        thing, label = parted(given.thing())
        given = _checked(replace(given, thing=thing, label=given.label if label is None else label))
    thing = given.thing
    if isinstance(thing, (str, Path)):
        return load_image(thing), given
    array = opened(thing) if isinstance(thing, Image.Image) else _array(thing, given)
    if isinstance(array, Tensor) and array.is_floating_point():
        return _float_tensor(array.float(), given, whites, model_s_own), given
    if isinstance(array, Tensor):
        first = _channels(array) == "first"
        array = array.permute(1, 2, 0).numpy() if first else array.numpy()
    return as_bytes(array, given, whites), given


def _checked(given: Given) -> Given:
    """The same, if all that can be seen before it is read is well."""
    thing = given.thing
    if isinstance(thing, (str, Path)):
        if os.path.isdir(thing):
            raise ValueError(
                f"{given} is a folder: give its files, for example "
                f"sorted(pathlib.Path({str(thing)!r}).glob('*.png'))."
            )
        if not os.path.isfile(thing):
            online = str(thing).startswith(("http://", "https://"))
            raise ValueError(
                f"There is no file {_short(str(thing))!r}: "
                + ("download it first." if online else "check the name and the folder.")
            )
    elif isinstance(thing, Image.Image) and 0 in thing.size:
        raise ValueError(f"{given} has no pixels: it is {thing.width} × {thing.height}.")
    elif isinstance(thing, (list, tuple)) and any(map(_is_picture, thing)):
        raise ValueError(
            f"{given} is a {type(thing).__name__} of {len(thing)} things that is no (picture, "
            "label): give the pictures in one list, and what goes with them by `labels` and "
            "`masks`."
        )
    elif not isinstance(thing, (Image.Image, Row)):
        _array(thing, given)
    return given


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:100] + "…"


def _array(thing: Any, given: Given) -> np.ndarray | Tensor:
    """An array or tensor that can be a picture."""
    if isinstance(thing, Tensor):
        array = thing.detach().as_subclass(Tensor).cpu()
    else:
        try:
            array = np.asarray(thing)
        except ValueError as error:
            raise ValueError(f"{given} has rows of different lengths.") from error
    if _kind(array) == "other":
        found = array.dtype if isinstance(thing, (np.ndarray, Tensor)) else type(thing).__name__
        raise TypeError(
            f"{given} is no picture but {found}; an array, a tensor, a PIL image and the name of a "
            "file are."
        )
    if _channels(array) is None:
        raise ValueError(
            f"{given} has shape {tuple(array.shape)}; a picture is RGB (H, W, 3), RGBA (H, W, 4) "
            "or gray (H, W), or has its channels first. Other channels: give float tensors "
            "(C, H, W) as the model takes them."
        )
    return array


def _kind(array: np.ndarray | Tensor) -> str:
    """What the numbers are: "b" bytes or bool, "i" whole, "f" real, or "other"."""
    name = array.dtype.name if isinstance(array, np.ndarray) else str(array.dtype)[6:]
    if name in ("bool", "uint8"):
        return "b"
    return "i" if name.startswith(("int", "uint")) else "f" if "float" in name else "other"


def _channels(array: np.ndarray | Tensor) -> str | None:
    """Where the channels are: "none", "last" or "first"; None if it is no picture.

    Where both fit, an array has them last, a tensor first; a float tensor may have any number.
    """
    shape = tuple(array.shape)
    if 0 in shape or len(shape) not in (2, 3):
        return None
    if len(shape) == 2:
        return "none"
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if first and (isinstance(array, Tensor) or not last):
        return "first"
    if last:
        return "last"
    return "first" if isinstance(array, Tensor) and array.is_floating_point() else None


def opened(image: Image.Image) -> np.ndarray:
    """A PIL image upright, as an array: deep ones as they are, else bytes, gray, RGB or RGBA."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return np.asarray(image)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def as_bytes(array: np.ndarray, given: Given, whites: Whites) -> np.ndarray:
    """Numbers of any depth as uint8 (H, W, 3) or (H, W); what is transparent lies on white."""
    if array.ndim == 3 and _channels(array) == "first":
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype == bool:
        array = array * np.uint8(255)
    if array.dtype != np.uint8:
        share = array.astype(np.float64) / _white(array, given, whites)
        array = np.rint(255 * share).astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 4:
        opacity = array[..., 3:] / 255
        array = np.rint(array[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return np.ascontiguousarray(array)


def _white(array: np.ndarray, given: Given, whites: Whites) -> float:
    """The value that stands for white."""
    low, high = _range(array, given)
    if array.dtype.kind in "iu":
        if low < 0:
            raise ValueError(
                f"{given} holds whole numbers from {low:g} to {high:g}: which of them are black "
                "and white? Bring it to 0 to 255, as uint8, or to 0 to 1, as floats."
            )
        top = max(high, whites.whole)
        return 2.0 ** next(bits for bits in DEPTHS if top < 2**bits) - 1
    top = max(high, whites.real)
    if low >= -CLOSE and top <= 1 + CLOSE:
        return 1.0
    if low >= 0 and top <= 255 and (array == np.rint(array)).all():
        return 255.0
    raise ValueError(
        f"{given} holds floats from {low:.4g} to {high:.4g}; a picture's run from 0 to 1. If they "
        "are what the model expects, give float tensors (C, H, W) and no `preprocess`."
    )


def _range(array: np.ndarray | Tensor, given: Given) -> tuple[float, float]:
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{given} holds NaN or infinite values.")
    return low, high


def _float_tensor(
    tensor: Tensor, given: Given, whites: Whites, model_s_own: bool
) -> np.ndarray | Tensor:
    if tensor.ndim == 2:
        tensor = tensor[None]
    elif _channels(tensor) == "last":
        tensor = tensor.permute(2, 0, 1)
    low, high = _range(tensor, given)
    if model_s_own:
        return tensor.clone()
    if low >= 0 and max(high, whites.real) > 16 and len(tensor) in (1, 3, 4):
        return as_bytes(tensor.permute(1, 2, 0).numpy(), given, whites)  # 0 to 255, as floats
    if low < -CLOSE or high > 1 + CLOSE:
        raise ValueError(
            f"{given} is a float tensor from {low:.4g} to {high:.4g}, as if it were preprocessed "
            "already: leave `preprocess` out, or give the pictures from before."
        )
    return tensor.clone()
