"""What the site's reference says of every public name, without building the site."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import camwidgets
from camwidgets import course, maps, scoring

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples.py"


def test_every_public_name_has_an_example_and_a_docstring() -> None:
    cells = re.findall(r"^# %% (\w+)", EXAMPLES.read_text(encoding="utf-8"), re.MULTILINE)
    public = {
        name: getattr(module, name)
        for module in (camwidgets, maps, scoring, course)
        for name in module.__all__
        if not inspect.ismodule(getattr(module, name))
    }
    missing = [name for name in public if name not in cells]
    assert not missing, f"docs/examples.py needs a cell `# %% name: alt text` for {missing}"
    gone = [name for name in cells if name not in public]
    assert not gone, f"docs/examples.py has cells for names that no __all__ has: {gone}"
    bare = [name for name, value in public.items() if callable(value) and not value.__doc__]
    assert not bare, f"no docstring: {bare}"
