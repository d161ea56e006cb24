"""What the package imports is what it declares, and a wheel carries all it needs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "camwidgets"
KEYS = {"keras.py": "keras"}
"""files that are there for an extra alone, and the extra"""


def declared() -> tuple[set[str], dict[str, set[str]]]:
    """Distributions the package always needs, and those of each extra."""
    text = (ROOT / "pyproject.toml").read_text()
    always = re.search(r"^dependencies = (\[.*?^\])", text, re.DOTALL | re.MULTILINE)[1]
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)\n\n", text, re.DOTALL | re.M)[1]
    lists = re.findall(r"^(\w+) = (\[.*?\])", extras, re.DOTALL | re.MULTILINE)
    return _names(always), {extra: _names(listed) for extra, listed in lists}


def _names(listed: str) -> set[str]:
    return {Requirement(text).name for text in ast.literal_eval(listed)}


def imports(code: str) -> dict[str, str]:
    """Top-level names that `code` imports → "at once", "later" or "if there".

    What stands in a function is imported later, what stands there in a `try` with ImportError for
    an answer only if it is there, what stands under TYPE_CHECKING not at all.
    """
    found: dict[str, str] = {}
    strength = ("if there", "later", "at once")

    def visit(node: ast.AST, when: str) -> None:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top != "camwidgets":
                found[top] = max(when, found.get(top, when), key=strength.index)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            when = min(when, "later", key=strength.index)
        answered = isinstance(node, ast.Try) and "ImportError" in {
            ast.unparse(handler.type or ast.Name("")) for handler in node.handlers
        }
        for child in ast.iter_child_nodes(node):
            tried = answered and child in node.body and when == "later"
            visit(child, "if there" if tried else when)

    visit(ast.parse(code), "at once")
    return found


installed = cache(packages_distributions)


def distributions(name: str) -> set[str]:
    """Distributions that bring a module; one that is not installed here goes by its own name."""
    return {re.sub(r"[-_.]+", "-", found).lower() for found in installed().get(name, [name])}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_every_import_is_declared(path):
    always, extras = declared()
    own = extras[KEYS[path.name]] if path.name in KEYS else set()
    for name, when in imports(path.read_text()).items():
        allowed = always | own if when == "at once" else always.union(*extras.values())
        assert when == "if there" or distributions(name) & allowed, (
            f"{name} is not among the dependencies"
            + (": import it where it is used, if an extra brings it" if when == "at once" else "")
        )


def test_every_dependency_is_imported():
    always, extras = declared()
    used = {
        distribution
        for path in PACKAGE.rglob("*.py")
        for name in imports(path.read_text())
        for distribution in distributions(name)
    }
    assert always.union(*extras.values()) <= used


def test_imports_are_told_apart():
    code = (
        "import os, numpy.linalg\nfrom .maps import cam\nfrom torch import nn\n"
        "if TYPE_CHECKING:\n    import pandas\n"
        "try:\n    import keras\nexcept ImportError: pass\n"
        "class A:\n    import PIL\n    def f(self):\n        import pydicom, numpy\n"
        "        try:\n            import jupyterlab, torch\n"
        "        except ImportError:\n            import jax\n"
    )
    assert imports(code) == {
        "numpy": "at once",
        "torch": "at once",
        "keras": "at once",
        "PIL": "at once",
        "pydicom": "later",
        "jupyterlab": "if there",
        "jax": "later",
    }


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(PACKAGE, tmp_path / "camwidgets", ignore=ignored)
    program = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("camwidgets/")}
    files = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file()}
    assert {name for name in files if "/__pycache__/" not in name and "/." not in name} <= packed
