"""The exported page in a browser: the pixels of Python, no network, keys and captions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import camwidgets as cw
from camwidgets.explorer import explorer as explorer_module

PIXELS = """() => {
  const canvas = document.querySelector(".cw-canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.height, canvas.width, ...data];
}"""


def gap(classes: int) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 20, 28, 3), dtype=np.uint8)


@pytest.fixture
def explorer(pictures):
    masks = np.zeros((3, 20, 28), bool)
    masks[:, 5:12, 6:20] = True
    made = cw.Explorer(gap(4), pictures, ["a", "b", "c", "d"], masks=masks)
    yield made
    made.close()


@pytest.fixture
def opened(page, tmp_path):
    """Open an explorer's page with the network cut; returns the requests that it made."""
    requests = []

    def show(explorer) -> list[str]:
        path = explorer.to_html(tmp_path / "page.html")
        page.context.set_offline(True)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector('.cw-view[data-state="ready"]')
        return requests

    return show


def canvas(page) -> np.ndarray:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
    height, width, *data = page.evaluate(PIXELS)
    return np.array(data, dtype=np.uint8).reshape(height, width, 4)[..., :3]


def expected(explorer) -> np.ndarray:
    """The present picture by Python: the atlas's map through `cw.overlay`."""
    page = explorer._atlas.pages[explorer.image_index]
    layer = explorer._atlas.layers.index(explorer.layer)
    heat = page.heat(explorer.method, layer, explorer.target)
    return cw.overlay(page.picture, heat, explorer.alpha, explorer.colormap, opacity="constant")


def difference(page, explorer) -> float:
    """Share of the canvas that is off by more than 3 of 255 (a step of a colour table)."""
    off = np.abs(canvas(page).astype(int) - expected(explorer)).max(axis=2)
    return float((off > 3).mean())


def test_the_page_shows_the_pixels_of_python(page, opened, explorer):
    requests = opened(explorer)
    assert difference(page, explorer) < 0.01
    for method in ("Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM"):
        page.get_by_label("method").select_option(method)
        explorer.method = method
        for colours in ("jet", "viridis", "inferno"):
            page.get_by_label("colours").select_option(colours)
            explorer.colormap = colours
            assert difference(page, explorer) < 0.01, (method, colours)
    assert [url.split(":")[0] for url in requests] == ["file"]


def test_every_slider_answers_the_keyboard(page, opened, explorer):
    opened(explorer)
    before = canvas(page)
    explorer.layer = "0"
    for label, key in [("layer", "ArrowLeft"), ("image", "ArrowRight"), ("alpha", "ArrowRight")]:
        page.get_by_role("slider", name=label).press(key)
        after = canvas(page)
        assert (after != before).any(), label
        before = after
    explorer.image_index, explorer.alpha = 1, 0.55
    assert difference(page, explorer) < 0.01
    page.get_by_role("slider", name="class").press("Home")
    explorer.target = 0
    assert difference(page, explorer) < 0.01


def test_a_bar_chooses_its_class_and_the_caption_says_so(page, opened, explorer):
    opened(explorer)
    for name in "abcd":
        bar = page.locator(".cw-class", has_text=name)
        bar.focus()
        bar.press("Enter")
        explorer.target = "abcd".index(name)
        assert difference(page, explorer) < 0.01
        assert bar.get_attribute("aria-pressed") == "true"
        caption = page.locator(".cw-caption").inner_text()
        assert caption.startswith(f"Grad-CAM · 1 · {name} · logit ")
        assert page.get_by_role("img").get_attribute("aria-label") == caption
    assert page.get_by_role("slider", name="class").input_value() == "3"


def test_the_outline_and_the_share_inside_it(page, opened, explorer):
    opened(explorer)
    assert page.locator(".cw-outline path").count() == 2
    assert "of the heat inside the outline" in page.locator(".cw-caption").inner_text()


def test_the_pointer_reads_values(page, opened, explorer):
    opened(explorer)
    box = page.locator(".cw-canvas").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"] / 28, box["y"] + 0.5 * box["height"] / 20)
    page.wait_for_function("document.querySelector('.cw-pointer').textContent !== ''")
    text = page.locator(".cw-pointer").inner_text()
    assert text.startswith("x 0, y 0: ")
    heat = explorer._atlas.pages[0].heat("Grad-CAM", 1, explorer.target)
    corner = float(cw.upsample(torch.from_numpy(heat), (20, 28))[0, 0])
    assert float(text.split(": ")[1]) == pytest.approx(corner, rel=0.01, abs=1e-6)


def test_with_many_classes_each_image_has_its_own(page, opened, pictures):
    explorer = cw.Explorer(gap(40), pictures)
    opened(explorer)
    first = page.locator(".cw-name").all_inner_texts()
    assert first == [label for label, _ in explorer.class_slider.options]
    page.get_by_role("slider", name="image").press("End")
    canvas(page)
    explorer.image_index = 2
    assert page.locator(".cw-name").all_inner_texts() == [
        label for label, _ in explorer.class_slider.options
    ]
    assert difference(page, explorer) < 0.01
    explorer.close()


def test_what_goes_wrong_is_said_in_the_page(page, opened, explorer, monkeypatch):
    monkeypatch.setattr(explorer_module.export, "COLORMAPS", ("a", "b", "c", "no such table"))
    opened(explorer)
    page.get_by_label("colours").select_option("no such table")
    page.wait_for_function("document.querySelector('.cw-alarm').textContent !== ''")
    assert "could not be drawn" in page.get_by_role("alert").inner_text()
    page.get_by_label("colours").select_option("a")
    page.wait_for_function("document.querySelector('.cw-alarm').textContent === ''")
