"""A verdict card: one page that says what is claimed of a network, and what speaks for it."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Literal

from ..pictures import Picture

Verdict = Literal["holds", "does not hold", "undecided"]
Part = str | tuple[str, Picture]

PARTS = {
    "claim": "Claim",
    "map": "What the map shows",
    "baseline": "What a map shows that never saw the network",
    "intervention": "What happened when we changed the picture",
    "limits": "What this does not show",
}
_STYLE = """
.verdict-card { font: 15px/1.45 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; }
.verdict-card h1 { font-size: 1.5em; margin: 0.4em 0 0.1em; }
.verdict-card h2 { font-size: 1.05em; margin: 0.9em 0 0.1em; }
.verdict-card p { margin: 0.2em 0 0.4em; white-space: pre-line; }
.verdict-card img { max-width: 100%; max-height: 15rem; background: white; }
.verdict-card .verdict { border-left: 4px solid #4a7ab5; padding-left: 0.6em; }
.verdict-card .open { font-style: italic; opacity: 0.75; }
@media print { .verdict-card img { max-height: 42mm; } @page { margin: 14mm; } }
"""


class VerdictCard:
    """Claim, map, baseline, intervention and limits on one page, as people hand it on.

    It is written by whoever did the work; what is not written yet is marked as open. In a notebook
    the card shows itself.

    Args:
        title: which network, which pictures.
        verdict: "holds", "does not hold" or "undecided": of the claim, after all the rest.
        claim, map, baseline, intervention, limits: what to say, or (what to say, a `Picture`).
        author: who answers for it, and when.

    Raises:
        ValueError: another verdict. TypeError: a part that is neither text nor text with picture.
    """

    def __init__(
        self,
        title: str,
        *,
        verdict: Verdict = "undecided",
        claim: Part = "",
        map: Part = "",
        baseline: Part = "",
        intervention: Part = "",
        limits: Part = "",
        author: str = "",
    ) -> None:
        if verdict not in _VERDICTS:
            raise ValueError(
                f"verdict must be 'holds', 'does not hold' or 'undecided', not {verdict!r}."
            )
        self.title, self.verdict, self.author = title, verdict, author
        given = (claim, map, baseline, intervention, limits)
        self._parts = {n: _part(n, part) for n, part in zip(PARTS, given, strict=True)}

    @property
    def open(self) -> tuple[str, ...]:
        """The parts that nobody has written yet."""
        return tuple(name for name, (text, _) in self._parts.items() if not text)

    def to_html(self, path: str | Path) -> Path:
        """Write the card as one file that needs nothing else: to read, print, or send."""
        path = Path(path)
        page = (
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width">\n'
            f"<title>{html.escape(self.title)}</title>\n"
            f"<body>\n{self._repr_html_()}\n</body>\n</html>\n"
        )
        path.write_text(page, encoding="utf-8")
        return path

    def __repr__(self) -> str:
        lines = [f"{self.title}: the claim {_VERDICTS[self.verdict]}"]
        lines += [f"{PARTS[name]}: {text or 'open'}" for name, (text, _) in self._parts.items()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<style>{_STYLE}</style>", '<article class="verdict-card">']
        parts.append(f"<h1>{html.escape(self.title)}</h1>")
        parts.append(f'<p class="verdict"><b>The claim {_VERDICTS[self.verdict]}.</b></p>')
        for name, (text, picture) in self._parts.items():
            shown = f"<p>{html.escape(text)}</p>" if text else '<p class="open">Open.</p>'
            parts.append(f"<section><h2>{PARTS[name]}</h2>{shown}")
            parts.append((picture._repr_html_() if picture else "") + "</section>")
        if self.author:
            parts.append(f"<footer><p>{html.escape(self.author)}</p></footer>")
        return "\n".join([*parts, "</article>"])


_VERDICTS = {
    "holds": "holds",
    "does not hold": "does not hold",
    "undecided": "is undecided",
}


def _part(name: str, part: Part) -> tuple[str, Picture | None]:
    text, picture = part if isinstance(part, tuple) and len(part) == 2 else (part, None)
    if text is ...:
        text = ""
    if not isinstance(text, str) or not isinstance(picture, Picture | None):
        raise TypeError(f"{name} must be text, or (text, picture) with a Picture of cw.heat_row.")
    text = text.strip()
    return "" if text in ("…", "...") else text, picture
