"""The course in one folder, for a USB stick: it installs and runs where there is no network.

`python binder/bundle.py [FOLDER]` collects the wheels of this platform and this Python, that of the
course among them (it holds the data and the lessons), the notebooks to read, and a script `start`.
`--try` installs it and runs two lessons, without a network where `unshare` may take that away.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from room import ROOT, offline, report, without_network

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PYTHON = "python{}.{}".format(*sys.version_info)
PLACE = f"{platform.system()} {platform.machine()}"

START = f"""#!/bin/sh
# Installs the course from this folder, without a network, and opens your workbook in JupyterLab.
#     sh start [FOLDER] [install]
# FOLDER (if not said: camwidgets in your home) gets the packages and your workbook, once;
# `install` leaves JupyterLab to another day.
set -eu
bundle=$(cd "$(dirname "$0")" && pwd)
folder=${{1:-${{HOME:?say a folder: sh start FOLDER}}/camwidgets}}
[ "$(uname -s) $(uname -m)" = "{PLACE}" ] || {{
    echo "These wheels are for {PLACE}; this is $(uname -s) $(uname -m)."; exit 1; }}
command -v {PYTHON} >/dev/null || {{ echo "{PYTHON} is needed and not there."; exit 1; }}
mkdir -p "$folder"
cd "$folder"
if [ ! -f .venv/installed ]; then
    echo "Installing into $folder: a few minutes, once."
    {PYTHON} -m venv .venv
    PIP_CONFIG_FILE=/dev/null .venv/bin/python -m pip install --quiet --isolated --no-index \\
        --disable-pip-version-check --find-links "$bundle/wheels" \\
        -r "$bundle/requirements.txt" camwidgets
    touch .venv/installed
fi
[ "${{2:-}}" = install ] || exec .venv/bin/python -m camwidgets.course.workbook lab
"""

README = f"""camwidgets, for a machine without a network ({PLACE}, {PYTHON})

    sh start

installs the course into the folder camwidgets in your home (another: sh start FOLDER) and opens
your workbook in JupyterLab. Later the same command just opens it. Nothing is written into this
folder. To read without installing: lessons/ holds every notebook with its pictures, solutions/ the
solved ones.
"""


def build(folder: Path) -> None:
    """Collect everything in `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    index = ["--extra-index-url", CPU_INDEX] if version("torch").endswith("+cpu") else []
    pinned = ["--only-binary", ":all:", "-r", str(ROOT / "requirements.txt")]
    subprocess.run([*pip, "download", "--dest", str(wheels), *index, *pinned], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)], check=True)
    shutil.copy(ROOT / "requirements.txt", folder)
    for part in ("lessons", "lessons/solutions"):
        target = folder / part.rpartition("/")[2]
        target.mkdir()
        for notebook in (ROOT / part).glob("*.ipynb"):
            shutil.copy(notebook, target)
    (folder / "README.txt").write_text(README)
    (folder / "start").write_text(START)
    (folder / "start").chmod(0o755)


def attempt(folder: Path, lessons: list[str]) -> None:
    """Install from the bundle and run lessons of the workbook it makes; an error if that fails."""
    way = [] if offline() else without_network()
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "TMPDIR": home,
            "OMP_NUM_THREADS": "1",
        }

        def run(*command: str | Path) -> str:
            whole = [*way, *map(str, command)]
            answer = subprocess.run(
                whole, cwd=home, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            return answer.stdout

        run("sh", folder / "start", f"{home}/camwidgets", "install")
        python = Path(home, "camwidgets", ".venv", "bin", "python")
        book = Path(home, "camwidgets", "workbook")
        run(python, "-m", "camwidgets.course.workbook", "--folder", book)
        for lesson in lessons:
            told = run(python, ROOT / "binder/room.py", "--run", book / lesson, "--folder", book)
            found = json.loads(told.splitlines()[-1])
            print(report(lesson, found))
            if found["problem"] or "a cut network" in found["missing"]:
                raise SystemExit("The bundle did not prove itself.")


def main() -> None:
    """Build the bundle, and try it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    name = f"camwidgets-{platform.system()}-{platform.machine()}-{PYTHON}".lower()
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist" / name)
    parser.add_argument("--try", action="store_true", dest="attempt")
    asked = parser.parse_args()
    build(asked.folder)
    size = sum(path.stat().st_size for path in asked.folder.rglob("*") if path.is_file())
    print(f"{asked.folder}: {size / 1e9:.1f} GB; on the other machine say: sh start")
    if asked.attempt:
        attempt(asked.folder, ["00_welcome.ipynb", "01_train_a_cnn.ipynb"])


if __name__ == "__main__":
    main()
