"""Exercises of lesson 03: Grad-CAM piece by piece, scores of every kind, the debugging clinic."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._engine import Exercise, Mistake

Captured = tuple[Tensor, Tensor]


# Right answers: the method


def alpha_weights(gradient: Tensor) -> Tensor:
    """Weight of each feature map: its gradient, averaged over the positions (equation 1).

    gradient: float (K, h, w). Returns (K,).
    """
    return gradient.mean(dim=(1, 2))


def heat_map(features: Tensor, alpha: Tensor) -> Tensor:
    """The positive part of the weighted sum of the feature maps (equation 2).

    features: float (K, h, w). alpha: (K,). Returns (h, w).
    """
    return torch.einsum("k,kij->ij", alpha, features).relu()


def upsample_to(heats: Tensor, images: Tensor) -> Tensor:
    """Maps at the size of the images, bilinear, align_corners=False.

    heats: float (N, h, w). images: (N, C, H, W). Returns (N, H, W).
    """
    size = images.shape[2:]
    return F.interpolate(heats[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def features_and_gradient(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    """What a layer gives, and the gradient of the logit of class `target` with respect to it.

    images: float (N, C, H, W). layer: a dotted name. target: a class. Returns two tensors
    (N, K, h, w): the features and the gradient. No hook stays behind.
    """
    features, output = _run_with_hook(model, images, layer)
    (gradient,) = torch.autograd.grad(output[:, target].sum(), features)
    return features.detach(), gradient


def batch_maps(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM of every image of a batch.

    features, gradients: float (N, K, h, w). Returns (N, h, w), never negative.
    """
    alpha = gradients.mean(dim=(2, 3))
    return torch.einsum("nk,nkij->nij", alpha, features).relu()


# Right answers: scores


def difference(output: Tensor, a: int, b: int) -> Tensor:
    """How far the logit of class a lies above that of class b.

    output: logits (N, classes). a, b: classes. Returns one score per image, (N,).
    """
    return output[:, a] - output[:, b]


def counterfactual(features: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM with the gradient's sign turned: what lowers the score.

    features, gradient: float (K, h, w). Returns (h, w), never negative.
    """
    return heat_map(features, alpha_weights(-gradient))


def softmax_factor(output: Tensor, target: int) -> Tensor:
    """Derivative of the softmax of class `target` with respect to that class's own logit.

    output: logits (N, classes). target: a class. Returns one factor per image, (N,).
    """
    p = output.softmax(dim=1)[:, target]
    return p * (1 - p)


def near_count(output: Tensor, count: float) -> Tensor:
    """A score that is 0 where the network says `count`, and falls with the squared distance.

    output: predicted numbers (N,). count: a number. Returns one score per image, (N,).
    """
    return -((output - count) ** 2)


# Right answers: the clinic


def features_at(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """What the layer of exactly this name gives.

    images: float (N, C, H, W). layer: a name. Returns (N, K, h, w).
    """
    return _run_with_hook(model, images, layer)[0].detach()


def gradient_at(model: nn.Module, images: Tensor, layer: str, target: int) -> Tensor:
    """Gradient of the logit of class `target` with respect to a layer's output.

    images: float (N, C, H, W). layer: a name. target: a class. Returns (N, K, h, w).
    """
    return features_and_gradient(model, images, layer, target)[1]


def weighted_sum(features: Tensor, alpha: Tensor) -> Tensor:
    """Each image's weighted sum of its feature maps, signed.

    features: float (N, K, h, w). alpha: (N, K). Returns (N, h, w).
    """
    return torch.einsum("nk,nkij->nij", alpha, features)


def top_class_maps(features: Tensor, weight: Tensor, output: Tensor) -> Tensor:
    """Each image's map for its own top class, signed.

    features: float (N, K, h, w). weight: (classes, K). output: logits (N, classes).
    Returns (N, h, w), for a batch of one image too.
    """
    return weighted_sum(features, weight[output.argmax(dim=1)])


def accumulate(features: Tensor, alpha: Tensor) -> Tensor:
    """The Grad-CAM map, divided by its maximum; a blank map stays blank.

    features: float (K, h, w). alpha: (K,). Returns (h, w), from 0 to 1.
    """
    heat = heat_map(features, alpha)
    return heat / heat.max() if heat.max() > 0 else heat


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


# Arguments

_ONE_IMAGE = torch.arange(24.0).reshape(1, 2, 3, 4) / 7


def _sizes(generator: torch.Generator, *ranges: tuple[int, int]) -> list[int]:
    """One random size for each range (first, last)."""
    return [int(torch.randint(a, b + 1, (), generator=generator)) for a, b in ranges]


def _gradient(generator: torch.Generator) -> tuple:
    return (torch.randn(_sizes(generator, (2, 5), (3, 4), (5, 7)), generator=generator),)


def _features_alpha(generator: torch.Generator) -> tuple:
    k, h, w = _sizes(generator, (3, 6), (3, 4), (5, 7))
    features = torch.randn(k, h, w, generator=generator)
    return features, torch.randn(k, generator=generator)


def _features_gradient(generator: torch.Generator) -> tuple:
    shape = _sizes(generator, (3, 6), (3, 4), (5, 7))
    features = torch.randn(shape, generator=generator)
    return features, torch.randn(shape, generator=generator)


def _heats_images(generator: torch.Generator) -> tuple:
    n, h, w, height, width = _sizes(generator, (1, 3), (3, 4), (5, 6), (9, 13), (14, 20))
    heats = torch.randn(n, h, w, generator=generator) / 10
    return heats, torch.rand(n, 3, height, width, generator=generator)


def _batch(generator: torch.Generator) -> tuple:
    shape = _sizes(generator, (2, 4), (5, 6), (3, 4), (7, 8))
    features = torch.randn(shape, generator=generator)
    return features, torch.randn(shape, generator=generator)


def _batch_alpha(generator: torch.Generator) -> tuple:
    n, k, h, w = _sizes(generator, (2, 4), (5, 6), (3, 4), (7, 8))
    features = torch.randn(n, k, h, w, generator=generator)
    return features, torch.randn(n, k, generator=generator)


def _batch_weight_output(generator: torch.Generator) -> tuple:
    n, k, h, w, classes = _sizes(generator, (3, 5), (3, 4), (3, 4), (5, 7), (4, 6))
    output = torch.randn(n, classes, generator=generator)
    output[0, 1], output[1, 2] = 9.0, 9.0  # the top classes differ within every batch
    return (
        torch.randn(n, k, h, w, generator=generator),
        torch.randn(classes, k, generator=generator),
        output,
    )


def _logits_two_classes(generator: torch.Generator) -> tuple:
    n, classes, a, step = _sizes(generator, (6, 9), (3, 5), (0, 4), (1, 2))
    a %= classes
    return 2 * torch.randn(n, classes, generator=generator), a, (a + step) % classes


def _logits_class(generator: torch.Generator) -> tuple:
    output, target, _ = _logits_two_classes(generator)
    return output, target


def _numbers_count(generator: torch.Generator) -> tuple:
    n, count = _sizes(generator, (2, 6), (1, 9))
    return 5 + 3 * torch.randn(n, generator=generator), float(count)


class _Net(nn.Module):
    """A small CNN whose forward does more than call its layers one after the other."""

    def __init__(self, names: tuple[str, ...], classes: int):
        super().__init__()
        channels = [3, *range(4, 4 + len(names))]
        for i, name in enumerate(names):
            self.add_module(name, nn.Conv2d(channels[i], channels[i + 1], 3, padding=1))
        self.names = names
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for i, name in enumerate(self.names):
            if i:
                x = F.avg_pool2d(x.tanh(), 2)
            x = self.get_submodule(name)(x)
        return self.head(x.tanh().mean(dim=(2, 3)))


def _net_images(generator: torch.Generator, n: int) -> tuple[_Net, Tensor, int, int]:
    classes, target, height, width = _sizes(generator, (3, 5), (0, 2), (8, 11), (12, 15))
    names = ("conv", "conv1", "conv11") if target % 2 else ("block", "block2", "block2b")
    images = torch.randn(n, 3, height, width, generator=generator)
    return _Net(names, classes), images, target, classes


def _net_layer_class(generator: torch.Generator) -> tuple:
    (n,) = _sizes(generator, (2, 3))
    model, images, target, _ = _net_images(generator, n)
    return model, images, model.names[1], target


def _net_layer(generator: torch.Generator) -> tuple:
    return _net_layer_class(generator)[:3]


def _normalised_net(generator: torch.Generator) -> tuple:
    """A network in train mode whose stored statistics are not those of the batch."""
    n, k, classes, height, width = _sizes(generator, (2, 4), (3, 5), (3, 5), (4, 6), (7, 9))
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, k, 3),
            norm=nn.BatchNorm2d(k),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(k, classes),
        )
    )
    model.norm.running_mean = torch.randn(k, generator=generator)
    model.norm.running_var = 0.1 + torch.rand(k, generator=generator)
    return model, torch.randn(n, 3, height, width, generator=generator)


# Pieces of right and wrong answers


def _run_with_hook(
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
        features, output = _run_with_hook(model, images, layer, keep_input=keep_input)
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


_LOSS_SAYS = "You took the gradient of the loss: it points away from the class. Take the logit."


def _capture_by_backward(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    kept = {}

    def keep(module, inputs, output):
        output.retain_grad()
        kept["features"] = output

    hook = model.get_submodule(layer).register_forward_hook(keep)
    model(images)[:, target].sum().backward()
    hook.remove()
    return kept["features"].detach(), kept["features"].grad


def _capture_by_backward_hook(
    model: nn.Module, images: Tensor, layer: str, target: int
) -> list[Tensor]:
    found = []
    module = dict(model.named_modules())[layer]
    hooks = [
        module.register_forward_hook(lambda m, i, o: found.append(o.detach())),
        module.register_full_backward_hook(lambda m, i, o: found.append(o[0])),
    ]
    output = model(images)
    output.backward(F.one_hot(torch.tensor(target), output.shape[1]).expand_as(output).float())
    for hook in hooks:
        hook.remove()
    return found


def _capture_image_by_image(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    pairs = [features_and_gradient(model, image[None], layer, target) for image in images]
    return torch.cat([f for f, _ in pairs]), torch.cat([g for _, g in pairs])


def _capture_in_float64(model: nn.Module, images: Tensor, layer: str, target: int) -> Captured:
    return _capture_by_backward(model.double(), images.double(), layer, target)


def _first_call() -> tuple:
    """The arguments of the first trial of `gradient_at`."""
    return next(e for e in EXERCISES if e.name == "grad_cam.gradient_at").arguments(0)


def _substring_match(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    found = [name for name, _ in model.named_modules() if layer in name]
    return features_at(model, images, found[-1])


def _prefix_match(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """The first name that the wanted one begins with."""
    found = [name for name, _ in model.named_children() if layer.startswith(name)]
    return features_at(model, images, found[0])


def _walk(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    x = images
    for name, module in model.named_children():
        x = module(x)
        if name == layer:
            return x
    raise AssertionError("the layer is there")


def _features_by_loop(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    kept = []
    for name, module in model.named_modules():
        if name == layer:
            hook = module.register_forward_hook(lambda m, i, o: kept.append(o))
    with torch.no_grad():
        model(images)
    hook.remove()
    return kept[0]


def _features_by_extractor(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    module = getattr(model, layer)
    kept = {}
    forward = module.forward

    def spy(x: Tensor) -> Tensor:
        kept[layer] = forward(x)
        return kept[layer]

    module.forward = spy
    try:
        model(images)
    finally:
        del module.forward
    return kept[layer].detach().double()


def _summed_in_a_loop(features: Tensor, alpha: Tensor) -> Tensor:
    heat = torch.zeros(features.shape[1:])
    for k in range(len(features)):
        heat = heat + alpha[k] * features[k]
    return heat


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


def _clipped_by_numpy(features: Tensor, alpha: Tensor) -> np.ndarray:
    heat = np.zeros(features.shape[1:])
    for weight, channel in zip(alpha.numpy(), features.numpy(), strict=True):
        heat += weight.astype(float) * channel
    heat = np.clip(heat, 0, None)
    return heat / (heat.max() or 1)


def _norm_guarded(features: Tensor, alpha: Tensor) -> Tensor:
    heat = torch.tensordot(alpha.double(), features.double(), dims=1).clamp(min=0)
    return torch.nan_to_num(heat / heat.max(), nan=0.0)


def _weighted_by_bmm(features: Tensor, alpha: Tensor) -> Tensor:
    n, k, h, w = features.shape
    return torch.bmm(alpha[:, None], features.reshape(n, k, h * w)).reshape(n, h, w)


def _weighted_by_loop(features: Tensor, alpha: Tensor) -> Tensor:
    pairs = zip(features, alpha, strict=True)
    return torch.stack([_summed_in_a_loop(*pair) for pair in pairs])


def _scrambled_bmm(features: Tensor, alpha: Tensor) -> Tensor:
    n, k, h, w = features.shape
    return torch.bmm(features.reshape(n, h * w, k), alpha[..., None]).reshape(n, h, w)


def _scores_one_by_one(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(image[None]) for image in images])


def _batch_statistics(model: nn.Module, images: Tensor) -> Tensor:
    return model.train()(images)


def _half_warm(model: nn.Module, images: Tensor) -> Tensor:
    """In train mode once, then in eval mode: the statistics have moved."""
    model.train()(images)
    return model.eval()(images)


def _without_norm(model: nn.Module, images: Tensor) -> Tensor:
    return nn.Sequential(*(m for m in model if not isinstance(m, nn.BatchNorm2d)))(images)


def _only_norm_in_eval(model: nn.Module, images: Tensor) -> Tensor:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model(images)


_METHOD = (
    Exercise(
        name="grad_cam.alpha_weights",
        reference=alpha_weights,
        cases=_gradient,
        hints=(
            "Equation 1: (1/Z) Σ_i Σ_j. Which axes of (K, h, w) are i and j?",
            "The mean over two axes at once leaves one number per feature map.",
            "return gradient.mean(dim=(___, 2))",
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
        spellings=(
            lambda gradient: [float(channel.mean()) for channel in gradient],
            lambda gradient: gradient.flatten(1).mean(1),
            lambda gradient: torch.einsum("kij->k", gradient.double()) / gradient[0].numel(),
            lambda gradient: np.mean(gradient.numpy(), axis=(1, 2)),
            lambda gradient: F.adaptive_avg_pool2d(gradient, 1)[:, 0, 0],
        ),
    ),
    Exercise(
        name="grad_cam.heat_map",
        reference=heat_map,
        cases=_features_alpha,
        hints=(
            "Equation 2 has two steps: a sum over k, then ReLU. Which comes first?",
            'einsum("k,kij->ij", …) multiplies each map by its weight and sums; .relu() follows.',
            'return torch.einsum("k,kij->ij", alpha, features).___()',
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
        spellings=(
            lambda features, alpha: _summed_in_a_loop(features, alpha).clamp(min=0),
            lambda features, alpha: F.relu((alpha[:, None, None] * features).sum(0)),
            lambda features, alpha: (alpha @ features.flatten(1)).view(features.shape[1:]).relu(),
            lambda features, alpha: np.maximum(
                np.einsum("k,kij", alpha.double().numpy(), features.double().numpy()), 0
            ),
            lambda features, alpha: torch.tensordot(alpha, features, dims=1).relu(),
        ),
        edges=((torch.ones(2, 3, 4), torch.tensor([-1.0, -2.0])),),
    ),
    Exercise(
        name="grad_cam.upsample_to",
        reference=upsample_to,
        cases=_heats_images,
        hints=(
            "F.interpolate wants (N, channels, h, w), and the size stands in images.shape.",
            "Give the maps one channel by heats[:, None], take it away again by [:, 0]; the mode "
            'is "bilinear".',
            'return F.interpolate(heats[:, None], size=images.shape[___:], mode="bilinear")[:, 0]',
        ),
        mistakes=(
            Mistake(
                lambda heats, images: F.interpolate(heats[:, None], size=images.shape[2:])[:, 0],
                "That is the nearest neighbour, interpolate's default; bilinear is asked.",
            ),
            Mistake(
                lambda heats, images: F.interpolate(
                    heats[:, None], size=images.shape[2:], mode="bilinear", align_corners=True
                )[:, 0],
                "align_corners=True stretches the map, so that its cells no longer lie over the "
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
                lambda heats, images: F.interpolate(
                    heats[:, None], scale_factor=4, mode="bilinear"
                )[:, 0],
                "You enlarge by a fixed factor of 4; the size comes from the images.",
            ),
            Mistake(
                lambda heats, images: upsample_to(heats, images)[:, None],
                "The channel that interpolate needed is still there: take it away again.",
            ),
        ),
        spellings=(
            lambda heats, images: F.interpolate(
                heats.unsqueeze(1).double(), tuple(images.shape[-2:]), mode="bilinear"
            ).squeeze(1),
            lambda heats, images: torch.stack(
                [
                    F.interpolate(
                        heat[None, None], (images.shape[2], images.shape[3]), mode="bilinear"
                    )[0, 0]
                    for heat in heats
                ]
            ),
            lambda heats, images: F.interpolate(
                heats[None], images.shape[2:], mode="bilinear", align_corners=False
            )[0],
            lambda heats, images: nn.Upsample(images.shape[2:], mode="bilinear")(heats[:, None])[
                :, 0
            ],
        ),
    ),
    Exercise(
        name="grad_cam.features_and_gradient",
        reference=features_and_gradient,
        cases=_net_layer_class,
        hints=(
            "Take the three lines that you ran by hand: hook, forward pass, autograd.grad. Let "
            "`layer`, `images` and `target` take the place of the fixed values.",
            "The images do not influence each other, so one backward pass does for all: the sum "
            "of their logits of class target. Remove the hook after the forward pass.",
            "(gradient,) = torch.autograd.grad(output[:, target].sum(), ___)",
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
                "Only the first image has a gradient: sum the logits of class target over the "
                "images.",
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
        spellings=(
            _capture_by_backward,
            _capture_by_backward_hook,
            _capture_image_by_image,
            _capture_in_float64,
        ),
    ),
    Exercise(
        name="grad_cam.batch_maps",
        reference=batch_maps,
        cases=_batch,
        hints=(
            "The positions are axes 2 and 3 now; axis 0, the images, must survive every step.",
            'First alpha (N, K). Then "nk,nkij->nij": n stands on both sides, so each image keeps '
            "its own weights.",
            'return torch.einsum("nk,nkij->___", gradients.mean(dim=(2, 3)), features).relu()',
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
                "You multiplied position by position; Grad-CAM averages the gradient first, one "
                "weight per map.",
            ),
            Mistake(
                lambda features, gradients: weighted_sum(features, gradients.mean(dim=(2, 3))),
                "ReLU is missing at the end.",
            ),
            Mistake(
                lambda features, gradients: weighted_sum(
                    features, gradients.sum(dim=(2, 3))
                ).relu(),
                "You summed the gradient over the positions; equation 1 takes the mean.",
            ),
            Mistake(
                lambda features, gradients: batch_maps(features, gradients).squeeze(),
                "squeeze() also takes away the axis of a batch with one image.",
            ),
            Mistake(
                lambda features, gradients: batch_maps(features, gradients).sum(0),
                "The maps of all images came out as one: n is missing on the right of the arrow.",
            ),
        ),
        spellings=(
            lambda features, gradients: torch.stack(
                [
                    heat_map(f, alpha_weights(g))
                    for f, g in zip(features.double(), gradients.double(), strict=True)
                ]
            ),
            lambda features, gradients: F.relu(
                (gradients.mean((2, 3), keepdim=True) * features).sum(1)
            ),
            lambda features, gradients: _weighted_by_bmm(features, gradients.mean((2, 3))).relu(),
            lambda features, gradients: np.einsum(
                "nk,nkij->nij", gradients.numpy().mean((2, 3)), features.numpy()
            ).clip(0),
        ),
        edges=((_ONE_IMAGE, _ONE_IMAGE - 1),),
    ),
)

_SCORES = (
    Exercise(
        name="grad_cam.difference",
        reference=difference,
        cases=_logits_two_classes,
        hints=(
            "output[:, a] is the logit of class a, one per image.",
            "Two columns, one subtraction, nothing averaged.",
            "return output[:, a] - output[:, ___]",
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
                "output[a] is the row of image a; the column of class a is output[:, a].",
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
        spellings=(
            lambda output, a, b: [float(row[a] - row[b]) for row in output],
            lambda output, a, b: output.double()[:, [a, b]] @ torch.tensor([1.0, -1.0]).double(),
            lambda output, a, b: output.T[a] - output.T[b],
            lambda output, a, b: output.log_softmax(1)[:, a] - output.log_softmax(1)[:, b],
        ),
    ),
    Exercise(
        name="grad_cam.counterfactual",
        reference=counterfactual,
        cases=_features_gradient,
        hints=(
            "The sign changes once, and early: at the gradient.",
            "Negate the gradient, then average, sum and ReLU as before: alpha_weights and "
            "heat_map are ready to use.",
            "return heat_map(features, alpha_weights(___ gradient))",
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
                lambda features, gradient: (
                    (m := heat_map(features, alpha_weights(gradient))).max() - m
                ),
                "You inverted the finished map: where there is no evidence is not where there is "
                "evidence against.",
            ),
        ),
        spellings=(
            lambda features, gradient: (
                sum(-g.mean() * f for f, g in zip(features, gradient, strict=True))
            ).clamp(min=0),
            lambda features, gradient: F.relu(
                -torch.einsum("kxy,kij->ij", gradient.double(), features.double())
                / gradient[0].numel()
            ),
            lambda features, gradient: (
                (-gradient.flatten(1).mean(1) @ features.flatten(1))
                .reshape(features.shape[1:])
                .relu()
            ),
            lambda features, gradient: _summed_in_a_loop(features, -alpha_weights(gradient)).relu(),
        ),
    ),
    Exercise(
        name="grad_cam.softmax_factor",
        reference=softmax_factor,
        cases=_logits_class,
        hints=(
            "Write p for the softmax of class target. What is dp/dy, y being that class's logit?",
            "p = e^y / (e^y + rest), so dp/dy is p times what is left up to 1. (autograd gives the "
            "same.)",
            "p = output.softmax(dim=1)[:, target]; return p * (1 - ___)",
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
                "Your softmax runs over the images: use dim=1, the classes.",
            ),
            Mistake(
                lambda output, target: (p := output.sigmoid()[:, target]) * (1 - p),
                "You used a sigmoid; the other logits matter in a softmax.",
            ),
            Mistake(
                lambda output, target: torch.zeros(len(output)),
                "All zeros: you took the derivative of the sum over all classes, and that sum is "
                "always 1.",
            ),
            Mistake(
                lambda output, target: (p := output.softmax(1)) * (1 - p),
                "You have a factor for every class; give the column of class target alone.",
            ),
        ),
        spellings=(
            lambda output, target: torch.autograd.grad(
                (y := output.clone().requires_grad_()).softmax(1)[:, target].sum(), y
            )[0][:, target],
            lambda output, target: [
                float(p - p * p) for p in output.double().softmax(1)[:, target]
            ],
            lambda output, target: (p := output.softmax(1))[:, target] * (p.sum(1) - p[:, target]),
            lambda output, target: (
                (p := (e := np.exp(output.double().numpy()))[:, target] / e.sum(1)) * (1 - p)
            ),
        ),
    ),
    Exercise(
        name="grad_cam.near_count",
        reference=near_count,
        cases=_numbers_count,
        hints=(
            "The score must be highest, 0, where the prediction equals count.",
            "The squared distance is highest far away: turn its sign. Average nothing.",
            "return ___((output - count) ** 2)",
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
                "That is already the derivative; autograd takes it for you.",
            ),
        ),
        spellings=(
            lambda output, count: [-((float(y) - count) ** 2) for y in output],
            lambda output, count: (
                -F.mse_loss(output, torch.full_like(output, count), reduction="none")
            ),
            lambda output, count: -(output.double() - count).square(),
            lambda output, count: (output - count) * (count - output),
        ),
        edges=((torch.tensor([3.0, 4.5]), 3.0),),
    ),
)

_CLINIC = (
    Exercise(
        name="grad_cam.features_at",
        reference=features_at,
        cases=_net_layer,
        hints=(
            'Two faults. The first name of named_modules() is "", the whole model, and what '
            "forward() does between two layers no walk can see. And which names does `in` match?",
            "Let the model run itself, with a forward hook on the one module whose name equals "
            "layer.",
            "hook = model.get_submodule(___).register_forward_hook(lambda m, i, o: kept.append(o))",
        ),
        mistakes=(
            Mistake(
                _substring_match,
                "You kept a later layer: `layer in name` also matches longer names. Ask for "
                "equality.",
            ),
            Mistake(
                _prefix_match,
                "You kept an earlier layer: its name is where yours begins. Ask for equality.",
            ),
            Mistake(
                _walk,
                "You walked from child to child: what forward() does between two layers is "
                "missing. Let the model run and listen with a hook.",
            ),
            Mistake(
                lambda model, images, layer: _run_with_hook(model, images, layer, keep_input=True)[
                    0
                ],
                "Your hook kept the layer's input; its output is the third argument.",
            ),
            Mistake(
                lambda model, images, layer: model(images),
                "That is the model's output, the first thing that named_modules() gives.",
            ),
            Mistake(
                lambda model, images, layer: features_at(model, images, layer)[:1],
                "Only the first image's features came back; keep the whole batch.",
            ),
        ),
        spellings=(
            _features_by_loop,
            _features_by_extractor,
            lambda model, images, layer: _capture_by_backward(model, images, layer, 0)[0],
        ),
    ),
    Exercise(
        name="grad_cam.gradient_at",
        reference=gradient_at,
        cases=_net_layer_class,
        hints=(
            "When does a backward hook fire, and does that ever happen here? And at the second "
            "call: what else is in the list?",
            "Call backward() on the summed logits of class target. Keep the list inside the "
            "function and remove the hook.",
            "output[:, target].sum().___()",
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
                "Only the first image has a gradient: sum the logits of class target over the "
                "images.",
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
        spellings=(
            lambda *arguments: _capture_by_backward(*arguments)[1],
            lambda *arguments: _capture_by_backward_hook(*arguments)[1],
            lambda *arguments: _capture_image_by_image(*arguments)[1],
            lambda *arguments: _capture_in_float64(*arguments)[1],
        ),
    ),
    Exercise(
        name="grad_cam.weighted_sum",
        reference=weighted_sum,
        cases=_batch_alpha,
        hints=(
            "bmm multiplies (N, a, b) by (N, b, c). Which shapes are given?",
            "einsum takes the shapes as they are: write the letters of each axis. For bmm, alpha "
            "is (N, 1, K) and the maps are (N, K, h·w).",
            'return torch.einsum("nk,___->nij", alpha, features)',
        ),
        mistakes=(
            Mistake(
                _scrambled_bmm,
                "The shapes fit, the numbers do not: reshape does not swap axes. Flatten the "
                "positions, keep K before them.",
            ),
            Mistake(
                lambda features, alpha: weighted_sum(features, alpha[:1].expand_as(alpha)),
                "You used the first image's weights for all images.",
            ),
            Mistake(
                lambda features, alpha: weighted_sum(features, alpha).relu(),
                "The signed sum is asked here, without ReLU.",
            ),
            Mistake(
                lambda features, alpha: weighted_sum(features, alpha).flatten(1),
                "The positions are still in one row: give them back their shape (h, w).",
            ),
            Mistake(
                lambda features, alpha: weighted_sum(features, alpha)[:, None],
                "The axis of length 1 that bmm needed is still there: take it away again.",
            ),
            Mistake(
                lambda features, alpha: (alpha[..., None, None] * features).mean(1),
                "You averaged over the feature maps; a sum is asked.",
            ),
            Mistake(
                lambda features, alpha: weighted_sum(features, alpha).sum(0),
                "The maps of all images came out as one: each image keeps its own.",
            ),
        ),
        spellings=(
            _weighted_by_bmm,
            _weighted_by_loop,
            lambda features, alpha: (alpha.double()[..., None, None] * features).sum(1),
            lambda features, alpha: (alpha[:, None] @ features.flatten(2)).view(
                len(features), *features.shape[2:]
            ),
        ),
    ),
    Exercise(
        name="grad_cam.top_class_maps",
        reference=top_class_maps,
        cases=_batch_weight_output,
        hints=(
            "Try it in your head on a batch of three, then on a batch of one: which line looks at "
            "one image only, and which line drops an axis?",
            "argmax(dim=1) has one class per image already: weight[classes] is then (N, K). And "
            "no squeeze().",
            'return torch.einsum("nk,nkij->nij", weight[output.argmax(dim=___)], features)',
        ),
        mistakes=(
            Mistake(
                lambda features, weight, output: torch.einsum(
                    "k,nkij->nij", weight[output.argmax(1)[0]], features
                ).squeeze(),
                "Every image gets the first image's class: give each its own. Then try a batch of "
                "one.",
            ),
            Mistake(
                lambda features, weight, output: top_class_maps(features, weight, output).squeeze(),
                "Right for many images; for a batch of one, squeeze() still eats the batch.",
            ),
            Mistake(
                lambda features, weight, output: torch.einsum(
                    "k,nkij->nij", weight[output.sum(0).argmax()], features
                ),
                "You took one class for the whole batch, the one with the largest summed logit: "
                "give each image its own.",
            ),
            Mistake(
                lambda features, weight, output: weighted_sum(
                    features, weight[output.argmin(dim=1)]
                ),
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
        spellings=(
            lambda features, weight, output: torch.stack(
                [
                    (weight[o.argmax()][:, None, None] * f).sum(0)
                    for f, o in zip(features, output, strict=True)
                ]
            ),
            lambda features, weight, output: torch.einsum("ck,nkij->ncij", weight, features)[
                torch.arange(len(output)), output.argmax(1)
            ],
            lambda features, weight, output: _weighted_by_bmm(
                features.double(), weight.double()[output.argmax(1)]
            ),
            lambda features, weight, output: torch.einsum(
                "nc,ck,nkij->nij",
                F.one_hot(output.argmax(1), output.shape[1]).float(),
                weight,
                features,
            ),
        ),
        edges=(
            (
                _ONE_IMAGE - 1,
                torch.tensor([[0.5, -1.0], [1.5, 2.0], [-0.5, 0.3]]),
                torch.tensor([[0.2, 1.3, -0.4]]),
            ),
        ),
    ),
    Exercise(
        name="grad_cam.accumulate",
        reference=accumulate,
        cases=_features_alpha,
        hints=(
            "With which value must a sum begin? And what is 0 / 0?",
            "Begin with zeros. Divide only if the maximum is positive; add no small number to the "
            "divisor, it would fade maps that are small.",
            "return heat / heat.max() if heat.max() > ___ else heat",
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
        spellings=(
            _clipped_by_numpy,
            _norm_guarded,
            lambda features, alpha: (
                (m := _summed_in_a_loop(features, alpha).relu())
                / torch.where(m.max() > 0, m.max(), torch.ones(()))
            ),
            lambda features, alpha: (
                (m := (alpha @ features.flatten(1)).view(features.shape[1:]).relu())
                / (m.max().item() or 1.0)
            ),
        ),
        edges=(
            (torch.ones(2, 3, 4), torch.tensor([-1.0, -2.0])),
            (torch.arange(24.0).reshape(2, 3, 4), torch.tensor([1e-10, 1e-10])),
        ),
    ),
    Exercise(
        name="grad_cam.steady_scores",
        reference=steady_scores,
        cases=_normalised_net,
        hints=(
            "Which layer of the network looks at the other images of the batch, and when?",
            "In train mode batch norm uses the batch's own statistics (and moves its stored "
            "ones). One call switches the whole model over.",
            "model.___()",
        ),
        mistakes=(
            Mistake(
                _batch_statistics,
                "The model still runs in train mode, on the batch's own statistics.",
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
        spellings=(
            lambda model, images: model.eval()(images),
            lambda model, images: torch.cat([model.eval()(image[None]) for image in images]),
            lambda model, images: model.eval().double()(images.double()),
            _only_norm_in_eval,
        ),
    ),
)

EXERCISES = _METHOD + _SCORES + _CLINIC
