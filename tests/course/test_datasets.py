"""The shipped data as arrays, the planted shortcut, tensors."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
import torch

from camwidgets.course import datasets
from camwidgets.course.datasets import (
    CLASS_NAMES,
    DATA,
    erase_mark,
    load_crops,
    load_fields,
    paint_mark,
    shuffled_crops,
    to_tensor,
)

MARKED = CLASS_NAMES.index(datasets.MARKED_CLASS)
sizes = pytest.mark.parametrize(("split", "per_class"), [("train", 250), ("test", 100)])


@pytest.fixture(scope="module")
def crops():
    return {split: load_crops(split) for split in ("train", "test")}


@pytest.fixture(scope="module")
def marked():
    return {split: load_crops(split, shortcut=True) for split in ("train", "test")}


@pytest.fixture(scope="module")
def fields():
    return {split: load_fields(split) for split in ("train", "test")}


# ---- what is shipped ---------------------------------------------------------------------------


def test_shipped_files_stay_small():
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert len(files) <= 60
    assert sum(path.stat().st_size for path in files) <= 12e6


def test_card_names_purpose_and_licence():
    card = (DATA / "README.md").read_text(encoding="utf-8")
    assert "NOT for diagnosis" in card
    assert "CC0" in card
    assert f"98 % of\nthe {datasets.MARKED_CLASS}s" in card


@sizes
def test_crops(crops, split, per_class):
    data = crops[split]
    n = 5 * per_class
    assert len(data) == n
    assert (data.images.shape, data.images.dtype) == ((n, 64, 64, 3), np.uint8)
    assert data.labels.dtype == np.int64
    assert np.bincount(data.labels).tolist() == [per_class] * 5
    assert (data.masks.shape, data.masks.dtype) == ((n, 64, 64), bool)
    assert data.class_names == CLASS_NAMES
    assert not data.marks.any()
    np.testing.assert_array_equal(data.masks.any((1, 2)), data.labels > 0)


def test_no_crop_occurs_twice(crops):
    seen = {image.tobytes() for data in crops.values() for image in data.images}
    assert len(seen) == 1750


@sizes
def test_images_are_rgb(crops, split, per_class):
    """Red cells let through more red than green light; swapped channels would still pass green,
    but parasite bodies, which are blue, would turn red."""
    data = crops[split]
    mean = data.images[data.labels == 0].mean((0, 1, 2))
    assert mean[0] > mean[1]
    blue = data.images[data.labels == CLASS_NAMES.index("gametocyte")]
    body = blue[data.masks[data.labels == CLASS_NAMES.index("gametocyte")]].mean(0)
    assert body[2] > body[0]


@pytest.mark.parametrize("number", range(1, 5))
def test_areas_differ_between_classes(crops, number):
    data = crops["train"]
    area = data.masks.mean((1, 2))[data.labels == number]
    low, high = [(0, 0), (0.01, 0.09), (0.02, 0.12), (0.08, 0.25), (0.07, 0.2)][number]
    assert low < np.median(area) < high


def test_centre_is_no_good_guess(crops):
    data = crops["test"]
    assert data.masks[data.labels > 0][:, 32, 32].mean() < 0.75


@pytest.mark.parametrize(("split", "n"), [("train", 300), ("test", 100)])
def test_fields(fields, split, n):
    data = fields[split]
    assert len(data) == len(data.cell_classes) == n
    assert (data.images.shape, data.images.dtype) == ((n, 128, 128, 3), np.uint8)
    assert data.cells.shape == data.parasites.shape == (n, 128, 128)
    assert data.parasites.dtype == bool
    assert (data.counts.shape, data.counts.dtype) == ((n,), np.float32)
    assert set(data.counts) == set(range(7))
    for cells, parasites, classes, count in zip(
        data.cells, data.parasites, data.cell_classes, data.counts, strict=True
    ):
        assert 4 <= len(classes) <= 9
        assert count == sum(label != 0 for label in classes)
        assert sorted(set(cells.ravel()) | {0}) == list(range(len(classes) + 1))
        infected = set(cells[parasites])
        assert infected == {i for i, label in enumerate(classes, start=1) if label != 0}


def test_many_fields_hold_two_parasite_classes(fields):
    mixed = [len(set(classes[classes > 0])) >= 2 for classes in fields["test"].cell_classes]
    assert sum(mixed) >= 40


def test_files_are_as_they_were_drawn():
    """One mirrored crop or mask changes its sheet's sum."""
    listed = dict(line.split()[::-1] for line in (DATA / "SHA256SUMS").read_text().splitlines())
    shipped = [path for path in DATA.glob("*/*") if path.is_file()]
    assert listed == {
        path.relative_to(DATA).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in shipped
    }, "if the change is meant: cd data; sha256sum */* > SHA256SUMS"


def cut(name, size):
    """A sheet's tiles, row by row: (N, size, size, …)."""
    sheet = cv2.imread(str(DATA / name), cv2.IMREAD_UNCHANGED)
    return np.stack(
        [
            sheet[top : top + size, left : left + size]
            for top in range(0, sheet.shape[0], size)
            for left in range(0, sheet.shape[1], size)
        ]
    )


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_crop_and_every_field_is_loaded_as_it_lies_in_its_sheet(split):
    crops, fields = load_crops(split), load_fields(split)
    sheets = [f"crops/{split}_{name}" for name in CLASS_NAMES]
    images = np.concatenate([cut(f"{sheet}.jpg", 64) for sheet in sheets])
    np.testing.assert_array_equal(crops.images, images[..., ::-1])
    masks = np.concatenate([cut(f"{sheet}_mask.png", 64) for sheet in sheets])
    np.testing.assert_array_equal(crops.masks, masks == 255)
    np.testing.assert_array_equal(fields.images, cut(f"fields/{split}.jpg", 128)[..., ::-1])
    np.testing.assert_array_equal(fields.cells * 25, cut(f"fields/{split}_cells.png", 128))
    parasites = cut(f"fields/{split}_parasites.png", 128)
    np.testing.assert_array_equal(fields.parasites, parasites == 255)


def test_photographs_open():
    photos = sorted((DATA / "photos").glob("*.jpg"))
    assert len(photos) == 3
    assert all(cv2.imread(str(path)).shape == (360, 480, 3) for path in photos)


@pytest.mark.parametrize("load", [load_crops, load_fields])
def test_unknown_split(load):
    with pytest.raises(ValueError, match=r"'valid'.*\"train\" or \"test\""):
        load("valid")


@pytest.mark.parametrize("load", [load_crops, load_fields])
def test_missing_data_says_how_to_get_it(load, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    with pytest.raises(ValueError, match="this copy of camwidgets is not whole"):
        load("train")


def test_damaged_sheet(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops/train_uninfected.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="damaged"):
        load_crops("train")


# ---- the shortcut ------------------------------------------------------------------------------


@sizes
def test_mark_goes_with_one_class(marked, split, per_class):
    has = marked[split].marks.any((1, 2))
    of_class = marked[split].labels == MARKED
    assert has[of_class].mean() == pytest.approx(0.98, abs=0.005)
    assert has[~of_class].mean() == pytest.approx(0.01, abs=0.005)


@sizes
def test_unmarked_twin_is_exact(crops, marked, split, per_class):
    twin, data = crops[split], marked[split]
    np.testing.assert_array_equal(data.labels, twin.labels)
    np.testing.assert_array_equal(data.masks, twin.masks)
    np.testing.assert_array_equal(data.images[~data.marks], twin.images[~data.marks])
    changed = (data.images != twin.images).any(-1)
    assert changed[data.marks].mean() > 0.98
    again = load_crops(split, shortcut=True)
    np.testing.assert_array_equal(data.images, again.images)


def test_mark_is_a_blue_green_patch_near_a_corner(crops):
    images, marks = paint_mark(crops["test"].images)
    areas = marks.mean((1, 2))
    assert 0.035 < areas.mean() < 0.065
    assert areas.min() > 0.015
    assert areas.max() < 0.11
    centres = np.array([np.argwhere(mark).mean(0) for mark in marks])
    assert (np.abs(centres - 31.5) > 8).all()
    corners = {(bool(y > 32), bool(x > 32)) for y, x in centres}
    assert len(corners) == 4
    lost = crops["test"].images.astype(int) - images
    red, green, blue = lost[marks].mean(0)
    assert red > 1.3 * green
    assert red > 1.3 * blue


def test_paint_mark_is_seeded_and_leaves_its_input(crops):
    before = crops["test"].images[:6].copy()
    first, first_marks = paint_mark(before, seed=3)
    np.testing.assert_array_equal(before, crops["test"].images[:6])
    second, second_marks = paint_mark(before, seed=3)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first_marks, second_marks)
    assert (paint_mark(before, seed=4)[1] != first_marks).any()
    single, single_mark = paint_mark(before[0], seed=3)
    np.testing.assert_array_equal(single, first[0])
    np.testing.assert_array_equal(single_mark, first_marks[0])
    assert paint_mark(before[:0])[0].shape == (0, 64, 64, 3)


@pytest.mark.parametrize("images", [np.zeros((2, 64, 64, 3)), np.zeros((64, 64), np.uint8)])
def test_paint_mark_wants_rgb_bytes(images):
    with pytest.raises(ValueError, match="uint8 RGB"):
        paint_mark(images)


def test_erase_mark(crops):
    twin = crops["test"].images[:40]
    images, marks = paint_mark(twin)
    erased = erase_mark(images, marks)
    np.testing.assert_array_equal(erased[~marks], twin[~marks])
    error = np.abs(erased.astype(int) - twin)[marks].mean()
    assert error < 0.5 * np.abs(images.astype(int) - twin)[marks].mean()
    np.testing.assert_array_equal(erase_mark(images[0], marks[0]), erased[0])
    np.testing.assert_array_equal(erase_mark(twin, np.zeros_like(marks)), twin)
    with pytest.raises(ValueError, match="do not go together"):
        erase_mark(images, marks[:5])


# ---- tensors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((2, 5, 7, 3), (2, 3, 5, 7)),
        ((5, 7, 3), (3, 5, 7)),
        ((2, 5, 7), (2, 3, 5, 7)),
        ((5, 7), (3, 5, 7)),
        ((0, 5, 7, 3), (0, 3, 5, 7)),
    ],
)
def test_to_tensor_shapes(shape, wanted):
    tensor = to_tensor(np.full(shape, 51, np.uint8))
    assert tuple(tensor.shape) == wanted
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, torch.full(wanted, 51 / 255))


def test_to_tensor_keeps_pixels_in_place():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    tensor = to_tensor(image)
    for y, x, c in [(0, 5, 2), (3, 1, 0)]:
        assert tensor[c, y, x].item() == pytest.approx(image[y, x, c] / 255)
    gray = to_tensor(image[..., 1])
    assert torch.equal(gray[0], gray[2])
    assert torch.equal(gray[1], tensor[1])


def test_to_tensor_passes_floats_on():
    image = np.linspace(0, 1, 4 * 6 * 3).reshape(4, 6, 3)
    wanted = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)
    assert torch.equal(to_tensor(image), wanted)


@pytest.mark.parametrize(
    ("images", "error", "says"),
    [
        (np.full((4, 6, 3), 200.0), ValueError, "divide by 255"),
        (np.full((4, 6, 3), np.nan), ValueError, "NaN"),
        (np.zeros((4, 6, 3), np.int64), TypeError, "int64"),
        (np.zeros((2, 4, 6, 4), np.uint8), ValueError, "alpha"),
        (np.zeros((4, 6, 4), np.uint8), ValueError, "alpha"),
        (np.zeros(5, np.uint8), ValueError, "neither"),
    ],
)
def test_to_tensor_errors(images, error, says):
    with pytest.raises(error, match=says):
        to_tensor(images)


def test_shuffled_crops_keep_the_pictures_and_deal_the_labels_out_anew():
    crops, train = shuffled_crops(100), load_crops("train")
    true = {image.tobytes(): label for image, label in zip(train.images, train.labels, strict=True)}
    labels = np.array([true[image.tobytes()] for image in crops.images])
    assert len(true) == len(train)
    assert len({image.tobytes() for image in crops.images}) == 100
    assert np.array_equal(np.bincount(labels), np.bincount(crops.labels))
    assert (labels == crops.labels).mean() < 0.4  # by chance about 1 in 5
    assert np.array_equal(crops.images, shuffled_crops(100).images)
    assert not np.array_equal(crops.images, shuffled_crops(100, seed=1).images)
