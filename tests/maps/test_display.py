"""Upsampling against a replica in numpy, and what normalising promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import pictures
from torch.testing import assert_close

from camwidgets.maps import normalize, upsample


def bilinear(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel centres at i + 0.5; what lies outside the outermost centres is the outermost pixel."""

    def along(n: int, N: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip((np.arange(N) + 0.5) * n / N - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, n - 1), at - low

    y0, y1, fy = along(heat.shape[0], size[0])
    x0, x1, fx = along(heat.shape[1], size[1])
    rows = heat[y0] * (1 - fy)[:, None] + heat[y1] * fy[:, None]
    return rows[:, x0] * (1 - fx) + rows[:, x1] * fx


@pytest.mark.parametrize("size", [(8, 8), (5, 17), (3, 4), (64, 96), (2, 3), (1, 1), (7, 4)])
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (1, 6), (7, 2)])
def test_upsample_is_bilinear(shape: tuple[int, int], size: tuple[int, int]) -> None:
    heat = pictures(2, 3, *shape, dtype=torch.float64)
    found = upsample(heat, size)
    assert found.shape == (2, 3, *size)
    for i in range(2):
        for j in range(3):
            expected = bilinear(heat[i, j].numpy(), size)
            np.testing.assert_allclose(found[i, j].numpy(), expected, rtol=1e-12, atol=1e-12)


def test_upsample_by_hand() -> None:
    """Two pixels to four: the new centres lie at -1/4, 1/4, 3/4, 5/4 of the old grid."""
    heat = torch.tensor([[0.0, 4.0]])
    assert upsample(heat, (1, 4)).tolist() == [[0, 1, 3, 4]]
    assert upsample(heat.T, (4, 1)).tolist() == [[0], [1], [3], [4]]


@pytest.mark.parametrize("axes", [(), (3,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_upsample_keeps_axes_and_precision(axes: tuple[int, ...], dtype: torch.dtype) -> None:
    heat = pictures(*axes, 4, 6, dtype=dtype)
    found = upsample(heat, (9, 5))
    assert found.shape == (*axes, 9, 5)
    assert found.dtype == dtype
    assert torch.equal(upsample(heat, (4, 6)), heat)
    assert torch.equal(upsample(heat, 8), upsample(heat, (8, 8)))
    assert torch.equal(upsample(heat, torch.Size([9, 5])), found)


def test_upsample_invents_no_extremes() -> None:
    heat = pictures(4, 5, 5)
    found = upsample(heat, 64)
    assert (found.amax((1, 2)) <= heat.amax((1, 2)) + 1e-6).all()
    assert (found.amin((1, 2)) >= heat.amin((1, 2)) - 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_normalize(dtype: torch.dtype) -> None:
    maps = torch.tensor(
        [
            [[1.0, 2.0], [4.0, 0.0]],  # peak 4
            [[1e-9, 0.0], [0.0, 5e-10]],  # a small peak is a peak
            [[7.0, 7.0], [7.0, 7.0]],  # constant and positive: all ones
            [[0.0, 0.0], [0.0, 0.0]],  # blank
            [[-1.0, -2.0], [-4.0, -3.0]],  # nothing speaks for the class: blank
            [[-8.0, 2.0], [0.0, 1.0]],  # signs stay
            [[3e30, 1.5e30], [0.0, -3e30]],
        ],
        dtype=dtype,
    )
    expected = torch.tensor(
        [
            [[0.25, 0.5], [1, 0]],
            [[1, 0], [0, 0.5]],
            [[1, 1], [1, 1]],
            [[0, 0], [0, 0]],
            [[0, 0], [0, 0]],
            [[-4, 1], [0, 0.5]],
            [[1, 0.5], [0, -1]],
        ],
        dtype=dtype,
    )
    found = normalize(maps)
    assert_close(found, expected)
    assert found.dtype == dtype
    for one, rows in zip(maps, found, strict=True):  # each map has a scale of its own
        assert torch.equal(normalize(one), rows)
    assert torch.equal(normalize(maps.view(7, 1, 2, 2))[:, 0], found)


def test_normalize_leaves_its_argument_and_its_own_result() -> None:
    maps = pictures(5, 4, 4)
    before = maps.clone()
    once = normalize(maps)
    assert torch.equal(maps, before)
    assert_close(normalize(once), once)
    assert_close(normalize(maps * 1e-6), once)
    assert (once.amax((1, 2)) == 1).all()


@pytest.mark.parametrize("f", [normalize, lambda maps: upsample(maps, (4, 4))])
@pytest.mark.parametrize(
    ("maps", "error", "words"),
    [
        (np.ones((2, 2)), TypeError, "float tensor, not float64"),
        ([[1.0]], TypeError, "float tensor, not list"),
        (torch.ones(2, 2, dtype=torch.uint8), TypeError, "uint8"),
        (torch.ones(2), ValueError, r"\(2,\)"),
        (torch.ones(0, 2, 2), ValueError, "not empty"),
    ],
)
def test_what_is_no_map(f, maps, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        f(maps)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_normalize_does_not_hide_a_nan(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN"):
        normalize(torch.tensor([[1.0, bad]]))
