"""Little networks that several tests share, and the nets of the worked examples."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A module built, and its batch-norm statistics made uneven, from one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def pictures(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gap_head(features: int = 4, classes: int = 3, *between: nn.Module) -> list[nn.Module]:
    """Global average pooling and one linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *between, nn.Linear(features, classes)]


def gap_net(channels: int = 3, classes: int = 4) -> nn.Module:
    """conv, batch norm, ReLU, twice; global average pooling, one linear layer."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            *gap_head(8, classes, nn.Dropout(0.5)),
        )
    )


class Gap(nn.Module):
    """`blocks` of conv, batch norm and activation, global average pooling, one linear layer."""

    def __init__(
        self,
        classes: int = 3,
        channels: int = 3,
        activation: Callable[[], nn.Module] = nn.ReLU,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        sizes = [channels, 6, *[8] * (blocks - 1)]
        self.blocks = nn.Sequential()
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
            pool = [nn.MaxPool2d(2)] if i < blocks - 1 else []
            self.blocks.append(nn.Sequential(*layers, activation(), *pool))
        self.classifier = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.blocks(images).mean(dim=(2, 3)))


class Functional(nn.Module):
    """Two convolutions, then whatever `head` makes of the last map."""

    def __init__(self, head: Callable[[Functional, Tensor], object], features: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, features, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(features, 3)
        self.head = head

    def forward(self, x: Tensor) -> object:
        return self.head(self, self.last(F.relu(self.first(x))))


def functional(head: Callable[[Functional, Tensor], object], features: int = 5) -> nn.Module:
    return seeded(lambda: Functional(head, features))


def by_hook(model: nn.Module, images: Tensor, layer: str, c: int) -> tuple[Tensor, Tensor]:
    """Map and gradient captured by hand: a plain hook on a copy, a clone handed on."""
    model = copy.deepcopy(model).eval()
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    dict(model.named_modules())[layer].register_forward_hook(keep)
    score = model(images)[:, c].sum()
    (g,) = torch.autograd.grad(score, kept[-1])
    return kept[-1].detach(), g


# ---- worked examples ----------------------------------------------------------------------------

IMAGE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


def worked_gap_net() -> nn.Sequential:
    """On IMAGE: conv [[1, 2], [3, 4]] and [[2, 1], [0, -1]]; GAP of the ReLU (2.5, 0.75);
    logits 2.5 - 2·0.75 + 0.5 = 1.5 and -2.5 + 4·0.75 - 1 = -0.5."""
    conv, linear = nn.Conv2d(1, 2, 1), nn.Linear(2, 2)
    with torch.no_grad():
        conv.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        conv.bias[:] = torch.tensor([0.0, 3.0])
        linear.weight[:] = torch.tensor([[1.0, -2.0], [-1.0, 4.0]])
        linear.bias[:] = torch.tensor([0.5, -1.0])
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)


def worked_flatten_net() -> nn.Sequential:
    """On IMAGE: conv A = [[-1.5, -0.5], [0.5, 1.5]], output 3·-1.5 + 0.5 + 2·0.5 + 4·1.5 = 3, so
    the gradient at A is [[3, -1], [2, 4]]. One output: a regression."""
    conv, linear = nn.Conv2d(1, 1, 1), nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        conv.weight[:], conv.bias[:] = 1.0, -2.5
        linear.weight[:] = torch.tensor([3.0, -1.0, 2.0, 4.0])
    return nn.Sequential(conv, nn.Flatten(), linear)
