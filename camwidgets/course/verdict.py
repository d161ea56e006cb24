"""The quiet box in which the course answers: a title, some paragraphs, readable in any theme."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Literal

from IPython.display import display

Kind = Literal["right", "wrong", "note"]

_SYMBOL = {"right": "✓", "wrong": "✗", "note": "○"}
_ACCENT = {"right": "#2e9e5b", "wrong": "#d9822b", "note": "#5b7fb5"}


@dataclass(frozen=True)
class Verdict:
    """What the course has to say, as HTML in a notebook and as text anywhere else.

    `kind` chooses symbol and accent; the words carry the meaning, the colour only repeats it.
    What stands between backticks is code.
    """

    kind: Kind
    title: str
    lines: tuple[str, ...] = ()

    def show(self) -> None:
        """Display it in the notebook; print it where there is none."""
        display(self)

    def __repr__(self) -> str:
        return "\n".join([f"{_SYMBOL[self.kind]} {self.title}", *(f"  {li}" for li in self.lines)])

    def _repr_html_(self) -> str:
        accent = _ACCENT[self.kind]
        box = (
            f"border-left: 4px solid {accent}; background: {accent}1a; color: inherit; "
            "padding: 0.5em 0.9em; margin: 0.3em 0; max-width: 46em; line-height: 1.45"
        )
        title = f'<strong><span aria-hidden="true">{_SYMBOL[self.kind]} </span>'
        title += f"{with_code(self.title)}</strong>"
        lines = "".join(
            f'<div style="margin-top: 0.25em">{with_code(li)}</div>' for li in self.lines
        )
        return f'<div role="status" style="{box}">{title}{lines}</div>'


def with_code(text: str) -> str:
    """`text` as HTML, what stands between backticks in code type."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
