"""`make lab`, as a learner meets it: the printed address opens the workbook's first lesson."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CONNECTED, TIMEOUT, Lab, free_port

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*\?token=\w+")


@pytest.fixture
def address(tmp_path: Path):
    """What JupyterLab prints where there is no screen; it serves a workbook in a new folder."""
    root = Path(__file__).parents[2]
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    inherited = {name: value for name, value in os.environ.items() if name not in screens}
    environment = {**inherited, **own, "PYTHONPATH": str(root)}
    environment["IPYTHONDIR"] = str(tmp_path / "ipython")
    port = ["--ServerApp.port", str(free_port()), "--ServerApp.port_retries", "0"]
    command = [sys.executable, "-m", "camwidgets.course.workbook", "lab", *port, "--no-browser"]
    command.append("--LabApp.expose_app_in_browser=True")
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=file)
    try:
        end = time.monotonic() + TIMEOUT / 1000
        while not (found := ADDRESS.search(log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        yield found.group()
    finally:
        server.terminate()
        server.wait(30)


def test_the_address_opens_the_first_lesson_unsolved_and_it_runs(address, page, tmp_path: Path):
    page.goto(address)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.wait_for_function(CONNECTED)
    assert page.evaluate("window.jupyterapp.shell.currentWidget.context.path") == "00_welcome.ipynb"
    assert page.locator(".jp-OutputArea-output").count() == 0
    lab = Lab(address, "", tmp_path / "workbook")
    lab.run_cell(page, 1)
    page.get_by_text("✓ torch").wait_for()
    lab.run(page, "docmanager:save")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    assert "✓ torch" in (lab.folder / "00_welcome.ipynb").read_text(encoding="utf-8")
