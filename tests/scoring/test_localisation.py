"""camwidgets.scoring.localisation: values by hand, identities, awkward cases, baselines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from camwidgets.scoring import (
    bootstrap_interval,
    box,
    box_iou,
    centre_map,
    choose_threshold,
    edge_map,
    mass,
    pointing_hit,
    rank_accuracy,
    resolution_ceiling,
    uniform_map,
    wilson,
)

SCORES = {
    "pointing_hit": pointing_hit,
    "pointing_hit_2": lambda heat, mask: pointing_hit(heat, mask, tolerance=2),
    "mass": mass,
    "rank_accuracy": rank_accuracy,
    "box_iou": lambda heat, mask: box_iou(heat, mask, 0.4),
}
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())


def at(*points: tuple[int, int], size: tuple[int, int] = (5, 7)) -> torch.Tensor:
    """A batch of one mask, True at the (row, column) points."""
    mask = torch.zeros(1, *size, dtype=torch.bool)
    for row, column in points:
        mask[0, row, column] = True
    return mask


def block(rows: slice, columns: slice, size: tuple[int, int] = (5, 7)) -> torch.Tensor:
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, rows, columns] = True
    return mask


# ---- every score ---------------------------------------------------------------------------------


@every_score
def test_a_mask_as_its_own_map_scores_one(score):
    mask = torch.cat([block(slice(1, 3), slice(2, 6)), at((4, 0)), at((0, 0), (1, 1))])
    assert score(mask.float(), mask).tolist() == [1, 1, 1]


@every_score
def test_an_empty_mask_is_not_counted(score):
    heat = torch.rand(2, 5, 7)
    mask = torch.cat([at(), at((2, 3))])
    got = score(heat, mask)
    assert got.isnan().tolist() == [True, False]


@every_score
@pytest.mark.parametrize("factor", [2.0**-80, 0.37, 1e6])
def test_scores_do_not_depend_on_the_scale(score, factor):
    generator = torch.Generator().manual_seed(3)
    heat = torch.randn(20, 9, 8, generator=generator)
    mask = torch.rand(20, 9, 8, generator=generator) < 0.3
    assert torch.allclose(score(heat * factor, mask), score(heat, mask))


@every_score
def test_images_are_scored_on_their_own(score):
    generator = torch.Generator().manual_seed(4)
    heat = torch.rand(6, 9, 8, generator=generator)
    mask = torch.rand(6, 9, 8, generator=generator) < 0.3
    singly = torch.cat([score(heat[i : i + 1], mask[i : i + 1]) for i in range(6)])
    assert torch.equal(score(heat, mask), singly)


@every_score
def test_numpy_and_other_float_types_are_taken(score):
    heat, mask = torch.rand(3, 5, 7).bfloat16(), torch.rand(3, 5, 7) < 0.5
    expected = score(heat.float(), mask)
    assert expected.dtype == torch.float32
    assert torch.equal(score(heat, mask), expected)
    assert torch.equal(score(heat.float().numpy(), mask.numpy()), expected)
    assert score(heat.double(), mask).dtype == torch.float64


@every_score
def test_what_does_not_fit_is_refused(score):
    heat, mask = torch.rand(2, 5, 7), torch.rand(2, 5, 7) < 0.5
    with pytest.raises(ValueError, match=r"single map becomes a batch of one by heat\[None\]"):
        score(heat[0], mask[0])
    with pytest.raises(ValueError, match=r"camwidgets\.upsample"):
        score(heat[:, :4], mask)
    with pytest.raises(TypeError, match="must be bool"):
        score(heat, mask.float())
    with pytest.raises(ValueError, match=r"mask has shape \(5, 7\)"):
        score(heat, mask[0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        score(heat / 0, mask)


@every_score
def test_heat_that_wants_gradients_is_left_alone(score):
    heat = torch.rand(1, 5, 7, requires_grad=True)
    before = heat.detach().clone()
    assert not score(heat, at((2, 3))).requires_grad
    assert torch.equal(heat, before)
    assert heat.grad is None


@pytest.mark.parametrize("name", ["pointing_hit", "mass", "rank_accuracy"])
def test_random_heat_scores_the_share_of_the_mask(name):
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(4000, 10, 10, generator=generator)
    mask = block(slice(2, 5), slice(1, 9), size=(10, 10)).expand(4000, 10, 10)
    assert SCORES[name](heat, mask).mean().item() == pytest.approx(0.24, abs=0.02)


@pytest.mark.parametrize("name", ["pointing_hit", "mass", "rank_accuracy"])
@pytest.mark.parametrize("level", [1.0, 7.5])
def test_a_constant_map_scores_chance(name, level):
    mask = block(slice(0, 2), slice(0, 7))
    assert SCORES[name](torch.full((1, 5, 7), level), mask).item() == pytest.approx(2 / 5)


def test_a_blank_map_is_at_chance_by_rank_and_zero_by_mass():
    blank, mask = torch.zeros(1, 5, 7), block(slice(0, 2), slice(0, 7))
    assert pointing_hit(blank, mask).item() == pytest.approx(2 / 5)
    assert rank_accuracy(blank, mask).item() == pytest.approx(2 / 5)
    assert mass(blank, mask).item() == 0
    assert box(blank, 0.2).tolist() == [[0, 0, 0, 0]]
    assert box_iou(blank, mask, 0.2).item() == 0


# ---- pointing game -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerance", "hit"), [(0, 0), (1, 0), (2, 0), (2.2, 0), (math.sqrt(5), 1), (2.9, 1), (30, 1)]
)
def test_the_tolerance_is_the_radius_of_a_disc(tolerance, hit):
    heat = at((2, 3)).float()
    knight_move_away = at((1, 5))  # distance √5 = 2.236…
    assert pointing_hit(heat, knight_move_away, tolerance).item() == hit


def test_the_disc_does_not_reach_round_the_border():
    assert pointing_hit(at((2, 6)).float(), at((2, 0)), tolerance=5).item() == 0


def test_tied_maxima_hit_by_their_share():
    heat = at((0, 0), (0, 6), (4, 0), (4, 6)).float()
    assert pointing_hit(heat, at((0, 0))).item() == 0.25
    assert pointing_hit(heat, at((0, 1), (4, 5)), tolerance=1).item() == 0.5


def test_a_negative_map_still_has_a_hottest_pixel():
    heat = torch.full((1, 5, 7), -2.0)
    heat[0, 1, 1] = -1
    assert pointing_hit(heat, at((1, 1))).item() == 1


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="radius"):
        pointing_hit(torch.rand(1, 5, 7), at((1, 1)), tolerance=-1)


# ---- mass and rank accuracy ----------------------------------------------------------------------


def test_mass_by_hand():
    heat = torch.tensor([[[1.0, 3.0], [-9.0, 4.0]]])
    assert mass(heat, torch.tensor([[[True, False], [True, True]]])).item() == pytest.approx(5 / 8)


def test_rank_accuracy_by_hand():
    heat = torch.tensor([[[9.0, 7.0, 5.0], [8.0, 6.0, 1.0]]])
    mask = torch.tensor([[[True, True, True], [False, False, False]]])
    assert rank_accuracy(heat, mask).item() == pytest.approx(2 / 3)  # 9 and 7, not 8


def test_rank_accuracy_is_the_mean_over_all_ways_to_break_the_ties():
    generator = torch.Generator().manual_seed(1)
    heat = torch.randint(0, 3, (5, 3, 4), generator=generator).float()
    mask = torch.rand(5, 3, 4, generator=generator) < 0.4
    broken = heat + 0.5 * torch.rand(3000, 5, 3, 4, generator=generator)
    expected = torch.empty(5)
    for i in range(5):
        hottest = broken[:, i].flatten(1).topk(int(mask[i].sum()), dim=1).indices
        expected[i] = mask[i].flatten()[hottest].float().mean()
    assert torch.allclose(rank_accuracy(heat, mask), expected, atol=0.03, rtol=0)


# ---- boxes ---------------------------------------------------------------------------------------


def test_the_box_is_that_of_the_largest_component():
    heat = torch.zeros(1, 6, 9)
    heat[0, 0, 0] = 1.0  # hottest, but a single pixel
    heat[0, 2:5, 3:8] = 0.5
    assert box(heat, 0.5).tolist() == [[3, 2, 8, 5]]
    assert box(heat, 0.51).tolist() == [[0, 0, 1, 1]]


def test_pixels_that_touch_at_a_corner_are_connected():
    assert box(at((1, 1), (2, 2), (3, 3)).float(), 0.5).tolist() == [[1, 1, 4, 4]]


def test_a_negative_map_has_no_box():
    assert box(torch.full((2, 3, 3), -1.0), 0.2).tolist() == [[0, 0, 0, 0]] * 2


def test_box_iou_by_hand():
    heat = block(slice(0, 2), slice(0, 4)).float()
    mask = block(slice(1, 3), slice(2, 6))
    assert box_iou(heat, mask, 0.5).item() == pytest.approx(2 / 14)
    apart = block(slice(4, 5), slice(5, 7))
    assert box_iou(heat, apart, 0.5).item() == 0


def test_the_mask_box_spans_all_parts_of_the_mask():
    heat = block(slice(1, 4), slice(1, 6)).float()
    assert box_iou(heat, at((1, 5), (3, 1)), 0.5).item() == 1


@pytest.mark.parametrize("share", [0, -0.1, 1.01])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(ValueError, match="at most 1"):
        box(torch.rand(1, 3, 3), share)


def test_choose_threshold_takes_the_share_whose_boxes_fit():
    heat = block(slice(1, 4), slice(1, 6)).float() * 0.5  # the object
    heat[0, 2, 3] = 1.0  # its hottest pixel
    heat = (heat + 0.2).expand(3, 5, 7)  # a background: peak 1.2, object 0.7, rest 0.2
    mask = block(slice(1, 4), slice(1, 6)).repeat(3, 1, 1)
    mask[2] = False  # not counted
    assert choose_threshold(heat, mask, shares=(0.1, 0.4, 0.5, 0.9)) == 0.4
    assert 0.2 / 1.2 < choose_threshold(heat, mask) < 0.7 / 1.2


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.95])
def test_choose_threshold_tries_from_5_to_95_per_cent_by_itself(share):
    """The object ends between this share and the step above it, and more shines just below."""
    heat = torch.full((1, 5, 7), share - 0.01)
    heat[0, 1:4, 1:6] = share + 0.01
    heat[0, 2, 3] = 1.0
    mask = block(slice(1, 4), slice(1, 6))
    assert choose_threshold(heat, mask) == pytest.approx(share)


@pytest.mark.parametrize("peak", [1.0, 8.0, 2.0**-20])
def test_a_box_holds_what_reaches_the_share_and_nothing_below(peak):
    heat = torch.tensor([[[0.0, 0.49, 0.5, 1.0, 0.5, 0.499, 0.0]]]) * peak
    assert box(heat, 0.5).tolist() == [[2, 0, 5, 1]]
    assert box(heat, 1.0).tolist() == [[3, 0, 4, 1]]


def test_choose_threshold_needs_objects_and_shares():
    with pytest.raises(ValueError, match="every mask is empty"):
        choose_threshold(torch.rand(1, 5, 7), at())
    with pytest.raises(ValueError, match="shares is empty"):
        choose_threshold(torch.rand(1, 5, 7), at((1, 1)), shares=())


# ---- baselines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [centre_map, uniform_map, edge_map])
def test_baselines_have_the_shape_of_a_map(make):
    images = torch.rand(3, 2, 6, 9)
    assert make(images).shape == (3, 6, 9)
    assert make((images * 255).byte().numpy()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        make(images[0])


def test_the_centre_map_is_hottest_in_the_middle_and_symmetric():
    heat = centre_map(torch.rand(1, 3, 5, 9))
    assert (heat[0] == heat.max()).nonzero().tolist() == [[2, 4]]
    assert torch.allclose(heat, heat.flip(1, 2))
    assert heat[0, 2, 4] == 1
    assert heat[0, 2, 0].item() == pytest.approx(math.exp(-0.5 * (4 / 2.25) ** 2))
    even = centre_map(torch.rand(1, 3, 4, 4))
    assert (even == even.max()).sum() == 4


def test_the_edge_map_by_hand():
    image = torch.zeros(1, 2, 5, 6)
    image[:, 0, :, 3:] = 2  # a step of 1 in the mean of the two channels
    assert edge_map(image)[0].tolist() == [[0, 0, 4, 4, 0, 0]] * 5
    turned = edge_map(image.transpose(2, 3))
    assert torch.equal(turned, edge_map(image).transpose(1, 2))
    assert edge_map(torch.full((1, 3, 4, 4), 0.7)).max() < 1e-6


def test_the_resolution_ceiling_is_the_mask_at_full_resolution():
    mask = torch.rand(2, 5, 7) < 0.4
    assert torch.equal(resolution_ceiling(mask, (5, 7)), mask.float())


def test_the_resolution_ceiling_by_hand():
    mask = block(slice(0, 2), slice(0, 1), size=(2, 4))
    # cells hold 1/2 and 0; the centres of the four columns lie at -1/4, 1/4, 3/4, 5/4 cells
    assert torch.allclose(
        resolution_ceiling(mask, (1, 2)), torch.tensor([[[0.5, 0.375, 0.125, 0.0]] * 2])
    )
    assert mass(resolution_ceiling(mask, (1, 2)), mask).item() == pytest.approx(0.5)


# ---- intervals -----------------------------------------------------------------------------------


def test_the_bootstrap_interval_is_that_of_the_normal_law_for_many_scores():
    scores = torch.randn(400, generator=torch.Generator().manual_seed(0)) + 5
    mean, low, high = bootstrap_interval(scores)
    half = 1.96 * scores.std().item() / math.sqrt(400)
    assert mean == pytest.approx(scores.mean().item())
    assert low == pytest.approx(mean - half, abs=0.015)
    assert high == pytest.approx(mean + half, abs=0.015)
    narrow = bootstrap_interval(scores, level=0.5)
    assert low < narrow[1] < mean < narrow[2] < high


def test_the_bootstrap_interval_leaves_nan_out():
    assert bootstrap_interval([math.nan, 0.5, 0.5, math.nan]) == (0.5, 0.5, 0.5)
    assert all(math.isnan(value) for value in bootstrap_interval([math.nan]))
    assert bootstrap_interval(np.array([1.0, math.nan, 0.0]))[0] == 0.5


def test_the_bootstrap_interval_depends_on_the_seed_alone():
    scores = torch.rand(30, generator=torch.Generator().manual_seed(2))
    state = torch.get_rng_state()
    first = bootstrap_interval(scores, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert bootstrap_interval(scores, seed=1) == first
    assert bootstrap_interval(scores, seed=2) != first


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [
        (8, 10, 0.490, 0.943),  # (0.8 + 0.192 ± 1.96 · √(0.016 + 0.0096)) / 1.384
        (10, 10, 0.722, 1.0),  # 10 / (10 + 1.96²) up to 1
        (0, 10, 0.0, 0.278),
        (1, 1, 0.207, 1.0),
        (50, 100, 0.404, 0.596),
    ],
)
def test_wilson_worked_out(hits, count, low, high):
    scores = [1.0] * hits + [0.0] * (count - hits)
    assert wilson(scores) == pytest.approx((hits / count, low, high), abs=5e-4)


def test_wilson_is_not_sure_where_the_bootstrap_is():
    every = torch.ones(200)
    assert bootstrap_interval(every) == (1, 1, 1)
    share, low, high = wilson(every)
    assert (share, high) == (1, 1)
    assert low == pytest.approx(200 / (200 + 1.96**2), abs=1e-4)
    assert wilson(every, level=0.5)[1] > low


def test_wilson_leaves_nan_out_and_takes_parts_of_a_hit():
    assert wilson([math.nan, 1, 0, math.nan]) == wilson(np.array([0.5, 0.5]))
    assert all(math.isnan(value) for value in wilson([math.nan]))


def test_wilson_refuses_what_is_no_share():
    with pytest.raises(ValueError, match="bootstrap_interval"):
        wilson([0.5, 1.2])
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson([1, 0], level=1)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_so_many_of_the_resampled_means_lie_outside(level):
    """Of ten thousand means drawn here, half of what the level leaves lies on either side."""
    scores = torch.rand(60, generator=torch.Generator().manual_seed(3)) ** 2
    _, low, high = bootstrap_interval(scores, level=level)
    drawn = np.random.default_rng(0).choice(scores.double().numpy(), (10000, 60)).mean(1)
    assert np.mean(drawn < low) == pytest.approx((1 - level) / 2, rel=0.15, abs=0.004)
    assert np.mean(drawn > high) == pytest.approx((1 - level) / 2, rel=0.15, abs=0.004)


@pytest.mark.parametrize("level", [0, 1, 1.5, -0.1])
@pytest.mark.parametrize("interval", [bootstrap_interval, wilson])
def test_a_level_lies_between_0_and_1(interval, level):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        interval([1.0, 0.0], level=level)


def test_one_bad_value_among_many_is_refused():
    heat = torch.ones(2, 4, 4)
    heat[1, 2, 3] = math.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        mass(heat, torch.ones(2, 4, 4, dtype=torch.bool))
