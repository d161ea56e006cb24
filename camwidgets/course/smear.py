"""Draw thin blood smears: red cells, malaria parasites and debris, as a microscope shows them.

A picture is made of layers. Each layer is a stain: an array that says how much of it the light
meets at each point. Light is dimmed by what it meets (Beer and Lambert), then the lens blurs it,
the lamp tints it and the sensor adds noise. Shapes are signed distances: negative inside, in units
of the cell's radius. All arithmetic is float64, so that other processors round to the same pixels.

`python -m camwidgets.course.smear` draws the shipped data again and says whether it is the same.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .datasets import CLASS_NAMES, CROP_SIZE, DATA, FIELD_SIZE, ID_STEP, SPLITS

FINE = 4  # everything is drawn this many times finer, then averaged down
PER_CLASS = {"train": 250, "test": 100}
FIELDS = {"train": 300, "test": 100}
PHOTOS = 3

# Optical density of one unit of each stain for red, green and blue light.
STAINS = {
    "plasma": (0.05, 0.07, 0.04),
    "haemoglobin": (0.15, 0.36, 0.29),
    "cytoplasm": (0.46, 0.40, 0.12),
    "chromatin": (0.50, 1.30, 0.42),
    "pigment": (0.95, 1.25, 1.55),
    "platelet": (0.36, 0.66, 0.24),
    "dye": (0.85, 1.30, 0.60),
}


@dataclass(frozen=True)
class Cell:
    """What to draw where: centre (x, y) and radius in pixels, class as in CLASS_NAMES."""

    x: float
    y: float
    radius: float
    kind: str = "uninfected"


@dataclass(frozen=True)
class Parasite:
    """body: signed distance; stains: how much of each stain, on the same grid."""

    body: np.ndarray
    stains: dict[str, np.ndarray]


# ---- shapes ---------------------------------------------------------------------------------


def soft(distance: np.ndarray, edge: float = 0.05) -> np.ndarray:
    """1 inside, 0 outside, a smooth step of width `edge` between."""
    t = np.clip(0.5 - distance / edge, 0, 1)
    return t * t * (3 - 2 * t)


def blob(rng: np.random.Generator, u, v, radius: float, wobble: float) -> np.ndarray:
    """Signed distance of a disc whose rim waves in and out (harmonics 2 to 6)."""
    distance = np.hypot(u, v)
    turn = (u + 1j * v) / np.maximum(distance, 1e-9)  # exp(i·angle); its k-th power waves k times
    wave, rim = turn, np.ones_like(u)
    for k in range(2, 7):
        wave = wave * turn
        rim += rng.normal(0, wobble / k) * (wave * np.exp(2j * np.pi * rng.random())).real
    return distance - radius * rim


def smooth_union(a: np.ndarray, b: np.ndarray, blend: float = 0.2) -> np.ndarray:
    """Signed distance of both shapes together, the notch between them filled."""
    h = np.clip(blend - np.abs(a - b), 0, None) / blend
    return np.minimum(a, b) - h * h * blend / 4


def clouds(rng: np.random.Generator, shape: tuple[int, ...], grain: int) -> np.ndarray:
    """Smooth noise between 0 and 1 with structures of about `grain` points."""
    small = rng.random([max(4, n // grain + 3) for n in shape])
    return np.clip(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def granules(rng: np.random.Generator, u, v, number: int, spread, size) -> np.ndarray:
    """Small grains around the origin: spread is (along u, along v), size a range of radii."""
    grains = np.zeros_like(u)
    for _ in range(number):
        x, y = rng.normal(0, 0.5, 2) * spread
        distance = np.hypot(u - x, v - y) - rng.uniform(*size)
        near = distance < 0.1
        grains[near] = np.maximum(grains[near], soft(distance[near]))
    return grains


# ---- parasites: each takes the coordinates (u, v) in cell radii ------------------------------


def ring(rng: np.random.Generator, u, v) -> Parasite:
    """A fine ring of cytoplasm round a vacuole, one or two chromatin dots on it."""
    body = np.full_like(u, np.inf)
    cytoplasm, chromatin = np.zeros_like(u), np.zeros_like(u)
    direction = rng.uniform(0, 2 * np.pi)
    for _ in range(2 if rng.random() < 0.15 else 1):
        size, line = rng.uniform(0.19, 0.31), rng.uniform(0.045, 0.075)
        out = rng.uniform(0.74, 0.84) if rng.random() < 0.2 else rng.uniform(0.1, 0.62)
        x, y = u - out * np.cos(direction), v - out * np.sin(direction)
        edge = blob(rng, x, y, size, 0.12)
        dot = rng.uniform(0, 2 * np.pi)
        crescent = 0.75 - 0.35 * np.cos(np.arctan2(y, x) - dot)
        cytoplasm += np.exp(-((edge / line) ** 2)) * crescent + 0.10 * soft(edge)
        for turn in (0, rng.uniform(0.9, 3.1))[: 2 if rng.random() < 0.25 else 1]:
            at = dot + turn
            distance = np.hypot(x - size * np.cos(at), (y - size * np.sin(at)))
            chromatin = np.maximum(chromatin, soft(distance - rng.uniform(0.075, 0.105)))
            edge = np.minimum(edge, distance - 0.06)
        body = np.minimum(body, edge - line)
        direction += np.pi + rng.uniform(-0.8, 0.8)
    return Parasite(body, {"cytoplasm": 1.15 * cytoplasm, "chromatin": 1.1 * chromatin})


def trophozoite(rng: np.random.Generator, u, v) -> Parasite:
    """An amoeboid body with a vacuole, one nucleus and brown-black haemozoin."""
    out, turn = rng.uniform(0.12, 0.48), rng.uniform(0, 2 * np.pi)
    x, y = u - out * np.cos(turn), v - out * np.sin(turn)
    body = blob(rng, x, y, rng.uniform(0.34, 0.50), 0.34)
    start = rng.uniform(0, 2 * np.pi)
    (vx, vy), (nx, ny), (px, py) = (
        (0.22 * np.cos(start + k), 0.22 * np.sin(start + k)) for k in (0, 2.3, 4.2)
    )
    vacuole = soft(blob(rng, x - vx, y - vy, rng.uniform(0.08, 0.16), 0.2), 0.1)
    cytoplasm = soft(body, 0.12) * (0.6 + 0.6 * clouds(rng, u.shape, 14)) * (1 - 0.8 * vacuole)
    nucleus = soft(blob(rng, x - nx, y - ny, rng.uniform(0.11, 0.16), 0.3), 0.12) * soft(body)
    pigment = granules(rng, x - px, y - py, rng.integers(4, 11), (0.15, 0.15), (0.025, 0.05))
    stains = {"cytoplasm": cytoplasm, "chromatin": 0.85 * nucleus, "pigment": pigment * soft(body)}
    return Parasite(body, stains)


def schizont(rng: np.random.Generator, u, v) -> Parasite:
    """Many merozoites in a rosette round one clump of pigment."""
    number, size = rng.integers(8, 21), rng.uniform(0.46, 0.70)
    x, y = u - rng.normal(0, 0.08), v - rng.normal(0, 0.08)
    body = blob(rng, x, y, size + 0.13, 0.12)
    cytoplasm, chromatin = 0.3 * soft(body, 0.2), np.zeros_like(u)
    phase = rng.uniform(0, 2 * np.pi)
    for i in range(number):
        out = size * np.sqrt((i + 1.5) / (number + 0.5)) + rng.normal(0, 0.03)
        angle = phase + 2.39996 * i + rng.normal(0, 0.2)  # the golden angle fills a disc evenly
        mx, my = x - out * np.cos(angle), y - out * np.sin(angle)
        near = np.hypot(mx, my) < 0.3
        mx, my = mx[near], my[near]
        cytoplasm[near] = np.maximum(cytoplasm[near], 0.75 * soft(np.hypot(mx, my) - 0.13, 0.12))
        nucleus = soft(blob(rng, mx, my, rng.uniform(0.065, 0.11), 0.4), 0.09)
        chromatin[near] = np.maximum(chromatin[near], nucleus * rng.uniform(0.6, 1.0))
    pigment = granules(rng, x, y, rng.integers(6, 12), (0.12, 0.12), (0.04, 0.08))
    return Parasite(body, {"cytoplasm": cytoplasm, "chromatin": chromatin, "pigment": pigment})


def gametocyte(rng: np.random.Generator, u, v) -> Parasite:
    """A banana that stretches the cell, chromatin and pigment in its middle."""
    length, width, bend = rng.uniform(1.05, 1.28), rng.uniform(0.33, 0.46), rng.uniform(0.06, 0.34)
    y = v + bend * (u**2 - 0.4)
    blunt = rng.uniform(2.5, 4.5)  # 2 is an ellipse, more is a sausage
    body = width * ((np.abs(u / length) ** blunt + np.abs(y / width) ** 2) ** 0.5 - 1)
    inside = soft(body, 0.1)
    male = rng.random() < 0.4  # paler and pinker, its nucleus and pigment spread wider
    middle = np.exp(-((u / (0.6 if male else 0.35)) ** 2) - (y / 0.35) ** 2)
    cytoplasm = inside * (0.5 + 0.5 * clouds(rng, u.shape, 16)) * (0.6 if male else 1.0)
    chromatin = inside * middle * (0.42 if male else 0.32)
    spread = (0.75, 0.3) if male else (0.40, 0.24)
    pigment = granules(rng, u, y, rng.integers(8, 20), spread, (0.02, 0.05)) * inside
    return Parasite(body, {"cytoplasm": cytoplasm, "chromatin": chromatin, "pigment": pigment})


PARASITES = {f.__name__: f for f in (ring, trophozoite, schizont, gametocyte)}


# ---- the slide --------------------------------------------------------------------------------


class Slide:
    """Stain by stain what lies on the glass, and which cell and parasite is where."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        shape = (height * FINE, width * FINE)
        self.stains = {name: np.zeros(shape) for name in STAINS}
        self.stains["plasma"] += clouds(rng, shape, 70)
        self.cells = np.zeros(shape, np.int64)
        self.parasites = np.zeros(shape, bool)

    def around(self, x: float, y: float, radius: float, reach: float):
        """The window within `reach` radii of (x, y), and its coordinates in radii."""
        height, width = self.cells.shape
        top, left = (max(0, int((c - reach * radius) * FINE)) for c in (y, x))
        bottom, right = (
            min(n, int((c + reach * radius) * FINE)) for n, c in ((height, y), (width, x))
        )
        v, u = np.mgrid[top:bottom, left:right]
        u, v = ((u + 0.5) / FINE - x) / radius, ((v + 0.5) / FINE - y) / radius
        return np.s_[top:bottom, left:right], u, v

    def add_cell(self, cell: Cell, number: int) -> None:
        """Lay a red cell, with its parasite, over what is there."""
        rng = self.rng
        window, u, v = self.around(cell.x, cell.y, cell.radius, 1.55)
        if not u.size:
            return
        turn = rng.uniform(0, 2 * np.pi)
        u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        oval = 1 + abs(rng.normal(0, 0.06)) + (rng.uniform(0.1, 0.3) if rng.random() < 0.12 else 0)
        membrane = blob(rng, u / oval, v * oval, 1.0, 0.05)
        hollow, hollow_size = rng.uniform(0.40, 0.95), rng.uniform(0.36, 0.58)
        hx, hy = rng.normal(0, 0.08, 2)
        parasite = None
        if cell.kind == "gametocyte":
            membrane = 0.7 * blob(rng, u / 0.85, (v + rng.uniform(0, 0.2)) / 0.62, 1.0, 0.05)
        if cell.kind != "uninfected":
            parasite = PARASITES[cell.kind](rng, u, v)
            membrane = smooth_union(membrane, parasite.body - 0.06)
        inside = soft(membrane, 0.06)
        depth = np.clip(-membrane, 0, 1)
        haemoglobin = inside * (1 - 0.25 * np.exp(-depth / 0.12))
        haemoglobin *= 1 - hollow * np.exp(-((np.hypot(u - hx, v - hy) / hollow_size) ** 3))
        haemoglobin *= 0.94 + 0.12 * clouds(rng, u.shape, 24)
        on_cell = membrane < 0
        self.cells[window][on_cell] = number
        self.parasites[window][on_cell] = False
        if parasite:
            haemoglobin *= 1 - 0.3 * soft(parasite.body, 0.12)
            self.parasites[window][parasite.body < 0] = True
            for name, amount in parasite.stains.items():
                self.stains[name][window] += amount * inside
        self.stains["haemoglobin"][window] += haemoglobin

    def add_platelet(self, x: float, y: float, radius: float) -> None:
        """A granular purple scrap, on the glass or on a cell."""
        window, u, v = self.around(x, y, radius, 2.0)
        if u.size:
            body = blob(self.rng, u, v, 1.0, 0.35)
            core = np.exp(-(np.hypot(u, v) ** 2) / 0.35)
            texture = 0.35 + 0.9 * clouds(self.rng, u.shape, 5) * core
            self.stains["platelet"][window] += soft(body, 0.5) * texture

    def add_speck(self, x: float, y: float, radius: float) -> None:
        """A sharp drop of stain."""
        window, u, v = self.around(x, y, radius, 2.5)
        if u.size:
            drop = soft(blob(self.rng, u, v, 1.0, 0.5), 0.8)
            self.stains["dye"][window] += drop * self.rng.uniform(0.3, 1.0)

    def add_debris(self, cell_radius: float) -> None:
        """Platelets and specks anywhere, as many as the area asks for."""
        height, width = (n / FINE for n in self.cells.shape)
        area = height * width / (cell_radius * 2.7) ** 2
        for _ in range(self.rng.poisson(0.40 * area)):
            x, y = self.rng.uniform((0, 0), (width, height))
            self.add_platelet(x, y, cell_radius * self.rng.uniform(0.16, 0.30))
        for _ in range(self.rng.poisson(0.8 * area)):
            x, y = self.rng.uniform((0, 0), (width, height))
            self.add_speck(x, y, cell_radius * self.rng.uniform(0.15, 0.32) ** 2)

    def photograph(self) -> np.ndarray:
        """uint8 (H, W, 3): the slide through one microscope, lamp and camera."""
        rng = self.rng
        height, width = (n // FINE for n in self.cells.shape)
        strength, acidity = rng.uniform(0.75, 1.2), rng.normal(0, 0.12)
        density = np.zeros((*self.cells.shape, 3))
        for name, amount in self.stains.items():
            colour = np.array(STAINS[name]) * rng.normal(1, 0.05, 3)
            if name == "haemoglobin":  # from salmon to slate, as the buffer's pH has it
                colour = colour * (1 - acidity, 1, 1 + acidity) + (max(0, -acidity) * 0.5, 0, 0)
            if amount.any():
                density += amount[..., None] * colour
        light = np.exp(-strength * density)
        light = cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA)
        green = light[..., 1]  # a lens a little out of focus: dark rims, bright halos
        rim = cv2.GaussianBlur(green, (0, 0), 0.8) - cv2.GaussianBlur(green, (0, 0), 2.2)
        light *= 1 + rng.uniform(0.0, 0.6) * rim[..., None]
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.35, 1.0))
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        slope_x, slope_y = rng.normal(0, 0.04, 2)
        lamp = 1 + slope_x * x + slope_y * y - rng.uniform(0, 0.06) * (x**2 + y**2)
        tint = rng.uniform(0.82, 0.95) * np.array([1.0, 0.975, 0.97]) * rng.normal(1, 0.016, 3)
        light *= lamp[..., None] * tint
        noise = rng.normal(0, 1, light.shape)
        noise = 0.6 * noise + 0.9 * cv2.GaussianBlur(noise, (0, 0), 0.7)
        light += noise * rng.uniform(0.005, 0.015) * np.sqrt(np.clip(light, 0, 1))
        return np.round(255 * np.clip(light, 0, 1)).astype(np.uint8)

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Instance ids, int64 (H, W), and parasites, bool (H, W)."""
        middle = np.s_[FINE // 2 :: FINE, FINE // 2 :: FINE]
        return self.cells[middle], self.parasites[middle] & (self.cells[middle] > 0)


def draw(rng: np.random.Generator, height: int, width: int, cells: list[Cell]):
    """Image uint8 (H, W, 3), instance ids int64 (H, W) of cells 1..n, parasites bool (H, W)."""
    slide = Slide(rng, height, width)
    for i in sorted(range(len(cells)), key=lambda i: cells[i].kind != "uninfected"):
        slide.add_cell(cells[i], i + 1)  # infected ones on top, so that parasites stay visible
    slide.add_debris(float(np.mean([cell.radius for cell in cells])))
    return slide.photograph(), *slide.masks()


# ---- the data set -----------------------------------------------------------------------------


def draw_crop(split: str, kind: str, index: int):
    """One crop: image (64, 64, 3), the cell's mask and the parasite's mask, bool (64, 64)."""
    rng = np.random.default_rng([1, SPLITS.index(split), CLASS_NAMES.index(kind), index])
    radius = rng.uniform(15.5, 18.5) if kind == "gametocyte" else rng.uniform(17.5, 22.5)
    x, y = CROP_SIZE / 2 + rng.uniform(-8, 8, 2)
    cells = [Cell(x, y, radius, kind)]
    for direction in rng.uniform(0, 2 * np.pi, rng.integers(0, 4)):
        other = rng.uniform(17.5, 22.5)
        away = radius * (1.3 if kind == "gametocyte" else 1) + other * rng.uniform(0.98, 1.25)
        cells.append(Cell(x + away * np.cos(direction), y + away * np.sin(direction), other))
    image, ids, parasite = draw(rng, CROP_SIZE, CROP_SIZE, cells)
    return image, ids == 1, parasite


def scatter(rng, height, width, number, radii, inside: float) -> list[Cell]:
    """Cells that hardly overlap, `inside` radii away from the edge."""
    cells: list[Cell] = []
    tries = 0
    while len(cells) < number and tries < 200 * number:
        tries += 1
        radius = rng.uniform(*radii)
        low = inside * radius
        x, y = rng.uniform((low, low), (width - low, height - low))
        if all(np.hypot(x - c.x, y - c.y) > 0.9 * (radius + c.radius) for c in cells):
            cells.append(Cell(x, y, radius))
    return cells


def infect(rng, cells: list[Cell], number: int) -> list[Cell]:
    """The same cells, `number` of them with a parasite of a random class."""
    infected = set(rng.permutation(len(cells))[:number].tolist())
    return [
        Cell(c.x, c.y, c.radius, str(rng.choice(CLASS_NAMES[1:]))) if i in infected else c
        for i, c in enumerate(cells)
    ]


def draw_field(split: str, index: int):
    """One field: image (128, 128, 3), ids and parasites (128, 128), classes of cells 1..n."""
    rng = np.random.default_rng([2, SPLITS.index(split), index])
    cells = scatter(rng, FIELD_SIZE, FIELD_SIZE, rng.integers(4, 10), (11.0, 15.0), 1.15)
    cells = infect(rng, cells, min(rng.integers(0, 7), len(cells)))
    return *draw(rng, FIELD_SIZE, FIELD_SIZE, cells), [CLASS_NAMES.index(c.kind) for c in cells]


def draw_photo(index: int) -> np.ndarray:
    """A larger view, uint8 (360, 480, 3), cells also across its edges."""
    rng = np.random.default_rng([3, index])
    cells = scatter(rng, 360, 480, 46, (21.0, 25.0), 0.3)
    return draw(rng, 360, 480, infect(rng, cells, 7))[0]


def sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles (N, H, W, ...) side by side, `columns` in a row; N must fill the rows."""
    rows, (height, width, *rest) = len(tiles) // columns, tiles.shape[1:]
    grid = tiles.reshape(rows, columns, height, width, *rest).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, *rest)


def save(path: Path, pixels: np.ndarray) -> None:
    """RGB as a JPEG (quality 95, 4:4:4), bool as a one-bit PNG, ids as a gray PNG."""
    if pixels.ndim == 3:
        options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
        options.append(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
        pixels = pixels[..., ::-1]
    elif pixels.dtype == bool:
        options, pixels = [cv2.IMWRITE_PNG_BILEVEL, 1], pixels * np.uint8(255)
    else:
        options, pixels = [], (pixels * ID_STEP).astype(np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())


def save_classes(path: Path, classes: list[list[int]]) -> None:
    """Write the class of each cell of each field as a table."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["field", "cell", "class"])
        for field, of_field in enumerate(classes):
            table.writerows((field, i + 1, CLASS_NAMES[c]) for i, c in enumerate(of_field))


def draw_all(folder: Path) -> None:
    """Draw everything that is shipped in data/ into `folder`, on all processors."""
    for name in ("crops", "fields", "photos"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        for split in SPLITS:
            for kind in CLASS_NAMES:
                print(f"crops: {split}, {kind}", flush=True)
                crop = partial(draw_crop, split, kind)
                items = pool.map(crop, range(PER_CLASS[split]), chunksize=5)
                images, _, masks = (sheet(np.stack(part), 25) for part in zip(*items, strict=True))
                save(folder / f"crops/{split}_{kind}.jpg", images)
                save(folder / f"crops/{split}_{kind}_mask.png", masks)
            print(f"fields: {split}", flush=True)
            items = pool.map(partial(draw_field, split), range(FIELDS[split]), chunksize=5)
            *arrays, classes = zip(*items, strict=True)
            images, ids, parasites = (sheet(np.stack(part), 20) for part in arrays)
            save(folder / f"fields/{split}.jpg", images)
            save(folder / f"fields/{split}_cells.png", ids)
            save(folder / f"fields/{split}_parasites.png", parasites)
            save_classes(folder / f"fields/{split}.csv", classes)
    for index in range(PHOTOS):
        save(folder / f"photos/smear_{index + 1}.jpg", draw_photo(index))


def difference(drawn: Path, shipped: Path) -> str:
    """What differs between two files, in words; empty if not a bit does."""
    if not shipped.is_file():
        return "was not there"
    if drawn.read_bytes() == shipped.read_bytes():
        return ""
    if drawn.suffix == ".csv":
        return "other text"
    new, old = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (drawn, shipped))
    if old is None or new.shape != old.shape:
        return "another size, or damaged"
    largest = int(cv2.absdiff(new, old).max())
    return f"pixels differ by up to {largest} of 255" if largest else "same pixels, other bytes"


def main() -> int:
    """Draw the data set again and say whether it is what is shipped (exit code 1 if not)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=DATA, help="where to draw (default: data/)")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        draw_all(Path(temporary))
        different = []
        for drawn in sorted(path for path in Path(temporary).rglob("*") if path.is_file()):
            name = drawn.relative_to(temporary)
            if what := difference(drawn, DATA / name):
                different.append(f"{name}: {what}")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(drawn, folder / name)
    if different:
        print("NOT bit-identical to what was shipped:", *different, sep="\n  ")
        return 1
    print("Bit-identical to what is shipped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
