"""Right answers to the exercises of welcome, each written in another way, and some wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


def _loop(heat: torch.Tensor) -> tuple[int, int]:
    best = (0, 0)
    for row in range(heat.shape[0]):
        for column in range(heat.shape[1]):
            if heat[row, column] > heat[best]:
                best = (row, column)
    return best


def _loop_from(start: float) -> Callable:
    def loop(heat: torch.Tensor) -> tuple[int, int]:
        best, place = start, (0, 0)
        for row in range(heat.shape[0]):
            for column in range(heat.shape[1]):
                if heat[row, column] > best:
                    best, place = heat[row, column], (row, column)
        return place

    return loop


RIGHT = {
    "welcome.brightest": (
        _loop,
        lambda heat: (heat == heat.max()).nonzero()[0],
        lambda heat: np.unravel_index(np.argmax(heat.double().numpy()), heat.shape),
        lambda heat: [int(heat.amax(1).argmax()), int(heat.amax(0).argmax())],
        lambda heat: torch.unravel_index(heat.argmax(), heat.shape),
    ),
}

WRONG = {"welcome.brightest": (_loop_from(0.0), _loop_from(-1.0), _loop_from(-1000.0))}
