"""The stops of the layer slider: the steps that a person would name."""

from __future__ import annotations

import pytest
import torch
from nets import gap_head
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets import maps
from camwidgets.explorer.stops import stops


def stops_of(model: nn.Module, *size: int) -> list[str]:
    torch.manual_seed(0)
    traced = maps.trace(model.eval(), torch.rand(1, *size))
    return stops(traced.calls, traced.output)


def block(inputs: int, outputs: int, *more: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(), *more)


class Residual(nn.Module):
    """One residual block; with a stride it has nothing to add."""

    def __init__(self, channels: int, skip: bool = True) -> None:
        super().__init__()
        self.before, self.after = block(channels, channels), block(channels, channels)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.after(self.before(x))
        return F.relu(x + y) if self.skip else y


def trunk(*blocks: nn.Module) -> nn.Module:
    net = nn.Sequential(*gap_head())
    net.insert(0, nn.Sequential(*blocks))
    return net


def test_blocks_are_the_stops_of_a_row_of_blocks() -> None:
    pool = nn.MaxPool2d(2)
    net = trunk(block(3, 4, pool), block(4, 4, pool), block(4, 4))
    assert stops_of(net, 3, 16, 16) == ["0.0", "0.1", "0.2"]


def test_activations_and_poolings_are_the_stops_of_a_plain_sequence() -> None:
    layers = [*block(3, 4), nn.MaxPool2d(2), *block(4, 4), nn.MaxPool2d(2), nn.Dropout(0.5)]
    assert stops_of(nn.Sequential(*layers, *gap_head()), 3, 16, 16) == ["2", "3", "6", "7"]
    assert stops_of(trunk(*layers), 3, 16, 16) == ["0.2", "0.3", "0.6", "0.7"]


@pytest.mark.parametrize(
    ("stages", "blocks", "opened"), [(2, 12, True), (3, 8, False), (3, 6, True)]
)
def test_more_than_twenty_stops_are_better_than_fewer_than_four(
    stages: int, blocks: int, opened: bool
) -> None:
    convs = [[nn.Conv2d(4, 4, 1) for _ in range(blocks)] for _ in range(stages)]
    net = trunk(nn.Conv2d(3, 4, 1), *(nn.Sequential(*row) for row in convs))
    assert len(stops_of(net, 3, 8, 8)) == 1 + stages * (blocks if opened else 1)


def test_a_residual_block_is_one_step_and_so_is_every_other_of_its_kind() -> None:
    net = trunk(nn.Conv2d(3, 4, 1), Residual(4, skip=False), Residual(4), Residual(4))
    assert stops_of(net, 3, 8, 8) == ["0.0", "0.1", "0.2", "0.3"]


def test_a_stage_is_opened_while_there_are_few_stops() -> None:
    def stages(depth: int) -> nn.Module:
        rows = [nn.Sequential(*(Residual(4) for _ in range(depth))) for _ in range(4)]
        return trunk(nn.Conv2d(3, 4, 1), *rows)

    names = [f"0.{s}.{b}" if b < 2 else f"0.{s}" for s in range(1, 5) for b in range(3)]
    assert stops_of(stages(3), 3, 8, 8) == ["0.0", *names]
    assert stops_of(stages(6), 3, 8, 8) == ["0.0", "0.1", "0.2", "0.3", "0.4"]


class Same(nn.Conv2d):
    """Pads by a layer of its own, as some ports from TensorFlow do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)
        self.pad = nn.ZeroPad2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.pad(x))


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid()


def test_what_only_pads_drops_or_repeats_is_no_step_and_own_activations_are_known() -> None:
    net = nn.Sequential(
        nn.ReflectionPad2d(2),
        Same(3, 4),
        nn.BatchNorm2d(4),
        Swish(),
        nn.Identity(),
        nn.Dropout2d(0.1),
        nn.ZeroPad2d((1, 0, 1, 0)),
        nn.AdaptiveAvgPool2d(15),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.PixelShuffle(2),
        nn.Flatten(),
        nn.LazyLinear(2),
    )
    net(torch.rand(1, 3, 9, 9))
    assert stops_of(net, 3, 9, 9) == ["3", "8"]


class Normalised(nn.Module):
    """Brings its own normalisation, one ReLU for all, and an in-place one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Sequential(*gap_head())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.last(self.relu(self.first(self.norm(x))))))


def test_before_the_first_weights_there_is_the_picture_alone() -> None:
    assert stops_of(Normalised(), 3, 9, 9) == ["relu#1", "relu#2"]


def test_functions_have_no_name() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)
            self.out = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.last(F.relu(self.first(x)))).mean((2, 3)))

    assert stops_of(Functional(), 1, 8, 8) == ["first", "last"]


def test_two_separate_streams_show_all_their_layers() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.left(x), self.right(x)], 1).amax(dim=(2, 3))

    assert stops_of(Two(), 3, 8, 8) == ["left", "right"]


def numbered(prefix: str, *numbers: int) -> list[str]:
    return [f"{prefix}{k}" for k in numbers]


def staged(prefix: str, depths: list[int], begin: int) -> list[str]:
    """The blocks of some stages, the last of each by the stage's name."""
    return [
        f"{prefix}{s}.{b}" if b < depth - 1 else f"{prefix}{s}"
        for s, depth in enumerate(depths, begin)
        for b in range(depth)
    ]


RESNET = ["relu", "maxpool"]
TORCHVISION = {
    "alexnet": numbered("features.", 1, 2, 4, 5, 7, 9, 11),
    "vgg11_bn": numbered("features.", 2, 3, 6, 7, 10, 13, 14, 17, 20, 21, 24, 27, 28),
    "resnet18": [*RESNET, *staged("layer", [2, 2, 2, 2], 1)],
    "resnet50": [*RESNET, *staged("layer", [3, 4, 6, 3], 1)],
    "resnet101": [*RESNET, "layer1", "layer2", "layer3", "layer4"],
    "densenet121": [
        *("features.relu0", "features.pool0", "features.denseblock1", "features.transition1"),
        *("features.denseblock2", "features.transition2", "features.denseblock3"),
        *("features.transition3", "features.norm5"),
    ],
    "googlenet": [
        *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b"),
        *("maxpool3", "inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
        *("maxpool4", "inception5a", "inception5b"),
    ],
    "inception_v3": [
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1"),
        *("Conv2d_4a_3x3", "maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b"),
        *("Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c"),
    ],
    "squeezenet1_1": [*numbered("features.", *range(1, 13)), "classifier.2"],
    "mobilenet_v2": numbered("features.", *range(19)),
    "mobilenet_v3_small": numbered("features.", *range(13)),
    "efficientnet_b0": [
        "features.0",
        *staged("features.", [1, 2, 2, 3, 3, 4, 1], 1),
        "features.8",
    ],
    "mnasnet0_5": [
        *numbered("layers.", 2, 5, 7),
        *staged("layers.", [3, 3, 3, 2, 4, 1], 8),
        "layers.16",
    ],
    "shufflenet_v2_x0_5": ["conv1", "maxpool", *staged("stage", [4, 8, 4], 2), "conv5"],
    "convnext_tiny": numbered("features.", *range(8)),
    "swin_t": [
        "features.0",
        *("features.1.0", "features.1", "features.2", "features.3.0", "features.3", "features.4"),
        *numbered("features.5.", *range(5)),
        *("features.5", "features.6", "features.7.0", "norm"),
    ],
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    keywords = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu"), torch.random.fork_rng():
        model = getattr(models, name)(weights=None, **keywords)
    size = 139 if name == "inception_v3" else 64
    assert stops_of(model, 3, size, size) == TORCHVISION[name]


def test_vision_transformer() -> None:
    models = pytest.importorskip("torchvision.models")
    sizes = {"image_size": 32, "patch_size": 8, "hidden_dim": 8, "mlp_dim": 8}
    model = models.VisionTransformer(**sizes, num_layers=3, num_heads=2)
    blocks = numbered("encoder.layers.encoder_layer_", 0, 1)
    assert stops_of(model, 3, 32, 32) == ["conv_proj", *blocks, "encoder.ln"]


def test_efficientnet_lite() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    model = package.EfficientNet.from_name("efficientnet-lite0")
    expected = ["_swish#1", *numbered("_blocks.", *range(16)), "_swish#2"]
    assert stops_of(model, 3, 64, 64) == expected
