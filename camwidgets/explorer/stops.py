"""Which layers of a network are worth a stop on the layer slider."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from ..maps.graph import on_every_path
from ..maps.recording import Call

FEWEST, MOST = 4, 20


def stops(calls: Sequence[Call], scores: Tensor) -> list[str]:
    """The steps of a network that a person would name, in forward order.

    One rule: the network is opened row by row, from the outside, until a further row would make
    more than 20 stops. What can be opened is a part through whose layers everything flows: a
    trunk to its stages, a stage to its blocks. A residual, dense or Inception block is passed by
    inside, so it stays whole, and so does any other block of its kind. Within a row,

    - a layer and the normalisation and activation behind it are one step, named after the last;
    - what only pads, drops, reorders or repeats is none, nor what comes before the first weights;
    - the last step of a stage has the stage's name.

    Args:
        calls: of every layer, as `maps.trace` gives them.
        scores: what the model gave, attached to the graph.
    """
    way = on_every_path(scores.grad_fn)
    if not any(call.reading and call.node in way for call in calls):
        way = {call.node for call in calls}
    row = _row(_parts(calls, way))
    while opened := [part for part in row if part.opens(row)]:
        inside = [inner for part in row for inner in (part.inner if part in opened else [part])]
        if len(inside) > MOST and len(row) >= FEWEST:
            break
        for part in opened if len(opened) > 1 else []:
            part.inner[-1].name = part.name
        row = inside
    return [part.name for part in _joined(row, whole=True)]


class _Part:
    """One call of a layer during a forward pass, and the calls within it."""

    def __init__(self, call: Call, way: set[Any]) -> None:
        self.call = call
        self.name: str = call.name
        self.is_map = call.reading is not None
        self.on_the_way = call.node in way
        self.within: list[_Part] = []
        self.is_weighted = any(p.ndim > 1 for p in call.module.parameters())
        """whether it mixes channels or positions"""
        self.is_whole = False
        """whether it is never opened"""
        self.is_idle = False
        """whether it is no step"""

    @cached_property
    def inner(self) -> list[_Part]:
        """The steps within; the last one gives what this part gives."""
        row = _row(self.within)
        if self.is_map and (not row or row[-1].call.edge != self.call.edge):
            row.append(_Part(self.call, {self.call.node}))
        return row

    def opens(self, row: list[_Part]) -> bool:
        """Whether it is a row of its own: two steps with weights, or all the steps there are."""
        if self.is_whole or len(self.inner) < 2:
            return False
        weighted = sum(part.is_weighted for part in self.inner)
        return weighted > 1 or not any(part.within for part in row if part is not self)

    def only_moves(self) -> bool:
        """Whether it pads, drops, reorders, or pools to no fewer positions."""
        given, output = self.call.given, self.call.tensor
        if self.within or self.is_weighted or not isinstance(given, Tensor):
            return False
        if isinstance(self.call.module, nn.AdaptiveAvgPool2d):
            return self.call.pools_nothing
        reordered = given.numel() == output.numel() and given.shape != output.shape
        return reordered or _made_in(self.call.module, "padding", "dropout", "linear.Identity")

    def completes(self, before: _Part) -> bool:
        """Whether this is the normalisation or activation of what `before` gave."""
        return (
            self.call.given is before.call.tensor
            and self.call.tensor.shape == before.call.tensor.shape
            and not self.is_weighted
            and not any(_made_in(m, "pooling") for m in self.call.module.modules())
        )


def _parts(calls: Sequence[Call], way: set[Any]) -> list[_Part]:
    """The outermost calls, those within them below."""
    parts = [_Part(call, way) for call in calls]
    outermost: list[_Part] = []
    holders: list[tuple[_Part, set[nn.Module]]] = []
    for part in reversed(parts):  # a container ends after what is in it
        module = part.call.module
        around = (holder for holder, inside in reversed(holders) if module in inside)
        holder = next(around, None)
        (outermost if holder is None else holder.within).insert(0, part)
        inside = set(module.modules()) - {module}
        if inside:
            holders.append((part, inside))

    begun, edges = not any(part.is_weighted for part in parts), set()
    for part in parts:
        begun = begun or part.is_weighted
        repeats = not part.within and part.call.edge in edges
        part.is_idle = not begun or repeats or part.only_moves()
        edges.add(part.call.edge)

    whole = {
        type(part.call.module)
        for part in parts
        if part.on_the_way and any(p.is_map and not p.on_the_way for p in part.within)
    }
    for part in parts:
        part.is_whole = type(part.call.module) in whole
    return outermost


def _row(parts: list[_Part]) -> list[_Part]:
    """The steps among some parts; of one that is no map, those within."""
    row: list[_Part] = []
    for part in parts:
        if not part.is_map:
            row += _row(part.within)
        elif part.on_the_way and not part.is_idle:
            row.append(part)
    return _joined(row, whole=False)


def _joined(row: list[_Part], *, whole: bool) -> list[_Part]:
    """A row in which the normalisation or activation stands for the layer before it.

    Unless `whole`, a part that may yet be opened stays.
    """
    return [
        part
        for k, part in enumerate(row)
        if not (
            any(after.completes(part) for after in row[k + 1 : k + 2])
            and (whole or len(part.within) == 0 or len(part.inner) < 2)
        )
    ]


def _made_in(module: nn.Module, *homes: str) -> bool:
    classes = [f"{c.__module__}.{c.__qualname__}" for c in type(module).__mro__]
    return any(c.startswith(f"torch.nn.modules.{home}") for c in classes for home in homes)
