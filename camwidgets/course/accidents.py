"""What a notebook says where a name is missing: which cell to run, not only which line failed."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from .exercises._engine import exercises
from .verdict import Verdict

ABOVE = "Put the cursor into this cell and choose Run → Run All Above Selected Cell, then run it."


def explain_missing_names() -> None:
    """From now on, a NameError in the notebook at hand is followed by a sentence.

    Outside of IPython, and where somebody else looks after exceptions already, nothing changes.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((NameError,), explain)


def explain(
    shell: Any, kind: type, error: NameError, trace: TracebackType, tb_offset: int | None = None
) -> None:
    """Show a NameError as IPython does, and behind it what to do about it."""
    shell.showtraceback((kind, error, trace), tb_offset)
    name = getattr(error, "name", None)
    if name and not isinstance(error, UnboundLocalError):
        missing(name).show()


def missing(name: str) -> Verdict:
    """What to do about a name that nothing has defined."""
    if name in {exercise.rpartition(".")[2] for exercise in exercises()}:
        return Verdict(
            "note",
            f"{name} comes from a cell above",
            (
                "That cell, an exercise or an import, has not run since the kernel was started. An "
                f"exercise need not be solved: its check lends a working {name}. {ABOVE}",
                "If you deleted the cell: Edit → Undo Cell Operation brings it back, or copy it "
                "from a fresh copy of the lesson.",
            ),
        )
    return Verdict(
        "note",
        f"Nothing here is called {name} yet",
        (f"A restarted kernel has forgotten all cells. {ABOVE} Or is the name mistyped?",),
    )
