"""Real data, read like the course's own: folders of pictures, the NIH cells, pets, a table."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm.auto import tqdm

from ..files import load_image
from .datasets import CROP_SIZE, Crops
from .download import fetch, unpack

NIH_URL = "https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip"
NIH_CLASSES = ("Uninfected", "Parasitized")
LITTER = {"thumbs.db", ".ds_store", "desktop.ini"}
OF_TEST = 4  # every fourth patient
NAMED = 8  # in a warning; all of them stand in left_out


@dataclass(frozen=True)
class Measured:
    """Pictures with a number each, for a regression.

    images: uint8 (N, H, W, 3) RGB. values: float32 (N,). files: where each came from.
    left_out: what was not taken, with the reason.
    """

    images: np.ndarray
    values: np.ndarray
    files: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


def load_image_folder(
    folder: str | Path, size: int = CROP_SIZE, *, per_class: int | None = None
) -> Crops:
    """Any folder with one sub-folder of pictures per class, as Crops without masks.

    Classes are the sub-folders in alphabetical order, with all that lies below them. Each picture
    is cut to its central square and scaled to size×size. What cannot be taken is named in a
    warning and, with the reason, in `left_out`: files that are no picture, pictures outside of the
    classes, the same picture in two classes. Thumbs.db and its like are passed over.

    Args:
        folder: holds a folder for each class.
        size: of the pictures that come out.
        per_class: takes that many, evenly spread over the sorted file names.

    Raises:
        ValueError: no such folder, no class with a picture.
    """
    folder = _existing(folder)
    names = sorted(path.name for path in folder.iterdir() if _is_class(path))
    files = [(path, k) for k, name in enumerate(names) for path in _files(folder / name)]
    loose = [path for path in _files(folder, below=False) if _may_be_picture(path)]
    left_out = {path.name: "lies in no class's folder" for path in loose}
    return _crops(folder, names, files, lambda path: load_image(path, size), per_class, left_out)


def load_nih_cells(
    folder: str | Path = "cell_images",
    size: int = CROP_SIZE,
    *,
    split: str | None = None,
    per_class: int | None = None,
    download: bool = False,
) -> Crops:
    """The NIH malaria cells (Rajaraman et al. 2018): 27,558 cells, Parasitized or Uninfected.

    Returns Crops with classes ("Uninfected", "Parasitized") and no masks; cells are padded with
    black, their background, to a square and scaled. All of them take 340 MB at size 64. Files that
    cannot be taken are named as in `load_image_folder`.

    Args:
        folder: the unpacked archive, or the folder around it.
        size: of the pictures that come out.
        split: "train" or "test" for the cells of three, or the fourth, of every four patients:
            cells of one patient look alike, so a test on them would flatter the network. None
            takes all.
        per_class: takes that many of each, evenly spread over the sorted file names.
        download: fetch the archive (353 MB, the publisher gives no checksum) if there is no such
            folder, and unpack it there.

    Raises:
        ValueError: no such folder, or without the two classes; an unknown split.
        ConnectionError: it cannot be downloaded.
    """
    if split not in (None, "train", "test"):
        raise ValueError(f'There is no split {split!r}; take "train", "test" or None for all.')
    folder = Path(folder)
    if download and not folder.is_dir():
        what = "the NIH malaria cells"
        archive = fetch(NIH_URL, folder.with_name(folder.name + ".zip"), what=what)
        unpack(archive, folder, what=what)
    folder = _nih_root(folder)
    found = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    files = [(path, k) for k, n in enumerate(NIH_CLASSES) for path in _files(found[n.lower()])]
    if split is not None:
        patients = sorted({_patient(path) for path, _ in files})
        tested = set(patients[OF_TEST - 1 :: OF_TEST]) or set(patients[-1:])
        files = [(path, k) for path, k in files if (_patient(path) in tested) == (split == "test")]
    return _crops(folder, NIH_CLASSES, files, lambda path: _padded(path, size), per_class)


def load_pets(
    folder: str | Path = "pets",
    size: int = 224,
    *,
    split: str = "trainval",
    per_class: int | None = None,
    download: bool = False,
) -> Crops:
    """Oxford-IIIT Pet (Parkhi et al. 2012) by torchvision: 37 breeds, with masks.

    Returns Crops of central squares; `masks` are the trimaps' pixels "pet" (1), without their
    uncertain border (3). Files that cannot be taken are named as in `load_image_folder`.

    Args:
        folder: torchvision's root: the data lie in folder/oxford-iiit-pet.
        size: of the pictures that come out.
        split: "trainval" (3,680 pictures) or "test" (3,669).
        per_class: takes that many of each, evenly spread.
        download: fetch what is not there yet, 792 MB of pictures and 19 MB of annotations, and
            compare it with the publisher's checksums.

    Raises:
        ValueError: the data are not there, or something else arrived.
        ConnectionError: they cannot be downloaded.
    """
    from torchvision.datasets import OxfordIIITPet

    folder = Path(folder)
    base = folder / "oxford-iiit-pet"
    there = all((base / name).is_dir() for name in ("images", "annotations"))
    if not there and not download:
        raise ValueError(
            f"{base} does not hold the folders images and annotations of Oxford-IIIT Pet. "
            f"load_pets({str(folder)!r}, download=True) fetches them: 811 MB from "
            "www.robots.ox.ac.uk."
        )
    if not there:
        for (url, md5), what in zip(
            OxfordIIITPet._RESOURCES, ("the pets' pictures", "the pets' annotations"), strict=True
        ):
            fetch(url, base / url.rpartition("/")[2], what=what, checksum=f"md5:{md5}")
    pets = OxfordIIITPet(folder, split, "segmentation", download=not there)
    trimaps = dict(zip(pets._images, pets._segs, strict=True))

    def read(path: Path) -> np.ndarray:
        image = load_image(path)
        try:
            trimap = load_image(trimaps[path])[..., 0]
        except ValueError as error:
            raise ValueError(f"its trimap: {_reason(error)}") from error
        if image.shape[:2] != trimap.shape:
            raise ValueError(f"its trimap is {trimap.shape}, the picture {image.shape[:2]}")
        mask = 255 * (trimap == 1).astype(np.uint8)
        return _square(np.dstack([image, mask]), size)

    breeds = [path.stem.rpartition("_")[0] for path in pets._images]
    names = sorted(set(breeds), key=str.lower)
    files = [(path, names.index(breed)) for path, breed in zip(pets._images, breeds, strict=True)]
    return _crops(base / "images", names, files, read, per_class)


def load_table(
    table: str | Path,
    size: int = CROP_SIZE,
    *,
    path: str | None = None,
    value: str | None = None,
    folder: str | Path | None = None,
) -> Measured:
    """A CSV file with a column of picture paths and one of numbers, for a regression.

    Commas, semicolons (with decimal points or commas) and tabs are understood. Pictures are cut to
    their central square and scaled to size×size. Lines that cannot be taken are named in a warning
    and, with the reason, in `left_out`.

    Args:
        table: the CSV file, with a line of column names.
        size: of the pictures that come out.
        path, value: the columns' names; by default the first and the second.
        folder: what the paths begin at; by default the table's own folder.

    Raises:
        ValueError: no such file or column, no line that can be taken.
    """
    table = Path(table)
    if not table.is_file():
        raise ValueError(f"There is no file {str(table)!r}: check the name and the folder.")
    text = table.read_text(encoding="utf-8-sig", errors="replace")
    head = text.partition("\n")[0]
    separator = next((sign for sign in "\t;" if sign in head), ",")
    rows = list(csv.reader(text.splitlines(), delimiter=separator))
    columns = [name.strip() for name in rows[0]] if rows else []
    places = [_column(columns, name, k, table) for k, name in enumerate((path, value))]
    folder = table.parent if folder is None else Path(folder)

    taken: dict[str, tuple[int, float]] = {}
    left_out: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"line {line}"
        if len(row) <= max(places):
            left_out[where] = f"has {len(row)} of {len(columns)} columns"
            continue
        name, word = (row[place].strip() for place in places)
        number = _number(word, decimal_comma=separator != ",")
        if number is None:
            left_out[f"{where}, {name}"] = f"{word!r} is no number"
        elif name in taken and taken[name][1] != number:
            left_out[f"{where}, {name}"] = f"has another value in line {taken[name][0]}"
        elif name in taken:
            left_out[f"{where}, {name}"] = f"is there already in line {taken[name][0]}"
        else:
            taken[name] = line, number
    images, files, values = [], [], []
    for name, (line, number) in tqdm(taken.items(), desc="reading", leave=False):
        try:
            images.append(load_image(folder / name.replace("\\", os.sep), size))
        except ValueError as error:
            left_out[f"line {line}, {name}"] = _reason(error)
            continue
        files.append(name)
        values.append(number)
    _tell(left_out)
    if not images:
        reasons = f": {_listed(left_out)}" if left_out else ""
        raise ValueError(f"No line of {table} could be taken{reasons}.")
    return Measured(np.stack(images), np.array(values, np.float32), tuple(files), left_out)


# Folders and files


def _existing(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    return folder


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__MACOSX"))


def _files(folder: Path, *, below: bool = True) -> list[Path]:
    """Files that may be meant as pictures, sorted: no litter, nothing hidden."""
    found = folder.rglob("*") if below else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.is_file() and path.name.lower() not in LITTER and not path.name.startswith(".")
    )


def _may_be_picture(path: Path) -> bool:
    try:
        load_image(path, 1)
    except ValueError:
        return False
    return True


def _nih_root(folder: Path) -> Path:
    """The folder that holds the two classes: the one given, or one below it."""
    if not folder.is_dir():
        raise ValueError(
            f"There is no folder {folder}. load_nih_cells({str(folder)!r}, download=True) fetches "
            "it: 353 MB from data.lhncbc.nlm.nih.gov."
        )
    wanted = {name.lower() for name in NIH_CLASSES}
    for candidate in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        if wanted <= {path.name.lower() for path in candidate.iterdir() if path.is_dir()}:
            return candidate
    there = {path.name.lower() for path in folder.iterdir() if path.is_dir()}
    missing = [name for name in NIH_CLASSES if name.lower() not in there]
    raise ValueError(
        f"{folder} has no folder {' and no folder '.join(missing)}; "
        "give the folder cell_images that holds Parasitized and Uninfected."
    )


def _patient(path: Path) -> str:
    """Of C33P1thinF_IMG_20150619_114756a_cell_179.png: C33P1."""
    return path.name.partition("thin")[0]


def _spread(files: list[tuple[Path, int]], per_class: int | None) -> list[tuple[Path, int]]:
    if per_class is None:
        return files
    taken = []
    for label in sorted({label for _, label in files}):
        own = [pair for pair in files if pair[1] == label]
        few = min(per_class, len(own))
        taken += [own[round(i)] for i in np.linspace(0, len(own) - 1, few)]
    return taken


def _crops(
    folder: Path,
    names: Iterable[str],
    files: list[tuple[Path, int]],
    read: Callable[[Path], np.ndarray],
    per_class: int | None,
    left_out: dict[str, str] | None = None,
) -> Crops:
    """Read the files with their labels; a fourth channel is the mask."""
    names, left_out = tuple(names), dict(left_out or {})
    images, labels, kept, contents = [], [], [], {}
    for path, label in tqdm(_spread(files, per_class), desc="reading", leave=False):
        name = path.relative_to(folder).as_posix()
        try:
            image = read(path)
        except ValueError as error:
            left_out[name] = _reason(error)
            continue
        content = hashlib.blake2b(path.read_bytes()).digest()
        twin = contents.setdefault(content, (name, label))
        if twin[1] != label:
            left_out[name] = f"is the same picture as {twin[0]}, of another class"
            continue
        images.append(image)
        labels.append(label)
        kept.append(name)
    for label, name in enumerate(names):
        if label not in labels:
            left_out.setdefault(name + "/", "holds no picture that could be taken")
    _tell(left_out)
    if not images:
        reasons = f": {_listed(left_out)}" if left_out else ""
        raise ValueError(f"No pictures in the sub-folders of {folder}{reasons}.")
    stacked = np.stack(images)
    masks = stacked[..., 3] > 127 if stacked.shape[-1] == 4 else np.zeros(stacked.shape[:3], bool)
    return Crops(
        np.ascontiguousarray(stacked[..., :3]), np.array(labels, np.int64), masks,
        np.zeros_like(masks), names, tuple(kept), left_out,
    )  # fmt: skip


def _padded(path: Path, size: int) -> np.ndarray:
    image = load_image(path)
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    edges = top, side - height - top, left, side - width - left
    square = cv2.copyMakeBorder(image, *edges, cv2.BORDER_CONSTANT)
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


def _square(image: np.ndarray, size: int) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)


# The table


def _column(columns: list[str], name: str | None, place: int, table: Path) -> int:
    if name is None and place < len(columns):
        return place
    if name in columns:
        return columns.index(name)
    wanted = f"no column {name!r}" if name else "fewer than two columns"
    raise ValueError(f"{table} has {wanted}; its columns are {', '.join(columns) or 'none'}.")


def _number(word: str, *, decimal_comma: bool) -> float | None:
    try:
        number = float(word.replace(",", ".") if decimal_comma else word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# What was left out


def _reason(error: ValueError) -> str:
    """The sentence of load_image without the name, which stands before it."""
    text = str(error)
    if text.startswith("There is no file"):
        return "there is no such file"
    return text.partition("' ")[2].partition(": it is damaged")[0] or text


def _listed(left_out: dict[str, str]) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(left_out.items())[:NAMED]]
    more = len(left_out) - len(shown)
    return ", ".join(shown) + (f", and {more} more: all are in .left_out" if more else "")


def _tell(left_out: dict[str, str]) -> None:
    if left_out:
        warnings.warn(f"Left out ({len(left_out)}): {_listed(left_out)}", stacklevel=4)
