"""The guided and the deconvnet rule against a replica that knows no autograd.

The replica walks three little nets (sequential, residual, pre-activation) forwards and backwards
with each layer's gradient written out, and applies the rule at each ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from nets import pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from camwidgets.maps import deconvnet, gradient, guided_backprop

# ---- the nets: where they call a ReLU is fixed, how they call it is a parameter ------------------


class Net(nn.Module):
    """Three convolutions with batch norm, ReLU as given, global average pooling, linear layer."""

    def __init__(self, make_relu: Callable[[], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 5, 3, padding=1) for c in (2, 5, 5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(5) for _ in range(3))
        self.linear = nn.Linear(5, 3)
        self.relu0, self.relu1, self.relu2 = make_relu(), make_relu(), make_relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.trunk(x).mean((2, 3)))


class Sequential(Net):
    def trunk(self, x: Tensor) -> Tensor:
        x = self.relu0(self.norms[0](self.convs[0](x)))
        x = self.relu1(self.norms[1](self.convs[1](x)))
        return self.relu2(self.norms[2](self.convs[2](x)))


class Residual(Net):
    def trunk(self, x: Tensor) -> Tensor:
        x = self.relu0(self.norms[0](self.convs[0](x)))
        skip = x
        x = self.relu1(self.norms[1](self.convs[1](x)))
        x = self.norms[2](self.convs[2](x))
        x += skip
        return self.relu2(x)


class PreActivation(Net):
    """The skip runs past each ReLU, so that a clipped input is not a clipped ReLU."""

    def trunk(self, x: Tensor) -> Tensor:
        x = self.convs[0](x)
        x = x + self.convs[1](self.relu0(self.norms[0](x)))
        x = x + self.convs[2](self.relu1(self.norms[1](x)))
        return self.relu2(self.norms[2](x))


# ---- the replica ---------------------------------------------------------------------------------


class Replica:
    """Each layer's forward pass, and a stack of what undoes it backwards."""

    def __init__(self, net: Net, rule: str, cap: float) -> None:
        self.net, self.rule, self.cap = net, rule, cap
        self.back: list[Callable[[Tensor], Tensor]] = []

    def conv(self, i: int, x: Tensor) -> Tensor:
        layer = self.net.convs[i]
        self.back.append(lambda g: F.conv_transpose2d(g, layer.weight, padding=1))
        return F.conv2d(x, layer.weight, layer.bias, padding=1)

    def norm(self, i: int, x: Tensor) -> Tensor:
        layer = self.net.norms[i]
        slope = layer.weight / (layer.running_var + layer.eps).sqrt()
        slope, shift = slope.view(-1, 1, 1), layer.bias.view(-1, 1, 1)
        self.back.append(lambda g: g * slope)
        return (x - layer.running_mean.view(-1, 1, 1)) * slope + shift

    def relu(self, x: Tensor) -> Tensor:
        open_ = (x > 0) & (x < self.cap)
        self.back.append(
            {
                "plain": lambda g: g * open_,
                "guided": lambda g: g * open_ * (g > 0),
                "deconvnet": lambda g: g * (g > 0),
            }[self.rule]
        )
        return torch.minimum(torch.maximum(x, torch.zeros(())), torch.tensor(self.cap))

    def undo(self, g: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            g = self.back.pop()(g)
        return g


@torch.no_grad()
def by_hand(net: Net, x: Tensor, c: int, rule: str, cap: float = float("inf")) -> Tensor:
    r = Replica(net, rule, cap)
    n, _, h, w = x.shape
    g = (net.linear.weight[c] / (h * w)).view(1, -1, 1, 1).expand(n, -1, h, w)
    if isinstance(net, Sequential):
        for i in range(3):
            x = r.relu(r.norm(i, r.conv(i, x)))
        return r.undo(g, 9)
    if isinstance(net, Residual):
        skip = r.relu(r.norm(0, r.conv(0, x)))
        r.relu(r.norm(2, r.conv(2, r.relu(r.norm(1, r.conv(1, skip))))) + skip)
        g = r.undo(g, 1)  # the last ReLU; then both ways
        return r.undo(r.undo(g, 5) + g, 3)
    x = r.conv(0, x)
    x = x + r.conv(1, r.relu(r.norm(0, x)))
    x = x + r.conv(2, r.relu(r.norm(1, x)))
    r.relu(r.norm(2, x))
    g = r.undo(g, 2)
    for _ in range(2):
        g = r.undo(g, 3) + g
    return r.undo(g, 1)


# ---- every way to write a ReLU -------------------------------------------------------------------

one_relu, one_relu6 = nn.ReLU(), nn.ReLU6()
one_inplace = nn.ReLU(inplace=True)


def result_unused(x: Tensor) -> Tensor:
    x.relu_()
    return x


RELUS = {
    "nn.ReLU": nn.ReLU,
    "nn.ReLU(inplace=True)": partial(nn.ReLU, inplace=True),
    "one nn.ReLU used everywhere": lambda: one_relu,
    "one in-place nn.ReLU used everywhere": lambda: one_inplace,
    "F.relu": lambda: F.relu,
    "F.relu(inplace=True)": lambda: partial(F.relu, inplace=True),
    "F.relu_": lambda: F.relu_,
    "torch.relu": lambda: torch.relu,
    "torch.relu_": lambda: torch.relu_,
    "Tensor.relu": lambda: lambda x: x.relu(),
    "Tensor.relu_": lambda: lambda x: x.relu_(),
    "Tensor.relu_, its result not used": lambda: result_unused,
    "torch.ops.aten.relu": lambda: torch.ops.aten.relu.default,
    "clamp(min=0)": lambda: lambda x: x.clamp(min=0),
    "clamp_(min=0.0)": lambda: lambda x: x.clamp_(min=0.0),
    "clamp_min": lambda: lambda x: torch.clamp_min(x, 0),
    "clamp(min=tensor)": lambda: lambda x: x.clamp(min=torch.zeros(())),
    "F.threshold(0, 0)": lambda: lambda x: F.threshold(x, 0, 0),
    "nn.Threshold(0, 0, inplace=True)": lambda: nn.Threshold(0, 0, inplace=True),
    "torch.maximum(x, 0)": lambda: lambda x: torch.maximum(x, torch.zeros(())),
    "torch.maximum(0, x)": lambda: lambda x: torch.maximum(torch.zeros_like(x), x),
    "torch.max(x, 0)": lambda: lambda x: torch.max(x, torch.zeros(1, 1, 1)),
    "torch.fmax(x, 0)": lambda: lambda x: torch.fmax(x, torch.zeros(())),
    "F.leaky_relu(x, 0)": lambda: lambda x: F.leaky_relu(x, 0.0),
    "nn.LeakyReLU(0, inplace=True)": lambda: nn.LeakyReLU(0.0, inplace=True),
    "in a checkpoint": lambda: partial(checkpoint, F.relu, use_reentrant=False),
    "compiled": lambda: torch.compile(F.relu, backend="aot_eager"),
}
RELU6S = {
    "nn.ReLU6": nn.ReLU6,
    "nn.ReLU6(inplace=True)": partial(nn.ReLU6, inplace=True),
    "one nn.ReLU6 used everywhere": lambda: one_relu6,
    "F.relu6": lambda: F.relu6,
    "F.relu6(inplace=True)": lambda: partial(F.relu6, inplace=True),
    "F.hardtanh(x, 0, 6)": lambda: lambda x: F.hardtanh(x, 0, 6),
    "F.hardtanh(min_val=0, max_val=6)": lambda: partial(F.hardtanh, min_val=0.0, max_val=6.0),
    "clamp(0, 6)": lambda: lambda x: x.clamp(0, 6),
    "F.hardtanh_(x, 0, 6)": lambda: lambda x: F.hardtanh_(x, 0.0, 6.0),
}
RULES = {"plain": gradient, "guided": guided_backprop, "deconvnet": deconvnet}
shape = pytest.mark.parametrize("shape", [Sequential, Residual, PreActivation])
rule = pytest.mark.parametrize("rule", RULES)


def agrees(net: Net, images: Tensor, rule: str, cap: float) -> None:
    for c in range(3):
        expected = by_hand(net, images, c, rule, cap)
        found = RULES[rule](net, images, c)
        assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert torch.equal(RULES[rule](net, images, c), found), "the second call differs"
        if rule != "plain":
            assert (expected - by_hand(net, images, c, "plain", cap)).norm() > 0.1 * found.norm()


@rule
@shape
@pytest.mark.parametrize("way", RELUS)
def test_relu(way: str, shape: type[Net], rule: str) -> None:
    net = seeded(lambda: shape(RELUS[way])).double()
    agrees(net, pictures(2, 2, 6, 5, dtype=torch.float64), rule, float("inf"))


@rule
@shape
@pytest.mark.parametrize("way", RELU6S)
def test_relu6(way: str, shape: type[Net], rule: str) -> None:
    net = seeded(lambda: shape(RELU6S[way])).double()
    images = 20 * pictures(2, 2, 6, 5, dtype=torch.float64)
    capped, uncapped = by_hand(net, images, 0, "plain", 6.0), by_hand(net, images, 0, "plain")
    assert (capped - uncapped).norm() > 0.1 * capped.norm(), "the cap would not be tested"
    agrees(net, images, rule, 6.0)


def test_a_mixed_way_of_writing() -> None:
    ways = iter([nn.ReLU(inplace=True), F.relu, torch.Tensor.relu_])
    net = seeded(lambda: Residual(lambda: next(ways))).double()
    agrees(net, pictures(2, 2, 6, 5, dtype=torch.float64), "guided", float("inf"))


# ---- what is beside the ReLU ---------------------------------------------------------------------


def two_layers(first: nn.Module, second: nn.Module) -> nn.Sequential:
    """Two 1×1 convolutions of one channel, weights 2 and -3: y = mean of second(-3 first(2x))."""
    a, b = (nn.Conv2d(1, 1, 1, bias=False) for _ in range(2))
    nn.init.constant_(a.weight, 2.0)
    nn.init.constant_(b.weight, -3.0)
    return nn.Sequential(a, first, b, second, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("other", [nn.SiLU(), nn.Tanh(), nn.LeakyReLU(0.1), nn.Hardtanh()])
def test_other_activations_keep_their_own_gradient(other: nn.Module) -> None:
    """first = other, second = ReLU: where -3 other(2x) > 0 the gradient is -3 · other'(2x) · 2 / 4.

    The gradient at the ReLU is 1/4 > 0, so the guided rule has nothing to stop there, and what is
    negative behind it passes the other activation.
    """
    x = torch.tensor([[[[-0.3, 0.2], [-1.0, 0.4]]]])
    at = (2 * x).requires_grad_()
    (slope,) = torch.autograd.grad(other(at).sum(), at)
    expected = slope * 2 * -3 / 4 * (x < 0)
    assert (expected < 0).any()
    assert_close(guided_backprop(two_layers(other, nn.ReLU()), x, 0), expected)


def test_a_relu_behind_another_activation_stops_what_is_negative() -> None:
    """first = ReLU, second = SiLU: what comes to the ReLU is -3 silu'(·) / 4, positive only where
    silu' is negative (below -1.278)."""
    x = torch.tensor([[[[0.1, 0.5], [1.0, -1.0]]]])
    z = -3 * (2 * x).relu()
    slope = z.sigmoid() * (1 + z * (1 - z.sigmoid()))
    expected = (-3 * slope / 4).clamp(min=0) * 2 * (x > 0)
    assert (expected > 0).sum() == 2
    assert_close(guided_backprop(two_layers(nn.ReLU(), nn.SiLU()), x, 0), expected)


def test_what_passes_the_relu_by_is_not_stopped() -> None:
    """y = mean(ReLU(x - 1) - 2x): the ReLU gets 1/4, the way past it -2/4."""

    class Past(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (F.relu(x - 1, inplace=True) - 2 * x).mean((2, 3))

    x = torch.tensor([[[[0.0, 2.0], [3.0, 1.0]]]])
    expected = torch.tensor([[[[-0.5, -0.25], [-0.25, -0.5]]]])
    assert_close(guided_backprop(Past(), x, 0), expected)
    assert_close(deconvnet(Past(), x, 0), torch.full_like(x, -0.25))


def test_a_relu_whose_output_is_used_twice_sees_the_sum() -> None:
    """y = mean(a r(x)) + mean(b r(x)) with a + b > 0 > a: the sum is positive and passes."""

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(x)
            return (-1 * y).mean((2, 3)) + (3 * y).mean((2, 3))

    x = torch.tensor([[[[1.0, -2.0], [3.0, 4.0]]]])
    assert_close(guided_backprop(Twice(), x, 0), (x > 0) * 2 / 4)


def test_the_forward_pass_is_the_models_own() -> None:
    """A rule changes gradients; what the model gives stays the same to the last bit."""
    images = 20 * pictures(2, 2, 6, 5)
    for way in (*RELUS.values(), *RELU6S.values()):
        net = seeded(lambda way=way: Residual(way))
        for method in RULES.values():
            seen = []

            def target(output: Tensor, seen: list = seen) -> Tensor:
                seen.append(output.detach())
                return output[:, 0]

            method(net, images, target)
            assert_close(seen[0], net(images).detach(), rtol=1e-6, atol=1e-6)


def test_no_relu_is_an_error_that_names_what_was_found() -> None:
    net = two_layers(nn.SiLU(), nn.LeakyReLU())
    x = torch.ones(1, 1, 2, 2)
    for method in (guided_backprop, deconvnet):
        with pytest.raises(ValueError, match=r"(?s)leaky_relu.*silu.*grad_cam"):
            method(net, x)
    gradient(net, x)  # needs none


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.Hardswish(), "hardswish"),
        (nn.PReLU(), "prelu"),
        (nn.ELU(inplace=True), "elu"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.Softplus(), "softplus"),
        (nn.Mish(), "mish"),
        (nn.Hardtanh(-1, 1), "hardtanh"),
        (nn.Threshold(0.5, 0), "threshold"),
        (nn.Identity(), "none"),
    ],
)
def test_the_names_of_activations_found(activation: nn.Module, name: str) -> None:
    with pytest.raises(ValueError, match=rf"found: {name}\)"):
        guided_backprop(two_layers(activation, activation), torch.ones(1, 1, 2, 2))


def assigned(x: Tensor) -> Tensor:
    y = x.clone()
    y[y < 0] = 0
    return y


def chosen(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[x > 0] = x[x > 0]
    return y


def masked_in_place(x: Tensor) -> Tensor:
    y = x.clone()
    y *= x > 0
    return y


HIDDEN = {
    "where(x > 0, x, 0)": (lambda x: torch.where(x > 0, x, 0.0), "where"),
    "where(x > 0, x, x / 10)": (lambda x: torch.where(x > 0, x, 0.1 * x), "where"),
    "x * (x > 0)": (lambda x: x * (x > 0), "multiplication by a mask"),
    "mask * x": (lambda x: (x > 0).to(x.dtype) * x, "multiplication by a mask"),
    "y *= x > 0": (masked_in_place, "multiplication by a mask"),
    "y[y < 0] = 0": (assigned, "assignment to some numbers"),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0), "masked_fill"),
    "masked_scatter": (
        lambda x: torch.zeros_like(x).masked_scatter(x > 0, x[x > 0]),
        "masked_scatter",
    ),
    "logaddexp": (lambda x: torch.logaddexp(x, torch.zeros(())), "logaddexp"),
    "(x + |x|) / 2": (lambda x: (x + x.abs()) / 2, "abs"),
    "x (1 + sign x) / 2": (lambda x: x * (1 + x.sign()) / 2, "sign"),
    "the larger of a stack": (
        lambda x: torch.stack([x, 0 * x]).amax(0),
        "choice among stacked numbers",
    ),
    "the larger, joined": (
        lambda x: torch.cat([x[:, None], 0 * x[:, None]], 1).amax(1),
        "choice among stacked numbers",
    ),
    "the last of a sorted stack": (
        lambda x: torch.stack([x, 0 * x]).sort(0).values[1],
        "choice among stacked numbers",
    ),
    "lerp": (lambda x: torch.lerp(0 * x, x, (x > 0).to(x.dtype)), "multiplication by a mask"),
    "lerp back": (lambda x: torch.lerp(x, 0 * x, (x < 0).to(x.dtype)), "multiplication by a mask"),
    "addcmul": (
        lambda x: torch.addcmul(torch.zeros(()), x, (x > 0).to(x.dtype)),
        "multiplication by a mask",
    ),
    "x / mask": (lambda x: x / (1 / (x > 0).to(x.dtype)), "multiplication by a mask"),
    "x / 1 or 1e9": (lambda x: x / torch.where(x > 0, 1.0, 1e9), "multiplication by a mask"),
    "addcdiv": (
        lambda x: torch.addcdiv(torch.zeros(()), x, torch.where(x > 0, 1.0, 1e9)),
        "multiplication by a mask",
    ),
    "x (1 + the sign of a constant) / 2": (
        lambda x: x * (1 + x.detach().sign()) / 2,
        "multiplication by a mask",
    ),
    "(x + hypot(x, 0)) / 2": (lambda x: (x + torch.hypot(x, torch.zeros(()))) / 2, "hypot"),
    "zeros[x > 0] = x[x > 0]": (chosen, "choice of some numbers"),
    "-clamp_max(-x, 0)": (lambda x: -((-x).clamp_max(0)), "clamp_max"),
    "index_fill": (
        lambda x: x.flatten().index_fill(0, (x.flatten() < 0).nonzero()[:, 0], 0.0).view_as(x),
        "index_fill",
    ),
    "a part in place": (lambda x: (x[:, :3].relu_(), x)[1], "change in place of a part"),
    "x - min(x, 0)": (lambda x: x - torch.minimum(x, torch.zeros(())), "minimum"),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_what_may_be_a_relu_is_told(way: str) -> None:
    """Autograd does not show that these stop what is negative; beside a ReLU they are named."""
    hidden, name = HIDDEN[way]
    ways = iter([nn.ReLU(), hidden, nn.ReLU()])
    net = seeded(lambda: Residual(lambda: next(ways)))
    with pytest.warns(UserWarning, match=rf"guided in 2 of [34] activations.*1 × {name}") as told:
        guided_backprop(net, pictures(2, 2, 6, 5))
    assert told[0].filename == __file__


@pytest.mark.filterwarnings("error:guided in")
@pytest.mark.parametrize(
    "plain",
    [
        lambda x: x * torch.ones_like(x),
        lambda x: x * torch.linspace(0, 1, 5),
        lambda x: (x * x).amax(1, keepdim=True) * x,
        lambda x: torch.cat([x, 2 * x], 1)[:, : x.shape[1]],
    ],
)
def test_what_is_no_activation_is_not_told(plain: Callable[[Tensor], Tensor]) -> None:
    ways = iter([nn.ReLU(), plain, nn.ReLU()])
    net = seeded(lambda: Residual(lambda: next(ways)))
    assert guided_backprop(net, pictures(2, 2, 6, 5)).any()


def test_clamp_is_named_too() -> None:
    class Clamped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(min=0.1).mean((2, 3))

    with pytest.raises(ValueError, match="clamp"):
        guided_backprop(Clamped(), torch.ones(1, 1, 2, 2))


def test_relus_outside_the_call_are_plain_again() -> None:
    net = seeded(lambda: Sequential(nn.ReLU))
    guided_backprop(net, pictures(1, 2, 6, 5))
    with pytest.raises(ValueError, match="NaN"):
        guided_backprop(net, pictures(1, 2, 6, 5), lambda output: output[:, 0] * float("nan"))
    x = torch.tensor([1.0, -1.0], requires_grad=True)
    (-F.relu(x)).sum().backward()
    assert x.grad.tolist() == [-1.0, 0.0]
