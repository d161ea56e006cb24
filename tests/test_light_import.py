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
