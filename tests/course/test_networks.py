"""The course's networks: their shapes, their names, and what their heads compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camwidgets.course.networks import CountCNN, FlattenCNN, GapCNN
from camwidgets.maps import cam, grad_cam, layer_names


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def last_map(model: nn.Module, size: int) -> torch.Tensor:
    return model.eval().blocks(torch.rand(2, 3, size, size)).detach()


@pytest.mark.parametrize(
    ("model", "size", "shape"),
    [
        (GapCNN(), 64, (2, 5)),
        (GapCNN(classes=3), 64, (2, 3)),
        (GapCNN(coarse=True), 64, (2, 5)),
        (GapCNN(), 96, (2, 5)),
        (FlattenCNN(), 64, (2, 5)),
        (FlattenCNN(classes=2), 64, (2, 2)),
        (CountCNN(), 128, (2,)),
        (CountCNN(), 64, (2,)),
    ],
)
def test_output_shapes(model: nn.Module, size: int, shape: tuple[int, ...]) -> None:
    assert model.eval()(torch.rand(2, 3, size, size)).shape == shape


@pytest.mark.parametrize(
    ("model", "size", "side"),
    [
        (GapCNN(), 64, 16),
        (GapCNN(coarse=True), 64, 4),
        (FlattenCNN(), 64, 16),
        (CountCNN(), 128, 32),
    ],
)
def test_last_maps(model: nn.Module, size: int, side: int) -> None:
    assert last_map(model, size).shape == (2, 64, side, side)


def test_layers_go_by_the_names_that_the_lessons_use() -> None:
    names = layer_names(GapCNN(), torch.rand(1, 3, 64, 64))
    assert [name for name in names if name.count(".") == 1] == [f"blocks.{i}" for i in range(4)]


def test_gap_head_is_the_one_that_cam_needs() -> None:
    model, images = GapCNN().eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        scores = model(images)
    for c in range(5):
        maps = cam(model, images, target=c)
        bias = model.classifier.bias[c].detach()
        torch.testing.assert_close(maps.mean(dim=(1, 2)) + bias, scores[:, c])


def test_cam_refuses_the_flattened_head() -> None:
    with pytest.raises(ValueError, match="global average pooling"):
        cam(FlattenCNN(), torch.rand(1, 3, 64, 64))


def test_flattened_head_depends_on_where_things_are_and_the_gap_head_does_not() -> None:
    features = torch.rand(1, 64, 16, 16)
    moved = features.flip(3)
    for model, moves in ((GapCNN(), False), (FlattenCNN(), True)):
        model.eval().blocks = nn.Identity()
        with torch.no_grad():
            difference = (model(features) - model(moved)).abs().max()
        assert (difference > 1e-3) == moves


def test_count_is_the_sum_of_its_signed_map() -> None:
    model, images = CountCNN().eval(), torch.rand(2, 3, 128, 128)
    maps = grad_cam(model, images, relu=False)
    assert maps.shape == (2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(maps.sum(dim=(1, 2)), model(images))


def test_gradients_reach_every_parameter() -> None:
    for model in (GapCNN(), GapCNN(coarse=True), FlattenCNN(), CountCNN()):
        model(torch.rand(4, 3, 64, 64)).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
