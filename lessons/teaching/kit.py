"""The teaching kit: `make teaching` writes it into build/teaching.

guide.md     the instructor's notes of the sources, lesson by lesson, with the exercises
schedule.md  90 minutes, half a day, a day, from the lessons' minutes
slides/      one HTML file a lesson, made from its source and its pictures; opens with no network
"""

from __future__ import annotations

import functools
import html
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import latex2mathml.converter
import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "source"))

import jupytext  # noqa: E402

import build  # noqa: E402
import minutes  # noqa: E402

OUT = HERE.parents[1] / "build" / "teaching"
EXERCISE = re.compile(r"^### (Exercise .+?) \((\d+) minutes?, (★+)\)", re.MULTILINE)
PICTURE = re.compile(r"<img[^>]*>")
BREAK, LUNCH, FEEDBACK = 15, 60, 5
"""minutes: after at most 90; once, where a programme is longer than five hours; at the end"""
FOR_HOME = {
    "01": ["1.3", "1.1"],
    "02": ["2.4", "2.6", "2.8", "2.5", "2.7", "2.3"],
    "03": ["3.3", "3.8", "3.9", "3.5", "3.7"],
    "03b": ["3b.2", "3b.5"],
    "04": ["4.4", "4.7", "4.8", "4.6"],
    "05": ["5.4", "5.6", "5.1"],
    "06": ["6.3", "6.4", "6.6", "6.5"],
    "07": ["7.7", "7.2"],
}
"""Exercises that may be left out when time is short, the first to go first; as the notes say."""
ROOM = """\
**In every lesson.** An exercise that is not solved holds nobody up: its `check` says what is wrong
and lends a working version, and `hint` gives three hints. Go on when two thirds have a ✓.
In pairs: the guesses, the Explorer, the clinic, and exercises with ★★★; one types, one says what.

**What goes wrong.** A ✗ in the first cell, or a widget that does not show: the help boxes of
lesson 00. A `NameError`: the kernel was started anew; *Run → Run All Above Selected Cell*. A
training takes half a minute on a laptop, and about a minute and a half on a hub with four learners
a core: ask for a guess first, talk meanwhile.

**Short of time.** Each lesson names what to leave for home, the first to go first; the schedules
do the same.
"""


@dataclass
class Programme:
    """A workshop of some length: which lessons, the one that may be left out last coming first."""

    name: str
    total: int
    lessons: list[str]


PROGRAMMES = [
    Programme("90 minutes", 90, ["02", "01"]),
    Programme("Half a day", 240, ["02", "01", "05", "03"]),
    Programme("A day", 480, ["02", "03", "05", "01", "06", "04", "03b"]),
]


@dataclass
class Slot:
    """A lesson in a schedule, and which of its exercises are left for home."""

    source: Path
    home: list[str]
    minutes: int


@dataclass
class Section:
    """A part of a lesson: its text cells, the instructor's notes and its pictures."""

    title: str
    texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def number(source: Path) -> str:
    """ "03b" of 03b_clinic.py."""
    return source.stem.split("_")[0]


def title(source: Path) -> str:
    """The lesson's own."""
    return re.search(r"^# # (.+)$", source.read_text(encoding="utf-8"), re.MULTILINE)[1]


@functools.cache
def exercises(source: Path) -> list[tuple[str, int, int]]:
    """Title, minutes and stars of each."""
    text = "\n".join(c.source for c in build.lesson(source).cells if c.cell_type == "markdown")
    return [(name, int(took), len(stars)) for name, took, stars in EXERCISE.findall(text)]


def shortened(source: Path, home: list[str]) -> int:
    """The lesson's minutes when the exercises of these numbers are left for home, rounded to 5."""
    left = sum(took for name, took, _ in exercises(source) if name.split()[1] in home)
    return 5 * max(1, round((minutes.measured(source) - left) / 5))


def plan(programme: Programme) -> list[Slot]:
    """The most lessons that fit, each with as many exercises as fit; in the lessons' order.

    Lessons come first: while one is missing, exercises go, as FOR_HOME has them, from each lesson
    as many. Lesson 00 is done before.
    """
    by_number = {number(source): source for source in minutes.SOURCES}
    for count in range(len(programme.lessons), 0, -1):
        chosen = sorted(by_number[name] for name in programme.lessons[:count])
        for left in range(1 + max(map(len, FOR_HOME.values()))):
            homes = [FOR_HOME[number(source)][:left] for source in chosen]
            slots = [Slot(s, h, shortened(s, h)) for s, h in zip(chosen, homes, strict=True)]
            if clock(slots, lunch=programme.total > 300)[-1][0] <= programme.total:
                return slots
    raise ValueError(f"No lesson fits into {programme.total} minutes.")


def clock(slots: list[Slot], *, lunch: bool) -> list[tuple[int, str]]:
    """What begins at which minute, with a break after at most 90; the end comes last."""
    at, since, told = 0, 0, []
    for slot in slots:
        if since and since + slot.minutes > 90:
            eat = lunch and at >= 150
            told.append((at, "Lunch" if eat else "Break"))
            at, since, lunch = at + (LUNCH if eat else BREAK), 0, lunch and not eat
        told.append((at, f"{number(slot.source)} · {title(slot.source).split('·')[-1].strip()}"))
        at, since = at + slot.minutes, since + slot.minutes
    return [*told, (at, "Feedback"), (at + FEEDBACK, "End")]


def schedule(start: int = 9 * 60) -> str:
    """All programmes as Markdown."""
    parts = [
        "# Schedules\n",
        "Made from the lessons' minutes, which `lessons/source/minutes.py` measures. Lesson 00 is "
        "done before the day. No minute is spare: begin with everybody logged in.\n",
    ]
    for programme in PROGRAMMES:
        slots = plan(programme)
        parts.append(f"## {programme.name}\n")
        parts += ["| from | what | minutes |", "|---|---|---|"]
        events = clock(slots, lunch=programme.total > 300)
        for (at, what), (then, _) in zip(events, [*events[1:], events[-1]], strict=True):
            time = f"{(start + at) // 60}:{(start + at) % 60:02}"
            parts.append(f"| {time} | {what} | {then - at or ''} |")
        if later := sorted(name for slot in slots for name in slot.home):
            parts.append(f"\nLeft for home: exercises {', '.join(later)}.")
        shown = {number(slot.source) for slot in slots}
        home = [number(s) for s in minutes.SOURCES if number(s) not in shown | {"00"}]
        if home:
            parts.append(f"\nFor afterwards: lesson{'s'[: len(home) - 1]} {', '.join(home)}.")
        parts.append("")
    return "\n".join(parts)


def sections(source: Path) -> list[Section]:
    """A lesson's parts, from its source, with the pictures of its solved notebook."""
    cells = iter(nbformat.read(build.targets(source)[1], as_version=4).cells)
    found = [Section(title(source))]
    for cell in jupytext.read(source).cells:
        if "instructor" in cell.metadata.get("tags", []):
            found[-1].notes.append(re.sub(r"^\*\*Instructor\.\*\* ", "", cell.source))
            continue
        solved = next(cells)
        if cell.cell_type == "code":
            found[-1].pictures += _pictures(solved)
            continue
        for part in re.split(r"^(?=##? )", cell.source, flags=re.MULTILINE):
            heading = re.match(r"##? (.+)\n?", part)
            if heading and heading[1] != found[0].title:
                found.append(Section(heading[1]))
            text = part[heading.end() :] if heading else part
            if text.strip():
                found[-1].texts.append(text.strip())
    return found


def _pictures(cell: NotebookNode) -> list[str]:
    texts = [o.get("data", {}).get("text/html", "") for o in cell.get("outputs", [])]
    return [tag for text in texts for tag in PICTURE.findall(text)]


def guide() -> str:
    """The instructor's notes as Markdown."""
    parts = [
        "# Instructor guide\n",
        "The notes stand in the lessons' sources, beside what they are about, and are left out of "
        "the learners' notebooks.\n",
        ROOM,
    ]
    for source in minutes.SOURCES:
        parts.append(f"## {title(source)}\n")
        parts.append(f"About {minutes.minutes(source)} minutes.\n")
        for section in sections(source):
            if section.notes:
                parts.append(f"### {section.title}\n" if section.title != title(source) else "")
                parts += [f"{note}\n" for note in section.notes]
        if rows := exercises(source):
            parts += ["| exercise | minutes | |", "|---|---|---|"]
            parts += [f"| {name} | {took} | {'★' * stars} |" for name, took, stars in rows]
            parts.append("")
        if home := FOR_HOME.get(number(source)):
            least = shortened(source, home)
            parts.append(f"Short of time, leave for home: {', '.join(home)} ({least} minutes).\n")
    return "\n".join(parts)


def slides(source: Path) -> str:
    """One page of HTML: a slide for each section, its first lines and its first picture."""
    render = MarkdownIt("commonmark", {"html": True}).enable("table")
    render.use(dollarmath_plugin, renderer=_math)
    pages = []
    for place, section in enumerate(sections(source)):
        if section.title.startswith(("References", "Help")):
            continue
        text = render.render(_short("\n\n".join(section.texts)))
        level = 1 if place == 0 else 2
        picture = "".join(section.pictures[:1])
        heading = html.escape(section.title)
        pages.append(f"<section><h{level}>{heading}</h{level}>{text}{picture}</section>")
        tasks = EXERCISE.findall("\n\n".join(section.texts))
        if tasks:
            items = "".join(f"<li>{html.escape(n)} ({m} minutes, {s})</li>" for n, m, s in tasks)
            pages.append(f"<section><h2>Your turn</h2><ul>{items}</ul></section>")
    page = (HERE / "slides.html").read_text(encoding="utf-8")
    return page.replace("[[title]]", html.escape(title(source))).replace(
        "[[slides]]", "\n".join(pages)
    )


def _math(content: str, given: dict) -> str:
    display = "block" if given["display_mode"] else "inline"
    try:
        return latex2mathml.converter.convert(content, display=display)
    except Exception:
        return f"<code>{html.escape(content)}</code>"


def _short(text: str, words: int = 70) -> str:
    """The first paragraphs, whole ones, of at most so many words; exercises and folds left out.

    A heading in bold, or a sentence that ends in a colon, stays with what it announces, or goes.
    """
    text = re.sub(r"<details>.*?</details>", "", text.split("\n### ")[0], flags=re.DOTALL)
    paragraphs = [p for p in re.split(r"\n\s*\n", text) if p.strip() and p[:4] != "### "]
    kept, count = [], 0
    for paragraph in paragraphs:
        count += len(paragraph.split())
        if kept and count > words and not (_announces(kept[-1]) and len(kept) == 1):
            break
        kept.append(paragraph)
    while len(kept) > 1 and _announces(kept[-1]):
        kept.pop()
    return "\n\n".join(kept)


def _announces(paragraph: str) -> bool:
    return paragraph.rstrip().endswith(":") or bool(
        re.fullmatch(r"\*\*[^*]+\*\*", paragraph.strip())
    )


def main() -> None:
    """Write everything into build/teaching."""
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "slides").mkdir(parents=True)
    (OUT / "guide.md").write_text(guide(), encoding="utf-8")
    (OUT / "schedule.md").write_text(schedule(), encoding="utf-8")
    for source in minutes.SOURCES:
        (OUT / "slides" / f"{source.stem}.html").write_text(slides(source), encoding="utf-8")
    for name in ("before.md", "feedback.md"):
        shutil.copy(HERE / name, OUT)
    print(f"{OUT}: guide.md, schedule.md, before.md, feedback.md, slides/")


if __name__ == "__main__":
    main()
