"""The Explorer in Notebook 7, in Voila, and in nbconvert's page without a network."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from test_jupyterlab import FILLED, READY, moved, setup

REQUIRE = Path(__file__).parents[2] / "node_modules" / "requirejs" / "require.js"


def written(folder: Path, name: str, *cells: str) -> nbformat.NotebookNode:
    """A notebook of some cells, in a file of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / name)
    return notebook


def test_in_notebook_7_the_keys_move_the_sliders(lab, page):
    pytest.importorskip("notebook")
    written(lab.folder, "seven.ipynb", setup(), "1")
    page.goto(f"{lab.url}/notebooks/seven.ipynb?token={lab.token}")
    page.locator(".jp-Cell .cm-content").first.click()
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(READY)
    page.wait_for_function(FILLED)
    moved(page, "layer", "ArrowLeft")
    moved(page, "class", "Home")
    moved(page, "class", "ArrowRight")
    moved(page, "alpha", "ArrowRight")
    page.locator(".cw-class").first.focus()
    for key in ("b", "d", "d", "x"):
        page.keyboard.press(key)
    assert page.locator(".jp-CodeCell").count() == 2
    assert page.locator(".cw-still:visible").count() == 0


def test_in_voila_it_is_alive(lab, page):
    pytest.importorskip("voila")
    if not REQUIRE.exists():
        pytest.skip("require.js comes with package.json's tools.")
    written(lab.folder, "voila.ipynb", setup())
    page.route("**/require*.js", lambda route: route.fulfill(path=REQUIRE))
    page.goto(f"{lab.url}/voila/render/voila.ipynb?token={lab.token}")
    page.wait_for_selector(READY)
    moved(page, "layer", "ArrowLeft")
    moved(page, "alpha", "ArrowRight")
    assert page.locator(".cw-still:visible").count() == 0


def test_nbconvert_s_page_shows_the_picture_without_a_network(lab, page, tmp_path):
    notebook = written(tmp_path, "convert.ipynb", setup())
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    html, _ = HTMLExporter().from_notebook_node(notebook)
    (tmp_path / "convert.html").write_text(html, encoding="utf-8")
    page.context.set_offline(True)
    page.goto((tmp_path / "convert.html").as_uri())
    still = page.locator("img[alt^='Grad-CAM · 1 · class']")
    still.wait_for()
    assert still.bounding_box()["width"] > 300
    assert "hottest" in still.get_attribute("alt")
