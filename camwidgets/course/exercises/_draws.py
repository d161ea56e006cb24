"""Arguments for exercises to be tried on: sizes, values, small networks."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sizes(generator: torch.Generator, *ranges: tuple[int, int]) -> list[int]:
    """One random size for each range (first, last)."""
    return [int(torch.randint(a, b + 1, (), generator=generator)) for a, b in ranges]


def distinct(generator: torch.Generator, count: int, low: int = 3, high: int = 8) -> list[int]:
    """Different sizes from low to high, so that no axis can be taken for another."""
    return (torch.randperm(high - low + 1, generator=generator)[:count] + low).tolist()


def normal(*shape: int) -> Tensor:
    """Values of both signs, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def positive(*shape: int) -> Tensor:
    """Values above 0, the same at every call."""
    return normal(*shape).abs() + 0.01


def order(*shape: int) -> Tensor:
    """0, 1, 2, … in an order that is the same at every call: a map of distinct values."""
    return normal(*shape).flatten().argsort().float().reshape(shape)


class Net(nn.Module):
    """A small CNN whose forward does more than call its layers one after the other.

    names: dotted names of its convolutions, in the order in which they are called.
    """

    def __init__(self, names: tuple[str, ...], classes: int):
        super().__init__()
        channels = [3, *range(4, 4 + len(names))]
        for i, name in enumerate(names):
            *path, last = name.split(".")
            parent: nn.Module = self
            for part in path:
                if part not in dict(parent.named_children()):
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(last, nn.Conv2d(channels[i], channels[i + 1], 3, padding=1))
        self.names = names
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W), H and W at least 8."""
        x = images
        for i, name in enumerate(self.names):
            if i:
                x = F.avg_pool2d(x.tanh(), 2)
            x = self.get_submodule(name)(x)
        return self.head(x.tanh().mean(dim=(2, 3)))


FLAT = ("conv1", "conv", "conv11"), ("conv11", "conv1", "conv"), ("block", "block2", "block2b")
NESTED = (
    ("body.1", "body.10", "tail.1"),
    ("net.body.1", "body.1", "tail.body.1"),
    ("a.10", "b.1", "a.1"),
)


def net_call(
    generator: torch.Generator,
    names: tuple[tuple[str, ...], ...] = FLAT,
    n: int = 0,
    layers: tuple[int, int] = (1, 2),
) -> tuple[Net, Tensor, str, int]:
    """A network in either mode, n images (or two to three), the name of a layer, and a class.

    layers: the first and the last layer that may be asked, counted from 0.
    """
    classes, height, width, which, layer = sizes(
        generator, (3, 5), (8, 11), (12, 15), (0, len(names) - 1), layers
    )
    target, train = sizes(generator, (0, classes - 1), (0, 1))
    n = n or sizes(generator, (2, 3))[0]
    model = Net(names[which], classes).train(bool(train))
    images = torch.randn(n, 3, height, width, generator=generator)
    return model, images, names[which][layer], target


def net_with_hook(generator: torch.Generator) -> tuple[Net, Tensor, str, int]:
    """A network that somebody listens to already."""
    model, images, layer, target = net_call(generator)
    model.get_submodule(layer).register_forward_hook(_listen)
    return model, images, layer, target


def _listen(module: nn.Module, inputs: tuple, output: Tensor) -> None:
    pass


NET_EDGES = (
    partial(net_call, names=FLAT[1:2], n=1, layers=(0, 0)),
    partial(net_call, names=NESTED[:1], layers=(0, 0)),
    partial(net_call, names=NESTED[1:2], layers=(1, 1)),
    partial(net_call, names=NESTED[2:], n=1, layers=(1, 1)),
    net_with_hook,
    partial(net_call, n=12),
)
"""nets with layers of like names, a batch of one and of many, a hook that was there before"""
