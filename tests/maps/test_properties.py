"""Random networks: the contract and the identities hold in all of them (hypothesis)."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets import pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from untouched import snapshot, untouched

from camwidgets import maps

RELUS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "module": nn.ReLU,
    "in place": lambda: nn.ReLU(inplace=True),
    "function": lambda: F.relu,
    "method in place": lambda: Tensor.relu_,
    "clamp": lambda: lambda x: x.clamp(min=0),
    "six": nn.ReLU6,
}
STEPS = ["conv", "norm", "relu", "pool", "residual", "branches", "reuse", "dropout"]


class Step(nn.Module):
    def __init__(self, kind: str, relu: str, reused: nn.Module) -> None:
        super().__init__()
        self.kind, self.relu = kind, RELUS[relu]()
        self.conv, self.other = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.reused, self.drop = nn.BatchNorm2d(4), reused, nn.Dropout2d()

    def forward(self, x: Tensor) -> Tensor:
        match self.kind:
            case "conv":
                return self.conv(x)
            case "norm":
                return self.norm(x)
            case "relu":
                return self.relu(x * 1)
            case "pool":
                return F.avg_pool2d(x, 2, ceil_mode=True)
            case "residual":
                y = self.norm(self.conv(x))
                y += x
                return self.relu(y)
            case "branches":
                return torch.cat([self.conv(x)[:, :2], self.relu(self.other(x))[:, 2:]], 1)
            case "reuse":
                return self.reused(self.relu(self.reused(x)))
        return self.drop(x)


class Random(nn.Module):
    """A stem, random steps, a last convolution and ReLU; average pooling or flattening, linear."""

    def __init__(self, steps: list[tuple[str, str]], gap: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        reused = nn.Conv2d(4, 4, 3, padding=1)
        self.steps = nn.Sequential(*(Step(kind, relu, reused) for kind, relu in steps))
        self.last, self.end = nn.Conv2d(4, 5, 3, padding=1), nn.ReLU()
        self.gap = gap
        self.linear = nn.Linear(5, 3) if gap else nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        A = self.end(self.last(self.steps(self.stem(x))))
        return self.linear(A.mean((2, 3)) if self.gap else A.flatten(1))


@st.composite
def networks(draw: st.DrawFn, gap: bool | None = None) -> tuple[Random, Tensor]:
    steps = draw(
        st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(list(RELUS))), max_size=4)
    )
    n, h, w = draw(st.integers(1, 3)), draw(st.integers(8, 11)), draw(st.integers(8, 11))
    images = pictures(n, 2, h, w, seed=draw(st.integers(0, 99)), dtype=torch.float64)
    head = draw(st.booleans()) if gap is None else gap
    model = Random(steps, head).double()
    model.eval()(images)
    built = seeded(lambda: model.apply(again), draw(st.integers(0, 99))).double()
    return built, images


def again(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        module.reset_parameters()


few = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@few
@given(networks())
def test_every_layer_s_map_is_that_of_a_plain_hook(case: tuple[Random, Tensor]) -> None:
    model, images = case
    for layer in ("stem", "last", "end"):
        kept: list[Tensor] = []

        def keep(m: nn.Module, i: tuple, o: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(o)
            return o.clone()

        handle = model.get_submodule(layer).register_forward_hook(keep)
        score = model(images)[:, 1].sum()
        handle.remove()
        (g,) = torch.autograd.grad(score, kept)
        A = kept[0].detach()
        expected = torch.einsum("nk,nkij->nij", g.mean((2, 3)), A)
        assert_close(maps.grad_cam(model, images, layer, 1, relu=False), expected)
        assert_close(maps.hires_cam(model, images, layer, 1, relu=False), (g * A).sum(1))


@few
@given(networks(gap=True))
def test_cam_is_grad_cam_times_the_positions(case: tuple[Random, Tensor]) -> None:
    model, images = case
    heat = maps.cam(model, images, 2)
    h, w = heat.shape[1:]
    if h * w > 1:
        assert_close(heat, h * w * maps.grad_cam(model, images, None, 2, relu=False))
        assert maps.record(model, images).layers == ["end"]
    assert_close(heat.mean((1, 2)), (model(images)[:, 2] - model.linear.bias[2]).detach())


@few
@given(networks())
def test_the_gradient_is_that_of_finite_differences(case: tuple[Random, Tensor]) -> None:
    model, images = case
    g = maps.gradient(model, images, 0)
    direction = pictures(*images.shape, seed=7, dtype=torch.float64)
    step = 1e-6 * direction
    with torch.no_grad():
        change = (model(images + step) - model(images - step))[:, 0]
    slope = (g * 2 * step).flatten(1).sum(1)
    assert_close(slope, change, rtol=1e-2, atol=1e-8)  # a ReLU may bend in between


@few
@given(networks())
def test_guided_maps_drop_what_is_negative_behind_the_first_relu(
    case: tuple[Random, Tensor],
) -> None:
    model, images = case
    guided = maps.guided_backprop(model, images, 1)
    positive = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 1), model).double()
    again = maps.guided_backprop(positive, images, 1)
    assert (again >= 0).all()
    assert again[images <= 0].abs().sum() == 0
    assert guided.shape == images.shape


@few
@given(networks(), st.booleans())
def test_nothing_changes_not_even_while_a_call_runs(
    case: tuple[Random, Tensor], training: bool
) -> None:
    model, images = case
    model.train(training)
    during: list[dict] = []
    callers = ContextVar[nn.Module]("callers")  # any reference would lead to the stand-in
    callers.set(model)
    model.end.register_forward_hook(lambda *_: during.append(snapshot(callers.get(), images)))
    before = snapshot(model, images)
    with untouched(model, images):
        maps.guided_grad_cam(model, images, "last", 1)
    assert during
    for state in during:
        changed = [key for key in before if before[key] != state[key]]
        assert set(changed) <= {"grad mode"}


@few
@given(networks())
def test_one_image_alone_is_one_image_in_the_batch(case: tuple[Random, Tensor]) -> None:
    model, images = case
    together = maps.guided_grad_cam(model, images, "last", 1)
    for i in range(len(images)):
        alone = maps.guided_grad_cam(model, images[i : i + 1], "last", 1)
        assert_close(alone, together[i : i + 1])
