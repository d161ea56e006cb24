"""A workshop in small: a real JupyterHub on loopback, learners who work, and three accidents.

`python binder/jupyterhub/rehearse.py --learners 4 --lessons 01 02 03` starts the hub of
jupyterhub_config.py and its proxy, lets each learner log in, open their workbook and run the
lessons cell by cell with thinking time, saving what they write. In the middle of the first training
a kernel, a learner's server and the hub are killed. It prints what a room may expect, and fails if
a cell failed or anything saved is lost. Everything listens on 127.0.0.1 and ends with the command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests
import websocket

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROXY = HERE / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
PATIENCE = 600
"""seconds until anything that is waited for counts as lost"""


class Gone(Exception):
    """The kernel or the server went away under the learner."""


class Hub:
    """JupyterHub and its proxy as two processes of their own, as they run in a workshop."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port, self.hub_port, self.api_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self.password = secrets.token_hex(16)
        self.environment = {
            **os.environ,
            "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "WORKSHOP_PASSWORD": self.password,
            "WORKSHOP_ADMIN_PASSWORD": secrets.token_hex(24),
            "WORKSHOP_COURSE": str(ROOT),
        }
        self.config = folder / "jupyterhub_config.py"
        self.config.write_text(self._settings())
        self.log = (folder / "hub.log").open("w")
        self.proxy = self._start(
            "node",
            str(PROXY),
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--api-ip=127.0.0.1",
            f"--api-port={self.api_port}",
            f"--error-target=http://127.0.0.1:{self.hub_port}/hub/error",
        )
        self.start()

    def _settings(self) -> str:
        homes = self.folder / "homes" / "{username}"
        return f"""
load_subconfig({str(HERE / "jupyterhub_config.py")!r})
c.JupyterHub.bind_url = {self.url!r}
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{self.hub_port}"
c.JupyterHub.db_url = "sqlite:///{self.folder / "hub.sqlite"}"
c.JupyterHub.cookie_secret_file = {str(self.folder / "cookie_secret")!r}
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{self.api_port}"
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {str(homes)!r}
c.Spawner.args = {["--allow-root"] if os.getuid() == 0 else []!r}
c.Spawner.poll_interval = 5
"""

    def _start(self, *command: str) -> subprocess.Popen:
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=self.log, stderr=self.log
        )

    def start(self) -> None:
        """Start the hub and wait until it answers."""
        self.process = self._start(sys.executable, "-m", "jupyterhub", "--config", str(self.config))
        wait_for(self._answers, "the hub", lambda: self.process.poll() is None)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/hub/api/", timeout=5).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """The accident: no goodbye; the proxy and the learners' servers run on."""
        services = [
            child
            for child in psutil.Process(self.process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE
            and "jupyterhub_idle_culler" in child.cmdline()
        ]
        for process in (self.process, *services):
            process.kill()
            process.wait()

    def listens_elsewhere(self) -> list[str]:
        """Addresses beyond loopback on which the hub, the proxy or a learner's server listens."""
        parents = [psutil.Process(p.pid) for p in (self.process, self.proxy)]
        family = [p for parent in parents for p in (parent, *parent.children(recursive=True))]
        found = []
        for process in family:
            try:
                connections = process.net_connections("inet")
            except psutil.Error:
                continue
            found += [
                f"{process.name()} on {c.laddr.ip}:{c.laddr.port}"
                for c in connections
                if c.status == psutil.CONN_LISTEN and not c.laddr.ip.startswith(("127.", "::1"))
            ]
        return found

    def stop(self) -> None:
        """End the hub and the proxy."""
        for process in (self.process, self.proxy):
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.terminate()
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()


@dataclass
class Learner:
    """Logs in, opens the workbook, runs the lessons, saves, and comes back after an accident."""

    hub: Hub
    name: str
    lessons: list[str]
    think: float
    login: float = 0.0
    cells: list[tuple[str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    recoveries: list[str] = field(default_factory=list)
    trainings: list[float] = field(default_factory=list)
    peak: int = 0
    own_peak: int = 0
    accident: Callable[[Learner], str] | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self.web = requests.Session()
        self.server = f"{self.hub.url}/user/{self.name}"
        self.pids: tuple[int, ...] = ()
        self.socket: websocket.WebSocket | None = None
        self.training = threading.Event()

    def run(self) -> None:
        """The learner's day."""
        try:
            start = time.perf_counter()
            self.log_in()
            self.start_server()
            self.login = time.perf_counter() - start
            for lesson in self.lessons:
                self.work_through(f"workbook/{lesson}")
        except Exception as error:
            self.failures.append(f"{self.name} gave up: {type(error).__name__}: {error}")
        finally:
            self.training.set()

    def log_in(self) -> None:
        """By the form in the browser's way; then a token for the REST API."""
        login = f"{self.hub.url}/hub/login"
        self.web.get(login, timeout=60)
        form = {"username": self.name, "password": self.hub.password, "_xsrf": self._xsrf()}
        answer = self.web.post(login, data=form, timeout=60, allow_redirects=False)
        if answer.status_code != 302:
            raise RuntimeError(f"no login: {answer.status_code}")
        self.web.get(f"{self.hub.url}/hub/home", timeout=60)
        answer = self.web.post(
            f"{self.hub.url}/hub/api/users/{self.name}/tokens",
            headers={"X-XSRFToken": self._xsrf(), "Referer": f"{self.hub.url}/hub/token"},
            json={"note": "rehearsal"},
            timeout=60,
        )
        answer.raise_for_status()
        self.token = {"Authorization": f"token {answer.json()['token']}"}

    def _xsrf(self) -> str:
        return next(c.value for c in self.web.cookies if c.name == "_xsrf" and "/hub" in c.path)

    def call(self, method: str, url: str, **more) -> requests.Response:
        """A request with the token, repeated while the hub or the server is away."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                answer = requests.request(method, url, headers=self.token, timeout=60, **more)
                if answer.status_code < 500 and answer.status_code != 424:
                    return answer
                if url.startswith(self.server) and self._server_is_gone():
                    raise Gone("server")
            except requests.RequestException:
                pass
            if time.monotonic() > end:
                raise RuntimeError(f"{method} {url} found nobody for {PATIENCE} s")
            time.sleep(1)

    def _server_is_gone(self) -> bool:
        return bool(self.pids) and not psutil.pid_exists(self.pids[0])

    def start_server(self) -> None:
        """Ask the hub for a server and wait until it answers."""
        url = f"{self.hub.url}/hub/api/users/{self.name}"

        def up() -> bool:
            model = self.call("get", url).json()
            if model["servers"].get("", {}).get("ready"):
                return requests.get(f"{self.server}/api/status", headers=self.token, timeout=60).ok
            if not model.get("pending"):
                self.call("post", f"{url}/server")
            return False

        wait_for(up, f"{self.name}'s server")

    def work_through(self, path: str) -> None:
        """Run a notebook cell by cell, write something into it, save it after each cell."""
        notebook = self.open(path)
        saved = sources(notebook)
        code = [k for k, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]
        done = 0
        while done < len(code):
            cell = notebook["cells"][code[done]]
            try:
                self.run_cell(path, cell)
                done += 1
                cell["metadata"]["note"] = text = f"{self.name} was here: {uuid.uuid4().hex}"
                cell["source"] = f"{cell['source'].rstrip()}\n# {text}"
                self.save(path, notebook)
                saved = sources(notebook)
                time.sleep(random.uniform(0.5, 1.5) * self.think)
            except (Gone, websocket.WebSocketException, OSError) as error:
                self.recoveries.append(f"{path}, cell {done + 1}: {error or type(error).__name__}")
                self.come_back(path)
                notebook = self.open(path)
                self.compare(path, saved, notebook)
                done = 0  # as one does: all cells once more
        self.compare(path, saved, self.call("get", self._contents(path)).json()["content"])
        self.close_kernel()

    def come_back(self, path: str) -> None:
        """After an accident: the server again if it is gone, and a fresh kernel."""
        if self.socket:
            self.socket.close()
        self.start_server()
        for session in self.call("get", f"{self.server}/api/sessions").json():
            self.call("delete", f"{self.server}/api/sessions/{session['id']}")

    def open(self, path: str) -> dict:
        """Read the notebook, start its kernel and connect to it."""
        notebook = self.call("get", self._contents(path)).json()["content"]
        kernel = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        session = self.call("post", f"{self.server}/api/sessions", json=kernel).json()
        self.session = session["id"]
        address = self.server.replace("http", "ws", 1)
        self.socket = websocket.create_connection(
            f"{address}/api/kernels/{session['kernel']['id']}/channels",
            header=[f"Authorization: {self.token['Authorization']}"],
            timeout=PATIENCE,
        )
        said, _ = self.execute("import os; print(os.getppid(), os.getpid())")
        self.pids = tuple(map(int, said.split()))
        return notebook

    def close_kernel(self) -> None:
        """As a learner who closes one lesson before the next."""
        self.socket.close()
        self.call("delete", f"{self.server}/api/sessions/{self.session}")

    def run_cell(self, path: str, cell: dict) -> None:
        """Execute a cell; its time is noted, and its error, if it may not have one."""
        trains = "fit(" in cell["source"] and "def " not in cell["source"]
        if trains:
            self.training.set()
            if self.accident:
                threading.Timer(2, self.accident, [self]).start()
                self.accident = None
        start = time.perf_counter()
        _, error = self.execute(cell["source"])
        seconds = time.perf_counter() - start
        self.cells.append((path, seconds))
        if trains:
            self.trainings.append(seconds)
        if error and "raises-exception" not in cell["metadata"].get("tags", []):
            self.failures.append(f"{self.name}, {path}: {error}")

    def execute(self, code: str) -> tuple[str, str]:
        """What the code printed, and its error; Gone if the kernel ends under it."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "username": self.name,
            "session": self.name,
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.socket.send(json.dumps({**message, "channel": "shell", "buffers": []}))
        said, error = [], ""
        replied = idle = False
        while not (replied and idle):
            frame = self.socket.recv()
            if not frame:
                raise Gone("connection closed")
            if isinstance(frame, bytes):  # a widget's picture
                continue
            message = json.loads(frame)
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                raise Gone("kernel")
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if kind == "stream":
                said.append(content["text"])
            elif kind == "error":
                error = f"{content['ename']}: {content['evalue']}"
            replied |= kind == "execute_reply"
            idle |= kind == "status" and content["execution_state"] == "idle"
        return "".join(said), error

    def _contents(self, path: str) -> str:
        return f"{self.server}/api/contents/{path}"

    def save(self, path: str, notebook: dict) -> None:
        """As JupyterLab saves; what is acknowledged may not be lost."""
        answer = self.call(
            "put", self._contents(path), json={"type": "notebook", "content": notebook}
        )
        answer.raise_for_status()

    def compare(self, path: str, saved: list[str], notebook: dict) -> None:
        """Note what was saved and is not there."""
        there = sources(notebook)
        for number, text in enumerate(saved):
            if number >= len(there) or there[number] != text:
                self.lost.append(f"{self.name}, {path}, cell {number + 1}")

    def measure(self) -> None:
        """The memory of the learner's server and kernel now; the highest is kept."""
        rss = own = 0
        for pid in self.pids:
            try:
                memory = psutil.Process(pid).memory_full_info()
            except psutil.Error:
                continue
            rss, own = rss + memory.rss, own + memory.uss
        self.peak, self.own_peak = max(self.peak, rss), max(self.own_peak, own)


def kill_kernel(learner: Learner) -> str:
    """The accident of one learner's kernel."""
    os.kill(learner.pids[1], signal.SIGKILL)
    return "kernel"


def kill_server(learner: Learner) -> str:
    """The accident of one learner's server."""
    os.kill(learner.pids[0], signal.SIGKILL)
    return "server"


def sources(notebook: dict) -> list[str]:
    """The text of each cell."""
    return [cell["source"] for cell in notebook["cells"]]


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_for(done: Callable[[], bool], what: str, alive: Callable[[], bool] = lambda: True) -> None:
    """Until `done`; RuntimeError if that takes too long or it is not `alive` any more."""
    end = time.monotonic() + PATIENCE
    while not done():
        if not alive():
            raise RuntimeError(f"{what} ended instead of starting")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not answer within {PATIENCE} s")
        time.sleep(0.5)


def rehearse(hub: Hub, learners: list[Learner]) -> str:
    """The workshop; what became of the hub's accident."""
    learners[0].accident = kill_kernel
    learners[1 % len(learners)].accident = kill_server if len(learners) > 1 else kill_kernel
    for learner in learners:
        learner.thread.start()
    hub_story = "not killed"
    while any(learner.thread.is_alive() for learner in learners):
        if hub_story == "not killed" and learners[-1].training.is_set():
            time.sleep(3)
            hub.kill()
            time.sleep(5)  # as long as systemd or Kubernetes takes to notice
            hub.start()
            hub_story = "killed during the trainings, back after 5 s"
        for learner in learners:
            learner.measure()
        time.sleep(2)
    return hub_story


def report(learners: list[Learner], minutes: float, hub_story: str) -> str:
    """What a room may expect, as text."""
    cells = [seconds for learner in learners for _, seconds in learner.cells]
    trainings = [seconds for learner in learners for seconds in learner.trainings]
    lines = [
        f"learners            {len(learners)}, on {os.cpu_count()} cores",
        f"from login to lab   median {statistics.median(one.login for one in learners):.1f} s, "
        f"slowest {max(one.login for one in learners):.1f} s",
        f"cells               {len(cells)} in {minutes:.1f} min, {len(cells) / minutes:.0f}/min",
        f"failed cells        {sum(len(one.failures) for one in learners)}",
        f"slowest cell        {max(cells, default=0):.0f} s",
        f"a training          median {statistics.median(trainings or [0]):.0f} s, "
        f"slowest {max(trainings, default=0):.0f} s",
        f"memory per learner  {max(one.peak for one in learners) / 2**20:.0f} MB at most, "
        f"{max(one.own_peak for one in learners) / 2**20:.0f} MB of it not shared",
        f"the hub             {hub_story}",
    ]
    lines += [f"accident            {one.name}: {r}" for one in learners for r in one.recoveries]
    lines += [f"FAILED              {text}" for one in learners for text in one.failures]
    lines += [f"LOST                {text}" for one in learners for text in one.lost]
    return "\n".join(lines)


def main() -> int:
    """Rehearse, report, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", type=int, default=4)
    parser.add_argument("--lessons", nargs="+", default=["01", "02", "03"])
    parser.add_argument(
        "--think", type=float, default=0.5, help="seconds between cells, on average"
    )
    given = parser.parse_args()
    if given.learners < 1:
        parser.error("a rehearsal needs a learner")
    lessons = [
        path.name
        for number in given.lessons
        for path in sorted((ROOT / "lessons").glob(f"{number}_*.ipynb"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(Path(folder))
        learners = [
            Learner(hub, f"learner-{k + 1}", lessons, given.think) for k in range(given.learners)
        ]
        try:
            start = time.perf_counter()
            hub_story = rehearse(hub, learners)
            minutes = (time.perf_counter() - start) / 60
            elsewhere = hub.listens_elsewhere()
            print(report(learners, minutes, hub_story), flush=True)
            print(f"beyond loopback     {', '.join(elsewhere) or 'nothing listens'}")
        finally:
            for learner in learners:
                for pid in learner.pids:
                    if psutil.pid_exists(pid):
                        os.kill(pid, signal.SIGKILL)
            hub.stop()
    whole = [one for one in learners if one.cells and not one.failures and not one.lost]
    survived = all(one.recoveries for one in learners[: min(2, len(learners))])
    return 0 if len(whole) == len(learners) and survived and not elsewhere else 1


if __name__ == "__main__":
    sys.exit(main())
