"""From "which class?" to one score an image: the number whose reasons a map shows.

A score is the model's raw output (a logit), never a softmax: the softmax of one class also rises
when the other logits fall, and where it is close to 1 its gradient is close to 0, so that a map
of it shows rounding noise where the model is surest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, SupportsIndex, TypeAlias

import torch
from torch import Tensor

from .asked import form, warn
from .graph import behind_the_last_weights, name_of

ENDINGS = {
    "LogSoftmax": "log-softmax",
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "log-sigmoid",
    "Tanh": "tanh",
    "Hardsigmoid": "hard sigmoid",
}
"""operations of autograd's that flatten out, and their names"""


class Array(Protocol):
    """What NumPy can read, a NumPy array above all."""

    def __array__(self) -> Any: ...


Classes: TypeAlias = SupportsIndex | Sequence[SupportsIndex] | Tensor | Array | None
"""None (each image's own top class), an int, or one int per image."""
Target: TypeAlias = Classes | Callable[[Any], Tensor]
"""None (each image's own top class), an int, one int per image, or output → one score per image."""


def scores(output: Any, target: Target = None, count: int | None = None) -> Tensor:
    """One score per image, (N,), attached to the graph.

    Args:
        output: what the model gave: (N, K) logits or (N,) values, or anything a callable
            `target` understands.
        target: see `Target`.
        count: the number of images N, where it is known, to be held against the scores.

    Raises:
        TypeError, ValueError: the target does not fit the output, or the scores are not finite.
    """
    if callable(target):
        score = target(output)
        if not isinstance(score, Tensor) or score.ndim != 1:
            found = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise ValueError(
                f"A callable target must return one score per image, shape (N,), not {found}; "
                "for example: lambda output: output[:, 3] - output[:, 5]."
            )
    elif isinstance(output, Tensor) and output.ndim == 1 and target is None:
        score = output
    else:
        index = classes(output, target)
        score = output.gather(1, index[:, None])[:, 0]
    if count is not None and len(score) != count:
        raise ValueError(
            f"Each image needs one score, but {len(score)} came for {count} image(s). Index the "
            "classes, as in lambda output: output[:, 3]; and squeeze() eats a batch of one. Of a "
            "model that makes crops or copies inside, a callable target brings their scores "
            "together."
        )
    check_finite(score)
    return score


def differentiable(score: Tensor) -> Tensor:
    """The scores as they are, or a ValueError where autograd has lost their origin."""
    if not score.requires_grad:
        raise ValueError(
            "The score has no gradient: the model (or the callable target) computes it "
            "without autograd, for example under torch.no_grad() or through .detach()."
        )
    return score


def classes(output: Any, target: Target = None) -> Tensor:
    """The class of each image as an index, (N,) int64, for an output (N, K).

    Raises:
        TypeError, ValueError: the output is not (N, K), or the target not among its K classes.
    """
    if not isinstance(output, Tensor) or output.ndim != 2:
        tensor = "a tensor " if isinstance(output, Tensor) else ""
        raise ValueError(
            f"The model's output is {tensor}{form(output)}, not (N, classes): give a callable "
            f"target that returns one score per image, for example lambda output: "
            f"{_one_score(output)}."
        )
    if not output.is_floating_point() or not output.shape[1]:
        raise ValueError(
            f"The model's output, of shape {tuple(output.shape)}, holds {output.dtype}, no real "
            "scores of classes: give a callable target that makes one float an image of it, for "
            "example lambda output: output[:, 3].abs()."
        )
    count, k = output.shape
    if target is None:
        check_finite(output)
        return output.argmax(dim=1)
    if callable(target):
        raise TypeError("A class is needed here: give an int, one int per image, or None.")
    try:
        index = torch.as_tensor(target, device=output.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"target must be an int, or one int per image, not {target!r}.") from error
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(f"target must be a class number (int), not {index.dtype}.")
    if index.ndim > 1 or (index.ndim == 1 and len(index) != count):
        raise ValueError(
            f"target has shape {tuple(index.shape)}; give one int, or one for each of the "
            f"{count} images."
        )
    index = index.long()
    if not all(0 <= c < k for c in index.flatten().tolist()):
        raise ValueError(f"target {target} is not among the model's classes 0 to {k - 1}.")
    return index.expand(count)


def _one_score(output: Any) -> str:
    """What could make one score per image of an output that is not (N, classes)."""
    if isinstance(output, Tensor):
        places = tuple(range(1, output.ndim - 1))
        return f"output[:, 3].mean({places})" if places else "output"
    if isinstance(output, (tuple, list)):
        return "output[0][:, 3]"
    if hasattr(output, "logits") and not isinstance(output, Mapping):
        return "output.logits[:, 3]"
    return "output['logits'][:, 3]"


def check_finite(score: Tensor) -> None:
    """Raise the ValueError that names the images whose scores, (N,) or (N, K), are not finite."""
    finite = score.detach().isfinite()
    if not finite.all():
        bad = ~finite.reshape(len(score), -1).all(dim=1)
        raise ValueError(
            f"The model's output is NaN or infinite for image {bad.nonzero()[:, 0].tolist()}: "
            "look for NaN in its weights; a training that diverged leaves them."
        )


def warn_if_saturated(score: Tensor, gradients: Iterable[Tensor]) -> None:
    """Warn of images whose score comes from a softmax or the like without a slope left.

    Args:
        score: one score per image (N,), on the graph.
        gradients: its gradients at feature maps, each (N, K, h, w).
    """
    behind = {name_of(node) for node in behind_the_last_weights(score.grad_fn)}
    ending = next((word for name, word in ENDINGS.items() if name in behind), None)
    if ending is None:
        return
    flat = torch.stack([g.flatten(1).abs().amax(1) == 0 for g in gradients]).all(0)
    p = score.detach().float()
    doubt = ""
    if ending in ("softmax", "log-softmax", "sigmoid"):
        p = p.exp() if ending == "log-softmax" else p
        if flat.any() and ((p > 1e-6) & (p < 1 - 1e-5))[flat].all():  # not at its own ends
            doubt = ", or the layer has no part in this score"
        flat |= (1 - p).abs() < 1e-5
    if flat.any():
        warn(
            f"The score ends in a {ending}, and for image {flat.nonzero()[:, 0].tolist()} it has "
            f"no slope left{doubt}: the map shows rounding, or nothing. Ask for the logits, "
            f"without the {ending} that the model or the target puts behind them."
        )
