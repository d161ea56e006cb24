"""Filling an atlas in the background, in the order of what people look at.

One thread serves all Explorers, so that they never compete for the processor; the one looked at
last comes first. The thread ends when nothing is left to do.
"""

from __future__ import annotations

import atexit
import os
import traceback
from collections.abc import Callable, Iterator
from threading import RLock, Thread, current_thread

from .atlas import Atlas, Part

AHEAD_BYTES = 64 * 2**20
"""so much is computed before anybody looks at it; of other images the rest comes when asked for"""
PATIENCE = 10.0
"""seconds that closing waits for a part that is being computed"""

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
        self._done: set[str] = set()
        self._bytes = 0
        self._view: tuple[int, int, int, str] | None = None
        self._keys: Iterator[str] = iter(())
        self._total = 0
        self._ahead = True
        self.is_open = True
        self.working = RLock()
        """held during a step"""

    def look_at(self, model: int, image: int, target: int, method: str) -> None:
        """Go on with what belongs to this view; starts the work."""
        with _worker.lock:
            if self.is_open:
                self._view = (model, image, target, method)
                self._begin()
                _worker.serve(self)

    def delivered(self, key: str) -> None:
        """This part is where it should be: it came by another way."""
        self._done.add(key)

    def close(self) -> None:
        """Stop. Once this returns, nothing is delivered any more."""
        with _worker.lock:
            self.is_open = False
            _worker.leave(self)
        if self.working.acquire(timeout=PATIENCE):
            self.working.release()

    def step(self) -> bool:
        """Compute and deliver one part; False if there is none left."""
        if not self.is_open:
            return False
        key = next((key for key in self._keys if key not in self._done), None)
        if key is None:
            return False
        try:
            part = self._atlas.part(key)
        except BaseException as error:  # a method of the user's may call exit()
            part = Part(key, {"key": key, "error": str(error) or type(error).__name__})
        self._done.add(key)
        self._bytes += part.size
        if self.is_open:
            self._deliver(part)
        if self.is_open:
            self._progress(min(len(self._done), self._total - 1), self._total)
        if self._ahead and self._bytes >= AHEAD_BYTES:
            self._begin()
        return True

    def _begin(self) -> None:
        """Go through the keys of the view from the start."""
        self._ahead = self._bytes < AHEAD_BYTES
        self._keys = self._atlas.wanted(*self._view, ahead=self._ahead)
        self._total = self._atlas.count(self._view[0], ahead=self._ahead)

    def finish(self) -> None:
        """Say that all is there."""
        if self.is_open:
            self._progress(self._total, self._total)


class _Worker:
    """The thread, while there is work.

    Ctrl-C may end any function of Python's between two steps, and those of a `Condition` then
    leave it locked: so plain locks are held here, and a thread that never began is none.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self._waiting: list[Filler] = []
        self._thread: Thread | None = None

    def serve(self, filler: Filler) -> None:
        """Put this filler first."""
        self.leave(filler)
        self._waiting.append(filler)
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._run, name="camwidgets-filler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread, at the interpreter's end."""
        with self.lock:
            for filler in self._waiting:
                filler.is_open = False
            self._waiting.clear()
            thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(PATIENCE)

    def leave(self, filler: Filler) -> None:
        """Serve this filler no more."""
        self._waiting = [each for each in self._waiting if each is not filler]

    def _run(self) -> None:
        while True:
            with self.lock:
                if self._thread is not current_thread():
                    return
                if not self._waiting:
                    self._thread = None
                    return
                filler, keys = self._waiting[-1], self._waiting[-1]._keys
            try:
                with filler.working:
                    more = filler.step()
                    if not more and filler._keys is keys:
                        filler.finish()
            except Exception:  # of those to whom it is delivered
                traceback.print_exc()
                more = False
            with self.lock:
                if not more and filler._keys is keys:
                    self.leave(filler)


_worker = _Worker()
atexit.register(lambda: _worker.stop())


def _after_fork() -> None:
    """The child has no such thread: it begins anew if something is looked at there."""
    global _worker
    _worker = _Worker()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
