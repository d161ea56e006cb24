"""The committed notebooks are what their sources give, executed, and readable without eyes."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest

LESSONS = Path(__file__).parents[1] / "lessons"
README = LESSONS.parent / "README.md"
SOURCES = sorted((LESSONS / "source").glob("[0-9][0-9]*_*.py"))

_spec = importlib.util.spec_from_file_location("build", LESSONS / "source" / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

each_notebook = pytest.mark.parametrize(
    ("source", "kind"),
    [(source, kind) for source in SOURCES for kind in (0, 1)],
    ids=[f"{source.stem}-{kind}" for source in SOURCES for kind in ("lesson", "solution")],
)


def committed(source: Path, kind: int) -> nbformat.NotebookNode:
    return nbformat.read(build.targets(source)[kind], as_version=4)


def test_there_is_no_notebook_without_a_source():
    expected = {path for source in SOURCES for path in build.targets(source)}
    assert expected
    assert {p for p in LESSONS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts} == expected


@each_notebook
def test_notebook_is_what_its_source_gives(source, kind):
    fresh = (build.lesson, build.solution)[kind](source)
    found = committed(source, kind)
    assert [(c.id, c.cell_type, c.source) for c in found.cells] == [
        (c.id, c.cell_type, c.source) for c in fresh.cells
    ], f"{source.name} has changed: run `make lessons`"
    assert [c.metadata for c in found.cells] == [c.metadata for c in fresh.cells]


@each_notebook
def test_every_cell_was_executed_in_order_without_an_error(source, kind):
    cells = [c for c in committed(source, kind).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert not [o for c in cells for o in c.outputs if o.get("name") == "stderr"]


@each_notebook
def test_every_figure_has_alternative_text_in_words(source, kind):
    figures = 0
    for cell in committed(source, kind).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert "image/png" not in data or "application/vnd.jupyter.widget-view+json" in data, (
                f"cell {cell.id}: a figure without alt text; show it as a Picture"
            )
            for alt in re.findall(r'<img[^>]*\balt="([^"]*)"', data.get("text/html", "")):
                figures += 1
                assert len(alt.split()) >= 5, f"cell {cell.id}: {alt!r} does not say what is seen"
            assert len(re.findall("<img", data.get("text/html", ""))) == len(
                re.findall(r'<img[^>]*\balt="', data.get("text/html", ""))
            )
    assert figures >= 1


@each_notebook
def test_notebook_carries_no_widget_state_and_stays_small(source, kind):
    path = build.targets(source)[kind]
    assert "widgets" not in json.loads(path.read_text())["metadata"]
    assert path.stat().st_size < 5_000_000


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_lesson_hides_solutions_and_instructor_notes(source):
    text = source.read_text()
    lesson, solution = (
        "\n".join(cell.source for cell in make(source).cells)
        for make in (build.lesson, build.solution)
    )
    assert "# solution" not in lesson + solution
    assert "# end solution" not in lesson + solution
    assert text.count("# solution\n") == text.count("# end solution\n")
    assert lesson.count("    ...") >= text.count("# solution\n")
    assert 'tags=["instructor"]' in text
    assert "**Instructor.**" not in lesson + solution
    assert len(lesson) < len(solution)


@each_notebook
def test_answers_to_guesses_are_folded(source, kind):
    answers = [c for c in committed(source, kind).cells if "predict.reveal(" in c.source]
    assert answers
    for cell in answers:
        assert cell.metadata.get("jupyter", {}).get("source_hidden"), cell.source
        first = cell.source.splitlines()[0]  # JupyterLab shows it beside the three dots
        assert not re.search(r"predict\.reveal\(.", first), first


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_readme_lists_the_lesson_with_its_minutes(source):
    row = re.search(
        rf"\(lessons/{source.stem}\.ipynb\).*\| (\d+) \|$", README.read_text(), re.MULTILINE
    )
    assert row, f"{source.stem} is not in the README's table"
    assert f"**About {row[1]} minutes" in source.read_text()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_exercise_that_is_checked_exists(source):
    from camwidgets.course.exercises._engine import exercises

    named = set(re.findall(r'\b(?:check|hint)\(\s*"([\w.]+)"', source.read_text()))
    assert named <= set(exercises())
