"""Build the site: `make site`, or `python docs/build.py [--only 02]`; it needs no network.

It lies in build/site afterwards. The pages of docs/ and the executed notebooks are collected in
build/pages. Where a notebook shows an Explorer, the notebook is run once more and the page that
`to_html` writes takes the widget's place; that is kept in build/live until the notebook or the
package changes. `--only` does so for the lessons named alone, for a quick look.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
from matplotlib.figure import Figure
from sphinx.cmd.build import main as sphinx

import camwidgets as cw
from camwidgets.course import CLASS_NAMES, load_crops, trained

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "lessons" / "teaching")]

import kit  # noqa: E402
import notebooks  # noqa: E402
import onnx_page  # noqa: E402
import reference  # noqa: E402

PAGES, LIVE, SITE = (ROOT / "build" / name for name in ("pages", "live", "site"))
CROPS = [105, 212, 318, 401, 17]
GALLERY = {
    "see": "The explorer as it opens: the picture under its map, a bar for each class, the sliders",
    "display": "How the map is drawn: colours, opacity, scale, threshold, sign",
    "compare": "Two maps side by side, on one picture",
    "overview": "Every layer and class of one picture at once",
    "take-away": "What to take along: the picture, a page that works alone, the code",
    "jupyterlab-see": "In JupyterLab, with two networks to choose from",
    "jupyterlab-ask": "In JupyterLab: paint on the picture and ask the network again",
    "notebook-see": "In Jupyter Notebook",
    "dark-see": "In a dark theme",
    "narrow-see": "On a narrow screen",
}


def collect(only: list[str] | None) -> None:
    """Everything that Sphinx reads, in build/pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    (PAGES / "_static" / "live").mkdir(parents=True)
    shutil.copytree(HERE / "_static", PAGES / "_static", dirs_exist_ok=True)
    modules = HERE / "node_modules"
    mathjax = modules / "mathjax" / "es5"
    fonts = Path("output") / "chtml" / "fonts" / "woff-v2"
    shutil.copytree(mathjax / fonts, PAGES / "_static" / "mathjax" / fonts)
    shutil.copy(mathjax / "tex-chtml.js", PAGES / "_static" / "mathjax")
    runtime = PAGES / "_static" / "onnx"
    runtime.mkdir()
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(modules / "onnxruntime-web" / "dist" / name, runtime)

    titles = {kind: place(kind, only) for kind in ("lessons", "howto")}
    parts = {
        "learn": lambda: notebooks.table(titles["lessons"], "lessons"),
        "howto": lambda: notebooks.table(titles["howto"], "howto"),
        "paint": lambda: onnx_page.write(PAGES / "_static" / "onnx", trained("gap")),
        "prelude": lambda: reference.examples()[0],
        "api": lambda: reference.write(PAGES / "_static" / "api"),
        "explorer": first_explorer,
        "gallery": gallery,
        "benchmark": benchmark,
        "teaching": teaching,
    }
    for page in HERE.glob("*.md"):
        text = page.read_text(encoding="utf-8").replace(notebooks.PLACEHOLDER, notebooks.ADDRESS)
        (PAGES / page.name).write_text(filled(text, parts), encoding="utf-8")


def filled(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """`[[name]]` replaced by what `parts` makes of it."""
    return re.sub(r"\[\[(\w+)\]\]", lambda found: parts[found[1]](), text)


def place(kind: str, only: list[str] | None) -> dict[str, str]:
    """The notebooks of a folder, ready to be read; their titles by name."""
    titles = {}
    (PAGES / kind).mkdir()
    for path in sorted((ROOT / kind).glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        live: dict[int, str] = {}
        if notebooks.has_explorer(notebook) and (not only or path.name.split("_")[0] in only):
            kept = LIVE / f"{path.stem}-{key(notebook)}"
            live = notebooks.explorers(notebook, path, kept)
            for name in live.values():
                shutil.copy(kept / name, PAGES / "_static" / "live" / name)
        notebooks.prepare(notebook, live, kind)
        nbformat.write(notebook, PAGES / kind / path.name)
        titles[path.stem] = notebooks.title(notebook)
    return titles


def key(notebook: nbformat.NotebookNode) -> str:
    """Another one when the notebook's code or the package changes."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    files = [
        p for p in sorted((ROOT / "camwidgets").rglob("*")) if p.suffix in (".py", ".js", ".css")
    ]
    digest = hashlib.sha256("\n".join([notebooks.EXPORTING, *code]).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def first_explorer() -> str:
    """The first page's explorer."""
    test = load_crops("test")
    explorer = cw.Explorer(
        trained("gap"), test.images[CROPS], CLASS_NAMES, masks=list(test.masks[CROPS])
    )
    explorer.target = 1
    explorer.to_html(PAGES / "_static" / "live" / "first.html")
    explorer.close()
    alt = "The explorer: five blood cells under the maps of a small network"
    return notebooks.frame("_static/live/first.html", alt)


def gallery() -> str:
    """The photographs that `make picture` takes of the explorer's views."""
    shutil.copytree(HERE / "explorer", PAGES / "_static" / "gallery")
    parts = [
        f"## {words.split(':')[0]}\n\n![{words}](_static/gallery/{name}.png)\n"
        for name, words in GALLERY.items()
    ]
    return "\n".join(parts)


def benchmark() -> str:
    """The times that `make bench` wrote as a figure; fewer milliseconds are better."""
    measured = json.loads((ROOT / "benchmarks" / "maps.json").read_text(encoding="utf-8"))
    rows = [row for row in measured["rows"] if "guided" not in row["job"]]
    jobs = list(dict.fromkeys(row["job"] for row in rows))
    figure = Figure((7.5, 1.7 * len(jobs)), layout="constrained")
    told = []
    for axes, job in zip(figure.subplots(len(jobs), squeeze=False)[:, 0], jobs, strict=True):
        times = {row["who"]: row["ms"] for row in rows if row["job"] == job}
        colours = ["#0b5cad" if name.startswith("camwidgets") else "#9aa5b1" for name in times]
        bars = axes.barh(list(times), list(times.values()), color=colours)
        axes.bar_label(bars, fmt="%.4g ms", padding=3, fontsize=8)
        axes.set_title(job, loc="left", fontsize=9)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        told.append(f"{job}: " + ", ".join(f"{name} {ms:.3g} ms" for name, ms in times.items()))
    figure.savefig(PAGES / "_static" / "benchmark.png", dpi=120)
    return f"![{'; '.join(told)}.](_static/benchmark.png)"


def teaching() -> str:
    """The teaching kit: its pages, and links to them and to the slides."""
    kit.main()
    (PAGES / "teach").mkdir()
    names = ("schedule", "guide", "before", "feedback")
    for name in names:
        shutil.copy(kit.OUT / f"{name}.md", PAGES / "teach")
    shutil.copytree(kit.OUT / "slides", PAGES / "_static" / "slides")
    slides = [
        f'<li><a href="_static/slides/{source.stem}.html">{kit.title(source)}</a></li>'
        for source in kit.minutes.SOURCES
    ]
    tree = ["```{toctree}", ":hidden:", *(f"teach/{name}" for name in names), "```"]
    return "\n".join(["## Slides", "", "<ul>", *slides, "</ul>", "", *tree])


def main() -> int:
    """Collect and build; Sphinx's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="lessons whose explorers are to be live")
    collect(parser.parse_args().only)
    shutil.rmtree(SITE, ignore_errors=True)
    code = sphinx(["-q", "-W", "--keep-going", "-c", str(HERE), str(PAGES), str(SITE)])
    (SITE / ".nojekyll").touch()
    # 1.5 MB that draw the theme's icons anew; its font has them.
    (SITE / "_static" / "scripts" / "fontawesome.js").write_text("", encoding="utf-8")
    shutil.rmtree(SITE / ".doctrees", ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
