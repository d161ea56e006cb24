"""Maps while training: fixed pictures, class and scale; a loop, `fit` and Lightning alike."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import camwidgets as cw
from camwidgets import film as film_module
from camwidgets.course import GapCNN, fit
from camwidgets.film import MapsEachEpoch

X = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 2
SHOWN = X[:2]


def net() -> nn.Module:
    torch.manual_seed(0)
    return GapCNN(classes=2)


def state(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_fit_learns_the_same_with_a_film(capsys) -> None:
    plain, filmed = net(), net()
    film = MapsEachEpoch(SHOWN, 1)
    fit(plain, X, Y, epochs=3, batch_size=4)
    fit(filmed, X, Y, epochs=3, batch_size=4, callbacks=[film])
    assert all(torch.equal(a, b) for a, b in zip(state(plain), state(filmed), strict=True))
    assert film.epochs == [1, 2, 3]
    assert list(film.models) == ["epoch 1", "epoch 2", "epoch 3"]
    for heat, model in zip(film.maps, film.models.values(), strict=True):
        assert torch.equal(heat, cw.grad_cam(model, SHOWN, target=1))
        assert not model.training
    last = film.models["epoch 3"]
    assert all(torch.equal(a, b) for a, b in zip(state(last), state(filmed), strict=True))
    assert not torch.equal(film.maps[0], film.maps[2])


def test_a_loop_of_ones_own_in_train_mode_is_not_touched() -> None:
    def train(film: MapsEachEpoch | None) -> nn.Module:
        model = net().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if film:
            film(-1, model)
        for epoch in range(2):
            F.cross_entropy(model(X), Y).backward()
            if film:
                film(epoch, model)  # even between backward and step
            optimizer.step()
            optimizer.zero_grad()
        assert model.training
        return model

    film = MapsEachEpoch(SHOWN, [0, 1], layer="blocks.2")
    assert all(
        torch.equal(a, b) for a, b in zip(state(train(film)), state(train(None)), strict=True)
    )
    assert film.epochs == [0, 1, 2]
    assert torch.equal(film.maps[0], cw.grad_cam(net().eval(), SHOWN, "blocks.2", [0, 1]))


def test_later_changes_reach_neither_maps_nor_models() -> None:
    model, images = net().eval(), SHOWN.clone()
    film = MapsEachEpoch(images, 0)
    film(0, model)
    kept, weights = film.maps[0].clone(), state(film.models["epoch 1"])
    images.zero_()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(
        torch.equal(a, b) for a, b in zip(state(film.models["epoch 1"]), weights, strict=True)
    )
    assert torch.equal(film.maps[0], kept)
    film(1, film.models["epoch 1"])
    assert torch.equal(film.maps[1], kept)


def test_a_training_that_starts_over_replaces_its_epochs() -> None:
    film, model = MapsEachEpoch(SHOWN, 0), net()
    for epoch in (0, 1, 2, 0, 1):
        film(epoch, model)
    assert film.epochs == [1, 2]
    assert list(film.models) == ["epoch 1", "epoch 2"]
    assert len(film.maps) == 2


def test_models_that_cannot_be_deepcopied_are_kept_too() -> None:
    model = net()
    torch.nn.utils.weight_norm(model.classifier)
    model.lock = threading.Lock()
    model(X).sum().backward()  # its weight is part of a graph now
    with pytest.raises((RuntimeError, TypeError)):
        copy.deepcopy(model)
    film = MapsEachEpoch(SHOWN, 0)
    film(0, model)
    assert torch.equal(film.maps[0], cw.grad_cam(film.models["epoch 1"], SHOWN, target=0))


def test_models_go_into_the_explorer_or_are_left_out() -> None:
    film = MapsEachEpoch(SHOWN, 0, models=False)
    film(0, net())
    assert film.models == {}
    assert "0 models 0.00 MB" in film.cost
    film = MapsEachEpoch(SHOWN, 0)
    film(0, net())
    film(1, scaled(3.0))
    explorer = cw.Explorer(film.models, film._pictures)
    assert explorer.model_name in film.models
    explorer.model_name = "epoch 1"
    explorer.close()


def test_it_says_what_it_costs(monkeypatch) -> None:
    film, model = MapsEachEpoch(SHOWN, 0), net()
    assert film.cost == "Nothing taken yet."
    film(0, model)
    film(1, model)
    size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert film.cost.startswith("2 epochs, 2 pictures: ")
    assert film.cost.endswith(f"2 models {2 * size / 1e6:.2f} MB.")
    monkeypatch.setattr(film_module, "LARGE", 1000)
    with pytest.warns(UserWarning, match=r"Each epoch keeps a copy of the model, 0 MB; .*models="):
        MapsEachEpoch(SHOWN, 0)(0, model)


def scaled(factor: float) -> nn.Module:
    model = net().eval()
    with torch.no_grad():
        model.classifier.weight.mul_(factor)
    return model


def test_one_scale_over_all_epochs(tmp_path) -> None:
    """A map three times as strong is brighter, and the same map after another epoch is the same."""
    film = MapsEachEpoch(SHOWN, 0, pictures=list(np.zeros((2, 16, 16, 3), np.uint8)))
    strong, weak = scaled(3.0), scaled(1.0)
    if not cw.grad_cam(weak, SHOWN, target=0).any():
        film._target = 1
    for epoch, model in enumerate((weak, strong, weak)):
        film(epoch, model)
    assert film.strip().alt.startswith("2 pictures, each with its map after epoch 1 to epoch 3")
    path = film.gif(tmp_path / "film.gif", seconds=0.2)
    with Image.open(path) as animation:
        assert animation.n_frames == 3
        frames, times = [], []
        for k in range(3):
            animation.seek(k)
            frames.append(np.asarray(animation.convert("RGB")).astype(int)[:128])
            times.append(animation.info["duration"])
    assert times == [200, 200, 600]
    assert frames[0].shape == (128, 256, 3)
    assert np.abs(frames[0] - frames[2]).max() <= 40  # GIF has 256 colours a frame
    assert frames[1].mean() > 1.3 * frames[0].mean()


def test_a_long_film_is_shown_in_eight_columns(monkeypatch) -> None:
    drawn = {}
    monkeypatch.setattr(film_module, "heat_grid", lambda *a, **k: drawn.update(titles=a[2]))
    film, model = MapsEachEpoch(SHOWN, 0, models=False), net()
    for epoch in range(20):
        film(epoch, model)
    film.strip()
    assert len(drawn["titles"]) == 8
    assert drawn["titles"][0] == "epoch 1"
    assert drawn["titles"][-1] == "epoch 20"


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="target must be fixed"):
        MapsEachEpoch(SHOWN, None)
    with pytest.raises(ValueError, match=r"do not lie in \[0, 1\].*give `pictures`"):
        MapsEachEpoch(SHOWN - 0.5, 0)
    with pytest.raises(ValueError, match="the 2 images as people look at them, not 1"):
        MapsEachEpoch(SHOWN, 0, pictures=[np.zeros((4, 4), np.uint8)])
    for show in (lambda film: film.strip(), lambda film: film.gif("film.gif")):
        with pytest.raises(ValueError, match="no epoch yet"):
            show(MapsEachEpoch(SHOWN, 0))


def test_lightning(tmp_path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images)

        def training_step(self, batch: list, _: int) -> torch.Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def train(*callbacks) -> nn.Module:
        module = Module()
        data = torch.utils.data.TensorDataset(X, Y)
        trainer = lightning.Trainer(
            max_epochs=2, callbacks=list(callbacks), accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
        return module

    film = MapsEachEpoch(SHOWN, 1)
    filmed, plain = train(film.lightning()), train()
    assert film.epochs == [1, 2]
    assert all(torch.equal(a, b) for a, b in zip(state(filmed), state(plain), strict=True))
    assert torch.equal(film.maps[1], cw.grad_cam(copy.deepcopy(filmed).eval(), SHOWN, target=1))
    assert torch.equal(film.maps[1], cw.grad_cam(film.models["epoch 2"], SHOWN, target=1))
