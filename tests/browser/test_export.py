"""The exported page in a browser: the pixels of Python, no network, keys, captions, access."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import Gap, seeded
from PIL import Image
from torch import nn

import camwidgets as cw
from camwidgets.explorer import display
from camwidgets.explorer.display import Look, Which

ROOT = Path(__file__).parents[2]
PIXELS = """selector => {
  const canvas = document.querySelectorAll(".cw-canvas")[selector];
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.height, canvas.width, ...data];
}"""
AXE = "() => axe.run(document.querySelector('.cw-explorer')).then(found => found.violations)"


def gap(classes: int, seed: int = 1) -> nn.Module:
    return seeded(lambda: Gap(classes), seed)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 20, 28, 3), dtype=np.uint8)


@pytest.fixture
def masks() -> np.ndarray:
    masks = np.zeros((3, 20, 28), bool)
    masks[:, 5:12, 6:20] = True
    return masks


@pytest.fixture
def explorer(pictures, masks):
    models = {"one": gap(4), "two": gap(4, seed=2)}
    made = cw.Explorer(models, pictures, ["a", "b", "c", "d"], masks=masks, labels=[1, 2, 0])
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
        page.wait_for_selector('.cw-explorer[data-state="ready"]')
        return requests

    return show


def settled(page) -> None:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")


def canvas(page, which: int = 0) -> np.ndarray:
    settled(page)
    height, width, *data = page.evaluate(PIXELS, which)
    return np.array(data, dtype=np.uint8).reshape(height, width, 4)[..., :3]


def expected(explorer, **changes) -> np.ndarray:
    """The present picture by Python."""
    state = {**explorer.state(), **changes}
    offer = explorer.offer
    m = offer["models"].index(state["model_name"])
    names = ("layer", "method", "signed")
    which = Which(m, state["image_index"], state["target"], *(state[name] for name in names))
    top = display.limit(
        explorer.atlas.part, which, state["scale"], offer["layers"][state["model_name"]]
    )
    look = Look(state["colormap"], state["alpha"], state["opacity"], state["threshold"])
    picture = explorer.atlas.part(f"picture/{which.i}").raw()[0]
    return display.painted(picture, display.field(explorer.atlas.part, which), top, look)


def same(page, explorer) -> None:
    """The canvas is Python's picture, to one grey level."""
    assert np.abs(canvas(page).astype(int) - expected(explorer)).max() <= 1, explorer.state()


def caption(page) -> str:
    settled(page)
    return page.locator(".cw-caption").inner_text()


def test_the_page_shows_the_pixels_and_the_words_of_python_in_every_mode(page, opened, explorer):
    requests = opened(explorer)
    same(page, explorer)
    page.get_by_role("button", name="Display").click()
    for method in explorer.offer["methods"]["one"]:
        page.get_by_label("method", exact=True).select_option(method)
        explorer.method = method
        for name, trait, value in [
            ("viridis", "colormap", "viridis"),
            ("constant", "opacity", "constant"),
            ("all maps", "scale", "all"),
            ("follows the heat", "opacity", "heat"),
            ("this map", "scale", "own"),
        ]:
            page.get_by_label(name, exact=True).check()
            setattr(explorer, trait, value)
            same(page, explorer)
            assert caption(page) == explorer.still().caption
        page.get_by_label("both signs").check()
        explorer.signed = True
        same(page, explorer)
        assert caption(page) == explorer.still().caption
        page.get_by_label("both signs").uncheck()
        explorer.signed = False
    slider = page.get_by_role("slider", name="threshold")
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    explorer.threshold = 0.1
    same(page, explorer)
    assert caption(page) == explorer.still().caption
    assert "box IoU" in caption(page)
    assert [url.split(":")[0] for url in requests] == ["file"]


def test_every_slider_answers_the_keyboard_and_says_its_value_in_words(page, opened, explorer):
    opened(explorer)

    def press(name: str, key: str) -> str:
        slider = page.get_by_role("slider", name=name, exact=True)
        slider.press(key)
        settled(page)
        return slider.get_attribute("aria-valuetext")

    assert press("layer", "ArrowLeft") == "blocks.0"
    assert press("alpha", "ArrowRight") == "55 %"
    assert press("image", "ArrowRight") == "2 of 3"
    assert press("class", "Home") == "a"
    assert press("model", "End") == "two"
    explorer.layer, explorer.image_index, explorer.alpha, explorer.target = "blocks.0", 1, 0.55, 0
    explorer.model_name = "two"
    same(page, explorer)


def test_a_bar_chooses_its_class_and_says_the_model_s_score(page, opened, explorer, pictures):
    opened(explorer)
    with torch.no_grad():
        x = torch.from_numpy(pictures[:1]).permute(0, 3, 1, 2) / 255
        scores = gap(4).eval()(x)[0]
    for c, name in enumerate("abcd"):
        bar = page.locator(".cw-class").nth(c)
        share = 100 * float(scores.softmax(0)[c])
        shown = f"{share:.1f} %" if share < 9.95 else f"{share:.0f} %"
        words = bar.get_attribute("title").split(", ")
        assert words[:3] == [name, shown, f"logit {display.number(float(scores[c]))}"]
        assert ("true class" in words) == (c == 1)
        assert ("the network’s answer" in words) == (c == int(scores.argmax()))
        bar.focus()
        bar.press("Enter")
        explorer.target = c
        same(page, explorer)
        assert bar.get_attribute("aria-pressed") == "true"
        assert caption(page).startswith(f"one · Grad-CAM · blocks.1 · {name} · logit ")
        assert page.get_by_role("img").first.get_attribute("aria-label") == caption(page)
    best = page.get_by_role("button", name="network’s answer", exact=True)
    if int(scores.argmax()) != 3:
        best.click()
        explorer.target = int(scores.argmax())
        same(page, explorer)


def test_the_pointer_a_tap_and_the_keyboard_read_values(page, opened, explorer):
    opened(explorer)
    heat = display.field(
        explorer.atlas.part, Which(0, 0, explorer.target, explorer.layer, "Grad-CAM")
    ).values
    box = page.locator(".cw-canvas").first.bounding_box()
    place = box["x"] + 4.5 * box["width"] / 28, box["y"] + 3.5 * box["height"] / 20
    page.mouse.move(*place)
    read = page.locator(".cw-pointer").first
    assert read.inner_text().startswith(f"x 4, y 3: {display.number(float(heat[3, 4]))}")
    page.mouse.move(5, 5)
    settled(page)
    assert read.inner_text() == ""
    page.locator(".cw-frame").first.focus()
    page.keyboard.press("ArrowRight")
    assert read.inner_text().startswith(f"x 15, y 10: {display.number(float(heat[10, 15]))}")
    page.locator(".cw-frame").first.evaluate(
        """(frame, [x, y]) => {
          for (const kind of ["pointerdown", "pointerup", "pointerleave"])
            frame.dispatchEvent(new PointerEvent(kind,
              { clientX: x, clientY: y, pointerType: "touch", bubbles: true }));
        }""",
        place,
    )
    assert read.inner_text().startswith("x 4, y 3: ")


def test_a_rectangle_says_its_share_of_the_heat(page, opened, explorer):
    opened(explorer)
    heat = display.field(
        explorer.atlas.part, Which(0, 0, explorer.target, explorer.layer, "Grad-CAM")
    ).values.astype(float)
    box = page.locator(".cw-canvas").first.bounding_box()
    unit = box["width"] / 28
    page.mouse.move(box["x"] + 2.5 * unit, box["y"] + 3.5 * unit)
    page.mouse.down()
    page.mouse.move(box["x"] + 9.5 * unit, box["y"] + 12.5 * unit, steps=4)
    page.mouse.up()
    words = page.locator(".cw-pointer").first.inner_text()
    share = np.floor(100 * heat[3:13, 2:10].sum() / heat.sum() + 0.5)
    assert f"rectangle 8 × 10: {share:.0f} % of the heat on 14 % of the picture" in words


def test_overview_shows_layers_by_classes_and_goes_there(page, opened, explorer):
    opened(explorer)
    page.get_by_role("button", name="Overview").click()
    cells = page.locator(".cw-cell")
    assert cells.count() == 8
    assert page.locator('.cw-cell[aria-current="true"]').count() == 1
    page.get_by_role("button", name="blocks.0, c", exact=True).click()
    explorer.layer, explorer.target = "blocks.0", 2
    same(page, explorer)
    assert page.locator(".cw-overview").is_hidden()


def test_compare_shows_two_settings_side_by_side_and_under_a_wipe(page, opened, explorer):
    opened(explorer)
    page.get_by_role("button", name="Compare").click()
    second = expected(explorer, model_name="two")
    assert np.abs(canvas(page, 1).astype(int) - second).max() <= 1
    lines = caption(page).split("\n")
    assert [line.split(" · ")[0] for line in lines] == ["one", "two"]
    page.get_by_role("slider", name="second layer").press("ArrowLeft")
    second = expected(explorer, model_name="two", layer="blocks.0")
    assert np.abs(canvas(page, 1).astype(int) - second).max() <= 1
    page.get_by_role("radio", name="wipe").check()
    shown = canvas(page).astype(int)
    assert np.abs(shown[:, :14] - expected(explorer)[:, :14]).max() <= 1
    assert np.abs(shown[:, 14:] - second[:, 14:]).max() <= 1


def test_with_many_classes_each_image_has_its_own(page, opened, pictures):
    model = gap(40)
    nn.init.normal_(model.classifier.weight)
    pictures[2] = [255, 0, 0]
    explorer = cw.Explorer(model, pictures)
    opened(explorer)

    def names(i: int) -> list[str]:
        return [f"class {c}" for c in explorer.atlas.part(f"scores/0/{i}").header["classes"]]

    assert page.locator(".cw-name").all_inner_texts() == names(0)
    page.get_by_role("slider", name="image").press("End")
    settled(page)
    explorer.image_index = 2
    assert page.locator(".cw-name").all_inner_texts() == names(2)
    same(page, explorer)
    explorer.close()


def test_a_class_beyond_those_of_the_picture_stays_chosen_with_its_share(page, opened, pictures):
    explorer = cw.Explorer(model := gap(40), pictures)
    low = next(c for c in range(40) if c not in explorer.atlas.part("scores/0/0").header["classes"])
    explorer.close()
    explorer = cw.Explorer(model, pictures, target=low)
    opened(explorer)
    chosen = page.locator('.cw-class[aria-pressed="true"]')
    assert chosen.locator(".cw-name").inner_text() == f"class {low}"
    assert chosen.locator(".cw-number").inner_text().endswith("%")
    same(page, explorer)
    explorer.close()


def test_odd_words_keep_to_the_page(page, opened, pictures, tmp_path):
    """A long title wraps; in the overview a model's long name leaves the layers theirs."""
    page.set_viewport_size({"width": 420, "height": 900})
    models = {"a model with a long name, epoch 12": gap(6), "B": gap(6, seed=2)}
    explorer = cw.Explorer(models, pictures)
    write = explorer.to_html
    explorer.to_html = lambda path: write(path, title="w" * 200)
    opened(explorer)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.get_by_role("button", name="Overview", exact=True).click()
    rows = page.locator(".cw-row")
    assert rows.first.bounding_box()["height"] < 30
    whole = rows.evaluate_all("rows => rows.map((row) => row.scrollWidth <= row.clientWidth)")
    assert whole[1:] == [True, True]
    explorer.close()


def test_the_picture_and_the_code_can_be_taken_away(page, opened, explorer):
    opened(explorer)
    page.get_by_role("button", name="Take away").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    saved = np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)
    zoom = round(640 / 28)
    assert saved.shape[1] == 28 * zoom + 100
    assert (saved[20 * zoom + 24 :].min(axis=2) < 100).any(), "the caption"
    edge = saved[10 + 5 * zoom - 2 : 10 + 5 * zoom + 2, 10 + 8 * zoom : 10 + 18 * zoom]
    assert (edge.min(axis=2) > 200).any(axis=0).all(), "the outline"
    page.get_by_role("slider", name="alpha").press("ArrowLeft")
    explorer.alpha = 0.45
    settled(page)
    assert page.locator(".cw-code").inner_text() == explorer.code()


def test_what_goes_wrong_is_said_in_the_page(page, opened, pictures):
    def mine(model, image, layer, target):
        raise KeyError("no such weights")

    explorer = cw.Explorer(gap(4), pictures, methods={"mine": mine})
    opened(explorer)
    page.get_by_label("method", exact=True).select_option("mine")
    settled(page)
    assert "KeyError: 'no such weights'" in page.locator(".cw-alarm").inner_text()
    page.get_by_label("method", exact=True).select_option("CAM")
    settled(page)
    assert page.locator(".cw-alarm").inner_text() == ""
    explorer.method = "CAM"
    same(page, explorer)
    explorer.close()


def test_a_picture_that_cannot_be_read_is_an_empty_one_with_its_sentence(
    page, opened, pictures, tmp_path
):
    (tmp_path / "torn.png").write_bytes(b"no picture")
    images = [pictures[0], tmp_path / "torn.png", pictures[1]]
    explorer = cw.Explorer(gap(4), images)
    opened(explorer)
    image = page.get_by_label("image", exact=True)
    assert page.locator(".cw-caption").inner_text()
    image.fill("1")
    page.wait_for_selector('.cw-explorer[data-state="failed"]')
    assert "torn.png" in page.locator(".cw-alarm").inner_text()
    assert page.locator(".cw-caption").inner_text() == ""
    assert page.locator(".cw-number").first.inner_text() == "…"
    assert not any(page.evaluate(PIXELS, 0)[2:])
    page.get_by_role("button", name="Take away").click()
    page.get_by_role("button", name="Save picture").click()
    assert page.get_by_text("there is no picture to save").is_visible()
    image.fill("2")
    page.wait_for_selector('.cw-explorer[data-state="ready"]')
    assert page.locator(".cw-alarm").inner_text() == ""
    explorer.image_index = 2
    assert page.locator(".cw-caption").inner_text() == explorer.still().caption


def test_what_was_pointed_at_is_forgotten_at_a_picture_of_another_size(page, opened, pictures):
    opened(cw.Explorer(gap(4), [pictures[0], pictures[1][:10, :12]]))
    frame = page.locator(".cw-frame").first
    frame.focus()
    for key in ("End", "Space", *["Shift+ArrowRight"] * 3, *["Shift+ArrowDown"] * 2):
        frame.press(key)
    assert "x 27, y 19" in page.locator(".cw-pointer").first.inner_text()
    page.get_by_label("image", exact=True).fill("1")
    page.wait_for_selector('.cw-explorer[data-state="ready"]')
    assert page.locator(".cw-pointer").first.inner_text() == ""
    frame.press("ArrowRight")
    assert "x 7, y 5" in page.locator(".cw-pointer").first.inner_text()


def test_the_note_and_the_score_s_own_name_are_said(page, opened, pictures):
    model = gap(1)
    model.blocks[0][2], model.blocks[1][2] = nn.SiLU(), nn.SiLU()
    explorer = cw.Explorer(model, pictures, activation="none")
    opened(explorer)
    assert "silu" in page.locator(".cw-note").inner_text()
    name = explorer.offer["scoreName"]["Gap"]
    assert name == "output"
    assert f"· {name} " in caption(page)
    assert "logit" not in caption(page)
    assert caption(page) == explorer.still().caption
    explorer.close()


def test_asking_says_that_it_needs_the_kernel(page, opened, explorer):
    opened(explorer)
    page.get_by_role("button", name="Ask").click()
    assert "needs the kernel" in page.locator(".cw-panel:visible .cw-status").inner_text()
    assert "paint here" not in page.locator(".cw-explorer").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page, opened, explorer, scheme):
    axe = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core comes with `npm ci`.")
    page.emulate_media(color_scheme=scheme)
    opened(explorer)
    page.evaluate(axe.read_text())
    for tab in ("Display", "Take away", "Compare", "Overview", "Ask"):
        page.get_by_role("button", name=tab, exact=True).click()
        settled(page)
        found = page.evaluate(AXE)
        assert [(v["id"], v["nodes"][0]["html"]) for v in found] == [], tab


def test_targets_are_large_and_no_word_moves_a_slider(page, opened, pictures):
    names = ["a", "a class whose name is far longer than any slider is wide", "b", "c"]
    explorer = cw.Explorer(gap(4), pictures, names, target=0)
    opened(explorer)
    page.get_by_role("button", name="Display").click()
    for control in page.locator("button:visible, select:visible, input[type=range]:visible").all():
        box = control.bounding_box()
        assert box["height"] >= 24, control.inner_text()
        assert box["width"] >= 24, control.inner_text()
    sliders = page.locator("input[type=range]:visible, .cw-class, .cw-frame, .cw-tab")
    before = [slider.bounding_box() for slider in sliders.all()]
    page.get_by_role("slider", name="class", exact=True).press("ArrowRight")
    settled(page)
    assert [slider.bounding_box() for slider in sliders.all()] == before
    explorer.close()


@pytest.mark.parametrize("width", [420, 640, 320])
def test_narrow_panes_keep_everything_in_sight(page, opened, explorer, width):
    page.set_viewport_size({"width": width, "height": 900})
    opened(explorer)
    for tab in ("Display", "Compare", "Overview", "Ask", "Take away"):
        page.get_by_role("button", name=tab, exact=True).click()
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
    page.get_by_role("button", name="Ask", exact=True).click()
    assert page.locator(".cw-canvas").first.bounding_box()["width"] > 180


def test_forced_colours_keep_the_bars(page, opened, explorer):
    page.emulate_media(forced_colors="active", reduced_motion="reduce")
    opened(explorer)
    shot = np.asarray(Image.open(io.BytesIO(page.locator(".cw-bars").screenshot())).convert("RGB"))
    bar = page.locator('.cw-class[aria-pressed="true"] .cw-bar').evaluate(
        "bar => getComputedStyle(bar).backgroundColor"
    )
    track = page.locator(".cw-bars").evaluate("bars => getComputedStyle(bars).backgroundColor")
    assert bar != track
    assert len(np.unique(shot.reshape(-1, 3), axis=0)) > 2


def test_ten_thousand_random_moves_raise_nothing(page, opened, explorer):
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    opened(explorer)
    page.evaluate(
        """async () => {
          let seed = 7;
          const random = n => (seed = (seed * 48271) % 2147483647) % n;
          const pick = list => {
            const seen = list.filter(element => element.offsetParent !== null);
            return seen[random(seen.length)];
          };
          const tick = () => new Promise(done => setTimeout(done, 0));
          for (let k = 0; k < 10000; k++) {
            const root = document.querySelector(".cw-explorer");
            const kind = random(20);
            if (kind < 12) {
              const slider = pick([...root.querySelectorAll("input[type=range]")]);
              slider.value = random(Number(slider.max) + 1);
              slider.dispatchEvent(new Event("input"));
            } else if (kind < 15) {
              pick([...root.querySelectorAll("button:not(.cw-button), input[type=radio]")]).click();
            } else if (kind < 16) {
              const menu = pick([...root.querySelectorAll("select")]);
              menu.selectedIndex = random(menu.options.length);
              menu.dispatchEvent(new Event("change"));
            } else {
              const frame = pick([...root.querySelectorAll(".cw-frame")]);
              if (!frame) continue;
              const box = frame.getBoundingClientRect();
              const at = { clientX: box.x + random(600) - 100, clientY: box.y + random(600) - 100 };
              frame.dispatchEvent(new PointerEvent(
                ["pointerdown", "pointermove", "pointerup", "pointercancel"][random(4)],
                { ...at, pointerId: 1, bubbles: true }));
              frame.dispatchEvent(new KeyboardEvent("keydown",
                { key: [" ", "ArrowUp", "ArrowLeft", "Escape", "Enter"][random(5)],
                  bubbles: true }));
            }
            if (k % 10 === 0) await tick();
          }
          await tick();
        }"""
    )
    alarm = page.locator(".cw-alarm").inner_text()
    assert (errors, alarm) == ([], "")
    assert page.locator(".cw-explorer").get_attribute("data-state") == "ready"
