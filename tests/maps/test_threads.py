"""Maps asked for from several threads, and beside a training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest
import torch
from nets import gap_net, pictures
from torch import Tensor, nn
from torch.testing import assert_close
from untouched import snapshot

from camwidgets import maps
from camwidgets.maps import recording

IMAGES = pictures(2, 3, 12, 12)
CALLS = {
    "cam": maps.cam,
    "grad_cam": lambda m, x, t: maps.grad_cam(m, x, None, t),
    "hires_cam": lambda m, x, t: maps.hires_cam(m, x, "2", t),
    "guided_backprop": maps.guided_backprop,
    "deconvnet": maps.deconvnet,
    "guided_grad_cam": lambda m, x, t: maps.guided_grad_cam(m, x, None, t),
}


def test_four_threads_get_what_one_gets() -> None:
    model = gap_net().train()
    expected = {name: call(model, IMAGES, 1) for name, call in CALLS.items()}
    before = snapshot(model, IMAGES)
    with ThreadPoolExecutor(4) as pool:
        jobs = [(name, pool.submit(CALLS[name], model, IMAGES, 1)) for name in 40 * list(CALLS)]
        for name, job in jobs:
            assert_close(job.result(), expected[name])
    after = snapshot(model, IMAGES)
    assert [key for key in before if before[key] != after[key]] == []


class Spy(nn.Module):
    """In the middle of a forward pass it looks at the model that the caller has."""

    def forward(self, x: Tensor) -> Tensor:
        look()
        return x


def look() -> None:
    """Replaced by the test below."""


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_changed_while_a_call_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(Spy(), *gap_net()).train()
    before, seen = snapshot(model, IMAGES), []
    ignored = ("grad mode", "inference mode")
    monkeypatch.setitem(globals(), "look", lambda: seen.append(snapshot(model, IMAGES)))
    CALLS[name](model, IMAGES, 1) if name != "hires_cam" else maps.hires_cam(model, IMAGES, "3", 1)
    assert seen
    for during in seen:
        changed = [key for key in before if key not in ignored and before[key] != during[key]]
        assert changed == []


def train(steps: int, beside: bool) -> tuple[list[float], dict[str, Tensor], list[Exception]]:
    """Losses and state of a training, with or without a thread that asks for maps all the time."""
    model, images, labels = gap_net().train(), pictures(8, 3, 12, 12), torch.arange(8) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    done, errors, losses = Event(), [], []

    def ask() -> None:
        while not done.is_set():
            try:
                maps.guided_grad_cam(model, IMAGES, None, 1)
            except Exception as error:
                errors.append(error)

    thread = Thread(target=ask)
    if beside:
        thread.start()
    for step in range(steps):
        optimizer.zero_grad()
        torch.manual_seed(step)  # for the dropout
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    done.set()
    if beside:
        thread.join()
    return losses, model.state_dict(), errors


def test_a_training_does_not_notice() -> None:
    alone, beside = train(60, beside=False), train(60, beside=True)
    assert alone[0] == beside[0]
    for key, value in alone[1].items():
        assert torch.equal(value, beside[1][key])
    for error in beside[2]:
        assert isinstance(error, ValueError)
        assert "weights were changed" in str(error)


def test_weights_changed_in_the_middle_are_named() -> None:
    class Stepped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gap_net()

        def forward(self, x: Tensor) -> Tensor:
            step()
            return self.inner(x)

    model = Stepped()
    weight = model.inner[0].weight

    def step() -> None:
        with torch.no_grad():
            weight.add_(0.1)

    with pytest.raises(ValueError, match=r"weights were changed.*deepcopy"):
        maps.grad_cam(model, IMAGES)
    inner = model.inner
    recorded = maps.record(inner, IMAGES, ["2"])
    with torch.no_grad():
        inner[4].weight.add_(0.1)
    with pytest.raises(ValueError, match="weights were changed"):
        recorded.gradients(1)


def test_an_error_that_the_change_led_to_is_named_by_its_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch refuses a weight that changes while it is saved, in words about saved tensors."""
    model = gap_net()
    weights = {weight.data_ptr() for weight in model.parameters()}
    pack = recording._Saved.pack

    def changed_while_saved(self: recording._Saved, tensor: Tensor) -> list:
        if tensor.data_ptr() in weights:
            with torch.no_grad():
                tensor.add_(0.1)
        return pack(self, tensor)

    monkeypatch.setattr(recording._Saved, "pack", changed_while_saved)
    for call in CALLS.values():
        with pytest.raises(ValueError, match=r"weights were changed.*deepcopy"):
            call(model, IMAGES, 1)


def test_an_interrupt_beside_a_training_stays_an_interrupt() -> None:
    class Interrupted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gap_net()

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                weight.add_(0.1)
            raise KeyboardInterrupt

    model = Interrupted()
    weight = model.inner[0].weight
    with pytest.raises(KeyboardInterrupt):
        maps.grad_cam(model, IMAGES)


@pytest.mark.parametrize("change", ["weights", "buffers", "layers", "dtype"])
def test_a_model_that_changes_between_two_of_score_cam_s_passes(change: str) -> None:
    model, seen = gap_net(), []

    def target(output: Tensor) -> Tensor:
        seen.append(output)
        if len(seen) == 3:
            with torch.no_grad():
                if change == "weights":
                    model[0].weight.mul_(2)
                elif change == "buffers":
                    next(model.buffers()).add_(1)
                elif change == "layers":
                    model[0] = nn.Conv2d(3, 5, 3, padding=1)
                else:
                    model.double()
        return output[:, 1]

    with pytest.raises(ValueError, match=r"weights were changed.*deepcopy"):
        maps.score_cam(model, IMAGES, "2", target)
