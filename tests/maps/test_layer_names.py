"""Which layers there are, how one is named, and whose output and gradient is taken."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from nets import by_hook, gap_net, pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.testing import assert_close

from camwidgets.maps import (
    cam,
    features_and_gradient,
    grad_cam,
    guided_grad_cam,
    layer_cam,
    layer_names,
    record,
)

# ---- names ---------------------------------------------------------------------------------------


def test_forward_order_and_maps_only() -> None:
    model = gap_net()
    assert layer_names(model, pictures(2, 3, 8, 8)) == ["0", "1", "2", "3", "4", "5", "6"]
    # at 2×2 pixels the pooled map is 1×1, and so is everything behind it
    assert layer_names(model, pictures(2, 3, 2, 2)) == ["0", "1", "2"]
    assert layer_names(model, pictures(2, 3, 2, 5)) == ["0", "1", "2", "3", "4", "5", "6"]


class OutOfOrder(nn.Module):
    """Defined in another order than called; one layer unused, one called twice, one a container."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.late = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.unused = nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU()
        self.early = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.early(x))
        return self.linear(self.relu(self.late(x)).mean((2, 3)))


def test_order_is_that_of_the_call() -> None:
    names = layer_names(seeded(OutOfOrder), pictures(2, 3, 8, 8))
    assert names == ["early", "relu#1", "late.0", "late.1", "late", "relu#2"]


def test_names_work_for_any_channels_and_size() -> None:
    assert "6" in layer_names(gap_net(1), pictures(1, 1, 30, 17))
    assert "6" in layer_names(gap_net(5), pictures(1, 5, 4, 40))


def test_a_parametrised_weight_is_no_layer() -> None:
    """It is (out, in, h, w): with as many images as outputs it has the shape of a map."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1))
    model.append(nn.Flatten())
    parametrizations.weight_norm(model[0])
    parametrizations.spectral_norm(model[1])
    images = pictures(4, 3, 9, 9)
    assert layer_names(model, images) == ["0", "1"]
    expected = torch.cat([grad_cam(model, images[i : i + 1], "0", 1) for i in range(4)])
    assert_close(grad_cam(model, images, "0", 1), expected)


def test_dropout_and_other_tensors_are_told_from_maps() -> None:
    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.flatten(2), x

    class Indices(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.long()

    class OneImage(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:1]

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.tokens, self.indices = nn.Conv2d(3, 4, 3), Tokens(), Indices()
            self.one = OneImage()

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            self.tokens(x), self.indices(x), self.one(x)
            return x.mean((2, 3))

    assert layer_names(Odd(), pictures(2, 3, 6, 6)) == ["conv"]


# ---- None, a name, a module ----------------------------------------------------------------------


def test_none_is_the_last_map_larger_than_1x1() -> None:
    model, images = gap_net(), pictures(2, 3, 8, 8)
    assert torch.equal(grad_cam(model, images), grad_cam(model, images, "6"))
    small = pictures(2, 3, 2, 2)
    assert torch.equal(grad_cam(model, small, None, 0), grad_cam(model, small, "2", 0))
    model = seeded(OutOfOrder)
    assert torch.equal(grad_cam(model, images), grad_cam(model, images, "relu#2"))


@pytest.mark.parametrize("name", ["early", "late.0", "late"])
def test_a_module_is_as_good_as_its_name(name: str) -> None:
    model, images = seeded(OutOfOrder), pictures(2, 3, 8, 8)
    module = dict(model.named_modules())[name]
    for f in (grad_cam, layer_cam, guided_grad_cam):
        assert torch.equal(f(model, images, module), f(model, images, name))


def test_every_name_of_a_shared_layer_works() -> None:
    class Alias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 4, 3)
            self.again = self.one
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.again(x).mean((2, 3)))

    model, images = seeded(Alias), pictures(2, 3, 6, 6)
    assert layer_names(model, images) == ["one"]
    expected = grad_cam(model, images, model.one)
    assert torch.equal(grad_cam(model, images, "one"), expected)
    assert torch.equal(grad_cam(model, images, "again"), expected)


def test_names_match_as_a_whole() -> None:
    """`conv1` is not `conv10`, nor any layer that has "conv" in its name."""
    model, images = gap_net(), pictures(2, 3, 8, 8)
    named = nn.Sequential()
    for i, layer in enumerate(model):
        named.add_module("1" * (i + 1), layer)
    for i in range(7):
        assert torch.equal(
            grad_cam(named, images, "1" * (i + 1), 0), grad_cam(model, images, str(i), 0)
        )
    with pytest.raises(ValueError, match="no layer named 'conv'"):
        grad_cam(named, images, "conv")


def test_a_container_is_its_last_layer() -> None:
    model, images = seeded(OutOfOrder), pictures(2, 3, 8, 8)
    for a, b in zip(
        features_and_gradient(model, images, "late", 1),
        features_and_gradient(model, images, "late.1", 1),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_each_run_of_a_layer_has_a_name() -> None:
    model, images = seeded(OutOfOrder), pictures(2, 3, 8, 8)
    first = model.relu(model.early(images)).detach()
    second = model.relu(model.late(first)).detach()
    A, g = features_and_gradient(model, images, "relu#2", 1)
    assert_close(A, second)
    assert_close(g, (model.linear.weight[1].detach() / 36).view(1, 4, 1, 1).expand(2, 4, 6, 6))
    A, g = features_and_gradient(model, images, "relu#1", 1)
    assert_close(A, first)
    leaf = first.clone().requires_grad_()
    score = model.linear(model.relu(model.late(leaf)).mean((2, 3)))[:, 1].sum()
    assert_close(g, torch.autograd.grad(score, leaf)[0])
    assert list(record(model, images, ["relu#2", "relu#1"]).features) == ["relu#1", "relu#2"]


@pytest.mark.parametrize("layer", ["relu", "relu#3", "module"])
def test_a_layer_that_runs_twice_needs_the_run(layer: str) -> None:
    model, images = seeded(OutOfOrder), pictures(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"'relu' runs 2 times.*'relu#1', 'relu#2'"):
        grad_cam(model, images, model.relu if layer == "module" else layer)


def test_a_layer_that_runs_once_on_a_map_keeps_its_name() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.linear = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.relu(self.relu(self.conv(x)).mean((2, 3))))

    model, images = seeded(Shared), pictures(2, 3, 8, 8)
    assert layer_names(model, images) == ["conv", "relu"]
    assert torch.equal(grad_cam(model, images, "relu"), grad_cam(model, images, "relu#1"))


# ---- whose output --------------------------------------------------------------------------------


class InPlace(nn.Module):
    """Every layer's output is changed in place at once, and skips start there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        y += x
        y = F.relu_(y)
        return self.linear(y.mean((2, 3)))


@pytest.mark.parametrize("channels", [2, 40])  # less and more than the images hold
def test_the_default_layer_s_map_is_its_own_whatever_follows(channels: int) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(3, channels, 3), nn.Linear(channels, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.conv(x).sub_(0.1).relu_().mean((2, 3)))

    model, images = seeded(Shifted), pictures(2, 3, 8, 8)
    A, g = features_and_gradient(model, images, None, 1)
    expected = by_hook(model, images, "conv", 1)
    assert_close(A, expected[0])
    assert_close(g, expected[1])


@pytest.mark.parametrize("layer", ["conv1", "bn1", "conv2", "bn2", "relu"])
def test_in_place_operations_after_the_layer(layer: str) -> None:
    model, images = seeded(InPlace), pictures(2, 3, 8, 8)
    for c in range(3):
        for found, expected in zip(
            features_and_gradient(model, images, layer, c),
            by_hook(model, images, layer, c),
            strict=True,
        ):
            assert_close(found, expected)
    recording = record(model, images, layer_names(model, images))
    for c in (0, 2):
        gradients = recording.gradients(c)
        expected = features_and_gradient(model, images, layer, c)
        assert_close(recording.features[layer].detach(), expected[0])
        assert_close(gradients[layer], expected[1])


class EmptyShortcut(nn.Module):
    """A residual block whose shortcut is an empty Sequential: it hands on its input itself."""

    def __init__(self, shortcut: nn.Module) -> None:
        super().__init__()
        self.first, self.shortcut = nn.Conv2d(3, 4, 3), shortcut
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = 3 * x
        past = self.shortcut(x).exp()
        x.mul_(0)  # what the layers gave stays what it was
        return self.linear((y + past).mean((2, 3)))


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("shortcut", [nn.Sequential, nn.Identity, nn.Dropout])
def test_a_layer_that_hands_on_its_input(shortcut: type[nn.Module], hooked: bool) -> None:
    """Its gradient is that of the way through it, alone or among other layers."""
    model, images = seeded(lambda: EmptyShortcut(shortcut())), pictures(2, 3, 8, 8)
    if hooked:
        model.shortcut.register_forward_hook(lambda *_: None)
    A = model.first(images).detach()
    g = (model.linear.weight[1] / 36).view(1, 4, 1, 1) * A.exp()
    for layers in (["shortcut"], ["first", "shortcut"]):
        recording = record(model, images, layers)
        assert_close(recording.features["shortcut"].detach(), A)
        assert_close(recording.gradients(1)["shortcut"], g.detach())


@pytest.mark.parametrize("ask", [["0", "2", "6"], ["6", "2", "0"], ["2"], ["0", "1", "2", "3"]])
def test_layers_recorded_together_are_those_recorded_alone(ask: list[str]) -> None:
    model, images = gap_net(), pictures(2, 3, 8, 8)
    recording = record(model, images, ask)
    assert list(recording.features) == sorted(ask)
    gradients = recording.gradients([1, 3])
    assert list(gradients) == sorted(ask)
    for name in ask:
        A, g = by_hook(model, images, name, 1)
        assert_close(recording.features[name].detach(), A)
        assert_close(gradients[name][0], g[0])
    assert_close(recording.output, model(images))


def test_the_graph_starts_at_the_shallowest_layer() -> None:
    model, images = gap_net(), pictures(2, 3, 8, 8).requires_grad_()
    recording = record(model, images, ["4", "6"])
    score = recording.output[:, 0].sum()
    assert torch.autograd.grad(score, images, allow_unused=True, retain_graph=True) == (None,)
    for p in model.parameters():
        assert torch.autograd.grad(score, p, allow_unused=True, retain_graph=True) == (None,)


# ---- layers that cannot be had -------------------------------------------------------------------


class SideBranch(nn.Module):
    """The last map of the forward pass is on a side branch."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.side = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(x)
        y = self.linear(x.mean((2, 3)))
        self.side(x)
        return y


def test_a_layer_off_the_way_to_the_output() -> None:
    model, images = seeded(SideBranch), pictures(2, 3, 8, 8)
    assert torch.equal(grad_cam(model, images), grad_cam(model, images, "trunk"))
    for layer in ("side", model.side):
        with pytest.raises(ValueError, match=r"does not depend on 'side'|no gradient"):
            grad_cam(model, images, layer)
    with pytest.raises(ValueError, match="does not depend on 'side': choose"):
        record(model, images, ["trunk", "side"]).gradients(0)
    assert grad_cam(model, images, "trunk").shape == (2, 6, 6)


def test_a_layer_that_is_never_called() -> None:
    with pytest.raises(
        ValueError, match=r"'unused' gives no feature map.*never ran.*'early', 'relu#1', 'late.0'"
    ):
        grad_cam(seeded(OutOfOrder), pictures(2, 3, 8, 8), "unused")


@pytest.mark.parametrize("layer", ["7", "8", "10"])
def test_a_layer_without_a_map(layer: str) -> None:
    """Pooled to 1×1, flattened, or linear: there is nothing to draw."""
    with pytest.raises(ValueError, match=rf"'{layer}' gives no feature map.*'4', '5', '6'"):
        grad_cam(gap_net(), pictures(2, 3, 8, 8), layer)


def test_a_model_without_any_map() -> None:
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), pictures(2, 3, 2, 2)
    assert layer_names(model, images) == []
    for f in (grad_cam, layer_cam, guided_grad_cam):
        with pytest.raises(ValueError, match="no feature map"):
            f(model, images)
    with pytest.raises(ValueError, match="CAM needs"):
        cam(model, images)


def test_a_trunk_that_runs_without_autograd_is_named_as_the_reason() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.trunk(x)
            return self.linear(x.relu().mean((2, 3)))

    with pytest.raises(ValueError, match=r"torch\.no_grad"):
        grad_cam(seeded(Frozen), pictures(2, 3, 6, 6))


@dataclass
class Found:
    logits: Tensor
    masks: Tensor


class Masks(nn.Module):
    """Gives its masks in a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.masks = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Found:
        masks = self.masks(self.body(x).relu())
        return Found(masks.mean((2, 3)), masks)


def test_a_map_in_a_dataclass_is_the_model_s_own_output() -> None:
    images = pictures(2, 3, 8, 9)
    shown = record(Masks(), images, target=lambda found: found.masks[:, 1].mean((1, 2)))
    assert shown.layers == ["body"]
    pooled = record(Masks(), images, target=lambda found: found.logits[:, 1])
    assert pooled.layers == ["body"]


# ---- names, runs and positions out of the ordinary -----------------------------------------------


def test_a_layer_whose_own_name_ends_like_a_run() -> None:
    class Numbered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("conv", nn.Conv2d(3, 4, 3))
            self.add_module("conv#2", nn.Conv2d(3, 4, 3))
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            first, second = self._modules["conv"](x), self._modules["conv#2"](x)
            return self.linear((first + 2 * second).mean((2, 3)))

    model, images = seeded(Numbered), pictures(2, 3, 8, 8)
    assert layer_names(model, images) == ["conv", "conv#2"]
    for name, times in (("conv", 1), ("conv#2", 2)):
        A = dict(model.named_modules())[name](images)
        expected = times * torch.einsum("k,nkij->nij", model.linear.weight[1] / 36, A)
        assert_close(grad_cam(model, images, name, 1, relu=False), expected.detach())
    assert list(record(model, images, ["conv", "conv#2"]).features) == ["conv", "conv#2"]


def test_a_run_that_there_is_not() -> None:
    model, images = seeded(OutOfOrder), pictures(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"'early' runs only once on maps: its name is 'early'\."):
        grad_cam(model, images, "early#2")


@pytest.mark.parametrize("wrap", [lambda m: torch.compile(m, backend="eager"), nn.DataParallel])
def test_every_name_of_a_wrapped_layer_works(wrap: type[nn.Module]) -> None:
    model, images = seeded(OutOfOrder), pictures(2, 3, 8, 8)
    expected = grad_cam(model, images, "late.0", 1)
    model.late[0] = wrap(model.late[0])
    model.late = wrap(model.late)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    name = next(name for name in names if "late" in name)
    assert len(name.split(".")) == 4
    for layer in (name, "late.0", model.late, dict(model.named_modules())[name]):
        found = grad_cam(model, images, layer, 1)
        assert_close(found, grad_cam(model, images, "late", 1) if layer is model.late else expected)


class CallsForward(nn.Module):
    """Calls a layer by its forward, and gives two maps in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.both, self.linear = Both(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.both(self.second.forward(self.first(x)))
        return self.linear((a + b).mean((2, 3)))


class Both(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.relu(), x.sin()


@pytest.mark.parametrize(
    ("layer", "says"),
    [("second", r"never ran, or only by a call of its forward\(\)"), ("both", "is a tuple")],
)
def test_what_reshape_transform_cannot_read_is_not_sent_there(layer: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        grad_cam(seeded(CallsForward), pictures(2, 3, 8, 8), layer)
    assert "reshape_transform" not in str(raised.value)


def test_maps_of_one_position() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="maps are of one position: give larger images"):
        grad_cam(model, pictures(2, 3, 1, 1))


class Warped(nn.Module):
    """A spatial transformer: what the convolution sees is not where it was in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.where, self.conv, self.linear = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        theta = self.where(x).mean((2, 3)).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, align_corners=False)
        return self.linear(self.conv(x).mean((2, 3)))


@pytest.mark.parametrize("layer", [None, "conv"])
def test_a_map_behind_moved_positions_is_told(layer: str | None) -> None:
    model, images = seeded(Warped), pictures(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"positions are moved.*'where'.*reshape_transform="):
        grad_cam(model, images, layer)
    assert layer_names(model, images) == ["where"]
    with pytest.raises(ValueError, match=r"'conv', and before that positions are moved.*grad_cam"):
        cam(model, images)
    warped = grad_cam(model, images, "conv", 1, reshape_transform=lambda y: y)
    assert warped.shape == (2, 6, 6)


class Mirrored(nn.Module):
    """Test-time augmentation: the scores of an image and of its mirror image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.linear(self.conv(y).relu().mean((2, 3))) for y in (x, x.flip(3)))


def test_the_map_of_a_mirrored_run_is_that_of_the_image() -> None:
    model, images = seeded(Mirrored), pictures(2, 3, 8, 8)
    A = model.conv(images.flip(3)).detach().requires_grad_()
    (g,) = torch.autograd.grad(model.linear(A.relu().mean((2, 3)))[:, 1].sum(), A)
    expected = torch.einsum("nk,nkij->nij", g.mean((2, 3)), A).flip(2).detach()
    assert_close(grad_cam(model, images, "conv#2", 1, relu=False), expected)


def test_the_map_of_a_half_is_not_laid_on_the_whole() -> None:
    class Halves(Mirrored):
        def forward(self, x: Tensor) -> Tensor:
            return self.linear((self.conv(x[..., :8]) - self.conv(x[..., 8:])).abs().mean((2, 3)))

    for layer in ("conv#1", None):
        with pytest.raises(ValueError, match=r"no feature map.*positions are.*cut off"):
            grad_cam(seeded(Halves), pictures(2, 3, 8, 16), layer)
