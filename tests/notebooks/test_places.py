"""lessons/README.md says where a thing is shown and a trap is taught: the places are there."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

TABLE = Path(__file__).parents[2] / "lessons" / "README.md"
PLACE = re.compile(
    r"\[(?P<lesson>[^\]·]+) · (?P<heading>[^\]]+)\]\((?P<file>[^)]+)\) \(`(?P<word>.+?)`\)"
)
ROWS = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]
PLACES = [(row.split("|")[1].strip(), *place) for row in ROWS for place in PLACE.findall(row)]


def section(path: Path, heading: str) -> str:
    """The text of a notebook from a heading to the next one of its level or above."""
    found, level = [], 0
    for cell in nbformat.read(path, as_version=4).cells:
        markdown = cell.cell_type == "markdown"
        for line in cell.source.splitlines():
            marks = re.match(r"(#+) (.*)", line) if markdown else None
            if marks and level and len(marks[1]) <= level:
                return "\n".join(found)
            if marks and not level and marks[2].startswith(heading):
                level = len(marks[1])
            if level:
                found.append(line)
    return "\n".join(found)


def test_every_row_has_both_places() -> None:
    assert [row.split("|")[1].strip() for row in ROWS] == [str(n) for n in range(1, 27)]
    for row in ROWS:
        _, _, _, shown, trap, taught, _ = row.split("|")
        assert PLACE.search(shown), row
        assert PLACE.search(taught), row
        assert len(trap.split()) >= 2
        assert row.count("](") == len(PLACE.findall(row)), "a place without its word"


@pytest.mark.parametrize(
    ("row", "lesson", "heading", "file", "word"), PLACES, ids=[f"{p[0]}-{p[2]}" for p in PLACES]
)
def test_the_place_is_there(row: str, lesson: str, heading: str, file: str, word: str) -> None:
    path = TABLE.parent / file
    assert path.exists()
    assert lesson == "How-to" or path.name.startswith(f"{lesson}_")
    text = section(path, heading)
    assert text, f"row {row}: {path.name} has no heading that begins with {heading!r}"
    assert word in text, f"row {row}: {word!r} does not stand under {heading!r}"


def test_a_section_ends_at_the_next_heading(tmp_path: Path) -> None:
    cells = ["## One\nfirst", "### Below\nmore", "## Two\nlast"]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(c) for c in cells]
        + [nbformat.v4.new_code_cell("## Two in code")]
    )
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert section(tmp_path / "a.ipynb", "One") == "## One\nfirst\n### Below\nmore"
    assert section(tmp_path / "a.ipynb", "Bel") == "### Below\nmore"
    assert section(tmp_path / "a.ipynb", "Three") == ""
