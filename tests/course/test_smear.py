"""The drawn blood smears: the same every time, true masks, and equal to what is shipped."""

from __future__ import annotations

import csv
import sys

import cv2
import numpy as np
import pytest

from camwidgets.course import smear
from camwidgets.course.datasets import CLASS_NAMES, DATA

INFECTED = CLASS_NAMES[1:]
# Least and largest share of a 64×64 crop that a parasite of each class may cover.
AREAS = {
    "ring": (0.005, 0.10),
    "trophozoite": (0.015, 0.16),
    "schizont": (0.05, 0.35),
    "gametocyte": (0.05, 0.25),
}


@pytest.fixture(scope="module")
def crops():
    return {kind: [smear.draw_crop("test", kind, i) for i in range(4)] for kind in CLASS_NAMES}


@pytest.fixture(scope="module")
def fields():
    return [smear.draw_field("test", i) for i in range(3)]


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def tile(name: str, index: int, size: int, columns: int) -> np.ndarray:
    row, column = divmod(index, columns)
    pixels = cv2.imread(str(DATA / name))
    return pixels[row * size : (row + 1) * size, column * size : (column + 1) * size]


@pytest.mark.parametrize("kind", CLASS_NAMES)
def test_same_seed_same_pixels(crops, kind):
    for index in (0, 3):
        again = smear.draw_crop("test", kind, index)
        for first, second in zip(crops[kind][index], again, strict=True):
            np.testing.assert_array_equal(first, second)


def test_items_splits_and_classes_differ(crops):
    images = [image for of_kind in crops.values() for image, _, _ in of_kind]
    images += [smear.draw_crop("train", kind, 0)[0] for kind in CLASS_NAMES]
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("kind", CLASS_NAMES)
def test_parasite_lies_in_its_cell(crops, kind):
    for image, cell, parasite in crops[kind]:
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.uint8
        assert cell.any()
        assert not (parasite & ~cell).any()
        assert parasite.any() == (kind != "uninfected")


@pytest.mark.parametrize("kind", INFECTED)
def test_parasite_size_is_plausible(crops, kind):
    low, high = AREAS[kind]
    for _, cell, parasite in crops[kind]:
        assert low < parasite.mean() < high
        assert parasite.sum() < 0.95 * cell.sum()


@pytest.mark.parametrize("kind", ["trophozoite", "schizont", "gametocyte"])
def test_parasite_is_darker_than_its_cell(crops, kind):
    for image, cell, parasite in crops[kind]:
        red = image[..., 0].astype(float)
        assert red[parasite].mean() < red[cell & ~parasite].mean()


def test_pale_centre():
    """Along the radius of a lone uninfected cell: pale centre, darker body, pale glass."""
    for seed in range(5):
        slide = smear.Slide(np.random.default_rng(seed), 64, 64)
        slide.add_cell(smear.Cell(32, 32, 20), 1)
        haemoglobin = slide.stains["haemoglobin"]
        v, u = (np.mgrid[:256, :256] + 0.5) / smear.FINE - 32
        radius = np.hypot(u, v) / 20
        body = haemoglobin[(radius > 0.6) & (radius < 0.75)].mean()
        assert haemoglobin[radius < 0.15].mean() < 0.75 * body
        assert haemoglobin[radius > 1.5].max() == 0


def test_debris_is_not_parasite():
    slide = smear.Slide(np.random.default_rng(0), 64, 64)
    slide.add_cell(smear.Cell(32, 32, 20), 1)
    for _ in range(5):
        slide.add_debris(20)
    assert slide.stains["platelet"].any()
    assert slide.stains["dye"].any()
    assert not slide.masks()[1].any()


def test_field_ids_agree_with_classes(fields):
    for image, cells, parasites, classes in fields:
        assert image.shape == (128, 128, 3)
        assert set(np.unique(cells)) == set(range(len(classes) + 1))
        assert 4 <= len(classes) <= 9
        for number, label in enumerate(classes, start=1):
            assert parasites[cells == number].any() == (label > 0)
        assert not parasites[cells == 0].any()


def test_blob_without_waves_is_a_disc():
    v, u = np.mgrid[-2:2:9j, -2:2:9j]
    distance = smear.blob(np.random.default_rng(0), u, v, 0.75, 0.0)
    np.testing.assert_allclose(distance, np.hypot(u, v) - 0.75, atol=1e-12)


def test_smooth_union_holds_both_shapes():
    a, b = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21))
    union = smear.smooth_union(a, b, 0.2)
    assert (union <= np.minimum(a, b)).all()
    far = np.abs(a - b) > 0.2
    np.testing.assert_array_equal(union[far], np.minimum(a, b)[far])
    assert union[10, 10] == pytest.approx(-0.05)  # a = b = 0: lower by blend / 4


def test_soft_step():
    steps = smear.soft(np.array([-1, -0.05, 0, 0.05, 1]), 0.1)
    np.testing.assert_allclose(steps, [1, 1, 0.5, 0, 0])


def test_two_cells_let_through_less_light_than_one():
    """Beer and Lambert: densities add up, so light is multiplied."""
    seen = []
    for layers in (1, 2):
        slide = smear.Slide(np.random.default_rng(1), 64, 64)
        slide.add_cell(smear.Cell(32, 32, 20), 1)
        slide.stains["haemoglobin"] *= layers
        seen.append(slide.photograph()[20:44, 20:44, 1].mean())
    assert seen[1] < 0.9 * seen[0]


def test_sheet_order():
    tiles = np.arange(6)[:, None, None] * np.ones((1, 2, 3), int)
    page = smear.sheet(tiles, columns=3)
    assert page.shape == (4, 9)
    np.testing.assert_array_equal(page[::2, ::3], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("kind", CLASS_NAMES)
def test_redrawn_crops_are_the_shipped_ones(crops, kind, tmp_path):
    """JPEG works in blocks of 8×8 and a crop is 8 blocks wide: one crop can be coded alone."""
    for index, (image, _, parasite) in enumerate(crops[kind]):
        smear.save(tmp_path / "crop.jpg", image)
        shipped = tile(f"crops/test_{kind}.jpg", index, 64, 25)
        np.testing.assert_array_equal(decoded((tmp_path / "crop.jpg").read_bytes()), shipped)
        mask = tile(f"crops/test_{kind}_mask.png", index, 64, 25)[..., 0]
        np.testing.assert_array_equal(mask, parasite * np.uint8(255))


def test_redrawn_fields_are_the_shipped_ones(fields, tmp_path):
    with (DATA / "fields/test.csv").open() as file:
        rows = list(csv.DictReader(file))
    for index, (image, cells, parasites, classes) in enumerate(fields):
        smear.save(tmp_path / "field.jpg", image)
        shipped = tile("fields/test.jpg", index, 128, 20)
        np.testing.assert_array_equal(decoded((tmp_path / "field.jpg").read_bytes()), shipped)
        ids = tile("fields/test_cells.png", index, 128, 20)[..., 0]
        np.testing.assert_array_equal(ids, cells * smear.ID_STEP)
        mask = tile("fields/test_parasites.png", index, 128, 20)[..., 0]
        np.testing.assert_array_equal(mask, parasites * np.uint8(255))
        names = [row["class"] for row in rows if row["field"] == str(index)]
        assert names == [CLASS_NAMES[label] for label in classes]


def test_difference_is_named(tmp_path):
    image = smear.draw_crop("test", "ring", 0)[0]
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    cv2.imwrite(str(one), image)
    assert smear.difference(one, other) == "was not there"
    cv2.imwrite(str(other), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    assert smear.difference(one, other) == "same pixels, other bytes"
    changed = image.copy()
    changed[5, 5, 1] ^= 4
    cv2.imwrite(str(other), changed)
    assert smear.difference(one, other) == "pixels differ by up to 4 of 255"
    cv2.imwrite(str(other), image)
    assert smear.difference(one, other) == ""


def test_main_tells_a_changed_file(tmp_path, monkeypatch, capsys):
    shipped = tmp_path / "shipped"
    (shipped / "photos").mkdir(parents=True)
    (shipped / "photos/a.csv").write_text("1\n")

    def draw(folder):
        (folder / "photos").mkdir()
        (folder / "photos/a.csv").write_text("1\n")

    monkeypatch.setattr(smear, "DATA", shipped)
    monkeypatch.setattr(smear, "draw_all", draw)
    monkeypatch.setattr(sys, "argv", ["smear", "--folder", str(tmp_path / "copy")])
    assert smear.main() == 0
    assert (tmp_path / "copy/photos/a.csv").read_text() == "1\n"
    (shipped / "photos/a.csv").write_text("2\n")
    assert smear.main() == 1
    assert "photos/a.csv: other text" in capsys.readouterr().out
