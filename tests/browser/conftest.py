"""A browser, and a JupyterLab of its own, for the tests in this folder."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TIMEOUT = 180_000
"""milliseconds; a shared CI machine may need most of it to import torch"""
CONNECTED = """() => {
  const notebook = window.jupyterapp.shell.currentWidget;
  const kernel = notebook?.sessionContext?.session?.kernel;
  return notebook?.content?.activeCell && kernel?.connectionStatus === "connected" && kernel.info
    .then(() => kernel.status === "idle");
}"""
CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def missing(reason: str) -> None:
    """Skip; but in CI, where the browser tests must run, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Chromium, found by the variable CHROMIUM or on the PATH, driven by Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("The browser tests need the package playwright.")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CANDIDATES)), None)
    if path is None:
        missing("No Chromium or Chrome was found; the variable CHROMIUM may name one.")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A new browser window, which nothing of the others reaches."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(TIMEOUT)
    yield context.new_page()
    context.close()


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab. `folder` is what it serves: put notebooks there and `open` them."""

    url: str
    token: str
    folder: Path

    def open(self, page, notebook: str) -> None:
        """Show a notebook and wait until its kernel answers."""
        page.goto(
            f"{self.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{notebook}?token={self.token}"
        )
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
        page.wait_for_function(CONNECTED)

    def run(self, page, command: str) -> None:
        """Execute one of JupyterLab's commands, such as "notebook:run-all-cells"."""
        page.wait_for_function(
            "command => window.jupyterapp.commands.isEnabled(command)", arg=command
        )
        page.evaluate("command => void window.jupyterapp.commands.execute(command)", command)

    def run_cell(self, page, index: int) -> None:
        """Run one cell, wherever the focus is."""
        select = "index => window.jupyterapp.shell.currentWidget.content.activeCellIndex = index"
        page.evaluate(select, index)
        self.run(page, "notebook:run-cell")


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """A JupyterLab for all tests of a run."""
    pytest.importorskip("jupyterlab")
    with running(tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("notebooks")) as lab:
        yield lab


@contextmanager
def running(home: Path, folder: Path) -> Iterator[Lab]:
    """JupyterLab on 127.0.0.1 with a random token, and no settings but its own."""
    settings = home / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    settings.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": quiet}))
    places = {
        f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        **places,
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
    }
    port, token = free_port(), secrets.token_hex(16)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.workspaces_dir": home / "workspaces",
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())]
    with open(home / "log.txt", "w") as log:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(f"{url}/api/status?token={token}", server, home / "log.txt")
            yield Lab(url, token, folder)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + TIMEOUT / 1000
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
