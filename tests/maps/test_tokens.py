"""Tokens and views: one image is read as two are, and every view comes to an end."""

from __future__ import annotations

import torch
from nets import pictures, seeded
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import camwidgets as cw


def vit() -> nn.Module:
    def build() -> nn.Module:
        model = VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=3)
        nn.init.normal_(model.heads.head.weight)
        return model

    return seeded(build)


def test_one_image_has_the_layers_of_two():
    model = vit()
    one, two = (cw.layer_names(model, pictures(n, 3, 32, 32)) for n in (1, 2))
    assert one == two
    assert "encoder.layers.encoder_layer_1.ln_1" in one


def test_one_image_has_the_maps_it_has_among_others():
    model, x = vit(), pictures(3, 3, 32, 32)
    for layer in (None, "encoder.layers.encoder_layer_1.ln_1"):
        together = cw.grad_cam(model, x, layer, 1, relu=False)
        alone = torch.cat([cw.grad_cam(model, image[None], layer, 1, relu=False) for image in x])
        assert together.any()
        torch.testing.assert_close(alone, together)


class Crosswise(nn.Module):
    """A view whose axes cut across those of the map, and back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(3, -1).reshape(x.shape)


def test_a_view_across_the_axes_comes_to_an_end():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), Crosswise(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert cw.layer_names(model, pictures(2, 3, 3, 2)) == ["0"]
