"""camwidgets.scoring.sanity: which layers become random, and how alike two maps are."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from camwidgets.scoring import cascading, independent, spearman, ssim


class Net(nn.Module):
    """Registered in another order than it runs in; one layer never runs, one runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.unused = nn.Linear(4, 3)
        self.twice = nn.Conv2d(4, 4, 1)
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.middle = nn.Conv2d(4, 4, 3, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.twice(self.middle(self.twice(self.trunk(images))))
        return self.head(features.mean(dim=(2, 3)))


FROM_THE_TOP = ["head", "twice", "middle", "trunk.0"]
WITH = {"trunk.0": {"trunk.0", "trunk.1"}}  # a batch norm is reset with the layer before it


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net().train()
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8) * 2 + 1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 8, 8)


def changed(model: nn.Module, other: nn.Module) -> set[str]:
    """Names of the layers in which any parameter or statistic differs."""
    mine, theirs = model.state_dict(), other.state_dict()
    return {name.rpartition(".")[0] for name in mine if not torch.equal(mine[name], theirs[name])}


def test_cascading_reaches_one_layer_more_at_each_step(net, images):
    names = []
    for name, randomised in cascading(net, images):
        names.append(name)
        assert changed(net, randomised) == set().union(*(WITH.get(n, {n}) for n in names))
    assert names == FROM_THE_TOP


def test_independent_changes_the_named_layer_alone(net, images):
    names = []
    for name, randomised in independent(net, images):
        names.append(name)
        assert changed(net, randomised) == WITH.get(name, {name})
    assert names == FROM_THE_TOP


def test_every_parameter_of_a_layer_is_drawn_anew(net, images):
    _, randomised = list(cascading(net, images))[-1]
    learned = dict(net.named_parameters())
    for name, parameter in randomised.named_parameters():
        assert torch.equal(parameter, learned[name]) == name.startswith("unused"), name
    assert torch.equal(randomised.trunk[1].running_mean, torch.zeros(4))


@pytest.mark.parametrize("randomise", [cascading, independent])
def test_the_copies_are_the_caller_s_own(net, images, randomise):
    copies = [randomised for _, randomised in randomise(net, images)]
    assert len({id(copy) for copy in [net, *copies]}) == 5
    for name, randomised in randomise(net, images):
        if name == "twice":  # whatever the caller does to one copy, the next is not touched by it
            with torch.no_grad():
                randomised.trunk[0].weight.zero_()
        elif name == "middle":
            assert torch.equal(randomised.trunk[0].weight, net.trunk[0].weight)
    assert not any(module.training for copy in copies for module in copy.modules())


@pytest.mark.parametrize("randomise", [cascading, independent])
def test_the_seed_decides(net, images, randomise):
    def weights(seed: int) -> list:
        return [copy.head.weight for _, copy in randomise(net, images, seed)][:1]

    assert torch.equal(weights(1)[0], weights(1)[0])
    assert not torch.equal(weights(1)[0], weights(2)[0])
    alone, cascade = dict(independent(net, images)), dict(cascading(net, images))
    assert torch.equal(alone["middle"].middle.weight, cascade["middle"].middle.weight)


def test_a_norm_that_runs_first_is_reset_with_the_last_stop(images):
    norm = nn.BatchNorm2d(3)
    net = nn.Sequential(norm, nn.Conv2d(3, 3, 1), nn.GroupNorm(1, 3), nn.Conv2d(3, 2, 1)).train()
    net(images * 2 + 1)
    nn.init.normal_(net[2].weight)
    steps = list(cascading(net, images))
    assert [name for name, _ in steps] == ["3", "1"]
    assert changed(net, steps[0][1]) == {"3"}
    assert changed(net, steps[1][1]) == {"0", "1", "2", "3"}


def test_layers_of_one_shape_get_different_weights(images):
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    _, randomised = list(cascading(net, images))[-1]
    assert not torch.equal(randomised[0].weight, randomised[1].weight)


@pytest.mark.parametrize("randomise", [cascading, independent])
def test_the_model_and_the_random_state_stay(net, images, randomise):
    net.trunk[1].eval()
    net(images).sum().backward()
    flags = [module.training for module in net.modules()]

    def tensors() -> list[torch.Tensor]:
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        return [*net.state_dict().values(), *gradients, images, torch.get_rng_state()]

    before = [tensor.clone() for tensor in tensors()]
    for _ in randomise(net, images):
        assert torch.equal(torch.get_rng_state(), before[-1])
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(), strict=True))
    assert [module.training for module in net.modules()] == flags
    assert not any(module._forward_hooks for module in net.modules())


def test_a_layer_that_cannot_be_reset_is_named(images):
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * x

    net = nn.Sequential(nn.Conv2d(3, 3, 1), Scale())
    with pytest.raises(ValueError, match=r"layer '1' \(Scale\) has parameters but no"):
        next(cascading(net, images))


# ---- spearman ------------------------------------------------------------------------------------


def naive_spearman(a: list[float], b: list[float]) -> float:
    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < value for other in values) + (values.count(value) + 1) / 2
            for value in values
        ]

    x, y = ranks(a), ranks(b)
    middle = (len(a) + 1) / 2
    top = sum((p - middle) * (q - middle) for p, q in zip(x, y, strict=True))
    spread = [sum((p - middle) ** 2 for p in rank) for rank in (x, y)]
    return top / math.sqrt(spread[0] * spread[1])


def test_spearman_equals_a_naive_replica_with_ties():
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(0, 4, (20, 4, 6), generator=generator).float()
    b = torch.randint(0, 7, (20, 4, 6), generator=generator).float() + a
    expected = [
        naive_spearman(x.flatten().tolist(), y.flatten().tolist())
        for x, y in zip(a, b, strict=True)
    ]
    assert spearman(a, b).tolist() == pytest.approx(expected, abs=1e-6)


def test_spearman_by_hand():
    a = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    b = torch.tensor([[[10.0, 30.0, 20.0, 40.0]]])  # 1 - 6·(0 + 1 + 1 + 0) / (4·15)
    assert spearman(a, b).item() == pytest.approx(0.8)


def test_spearman_sees_the_order_alone():
    a = torch.rand(3, 8, 8, dtype=torch.float64)
    one = torch.ones(3, dtype=torch.float64)
    assert torch.allclose(spearman(a, 7 * a), one)
    assert torch.allclose(spearman(a, a.exp().numpy()), one)
    assert torch.allclose(spearman(a, -a), -one)


def test_spearman_of_a_constant_map_is_not_a_number():
    maps = torch.rand(2, 4, 4)
    blank = maps.clone()
    blank[0] = 0
    assert spearman(maps, blank).isnan().tolist() == [True, False]


def test_spearman_of_large_maps_keeps_its_precision():
    a = torch.rand(1, 300, 300, generator=torch.Generator().manual_seed(0))
    assert spearman(a, a).item() == pytest.approx(1, abs=1e-5)
    shuffled = a.flatten()[torch.randperm(90000, generator=torch.Generator().manual_seed(1))]
    assert spearman(a, shuffled.view_as(a)).item() == pytest.approx(0, abs=0.015)


# ---- ssim ----------------------------------------------------------------------------------------


def naive_ssim_at(a: torch.Tensor, b: torch.Tensor, row: int, column: int) -> float:
    """One position of Wang et al. 2004, with weighted sums over the 11 × 11 window."""
    places = [(y, x) for y in range(row - 5, row + 6) for x in range(column - 5, column + 6)]
    places = [(y, x) for y, x in places if 0 <= y < a.shape[0] and 0 <= x < a.shape[1]]
    weights = [math.exp(-((y - row) ** 2 + (x - column) ** 2) / 4.5) for y, x in places]
    total = sum(weights)
    pairs = [(w / total, a[p].item(), b[p].item()) for w, p in zip(weights, places, strict=True)]
    mean_a, mean_b = sum(w * x for w, x, _ in pairs), sum(w * y for w, _, y in pairs)
    var_a = sum(w * (x - mean_a) ** 2 for w, x, _ in pairs)
    var_b = sum(w * (y - mean_b) ** 2 for w, _, y in pairs)
    both = sum(w * (x - mean_a) * (y - mean_b) for w, x, y in pairs)
    c1, c2 = 0.0001, 0.0009
    return ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )


@pytest.mark.parametrize("size", [(4, 4), (13, 12)])
def test_ssim_equals_a_naive_replica(size):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, *size, generator=generator, dtype=torch.float64)
    a, b = ((m - m.min()) / (m.max() - m.min()) for m in (a, b))
    positions = [(y, x) for y in range(size[0]) for x in range(size[1])]
    expected = sum(naive_ssim_at(a, b, *place) for place in positions) / len(positions)
    assert ssim(3 * a[None] + 1, 0.2 * b[None] - 5).item() == pytest.approx(expected, rel=1e-6)


def test_ssim_of_a_map_with_itself_is_one_and_it_is_symmetric():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 16, 16, generator=generator)
    assert torch.allclose(ssim(a, a), torch.ones(5))
    assert torch.allclose(ssim(a, b), ssim(b, a))
    assert (ssim(a, b) < 0.5).all()
    assert (ssim(a, -a) < 0).all()


def test_ssim_of_a_blank_map():
    blank, maps = torch.zeros(1, 16, 16), torch.rand(1, 16, 16)
    assert ssim(blank, blank + 3).item() == pytest.approx(1)
    assert ssim(blank, maps).item() < 0.05


@pytest.mark.parametrize("similarity", [spearman, ssim])
def test_maps_that_do_not_fit_are_refused(similarity):
    with pytest.raises(ValueError, match="they must agree"):
        similarity(torch.rand(2, 4, 4), torch.rand(2, 4, 5))
    with pytest.raises(ValueError, match=r"b has shape \(4, 4\)"):
        similarity(torch.rand(2, 4, 4), torch.rand(4, 4))
