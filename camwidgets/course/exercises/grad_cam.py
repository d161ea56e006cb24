"""Exercises of lesson 03: Grad-CAM piece by piece, and scores of every kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._draws import (
    NET_EDGES,
    distinct,
    net_call,
    normal,
    positive,
    sizes,
)
from ._engine import Exercise, Mistake

Captured = tuple[Tensor, Tensor]


_LOSS_SAYS = "You took the gradient of the loss: it points away from the class. Take the logit."


# alpha_weights


def alpha_weights(gradient: Tensor) -> Tensor:
    """Weight of each feature map: its gradient, averaged over the positions (equation 1).

    gradient: float (K, h, w). Returns (K,).
    """
    return gradient.mean(dim=(1, 2))


def _gradient(generator: torch.Generator) -> tuple:
    return (torch.randn(distinct(generator, 3, 2, 7), generator=generator),)


ALPHA_WEIGHTS = Exercise(
    name="grad_cam.alpha_weights",
    reference=alpha_weights,
    cases=_gradient,
    edges=(
        (normal(1, 4, 5),),
        (normal(4, 1, 1),),
        (normal(3, 1, 5),),
        (normal(3, 5, 1),),
        (normal(1, 1, 1),),
        (normal(4, 4, 4),),
        (-positive(12, 2, 3),),
        (torch.zeros(3, 2, 4),),
        (normal(3, 4, 5).relu(),),
        (30 * normal(70, 20, 21),),
    ),
    hints=(
        "Equation 1: (1/Z) Σ_i Σ_j. Which axes of (K, h, w) are i and j?",
        "The mean over two axes at once leaves one number per feature map.",
        "`return gradient.mean(dim=(___, 2))`",
    ),
    mistakes=(
        Mistake(
            lambda gradient: gradient.sum(dim=(1, 2)),
            "You summed over the positions; equation 1 divides by their number Z = h·w too.",
        ),
        Mistake(
            lambda gradient: gradient.mean(dim=0),
            "You averaged over the feature maps; each map keeps its weight, the positions go.",
        ),
        Mistake(
            lambda gradient: gradient.mean(dim=(0, 1)),
            "You averaged over axes 0 and 1, right where the channels come last; here they "
            "come first.",
        ),
        Mistake(
            lambda gradient: gradient.relu().mean(dim=(1, 2)),
            "You dropped the negative gradients first: they speak too. ReLU comes in "
            "equation 2, after the sum.",
        ),
        Mistake(
            lambda gradient: gradient.abs().mean(dim=(1, 2)),
            "You averaged absolute values: a weight must be able to speak against the class.",
        ),
        Mistake(
            lambda gradient: gradient.amax(dim=(1, 2)),
            "You took the largest gradient of each map; equation 1 asks for the mean.",
        ),
        Mistake(
            lambda gradient: gradient.mean(),
            "You averaged over everything, one number for all maps; each map has its own.",
        ),
    ),
)


# heat_map


def heat_map(features: Tensor, alpha: Tensor) -> Tensor:
    """The positive part of the weighted sum of the feature maps (equation 2).

    features: float (K, h, w). alpha: (K,). Returns (h, w).
    """
    return torch.einsum("k,kij->ij", alpha, features).relu()


def _features_alpha(generator: torch.Generator) -> tuple:
    k, h, w = sizes(generator, (3, 6), (3, 4), (5, 7))
    features = torch.randn(k, h, w, generator=generator)
    return features, torch.randn(k, generator=generator)


def _summed_in_a_loop(features: Tensor, alpha: Tensor) -> Tensor:
    heat = torch.zeros(features.shape[1:])
    for k in range(len(features)):
        heat = heat + alpha[k] * features[k]
    return heat


HEAT_MAP = Exercise(
    name="grad_cam.heat_map",
    reference=heat_map,
    cases=_features_alpha,
    edges=(
        (torch.ones(2, 3, 4), torch.tensor([-1.0, -2.0])),
        (normal(1, 3, 4), torch.tensor([-2.0])),
        (normal(4, 1, 1), -normal(4)),
        (normal(4, 1, 1), normal(4)),
        (normal(3, 1, 5), normal(3)),
        (normal(3, 5, 1), normal(3)),
        (normal(4, 4, 4), normal(4)),
        (positive(12, 2, 3), torch.zeros(12)),
        (30 * normal(70, 20, 21), normal(70)),
    ),
    hints=(
        "Equation 2 has two steps: a sum over k, then ReLU. Which comes first?",
        '`einsum("k,kij->ij", …)` multiplies each map by its weight and sums; `.relu()` follows.',
        '`return torch.einsum("k,kij->ij", alpha, features).___()`',
    ),
    mistakes=(
        Mistake(
            _summed_in_a_loop,
            "The sum is right, ReLU is missing: negative values speak against the class.",
        ),
        Mistake(
            lambda features, alpha: (alpha[:, None, None] * features).relu().sum(0),
            "You applied ReLU to each weighted map and then summed; it belongs after the sum, "
            "so that maps can cancel each other.",
        ),
        Mistake(
            lambda features, alpha: _summed_in_a_loop(features, alpha.relu()).relu(),
            "You dropped the negative weights; keep them, ReLU comes after the sum.",
        ),
        Mistake(
            lambda features, alpha: _summed_in_a_loop(features, alpha).abs(),
            "You took the absolute value: what speaks against the class now looks like "
            "evidence for it.",
        ),
        Mistake(
            lambda features, alpha: _summed_in_a_loop(features, alpha).relu() / len(features),
            "You averaged over the feature maps; equation 2 sums them.",
        ),
        Mistake(
            lambda features, alpha: features.sum(0).relu(),
            "You summed the maps without their weights: that is the same for every class.",
        ),
        Mistake(
            lambda features, alpha: (alpha[:, None, None] * features).relu(),
            "You have one weighted map per channel; the sum over the channels is missing.",
        ),
    ),
)


# upsample_to


def upsample_to(heats: Tensor, images: Tensor) -> Tensor:
    """Maps at the size of the images, bilinear, align_corners=False.

    heats: float (N, h, w). images: (N, C, H, W). Returns (N, H, W).
    """
    size = images.shape[2:]
    return F.interpolate(heats[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _heats_images(generator: torch.Generator) -> tuple:
    n, h, w, channels = sizes(generator, (2, 3), (3, 4), (5, 6), (1, 4))
    height, width = sizes(generator, (9, 13), (14, 20))
    heats = torch.randn(n, h, w, generator=generator) / 10
    return heats, torch.rand(n, channels, height, width, generator=generator)


UPSAMPLE_TO = Exercise(
    name="grad_cam.upsample_to",
    reference=upsample_to,
    cases=_heats_images,
    edges=(
        (normal(1, 3, 4), normal(1, 3, 7, 9)),
        (normal(2, 1, 1), normal(2, 1, 4, 5)),
        (normal(2, 1, 4), normal(2, 3, 6, 8)),
        (normal(2, 4, 1), normal(2, 3, 6, 8)),
        (normal(2, 3, 4), normal(2, 3, 3, 4)),
        (normal(3, 6, 5), normal(3, 3, 3, 4)),
        (-positive(2, 2, 2), normal(2, 2, 8, 8)),
        (normal(1, 1, 1), normal(1, 1, 1, 1)),
        (torch.zeros(2, 3, 3), normal(2, 3, 9, 6)),
        (30 * normal(12, 16, 18), normal(12, 3, 22, 40)),
    ),
    hints=(
        "`F.interpolate` wants (N, channels, h, w), and the size stands in `images.shape`.",
        "Give the maps one channel by `heats[:, None]`, take it away again by `[:, 0]`; the mode "
        'is "bilinear".',
        '`return F.interpolate(heats[:, None], size=images.shape[___:], mode="bilinear")[:, 0]`',
    ),
    mistakes=(
        Mistake(
            lambda heats, images: F.interpolate(heats[:, None], size=images.shape[2:])[:, 0],
            "That is the nearest neighbour, `interpolate`'s default; bilinear is asked.",
        ),
        Mistake(
            lambda heats, images: F.interpolate(
                heats[:, None], size=images.shape[2:], mode="bilinear", align_corners=True
            )[:, 0],
            "`align_corners=True` stretches the map, so that its cells no longer lie over the "
            "pixels they saw.",
        ),
        Mistake(
            lambda heats, images: F.interpolate(
                heats[:, None], size=images.shape[2:], mode="bicubic"
            )[:, 0],
            "Bicubic overshoots beyond the map's own values; bilinear is asked.",
        ),
        Mistake(
            lambda heats, images: upsample_to(heats, torch.empty(1, 1, 224, 224)),
            "224 is written into your code; the size comes from the images.",
        ),
        Mistake(
            lambda heats, images: upsample_to(heats, images.transpose(2, 3)),
            "You swapped height and width: size is (H, W).",
        ),
        Mistake(
            lambda heats, images: F.interpolate(heats[:, None], scale_factor=4, mode="bilinear")[
                :, 0
            ],
            "You enlarge by a fixed factor of 4; the size comes from the images.",
        ),
        Mistake(
            lambda heats, images: upsample_to(heats, images)[:, None],
            "The channel that `interpolate` needed is still there: take it away again.",
        ),
    ),
)


# features_and_gradient


def features_and_gradient(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    """What a layer gives, and the gradient of the logit of class `target` with respect to it.

    images: float (N, C, H, W). layer: a dotted name. target: a class. Returns two tensors
    (N, K, h, w): the features and the gradient. No hook stays behind.
    """
    features, output = run_with_hook(model, images, layer)
    (gradient,) = torch.autograd.grad(output[:, target].sum(), features)
    return features.detach(), gradient


def run_with_hook(
    model: nn.Module, images: Tensor, layer: str, *, keep_input: bool = False
) -> Captured:
    """A layer's output (or input), attached to the graph, and the model's output."""
    kept = []

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        kept.append(inputs[0] if keep_input else output)

    hook = model.get_submodule(layer).register_forward_hook(keep)
    with torch.enable_grad():
        output = model(images)
    hook.remove()
    return kept[0], output


def _capture(score, keep_input: bool = False, factor: float = 1.0):
    """Features and gradient of `score(output, target)` instead of the logit."""

    def answer(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
        features, output = run_with_hook(model, images, layer, keep_input=keep_input)
        (gradient,) = torch.autograd.grad(score(output, target), features)
        return features.detach(), factor * gradient

    return answer


def _logits(output: Tensor, target: int) -> Tensor:
    return output[:, target].sum()


def _everything(output: Tensor, target: int) -> Tensor:
    return output.sum()


def _softmaxed(output: Tensor, target: int) -> Tensor:
    return output.softmax(dim=1)[:, target].sum()


def _first_image(output: Tensor, target: int) -> Tensor:
    return output[0, target]


def _mean_over_images(output: Tensor, target: int) -> Tensor:
    return output[:, target].mean()


def _top_classes(output: Tensor, target: int) -> Tensor:
    return output.amax(dim=1).sum()


def _loss(output: Tensor, target: int) -> Tensor:
    return F.cross_entropy(output, torch.full((len(output),), target), reduction="sum")


FEATURES_AND_GRADIENT = Exercise(
    name="grad_cam.features_and_gradient",
    reference=features_and_gradient,
    cases=net_call,
    edges=NET_EDGES,
    keeps=True,
    hints=(
        "Take the three lines that you ran by hand: hook, forward pass, `autograd.grad`. Let "
        "`layer`, `images` and `target` take the place of the fixed values.",
        "The images do not influence each other, so one backward pass does for all: the sum "
        "of their logits of class target. Remove the hook after the forward pass.",
        "`(gradient,) = torch.autograd.grad(output[:, target].sum(), ___)`",
    ),
    mistakes=(
        Mistake(
            _capture(_softmaxed),
            "You took the gradient of the softmax; take the logit, before it.",
        ),
        Mistake(
            _capture(_everything),
            "You took the gradient of all logits together: which class was asked?",
        ),
        Mistake(_capture(_loss), _LOSS_SAYS),
        Mistake(
            _capture(_first_image),
            "Only the first image has a gradient: sum the logits of class target over the images.",
        ),
        Mistake(
            _capture(_mean_over_images),
            "You averaged the logits over the images: each gradient is divided by N. Sum them.",
        ),
        Mistake(
            _capture(_top_classes),
            "You took each image's top class; class `target` is asked, also where it loses.",
        ),
        Mistake(
            _capture(_logits, keep_input=True),
            "Your hook kept the layer's input; its output is the third argument.",
        ),
        Mistake(
            lambda *arguments: features_and_gradient(*arguments)[::-1],
            "You gave the gradient first; the features come first.",
        ),
    ),
)


# batch_maps


def batch_maps(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM of every image of a batch.

    features, gradients: float (N, K, h, w). Returns (N, h, w), never negative.
    """
    alpha = gradients.mean(dim=(2, 3))
    return torch.einsum("nk,nkij->nij", alpha, features).relu()


def weighted_sum(features: Tensor, alpha: Tensor) -> Tensor:
    """Each image's weighted sum of its feature maps, signed.

    features: float (N, K, h, w). alpha: (N, K). Returns (N, h, w).
    """
    return torch.einsum("nk,nkij->nij", alpha, features)


def _batch(generator: torch.Generator) -> tuple:
    shape = sizes(generator, (2, 4), (5, 6), (3, 4), (7, 8))
    features = torch.randn(shape, generator=generator)
    return features, torch.randn(shape, generator=generator)


BATCH_MAPS = Exercise(
    name="grad_cam.batch_maps",
    reference=batch_maps,
    cases=_batch,
    edges=(
        (normal(1, 2, 3, 4), normal(1, 2, 3, 4) + 0.1),
        (normal(3, 1, 2, 4), normal(3, 1, 2, 4) - 0.3),
        (normal(2, 3, 1, 1), -normal(3, 2, 1, 1).reshape(2, 3, 1, 1)),
        (normal(2, 3, 1, 4), normal(2, 3, 1, 4).flip(0)),
        (normal(2, 3, 4, 1), normal(2, 3, 4, 1).flip(0)),
        (normal(3, 3, 3, 3), normal(3, 3, 3, 3).flip(0)),
        (torch.ones(2, 3, 2, 2), -positive(2, 3, 2, 2)),
        (normal(1, 1, 1, 1), normal(1, 1, 1, 1)),
        (normal(1, 1, 4, 3), torch.zeros(1, 1, 4, 3)),
        (9 * normal(12, 70, 12, 13), 9 * normal(12, 70, 13, 12).mT),
    ),
    hints=(
        "The positions are axes 2 and 3 now; axis 0, the images, must survive every step.",
        'First alpha (N, K). Then "nk,nkij->nij": n stands on both sides, so each image keeps '
        "its own weights.",
        '`return torch.einsum("nk,nkij->___", gradients.mean(dim=(2, 3)), features).relu()`',
    ),
    mistakes=(
        Mistake(
            lambda features, gradients: torch.einsum(
                "k,nkij->nij", gradients.mean(dim=(0, 2, 3)), features
            ).relu(),
            "You averaged the weights over the images as well: each image has its own.",
        ),
        Mistake(
            lambda features, gradients: torch.einsum(
                "k,nkij->nij", gradients[0].mean(dim=(1, 2)), features
            ).relu(),
            "You used the first image's weights for all images.",
        ),
        Mistake(
            lambda features, gradients: (features * gradients).sum(1).relu(),
            "HiResCAM (Draelos and Carin 2020) multiplies features and gradient position by "
            "position: it keeps what the mean throws away. Grad-CAM averages the gradient first, "
            "one weight per map, and that is asked here.",
            method="HiResCAM",
        ),
        Mistake(
            lambda features, gradients: (features * gradients.relu()).sum(1).relu(),
            "LayerCAM (Jiang et al. 2021) weighs each position by its own positive gradient. "
            "Grad-CAM averages the gradient first, one weight per map, and that is asked here.",
            method="LayerCAM",
        ),
        Mistake(
            lambda features, gradients: weighted_sum(features, gradients.mean(dim=(2, 3))),
            "ReLU is missing at the end.",
        ),
        Mistake(
            lambda features, gradients: weighted_sum(features, gradients.sum(dim=(2, 3))).relu(),
            "You summed the gradient over the positions; equation 1 takes the mean.",
        ),
        Mistake(
            lambda features, gradients: batch_maps(features, gradients).squeeze(),
            "`squeeze()` also takes away the axis of a batch with one image.",
        ),
        Mistake(
            lambda features, gradients: batch_maps(features, gradients).sum(0),
            "The maps of all images came out as one: n is missing on the right of the arrow.",
        ),
    ),
)


# difference


def difference(output: Tensor, a: int, b: int) -> Tensor:
    """How far the logit of class a lies above that of class b.

    output: logits (N, classes). a, b: classes. Returns one score per image, (N,).
    """
    return output[:, a] - output[:, b]


def _logits_two_classes(generator: torch.Generator) -> tuple:
    n, classes, step = sizes(generator, (6, 9), (3, 5), (1, 2))
    a = sizes(generator, (0, classes - 1))[0]
    return 2 * torch.randn(n, classes, generator=generator), a, (a + step) % classes


DIFFERENCE = Exercise(
    name="grad_cam.difference",
    reference=difference,
    cases=_logits_two_classes,
    edges=(
        (normal(1, 3), 2, 0),
        (normal(2, 2), 0, 1),
        (normal(2, 2), 1, 0),
        (-positive(4, 4), 0, 3),
        (normal(1, 2), 0, 1),
        (torch.zeros(3, 4), 3, 1),
        (normal(12, 2), 1, 0),
        (9 * normal(20, 12), 10, 3),
    ),
    hints=(
        "`output[:, a]` is the logit of class a, one per image.",
        "Two columns, one subtraction, nothing averaged.",
        "`return output[:, a] - output[:, ___]`",
    ),
    mistakes=(
        Mistake(
            lambda output, a, b: output[:, b] - output[:, a],
            "You subtracted a from b: the score must rise when class a gains.",
        ),
        Mistake(
            lambda output, a, b: difference(output.softmax(1), a, b),
            "You compared softmax values; take the logits as they are.",
        ),
        Mistake(
            lambda output, a, b: output[a] - output[b],
            "`output[a]` is the row of image a; the column of class a is `output[:, a]`.",
        ),
        Mistake(
            lambda output, a, b: difference(output, a, b).abs(),
            "You dropped the sign: which of the two is ahead matters.",
        ),
        Mistake(
            lambda output, a, b: difference(output, a, b).mean(),
            "You averaged over the images; one score per image is asked.",
        ),
        Mistake(
            lambda output, a, b: difference(output, a, b).sum(),
            "You summed over the images; one score per image is asked.",
        ),
        Mistake(
            lambda output, a, b: output[:, a],
            "That is class a alone; what class b says is not in it.",
        ),
    ),
)


# counterfactual


def counterfactual(features: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM with the gradient's sign turned: what lowers the score.

    features, gradient: float (K, h, w). Returns (h, w), never negative.
    """
    return heat_map(features, alpha_weights(-gradient))


def _features_gradient(generator: torch.Generator) -> tuple:
    shape = sizes(generator, (3, 6), (3, 4), (5, 7))
    features = torch.randn(shape, generator=generator)
    return features, torch.randn(shape, generator=generator)


COUNTERFACTUAL = Exercise(
    name="grad_cam.counterfactual",
    reference=counterfactual,
    cases=_features_gradient,
    edges=(
        (torch.ones(2, 3, 4), positive(2, 3, 4)),
        (normal(1, 3, 4), normal(1, 4, 3).reshape(1, 3, 4)),
        (normal(4, 1, 1), normal(4, 1, 1)),
        (normal(4, 1, 1), -normal(4, 1, 1)),
        (normal(3, 1, 5), normal(3, 1, 5).flip(0)),
        (normal(3, 5, 1), normal(3, 5, 1).flip(0)),
        (normal(4, 4, 4), normal(4, 4, 4).flip(0)),
        (positive(12, 2, 3), torch.zeros(12, 2, 3)),
        (9 * normal(70, 20, 21), 9 * normal(70, 21, 20).mT),
    ),
    hints=(
        "The sign changes once, and early: at the gradient.",
        "Negate the gradient, then average, sum and ReLU as before: alpha_weights and "
        "heat_map are ready to use.",
        "`return heat_map(features, alpha_weights(___ gradient))`",
    ),
    mistakes=(
        Mistake(
            lambda features, gradient: -heat_map(features, alpha_weights(gradient)),
            "You negated the finished map: ReLU had already thrown away what you look for.",
        ),
        Mistake(
            lambda features, gradient: _summed_in_a_loop(features, alpha_weights(-gradient)),
            "ReLU is missing at the end.",
        ),
        Mistake(
            lambda features, gradient: heat_map(features, alpha_weights(gradient)),
            "That is Grad-CAM itself: the sign of the gradient has not been turned.",
        ),
        Mistake(
            lambda features, gradient: heat_map(features, alpha_weights((-gradient).relu())),
            "You kept only the negative gradients; turn the sign of all of them.",
        ),
        Mistake(
            lambda features, gradient: heat_map(features, -alpha_weights(gradient.abs())),
            "You took the absolute gradient: turn the sign of every value, drop none.",
        ),
        Mistake(
            lambda features, gradient: heat_map(features, (-gradient).sum(dim=(1, 2))),
            "You summed the gradient over the positions; equation 1 takes the mean.",
        ),
        Mistake(
            lambda features, gradient: (m := heat_map(features, alpha_weights(gradient))).max() - m,
            "You inverted the finished map: where there is no evidence is not where there is "
            "evidence against.",
        ),
    ),
)


# softmax_factor


def softmax_factor(output: Tensor, target: int) -> Tensor:
    """Derivative of the softmax of class `target` with respect to that class's own logit.

    output: logits (N, classes). target: a class. Returns one factor per image, (N,).
    """
    p = output.softmax(dim=1)[:, target]
    return p * (1 - p)


def _logits_class(generator: torch.Generator) -> tuple:
    output, target, _ = _logits_two_classes(generator)
    return output, target


SOFTMAX_FACTOR = Exercise(
    name="grad_cam.softmax_factor",
    reference=softmax_factor,
    cases=_logits_class,
    edges=(
        (normal(1, 3), 0),
        (normal(4, 2), 1),
        (normal(5, 5), 4),
        (-positive(3, 4), 2),
        (torch.tensor([[20.0, -20.0, 0.0], [0.0, 1.0, 2.0]]), 0),
        (torch.zeros(2, 3), 1),
        (normal(1, 2), 1),
        (normal(20, 12), 10),
    ),
    hints=(
        "Write p for the softmax of class target. What is dp/dy, y being that class's logit?",
        "p = e^y / (e^y + rest), so dp/dy is p times what is left up to 1. (`autograd` gives the "
        "same.)",
        "`p = output.softmax(dim=1)[:, target]; return p * (1 - ___)`",
    ),
    mistakes=(
        Mistake(
            lambda output, target: output.softmax(1)[:, target],
            "That is the probability p itself, not its derivative.",
        ),
        Mistake(
            lambda output, target: 1 - output.softmax(1)[:, target],
            "1 - p is the derivative of the log of the softmax; without the log, p stays as a "
            "factor.",
        ),
        Mistake(
            lambda output, target: softmax_factor(output, output.argmax(1)).diagonal(),
            "You took each image's top class; class `target` is asked.",
        ),
        Mistake(
            lambda output, target: (p := output.softmax(0)[:, target]) * (1 - p),
            "Your softmax runs over the images: use `dim=1`, the classes.",
        ),
        Mistake(
            lambda output, target: (p := output.sigmoid()[:, target]) * (1 - p),
            "You used a sigmoid; the other logits matter in a softmax.",
        ),
        Mistake(
            lambda output, target: torch.zeros(len(output)),
            "All zeros. That is the derivative of the sum over all classes, which is always 1; "
            "asked is that of one class.",
        ),
        Mistake(
            lambda output, target: (p := output.softmax(1)) * (1 - p),
            "You have a factor for every class; give the column of class target alone.",
        ),
    ),
)


# near_count


def near_count(output: Tensor, count: float) -> Tensor:
    """A score that is 0 where the network says `count`, and falls with the squared distance.

    output: predicted numbers (N,). count: a number. Returns one score per image, (N,).
    """
    return -((output - count) ** 2)


def _numbers_count(generator: torch.Generator) -> tuple:
    n, count = sizes(generator, (2, 6), (1, 9))
    return 5 + 3 * torch.randn(n, generator=generator), float(count)


NEAR_COUNT = Exercise(
    name="grad_cam.near_count",
    reference=near_count,
    cases=_numbers_count,
    edges=(
        (torch.tensor([3.0, 4.5]), 3.0),
        (torch.tensor([2.5]), 4.0),
        (normal(5), 0.0),
        (-positive(3), 2.0),
        (torch.zeros(2), 0.0),
        (normal(4), 0.5),
        (normal(4), -1.5),
        (9 * normal(70), 12.0),
    ),
    hints=(
        "The score must be highest, 0, where the prediction equals count.",
        "The squared distance is highest far away: turn its sign. Average nothing.",
        "`return ___((output - count) ** 2)`",
    ),
    mistakes=(
        Mistake(
            lambda output, count: (output - count) ** 2,
            "The sign is missing: your score grows with the distance.",
        ),
        Mistake(
            lambda output, count: -(output - count).abs(),
            "You took the absolute distance: its gradient is as long close by as far away. "
            "Square it.",
        ),
        Mistake(
            lambda output, count: -((output - count) ** 2).mean(),
            "You averaged over the images, as a loss does; one score per image is asked.",
        ),
        Mistake(
            lambda output, count: -((output - count) ** 2).sum(),
            "You summed over the images; one score per image is asked.",
        ),
        Mistake(
            lambda output, count: output - count,
            "That is the distance with its sign: it has no maximum at count.",
        ),
        Mistake(
            lambda output, count: -(output**2 - count**2),
            "You squared first and subtracted then; subtract first.",
        ),
        Mistake(
            lambda output, count: -2 * (output - count),
            "That is already the derivative; `autograd` takes it for you.",
        ),
    ),
)
