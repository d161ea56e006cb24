"""A lock that no fork can leave locked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from weakref import WeakSet


class Guard:
    """A lock for one thread at a time, which may take it again.

    Another thread may hold it at the moment of a fork (a data loader starts its workers so); the
    child has no such thread and would wait for ever. So the child gets a new lock.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        _all.add(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock."""
        with self._lock:
            yield


_all: WeakSet[Guard] = WeakSet()


def _renew() -> None:
    for guard in list(_all):
        guard._lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
