"""Which PyTorch `make` takes where nobody said it: asked of make itself, with nothing installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the wheels are CPU anyway")


@pytest.fixture
def pip_line(tmp_path: Path):
    """What `make` would do to install, on a machine with these programs."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def ask(*arguments: str, reached: bool = True, **programs: str) -> str:
        asked = tmp_path / "asked"
        script = f"echo asked >> {asked}; exit {0 if reached else 1}"
        for name, text in {"python3": script, **programs}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = ["make", "-n", "install", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        times = len(asked.read_text().splitlines()) if asked.exists() else 0
        (line,) = (line for line in done.stdout.splitlines() if "-r requirements.txt" in line)
        assert times == (0 if arguments or "nvidia-smi" in programs else 1), "asked once"
        asked.unlink(missing_ok=True)
        return line

    return ask


@linux
@pytest.mark.skipif(
    bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia").exists(),
    reason="this machine has an NVIDIA GPU",
)
def test_linux_without_a_gpu_takes_cpu_wheels_where_they_can_be_reached(pip_line) -> None:
    assert CPU_INDEX in pip_line()
    assert CPU_INDEX not in pip_line(reached=False)


@linux
def test_a_machine_with_an_nvidia_gpu_takes_the_default(pip_line) -> None:
    assert CPU_INDEX not in pip_line(**{"nvidia-smi": "exit 0"})


@pytest.mark.parametrize("reached", [True, False])
def test_what_is_said_decides(pip_line, reached: bool) -> None:
    assert CPU_INDEX in pip_line("CPU=1", reached=reached)
    assert CPU_INDEX not in pip_line("CPU=0", reached=reached)
