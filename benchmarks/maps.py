"""Speed of the maps beside captum, torchcam and pytorch-grad-cam, all in this one run.

    python benchmarks/maps.py [--repeats 7]

Two jobs on two nets: one Grad-CAM of one image, and the grid of 4 layers × 10 classes that an
explorer needs. Times are medians on one thread; the last column is how many times as long a peer
takes. Peers that are not installed are left out. Before anything is timed, the maps are compared.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets.maps import grad_cam, record

Grid = dict[tuple[str, int], Tensor]
Job = Callable[[nn.Module, Tensor, list[str], list[int]], Grid]
CLASSES = list(range(10))


def small_cnn() -> nn.Module:
    def block(a: int, b: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())

    model = nn.Sequential()
    model.blocks = nn.Sequential(block(3, 16), block(16, 32), block(32, 64), block(64, 64))
    model.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.classifier = nn.Linear(64, 10)
    return model


NETS: dict[str, tuple[Callable[[], nn.Module], int, list[str]]] = {
    "small CNN, 64×64": (small_cnn, 64, [f"blocks.{i}" for i in range(4)]),
    "ResNet-18, 224×224": (torchvision.models.resnet18, 224, [f"layer{i}" for i in range(1, 5)]),
}


def ours(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Grid:
    if len(layers) == len(classes) == 1:
        return {(layers[0], classes[0]): grad_cam(model, images, layers[0], classes[0])}
    recording = record(model, images, layers)
    found = {}
    for c in classes:
        for layer, gradient in recording.gradients(c).items():
            A = recording.features[layer].detach()
            weights = gradient.mean(dim=(2, 3))
            found[layer, c] = torch.einsum("nk,nkij->nij", weights, A).relu()
    return found


def with_captum(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Grid:
    from captum.attr import LayerGradCam

    modules, found = dict(model.named_modules()), {}
    for layer in layers:
        method = LayerGradCam(model, modules[layer])
        for c in classes:
            found[layer, c] = method.attribute(images, c, relu_attributions=True)[:, 0]
    return found


def with_torchcam(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Grid:
    from torchcam.methods import GradCAM

    found = {}
    with GradCAM(model, layers) as method:
        for c in classes:
            maps = method(c, model(images), normalized=False)
            found |= {(layer, c): m for layer, m in zip(layers, maps, strict=True)}
    return found


def with_pytorch_grad_cam(
    model: nn.Module, images: Tensor, layers: list[str], classes: list[int]
) -> Grid:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    modules, found = dict(model.named_modules()), {}
    for layer in layers:
        with GradCAM(model, [modules[layer]]) as method:
            for c in classes:
                heat = method(images, [ClassifierOutputTarget(c)] * len(images))
                found[layer, c] = torch.from_numpy(heat)
    return found


PEERS: dict[str, tuple[str, Job]] = {
    "captum": ("captum", with_captum),
    "torchcam": ("torchcam", with_torchcam),
    "pytorch-grad-cam": ("pytorch_grad_cam", with_pytorch_grad_cam),
}


def installed() -> dict[str, Job]:
    jobs: dict[str, Job] = {"camwidgets": ours}
    for peer, (package, job) in PEERS.items():
        try:
            importlib.import_module(package)
        except ImportError:
            print(f"{peer} is not installed and is left out.")
        else:
            jobs[peer] = job
    return jobs


def milliseconds(job: Callable[[], object], repeats: int) -> float:
    """The median of `repeats` runs, after one to warm up."""
    job()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether two maps agree up to size and scale: a correlation above 0.98, or both blank."""
    size = max(a.shape[-2:], b.shape[-2:])
    a, b = (F.interpolate(m.detach().view(1, 1, *m.shape[-2:]), size).flatten() for m in (a, b))
    if not a.any() or not b.any():
        return not a.any() and not b.any()
    return bool(torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.98)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    jobs = installed()
    for title, (build, size, layers) in NETS.items():
        torch.manual_seed(0)
        model, images = build().eval(), torch.randn(1, 3, size, size)
        for name, ask in (
            ("one map", (layers[-1:], CLASSES[:1])),
            ("4 layers × 10 classes", (layers, CLASSES)),
        ):
            print(f"\n{title}: {name}")
            run = {peer: partial(job, model, images, *ask) for peer, job in jobs.items()}
            reference = run["camwidgets"]()
            base = 0.0
            for peer, job in run.items():
                found = job()
                same = sum(alike(heat, found[key]) for key, heat in reference.items())
                took = milliseconds(job, repeats)
                base = base or took
                times = f"{took:10.2f} ms{took / base:8.1f} ×"
                print(f"  {peer:18}{times}   {same} of {len(found)} maps alike")


if __name__ == "__main__":
    main()
