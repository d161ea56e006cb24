"""Agreement with captum where captum is right: plain nn.ReLU modules, each used once."""

from __future__ import annotations

import pytest
import torch
from nets import gap_net, pictures, seeded
from torch import nn
from torch.testing import assert_close

from camwidgets.maps import (
    deconvnet,
    features_and_gradient,
    grad_cam,
    gradient,
    guided_backprop,
)

attr = pytest.importorskip("captum.attr")

TARGETS = [1, 3, [0, 2, 3]]


def flatten_net() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 3 * 4, 10),
            nn.ReLU(),
            nn.Linear(10, 4),
        )
    )


class Branches(nn.Module):
    """Two branches, joined and added: modules named, each ReLU used once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.left = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.join = nn.Conv2d(12, 6, 1)
        self.linear = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        joined = self.join(torch.cat([self.left(x), self.right(x)], dim=1))
        return self.linear((joined + x).mean((2, 3)))


NETS = {"gap": gap_net, "flatten": flatten_net, "branches": lambda: seeded(Branches)}
LAYERS = {
    "gap": ["0", "2", "3", "4", "6"],
    "flatten": ["0", "1", "2", "3"],
    "branches": ["stem.0", "stem", "left.0", "right.1", "right", "join"],
}
net = pytest.mark.parametrize("name", NETS)


def agree(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 1e-5 of the largest value."""
    atol = 1e-5 * expected.abs().max().item()
    assert_close(found, expected.detach(), rtol=1e-5, atol=atol)


@net
@pytest.mark.parametrize("target", TARGETS)
def test_grad_cam(name: str, target: int | list[int]) -> None:
    model, images = NETS[name](), pictures(3, 3, 7, 9)
    modules = dict(model.named_modules())
    for layer in LAYERS[name]:
        theirs = attr.LayerGradCam(model, modules[layer])
        for relu in (True, False):
            expected = theirs.attribute(
                images, target=target, relu_attributions=relu, attr_dim_summation=True
            )[:, 0]
            found = grad_cam(model, images, layer, target, relu=relu)
            agree(found, expected)
            assert relu or found.any()


@net
@pytest.mark.parametrize("target", TARGETS)
def test_features_times_gradient(name: str, target: int | list[int]) -> None:
    model, images = NETS[name](), pictures(3, 3, 7, 9)
    modules = dict(model.named_modules())
    for layer in LAYERS[name]:
        A, g = features_and_gradient(model, images, layer, target)
        expected = attr.LayerGradientXActivation(model, modules[layer]).attribute(images, target)
        agree(A * g, expected)


@net
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(gradient, "Saliency"), (guided_backprop, "GuidedBackprop"), (deconvnet, "Deconvolution")],
)
@pytest.mark.filterwarnings("ignore:Setting .*ward hooks on ReLU:UserWarning")
def test_gradients_at_the_image(ours, theirs: str, name: str, target: int | list[int]) -> None:
    model, images = NETS[name](), pictures(3, 3, 7, 9)
    found = ours(model, images, target)
    more = {"abs": False} if theirs == "Saliency" else {}
    own = images.clone().requires_grad_()
    expected = getattr(attr, theirs)(model).attribute(own, target=target, **more)
    agree(found, expected)
    assert found.any()
