"""The Explorer's private copies of models: independent, shared while a model is unchanged."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from types import MethodType, SimpleNamespace

import numpy as np
import pytest
import torch
from nets import gap_net
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm
from untouched import untouched

from camwidgets.explorer.atlas import Atlas
from camwidgets.explorer.guard import Guard
from camwidgets.explorer.inputs import prepare
from camwidgets.explorer.private import private

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), dtype=np.uint8)
X = torch.from_numpy(PICTURES[:1]).permute(0, 3, 1, 2) / 255


def test_an_unchanged_model_has_one_copy() -> None:
    model = gap_net()
    assert private(model) is not None
    kept = private(model)
    assert private(model) is kept
    model.train()
    assert private(model) is kept
    assert private(gap_net()) is not kept


CHANGES = {
    "a step": lambda m: m[0].weight.grad is None and nn.init.ones_(m[0].weight),
    "through data": lambda m: m[0].weight.data.mul_(2),
    "through numpy": lambda m: m[0].weight.detach().numpy().__setitem__((0, 0, 0, 0), 7),
    "a buffer": lambda m: m[1].running_mean.add_(1),
    "another layer": lambda m: m.__setitem__(-1, nn.Linear(8, 4)),
    "a layer more": lambda m: m.append(nn.Linear(4, 4)),
    "a setting": lambda m: setattr(m[1], "eps", 0.5),
    "a hook": lambda m: m[2].register_forward_hook(lambda module, given, output: 2 * output),
    "a frozen copy's type": lambda m: m.double(),
    "a tuple": lambda m: vars(m[0]).update(dilation=(2, 2), padding=(2, 2)),
    "another forward": lambda m: vars(m).update(forward=MethodType(nn.Sequential.forward, m)),
    "a list": lambda m: m.factors.append(2.0),
    "a dict in an object": lambda m: m.held.settings.update(factor=2.0),
    "a tensor that is no buffer": lambda m: m.plain.mul_(2),
    "an array": lambda m: m.held.array.__imul__(2),
    "a network that is no layer": lambda m: m.held.nets[0].weight.data.mul_(2),
}


class Tuned(nn.Sequential):
    """Keeps what scales its scores outside of parameters and buffers."""

    def __init__(self) -> None:
        super().__init__(*gap_net())
        self.factors, self.plain = [1.0], torch.ones(4)
        self.held = Held()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled(self, x)


class Held:
    def __init__(self) -> None:
        self.settings, self.array, self.nets = {"factor": 1.0}, np.ones(1), [nn.Linear(4, 4)]


def scaled(model: Tuned, x: torch.Tensor) -> torch.Tensor:
    y = nn.Sequential.forward(model, x) * model.plain * model.factors[-1]
    y = y @ model.held.nets[0].weight.to(y)
    return y * float(model.held.array[0]) * model.held.settings["factor"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_has_another_copy_and_the_old_one_stays(change: str) -> None:
    model = Tuned().eval()
    before = private(model)
    expected = before.model(X)
    assert private(model) is before
    CHANGES[change](model)
    after = private(model)
    assert after is not before
    assert torch.equal(before.model(X), expected)
    weight = next(model.parameters())
    torch.testing.assert_close(after.model(X.to(weight)), model.eval()(X.to(weight)))


class Settings(nn.Sequential):
    """Multiplies its scores by what stands in attributes of several kinds."""

    def __init__(self) -> None:
        super().__init__(*gap_net())
        self.listed, self.nested = [1.0, 1.0], {"by": (1.0, [1.0])}
        self.tensor, self.array = torch.ones(4), np.ones(4, np.float32)
        self.config = SimpleNamespace(by=1.0)
        self.last: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        by = self.listed[1] * self.nested["by"][1][0] * self.tensor * torch.from_numpy(self.array)
        self.last = super().forward(x) * by * self.config.by
        return self.last


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.listed.__setitem__(1, 7),
        lambda m: m.nested["by"][1].__setitem__(0, 7),
        lambda m: m.tensor.mul_(7),
        lambda m: m.array.__imul__(7),
        lambda m: setattr(m.config, "by", 7),
    ],
)
def test_what_stands_in_lists_tensors_arrays_and_objects_is_compared_too(change) -> None:
    model = Settings()
    before = Atlas({"net": model}, prepare(PICTURES))
    same = Atlas({"net": model}, prepare(PICTURES))
    assert same._sitters[0].private is before._sitters[0].private
    change(model)
    after = Atlas({"net": model}, prepare(PICTURES))
    for i in range(2):
        old, new = (each.part(f"scores/0/{i}").header["scores"] for each in (before, after))
        assert new == pytest.approx([7 * score for score in old], rel=1e-4)


def times(layer: nn.Module, by: float, more: float):
    return lambda x, by=by, *, more=more: by * more * layer(x)


@pytest.mark.parametrize(
    "other",
    [
        lambda m: lambda x: -m[0](x),
        lambda m: times(m[0], 2.0, 1.0),
        lambda m: times(m[0], 1.0, 2.0),
    ],
)
def test_another_function_around_a_layer_is_a_change(other) -> None:
    model = gap_net()
    model.around = times(model[0], 1.0, 1.0)
    before = private(model)
    assert private(model) is before
    model.around = other(model)
    assert private(model) is not before


def test_a_copy_lives_as_long_as_what_shows_it() -> None:
    model = gap_net()
    atlases = [Atlas({"net": model}, prepare(PICTURES)) for _ in range(3)]
    alive = weakref.ref(private(model))
    atlases[0].close()
    del atlases[1]
    gc.collect()
    assert alive() is not None
    atlases[-1].part("scores/0/1")
    atlases[-1].close()
    del atlases
    gc.collect()
    assert alive() is None


def test_many_explorers_of_many_models_never_take_a_model_away() -> None:
    atlases = [Atlas({"net": gap_net(classes=30)}, prepare(PICTURES)) for _ in range(6)]
    for atlas in atlases:
        assert len(atlas.part("maps/0/1/29/Grad-CAM").arrays) == len(atlas.offer["layers"]["net"])


def normed() -> nn.Module:
    model = gap_net()
    weight_norm(model[0])
    return model


def spectral() -> nn.Module:
    model = gap_net()
    parametrizations.spectral_norm(model[4])
    return model.eval()


def pruned() -> nn.Module:
    model = gap_net()
    prune.l1_unstructured(model[4], "weight", 0.5)
    return model


class Keeping(nn.Sequential):
    """Keeps an activation with its graph, a lock, and a hook's tensor."""

    def __init__(self) -> None:
        super().__init__(*gap_net())
        self.lock = threading.Lock()
        self.kept: list[torch.Tensor] = []
        self[2].register_forward_hook(lambda module, given, output: self.kept.append(output))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = super().forward(x)
        return self.last


def keeping() -> nn.Module:
    model = Keeping()
    model(torch.rand(1, 3, 8, 8))
    return model.eval()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize(
    "make", [normed, spectral, pruned, keeping, lambda: nn.DataParallel(gap_net())]
)
def test_models_that_cannot_be_deep_copied(make) -> None:
    model = make()
    with torch.no_grad():
        expected = model(X)[0]
    with untouched(model, X):
        atlas = Atlas({"net": model}, prepare(PICTURES))
        part = atlas.part("scores/0/0")
        atlas.part("guided/0/0/1")
    np.testing.assert_allclose(part.header["scores"], expected, rtol=1e-4)
    assert private(model) is private(model)


def test_training_goes_on_beside_it() -> None:
    model = gap_net()
    atlas = Atlas({"net": model}, prepare(PICTURES))
    before = atlas.part("scores/0/0").header
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()(torch.rand(4, 3, 8, 9)).sum().backward()
    optimizer.step()
    fresh = Atlas({"net": model}, prepare(PICTURES))
    assert fresh.part("scores/0/0").header["scores"] != before["scores"]
    x = torch.from_numpy(PICTURES[1:]).permute(0, 3, 1, 2) / 255
    assert atlas.part("scores/0/1").header["scores"] == pytest.approx(
        gap_net()(x)[0].tolist(), rel=1e-4
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_while_the_guard_is_held_hangs_nobody() -> None:
    guard, held, done = Guard(), threading.Event(), threading.Event()

    def hold() -> None:
        with guard.held():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        with guard.held():
            os._exit(0)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
