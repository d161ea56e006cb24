"""How long a lesson takes: `python lessons/source/minutes.py [--write]`.

minutes = words / 100 + lines of code / 20 + figures / 2 + what the exercises say they take,
rounded to 5.

Words are those of the text, without what is folded, the instructor's notes and the references; a
learner reads a lesson slowly, with a guess here and a cell to run there. Lines are those of open
code cells that hold no exercise. Seven timed readings (lessons 00 to 06: 13, 50, 81, 107, 71, 75
and 90 minutes) were met within six minutes, before rounding.

--write puts the numbers into the sources' heads, their notebooks and the README's table.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path

import build

SOURCES = sorted(build.SOURCE.glob("[0-9][0-9]*_*.py"))
README = build.LESSONS.parent / "README.md"
FOLDED = re.compile(r"<details>.*?</details>|<[^>]+>", re.DOTALL)
FIGURE = re.compile(r"(?<!def )\b(?:gallery|heat_row|heat_grid|figure_picture|Explorer)\(")
EXERCISE = re.compile(r"^(?:###|\*\*).*?\((\d+) minutes?\b", re.MULTILINE)
HOURS = re.compile(r"(?<=take about )\d+(?= hours)")
HEAD = re.compile(r"(?<=\*\*About )\d+(?= minutes)")


@functools.cache
def measured(source: Path) -> float:
    """Minutes of one lesson by the formula above, not rounded."""
    words = lines = figures = exercises = 0
    for cell in build.lesson(source).cells:
        if cell.cell_type == "markdown":
            exercises += sum(map(int, EXERCISE.findall(cell.source)))
            words += len(FOLDED.sub("", cell.source.split("## References")[0]).split())
            continue
        figures += len(FIGURE.findall(cell.source))
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        if not folded and "exercise" not in cell.metadata.get("tags", []):
            code = (line.strip() for line in cell.source.splitlines())
            lines += sum(bool(line) and not line.startswith("#") for line in code)
    return words / 100 + lines / 20 + figures / 2 + exercises


def minutes(source: Path) -> int:
    """Minutes of one lesson as they are told."""
    return 5 * max(1, round(measured(source) / 5))


def row(source: Path) -> re.Pattern:
    """The lesson's minutes in the README's table."""
    return re.compile(rf"(\(lessons/{source.stem}\.ipynb\).*\| )(\d+)(?= \|$)", re.MULTILINE)


def write(source: Path) -> None:
    """Put a lesson's minutes where they are told."""
    number = str(minutes(source))
    for path in (source, *build.targets(source)):
        if path.exists():
            _replace(path, HEAD, number)
    _replace(README, row(source), rf"\g<1>{number}")


def _replace(path: Path, pattern: re.Pattern, new: str) -> None:
    text, times = pattern.subn(new, path.read_text(encoding="utf-8"))
    if times != 1:
        raise SystemExit(f"{path} tells its minutes {times} times, not once: {pattern.pattern}")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for lesson in SOURCES:
        if "--write" in sys.argv[1:]:
            write(lesson)
        print(f"{lesson.stem}: {measured(lesson):.1f}, told as {minutes(lesson)} minutes")
    if "--write" in sys.argv[1:]:
        _replace(README, HOURS, str(round(sum(map(minutes, SOURCES)) / 60)))
    print(f"all: {sum(map(minutes, SOURCES))} minutes")
