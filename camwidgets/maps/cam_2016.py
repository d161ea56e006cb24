"""Class activation mapping: Zhou et al., Learning Deep Features for Discriminative Localization.

CVPR 2016, section 2. The network ends in global average pooling and one linear layer, so

    y^c = Σ_k w_k^c · mean_ij A^k_ij  =  mean_ij Σ_k w_k^c A^k_ij        (bias left out)

and the inner sum says what each position (i, j) adds to the class score.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .asked import check
from .recording import MOVED, Call, Recording, full, record, trace
from .targets import Classes, check_finite, classes

NEEDS = "CAM needs a network that ends in global average pooling and one linear layer."


def cam(model: nn.Module, images: Tensor, target: Classes = None) -> Tensor:
    """L^c_ij = Σ_k w_k^c A^k_ij: what each position adds to the score of class c, signed.

    Args:
        model: a CNN that ends in global average pooling and one linear layer; it is not touched.
        images: float tensor (N, C, H, W).
        target: the class: None (each image's top class), an int, or one int per image.

    Returns:
        (N, h, w), at the last feature map's resolution. Its mean over the positions is y^c
        without the bias.

    Raises:
        ValueError: the head is another one (the message names it), or the target is no class.
    """
    check(model, images)
    try:
        A, w, output = _head(record(model, images))
    except ValueError as error:
        raise ValueError(_other_head(model, images)) from error
    return torch.einsum("nk,nkij->nij", w[classes(output, target)], A)


def cam_of(recording: Recording, target: Classes = None) -> Tensor:
    """`cam` from a recording that has the map that is pooled among its layers."""
    A, w, output = _head(recording)
    return torch.einsum("nk,nkij->nij", w[classes(output, target)], A)


def _head(recording: Recording) -> tuple[Tensor, Tensor, Tensor]:
    """A (N, K, h, w), the linear layer's weight (classes, K), and the output.

    That the head is the one CAM needs is not read off the model's parts but checked with numbers:
    the linear layer's output must be the model's, and its input the mean of a recorded map (or of
    its ReLU, where a functional one follows).
    """
    if recording.head is not None:
        w, pooled, y = recording.head
        if isinstance(recording.output, Tensor) and torch.equal(recording.output, y):
            for A in reversed(recording.features.values()):
                for candidate in (A, A.relu()):
                    if _is_mean(pooled, candidate):
                        w = full(w)
                        return candidate.to(w.dtype), w, recording.output
    raise ValueError(
        f"{NEEDS} The last linear layer takes the mean of no map recorded here. "
        "Use grad_cam, which takes any head."
    )


def _is_mean(pooled: Tensor, features: Tensor) -> bool:
    """Whether `pooled` is the features' mean over positions, up to rounding."""
    mean = features.mean(dim=(2, 3))
    rounding = 32 * torch.finfo(pooled.dtype).eps * features.abs().max()
    return mean.shape == pooled.shape and bool(((mean - pooled).abs() <= rounding).all())


def _other_head(model: nn.Module, images: Tensor) -> str:
    """What the network has instead."""
    traced = trace(model, images)
    last = max((i for i, call in enumerate(traced.calls) if call.reading), default=-1)
    behind = [call for call in traced.calls[last + 1 :] if not list(call.module.children())]
    moved = [c.name for c in behind if c.is_moved and c.tensor.shape[2:].numel() > 1]
    if moved:
        return (
            f"The last map of this network is that of {moved[-1]!r}, and {MOVED}. grad_cam takes a "
            "layer before that, or a way to read this one: reshape_transform=."
        )
    names = [type(call.module).__name__ for call in behind]
    if len(names) > 8:
        names[2:-4] = [f"{len(names) - 6} more"]
    found = " → ".join(names) or "no layer"
    linear = [call for call in behind if isinstance(call.module, nn.Linear)]
    problem = ""
    if last >= 0 and linear:
        y = linear[-1].output
        check_finite(y)
        A, reading = traced.calls[last], traced.calls[last].reading
        problem = " The model's output is not that of its last Linear."
        if isinstance(traced.output, Tensor) and torch.equal(y, traced.output):
            if reading and _is_mean(linear[-1].given, reading(A.tensor)):
                return (
                    "CAM looks for the map by gradients, and here the score has none (no_grad or "
                    f"detach()): cam_of(record(model, images, [{A.name!r}])) names the map."
                )
            problem = " The input of its last Linear is not the mean of that map."
        if any(map(_leaves_one_position, behind)):
            height, width = images.shape[2:]
            problem += (
                f" A convolution behind it gives 1×1 for images of {height}×{width}: "
                "larger ones may have a later map."
            )
    return (
        f"{NEEDS} After its last feature map this one has: {found}.{problem} "
        "Use grad_cam, which takes any head."
    )


def _leaves_one_position(call: Call) -> bool:
    """Whether a convolution was given a map and gave 1×1."""
    if not isinstance(call.module, nn.Conv2d) or not isinstance(call.given, Tensor):
        return False
    return call.given.shape[2:].numel() > 1 == call.output.shape[2:].numel()
