"""Exercises of lesson 06: scores for maps, and how sure such a score is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ._draws import distinct, normal, order, positive, sizes
from ._engine import Exercise, Mistake

Box = tuple[int, int, int, int]


# rank_accuracy


def rank_accuracy(heat: torch.Tensor, mask: torch.Tensor) -> float:
    """Of the n hottest pixels, n being the number of pixels in the mask: the share inside it.

    heat: float (H, W), all values different. mask: bool (H, W), not empty. Returns a number from
    0 to 1. (Arras et al. 2022, relevance rank accuracy)
    """
    hottest = heat.flatten().topk(int(mask.sum())).indices
    return mask.flatten()[hottest].float().mean().item()


def _heat(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(height * width, generator=generator).float()
    return (order / order.numel()).reshape(height, width) ** 2 * 5 - height % 2


def _heat_and_mask(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A map and a mask of a third of it that holds about half of the hottest pixels."""
    height, width = distinct(generator, 2, 5, 10)
    heat = _heat(height, width, generator)
    likely = 0.2 + 0.4 * (heat > heat.median())
    mask = torch.rand(height, width, generator=generator) < likely
    mask[0, 0], mask[-1, -1] = True, False
    return heat, mask


RANK_ACCURACY = Exercise(
    name="trust.rank_accuracy",
    reference=rank_accuracy,
    cases=_heat_and_mask,
    edges=(
        (order(3, 4), torch.ones(3, 4, dtype=torch.bool)),
        (order(3, 4), order(3, 4) == 11),
        (order(3, 4), order(3, 4) == 10),
        (order(4, 3) - 20, order(4, 3) > 8),
        (order(1, 6), order(1, 6) % 2 > 0),
        (order(6, 1), order(6, 1) % 3 > 0),
        (order(1, 1) - 1, torch.ones(1, 1, dtype=torch.bool)),
        (order(4, 4), order(4, 4) < 8),
        (order(66, 70) - 99, order(70, 66).T % 3 > 1),
    ),
    hints=(
        "How many pixels has the mask? Take as many of the hottest ones and see how many of "
        "them lie inside.",
        "`heat.flatten().topk(n).indices` are the places of the n hottest pixels; use them to "
        "look into `mask.flatten()`.",
        "`return mask.flatten()[___].float().mean().item()`",
    ),
    mistakes=(
        Mistake(
            lambda heat, mask: (heat[mask].sum() / heat.sum()).item(),
            "You computed a share of the heat (mass). Rank accuracy counts pixels; how hot "
            "they are does not matter.",
        ),
        Mistake(
            lambda heat, mask: float(mask.flatten()[heat.argmax()]),
            "You looked at the hottest pixel only: that is the pointing game.",
        ),
        Mistake(
            lambda heat, mask: mask.float().mean().item(),
            "You have the mask's share of the picture: what a map that knows nothing scores.",
        ),
        Mistake(
            lambda heat, mask: rank_accuracy(-heat, mask),
            "You took the coldest pixels: `topk` finds the largest values, `argsort` begins with "
            "the smallest.",
        ),
        Mistake(
            lambda heat, mask: rank_accuracy(heat, mask) * int(mask.sum()),
            "You counted the pixels; divide by how many pixels the mask has.",
        ),
        Mistake(
            lambda heat, mask: rank_accuracy(heat, mask) * int(mask.sum()) / mask.numel(),
            "You divided by all pixels of the picture; divide by those of the mask.",
        ),
        Mistake(
            lambda heat, mask: ((heat > heat.mean()) & mask).sum().item() / int(mask.sum()),
            "You took all pixels above the mean; take exactly as many as the mask has.",
        ),
    ),
)


# box_iou


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes.

    a, b: (left, top, right, bottom), whole numbers, right and bottom exclusive, none empty.
    Returns a number from 0 (they do not meet) to 1 (they are the same).
    """
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    overlap = width * height
    return overlap / (_area(a) + _area(b) - overlap)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _box(generator: torch.Generator) -> Box:
    left, top = sizes(generator, (0, 5), (0, 5))
    width, height = distinct(generator, 2, 4, 8)
    return left, top, left + width, top + height


def _two_boxes(generator: torch.Generator) -> tuple[Box, Box]:
    return _box(generator), _box(generator)


def _iou_of_sides(a: Box, b: Box, lowest: float) -> float:
    """Sides may be negative; their product is not below `lowest`."""
    sides = (min(a[2], b[2]) - max(a[0], b[0])), (min(a[3], b[3]) - max(a[1], b[1]))
    overlap = max(lowest, sides[0] * sides[1])
    return overlap / (_area(a) + _area(b) - overlap)


BOX_IOU = Exercise(
    name="trust.box_iou",
    reference=box_iou,
    cases=_two_boxes,
    edges=(
        ((0, 0, 2, 3), (5, 1, 7, 9)),
        ((0, 0, 4, 3), (5, 5, 7, 9)),
        ((1, 0, 8, 9), (3, 2, 6, 7)),
        ((1, 2, 4, 6), (1, 2, 4, 6)),
        ((0, 0, 1, 1), (0, 0, 1, 1)),
        ((2, 3, 3, 4), (0, 0, 9, 5)),
        ((0, 0, 2, 3), (2, 0, 5, 3)),
        ((0, 0, 3, 2), (0, 2, 3, 4)),
        ((5, 5, 9, 8), (0, 0, 3, 4)),
        ((0, 3, 20, 4), (6, 0, 7, 20)),
        ((0, 10, 30, 25), (20, 9, 32, 18)),
    ),
    hints=(
        "The intersection of two boxes is a box: where does it begin on the left, and where "
        "does it end on the right? What if it ends before it begins?",
        "width = min of the rights - max of the lefts, not below 0; the same downwards. The "
        "union is both areas less what was counted twice.",
        "`return overlap / (area_a + area_b - ___)`",
    ),
    mistakes=(
        Mistake(
            lambda a, b: box_iou(a, b) / (1 + box_iou(a, b)),
            "The overlap is counted twice in your union: subtract it once.",
        ),
        Mistake(
            lambda a, b: 2 * box_iou(a, b) / (1 + box_iou(a, b)),
            "That is Dice's coefficient, 2 · overlap / both areas; IoU divides by the union.",
        ),
        Mistake(
            lambda a, b: box_iou(a, b) * (_area(a) + _area(b)) / (1 + box_iou(a, b)),
            "You have the overlap's area; divide it by the union's.",
        ),
        Mistake(
            lambda a, b: box_iou(a, b) * (_area(a) + _area(b)) / (1 + box_iou(a, b)) / _area(a),
            "You divided by the first box alone; divide by the union of both.",
        ),
        Mistake(
            lambda a, b: box_iou(a, b) * (_area(a) + _area(b)) / (1 + box_iou(a, b)) / _area(b),
            "You divided by the second box alone; divide by the union of both.",
        ),
        Mistake(
            lambda a, b: box_iou(
                (a[0], a[1], a[2] + 1, a[3] + 1), (b[0], b[1], b[2] + 1, b[3] + 1)
            ),
            "You counted right and bottom as inside; they are exclusive: width = right - left.",
        ),
        Mistake(
            lambda a, b: _iou_of_sides(a, b, float("-inf")),
            "Boxes that do not meet have no overlap: a width or height below 0 counts as 0.",
        ),
        Mistake(
            lambda a, b: _iou_of_sides(a, b, 0),
            "Two negative sides multiply to an area that is not there: raise each side to 0 "
            "before you multiply.",
        ),
    ),
)


# delete_hottest


def delete_hottest(image: torch.Tensor, heat: torch.Tensor, share: float) -> torch.Tensor:
    """The image with its hottest pixels replaced by the image's mean colour.

    image: float (C, H, W). heat: float (H, W), all values different. share: 0 to 1; of the H · W
    pixels, int(share · H · W) go. Returns (C, H, W); the image handed in stays as it is.
    """
    count = int(share * heat.numel())
    gone = torch.zeros(heat.numel(), dtype=torch.bool)
    gone[heat.flatten().argsort(descending=True)[:count]] = True
    mean = image.mean(dim=(1, 2), keepdim=True)
    return torch.where(gone.reshape(heat.shape), mean, image)


def _deletion(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, float]:
    height, width = distinct(generator, 2, 5, 10)
    image = torch.randn(3, height, width, generator=generator)
    image += torch.tensor([0.7, 1.3, -0.8])[:, None, None]  # no mean is near black
    thousandths = 10 * sizes(generator, (3, 97))[0] + 3
    return image, _heat(height, width, generator), thousandths / 1000  # no whole number of pixels


def _delete_with(image: torch.Tensor, heat: torch.Tensor, share: float, fill: float):
    gone = delete_hottest(torch.zeros_like(image) + heat, heat, share) != heat
    return torch.where(gone, torch.full_like(image, fill), image)


def _delete_count(
    image: torch.Tensor, heat: torch.Tensor, count: Callable[[float], int], share: float
) -> torch.Tensor:
    exact = count(share * heat.numel()) + 0.5
    return delete_hottest(image, heat, exact / heat.numel())


def _keep_hottest(image: torch.Tensor, heat: torch.Tensor, share: float) -> torch.Tensor:
    kept = delete_hottest(image, heat, share)
    mean = image.mean(dim=(1, 2), keepdim=True)
    return torch.where(kept == image, mean, image)


def _delete_by_value(image: torch.Tensor, heat: torch.Tensor, share: float) -> torch.Tensor:
    gone = heat >= share * heat.max()
    return torch.where(gone, image.mean(dim=(1, 2), keepdim=True), image)


DELETE_HOTTEST = Exercise(
    name="trust.delete_hottest",
    reference=delete_hottest,
    cases=_deletion,
    edges=(
        (normal(3, 4, 5), order(4, 5), 0.0),
        (normal(3, 4, 5), order(4, 5), 1.0),
        (normal(3, 4, 5), order(4, 5) - 30, 0.03),
        (normal(1, 4, 3), order(4, 3) - 6, 0.5),
        (positive(2, 3, 4), order(3, 4), 0.5),
        (normal(3, 1, 6), order(1, 6), 0.4),
        (normal(3, 6, 1), order(6, 1), 0.6),
        (normal(4, 4, 4), order(4, 4), 0.25),
        (normal(2, 1, 1), order(1, 1), 1.0),
        (normal(2, 1, 1), order(1, 1), 0.9),
        (torch.zeros(3, 2, 3), order(2, 3), 0.5),
        (9 * normal(11, 20, 21), order(20, 21), 0.35),
    ),
    keeps=True,
    hints=(
        "Which pixels are the hottest share? Sort the flattened heat, or find the value that "
        "just fails to be among them.",
        "`heat.flatten().argsort(descending=True)[:count]` are their places. The mean colour is "
        "`image.mean(dim=(1, 2), keepdim=True)`, and `torch.where` chooses pixel by pixel.",
        "`return torch.where(gone.reshape(heat.shape), ___, image)`",
    ),
    mistakes=(
        Mistake(
            lambda image, heat, share: delete_hottest(image, -heat, share),
            "You deleted the coldest pixels: `argsort` begins with the smallest value.",
        ),
        Mistake(
            lambda image, heat, share: _delete_with(image, heat, share, 0.0),
            "You painted the pixels black; asked is the image's mean colour. Black is a "
            "colour that the network may read.",
        ),
        Mistake(
            lambda image, heat, share: _delete_with(image, heat, share, image.mean().item()),
            "You took one gray for all channels; each channel has its own mean.",
        ),
        Mistake(
            _keep_hottest,
            "You kept the hottest pixels and deleted the others: that is insertion's picture.",
        ),
        Mistake(
            _delete_by_value,
            "You deleted what is above a share of the maximum; asked is a share of the pixels.",
        ),
        Mistake(
            lambda image, heat, share: delete_hottest(image, heat, share).mean(dim=0),
            "The channels are gone: the picture keeps its shape (C, H, W).",
        ),
        Mistake(
            lambda image, heat, share: _delete_count(image, heat, math.ceil, share),
            "One pixel too many is gone: `int(share · H · W)` rounds down.",
        ),
        Mistake(
            lambda image, heat, share: _delete_count(image, heat, round, share),
            "You rounded the number of pixels to the nearest; `int(share · H · W)` rounds down.",
        ),
        Mistake(
            lambda image, heat, share: torch.where(
                heat > heat.quantile(1 - share), image.mean((1, 2), keepdim=True), image
            ),
            "A quantile lies between two pixels and may take one too many: sort, and take "
            "`int(share · H · W)`.",
        ),
    ),
)


# area


def area(curve: torch.Tensor) -> float:
    """Area under a curve whose evenly spaced points span 0 to 1, by the trapezoid rule.

    curve: float (n,), n ≥ 2: the heights. Returns a number. (Petsiuk et al. 2018)
    """
    return ((curve[1:] + curve[:-1]) / 2).mean().item()


def _curve(generator: torch.Generator) -> tuple[torch.Tensor]:
    return (torch.rand(sizes(generator, (4, 11))[0], generator=generator) + 0.1,)


AREA = Exercise(
    name="trust.area",
    reference=area,
    cases=_curve,
    edges=(
        (torch.tensor([0.3127, 0.9456]),),
        (normal(3),),
        (-positive(5),),
        (torch.zeros(4),),
        (normal(21),),
        (torch.tensor([1.0, 0.0]),),
        (9 * normal(120) + 4,),
    ),
    hints=(
        "Between two neighbouring points the curve is a slanted roof: a trapezoid. How wide "
        "is each, if n points span 0 to 1?",
        "`(curve[1:] + curve[:-1]) / 2` are the n - 1 middle heights; each stands over a width of "
        "1 / (n - 1). `torch.trapezoid` knows this too.",
        "`return ((curve[1:] + curve[:-1]) / 2).___().item()`",
    ),
    mistakes=(
        Mistake(
            lambda curve: curve.mean().item(),
            "You averaged all points; the two at the ends count half.",
        ),
        Mistake(
            lambda curve: curve.sum().item(),
            "You summed the heights; each stands over a width of 1 / (n - 1).",
        ),
        Mistake(
            lambda curve: torch.trapezoid(curve).item(),
            "Your steps are 1 wide; n points that span 0 to 1 are 1 / (n - 1) apart.",
        ),
        Mistake(
            lambda curve: torch.trapezoid(curve, dx=1 / len(curve)).item(),
            "n points have n - 1 gaps between them: each is 1 / (n - 1) wide.",
        ),
        Mistake(
            lambda curve: curve[:-1].mean().item(),
            "You took the left end of each step; the trapezoid takes the mean of both ends.",
        ),
        Mistake(
            lambda curve: curve[1:].mean().item(),
            "You took the right end of each step; the trapezoid takes the mean of both ends.",
        ),
    ),
)


# similarity


def similarity(a: torch.Tensor, b: torch.Tensor) -> float:
    """Structural similarity (SSIM) of two maps, with one window over all of them.

    a, b: float (h, w) in 0..1. Returns the number
    (2 μ_a μ_b + c1) (2 σ_ab + c2) / ((μ_a² + μ_b² + c1) (σ_a² + σ_b² + c2)), with means μ,
    variances σ² and covariance σ_ab over the h · w pixels (divided by h · w), c1 = 0.01² and
    c2 = 0.03².
    (Wang et al. 2004, equation 13)
    """
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    structure = (2 * _covariance(a, b) + c2) / (_covariance(a, a) + _covariance(b, b) + c2)
    return (luminance * structure).item()


def _covariance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ((a - a.mean()) * (b - b.mean())).mean()


def _two_maps(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps related up or down, of unlike brightness and so little contrast that c1, c2 count."""
    height, width = distinct(generator, 2, 5, 10)
    a, noise = torch.rand(2, height, width, generator=generator)
    related = a if torch.rand(1, generator=generator) < 0.5 else 1 - a
    return 0.05 + 0.08 * a, 0.15 + 0.15 * (0.7 * related + 0.3 * noise)


def _ssim(a: torch.Tensor, b: torch.Tensor, c1: float, c2: float, correction: int = 0) -> float:
    (aa, ab), (_, bb) = torch.cov(torch.stack([a.flatten(), b.flatten()]), correction=correction)
    light = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    return (light * (2 * ab + c2) / (aa + bb + c2)).item()


def _ssim_of_two_counts(a: torch.Tensor, b: torch.Tensor) -> float:
    light = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
    return (light * (2 * _covariance(a, b) + 9e-4) / (a.var() + b.var() + 9e-4)).item()


def _ssim_of_deviations(a: torch.Tensor, b: torch.Tensor) -> float:
    light = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
    spread = a.std(correction=0) + b.std(correction=0) + 9e-4
    return (light * (2 * _covariance(a, b) + 9e-4) / spread).item()


def _ssim_without_centring(a: torch.Tensor, b: torch.Tensor) -> float:
    light = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
    spread = _covariance(a, a) + _covariance(b, b) + 9e-4
    return (light * (2 * (a * b).mean() + 9e-4) / spread).item()


def _light(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)).item()


SIMILARITY = Exercise(
    name="trust.similarity",
    reference=similarity,
    cases=_two_maps,
    edges=(
        (torch.zeros(4, 5), torch.zeros(4, 5)),
        (normal(4, 5).sigmoid(), normal(4, 5).sigmoid()),
        (normal(4, 5).sigmoid(), 1 - normal(4, 5).sigmoid()),
        (normal(3, 3).sigmoid(), normal(3, 3).T.sigmoid()),
        (torch.full((1, 1), 0.2), torch.full((1, 1), 0.7)),
        (normal(1, 6).sigmoid(), torch.zeros(1, 6)),
        (torch.ones(6, 1), normal(6, 1).sigmoid()),
        (normal(36, 30).sigmoid(), normal(30, 36).T.sigmoid()),
    ),
    hints=(
        "Five numbers are enough: two means, two variances, one covariance. Then it is the "
        "formula.",
        "`((a - a.mean()) * (b - b.mean())).mean()` is the covariance; with b = a it is the "
        "variance.",
        "`structure = (2 * covariance + c2) / (variance_a + ___ + c2)`",
    ),
    mistakes=(
        Mistake(
            lambda a, b: _ssim(a, b, 1e-4, 9e-4, correction=1),
            "`torch.var` and `torch.cov` divide by n - 1 unless they are told `correction=0`; "
            "asked is n, all pixels.",
        ),
        Mistake(
            _ssim_of_two_counts,
            "Your covariance divides by n, your variances by n - 1: `var` does so unless it is "
            "told `correction=0`.",
        ),
        Mistake(
            lambda a, b: torch.nan_to_num(torch.tensor(_ssim(a, b, 0, 0))).item(),
            "c1 and c2 do not count in your result: they are left out, or the maps no longer run "
            "from 0 to 1. Without them maps of little contrast count too much.",
        ),
        Mistake(
            lambda a, b: _ssim(a, b, 0.01, 0.03),
            "Your constants are not squared: c1 = 0.01², c2 = 0.03².",
        ),
        Mistake(
            _ssim_of_deviations,
            "You divided by standard deviations; variances are asked, their squares.",
        ),
        Mistake(
            _ssim_without_centring,
            "Your covariance is the mean of a · b; subtract the means from the maps first.",
        ),
        Mistake(
            lambda a, b: _ssim(a, b, 1e-4, 9e-4) / _light(a, b),
            "You have the second factor alone; the one with the means is missing.",
        ),
        Mistake(
            _light,
            "You have the factor with the means alone; the one with the covariance is missing.",
        ),
    ),
)


# bootstrap_interval


def bootstrap_interval(scores: torch.Tensor, draws: torch.Tensor) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of some scores.

    scores: float (n,), one per image. draws: int64 (R, n): R times n numbers of images, drawn with
    replacement. Returns (low, high): the 2.5 % and 97.5 % quantiles of the R means, interpolated
    as torch.quantile and numpy.quantile do.
    (Efron and Tibshirani 1993)
    """
    means = scores[draws].mean(dim=1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


def _scores_and_draws(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    count, rounds = sizes(generator, (20, 39), (150, 249))
    scores = torch.rand(count, generator=generator) ** 3
    return scores, torch.randint(count, (rounds, count), generator=generator)


def _quantiles_of_scores(scores: torch.Tensor, draws: torch.Tensor) -> tuple[float, float]:
    return scores.quantile(0.025).item(), scores.quantile(0.975).item()


def _sorted_means(scores: torch.Tensor, draws: torch.Tensor) -> tuple[float, float]:
    means = scores[draws].mean(dim=1).sort().values
    return tuple(means[int(q * len(means))].item() for q in (0.025, 0.975))


def _deviation_of_means(scores: torch.Tensor, draws: torch.Tensor) -> tuple[float, float]:
    means = scores[draws].mean(dim=1)
    return (means.mean() - means.std()).item(), (means.mean() + means.std()).item()


BOOTSTRAP_INTERVAL = Exercise(
    name="trust.bootstrap_interval",
    reference=bootstrap_interval,
    cases=_scores_and_draws,
    edges=(
        (torch.tensor([0.4]), torch.zeros(5, 1, dtype=torch.int64)),
        (positive(4), torch.tensor([[0, 3, 3, 1]])),
        (normal(3), torch.tensor([[0, 1, 2], [2, 2, 1], [0, 0, 0]])),
        (-positive(5), torch.arange(50).reshape(10, 5) % 3),
        (torch.full((4,), 0.5), torch.arange(24).reshape(6, 4) % 4),
        (normal(4), torch.arange(160).reshape(40, 4) ** 2 % 7 % 4),
        (torch.zeros(3), torch.zeros(4, 3, dtype=torch.int64)),
        (9 * normal(70), torch.arange(21000).reshape(300, 70) ** 2 % 71 % 70),
    ),
    hints=(
        "Each row of draws is a test set as it might have been. What is the mean score on it?",
        "`scores[draws]` has the shape (R, n); the mean over its last axis gives R means, and "
        "quantile finds the two that cut off 2.5 % at each end.",
        "`return means.quantile(0.025).item(), means.quantile(___).item()`",
    ),
    mistakes=(
        Mistake(
            _quantiles_of_scores,
            "These are quantiles of the scores: how much images differ. Asked is how much the "
            "mean would: take the mean of each draw first.",
        ),
        Mistake(
            lambda scores, draws: tuple(
                scores[draws].mean(dim=0)[:200].quantile(q).item() for q in (0.025, 0.975)
            ),
            "You averaged over the draws; average each draw over its images, the last axis.",
        ),
        Mistake(
            _deviation_of_means,
            "One standard deviation to each side covers about 68 %; asked is the 95 % interval "
            "by quantiles.",
        ),
        Mistake(
            lambda scores, draws: tuple(
                scores[draws].mean(dim=1).quantile(q).item() for q in (0.05, 0.95)
            ),
            "That cuts off 5 % at each end and leaves 90 %; cut off 2.5 % at each.",
        ),
        Mistake(
            lambda scores, draws: tuple(
                scores[draws].mean(dim=1).quantile(q).item() for q in (0.975, 0.025)
            ),
            "Low and high are swapped.",
        ),
        Mistake(
            lambda scores, draws: (
                scores[draws].mean(dim=1).min().item(),
                scores[draws].mean(dim=1).max().item(),
            ),
            "Smallest and largest mean grow apart the more you draw; asked are quantiles.",
        ),
        Mistake(
            _sorted_means,
            "You picked two of the sorted means; a quantile may lie between two of them.",
        ),
    ),
)
