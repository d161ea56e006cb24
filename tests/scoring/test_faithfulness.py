"""camwidgets.scoring.faithfulness: curves by hand, imputation against a dense solver, no traces."""

from __future__ import annotations

import math

import pytest
import torch
from nets import gap_net
from torch import nn

from camwidgets.scoring import area, deletion, impute, insertion, occlusion, road
from camwidgets.scoring.faithfulness import baseline_image, blur


class Weighted(nn.Module):
    """Logits (Σ w·x, 0): a model whose answer can be worked out on paper."""

    def __init__(self, weights: list) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float32))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = (images * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def logit(output: torch.Tensor) -> torch.Tensor:
    return output[:, 0]


IMAGE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])  # mean 2.5
HEAT = IMAGE[:, 0]  # the pixel 4 is the hottest
MODEL = Weighted([[1, 10], [100, 1000]])


# ---- curves --------------------------------------------------------------------------------------


def test_deletion_by_hand():
    curve = deletion(MODEL, IMAGE, HEAT, logit, steps=4)
    assert curve.tolist() == [[4321, 2821, 2771, 2776, 2777.5]]
    assert area(curve).tolist() == [2979.3125]
    assert deletion(MODEL, IMAGE, HEAT, logit, steps=2).tolist() == [[4321, 2771, 2777.5]]


def test_insertion_by_hand():
    curve = insertion(MODEL, IMAGE, HEAT, logit, steps=4, baseline="mean")
    assert curve.tolist() == [[2777.5, 4277.5, 4327.5, 4322.5, 4321]]


def test_a_class_is_watched_by_its_probability():
    model = Weighted([[0, 0], [0, 1]])
    for target, sign in ((0, 1), (1, -1)):
        curve = deletion(model, IMAGE, HEAT, target, steps=1)[0]
        expected = [1 / (1 + math.exp(-sign * score)) for score in (4, 2.5)]
        assert curve.tolist() == pytest.approx(expected)


def test_the_top_class_is_that_of_the_unchanged_image():
    model = Weighted([[0, 0], [-1, 1]])  # the score is 1 before, -1.5 and then 0 after
    images = torch.cat([IMAGE, IMAGE.flip(3)])  # the second one's top class is 1
    probability = deletion(model, images, images[:, 0], steps=4)
    each = deletion(model, images, images[:, 0], torch.tensor([0, 1]), steps=4)
    assert torch.equal(probability, each)
    assert probability[0].tolist() == pytest.approx(
        [1 / (1 + math.exp(-score)) for score in (1, -0.5, 0, 0, 0)]
    )


@pytest.mark.parametrize("baseline", ["mean", "blur"])
def test_inserting_is_deleting_backwards(baseline):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 8, 6, generator=generator)
    heat = torch.rand(5, 8, 6, generator=generator)
    model = gap_net(classes=3)
    rising = insertion(model, images, heat, 1, steps=6, baseline=baseline)
    falling = deletion(model, images, -heat, 1, steps=6, baseline=baseline)
    assert torch.allclose(rising, falling.flip(1))


@pytest.mark.parametrize("score", [deletion, insertion, road])
def test_only_the_order_of_the_heat_counts(score):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 8, 6, generator=generator)
    heat = torch.randint(-3, 4, (5, 8, 6), generator=generator).double()
    model = gap_net(classes=3)
    expected = score(model, images, heat)
    assert torch.equal(score(model, images, heat.exp().numpy() * 1e-9), expected)
    assert not torch.allclose(score(model, images, -heat), expected)


def test_equal_pixels_are_taken_at_random_and_the_same_each_time():
    columns = torch.arange(16.0).view(1, 1, 16, 1).expand(1, 1, 16, 16)
    model = Weighted([[1 / 256] * 16] * 8 + [[0] * 16] * 8)  # reads the upper half
    blank = torch.zeros(1, 16, 16)
    half = [
        deletion(model, columns, blank, logit, steps=2, seed=seed)[0, 1].item()
        for seed in (0, 0, 1)
    ]
    start, end = 3.5 / 2, 7.5 / 2
    assert half[0] == half[1] != half[2]
    assert half[0] == pytest.approx((start + end) / 2, abs=0.3)  # from the top it would be `end`


def test_faithful_heat_falls_earlier_and_rises_earlier_than_its_opposite():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(20, 1, 8, 8, generator=generator)
    weights = torch.randn(8, 8, generator=generator)
    model = Weighted(weights.tolist())
    heat = weights * (images - images.mean(dim=(2, 3), keepdim=True))[:, 0]
    for score, better in ((deletion, -1), (insertion, 1)):
        good = area(score(model, images, heat, logit, baseline="mean"))
        bad = area(score(model, images, -heat, logit, baseline="mean"))
        assert (better * good > better * bad).all()


def test_the_area_of_a_straight_line_is_its_middle():
    assert area(torch.linspace(0.2, 0.8, 7)[None]).tolist() == pytest.approx([0.5])
    with pytest.raises(ValueError, match="steps"):
        area(torch.rand(5))


# ---- baseline images -----------------------------------------------------------------------------


def test_the_mean_baseline_is_each_image_s_own_colour():
    images = torch.rand(2, 3, 4, 5)
    blank = baseline_image(images, "mean")
    assert blank.shape == images.shape
    assert torch.allclose(blank[1, 2, 3, 4], images[1, 2].mean())


def test_blur_equals_a_sum_over_the_window():
    image = torch.rand(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma, reach = 1.0, 3  # 3.5 σ cuts at 3 pixels
    for row, column in ((2, 4), (0, 0), (5, 3)):
        total = norm = 0.0
        for y in range(max(0, row - reach), min(6, row + reach + 1)):
            for x in range(max(0, column - reach), min(9, column + reach + 1)):
                weight = math.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
                total, norm = total + weight * image[y, x].item(), norm + weight
        assert blur(image, sigma)[row, column].item() == pytest.approx(total / norm, rel=1e-6)


def test_the_blur_baseline_keeps_the_coarse_colours():
    flat = torch.full((1, 3, 32, 32), 0.3)
    assert torch.allclose(baseline_image(flat, "blur"), flat)
    noise = torch.rand(1, 3, 32, 32)
    assert baseline_image(noise, "blur").std() < 0.3 * noise.std()


# ---- imputation and ROAD -------------------------------------------------------------------------


def dense_imputation(image: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """One equation per removed pixel of an image (H, W), by elimination."""
    height, width = image.shape
    unknown = {tuple(place): i for i, place in enumerate(hole.nonzero().tolist())}
    matrix = torch.zeros(len(unknown), len(unknown), dtype=torch.float64)
    known = torch.zeros(len(unknown), dtype=torch.float64)
    for (y, x), i in unknown.items():
        for dy, dx in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]:
            place = (y + dy, x + dx)
            if not (0 <= place[0] < height and 0 <= place[1] < width):
                continue
            weight = 1 / 12 if dy and dx else 1 / 6
            matrix[i, i] += weight
            if place in unknown:
                matrix[i, unknown[place]] -= weight
            else:
                known[i] += weight * image[place].double()
    filled = image.double().clone()
    filled[hole] = torch.linalg.solve(matrix, known)
    return filled


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_imputation_solves_the_equations_of_the_paper(share):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 12, 9, generator=generator)
    hole = torch.rand(2, 12, 9, generator=generator) < share
    hole[1, :6] = True  # a large hole that reaches the border
    filled = impute(images, hole, noise=0)
    for n in range(2):
        for channel in range(3):
            expected = dense_imputation(images[n, channel], hole[n]).float()
            assert torch.allclose(filled[n, channel], expected, atol=1e-3, rtol=0)


def test_a_hole_in_a_slope_is_filled_with_the_slope():
    slope = (torch.arange(10.0)[:, None] + 3 * torch.arange(8.0))[None, None]
    hole = torch.zeros(1, 10, 8, dtype=torch.bool)
    hole[:, 2:9, 1:6] = True
    assert torch.allclose(impute(slope, hole, noise=0), slope, atol=0.01, rtol=0)


def test_the_noise_is_only_in_the_hole():
    images = torch.zeros(1, 3, 64, 64)
    hole = torch.zeros(1, 64, 64, dtype=torch.bool)
    hole[:, :32] = True
    filled = impute(images, hole, noise=0.2)
    assert torch.equal(filled[:, :, 32:], images[:, :, 32:])
    assert filled[:, :, :32].std().item() == pytest.approx(0.2, rel=0.05)
    assert torch.equal(impute(images, hole, noise=0.2), filled)
    assert not torch.equal(impute(images, hole, noise=0.2, seed=1), filled)


def test_nothing_removed_and_everything_removed():
    images = torch.rand(2, 1, 4, 4)
    assert torch.equal(impute(images, torch.zeros(2, 4, 4, dtype=torch.bool)), images)
    with pytest.raises(ValueError, match="at least one must stay"):
        impute(images, torch.ones(2, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="must be bool"):
        impute(images, torch.zeros(2, 4, 4))


def test_road_by_hand():
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1  # one bright pixel: imputed, it is as dark as the rest
    model = Weighted([[5.0] * 5] * 5)
    drops = road(model, image, image[:, 0], logit, fractions=(1 / 25, 0.5), noise=0)
    assert drops[0].tolist() == pytest.approx([5, 5])
    least_first = road(model, image, -image[:, 0], logit, fractions=(1 / 25,), noise=0)
    assert least_first[0].tolist() == pytest.approx([0])
    probability = road(model, image, image[:, 0], fractions=(0.2,), noise=0)
    assert probability.item() == pytest.approx(1 / (1 + math.exp(-5)) - 0.5, abs=1e-6)


@pytest.mark.parametrize("fractions", [(), (0.0, 0.5), (1.0,)])
def test_road_needs_fractions_that_leave_something(fractions):
    with pytest.raises(ValueError, match="between 0 and 1"):
        road(MODEL, IMAGE, HEAT, fractions=fractions)


# ---- occlusion -----------------------------------------------------------------------------------


def test_occlusion_of_a_linear_model_by_hand():
    assert occlusion(MODEL, IMAGE, logit, size=(2, 2))[0].tolist() == [[-1.5, -5], [50, 1500]]
    assert occlusion(MODEL, IMAGE, logit, size=(1, 2))[0].tolist() == [[48.5, 1495]]


def test_occlusion_takes_any_size():
    heat = occlusion(gap_net(classes=3), torch.rand(2, 3, 7, 10), size=(2, 3))
    assert heat.shape == (2, 2, 3)


# ---- nothing is left behind, nothing is guessed --------------------------------------------------

CALLS = {
    "deletion": deletion,
    "insertion": insertion,
    "road": road,
    "occlusion": lambda model, images, heat, target=None: occlusion(
        model, images, target, size=(2, 2)
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(call, fails):
    model = gap_net(classes=3).train()
    model[3].eval()
    model[0].weight.requires_grad_(False)
    model(torch.rand(2, 3, 8, 8)).sum().backward()
    images = torch.rand(4, 3, 8, 8, requires_grad=True)
    heat = torch.rand(4, 8, 8)

    def state() -> list:
        tensors = [*model.state_dict().values(), images, heat, torch.get_rng_state()]
        tensors += [p.grad for p in model.parameters() if p.grad is not None]
        flags = [m.training for m in model.modules()] + [len(m._forward_hooks) for m in model]
        flags += [p.requires_grad for p in model.parameters()] + [images.grad is None]
        return [[t.detach().clone() for t in tensors], [*flags, torch.is_grad_enabled()]]

    before = state()
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            call(model, images, heat, on_purpose)
    else:
        assert not call(model, images, heat).requires_grad
    after = state()
    assert before[1] == after[1]
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))


def on_purpose(output: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_models_are_watched_in_eval_mode(call):
    images, heat = torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8)
    assert torch.equal(
        call(gap_net(classes=3).train(), images, heat, 1),
        call(gap_net(classes=3), images, heat, 1),
    )


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_what_does_not_fit_is_refused(call):
    images, heat = torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8)
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        call(gap_net(classes=3), images[0], heat)
    with pytest.raises(ValueError, match="floats"):
        call(gap_net(classes=3), (images * 255).byte(), heat)
    with pytest.raises(ValueError, match="not among the model's classes"):
        call(gap_net(classes=3), images, heat, 3)
    with pytest.raises(ValueError, match="softmax is always 1"):
        call(nn.Sequential(nn.Flatten(), nn.Linear(192, 1)), images, heat)


def test_regressions_are_watched_as_they_are():
    regression = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Flatten(0))
    curve = deletion(regression, IMAGE, HEAT, steps=1)
    assert curve[0, 0].item() == pytest.approx(regression(IMAGE).item())


def test_maps_of_another_size_are_refused():
    images = torch.rand(2, 3, 8, 8)
    for score in (deletion, insertion, road):
        with pytest.raises(ValueError, match=r"camwidgets\.upsample"):
            score(gap_net(classes=3), images, torch.rand(2, 4, 4))
    with pytest.raises(ValueError, match="1 step or more"):
        deletion(gap_net(classes=3), images, images[:, 0], steps=0)
    with pytest.raises(ValueError, match='"mean" or "blur"'):
        deletion(gap_net(classes=3), images, images[:, 0], baseline="black")


def test_until_looks_closely_at_the_first_pixels():
    half = deletion(MODEL, IMAGE, HEAT, logit, steps=2, until=0.5)
    assert half.tolist() == [[4321, 2821, 2771]]
    half = insertion(MODEL, IMAGE, HEAT, logit, steps=2, until=0.5, baseline="mean")
    assert half.tolist() == [[2777.5, 4277.5, 4327.5]]
    for share in (0, 1.1):
        with pytest.raises(ValueError, match="above 0 up to 1"):
            deletion(MODEL, IMAGE, HEAT, logit, until=share)
