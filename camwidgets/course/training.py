"""Training: `fit` is what lesson 01 reads, `trained` what the other lessons start from."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from . import places
from .datasets import Crops, load_crops, load_fields, shuffled_crops, to_tensor
from .networks import CountCNN, FlattenCNN, GapCNN

PIXELS_AT_ONCE = 2**18
"""In a batch that is only looked at: 64 images of 64×64, 5 of 224×224."""


@dataclass
class History:
    """What `fit` noted after each epoch.

    loss: mean loss over the training images. validation: accuracy (0 to 1) where the targets are
    classes, mean absolute error where they are numbers; empty if no validation data were given.
    finished: False if the training was interrupted.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    finished: bool = False


def fit(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    epochs: int = 8,
    validation: tuple[Tensor, Tensor] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    learning_rate: float = 0.01,
    batch_size: int = 64,
    seed: int = 0,
    callbacks: Sequence[Callable[[int, nn.Module, History], object]] = (),
) -> History:
    """Train `model` with Adam under a one-cycle learning rate; it is left in eval mode.

    Args:
        model: takes images (n, C, H, W), gives scores (n, classes) or numbers (n,); it is trained
            on the device that it is on.
        images: float (N, C, H, W).
        targets: classes int64 (N,), or numbers float (N,) for a regression.
        validation: (images, targets) that are not trained on, measured after each epoch.
        loss: of a batch's outputs and targets, such as F.cross_entropy or F.mse_loss.
        learning_rate: the highest of the cycle (Smith and Topin 2018).
        seed: decides the order of the images; the global random state is left alone.
        callbacks: called after each epoch as callback(epoch, model, history), in eval mode.

    Returns:
        The History; so far, if interrupted: the model then keeps what it has learned.

    Raises:
        TypeError, ValueError: the data or the model do not fit together (the message says how),
            or the loss becomes NaN or infinite (the model keeps the weights before that step).
    """
    _check(model, images, targets, epochs, batch_size)
    if validation is not None:
        _check(model, *validation, epochs, batch_size)
    images = images.contiguous(memory_format=torch.channels_last)  # a fifth faster on CPUs
    images, targets = images.to(_device(model)), targets.to(_device(model))
    order = torch.Generator().manual_seed(seed)
    steps = epochs * math.ceil(len(images) / batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, max(steps, 2))
    history = History()
    try:
        with tqdm(total=steps, unit="batch") as progress:
            for epoch in range(epochs):
                progress.set_description(f"epoch {epoch + 1} of {epochs}")
                model.train()
                total = 0.0
                for batch in torch.randperm(len(images), generator=order).split(batch_size):
                    error = loss(model(images[batch]), targets[batch])
                    if not error.isfinite():
                        raise ValueError(
                            f"The loss became {error.item()} in epoch {epoch + 1}. Try a smaller "
                            f"learning_rate than {learning_rate}, and images scaled to [0, 1]."
                        )
                    optimizer.zero_grad()
                    error.backward()
                    optimizer.step()
                    schedule.step()
                    progress.update()
                    total += error.item() * len(batch)
                model.eval()
                history.loss.append(total / len(images))
                if validation is not None:
                    history.validation.append(_measure(model, *validation))
                progress.set_postfix(_latest(history))
                for callback in callbacks:
                    callback(epoch, model, history)
        history.finished = True
    except KeyboardInterrupt:
        print(f"Stopped: {len(history.loss)} of {epochs} epochs done; what was learned is kept.")
    finally:
        model.eval()
    return history


def scores(model: nn.Module, images: Tensor) -> Tensor:
    """The model's outputs for all images, (N, classes) or (N,), in eval mode and without graph.

    images: float (N, C, H, W). Every module's training flag is left as it was.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            at_once = max(1, PIXELS_AT_ONCE // max(1, images.shape[2:].numel()))
            batches = (batch.to(_device(model)) for batch in images.split(at_once))
            return torch.cat([model(batch).to(images.device) for batch in batches])
    finally:
        for module in training:
            module.training = True


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of the images (N, C, H, W) whose highest score is that of their label (N,)."""
    return (scores(model, images).argmax(dim=1) == labels).double().mean().item()


def trained(name: str, told_as: str | None = None) -> nn.Module:
    """A trained network of the course, in eval mode.

    Args:
        name: "gap", "flatten" (crops), "coarse", "shortcut" (crops with a planted shortcut; coarse
            has a 4×4 map), "memorised" (200 crops whose labels mean nothing, by heart), or
            "count" (fields).
        told_as: what the messages call it, where its name must stay a secret.

    It is the learner's own if there is one, kept by `save` or by this function; else one that the
    course offers in a folder (see `places`); else it is trained now, in about half a minute, and
    kept. A file that cannot be used is reported and passed over.
    """
    _check_name(name)
    called = told_as or f"the network {name!r}"
    own = places.kept()
    for folder in dict.fromkeys((*own, *places.offered())):
        path = folder / f"{name}.pt"
        if not os.path.lexists(path):
            continue
        try:
            model = _loaded(path, name)
        except Exception:
            print(f"A file in {folder} does not hold {called}; it is passed over.")
            continue
        if folder not in own:
            print(f"From {folder}, which the course offers: {called}.")
        return model
    print(f"Training {called}, once: about half a minute on a laptop; the bar tells what it takes.")
    model = _untrained(name)
    if NETWORKS[name][1](model).finished:
        _keep(model, name)
    else:
        print("It has learned too little and is not kept: run this cell again to train it.")
    return model


def save(model: nn.Module, name: str) -> None:
    """Keep a network where `trained(name)` finds it: in the workbook, or else as `places` says.

    ValueError if there is no such name, or the model's weights are not those of that network.
    """
    _check_name(name)
    try:
        _untrained(name).load_state_dict(model.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"trained({name!r}) stands for another network: the weights of this one have other "
            "names or shapes. Use torch.save for networks of your own."
        ) from error
    _keep(model, name)


def _loaded(path: Path, name: str) -> nn.Module:
    model = _untrained(name)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    if not all(value.isfinite().all() for value in model.state_dict().values()):
        raise ValueError("weights that are not finite")
    return model.eval()


def _keep(model: nn.Module, name: str) -> None:
    """In the first folder that can be written; one that a learner would not expect is named."""
    data = io.BytesIO()
    torch.save(model.state_dict(), data)
    folders = places.kept()
    for folder in folders:
        try:
            places.write(folder / f"{name}.pt", data.getvalue())
        except OSError:
            continue
        if folder != folders[0]:
            print(f"{folders[0]} cannot be written; the network is kept in {folder}.")
        return
    print("It cannot be kept, no folder can be written: the next lesson trains it again.")


def _learn_crops(model: nn.Module, *, shortcut: bool = False) -> History:
    crops = load_crops("train", shortcut=shortcut)
    return fit(model, to_tensor(crops.images), torch.from_numpy(crops.labels))


def _learn_by_heart(model: nn.Module) -> History:
    return _by_heart(model, shuffled_crops())


def _by_heart(model: nn.Module, crops: Crops) -> History:
    images, labels = to_tensor(crops.images), torch.from_numpy(crops.labels)
    return fit(model, images, labels, epochs=80, learning_rate=0.005, batch_size=50)


def _learn_count(model: nn.Module) -> History:
    fields = load_fields("train")
    images, counts = to_tensor(fields.images), torch.from_numpy(fields.counts)
    return fit(model, images, counts, loss=F.mse_loss, learning_rate=0.003, batch_size=8)


_learn_shortcut = partial(_learn_crops, shortcut=True)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], History]]] = {
    "gap": (GapCNN, _learn_crops),
    "flatten": (FlattenCNN, _learn_crops),
    "count": (CountCNN, _learn_count),
    "shortcut": (GapCNN, _learn_shortcut),
    "memorised": (GapCNN, _learn_by_heart),
    "coarse": (lambda: GapCNN(coarse=True), _learn_shortcut),
}


def _untrained(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name][0]()


def _check_name(name: str) -> None:
    if name not in NETWORKS:
        raise ValueError(f"There is no network {name!r}; there are {', '.join(NETWORKS)}.")


def _latest(history: History) -> dict[str, str]:
    figures = {"loss": history.loss, "validation": history.validation}
    return {name: f"{values[-1]:.3f}" for name, values in figures.items() if values}


def _measure(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    if targets.is_floating_point():
        return (scores(model, images) - targets).abs().mean().item()
    return accuracy(model, images, targets)


def _check(model: nn.Module, images: Tensor, targets: Tensor, epochs: int, batch: int) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"Images must be a float tensor, not {kind}: use to_tensor(images).")
    if not isinstance(targets, Tensor):
        raise TypeError(
            f"Targets must be a tensor, not {type(targets).__name__}: use torch.as_tensor(targets)."
        )
    if images.ndim != 4 or not len(images):
        raise ValueError(f"Images must be (N, C, H, W) with N > 0, not {tuple(images.shape)}.")
    if targets.shape != images.shape[:1]:
        raise ValueError(
            f"{len(images)} images need targets of shape ({len(images)},), "
            f"not {tuple(targets.shape)}."
        )
    if epochs < 1 or batch < 1:
        raise ValueError("epochs and batch_size must be 1 or more.")
    output = scores(model, images[:1])
    if targets.is_floating_point():
        if output.shape != (1,):
            raise ValueError(
                "Targets that are floats ask for one number per image, (N,); the model gives "
                f"(N, {', '.join(map(str, output.shape[1:]))}). For classes use int64 targets."
            )
    elif output.ndim != 2:
        raise ValueError(
            "Targets that are whole numbers ask for scores (N, classes); the model gives "
            f"{tuple(output.shape)} for one image. For a regression use float targets."
        )
    elif not 0 <= targets.min() <= targets.max() < output.shape[1]:
        raise ValueError(
            f"The labels run from {targets.min()} to {targets.max()}; a model with "
            f"{output.shape[1]} scores needs labels from 0 to {output.shape[1] - 1}."
        )
