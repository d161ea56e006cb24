"""The Explorer in Python: choices, what is sent when, what it leaves behind, what it writes."""

from __future__ import annotations

import ast
import base64
import copy
import gc
import io
import json
import pickle
import random
import re
import threading
import time
import weakref

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
from ipywidgets.widgets.widget import _instances
from nets import Gap, gap_head
from PIL import Image
from torch import nn

import camwidgets as cw
from camwidgets.explorer import export
from camwidgets.explorer.display import Which
from camwidgets.explorer.widget import Refused


def pictures(count: int = 2, height: int = 12, width: int = 16, channels: int = 3) -> np.ndarray:
    generator = np.random.default_rng(count)
    shape = (count, height, width, channels) if channels > 1 else (count, height, width)
    return generator.integers(0, 256, shape, dtype=np.uint8)


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def explorer():
    made = cw.Explorer(Gap(), pictures(), ["ring", "disc", "cross"])
    yield made
    made.close()


@pytest.fixture
def two():
    made = cw.Explorer({"A": Gap(), "B": small()}, pictures())
    yield made
    made.close()


def small() -> nn.Module:
    conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    return nn.Sequential(conv, *gap_head(4, 2))


def filled(explorer, seconds: float = 60) -> None:
    """Wait until all that is offered has been sent."""
    end = time.monotonic() + seconds
    while explorer.progress[0] < explorer.progress[1] or explorer.progress == [0, 0]:
        assert time.monotonic() < end, explorer.progress
        time.sleep(0.01)


@pytest.fixture
def sent(monkeypatch):
    """Every message that any widget sends."""
    messages = []
    monkeypatch.setattr(
        cw.Explorer,
        "_send",
        lambda self, msg, buffers=None: messages.append((msg, buffers or [])),
    )
    return messages


# -- where it begins ------------------------------------------------------------------------------


def test_it_starts_at_the_last_layer_and_the_first_image_s_top_class():
    model, images = Gap(), pictures()
    explorer = cw.Explorer(model, images)
    with torch.no_grad():
        top = model.eval()(tensor(images))[0].argmax()
    assert explorer.layer == "blocks.1"
    assert explorer.target == int(top)
    assert explorer.method == "Grad-CAM"
    explorer.close()


def test_it_starts_with_the_first_picture_s_map_and_no_more():
    before = threading.active_count()
    explorer = cw.Explorer(Gap(), pictures())
    keys = explorer._sent[:3]
    assert sorted(keys) == sorted(
        ["scores/0/0", "picture/0", f"maps/0/0/{explorer.target}/Grad-CAM"]
    )
    explorer.close()
    assert threading.active_count() <= before + 1


def test_choices_can_be_given_as_keywords_and_come_back_as_a_state():
    state = {"layer": "blocks.0", "target": 2, "alpha": 0.3, "method": "guided Grad-CAM"}
    state |= {"image_index": 1, "signed": True, "threshold": 0.2, "scale": "all", "view": "compare"}
    state |= {"other": {"target": 0}, "colormap": "jet", "opacity": "constant", "outline": False}
    model = Gap()
    first = cw.Explorer(model, pictures(), **state)
    assert {key: first.state()[key] for key in state} == state
    second = cw.Explorer(model, pictures(), **first.state())
    assert second.state() == first.state()
    assert json.loads(json.dumps(first.state())) == first.state()
    first.close()
    second.close()


def test_numbers_of_numpy_are_numbers():
    state = {"image_index": np.int64(1), "target": np.int64(2), "threshold": np.float64(0.2)}
    explorer = cw.Explorer(Gap(), pictures(), **state)
    assert "np" not in explorer.code()
    assert json.loads(json.dumps(explorer.state())) == explorer.state()
    explorer.target = True
    assert "class 1" in explorer.still().caption
    explorer.close()


def test_a_first_class_outside_the_highest_ten_is_offered_too():
    model, images = unlike()
    scores = model.eval()(tensor(images))[0]
    explorer = cw.Explorer(model, images, target=int(scores.argmin()))
    assert explorer.extras == [explorer.target]
    explorer.close()


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ({"layer": "x"}, ValueError, "'blocks.0', 'blocks.1'"),
        ({"target": 9}, ValueError, "0 to 2"),
        ({"model_name": "x"}, ValueError, "'Gap'"),
        ({"image_index": 5}, ValueError, "0 to 1"),
        ({"alpha": 2}, ValueError, "between 0 and 1"),
        ({"alfa": 0.2}, TypeError, "'alfa'.*alpha"),
        ({"method": "x"}, ValueError, "'Grad-CAM'"),
    ],
)
def test_a_first_choice_that_does_not_exist_is_refused_and_leaves_nothing(state, error, says):
    before = set(_instances)
    with pytest.raises(error, match=says):
        cw.Explorer(Gap(), pictures(), **state)
    assert set(_instances) == before


# -- choices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("layer", "blocks", "'blocks.0', 'blocks.1'"),
        ("method", "LIME", "'Grad-CAM'"),
        ("colormap", "rainbow", "'inferno'"),
        ("opacity", "none", "'heat'"),
        ("scale", "none", "'own'"),
        ("view", "film", "'overview'"),
        ("model_name", "B", "'Gap'"),
        ("target", 3, "0 to 2"),
        ("target", -1, "0 to 2"),
        ("alpha", 1.5, "between 0 and 1"),
        ("alpha", float("nan"), "between 0 and 1"),
        ("threshold", -0.1, "between 0 and 1"),
        ("image_index", -1, "0 to 1"),
        ("other", {"alpha": 1}, "'alpha'"),
        ("other", {"target": 3}, "other: target 3 .*0 to 2"),
        ("other", {"target": "ring"}, "other: target ring .*0 to 2"),
        ("other", {"layer": "x"}, "other: .*'blocks.0', 'blocks.1'"),
        ("other", {"method": "x"}, "other: .*'Grad-CAM'"),
        ("other", {"model_name": "x"}, "other: .*'Gap'"),
    ],
)
def test_bad_choices_are_refused_and_change_nothing(explorer, trait, value, says):
    before = explorer.state()
    with pytest.raises(ValueError, match=says):
        setattr(explorer, trait, value)
    assert explorer.state() == before
    explorer.layer = "blocks.0"
    assert explorer.layer == "blocks.0"


def test_a_refused_choice_among_several_takes_them_all_back(explorer):
    before = explorer.state()

    def choose() -> None:
        with explorer.hold_trait_notifications():
            explorer.layer = "blocks.0"
            explorer.target = 7

    with pytest.raises(Refused):
        choose()
    assert explorer.state() == before


def test_what_the_page_chooses_wrongly_is_answered_with_what_holds(explorer, sent):
    before = explorer.state()
    explorer.set_state({"layer": "blocks.0", "target": 99})
    assert explorer.state() == before
    assert "0 to 2" in explorer.message
    states = [msg["state"] for msg, _ in sent if msg["method"] == "update"]
    assert any(state.get("target") == before["target"] for state in states)
    explorer.target = (before["target"] + 1) % 3
    assert explorer.message == ""


def test_what_the_page_chooses_is_not_sent_back(explorer, sent):
    filled(explorer)
    sent.clear()
    explorer.set_state({"alpha": 0.25, "layer": "blocks.0", "image_index": 1})
    assert (explorer.alpha, explorer.layer, explorer.image_index) == (0.25, "blocks.0", 1)
    time.sleep(0.2)
    assert [list(msg["state"]) for msg, _ in sent if set(msg["state"]) != {"progress"}] == []


def test_what_one_page_chooses_reaches_a_second_one(explorer, sent):
    filled(explorer)
    explorer.get_state()
    sent.clear()
    explorer.set_state({"alpha": 0.25, "layer": "blocks.0", "offer": {}})
    echoes = [msg["state"] for msg, _ in sent if msg["method"] == "echo_update"]
    assert echoes == [{"alpha": 0.25, "layer": "blocks.0"}]


def test_a_move_within_a_filled_explorer_sends_only_the_choice(explorer, sent):
    filled(explorer)
    sent.clear()
    explorer.layer = "blocks.0"
    explorer.target = (explorer.target + 1) % 3
    time.sleep(0.2)
    states = [set(msg["state"]) for msg, _ in sent]
    assert {"layer"} in states
    assert {"target"} in states
    assert not any(key.startswith("part_") for state in states for key in state)
    assert all(not buffers for _, buffers in sent)


def test_another_image_keeps_the_class_where_all_are_offered(explorer):
    explorer.target = 2
    explorer.image_index = 1
    assert explorer.target == 2


def test_another_model_keeps_what_it_has_and_settles_the_rest(two):
    two.target = 2
    two.layer = "blocks.0"
    two.model_name = "B"
    assert two.layer == two.offer["layers"]["B"][-1]
    assert two.target == 0
    assert two.method in two.offer["methods"]["B"]
    with pytest.raises(ValueError, match="0 to 1"):
        two.target = 2
    two.model_name = "A"
    two.target = 2


def test_another_model_from_elsewhere_is_settled_too(two):
    """A page, or a link to it, may send nothing but the model."""
    two.target = 2
    two.set_state({"model_name": "B"})
    assert (two.layer, two.target) == ("0", 0)
    assert two.still().png


def test_linked_models_and_layers_move_together(two):
    other = cw.Explorer({"A": Gap(), "B": small()}, pictures())
    for trait in ("model_name", "layer", "target"):
        traitlets.link((two, trait), (other, trait))
    seen = []
    two.observe(lambda _: seen.append(repr(two)), "model_name")
    for one, name in ((two, "B"), (other, "A")):
        one.model_name = name
        assert two.state() == other.state()
        assert repr(two) == seen[-1]
    other.close()


def test_another_model_is_one_message(two, sent):
    filled(two)
    two.target = 2
    sent.clear()
    two.model_name = "B"
    assert [set(msg["state"]) for msg, _ in sent] == [{"model_name", "layer", "target"}]


def test_what_python_says_the_page_cannot(explorer):
    filled(explorer)
    before = {name: getattr(explorer, name) for name in ("offer", "uid", "progress", "message")}
    explorer.set_state({"offer": {}, "uid": "x", "progress": [], "message": "x", "alpha": 0.2})
    assert {name: getattr(explorer, name) for name in before} == before
    assert explorer.alpha == 0.2
    for extras in ([99], [-1], ["x"], "x"):
        explorer.set_state({"extras": extras})
        assert explorer.extras == []
        assert "extras" in explorer.message


def test_stock_sliders_and_links_work_with_it(explorer):
    slider = ipywidgets.IntSlider(max=2)
    alpha = ipywidgets.FloatSlider(max=1)
    link = traitlets.link((slider, "value"), (explorer, "target"))
    ipywidgets.jslink((alpha, "value"), (explorer, "alpha"))
    ipywidgets.jslink((slider, "value"), (explorer, "image_index"))
    seen = []
    explorer.observe(lambda change: seen.append(change.new), "target")
    slider.value = 2
    explorer.target = 1
    assert slider.value == 1
    assert seen[-1] == 1
    assert ipywidgets.HBox([explorer, slider]).children[0] is explorer
    link.unlink()


def test_one_slider_drives_several_explorers():
    several = [cw.Explorer(Gap(), pictures()) for _ in range(3)]
    slider = ipywidgets.IntSlider(max=1)
    for each in several:
        traitlets.link((slider, "value"), (each, "image_index"))
    slider.value = 1
    assert [each.image_index for each in several] == [1, 1, 1]
    for each in several:
        each.close()


# -- many classes ---------------------------------------------------------------------------------


def unlike() -> tuple[nn.Module, np.ndarray]:
    """A model of 50 classes, and a red and a blue picture that it takes for different ones."""
    model, images = Gap(50), np.zeros((2, 12, 16, 3), np.uint8)
    images[0, ..., 0] = images[1, ..., 2] = 255
    nn.init.normal_(model.classifier.weight)
    return model, images


def test_of_many_classes_each_image_offers_its_own_top_ten():
    model, images = unlike()
    explorer = cw.Explorer(model, images)
    with torch.no_grad():
        order = model.eval()(tensor(images)).argsort(dim=1, descending=True).tolist()
    assert explorer.atlas.part("scores/0/0").header["classes"] == order[0][:10]
    assert explorer.target == order[0][0]
    only_first = next(c for c in order[0][:10] if c not in order[1][:10])
    explorer.target = only_first
    assert explorer.extras == []
    explorer.image_index = 1
    assert explorer.target == order[1][0]
    explorer.close()


def keys_of_a_page(explorer: cw.Explorer) -> set[str]:
    parts = export.every_part(explorer.atlas, explorer.offer, explorer.extras)
    return {part.key for part in parts}


def test_a_page_holds_the_maps_of_a_class_that_was_asked_for():
    model, images = unlike()
    explorer = cw.Explorer(model, images)
    usual = keys_of_a_page(explorer)
    offered = {c for i in range(2) for c in explorer.atlas.part(f"scores/0/{i}").header["classes"]}
    explorer.target = other = min({*range(50)} - offered)
    more = keys_of_a_page(explorer)
    expected = {f"maps/0/{i}/{other}/{name}" for i in range(2) for name in ("CAM", "Grad-CAM")}
    assert expected <= more - usual
    explorer.close()


def test_any_other_class_is_computed_when_it_is_asked_for():
    model, images = unlike()
    explorer = cw.Explorer(model, images)
    with torch.no_grad():
        order = model.eval()(tensor(images)).argsort(dim=1, descending=True).tolist()
    other = next(c for c in range(50) if c not in [*order[0][:10], *order[1][:10]])
    explorer.target = other
    assert explorer.extras == [other]
    expected = cw.grad_cam(model, tensor(images[:1]), target=other)[0].clamp(min=0).numpy()
    (found,) = [
        raw
        for entry, raw in zip(
            explorer.atlas.part(f"maps/0/0/{other}/Grad-CAM").header["maps"],
            explorer.atlas.part(f"maps/0/0/{other}/Grad-CAM").raw(),
            strict=True,
        )
        if entry["layer"] == "blocks.1"
    ]
    np.testing.assert_allclose(np.maximum(found, 0), expected, atol=1e-4 * np.abs(found).max())
    assert f"class {other}" in explorer.still().caption
    explorer.image_index = 1
    assert explorer.target == other
    explorer.close()


# -- what is sent ---------------------------------------------------------------------------------


def test_in_the_end_everything_offered_has_been_sent_once(explorer):
    filled(explorer)
    wanted = set(explorer.atlas.wanted(0, 0, 0, "Grad-CAM"))
    assert wanted <= set(explorer._sent)
    assert len(set(explorer._sent)) == len(explorer._sent)
    state = explorer.get_state()
    for k, key in enumerate(explorer._sent):
        assert state[f"part_{k}"] == explorer.atlas.part(key).pack()
    assert state["sent"] == len(explorer._sent)


def test_a_page_opened_later_finds_every_setting_and_part(explorer):
    explorer.layer, explorer.alpha, explorer.view = "blocks.0", 0.1, "overview"
    filled(explorer)
    state = explorer.get_state()
    assert (state["layer"], state["alpha"], state["view"]) == ("blocks.0", 0.1, "overview")
    assert all(state[f"part_{k}"] for k in range(state["sent"]))


def test_the_note_and_the_score_s_name_reach_the_page():
    explorer = cw.Explorer(Gap(activation=nn.SiLU), pictures())
    assert "silu" in explorer.get_state()["offer"]["note"]
    assert explorer.offer["scoreName"] == {"Gap": "logit"}
    explorer.close()
    probabilities = cw.Explorer(nn.Sequential(Gap(), nn.Softmax(1)), pictures())
    assert set(probabilities.offer["activation"].values()) == {"softmax"}
    assert "logit" in probabilities.still().caption
    probabilities.close()


def answers(explorer, sent, content, buffers=()) -> list:
    explorer._handle_custom_msg(content, list(buffers))
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = [(m["content"], b) for m, b in list(sent) if m["method"] == "custom"]
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("no answer")


def test_a_painted_picture_is_answered_with_scores_and_maps(explorer, sent):
    picture = pictures()[0].copy()
    picture[:6] = 128
    content = {"ask": 5, "model": 0, "image": 0}
    ((answer, buffers),) = answers(explorer, sent, content, [picture.tobytes()])
    assert answer == {"answer": 5, "view": None}
    length = int.from_bytes(buffers[0][:4], "little")
    header = json.loads(buffers[0][4 : 4 + length])
    with torch.no_grad():
        expected = explorer.atlas._sitters[0].private.model(tensor(picture[None]))[0]
    assert header["key"] == "asked/scores/0/0"
    np.testing.assert_allclose(header["scores"], expected.numpy(), atol=1e-5)


def test_of_many_strokes_only_the_last_of_each_view_is_answered(explorer, sent, monkeypatch):
    begun, go_on, asked = threading.Event(), threading.Event(), []
    ask = explorer.atlas.ask

    def slow(m, i, picture, *more):
        asked.append(int(picture[0, 0, 0]))
        begun.set()
        go_on.wait(30)
        return ask(m, i, picture, *more)

    monkeypatch.setattr(explorer.atlas, "ask", slow)
    for view, k in [("a", 1), ("a", 2), ("b", 3), ("a", 4), ("b", 5)]:
        painted = np.full((12, 16, 3), k, np.uint8)
        content = {"ask": k, "view": view, "model": 0, "image": 0}
        explorer._handle_custom_msg(content, [painted.tobytes()])
        assert begun.wait(30)
    go_on.set()
    end = time.monotonic() + 30
    found = {}
    while found != {"a": 4, "b": 5} and time.monotonic() < end:
        messages = [m["content"] for m, _ in list(sent) if m["method"] == "custom"]
        found = {message["view"]: message["answer"] for message in messages}
    assert found == {"a": 4, "b": 5}
    assert sorted(asked) == [1, 4, 5]


@pytest.mark.parametrize(
    ("content", "buffers"),
    [
        ({"ask": 1, "model": 0, "image": 0}, []),
        ({"ask": 1, "model": 0, "image": 0}, [b"abc"]),
        ({"ask": 1, "model": 7, "image": 0}, [b"abc"]),
        ({"ask": 1, "model": 0, "image": -1}, [b"abc"]),
        ({"ask": 1}, []),
        ({"ask": 1, "model": 0.5, "image": 0}, [b"abc"]),
        ({"ask": 1, "model": 0, "image": 0, "shown": ["x"]}, [bytes(12 * 16 * 3)]),
        ({"ask": 1, "model": 0, "image": 0, "shown": ["maps/0/0/9/CAM"]}, [bytes(12 * 16 * 3)]),
        ({"ask": 1, "model": None, "image": []}, [b""]),
    ],
)
def test_a_broken_upload_is_answered_in_a_sentence(explorer, sent, content, buffers):
    ((answer, parts),) = answers(explorer, sent, content, buffers)
    assert answer["answer"] == 1
    assert answer["error"]
    assert parts == []


NO_PARTS = ["x", "", 3, None, "picture/-1", "picture/2", "scores/0", "scores/0/0/0", "scores/1/0"]
NO_PARTS += ["maps/0/0/0", "maps/0/0/3/CAM", "maps/0/0/0/LIME", "guided/0/0/0/CAM", "picture/x"]
NONSENSE = [None, 7, "ask", {}, [], {"want": None}, {"want": "picture/0"}, {"want": NO_PARTS}]


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("content", NONSENSE)
def test_nonsense_from_the_page_is_harmless(explorer, sent, content):
    filled(explorer)
    sent.clear()
    explorer._handle_custom_msg(content, [])
    end = time.monotonic() + 30
    while content == NONSENSE[-1] and len(sent) < len(NO_PARTS) and time.monotonic() < end:
        time.sleep(0.01)
    parts = [buffers[0] for _, buffers in sent]
    assert all(b"There is no part" in part for part in parts)
    assert len(parts) == (len(NO_PARTS) if content == NONSENSE[-1] else 0)
    explorer.target = 1
    assert explorer.still().png


def test_relatives_of_grad_cam_are_offered_as_they_are():
    explorer = cw.Explorer(Gap(), pictures(), methods=["Grad-CAM", "LayerCAM"])
    assert explorer.offer["methods"]["Gap"] == ["Grad-CAM", "LayerCAM"]
    explorer.close()


def test_a_part_that_was_let_go_can_be_had_again(explorer, sent):
    filled(explorer)
    sent.clear()
    explorer._handle_custom_msg({"want": ["scores/0/1"]}, [])
    end = time.monotonic() + 30
    while not any(buffers for _, buffers in list(sent)):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert explorer.atlas.part("scores/0/1").pack() in [b for _, buffers in sent for b in buffers]


# -- an own method --------------------------------------------------------------------------------


def test_an_own_method_stands_beside_the_reference_with_its_difference():
    def mine(model, image, layer, target):
        return cw.grad_cam(model, image, layer, target, relu=False)

    explorer = cw.Explorer(Gap(), pictures(), methods={"mine": mine})
    assert explorer.offer["methods"]["Gap"][-2:] == ["mine", "mine − Grad-CAM"]
    explorer.method = "mine − Grad-CAM"
    caption = explorer.still().caption
    assert "largest difference" in caption
    assert float(caption.rpartition("difference ")[2]) < 1e-4
    explorer.close()


@pytest.mark.parametrize("end", [KeyboardInterrupt("stop"), SystemExit("stop")], ids=repr)
def test_an_own_method_that_ends_the_program_is_answered(end, sent):
    def mine(model, image, layer, target):
        raise end

    explorer = cw.Explorer(Gap(), pictures(), methods={"mine": mine})
    filled(explorer)
    sent.clear()
    key = "maps/0/0/0/mine"
    content = {"want": [key], "ask": 1, "model": 0, "image": 0, "shown": [key]}
    ((answer, _),) = answers(explorer, sent, content, [bytes(12 * 16 * 3)])
    assert answer == {"answer": 1, "view": None, "error": "stop"}
    assert any(b'"error": "stop"' in buffer for _, buffers in sent for buffer in buffers)
    explorer.close()


def test_an_exception_in_an_own_method_is_said_in_words():
    def mine(model, image, layer, target):
        return image[:, 7]

    explorer = cw.Explorer(Gap(), pictures(), methods={"mine": mine})
    explorer.method = "mine"
    with pytest.raises(ValueError, match=r"mine at blocks\.0: IndexError"):
        explorer.to_png("never.png")
    explorer.method = "Grad-CAM"
    assert explorer.still().png
    explorer.close()


# -- what it leaves behind ------------------------------------------------------------------------


def test_the_caller_s_model_is_untouched():
    model = Gap()
    model.train()
    model.blocks[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    explorer = cw.Explorer(model, pictures())
    filled(explorer)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    explorer.close()


def test_close_leaves_no_explorer_and_no_widget():
    before = set(_instances)
    explorer = cw.Explorer(Gap(50), pictures())
    assert len(set(_instances) - before) <= 3
    gone = weakref.ref(explorer)
    copied = weakref.ref(explorer.atlas._sitters[0].private)
    explorer.close()
    explorer.close()
    assert set(_instances) == before
    del explorer
    gc.collect()
    assert gone() is None
    assert copied() is None


@pytest.mark.parametrize("moment", ["_is_offered", "on_msg", "_look_at"])
def test_ctrl_c_while_it_is_built_leaves_no_widget(moment, monkeypatch):
    before, threads = set(_instances), threading.active_count()

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cw.Explorer, moment, interrupt)
        with pytest.raises(KeyboardInterrupt):
            cw.Explorer(Gap(), pictures())
    assert set(_instances) == before
    assert threading.active_count() <= threads + 1
    explorer = cw.Explorer(Gap(), pictures())
    filled(explorer)
    explorer.close()


def test_ctrl_c_while_it_closes_leaves_no_widget(monkeypatch):
    before, explorer = set(_instances), cw.Explorer(Gap(), pictures())
    close = explorer._filler.close

    def interrupted():
        close()
        raise KeyboardInterrupt

    monkeypatch.setattr(explorer._filler, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        explorer.close()
    assert set(_instances) == before


def test_a_hundred_made_and_closed_leave_nothing():
    model, images = Gap(), pictures()
    before, threads = set(_instances), threading.active_count()
    for _ in range(100):
        cw.Explorer(model, images).close()
    gc.collect()
    assert set(_instances) == before
    assert threading.active_count() <= threads + 1


def test_a_hundred_re_runs_without_closing_stay_small():
    model, images = Gap(), pictures()
    before, threads = set(_instances), threading.active_count()
    made = [cw.Explorer(model, images) for _ in range(100)]
    assert len(set(_instances) - before) <= 300
    assert len({id(each.atlas._sitters[0].private) for each in made}) == 1
    assert threading.active_count() <= threads + 1
    for each in made:
        each.close()
    assert set(_instances) == before


# -- what it says and writes ----------------------------------------------------------------------


def test_its_repr_is_one_readable_line(explorer):
    explorer.target = 0
    assert repr(explorer) == (
        "Explorer(Gap, 2 images, 2 layers, 3 classes; layer='blocks.1', target='ring', "
        "method='Grad-CAM', alpha=0.5)"
    )


def shown(explorer, monkeypatch) -> list[dict]:
    bundles = []
    monkeypatch.setattr(
        "camwidgets.explorer.widget.display", lambda bundle, raw: bundles.append(bundle)
    )
    explorer._ipython_display_()
    return bundles


def test_a_notebook_gets_the_widget_and_a_picture_for_when_it_is_dead(explorer, monkeypatch):
    widget, still = shown(explorer, monkeypatch)
    assert set(widget) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    assert widget["text/plain"] == repr(explorer)
    assert 'class="cw-still"' in still["text/html"]
    assert f'alt="{explorer.still().caption}"' in still["text/html"]
    png = base64.b64decode(still["text/html"].partition("base64,")[2].partition('"')[0])
    assert Image.open(io.BytesIO(png)).size[0] > 400


def test_a_closed_explorer_says_what_would_work(explorer, monkeypatch, tmp_path):
    explorer.target = 0
    explorer.close()
    says = r"This Explorer is closed: build it again, .*\*\*explorer.state\(\)"
    (bundle,) = shown(explorer, monkeypatch)
    assert re.search(rf"alpha=0.5; closed\)\n{says}", bundle["text/plain"])
    for use in (explorer.still, lambda: ipywidgets.HBox([explorer])):
        with pytest.raises(ValueError, match=says):
            use()
    for write in (explorer.to_png, explorer.to_html):
        with pytest.raises(ValueError, match=says):
            write(tmp_path / "a")
    for trait, value in {"target": 2, "layer": "blocks.0", "image_index": 1}.items():
        with pytest.warns(UserWarning, match=says):
            setattr(explorer, trait, value)
        assert explorer.state()[trait] == value
    with pytest.raises(Refused, match="0 to 2"):
        explorer.target = 3


def test_the_choices_of_a_closed_explorer_build_it_again(two):
    two.layer, two.target = "blocks.0", 2
    two.close()
    with pytest.warns(UserWarning, match="closed"):
        two.model_name = "B"
    assert (two.layer, two.target) == ("0", 0)
    assert repr(two).startswith("Explorer(A, B, ")
    again = cw.Explorer({"A": Gap(), "B": small()}, pictures(), **two.state())
    assert again.state() == two.state()
    again.close()


def test_a_state_is_the_caller_s_own(explorer):
    mine = {"target": 1}
    explorer.other = mine
    mine["target"] = explorer.state()["other"]["target"] = 99
    assert explorer.other == {"target": 1}


@pytest.mark.parametrize("use", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_explorer_cannot_be_copied(explorer, use):
    with pytest.raises(TypeError, match=r"cannot be copied or pickled: keep explorer.state\(\)"):
        use(explorer)


def pixels(explorer, path) -> np.ndarray:
    return np.asarray(Image.open(explorer.to_png(path)).convert("RGB")).astype(int)


def test_png_shows_the_present_choice_with_outline_and_caption(tmp_path):
    masks = np.zeros((2, 12, 16), bool)
    masks[:, 3:9, 4:10] = True
    explorer = cw.Explorer(Gap(), pictures(), masks=masks)
    first = pixels(explorer, tmp_path / "1.png")
    explorer.outline = False
    plain = pixels(explorer, tmp_path / "2.png")
    ys, xs = np.where((first != plain).any(axis=2))
    zoom = 448 // 16
    assert abs(ys.min() - (10 + 3 * zoom)) <= 3
    assert abs(ys.max() - (10 + 9 * zoom)) <= 3
    assert abs(xs.min() - (10 + 4 * zoom)) <= 3
    explorer.alpha = 0
    bare = pixels(explorer, tmp_path / "3.png")
    H = 12 * zoom
    assert (plain[10 : 10 + H] != bare[10 : 10 + H]).any()
    assert (bare[H + 14 :].min(axis=2) < 100).any(), "the caption"
    explorer.close()


@pytest.mark.parametrize("name", ["$x_1$ and $", "細胞", "😀", "a" * 300, "<b>&", "new\nline"])
def test_any_class_name_can_be_drawn(name, tmp_path, monkeypatch):
    explorer = cw.Explorer(Gap(1), pictures(1), [name])
    assert explorer.to_png(tmp_path / "a.png").stat().st_size > 1000
    assert explorer.to_html(tmp_path / "a.html").exists()
    assert shown(explorer, monkeypatch)
    explorer.close()


def test_a_name_that_the_font_lacks_becomes_its_number():
    assert export.plain_words("Grad-CAM · 細胞 · logit 1", 3) == "Grad-CAM · class 3 · logit 1"
    assert export.plain_words("Grad-CAM · Zürich", 3) == "Grad-CAM · Zürich"


def test_the_caption_says_what_the_model_says():
    model, images = Gap(), pictures()
    masks = np.zeros((2, 12, 16), bool)
    masks[:, 3:9, 4:10] = True
    explorer = cw.Explorer(model, images, ["ring", "disc", "cross"], masks=masks)
    heat = cw.upsample(cw.grad_cam(model, tensor(images[:1])), (12, 16))[0]
    y, x = divmod(int(heat.argmax()), 16)
    share = heat[torch.from_numpy(masks[0])].sum() / heat.sum()
    with torch.no_grad():
        scores = model.eval()(tensor(images[:1]))[0]
    words = explorer.still().caption.split(" · ")
    assert words[:3] == ["Grad-CAM", "blocks.1", ["ring", "disc", "cross"][scores.argmax()]]
    assert words[3] == f"logit {float(scores.max()):.3g}"
    assert words[4].startswith("hottest ")
    assert words[4].endswith(f" at ({x}, {y})")
    assert float(words[4].split()[1]) == pytest.approx(float(heat.max()), rel=6e-3)
    assert words[5] == f"{100 * share:.0f} % of the heat inside the outline"
    assert words[6] == ("pointing hit" if masks[0, y, x] else "pointing miss")
    explorer.close()


def test_the_code_gives_the_present_picture(tmp_path):
    masks = np.zeros((2, 12, 16), bool)
    masks[:, 3:9, 4:10] = True
    names = {"model": Gap(), "images": pictures(), "masks": masks, "cw": cw}
    names["class_names"] = ["it's", 'a "b"', "c"]
    explorer = cw.Explorer(
        names["model"], names["images"], names["class_names"], masks=masks, layers=["blocks.0"]
    )
    first = explorer.code()
    assert first == "cw.Explorer(model, images, class_names, layers=['blocks.0'], masks=masks)"
    explorer.image_index, explorer.target, explorer.method = 1, 2, "guided Grad-CAM"
    explorer.alpha, explorer.signed, explorer.threshold = 0.35, True, 0.1
    again = eval(explorer.code(), names)
    assert again.still() == explorer.still()
    assert again.state() == explorer.state()
    again.close()
    explorer.close()


def test_the_code_of_any_state_gives_its_picture_and_nothing_in_it_is_idle():
    """Random states of two models, of every method and display."""
    draw = random.Random(0)

    def mine(model, image, layer, target):
        return cw.grad_cam(model, image, layer, target) - 0.1

    names = {"models": {"A": Gap(), "B": small()}, "images": pictures(), "cw": cw}
    names |= {"labels": [1, 0], "methods": {"mine": mine}}
    made = {"labels": names["labels"], "methods": names["methods"]}
    explorer = cw.Explorer(names["models"], names["images"], **made)
    for _ in range(25):
        model = explorer.model_name = draw.choice(explorer.offer["models"])
        explorer.image_index = draw.randrange(2)
        explorer.method = draw.choice(explorer.offer["methods"][model])
        explorer.layer = draw.choice(explorer.offer["layers"][model])
        explorer.target = draw.randrange(explorer.offer["classes"][model])
        explorer.alpha, explorer.threshold = draw.choice([0, 0.35, 0.5, 1]), draw.choice([0, 0.25])
        explorer.colormap = draw.choice(explorer.offer["colormaps"])
        explorer.opacity = draw.choice(["heat", "constant"])
        explorer.scale = draw.choice(["own", "all"])
        explorer.signed, explorer.outline = draw.random() < 0.5, draw.random() < 0.5
        explorer.view = draw.choice(["one", "compare", "overview", "ask"])
        if explorer.view == "compare":
            explorer.other = {"target": draw.randrange(2), "method": "Grad-CAM"}
        code = explorer.code()
        again = eval(code, names)
        assert again.still() == explorer.still(), code
        kept = {**explorer.state(), "other": {}} if explorer.view != "compare" else explorer.state()
        assert again.state() == kept, code
        said = {w.arg: ast.unparse(w.value) for w in ast.parse(code, mode="eval").body.keywords}
        of_model = {"model_name", "layer", "method", "target"} if "model_name" in said else set()
        for idle in said.keys() - made.keys() - of_model:
            fewer = ", ".join(f"{name}={value}" for name, value in said.items() if name != idle)
            other = eval(f"cw.Explorer(models, images, {fewer})", names)
            assert other.state() != again.state(), (idle, code)
            other.close()
        again.close()
    explorer.close()


def brightest() -> nn.Module:
    """Its class is the brightest channel."""
    conv = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.dirac_(conv.weight)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("begun", [{}, {"image_index": 1}, {"model_name": "B", "target": 1}])
def test_code_begins_where_a_new_explorer_does(begun):
    """At another picture or model that is another class or layer, however this one began."""
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[range(3), ..., range(3)] = 200
    names = {"models": {"A": brightest(), "B": small()}, "images": images, "cw": cw}
    explorer = cw.Explorer(names["models"], images, **begun)
    for model, i, c in [("A", 0, 0), ("A", 1, 0), ("A", 1, 1), ("A", 2, 1), ("B", 0, 1)]:
        explorer.model_name, explorer.image_index, explorer.target = model, i, c
        again = eval(explorer.code(), names)
        assert again.state() == explorer.state(), explorer.code()
        again.close()
    explorer.close()
    assert eval(explorer.code(), names).state() == explorer.state()


@pytest.mark.parametrize("title", ["[[data]] [[module]]", "  ", 7, "</title><b>"])
def test_any_title_and_name_leave_the_page_whole(title, tmp_path):
    explorer = cw.Explorer(Gap(), pictures(), ["[[module]]", "</script>", "[[title]]"])
    plain = explorer.to_html(tmp_path / "a.html").read_text()
    text = explorer.to_html(tmp_path / "b.html", title=title).read_text()
    assert text.partition("<style>")[2].partition("<h1>")[0] in plain
    assert text.count("openFile(JSON") == 1
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert data["state"]["offer"]["names"]["Gap"] == ["[[module]]", "</script>", "[[title]]"]
    assert "<title>  " not in text
    explorer.close()


def test_a_page_of_several_models_names_them(two, tmp_path):
    text = two.to_html(tmp_path / "page.html").read_text()
    assert "<title>What A and B look at</title>" in text


def test_html_is_one_file_with_everything_and_without_the_network(explorer, tmp_path):
    text = explorer.to_html(tmp_path / "page.html", title="A <title>").read_text()
    assert "<title>A &lt;title&gt;</title>" in text
    assert export.LEGEND in text
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    packed = {base64.b64decode(part) for part in data["parts"]}
    for key in explorer.atlas.wanted(0, 0, 0, "Grad-CAM"):
        assert explorer.atlas.part(key).pack() in packed
    assert data["state"]["layer"] == explorer.layer
    for outside in ("http://", "https://", "import "):
        assert outside not in text.replace("http://www.w3.org/2000/svg", "")


# -- errors ---------------------------------------------------------------------------------------


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
        ((Gap(), pictures(), ["a"]), {}, ValueError, "3 names"),
        ((Gap(), pictures()), {"layers": ["conv9"]}, ValueError, "'blocks.0'"),
        ((Gap(), pictures()), {"layers": []}, ValueError, "layers is empty"),
        ((Gap(), pictures()), {"methods": ["gradcam"]}, ValueError, "'Grad-CAM'"),
        ((Gap(), pictures()), {"methods": [cw.grad_cam]}, TypeError, "methods={'mine': function}"),
        (([Gap(), Gap()], pictures()), {}, TypeError, "need names: Explorer"),
        (("model", pictures()), {}, TypeError, "nn.Module"),
        (({}, pictures()), {}, ValueError, "at least one model"),
        ((nn.ModuleList([Gap()]), pictures()), {}, TypeError, "need names: Explorer"),
        (({"1": Gap(), 1: Gap()}, pictures()), {}, ValueError, "a name of its own"),
        (({" ": Gap()}, pictures()), {}, ValueError, "not empty"),
        ((nan_model(), pictures()), {}, ValueError, "NaN"),
        ((Dictionary(), pictures()), {}, ValueError, "class Logits"),
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
            "called none .*silu",
        ),
    ],
)
def test_bad_arguments_are_answered_in_a_sentence(arguments, keywords, error, says):
    before = set(_instances)
    with pytest.raises(error, match=says):
        cw.Explorer(*arguments, **keywords)
    assert set(_instances) == before


def test_the_atlas_s_keys_are_those_of_the_display(explorer):
    which = Which(0, 0, 1, "blocks.1", "guided Grad-CAM")
    from camwidgets.explorer.display import keys

    assert set(keys(which)) <= set(explorer.atlas.wanted(0, 0, 1, "Grad-CAM"))
