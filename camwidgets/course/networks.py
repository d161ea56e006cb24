"""The course's small CNNs: one trunk of four blocks, three heads."""

from __future__ import annotations

import torch
from torch import nn


def block(inputs: int, outputs: int, *, pool: bool) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU; with `pool` the map is halved."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


def trunk(*, coarse: bool = False) -> nn.Sequential:
    """(N, 3, H, W) -> (N, 64, H/4, W/4); coarse: (N, 64, H/16, W/16)."""
    return nn.Sequential(
        block(3, 16, pool=True),
        block(16, 32, pool=True),
        block(32, 64, pool=coarse),
        block(64, 64, pool=coarse),
    )


class GapCNN(nn.Module):
    """Blocks, global average pooling, one linear layer: the net that CAM was made for.

    Zhou et al. 2016, section 2. images (N, 3, H, W) -> scores (N, classes), no softmax.
    The last map is 16×16 for images of 64×64, or 4×4 with coarse=True.
    """

    def __init__(self, classes: int = 5, coarse: bool = False):
        super().__init__()
        self.blocks = trunk(coarse=coarse)
        self.classifier = nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores y^c (N, classes)."""
        features = self.blocks(images)
        pooled = features.mean(dim=(2, 3))
        return self.classifier(pooled)


class FlattenCNN(nn.Module):
    """The same blocks under a head that flattens a 4×4 map: CAM cannot be computed here.

    images (N, 3, 64, 64) -> scores (N, classes), not softmaxed.
    """

    def __init__(self, classes: int = 5):
        super().__init__()
        self.blocks = trunk()
        self.classifier = nn.Sequential(
            nn.MaxPool2d(4),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores y^c (N, classes)."""
        return self.classifier(self.blocks(images))


class CountCNN(nn.Module):
    """Regression: how many? images (N, 3, H, W) -> (N,), one number per image.

    Each position of the last map adds its part, positive or negative: the number is the sum of a
    density (Lempitsky and Zisserman 2010, section 2). The division keeps an untrained network's
    numbers small.
    """

    def __init__(self):
        super().__init__()
        self.blocks = trunk()
        self.density = nn.Conv2d(64, 1, kernel_size=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The number y (N,)."""
        features = self.blocks(images)
        return self.density(features).sum(dim=(1, 2, 3)) / 100
