"""The atlas against `maps`, computed one by one; the stops; pictures in and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import camwidgets as cw
from camwidgets.explorer.inputs import prepare
from camwidgets.explorer.old_atlas import METHODS, Atlas, Heat, Page
from camwidgets.explorer.stops import stops


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def block(inputs: int, outputs: int, pool: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, *[nn.MaxPool2d(2)] * pool)


class Gap(nn.Module):
    """Blocks, pooling, one linear layer: CAM suits it."""

    def __init__(self, classes: int = 3):
        super().__init__()
        self.blocks = nn.Sequential(block(3, 6), block(6, 8), block(8, 8, pool=False))
        self.classifier = nn.Linear(8, classes)

    def forward(self, images):
        return self.classifier(self.blocks(images).mean(dim=(2, 3)))


class Functional(nn.Module):
    """In-place functional ReLUs, a skip connection, one gray channel and a deep head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.hidden = nn.Linear(6, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, images):
        x = F.relu(self.first(images))
        x = torch.relu_(self.branch(x).add_(x))
        x = F.adaptive_avg_pool2d(F.relu(self.last(x)), 1).flatten(1)
        return self.out(F.relu(self.hidden(x)))


class Count(nn.Module):
    """Regression, (N,) or (N, 1)."""

    def __init__(self, column: bool):
        super().__init__()
        self.body, self.column = block(3, 4), column
        self.density = nn.Conv2d(4, 1, 1)

    def forward(self, images):
        count = self.density(self.body(images)).sum(dim=(2, 3))
        return count if self.column else count[:, 0]


class Residual(nn.Module):
    """One residual block with a shortcut of its own."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.shortcut(x)
        return self.relu(y)


def resnet18():
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.resnet18(num_classes=4)


def picture(height: int = 24, width: int = 32, gray: bool = False) -> np.ndarray:
    """Smooth shapes and a little noise."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + c)) + np.cos(y / (4 + c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 0.3, (height, width, 3))
    rgb = np.clip(128 + 50 * (np.stack(waves, axis=2) + noise), 0, 255).astype(np.uint8)
    return rgb[..., 0] if gray else rgb


# -- maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "gray", "target_of"),
    [
        (Gap, False, lambda c: c),
        (Functional, True, lambda c: c),
        (lambda: Count(False), False, lambda c: None),
        (lambda: Count(True), False, lambda c: c),
        (resnet18, False, lambda c: c),
    ],
    ids=["gap", "functional", "values", "column", "resnet18"],
)
def test_every_map_is_the_one_that_maps_computes(make, gray, target_of):
    model = make().eval()
    inputs = prepare(picture(48, 64, gray))
    x = inputs.tensors[0][None].clone()
    atlas = Atlas(model, inputs)
    page = atlas.page(0)
    assert len(page.maps) == atlas.classes
    for c in page.maps:
        target = target_of(c)
        guided = cw.guided_backprop(model, x, target)[0].abs().amax(dim=0)
        assert close(page.heat("guided backprop", 0, c), guided, guided.max())
        for k, layer in enumerate(atlas.layers):
            where = cw.grad_cam(model, x, layer, target)
            assert close(page.heat("Grad-CAM", k, c), where[0], where.max())
            both = cw.guided_grad_cam(model, x, layer, target)[0].abs().amax(dim=0)
            assert close(page.heat("guided Grad-CAM", k, c), both, where.max() * guided.max())
        if "CAM" in atlas.methods:
            cam = cw.cam(model, x, target)[0].relu()
            assert close(page.heat("CAM", 0, c), cam, cam.max())


def close(heat: np.ndarray, expected: torch.Tensor, scale: torch.Tensor) -> bool:
    assert heat.shape == expected.shape
    return bool(np.abs(heat - expected.numpy()).max() <= float(scale) / 255 + 1e-12)


def test_cam_is_offered_where_the_head_suits_it():
    assert Atlas(Gap(), prepare(picture())).methods == list(METHODS)
    assert "CAM" not in Atlas(Functional(), prepare(picture(gray=True))).methods
    with pytest.raises(ValueError, match="Use grad_cam"):
        Atlas(Functional(), prepare(picture(gray=True)), methods=["CAM"])


def test_without_relu_the_guided_methods_are_left_out_and_it_says_why():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.rand(1, 3, 24, 32))
    atlas = Atlas(model, prepare(picture()))
    assert atlas.methods == ["Grad-CAM"]
    assert "no ReLU (silu)" in atlas.note


def test_the_whole_page_takes_two_forward_passes():
    calls = []
    model = Gap()
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    atlas = Atlas(model, prepare(picture()), methods=["Grad-CAM", "guided backprop"])
    calls.clear()
    atlas.page(0)
    assert calls == [True, True]
    atlas.page(0)
    assert len(calls) == 2


def test_scores_and_probabilities():
    model = Gap().eval()
    inputs = prepare(picture())
    x = inputs.tensors[0][None].clone()
    page = Atlas(model, inputs).page(0)
    with torch.no_grad():
        logits = model(x)[0]
    np.testing.assert_allclose([m.score for m in page.maps.values()], logits, rtol=1e-5)
    shares = [m.probability for m in page.maps.values()]
    np.testing.assert_allclose(shares, logits.softmax(0), rtol=1e-5)
    inputs = prepare(picture())
    softmaxed = Atlas(nn.Sequential(model, nn.Softmax(dim=1)), inputs)
    assert softmaxed.score_name == "probability"
    assert softmaxed.page(0).maps[0].probability is None


def test_a_blank_map_stays_blank():
    heat = Heat.of(torch.tensor([[-1.0, 0.0]]))
    assert heat.peak == 0
    assert not heat.values.any()


def test_a_tiny_map_keeps_its_shape_and_its_scale():
    heat = Heat.of(torch.tensor([[0.0, 1e-9], [0.5e-9, -1.0]]))
    assert heat.values.tolist() == [[0, 255], [128, 0]]
    np.testing.assert_allclose(heat.raw(), [[0, 1e-9], [0.5e-9, 0]], atol=2e-12)


def test_the_packed_page_reads_back():
    page = Atlas(Gap(), prepare(picture(), masks=[picture()[..., 0] > 128])).page(0)
    data = page.pack()
    length = int.from_bytes(data[:4], "little")
    header, body = json.loads(data[4 : 4 + length]), data[4 + length :]
    assert header["size"] == [24, 32]
    assert header["classes"] == [0, 1, 2]
    assert body[: page.picture.size] == page.picture.tobytes()
    rest = body[page.picture.size :]
    assert rest[: page.mask.size] == page.mask.astype(np.uint8).tobytes()
    first = page.maps[0].grad_cam[0]
    assert header["heats"][0]["gradCam"][0] == [12, 16, first.peak]
    assert rest[page.mask.size :][: first.values.size] == first.values.tobytes()
    maps = sum(
        h * w
        for heats in header["heats"]
        for h, w, _ in (*heats["gradCam"], heats["cam"], heats["guided"])
    )
    assert len(body) == page.picture.size + page.mask.size + maps


# -- stops ------------------------------------------------------------------------------------


def test_stops_of_a_row_of_blocks_are_the_blocks():
    assert stops(Gap(), torch.rand(1, 3, 16, 16)) == ["blocks.0", "blocks.1", "blocks.2"]


def test_stops_of_a_plain_sequence_are_activations_and_poolings():
    model = nn.Sequential(*block(3, 4), *block(4, 4), nn.Dropout(0.5), nn.Flatten())
    assert stops(model, torch.rand(1, 3, 16, 16)) == ["2", "3", "6", "7"]


def test_stops_of_a_residual_net_leave_out_what_the_skip_passes_by():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Residual(4), Residual(4), nn.Flatten())
    assert stops(model, torch.rand(1, 3, 8, 8)) == ["0", "1", "2"]


def test_stops_of_resnet18():
    expected = "relu maxpool layer1.0 layer1 layer2.0 layer2 layer3.0 layer3 layer4.0 layer4"
    assert stops(resnet18(), torch.rand(1, 3, 64, 64)) == expected.split()


def test_stops_where_functions_follow_the_layers():
    assert stops(Functional(), torch.rand(1, 1, 8, 8)) == ["first", "last"]


def test_stops_of_two_separate_streams_are_all_their_layers():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return torch.cat([self.left(x), self.right(x)]).amax(dim=(2, 3)).sum(0, keepdim=True)

    assert stops(Two(), torch.rand(1, 3, 8, 8)) == ["left", "right"]


def test_layers_may_be_named_or_given_in_any_order():
    model = Gap()
    atlas = Atlas(model, prepare(picture()), layers=[model.blocks[2], "blocks.0.0"])
    assert atlas.layers == ["blocks.0.0", "blocks.2"]


# -- pictures ---------------------------------------------------------------------------------


def test_what_is_shown_is_the_picture_where_nothing_was_cropped():
    inputs = prepare(picture())
    assert (inputs.pictures[0] == picture()).all()
    assert inputs.tensors[0].shape == (3, 24, 32)


def test_the_normalisation_is_undone_and_the_crop_is_kept():
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

    def crop(image):
        return (torch.from_numpy(image).permute(2, 0, 1)[:, 4:20, 6:30] / 255 - mean) / std

    mask = np.zeros((24, 32), bool)
    mask[4:8, 6:8] = True
    inputs = prepare(picture(), crop, [mask])
    assert (inputs.pictures[0] == picture()[4:20, 6:30]).all()
    assert inputs.masks[0].shape == (16, 24)
    assert inputs.masks[0].sum() == 8
    assert inputs.masks[0][:4, :2].all()


def test_an_inverted_scale_is_undone_too():
    inputs = prepare(picture(), lambda image: 1 - torch.from_numpy(image).permute(2, 0, 1) / 255)
    assert np.abs(inputs.pictures[0].astype(int) - picture()).max() <= 1


def test_standardised_images_are_shown_from_their_minimum_to_their_maximum():
    def standardise(image):
        x = torch.from_numpy(image).permute(2, 0, 1).float()
        return (x - x.mean()) / (x.std() + 1e-6)

    shown = prepare(picture(), standardise, [picture()[..., 0] > 128]).pictures[0]
    assert shown.min() == 0
    assert shown.max() == 255
    order = np.corrcoef(shown.ravel(), picture().ravel())[0, 1]
    assert order > 0.999


def test_a_preprocess_that_wants_pil_gets_it():
    def only_pil(image):
        small = np.asarray(image.resize((8, 6), Image.Resampling.BILINEAR))
        return torch.from_numpy(small.copy()).permute(2, 0, 1) / 255

    assert prepare(picture(), only_pil).tensors[0].shape == (3, 6, 8)


def test_torchvision_s_own_transforms_work():
    torchvision = pytest.importorskip("torchvision")
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    inputs = prepare([picture(240, 300), picture(260, 256)], transform)
    assert [x.shape for x in inputs.tensors] == [(3, 224, 224)] * 2
    assert inputs.pictures[0].std() > 20


def test_gray_images_are_shown_in_gray():
    inputs = prepare([picture(gray=True), picture(gray=True)])
    assert inputs.tensors[0].shape == (1, 24, 32)
    assert (inputs.pictures[1] == picture(gray=True)[..., None]).all()


def test_one_picture_an_array_of_them_and_a_list_are_all_taken():
    assert len(prepare(picture()).pictures) == 1
    assert len(prepare(np.stack([picture()] * 3)).pictures) == 3
    assert len(prepare(np.stack([picture(gray=True)] * 2)).pictures) == 2
    assert len(prepare([picture(), picture()]).pictures) == 2


def test_a_page_can_grow():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 30)
    )
    atlas = Atlas(model, prepare(picture()))
    page: Page = atlas.page(0)
    assert len(page.maps) == 10
    other = next(c for c in range(30) if c not in page.top)
    assert set(atlas.page(0, [other]).maps) == {*page.top, other}
