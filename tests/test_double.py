"""The stand-in gives the same output and shares nothing that a call could change."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import gap_net, pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close
from untouched import untouched

from camwidgets.maps import cam, grad_cam, guided_backprop, layer_names, stand_in

IMAGES = pictures(2, 3, 12, 10)


class Holds(nn.Module):
    """A convolution, a batch norm and a linear layer; `how` says by what means they are reached."""

    def __init__(self, how: Callable[[Holds], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 3)
        self.features = how(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x).relu().mean((2, 3)))


def closure(model: Holds) -> Callable:
    conv, norm = model.conv, model.norm
    return lambda x: norm(conv(x))


def closure_of_a_list(model: Holds) -> Callable:
    layers = [model.conv, model.norm]
    return lambda x: layers[1](layers[0](x))


def keyword_default(model: Holds) -> Callable:
    return lambda x, layers=(model.conv, model.norm): layers[1](layers[0](x))


class Runner:
    def __init__(self, *layers: nn.Module) -> None:
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def compose(x: Tensor, first: Callable, second: Callable) -> Tensor:
    return second(first(x))


WAYS = {
    "a closure": closure,
    "a closure over a list": closure_of_a_list,
    "a default argument": keyword_default,
    "an object": lambda model: Runner(model.conv, model.norm),
    "a partial": lambda m: functools.partial(compose, first=m.conv, second=m.norm),
    "bound methods": lambda m: functools.partial(compose, first=m.conv.forward, second=m.norm),
    "a method of the model": lambda m: types.MethodType(lambda self, x: self.norm(self.conv(x)), m),
}


@pytest.mark.parametrize("way", WAYS)
def test_modules_reached_by_other_means(way: str) -> None:
    model = seeded(lambda: Holds(WAYS[way]))
    expected = model(IMAGES)
    model.train()
    with untouched(model, IMAGES):
        double = stand_in(model)
        assert_close(double(IMAGES), expected)
        grad_cam(model, IMAGES)
    assert "norm" in layer_names(model, IMAGES)


def test_a_forward_put_in_place_of_the_class_s() -> None:
    model = gap_net()
    plain = model.forward
    model.forward = lambda x: 2 * plain(x)
    expected = 2 * cam(gap_net(), IMAGES, 1)
    with untouched(model.train(), IMAGES):
        assert_close(4 * grad_cam(gap_net(), IMAGES, "6", 1), 2 * grad_cam(model, IMAGES, "6", 1))
    assert expected.shape == (2, 6, 5)


class Diary(nn.Module):
    """Writes down what it sees, in every kind of place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gap_net()
        self.lock = threading.Lock()
        self.stream = (i for i in range(3))
        self.seen: list[Any] = []
        self.counts = {"calls": 0}
        self.notes = types.SimpleNamespace(last=None)
        self.sums = torch.zeros(())
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            self.kept = self.inner[:3](x)
        self.seen.append(x.shape)
        self.counts["calls"] += 1
        self.notes.last = x
        self.sums += x.sum()
        return self.inner[3:](self.kept)


def test_what_a_model_notes_down_stays_in_the_stand_in() -> None:
    model = seeded(Diary)
    model(IMAGES)  # keeps an activation with its graph, which deepcopy refuses
    seen, counts, sums = list(model.seen), dict(model.counts), model.sums.clone()
    with untouched(model, IMAGES):
        assert_close(stand_in(model)(IMAGES), model.inner(IMAGES))
        grad_cam(model, IMAGES)
        guided_backprop(model, IMAGES)
    assert (model.seen, model.counts) == (seen, counts)
    assert torch.equal(model.sums, sums)


def pruned() -> nn.Module:
    model = gap_net()
    prune.l1_unstructured(model[0], "weight", 0.3)
    model(IMAGES)
    return model


def normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = gap_net()
        norm(model[0])
        norm(model[-1])
        model.train()(IMAGES)
        return model.eval()

    return build


def hooked() -> nn.Module:
    model, kept = gap_net(), []
    model[0].register_forward_hook(lambda m, i, o: kept.append(o))
    model(IMAGES)
    return model


COPIED_BY_NOBODY = {
    "pruned": pruned,
    "weight norm": normed(parametrizations.weight_norm),
    "spectral norm": normed(parametrizations.spectral_norm),
    "someone's hook that keeps tensors": hooked,
}


@pytest.mark.parametrize("kind", COPIED_BY_NOBODY)
def test_models_that_deepcopy_may_refuse(kind: str) -> None:
    model = COPIED_BY_NOBODY[kind]()
    own = stand_in(model, own=True)
    expected = model(IMAGES)
    assert_close(own(IMAGES), expected)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    assert_close(own(IMAGES), expected)
    assert not torch.allclose(stand_in(model)(IMAGES), expected)


def test_what_is_shared_stays_shared() -> None:
    model = gap_net()
    model.again, model.twin = model[4], nn.Conv2d(6, 8, 3, padding=1)
    model.twin.weight = model[4].weight
    double = stand_in(model)
    assert double.again is double[4]
    assert double.twin.weight is double[4].weight
    assert double[4].weight.data_ptr() == model[4].weight.data_ptr()
    assert double[1].running_mean.data_ptr() != model[1].running_mean.data_ptr()
    assert not any(module.training for module in stand_in(model.train()).modules())


class Wrapped(nn.Module):
    """One part of it is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.compile(gap_net()[:7], backend="aot_eager")
        self.head = gap_net()[7:]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def compiled_in_place() -> nn.Module:
    model = gap_net()
    model.compile(backend="aot_eager")
    return model


@pytest.mark.parametrize(
    ("wrap", "layer"),
    [
        (lambda: nn.DataParallel(gap_net()), "module.6"),
        (lambda: nn.DataParallel(gap_net()), "6"),
        (lambda: torch.compile(gap_net(), backend="aot_eager"), "_orig_mod.6"),
        (lambda: torch.compile(nn.DataParallel(gap_net()), backend="aot_eager"), "6"),
        (compiled_in_place, "6"),
        (Wrapped, "body._orig_mod.6"),
        (Wrapped, "body.6"),
        (lambda: torch.fx.symbolic_trace(gap_net()), "6"),
    ],
)
def test_wrappers_are_opened(wrap: Callable[[], nn.Module], layer: str) -> None:
    model = wrap()
    assert_close(grad_cam(model, IMAGES, layer, 1), grad_cam(gap_net(), IMAGES, "6", 1))
    assert_close(guided_backprop(model, IMAGES, 1), guided_backprop(gap_net(), IMAGES, 1))


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_watched_is_named() -> None:
    for model in (torch.jit.script(gap_net()), torch.jit.trace(gap_net(), IMAGES)):
        with pytest.raises(ValueError, match=r"TorchScript.*the Python model"):
            grad_cam(model, IMAGES)
    inside = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)), nn.Flatten())
    with pytest.raises(ValueError, match="TorchScript"):
        grad_cam(inside, IMAGES)
    quantised = torch.ao.quantization.quantize_dynamic(gap_net(), {nn.Linear})
    with pytest.raises(ValueError, match=r"quantised.*float model"):
        grad_cam(quantised, IMAGES)


def test_a_compiled_function_inside_the_model() -> None:
    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gap_net()
            self.run = torch.compile(self._run, backend="aot_eager")

        def _run(self, x: Tensor) -> Tensor:
            return self.inner(F.relu(x))

        def forward(self, x: Tensor) -> Tensor:
            return self.run(x)

    model = seeded(Compiled)
    assert_close(
        grad_cam(model, IMAGES, "inner.6", 1), grad_cam(model.inner, IMAGES.relu(), "6", 1)
    )
