"""The Explorer in Python: traits and sliders, errors, what it leaves behind, what it writes."""

from __future__ import annotations

import base64
import gc
import json
import weakref
from pathlib import Path

import ipywidgets
import numpy as np
import pytest
import torch
from camwidgets.explorer.old_atlas import Atlas
from camwidgets.explorer.view import View, colour_tables
from torch import nn

import camwidgets as cw
from camwidgets.explorer import explorer as explorer_module
from camwidgets.explorer import export
from camwidgets.explorer import old_atlas as atlas_module
from camwidgets.explorer.inputs import prepare


class Gap(nn.Module):
    """Two blocks, global average pooling, one linear layer."""

    def __init__(self, classes: int = 3, channels: int = 3, activation: type = nn.ReLU):
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), activation(), nn.MaxPool2d(2)),
            nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), activation()),
        )
        self.classifier = nn.Linear(8, classes)

    def forward(self, images):
        return self.classifier(self.blocks(images).mean(dim=(2, 3)))


def pictures(count: int = 2, height: int = 12, width: int = 16, channels: int = 3) -> np.ndarray:
    generator = np.random.default_rng(count)
    shape = (count, height, width, channels) if channels > 1 else (count, height, width)
    return generator.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def explorer():
    made = cw.Explorer(Gap(), pictures(), ["ring", "disc", "cross"])
    yield made
    made.close()


# -- controls ---------------------------------------------------------------------------------


def test_each_trait_moves_its_control(explorer):
    explorer.layer = "blocks.0"
    assert explorer.layer_slider.index == 0
    explorer.target = 2
    assert explorer.class_slider.label == "cross"
    explorer.alpha = 0.2
    assert explorer.alpha_slider.value == pytest.approx(0.2)
    explorer.method = "guided backprop"
    assert explorer.method_dropdown.value == "guided backprop"
    explorer.image_index = 1
    assert explorer.image_slider.value == 1
    explorer.colormap = "jet"
    assert explorer.colormap_dropdown.value == "jet"


def test_each_control_moves_its_trait(explorer):
    explorer.layer_slider.index = 0
    assert explorer.layer == "blocks.0"
    for index in (0, 2, 1):
        explorer.class_slider.index = index
        assert explorer.target == index
    explorer.alpha_slider.value = 0.75
    assert explorer.alpha == 0.75
    explorer.method_dropdown.index = 1
    assert explorer.method == "CAM"
    explorer.image_slider.value = 1
    assert explorer.image_index == 1
    explorer.colormap_dropdown.value = "viridis"
    assert explorer.colormap == "viridis"


def test_it_starts_at_the_last_layer_and_the_first_image_s_top_class():
    model, images = Gap(), pictures()
    explorer = cw.Explorer(model, images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        top = model.eval()(x)[0].argmax()
    assert explorer.layer == "blocks.1"
    assert explorer.target == int(top)
    assert explorer.method == "Grad-CAM"
    explorer.close()


def test_another_image_keeps_the_class_where_all_are_offered(explorer):
    explorer.target = 2
    explorer.image_index = 1
    assert explorer.target == 2


def test_sliders_are_linked_to_the_picture_in_the_browser(explorer):
    links = {
        (link.source[0], link.source[1], link.target[1])
        for link in explorer._links
        if isinstance(link, ipywidgets.widgets.widget_link.Link)
    }
    assert links == {
        (explorer.layer_slider, "index", "layer"),
        (explorer.class_slider, "index", "rank"),
        (explorer.method_dropdown, "index", "method"),
        (explorer.colormap_dropdown, "index", "colormap"),
        (explorer.alpha_slider, "value", "alpha"),
        (explorer.image_slider, "value", "image"),
    }


def test_moving_through_a_finished_atlas_changes_nothing_in_the_view(explorer):
    seen = []
    explorer._view.observe(seen.append)
    explorer.layer = "blocks.0"
    explorer.target = 2
    explorer.image_index = 1
    explorer.method = "CAM"
    assert seen == []


def test_the_view_starts_where_the_sliders_stand(explorer):
    view = explorer._view
    assert view.layer == explorer.layer_slider.index == 1
    assert view.rank == explorer.class_slider.index == explorer.target


def test_controls_without_a_choice_are_not_shown():
    explorer = cw.Explorer(Gap(1), pictures(1), layers=["blocks.1"], methods=["Grad-CAM"])
    shown = [control for column in explorer.children[-1].children for control in column.children]
    assert shown == [explorer.alpha_slider, explorer.colormap_dropdown]
    explorer.close()


# -- many classes -----------------------------------------------------------------------------


def test_of_many_classes_each_image_offers_its_own_top_ten():
    model, images = Gap(50), pictures(2)
    explorer = cw.Explorer(model, images)
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        order = model.eval()(x).argsort(dim=1, descending=True)[:, :10].tolist()
    assert [value for _, value in explorer.class_slider.options] == order[0]
    assert explorer.target == order[0][0]
    explorer.class_slider.index = 3
    explorer.image_index = 1
    assert [value for _, value in explorer.class_slider.options] == order[1]
    assert explorer.target == order[1][3]
    explorer.close()


def test_any_other_class_is_computed_when_it_is_asked_for():
    model, images = Gap(50), pictures(2)
    explorer = cw.Explorer(model, images)
    other = next(c for c in range(50) if c not in explorer._atlas.pages[0].maps)
    explorer.target = other
    assert explorer.class_slider.value == other
    assert explorer.class_slider.index == 10
    assert explorer._view.info["extras"] == [other]
    x = torch.from_numpy(images[:1]).permute(0, 3, 1, 2) / 255
    expected = cw.grad_cam(model, x, target=other)[0].numpy()
    heat = explorer._atlas.pages[0].heat("Grad-CAM", 1, other)
    assert np.abs(heat - expected).max() <= expected.max() / 255
    explorer.image_index = 1
    assert explorer.target == other
    assert other in explorer._atlas.pages[1].maps
    explorer.close()


def test_images_beyond_the_first_are_computed_when_the_slider_gets_there(monkeypatch):
    monkeypatch.setattr(explorer_module, "AT_ONCE_BYTES", 1)
    explorer = cw.Explorer(Gap(), pictures(3))
    assert [page is not None for page in explorer._atlas.pages] == [True, False, False]
    assert explorer._view.page_2 == b""
    explorer.image_slider.value = 2
    assert [page is not None for page in explorer._atlas.pages] == [True, False, True]
    assert explorer._view.page_2 == explorer._atlas.pages[2].pack()
    explorer.close()


def test_a_failure_on_demand_is_said_in_the_widget(monkeypatch):
    monkeypatch.setattr(explorer_module, "AT_ONCE_BYTES", 1)
    explorer = cw.Explorer(Gap(), pictures(3))
    explorer._atlas.release()
    with pytest.raises(ValueError, match="build it again"):
        explorer.image_index = 1
    assert "build it again" in explorer._view.message
    explorer.close()


# -- what it leaves behind --------------------------------------------------------------------


def test_the_caller_s_model_is_untouched():
    model = Gap()
    model.train()
    model.blocks[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    explorer = cw.Explorer(model, pictures())
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    explorer.close()


def test_the_maps_stay_those_of_the_model_when_it_was_given():
    model, images = Gap(50), pictures(1)
    explorer = cw.Explorer(model, images)
    other = next(c for c in range(50) if c not in explorer._atlas.pages[0].maps)
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    expected = cw.grad_cam(model, x, target=other)[0].numpy()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    explorer.target = other
    heat = explorer._atlas.pages[0].heat("Grad-CAM", 1, other)
    assert np.abs(heat - expected).max() <= expected.max() / 255
    explorer.close()


@pytest.fixture
def copies(monkeypatch):
    """Weak references to every private copy that is made."""
    found = []
    original = atlas_module._private

    def spy(*args):
        own, first = original(*args)
        found.append(weakref.ref(own))
        return own, first

    monkeypatch.setattr(atlas_module, "_private", spy)
    return found


def test_close_leaves_no_model_and_no_explorer(copies):
    explorer = cw.Explorer(Gap(50), pictures())
    gone = weakref.ref(explorer)
    assert copies[0]() is not None
    explorer.close()
    explorer.close()
    gc.collect()
    assert copies[0]() is None
    del explorer
    gc.collect()
    assert gone() is None


def test_a_finished_atlas_needs_no_model(copies):
    explorer = cw.Explorer(Gap(), pictures())
    gc.collect()
    assert copies[0]() is None
    explorer.target = 2
    explorer.close()


def test_rebuilding_without_closing_does_not_pile_up_models(copies):
    built = [cw.Explorer(Gap(50), pictures(1)) for _ in range(10)]
    gc.collect()
    assert sum(copy() is not None for copy in copies) == explorer_module.MODELS_KEPT
    for explorer in built:
        explorer.close()
    gc.collect()
    assert not any(copy() for copy in copies)


def test_close_takes_every_widget_from_the_registry():
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    explorer = cw.Explorer(Gap(), pictures())
    assert len(_instances) > len(before)
    explorer.close()
    assert set(_instances) == before


def test_a_constructor_that_fails_leaves_no_widget():
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    with pytest.raises(ValueError, match="3 names"):
        cw.Explorer(Gap(), pictures(), ["a", "b"])
    assert set(_instances) == before


# -- what it says -----------------------------------------------------------------------------


def test_its_repr_is_one_readable_line(explorer):
    explorer.target = 0
    assert repr(explorer) == (
        "Explorer(Gap, 2 images, 2 layers, 3 classes; layer='blocks.1', target='ring', "
        "method='Grad-CAM', alpha=0.5)"
    )


def test_a_notebook_gets_the_widget_a_picture_and_a_line(explorer):
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {
        "text/plain",
        "image/png",
        "application/vnd.jupyter.widget-view+json",
    }
    assert bundle["text/plain"] == repr(explorer)
    assert base64.b64decode(bundle["image/png"])[:4] == b"\x89PNG"


def test_png_shows_the_present_choice(explorer, tmp_path):
    import cv2

    first = explorer.to_png(tmp_path / "one.png")
    explorer.alpha = 0
    second = explorer.to_png(tmp_path / "two.png")
    assert (cv2.imread(str(first)) != cv2.imread(str(second))).any()


def test_html_is_one_file_without_the_network(explorer, tmp_path):
    text = explorer.to_html(tmp_path / "page.html").read_text()
    assert "export default" in text
    assert base64.b64encode(explorer._view.page_1).decode() in text
    for outside in ("http://", "https://", "import "):
        assert outside not in text.replace("http://www.w3.org/2000/svg", "")


def test_html_holds_every_image_even_those_not_looked_at(monkeypatch, tmp_path):
    monkeypatch.setattr(explorer_module, "AT_ONCE_BYTES", 1)
    explorer = cw.Explorer(Gap(), pictures(3))
    explorer.to_html(tmp_path / "page.html")
    assert all(explorer._atlas.pages)
    explorer.close()


def test_view_js_stays_small():
    assert len(View._esm.encode()) <= 15_000


# -- errors -----------------------------------------------------------------------------------


def nan_model():
    model = Gap()
    nn.init.constant_(model.classifier.weight, torch.nan)
    return model


class Dictionary(nn.Module):
    def forward(self, images):
        return {"out": images}


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "says"),
    [
        ((Gap(), []), {}, ValueError, "at least one picture"),
        ((Gap(), pictures(channels=1)), {}, ValueError, r"\(1, 1, 12, 16\).*preprocess"),
        ((Gap(), pictures(), ["a"]), {}, ValueError, "3 names"),
        ((Gap(), pictures(), "abc"), {}, ValueError, "3 names"),
        ((Gap(), pictures()), {"layers": ["conv9"]}, ValueError, "'blocks.0'"),
        ((Gap(), pictures()), {"layers": []}, ValueError, "layers is empty"),
        ((Gap(), pictures()), {"methods": ["gradcam"]}, ValueError, "'Grad-CAM'"),
        ((Gap(), pictures()), {"masks": [None]}, ValueError, "one mask per image: 2"),
        ((Gap(), pictures()), {"masks": np.ones((2, 4, 4), bool)}, ValueError, r"\(12, 16\)"),
        ((Gap(), pictures()), {"preprocess": lambda image: image}, ValueError, "float tensor"),
        ((Gap(), pictures()), {"preprocess": lambda image: 1 / 0}, ValueError, "division by zero"),
        (("model", pictures()), {}, TypeError, "nn.Module"),
        ((nan_model(), pictures()), {}, ValueError, "NaN"),
        ((Dictionary(), pictures()), {}, ValueError, "class Logits"),
        ((nn.Conv2d(3, 2, 3), pictures()), {}, ValueError, "class Logits"),
        (
            (nn.Sequential(nn.Flatten(), nn.Linear(576, 2)), pictures()),
            {},
            ValueError,
            "nothing to show",
        ),
        (
            (Gap(activation=nn.SiLU), pictures()),
            {"methods": ["guided backprop"]},
            ValueError,
            "no ReLU",
        ),
    ],
)
def test_bad_arguments_are_answered_in_a_sentence(arguments, keywords, error, says):
    with pytest.raises(error, match=says):
        cw.Explorer(*arguments, **keywords)


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("layer", "blocks", "'blocks.0', 'blocks.1'"),
        ("method", "LIME", "'Grad-CAM'"),
        ("colormap", "rainbow", "'inferno'"),
        ("target", 3, "0 to 2"),
        ("alpha", 1.5, "between 0 and 1"),
        ("image_index", -1, "0 to 1"),
    ],
)
def test_bad_choices_are_refused_and_change_nothing(explorer, trait, value, says):
    before = getattr(explorer, trait)
    with pytest.raises(ValueError, match=says):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before


# -- the numbers that the browser's half is tested against ------------------------------------

EXPECTED = Path(__file__).parent / "js" / "expected.json"


def browser_numbers() -> dict:
    """What torch, Matplotlib and the Python half give for the cases of tests/js."""
    torch.manual_seed(0)
    rounded = [
        {
            "values": (values := torch.randint(0, 256, size).float()).flatten().tolist(),
            "from": size,
            "to": to,
            "result": cw.upsample(values, to).flatten().tolist(),
        }
        for size, to in [((2, 3), (5, 7)), ((1, 1), (3, 2)), ((4, 2), (8, 16)), ((7, 7), (16, 9))]
    ]
    tables = [
        {"table": table, "ends": [*base64.b64decode(table)[:3], *base64.b64decode(table)[-3:]]}
        for table in colour_tables()
    ]
    picture, heat = pictures(1)[0], torch.tensor([[1.0, 0, 3], [2, 5, 0]])
    overlays = [
        {"alpha": a, "result": encoded(cw.overlay(picture, heat, a, opacity="constant"))}
        for a in (0, 0.3, 0.5, 1)
    ]
    mask = np.zeros((1, 12, 16), bool)
    mask[0, 3:9, 4:10] = True
    atlas = Atlas(Gap(), prepare(pictures(1), masks=mask))
    page = atlas.page(0)
    shown = []
    for method in atlas.methods:
        for layer, target in [(0, 0), (1, 2), (1, 1)]:
            heat_map = page.heat(method, layer, target)
            line = export.caption(
                method=method,
                layer=atlas.layers[layer],
                name=f"class {target}",
                score=page.maps[target].score,
                score_name="logit",
                heat=heat_map,
                size=(12, 16),
                mask=page.mask,
            )
            case = {"method": method, "layer": layer, "target": target, "line": line}
            shown.append({**case, "peak": float(heat_map.max())})
    values = [0, 7, 7.3456, -0.5, 123.456, 99999, 1e5, 123456.0, 0.001, 0.00081, -3.2e-9, 0.1 + 0.2]
    return {
        "upsample": rounded,
        "tables": tables,
        "blend": {
            "picture": encoded(picture),
            "heat": heat.flatten().tolist(),
            "size": [12, 16],
            "table": tables[0]["table"],
            "overlays": overlays,
        },
        "page": {
            "packed": base64.b64encode(page.pack()).decode(),
            "picture": page.picture.ravel()[:6].tolist(),
            "layers": atlas.layers,
            "classes": 3,
            "shown": shown,
        },
        "numbers": [[value, export._number(value)] for value in values],
    }


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def test_the_numbers_for_the_browser_s_tests_are_those_of_torch():
    """`python tests/test_explorer.py` writes the file anew."""
    now, then = browser_numbers(), json.loads(EXPECTED.read_text())
    assert now["numbers"] == then["numbers"]
    assert now["tables"] == then["tables"]
    assert now["blend"] == then["blend"]
    for new, old in zip(now["upsample"], then["upsample"], strict=True):
        assert list(new["from"]) == old["from"]
        np.testing.assert_allclose(new["result"], old["result"], atol=1e-4)


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(browser_numbers(), indent=1) + "\n")
