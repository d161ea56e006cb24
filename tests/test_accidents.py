"""A missing name in a notebook is followed by a sentence that says what to run."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from camwidgets.course import accidents


@pytest.fixture
def shell(monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    accidents.explain_missing_names()
    return shell


def said(shell, capsys, code):
    result = shell.run_cell(code)
    out, err = capsys.readouterr()
    return result, out + err


def test_a_missing_exercise_is_named_with_what_to_do(shell, capsys):
    result, words = said(shell, capsys, "normalize(1)")
    assert isinstance(result.error_in_exec, NameError)
    assert "NameError" in words
    assert "normalize comes from an exercise" in words
    assert "Run All Above" in words
    assert "deleted" in words


def test_any_other_missing_name_after_a_restart(shell, capsys):
    _, words = said(shell, capsys, "images_of_lesson_two + 1")
    assert "Nothing here is called images_of_lesson_two yet" in words
    assert "exercise" not in words


def test_other_errors_and_local_names_are_left_alone(shell, capsys):
    for code in ("1 / 0", "def f():\n    a += 1\nf()"):
        result, words = said(shell, capsys, code)
        assert result.error_in_exec is not None
        assert "Nothing here is called" not in words


def test_a_handler_of_somebody_else_stays(shell):
    before = shell.CustomTB
    accidents.explain_missing_names()
    assert shell.CustomTB == before
