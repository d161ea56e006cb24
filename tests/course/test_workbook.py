"""The learner's workbook: copies without answers that nothing but the learner changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from camwidgets.course import places, workbook
from camwidgets.course.workbook import fresh, lab_options, lessons, main, make

ROOT = Path(__file__).parents[2]
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
NAMES = ["00_hello.ipynb", "01_train.ipynb", "01b_clinic.ipynb"]


def executed(text: str) -> bytes:
    """A notebook of two cells that somebody has run."""
    run = nbformat.v4.new_code_cell(text, execution_count=1, id="cell-001")
    run.metadata = {"tags": ["exercise"], "execution": {"iopub.status.idle": "now"}}
    run.outputs = [nbformat.v4.new_output("stream", text="the answer\n")]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("é", id="a"), run])
    notebook.metadata = {"kernelspec": KERNEL, "widgets": {"state": {}}}
    return nbformat.writes(notebook).encode()


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small course, and a working directory beside it."""
    folder = tmp_path / "course" / "lessons"
    (folder / "solutions").mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(executed(f"# {name}"))
        (folder / "solutions" / name).write_bytes(executed("# solved"))
    monkeypatch.setattr(places, "COURSE", folder.parent)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_copies_hold_the_cells_and_nothing_that_was_run(course: Path) -> None:
    folder = Path("workbook")
    assert make(folder) == (NAMES, [])
    assert {path.name for path in folder.iterdir()} == {*NAMES, places.MARK}
    for name in NAMES:
        copy, original = (nbformat.read(path / name, as_version=4) for path in (folder, course))
        nbformat.validate(copy)
        assert [(c.id, c.source) for c in copy.cells] == [(c.id, c.source) for c in original.cells]
        assert copy.metadata == {"kernelspec": KERNEL}
        _, code = copy.cells
        assert (code.outputs, code.execution_count) == ([], None)
        assert code.metadata == {"tags": ["exercise"]}


def test_the_real_lessons_copy_too(tmp_path: Path) -> None:
    added, _ = make(tmp_path / "workbook")
    assert added == [path.name for path in sorted((ROOT / "lessons").glob("*.ipynb"))]
    for name in added:
        text = (tmp_path / "workbook" / name).read_text(encoding="utf-8")
        assert not [c for c in json.loads(text)["cells"] if c.get("outputs")]
        assert "image/png" not in text


def test_what_is_there_is_never_written_again(course: Path) -> None:
    folder = Path("workbook")
    make(folder)
    (folder / NAMES[0]).write_text("my work, half saved")
    (folder / NAMES[1]).unlink()
    (folder / NAMES[1]).symlink_to("somewhere else")
    (folder / "notes.ipynb").write_text("mine")
    before = contents(folder)
    assert make(folder) == ([], [])
    assert contents(folder) == before
    assert os.readlink(folder / NAMES[1]) == "somewhere else"


def test_a_folder_with_files_of_ones_own_may_become_a_workbook(course: Path) -> None:
    folder = Path("mine")
    folder.mkdir()
    (folder / NAMES[0]).write_text("my own file of that name")
    assert make(folder) == (NAMES[1:], [])
    assert (folder / NAMES[0]).read_text() == "my own file of that name"


def test_an_update_adds_new_lessons_and_tells_of_changed_ones(
    course: Path, capsys: pytest.CaptureFixture
) -> None:
    main([])
    mine = contents(Path("workbook"))
    (course / "02_new.ipynb").write_bytes(executed("# new"))
    (course / NAMES[1]).write_bytes(executed("# better"))
    (course / NAMES[0]).write_bytes(executed(f"# {NAMES[0]}").replace(b"the answer", b"42"))
    capsys.readouterr()
    assert main([]) == 0
    told = capsys.readouterr().out
    assert "New in it: 02_new.ipynb" in told
    assert f"{NAMES[1]} has changed in the course since your copy, which stays" in told
    assert "workbook fresh 01\n" in told
    assert NAMES[0] not in told, "other outputs are no change"
    now = contents(Path("workbook"))
    assert {name: now[name] for name in NAMES} == {name: mine[name] for name in NAMES}
    main(["fresh", "01"])
    capsys.readouterr()
    main([])
    assert "changed" not in capsys.readouterr().out


def test_a_fresh_copy_keeps_every_earlier_one(course: Path) -> None:
    folder = Path("workbook")
    make(folder)
    clean = (folder / NAMES[1]).read_bytes()
    assert fresh(folder, "01") == (folder / NAMES[1], None), "nothing was lost, nothing is kept"
    kept = []
    for work in ("first", "second", "second"):
        (folder / NAMES[1]).write_text(work)
        path, old = fresh(folder, "01")
        assert path.read_bytes() == clean
        kept.append((old.name, old.read_text()))
    assert kept == [(f"01_train.old-{k}.ipynb", w) for k, w in
                    ((1, "first"), (2, "second"), (3, "second"))]  # fmt: skip


@pytest.mark.parametrize("name", ["01b", "01b_clinic", "01b_clinic.ipynb"])
def test_a_lesson_goes_by_its_number_or_its_name(course: Path, name: str) -> None:
    assert fresh(Path("workbook"), name) == (Path("workbook") / NAMES[2], None)
    assert [p.name for p in Path("workbook").iterdir() if p.suffix == ".ipynb"] == [NAMES[2]]


@pytest.mark.parametrize("arguments", [["fresh", "9"], ["fresh", "0"], ["fresh", "../01"]])
def test_an_unknown_lesson_is_a_sentence(course: Path, arguments, capsys) -> None:
    assert main(arguments) == 1
    assert "there are 00, 01, 01b." in capsys.readouterr().out
    assert not Path("workbook").exists()


def test_a_broken_mark_does_no_harm(course: Path) -> None:
    for broken in (b"", b"[]", b'{"lessons": 3}', b"\xff\xfe"):
        make(Path("workbook"))
        (Path("workbook") / places.MARK).write_bytes(broken)
        (Path("workbook") / NAMES[0]).write_text("mine")
        assert make(Path("workbook")) == ([], [])
        assert (Path("workbook") / NAMES[0]).read_text() == "mine"


@pytest.mark.parametrize("action", [[], ["fresh", "01"]])
def test_the_course_itself_is_no_workbook(course: Path, action, capsys) -> None:
    before = contents(course)
    for folder in (course, course / "solutions", course / ".." / "lessons" / "new"):
        assert main(["--folder", str(folder), *action]) == 1
        assert "holds the course itself" in capsys.readouterr().out
    assert contents(course) == before


def test_within_a_workbook_it_is_that_one(course: Path, monkeypatch, capsys) -> None:
    main([])
    monkeypatch.chdir("workbook")
    Path(NAMES[0]).unlink()
    main([])
    assert not Path("workbook").exists()
    assert Path(NAMES[0]).is_file()


def test_a_course_without_lessons_is_a_sentence(course: Path, capsys) -> None:
    shutil.rmtree(course)
    assert main([]) == 1
    assert "There are no lessons in" in capsys.readouterr().out


def test_an_interrupted_copy_is_made_whole_the_next_time(course: Path, monkeypatch) -> None:
    write, calls = places.write, iter(range(9))

    def interrupted(path: Path, data: bytes) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(places, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(Path("workbook"))
    monkeypatch.setattr(places, "write", write)
    assert make(Path("workbook")) == (NAMES[1:], [])


# starting JupyterLab


def test_on_ones_own_screen_nothing_needs_to_be_said() -> None:
    assert lab_options({"DISPLAY": ":0"}, root=False) == (["--ServerApp.ip=127.0.0.1"], [])


def test_root_and_a_missing_screen_are_told_and_work(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    options, (root, screen) = lab_options({}, root=True)
    assert options == ["--ServerApp.ip=127.0.0.1", "--allow-root", "--no-browser"]
    assert "anything on this machine" in root
    assert "address that JupyterLab prints" in screen
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "--no-browser" not in lab_options({}, root=True)[0]


def test_lab_starts_on_the_first_lesson(course: Path, monkeypatch, capsys) -> None:
    app = pytest.importorskip("jupyterlab.labapp").LabApp
    started: list[tuple[Path, list[str]]] = []
    monkeypatch.setattr("os.environ", dict(os.environ))
    monkeypatch.setattr(app, "launch_instance", lambda argv: started.append((Path.cwd(), argv)))
    assert main(["lab", "--port", "9000"]) == 0
    ((folder, arguments),) = started
    assert folder.name == "workbook"
    assert arguments[0] == f"--LabApp.default_url=/lab/tree/{NAMES[0]}"
    assert arguments[-2:] == ["--port", "9000"]
    assert "--ServerApp.ip=127.0.0.1" in arguments
    assert Path(os.environ["PYTHONSTARTUP"]).is_file()


def test_options_that_nobody_knows_are_refused(course: Path) -> None:
    for arguments in (["--port", "9000"], ["fresh"], ["lab", "03"], ["fresh", "03", "04"]):
        with pytest.raises(SystemExit):
            main(arguments)
    assert not Path("workbook").exists()


# another user


@pytest.fixture
def unprivileged() -> Callable[..., subprocess.CompletedProcess]:
    """Run Python as a user who may read everything and write nothing, and has no home."""
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv, which makes an unprivileged user of root, is not there")
        may_read = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *may_read]

    def run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
        settings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
        settings.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
        command = [*prefix, sys.executable, "-c", code]
        return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)

    return run


@pytest.fixture
def read_only(tmp_path: Path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o555)
    tmp_path.chmod(0o755)
    yield folder
    folder.chmod(0o755)


LEARN = """
import torch
from camwidgets.course import GapCNN, save, trained, training
training.NETWORKS["gap"] = (GapCNN, lambda model: training.History(finished=True))
first = trained("gap")
print("again")
again = trained("gap")
print(all(map(torch.equal, first.state_dict().values(), again.state_dict().values())))
"""


def test_in_a_read_only_folder_without_a_home_a_training_is_kept_all_the_same(
    unprivileged, read_only: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    temporary.chmod(0o1777)
    (read_only / places.MARK).write_text("{}")
    done = unprivileged(LEARN, read_only, TMPDIR=str(temporary), CAMWIDGETS_TRAINED="")
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("again\n")
    kept = next(temporary.glob("camwidgets-*")) / "trained"
    assert f"cannot be written; the network is kept in {kept}.\n" in before
    assert after == "True\n"
    assert [path.name for path in read_only.iterdir()] == [places.MARK]


def test_a_workbook_that_cannot_be_made_is_a_sentence(unprivileged, read_only: Path) -> None:
    code = "import sys; from camwidgets.course.workbook import main; sys.exit(main([]))"
    done = unprivileged(code, read_only)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr  # Matplotlib may tell of its own folder there
    assert done.stdout == (
        "workbook: Permission denied. Choose a folder that is yours with --folder.\n"
    )
    assert not list(read_only.iterdir())


def test_lessons_are_listed_in_their_order() -> None:
    assert [path.name[:2] for path in lessons()] == sorted(path.name[:2] for path in lessons())
    assert workbook.lessons()[0].name == "00_welcome.ipynb"
