"""The atlas against `maps`, computed one by one; its packing, order and sentences."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from nets import IMAGE, Gap, gap_net, seeded, worked_gap_net
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import camwidgets as cw
from camwidgets import maps
from camwidgets.explorer import atlas as atlas_module
from camwidgets.explorer.atlas import Atlas, Part, packed
from camwidgets.explorer.inputs import prepare


def pictures(count: int = 2, height: int = 12, width: int = 16) -> np.ndarray:
    generator = np.random.default_rng(count)
    return generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def block(inputs: int, outputs: int, pool: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, *[nn.MaxPool2d(2)] * pool)


def deep(classes: int = 3) -> Gap:
    return Gap(classes, blocks=3)


class Functional(nn.Module):
    """In-place functional ReLUs, a skip connection and a deep head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.hidden = nn.Linear(6, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, images):
        x = F.relu(self.first(images))
        x = torch.relu_(self.branch(x).add_(x))
        x = F.adaptive_avg_pool2d(F.relu(self.last(x)), 1).flatten(1)
        return self.out(F.relu(self.hidden(x)))


class Count(nn.Module):
    """Regression, (N,)."""

    def __init__(self):
        super().__init__()
        self.body = block(3, 4)
        self.density = nn.Conv2d(4, 1, 1)

    def forward(self, images):
        return self.density(self.body(images)).sum(dim=(1, 2, 3))


def of(model: nn.Module, count: int = 2, **keywords) -> Atlas:
    return Atlas({"net": model}, prepare(pictures(count)), **keywords)


def tensor(i: int, count: int = 2) -> Tensor:
    return torch.from_numpy(pictures(count)[i : i + 1]).permute(0, 3, 1, 2) / 255


# -- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [deep, Functional, Count])
def test_every_map_is_the_one_that_maps_computes(make) -> None:
    model = seeded(make)
    every = ["Grad-CAM", "HiResCAM", "LayerCAM", "Grad-CAM++", "Eigen-CAM", "guided backprop"]
    atlas = of(model, methods=[*every, *(["CAM"] if make is deep else [])])
    for i in range(2):
        x = tensor(i)
        for c in range(atlas.offer["classes"]["net"]):
            target = None if make is Count else c
            functions = {
                "Grad-CAM": lambda k, x=x, t=target: cw.grad_cam(model, x, k, t, relu=False),
                "HiResCAM": lambda k, x=x, t=target: maps.hires_cam(model, x, k, t, relu=False),
                "LayerCAM": lambda k, x=x, t=target: maps.layer_cam(model, x, k, t),
                "Grad-CAM++": lambda k, x=x, t=target: maps.grad_cam_plus_plus(model, x, k, t),
                "Eigen-CAM": lambda k, x=x, t=target: maps.eigen_cam(model, x, k, t, relu=False),
            }
            for method, function in functions.items():
                part = atlas.part(f"maps/0/{i}/{c}/{method}")
                assert [m["layer"] for m in part.header["maps"]] == atlas.offer["layers"]["net"]
                for layer, heat in zip(atlas.offer["layers"]["net"], part.raw(), strict=True):
                    close(heat, function(layer)[0])
            if make is deep:
                part = atlas.part(f"maps/0/{i}/{c}/CAM")
                assert [m["layer"] for m in part.header["maps"]] == [None]
                close(part.raw()[0], cw.cam(model, x, c)[0])
            guided = atlas.part(f"guided/0/{i}/{c}")
            assert guided.header["shape"] == [3, 12, 16]
            close(guided.raw()[0], cw.guided_backprop(model, x, target)[0])


def close(heat: np.ndarray, expected: Tensor) -> None:
    """As good as 16 bits can say it."""
    assert heat.shape == expected.shape
    peak = float(expected.abs().max())
    np.testing.assert_allclose(heat, expected.numpy(), rtol=0, atol=peak * 2e-5 + 1e-12)


def test_worked_values() -> None:
    """The map of `nets.worked_gap_net`: A = (IMAGE, ReLU(3 - IMAGE)), y = A·w / 4 + b."""
    atlas = Atlas({"net": worked_gap_net()}, prepare(IMAGE[0].clone()), methods=["Grad-CAM", "CAM"])
    scores = atlas.part("scores/0/0").header
    assert scores["classes"] == [0, 1]
    assert scores["scores"] == [1.5, -0.5]
    assert scores["shares"] == pytest.approx([0.880797, 0.119203], 1e-5)
    cam = np.array([[1 - 4, 2 - 2], [3, 4]])
    np.testing.assert_allclose(atlas.part("maps/0/0/0/CAM").raw()[0], cam, atol=1e-4)
    grad_cam = atlas.part("maps/0/0/0/Grad-CAM")
    assert grad_cam.header["maps"][-1]["shape"] == [2, 2]
    np.testing.assert_allclose(grad_cam.raw()[-1], cam / 4, atol=1e-4)
    assert grad_cam.header["score"] == 1.5
    assert grad_cam.header["share"] == pytest.approx(0.880797, 1e-5)


def test_guided_grad_cam_is_a_product_of_two_parts_to_a_hundredth_of_a_percent() -> None:
    model = seeded(deep)
    atlas = of(model)
    for k, layer in enumerate(atlas.offer["layers"]["net"]):
        expected = cw.guided_grad_cam(model, tensor(0), layer, 0)[0]
        assert expected.any()
        where = torch.from_numpy(atlas.part("maps/0/0/0/Grad-CAM").raw()[k]).relu()
        what = torch.from_numpy(atlas.part("guided/0/0/0").raw()[0])
        off = cw.upsample(where, (12, 16)) * what - expected
        assert float(off.abs().max()) < 1e-4 * float(expected.abs().max())


def test_what_follows_the_last_attention_is_no_layer_to_show() -> None:
    class Tokens(nn.Module):
        """A class token and patches; behind the mixing the class token alone counts."""

        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, stride=4)
            self.token = nn.Parameter(torch.ones(1, 1, 8))
            self.mix = nn.Linear(13, 13)
            self.last = nn.Linear(8, 8)
            self.out = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).mT
            tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
            tokens = tokens + self.mix(tokens.mT).mT
            return self.out(self.last(tokens)[:, 0])

    atlas = of(seeded(Tokens))
    assert atlas.offer["layers"]["net"] == ["patches"]
    assert np.abs(atlas.part("maps/0/0/1/Grad-CAM").raw()[0]).max() > 0


def test_a_vision_transformer() -> None:
    """Its last layers are left out: there the class token alone counts."""
    models = pytest.importorskip("torchvision.models")
    sizes = {"image_size": 16, "patch_size": 4, "hidden_dim": 8, "mlp_dim": 8}
    model = models.VisionTransformer(**sizes, num_layers=3, num_heads=2, num_classes=3).eval()
    nn.init.normal_(model.heads.head.weight)
    images = pictures(1, 16, 16)
    atlas = Atlas({"net": model}, prepare(images))
    blocks = [f"encoder.layers.encoder_layer_{k}" for k in range(2)]
    assert atlas.offer["layers"]["net"] == ["conv_proj", *blocks]
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    for layer, heat in zip(blocks, atlas.part("maps/0/0/2/Grad-CAM").raw()[1:], strict=True):
        close(heat, cw.grad_cam(model, x, layer, 2, relu=False)[0])


# -- packing ----------------------------------------------------------------------------------


def unpacked(data: bytes) -> tuple[dict, memoryview]:
    length = int.from_bytes(data[:4], "little")
    assert length % 4 == 0
    return json.loads(data[4 : 4 + length]), memoryview(data)[4 + length :]


def test_the_packed_picture_reads_back() -> None:
    mask = pictures()[0, ..., 0] > 128
    inputs = prepare(pictures(), masks=[mask, None], labels=[2, None])
    atlas = Atlas({"net": deep()}, inputs)
    header, body = unpacked(atlas.part("picture/0").pack())
    assert header == {
        "key": "picture/0",
        "size": [12, 16],
        "mask": True,
        "truth": 2,
        "title": None,
    }
    assert bytes(body) == pictures()[0].tobytes() + mask.astype(np.uint8).tobytes()
    header, body = unpacked(atlas.part("picture/1").pack())
    assert (header["mask"], header["truth"], len(body)) == (False, None, 12 * 16 * 3)


def test_the_packed_maps_read_back() -> None:
    part = of(deep()).part("maps/0/1/2/Grad-CAM")
    header, body = unpacked(part.pack())
    assert header["key"] == "maps/0/1/2/Grad-CAM"
    place = 0
    for described, expected in zip(header["maps"], part.raw(), strict=True):
        h, w = described["shape"]
        steps = np.frombuffer(body[place : place + 2 * h * w], "<i2").reshape(h, w)
        assert np.array_equal(steps * described["unit"], expected)
        place += 2 * h * w
    assert place == len(body)


def test_the_packed_guided_backpropagation_reads_back() -> None:
    part = of(deep()).part("guided/0/0/1")
    header, body = unpacked(part.pack())
    steps = np.frombuffer(body, "<i2").reshape(header["shape"])
    assert np.array_equal(steps * header["unit"], part.raw()[0])
    assert part.raw()[0].min() < 0 < part.raw()[0].max()


@pytest.mark.parametrize("peak", [1.0, 1e-30, 1e30, 3e-45])
def test_sixteen_bits_and_a_sign(peak: float) -> None:
    values = torch.tensor([[1.0, -1.0, 0.5, 0.0]], dtype=torch.float64) * peak
    steps, unit = packed(values)
    assert steps.dtype == np.dtype("<i2")
    assert steps.tolist() == [[32767, -32767, 16384, 0]]
    np.testing.assert_allclose(steps * unit, values, atol=peak / 60_000)


def test_a_blank_map_is_blank() -> None:
    steps, unit = packed(torch.zeros(2, 3))
    assert unit == 0
    assert not steps.any()
    part = Part("maps/0/0/0/CAM", {"maps": [{"unit": unit}]}, (steps,))
    assert not part.raw()[0].any()


# -- what is offered --------------------------------------------------------------------------


def test_the_offer() -> None:
    offer = of(deep(), class_names=["ring", "$x$ 😀", "环"]).offer
    assert json.loads(json.dumps(offer)) == {
        "models": ["net"],
        "images": 2,
        "layers": {"net": ["blocks.0", "blocks.1", "blocks.2"]},
        "methods": {"net": ["Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM"]},
        "names": {"net": ["ring", "$x$ 😀", "环"]},
        "classes": {"net": 3},
        "few": {"net": True},
        "scoreName": {"net": "logit"},
        "activation": {"net": "softmax"},
        "note": "",
        "labels": [None, None],
    }


def test_of_many_classes_the_highest_ten_are_offered_and_any_other_can_be_had() -> None:
    model = seeded(lambda: deep(50))
    atlas = of(model)
    for i in range(2):
        header = atlas.part(f"scores/0/{i}").header
        with torch.no_grad():
            highest, order = model(tensor(i))[0].topk(10)
        assert header["classes"] == order.tolist()
        np.testing.assert_allclose(header["scores"], highest, rtol=1e-4)
        assert sum(header["shares"]) < 1
    other = next(c for c in range(50) if c not in header["classes"])
    part = atlas.part(f"maps/0/1/{other}/Grad-CAM")
    close(part.raw()[-1], cw.grad_cam(model, tensor(1), "blocks.2", other, relu=False)[0])
    with torch.no_grad():
        assert part.header["score"] == pytest.approx(float(model(tensor(1))[0, other]), 1e-4)


def test_cam_is_offered_where_the_head_suits_it() -> None:
    assert "CAM" not in of(Functional()).offer["methods"]["net"]
    with pytest.raises(ValueError, match=r"has: Linear → Linear.*Use grad_cam"):
        of(Functional(), methods=["CAM"])
    early = of(deep(), layers=["blocks.0"])
    assert "CAM" in early.offer["methods"]["net"]
    assert early.offer["layers"]["net"] == ["blocks.0"]
    assert [m["layer"] for m in early.part("maps/0/0/0/Grad-CAM").header["maps"]] == ["blocks.0"]


def test_without_relu_the_guided_methods_are_left_out_and_the_note_says_why() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(560, 2))
    offer = of(model).offer
    assert offer["methods"]["net"] == ["Grad-CAM"]
    assert "guided methods are left out" in offer["note"]
    assert "silu" in offer["note"]
    with pytest.raises(ValueError, match="called none"):
        of(model, methods=["guided backprop"])


class Beside(nn.Module):
    """A map meets a constant tensor, by which some operations are told apart."""

    def __init__(self, how: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.how = gap_net(), how
        self.register_buffer("constant", torch.zeros(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net[3:](self.how(self.net[:3](x), self.constant))


@pytest.mark.parametrize("how", [torch.maximum, torch.add, lambda x, c: x * (c + 1)])
def test_guided_methods_beside_a_constant_tensor(how: Callable) -> None:
    model = Beside(how).eval()
    atlas = of(model)
    assert "guided backprop" in atlas.offer["methods"]["net"]
    expected = cw.guided_backprop(model, tensor(0), 1)[0]
    close(atlas.part("guided/0/0/1").raw()[0], expected)


def test_where_some_activations_are_no_relus_the_note_says_so() -> None:
    model = nn.Sequential(*gap_net())
    model[2] = nn.Sigmoid()
    assert "guided in 1 of 2 activations" in of(model).offer["note"]


def test_layers_by_name_or_module_in_any_order() -> None:
    model = deep()
    atlas = of(model, layers=[model.blocks[2], "blocks.0.0"])
    assert atlas.offer["layers"] == {"net": ["blocks.0.0", "blocks.2"]}


def test_several_models_share_the_pictures_and_have_their_own_layers_and_names() -> None:
    a, b = seeded(deep), seeded(lambda: deep(2), seed=5)
    atlas = Atlas(
        {"a": a, "b": b},
        prepare(pictures()),
        layers={"a": ["blocks.2"], "b": ["blocks.1", "blocks.2"]},
        class_names={"a": ["x", "y", "z"], "b": {"no": 0, "yes": 1}},
    )
    assert atlas.offer["layers"] == {"a": ["blocks.2"], "b": ["blocks.1", "blocks.2"]}
    assert atlas.offer["names"] == {"a": ["x", "y", "z"], "b": ["no", "yes"]}
    for m, model in enumerate((a, b)):
        heat = atlas.part(f"maps/{m}/1/1/Grad-CAM").raw()[-1]
        close(heat, cw.grad_cam(model, tensor(1), "blocks.2", 1, relu=False)[0])


def test_labels_by_number_or_name() -> None:
    def truth(labels, **keywords) -> list:
        inputs = prepare(pictures(), labels=labels)
        return Atlas({"net": deep()}, inputs, **keywords).offer["labels"]

    assert truth([2, 0]) == [2, 0]
    assert truth(["y", None], class_names=["x", "y", "z"]) == [1, None]
    assert truth(["y", None]) == [None, None]
    with pytest.raises(ValueError, match=r"Image 1 has the label 3.*3 classes"):
        truth([0, 3])
    with pytest.raises(ValueError, match=r"Image 0 has the label 'w'"):
        truth(["w", 0], class_names=["x", "y", "z"])
    counted = Atlas({"net": Count()}, prepare(pictures(), labels=[7, 8]))
    assert counted.offer["labels"] == [None, None]


def test_class_names_of_a_data_set_are_taken_if_they_are_as_many() -> None:
    def names(count: int, model: nn.Module, **keywords) -> dict:
        inputs = prepare(pictures())
        inputs.class_names = [f"c{k}" for k in range(count)]
        return Atlas({"net": model}, inputs, **keywords).offer["names"]["net"]

    assert names(3, deep()) == ["c0", "c1", "c2"]
    assert names(4, deep()) == ["class 0", "class 1", "class 2"]
    assert names(2, deep(1)) == ["c0", "c1"]
    assert names(3, Count()) == ["output"]
    assert names(3, deep(), class_names=["x", "y", "z"]) == ["x", "y", "z"]


def test_names_and_layers_for_some_of_the_models() -> None:
    models = {"A": deep(), "1": seeded(lambda: Gap(2))}
    atlas = Atlas(models, prepare(pictures(1)), class_names={1: ["x", "y"]})
    assert atlas.offer["names"] == {"A": ["class 0", "class 1", "class 2"], "1": ["x", "y"]}
    atlas = Atlas(models, prepare(pictures(1)), layers={"A": ["blocks.0"]})
    assert atlas.offer["layers"] == {"A": ["blocks.0"], "1": ["blocks.0", "blocks.1"]}
    with pytest.raises(ValueError, match="class_names names 'B', which is none of the models"):
        Atlas(models, prepare(pictures(1)), class_names={"A": ["a", "b", "c"], "B": ["x", "y"]})
    with pytest.raises(ValueError, match="Model '1': class_names must hold 2 names"):
        Atlas(models, prepare(pictures(1)), class_names=["a", "b", "c"])


def test_of_several_models_the_one_at_fault_is_named() -> None:
    with pytest.raises(ValueError, match=r"Model 'b': .*'blocks.9'"):
        Atlas(
            {"a": deep(), "b": deep()},
            prepare(pictures()),
            layers={"a": ["blocks.0"], "b": ["blocks.9"]},
        )
    with pytest.raises(ValueError, match=r"^(?!Image 0).*'blocks.9'"):
        of(deep(), layers=["blocks.9"])


def test_a_gray_file_suits_a_gray_model(tmp_path) -> None:
    gray = pictures()[0, ..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    model = seeded(lambda: nn.Sequential(block(1, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    atlas = Atlas({"net": model}, prepare(tmp_path / "gray.png"))
    expected = Atlas({"net": model}, prepare(gray)).part("scores/0/0").header["scores"]
    assert atlas.part("scores/0/0").header["scores"] == expected
    with pytest.raises(ValueError, match=r"expected input.*1 channels"):
        of(model)


# -- own methods ------------------------------------------------------------------------------


def test_a_method_of_one_s_own_is_shown_like_any_other() -> None:
    model = seeded(lambda: nn.Sequential(deep(), nn.Softmax(1)))
    asked = []

    def mine(net, image, layer, c):
        asked.append((layer, c))
        kept = {}
        module = dict(net.named_modules())[layer]
        module.register_forward_hook(lambda module, given, output: kept.update(A=output))
        score = net(image)[0, c]
        score.backward(inputs=[kept["A"]])
        g = kept["A"].grad
        return (g.mean((2, 3), keepdim=True) * kept["A"]).sum(1)

    atlas = of(model, methods={"mine": mine, "a/b": lambda *_: np.ones((2, 3))})
    built_in = ["Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM"]
    assert atlas.offer["methods"] == {"net": [*built_in, "mine", "a/b"]}
    assert asked == []
    for _ in range(2):
        part = atlas.part("maps/0/1/2/mine")
    assert asked == [(layer, 2) for layer in atlas.offer["layers"]["net"]]
    reference = atlas.part("maps/0/1/2/Grad-CAM")
    for ours, theirs in zip(part.raw(), reference.raw(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    assert part.header["score"] == reference.header["score"]
    assert (atlas.part("maps/0/0/0/a/b").raw()[0] == 1).all()


def test_a_method_of_one_s_own_cannot_harm_the_model() -> None:
    def careless(net, image, layer, c):
        with torch.no_grad():
            for weight in net.parameters():
                weight.zero_()
        net.train()(image.mul_(0))
        return torch.ones(1, 4, 4)

    atlas = of(seeded(deep), methods={"careless": careless})
    before = atlas.part("maps/0/1/1/Grad-CAM").raw()
    atlas.part("maps/0/1/1/careless")
    atlas._parts.clear()
    atlas._recordings.clear()
    for one, other in zip(before, atlas.part("maps/0/1/1/Grad-CAM").raw(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (lambda *_: 1 / 0, r"mine at blocks.0: ZeroDivisionError: division by zero"),
        (lambda *_: torch.ones(3), r"must give a map \(h, w\), not \(3,\)"),
        (lambda *_: None, "mine at blocks.0: .*gave a NoneType: is its `return` missing"),
        (lambda *_: (torch.ones(2, 2), 1), "gave a tuple"),
        (lambda *_: 1j * torch.ones(2, 2), "real numbers"),
        (lambda *_: torch.full((2, 2), torch.nan), "NaN.*division by 0"),
        (lambda model: model, "TypeError"),
    ],
)
def test_what_goes_wrong_in_it_is_said_in_its_part(method, says: str) -> None:
    part = of(deep(), methods={"mine": method}).part("maps/0/0/1/mine")
    assert part.arrays == ()
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(part.error)


def test_own_methods_that_are_none() -> None:
    with pytest.raises(TypeError, match="'mine' is str"):
        of(deep(), methods={"mine": "Grad-CAM"})
    with pytest.raises(TypeError, match="'CAM' is a built-in one"):
        of(deep(), methods={"CAM": lambda *_: None})
    for name in ("", "guided", "x − Grad-CAM"):
        with pytest.raises(ValueError, match="cannot be called"):
            of(deep(), methods={name: lambda *_: None})
    for names in (3, [3]):
        with pytest.raises(TypeError, match=r"names or \{name: function\}, not 3"):
            of(deep(), methods=names)


def test_an_array_turned_round_is_a_map() -> None:
    heat = np.arange(6.0).reshape(2, 3)
    (found,) = (
        of(deep(), methods={"mine": lambda *_: heat[::-1]}, layers=["blocks.0"])
        .part("maps/0/0/1/mine")
        .raw()
    )
    np.testing.assert_allclose(found, heat[::-1], atol=1e-3)


# -- what it costs ----------------------------------------------------------------------------


class Counted(nn.Module):
    """Counts its forward passes in a place that copies share."""

    def __init__(self, model: nn.Module, passes: list) -> None:
        super().__init__()
        self.model, self.passes = model, (passes.append,)

    def forward(self, x: Tensor) -> Tensor:
        self.passes[0](len(x))
        return self.model(x)


def test_the_first_picture_costs_two_forward_passes_and_one_backward_pass(monkeypatch) -> None:
    passes: list[int] = []
    backward: list[int] = []
    gradients = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *a, **k: backward.append(1) or gradients(*a, **k)
    )
    atlas = of(Counted(deep(1000), passes), count=20)
    scores = atlas.part("scores/0/0").header
    best = scores["classes"][0]
    assert [p.key for p in map(atlas.part, ("picture/0", f"maps/0/0/{best}/Grad-CAM"))]
    assert (len(passes), len(backward)) == (2, 1)
    for c in scores["classes"]:
        atlas.part(f"maps/0/0/{c}/Grad-CAM")
        atlas.part(f"guided/0/0/{c}")
    assert (len(passes), len(backward)) == (2, 20)
    atlas.part("scores/0/7")
    assert len(passes) == 3


def test_what_is_kept_is_bounded_and_what_went_comes_again(monkeypatch) -> None:
    monkeypatch.setattr(atlas_module, "KEPT_BYTES", 12_000)
    atlas = of(seeded(deep), count=8)
    first = atlas.part("maps/0/0/1/Grad-CAM").raw()
    for i in range(8):
        atlas.part(f"maps/0/{i}/1/Grad-CAM")
        atlas.part(f"picture/{i}")
        assert atlas._bytes == sum(part.size for part in atlas._parts.values()) <= 12_000
    atlas._keep(atlas.part("picture/7"))
    assert atlas._bytes == sum(part.size for part in atlas._parts.values())
    assert len(atlas._recordings) <= 2
    assert atlas.have("maps/0/0/1/Grad-CAM") is None
    for one, other in zip(first, atlas.part("maps/0/0/1/Grad-CAM").raw(), strict=True):
        assert np.array_equal(one, other)


def test_many_threads_get_the_same_numbers() -> None:
    model = seeded(deep)
    atlas, alone = of(model, count=4), of(model, count=4)
    keys = [f"maps/0/{i}/{c}/Grad-CAM" for i in range(4) for c in range(3)]
    found: list[Part] = []
    threads = [
        threading.Thread(target=lambda k=k: found.extend(atlas.part(key) for key in keys[k:]))
        for k in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == sum(len(keys) - k for k in range(5))
    for part in found:
        assert part.pack() == alone.part(part.key).pack()


def test_after_close_there_is_a_sentence() -> None:
    atlas = of(deep())
    atlas.close()
    with pytest.raises(ValueError, match="closed: build it again"):
        atlas.part("scores/0/1")


# -- order ------------------------------------------------------------------------------------


def test_what_is_looked_at_comes_first_and_everything_comes() -> None:
    atlas = Atlas({"a": deep(), "b": deep()}, prepare(pictures(3)))
    atlas.part("scores/1/2")
    keys = []
    for key in atlas.wanted(1, 2, 0, "guided Grad-CAM"):
        atlas.part(key)
        keys.append(key)
    assert keys[:4] == ["picture/2", "scores/1/2", "guided/1/2/0", "maps/1/2/0/Grad-CAM"]
    own = [k for k, key in enumerate(keys) if key.startswith(("maps/1/2", "guided/1/2"))]
    others = [k for k, key in enumerate(keys) if key.startswith(("maps/0", "maps/1/0"))]
    assert max(own[:9]) < min(others)
    every = {
        *(f"picture/{i}" for i in range(3)),
        *(f"scores/{m}/{i}" for m in range(2) for i in range(3)),
        *(
            key
            for m in range(2)
            for i in range(3)
            for c in range(3)
            for key in (
                f"maps/{m}/{i}/{c}/Grad-CAM",
                f"maps/{m}/{i}/{c}/CAM",
                f"guided/{m}/{i}/{c}",
            )
        ),
    }
    assert set(keys) == every
    near = list(dict.fromkeys(atlas.wanted(1, 2, 0, "CAM", ahead=False)))
    assert near[2] == "maps/1/2/0/CAM"
    assert len(near) == atlas.count(1, ahead=False) == 11


def test_the_maps_of_the_highest_classes_come_first() -> None:
    atlas = of(seeded(lambda: deep(50)))
    classes = atlas.part("scores/0/0").header["classes"]
    keys = [k for k in atlas.wanted(0, 0, classes[3], "Grad-CAM") if "/0/0/" in k]
    grad_cams = list(dict.fromkeys(k for k in keys if k.endswith("Grad-CAM")))
    order = [classes[3], *(c for c in classes if c != classes[3])]
    assert grad_cams == [f"maps/0/0/{c}/Grad-CAM" for c in order]


# -- painted pictures -------------------------------------------------------------------------


def test_a_painted_picture_is_answered_as_if_it_had_been_given() -> None:
    model = seeded(deep)
    atlas = of(model)
    painted = pictures()[1].copy()
    painted[3:9, 2:8] = 128
    parts = {part.key: part for part in atlas.ask(0, 1, painted)}
    fresh = Atlas({"net": model}, prepare(painted))
    assert parts["asked/scores/0/1"].header["scores"] == pytest.approx(
        fresh.part("scores/0/0").header["scores"], rel=1e-4
    )
    for c in range(3):
        for method in ("Grad-CAM", "CAM"):
            asked = parts[f"asked/maps/0/1/{c}/{method}"].raw()
            for heat, expected in zip(
                asked, fresh.part(f"maps/0/0/{c}/{method}").raw(), strict=True
            ):
                close(heat, torch.from_numpy(expected))
    assert atlas.part("scores/0/1").header["scores"] != parts["asked/scores/0/1"].header["scores"]


def test_a_painted_picture_is_asked_about_the_classes_offered_for_the_first() -> None:
    atlas = of(seeded(lambda: deep(50)))
    classes = atlas.part("scores/0/0").header["classes"]
    asked = atlas.ask(0, 0, np.zeros((12, 16, 3), np.uint8))
    assert asked[0].header["classes"] == classes
    others = [c for c in range(50) if c not in classes][:2]
    shown = f"maps/0/0/{others[1]}/CAM"
    asked = atlas.ask(0, 0, np.zeros((12, 16, 3), np.uint8), [shown], others[:1])
    assert asked[0].header["classes"] == [*classes, *others]
    with pytest.raises(ValueError, match=r"uint8 \(12, 16, 3\)"):
        atlas.ask(0, 0, np.zeros((4, 4, 3), np.uint8))


def test_what_is_shown_of_a_painted_picture_may_be_guided_or_a_method_of_the_user_s() -> None:
    def stain(model: nn.Module, image: Tensor, layer: str, target: int) -> Tensor:
        return (target + 1) * image[0, 2]

    model, painted = seeded(deep), 255 - pictures()[1]
    methods = {"stain": stain}
    atlas = Atlas({"net": model}, prepare(pictures()), methods=methods)
    fresh = Atlas({"net": model}, prepare(painted), methods=methods)
    shown = ["guided/0/1/2", "maps/0/1/1/stain", "maps/0/1/2/Grad-CAM"]
    parts = [part.key for part in atlas.ask(0, 1, painted, shown)]
    assert len(set(parts)) == len(parts)
    assert {f"asked/{key}" for key in shown} <= set(parts)
    found = {part.key: part for part in atlas.ask(0, 1, painted, shown)}
    for key in shown:
        for heat, expected in zip(
            found[f"asked/{key}"].raw(),
            fresh.part(key.replace("/0/1/", "/0/0/")).raw(),
            strict=True,
        ):
            close(heat, torch.from_numpy(expected))


# -- sentences --------------------------------------------------------------------------------


class Breaks(nn.Module):
    """Gives NaN, or raises, for a picture that begins with white."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.model, self.how = deep(), how

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        if x[0, :, 0, 0].min() == 1:
            if self.how == "raises":
                raise RuntimeError("no such picture")
            y = y * torch.nan
        return y


@pytest.mark.parametrize(("how", "says"), [("raises", "no such picture"), ("NaN", "NaN")])
def test_what_goes_wrong_with_one_picture_names_it_and_the_rest_goes_on(how, says) -> None:
    images = pictures(4)
    images[2, 0, 0] = 255
    atlas = Atlas({"net": Breaks(how)}, prepare(images))
    for kind in ("scores/0/2", "maps/0/2/0/Grad-CAM", "guided/0/2/1"):
        with pytest.raises(ValueError, match=f"(?s)Image 2: .*{says}"):
            atlas.part(kind)
    assert len(atlas.part("scores/0/3").header["scores"]) == 3
    with pytest.raises(ValueError, match=f"(?s)Image 0: .*{says}"):
        Atlas({"net": Breaks(how)}, prepare(images[2:]))


def nan_model() -> nn.Module:
    model = deep()
    nn.init.constant_(model.classifier.weight, torch.nan)
    return model


class Pair(Gap):
    def forward(self, images):
        return images, super().forward(images)


class NoGrad(Gap):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)


class Dictionary(nn.Module):
    def forward(self, images):
        return {"out": images}


@pytest.mark.parametrize(
    ("model", "keywords", "error", "says"),
    [
        (deep(), {"class_names": ["a"]}, ValueError, "3 names"),
        (deep(), {"layers": ["conv9"]}, ValueError, "'conv9'"),
        (deep(), {"layers": []}, ValueError, "layers is empty"),
        (deep(), {"methods": ["gradcam"]}, ValueError, "'Grad-CAM'"),
        (deep(), {"methods": []}, ValueError, "it is empty"),
        ("model", {}, TypeError, "torch.nn.Module"),
        (deep().to("meta"), {}, ValueError, "meta device: load their numbers"),
        (nan_model(), {}, ValueError, "NaN"),
        (Dictionary(), {}, ValueError, "class Logits"),
        (nn.Conv2d(3, 2, 3), {}, ValueError, r"class Logits.*\.mean\(dim=\(2, 3\)\)"),
        (Pair(), {}, ValueError, r"gives a tuple.*self\.model\(images\)\[1\]"),
        (NoGrad(), {}, ValueError, "Image 0.*no gradient.*no_grad|no gradient.*no_grad"),
        (deep(), {"layers": 3}, TypeError, "layers must be a list"),
        (nn.Conv2d(1, 2, 3), {}, ValueError, r"\(1, 3, 12, 16\).*preprocess"),
        (nn.Sequential(nn.Flatten(), nn.Linear(576, 2)), {}, ValueError, "nothing to show"),
    ],
)
def test_bad_arguments_are_answered_in_a_sentence(model, keywords, error, says) -> None:
    with pytest.raises(error, match=f"(?s){says}"):
        of(model, **keywords)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_picture_stays_what_it_is(error) -> None:
    class Raises(Gap):
        def forward(self, x: Tensor) -> Tensor:
            raise error

    with pytest.raises(type(error)):
        of(Raises())
