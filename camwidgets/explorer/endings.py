"""How a network ends, and the scores before its ending.

A map explains a score by its gradient, and the score should be the raw one, a logit. Behind a
softmax the gradient of one class tells of all the others too, and where the share is close to 0
or 1 it all but vanishes, as it does behind a sigmoid. So an ending is recognised and cut off: the
maps are taken from what it was given, and the bars show what it makes of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..maps.graph import is_relu, name_of

ACTIVATIONS = ("softmax", "sigmoid", "none")
ENDINGS = {
    **dict.fromkeys((F.softmax, torch.softmax, torch.special.softmax, Tensor.softmax), "softmax"),
    **dict.fromkeys(
        (F.log_softmax, torch.log_softmax, torch.special.log_softmax, Tensor.log_softmax),
        "log-softmax",
    ),
    **dict.fromkeys(
        (F.sigmoid, torch.sigmoid, torch.special.expit, Tensor.sigmoid, F.logsigmoid), "sigmoid"
    ),
    **dict.fromkeys((torch.sigmoid_, Tensor.sigmoid_), "sigmoid"),
}
"""function → kind"""
OUTPUTS = ("Exp", "Hardsigmoid", "Softplus", "Softsign", "Tanh")
"""activations, in autograd's words, behind which numbers are no logits; with every ReLU"""
ACTIVATED = "activation"
"""the kind of such an ending, which is not cut off"""
OF_AN_ACTIVATION = (
    "The model ends in an activation: its outputs are shown as they are, without shares, unless "
    "activation says what they mean. "
)
OF_PROBABILITIES = (
    "The model gives probabilities, whose gradients vanish where it is sure: maps are better if it "
    "can return logits. "
)
SAME_NUMBERS = ("Alias", "Clone", "Squeeze", "ToCopy", "Unsqueeze", "UnsafeView", "View")
"""operations of autograd's graph"""


def rows(output: Any) -> Tensor | None:
    """An output as one row of scores an image, (N, K), or None if it is nothing of the kind.

    One value an image, (N,), becomes (N, 1). Of a mapping or an object with `logits`, as Hugging
    Face's models give, these are taken; of an output (N, K, 1, 1) the row.
    """
    if not isinstance(output, Tensor):
        mapping = isinstance(output, Mapping)
        output = output.get("logits") if mapping else getattr(output, "logits", None)
    if not isinstance(output, Tensor):
        return None
    if output.ndim == 4 and output.shape[2:].numel() == 1:
        output = output.flatten(1)
    return output[:, None] if output.ndim == 1 else output if output.ndim == 2 else None


class Watch(TorchFunctionMode):
    """While active, keeps what each softmax, log-softmax and sigmoid was given and gave."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[str, Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kind = ENDINGS.get(func)
        if kind is None:
            return func(*args, **(kwargs or {}))
        given = args[0] if args else (kwargs or {})["input"]
        in_place = func.__name__.endswith("_")
        kept = given.clone() if in_place else given
        result = func(*args, **(kwargs or {}))
        self._calls.append((kind, kept, result))
        return result

    def ending(self, scores: Tensor | None) -> tuple[str, Tensor] | None:
        """The kind of the call that gave these scores, and what it was given in their shape.

        They are the same numbers: in memory, or by autograd's graph, as after a cast.
        """
        if scores is None:
            return None
        nodes = _unchanged(scores.grad_fn)
        for kind, given, result in reversed(self._calls):
            at = result.untyped_storage().data_ptr()
            same = at == scores.untyped_storage().data_ptr() or result.grad_fn in nodes
            if same and result.numel() == scores.numel():
                return kind, given.reshape(scores.shape)
        return None


def _unchanged(node: Any) -> list[Any]:
    """A node of autograd's graph and those before it that change no number."""
    nodes = []
    while node is not None:
        nodes.append(node)
        node = node.next_functions[0][0] if name_of(node) in SAME_NUMBERS else None
    return nodes


def is_activated(scores: Tensor) -> bool:
    """Whether an activation that makes outputs, not logits, is the last thing done to scores."""
    last = _unchanged(scores.grad_fn)[-1:]
    return any(is_relu(node) or name_of(node) in OUTPUTS for node in last)


def plain(model: nn.Module, *, cut: bool, sides: bool = False) -> nn.Module:
    """The same model (its parts are shared) that gives rows of scores, (N, K).

    Args:
        model: a stand-in.
        cut: whether to leave its ending off.
        sides: make of one logit a row of two, for its two sides.
    """
    kind = type(model)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        own = vars(self).get("_own_forward") or partial(kind.forward, self)
        watch = Watch()
        with watch if cut else nullcontext():
            output = own(*args, **kwargs)
        scores = rows(output)
        ending = watch.ending(scores)
        scores = scores if ending is None else ending[1]
        return output if scores is None else torch.cat([-scores, scores], 1) if sides else scores

    bare = object.__new__(type(kind.__name__, (kind,), {"forward": forward}))
    bare.__dict__ = dict(vars(model))
    bare.__dict__["_own_forward"] = bare.__dict__.pop("forward", None)
    return bare


@dataclass(frozen=True)
class Meaning:
    """What a model's scores mean."""

    activation: str
    """what turns scores into the shares of the bars: softmax, sigmoid, sides or none"""
    score_name: str
    """logit, probability, log-probability or output"""
    cut: bool
    """whether the model has an ending that is cut off"""
    note: str = ""
    """what the user should know of it, in sentences"""

    def scores(self, row: Tensor) -> Tensor:
        """One score a class, from a row (K,) of the model's; a single logit has two sides."""
        return torch.cat([-row, row]) if self.activation == "sides" else row

    def shares(self, scores: Tensor) -> list[float | None]:
        """What the bars show of these scores, 0 to 1; None where there is no such thing."""
        scores = scores.double()
        if self.activation == "softmax":
            return scores.softmax(0).tolist()
        if self.activation in ("sigmoid", "sides"):
            return scores.sigmoid().tolist()
        if self.score_name == "probability":
            return scores.tolist()
        if self.score_name == "log-probability":
            return scores.exp().tolist()
        return [None] * len(scores)


def meaning(ending: str | None, row: Tensor, activation: str | None, named: int | None) -> Meaning:
    """What the scores mean.

    Args:
        ending: the kind found, `ACTIVATED`, or None.
        row: one row (K,) of the model's own output.
        activation: the user's word, or None to go by the ending: a network without one that
            gives several scores is taken for a classifier trained with cross-entropy, unless
            they are shares already.
        named: how many class names the user gave, if any: two for one score are its two sides.

    Raises:
        ValueError: an unknown activation, or one that contradicts the ending.
    """
    if activation not in (None, *ACTIVATIONS):
        raise ValueError(
            f"activation must be {', '.join(map(repr, ACTIVATIONS))} or None, not {activation!r}."
        )
    cut = ending not in (None, ACTIVATED)
    family = str(ending).removeprefix("log-") if cut else None
    if activation in ("softmax", "sigmoid") and family and family != activation:
        raise ValueError(
            f"The model ends in a {ending}, so activation={activation!r} cannot be right: leave "
            "it out, or say 'none' to see the output as it is."
        )
    if activation == "none":
        return Meaning("none", "output", False)
    if len(row) == 1:
        if activation == "softmax" or family == "softmax":
            raise ValueError(
                "A softmax of one score is always 1: one score with two sides is "
                "activation='sigmoid'."
            )
        if family or activation == "sigmoid" or named == 2:
            return Meaning("sides", "logit", cut)
        return Meaning("none", "output", False)
    if activation is None and not cut:
        if bool((row >= 0).all()) and _is_one(row.double().sum()):
            return Meaning("none", "probability", False, OF_PROBABILITIES)
        if bool((row <= 0).all()) and _is_one(row.double().exp().sum()):
            return Meaning("none", "log-probability", False, OF_PROBABILITIES)
        if ending == ACTIVATED:
            return Meaning("none", "output", False, OF_AN_ACTIVATION)
    return Meaning(activation or family or "softmax", "logit", cut)


def _is_one(total: Tensor) -> bool:
    return abs(float(total) - 1) < 1e-3
