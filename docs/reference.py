"""The reference: every public name with its docstring, three lines of use and their picture.

The lines stand in examples.py, one cell for each name, run in order in one namespace. Where the
last line is a picture, it is shown, with the alt text of the cell's heading.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from notebooks import lowered

import camwidgets as cw

EXAMPLES = Path(__file__).with_name("examples.py")
MODULES = {
    "camwidgets": "The front door",
    "camwidgets.maps": "Maps",
    "camwidgets.scoring": "Scores of maps",
    "camwidgets.course": "The course",
}
SECTIONS = ("Args", "Returns", "Raises", "Attributes")


def public() -> dict[str, list[str]]:
    """Module → its public names; a name stands where it is first met."""
    seen, found = set(), {}
    for module in MODULES:
        names = [n for n in import_module(module).__all__ if n not in seen]
        seen.update(names)
        found[module] = [n for n in names if not inspect.ismodule(_value(module, n))]
    return found


def _value(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def examples() -> tuple[str, dict[str, tuple[str, str]]]:
    """The beginning; and name → (alt text, code)."""
    text = EXAMPLES.read_text(encoding="utf-8")
    first, *cells = re.split(r"^# %% ", text, flags=re.MULTILINE)
    prelude = first.partition("\n# ---\n")[2].strip()
    found = {}
    for cell in cells:
        heading, _, code = cell.partition("\n")
        name, _, alt = heading.partition(": ")
        found[name] = (alt, code.strip())
    return prelude, found


def write(folder: Path) -> str:
    """Run the examples, put their pictures into `folder`; the page's Markdown."""
    folder.mkdir(parents=True)
    prelude, cells = examples()
    named = public()
    if missing := [n for names in named.values() for n in names if n not in cells]:
        raise ValueError(
            "docs/examples.py has no cell `# %% name: alt text` for " + ", ".join(missing)
        )
    space: dict[str, Any] = {}
    exec(prelude, space)
    parts = []
    for module, names in named.items():
        parts.append(f"## {MODULES[module]}\n\n`{module}`\n")
        for name in names:
            alt, code = cells[name]
            shown, said = (None, "") if alt == "not run" else run(code, space)
            parts.append(entry(module, name, code))
            if isinstance(shown, np.ndarray) and shown.ndim == 3:
                parts.append(f"![{alt}]({_picture(shown, folder / f'{name}.png')})\n")
            elif hasattr(shown, "_repr_html_"):
                parts.append(f"{lowered(shown._repr_html_())}\n")
            elif isinstance(shown, cw.Explorer):
                shown.to_png(folder / "Explorer.png")
                shown.close()
                parts.append(f"![{alt}](_static/api/Explorer.png)\n")
            elif text := said if shown is None else repr(shown):
                parts.append(f"```text\n{text}\n```\n")
    return "\n".join(parts)


def run(code: str, space: dict[str, Any]) -> tuple[Any, str]:
    """Execute the lines: the value of the last one, if it has one, and what they printed."""
    tree, value = ast.parse(code), None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()):
        exec(compile(tree, "<example>", "exec"), space)
        if last:
            value = eval(compile(ast.Expression(last.value), "<example>", "eval"), space)
    return value, said.getvalue().strip()


def _picture(image: np.ndarray, path: Path) -> str:
    scale = max(1, 192 // image.shape[0])
    size = (image.shape[1] * scale, image.shape[0] * scale)
    cv2.imwrite(str(path), cv2.resize(image[..., ::-1], size, interpolation=cv2.INTER_NEAREST))
    return f"_static/api/{path.name}"


def entry(module: str, name: str, code: str) -> str:
    """Heading, signature, docstring and example of one name."""
    value = _value(module, name)
    parts = [f"### {name}\n"]
    if callable(value):
        parts.append(f"```python\n{signature(name, value)}\n```\n")
        parts.append(prose(inspect.getdoc(value) or ""))
    if inspect.isclass(value):
        parts += [
            f"**{key}** — {prose(inspect.getdoc(method)).strip()}\n"
            for key, method in vars(value).items()
            if inspect.isfunction(method) and not key.startswith("_") and method.__doc__
        ]
    parts.append(f"```python\n{code}\n```\n")
    return "\n".join(parts)


def signature(name: str, value: Any) -> str:
    """In the form of a definition, broken where it is long."""
    try:
        given = str(inspect.signature(value))
    except ValueError:
        given = "(…)"
    given = re.sub(r"<object object at \w+>", "…", given.replace("'", ""))
    line = name + given
    if len(line) <= 88:
        return line
    inner, _, rest = given[1:].rpartition(")")
    parts, depth = [""], 0
    for letter in inner:
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    lines = "".join(f"    {part.strip()},\n" for part in parts)
    return f"{name}(\n{lines}){rest}"


def prose(text: str) -> str:
    """A docstring as Markdown: its sections become lists."""
    lines, section = [], False
    for line in text.splitlines():
        heading = re.fullmatch(r"(\w+):", line)
        if heading and heading[1] in SECTIONS:
            section = True
            lines += ["", f"**{heading[1]}**", ""]
        elif section and (item := re.match(r"    (\w[\w, ]*): (.*)", line)):
            lines.append(f"- `{item[1]}`: {_escaped(item[2])}")
        elif section and line.startswith("    "):
            lines.append(f"  {_escaped(line.strip())}")
        else:
            section = section and not line
            lines.append(_escaped(line))
    return "\n".join(lines) + "\n"


def _escaped(line: str) -> str:
    """What Markdown would read as its own, outside of code."""
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*$<\[\]|_])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
