"""Every family of torchvision's classifiers, and four of timm's: one line each with its error.

The reference knows nothing of the package: a plain hook that hands on a clone, and for guided
backpropagation a hook on each ReLU's result. The largest error of three layers and two classes is
printed, relative to the map's peak.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from nets import pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from camwidgets import maps

models = torchvision.models
NAMES = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3
    maxvit_t mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18
    resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11_bn vit_b_32
    wide_resnet50_2
"""
OF_TIMM = "vit_tiny_patch16_224 swin_tiny_patch4_window7_224 convnext_atto efficientnet_b0"
FAMILIES: dict[str, Callable[..., nn.Module]] = {
    **{name: getattr(models, name) for name in NAMES.split()},
    **{f"timm {name}": partial(timm.create_model, name) for name in OF_TIMM.split()},
}
LARGE = ("maxvit_t", "vit_b_32", "timm vit_tiny", "timm swin_tiny")
"""made for 224×224"""
RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6}
GAP = ("densenet", "googlenet", "inception", "mnasnet", "regnet", "resne", "shufflenet")
NO_RELU = ("convnext", "efficientnet", "maxvit", "swin", "vit", "timm")


class GuidedReLUs(TorchFunctionMode):
    """A hook on the result of each ReLU that is called as a function."""

    def __torch_function__(self, f: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = f(*args, **kwargs)
        bounds = args[1:3] or (kwargs.get("min_val"), kwargs.get("max_val"))
        if f in RELUS or (f in (F.hardtanh, F.hardtanh_) and bounds == (0, 6)):
            result.register_hook(lambda g: g.clamp(min=0))
        return result


def build(name: str) -> nn.Module:
    slow = name in ("googlenet", "inception_v3", "vgg11_bn")  # their own initialisation
    kwargs = {"init_weights": False} if slow else {}
    model = seeded(lambda: FAMILIES[name](num_classes=10, **kwargs))
    if name.startswith("vit"):  # its last layer starts as zeros
        nn.init.normal_(model.heads.head.weight, std=0.1)
    return model


def error(found: Tensor, expected: Tensor) -> float:
    peak = expected.abs().max().item()
    return (found - expected).abs().max().item() / peak if peak else found.abs().max().item()


def by_hook(model: nn.Module, images: Tensor, layer: str, c: int) -> tuple[Tensor, Tensor]:
    kept: list[Tensor] = []

    def keep(m: nn.Module, i: tuple, o: Tensor) -> Tensor:
        kept.append(o)
        return o.clone()

    name, _, run = layer.partition("#")
    handle = model.get_submodule(name).register_forward_hook(keep)
    score = model(images)[:, c].sum()
    handle.remove()
    A = kept[int(run or 1) - 1]
    (g,) = torch.autograd.grad(score, A)
    return A.detach(), g


def read(tensor: Tensor, h: int, w: int) -> Tensor:
    """(N, K, h, w) from what a person knows of these nets: the channels are last, or tokens."""
    if tensor.dim() == 3:
        return tensor[:, -h * w :].mT.reshape(len(tensor), -1, h, w)
    return tensor if tensor.shape[2:] == (h, w) else tensor.permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shape = (1, 3, 224, 224) if name.startswith(LARGE) else (2, 3, 96, 112)
    model, images = build(name), pictures(*shape)
    state = copy.deepcopy(model.state_dict())
    names = maps.layer_names(model, images)
    worst: dict[str, float] = {"Grad-CAM": 0.0}
    for layer in (names[len(names) // 4], names[len(names) // 2], names[-3]):
        for c in (3, 7):
            A, g = by_hook(model, images, layer, c)
            found = maps.grad_cam(model, images, layer, c, relu=False)
            A, g = read(A, *found.shape[1:]), read(g, *found.shape[1:])
            expected = torch.einsum("nk,nkij->nij", g.mean((2, 3)), A)
            worst["Grad-CAM"] = max(worst["Grad-CAM"], error(found, expected))
    if not name.startswith(NO_RELU):
        x = images.clone().requires_grad_()
        with GuidedReLUs():
            score = model(x)[:, 3].sum()
        (expected,) = torch.autograd.grad(score, x)
        others = name in ("mobilenet_v3_small", "regnet_y_400mf")
        with pytest.warns(UserWarning, match="guided in") if others else nullcontext():
            found = maps.guided_backprop(model, images, 3)
        worst["guided"] = error(found, expected)
    if name.startswith(GAP):
        default = maps.record(model, images).layers[0]
        A, g = by_hook(model, images, default, 3)
        found = maps.cam(model, images, 3)
        A = A.relu() if name.startswith("densenet") else A
        weight = [m for m in model.modules() if isinstance(m, nn.Linear)][-1].weight.detach()
        worst["CAM"] = error(found, torch.einsum("k,nkij->nij", weight[3], A))
    with capsys.disabled():
        errors = "  ".join(f"{method} {e:.1e}" for method, e in worst.items())
        print(f"\n{name:36} {len(names):4} layers  relative error: {errors}", end="")
    assert max(worst.values()) < 1e-4
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
