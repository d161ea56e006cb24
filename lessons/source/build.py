"""Make the notebooks from their sources: `python lessons/source/build.py [01 02 …]`.

Each source gives two notebooks: the lesson, whose exercises hold `...`, and its solution. Both are
executed, so that a reader sees every output without running anything.

In a source, the lines of a cell between `# solution` and `# end solution` become `...` in the
lesson; a cell tagged "instructor" is for the instructor guide and appears in neither notebook.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

SOURCE = Path(__file__).parent
LESSONS = SOURCE.parent
SOLUTION = re.compile(
    r"^(?P<indent>[ ]*)# solution\n(?P<lines>.*?)^[ ]*# end solution\n?", re.DOTALL | re.MULTILINE
)


def targets(source: Path) -> tuple[Path, Path]:
    """Where the lesson and its solution go."""
    name = source.with_suffix(".ipynb").name
    return LESSONS / name, LESSONS / "solutions" / name


def lesson(source: Path) -> NotebookNode:
    """The learners' notebook, not executed: exercises open."""
    return _notebook(source, lambda m: m["indent"] + "...\n")


def solution(source: Path) -> NotebookNode:
    """The solved notebook, not executed."""
    return _notebook(source, lambda m: m["lines"])


def _notebook(source: Path, solve: Callable[[re.Match], str]) -> NotebookNode:
    notebook = jupytext.read(source)
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    notebook.cells = [c for c in notebook.cells if "instructor" not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.source = SOLUTION.sub(solve, cell.source + "\n").rstrip("\n")
    return _numbered(notebook)


def _numbered(notebook: NotebookNode) -> NotebookNode:
    for k, cell in enumerate(notebook.cells):
        cell.id = f"cell-{k:03d}"
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in `folder`; an exception ends the build."""
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
    ).execute()
    notebook.metadata.language_info = NotebookNode(name="python")


def main(wanted: list[str]) -> None:
    """Build the lessons whose numbers are given, or all."""
    for source in sorted(SOURCE.glob("[0-9][0-9]*_*.py")):
        if wanted and source.name.split("_")[0] not in wanted:
            continue
        for make, path in zip((lesson, solution), targets(source), strict=True):
            start = time.perf_counter()
            notebook = make(source)
            execute(notebook, path.parent)
            nbformat.write(notebook, path)
            print(f"{path.relative_to(LESSONS)}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
