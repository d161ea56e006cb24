"""The committed notebooks are what their sources give, executed, and readable without eyes."""

import base64
import importlib
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
import pytest

LESSONS = Path(__file__).parents[2] / "lessons"
README = LESSONS.parent / "README.md"
SOURCES = sorted((LESSONS / "source").glob("[0-9][0-9]*_*.py"))

sys.path.insert(0, str(LESSONS / "source"))
build, minutes = map(importlib.import_module, ("build", "minutes"))

each_notebook = pytest.mark.parametrize(
    ("source", "kind"),
    [(source, kind) for source in SOURCES for kind in (0, 1)],
    ids=[f"{source.stem}-{kind}" for source in SOURCES for kind in ("lesson", "solution")],
)


def again(source: Path) -> str:
    number = source.name.split("_")[0]
    return f"run `python lessons/source/build.py {number}` and commit both notebooks"


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
    ], f"{source.name} has changed: {again(source)}"
    assert [c.metadata for c in found.cells] == [c.metadata for c in fresh.cells], again(source)


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
    left_open = [line for line in lesson.splitlines() if line.strip() == "..."]
    assert len(left_open) >= text.count("# solution\n")
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


@each_notebook
def test_claims_hold_and_figures_fit_a_page(source, kind):
    for cell in committed(source, kind).cells:
        for output in cell.get("outputs", []):
            assert "✗ not so here" not in output.get("text", ""), f"cell {cell.id}"
            for data in re.findall(
                r'src="data:image/png;base64,([^"]+)"', output.get("data", {}).get("text/html", "")
            ):
                header = base64.b64decode(data[:32])  # its width stands in bytes 16 to 19
                assert int.from_bytes(header[16:20], "big") <= 900, f"cell {cell.id}"


@each_notebook
def test_drawing_is_folded(source, kind):
    for cell in committed(source, kind).cells:
        if re.search(r"^figure = Figure\(|\.subplots\(", cell.source, re.MULTILINE):
            assert cell.metadata.get("jupyter", {}).get("source_hidden"), cell.source


@pytest.mark.parametrize(("source", "following"), list(pairwise(SOURCES)), ids=lambda s: s.stem)
def test_a_lesson_ends_with_a_link_to_the_next(source, following):
    text = "\n".join(cell.source for cell in build.lesson(source).cells)
    assert f"({following.stem}.ipynb)" in text.split("## References")[1]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_minutes_are_those_of_the_formula_in_the_lesson_and_the_readme(source):
    told = minutes.row(source).search(README.read_text())
    assert told, f"{source.stem} is not in the README's table"
    heads = minutes.HEAD.findall(source.read_text())
    assert [int(told[2]), *map(int, heads)] == [minutes.minutes(source)] * 2, (
        "run `python lessons/source/minutes.py --write`"
    )


def test_minutes_by_hand(tmp_path):
    source = tmp_path / "00_toy.py"
    source.write_text(
        "# %% [markdown]\n# " + "word " * 293 + "\n# <details>Help, I do not count</details>\n#\n"
        "# ### Exercise 0.1 · Toy (7 minutes, ★)\n"
        '# %% tags=["exercise"]\n# solution\n1\n2\n# end solution\n'
        "# %%\n" + "1  # is a line\n\n# is none\n" * 19 + "cw.gallery([], alt='')\n"
        '# %% jupyter={"source_hidden": true}\nfigure = Figure()\nfigure_picture(figure, "")\n'
        '# %% [markdown] tags=["instructor"]\n# Not for the learner (30 minutes).\n'
        "# %% [markdown]\n# **Your turn (5 minutes).**\n"
        "# %% [markdown]\n# ## References\n#\n# not counted\n"
    )
    words = 293 + 8 + 4  # the text, the exercise's title, "Your turn"
    assert minutes.measured(source) == pytest.approx(words / 100 + 20 / 20 + 2 / 2 + 12)
    assert minutes.minutes(source) == 15


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_exercise_that_is_checked_exists(source):
    from camwidgets.course.exercises._engine import exercises

    named = set(re.findall(r'\b(?:check|hint)\(\s*"([\w.]+)"', source.read_text()))
    assert named <= set(exercises()), "no `Exercise` of camwidgets/course/exercises has this name"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_exercises_are_tagged_and_headed_as_minutes_and_guide_read_them(source):
    checked, text = 0, source.read_text()
    for cell in jupytext.read(source).cells:
        if re.search(r"^ *# solution$", cell.source, re.MULTILINE):
            checked += "check(" in cell.source
            assert "exercise" in cell.metadata.get("tags", []), (
                f'its cell begins with `# %% tags=["exercise"]`:\n{cell.source}'
            )
    headed = re.findall(r"^# ### Exercise .+ \(\d+ minutes?, ★+\)", text, re.MULTILINE)
    assert len(headed) == checked, (
        "each exercise has a heading like `### Exercise 0.1 · The hottest square (3 minutes, ★)`"
    )
