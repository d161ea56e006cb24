"""The bundle's pieces; `make bundle TRY=1` builds and tries the whole, which takes minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "binder"))
import bundle  # noqa: E402

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the bundle is made by make")
PYTHON = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python;; esac
"""


@pytest.fixture
def start(tmp_path: Path):
    """Run the start script with a Python that only writes down what it was asked."""
    folder, programs = tmp_path / "the stick", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    (folder / "start").write_text(bundle.START)
    (programs / bundle.PYTHON).write_text(PYTHON)
    (programs / bundle.PYTHON).chmod(0o755)
    folder.chmod(0o555)

    def run(*arguments: str, path: str = f"{programs}:{os.environ['PATH']}", **variables: str):
        environment = {"PATH": path, "HOME": str(tmp_path), "LOG": str(tmp_path / "log")}
        return subprocess.run(
            ["sh", str(folder / "start"), *arguments],
            cwd=tmp_path, env={**environment, **variables}, capture_output=True, text=True,
        )  # fmt: skip

    yield run
    folder.chmod(0o755)


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_it_installs_once_without_any_index_and_opens_the_workbook(start, tmp_path: Path) -> None:
    assert start().returncode == 0
    venv, pip, lab = asked(tmp_path)
    assert venv == "-m venv .venv"
    assert "--no-index" in pip
    assert "--isolated" in pip
    assert f"--find-links {tmp_path}/the stick/wheels" in pip
    assert f"-r {tmp_path}/the stick/requirements.txt camwidgets" in pip
    assert lab == "-m camwidgets.course.workbook lab"
    assert start().returncode == 0
    assert asked(tmp_path)[3:] == [lab]
    assert (tmp_path / "camwidgets" / ".venv" / "installed").is_file()
    assert os.listdir(tmp_path / "the stick") == ["start"], "nothing is written to the stick"


def test_a_failed_installation_is_not_taken_for_a_whole_one(start, tmp_path: Path) -> None:
    failing = tmp_path / "failing"
    failing.mkdir()
    (failing / bundle.PYTHON).write_text(PYTHON + 'case "$*" in *pip*) exit 1;; esac\n')
    (failing / bundle.PYTHON).chmod(0o755)
    assert start(path=f"{failing}:{os.environ['PATH']}").returncode == 1
    assert not (tmp_path / "camwidgets" / ".venv" / "installed").exists()
    assert start().returncode == 0


def test_another_folder_and_another_day(start, tmp_path: Path) -> None:
    assert start(f"{tmp_path}/my course", "install").returncode == 0
    assert (tmp_path / "my course" / ".venv" / "installed").is_file()
    assert len(asked(tmp_path)) == 2


def test_what_is_missing_is_said(start, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "uname").write_text("#!/bin/sh\necho Plan9\n")
    (tmp_path / "other" / "uname").chmod(0o755)
    answer = start(path=f"{tmp_path}/other:{os.environ['PATH']}")
    assert answer.returncode == 1
    assert f"These wheels are for {bundle.PLACE}; this is Plan9 Plan9." in answer.stdout
    answer = start(path="/usr/bin:/bin") if not Path(f"/usr/bin/{bundle.PYTHON}").exists() else None
    if answer:
        assert f"{bundle.PYTHON} is needed and not there." in answer.stdout
    answer = start(HOME="")
    assert answer.returncode != 0
    assert "say a folder" in answer.stderr
