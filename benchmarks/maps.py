"""Speed of the maps beside the limit and beside captum, torchcam and pytorch-grad-cam, in one run.

    python benchmarks/maps.py [--repeats 30] [--json maps.json] [--figure maps.png]

The limit is what no method can go below: one forward pass, and one backward pass for each class
down to the shallowest layer asked for, of the activations alone; for guided Grad-CAM one shared
forward pass and two backward passes. Every job runs once a round, in turn, on one thread; the
medians of all rounds are compared, the quarters of the rounds around them are the spread. torchcam
is used in two ways: as its guide shows, and with one forward pass kept for all classes. Before
anything is timed, the maps are compared. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets.explorer.atlas import Atlas
from camwidgets.explorer.inputs import prepare
from camwidgets.maps import grad_cam, grad_cam_2017, guided_grad_cam, record

Maps = dict[tuple[str, int], Tensor]
Job = Callable[[], Maps]
CLASSES = list(range(10))
PICTURES = 50
"""more than an Explorer's picture is computed in one run"""


def course_cnn() -> nn.Module:
    def block(a: int, b: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())

    model = nn.Sequential()
    model.blocks = nn.Sequential(
        block(3, 16),
        nn.Sequential(nn.MaxPool2d(2), block(16, 32)),
        nn.Sequential(nn.MaxPool2d(2), block(32, 64)),
        block(64, 64),
    )
    model.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.classifier = nn.Linear(64, 10)
    return model


def resnet(layers: int) -> Callable[[], nn.Module]:
    return partial(torchvision.models.get_model, f"resnet{layers}", num_classes=10)


NETS: dict[str, tuple[Callable[[], nn.Module], int, list[str]]] = {
    "course CNN 64²": (course_cnn, 64, [f"blocks.{i}" for i in range(4)]),
    "ResNet-18 224²": (resnet(18), 224, [f"layer{i}" for i in range(1, 5)]),
    "ResNet-50 224²": (resnet(50), 224, [f"layer{i}" for i in range(1, 5)]),
}


# ---- the limit -----------------------------------------------------------------------------------


def limit(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Maps:
    kept: dict[str, Tensor] = {}

    def cut(name: str, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        kept[name] = output if kept else output.detach().requires_grad_()
        return kept[name]

    modules = dict(model.named_modules())
    hooks = [modules[n].register_forward_hook(partial(cut, n)) for n in layers]
    output = model(images)
    for hook in hooks:
        hook.remove()
    found = {}
    for c in classes:
        keep = c != classes[-1]
        gradients = torch.autograd.grad(output[:, c].sum(), list(kept.values()), retain_graph=keep)
        for (name, A), g in zip(kept.items(), gradients, strict=True):
            found[name, c] = torch.einsum("nk,nkij->nij", g.mean((2, 3)), A.detach()).relu()
    return found


def limit_guided(model: nn.Module, images: Tensor, layer: str, c: int) -> Maps:
    kept: list[Tensor] = []
    x = images.clone().requires_grad_()
    module = dict(model.named_modules())[layer]
    hook = module.register_forward_hook(lambda m, i, o: kept.append(o))
    score = model(x)[:, c].sum()
    hook.remove()
    (g,) = torch.autograd.grad(score, kept, retain_graph=True)
    L = torch.einsum("nk,nkij->nij", g.mean((2, 3)), kept[0].detach()).relu()
    (pixels,) = torch.autograd.grad(score, x)
    where = F.interpolate(L[:, None], images.shape[2:], mode="bilinear")
    return {(layer, c): where * pixels}


def limit_picture(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Maps:
    """Grad-CAM of all layers and guided backpropagation of all classes from one forward pass."""
    kept: dict[str, Tensor] = {}
    x = images.clone().requires_grad_()
    modules = dict(model.named_modules())
    hooks = [modules[n].register_forward_hook(partial(note, kept, n)) for n in layers]
    output = model(x)
    for hook in hooks:
        hook.remove()
    found = {}
    for c in classes:
        score = output[:, c].sum()
        gradients = torch.autograd.grad(score, list(kept.values()), retain_graph=True)
        for (name, A), g in zip(kept.items(), gradients, strict=True):
            found[name, c] = torch.einsum("nk,nkij->nij", g.mean((2, 3)), A.detach())
        torch.autograd.grad(score, x, retain_graph=True)
    return found


def note(kept: dict[str, Tensor], name: str, module: nn.Module, inputs: tuple, A: Tensor) -> None:
    kept[name] = A


# ---- ours and the peers' -------------------------------------------------------------------------


def ours(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Maps:
    recording = record(model, images, layers)
    every = recording.gradients_of(classes)
    return {
        (name, c): grad_cam_2017.weighted(A, gradients[name])
        for c, gradients in zip(classes, every, strict=True)
        for name, A in recording.features.items()
    }


def picture_of(atlas: Atlas, image: int) -> Maps:
    """All that an Explorer shows of an image; of it, Grad-CAM is compared."""
    found = {}
    for key in atlas.wanted(0, image, 0, "Grad-CAM", ahead=False):
        part = atlas.part(key)
        if key.endswith("/Grad-CAM"):
            c = int(key.split("/")[3])
            maps = zip(part.header["maps"], part.raw(), strict=True)
            found |= {(each["layer"], c): torch.from_numpy(heat)[None] for each, heat in maps}
    return found


def with_captum(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Maps:
    from captum.attr import LayerGradCam

    modules, found = dict(model.named_modules()), {}
    for layer in layers:
        method = LayerGradCam(model, modules[layer])
        for c in classes:
            found[layer, c] = method.attribute(images, c, relu_attributions=True)[:, 0]
    return found


def with_torchcam(model: nn.Module, images: Tensor, layers: list[str], classes: list[int]) -> Maps:
    from torchcam.methods import GradCAM

    found = {}
    with GradCAM(model, layers) as method:
        for c in classes:
            maps = method(c, model(images), normalized=False)
            found |= {(layer, c): m for layer, m in zip(layers, maps, strict=True)}
    return found


def with_torchcam_kept(
    model: nn.Module, images: Tensor, layers: list[str], classes: list[int]
) -> Maps:
    from torchcam.methods import GradCAM

    found = {}
    with GradCAM(model, layers) as method:
        output = model(images)
        for c in classes:
            maps = method(c, output, normalized=False, retain_graph=True)
            found |= {(layer, c): m for layer, m in zip(layers, maps, strict=True)}
    return found


def with_pytorch_grad_cam(
    model: nn.Module, images: Tensor, layers: list[str], classes: list[int]
) -> Maps:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    modules, found = dict(model.named_modules()), {}
    for layer in layers:
        with GradCAM(model, [modules[layer]]) as method:
            for c in classes:
                heat = method(images, [ClassifierOutputTarget(c)] * len(images))
                found[layer, c] = torch.from_numpy(heat)
    return found


def guided_with_captum(model: nn.Module, images: Tensor, layer: str, c: int) -> Maps:
    from captum.attr import GuidedGradCam

    method = GuidedGradCam(model, dict(model.named_modules())[layer])
    return {(layer, c): method.attribute(images, c, interpolate_mode="bilinear")}


PEERS = {
    "captum": ("captum", with_captum),
    "torchcam": ("torchcam", with_torchcam),
    "torchcam, one forward": ("torchcam", with_torchcam_kept),
    "pytorch-grad-cam": ("pytorch_grad_cam", with_pytorch_grad_cam),
}


def jobs_of(model: nn.Module, images: Tensor, layers: list[str]) -> dict[str, dict[str, Job]]:
    """For each job: who does it, and how."""
    here = [p for p, (module, _) in PEERS.items() if importlib.util.find_spec(module)]
    last, c = layers[-1], 0
    one, grid = ([last], [c]), (layers, CLASSES)
    jobs: dict[str, dict[str, Job]] = {
        "one map, last layer": {
            "limit": partial(limit, model, images, *one),
            "camwidgets": lambda: {(last, c): grad_cam(model, images, last, c)},
            "camwidgets, default layer": lambda: {(last, c): grad_cam(model, images, None, c)},
            **{p: partial(PEERS[p][1], model, images, *one) for p in here if "forward" not in p},
        },
        "4 layers × 10 classes": {
            "limit": partial(limit, model, images, *grid),
            "camwidgets": partial(ours, model, images, *grid),
            **{p: partial(PEERS[p][1], model, images, *grid) for p in here},
        },
        "guided Grad-CAM": {
            "limit": partial(limit_guided, model, images, last, c),
            "camwidgets": lambda: {(last, c): guided_grad_cam(model, images, last, c)},
        },
    }
    atlas = Atlas({"model": model}, prepare(images[0].repeat(PICTURES, 1, 1, 1)))
    shown, image = atlas.offer["layers"]["model"], iter(range(1, PICTURES))
    jobs["an Explorer's picture, 10 classes"] = {
        "limit": partial(limit_picture, model, images, shown, CLASSES),
        "camwidgets": lambda: picture_of(atlas, next(image)),
    }
    if "captum" in here:
        jobs["guided Grad-CAM"]["captum"] = partial(guided_with_captum, model, images, last, c)
    return jobs


# ---- measuring -----------------------------------------------------------------------------------


def rounds(jobs: dict[str, Job], repeats: int, title: str) -> dict[str, list[float]]:
    """Milliseconds of each job in each round."""
    for job in jobs.values():
        job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for k in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(1000 * (time.perf_counter() - start))
        if sys.stderr.isatty():
            print(f"\r{title}: round {k + 1} of {repeats} ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r" + " " * 78 + "\r", end="", file=sys.stderr)
    return times


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether two maps agree up to size and scale: a correlation above 0.98, or both blank."""
    a, b = (m.detach().flatten(0, -3).sum(0) if m.dim() > 2 else m.detach() for m in (a, b))
    size = max(a.shape, b.shape)
    a, b = (F.interpolate(m[None, None].float(), size)[0, 0].flatten() for m in (a, b))
    if not a.any() or not b.any():
        return not a.any() and not b.any()
    return bool(torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.98)


def table(
    title: str, times: dict[str, list[float]], reference: Maps, found: dict[str, Maps]
) -> list:
    base = statistics.median(times["limit"])
    print(title)
    rows = []
    for name, values in times.items():
        median = statistics.median(values)
        quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [median] * 3
        same = sum(alike(heat, found[name][key]) for key, heat in reference.items())
        count = "" if "guided" in title and name == "limit" else f"{same}/{len(reference)} alike"
        print(
            f"  {name:26}{median:9.2f} ms  {median / base:6.2f} × limit   "
            f"(middle half {quarters[0]:.2f} to {quarters[2]:.2f})  {count}"
        )
        rows.append({"job": title, "who": name, "ms": median, "ratio": median / base})
    return rows


def growth() -> list[dict[str, float | str]]:
    """How the time of a recording grows with layers, classes, batch and side (course CNN)."""
    model, layers = course_cnn().eval(), [f"blocks.{i}" for i in range(4)]
    wide = [f"blocks.{i}.{j}" for i in (0, 3) for j in range(3)] + layers[1:3]

    def images(n: int, side: int) -> Tensor:
        return torch.randn(n, 3, side, side)

    cases = {
        "1 layer": partial(ours, model, images(1, 64), wide[:1], [0]),
        "8 layers": partial(ours, model, images(1, 64), wide, [0]),
        "1 class": partial(ours, model, images(1, 64), layers, [0]),
        "10 classes": partial(ours, model, images(1, 64), layers, CLASSES),
        "batch of 1": partial(ours, model, images(1, 64), layers, [0]),
        "batch of 16": partial(ours, model, images(16, 64), layers, [0]),
        "side 64": partial(ours, model, images(1, 64), layers, [0]),
        "side 256": partial(ours, model, images(1, 256), layers, [0]),
    }
    times = rounds(cases, 20, "growth")
    names = list(cases)
    rows = []
    for few, many in zip(names[::2], names[1::2], strict=True):
        ratio = statistics.median(times[many]) / statistics.median(times[few])
        print(f"  {many:12} {ratio:6.2f} × {few}")
        rows.append({"many": many, "few": few, "ratio": ratio})
    return rows


def set_up() -> list[dict[str, float | str]]:
    """The time until an Explorer has its first picture, in forward passes."""
    rows = []
    for net, (build, size, _) in NETS.items():
        model, images = build().eval(), torch.randn(1, 3, size, size)
        jobs: dict[str, Job] = {
            "forward": lambda m=model, x=images: no_graph(m, x),
            "set-up": lambda m=model, x=images: first_picture(m, x),
        }
        times = {who: statistics.median(ms) for who, ms in rounds(jobs, 20, "set-up").items()}
        passes = times["set-up"] / times["forward"]
        print(f"  {net:26}{times['set-up']:9.2f} ms  {passes:6.2f} forward passes")
        rows.append({"net": net, "ms": times["set-up"], "forward passes": passes})
    return rows


def no_graph(model: nn.Module, images: Tensor) -> Maps:
    with torch.no_grad():
        model(images)
    return {}


def first_picture(model: nn.Module, images: Tensor) -> Maps:
    Atlas({"model": model}, prepare(images)).close()
    return {}


def memory(calls: int) -> dict[str, float]:
    """Resident megabytes before and after many calls, and at the peak."""
    model, images = course_cnn().eval(), torch.randn(1, 3, 64, 64)

    def resident() -> float:
        pages = Path("/proc/self/statm")
        if not pages.exists():
            return float("nan")
        return int(pages.read_text().split()[1]) * resource.getpagesize() / 2**20

    for _ in range(50):
        guided_grad_cam(model, images)
    before = resident()
    for _ in range(calls):
        guided_grad_cam(model, images)
    after = resident()
    print(f"  {calls} calls: {before:.1f} MB before, {after:.1f} MB after")
    return {"calls": calls, "before": before, "after": after}


def figure(rows: list[dict], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    jobs = list(dict.fromkeys(row["job"] for row in rows))
    people = list(dict.fromkeys(row["who"] for row in rows if row["who"] != "limit"))
    picture, axes = plt.subplots(figsize=(9, 1 + 0.16 * len(jobs) * len(people)))
    height = 0.8 / len(people)
    for k, who in enumerate(people):
        ratio = {row["job"]: row["ratio"] for row in rows if row["who"] == who}
        places = [j + k * height for j, job in enumerate(jobs) if job in ratio]
        axes.barh(places, [ratio[job] for job in jobs if job in ratio], height, label=who)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time as a multiple of the limit", yticks=range(len(jobs)))
    axes.set_yticklabels(jobs)
    axes.invert_yaxis()
    axes.legend(frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=150, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--calls", type=int, default=2000, help="for the memory")
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--figure", help="write a picture here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for net, (build, size, layers) in NETS.items():
        torch.manual_seed(0)
        model, images = build().eval(), torch.randn(1, 3, size, size)
        for name, jobs in jobs_of(model, images, layers).items():
            title = f"{net}, {name}"
            repeats = arguments.repeats if size > 64 else 5 * arguments.repeats
            if "classes" in name:
                repeats = max(3, repeats // 6)
            found = {who: job() for who, job in jobs.items()}
            reference = found["camwidgets" if "guided" in name else "limit"]
            rows += table(title, rounds(jobs, repeats, title), reference, found)
    print("growth")
    grown = growth()
    print("an Explorer's first picture")
    first = set_up()
    print("memory")
    kept = memory(arguments.calls)
    if arguments.json:
        about = {"machine": platform.machine(), "torch": torch.__version__, "threads": 1}
        record_ = {**about, "date": time.strftime("%Y-%m-%d"), "rows": rows}
        Path(arguments.json).write_text(
            json.dumps({**record_, "growth": grown, "set-up": first, "memory": kept}, indent=1)
            + "\n"
        )
    if arguments.figure:
        figure(rows, arguments.figure)


if __name__ == "__main__":
    main()
