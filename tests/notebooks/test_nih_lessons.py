"""Lessons 01 to 06 on a folder as the NIH archive has it, by the one changed line.

Lesson 01 trains its network in full and keeps it for the others. What else they train gets two
epochs: here it is enough that it is trained on these cells and that the lesson goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest

from camwidgets.course import load_crops
from camwidgets.course.nih import _stained
from camwidgets.course.places import MARK

LESSONS = Path(__file__).parents[2] / "lessons"
CHANGED = ("from camwidgets.course import (", "from camwidgets.course.nih import (")
SHORTENED = """\
from camwidgets.course import training
fit = training.fit
training.fit = lambda *given, epochs=8, **said: fit(*given, epochs=min(epochs, 2), **said)
"""
ROWS, COLUMNS = np.mgrid[:64, :64]
DISC = (ROWS - 32) ** 2 + (COLUMNS - 32) ** 2 < 30**2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of other sizes, on black, of sixteen patients, with the archive's Thumbs.db."""
    folder, rng = tmp_path_factory.mktemp("nih"), np.random.default_rng(0)
    (folder / MARK).touch()  # what is trained is kept here
    cells = load_crops("train")
    for name, labels in (("Parasitized", [1, 2, 3, 4]), ("Uninfected", [0])):
        place = folder / "cell_images" / name
        place.mkdir(parents=True)
        (place / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        for k, i in enumerate(rng.permutation(np.flatnonzero(np.isin(cells.labels, labels)))[:250]):
            cell = np.where(DISC[..., None], cells.images[i], 0).astype(np.uint8)
            cell = cv2.resize(cell, tuple(rng.integers(90, 160, 2).tolist()))
            patient = f"C{k % 16}P{k % 16}thinF_IMG_{i}_cell_{k}.png"
            (place / patient).write_bytes(cv2.imencode(".png", cell[..., ::-1])[1].tobytes())
    return folder


@pytest.mark.parametrize(
    "lesson", sorted(LESSONS.glob("0[1-6]*.ipynb")), ids=lambda path: path.stem
)
def test_lesson_runs_by_one_changed_line(lesson: Path, folder: Path) -> None:
    cells = nbformat.read(lesson, as_version=4).cells
    program = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert program.count(CHANGED[0]) == 1
    program = program.replace(*CHANGED)
    if lesson.stem != "01_train_a_cnn":
        program = SHORTENED + program
    (folder / "lesson.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "lesson.py"],
        cwd=folder,
        env={**os.environ, "CAMWIDGETS_NIH": str(folder / "cell_images"), "CAMWIDGETS_TRAINED": ""},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr[-2000:]
    assert "bluer than the rest of its cell stands in" in done.stdout
    assert "scored against itself" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "a map, but no mask" not in line]
    assert not [line for line in lines if "nan" in line]


def test_stains_lie_largely_on_the_parasites() -> None:
    cells = load_crops("test")
    images = np.where(DISC[..., None], cells.images, 0).astype(np.uint8)
    stains = np.stack([_stained(image) for image in images])
    assert not stains[:, ~DISC].any()
    sick = cells.labels > 0
    both, either = stains & cells.masks, stains | cells.masks
    overlap = both.sum((1, 2))[sick] / either.sum((1, 2))[sick]
    assert overlap.mean() > 0.5
    assert stains[sick].any((1, 2)).all()
    assert not _stained(np.zeros((8, 8, 3), np.uint8)).any()
