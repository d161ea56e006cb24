"""Filling an atlas in the background, in the order of what people look at.

One thread serves all Explorers, so that they never compete for the processor, and it ends when
nothing is left to do.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from threading import Condition, Thread, current_thread

from .atlas import Atlas, Part

Deliver = Callable[[Part], None]
Progress = Callable[[int, int], None]


class Filler:
    """Computes the wanted parts of one atlas and delivers each once.

    Args:
        atlas: what to fill.
        deliver: called with each part; one that failed has an `error`.
        progress: called with (parts delivered, parts wanted).
    """

    def __init__(self, atlas: Atlas, deliver: Deliver, progress: Progress) -> None:
        self._atlas, self._deliver, self._progress = atlas, deliver, progress
        self._view: tuple | None = None
        self._done: set[str] = set()
        self._open = True

    def look_at(self, model: int, image: int, target: int, layer: str | None, method: str) -> None:
        """Go on with what belongs to this view; starts the work."""
        with _worker.changed:
            if self._open:
                self._view = (model, image, target, layer, method)
                _worker.serve(self)

    def delivered(self, key: str) -> None:
        """This part is where it should be: it came by another way."""
        self._done.add(key)

    def close(self) -> None:
        """Stop. Once this returns, nothing is delivered any more."""
        with _worker.changed:
            self._open = False
            _worker.leave(self)

    def step(self) -> bool:
        """Compute and deliver one part; False if all are there."""
        view = self._view
        keys = list(dict.fromkeys(self._atlas.wanted(*view)))
        key = next((key for key in keys if key not in self._done), None)
        if key is None:
            return False
        try:
            part = self._atlas.part(key)
        except Exception as error:
            part = Part(key, {"key": key, "error": str(error) or type(error).__name__})
        self._done.add(key)
        if self._open:
            self._deliver(part)
            self._progress(sum(key in self._done for key in keys), len(keys))
        return True


class _Worker:
    """The thread, while there is work."""

    def __init__(self) -> None:
        self.changed = Condition()
        self._waiting: list[Filler] = []
        self._busy: Filler | None = None
        self._thread: Thread | None = None

    def serve(self, filler: Filler) -> None:
        if filler in self._waiting:
            self._waiting.remove(filler)
        self._waiting.append(filler)
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="camwidgets-filler", daemon=True)
            self._thread.start()

    def leave(self, filler: Filler) -> None:
        if filler in self._waiting:
            self._waiting.remove(filler)
        if current_thread() is not self._thread:
            self.changed.wait_for(lambda: self._busy is not filler, timeout=60)

    def _run(self) -> None:
        while True:
            with self.changed:
                self._busy = None
                self.changed.notify_all()
                if not self._waiting:
                    self._thread = None
                    return
                filler = self._busy = self._waiting[-1]
                view = filler._view
            more = filler.step()
            with self.changed:
                if not more and filler._view == view and filler in self._waiting:
                    self._waiting.remove(filler)

    def stop(self) -> None:
        with self.changed:
            for filler in list(self._waiting):
                filler._open = False
            self._waiting.clear()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5)


_worker = _Worker()
atexit.register(lambda: _worker.stop())


def _after_fork() -> None:
    """The child has no such thread: it starts anew if something is looked at there."""
    global _worker
    _worker = _Worker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
