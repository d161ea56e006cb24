"""Training: what is learned, what is left alone, what is said when things do not fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets.course import places, training
from camwidgets.course.networks import CountCNN, GapCNN
from camwidgets.course.training import accuracy, fit, save, scores, trained


def tiny() -> nn.Module:
    """Three channels of 8×8 to two scores, batch norm and dropout included."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(),
        nn.Linear(144, 2),
    )  # fmt: skip


def bright_or_dark(number: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    labels = torch.arange(number) % 2
    noise = torch.rand(number, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return noise * 0.4 + labels[:, None, None, None] * 0.5, labels


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# fit


def test_fit_learns_what_can_be_learned() -> None:
    model = tiny()
    history = fit(model, *bright_or_dark(), validation=bright_or_dark(seed=1), batch_size=8)
    assert len(history.loss) == len(history.validation) == 8
    assert history.finished
    assert history.loss[-1] < 0.2 * history.loss[0]
    assert history.validation[-1] == accuracy(model, *bright_or_dark(seed=1)) == 1.0


def test_fit_learns_numbers() -> None:
    images, _ = bright_or_dark()
    numbers = 10 * images.mean(dim=(1, 2, 3))
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1), nn.Flatten(0))
    history = fit(
        model, images, numbers, epochs=30, validation=(images, numbers), loss=F.mse_loss,
        batch_size=8,
    )  # fmt: skip
    error = (scores(model, images) - numbers).abs().mean().item()
    assert history.validation[-1] == pytest.approx(error)
    assert error < 0.3 * history.validation[0]


def test_fit_is_plain_adam_under_a_one_cycle_rate() -> None:
    """The same steps, written out."""
    images, labels = bright_or_dark(20)
    model, replica = tiny(), tiny()
    model[3].p = replica[3].p = 0.0
    history = fit(model, images, labels, epochs=3, batch_size=8, seed=5, learning_rate=0.02)

    images = images.contiguous(memory_format=torch.channels_last)
    order = torch.Generator().manual_seed(5)
    optimizer = torch.optim.Adam(replica.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=9)
    for epoch in range(3):
        mixed, losses = torch.randperm(20, generator=order), []
        for batch in (mixed[:8], mixed[8:16], mixed[16:]):
            optimizer.zero_grad()
            loss = F.cross_entropy(replica.train()(images[batch]), labels[batch], reduction="sum")
            (loss / len(batch)).backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        assert history.loss[epoch] == pytest.approx(sum(losses) / 20, rel=1e-4)
    for a, b in zip(weights(model), weights(replica), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_fit_repeats_itself_and_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    results = []
    for seed in (1, 1, 2):
        model = tiny()
        model[3].p = 0.0
        torch.set_rng_state(state)
        fit(model, *bright_or_dark(), epochs=2, batch_size=8, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        results.append(weights(model))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_fit_does_not_change_the_data_and_measuring_does_not_change_the_result() -> None:
    images, labels = bright_or_dark()
    results = []
    for validation in (None, bright_or_dark(seed=1)):
        model = tiny()
        torch.manual_seed(3)
        fit(model, images, labels, epochs=2, validation=validation)
        results.append(weights(model))
    assert same(*results)
    assert torch.equal(images, bright_or_dark()[0])


def test_a_single_step_is_a_step() -> None:
    model = tiny()
    before = weights(model)
    images, labels = bright_or_dark()
    fit(model, images, labels, epochs=1, batch_size=len(images))
    assert max((a - b).abs().max() for a, b in zip(before, weights(model), strict=True)) > 1e-3


def test_fit_leaves_the_model_in_eval_mode() -> None:
    model = tiny().train()
    fit(model, *bright_or_dark(), epochs=1)
    assert not any(module.training for module in model.modules())


def test_callbacks_come_after_each_epoch_with_its_figures_in_eval_mode() -> None:
    calls = []

    def note(epoch: int, model: nn.Module, history: training.History) -> None:
        calls.append((epoch, len(history.loss), len(history.validation), model.training))

    fit(tiny(), *bright_or_dark(), epochs=3, validation=bright_or_dark(), callbacks=[note, note])
    assert calls == [(e, e + 1, e + 1, False) for e in (0, 0, 1, 1, 2, 2)]


@pytest.mark.parametrize(("last", "said"), [(0, "1 of 8"), (2, "3 of 8")])
def test_an_interruption_keeps_what_was_learned(
    last: int, said: str, capsys: pytest.CaptureFixture
) -> None:
    def stop(epoch: int, model: nn.Module, history: training.History) -> None:
        if epoch == last:
            raise KeyboardInterrupt

    model, start = tiny(), weights(tiny())
    history = fit(model, *bright_or_dark(), epochs=8, callbacks=[stop])
    assert len(history.loss) == last + 1
    assert not history.finished
    assert not same(weights(model), start)
    assert not model.training
    said = f"Stopped: {said} epochs done; what was learned is kept.\n"
    assert capsys.readouterr().out == said


def test_an_interruption_within_an_epoch() -> None:
    calls = iter(range(100))

    def interrupting(output: Tensor, labels: Tensor) -> Tensor:
        if next(calls) == 7:
            raise KeyboardInterrupt
        return F.cross_entropy(output, labels)

    model = tiny()
    history = fit(model, *bright_or_dark(), batch_size=8, loss=interrupting)
    assert len(history.loss) == 1
    assert not model.training


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_nan_loss_is_an_error_and_the_weights_stay_finite(bad: float) -> None:
    calls = iter(range(100))

    def exploding(output: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(output, labels) * (bad if next(calls) == 7 else 1.0)

    model = tiny()
    with pytest.raises(ValueError, match=r"loss became (nan|inf) in epoch 2.*smaller"):
        fit(model, *bright_or_dark(), batch_size=8, loss=exploding)
    assert all(value.isfinite().all() for value in weights(model))
    assert not model.training


def test_other_errors_get_out_and_leave_eval_mode() -> None:
    def wrong(epoch: int, model: nn.Module, history: training.History) -> None:
        raise RuntimeError("mine")

    model = tiny()
    with pytest.raises(RuntimeError, match="mine"):
        fit(model, *bright_or_dark(), callbacks=[wrong])
    assert not model.training


IMAGES, LABELS = bright_or_dark(6)


@pytest.mark.parametrize(
    ("images", "targets", "error", "says"),
    [
        ((IMAGES * 255).byte(), LABELS, TypeError, r"float tensor, not torch.uint8: use to_tensor"),
        (IMAGES.numpy(), LABELS, TypeError, r"use to_tensor"),
        (IMAGES, LABELS.numpy(), TypeError, r"torch.as_tensor"),
        (IMAGES[0], LABELS, ValueError, r"\(N, C, H, W\) with N > 0, not \(3, 8, 8\)"),
        (IMAGES[:0], LABELS[:0], ValueError, r"N > 0"),
        (IMAGES, LABELS[:4], ValueError, r"6 images need targets of shape \(6,\), not \(4,\)"),
        (IMAGES, LABELS[:, None], ValueError, r"not \(6, 1\)"),
        (IMAGES, LABELS + 1, ValueError, r"from 1 to 2; a model with 2 scores .* 0 to 1"),
        (IMAGES, LABELS - 1, ValueError, r"from -1 to 0"),
        (IMAGES, LABELS.float(), ValueError, r"one number per image.*gives \(N, 2\)"),
    ],
)
def test_data_that_do_not_fit(images: Any, targets: Any, error: type, says: str) -> None:
    model = tiny()
    start = weights(model)
    with pytest.raises(error, match=says):
        fit(model, images, targets)
    if isinstance(images, Tensor) and len(images):
        with pytest.raises(error, match=says):
            fit(model, IMAGES, LABELS, validation=(images, targets))
    assert same(weights(model), start)


def test_whole_numbers_for_a_regression_are_noticed() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1), nn.Flatten(0))
    with pytest.raises(ValueError, match="For a regression use float targets"):
        fit(model, IMAGES, LABELS)


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"batch_size": 0}])
def test_settings_that_do_nothing(setting: dict) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        fit(tiny(), IMAGES, LABELS, **setting)


# scores and accuracy


def test_scores_are_those_of_eval_mode_and_leave_every_flag_as_it_was() -> None:
    model, images = tiny().train(), torch.rand(300, 3, 8, 8)
    model[1].eval()  # a frozen batch norm in a model that is being trained
    flags, start = [module.training for module in model.modules()], weights(model)
    result = scores(model, images)
    assert [module.training for module in model.modules()] == flags
    assert same(weights(model), start)
    assert not result.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(result, model.eval()(images))


def test_scores_restore_the_flags_after_an_error() -> None:
    model = tiny().train()
    with pytest.raises(RuntimeError):
        scores(model, torch.rand(2, 5, 8, 8))
    assert all(module.training for module in model.modules())


def test_accuracy_counts_the_right_ones() -> None:
    images = torch.zeros(4, 3, 1, 1)
    images[range(4), [0, 1, 2, 2]] = 1.0
    assert accuracy(nn.Flatten(), images, torch.tensor([0, 1, 2, 0])) == 0.75


# trained and save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workbook of its own for the networks, and training that takes no time."""
    (tmp_path / places.MARK).write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "COURSE", tmp_path / "course")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CAMWIDGETS_TRAINED", raising=False)

    def learn(model: nn.Module) -> training.History:
        model.eval()
        return training.History(finished=True)

    for name, (model, _) in training.NETWORKS.items():
        monkeypatch.setitem(training.NETWORKS, name, (model, learn))
    return tmp_path / "trained"


@pytest.mark.parametrize("name", ["gap", "flatten", "count", "shortcut", "coarse", "memorised"])
def test_trained_trains_once_then_loads(
    name: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    state = torch.get_rng_state()
    first = trained(name)
    assert f"Training the network '{name}', once: about half a minute" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == [f"{name}.pt"]
    second = trained(name)
    assert capsys.readouterr().out == ""
    assert first is not second
    assert same(weights(first), weights(second))
    assert not second.training
    assert torch.equal(torch.get_rng_state(), state)


def test_the_networks_are_those_of_the_contract(folder: Path) -> None:
    image = torch.rand(1, 3, 64, 64)
    assert trained("gap").blocks(image).shape == trained("shortcut").blocks(image).shape
    assert trained("gap").blocks(image).shape[2:] == (16, 16)
    assert trained("coarse").blocks(image).shape[2:] == (4, 4)
    assert isinstance(trained("count"), CountCNN)


def test_a_learners_own_network_is_what_the_next_lesson_gets(folder: Path) -> None:
    torch.manual_seed(7)
    mine = GapCNN().train()
    save(mine, "gap")
    assert mine.training
    assert same(weights(trained("gap")), weights(mine))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def foreign(path: Path) -> None:
    torch.save(CountCNN().state_dict(), path)


def unsafe(path: Path) -> None:
    torch.save({"blocks": Path("x")}, path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("<html>not found</html>")


def not_finite(path: Path) -> None:
    state = GapCNN().state_dict()
    state["classifier.bias"][2] = float("nan")
    torch.save(state, path)


@pytest.mark.parametrize("damage", [truncated, foreign, unsafe, empty, text, not_finite])
def test_a_file_that_cannot_be_used_is_reported_and_replaced(
    damage: Callable[[Path], None], folder: Path, capsys: pytest.CaptureFixture
) -> None:
    right = weights(trained("gap"))
    damage(folder / "gap.pt")
    capsys.readouterr()
    assert same(weights(trained("gap")), right)
    told = capsys.readouterr().out
    assert f"A file in {folder} does not hold the network 'gap'" in told
    assert "Training the network 'gap'" in told
    trained("gap")
    assert capsys.readouterr().out == "", "the new file is sound"


def test_an_interrupted_training_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def learn(model: nn.Module) -> training.History:
        images, labels = bright_or_dark()
        return fit(model, F.pad(images, (28, 28, 28, 28)), labels, epochs=2, callbacks=[stop])

    def stop(*progress: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(training.NETWORKS, "gap", (GapCNN, learn))
    assert isinstance(trained("gap"), GapCNN)
    assert "run this cell again" in capsys.readouterr().out
    assert not folder.exists()


def test_unknown_names(folder: Path) -> None:
    for ask in (lambda: trained("resnet"), lambda: save(GapCNN(), "resnet")):
        with pytest.raises(ValueError, match="'resnet'; there are gap, flatten, count, shortcut"):
            ask()
    assert not folder.exists()


def test_save_refuses_another_network_and_keeps_the_old_file(folder: Path) -> None:
    before = weights(trained("gap"))
    with pytest.raises(ValueError, match="another network"):
        save(CountCNN(), "gap")
    with pytest.raises(ValueError, match="another network"):
        save(GapCNN(classes=2), "gap")
    assert same(weights(trained("gap")), before)


def test_a_secret_name_is_never_told(folder: Path, capsys: pytest.CaptureFixture) -> None:
    trained("shortcut", told_as="network A")
    text(folder / "shortcut.pt")
    trained("shortcut", told_as="network A")
    told = capsys.readouterr().out
    assert told.count("Training network A, once") == 2
    assert "does not hold network A" in told
    assert "shortcut" not in told.replace(str(folder), "")


# where networks are kept and found


def test_a_network_that_is_offered_is_used_and_not_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    torch.manual_seed(7)
    theirs, mine = GapCNN(), GapCNN()
    save(theirs, "gap")
    folder.rename(tmp_path / "hub")
    empty = tmp_path / "nothing here"
    monkeypatch.setenv("CAMWIDGETS_TRAINED", os.pathsep.join([str(empty), str(tmp_path / "hub")]))
    assert same(weights(trained("gap")), weights(theirs))
    assert capsys.readouterr().out == (
        f"From {tmp_path / 'hub'}, which the course offers: the network 'gap'.\n"
    )
    assert not folder.exists()
    save(mine, "gap")
    assert same(weights(trained("gap")), weights(mine)), "the learner's own comes first"
    assert same(weights(theirs), list(torch.load(tmp_path / "hub" / "gap.pt").values()))


def test_a_broken_file_that_is_offered_is_passed_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    broken, sound = tmp_path / "broken", tmp_path / "sound"
    torch.manual_seed(7)
    theirs = GapCNN()
    save(theirs, "gap")
    folder.rename(sound)
    broken.mkdir()
    text(broken / "gap.pt")
    monkeypatch.setenv("CAMWIDGETS_TRAINED", f"{broken}{os.pathsep}{sound}")
    assert same(weights(trained("gap")), weights(theirs))
    assert f"A file in {broken} does not hold the network 'gap'" in capsys.readouterr().out
    assert (broken / "gap.pt").read_text().startswith("<html>")


def test_a_checkout_offers_what_was_trained_in_its_lessons_unless_told_otherwise(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.offered() == [tmp_path / "course" / "lessons" / "trained"]
    monkeypatch.setenv("CAMWIDGETS_TRAINED", "")
    assert places.offered() == []


def refuse(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Writing in these folders is not permitted; chmod would not stop the super-user."""
    write = places.write

    def refusing(path: Path, data: bytes) -> None:
        if any(path.is_relative_to(folder) for folder in folders):
            raise PermissionError(13, "Permission denied", str(path))
        write(path, data)

    monkeypatch.setattr(places, "write", refusing)


def test_a_training_is_not_lost_where_the_folder_is_read_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    cache = tmp_path / "cache" / "camwidgets" / "trained"
    refuse(monkeypatch, folder)
    first = weights(trained("gap"))
    assert capsys.readouterr().out.endswith(
        f"{folder} cannot be written; the network is kept in {cache}.\n"
    )
    assert same(weights(trained("gap")), first)
    assert capsys.readouterr().out == ""

    refuse(monkeypatch, folder, cache)
    (user,) = places._temporary()
    trained("count")
    assert (user / "trained" / "count.pt").is_file()

    refuse(monkeypatch, tmp_path)
    assert isinstance(trained("flatten"), nn.Module)
    assert "It cannot be kept, no folder can be written" in capsys.readouterr().out


def test_a_folder_in_the_way_of_the_file_does_not_lose_the_training(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "gap.pt").mkdir(parents=True)
    trained("gap")
    assert "cannot be written; the network is kept in" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["gap.pt"]


def test_an_interrupted_writing_keeps_the_old_file_and_leaves_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights(trained("gap"))

    def interrupted(*paths: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(places.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(GapCNN(), "gap")
    assert [path.name for path in folder.iterdir()] == ["gap.pt"]
    assert same(weights(trained("gap")), before)


def test_many_may_write_at_once(tmp_path: Path) -> None:
    """Each reader meets one whole file, whoever wrote it."""
    path, written = tmp_path / "gap.pt", [bytes([k]) * 200_000 for k in range(4)]

    def write(data: bytes) -> list[bool]:
        whole = []
        for _ in range(20):
            places.write(path, data)
            whole.append(path.read_bytes() in written)
        return whole

    with ThreadPoolExecutor(4) as pool:
        assert all(all(whole) for whole in pool.map(write, written))
    assert [file.name for file in tmp_path.iterdir()] == ["gap.pt"]


def test_the_workbook_is_found_from_a_folder_within(folder: Path, monkeypatch) -> None:
    (folder / "deeper").mkdir(parents=True)
    monkeypatch.chdir(folder / "deeper")
    assert places.workbook() == folder.parent
    assert places.kept()[0] == folder


def test_outside_of_a_workbook_it_is_the_checkout_or_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert places.workbook() is None
    assert places.kept()[0] == Path(__file__).parents[2] / "lessons" / "trained"
    monkeypatch.setattr(places, "COURSE", places._SHIPPED)
    assert places.kept()[0] == tmp_path / "trained"


def test_without_a_home_there_is_still_a_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(places.os.path, "expanduser", lambda path: path)  # no HOME, no passwd
    assert places.kept() == [folder, places._temporary()[0] / "trained"]


def test_a_folder_that_somebody_else_made_among_the_temporary_files_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mine,) = places._temporary()
    mine.mkdir()
    assert places._temporary() == [mine]
    monkeypatch.setattr(places.os, "lstat", lambda path: os.stat_result([0o40777, *[99999] * 9]))
    assert places._temporary() == []
