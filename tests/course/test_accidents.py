"""A missing name in a notebook is followed by a sentence that says what to run."""

import runpy
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

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
    assert "normalize comes from a cell above" in words
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


STARTUP = Path(accidents.__file__).with_name("startup.py")


def test_a_kernel_that_lab_started_explains_before_anything_was_imported(monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", str(STARTUP))
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in ("cw.grad_cam", "_prepare")]
    NotebookClient(notebook, allow_errors=True, timeout=120).execute()
    for cell in notebook.cells:
        error, note = (output for output in cell.outputs if output.output_type != "stream")
        assert error.ename == "NameError"
        assert "Nothing here is called" in note.data["text/plain"]


def test_python_without_a_notebook_starts_as_ever():
    assert "_prepare" not in runpy.run_path(str(STARTUP))
