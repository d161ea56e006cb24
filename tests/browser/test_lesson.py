"""Lesson 02 as a learner meets it: run to its explorer, then the three sliders."""

from __future__ import annotations

from pathlib import Path

import nbformat
from test_jupyterlab import FILLED, STATUS, moved

LESSON = Path(__file__).parents[2] / "lessons" / "02_cam.ipynb"
EXPLORER = '.cw-explorer[data-state="ready"]'


def test_lesson_02_to_its_explorer_and_its_sliders_beside_a_busy_kernel(lab, page):
    lesson = nbformat.read(LESSON, as_version=4)
    place = next(k for k, cell in enumerate(lesson.cells) if "cw.Explorer(" in cell.source)
    busy = nbformat.v4.new_code_cell("import time\ntime.sleep(600)", id="busy")
    lesson.cells = [*lesson.cells[: place + 1], busy]
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(lesson, lab.folder / "lesson.ipynb")

    frames: list[bytes] = []

    def received(payload: bytes | str) -> None:
        frames.append(payload if isinstance(payload, bytes) else payload.encode())

    page.on("websocket", lambda socket: socket.on("framereceived", received))
    lab.open(page, "lesson.ipynb")
    page.wait_for_function(f"{NOTEBOOK}.widgets.length === {len(lesson.cells)}")
    select(page, place + 1)
    lab.run(page, "notebook:run-all-above")
    page.wait_for_function(f"{NOTEBOOK}.model.cells.get({place}).executionCount > 0")
    page.wait_for_selector(f'{STATUS}[data-status="idle"]')
    assert page.evaluate(f"[...{NOTEBOOK}.model.cells].flatMap(cell => {ERRORS})") == []
    select(page, place)
    page.wait_for_selector(EXPLORER)
    page.wait_for_function(FILLED)
    page.get_by_label("method", exact=True).select_option(
        "Grad-CAM"
    )  # CAM has no layers to choose from

    for kernel in ("idle", "busy"):
        if kernel == "busy":
            select(page, place + 1)
            lab.run(page, "notebook:run-cell")
            page.wait_for_selector(f'{STATUS}[data-status="busy"]')
            select(page, place)
        frames.clear()
        for slider in ("layer", "class", "alpha"):
            page.get_by_role("slider", name=slider, exact=True).press("Home")
            moved(page, slider, "ArrowRight")
            moved(page, slider, "ArrowRight")
        assert page.locator(f'{STATUS}[data-status="{kernel}"]').count() == 1 or kernel == "idle"
        assert not any(b"part_" in frame for frame in frames)
        assert max(map(len, frames), default=0) < 4000
    lab.run(page, "notebook:shutdown-kernel")


NOTEBOOK = "window.jupyterapp.shell.currentWidget.content"
ERRORS = "(cell.outputs?.toJSON() ?? []).flatMap(output => output.evalue ?? [])"


def select(page, index: int) -> None:
    """Make a cell the active one and bring it into view."""
    page.evaluate(
        f"""async index => {{
          {NOTEBOOK}.activeCellIndex = index;
          await {NOTEBOOK}.scrollToItem(index, "start");
        }}""",
        index,
    )
