"""Real data on small trees in their own formats: everything is loaded, or named with a reason."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from camwidgets.course import Crops, fit, folders, load_crops, to_tensor
from camwidgets.course.folders import load_image_folder, load_nih_cells, load_pets, load_table
from camwidgets.course.networks import GapCNN


def write(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image[..., ::-1])[1].tobytes())
    return path


def square(gray: int, side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), gray, np.uint8)


# Any folder


def test_image_folder_takes_the_central_square(tmp_path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (10, 200, 30)
    write(tmp_path / "b" / "wide.png", wide)
    write(tmp_path / "a" / "deeper" / "tall.PNG", wide.transpose(1, 0, 2))
    (tmp_path / "notes.txt").write_text("not a class")
    pictures = load_image_folder(tmp_path, 10)
    assert pictures.class_names == ("a", "b")
    assert pictures.labels.tolist() == [0, 1]
    assert pictures.labels.dtype == np.int64
    assert (pictures.images == (10, 200, 30)).all()
    assert pictures.files == ("a/deeper/tall.PNG", "b/wide.png")
    assert pictures.left_out == {}
    assert pictures.masks.shape == pictures.marks.shape == (2, 10, 10)


def test_per_class_spreads_over_the_files(tmp_path) -> None:
    for i in range(9):
        write(tmp_path / "dots" / f"{i}.png", square(10 * i))
    write(tmp_path / "few" / "0.png", square(250))
    cells = load_image_folder(tmp_path, 8, per_class=3)
    assert cells.images[:, 0, 0, 0].tolist() == [0, 40, 80, 250]


def test_every_file_is_taken_or_named_with_its_reason(tmp_path) -> None:
    write(tmp_path / "cat" / "good.png", square(10))
    write(tmp_path / "cat" / "twin.png", square(99))
    write(tmp_path / "dog" / "other.png", square(99))
    write(tmp_path / "dog" / "good.jpg", square(200))
    write(tmp_path / "loose.png", square(7))
    whole = write(tmp_path / "dog" / "cut.png", np.random.default_rng(0).integers(
        0, 255, (30, 30, 3), dtype=np.uint8)).read_bytes()  # fmt: skip
    (tmp_path / "dog" / "cut.png").write_bytes(whole[:-900])
    (tmp_path / "dog" / "a.jpg").write_text("<html>")
    (tmp_path / "cat" / "empty.gif").touch()
    (tmp_path / "cat" / "without suffix").write_bytes(whole)
    (tmp_path / "cow").mkdir()
    for litter in ("Thumbs.db", ".DS_Store", "desktop.ini", "._good.png"):
        (tmp_path / "cat" / litter).write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.warns(UserWarning, match=r"^Left out \(6\)") as told:
        pictures = load_image_folder(tmp_path, 8)
    assert set(pictures.files) == {
        "cat/good.png", "cat/twin.png", "cat/without suffix", "dog/good.jpg",
    }  # fmt: skip
    reasons = {
        "loose.png": "no class's folder",
        "dog/other.png": "the same picture as cat/twin.png, of another class",
        "dog/cut.png": "cannot be read",
        "dog/a.jpg": "cannot be read",
        "cat/empty.gif": "cannot be read",
        "cow/": "no picture",
    }
    assert pictures.left_out.keys() == reasons.keys()
    for name, words in reasons.items():
        assert words in pictures.left_out[name]
        assert name in str(told[0].message)
    assert len(told) == 1


def test_many_bad_files_are_all_in_left_out(tmp_path) -> None:
    write(tmp_path / "a" / "good.png", square(1))
    for i in range(30):
        (tmp_path / "a" / f"bad{i}.png").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"Left out \(30\).*and 22 more: all are in \.left_out"):
        pictures = load_image_folder(tmp_path, 8)
    assert len(pictures.left_out) == 30


def test_wrong_folders_are_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="There is no folder"):
        load_image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="No pictures"):
        load_image_folder(tmp_path)


# The NIH cells


@pytest.fixture
def nih(tmp_path) -> Path:
    """Two folders as in the archive: cells of very different sizes, on black, with Thumbs.db."""
    cells = load_crops("test")
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 32) ** 2 + (columns - 32) ** 2 < 30**2
    for name, label in (("Parasitized", 1), ("Uninfected", 0)):
        chosen = cells.images[cells.labels == label][:24]
        for i, cell in enumerate(chosen):
            cell = np.where(disc[..., None], cell, 0).astype(np.uint8)
            cell = cv2.resize(cell, (40 + 14 * i, 110 + 3 * i))
            write(
                tmp_path / "cell_images" / name / f"C{i % 8}P{i % 8}thinF_IMG_20_cell_{i}.png", cell
            )
        (tmp_path / "cell_images" / name / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    return tmp_path / "cell_images"


def test_nih_cells_look_like_the_courses_own(nih) -> None:
    cells = load_nih_cells(nih)
    own = load_crops("test")
    assert isinstance(cells, Crops)
    assert cells.class_names == ("Uninfected", "Parasitized")
    assert np.bincount(cells.labels).tolist() == [24, 24]
    for name in ("images", "labels", "masks", "marks"):
        mine, theirs = getattr(cells, name), getattr(own, name)
        assert (mine.shape[1:], mine.dtype) == (theirs.shape[1:], theirs.dtype)
    assert not cells.masks.any()
    assert cells.left_out == {}


def test_nih_cells_are_padded_not_stretched(tmp_path) -> None:
    cell = np.zeros((60, 30, 3), np.uint8)
    cell[:30], cell[30:] = (255, 0, 0), (0, 0, 255)
    for name in ("parasitized", "Uninfected"):
        write(tmp_path / name / f"{name}.png", cell + np.uint8(name == "parasitized"))
    cells = load_nih_cells(tmp_path, size=16)
    assert cells.images[0, 2, 8].tolist() == [255, 0, 0]
    assert cells.images[0, 13, 8].tolist() == [0, 0, 255]
    assert not cells.images[0][:, [0, 15]].any()


def test_the_test_holds_other_patients(nih) -> None:
    train, test = (load_nih_cells(nih, split=split) for split in ("train", "test"))
    patients = [{file.split("/")[1].split("thin")[0] for file in c.files} for c in (train, test)]
    assert [len(of_split) for of_split in patients] == [6, 2]
    assert not patients[0] & patients[1]
    assert sorted(train.files + test.files) == sorted(load_nih_cells(nih).files)
    assert set(test.labels) == {0, 1}
    with pytest.raises(ValueError, match='"train", "test" or None'):
        load_nih_cells(nih, split="val")


def test_a_network_of_the_course_learns_from_them(nih) -> None:
    cells = load_nih_cells(nih)
    model = GapCNN(classes=2)
    history = fit(model, to_tensor(cells.images), torch.from_numpy(cells.labels), epochs=1)
    assert history.finished


def test_the_archives_folder_in_a_folder_is_found(nih) -> None:
    assert len(load_nih_cells(nih.parent)) == 48


def test_nih_files_that_are_broken_or_in_both_classes(nih) -> None:
    (nih / "Parasitized" / "C9P9thin_cell.png").write_bytes(b"\x89PNG torn off")
    first = sorted((nih / "Uninfected").glob("*.png"))[0]
    shutil.copy(first, nih / "Parasitized" / "C9P9thin_copy.png")
    with pytest.warns(UserWarning, match=r"Left out \(2\)"):
        cells = load_nih_cells(nih)
    assert len(cells) == 48
    assert set(cells.left_out) == {
        "Parasitized/C9P9thin_cell.png", "Parasitized/C9P9thin_copy.png",
    }  # fmt: skip


def test_nih_folders_that_are_wrong(tmp_path) -> None:
    with pytest.raises(ValueError, match="no folder Uninfected and no folder Parasitized"):
        load_nih_cells(tmp_path)
    with pytest.raises(ValueError, match=r"no folder .*gone.*download=True\) fetches it: 353 MB"):
        load_nih_cells(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == [], "nothing is fetched unasked"


def test_the_courses_names_speak_of_these_cells(nih, tmp_path, monkeypatch) -> None:
    """What a lesson imports, by one changed line."""
    from camwidgets import course
    from camwidgets.course import nih as twin
    from camwidgets.course import places

    monkeypatch.setenv("CAMWIDGETS_NIH", str(nih))
    monkeypatch.setattr(places, "kept", lambda: [tmp_path / "trained"])
    assert set(course.__all__) <= set(dir(twin))
    train, test = twin.load_crops("train"), twin.load_crops("test")
    assert (len(train), len(test)) == (36, 12)
    assert twin.CLASS_NAMES == train.class_names == ("Uninfected", "Parasitized")
    wanted = {"uninfected": 0, "ring": 1, "gametocyte": 1, "Uninfected": 0, "Parasitized": 1}
    assert {name: twin.CLASS_NAMES.index(name) for name in wanted} == wanted
    with pytest.raises(ValueError, match="tuple"):
        twin.CLASS_NAMES.index("dog")
    marked = twin.load_crops("test", shortcut=True)
    assert marked.marks.any((1, 2))[marked.labels == 1].mean() > 0.9
    assert marked.marks.any((1, 2))[marked.labels == 0].mean() < 0.1
    model = twin.trained("shortcut")
    assert twin.scores(model, twin.to_tensor(test.images)).shape == (12, 2)
    assert (tmp_path / "trained" / "nih-shortcut.pt").exists()
    assert twin.GapCNN().classifier.out_features == 2


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path_factory, monkeypatch):
    """A folder of files and the address that it is served at."""
    folder = tmp_path_factory.mktemp("served")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def handler(*arguments):
        return _Files(*arguments, directory=folder)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_nih_cells_are_fetched_when_asked(nih, served, tmp_path, monkeypatch, capsys) -> None:
    folder, address = served
    with zipfile.ZipFile(folder / "cell_images.zip", "w") as archive:
        for path in nih.rglob("*.*"):
            archive.write(path, path.relative_to(nih.parent))
    monkeypatch.setattr(folders, "NIH_URL", f"{address}/cell_images.zip")
    cells = load_nih_cells(tmp_path / "new", download=True)
    assert len(cells) == 48
    out = capsys.readouterr().out
    assert "Downloading the NIH malaria cells" in out
    assert str(tmp_path / "new.zip") in out


# Oxford-IIIT Pet


@pytest.fixture
def pets(tmp_path) -> Path:
    """Three breeds as torchvision finds them: two wide pictures each, with trimaps 1, 2 and 3."""
    base = tmp_path / "pets" / "oxford-iiit-pet"
    (base / "annotations" / "trimaps").mkdir(parents=True)
    lines, number = [], 0
    for label, breed in enumerate(("Abyssinian", "american_bulldog", "Bengal"), start=1):
        for k in range(2):
            number += 1
            name = f"{breed}_{k}"
            lines.append(f"{name} {label} 1 {label}\n")
            picture = np.full((40, 80, 3), 20 * number, np.uint8)
            write(base / "images" / f"{name}.jpg", picture)
            trimap = np.full((40, 80), 2, np.uint8)
            trimap[10:30, 30:60] = 3
            trimap[14:26, 34:56] = 1
            Image.fromarray(trimap).save(base / "annotations" / "trimaps" / f"{name}.png")
    (base / "annotations" / "trainval.txt").write_text("".join(lines))
    return tmp_path / "pets"


def test_pets_come_with_their_masks(pets) -> None:
    crops = load_pets(pets, 40)
    assert crops.class_names == ("Abyssinian", "american_bulldog", "Bengal")
    assert crops.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.abs(crops.images[3].astype(int) - 80).max() <= 2
    wanted = np.zeros((40, 40), bool)
    wanted[14:26, 14:36] = True
    assert (crops.masks == wanted).all()
    assert len(load_pets(pets, 40, per_class=1)) == 3


def test_pets_that_are_broken_are_named(pets) -> None:
    base = pets / "oxford-iiit-pet"
    (base / "images" / "Bengal_0.jpg").unlink()
    (base / "images" / "Bengal_1.jpg").write_bytes(b"GIF89a")
    trimaps = base / "annotations" / "trimaps"
    (trimaps / "Abyssinian_0.png").unlink()
    Image.fromarray(np.ones((3, 3), np.uint8)).save(trimaps / "Abyssinian_1.png")
    gif = Image.fromarray(square(50, 40))
    gif.resize((80, 40)).save(
        base / "images" / "american_bulldog_0.jpg", "GIF"
    )  # as in the original
    with pytest.warns(UserWarning, match="Left out"):
        crops = load_pets(pets, 40)
    assert crops.files == ("american_bulldog_0.jpg", "american_bulldog_1.jpg")
    assert crops.left_out["Bengal_0.jpg"] == "there is no such file"
    assert "cannot be read" in crops.left_out["Bengal_1.jpg"]
    assert crops.left_out["Abyssinian_0.jpg"] == "its trimap: there is no such file"
    assert "its trimap is (3, 3)" in crops.left_out["Abyssinian_1.jpg"]


def test_pets_are_fetched_when_asked_and_verified(pets, served, tmp_path, monkeypatch) -> None:
    from torchvision.datasets import OxfordIIITPet

    folder, address = served
    resources = []
    for part in ("images", "annotations"):
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(pets / "oxford-iiit-pet" / part, part)
        md5 = hashlib.md5((folder / f"{part}.tar.gz").read_bytes()).hexdigest()
        resources.append((f"{address}/{part}.tar.gz", md5))
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", tuple(resources))
    with pytest.raises(ValueError, match=r"download=True\) fetches them: 811 MB"):
        load_pets(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert len(load_pets(tmp_path / "new", 40, download=True)) == 6

    resources[1] = (resources[1][0], "0" * 32)
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", tuple(resources))
    with pytest.raises(ValueError, match="What arrived is not the pets' annotations"):
        load_pets(tmp_path / "other", 40, download=True)


# A table


@pytest.fixture
def photos(tmp_path) -> Path:
    for k in range(4):
        write(tmp_path / "photos" / f"{k}.png", square(60 * k))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "path,value\nphotos/0.png,1.5\nphotos/3.png,-2\n",
        "file;grams\r\nphotos\\0.png;1,5\r\nphotos\\3.png;-2,0\r\n",
        "\ufefffile\tgrams\nphotos/0.png\t1.5\n\nphotos/3.png\t-2\n",
        'name , n\n"photos/0.png", 1.5\nphotos/3.png,-2e0\n',
        "file;mass, in g, dry\nphotos/0.png;1,5\nphotos/3.png;-2,0\n",
    ],
)
def test_tables_as_people_save_them(photos, text) -> None:
    (photos / "table.csv").write_text(text, encoding="utf-8")
    table = load_table(photos / "table.csv", 8)
    assert table.values.tolist() == [1.5, -2.0]
    assert table.values.dtype == np.float32
    assert table.images[:, 0, 0, 0].tolist() == [0, 180]
    assert len(table) == len(table.files) == 2
    assert table.left_out == {}


def test_columns_by_name_and_a_folder_elsewhere(photos) -> None:
    (photos / "deep").mkdir()
    (photos / "deep" / "t.csv").write_text("id,weight,photo\n7,3.5,0.png\n")
    table = load_table(
        photos / "deep" / "t.csv", 8, path="photo", value="weight", folder=photos / "photos"
    )
    assert table.values.tolist() == [3.5]
    with pytest.raises(ValueError, match="no column 'mass'; its columns are id, weight, photo"):
        load_table(photos / "deep" / "t.csv", path="photo", value="mass")


def test_every_line_is_taken_or_named(photos) -> None:
    (photos / "photos" / "bad.png").write_bytes(b"x")
    lines = [
        "path,value", "photos/0.png,1", "photos/1.png,", "photos/2.png,many", "photos/3.png,nan",
        "photos/9.png,2", "photos/bad.png,3", "photos/0.png,1", "photos/0.png,5", "photos/1.png",
    ]  # fmt: skip
    (photos / "t.csv").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"Left out \(8\): line 3, photos/1\.png"):
        table = load_table(photos / "t.csv", 8)
    assert table.files == ("photos/0.png",)
    assert table.left_out == {
        "line 3, photos/1.png": "'' is no number",
        "line 4, photos/2.png": "'many' is no number",
        "line 5, photos/3.png": "'nan' is no number",
        "line 6, photos/9.png": "there is no such file",
        "line 7, photos/bad.png": "cannot be read as a picture",
        "line 8, photos/0.png": "is there already in line 2",
        "line 9, photos/0.png": "has another value in line 2",
        "line 10": "has 1 of 2 columns",
    }


@pytest.mark.filterwarnings("ignore:Left out")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "fewer than two columns"),
        ("path\na.png\n", r"its columns are path"),
        ("path,value\n", "No line of"),
        ("path,value\nx.png,1\n", r"x\.png \(there is no such file\)"),
    ],
)
def test_tables_that_cannot_be_used(photos, text, says) -> None:
    (photos / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        load_table(photos / "t.csv")
    with pytest.raises(ValueError, match="There is no file"):
        load_table(photos / "none.csv")
