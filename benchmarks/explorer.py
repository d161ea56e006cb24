"""How soon a move of a slider is seen: the Explorer beside `interact` with Matplotlib and captum.

    python benchmarks/explorer.py [--moves 200] [--sizes 64 224] [--json explorer.json]

For each move: milliseconds from the input event to painted pixels (the end of the script's work)
and to the frame that shows them; in JupyterLab also websocket messages and bytes a move, with an
idle and a busy kernel. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))
from conftest import Lab, running  # noqa: E402

READY = '.cw-explorer[data-state="ready"]'
FILLED = "document.querySelector('.cw-progress').textContent === ''"
BUSY = '.jp-Notebook-ExecutionIndicator[data-status="busy"]'
MOVES = ("alpha", "colours", "threshold", "layer", "class", "method", "model")
SETUP = """\
import numpy as np, torch, torchvision
from torch import nn
torch.manual_seed(0)
def small():
    block = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
    return nn.Sequential(block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2),
        block(32, 64), block(64, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
make = small if SIZE < 128 else (lambda: torchvision.models.resnet18(num_classes=10))
models = {"A": make().eval(), "B": make().eval()}
images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
"""
EXPLORER = "import camwidgets as cw\nexplorer = cw.Explorer(models, images)\nexplorer"
INTERACT = """\
import matplotlib.pyplot as plt, ipywidgets
model, x = models["A"], torch.from_numpy(images[:1]).permute(0, 3, 1, 2) / 255
layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-4:]
def show(layer=(0, 3), target=(0, 9), alpha=(0, 1, 0.05)):
    HEAT
    plt.imshow(images[0]); plt.imshow(heat, alpha=alpha); plt.axis("off"); plt.show()
ipywidgets.interact(show)"""
PEERS = {
    "interact + Matplotlib": """import camwidgets as cw
    heat = cw.grad_cam(model, x, layers[layer], target)
    heat = cw.upsample(heat, x.shape[2:])[0]""",
    "interact + captum": """from captum.attr import LayerAttribution, LayerGradCam
    heat = LayerGradCam(model, layers[layer]).attribute(x, target, relu_attributions=True)
    heat = LayerAttribution.interpolate(heat, x.shape[2:], "bilinear")[0, 0].detach()""",
}
RUN = """async ([what, moves]) => {
  const root = document.querySelector(".cw-explorer");
  const control = [...root.querySelectorAll(".cw-control")].find(
    each => each.querySelector(".cw-label").textContent === what);
  const fields = [...control.querySelectorAll("input, select")];
  const frame = () => new Promise(done => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  }));
  const script = [], shown = [];
  for (let k = 0; k < moves; k++) {
    await new Promise(done => setTimeout(done, 25));
    const start = performance.now();
    if (fields.length > 1) fields[k % fields.length].click();
    else if (fields[0].tagName === "SELECT") {
      fields[0].selectedIndex = (fields[0].selectedIndex + 1) % fields[0].options.length;
      fields[0].dispatchEvent(new Event("change"));
    } else {
      fields[0].value = (Number(fields[0].value) + 1) % (Number(fields[0].max) + 1);
      fields[0].dispatchEvent(new Event("input"));
    }
    await null;
    await null;
    script.push(performance.now() - start);
    await frame();
    shown.push(performance.now() - start);
  }
  return [script, shown];
}"""
PEER = """() => {
  const source = () => document.querySelector(".widget-output img")?.src;
  window.shown = [];
  window.addEventListener("keydown", () => {
    const [start, before] = [performance.now(), source()];
    const look = () => {
      if (source() && source() !== before) window.shown.push(performance.now() - start);
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, { capture: true });
}"""


def percentiles(times: list[float]) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    return {f"p{q}": round(float(np.percentile(times, q)), 2) for q in (50, 95)}


def measured(page: Page, moves: int, where: dict, frames: list[int]) -> list[dict]:
    """A row for each kind of move."""
    page.get_by_role("button", name="Display").click()
    rows = []
    for what in MOVES:
        page.evaluate(RUN, [what, 5])
        page.wait_for_timeout(500)
        frames.clear()
        script, shown = page.evaluate(RUN, [what, moves])
        page.wait_for_timeout(500)
        row = {**where, "move": what, "painted": percentiles(script), "shown": percentiles(shown)}
        row["messages"] = round(len(frames) / moves, 2)
        row["bytes"] = round(sum(frames) / moves)
        rows.append(row)
        print(line(row), flush=True)
    page.get_by_role("button", name="Display").click()
    return rows


def line(row: dict) -> str:
    """A row of the table."""
    painted = row.get("painted", {"p50": "", "p95": ""})
    return (
        f"{row['front']:24}{row['size']:>4}² {row['kernel']:6}{row['move']:10}"
        f"{painted['p50']:>9}{painted['p95']:>9}"
        f"{row['shown']['p50']:>9}{row['shown']['p95']:>9}"
        f"{row.get('messages', ''):>8}{row.get('bytes', ''):>8}"
    )


def exported(page: Page, size: int, moves: int, folder: Path) -> list[dict]:
    """The page that needs no kernel."""
    names: dict = {}
    exec(SETUP.replace("SIZE", str(size)) + EXPLORER, names)
    path = names["explorer"].to_html(folder / f"{size}.html")
    names["explorer"].close()
    page.goto(path.as_uri())
    page.wait_for_selector(READY)
    return measured(page, moves, {"front": "page", "size": size, "kernel": "none"}, [])


def notebook(lab: Lab, page: Page, name: str, *cells: str) -> None:
    """Open a notebook and run its first cell."""
    listed = [
        {"cell_type": "code", "metadata": {}, "source": c, "outputs": [], "id": f"cell-{k}"}
        | {"execution_count": None}
        for k, c in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": listed, "metadata": {"kernelspec": kernel}}
    (lab.folder / name).write_text(json.dumps(content | {"nbformat": 4, "nbformat_minor": 5}))
    lab.open(page, name)
    lab.run_cell(page, 0)


def in_lab(lab: Lab, page: Page, size: int, moves: int) -> list[dict]:
    """JupyterLab, the kernel idle, then busy."""
    frames: list[int] = []

    def count(payload: str | bytes) -> None:
        frames.append(len(payload))

    def listen(socket) -> None:
        socket.on("framereceived", count)
        socket.on("framesent", count)

    page.on("websocket", listen)
    setup = SETUP.replace("SIZE", str(size))
    notebook(lab, page, f"explorer{size}.ipynb", setup + EXPLORER, "import time; time.sleep(900)")
    page.wait_for_selector(READY)
    page.wait_for_timeout(1000)  # until the filling has begun
    page.wait_for_function(FILLED)
    where = {"front": "JupyterLab", "size": size}
    rows = measured(page, moves, {**where, "kernel": "idle"}, frames)
    lab.run_cell(page, 1)
    page.wait_for_selector(BUSY)
    rows += measured(page, moves, {**where, "kernel": "busy"}, frames)
    lab.run(page, "notebook:shutdown-kernel")
    return rows


def peers(lab: Lab, page: Page, size: int, moves: int) -> list[dict]:
    """What a notebook does without the Explorer."""
    rows = []
    for k, (name, heat) in enumerate(PEERS.items()):
        cell = SETUP.replace("SIZE", str(size)) + INTERACT.replace("HEAT", heat)
        notebook(lab, page, f"peer{size}-{k}.ipynb", cell)
        page.wait_for_selector(".widget-output img")
        page.wait_for_timeout(1000)
        page.evaluate(PEER)
        handle = page.locator(".noUi-handle").nth(2)
        for move in range(moves):
            handle.press("ArrowRight" if move % 20 < 10 else "ArrowLeft")
            page.wait_for_function("count => window.shown.length > count", arg=move)
        shown = page.evaluate("window.shown")
        where = {"front": name, "size": size, "kernel": "idle", "move": "alpha"}
        rows.append({**where, "shown": percentiles(shown)})
        print(line(rows[-1]), flush=True)
        lab.run(page, "notebook:shutdown-kernel")
    return rows


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    head = f"{'':24}{'size':>5} {'kernel':6}{'move':10}{'painted p50, p95':>18}"
    print(f"{head}{'shown p50, p95':>18}{'messages':>9}{'bytes':>7}")
    rows = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        for inner in ("home", "work"):
            (folder / inner).mkdir()
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        with running(folder / "home", folder / "work") as lab:
            for size in options.sizes:
                rows += exported(browser.new_page(), size, options.moves, folder)
                rows += in_lab(lab, browser.new_page(), size, options.moves)
                rows += peers(lab, browser.new_page(), size, max(10, options.moves // 10))
        browser.close()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
