"""A lock that no fork can leave locked."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from threading import RLock
from typing import Any
from weakref import WeakSet


class Guard:
    """A lock for one thread at a time, which may take it again.

    Another thread may hold it at the moment of a fork (a data loader starts its workers so); the
    child has no such thread and would wait for ever. So the child gets a new lock.

    It is the interpreter's own lock that is held, without a function around it: Ctrl-C in such a
    function would leave it locked.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        _all.add(self)

    def held(self) -> AbstractContextManager[Any]:
        """What holds the lock while it is entered."""
        return self._lock


_all: WeakSet[Guard] = WeakSet()


def _renew() -> None:
    for guard in list(_all):
        guard._lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
