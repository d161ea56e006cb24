"""Is there room for a learner? Every lesson in 2 GB, on one CPU with one thread, without a network.

`python binder/room.py [03 05]` runs each lesson's copy as a workbook holds it, with no network
trained yet, in a process of its own, and prints its seconds and its memory. It fails unless every
lesson runs through, no cell takes more than 60 s and no lesson more than 1 GB beyond its imports.
Seconds are those of the CPU, as on a machine that has nothing else to do.

The memory is limited by RLIMIT_DATA, which counts what a process may write (its heap, stacks and
tensors); RLIMIT_AS would count the address space too: PyTorch's CUDA libraries alone reserve
gigabytes of that, which nobody has to have. The peak that is printed is resident memory, code
included: what a container is held to. The network is taken away by `unshare --net`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from camwidgets.course import workbook

ROOT = Path(__file__).resolve().parents[1]
LIMIT_MB, LESSON_MB, CELL_SECONDS = 2000, 1000, 60
IMPORTS = """
import resource, sys
import matplotlib.figure, numpy, torch
import camwidgets.course, camwidgets.pictures, camwidgets.scoring
camwidgets.Explorer, camwidgets.grad_cam
"""
PEAK = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"


def offline() -> bool:
    """No packet finds a way out. (Connecting a datagram socket sends nothing.)"""
    for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))
                return False
        except OSError:
            continue
    return True


def without_network() -> list[str]:
    """What to put before a command so that it has no network; empty if that is not permitted."""
    for way in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if (
            shutil.which(way[0])
            and not subprocess.run([*way, "true"], capture_output=True).returncode
        ):
            return way
    return []


def confine() -> list[str]:
    """Give this process, and those it starts, a learner's room. Returns what cannot be had here."""
    missing = []
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    else:
        missing.append("one CPU")
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_MB * 10**6, LIMIT_MB * 10**6))
        if sys.platform != "linux":
            missing.append("a limit to the memory")
    except (ImportError, OSError, ValueError):
        missing.append("a limit to the memory")
    if not offline():
        missing.append("a cut network")
    return missing


def run(path: Path, folder: Path) -> dict:
    """Run one notebook in `folder`, cell by cell, in this process's room."""
    import nbformat
    import psutil
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    found = {"missing": confine(), "seconds": [], "problem": "", "imports": 0.0, "peak": 0.0}
    found["grown"] = []  # cells at which the peak rose by 50 MB or more
    sockets = str(Path(tempfile.gettempdir(), "kernel"))  # files need no network
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=sockets)
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, km=kernel, timeout=3600, resources=place)
    client.owns_km = True  # it ends the kernel

    def execute(source: str) -> str:
        notebook.cells.append(nbformat.v4.new_code_cell(source))
        cell = client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
        return "".join(output.get("text", "") for output in cell.outputs)

    def seconds() -> float:
        spent = psutil.Process(kernel.provisioner.pid).cpu_times()
        return spent.user + spent.system

    def peak() -> float:
        kilobytes = int(execute(f"print({PEAK})"))
        return kilobytes / (1e3 if sys.platform == "linux" else 1e6)

    cells = list(notebook.cells)
    with client.setup_kernel():
        try:
            execute(IMPORTS)
            found["imports"] = found["peak"] = peak()
            for index, cell in enumerate(cells):
                if cell.cell_type == "code":
                    start = seconds()
                    client.execute_cell(cell, index)
                    found["seconds"].append((index, seconds() - start))
                    before, found["peak"] = found["peak"], peak()
                    if found["peak"] >= before + 50:
                        found["grown"].append((index, found["peak"] - before))
        except CellExecutionError as error:
            found["problem"] = f"cell {index}: {error.ename}: {error.evalue}"
        except CellTimeoutError:
            found["problem"] = f"cell {index}: no end in an hour"
        except DeadKernelError:
            found["problem"] = f"cell {index}: the kernel died, probably of too little memory"
    return found


def verdict(found: dict) -> list[str]:
    """Why this is no room for a learner; empty for a go."""
    reasons = [found["problem"]] if found["problem"] else []
    beyond = found["peak"] - found["imports"]
    if beyond > LESSON_MB:
        reasons.append(f"{beyond:.0f} MB beyond the imports, more than {LESSON_MB}")
    reasons += [
        f"cell {index} takes {seconds:.0f} s, more than {CELL_SECONDS}"
        for index, seconds in found["seconds"]
        if seconds > CELL_SECONDS
    ]
    return reasons


def report(name: str, found: dict) -> str:
    """A lesson in lines: its figures, its slow cells, go or no-go."""
    seconds = found["seconds"]
    slow = ", ".join(f"{index}: {s:.1f}" for index, s in seconds if s >= 1)
    quick = sum(s < 1 for _, s in seconds)
    grown = ", ".join(f"{megabytes:.0f} in cell {index}" for index, megabytes in found["grown"])
    reasons = verdict(found)
    return "\n".join(
        [
            f"{name}: {'NO-GO' if reasons else 'go'}",
            f"  {sum(s for _, s in seconds):.0f} s in {len(seconds)} cells",
            f"  cells by number, seconds: {slow or 'none of 1 s or more'}; {quick} others below 1",
            f"  imports {found['imports']:.0f} MB, peak {found['peak']:.0f} MB, "
            f"lesson {found['peak'] - found['imports']:.0f} MB ({grown or 'little'})",
            *(f"  {reason}" for reason in reasons),
        ]
    )


def confined(lesson: Path, folder: Path) -> dict:
    """`run` in a process of its own, as somebody who comes to the course for the first time."""
    with tempfile.TemporaryDirectory() as home:
        own = {"JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython", "XDG_CACHE_HOME": "cache"}
        environment = {
            **os.environ,
            **{name: str(Path(home, place)) for name, place in own.items()},
            "TMPDIR": home,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",  # these two as in binder/start
            "MALLOC_ARENA_MAX": "1",
            "CAMWIDGETS_TRAINED": "",
        }
        command = [*([] if offline() else without_network()), sys.executable, __file__]
        command += ["--run", str(lesson), "--folder", str(folder)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    """Run the lessons; 1 if one of them is a no-go."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("lessons", nargs="*", help="such as 03 05; all if none is given")
    parser.add_argument("--folder", type=Path, help="where they run, if not in a new workbook")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(run(asked.run, asked.folder)))
        return 0
    stay = 0
    for lesson in workbook.lessons():
        if asked.lessons and lesson.name.split("_")[0] not in asked.lessons:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = asked.folder or Path(temporary)
            copy = folder / lesson.name if asked.folder else workbook.fresh(folder, lesson.stem)[0]
            found = confined(copy, folder)
        print(report(lesson.name, found), flush=True)
        stay |= bool(verdict(found))
    if found["missing"]:
        print(f"This machine does not let us have {' or '.join(found['missing'])}.")
    return stay


if __name__ == "__main__":
    sys.exit(main())
