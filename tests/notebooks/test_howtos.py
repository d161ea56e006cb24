"""The how-to notebooks are what their sources give, executed, quiet, and readable without eyes."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "howto"
SOURCES = sorted(set((HOWTO / "source").glob("*.py")) - {HOWTO / "source" / "build.py"})

_spec = importlib.util.spec_from_file_location("howto_build", HOWTO / "source" / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

each = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def committed(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(HOWTO / f"{source.stem}.ipynb", as_version=4)


def test_there_is_a_source_for_each_notebook():
    assert {path.stem for path in HOWTO.glob("*.ipynb")} == {source.stem for source in SOURCES}
    assert len(SOURCES) >= 10


@each
def test_notebook_is_what_its_source_gives(source):
    fresh, found = build.lessons.lesson(source), committed(source)
    assert [(c.id, c.cell_type, c.source) for c in found.cells] == [
        (c.id, c.cell_type, c.source) for c in fresh.cells
    ], f"{source.name} has changed: run `make howtos`"


@each
def test_every_cell_was_executed_in_order_and_in_quiet(source):
    cells = [c for c in committed(source).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    outputs = [o for c in cells for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@each
def test_every_claim_held_where_it_was_built(source):
    text = "".join(
        o.text for c in committed(source).cells for o in c.get("outputs", []) if "text" in o
    )
    assert "✓" in text
    assert "✗" not in text


@each
def test_every_figure_says_in_words_what_it_shows(source):
    figures = 0
    for cell in committed(source).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert "image/png" not in data or "application/vnd.jupyter.widget-view+json" in data
            for image in re.findall("<img[^>]*>", data.get("text/html", "")):
                figures += 1
                alt = re.search(r'\balt="([^"]*)"', image)
                assert alt, cell.id
                assert len(alt[1].split()) >= 5, cell.id
    assert figures >= 1


@each
def test_notebook_is_short_and_carries_no_widget_state(source):
    path = HOWTO / f"{source.stem}.ipynb"
    assert "widgets" not in json.loads(path.read_text())["metadata"]
    assert path.stat().st_size < 2_000_000
    assert len(source.read_text().splitlines()) < 320


@each
def test_the_readme_leads_to_it(source):
    assert f"(howto/{source.stem}.ipynb)" in (ROOT / "README.md").read_text()
