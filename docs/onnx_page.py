"""The page that carries the course's network: ONNX, five cells, and the numbers to check it by."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from torch import Tensor, nn

from camwidgets.course import CLASS_NAMES, load_crops, scores, to_tensor

CELLS = {"uninfected": 5, "ring": 105, "trophozoite": 212, "schizont": 318, "gametocyte": 401}
COLOURS = {"stain": (94, 62, 140), "cell": (226, 168, 160), "plasma": (240, 232, 226)}


class WithMaps(nn.Module):
    """images (N, 3, H, W) -> the network's scores (N, classes), and its CAMs (N, classes, h, w)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """CAM is the classifier applied at every position; the score is its mean and the bias."""
        features = self.net.blocks(images)
        maps = torch.einsum("ck,nkij->ncij", self.net.classifier.weight, features)
        return maps.mean(dim=(2, 3)) + self.net.classifier.bias, maps


def write(folder: Path, net: nn.Module) -> str:
    """Put the network into `folder`; returns the page's part in HTML."""
    test = load_crops("test")
    images = to_tensor(test.images[list(CELLS.values())])
    torch.onnx.export(
        WithMaps(net).eval(),
        (images[:1],),
        str(folder / "gap.onnx"),
        input_names=["image"],
        output_names=["scores", "maps"],
        external_data=False,
        verbose=False,
    )
    table = matplotlib.colormaps["RdBu_r"](np.linspace(0, 1, 256))[:, :3]
    data = {
        "classes": CLASS_NAMES,
        "cells": {name: _png(test.images[k]) for name, k in CELLS.items()},
        "scores": scores(net, images).tolist(),
        "colours": COLOURS,
        "table": np.uint8(255 * table).ravel().tolist(),
    }
    text = json.dumps(data).replace("<", "\\u003c")
    return f"""<div class="paint" id="paint" data-state="loading">
<p role="status">The network is being loaded (14 MB, once) …</p>
</div>
<script type="application/json" id="paint-data">{text}</script>
<script type="module" src="_static/paint.js"></script>
"""


def _png(image: np.ndarray) -> str:
    _, data = cv2.imencode(".png", image[..., ::-1])
    return base64.b64encode(data).decode()
