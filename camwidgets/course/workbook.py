"""A learner's workbook: copies of the lessons without outputs, in a folder of the learner's own.

python -m camwidgets.course.workbook             make it, or add lessons that an update brought
python -m camwidgets.course.workbook fresh 03    a fresh copy of lesson 03; the old one stays beside
python -m camwidgets.course.workbook lab         make it and open JupyterLab there

The folder is the workbook around the working directory, else workbook/ in it, else what --folder
says. A lesson that is there is never written again, except by `fresh`. Networks and guesses are
kept in the same folder. What `lab` does not know is handed to JupyterLab: `lab --port 9000`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from . import places


def lessons() -> list[Path]:
    """The course's notebooks in their order, as they are shipped, with outputs."""
    return sorted((places.COURSE / "lessons").glob("[0-9]*.ipynb"))


def without_outputs(notebook: bytes) -> bytes:
    """The same notebook as nobody has run it yet."""
    content = json.loads(notebook)
    content["metadata"].pop("widgets", None)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            cell["metadata"].pop("execution", None)
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


def make(folder: Path) -> tuple[list[str], list[str]]:
    """Copy the lessons that are not there yet; files that are there stay as they are.

    Returns the names of the lessons that were copied, and of those that the course has changed
    since they were. OSError if the folder cannot be written, ValueError if it is the course's own.
    """
    _check(folder)
    origins, added, changed = _origins(folder), [], []
    for lesson in lessons():
        fresh = without_outputs(lesson.read_bytes())
        if not os.path.lexists(folder / lesson.name):
            places.write(folder / lesson.name, fresh)
            origins[lesson.name] = _digest(fresh)
            added.append(lesson.name)
        elif origins.get(lesson.name, _digest(fresh)) != _digest(fresh):
            changed.append(lesson.name)
    if added or not (folder / places.MARK).is_file():
        _note(folder, origins)
    return added, changed


def fresh(folder: Path, number: str) -> tuple[Path, Path | None]:
    """Put a fresh copy of one lesson into a workbook; the learner's own is kept beside it.

    number: how the lesson's name begins, "03" or all of it. Returns the copy, and where the
    one before is kept: None if there was none, or none that differed. Errors as in `make`, and
    ValueError for an unknown lesson.
    """
    _check(folder)
    found = [lesson for lesson in lessons() if _number(lesson.name) == number] or [
        lesson for lesson in lessons() if number in (lesson.name, lesson.stem)
    ]
    if not found:
        known = ", ".join(_number(lesson.name) for lesson in lessons())
        raise ValueError(f"There is no lesson {number!r}; there are {known}.")
    (lesson,) = found
    content = without_outputs(lesson.read_bytes())
    path, kept = folder / lesson.name, None
    if path.is_file() and path.read_bytes() != content:
        kept = _set_aside(path)
    places.write(path, content)
    _note(folder, _origins(folder) | {lesson.name: _digest(content)})
    return path, kept


def lab_options(environment: Mapping[str, str], *, root: bool) -> tuple[list[str], list[str]]:
    """How JupyterLab is to be started on this machine, and what a person should know about it."""
    options, told = ["--ServerApp.ip=127.0.0.1"], []
    if root:
        options.append("--allow-root")
        told.append(
            "You are root, so notebooks may do anything on this machine. JupyterLab listens on "
            "127.0.0.1 alone and asks for the token in its address: keep that address to yourself."
        )
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if sys.platform.startswith("linux") and not any(map(environment.get, screens)):
        options.append("--no-browser")
        told.append(
            "There is no screen here: open the address that JupyterLab prints below in a browser. "
            "From another computer, first: ssh -L 8888:127.0.0.1:8888 this-machine"
        )
    return options, told


def _check(folder: Path) -> None:
    if folder.resolve().is_relative_to((places.COURSE / "lessons").resolve()):
        raise ValueError(f"{folder} holds the course itself; a workbook needs a folder of its own.")
    if not lessons():
        raise ValueError(f"There are no lessons in {places.COURSE}: is this a whole copy of it?")


def _number(name: str) -> str:
    return name.split("_")[0]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _origins(folder: Path) -> dict[str, str]:
    """Which lesson was copied from what."""
    try:
        origins = json.loads((folder / places.MARK).read_bytes())["lessons"]
        return {str(name): str(digest) for name, digest in origins.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _note(folder: Path, origins: dict[str, str]) -> None:
    places.write(folder / places.MARK, json.dumps({"lessons": origins}, indent=1).encode())


def _set_aside(path: Path) -> Path:
    """A copy of the file under the first free name."""
    content, number = path.read_bytes(), 1
    while True:
        kept = path.with_name(f"{path.stem}.old-{number}.ipynb")
        try:
            with kept.open("xb") as file:
                file.write(content)
            return kept
        except FileExistsError:
            number += 1


def _told(folder: Path, added: list[str], changed: list[str]) -> str:
    lines = [f"Your workbook: {folder.resolve()}"]
    if added:
        lines.append(f"New in it: {', '.join(added)}")
    lines += [
        f"{name} has changed in the course since your copy, which stays as it is; for the new one: "
        f"python -m camwidgets.course.workbook fresh {_number(name)}"
        for name in changed
    ]
    return "\n".join(lines)


def _open_lab(folder: Path, arguments: list[str]) -> None:
    try:
        from jupyterlab.labapp import LabApp
    except ImportError:
        raise ValueError("JupyterLab is not installed here: pip install jupyterlab") from None
    options, told = lab_options(os.environ, root=getattr(os, "geteuid", lambda: 1)() == 0)
    for line in told:
        print(line, flush=True)
    os.environ.setdefault("PYTHONSTARTUP", str(Path(__file__).with_name("startup.py")))
    os.chdir(folder)
    first = f"--LabApp.default_url=/lab/tree/{lessons()[0].name}"
    LabApp.launch_instance([first, *options, *arguments])


def main(arguments: list[str] | None = None) -> int:
    """Make the workbook, and do what the arguments say; 1 if that cannot be, with a sentence."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("workbook", description=__doc__, formatter_class=formatter)
    parser.add_argument("--folder", type=Path, default=places.workbook() or Path("workbook"))
    parser.add_argument("action", nargs="?", choices=["fresh", "lab"])
    parser.add_argument("lesson", nargs="?", help="which one, for fresh: 03")
    asked, others = parser.parse_known_args(arguments)
    if others and asked.action != "lab":
        parser.error(f"unknown: {' '.join(others)}")
    if (asked.action == "fresh") != bool(asked.lesson):
        parser.error("say `fresh` and a lesson's number, such as: fresh 03")
    try:
        if asked.action == "fresh":
            path, kept = fresh(asked.folder, asked.lesson)
            print(f"Fresh: {path}" + (f"\nYours is kept: {kept}" if kept else ""))
            print("If it is open in JupyterLab, close it there without saving.")
            return 0
        print(_told(asked.folder, *make(asked.folder)), flush=True)
        if asked.action == "lab":
            _open_lab(asked.folder, others)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Choose a folder that is yours with --folder.")
        return 1
    except ValueError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
