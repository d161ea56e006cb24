"""Which layers of a network are worth a stop on the layer slider."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..maps import graph, trace


def stops(model: nn.Module, images: Tensor) -> list[str]:
    """The layers worth a stop on a slider, in forward order.

    Of the layers that give a map, those that everything flows through (an inner branch of a
    residual or Inception block is none) and at which a step of the network is complete:

    - a convolution, its normalisation and its activation are one step, named after the last;
    - a container stands for the last layer in it, unless it is the one trunk that holds them all;
    - single layers inside a block are no steps where the network is a row of blocks.

    Args:
        model: any module; left exactly as it was.
        images: float tensor (N, C, H, W).
    """
    traced = trace(model, images)
    steps = [
        Step(call.name, call.module, call.given, call.tensor, call.node)
        for call in traced.calls
        if call.reading
    ]
    shared = graph.on_every_path(traced.output.grad_fn)
    everywhere = [step for step in steps if step.node in shared] or steps
    last = {step.name: step for step in everywhere if not step.idle()}

    unfinished = {a.name for a in steps for b in steps if b.completes(a)}
    containers = Counter(step.parent for step in last.values() if step.is_block())

    def rank(step: Step) -> tuple[bool, int]:
        trunk = step.is_block() and containers[step.parent] == 1
        return trunk, step.name.count(".")

    named: dict[int, Step] = {}
    for step in sorted(last.values(), key=rank):
        if step.name not in unfinished:
            named.setdefault(id(step.output), step)
    found = [step for step in last.values() if step in named.values()]

    blocks = Counter(step.parent for step in found if step.is_block())
    names = {step.name for step in found}

    def inside_a_block(step: Step) -> bool:
        beside = blocks[step.parent.rpartition(".")[0]]
        return not step.is_block() and step.parent in names and beside > 1

    return [step.name for step in found if not inside_a_block(step)]


@dataclass(frozen=True, eq=False)
class Step:
    """One call of one layer during a forward pass."""

    name: str
    module: nn.Module
    given: Any
    output: Tensor
    node: Any
    """what made the output, in autograd's graph"""

    @property
    def parent(self) -> str:
        """The name of the container."""
        return self.name.rpartition(".")[0]

    def is_block(self) -> bool:
        """Whether the layer holds others."""
        return any(True for _ in self.module.children())

    def idle(self) -> bool:
        """Whether the layer hands on what it was given."""
        return not self.is_block() and _made_in(self.module, "dropout", "linear.Identity")

    def completes(self, before: Step) -> bool:
        """Whether this is the normalisation or activation of what `before` made."""
        return (
            self.given is before.output
            and self.name != before.name
            and self.parent == before.parent
            and self.output.shape == before.output.shape
            and _made_in(self.module, "activation", "batchnorm", "instancenorm", "normalization")
        )


def _made_in(module: nn.Module, *homes: str) -> bool:
    classes = [f"{c.__module__}.{c.__qualname__}" for c in type(module).__mro__]
    return any(c.startswith(f"torch.nn.modules.{home}") for c in classes for home in homes)
