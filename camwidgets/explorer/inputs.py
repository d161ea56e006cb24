"""Pictures in, tensors out, and back: what the model sees, as a picture.

Each picture is read and preprocessed when it is first needed, so that a folder of photographs
costs nothing before someone looks at it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..pictures import load_image
from .given import CLOSE, Given, Whites, as_bytes, class_of, classes_of, listed, opened, read
from .guard import Guard

Preprocess = Callable[[Any], Any]
MOST_COLOURS = 256
"""of a mask; a gray one with soft edges has as many"""


@dataclass(frozen=True)
class Item:
    """One picture, as the model sees it."""

    tensor: Tensor
    """float (C, H, W): what the model gets"""
    picture: np.ndarray
    """uint8 (H, W, 3): the tensor with its normalisation undone"""
    mask: np.ndarray | None
    """bool (H, W), in the geometry of the picture"""
    black: Tensor
    """what stands for black, a number or one for each element of the tensor"""
    white: Tensor

    def painted(self, picture: np.ndarray) -> Tensor:
        """The tensor of this picture after someone painted on it; what was left alone is exact.

        Args:
            picture: uint8 (H, W, 3), the size of this one.
        """
        picture = np.asarray(picture)
        if picture.shape != self.picture.shape or picture.dtype != np.uint8:
            raise ValueError(
                f"A painted picture must be uint8 {self.picture.shape}, as the one that is shown, "
                f"not {picture.dtype} {picture.shape}."
            )
        share = torch.from_numpy(picture / 255).permute(2, 0, 1).to(self.tensor)
        if len(self.tensor) != 3:
            share = share.mean(dim=0, keepdim=True)
        changed = torch.from_numpy((picture != self.picture).any(axis=2)).to(self.tensor.device)
        paint = self.black + share * (self.white - self.black)
        return torch.where(changed, paint, self.tensor)


class Inputs:
    """The pictures of an Explorer, each prepared when it is first asked for. For any thread."""

    def __init__(
        self,
        given: list[Given],
        preprocess: Preprocess | None,
        masks: list[Any],
        class_names: list[str] | None,
    ) -> None:
        self.class_names = class_names
        """those that came with a data set"""
        self._given, self._preprocess, self._masks = given, preprocess, masks
        self._whites = Whites.of(given)
        self._items: list[Item | None] = [None] * len(given)
        self._probes: dict[Any, tuple[Tensor, Tensor]] = {}
        self._steady = preprocess is None
        self._guard = Guard()

    def __len__(self) -> int:
        return len(self._given)

    def title(self, index: int) -> str | None:
        """The name of the picture's file, if it came from one."""
        return self._given[index].title

    def label(self, index: int) -> int | str | None:
        """The true class, as far as it is known before or after reading the picture."""
        return self._given[index].label

    def named(self, index: int) -> str:
        """How messages call the picture."""
        return str(self._given[index])

    def item(self, index: int) -> Item:
        """The picture, prepared; it is kept, as a random `preprocess` would give another one.

        Raises:
            ValueError: it cannot be; the sentence names it.
        """
        with self._guard.held():
            if self._items[index] is None:
                try:
                    self._items[index] = self._prepared(index)
                except Exception as error:
                    name = self.named(index)
                    if str(error).startswith((name, f"Mask {index}")):
                        raise
                    raise ValueError(f"{name}: {_said(error)}") from error
            return self._items[index]

    def _prepared(self, index: int) -> Item:
        picture, given = read(self._given[index], self._whites, self._preprocess is None)
        self._given[index] = given
        mask = _mask(self._masks[index], given, picture)
        if self._preprocess is None:
            tensor = picture if isinstance(picture, Tensor) else _to_tensor(picture)
            black, white = torch.zeros(()), torch.ones(())
            if tensor.min() < -CLOSE or tensor.max() > 1 + CLOSE:
                black, white = _extremes(tensor)
            return Item(tensor, _rgb((tensor - black) / (white - black)), mask, black, white)

        apply = _Apply(self._preprocess, given)
        tensor = apply(picture)
        if mask is not None and not self._steady:
            _refuse_chance(apply, picture, tensor)
            self._steady = True
        array = _bytes_of(picture) if isinstance(picture, Tensor) else picture
        probes = self._probed(apply, array)
        black, white = _ends(*probes)
        if mask is not None:
            mask = _moved(apply, array, tensor, mask, probes)
        if not _fits(tensor, black, white):
            black, white = _extremes(tensor)
        return Item(tensor, _rgb((tensor - black) / (white - black)), mask, black, white)

    def _probed(self, apply: _Apply, array: np.ndarray) -> tuple[Tensor, Tensor]:
        """What `preprocess` makes of a black and of a white picture of this size."""
        if array.shape not in self._probes:
            while len(self._probes) >= 4:
                self._probes.pop(next(iter(self._probes)))
            ends = apply.tried(np.zeros_like(array)), apply.tried(np.full_like(array, 255))
            self._probes[array.shape] = ends
        return self._probes[array.shape]


def prepare(
    images: Any,
    preprocess: Preprocess | None = None,
    masks: Any = None,
    labels: Any = None,
) -> Inputs:
    """Pictures as people have them → tensors for the model, and the pictures they amount to.

    A picture is an array, a tensor, a PIL image, or the name of a file. Arrays and tensors may be
    gray (H, W), RGB or RGBA, the channels last or first; bool, bytes, whole numbers from 0 on (of
    the smallest depth of 8, 12, 16, 32 or 64 bits that holds them all) or floats from 0 to 1. What
    is transparent is laid on white. Without `preprocess`, a float tensor is what the model takes,
    whatever its numbers; if they do not run from 0 to 1, it is shown from its minimum to its
    maximum. Several pictures come as a list, an array of them, a batch, (picture, label) pairs, or
    a data set.

    The normalisation is undone by two probes: what `preprocess` makes of an all-black and of an
    all-white picture are the two ends of each element's scale. Where that gives no scale (each
    picture standardised by itself, say), the tensor is shown from its minimum to its maximum.

    Args:
        images: one picture, or up to 1,000.
        preprocess: one picture → what the model takes, a float tensor (C, H, W). It is given a
            PIL image, as torchvision's transforms expect, and where it does not take that, the
            array, or a tensor. Weights of torchvision bring theirs. None divides by 255.
        masks: one per picture: (H, W), true inside (of numbers all but 0, of shares those above
            0.5); or in colours, (H, W, 3) or (H, W, 4), a PIL image or a file, black or transparent
            outside; or None for a picture without one.
        labels: the true class of each picture, its number or name, or None if it is not known.

    Raises:
        TypeError, ValueError: what does not fit, in a sentence that names the picture.
    """
    if not callable(preprocess) and callable(getattr(preprocess, "transforms", None)):
        preprocess = preprocess.transforms()
    if preprocess is not None and not callable(preprocess):
        raise TypeError(
            "preprocess must be a function from one picture to the model's tensor, not "
            f"{type(preprocess).__name__}."
        )
    given = listed(images)
    if labels is not None:
        known = _labels(labels, len(given))
        given = [Given(g.thing, g.place, label) for g, label in zip(given, known, strict=True)]
    return Inputs(given, preprocess, _listed_masks(masks, len(given)), classes_of(images))


def _said(error: Exception) -> str:
    """An error in words; of one that is no sentence, as a KeyError's, with its kind."""
    if isinstance(error, (ValueError, TypeError, RuntimeError, OSError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _refuse_without_order(name: str, things: Any) -> None:
    if isinstance(things, (Mapping, Set)):
        raise TypeError(
            f"{name} must be a list in the order of the images, not a {type(things).__name__}."
        )


def _labels(labels: Any, count: int) -> list[int | str | None]:
    _refuse_without_order("labels", labels)
    alone = isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable)
    labels = [labels] if alone or getattr(labels, "ndim", 1) == 0 else list(labels)
    if len(labels) != count:
        raise ValueError(f"labels must hold one class per image: {count}, not {len(labels)}.")
    for k, label in enumerate(labels):
        if label is not None and class_of(label) is None:
            raise ValueError(
                f"labels must be class numbers, class names or None; label {k} is {label!r}."
            )
    return [class_of(label) for label in labels]


# -- tensor and picture ---------------------------------------------------------------------------


def _to_tensor(array: np.ndarray) -> Tensor:
    return _chw(array).float() / 255


def _chw(array: np.ndarray) -> Tensor:
    chw = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.array(chw, order="C"))


def _bytes_of(tensor: Tensor) -> np.ndarray:
    """A float tensor (C, H, W) from 0 to 1 as a picture."""
    last = (255 * tensor).round().byte().permute(1, 2, 0).numpy()
    return as_bytes(last, Given(None, 0), Whites())


def _rgb(shown: Tensor) -> np.ndarray:
    """Three channels are colours; any other number of them is shown as its mean, in gray."""
    colours = shown if len(shown) == 3 else shown.mean(dim=0, keepdim=True).expand(3, -1, -1)
    return (255 * colours.clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().contiguous().numpy()


def _extremes(tensor: Tensor) -> tuple[Tensor, Tensor]:
    low, high = tensor.min(), tensor.max()
    return low, high if high > low else low + 1


def _ends(black: Tensor, white: Tensor) -> tuple[Tensor, Tensor]:
    """The two probes; where they agree, as in a border of one colour, those of the channel."""
    if black.shape != white.shape:
        return black, white
    flat = black == white
    ends = black.clone(), white.clone()
    for c, here in enumerate(flat):
        if here.any() and not here.all():
            for end in ends:
                end[c][here] = end[c][~here].median()
    return ends


def _fits(tensor: Tensor, black: Tensor, white: Tensor) -> bool:
    """Whether the tensor lies between what black and white came to."""
    if black.shape != tensor.shape or white.shape != tensor.shape:
        return False
    shown = (tensor - black) / (white - black)
    return bool(torch.isfinite(shown).all() and shown.min() >= -0.01 and shown.max() <= 1.01)


# -- preprocessing --------------------------------------------------------------------------------


class _Apply:
    """The user's function, given a picture in the first form that it takes without an error.

    PIL comes before arrays because torchvision's newer transforms let an array pass unchanged.
    """

    def __init__(self, function: Preprocess, given: Given) -> None:
        self.given = given
        self._function = function
        self._forms = ["a PIL image", "an array", "bytes (C, H, W)", "floats (C, H, W)"]
        if isinstance(given.thing, Tensor) and given.thing.is_floating_point():
            self._forms = ["floats (C, H, W)", "a PIL image", "an array"]
        elif isinstance(given.thing, Tensor):
            self._forms = ["a PIL image", "bytes (C, H, W)", "floats (C, H, W)", "an array"]

    def __call__(self, picture: np.ndarray | Tensor) -> Tensor:
        """What the model gets, float (C, H, W)."""
        problems: dict[str, Exception] = {}
        for form in self._forms:
            try:
                result = self._function(_formed(picture, form))
            except Exception as error:
                problems[form] = error
            else:
                self._forms = [form]
                return _result(result)
        first = problems.get("an array") or next(iter(problems.values()))
        raise ValueError(
            f"{self.given}: `preprocess` failed on it, given as {', as '.join(problems)}: "
            f"{type(first).__name__}: {first}"
        ) from first

    def tried(self, picture: np.ndarray) -> Tensor:
        """The same of a picture made up here; NaN where `preprocess` cannot take it.

        One that divides by a picture's spread, say, has none in a picture of one colour.
        """
        try:
            return self(picture)
        except ValueError:
            return torch.full((1, 1, 1), torch.nan)


def _formed(picture: np.ndarray | Tensor, form: str) -> Any:
    if form == "floats (C, H, W)":
        return picture.clone() if isinstance(picture, Tensor) else _to_tensor(picture)
    array = _bytes_of(picture) if isinstance(picture, Tensor) else picture
    if form == "a PIL image":
        return Image.fromarray(array)
    return array.copy() if form == "an array" else _chw(array)


def _result(result: Any) -> Tensor:
    """What `preprocess` gave, as a float tensor (C, H, W)."""
    if isinstance(result, Mapping) and "pixel_values" in result:
        result = result["pixel_values"]
        result = result[0] if isinstance(result, (list, tuple)) else result
    if isinstance(result, np.ndarray) and result.dtype.kind == "f":
        result = torch.from_numpy(np.ascontiguousarray(result))
    if isinstance(result, Tensor) and result.ndim == 4 and len(result) == 1:
        result = result[0]
    if not isinstance(result, Tensor) or not result.is_floating_point() or result.ndim != 3:
        found = type(result).__name__
        if isinstance(result, (Tensor, np.ndarray)):
            found = f"{result.dtype} {tuple(result.shape)}"
        raise ValueError(
            f"`preprocess` must turn one picture into a float tensor (C, H, W); it gave: {found}."
        )
    shape = tuple(result.shape)
    if shape[2] in (1, 3) and shape[0] > 4:
        raise ValueError(
            f"`preprocess` must give a float tensor (C, H, W), and {shape} has its channels last: "
            "add .permute(2, 0, 1)."
        )
    if 0 in shape or not torch.isfinite(result).all():
        what = f"is empty, {shape}" if 0 in shape else "holds NaN or infinite values"
        raise ValueError(f"what `preprocess` gave {what}.")
    return result.detach().as_subclass(Tensor).clone()


def _refuse_chance(apply: _Apply, picture: np.ndarray | Tensor, first: Tensor) -> None:
    """Masks cannot follow a `preprocess` that draws anew at each call: refuse it.

    Two calls may agree by luck, as with a random flip; so there are more of them, and many if
    the first one drew random numbers.
    """
    before = _random_state()
    again = apply(picture)
    for _ in range(20 if _random_state() != before else 4):
        if not torch.equal(again, first):
            raise ValueError(
                f"{apply.given}: `preprocess` is random (two calls gave different tensors), and "
                "its mask would follow another draw: give a `preprocess` without random steps, or "
                "leave the masks out."
            )
        again = apply(picture)


def _random_state() -> tuple[Any, ...]:
    numpy = np.random.get_state(legacy=False)["state"]
    return (
        random.getstate(),
        torch.get_rng_state().tolist(),
        repr(numpy["pos"]),
        bytes(numpy["key"]),
    )


# -- masks ----------------------------------------------------------------------------------------


def _listed_masks(masks: Any, count: int) -> list[Any]:
    if masks is None:
        return [None] * count
    _refuse_without_order("masks", masks)
    shape = getattr(masks, "shape", ())
    one = isinstance(masks, (str, Path, Image.Image)) or len(shape) == 2
    if count == 1 and len(shape) == 3:
        one = shape[2] in (1, 3, 4) or (shape[0] == 3 and isinstance(masks, Tensor))
    if not one and not isinstance(masks, Iterable):
        raise TypeError(f"masks must be a list, one mask per image, not {masks!r}.")
    masks = [masks] if one else list(masks)
    if len(masks) != count:
        raise ValueError(f"masks must hold one mask per image: {count}, not {len(masks)}.")
    return masks


def _mask(mask: Any, given: Given, picture: np.ndarray | Tensor) -> np.ndarray | None:
    """The mask as bool (H, W), checked against its picture."""
    if mask is None:
        return None
    name = f"Mask {given.place}"
    try:
        mask = _mask_array(mask)
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{name}: {error}") from error
    size = tuple(picture.shape[1:]) if isinstance(picture, Tensor) else picture.shape[:2]
    pixels = mask[..., None] if mask.ndim == 2 else mask
    if pixels.shape[1:] == size and len(pixels) in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    in_colours = pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4)
    if not in_colours or pixels.shape[:2] != size:
        found = pixels.shape[:2] if in_colours else mask.shape
        raise ValueError(f"{name} has shape {found}; its image needs {size}, true inside.")
    if mask.dtype.kind not in "buif" or not np.isfinite(mask).all():
        raise ValueError(f"{name} must hold true and false, or numbers, and no NaN.")
    if pixels.shape[2] == 4:
        pixels = _opaque(pixels, name)
    if (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    if mask.dtype.kind == "f" and (pixels != np.rint(pixels)).any():
        return (pixels > 0.5).any(axis=2)
    if pixels.shape[2] == 3:
        codes = np.unique(pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1))
        if len(codes) > MOST_COLOURS:
            raise ValueError(
                f"{name} has {len(codes)} colours, as a photograph: a mask is black outside."
            )
    inside = (pixels != 0).any(axis=2)
    low, high = pixels.min(), pixels.max()
    if low < 0 or (inside.all() and (pixels != pixels[0, 0]).any()):
        found = f"holds the numbers {low:g} to {high:g}"
        found += " and no 0, as a trimap does" if low > 0 else ""
        found = found if pixels.shape[2] == 1 else "has several colours and no black"
        raise ValueError(f"{name} {found}: give what is true inside, for example trimap == 1.")
    return inside


def _mask_array(mask: Any) -> np.ndarray:
    """A mask as it was given, as numbers; of a JPEG, whose blacks are not quite 0, as bool."""
    noisy = getattr(mask, "format", None) in ("JPEG", "MPO")
    if isinstance(mask, (str, Path)):
        noisy = Path(mask).suffix.lower() in (".jpg", ".jpeg")
        mask = _with_opacity(mask)
    if isinstance(mask, Image.Image):
        mask = opened(mask)
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu()
        mask = mask.float() if mask.is_floating_point() else mask
    mask = np.asarray(mask)
    return mask >= 128 if noisy else mask


def _with_opacity(path: str | Path) -> np.ndarray:
    """A file as RGB, or as RGBA if some of it is transparent."""
    try:
        with Image.open(path) as image:
            if image.has_transparency_data:
                return opened(image)
    except (OSError, Image.DecompressionBombError):
        pass  # no such file, or none of Pillow's kinds: said, or read, by the next line
    return load_image(path)


def _opaque(pixels: np.ndarray, name: str) -> np.ndarray:
    """Of RGBA what says where a mask is: the opacity if that differs, else the colours."""
    opacity, colours = pixels[..., 3:], pixels[..., :3]
    if (opacity == opacity[0, 0]).all():
        return colours
    painted = (colours != 0).any(axis=2)[opacity[..., 0] != 0]
    if painted.any() and not painted.all():
        raise ValueError(
            f"{name} is transparent in places and black in others: which is outside? Give what is "
            "true inside, for example mask[..., 3] > 0."
        )
    return opacity


def _moved(
    apply: _Apply,
    array: np.ndarray,
    tensor: Tensor,
    mask: np.ndarray,
    probes: tuple[Tensor, Tensor],
) -> np.ndarray:
    """The mask, sent through the same resizing and cropping as its picture."""
    if not mask.any():
        return np.zeros(tuple(tensor.shape[1:]), bool)
    as_picture = np.zeros_like(array)
    as_picture[mask] = 255
    moved = apply.tried(as_picture)
    if _fits(moved, *_ends(*probes)):
        black, white = probes
        share = torch.where(black == white, 0, (moved - black) / (white - black))
        return (share.mean(dim=0) >= 0.5).cpu().numpy()
    same_size = mask.shape == tuple(tensor.shape[1:])
    inside = _brighter(moved - apply.tried(255 - as_picture))
    if inside is not None and inside.shape == tuple(tensor.shape[1:]):
        inverted = same_size and (inside != mask).all()
        return mask if inverted else inside
    if same_size:
        return mask
    raise ValueError(
        f"{apply.given}: its mask cannot follow this `preprocess`: give images and masks at the "
        f"model's size, {tuple(tensor.shape[1:])}."
    )


def _brighter(difference: Tensor) -> np.ndarray | None:
    """Where a picture standardised by itself is the brighter one, than its negative.

    None if that is not clear nearly everywhere, as where `preprocess` leaves edges alone.
    """
    difference = difference.mean(dim=0)
    low, high = difference.min(), difference.max()
    if not low < 0 < high:
        return None
    share = (difference - low) / (high - low)
    clear = ((share - 0.5).abs() > 0.25).float().mean() > 0.75
    return (share >= 0.5).cpu().numpy() if clear else None
