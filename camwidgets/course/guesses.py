"""Predict, then run: `predict` asks for a guess, `predict.reveal` compares it with the answer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from . import places
from .verdict import Verdict, with_code


class _Question(widgets.VBox):
    """A question with its buttons; where no widgets are shown, a list of what can be chosen."""

    def __init__(self, question: str, options: Sequence[str]) -> None:
        self.asked = Verdict("note", question, tuple(f"• {option}" for option in options))
        self.buttons = widgets.RadioButtons(options=list(options), value=None)
        self.buttons.layout.width = "auto"
        self.noted = widgets.HTML()
        title = widgets.HTML(f"<strong>{with_code(question)}</strong>")
        super().__init__([title, self.buttons, self.noted])

    def __repr__(self) -> str:
        return repr(self.asked)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(**kwargs) | {"text/html": self.asked._repr_html_()}

    def close(self) -> None:
        """Close it with all its parts."""
        for widget in self.children:
            if hasattr(widget, "style"):
                widget.style.close()
            widget.layout.close()
            widget.close()
        self.layout.close()
        super().close()


class Guesses:
    """The learner's guesses, by key. `predict` is the one in use.

    In a workbook they are kept in its guesses.json, by key and question, and chosen already when a
    later kernel asks the same.
    """

    def __init__(self) -> None:
        self._questions: dict[str, _Question] = {}
        self._guesses: dict[str, str] = {}
        self._asked_for: set[str] = set()

    def __call__(self, key: str, question: str, options: Sequence[str]) -> None:
        """Ask `question`, with one radio button per option and none chosen.

        A guess that the workbook knows from an earlier kernel is chosen. Asked again in the same
        kernel, the key forgets its guess and closes its earlier buttons.
        ValueError if there are not at least two different options.
        """
        if len(set(options)) != len(options) or len(options) < 2:
            raise ValueError("predict needs at least two options, all different.")
        again = key in self._questions
        self._close(key)
        asked = self._questions[key] = _Question(question, options)

        def note(guess: str) -> None:
            self._guesses[key] = asked.buttons.value = guess
            asked.noted.value = f'<span role="status">Your guess: {with_code(guess)}</span>'

        def guessed(change: dict) -> None:
            note(change["new"])
            _keep(f"{key}: {question}", change["new"])

        earlier = None if again else _kept().get(f"{key}: {question}")
        if earlier in options:
            note(earlier)
        asked.buttons.observe(guessed, "value")
        display(asked)

    def reveal(self, key: str, answer: str, because: str) -> None:
        """Show the answer and the reason, and whether the guess was right.

        Without a guess it asks for one first, and answers when it is called again. ValueError if
        the question was asked and `answer` is none of its options.
        """
        if key in self._questions and answer not in self._questions[key].buttons.options:
            raise ValueError(f"{answer!r} is none of the options of {key!r}.")
        guess = self._guesses.get(key)
        if guess is None and key not in self._asked_for:
            self._asked_for.add(key)
            verdict = Verdict(
                "note",
                "Your guess first",
                (
                    "Choose one of the answers to the question above, then run this cell again. "
                    "(Run again without a guess, it tells the answer too.)",
                ),
            )
        elif guess is None:
            verdict = Verdict("note", "No guess yet", (f"The answer: {answer}.", because))
        elif guess == answer:
            verdict = Verdict("right", "Your guess was right", (f"{answer}.", because))
        else:
            lines = (f"You guessed: {guess}. The answer: {answer}.", because)
            verdict = Verdict("wrong", "It turned out differently", lines)
        verdict.show()

    def _close(self, key: str) -> None:
        self._guesses.pop(key, None)
        self._asked_for.discard(key)
        if key in self._questions:
            self._questions.pop(key).close()


def _file() -> Path | None:
    book = places.workbook()
    return book / "guesses.json" if book else None


def _kept() -> dict[str, str]:
    try:
        return dict(json.loads(_file().read_bytes())) if _file() else {}
    except (OSError, ValueError, TypeError):
        return {}


def _keep(question: str, guess: str) -> None:
    """A guess that cannot be written lives as long as the kernel."""
    if file := _file():
        guesses = json.dumps(_kept() | {question: guess}, ensure_ascii=False, indent=1)
        with contextlib.suppress(OSError):
            places.write(file, guesses.encode())


predict = Guesses()
