"""Run a function that somebody wrote, so that whatever it does stays inside."""

from __future__ import annotations

import collections
import ctypes
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from types import FrameType, GeneratorType
from typing import Any

import numpy as np
import torch
from IPython.utils.capture import capture_output
from torch.nn.modules import module as _module

SECONDS = 10.0
LIMIT = 200_000  # more numbers than this are not read
ITEMS = 10_000  # nor longer lists


class TooLong(BaseException):
    """The function has not come back in time."""


class Yielded(list):
    """What a function with `yield` gave."""


@dataclass(frozen=True)
class Outcome:
    """What came of one call: `answer` as it came back, `settled` a copy of it with iterators read.

    One of `answer` and `error` is None; `printed` shows what the function showed.
    """

    answer: Any
    settled: Any
    error: BaseException | None
    printed: Callable[[], None] | None
    hooks: bool


def run(function: Callable, arguments: tuple) -> Outcome:
    """Call `function`; only KeyboardInterrupt gets out. Global state is put back."""
    answer = settled = error = None
    with undisturbed(), _figures_closed(), capture_output() as captured:
        before = _global_hooks()
        try:
            with _limited(SECONDS):
                answer, settled = _call(function, arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as caught:
            error = caught
        hooks = _global_hooks() != before
        _forget_global_hooks(before)
    shown = captured.stdout or captured.stderr or captured.outputs
    printed = (lambda: _show(captured)) if shown else None
    return Outcome(answer, settled, error, printed, hooks)


def _call(function: Callable, arguments: tuple) -> tuple[Any, Any]:
    answer = function(*arguments)
    return answer, settle(answer)


def settle(answer: Any, depth: int = 0) -> Any:
    """A copy of `answer` in which what can be read only once is a list, as far as it is finite."""
    kind = type(answer)
    once = (Iterator, KeysView, ValuesView, range, collections.deque)
    if issubclass(kind, (torch.Tensor, np.ndarray)):
        small = (answer.numel() if issubclass(kind, torch.Tensor) else answer.size) <= LIMIT
        if issubclass(kind, np.ndarray):
            return answer.copy() if small else answer
        return answer.detach().clone() if small and answer.layout == torch.strided else answer
    if issubclass(kind, once):
        items = list(islice(answer, ITEMS + 1))
        if kind is GeneratorType and answer.gi_code.co_name != "<genexpr>":
            kind = Yielded
        answer, kind = items, kind if kind is Yielded else list
    elif kind not in (list, tuple):
        return answer
    if depth > 8 or len(answer) > ITEMS:
        return answer
    return kind(settle(item, depth + 1) for item in answer)


# Time


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TooLong in `_call` after so many seconds, again and again until it gives up."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        with _watched(seconds):
            yield
        return
    tracing, start, lines = sys.gettrace(), time.monotonic(), cycle(range(9))
    left = 0

    def again(frame: FrameType, event: str, argument: Any) -> Callable:
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise TooLong
        return again

    def ring(number: int, interrupted: FrameType) -> None:
        nonlocal left
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # once more, should it be caught
        frame, inside = interrupted, []
        while frame is not None and frame.f_code.co_filename != __file__:
            inside.append(frame)
            frame = frame.f_back
        if not inside or frame is None or frame.f_code is not _call.__code__:
            return  # the function is not running (any more)
        left = next(lines)  # whoever catches it meets it again, each time so many lines later
        for own in inside:
            own.f_trace = again
        sys.settrace(lambda *_: None)
        raise TooLong

    handler = signal.signal(signal.SIGALRM, ring)
    other, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        sys.settrace(tracing)
        if other:
            signal.setitimer(signal.ITIMER_REAL, max(other - time.monotonic() + start, 0.001))


@contextmanager
def _watched(seconds: float) -> Iterator[None]:
    """The same where there are no signals: on Windows, and outside the main thread."""
    thread, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch() -> None:
        done.wait(seconds)
        while not done.wait(0.05):
            throw(thread, ctypes.py_object(TooLong))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        while watcher.is_alive():
            with suppress(TooLong):
                done.set()
                watcher.join()
        with suppress(TooLong):  # asked once more and met: else Python looks out for it for ever,
            throw(thread, ctypes.py_object(TooLong))  # and 3.11 hangs in a debugger
            while True:
                pass


# Global state


def _put_numpy_errors(errors: dict) -> None:
    np.seterr(**errors)


def _put_deterministic(mode: int) -> None:
    if torch.get_deterministic_debug_mode() != mode:  # setting it imports a lot
        torch.set_deterministic_debug_mode(mode)


def _put_environment(environment: Mapping[str, str]) -> None:
    if dict(os.environ) != environment:
        os.environ.clear()
        os.environ.update(environment)


def _put_device(device: torch.device) -> None:
    if torch.get_default_device() != device:  # None, as PyTorch begins, watches no calls
        torch.set_default_device(None if device == torch.device("cpu") else device)


_GLOBALS: list[tuple[Callable, Callable]] = [
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, _put_deterministic),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_rng_state, torch.set_rng_state),
    (np.random.get_state, np.random.set_state),
    (random.getstate, random.setstate),
    (np.geterr, _put_numpy_errors),
    (np.get_printoptions, lambda options: np.set_printoptions(**options)),
    (lambda: vars(torch._tensor_str.PRINT_OPTS).copy(), vars(torch._tensor_str.PRINT_OPTS).update),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (os.getcwd, os.chdir),
    (lambda: dict(os.environ), _put_environment),
    *(
        (
            lambda f=flag: getattr(torch.backends.cudnn, f),
            lambda v, f=flag: setattr(torch.backends.cudnn, f, v),
        )
        for flag in ("deterministic", "benchmark", "enabled")
    ),
]
if hasattr(torch, "get_default_device"):
    _GLOBALS.append((torch.get_default_device, _put_device))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Gradients on, float32, fixed seeds, no warnings; afterwards everything is as it was."""
    before = [(put, get()) for get, put in _GLOBALS]
    with warnings.catch_warnings(), torch.inference_mode(False):
        warnings.simplefilter("ignore")
        try:
            torch.set_grad_enabled(True)
            torch.set_default_dtype(torch.float32)
            torch.default_generator.manual_seed(0)
            np.random.seed(0)
            random.seed(0)
            yield
        finally:
            for put, value in before:
                put(value)


_GLOBAL_HOOKS = [
    hooks
    for name, hooks in vars(_module).items()
    if name.startswith("_global") and "hooks" in name and isinstance(hooks, dict)
]


def _global_hooks() -> list[set]:
    return [set(hooks) for hooks in _GLOBAL_HOOKS]


def _forget_global_hooks(before: list[set]) -> None:
    for hooks, known in zip(_GLOBAL_HOOKS, before, strict=True):
        for key in set(hooks) - known:
            del hooks[key]


# What it shows


@contextmanager
def _figures_closed() -> Iterator[None]:
    """Figures that are drawn meanwhile are closed: one per trial would be a wall of them."""
    before = _figures()
    try:
        yield
    finally:
        for number in _figures() - before:
            sys.modules["matplotlib.pyplot"].close(number)


def _figures() -> set[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()


def _show(captured: Any) -> None:
    for text, stream in ((captured.stdout, sys.stdout), (captured.stderr, sys.stderr)):
        stream.write(text if len(text) <= 2000 else text[:2000] + "\n…\n")
    for output in captured.outputs[:3]:
        output.display()
