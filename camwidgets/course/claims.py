"""Claims: what a lesson says about a network, asked of the network that is there."""

from __future__ import annotations


def claim(words: str, holds: object, *figures: object) -> None:
    """Print whether a claim holds here, and behind it the figures of this very network.

    The figures differ from one training to the next and a test of the notebook leaves them alone;
    whether the claim holds is what it compares. A claim that fails stops nothing: another network
    may be another case, and the sentence says so.

    Args:
        words: the claim, as a statement.
        holds: whether it is so; anything that `bool` takes.
        figures: what was measured, as text or numbers; Python's floats are rounded to two digits
            behind the point.
    """
    mark = "✓" if holds else "✗ not so here:"
    shown = ", ".join(f"{f:.2f}" if isinstance(f, float) else str(f) for f in figures)
    print(f"{mark} {words}" + f"  · yours: {shown}" * bool(shown))
