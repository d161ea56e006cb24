"""How far a learner is: `python -m camwidgets.course.progress [folder]`.

Read from the outputs of the checks in the saved notebooks of a workbook. It is printed, nothing is
sent; `--write` keeps it as progress.md in the workbook.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from . import places

CHECK = re.compile(r'\b(?<!_ = )check\(\s*"([\w.]+)"')
"""a lesson's own demonstration says `_ = check(…)`"""


def progress(notebook: Path) -> tuple[list[str], list[str], list[str]]:
    """Names of the exercises of a notebook: right, tried, and not begun, as it was saved."""
    best: dict[str, int] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        names = CHECK.findall("".join(cell["source"])) if cell["cell_type"] == "code" else []
        told = ["".join(o.get("data", {}).get("text/plain", "")) for o in cell.get("outputs", [])]
        state = 2 * any(t.startswith("✓ Right") for t in told) or any(t[:1] == "✗" for t in told)
        for name in names:
            best[name] = max(best.get(name, 0), int(state))
    right, tried, waiting = ([n for n, s in best.items() if s == state] for state in (2, 1, 0))
    return right, tried, waiting


def report(folder: Path) -> str:
    """A line for each lesson of a workbook; ValueError if there is none."""
    lines = []
    for notebook in sorted(folder.glob("[0-9]*_*.ipynb")):
        if ".old-" in notebook.name:
            continue
        right, tried, waiting = progress(notebook)
        total = len(right) + len(tried) + len(waiting)
        open_ = f"; tried: {', '.join(tried)}" if tried else ""
        lines.append(f"{notebook.stem}: {len(right)} of {total} exercises right{open_}")
    if not lines:
        raise ValueError(f"There are no lessons in {folder}: name your workbook's folder.")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the report; 1, with a sentence, if there is nothing to report on."""
    parser = argparse.ArgumentParser("progress", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=places.workbook())
    parser.add_argument("--write", action="store_true", help="keep it as progress.md there")
    given = parser.parse_args(arguments)
    folder = given.folder or Path("workbook")
    try:
        text = report(folder)
    except ValueError as error:
        print(error)
        return 1
    print(text)
    if given.write:
        (folder / "progress.md").write_text(text.replace("\n", "\n\n") + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
