"""A type checker accepts the package, and the calls that its users write."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import camwidgets

ROOT = Path(__file__).parents[2]
CALLS = """
import numpy as np
import torch
import torchvision
from torch import Tensor

import camwidgets as cw

model, images = torchvision.models.resnet18(), torch.zeros(2, 3, 64, 64)
heat: Tensor = cw.cam(model, images, np.int64(3))
heat = cw.grad_cam(model, images, "layer4", np.array([1, 2]))
heat = cw.grad_cam(model, images, model.layer4, [1, 2], relu=False)
heat = cw.hires_cam(model, images, target=lambda output: output[:, 3] - output[:, 5])
heat = cw.guided_grad_cam(model, images, target=torch.tensor([0, 1]))
large: Tensor = cw.upsample(heat, images.shape[2:])
large = cw.upsample(heat, 64)
names: list[str] = cw.layer_names(model, images)
cw.scoring.pointing_hit(heat, np.zeros((2, 64, 64), bool))
cw.overlay(cw.load_image("cell.png"), heat[0])
"""


def mypy(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_the_front_door_names_the_same_to_a_type_checker() -> None:
    tree = ast.parse((ROOT / "camwidgets" / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {a.name for node in checked.body for a in node.names}
    assert typed == set(camwidgets.__all__), "`if TYPE_CHECKING` and __all__ list the same names"


def test_the_package() -> None:
    result = mypy()
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_calls_of_a_user(tmp_path: Path) -> None:
    file = tmp_path / "calls.py"
    file.write_text(CALLS)
    config = str(ROOT / "pyproject.toml")
    result = mypy("--config-file", config, "--strict-optional", "--", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
    file.write_text(CALLS + "cw.grad_cam(model, images, layre=3)\n")
    assert mypy("--config-file", config, "--", str(file)).returncode == 1
