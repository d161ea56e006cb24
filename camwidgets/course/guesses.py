"""Predict, then run: `predict` asks for a guess, `predict.reveal` compares it with the answer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import ipywidgets as widgets
from IPython.display import display

from .verdict import Verdict


class Guesses:
    """The learner's guesses, by key, as long as the kernel lives. `predict` is the one in use."""

    def __init__(self) -> None:
        self._questions: dict[str, tuple[widgets.Widget, ...]] = {}
        self._guesses: dict[str, str] = {}

    def __call__(self, key: str, question: str, options: Sequence[str]) -> None:
        """Ask `question`, with one radio button per option and none chosen.

        Asked again, the same key forgets its earlier guess and closes its earlier buttons.
        ValueError if there are not at least two different options.
        """
        if len(set(options)) != len(options) or len(options) < 2:
            raise ValueError("predict needs at least two options, all different.")
        self._close(key)
        asked = widgets.HTML(f"<strong>{escape(question)}</strong>")
        buttons = widgets.RadioButtons(options=list(options), value=None)
        buttons.layout.width = "auto"
        noted = widgets.HTML()
        box = widgets.VBox([asked, buttons, noted])

        def note(change: dict) -> None:
            self._guesses[key] = change["new"]
            noted.value = f'<span role="status">Your guess: {escape(change["new"])}</span>'

        buttons.observe(note, "value")
        self._questions[key] = (box, asked, buttons, noted)
        display(box)

    def reveal(self, key: str, answer: str, because: str) -> None:
        """Show the answer and the reason, and whether the guess was right, if there is one.

        ValueError if the question was asked and `answer` is none of its options.
        """
        if key in self._questions and answer not in self._questions[key][2].options:
            raise ValueError(f"{answer!r} is none of the options of {key!r}.")
        guess = self._guesses.get(key)
        if guess is None:
            verdict = Verdict("note", "No guess yet", (f"The answer: {answer}.", because))
        elif guess == answer:
            verdict = Verdict("right", "Your guess was right", (f"{answer}.", because))
        else:
            lines = (f"You guessed: {guess}. The answer: {answer}.", because)
            verdict = Verdict("wrong", "It turned out differently", lines)
        verdict.show()

    def _close(self, key: str) -> None:
        self._guesses.pop(key, None)
        for widget in self._questions.pop(key, ()):
            for part in (getattr(widget, "style", None), widget.layout, widget):
                if part is not None:
                    part.close()


predict = Guesses()
