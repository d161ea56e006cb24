"""Photographs of the Explorer in every view: `make picture`.

The README's picture is explorer.png; explorer/ holds each view of the exported page (light, dark,
narrow) and of JupyterLab and Notebook, where it is also asked about a painted picture.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import camwidgets as cw
from camwidgets.course import CLASS_NAMES, load_crops, trained

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "browser"))
from conftest import running  # noqa: E402

CROPS = [105, 212, 318, 401, 17]
EXPLORER = ".cw-explorer"
READY = f'{EXPLORER}[data-state="ready"]'
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CELL = f"""\
import camwidgets as cw
from camwidgets.course import CLASS_NAMES, load_crops, trained
test = load_crops("test")
crops = {CROPS}
nets = {{"GAP": trained("gap"), "flatten": trained("flatten")}}
labels = list(test.labels[crops])
cw.Explorer(nets, test.images[crops], CLASS_NAMES, masks=list(test.masks[crops]), labels=labels)"""


def main() -> None:
    """Write explorer.png beside this file, and the folder explorer."""
    shutil.rmtree(HERE / "explorer", ignore_errors=True)
    (HERE / "explorer").mkdir()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page_of = exported(Path(folder))
        size = {"width": 860, "height": 900}
        page = browser.new_page(viewport=size, device_scale_factor=2)
        page.goto(page_of.as_uri())
        page.wait_for_selector(READY)
        page.locator(EXPLORER).screenshot(path=HERE / "explorer.png")
        views(browser.new_page(viewport=size), page_of, "")
        page = browser.new_page(viewport=size, color_scheme="dark")
        views(page, page_of, "dark-")
        page = browser.new_page(viewport={"width": 420, "height": 900})
        views(page, page_of, "narrow-")
        home, work = Path(folder, "home"), Path(folder, "work")
        home.mkdir()
        work.mkdir()
        with running(home, work) as lab:
            in_jupyter(browser.new_page(viewport={"width": 1100, "height": 1000}), lab)
        browser.close()


def exported(folder: Path) -> Path:
    """The page of one network, with labels and outlines."""
    test = load_crops("test")
    nets = {"GAP": trained("gap"), "flatten": trained("flatten")}
    images, masks = test.images[CROPS], list(test.masks[CROPS])
    labels = [int(label) for label in test.labels[CROPS]]
    explorer = cw.Explorer(nets, images, CLASS_NAMES, masks=masks, labels=labels)
    page = explorer.to_html(folder / "explorer.html")
    explorer.close()
    return page


def shoot(page: Page, name: str) -> None:
    """Photograph the explorer, when it has come to rest."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    page.locator(EXPLORER).screenshot(path=HERE / "explorer" / f"{name}.png")


def views(page: Page, file: Path, prefix: str) -> None:
    """Each view of the exported page."""
    page.goto(file.as_uri())
    page.wait_for_selector(READY)
    shoot(page, f"{prefix}see")
    page.get_by_role("button", name="Display").click()
    page.get_by_role("slider", name="threshold").fill("8")
    page.get_by_label("both signs").check()
    shoot(page, f"{prefix}display")
    page.get_by_label("both signs").uncheck()
    page.get_by_role("slider", name="threshold").fill("0")
    for name in ("Compare", "Overview", "Take away"):
        page.get_by_role("button", name=name, exact=True).click()
        shoot(page, f"{prefix}{name.lower().replace(' ', '-')}")


def in_jupyter(page: Page, lab) -> None:
    """JupyterLab and Notebook, and a painted picture."""
    cell = {"cell_type": "code", "source": CELL, "id": "cell", "metadata": {}}
    cell |= {"outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}}
    text = json.dumps(notebook | {"nbformat": 4, "nbformat_minor": 5})
    for name in ("explorer.ipynb", "seven.ipynb"):
        (lab.folder / name).write_text(text)
    lab.open(page, "explorer.ipynb")
    lab.run_cell(page, 0)
    filled(page)
    shoot(page, "jupyterlab-see")
    page.get_by_role("button", name="Ask", exact=True).click()
    frame = page.locator(".cw-frame").nth(1)
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.7 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 0.7 * box["height"], steps=6)
    page.mouse.up()
    page.wait_for_function("document.querySelector('.cw-caption').textContent.includes('after')")
    shoot(page, "jupyterlab-ask")
    theme = "window.jupyterapp.commands.execute('apputils:change-theme', {theme: '%s'})"
    page.evaluate(theme % "JupyterLab Dark")
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    shoot(page, "jupyterlab-dark-ask")
    page.evaluate(theme % "JupyterLab Light")
    lab.run(page, "notebook:shutdown-kernel")
    page.goto(f"{lab.url}/notebooks/seven.ipynb?token={lab.token}")
    page.locator(".jp-Cell .cm-content").first.click()
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    page.keyboard.press("Shift+Enter")
    filled(page)
    shoot(page, "notebook-see")


def filled(page: Page) -> None:
    """Wait until every map has come."""
    page.wait_for_selector(READY, timeout=180_000)
    page.wait_for_function(
        "document.querySelector('.cw-progress').textContent === ''", timeout=180_000
    )


if __name__ == "__main__":
    main()
