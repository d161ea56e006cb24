"""Which number a map explains: endings without a slope, small floats, outputs that do not suit."""

from __future__ import annotations

import warnings

import pytest
import torch
from nets import gap_head, gap_net, pictures, seeded
from torch import Tensor, nn
from torch.testing import assert_close

from camwidgets import maps

IMAGES = pictures(2, 3, 12, 12)
ENDINGS = {"softmax": nn.Softmax(1), "log-softmax": nn.LogSoftmax(1), "sigmoid": nn.Sigmoid()}


def sure(model: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        model[-1].weight.mul_(factor)
    return model


def of_two_classes(model: nn.Module, images: Tensor) -> None:
    maps.record(model, images, "2").gradients_of([0, 1])


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ending_without_a_slope_is_told(ending: str) -> None:
    model = nn.Sequential(*sure(gap_net(), 1e5), ENDINGS[ending])
    for method in (maps.grad_cam, maps.guided_backprop, maps.hires_cam, of_two_classes):
        with pytest.warns(UserWarning, match=rf"ends in a {ending}.*\[0, 1\].*logits") as told:
            method(model, IMAGES)
        assert {each.filename for each in told} == {__file__}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ending_with_a_slope_is_not_told(ending: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert maps.grad_cam(nn.Sequential(*gap_net(), ENDINGS[ending]), IMAGES).any()
        maps.grad_cam(sure(gap_net(), 1e5), IMAGES)


class Ends(nn.Module):
    def __init__(self, end) -> None:
        super().__init__()
        self.logits, self.end = gap_net(), end

    def forward(self, x: Tensor):
        return self.end(self.logits(x))


def first(output) -> Tensor:
    return output[0][:, 1]


DRESSED = {
    "clamped": (lambda y: y.softmax(1).clamp(1e-7, 1 - 1e-7), "softmax", 1),
    "scaled": (lambda y: 100 * y.softmax(1), "softmax", 1),
    "the others": (lambda y: 1 - y.softmax(1), "softmax", 1),
    "in another precision": (lambda y: y.double().softmax(1).float(), "softmax", 1),
    "a mean of two": (lambda y: (y.softmax(1) + y.mul(2).softmax(1)) / 2, "softmax", 1),
    "in a tuple": (lambda y: (y.softmax(1), y), "softmax", first),
    "both sides": (lambda y: torch.cat([y[:, :1].sigmoid(), 1 - y.sigmoid()], 1), "sigmoid", 0),
    "tanh": (lambda y: (y.tanh() + 1) / 2, "tanh", 1),
    "hard sigmoid": (nn.Hardsigmoid(), "hard sigmoid", 1),
}


@pytest.mark.parametrize("case", DRESSED)
def test_an_ending_is_found_behind_what_is_done_to_it(case: str) -> None:
    end, name, target = DRESSED[case]
    model = Ends(end)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert maps.grad_cam(model, IMAGES, target=target, relu=False).any()
    sure(model.logits, 1e5)
    with pytest.warns(UserWarning, match=rf"ends in a {name}.*\[0, 1\].*logits"):
        assert not maps.grad_cam(model, IMAGES, target=target).any()


class TwoWays(nn.Module):
    """Class 0 comes by one layer, class 1 by the other."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = gap_net(), gap_net()

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.one(x)[:, 0], self.other(x)[:, 1]], 1).sigmoid()


def test_a_layer_without_a_part_in_the_score_is_not_blamed_on_the_ending_alone() -> None:
    with pytest.warns(UserWarning, match=r"no slope left, or the layer has no part in this score"):
        assert not maps.grad_cam(TwoWays(), IMAGES, "one.2", 1).any()


def test_logits_beside_a_softmax_are_not_its_ending() -> None:
    model = Ends(lambda y: (y, y.softmax(1)))
    sure(model.logits, 1e5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert maps.grad_cam(model, IMAGES, target=first, relu=False).any()


@pytest.mark.parametrize("method", [maps.cam, maps.grad_cam, maps.hires_cam, maps.layer_cam])
def test_float16_at_512(method) -> None:
    images = pictures(1, 3, 512, 512)
    single = method(gap_net(), images, target=1)
    half = method(gap_net().half(), images.half(), target=1)
    assert half.dtype == torch.float32
    assert (half - single).abs().max() < 0.02 * single.abs().max()


def test_float16_gradients_that_overflow_when_scaled() -> None:
    model = sure(gap_net(), 300).half()
    images = pictures(1, 3, 4, 4).half()
    half = maps.features_and_gradient(model, images, "0", 1)[1]
    single = maps.features_and_gradient(model.float(), images.float(), "0", 1)[1]
    assert half.isfinite().all()
    assert (half - single).abs().max() < 0.02 * single.abs().max()


def test_float16_gradients_too_small_for_it() -> None:
    model, images = gap_net(), pictures(1, 3, 8, 8)

    def faint(output: torch.Tensor) -> torch.Tensor:
        return output[:, 1] * 1e-3 * 1e-3

    half = maps.features_and_gradient(gap_net().half(), images.half(), "6", faint)[1]
    single = maps.features_and_gradient(model, images, "6", faint)[1]
    assert (half - single).abs().max() < 0.02 * single.abs().max()


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = gap_net()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x)


@pytest.mark.parametrize("method", [maps.cam, maps.grad_cam, maps.guided_backprop])
def test_autocast(method) -> None:
    expected = method(gap_net(), IMAGES, target=1)
    inside = method(Autocast(), IMAGES, target=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        around = method(gap_net(), IMAGES, target=1)
    for found in (inside, around):
        assert found.shape == expected.shape
        assert (found - expected).norm() < 0.1 * expected.norm()


def test_errors_that_are_not_about_the_images_keep_their_type() -> None:
    class Raises(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            raise self.error

    model = Raises(*gap_net())
    for error in (
        torch.OutOfMemoryError("no memory"),
        KeyboardInterrupt(),
        NotImplementedError("no such operation on this device"),
        RecursionError("deep"),
        MemoryError("full"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ):
        model.error = error
        for method in (maps.grad_cam, maps.cam, maps.layer_names, maps.guided_backprop, maps.run):
            with pytest.raises(type(error)) as caught:
                method(model, IMAGES)
            assert caught.value is error


def test_the_default_layer_follows_the_target() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Conv2d(3, 4, 3)
            self.side = nn.Conv2d(4, 5, 3)
            self.main = nn.Conv2d(4, 6, 3)
            self.linear, self.extra = nn.Linear(6, 3), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = self.trunk(x).relu()
            out = self.linear(self.main(x).mean((2, 3)))
            return {"out": out, "aux": self.extra(self.side(x).mean((2, 3)))}

    model = seeded(TwoHeads)
    for key, layer in (("out", "main"), ("aux", "side")):

        def target(output: dict[str, Tensor], key: str = key) -> Tensor:
            return output[key][:, 1]

        assert maps.record(model, IMAGES, target=target).layers == [layer]
        assert torch.equal(
            maps.grad_cam(model, IMAGES, None, target), maps.grad_cam(model, IMAGES, layer, target)
        )


def test_the_default_layer_of_a_segmentation_is_not_its_output() -> None:
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU())
            self.last = nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(self.last(self.trunk(x)), x.shape[2:])

    model = seeded(Segments)
    recording = maps.record(model, IMAGES, target=lambda y: y[:, 1].mean((1, 2)))
    assert recording.layers == ["trunk"]


def test_the_default_layer_is_no_inner_branch_and_no_pooling_that_repeats() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
            self.pool, self.linear = nn.AdaptiveAvgPool2d(12), nn.Linear(8 * 144, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = torch.cat([self.left(x), self.right(x)], 1)
            return self.linear(self.pool(x).flatten(1))

    model = seeded(Branches)
    assert maps.record(model, IMAGES).layers == ["stem"]
    assert maps.layer_names(model, IMAGES) == ["stem", "left", "right", "pool"]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ((IMAGES, IMAGES), "tuple of tensors.*OfImages"),
        ({"image": IMAGES}, "dict of tensors.*OfImages"),
        (IMAGES[None], r"video.*flatten\(0, 1\)"),
        (IMAGES[0, 0], r"\[None, None\]"),
    ],
)
def test_other_inputs(images: object, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"(?s){words}"):
        maps.grad_cam(gap_net(), images)


def test_models_that_take_more_than_images() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x

    class OfADict(nn.Module):
        def forward(self, batch: dict) -> Tensor:
            return batch["image"]

    for model in (Two(), OfADict()):
        with pytest.raises(ValueError, match=r"(?s)Wrap it:.*OfImages"):
            maps.grad_cam(model, IMAGES)


def test_an_unknown_layer_of_a_large_model_is_answered_shortly() -> None:
    layers = [nn.Conv2d(3 if i == 0 else 4, 4, 1) for i in range(60)]
    model = nn.Sequential(*layers, *gap_head())
    with pytest.raises(ValueError, match=r"nearest of the 60 layers.*'31'") as caught:
        maps.grad_cam(model, IMAGES, "311")
    assert len(str(caught.value)) < 400
    assert_close(maps.grad_cam(model, IMAGES), maps.grad_cam(model, IMAGES, "59"))
