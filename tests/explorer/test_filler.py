"""Filling atlases in the background: order, progress, errors, the end, forks and exits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType

import numpy as np
import pytest
from nets import gap_net

from camwidgets.explorer import filler as filler_module
from camwidgets.explorer.atlas import Atlas, Part
from camwidgets.explorer.filler import Filler
from camwidgets.explorer.inputs import prepare

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)


class Told:
    """Keeps what a filler delivers, and waits for the end."""

    def __init__(self, atlas: Atlas, stop_after: int | None = None) -> None:
        self.parts: list[Part] = []
        self.progress: list[tuple[int, int]] = []
        self.done, self.halfway = threading.Event(), threading.Event()
        self.go_on = threading.Event()
        self.stop_after = stop_after
        self.filler = Filler(atlas, self.deliver, self.progressed)

    def deliver(self, part: Part) -> None:
        self.parts.append(part)
        if len(self.parts) == self.stop_after:
            self.halfway.set()
            self.go_on.wait(20)

    def progressed(self, done: int, total: int) -> None:
        self.progress.append((done, total))
        if done == total:
            self.done.set()

    @property
    def keys(self) -> list[str]:
        return [part.key for part in self.parts]


def atlas_of(pictures: np.ndarray = PICTURES, **keywords) -> Atlas:
    return Atlas({"net": gap_net()}, prepare(pictures, **keywords))


def fillers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "camwidgets-filler"]


def end_of_thread() -> None:
    for thread in fillers():
        thread.join(20)
    assert not fillers()


def test_everything_is_delivered_once_in_the_order_of_what_is_looked_at() -> None:
    atlas = atlas_of()
    for key in atlas_of().wanted(0, 1, 2, "CAM"):
        atlas.part(key)
    told = Told(atlas)
    expected = list(dict.fromkeys(atlas.wanted(0, 1, 2, "CAM")))
    told.filler.look_at(0, 1, 2, "CAM")
    assert told.done.wait(20)
    assert told.keys[:4] == ["picture/1", "scores/0/1", "maps/0/1/2/CAM", "maps/0/1/2/Grad-CAM"]
    assert sorted(told.keys) == sorted(set(expected))
    assert told.progress[-1] == (len(expected), len(expected))
    assert [done for done, _ in told.progress[:-1]] == [*range(1, len(expected)), len(expected) - 1]
    told.filler.look_at(0, 1, 1, "CAM")
    end_of_thread()
    assert len(told.keys) == len(expected)
    told.filler.close()


def test_looking_elsewhere_changes_the_order() -> None:
    told = Told(atlas_of(), stop_after=3)
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    assert told.halfway.wait(20)
    told.filler.look_at(0, 2, 1, "guided backprop")
    told.go_on.set()
    assert told.done.wait(20)
    assert told.keys[3:6] == ["picture/2", "scores/0/2", "guided/0/2/1"]
    assert len(set(told.keys)) == len(told.keys)
    told.filler.close()


def test_what_came_by_another_way_is_not_sent_again() -> None:
    told = Told(atlas_of())
    told.filler.delivered("scores/0/0")
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    assert told.done.wait(20)
    assert "scores/0/0" not in told.keys
    assert "maps/0/0/0/CAM" in told.keys
    told.filler.close()


def test_one_bad_picture_is_named_and_the_rest_goes_on() -> None:
    def preprocess(image):
        array = np.asarray(image)
        if (array == PICTURES[1]).all():
            raise OSError("no light")
        return array.transpose(2, 0, 1) / np.float32(255)

    told = Told(atlas_of(preprocess=preprocess))
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    assert told.done.wait(20)
    bad = [part for part in told.parts if part.error]
    assert {part.key for part in bad} >= {"picture/1", "scores/0/1"}
    assert all("Image 1: `preprocess` failed" in part.error for part in bad)
    assert all("no light" in part.header["error"] for part in bad)
    assert "maps/0/2/3/Grad-CAM" in told.keys
    told.filler.close()


def test_close_ends_it_at_once_and_nothing_comes_afterwards() -> None:
    told = Told(atlas_of(), stop_after=2)
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    assert told.halfway.wait(20)
    threading.Timer(0.05, told.go_on.set).start()
    told.filler.close()
    told.filler.close()
    assert len(told.parts) == 2
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    end_of_thread()
    assert len(told.parts) == 2
    assert not told.done.is_set()


def test_it_can_be_closed_from_within() -> None:
    told = Told(atlas_of())
    told.filler._deliver = lambda part: told.filler.close()
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    end_of_thread()
    assert told.progress == []


def test_one_thread_serves_all_and_the_one_looked_at_last_comes_first() -> None:
    first, second = Told(atlas_of(), stop_after=2), Told(atlas_of())
    first.filler.look_at(0, 0, 0, "Grad-CAM")
    assert first.halfway.wait(20)
    second.filler.look_at(0, 0, 0, "Grad-CAM")
    assert len(fillers()) == 1
    order = []
    first.deliver_, second.deliver_ = first.deliver, second.deliver
    first.filler._deliver = lambda part: order.append("first") or first.deliver_(part)
    second.filler._deliver = lambda part: order.append("second") or second.deliver_(part)
    first.go_on.set()
    assert first.done.wait(20)
    assert second.done.wait(20)
    assert order == ["second"] * len(second.parts) + ["first"] * (len(first.parts) - 2)
    for told in (first, second):
        told.filler.close()
    end_of_thread()


def test_a_listener_that_fails_stops_its_own_filler_alone(capsys) -> None:
    bad, good = Told(atlas_of()), Told(atlas_of())
    bad.filler._deliver = lambda part: 1 / 0
    good.filler.look_at(0, 0, 0, "Grad-CAM")
    bad.filler.look_at(0, 0, 0, "Grad-CAM")
    assert good.done.wait(20)
    end_of_thread()
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not bad.done.is_set()


def test_ahead_of_the_view_there_is_a_limit(monkeypatch) -> None:
    monkeypatch.setattr(filler_module, "AHEAD_BYTES", 20_000)
    told = Told(atlas_of())
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    assert told.done.wait(20)
    sent = sum(part.size for part in told.parts)
    assert 20_000 <= sent < 23_000
    assert {"maps/0/0/3/CAM", "guided/0/0/3"} <= set(told.keys)
    assert "maps/0/2/3/Grad-CAM" not in told.keys
    told.done.clear()
    told.filler.look_at(0, 2, 0, "Grad-CAM")
    assert told.done.wait(20)
    assert {"maps/0/2/3/Grad-CAM", "guided/0/2/0"} <= set(told.keys)
    assert "maps/0/1/3/Grad-CAM" not in told.keys
    told.filler.close()


PROGRAM = """
import sys, numpy as np, threading, os
sys.path.insert(0, "tests")
from nets import gap_net
from camwidgets.explorer.atlas import Atlas
from camwidgets.explorer.filler import Filler
from camwidgets.explorer.inputs import prepare

pictures = np.random.default_rng(0).integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
atlas = Atlas({"net": gap_net()}, prepare(pictures))
begun = threading.Event()
filler = Filler(atlas, lambda part: begun.set(), lambda done, total: None)
filler.look_at(0, 0, 0, "Grad-CAM")
begun.wait(20)
"""
FORK = """
import warnings
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    assert len(atlas.part("picture/399").arrays) == 1
    assert atlas.have("picture/0") is not None
    filler.close()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("print('end')", "end"),
        pytest.param(
            FORK, "7", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
        ),
    ],
    ids=["exit", "fork"],
)
def test_an_exit_or_a_fork_while_it_works_never_hangs(more: str, says: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM + more], capture_output=True, text=True, timeout=240
    )
    assert (run.returncode, run.stdout.strip()) == (0, says), run.stderr


def test_many_made_and_closed_leave_nothing() -> None:
    for _ in range(50):
        told = Told(atlas_of(PICTURES[:1]))
        told.filler.look_at(0, 0, 0, "Grad-CAM")
        told.filler.close()
    end_of_thread()


def interrupted(action: Callable[[], object], moment: int) -> bool:
    """Ctrl-C at a moment of an action, counted in calls and returns of its functions.

    False if it ended before. Where Python starts a thread is left out: cut there, its own locks
    are no longer right. (In a generator that is let go, Python swallows an interrupt.)
    """
    left = moment

    def trace(frame, event, _):
        nonlocal left
        if event in ("call", "return") and not _within(threading.Thread.start, frame):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return left <= 0


def _within(function: Callable, frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code is function.__code__:
            return True
        frame = frame.f_back
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_leaves_nothing_locked() -> None:
    atlas = atlas_of()
    for moment in range(1, 300):
        told = Told(atlas)
        was_cut = interrupted(lambda told=told: told.filler.look_at(0, 0, 0, "CAM"), moment)
        told.filler.look_at(0, 0, 0, "CAM")
        assert told.done.wait(20), moment
        interrupted(told.filler.close, moment)
        told.filler.close()
        if not was_cut:
            break
    assert moment > 30
    end_of_thread()


def test_a_method_that_ends_the_program_ends_only_its_own_part() -> None:
    """`exit()` in a user's function would end the thread that serves every Explorer."""
    atlas = atlas_of()
    compute = atlas.part

    def part(key: str) -> Part:
        if key.startswith("guided"):
            raise SystemExit("bye")
        return compute(key)

    atlas.part = part
    told = Told(atlas)
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    assert told.done.wait(20)
    assert {part.error for part in told.parts if part.key.startswith("guided")} == {"bye"}


@pytest.mark.parametrize("end", [KeyboardInterrupt("bye"), SystemExit("bye")], ids=repr)
def test_a_preprocess_that_ends_the_program_ends_only_its_own_picture(end: BaseException) -> None:
    def preprocess(image):
        array = np.asarray(image)
        if (array == PICTURES[1]).all():
            raise end
        return array.transpose(2, 0, 1) / np.float32(255)

    told = Told(atlas_of(preprocess=preprocess))
    told.filler.look_at(0, 0, 0, "Grad-CAM")
    assert told.done.wait(20)
    assert {part.error for part in told.parts if "/1" in part.key[:8]} >= {"bye"}
    assert "maps/0/2/3/Grad-CAM" in told.keys
    told.filler.close()
