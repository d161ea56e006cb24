"""The README's code for practitioners runs, with random weights and a random photograph."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

import camwidgets as cw

README = Path(__file__).parents[2] / "README.md"
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_the_code_for_practitioners_runs_in_its_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    section = README.read_text(encoding="utf-8").partition("## For practitioners")[2]
    blocks = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    resnet18 = torchvision.models.resnet18
    monkeypatch.setattr(torchvision.models, "resnet18", lambda weights: resnet18())
    monkeypatch.setattr(cw, "load_image", lambda path: PHOTO)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)
    assert names["heat"].shape == (1, 14, 14)
    assert torch.isfinite(names["heat"]).all()
    assert Path("film.gif").stat().st_size > 1000
