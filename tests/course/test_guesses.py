"""Guesses: asked, noted, compared with the answer, and nothing left over."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets
import pytest
from ipywidgets.widgets.widget import _instances

from camwidgets.course import places
from camwidgets.course.guesses import Guesses, predict

OPTIONS = ["the ring", "the rim"]


@pytest.fixture
def guesses(monkeypatch: pytest.MonkeyPatch) -> Guesses:
    shown: list = []
    monkeypatch.setattr("camwidgets.course.guesses.display", shown.append)
    guesses = Guesses()
    guesses.shown = shown
    return guesses


def buttons(guesses: Guesses) -> widgets.RadioButtons:
    return guesses.shown[-1].children[1]


def revealed(guesses: Guesses, capsys: pytest.CaptureFixture, answer: str) -> str:
    capsys.readouterr()
    guesses.reveal("where", answer, "Its chromatin is dark.")
    return capsys.readouterr().out


def test_asks_without_choosing_and_names_the_question(guesses: Guesses) -> None:
    guesses("where", "Where is <it> hot?", OPTIONS)
    assert buttons(guesses).value is None
    assert list(buttons(guesses).options) == OPTIONS
    assert "Where is &lt;it&gt; hot?" in guesses.shown[-1].children[0].value


def test_the_text_form_is_the_same_at_every_run(guesses: Guesses) -> None:
    for _ in range(2):
        guesses("where", "Where?", OPTIONS)
    assert repr(guesses.shown[0]) == repr(guesses.shown[1])
    assert "0x" not in repr(guesses.shown[0])


def test_right_guess(guesses: Guesses, capsys: pytest.CaptureFixture) -> None:
    guesses("where", "Where?", OPTIONS)
    buttons(guesses).value = "the ring"
    text = revealed(guesses, capsys, "the ring")
    assert "Your guess was right" in text
    assert "Its chromatin is dark." in text


def test_wrong_guess_and_a_change_of_mind(guesses: Guesses, capsys: pytest.CaptureFixture) -> None:
    guesses("where", "Where?", OPTIONS)
    buttons(guesses).value = "the ring"
    buttons(guesses).value = "the rim"
    assert "the rim" in guesses.shown[-1].children[2].value
    text = revealed(guesses, capsys, "the ring")
    assert "You guessed: the rim. The answer: the ring." in text


@pytest.mark.parametrize("asked", [True, False])
def test_without_a_guess_it_asks_for_one_first(
    guesses: Guesses, capsys: pytest.CaptureFixture, asked: bool
) -> None:
    if asked:
        guesses("where", "Where?", OPTIONS)
    first = revealed(guesses, capsys, "the ring")
    assert "Your guess first" in first
    assert "the ring" not in first
    assert "Its chromatin is dark." not in first
    again = revealed(guesses, capsys, "the ring")
    assert "No guess yet" in again
    assert "The answer: the ring." in again


def test_a_guess_after_the_asking_counts(guesses: Guesses, capsys: pytest.CaptureFixture) -> None:
    guesses("where", "Where?", OPTIONS)
    revealed(guesses, capsys, "the ring")
    buttons(guesses).value = "the ring"
    assert "Your guess was right" in revealed(guesses, capsys, "the ring")


def test_where_no_widgets_are_shown_question_and_options_are(guesses: Guesses) -> None:
    guesses("where", "Where is `argmax`?", OPTIONS)
    bundle = guesses.shown[0]._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    for part in ("text/plain", "text/html"):
        assert all(option in bundle[part] for option in OPTIONS)
    assert "Where is <code>argmax</code>?" in bundle["text/html"]
    assert "VBox" not in bundle["text/plain"]


def test_keys_do_not_mix(guesses: Guesses, capsys: pytest.CaptureFixture) -> None:
    guesses("where", "Where?", OPTIONS)
    guesses("when", "When?", ["now", "then"])
    buttons(guesses).value = "now"
    assert "Your guess first" in revealed(guesses, capsys, "the ring")


def test_asking_again_forgets_the_guess_and_leaves_no_widget_behind(
    guesses: Guesses, capsys: pytest.CaptureFixture
) -> None:
    guesses("where", "Where?", OPTIONS)
    buttons(guesses).value = "the ring"
    alive = len(_instances)
    for _ in range(10):
        guesses("where", "Where?", OPTIONS)
    assert len(_instances) == alive
    assert "Your guess first" in revealed(guesses, capsys, "the ring")


def test_an_answer_that_is_no_option_is_an_error(guesses: Guesses) -> None:
    guesses("where", "Where?", OPTIONS)
    with pytest.raises(ValueError, match="none of the options"):
        guesses.reveal("where", "the moon", "")


@pytest.mark.parametrize("options", [[], ["one"], ["same", "same"]])
def test_options_must_be_a_choice(guesses: Guesses, options: list[str]) -> None:
    with pytest.raises(ValueError, match="two options"):
        guesses("where", "Where?", options)


def test_predict_works_without_a_notebook(capsys: pytest.CaptureFixture) -> None:
    predict("test", "Where?", OPTIONS)
    for _ in range(2):
        predict.reveal("test", "the ring", "Because.")
    assert "The answer: the ring." in capsys.readouterr().out


# in a workbook


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workbook, with the kernel somewhere in it."""
    (tmp_path / places.MARK).write_text("{}")
    (tmp_path / "within").mkdir()
    monkeypatch.chdir(tmp_path / "within")
    return tmp_path


def later(guesses: Guesses) -> Guesses:
    """The same lesson after a restart of the kernel."""
    fresh = Guesses()
    fresh.shown = guesses.shown
    return fresh


def test_a_later_kernel_knows_the_guess(
    guesses: Guesses, book: Path, capsys: pytest.CaptureFixture
) -> None:
    guesses("where", "Where?", OPTIONS)
    buttons(guesses).value = "the ring"
    buttons(guesses).value = "the rim"
    again = later(guesses)
    again("where", "Where?", OPTIONS)
    assert buttons(again).value == "the rim"
    assert "the rim" in again.shown[-1].children[2].value
    assert "You guessed: the rim." in revealed(again, capsys, "the ring")
    again("where", "Where?", OPTIONS)
    assert buttons(again).value is None, "asked again in the same kernel: think again"


def test_another_question_of_the_same_key_and_another_key_know_nothing(
    guesses: Guesses, book: Path
) -> None:
    guesses("where", "Where?", OPTIONS)
    buttons(guesses).value = "the ring"
    for key, question, options in (
        ("where", "Where else?", OPTIONS),
        ("there", "Where?", OPTIONS),
        ("where", "Where?", ["left", "right"]),
    ):
        again = later(guesses)
        again(key, question, options)
        assert buttons(again).value is None


def test_outside_of_a_workbook_nothing_is_written(guesses: Guesses, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    guesses("where", "Where?", OPTIONS)
    buttons(guesses).value = "the ring"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"[1]", b"3", b"\xff"])
def test_a_broken_file_of_guesses_is_begun_anew(
    guesses: Guesses, book: Path, content: bytes
) -> None:
    (book / "guesses.json").write_bytes(content)
    guesses("where", "Where?", OPTIONS)
    assert buttons(guesses).value is None
    buttons(guesses).value = "the ring"
    again = later(guesses)
    again("where", "Where?", OPTIONS)
    assert buttons(again).value == "the ring"


def test_a_guess_that_cannot_be_written_counts_in_this_kernel(
    guesses: Guesses, book: Path, monkeypatch, capsys: pytest.CaptureFixture
) -> None:
    def refused(path: Path, data: bytes) -> None:
        raise PermissionError

    monkeypatch.setattr(places, "write", refused)
    guesses("where", "Where?", OPTIONS)
    buttons(guesses).value = "the ring"
    assert "Your guess was right" in revealed(guesses, capsys, "the ring")
