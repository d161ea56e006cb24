"""The Explorer in JupyterLab: keys, links, an idle, a busy, a restarted and an absent kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SETUP = """\
import numpy as np, torch
from torch import nn
import ipywidgets, traitlets
import camwidgets as cw
torch.manual_seed(1)
model = nn.Sequential(
    nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
explorer = cw.Explorer(model, images)
SHOW"""
FINGERPRINT = """() => {
  const canvas = document.querySelector(".cw-canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return data.reduce((sum, value, i) => (sum * 31 + value + i) % 1000000007, 7);
}"""
STATUS = ".jp-Notebook-ExecutionIndicator"
AXE = "() => axe.run(document.querySelector('.cw-explorer')).then(found => found.violations)"
READY = '.cw-explorer[data-state="ready"]'
FILLED = """() => document.querySelector(".cw-progress").textContent === ""
  && document.querySelector(".cw-explorer").dataset.state === "ready" """
KEYS = ["a", "b", "d", "d", "x", "z", "y", "m", "1", "j", "k", "ArrowDown", "ArrowUp", "Shift+M"]
CELLS = "() => window.jupyterapp.shell.currentWidget.content.widgets.length"


def setup(classes: int = 4, show: str = "explorer") -> str:
    return SETUP.replace("CLASSES", str(classes)).replace("SHOW", show)


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
        page.wait_for_selector(READY)
        page.wait_for_function(FILLED)
        page.wait_for_selector(f'{STATUS}[data-status="idle"]')
        page.wait_for_timeout(300)
        frames.clear()
        return frames

    yield show
    lab.run(page, "notebook:shutdown-kernel")


def moved(page, name: str, key: str) -> None:
    """Press a key on a slider and wait for another picture."""
    before = page.evaluate(FINGERPRINT)
    page.get_by_role("slider", name=name, exact=True).press(key)
    page.wait_for_function(f"before => ({FINGERPRINT})() !== before", arg=before)


def printed(lab, page, index: int, text: str) -> str:
    """Run a cell and wait for what it prints."""
    lab.run_cell(page, index)
    output = page.locator(".jp-OutputArea-output", has_text=text).last
    output.wait_for()
    return output.inner_text()


def test_sliders_repaint_and_the_kernel_sends_no_pictures(lab, page, notebook):
    frames = notebook("idle.ipynb", setup(), "print(repr(explorer), len(images))")
    assert page.locator(".cw-still").count() == 1
    assert page.locator(".cw-still:visible").count() == 0
    moved(page, "layer", "ArrowLeft")
    moved(page, "class", "Home")
    moved(page, "class", "ArrowRight")
    moved(page, "alpha", "ArrowRight")
    moved(page, "image", "ArrowRight")
    page.get_by_label("method", exact=True).select_option("guided Grad-CAM")
    page.wait_for_function("document.querySelector('.cw-caption').textContent.includes('guided')")
    page.wait_for_timeout(500)
    assert frames, "the sliders sync their values"
    assert max(map(len, frames)) < 4000
    assert not any(b"part_" in frame for frame in frames)
    says = printed(lab, page, 1, "Explorer(Sequential")
    for choice in ("layer='0'", "target='class 1'", "alpha=0.55", "method='guided Grad-CAM'"):
        assert choice in says
    caption = page.locator(".cw-caption").inner_text()
    assert caption.startswith("guided Grad-CAM · 0 · class 1 · logit ")


def test_the_picture_answers_while_the_kernel_is_busy(lab, page, notebook):
    frames = notebook("busy.ipynb", setup(), "import time; time.sleep(600)")
    lab.run_cell(page, 1)
    page.wait_for_selector(f'{STATUS}[data-status="busy"]')
    frames.clear()
    moved(page, "layer", "ArrowLeft")
    moved(page, "class", "Home")
    moved(page, "alpha", "ArrowRight")
    moved(page, "image", "ArrowRight")
    assert page.locator(f'{STATUS}[data-status="busy"]').count() == 1
    assert not any(b"part_" in frame for frame in frames)


def test_the_notebook_s_shortcuts_are_silent_while_the_explorer_has_the_focus(lab, page, notebook):
    notebook("keys.ipynb", setup(), "1", "2")
    cells = page.evaluate(CELLS)
    for control in (".cw-class", ".cw-tab", ".cw-frame", "select", "input[type=range]"):
        page.locator(f".cw-explorer {control}").first.focus()
        for key in KEYS:
            page.keyboard.press(key)
            focused = page.evaluate("document.activeElement.closest('.cw-explorer') !== null")
            assert focused, (control, key)
    assert page.evaluate(CELLS) == cells
    kinds = (
        "[...window.jupyterapp.shell.currentWidget.content.widgets].map(cell => cell.model.type)"
    )
    assert page.evaluate(kinds) == ["code"] * cells


def test_python_moves_the_picture_and_a_new_class_comes_when_it_is_asked_for(lab, page, notebook):
    notebook("python.ipynb", setup(40), "explorer.target = 39")
    before = page.evaluate(FINGERPRINT)
    lab.run_cell(page, 1)
    page.wait_for_function("document.querySelector('.cw-caption').textContent.includes('class 39')")
    assert page.evaluate(FINGERPRINT) != before
    assert page.locator(".cw-name").all_inner_texts()[-1] == "class 39"
    find = page.get_by_label("find a class")
    offered = page.locator(".cw-name").all_inner_texts()
    other = next(f"class {c}" for c in range(40) if f"class {c}" not in offered)
    find.fill(other)
    find.press("Tab")
    page.wait_for_function(
        "name => document.querySelector('.cw-caption').textContent.includes(` ${name} `)", arg=other
    )


def test_stock_sliders_links_and_two_views(lab, page, notebook):
    show = """\
other = ipywidgets.IntSlider(max=3, description="stock")
image = ipywidgets.IntSlider(max=9, description="pictures")
traitlets.link((other, "value"), (explorer, "target"))
ipywidgets.jslink((image, "value"), (explorer, "image_index"))
ipywidgets.VBox([ipywidgets.HBox([explorer, other, image]), explorer])"""
    notebook("links.ipynb", setup(show=show), "import time; other.value = 2", "time.sleep(600)")
    assert page.locator(".cw-explorer").count() == 2
    widths = [e.bounding_box()["width"] for e in page.locator(".cw-explorer").all()]
    assert min(widths) > 200
    lab.run_cell(page, 1)
    chosen = '.cw-class[aria-pressed="true"] .cw-name'
    page.wait_for_function(
        f"[...document.querySelectorAll('{chosen}')].every(e => e.textContent === 'class 2')"
    )
    lab.run_cell(page, 2)
    page.wait_for_selector(f'{STATUS}[data-status="busy"]')
    before = page.evaluate(FINGERPRINT)
    handle = page.locator(".noUi-handle").last
    handle.focus()
    handle.press("ArrowRight")
    page.wait_for_function(f"before => ({FINGERPRINT})() !== before", arg=before)
    values = page.locator(".cw-control", has_text="image").locator(".cw-value").all_inner_texts()
    assert values == ["2 of 3", "2 of 3"]
    handle.press("End")  # there are three pictures: a place that does not exist is taken back
    page.wait_for_timeout(300)
    assert page.locator(READY).count() == 2


def test_a_painted_picture_is_answered_even_beside_a_busy_kernel(lab, page, notebook):
    notebook("ask.ipynb", setup(), "import time; time.sleep(600)")
    page.get_by_role("button", name="Ask", exact=True).click()

    def paint() -> None:
        page.locator(".cw-frame").nth(1).scroll_into_view_if_needed()
        box = page.locator(".cw-frame").nth(1).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        page.mouse.up()

    paint()
    page.wait_for_function("document.querySelector('.cw-caption').textContent.includes('after:')")
    assert page.locator(".cw-before:visible").count() == 4
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("!document.querySelector('.cw-caption').textContent.includes('after:')")
    lab.run_cell(page, 1)
    page.wait_for_selector(f'{STATUS}[data-status="busy"]')
    paint()
    page.wait_for_function(
        """document.querySelector('.cw-caption').textContent.includes('after:')
          || document.querySelector('.cw-panel .cw-status').textContent.includes('Waiting')"""
    )


def test_each_of_two_views_has_the_answer_to_its_own_paint(lab, page, notebook):
    notebook("ask-twice.ipynb", setup(show="ipywidgets.HBox([explorer, explorer])"))
    page.get_by_role("button", name="Ask", exact=True).first.click()
    first = []
    for k, moves in enumerate((0, 25)):
        frame = page.locator(".cw-frame:visible").nth(2 * k + 1)
        frame.focus()
        for _ in range(moves):
            frame.press("ArrowLeft")
        frame.press("Space")
        page.wait_for_function(
            "k => document.querySelectorAll('.cw-caption')[k].textContent.includes('after:')", arg=k
        )
        page.wait_for_timeout(300)
        bars = [bar.get_attribute("style") for bar in page.locator(".cw-bar").all()]
        first.append(bars[:4])
    assert first[0] == first[1] != bars[4:]


def test_a_stroke_ends_with_its_picture(lab, page, notebook):
    notebook("ask-moved.ipynb", setup(), "explorer.image_index = 1")
    page.get_by_role("button", name="Ask", exact=True).click()
    box = page.locator(".cw-frame").nth(1).bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    lab.run_cell(page, 1)
    page.wait_for_function("document.querySelector('.cw-explorer').innerText.includes('2 of 3')")
    page.mouse.move(box["x"] + 90, box["y"] + 90)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert page.locator(".cw-title:visible").all_inner_texts() == ["before", "paint here"]
    assert "after:" not in page.locator(".cw-caption").inner_text()


def test_guided_methods_and_those_of_the_user_answer_paint_too(lab, page, notebook):
    own = setup().replace(
        "explorer = cw.Explorer(model, images)",
        "def stain(model, image, layer, target):\n    return (target + 1) * image[0, 0]\n"
        "explorer = cw.Explorer(model, images, methods={'stain': stain}, method='guided Grad-CAM')",
    )
    notebook("ask-guided.ipynb", own)
    page.get_by_role("button", name="Ask", exact=True).click()
    frame = page.locator(".cw-frame").nth(1)
    frame.focus()
    frame.press("Space")
    after = "document.querySelector('.cw-caption').textContent.includes('after: METHOD')"
    page.wait_for_function(after.replace("METHOD", "guided Grad-CAM"))
    page.get_by_role("slider", name="class", exact=True).press("ArrowRight")
    page.wait_for_function(after.replace("METHOD", "guided Grad-CAM"))
    for method in ("guided backprop", "stain", "Grad-CAM"):
        page.get_by_role("combobox", name="method", exact=True).select_option(method)
        page.wait_for_function(after.replace("METHOD", method))


def test_a_restarted_kernel_leaves_a_picture_that_answers(lab, page, notebook):
    notebook("restart.ipynb", setup())
    before = page.locator(".cw-explorer").bounding_box()
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.wait_for_selector(f'{STATUS}[data-status="idle"]')
    page.wait_for_timeout(1500)
    moved(page, "layer", "ArrowLeft")
    moved(page, "alpha", "ArrowRight")
    after = page.locator(".cw-explorer").bounding_box()
    assert (after["width"], after["height"]) == (before["width"], before["height"])
    page.get_by_role("button", name="Ask", exact=True).click()
    frame = page.locator(".cw-frame").nth(1)
    frame.focus()
    frame.press("Space")
    page.wait_for_function(
        "document.querySelector('.cw-panel .cw-status').textContent.includes('Waiting')"
    )


def test_a_page_opened_again_finds_its_explorer_with_every_setting(lab, page, notebook):
    notebook("again.ipynb", setup())
    moved(page, "layer", "ArrowLeft")
    moved(page, "alpha", "ArrowRight")
    moved(page, "class", "Home")
    page.wait_for_timeout(500)
    fingerprint = page.evaluate(FINGERPRINT)
    lab.run(page, "docmanager:save")
    page.wait_for_timeout(1500)
    page.reload()
    page.wait_for_selector(READY)
    page.wait_for_function(f"before => ({FINGERPRINT})() === before", arg=fingerprint)
    assert page.locator(".cw-still:visible").count() == 0


def test_two_pages_of_one_notebook_move_together(lab, page, notebook):
    notebook("pages.ipynb", setup())
    lab.run(page, "docmanager:save")
    page.wait_for_timeout(1500)
    second = page.context.new_page()
    lab.open(second, "pages.ipynb")
    second.wait_for_selector(READY)
    for here, there, name, key in (
        (page, second, "layer", "ArrowLeft"),
        (second, page, "class", "Home"),
        (page, second, "class", "End"),
    ):
        moved(here, name, key)
        there.wait_for_function(
            "line => document.querySelector('.cw-caption').innerText === line",
            arg=here.locator(".cw-caption").inner_text(),
        )
    second.close()


def test_a_notebook_reopened_without_its_kernel(lab, page, notebook):
    """Trusted it has live sliders; untrusted, or without its widgets' state, the picture."""
    notebook("own.ipynb", setup())
    lab.run(page, "@jupyter-widgets/jupyterlab-manager:saveWidgetState")
    page.wait_for_timeout(500)
    lab.run(page, "docmanager:save")
    page.wait_for_timeout(1500)
    lab.run(page, "notebook:shutdown-kernel")
    content = json.loads((lab.folder / "own.ipynb").read_text())
    lab.open(page, "own.ipynb")
    page.wait_for_selector(READY)
    slider = page.get_by_role("slider", name="alpha")
    before = slider.input_value()
    slider.press("ArrowLeft")
    assert slider.input_value() != before
    lab.run(page, "@jupyter-widgets/jupyterlab-manager:saveWidgetState")
    del content["metadata"]["widgets"]
    (lab.folder / "copy.ipynb").write_text(json.dumps(content))
    picture = page.locator("img[alt^='Grad-CAM']")
    for trusted in (False, True):
        lab.open(page, "copy.ipynb")
        picture.first.wait_for()
        assert picture.first.bounding_box()["width"] > 200
        if not trusted:
            lab.run(page, "notebook:trust")
            page.locator(".jp-Dialog .jp-mod-accept").click()
            page.wait_for_timeout(500)
            lab.run(page, "docmanager:save")
            page.wait_for_timeout(1500)


def test_axe_finds_nothing_in_light_and_dark(lab, page, notebook):
    axe = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core comes with `npm ci`.")
    notebook("axe.ipynb", setup())
    page.evaluate(axe.read_text())
    for theme, light in (("JupyterLab Dark", "false"), ("JupyterLab Light", "true")):
        page.evaluate(
            f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{theme}'}})"
        )
        page.wait_for_function(f"document.body.dataset.jpThemeLight === '{light}'")
        page.wait_for_timeout(500)
        for tab in ("Display", "Take away", "Compare", "Overview", "Ask"):
            page.get_by_role("button", name=tab, exact=True).click()
            page.wait_for_selector(READY)
            found = page.evaluate(AXE)
            assert [(v["id"], v["nodes"][0]["html"]) for v in found] == [], (theme, tab)


def test_a_dark_theme_is_dark(lab, page, notebook):
    notebook("dark.ipynb", setup())
    page.evaluate(
        "window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    colour = "getComputedStyle(document.querySelector('.cw-caption')).color"
    page.wait_for_function(f"parseInt({colour}.match(/\\d+/)[0]) > 150")
    page.evaluate(
        "window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})"
    )
    page.wait_for_function("document.body.dataset.jpThemeLight === 'true'")
