"""Exercises of the clinic: five broken programs, each to be repaired."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ._draws import FLAT, NESTED, NET_EDGES, net_call, net_with_hook, normal, positive, sizes
from ._engine import Exercise, Mistake
from .grad_cam import (
    _LOSS_SAYS,
    _capture,
    _everything,
    _features_alpha,
    _first_image,
    _logits,
    _loss,
    _mean_over_images,
    _softmaxed,
    _summed_in_a_loop,
    features_and_gradient,
    heat_map,
    run_with_hook,
    weighted_sum,
)

# features_at


def features_at(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """What the layer of exactly this name gives.

    images: float (N, C, H, W). layer: a name. Returns (N, K, h, w).
    """
    return run_with_hook(model, images, layer)[0].detach()


def _net_layer(
    generator: torch.Generator,
    names: tuple[tuple[str, ...], ...] = FLAT,
    n: int = 0,
    layers: tuple[int, int] = (0, 2),
) -> tuple:
    return net_call(generator, names, n, layers)[:3]


def _net_layer_with_hook(generator: torch.Generator) -> tuple:
    return net_with_hook(generator)[:3]


def _substring_match(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    found = [name for name, _ in model.named_modules() if layer in name]
    return features_at(model, images, found[-1])


def _prefix_match(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """The first name that the wanted one begins with."""
    found = [name for name, _ in model.named_modules() if name and layer.startswith(name)]
    return features_at(model, images, found[0])


def _walk(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    x = images
    for name, module in model.named_children():
        x = module(x)
        if name == layer:
            return x
    raise AssertionError("the layer is there")


FEATURES_AT = Exercise(
    name="clinic.features_at",
    reference=features_at,
    cases=_net_layer,
    edges=(
        partial(_net_layer, names=FLAT[1:2], n=1, layers=(0, 0)),
        partial(_net_layer, names=NESTED[:1], layers=(0, 0)),
        partial(_net_layer, names=NESTED[1:2], layers=(1, 1)),
        partial(_net_layer, names=NESTED[2:], n=1, layers=(1, 1)),
        _net_layer_with_hook,
        partial(_net_layer, n=12),
    ),
    keeps=True,
    hints=(
        'Two faults. The first name of `named_modules()` is "", the whole model, and what '
        "`forward()` does between two layers no walk can see. And which names does `in` match?",
        "Let the model run itself, with a forward hook on the one module whose name equals layer.",
        "`hook = model.get_submodule(___).register_forward_hook(lambda m, i, o: kept.append(o))`",
    ),
    mistakes=(
        Mistake(
            _substring_match,
            "You kept a later layer: `layer in name` also matches longer names. Ask for equality.",
        ),
        Mistake(
            _prefix_match,
            "You kept an earlier layer: its name is where yours begins. Ask for equality.",
        ),
        Mistake(
            _walk,
            "You walked from child to child: what `forward()` does between two layers is missing. "
            "Let the model run and listen with a hook.",
        ),
        Mistake(
            lambda model, images, layer: run_with_hook(model, images, layer, keep_input=True)[0],
            "Your hook kept the layer's input; its output is the third argument.",
        ),
        Mistake(
            lambda model, images, layer: model(images),
            "That is the model's output, the first thing that `named_modules()` gives.",
        ),
        Mistake(
            lambda model, images, layer: features_at(model, images, layer)[:1],
            "Only the first image's features came back; keep the whole batch.",
        ),
    ),
)


# gradient_at


def gradient_at(model: nn.Module, images: Tensor, layer: str, target: int) -> Tensor:
    """Gradient of the logit of class `target` with respect to a layer's output.

    images: float (N, C, H, W). layer: a name. target: a class. Returns (N, K, h, w).
    """
    return features_and_gradient(model, images, layer, target)[1]


def _first_call() -> tuple:
    """The arguments of the first trial of `gradient_at`."""
    return GRADIENT_AT.arguments(0)


GRADIENT_AT = Exercise(
    name="clinic.gradient_at",
    reference=gradient_at,
    cases=net_call,
    edges=NET_EDGES,
    keeps=True,
    hints=(
        "When does a backward hook fire, and does that ever happen here? And at the second "
        "call: what else is in the list?",
        "Call `backward()` on the summed logits of class target. Keep the list inside the "
        "function and remove the hook.",
        "`output[:, target].sum().___()`",
    ),
    mistakes=(
        Mistake(
            lambda *arguments: gradient_at(*_first_call()),
            "Every call gives the first call's gradient: the list outside the function still "
            "holds it. Make the list inside.",
        ),
        Mistake(
            lambda *arguments: _capture(_everything)(*arguments)[1],
            "You went backward from all logits together: which class was asked?",
        ),
        Mistake(
            lambda *arguments: _capture(_softmaxed)(*arguments)[1],
            "You went backward from the softmax; take the logit, before it.",
        ),
        Mistake(
            lambda *arguments: _capture(_first_image)(*arguments)[1],
            "Only the first image has a gradient: sum the logits of class target over the images.",
        ),
        Mistake(
            lambda *arguments: _capture(_mean_over_images)(*arguments)[1],
            "You averaged the logits over the images: each gradient is divided by N. Sum them.",
        ),
        Mistake(lambda *arguments: _capture(_loss)(*arguments)[1], _LOSS_SAYS),
        Mistake(
            lambda *arguments: _capture(_logits, keep_input=True)(*arguments)[1],
            "You kept grad_input, the gradient that leaves the layer backwards; grad_output "
            "is the third argument.",
        ),
    ),
)


# top_class_maps


def top_class_maps(features: Tensor, weight: Tensor, output: Tensor) -> Tensor:
    """Each image's map for its own top class, signed.

    features: float (N, K, h, w). weight: (classes, K). output: logits (N, classes).
    Returns (N, h, w), for a batch of one image too.
    """
    return weighted_sum(features, weight[output.argmax(dim=1)])


def _batch_weight_output(generator: torch.Generator) -> tuple:
    n, k, h, w, classes = sizes(generator, (3, 5), (3, 4), (3, 4), (5, 7), (4, 6))
    output = torch.randn(n, classes, generator=generator)
    output[0, 1], output[1, 2] = 9.0, 9.0  # the top classes differ within every batch
    return (
        torch.randn(n, k, h, w, generator=generator),
        torch.randn(classes, k, generator=generator),
        output,
    )


TOP_CLASS_MAPS = Exercise(
    name="clinic.top_class_maps",
    reference=top_class_maps,
    cases=_batch_weight_output,
    edges=(
        (normal(1, 2, 3, 4), normal(3, 2), torch.tensor([[0.2, 1.3, -0.4]])),
        (normal(3, 1, 2, 4), normal(4, 1), normal(3, 4)),
        (normal(2, 3, 1, 1), normal(4, 3), -positive(2, 4)),
        (normal(2, 3, 1, 4), normal(2, 3), normal(2, 2)),
        (normal(2, 3, 4, 1), normal(5, 3), normal(2, 5)),
        (normal(3, 3, 3, 3), normal(3, 3), torch.eye(3).roll(1, 1)),
        (normal(1, 1, 1, 1), normal(1, 1), normal(1, 1)),
        (normal(4, 2, 3, 2), normal(3, 2), torch.eye(3)[[2, 0, 2, 1]] - 2),
        (9 * normal(20, 70, 11, 12), normal(13, 70), 20 * normal(20, 13)),
    ),
    hints=(
        "Try it in your head on a batch of three, then on a batch of one: which line looks at "
        "one image only, and which line drops an axis?",
        "`argmax(dim=1)` has one class per image already: `weight[classes]` is then (N, K). And "
        "no `squeeze()`.",
        '`return torch.einsum("nk,nkij->nij", weight[output.argmax(dim=___)], features)`',
    ),
    mistakes=(
        Mistake(
            lambda features, weight, output: torch.einsum(
                "k,nkij->nij", weight[output.argmax(1)[0]], features
            ).squeeze(),
            "Every image gets the first image's class: give each its own. Then try a batch of one.",
        ),
        Mistake(
            lambda features, weight, output: top_class_maps(features, weight, output).squeeze(),
            "Right for many images; for a batch of one, `squeeze()` still eats the batch.",
        ),
        Mistake(
            lambda features, weight, output: torch.einsum(
                "k,nkij->nij", weight[output.sum(0).argmax()], features
            ),
            "You took one class for the whole batch, the one with the largest summed logit: "
            "give each image its own.",
        ),
        Mistake(
            lambda features, weight, output: weighted_sum(features, weight[output.argmin(dim=1)]),
            "That is the class with the lowest logit.",
        ),
        Mistake(
            lambda features, weight, output: top_class_maps(features, weight, output).relu(),
            "The signed map is asked here, without ReLU.",
        ),
        Mistake(
            lambda features, weight, output: torch.einsum("ck,nkij->ncij", weight, features),
            "You have the maps of every class; choose each image's top class.",
        ),
    ),
)


# accumulate


def accumulate(features: Tensor, alpha: Tensor) -> Tensor:
    """The Grad-CAM map, divided by its maximum; a blank map stays blank.

    features: float (K, h, w). alpha: (K,). Returns (h, w), from 0 to 1.
    """
    heat = heat_map(features, alpha)
    return heat / heat.max() if heat.max() > 0 else heat


def _from_ones(features: Tensor, alpha: Tensor) -> np.ndarray:
    heat = np.ones(features.shape[1:], dtype=np.float32)
    for k in range(len(features)):
        heat += alpha[k].item() * features[k].numpy()
    heat = np.maximum(heat, 0)
    with np.errstate(invalid="ignore"):
        return heat / heat.max()


def _with_epsilon(features: Tensor, alpha: Tensor, epsilon: float) -> Tensor:
    heat = heat_map(features, alpha)
    return heat / (heat.max() + epsilon)


def _unguarded(features: Tensor, alpha: Tensor) -> Tensor:
    heat = heat_map(features, alpha)
    return heat / heat.max()


def _min_max(features: Tensor, alpha: Tensor) -> Tensor:
    heat = _summed_in_a_loop(features, alpha)
    span = heat.max() - heat.min()
    return (heat - heat.min()) / span if span > 0 else torch.zeros_like(heat)


def _share_of_sum(features: Tensor, alpha: Tensor) -> Tensor:
    heat = heat_map(features, alpha)
    return heat / heat.sum() if heat.sum() > 0 else heat


ACCUMULATE = Exercise(
    name="clinic.accumulate",
    reference=accumulate,
    cases=_features_alpha,
    edges=(
        (torch.ones(2, 3, 4), torch.tensor([-1.0, -2.0])),
        (torch.arange(24.0).reshape(2, 3, 4), torch.tensor([1e-10, 1e-10])),
        (normal(3, 4, 2), 1e-20 * normal(3)),
        (normal(1, 3, 4), torch.tensor([-2.0])),
        (normal(4, 1, 1), normal(4)),
        (normal(4, 1, 1), -normal(4)),
        (normal(3, 1, 5), normal(3)),
        (normal(3, 5, 1), normal(3)),
        (normal(4, 4, 4), normal(4)),
        (positive(12, 2, 3), torch.zeros(12)),
        (torch.zeros(2, 3, 3), normal(2)),
        (30 * normal(70, 20, 21), normal(70)),
    ),
    hints=(
        "With which value must a sum begin? And what is 0 / 0?",
        "Begin with zeros. Divide only if the maximum is positive; add no small number to the "
        "divisor, it would fade maps that are small.",
        "`return heat / heat.max() if heat.max() > ___ else heat`",
    ),
    mistakes=(
        Mistake(
            _from_ones,
            "The sum begins with ones, so every position gets evidence that nothing gave it. "
            "Begin with zeros; then think of a blank map.",
        ),
        Mistake(
            _unguarded,
            "A blank map becomes NaN: 0 / 0. Divide only if the maximum is positive.",
        ),
        *(
            Mistake(
                partial(_with_epsilon, epsilon=epsilon),
                f"You added {epsilon:g} to the divisor: a map whose peak is as small fades. "
                "Divide by the maximum itself, if it is positive.",
            )
            for epsilon in (1e-6, 1e-7, 1e-8, 1e-10)
        ),
        Mistake(
            _min_max,
            "You moved the minimum to 0: evidence against the class now counts as evidence.",
        ),
        Mistake(
            _share_of_sum,
            "You divided by the sum; here the hottest position is to be 1.",
        ),
        Mistake(
            heat_map,
            "The map itself is right; divide it by its maximum.",
        ),
    ),
)


# steady_scores


def steady_scores(model: nn.Module, images: Tensor) -> Tensor:
    """The logits, whatever else is in the batch and whichever mode the model is in.

    images: float (N, C, H, W). Returns (N, classes). The model keeps its statistics.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        output = model(images)
    model.train(was_training)
    return output


def _normalised_net(generator: torch.Generator, n: int = 0, training: bool = True) -> tuple:
    """A network whose stored statistics, in a block, are not those of the batch."""
    k, classes, height, width = sizes(generator, (3, 5), (3, 5), (4, 6), (7, 9))
    n = n or sizes(generator, (2, 4))[0]
    norm = nn.BatchNorm2d(k)
    model = nn.Sequential(
        OrderedDict(
            block=nn.Sequential(OrderedDict(conv=nn.Conv2d(3, k, 3), norm=norm, relu=nn.ReLU())),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(k, classes),
        )
    ).train(training)
    norm.running_mean = torch.randn(k, generator=generator)
    norm.running_var = 0.1 + torch.rand(k, generator=generator)
    norm.weight = nn.Parameter(0.5 + torch.rand(k, generator=generator))
    return model, torch.randn(n, 3, height, width, generator=generator)


def _scores_one_by_one(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(image[None]) for image in images])


def _batch_statistics(model: nn.Module, images: Tensor) -> Tensor:
    return model.train()(images)


def _half_warm(model: nn.Module, images: Tensor) -> Tensor:
    """In train mode once, then in eval mode: the statistics have moved."""
    model.train()(images)
    return model.eval()(images)


def _without_norm(model: nn.Module, images: Tensor) -> Tensor:
    model.block.norm = nn.Identity()
    return model(images)


STEADY_SCORES = Exercise(
    name="clinic.steady_scores",
    reference=steady_scores,
    cases=_normalised_net,
    edges=(
        partial(_normalised_net, n=1),
        partial(_normalised_net, training=False),
        partial(_normalised_net, n=1, training=False),
        partial(_normalised_net, n=12),
    ),
    keeps=True,
    hints=(
        "Which layer of the network looks at the other images of the batch, and when?",
        "In train mode batch norm uses the batch's own statistics (and moves its stored "
        "ones). One call switches the whole model over.",
        "`model.___()`",
    ),
    mistakes=(
        Mistake(
            _batch_statistics,
            "Batch norm still runs in train mode, on the batch's own statistics. It may sit deep "
            "in the model.",
        ),
        Mistake(
            _scores_one_by_one,
            "One image at a time, but still in train mode: each is measured by itself.",
        ),
        Mistake(
            _half_warm,
            "The model ran once in train mode before: its stored statistics have moved.",
        ),
        Mistake(
            _without_norm,
            "You left the normalisation out; it is part of what the network learned.",
        ),
        Mistake(
            lambda model, images: steady_scores(model, images).softmax(dim=1),
            "Eval mode is right; the logits are asked, not their softmax.",
        ),
        Mistake(
            lambda model, images: steady_scores(model, images).argmax(dim=1),
            "Eval mode is right; the logits are asked, not the class.",
        ),
    ),
)
