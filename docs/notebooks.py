"""Executed notebooks as pages: live explorers, questions that can be read, links that lead on."""

from __future__ import annotations

import ast
import os
import re
from html import escape
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"
PLACEHOLDER = "https://github.com/OWNER/camwidgets"
ADDRESS = re.search(r'^Repository = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
EXPORTING = """
import itertools as _itertools, pathlib as _pathlib
import camwidgets as _camwidgets
_numbers = _itertools.count(1)
def _page(self, **_):
    name = f"{stem}-{{next(_numbers)}}.html"
    self.to_html(_pathlib.Path({folder!r}) / name)
    display({{"text/plain": f"live:{{name}}"}}, raw=True)
_camwidgets.Explorer._ipython_display_ = _page
"""


def title(notebook: NotebookNode) -> str:
    """The text of the first heading."""
    return re.search(r"^# (.+)$", notebook.cells[0].source, re.MULTILINE)[1]


def table(titles: dict[str, str], kind: str) -> str:
    """Links to the notebooks of a folder, and a hidden toctree."""
    if not titles:
        return ""
    links = [f"- [{title}]({kind}/{stem}.ipynb)" for stem, title in titles.items()]
    tree = ["```{toctree}", ":hidden:", *(f"{kind}/{stem}" for stem in titles), "```"]
    return "\n".join([*links, "", *tree])


def has_explorer(notebook: NotebookNode) -> bool:
    """Whether a cell shows one."""
    return any(map(_shown_explorer, _outputs(notebook)))


def _outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def _shown_explorer(output: NotebookNode) -> bool:
    data = output.get("data", {})
    return WIDGET in data and data.get("text/plain", "").startswith("Explorer(")


def explorers(notebook: NotebookNode, path: Path, kept: Path) -> dict[int, str]:
    """Cell → file in `kept` with the explorer that the cell shows; the notebook is run for it."""
    if not kept.exists():
        unfinished = kept.with_suffix(".part")
        unfinished.mkdir(parents=True, exist_ok=True)
        work = nbformat.v4.new_notebook(metadata=notebook.metadata)
        first = EXPORTING.format(stem=path.stem, folder=str(unfinished))
        work.cells = [nbformat.v4.new_code_cell(first), *map(_bare, notebook.cells)]
        place = {"metadata": {"path": str(path.parent)}}
        NotebookClient(work, timeout=900, kernel_name="python3", resources=place).execute()
        found = {
            number: output["data"]["text/plain"].strip("'").removeprefix("live:")
            for number, cell in enumerate(work.cells[1:])
            for output in cell.get("outputs", [])
            if output.get("data", {}).get("text/plain", "").strip("'").startswith("live:")
        }
        lines = [f"{number} {name}" for number, name in found.items()]
        (unfinished / "cells.txt").write_text("\n".join(lines))
        os.replace(unfinished, kept)
    lines = (kept / "cells.txt").read_text().splitlines()
    return {int(number): name for number, name in map(str.split, lines)}


def _bare(cell: NotebookNode) -> NotebookNode:
    if cell.cell_type == "markdown":
        return nbformat.v4.new_markdown_cell("")
    return nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata)


def prepare(notebook: NotebookNode, live: dict[int, str], kind: str) -> None:
    """Change the notebook into a page, in place.

    live: cell → file of the explorer that it shows. kind: the notebook's folder.
    """
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = _links(cell.source, kind)
            if number:  # a page has one title; a lesson's parts are its sections
                cell.source = re.sub(r"^# ", "## ", cell.source, flags=re.MULTILINE)
            continue
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata.setdefault("tags", []).append("hide-input")
        outputs = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if WIDGET not in data:
                if number in live and "cw-still" in data.get("text/html", ""):
                    continue  # the still that stands beside the widget
                if "text/html" in data:
                    data["text/html"] = lowered(data["text/html"])
                outputs.append(output)
            elif _shown_explorer(output) and number in live:
                text = frame(f"../_static/live/{live[number]}", "The explorer of this cell")
                outputs.append(_html(text))
            elif "image/png" in data:
                alt = escape(data["text/plain"])
                picture = data["image/png"].replace("\n", "")
                outputs.append(_html(f'<img alt="{alt}" src="data:image/png;base64,{picture}">'))
            elif question := _question(cell.source):
                outputs.append(_html(question))
        cell.outputs = outputs


def lowered(text: str) -> str:
    """An output's own headings, two levels down: the page has its title."""
    return re.sub(r"<(/?)h([1-4])\b", lambda m: f"<{m[1]}h{int(m[2]) + 2}", text)


def _html(text: str) -> NotebookNode:
    return nbformat.v4.new_output("display_data", data={"text/html": text})


def frame(address: str, alt: str) -> str:
    """An explorer's page within the page."""
    return f'<iframe class="live" src="{address}" title="{escape(alt)}" loading="lazy"></iframe>'


def _question(code: str) -> str | None:
    """What `predict` asks, to be read where no kernel can note a guess."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "predict":
            try:
                _, question, options = map(ast.literal_eval, node.args)
            except ValueError:
                return None
            items = "".join(f"<li>{escape(option)}</li>" for option in options)
            asked = f"<p><strong>Predict: {escape(question)}</strong></p>"
            return f'<div class="guess">{asked}<ul>{items}</ul></div>'
    return None


def _links(text: str, kind: str) -> str:
    """Links to files that are no page of the site lead to the repository."""

    def lead(found: re.Match) -> str:
        target = found[1]
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        file, _, anchor = target.partition("#")
        path = os.path.normpath(f"{kind}/{file}")
        if re.fullmatch(r"(lessons|howto)/[^/]+\.ipynb", path) and (ROOT / path).exists():
            return found[0]
        return f"]({ADDRESS}/blob/main/{path}{'#' * bool(anchor)}{anchor})"

    return re.sub(r"\]\(([^()\s]+)\)", lead, text)
