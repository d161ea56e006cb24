"""Every public function leaves the model, the images and PyTorch's global state as they were."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from nets import gap_net, pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from untouched import untouched

from camwidgets import maps

# ---- who could leave it --------------------------------------------------------------------------

CALLS: dict[str, Callable[..., Any]] = {
    "layer_names": lambda m, x, t=None: maps.layer_names(m, x),
    "record, gradients": lambda m, x, t=None: maps.record(m, x).gradients(t),
    "cam": lambda m, x, t=None: maps.cam(m, x, t),
    "grad_cam": lambda m, x, t=None: maps.grad_cam(m, x, None, t),
    "layer_cam": lambda m, x, t=None: maps.layer_cam(m, x, None, t),
    "hires_cam": lambda m, x, t=None: maps.hires_cam(m, x, None, t),
    "grad_cam_plus_plus": lambda m, x, t=None: maps.grad_cam_plus_plus(m, x, None, t),
    "score_cam": lambda m, x, t=None: maps.score_cam(m, x, None, t),
    "eigen_cam": lambda m, x, t=None: maps.eigen_cam(m, x, None),
    "positive_grad_cam": lambda m, x, t=None: maps.positive_grad_cam(m, x, None, t),
    "gradient": lambda m, x, t=None: maps.gradient(m, x, t),
    "guided_backprop": lambda m, x, t=None: maps.guided_backprop(m, x, t),
    "deconvnet": lambda m, x, t=None: maps.deconvnet(m, x, t),
    "guided_grad_cam": lambda m, x, t=None: maps.guided_grad_cam(m, x, None, t),
}
WITH_TARGET = {key: f for key, f in CALLS.items() if key not in ("layer_names", "eigen_cam")}
CALLABLE_TARGET = {key: f for key, f in WITH_TARGET.items() if key != "cam"}


def mixed(model: nn.Module) -> nn.Module:
    """Every other module in train mode, every third parameter frozen, every other with a .grad."""
    for i, module in enumerate(model.modules()):
        module.training = i % 2 == 0
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(i % 3 != 0)
        if i % 2:
            p.grad = torch.full_like(p, float(i))
    return model


class OwnTrunk(nn.Module):
    """A first convolution, then `middle`, then ReLU, global average pooling, a linear layer."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.conv, self.middle, self.linear = nn.Conv2d(3, 6, 3), middle, nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.middle(self.conv(x).relu()).relu().mean((2, 3)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(6, 2, dropout=0.3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.attend(tokens, tokens, tokens)[0].transpose(1, 2).view_as(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.LSTM(6, 6, batch_first=True, num_layers=2, dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x.flatten(2).transpose(1, 2))[0].transpose(1, 2).reshape(x.shape)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu())


class Remembers(nn.Module):
    """Keeps its last map, counts its calls, in an attribute, a number and two buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3)
        self.last, self.calls = None, 0
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(6), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.conv(x)
        self.seen = x.shape
        self.calls += 1
        self.count += 1
        self.mean = self.mean * 0.9 + 0.1 * x.detach().mean((0, 2, 3))
        return self.last


class Checkpointed(nn.Module):
    """Runs its batch norm again during the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


def old(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = norm(nn.Conv2d(6, 6, 3))
    layer(torch.zeros(1, 6, 3, 3))
    return layer


MIDDLES: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.Sequential(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.Dropout()),
    "batch norm, momentum None": lambda: nn.BatchNorm2d(6, momentum=None),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(6, 6, 3)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(6, 6, 3)),
    "old weight norm": lambda: old(nn.utils.weight_norm),
    "old spectral norm": lambda: old(nn.utils.spectral_norm),
    "tied weights": Tied,
    "attention": Attention,
    "LSTM": Recurrent,
    "keeps its last map": Remembers,
    "checkpointed": Checkpointed,
}


# A checkpoint runs the plain ReLU again where the deconvnet rule had replaced it: PyTorch raises.
every_kind = pytest.mark.parametrize(
    ("middle", "call"),
    [(m, c) for m in MIDDLES for c in CALLS if (m, c) != ("checkpointed", "deconvnet")],
)


def net(middle: str = "batch norm") -> nn.Module:
    return seeded(lambda: OwnTrunk(MIDDLES[middle]()))


def agree(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        assert found == expected
    else:
        assert_close(found, expected)


# ---- after a call --------------------------------------------------------------------------------


@every_kind
def test_each_kind_of_model(middle: str, call: str) -> None:
    images = pictures(3, 3, 7, 8)
    model = mixed(net(middle))
    with untouched(model, images):
        CALLS[call](model, images)
    for flag in (True, False):
        model.train(flag)
        with untouched(model, images):
            CALLS[call](model, images)


@pytest.mark.parametrize("call", CALLS)
def test_a_plain_sequential(call: str) -> None:
    model, images = mixed(gap_net()), pictures(2, 3, 8, 8)
    with untouched(model, images):
        CALLS[call](model, images)


@pytest.mark.parametrize("middle", MIDDLES)
def test_training_goes_on_as_if_nothing_had_been(middle: str) -> None:
    """One step of training after the maps equals one step without them."""

    def step(look: bool) -> list[Tensor]:
        model, images = net(middle).train(), pictures(3, 3, 7, 8)
        if look:
            for name, call in CALLS.items():
                if (middle, name) != ("checkpointed", "deconvnet"):
                    call(model, images)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model(images).square().sum().backward()
        optimizer.step()
        return [*model.state_dict().values(), *(p.grad for p in model.parameters())]

    for found, expected in zip(step(look=True), step(look=False), strict=True):
        assert_close(found, expected)


CONTEXTS = {
    "plain": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
}


@pytest.mark.parametrize("context", ["plain", "no_grad", "inference_mode", "enable_grad"])
@pytest.mark.parametrize("call", CALLS)
def test_the_callers_grad_mode_does_not_matter(call: str, context: str) -> None:
    model, images = mixed(net()), pictures(2, 3, 7, 8)
    expected = CALLS[call](model, images)
    with CONTEXTS[context](), untouched(model, images):
        found = CALLS[call](model, images)
    agree(found, expected)
    with CONTEXTS[context]():
        own = images.clone()  # under inference_mode: an inference tensor
        with untouched(model, own):
            found = CALLS[call](model, own)
    agree(found, expected)


@pytest.mark.parametrize("call", CALLS)
def test_a_model_made_in_inference_mode(call: str) -> None:
    images = pictures(2, 3, 7, 8)
    expected = CALLS[call](net(), images)
    with torch.inference_mode():
        model = net()
        agree(CALLS[call](model, images), expected)
    agree(CALLS[call](model, images), expected)


@pytest.mark.parametrize("call", CALLS)
def test_images_that_require_gradients(call: str) -> None:
    model, images = mixed(net()), pictures(2, 3, 7, 8).requires_grad_()
    images.square().sum().backward()  # they have a .grad as well
    with untouched(model, images):
        found = CALLS[call](model, images)
    agree(found, CALLS[call](model, images.detach()))
    inner = images * 1  # no leaf
    with untouched(model, inner):
        agree(CALLS[call](model, inner), found)


@pytest.mark.parametrize("call", CALLS)
def test_a_model_that_changes_its_input(call: str) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gap_net()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.mul_(2).add_(1))

    model = seeded(InPlace)
    images = pictures(2, 3, 8, 8)
    with untouched(model, images):
        found = CALLS[call](model, images)
    at_the_input = {"gradient", "guided_backprop", "deconvnet", "guided_grad_cam", "score_cam"}
    if call not in {"layer_names", *at_the_input}:
        expected = CALLS[call](model.inner, images * 2 + 1)
        if isinstance(expected, dict):
            expected = {f"inner.{name}": g for name, g in expected.items()}
        agree(found, expected)


@every_kind
def test_frozen_and_train_mode_give_the_maps_of_eval_mode(middle: str, call: str) -> None:
    images = pictures(3, 3, 7, 8)
    expected = CALLS[call](net(middle).eval(), images)
    frozen = net(middle).requires_grad_(False)
    for model in (net(middle).train(), frozen.train(), mixed(net(middle))):
        agree(CALLS[call](model, images), expected)
        agree(CALLS[call](model, images), expected)  # and again


def test_results_are_free_of_the_graph() -> None:
    model, images = net(), pictures(2, 3, 7, 8).requires_grad_()
    for name, call in CALLS.items():
        if name not in {"layer_names", "record, gradients"}:
            found = call(model, images)
            assert not found.requires_grad
            assert not found.is_inference()


# ---- hooks of the user's -------------------------------------------------------------------------


@pytest.mark.filterwarnings("error:guided in")
@pytest.mark.parametrize("call", CALLS)
def test_the_users_hooks_stay_and_fire(call: str) -> None:
    model, images, fired = net(), pictures(2, 3, 7, 8), []
    model.register_forward_pre_hook(lambda *_: fired.append("before the model"))
    model.conv.register_forward_hook(lambda *_: fired.append("conv"))
    model.middle.register_forward_hook(lambda m, i, o: fired.append("middle"))
    model.linear.register_full_backward_hook(lambda *_: fired.append("backward"))
    with untouched(model, images):
        CALLS[call](model, images)
    assert fired[:3] == ["before the model", "conv", "middle"]
    fired.clear()
    model(images).sum().backward()
    assert fired == ["before the model", "conv", "middle", "backward"]


def test_what_a_users_hook_changes_is_part_of_the_model() -> None:
    model, images = gap_net(), pictures(2, 3, 8, 8)
    expected = 4 * maps.grad_cam(model, images, "6", 1)  # A and w: each map is linear in A
    model[6].register_forward_hook(lambda m, i, output: 4 * output)
    assert_close(maps.grad_cam(model, images, "6", 1), expected)


# ---- after an exception --------------------------------------------------------------------------


class Boom(Exception):
    pass


class OwnIndex(IndexError):
    pass


class Fails(nn.Module):
    """Raises, when armed, in the middle of the forward or the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        if isinstance(self.error, tuple):
            return Backward.apply(x, self.error[0])
        raise self.error


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, error: BaseException) -> Tensor:
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        raise ctx.error


def failing(error: Any) -> nn.Module:
    model = mixed(seeded(lambda: OwnTrunk(Fails())))
    model.middle.error = error
    return model


@pytest.mark.parametrize(
    "error",
    [
        *(Boom("here"), KeyboardInterrupt(), ValueError("my own"), OwnIndex("invalid index")),
        *(torch.OutOfMemoryError("no tensor fits"), AssertionError("tensor")),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_the_forward_pass_raises(call: str, error: BaseException) -> None:
    model, images = failing(error), pictures(2, 3, 7, 8)
    with untouched(model, images), pytest.raises(type(error)) as caught:
        CALLS[call](model, images)
    assert caught.value is error


@pytest.mark.parametrize("call", CALLS)
def test_the_forward_pass_raises_a_runtime_error(call: str) -> None:
    """PyTorch's own complaints are RuntimeErrors: a ValueError quotes them."""
    model, images = failing(RuntimeError("shapes do not fit")), pictures(2, 3, 7, 8)
    with untouched(model, images), pytest.raises(ValueError, match=r"\(2, 3, 7, 8\).*do not fit"):
        CALLS[call](model, images)


@pytest.mark.parametrize("error", [Boom("here"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "call", ["gradient", "guided_backprop", "deconvnet", "guided_grad_cam", "record, gradients"]
)
def test_the_backward_pass_raises(call: str, error: BaseException) -> None:
    model, images = failing((error,)), pictures(2, 3, 7, 8)
    through = {"record, gradients": lambda m, x: maps.record(m, x, ["conv"]).gradients(0)}
    with untouched(model, images), pytest.raises(type(error)):
        (CALLS | through)[call](model, images)


@pytest.mark.parametrize("error", [Boom("here"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", CALLABLE_TARGET)
def test_the_target_raises(call: str, error: BaseException) -> None:
    def target(output: Tensor) -> Tensor:
        assert torch.is_grad_enabled()
        raise error

    model, images = mixed(net()), pictures(2, 3, 7, 8)
    with torch.no_grad(), untouched(model, images), pytest.raises(type(error)):
        CALLABLE_TARGET[call](model, images, target)


@pytest.mark.parametrize("call", WITH_TARGET)
def test_a_refused_call(call: str) -> None:
    model, images = mixed(net()), pictures(2, 3, 7, 8)
    for target in (99, "cat"):
        with untouched(model, images), pytest.raises((ValueError, TypeError)):
            WITH_TARGET[call](model, images, target)
    for bad in (images[:, :1], images[0], images * float("nan")):
        with untouched(model, bad), pytest.raises(ValueError, match="images"):
            WITH_TARGET[call](model, bad)
    with untouched(model, images), pytest.raises(ValueError, match="unknown"):
        maps.grad_cam(model, images, "unknown")


def test_no_relu_and_unsuitable_heads_leave_nothing_either() -> None:
    model = mixed(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten())))
    images = pictures(2, 3, 5, 5)
    for call in ("guided_backprop", "deconvnet", "guided_grad_cam", "cam"):
        with untouched(model, images), pytest.raises(ValueError, match="grad_cam"):
            CALLS[call](model, images)
    assert F.silu is torch.nn.functional.silu


# ---- a recording lives on ------------------------------------------------------------------------


def test_many_backward_passes_through_one_recording() -> None:
    model, images = mixed(gap_net()), pictures(3, 3, 8, 8)
    recording = maps.record(model, images, ["2", model[4], "6"])
    assert list(recording.features) == ["2", "4", "6"]
    with untouched(model, images):
        for c in (0, 1, 2, 3, 0):
            found = recording.gradients(c)
            for name in ("2", "4", "6"):
                A, g = maps.features_and_gradient(model, images, name, c)
                assert_close(found[name], g)
                assert_close(recording.features[name].detach(), A)


def test_the_snapshot_itself_sees_changes() -> None:
    """So that the tests above can fail."""
    images = pictures(2, 3, 7, 8)

    def hook(m: nn.Module) -> None:
        m.conv.register_forward_hook(lambda *_: None)

    def batch_statistics(m: nn.Module) -> None:
        m.train()(images)
        m.eval()

    changes: list[Callable[[nn.Module], Any]] = [
        lambda m: m.linear.train(),
        hook,
        batch_statistics,
        lambda m: m(images).sum().backward(),
        lambda m: m.conv.weight.requires_grad_(False),
        lambda m: m.conv.weight.data.mul_(1.5),
        lambda m: setattr(m.conv, "weight", nn.Parameter(m.conv.weight.detach().clone())),
        lambda m: setattr(m, "last", images),
        lambda m: images.add_(1),
        lambda m: images.requires_grad_(),
        lambda m: torch.set_grad_enabled(False),
        lambda m: torch.rand(1),
    ]
    for change in changes:
        model = net()
        with (
            torch.random.fork_rng(devices=[]),
            pytest.raises(AssertionError, match="left behind"),
            untouched(model, images),
        ):
            change(model)
        torch.set_grad_enabled(True)
        images = images.detach()


@pytest.mark.parametrize("pixels", [False, True])
def test_a_recording_that_is_let_go_leaves_no_tensor(pixels: bool) -> None:
    """A graph whose saved tensors lead back to it would stay for ever: no collector sees it."""
    model, images = gap_net(), pictures(1, 3, 8, 8)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    def call() -> None:
        maps.record(model, images, ["2", "6"], pixels=pixels).gradients(1)

    call()
    before = tensors()
    call()
    assert tensors() == before


def test_of_a_layer_that_runs_often_only_the_run_that_is_asked_is_kept() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(20))
            self.relu = nn.ReLU()
            self.last = nn.Conv2d(3, 5, 32)

        def forward(self, x: Tensor) -> Tensor:
            for conv in self.convs:
                x = self.relu(conv(x))
            return self.last(x).flatten(1)

    def maps_held(layer: str) -> int:
        recording = maps.record(model, images, [layer])
        gc.collect()
        held = [t for t in gc.get_objects() if issubclass(type(t), Tensor)]
        assert list(recording.features) == [layer]
        return sum(t.shape == images.shape for t in held)

    model, images = seeded(Deep), pictures(2, 3, 32, 32)
    assert maps_held("relu#20") <= maps_held("convs.19")
    assert maps_held("relu#1") > maps_held("relu#20") + 18
