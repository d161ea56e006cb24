"""`camwidgets.maps` needs torch and nothing heavier."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("cv2", "matplotlib", "ipywidgets", "anywidget", "torchvision", "IPython", "PIL", "tqdm")
PROGRAM = f"""
import sys
import torch
before = set(sys.modules)
import camwidgets.maps
added = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(sorted(added & set({HEAVY!r})), "camwidgets.pictures" in sys.modules)
"""


def test_maps_import_torch_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.strip() == "[] False", done.stderr


def test_the_offline_network_comes_without_torchvision() -> None:
    program = """
import sys
from camwidgets.course import pretrained
pretrained()
print("torchvision" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_no_function_hides_a_module_of_its_name() -> None:
    """`import camwidgets.maps.graph as m` is to give a module, whichever one is named."""
    program = """
import importlib, pkgutil, sys
import camwidgets
for module in pkgutil.walk_packages(camwidgets.__path__, "camwidgets."):
    if module.name != "camwidgets.keras":
        importlib.import_module(module.name)
        parent, _, name = module.name.rpartition(".")
        if getattr(sys.modules[parent], name) is not sys.modules[module.name]:
            print(module.name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout, (
        f"hidden by a function of the same name; give the file another:\n{done.stdout}"
    )
