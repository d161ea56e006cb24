"""The Explorer in JupyterLab: moved from the keyboard, with an idle and with a busy kernel."""

from __future__ import annotations

import json

import pytest

SETUP = """\
import numpy as np, torch
from torch import nn
import camwidgets as cw
torch.manual_seed(1)
model = nn.Sequential(
    nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
explorer = cw.Explorer(model, images)
explorer"""
FINGERPRINT = """() => {
  const canvas = document.querySelector(".cw-canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return data.reduce((sum, value, i) => (sum * 31 + value + i) % 1000000007, 7);
}"""
STATUS = ".jp-Notebook-ExecutionIndicator"


@pytest.fixture
def notebook(lab, page):
    """Open a notebook of some cells and run the first; the frames received since it was shown."""
    frames: list[bytes] = []

    def received(payload) -> None:
        frames.append(payload if isinstance(payload, bytes) else payload.encode())

    page.on("websocket", lambda socket: socket.on("framereceived", received))

    def show(name: str, *cells: str) -> list[bytes]:
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        listed = [
            {"cell_type": "code", "metadata": {}, "source": c, "outputs": [], "id": f"cell-{k}"}
            | {"execution_count": None}
            for k, c in enumerate(cells)
        ]
        content = {"cells": listed, "metadata": {"kernelspec": kernel}}
        (lab.folder / name).write_text(json.dumps(content | {"nbformat": 4, "nbformat_minor": 5}))
        lab.open(page, name)
        lab.run_cell(page, 0)
        page.wait_for_selector('.cw-view[data-state="ready"]')
        page.wait_for_selector(f'{STATUS}[data-status="idle"]')
        page.wait_for_selector(".noUi-handle[aria-label=layer]")
        frames.clear()
        return frames

    yield show
    lab.run(page, "notebook:shutdown-kernel")


def moved(page, name: str, key: str) -> None:
    """Press a key on a slider and wait for another picture."""
    before = page.evaluate(FINGERPRINT)
    page.get_by_role("slider", name=name, exact=True).press(key)
    page.wait_for_function(f"before => ({FINGERPRINT})() !== before", arg=before)


def test_sliders_repaint_and_the_kernel_sends_no_pictures(lab, page, notebook):
    frames = notebook("idle.ipynb", SETUP.replace("CLASSES", "4"), "print(repr(explorer))")
    moved(page, "layer", "ArrowLeft")
    moved(page, "class", "Home")
    moved(page, "class", "ArrowRight")
    moved(page, "alpha", "ArrowRight")
    moved(page, "image", "ArrowRight")
    page.get_by_label("method").select_option("guided Grad-CAM")
    page.wait_for_function("document.querySelector('.cw-caption').textContent.includes('guided')")
    page.wait_for_selector(f'{STATUS}[data-status="idle"]')
    assert frames, "the sliders sync their values"
    assert max(map(len, frames)) < 4000
    assert not any(b"page_" in frame for frame in frames)

    page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    lab.run_cell(page, 1)
    printed = page.locator(".jp-OutputArea-output", has_text="Explorer(Sequential").last
    printed.wait_for()
    says = printed.inner_text()
    for choice in ("layer='0'", "target='class 1'", "alpha=0.55", "method='guided Grad-CAM'"):
        assert choice in says
    caption = page.locator(".cw-caption").inner_text()
    assert caption.startswith("guided Grad-CAM · 0 · class 1 · logit ")


def test_the_picture_answers_while_the_kernel_is_busy(lab, page, notebook):
    frames = notebook("busy.ipynb", SETUP.replace("CLASSES", "4"), "import time; time.sleep(600)")
    lab.run_cell(page, 1)
    page.wait_for_selector(f'{STATUS}[data-status="busy"]')
    frames.clear()
    moved(page, "layer", "ArrowLeft")
    moved(page, "class", "Home")
    moved(page, "alpha", "ArrowRight")
    moved(page, "image", "ArrowRight")
    assert page.locator(f'{STATUS}[data-status="busy"]').count() == 1
    assert sum(map(len, frames)) < 4000 * 20


def test_python_moves_the_picture(lab, page, notebook):
    notebook("python.ipynb", SETUP.replace("CLASSES", "40"), "explorer.target = 39")
    before = page.evaluate(FINGERPRINT)
    lab.run_cell(page, 1)
    page.wait_for_function("document.querySelector('.cw-caption').textContent.includes('class 39')")
    assert page.evaluate(FINGERPRINT) != before
    assert page.locator(".cw-name").all_inner_texts()[-1] == "class 39"
    readouts = page.locator(".cw-controls .widget-readout").all_inner_texts()
    assert "class 39" in readouts
