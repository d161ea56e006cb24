"""Where things lie: the course's data and lessons, the learner's workbook, trained networks.

The course is read from a checkout, or from a wheel, which holds a copy of data/ and of the lessons.
What a learner makes goes into the workbook that the working directory lies in. `CAMWIDGETS_TRAINED`
may name folders, separated as in PATH, whose trained networks are used and never written: so a
workshop's hub offers them. Where it is not set, a checkout's lessons/trained is such a folder.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

_SHIPPED = Path(__file__).resolve().parent / "shipped"
COURSE = _SHIPPED if _SHIPPED.is_dir() else Path(__file__).resolve().parents[2]
"""The folder that holds data/ and lessons/: a checkout, or what a wheel brought."""

MARK = ".camwidgets.json"
"""The file that makes a folder a workbook."""


def workbook() -> Path | None:
    """The workbook that the working directory is, or lies in; None outside of one."""
    around = [folder for here in _here() for folder in (here, *here.parents)]
    return next((folder for folder in around if os.path.isfile(folder / MARK)), None)


def kept() -> list[Path]:
    """Folders for trained networks, the preferred one first; each may turn out to be read-only.

    The workbook's; outside of one that of a checkout's lessons, or the working directory's. Then
    the user's cache, then a folder of the user's among the temporary files.
    """
    checkout = None if COURSE == _SHIPPED else COURSE / "lessons"
    first = next(filter(None, [workbook(), checkout, *_here()]), None)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "camwidgets")
    folders = [first, cache if cache.is_absolute() else None, *_temporary()]
    return [folder / "trained" for folder in folders if folder]


def offered() -> list[Path]:
    """Folders of trained networks to read only: CAMWIDGETS_TRAINED's, else the course's own."""
    named = os.environ.get("CAMWIDGETS_TRAINED")
    if named is None:
        return [COURSE / "lessons" / "trained"]
    return [Path(folder) for folder in named.split(os.pathsep) if folder]


def write(path: Path, data: bytes) -> None:
    """Make or replace a file in one step, so that nobody meets half of it; else OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _here() -> list[Path]:
    try:
        return [Path.cwd()]
    except OSError:  # it was deleted
        return []


def _temporary() -> list[Path]:
    """Not where somebody else made a folder of that name."""
    user = getattr(os, "getuid", int)()
    try:
        folder = Path(tempfile.gettempdir(), f"camwidgets-{user}")
        return [] if os.path.lexists(folder) and os.lstat(folder).st_uid != user else [folder]
    except OSError:
        return []
