"""Class activation mapping: Zhou et al., Learning Deep Features for Discriminative Localization.

CVPR 2016, section 2. The network ends in global average pooling and one linear layer, so

    y^c = Σ_k w_k^c · mean_ij A^k_ij  =  mean_ij Σ_k w_k^c A^k_ij        (bias left out)

and the inner sum says what each position (i, j) adds to the class score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .recording import is_map, run
from .targets import check_finite, classes


def cam(model: nn.Module, images: Tensor, target: int | Sequence[int] | Tensor | None = None):
    """L^c_ij = Σ_k w_k^c A^k_ij: what each position adds to the score of class c, signed.

    Args:
        model: a CNN that ends in global average pooling and one linear layer; left as it was.
        images: float tensor (N, C, H, W).
        target: the class: None (each image's top class), an int, or one int per image.

    Returns:
        (N, h, w), at the last feature map's resolution. Its mean over the positions is y^c
        without the bias.

    Raises:
        ValueError: the head is another one (the message names it), or the target is no class.
    """
    features, weight, output = _gap_head(model, images)
    w = weight[classes(output, target)]
    return torch.einsum("nk,nkij->nij", w, features)


def _gap_head(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features A (N, K, h, w), the linear layer's weight (classes, K), and the output.

    That the head is the one CAM needs is not read off the model's parts but checked with numbers:
    the linear layer's input must be the mean of the last map (or of its ReLU, where a functional
    one follows), and its output the model's.
    """
    features: Tensor | None = None
    linear: tuple[Tensor, Tensor, Tensor] | None = None
    head: list[str] = []

    def watch(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        nonlocal features, linear
        if is_map(output, images):
            features, linear = output.clone(), None
            head.clear()
        elif isinstance(module, nn.Linear):
            head.append("Linear")
            linear = (module.weight.detach(), inputs[0].clone(), output.clone())
        elif not list(module.children()):
            head.append(type(module).__name__)

    output = run(model, images, watch, grad=False)
    problem = ""
    if features is not None and linear is not None:
        weight, pooled, logits = linear
        check_finite(logits)
        if not isinstance(output, Tensor) or not torch.equal(logits, output):
            problem = " The model's output is not that of its last Linear."
        else:
            for candidate in (features, features.relu()):
                if _is_mean(pooled, candidate):
                    return candidate, weight, output
            problem = " The input of its last Linear is not the mean of that map."
    found = " → ".join(head) or "no layer"
    raise ValueError(
        "CAM needs a network that ends in global average pooling and one linear layer. After its "
        f"last feature map this one has: {found}.{problem} Use grad_cam, which takes any head."
    )


def _is_mean(pooled: Tensor, features: Tensor) -> bool:
    """Whether `pooled` is the features' mean over positions, up to rounding."""
    mean = features.mean(dim=(2, 3))
    rounding = 32 * torch.finfo(features.dtype).eps * features.abs().max()
    return mean.shape == pooled.shape and bool(((mean - pooled).abs() <= rounding).all())
