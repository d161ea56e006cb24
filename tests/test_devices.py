"""A GPU: the model's own device is where everything runs, and what comes back is of use."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import camwidgets as cw
from camwidgets.course import GapCNN, accuracy, fit, scores
from camwidgets.film import MapsEachEpoch

HERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
devices = [
    pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"no {name} device here"))
    for name, there in HERE.items()
]
X = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 2


@pytest.fixture(params=["cpu", *devices])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


def net(device: str) -> GapCNN:
    torch.manual_seed(0)
    return GapCNN(classes=2).eval().to(device)


def test_training_and_scores_take_pictures_from_the_cpu(device: str) -> None:
    model, film = net(device), MapsEachEpoch(X[:2], 0)
    fit(model, X, Y, epochs=1, batch_size=4, validation=(X, Y), callbacks=[film])
    assert next(model.parameters()).device.type == device
    assert scores(model, X).device.type == film.maps[0].device.type == "cpu"
    assert next(film.models["epoch 1"].parameters()).device.type == "cpu"
    assert 0 <= accuracy(model, X, Y) <= 1


def test_maps_are_those_of_the_cpu(device: str) -> None:
    for function in (cw.grad_cam, cw.cam, cw.guided_backprop, cw.guided_grad_cam):
        there = function(net(device), X.to(device), target=1)
        assert there.device.type == device
        torch.testing.assert_close(
            there.cpu(), function(net("cpu"), X, target=1), rtol=1e-3, atol=1e-5
        )


def test_the_explorer_sends_the_pictures_to_the_model(device: str) -> None:
    explorer = cw.Explorer(net(device), [np.full((16, 16, 3), 90, np.uint8)])
    assert explorer.layer
    explorer.close()
