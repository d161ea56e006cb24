"""The numbers that the browser's half is held to (tests/js reads them), and its bundle."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import camwidgets as cw
from camwidgets.explorer import display, export
from camwidgets.explorer.atlas import Part, _packed_maps, packed
from camwidgets.explorer.display import Look, Which

ROOT = Path(__file__).parents[2]
EXPECTED = ROOT / "tests" / "js" / "expected.json"
LAYERS = ["a", "b"]
LOOKS = [
    Look(),
    Look("viridis", 0.3, "constant"),
    Look("jet", 1.0, "heat", 0.5),
    Look("inferno", 0.0),
    Look("viridis", 0.8, "constant", 0.2),
]
VALUES = [0, 7, 7.3456, -0.5, 123.456, 99999, 1e5, 123456.0, 0.001, 0.00081, -3.2e-9, 0.1 + 0.2]
VALUES += [1.125, -1.125, 2.675, 0.9995, 9.995e-4, 99950.0, 0.0625]


def parts() -> dict[str, Part]:
    """Two pictures (odd sizes, one with a mask) and maps of three classes, made by hand."""
    generator = np.random.default_rng(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.from_numpy(generator.normal(size=shape))

    found = []
    for i, (H, W) in enumerate([(13, 18), (9, 9)]):
        rgb = generator.integers(0, 256, (H, W, 3), dtype=np.uint8)
        mask = np.zeros((H, W), np.uint8)
        mask[3:9, 4:10] = 1
        header = {"key": f"picture/{i}", "size": [H, W], "mask": i == 0, "truth": 1, "title": None}
        found.append(Part(f"picture/{i}", header, (rgb, mask) if i == 0 else (rgb,)))
        scores = [[0, 1, 2], [1.5, -7.123, 0.25], [0.75, 0.0004, 0.2496]]
        key = f"scores/0/{i}"
        names = ("classes", "scores", "shares")
        found.append(Part(key, {"key": key, **dict(zip(names, scores, strict=True))}))
        for c in range(3):
            maps = {"a": some(4, 5), "b": some(7, 3)}
            if c == 2:
                maps["b"] = -maps["b"].abs()  # nothing speaks for it
            key = f"maps/0/{i}/{c}/Grad-CAM"
            found.append(_packed_maps(key, maps, {"score": 1.0, "share": 0.5}))
            key = f"maps/0/{i}/{c}/mine"
            near = {name: m + 1e-3 * some(*m.shape) for name, m in maps.items()}
            found.append(_packed_maps(key, near, {}))
            found.append(_packed_maps(f"maps/0/{i}/{c}/CAM", {None: some(3, 3)}, {"score": 1.0}))
            steps, unit = packed(some(3 if i == 0 else 1, H, W))
            key = f"guided/0/{i}/{c}"
            found.append(
                Part(key, {"key": key, "shape": list(steps.shape), "unit": unit}, (steps,))
            )
    return {part.key: part for part in found}


def pictures(get) -> list[dict]:
    listed = []
    methods = ["Grad-CAM", "CAM", "guided backprop", "guided Grad-CAM", "mine − Grad-CAM"]
    turn = 0
    for i in (0, 1):
        for method in methods:
            for signed in (False, True):
                for layer, c in [("a", 0), ("b", 2)]:
                    turn += 1
                    look = LOOKS[turn % len(LOOKS)]
                    which = Which(0, i, c, layer, method, signed)
                    listed.append(one(get, which, look, "all" if turn % 3 == 0 else "own"))
    return listed


def one(get, which: Which, look: Look, scale: str) -> dict:
    field = display.field(get, which)
    top = display.limit(get, which, scale, LAYERS)
    rgb, *mask = get(f"picture/{which.i}").raw()
    bar = look.threshold * top
    words = {
        "model": "A" if which.i else "",
        "method": which.method,
        "layer": which.layer,
        "name": "output" if which.c == 2 and which.i else f"class {which.c}",
        "score": get(f"scores/0/{which.i}").header["scores"][which.c],
    }
    score_name = "output" if which.c == 2 and which.i else "logit"
    line = display.caption(
        **words, score_name=score_name, heat=field, mask=mask[0] if mask else None, bar=bar
    )
    frame = display.box(field.values, bar) if bar > 0 else None
    return {
        "which": vars(which),
        "look": vars(look),
        "scale": scale,
        "layers": LAYERS,
        "limit": top,
        "pixels": encoded(display.painted(rgb, field, top, look)),
        "mask": bool(mask),
        "words": words | {"scoreName": score_name},
        "line": line,
        "frame": None if frame is None else list(frame),
    }


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def codes() -> list[dict]:
    first = {"model_name": "A", "image_index": 0, "layer": "a", "target": 1, "method": "CAM"}
    state = {**export.PLAIN, **first}
    changes = [
        {},
        {"alpha": 0.3, "target": 2, "signed": True},
        {"layer": "it's", "method": 'a "b"', "threshold": 0.15},
        {"layer": "both ' and \"", "view": "compare", "other": {"target": 0, "layer": "b"}},
        {"outline": False, "alpha": 1.0, "image_index": 3, "other": {"target": 0}},
        {"alpha": 0.0, "threshold": 1.0},
    ]
    call = "cw.Explorer(model, images"
    return [
        {"call": call, "state": state | each, "first": first}
        | {"text": export.code(call, dict(sorted((state | each).items())), first)}
        for each in changes
    ]


def browser_numbers() -> dict:
    """What torch, Matplotlib and the Python half give for the cases of tests/js."""
    generator = np.random.default_rng(1)
    cases = [((2, 3), (5, 7)), ((1, 1), (3, 2)), ((4, 2), (8, 16)), ((7, 7), (16, 9))]
    upsampled = []
    for size, to in cases:
        values = torch.from_numpy(generator.integers(0, 256, size)).float()
        upsampled.append(
            {
                "values": values.flatten().tolist(),
                "from": size,
                "to": to,
                "result": cw.upsample(values, to).flatten().tolist(),
            }
        )
    get = parts().__getitem__
    scores = get("scores/0/0").header
    names = (*display.COLORMAPS, display.TWO_SIDED)
    return {
        "upsample": upsampled,
        "numbers": [[value, display.number(value)] for value in VALUES],
        "tables": {name: encoded(display.table(name)) for name in names},
        "parts": [base64.b64encode(part.pack()).decode() for part in parts().values()],
        "scores": [scores["classes"], scores["scores"], scores["shares"]],
        "pictures": pictures(get),
        "codes": codes(),
    }


def test_the_numbers_for_the_browser_s_tests_are_those_of_python():
    """`python tests/explorer/test_front.py` writes the file anew."""
    now, then = json.loads(json.dumps(browser_numbers())), json.loads(EXPECTED.read_text())
    for new, old in zip(now.pop("upsample"), then.pop("upsample"), strict=True):
        np.testing.assert_allclose(new["result"], old["result"], atol=1e-4)
    assert now == then, "run `python tests/explorer/test_front.py` if the numbers are to change"


@pytest.mark.parametrize("size", [(5, 17), (64, 96), (1, 1), (7, 4)])
def test_upsampling_is_that_of_torch(size):
    values = torch.from_numpy(np.random.default_rng(2).normal(size=(5, 3)))
    found = display.upsampled(values.numpy(), size)
    np.testing.assert_allclose(found, cw.upsample(values, size).numpy(), atol=1e-6)


@pytest.mark.parametrize("value", VALUES)
def test_numbers_are_three_digits(value):
    assert float(display.number(value)) == pytest.approx(value, rel=5.1e-3)


def tool(script: str, *without: str) -> subprocess.CompletedProcess:
    """One of package.json's scripts, less some of its options."""
    name, *words = json.loads((ROOT / "package.json").read_text())["scripts"][script].split()
    program = ROOT / "node_modules" / ".bin" / name
    if not program.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("`make test` installs it.")
    words = [word for word in words if not any(map(word.startswith, without))]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        [program, *words], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8"
    )


def test_the_committed_bundle_is_what_its_modules_give():
    made = tool("bundle", "--outfile")
    assert made.returncode == 0, made.stderr
    bundle = (ROOT / "camwidgets/explorer/explorer.js").read_text(encoding="utf-8")
    assert made.stdout == bundle, "run `make front` and commit explorer.js"


def test_the_front_end_is_linted_and_formatted():
    made = tool("lint")
    assert made.returncode == 0, (
        made.stdout + made.stderr + "`npm run lint -- --write` mends what can be mended."
    )


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(browser_numbers(), indent=1, ensure_ascii=False) + "\n")


def test_the_box_of_parts_of_one_size_is_that_of_the_first() -> None:
    values = np.zeros((3, 5))
    values[0, 3] = values[2, 1] = 1
    assert display.box(values, 0.5) == (3, 0, 4, 1)


def test_the_outline_of_one_pixel_has_four_sides() -> None:
    sides = {((0, 0), (1, 0)), ((0, 1), (1, 1)), ((0, 0), (0, 1)), ((1, 0), (1, 1))}
    assert set(export._edges(np.array([[True]]))) == sides


def test_the_colour_bar_stands_beside_the_picture_with_its_highest_colour_on_top() -> None:
    colours = display.table("inferno")
    png = export._png(np.zeros((4, 4, 3), np.uint8), None, None, colours, 1.0, False, "a map")
    page = np.asarray(Image.open(io.BytesIO(png)))
    strip = page[:, export.SIDE + 24]
    assert strip[9].tolist() == list(export.PAPER)
    assert strip[10].tolist() == colours[-1].tolist()
    assert strip[10 + export.SIDE - 1].tolist() == colours[0].tolist()
