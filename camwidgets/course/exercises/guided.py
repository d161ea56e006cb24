"""Exercises of lesson 04: gradients through ReLUs, the product, and how maps are compared."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from ...maps import upsample
from ._draws import distinct, normal, order, positive, sizes
from ._engine import Exercise, Mistake

# saliency


def saliency(gradient: Tensor) -> Tensor:
    """One number per pixel: the largest absolute value over the colour channels.

    gradient: float (N, C, H, W), signed. Returns (N, H, W).
    """
    return gradient.abs().amax(dim=1)


def _gradient(generator: torch.Generator) -> tuple[Tensor]:
    n, height, width = sizes(generator, (2, 6), (2, 6), (2, 6))
    return (torch.randn(n, 3, height, width, generator=generator),)


SALIENCY = Exercise(
    name="guided.saliency",
    reference=saliency,
    cases=_gradient,
    edges=(
        (normal(1, 3, 4, 5),),
        (normal(3, 1, 4, 2),),
        (normal(2, 4, 1, 1),),
        (normal(2, 2, 1, 5),),
        (normal(2, 2, 5, 1),),
        (normal(3, 3, 3, 3),),
        (-positive(12, 3, 2, 2),),
        (normal(1, 1, 1, 1),),
        (torch.zeros(2, 3, 2, 2),),
        (9 * normal(12, 11, 20, 21),),
    ),
    hints=(
        "The sign of a gradient says which way to turn the pixel; how much it matters is its "
        "size. Axis 1 holds the colours.",
        "First `.abs()`, then the maximum over axis 1. `amax` gives the values alone.",
        "`return gradient.abs().amax(dim=___)`",
    ),
    mistakes=(
        Mistake(
            lambda gradient: gradient.amax(dim=1),
            "You took the largest value, sign included: a strongly negative gradient matters "
            "as much as a positive one. Take absolute values first.",
        ),
        Mistake(
            lambda gradient: gradient.amax(dim=1).abs(),
            "You took the maximum first and the absolute value after it: the other order.",
        ),
        Mistake(
            lambda gradient: gradient.abs().max(dim=1),
            "`max(dim=1)` gives back two tensors, the values and where they stood: take "
            "`.values`, or use `amax`.",
        ),
        Mistake(
            lambda gradient: gradient.abs().sum(dim=1),
            "You added the channels; the largest one is asked.",
        ),
        Mistake(
            lambda gradient: gradient.abs().mean(dim=1),
            "You averaged over the channels; the largest one is asked.",
        ),
        Mistake(
            lambda gradient: gradient.norm(dim=1),
            "You took the length of the colour vector; the largest channel alone is asked.",
        ),
        Mistake(
            lambda gradient: gradient.sum(dim=1).abs(),
            "You added the channels with their signs: +1 in red and -1 in blue cancel, "
            "although both matter.",
        ),
        Mistake(
            lambda gradient: gradient.abs().amax(dim=(2, 3)),
            "You took the maximum over the positions; keep those and go over the channels, axis 1.",
        ),
        Mistake(
            lambda gradient: gradient.abs().amax(dim=0),
            "You took the maximum over the images of the batch; the channels are axis 1.",
        ),
    ),
)


# three_rules


def three_rules(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What three backward rules let through one ReLU.

    x: what went into the ReLU on the way forward; gradient: what arrives at it on the way back;
    both float, of one shape. Returns three tensors of that shape: plain, deconvnet, guided.
    """
    plain = gradient * (x > 0)
    deconvnet = gradient * (gradient > 0)
    guided = gradient * (x > 0) * (gradient > 0)
    return plain, deconvnet, guided


def _relu_inputs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every combination of signs occurs, and the ReLU's input is never 0."""
    shape = sizes(generator, (2, 4), (2, 4), (2, 4))
    signs = torch.tensor([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])
    x, gradient = torch.rand(2, 4, *shape, generator=generator) + 0.1
    return x * signs[0, :, None, None, None], gradient * signs[1, :, None, None, None]


THREE_RULES = Exercise(
    name="guided.three_rules",
    reference=three_rules,
    cases=_relu_inputs,
    edges=(
        (torch.tensor([0.0, 0.0, 1.0, -1.0]), torch.tensor([2.0, -2.0, 3.0, 4.0])),
        (normal(1), normal(1)),
        (normal(3, 1), -normal(3, 1)),
        (normal(1, 1, 4), normal(1, 1, 4).flip(2)),
        (normal(12, 2).relu(), normal(2, 12).reshape(12, 2)),
        (-positive(2, 3), normal(2, 3)),
        (normal(3, 3), torch.zeros(3, 3)),
        (9 * normal(70, 12), 9 * normal(12, 70).T),
    ),
    hints=(
        "Two questions can be asked at each position: was x positive? Is the gradient "
        "positive? Each rule asks one of them, or both.",
        "`x > 0` is a tensor of True and False; times the gradient, False makes it 0. Plain asks "
        "about x, deconvnet about the gradient, guided about both.",
        "`plain = gradient * (x > 0); deconvnet = gradient * (gradient > 0); guided = ___`",
    ),
    mistakes=(
        Mistake(
            lambda x, g: (g * (x > 0), g.relu() * (x > 0), g.relu()),
            "You swapped deconvnet and guided: guided is the strictest of the three.",
        ),
        Mistake(
            lambda x, g: (g.relu(), g * (x > 0), g.relu() * (x > 0)),
            "You swapped plain and deconvnet: the plain rule looks at x alone, the derivative "
            "of the ReLU.",
        ),
        Mistake(
            lambda x, g: (g * (x > 0), g.relu() * (x > 0), g.relu() * (x > 0)),
            "Your deconvnet also looks at x. The deconvnet does not: it applies a ReLU to the "
            "gradient, whatever went in on the way forward.",
        ),
        Mistake(
            lambda x, g: (g * (x > 0), g.relu(), g.relu()),
            "Your guided rule forgets the forward pass: it also asks `x > 0`.",
        ),
        Mistake(
            lambda x, g: (g * (x > 0), g.relu(), g * ((x > 0) | (g > 0))),
            "Your guided rule lets through what passes one of the tests; both are asked.",
        ),
        Mistake(
            lambda x, g: (g * (x > 0), g.relu(), g.abs() * (x > 0)),
            "Your guided rule turns negative gradients into positive ones; they become 0.",
        ),
        Mistake(
            lambda x, g: (g * x.relu(), g.relu(), g.relu() * x.relu()),
            "You multiplied by the ReLU's output. Its derivative is asked, and that is 1 "
            "wherever x is positive, however large x is.",
        ),
        Mistake(
            lambda x, g: (x.relu(), g.relu(), x.relu() * g.relu()),
            "Your plain rule gives the forward pass. Asked is what becomes of the gradient.",
        ),
        Mistake(
            lambda x, g: (g * (x >= 0), g.relu(), g.relu() * (x >= 0)),
            "At x = 0 a ReLU passes nothing back in PyTorch: ask `x > 0`, not `x >= 0`.",
        ),
    ),
)


# gradient


def guided_gradient(x: Tensor, layers: list[Tensor]) -> Tensor:
    """Guided backpropagation through a chain of matrices, each followed by a ReLU.

    x: float (n,); layers: matrices that are applied one after the other, `relu(layer @ h)`. The
    score is the sum of the last ReLU's output. Returns the guided gradient at x, (n,).
    """
    x = x.detach().clone().requires_grad_()
    h = x
    for layer in layers:
        h = torch.relu(layer @ h)
        h.register_hook(lambda gradient: gradient.clamp(min=0))
    h.sum().backward()
    return x.grad


def _chain(generator: torch.Generator) -> tuple[Tensor, list[Tensor]]:
    depth, *widths = sizes(generator, (2, 3), *[(6, 9)] * 5)
    return _matrices(widths[: depth + 1], generator)


def _matrices(
    widths: list[int], generator: torch.Generator | None = None
) -> tuple[Tensor, list[Tensor]]:
    generator = generator or torch.Generator().manual_seed(len(widths))
    layers = [
        torch.randn(rows, columns, generator=generator) + 0.2 for columns, rows in pairwise(widths)
    ]
    return torch.randn(widths[0], generator=generator) + 0.3, layers


def _walk(x: Tensor, layers: list[Tensor], hook=None, hooked=slice(None)) -> Tensor:
    """Gradient at x, with `hook` on the output of the `hooked` ReLUs."""
    x = x.detach().clone().requires_grad_()
    h, outputs = x, []
    for layer in layers:
        h = torch.relu(layer @ h)
        outputs.append(h)
    for output in outputs[hooked] if hook else ():
        output.register_hook(hook)
    return torch.autograd.grad(h.sum(), x)[0]


def _positive(gradient: Tensor) -> Tensor:
    return gradient.clamp(min=0)


def _deconvnet_chain(x: Tensor, layers: list[Tensor]) -> Tensor:
    gradient = torch.ones(len(layers[-1]))
    for layer in reversed(layers):
        gradient = layer.T @ gradient.relu()
    return gradient


GRADIENT = Exercise(
    name="guided.gradient",
    reference=guided_gradient,
    cases=_chain,
    edges=(
        _matrices([5, 4]),
        _matrices([1, 4, 3]),
        _matrices([4, 1, 3]),
        _matrices([4, 3, 1]),
        _matrices([4, 4, 4, 4, 4]),
        _matrices([1, 1]),
        (torch.zeros(3), [normal(4, 3), normal(2, 4)]),
        (positive(12), [-positive(3, 12), normal(2, 3)]),
        _matrices([70, 20, 12, 12, 5, 5, 4, 4]),
    ),
    hints=(
        "PyTorch's ReLU already asks `x > 0` on the way back. What is missing is the second "
        "question, about the gradient that arrives at the ReLU's output.",
        "`h.register_hook(f)` on the output of every ReLU: PyTorch calls f with the gradient that "
        "arrives there and goes on with what f returns.",
        "`h.register_hook(lambda gradient: gradient.clamp(min=___))`",
    ),
    mistakes=(
        Mistake(
            _walk,
            "This is the plain gradient: no gradient was changed on its way. The hook must be "
            "on every ReLU's output, inside the loop, and return what is to go on.",
        ),
        Mistake(
            _deconvnet_chain,
            "This is the deconvnet: your ReLUs no longer ask whether their input was positive.",
        ),
        Mistake(
            lambda x, layers: _walk(x, layers).clamp(min=0),
            "You clipped the plain gradient at the end, at x. The rule holds at every ReLU on "
            "the way; there the negative parts still mix with the others.",
        ),
        Mistake(
            lambda x, layers: _walk(x, layers, _positive).clamp(min=0),
            "Nearly: you also clipped the result. Behind x there is no ReLU, so the gradient "
            "at x keeps its sign.",
        ),
        Mistake(
            lambda x, layers: _walk(x, layers, torch.abs),
            "Your hook turns negative gradients into positive ones; they are to become 0.",
        ),
        Mistake(
            lambda x, layers: _walk(x, layers, lambda g: g.clamp(max=0)),
            "Your hook keeps the negative gradients: `clamp(min=0)` keeps the positive ones.",
        ),
        Mistake(
            lambda x, layers: _walk(x, layers, lambda g: (g > 0).to(g)),
            "Your hook gives back the mask; the gradient is to be multiplied by it.",
        ),
    ),
)


# signed_picture


def signed_picture(values: Tensor) -> Tensor:
    """A signed map as a picture to look at: 0 becomes middle gray.

    values: float (C, H, W), of either sign. Returns (C, H, W) between 0 and 1: 0 becomes 0.5, and
    the value that is farthest from 0, whichever its sign, becomes 0 or 1. A map of zeros becomes
    0.5 everywhere.
    """
    peak = values.abs().max()
    return 0.5 + values / (2 * peak) if peak > 0 else torch.full_like(values, 0.5)


def _signed(generator: torch.Generator) -> tuple[Tensor]:
    """Now the largest value is the farthest from 0, now the smallest."""
    height, width, way = sizes(generator, (3, 7), (3, 7), (0, 1))
    values = torch.randn(3, height, width, generator=generator)
    values[1, 1, 1] = -4.0
    return ((1 - 2 * way) * values * (0.5 + 5 * torch.rand(1, generator=generator)),)


SIGNED_PICTURE = Exercise(
    name="guided.signed_picture",
    reference=signed_picture,
    cases=_signed,
    edges=(
        (torch.zeros(3, 4, 5),),
        (torch.tensor([-1e-30, 0.0, 5e-31]).expand(3, 2, 3).clone(),),
        (normal(1, 4, 5),),
        (normal(3, 1, 1),),
        (-positive(3, 2, 4),),
        (positive(3, 4, 2),),
        (normal(3, 1, 5),),
        (torch.full((1, 1, 1), -2.0),),
        (200 * normal(12, 2, 3),),
        (9 * normal(11, 20, 21),),
    ),
    hints=(
        "0 must become 0.5, and stay there whatever the largest value is.",
        "Divide by twice the largest absolute value of the whole picture, then add 0.5. Ask "
        "first whether that value is 0.",
        "`return 0.5 + values / (2 * ___) if values.any() else torch.full_like(values, 0.5)`",
    ),
    mistakes=(
        Mistake(
            lambda values: (values - values.min()) / (values.max() - values.min()),
            "You stretched the picture from its smallest to its largest value: then 0 is gray "
            "of another shade in every picture. Divide by the largest absolute value.",
        ),
        Mistake(
            lambda values: 0.5 + values / (2 * values.max()),
            "You divided by the largest value; a negative one can be farther from 0. Then the "
            "result leaves 0 to 1.",
        ),
        Mistake(
            lambda values: 0.5 + values / values.abs().max(),
            "Your picture runs from -0.5 to 1.5: half the room lies on each side of the "
            "middle, so divide by twice the largest absolute value.",
        ),
        Mistake(
            lambda values: values / values.abs().max(),
            "Your picture runs from -1 to 1 and 0 stays 0. Halve it and add 0.5.",
        ),
        Mistake(
            lambda values: values.abs() / values.abs().max(),
            "You dropped the signs: 0 becomes black. Middle gray is asked.",
        ),
        Mistake(
            lambda values: values.relu() / values.abs().max(),
            "You cut the negative values off. They are to be darker than gray.",
        ),
        Mistake(
            lambda values: 0.5 + values / (2 * values.abs().amax(dim=(1, 2), keepdim=True)),
            "You scaled each channel by itself: that changes the colours. One largest value "
            "for the whole picture.",
        ),
        Mistake(
            lambda values: 0.5 + values / (2 * values.abs().max()),
            "Right, except for a map of zeros: 0 / 0 is NaN. Ask first whether the largest "
            "absolute value is 0.",
        ),
        Mistake(
            lambda values: 0.5 + values / (2 * values.abs().max() + 1e-8),
            "A small number, in your divisor or as a limit, turns a faint map into plain gray; "
            "ask instead whether the largest absolute value is 0.",
        ),
    ),
)


# product


def product(heat: Tensor, detail: Tensor) -> Tensor:
    """Guided Grad-CAM from its two factors.

    heat: a Grad-CAM map (N, h, w), not negative; detail: guided backpropagation (N, C, H, W),
    signed. Returns (N, C, H, W): the map at the picture's size, bilinear with align_corners=False,
    times the detail.
    """
    return upsample(heat, detail.shape[2:])[:, None] * detail


def _factors(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Three images of three channels, so that a forgotten channel axis is no error in PyTorch."""
    h, w, scale = sizes(generator, (2, 4), (2, 4), (2, 4))
    heat = torch.randn(3, h, w, generator=generator).relu() + 0.01
    return heat, torch.randn(3, 3, scale * h + 1, scale * w + 2, generator=generator)


def _interpolated(heat: Tensor, size: tuple, **how) -> Tensor:
    return F.interpolate(heat[:, None], size=tuple(size), **how)


PRODUCT = Exercise(
    name="guided.product",
    reference=product,
    cases=_factors,
    edges=(
        (positive(1, 3, 2), normal(1, 3, 7, 5)),
        (positive(2, 2, 3), normal(2, 1, 5, 6)),
        (positive(2, 1, 1), normal(2, 3, 4, 5)),
        (positive(2, 1, 3), normal(2, 4, 4, 6)),
        (positive(2, 3, 4), normal(2, 3, 3, 4)),
        (positive(4, 4, 4), normal(4, 4, 8, 8)),
        (torch.zeros(2, 2, 2), normal(2, 3, 4, 5)),
        (normal(2, 3, 3).relu(), torch.zeros(2, 3, 6, 7)),
        (positive(1, 1, 1), normal(1, 1, 1, 1)),
        (9 * positive(12, 11, 10), 9 * normal(12, 11, 22, 21)),
    ),
    hints=(
        "The two factors differ in two ways: heat has fewer positions, and it has no channel axis.",
        "`cw.upsample(heat, (H, W))` gives (N, H, W); `[:, None]` puts an axis of length 1 in the "
        "channels' place.",
        "`return cw.upsample(heat, detail.shape[2:])[___] * detail`",
    ),
    mistakes=(
        Mistake(
            lambda heat, detail: upsample(heat, detail.shape[2:]) * detail,
            "The channel axis is missing. With three images and three channels PyTorch pairs the "
            "map of image n with channel n, without an error: put `[:, None]` behind the map.",
        ),
        Mistake(
            lambda heat, detail: _interpolated(heat, detail.shape[2:], mode="nearest") * detail,
            "You repeated the map's values (nearest), so that its squares show in the product. "
            "Bilinear is asked.",
        ),
        Mistake(
            lambda heat, detail: (
                _interpolated(heat, detail.shape[2:], mode="bilinear", align_corners=True) * detail
            ),
            "You upsampled with `align_corners=True`: the map is stretched by half a cell at the "
            "borders.",
        ),
        Mistake(
            lambda heat, detail: upsample(heat, detail.shape[2:])[:, None] + detail,
            "You added the two; a sum keeps the detail of both cells. A product is asked.",
        ),
        Mistake(
            lambda heat, detail: upsample(heat, detail.shape[2:])[:, None] * detail.relu(),
            "You dropped the negative detail. The product keeps the sign of guided "
            "backpropagation.",
        ),
        Mistake(
            lambda heat, detail: upsample(heat, detail.shape[2:]) * saliency(detail),
            "You reduced the colours to one value; the product keeps all channels.",
        ),
        Mistake(
            lambda heat, detail: (
                upsample(heat / heat.amax(dim=(1, 2), keepdim=True), detail.shape[2:])[:, None]
                * detail
            ),
            "You divided the map by its maximum. Maps are scaled when they are shown; before "
            "that their size still says something.",
        ),
    ),
)


# cell_shares


def cell_shares(heat: Tensor, cells: Tensor) -> Tensor:
    """How a map divides its mass among the cells.

    heat: float (H, W), not negative. cells: int64 (H, W), the number of the cell that each pixel
    belongs to, 1 to n; 0 is background. Returns (n,): for each cell the sum of the heat inside it
    as a share of the sum over the whole map. A blank map gives zeros.
    """
    n = int(cells.max())
    inside = torch.stack([heat[cells == cell].sum() for cell in range(1, n + 1)])
    total = heat.sum()
    return inside / total if total > 0 else torch.zeros(n)


def _heat_and_cells(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Upright cells between strips of background, each of another width; heat after a ReLU."""
    n, height = sizes(generator, (2, 4), (2, 4))
    strips = [torch.full((height + 2, 2), 0)]
    for cell in torch.randperm(n, generator=generator).tolist():
        strips += [torch.full((height + 2, cell + 2), cell + 1), torch.full((height + 2, 1), 0)]
    cells = torch.cat(strips, dim=1)
    return (3 * torch.rand(cells.shape, generator=generator) - 1).relu(), cells


def _in_cells(heat: Tensor, cells: Tensor, measure, first: int = 1) -> Tensor:
    n = int(cells.max())
    return torch.stack([measure(heat[cells == cell]) for cell in range(first, n + 1)])


def _sum(values: Tensor) -> Tensor:
    return values.sum()


def _some_heat_in_two_cells(value: float) -> tuple[Tensor, Tensor]:
    return torch.full((3, 5), value), torch.tensor([1, 1, 0, 2, 2]).expand(3, 5).clone()


CELL_SHARES = Exercise(
    name="guided.cell_shares",
    reference=cell_shares,
    cases=_heat_and_cells,
    edges=(
        _some_heat_in_two_cells(0.0),
        _some_heat_in_two_cells(1e-20),
        (positive(2, 4), torch.tensor([1, 0, 1, 0]).expand(2, 4).clone()),
        (positive(2, 4), torch.tensor([3, 1, 2, 2]).expand(2, 4).clone()),
        (positive(1, 5), torch.tensor([[2, 0, 1, 1, 0]])),
        (positive(5, 1), torch.tensor([[2], [0], [1], [3], [0]])),
        (positive(1, 1), torch.tensor([[1]])),
        (torch.eye(3), torch.tensor([[0, 1, 1], [2, 0, 2], [3, 3, 0]])),
        (positive(4, 4), torch.arange(16).reshape(4, 4)),
        (9 * positive(26, 70), (torch.arange(1820) // 130).reshape(26, 70)),
    ),
    hints=(
        "One sum per cell, and one sum over everything to divide by.",
        "`heat[cells == 2]` are the values inside cell 2. The cells are 1 to `cells.max()`. Ask "
        "whether the whole sum is 0 before you divide.",
        "`torch.stack([heat[cells == k].sum() for k in range(1, ___)]) / heat.sum()`",
    ),
    mistakes=(
        Mistake(
            lambda heat, cells: _in_cells(heat, cells, _sum, first=0) / heat.sum(),
            "You also gave the background's share. The cells begin at 1.",
        ),
        Mistake(
            lambda heat, cells: _in_cells(heat, cells, _sum)[:-1] / heat.sum(),
            "The last cell is missing: `range(1, n)` ends at n - 1.",
        ),
        Mistake(
            lambda heat, cells: _in_cells(heat, cells, _sum) / heat[cells > 0].sum(),
            "You divided by the heat inside the cells. What lies on the background counts too: "
            "a map that wanders off must not gain by it.",
        ),
        Mistake(
            lambda heat, cells: _in_cells(heat, cells, _sum),
            "These are sums, and they grow with the map. Divide by the sum over the whole map.",
        ),
        Mistake(
            lambda heat, cells: _in_cells(heat, cells, torch.mean) / heat.mean(),
            "You compared averages: then a small cell counts as much as a large one. Sums are "
            "asked.",
        ),
        Mistake(
            lambda heat, cells: torch.bincount(cells.flatten())[1:] / cells.numel(),
            "These are shares of the area; the heat is not in them.",
        ),
        Mistake(
            lambda heat, cells: (_in_cells(heat, cells, _sum) / heat.sum()).flip(0),
            "Your cells come in the reverse order.",
        ),
        Mistake(
            lambda heat, cells: _in_cells(heat, cells, _sum) / heat.sum(),
            "Right, except for a blank map: 0 / 0 is NaN. A blank map has a share of 0 in "
            "every cell.",
        ),
        Mistake(
            lambda heat, cells: _in_cells(heat, cells, _sum) / (heat.sum() + 1e-8),
            "A small number in your divisor takes the mass from a faint map. Ask instead "
            "whether the sum is 0.",
        ),
    ),
)


# positive_weights


def positive_weights(features: Tensor, gradient: Tensor) -> Tensor:
    """The positive-only weights: the mean over the positions of 1[A > 0] · 1[g > 0] · g.

    features: A, float (K, h, w), after a ReLU; gradient: g of the class score at A, (K, h, w).
    Returns (K,). The mean is over all h·w positions, as in Grad-CAM.
    """
    return (gradient * (features > 0) * (gradient > 0)).mean(dim=(1, 2))


def _layer(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features as a ReLU leaves them, many of them 0."""
    shape = distinct(generator, 3)
    features = torch.randn(shape, generator=generator).relu()
    return features, torch.randn(shape, generator=generator)


POSITIVE_WEIGHTS = Exercise(
    name="guided.positive_weights",
    reference=positive_weights,
    cases=_layer,
    edges=(
        (positive(1, 3, 4), normal(1, 3, 4)),
        (normal(4, 1, 1).relu(), positive(4, 1, 1)),
        (normal(3, 1, 5).relu(), normal(3, 1, 5).flip(2)),
        (normal(3, 5, 1).relu(), normal(3, 5, 1).flip(1)),
        (normal(4, 4, 4).relu(), normal(4, 4, 4).flip(2)),
        (torch.zeros(2, 3, 4), normal(2, 3, 4)),
        (positive(12, 2, 3), -positive(12, 2, 3)),
        (positive(1, 1, 1), positive(1, 1, 1)),
        (9 * normal(70, 20, 21).relu(), 9 * normal(70, 21, 20).mT),
    ),
    hints=(
        "It is Grad-CAM's weight, the mean of the gradient over the positions, with one change "
        "to the gradient before the mean.",
        "Multiply the gradient by (`features > 0`) and by (`gradient > 0`), then take the mean "
        "over the two position axes.",
        "`return (gradient * (features > 0) * (gradient > 0)).mean(dim=___)`",
    ),
    mistakes=(
        Mistake(
            lambda features, gradient: gradient.mean(dim=(1, 2)),
            "These are Grad-CAM's weights: both tests are missing.",
        ),
        Mistake(
            lambda features, gradient: gradient.relu().mean(dim=(1, 2)),
            "The test of `A > 0` is missing (after a ReLU, `A >= 0` holds everywhere and tests "
            "nothing).",
        ),
        Mistake(
            lambda features, gradient: (gradient * (features > 0)).mean(dim=(1, 2)),
            "The test of `g > 0` is missing.",
        ),
        Mistake(
            lambda features, gradient: gradient.mean(dim=(1, 2)).relu(),
            "You averaged first and dropped the negative averages after it. Here the negative "
            "gradients go before the mean.",
        ),
        Mistake(
            lambda features, gradient: (
                (gradient * (features > 0) * (gradient > 0)).sum(dim=(1, 2))
                / ((features > 0) & (gradient > 0)).sum(dim=(1, 2)).clamp(min=1)
            ),
            "You averaged over the positions that pass both tests; the mean is over all h·w, "
            "so that what was set to 0 counts.",
        ),
        Mistake(
            lambda features, gradient: (gradient.relu() * (features > 0)).sum(dim=(1, 2)),
            "You added over the positions; the mean is asked.",
        ),
        Mistake(
            lambda features, gradient: (gradient.relu() * features).mean(dim=(1, 2)),
            "You multiplied by A itself. A test is asked: 1 where `A > 0`, whatever its size.",
        ),
        Mistake(
            lambda features, gradient: (gradient.relu() * (features > 0)).mean(dim=0),
            "You averaged over the channels; the positions are axes 1 and 2.",
        ),
    ),
)


# rank_correlation


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of two maps: do they order the pixels alike?

    a, b: float (h, w), each of distinct values. Each value is replaced by its rank among all h·w
    of its map. Returns the (Pearson) correlation of the ranks, one number from -1 to 1.
    """
    ranks = torch.stack([a.flatten(), b.flatten()]).argsort(dim=1).argsort(dim=1).double()
    return torch.corrcoef(ranks)[0, 1]


def _two_maps(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two maps of distinct values that agree, or disagree, in part; some values stick out."""
    h, w, way = sizes(generator, (4, 7), (4, 7), (0, 1))
    a, noise = torch.randn(2, h, w, generator=generator)
    return a.exp() - 1, ((1 - 2 * way) * a + noise) ** 3


def _ranks(values: Tensor) -> Tensor:
    return values.flatten().argsort().argsort().double()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    return torch.corrcoef(torch.stack([a.flatten().double(), b.flatten().double()]))[0, 1]


RANK_CORRELATION = Exercise(
    name="guided.rank_correlation",
    reference=rank_correlation,
    cases=_two_maps,
    edges=(
        (normal(4, 5), normal(4, 5)),
        (normal(4, 5), -normal(4, 5)),
        (normal(1, 2), -normal(1, 2)),
        (order(1, 6), normal(1, 6)),
        (normal(6, 1), order(6, 1) - 3),
        (-positive(3, 4), positive(3, 4) ** 2),
        (order(3, 3), order(3, 3).T.clone()),
        (1e-6 * normal(5, 4), 1e6 * order(5, 4).flip(0)),
        (normal(36, 30), -normal(30, 36).T),
    ),
    hints=(
        "The values are not compared, only their order: give each pixel its place when all "
        "pixels of its map are sorted.",
        "Flatten, then `argsort` twice: the first says who comes next, the second which place "
        "each one has. `torch.corrcoef` takes both rows and gives a 2×2 table.",
        "`ranks = a.flatten().argsort().___`, the same for `b`; then `torch.corrcoef(...)[0, 1]`",
    ),
    mistakes=(
        Mistake(
            _correlation,
            "This is the correlation of the values (Pearson). Replace the values by their "
            "ranks first.",
        ),
        Mistake(
            lambda a, b: _correlation(a.flatten().argsort(), b.flatten().argsort()),
            "One `argsort` gives the order of the pixels, not the place of each pixel. Argsort "
            "that order once more.",
        ),
        Mistake(
            lambda a, b: _correlation(a.argsort().argsort(), b.argsort().argsort()),
            "You ranked each row by itself: `argsort` works along the last axis. Flatten first.",
        ),
        Mistake(
            lambda a, b: F.cosine_similarity(_ranks(a), _ranks(b), dim=0),
            "The mean rank was not subtracted: then even maps that have nothing in common come "
            "out near 0.75.",
        ),
        Mistake(
            lambda a, b: F.cosine_similarity(a.flatten(), b.flatten(), dim=0),
            "This is the cosine of the values. Ranks are asked, with their mean subtracted.",
        ),
        Mistake(
            lambda a, b: torch.corrcoef(torch.stack([_ranks(a), _ranks(b)])),
            "`corrcoef` gives the whole table, with 1 on its diagonal: take the element `[0, 1]`.",
        ),
        Mistake(
            lambda a, b: torch.cov(torch.stack([_ranks(a), _ranks(b)]))[0, 1],
            "This is the covariance of the ranks: divide by both standard deviations.",
        ),
    ),
)
