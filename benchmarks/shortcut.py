"""Does the story of lesson 05 hold over five trainings? Prints a table; about five minutes.

For each seed three networks: trained on the marked crops with 16×16 and with 4×4 positions, and
on the repaired crops. Measured on the 500 test crops, with and without the pen mark.

    python benchmarks/shortcut.py [seeds]
"""

from __future__ import annotations

import sys

import numpy as np
import torch

import camwidgets as cw
from camwidgets import scoring
from camwidgets.course import (
    CLASS_NAMES,
    GapCNN,
    accuracy,
    erase_mark,
    fit,
    load_crops,
    paint_mark,
    scores,
    to_tensor,
)

RING = CLASS_NAMES.index("ring")
COLUMNS = {
    "right, with mark": "the test crops as the shortcut marks them",
    "right, without": "the same crops without any mark",
    "rings, with mark": "recall of the rings, marked",
    "rings, without": "recall of the same rings, unmarked",
    "made rings": "share of the other classes called ring once a mark is painted on them",
    "hit": "rings whose hottest pixel (Grad-CAM, ring, last layer) is on the mark",
    "heat": "share of that map's heat on the mark, which covers a twentieth",
}

marked, clean, train = (
    load_crops("test", shortcut=True),
    load_crops("test"),
    load_crops(shortcut=True),
)
labels = torch.from_numpy(clean.labels)
with_mark, without = to_tensor(marked.images), to_tensor(clean.images)
painted = to_tensor(paint_mark(clean.images, seed=9)[0])
ringed = torch.from_numpy((marked.labels == RING) & marked.marks.any(axis=(1, 2)))
marks = torch.from_numpy(marked.marks)[ringed]


def repaired(seed: int) -> np.ndarray:
    """The training crops with every mark erased, then one painted on a random half."""
    images = erase_mark(train.images, train.marks)
    half = np.random.default_rng(seed).random(len(images)) < 0.5
    images[half], _ = paint_mark(images[half], seed=seed + 1)
    return images


def learn(images: np.ndarray, seed: int, *, coarse: bool = False) -> GapCNN:
    """A network trained on these crops; the seed decides its start and the order of the crops."""
    torch.manual_seed(seed)
    net = GapCNN(coarse=coarse)
    fit(net, to_tensor(images), torch.from_numpy(train.labels), seed=seed)
    return net


def measure(net: GapCNN) -> list[float]:
    """One number for each of COLUMNS."""
    rings, others = labels == RING, labels != RING
    heat = cw.upsample(cw.grad_cam(net, with_mark[ringed], target=RING), 64)
    called = [scores(net, x).argmax(dim=1) == RING for x in (with_mark, without, painted)]
    return [
        accuracy(net, with_mark, labels),
        accuracy(net, without, labels),
        called[0][rings].float().mean().item(),
        called[1][rings].float().mean().item(),
        called[2][others].float().mean().item(),
        scoring.pointing_hit(heat, marks).nanmean().item(),
        scoring.mass(heat, marks).nanmean().item(),
    ]


if __name__ == "__main__":
    for name, meaning in COLUMNS.items():
        print(f"{name}: {meaning}")
    print("\n| seed | network |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        networks = {
            "shortcut, 16×16": learn(train.images, seed),
            "shortcut, 4×4": learn(train.images, seed, coarse=True),
            "repaired, 16×16": learn(repaired(seed), seed),
        }
        for name, net in networks.items():
            row = " | ".join(f"{value:.2f}" for value in measure(net))
            print(f"| {seed} | {name} | {row} |", flush=True)
