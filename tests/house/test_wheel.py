"""An installed wheel is the whole course: data and lessons, found without a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with what the wheel holds, as `pip install` would unpack it."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    without = shutil.ignore_patterns("__pycache__", "solutions", "source", "trained", "shipped")
    for name in ("camwidgets", "data", "lessons"):
        shutil.copytree(ROOT / name, source / name, ignore=without)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-c", BUILD, str(built)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(built / "site")
    return built / "site"


@pytest.fixture
def learner(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who has nothing but the wheel."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CAMWIDGETS_TRAINED", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def python(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_data_and_lessons_without_outputs_and_nothing_superfluous(site: Path):
    shipped = site / "camwidgets" / "course" / "shipped"
    assert {path.relative_to(shipped / "data") for path in (shipped / "data").rglob("*.*")} == {
        path.relative_to(ROOT / "data") for path in (ROOT / "data").rglob("*.*")
    }
    lessons = sorted((shipped / "lessons").iterdir())
    assert [path.name for path in lessons] == [
        path.name for path in sorted((ROOT / "lessons").glob("*.ipynb"))
    ]
    assert sum(path.stat().st_size for path in lessons) < 1_000_000
    assert not [path for path in site.rglob("*") if path.name in ("tests", "setup.py", "trained")]


def test_data_and_networks_without_a_checkout(site: Path, learner: Path):
    code = """
import camwidgets
from camwidgets.course import load_crops, load_fields, places
print(camwidgets.__file__)
print(len(load_crops("train", shortcut=True)), len(load_fields("test")))
print(places.kept()[0])
"""
    where, counts, kept = python(learner, "-c", code).splitlines()
    assert Path(where).is_relative_to(site)
    assert counts == "1250 100"
    assert Path(kept) == learner / "trained"


def test_a_lesson_of_the_wheels_workbook_runs(learner: Path):
    told = python(learner, "-m", "camwidgets.course.workbook")
    assert f"Your workbook: {learner / 'workbook'}\n" in told
    notebook = nbformat.read(learner / "workbook" / "00_welcome.ipynb", as_version=4)
    folder = {"metadata": {"path": str(learner / "workbook")}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    printed = "".join(o.text for c in notebook.cells for o in c.get("outputs", []) if "text" in o)
    assert "✓ the data set is there: 500 test crops" in printed
