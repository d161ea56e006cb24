"""Real architectures from torchvision, untrained and small: shapes, state, and hand-made captures.

They bring what learners meet: in-place operations right after a layer, reused layers, functional
ReLUs, ReLU6, channel shuffles, dense connections, auxiliary heads.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
import torch
import torchvision
from nets import by_hook, gap_net, pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from untouched import untouched

from camwidgets import maps

models = torchvision.models
# weights init_weights=False where the default initialisation takes a second
BUILD = {
    "resnet18": models.resnet18,
    "vgg11_bn": partial(models.vgg11_bn, init_weights=False),
    "densenet121": models.densenet121,
    "googlenet": partial(models.googlenet, init_weights=False),
    "mobilenet_v2": models.mobilenet_v2,
    "squeezenet1_1": models.squeezenet1_1,
    "mnasnet0_5": models.mnasnet0_5,
    "shufflenet_v2_x0_5": models.shufflenet_v2_x0_5,
}
# the last map larger than 1×1 at 64×80 pixels
LAST = {
    "resnet18": ("layer4", 2, 3),
    "vgg11_bn": ("features", 2, 2),
    "densenet121": ("features", 2, 2),
    "googlenet": ("inception5b", 2, 3),
    "mobilenet_v2": ("features", 2, 3),
    "squeezenet1_1": ("classifier.2", 3, 4),
    "mnasnet0_5": ("layers", 2, 3),
    "shufflenet_v2_x0_5": ("conv5", 2, 3),
}
each = pytest.mark.parametrize("name", BUILD)


@cache
def net(name: str) -> nn.Module:
    """Ten classes; statistics of batch norm that fit its own input, so that no map dies out."""
    with torch.no_grad():
        model = seeded(lambda: BUILD[name](num_classes=10))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
                module.reset_running_stats()
        model.train()(images())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return model.eval()


def images() -> Tensor:
    return pictures(2, 3, 64, 80)


@each
def test_every_method_runs_and_leaves_nothing(name: str) -> None:
    model, x = net(name), images()
    layer, h, w = LAST[name]
    for i, module in enumerate(model.modules()):
        module.training = i % 2 == 0
    with untouched(model, x):
        names = maps.layer_names(model, x)
        assert layer in names
        assert maps.record(model, x).layers == [layer]
        at_layer = [
            maps.grad_cam(model, x, None, 3, relu=False),
            maps.layer_cam(model, x, None, [3, 7]),
            maps.positive_grad_cam(model, x, layer),
        ]
        at_pixels = [
            maps.gradient(model, x, 3),
            maps.guided_backprop(model, x, 3),
            maps.deconvnet(model, x, 3),
            maps.guided_grad_cam(model, x, names[len(names) // 2], 3),
        ]
    model.eval()
    for found in at_layer:
        assert found.shape == (2, h, w)
    for found in at_pixels:
        assert found.shape == x.shape
    for found in (*at_layer, *at_pixels):
        assert torch.isfinite(found).all()
    for found in (at_layer[0], *at_pixels[:3]):
        assert found.flatten(1).any(dim=1).all()


@each
def test_one_recording_holds_every_layer(name: str) -> None:
    """All maps of one class by one backward pass equal each layer alone."""
    model, x = net(name), images()
    names = maps.layer_names(model, x)
    recording = maps.record(model, x, names)
    assert list(recording.features) == names
    with torch.no_grad():
        assert_close(recording.output, model(x), rtol=1e-4, atol=1e-5)
    used = names
    if name == "googlenet":
        assert not any("aux" in layer for layer in names)  # not called in eval mode
    gradients = recording.gradients(3)
    for layer in used[:: max(1, len(used) // 4)]:
        A, g = maps.features_and_gradient(model, x, layer, 3)
        close(recording.features[layer].detach(), A)
        close(gradients[layer], g)


def close(found: Tensor, expected: Tensor) -> None:
    atol = 1e-4 * expected.abs().max().item()
    assert_close(found, expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4.1.bn2"),  # += the skip, then an in-place ReLU
        ("resnet18", "layer4.1"),
        ("resnet18", "layer2.0.downsample.1"),
        ("vgg11_bn", "features.26"),
        ("vgg11_bn", "features.25"),
        ("densenet121", "features.norm5"),
        ("densenet121", "features.denseblock4.denselayer16.norm1"),
        ("googlenet", "inception5b.branch1.bn"),
        ("mobilenet_v2", "features.18.1"),
        ("squeezenet1_1", "classifier.1"),
    ],
)
def test_maps_are_the_layers_own_whatever_follows_in_place(name: str, layer: str) -> None:
    model, x = net(name), images()
    A, g = by_hook(model, x, layer, 3)
    found_A, found_g = maps.features_and_gradient(model, x, layer, 3)
    close(found_A, A)
    close(found_g, g)
    weights = g.mean(dim=(2, 3), keepdim=True)
    close(maps.grad_cam(model, x, layer, 3, relu=False), (weights * A).sum(dim=1))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet", "shufflenet_v2_x0_5"])
def test_cam(name: str) -> None:
    """Also behind a functional ReLU (densenet) and with dropout in the head (googlenet)."""
    model, x = net(name), images()
    with torch.no_grad():
        logits = model(x)
    linear = model.classifier if name == "densenet121" else model.fc
    for c in (0, 7):
        heat = maps.cam(model, x, c)
        close(heat.mean((1, 2)) + linear.bias[c].detach(), logits[:, c])
        if name != "densenet121":
            signed = maps.grad_cam(model, x, None, c, relu=False)
            close(signed * heat[0].numel(), heat)


@pytest.mark.parametrize("name", ["vgg11_bn", "squeezenet1_1"])
def test_cam_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"CAM needs.*grad_cam"):
        maps.cam(net(name), images())


class Guided(torch.autograd.Function):
    """The guided rule as a function of its own, to be put in place of ReLUs by name."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float) -> Tensor:
        y = x.clamp(0, cap)
        ctx.save_for_backward((x > 0) & (x < cap))
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (is_open,) = ctx.saved_tensors
        return g * is_open * (g > 0), None


@each
def test_guided_backpropagation_with_the_relus_replaced_by_hand(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = net(name), images()
    found = maps.guided_backprop(model, x, 3)
    plain = maps.gradient(model, x, 3)
    assert (found - plain).norm() > 0.1 * found.norm()

    def relu(x: Tensor, inplace: bool = False) -> Tensor:
        return Guided.apply(x, float("inf"))

    def hardtanh(x: Tensor, low: float, high: float, inplace: bool = False) -> Tensor:
        assert (low, high) == (0, 6)
        return Guided.apply(x, high)

    monkeypatch.setattr(F, "relu", relu)
    monkeypatch.setattr(F, "hardtanh", hardtanh)
    own = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(own)[:, 3].sum(), own)
    assert (found - expected).norm() < 1e-3 * expected.norm()


def test_auxiliary_heads_of_inception_v3() -> None:
    """In train mode its output is a tuple of two; the maps are those of eval mode."""
    model = seeded(lambda: models.inception_v3(num_classes=4, init_weights=False)).train()
    x = pictures(1, 3, 96, 80)
    with untouched(model, x):
        names = maps.layer_names(model, x)
        heat = maps.grad_cam(model, x, "Mixed_6e", 1)
    assert not any("Aux" in name for name in names)
    assert heat.shape == (1, 4, 3)
    with pytest.raises(ValueError, match=r"AuxLogits\.conv1' gives no feature map"):
        maps.grad_cam(model, x, "AuxLogits.conv1")


def test_a_segmentation_net_by_a_callable() -> None:
    """Its output is a dict of maps."""
    model = seeded(
        lambda: models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=3
        )
    )
    x = pictures(1, 3, 64, 64)
    with pytest.raises(ValueError, match="Dict, not"):
        maps.grad_cam(model, x)
    middle = lambda output: output["out"][:, 1, 24:40, 24:40].mean((1, 2))  # noqa: E731
    with untouched(model, x):
        assert maps.grad_cam(model, x, "backbone.16", middle).shape == (1, 4, 4)
        assert maps.guided_backprop(model, x, middle).shape == x.shape


def test_checkpointed_blocks_run_again_in_eval_mode() -> None:
    """densenet's memory_efficient runs its batch norms a second time, during the backward pass."""
    plain = net("densenet121")
    again = models.densenet121(num_classes=10, memory_efficient=True)
    again.load_state_dict(plain.state_dict())
    x = images()
    with untouched(again.train(), x):
        found = maps.grad_cam(again, x, "features.pool0", 3)
        guided = maps.guided_backprop(again, x, 3)
    close(found, maps.grad_cam(plain, x, "features.pool0", 3))
    close(guided, maps.guided_backprop(plain, x, 3))


@pytest.mark.parametrize("layer", ["0", "1", None])
def test_a_layer_inside_a_checkpoint(layer: str | None) -> None:
    plain = gap_net()

    class Checked(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.trunk, x, use_reentrant=False))

        def trunk(self, x: Tensor) -> Tensor:
            return self[6](self[5](self[4](self[3](self[2](self[1](self[0](x)))))))

        def head(self, x: Tensor) -> Tensor:
            return self[10](x.mean((2, 3)))

    model, images = Checked(*plain), pictures(2, 3, 8, 8)
    with untouched(model, images):
        found = maps.grad_cam(model, images, layer, 1, relu=False)
    assert_close(found, maps.grad_cam(plain, images, layer, 1, relu=False))
