"""Make the how-to notebooks from their sources: `python howto/source/build.py [name …]`.

Each source gives one notebook, executed, built like the lessons. Printed are its seconds on the
clock and of the processor, and the most memory that a kernel took so far.
"""

from __future__ import annotations

import importlib.util
import resource
import sys
import time
from pathlib import Path

import nbformat

SOURCE = Path(__file__).parent
HOWTO = SOURCE.parent

_spec = importlib.util.spec_from_file_location(
    "lessons_build", HOWTO.parent / "lessons" / "source" / "build.py"
)
lessons = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lessons)


def main(wanted: list[str]) -> None:
    """Build the how-tos whose names are given, or all."""
    for source in sorted(SOURCE.glob("*.py")):
        if source == Path(__file__) or (wanted and source.stem not in wanted):
            continue
        start, before = time.perf_counter(), _children()
        notebook = lessons.lesson(source)
        lessons.execute(notebook, HOWTO)
        nbformat.write(notebook, HOWTO / source.with_suffix(".ipynb").name)
        seconds, after = time.perf_counter() - start, _children()
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peak = f"{after.ru_maxrss / 1024:.0f} MB"
        print(f"{source.stem}: {seconds:.0f} s, processor {busy:.0f} s, {peak}", flush=True)


def _children() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


if __name__ == "__main__":
    main(sys.argv[1:])
