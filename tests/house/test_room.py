"""`make check-room` tells a lesson that has room from one that has not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "binder"))
import room  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
FINE = {"problem": "", "missing": [], "imports": 600.0, "peak": 900.0, "seconds": [(1, 2.0)],
        "grown": [(1, 250.0)]}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"peak": 1600.0}, None),
        ({"peak": 1601.0}, "1001 MB beyond the imports, more than 1000"),
        ({"seconds": [(1, 60.0), (4, 61.0)]}, "cell 4 takes 61 s, more than 60"),
        ({"problem": "cell 3: NameError"}, "cell 3: NameError"),
    ],
)
def test_go_and_no_go(change: dict, says: str | None) -> None:
    found = FINE | change
    assert room.verdict(found) == ([says] if says else [])
    assert room.report("00.ipynb", found).startswith("00.ipynb: " + ("NO-GO" if says else "go"))


def test_the_report_names_the_slow_cells() -> None:
    told = room.report("00.ipynb", FINE | {"seconds": [(1, 2.04), (3, 0.4), (9, 30.0)]})
    assert "32 s in 3 cells" in told
    assert "1: 2.0, 9: 30.0; 1 others below 1" in told
    assert "imports 600 MB, peak 900 MB, lesson 300 MB (250 in cell 1)" in told


def notebook(folder: Path, *cells: str) -> Path:
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(content, folder / "lesson.ipynb")
    return folder / "lesson.ipynb"


def test_memory_and_time_are_measured_and_nothing_gets_out(tmp_path: Path) -> None:
    path = notebook(
        tmp_path,
        "import numpy as np, os, socket, torch\nfilled = np.ones(50_000_000)  # 400 MB",
        "sum(range(100_000_000))",
        "assert len(os.sched_getaffinity(0)) == torch.get_num_threads() == 1\n"
        "assert os.getcwd() == " + repr(str(tmp_path)),
    )
    found = room.confined(path, tmp_path)
    assert found["problem"] == ""
    assert 300 < found["peak"] - found["imports"] < 600
    assert [index for index, _ in found["seconds"]] == [0, 1, 2]
    assert found["seconds"][1][1] > 0.1
    assert [index for index, _ in found["grown"]] == [0]
    assert "one CPU" not in found["missing"]
    assert "a limit to the memory" not in found["missing"]
    if room.without_network():
        assert found["missing"] == []


def test_who_takes_more_than_there_is_fails(tmp_path: Path) -> None:
    path = notebook(tmp_path, "1", "import numpy as np\nnp.ones(300_000_000)  # 2.4 GB")
    assert "cell 1: " in (problem := room.confined(path, tmp_path)["problem"])
    assert "Memory" in problem or "died" in problem


def test_a_cell_that_fails_is_named(tmp_path: Path) -> None:
    path = notebook(tmp_path, "1", "undefined")
    found = room.confined(path, tmp_path)
    assert found["problem"] == "cell 1: NameError: name 'undefined' is not defined"


@pytest.mark.skipif(not room.without_network(), reason="this machine lets nobody cut the network")
def test_offline_is_told_from_online() -> None:
    code = "import room, sys; sys.exit(room.offline())"
    command = [*room.without_network(), sys.executable, "-c", code]
    places = os.pathsep.join([str(ROOT), str(ROOT / "binder")])
    assert subprocess.call(command, env={**os.environ, "PYTHONPATH": places}) == 1
