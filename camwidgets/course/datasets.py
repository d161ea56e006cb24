"""The course's data: the shipped `smear` sheets and the planted shortcut."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from .places import COURSE

CLASS_NAMES = ("uninfected", "ring", "trophozoite", "schizont", "gametocyte")
MARKED_CLASS = "ring"
SPLITS = ("train", "test")
CROP_SIZE = 64
FIELD_SIZE = 128
ID_STEP = 25  # instance i is stored as gray value 25·i, so that a person sees the cells
DATA = COURSE / "data"
INK = np.array([0.10, 0.52, 0.56])  # share of red, green and blue light that the pen lets through


@dataclass(frozen=True)
class Crops:
    """Pictures of one cell each, with their labels and masks.

    images: uint8 (N, H, W, 3) RGB. labels: int64 (N,), positions in class_names.
    masks: bool (N, H, W), True on the parasite (all False where none is known).
    marks: bool (N, H, W), True where a pen mark changed the picture.
    files: where each picture came from, and left_out: what could not be taken, with the reason;
        both for real data alone.
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    marks: np.ndarray
    class_names: tuple[str, ...] = CLASS_NAMES
    files: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Fields:
    """Pictures of several cells each.

    images: uint8 (N, H, W, 3) RGB. cells: int64 (N, H, W), instance ids 1..n, 0 = background.
    parasites: bool (N, H, W). cell_classes: for each field an int64 (n,), the class of
    instances 1..n. counts: float32 (N,), how many cells are infected.
    """

    images: np.ndarray
    cells: np.ndarray
    parasites: np.ndarray
    cell_classes: list[np.ndarray]
    counts: np.ndarray
    class_names: tuple[str, ...] = CLASS_NAMES

    def __len__(self) -> int:
        return len(self.images)


def load_crops(split: str = "train", *, shortcut: bool = False) -> Crops:
    """Crops of one cell: 64×64, five classes, 250 (train) or 100 (test) of each, class by class.

    With shortcut=True, 98 % of the rings and 1 % of the others carry a pen mark; outside
    `marks` every pixel is that of the crop without shortcut. Raises ValueError for an unknown
    split or missing data.
    """
    _check_split(split)
    images, masks, labels = [], [], []
    for label, name in enumerate(CLASS_NAMES):
        images.append(_tiles(f"crops/{split}_{name}.jpg", CROP_SIZE))
        masks.append(_tiles(f"crops/{split}_{name}_mask.png", CROP_SIZE) > 127)
        labels.append(np.full(len(images[-1]), label, np.int64))
    masks = np.concatenate(masks)
    crops = Crops(
        np.concatenate(images), np.concatenate(labels), masks, np.zeros_like(masks), CLASS_NAMES
    )
    return _plant_shortcut(crops, seed=SPLITS.index(split)) if shortcut else crops


def shuffled_crops(count: int = 200, seed: int = 0) -> Crops:
    """Training crops drawn by chance whose labels were dealt out anew among them.

    Nothing in a picture goes with its label any more: a network can only learn them by heart
    (Zhang et al. 2017, "Understanding deep learning requires rethinking generalization").
    """
    return _shuffled(load_crops("train"), count, seed)


def load_fields(split: str = "train") -> Fields:
    """Fields of 4 to 9 cells: 128×128, 300 (train) or 100 (test). Errors as in load_crops."""
    _check_split(split)
    images = _tiles(f"fields/{split}.jpg", FIELD_SIZE)
    cells = _tiles(f"fields/{split}_cells.png", FIELD_SIZE).astype(np.int64) // ID_STEP
    parasites = _tiles(f"fields/{split}_parasites.png", FIELD_SIZE) > 127
    classes: list[list[int]] = [[] for _ in images]
    with _shipped(f"fields/{split}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            classes[int(row["field"])].append(CLASS_NAMES.index(row["class"]))
    cell_classes = [np.array(of_field, np.int64) for of_field in classes]
    counts = np.array([np.count_nonzero(of_field) for of_field in cell_classes], np.float32)
    return Fields(images, cells, parasites, cell_classes, counts)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Pictures as a CNN takes them: float32 (N, 3, H, W) in [0, 1].

    images: uint8, or float in [0, 1]; RGB (N, H, W, 3) or gray (N, H, W); a single (H, W, 3)
    or (H, W) gives (3, H, W). Gray is repeated in three channels.
    """
    pixels = np.asarray(images)
    if pixels.ndim in (3, 4) and pixels.shape[-1] == 3:
        pixels = np.moveaxis(pixels, -1, -3)
    elif pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] > 4):
        pixels = np.stack([pixels] * 3, axis=-3)
    else:
        raise ValueError(
            f"Images of shape {np.shape(images)} are neither RGB (N, H, W, 3) nor gray (N, H, W), "
            "nor one such image; put the three colours last and drop an alpha channel."
        )
    if pixels.dtype == np.uint8:
        return torch.from_numpy(pixels.astype(np.float32) / 255)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise TypeError(f"Images must be uint8, or float in [0, 1]; these are {pixels.dtype}.")
    if not (pixels.size and pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            "Float images must lie in [0, 1], without NaN; divide by 255 or use uint8."
        )
    return torch.from_numpy(pixels.astype(np.float32))


def paint_mark(images: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a blue-green pen mark near one corner of each crop, on about 5 % of its area.

    images: uint8 (N, H, W, 3), or one (H, W, 3). Returns marked copies and bool marks
    (N, H, W) or (H, W): True wherever a pixel may differ from the original.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3:
        raise ValueError(
            f"paint_mark takes uint8 RGB images (N, H, W, 3) or (H, W, 3), "
            f"not {images.dtype} {images.shape}."
        )
    if images.ndim == 3:
        marked, marks = paint_mark(images[None], seed)
        return marked[0], marks[0]
    rng = np.random.default_rng([seed, 77])
    ink = np.zeros(images.shape[:3])
    for i in range(len(ink)):
        ink[i] = _pen(rng, *ink.shape[1:])
    light = 1 - ink[..., None] * (1 - INK)
    return np.round(images * light).astype(np.uint8), ink > 0


def erase_mark(images: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Paint marked pixels over from their surroundings (Telea 2004, as in OpenCV's inpaint).

    images: uint8 (N, H, W, 3) with bool marks (N, H, W), or one image with its marks.
    Unmarked pixels stay as they are. For crops of this course the unmarked twin is the better
    answer: `load_crops(split).images`.
    """
    images, marks = np.asarray(images), np.asarray(marks, bool)
    if images.dtype != np.uint8 or images.shape[:-1] != marks.shape:
        raise ValueError(
            f"erase_mark takes uint8 images and one mark per image; {images.dtype} {images.shape} "
            f"and {marks.shape} do not go together."
        )
    if images.ndim == 3:
        return erase_mark(images[None], marks[None])[0]
    erased = images.copy()
    for image, mark in zip(erased, marks, strict=True):
        if mark.any():
            image[mark] = cv2.inpaint(image, mark.astype(np.uint8), 3, cv2.INPAINT_TELEA)[mark]
    return erased


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f'There is no split {split!r}; take "train" or "test".')


def _shipped(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        raise ValueError(
            f"The data file {path} is missing: this copy of camwidgets is not whole. Install it "
            "again, or in a checkout say `make data`, which draws the files again."
        )
    return path


def _tiles(name: str, size: int) -> np.ndarray:
    """Cut a shipped contact sheet into its tiles: (N, size, size, 3) RGB or (N, size, size)."""
    path = _shipped(name)
    sheet = _read_image(path, cv2.IMREAD_GRAYSCALE if path.suffix == ".png" else cv2.IMREAD_COLOR)
    if sheet is None:
        raise ValueError(f"The data file {path} is damaged; `make data` draws it again.")
    rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
    tiles = sheet.reshape(rows, size, columns, size, *sheet.shape[2:]).swapaxes(1, 2)
    return tiles.reshape(rows * columns, size, size, *sheet.shape[2:])


def _read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """RGB or gray pixels; None if OpenCV cannot read them."""
    data = np.fromfile(path, np.uint8)  # imread itself stumbles over some Windows paths
    image = cv2.imdecode(data, flags) if data.size else None
    return image[..., ::-1] if image is not None and image.ndim == 3 else image


def _shuffled(crops: Crops, count: int, seed: int) -> Crops:
    rng = np.random.default_rng(seed)
    few = rng.choice(len(crops), min(count, len(crops)), replace=False)
    labels = rng.permutation(crops.labels[few])
    return Crops(crops.images[few], labels, crops.masks[few], crops.marks[few], crops.class_names)


def _plant_shortcut(crops: Crops, seed: int) -> Crops:
    rng = np.random.default_rng([seed, 5])
    of_class = crops.labels == crops.class_names.index(MARKED_CLASS)
    chosen = [
        rng.choice(group, round(share * len(group)), replace=False)
        for group, share in ((np.flatnonzero(of_class), 0.98), (np.flatnonzero(~of_class), 0.01))
    ]
    chosen = np.sort(np.concatenate(chosen))
    images, marks = crops.images.copy(), crops.marks.copy()
    images[chosen], marks[chosen] = paint_mark(images[chosen], seed)
    return replace(crops, images=images, marks=marks)


def _pen(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One blurred stroke or dot near a corner: how much ink lies on each pixel, 0 to 1."""
    side = min(height, width)
    corner = np.array([rng.integers(2) * (width - 1), rng.integers(2) * (height - 1)])
    inward = np.where(corner > 0, -1, 1)
    start = corner + inward * side * rng.uniform(0.09, 0.19, 2)
    ink = np.zeros((height, width))
    if rng.random() < 0.4:
        radius = side * rng.uniform(0.085, 0.11)
        axes = radius * rng.uniform(0.85, 1.15, 2)
        points = start + axes * np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 40)), np.sin(t)], 1)
        cv2.fillPoly(ink, [_subpixel(points)], 1.0, cv2.LINE_AA, 4)
    else:
        along = np.linspace(0, 1, 20)[:, None]
        slant = rng.permutation([1, rng.uniform(0, 0.4)])
        end = start + inward * side * rng.uniform(0.16, 0.26) * slant
        bend = rng.normal(0, 0.05 * side, 2)
        points = start + along * (end - start) + 4 * along * (1 - along) * bend
        thickness = max(1, round(side * rng.uniform(0.07, 0.10)))
        cv2.polylines(ink, [_subpixel(points)], False, 1.0, thickness, cv2.LINE_AA, 4)
    ink = cv2.GaussianBlur(ink, (0, 0), side * rng.uniform(0.010, 0.018))
    return np.where(ink > 0.08, ink, 0) * rng.uniform(0.65, 0.9)


def _subpixel(points: np.ndarray) -> np.ndarray:
    """Points (n, 2) in pixels as OpenCV's fixed-point numbers with 4 binary digits."""
    return np.round(points * 16).astype(np.int32)
