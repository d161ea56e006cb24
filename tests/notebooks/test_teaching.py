"""The teaching kit: its times add up, its slides need no network, progress tells what is there."""

import importlib
import itertools
import json
import re
import sys
from pathlib import Path

import pytest

from camwidgets.course.progress import main, progress, report

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "lessons" / "teaching"))
kit = importlib.import_module("kit")

each_programme = pytest.mark.parametrize("programme", kit.PROGRAMMES, ids=lambda p: p.name)


@each_programme
def test_a_programme_fits_its_time_and_rests(programme):
    slots = kit.plan(programme)
    events = kit.clock(slots, lunch=programme.total > 300)
    assert events[-1] == (events[-1][0], "End")
    assert events[-1][0] <= programme.total
    assert [slot.source for slot in slots] == sorted(slot.source for slot in slots)
    since = 0
    for (at, what), (then, _) in itertools.pairwise(events):
        assert then > at
        since = 0 if what in ("Break", "Lunch") else since + then - at
        assert since <= 90 or since == then - at  # only a single lesson may be longer


@each_programme
def test_the_table_tells_the_plan(programme):
    table = kit.schedule(9 * 60).split(f"## {programme.name}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+):(\d\d) \| (.+?) \| (\d*) \|$", table, re.MULTILINE)
    assert rows[0][:2] == ("9", "00")
    clock = [60 * int(hour) + int(minute) for hour, minute, *_ in rows]
    spent = [int(minutes or 0) for *_, minutes in rows]
    assert [a + b for a, b in zip(clock, spent, strict=True)] == [*clock[1:], clock[-1]]


def test_a_lesson_is_shorter_by_what_is_left_for_home():
    for source in kit.minutes.SOURCES:
        assert kit.shortened(source, []) == kit.minutes.minutes(source)
        home = kit.FOR_HOME.get(kit.number(source), [])
        took = {name.split()[1]: minutes for name, minutes, _ in kit.exercises(source)}
        assert set(home) < set(took)
        left = kit.minutes.measured(source) - sum(took[name] for name in home)
        assert kit.shortened(source, home) == 5 * max(1, round(left / 5))


@each_programme
def test_the_hearts_of_the_lessons_stay_in_class(programme):
    home = {name for slot in kit.plan(programme) for name in slot.home}
    assert not home & {"2.1", "2.2", "3.1", "3.2", "3.4", "4.3", "5.2", "6.1"}
    table = kit.schedule()
    assert all(name in table for name in home)


def test_a_slide_announces_nothing_that_it_leaves_out():
    many = "\n".join(f"- word {k} of a list" for k in range(40))
    assert kit._short(f"First.\n\n**You will be able to**\n\n{many}") == "First."
    assert kit._short(f"Three rules:\n\n{many}").endswith("word 39 of a list")


def test_every_note_of_every_source_is_in_the_guide():
    guide = kit.guide()
    notes = 0
    for source in kit.minutes.SOURCES:
        for block in source.read_text().split('# %% [markdown] tags=["instructor"]\n')[1:]:
            first = block.splitlines()[0].removeprefix("# **Instructor.** ")
            assert first in guide
            notes += 1
    assert notes >= len(kit.minutes.SOURCES)


@pytest.mark.parametrize("source", kit.minutes.SOURCES, ids=lambda s: s.stem)
def test_slides_need_nothing_from_elsewhere(source):
    page = kit.slides(source)
    assert page.count("<section>") >= 5
    assert not re.search(r'(?:src|href)="(?!data:|#|https?://|[\w.]+\.ipynb)', page)
    assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="https?:', page)
    assert "$$" not in page
    assert kit.title(source).split("·")[-1].strip()[:10] in page
    for picture in re.findall(r"<img[^>]*>", page):
        assert re.search(r'alt="[^"]{10,}', picture)


def notebook(path: Path, *cells: tuple[str, str]) -> Path:
    outputs = [{"output_type": "display_data", "data": {"text/plain": [t]}} for _, t in cells]
    content = [
        {
            "cell_type": "code",
            "source": [code],
            "outputs": [out] if out["data"]["text/plain"][0] else [],
        }
        for (code, _), out in zip(cells, outputs, strict=True)
    ]
    path.write_text(json.dumps({"cells": content}), encoding="utf-8")
    return path


def test_progress_reads_the_saved_checks(tmp_path, capsys):
    notebook(
        tmp_path / "02_cam.ipynb",
        ('f = check("cam.one", f)', "✓ Right\n  Tried on 8 inputs"),
        ('g = check(\n    "cam.two", g)', "✗ Not yet"),
        ('h = check("cam.three", h)', ""),
        ("print(1)", "✓ Right"),
    )
    assert progress(tmp_path / "02_cam.ipynb") == (["cam.one"], ["cam.two"], ["cam.three"])
    notebook(tmp_path / "02_cam.old-1.ipynb", ('f = check("cam.one", f)', ""))
    assert report(tmp_path) == "02_cam: 1 of 3 exercises right; tried: cam.two"
    assert main([str(tmp_path), "--write"]) == 0
    assert "1 of 3" in capsys.readouterr().out
    assert "1 of 3" in (tmp_path / "progress.md").read_text()


def test_progress_of_solved_lessons_is_whole():
    for path in sorted((ROOT / "lessons" / "solutions").glob("*.ipynb")):
        right, tried, waiting = progress(path)
        assert not tried, path.name
        assert not waiting, path.name
        assert right, path.name


def test_nothing_is_tried_in_lessons_that_nobody_has_begun():
    for path in sorted((ROOT / "lessons").glob("*.ipynb")):
        right, tried, waiting = progress(path)
        assert not right, path.name
        assert not tried, path.name
        assert waiting, path.name


def test_progress_where_no_workbook_is(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "no lessons" in capsys.readouterr().out


def test_readme_tells_how_many_hours_the_lessons_take():
    told = kit.minutes.HOURS.search((ROOT / "README.md").read_text())
    assert int(told[0]) == round(sum(map(kit.minutes.minutes, kit.minutes.SOURCES)) / 60), (
        "run `python lessons/source/minutes.py --write`"
    )
