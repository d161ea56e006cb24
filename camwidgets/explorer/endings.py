"""How a network ends, and the scores before its ending.

A map explains a score by its gradient, and the score should be the raw one (a logit). Behind a
softmax the gradient of one class also tells of all the others, and where the share is close to 0
or 1 it all but vanishes, as behind a sigmoid. So an ending is recognised and cut off: the maps
are taken from what it was given, and the bars show what it makes of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

ACTIVATIONS = ("softmax", "sigmoid", "none")
_ENDINGS = {
    "softmax": (F.softmax, torch.softmax, torch.special.softmax, Tensor.softmax),
    "log-softmax": (
        F.log_softmax,
        torch.log_softmax,
        torch.special.log_softmax,
        Tensor.log_softmax,
    ),
    "sigmoid": (
        F.sigmoid,
        torch.sigmoid,
        torch.sigmoid_,
        torch.special.expit,
        Tensor.sigmoid,
        Tensor.sigmoid_,
    ),
}
_KINDS = {function: kind for kind, functions in _ENDINGS.items() for function in functions}


class _Watch(TorchFunctionMode):
    """While active, keeps what each softmax, log-softmax and sigmoid was given and gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kind = _KINDS.get(func)
        if kind is None:
            return func(*args, **(kwargs or {}))
        given = args[0] if args else kwargs["input"]
        kept = given.clone() if func.__name__.endswith("_") else given
        result = func(*args, **(kwargs or {}))
        self.calls.append((kind, kept, result))
        return result

    def ending(self, output: Tensor) -> tuple[str, Tensor] | None:
        """The kind of the call that gave this output, and what it was given, in its shape."""
        for kind, given, result in reversed(self.calls):
            if result.numel() == output.numel() and _storage(result) == _storage(output):
                return kind, given.reshape(output.shape)
        return None


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def rows(output: Any) -> Tensor | None:
    """An output as one row of scores an image, (N, K), or None if it is nothing of the kind.

    (N,), one value per image, becomes (N, 1); of a mapping or an object with `logits`, as
    Hugging Face's models give, these are taken.
    """
    if not isinstance(output, Tensor):
        output = output.get("logits") if isinstance(output, dict) else vars_logits(output)
    if not isinstance(output, Tensor) or output.dim() not in (1, 2):
        return None
    return output if output.dim() == 2 else output[:, None]


def vars_logits(output: Any) -> Any:
    """The attribute `logits`, if there is one."""
    return getattr(output, "logits", None)


def ending(model: nn.Module, x: Tensor) -> tuple[Any, str | None]:
    """What the model gives for x, and the kind of its ending: a name of `_ENDINGS`, or None."""
    with torch.no_grad(), _Watch() as watch:
        output = model(x)
    scores = rows(output)
    found = None if scores is None else watch.ending(scores)
    return output, None if found is None else found[0]


def plain(model: nn.Module, cut: bool) -> nn.Module:
    """The same model (its parts are shared), giving rows of scores (N, K), the ending cut off."""
    kind = type(model)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not cut:
            output = kind.forward(self, *args, **kwargs)
            scores = rows(output)
            return output if scores is None else scores
        with _Watch() as watch:
            output = kind.forward(self, *args, **kwargs)
        scores = rows(output)
        found = None if scores is None else watch.ending(scores)
        return output if scores is None else scores if found is None else found[1]

    bare = object.__new__(type(kind.__name__, (kind,), {"forward": forward}))
    bare.__dict__ = dict(model.__dict__)
    return bare


@dataclass(frozen=True)
class Reading:
    """What a model's scores mean."""

    activation: str
    """what turns scores into the shares of the bars: softmax, sigmoid, sides or none"""
    score_name: str
    cut: bool
    """whether the model's own ending is cut off"""

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


def reading(kind: str | None, row: Tensor, activation: str | None, named: int | None) -> Reading:
    """How to read the scores.

    Args:
        kind: the ending found, or None.
        row: one row (K,) of the model's own output.
        activation: the user's word, or None to go by the ending: a network without one that
            gives several scores is taken for a classifier trained with cross-entropy.
        named: how many class names the user gave, if any: two for one score are its two sides.

    Raises:
        ValueError: an unknown activation, or one that contradicts the ending.
    """
    if activation not in (None, *ACTIVATIONS):
        raise ValueError(
            f"activation must be {', '.join(map(repr, ACTIVATIONS))} or None, not {activation!r}."
        )
    family = kind and kind.removeprefix("log-")
    if activation in ("softmax", "sigmoid") and family and family != activation:
        raise ValueError(
            f"The model ends in a {kind}, so activation={activation!r} cannot be right: leave it "
            "out, or say 'none' to see the output as it is."
        )
    one = len(row) == 1
    if activation == "none":
        return Reading("none", "output", False)
    if one and (family == "sigmoid" or activation == "sigmoid" or (named == 2 and kind is None)):
        return Reading("sides", "logit", family == "sigmoid")
    if one:
        return Reading("none", "output", False)
    if activation is None and kind is None:
        if _sums_to_one(row) and bool((row >= 0).all()):
            return Reading("none", "probability", False)
        if _sums_to_one(row.double().exp()) and bool((row <= 0).all()):
            return Reading("none", "log-probability", False)
    return Reading(activation or family or "softmax", "logit", kind is not None)


def _sums_to_one(row: Tensor) -> bool:
    return abs(float(row.double().sum()) - 1) < 1e-3
