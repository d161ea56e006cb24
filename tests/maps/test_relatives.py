"""HiResCAM, Grad-CAM++, Score-CAM and Eigen-CAM: worked values, replicas, and who equals whom."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nets import IMAGE, by_hook, gap_net, pictures, seeded, worked_flatten_net, worked_gap_net
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from camwidgets.maps import (
    eigen_cam,
    eigen_cam_of,
    grad_cam,
    grad_cam_of,
    grad_cam_plus_plus,
    grad_cam_plus_plus_of,
    guided_backprop,
    guided_backprop_of,
    hires_cam,
    hires_cam_of,
    layer_cam,
    layer_cam_of,
    positive_grad_cam,
    positive_grad_cam_of,
    record,
    score_cam,
)

IMAGES = pictures(3, 3, 10, 8)
LAYERED = {
    grad_cam: grad_cam_of,
    hires_cam: hires_cam_of,
    grad_cam_plus_plus: grad_cam_plus_plus_of,
    layer_cam: layer_cam_of,
    positive_grad_cam: positive_grad_cam_of,
}


def flat_net() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 6, 3), nn.Flatten(), nn.Linear(144, 4)
        )
    )


# ---- worked out by hand --------------------------------------------------------------------------


def test_hires_cam_worked_out() -> None:
    """A = [[-1.5, -.5], [.5, 1.5]], g = [[3, -1], [2, 4]]: g ∘ A, whose sum is the output, 3."""
    L = hires_cam(worked_flatten_net(), IMAGE, "0", relu=False)
    assert_close(L, torch.tensor([[[-4.5, 0.5], [1.0, 6.0]]]))
    assert L.sum() == worked_flatten_net()(IMAGE).sum() == 3
    assert_close(
        hires_cam(worked_flatten_net(), IMAGE, "0"), torch.tensor([[[0.0, 0.5], [1.0, 6.0]]])
    )


def test_grad_cam_plus_plus_worked_out() -> None:
    """A sums to 0, so α = 1/2 where g is not 0; w = (3 + 2 + 4)/2 = 4.5."""
    A = torch.tensor([[[-1.5, -0.5], [0.5, 1.5]]])
    L = grad_cam_plus_plus(worked_flatten_net(), IMAGE, "0", relu=False)
    assert_close(L, 4.5 * A)


def test_grad_cam_plus_plus_of_the_gap_net_worked_out() -> None:
    """A^1 sums to 10, A^2 to 3; for class 0 g = 1/4 and -1/2 everywhere: α = 1 / (2 + 10/4)."""
    L = grad_cam_plus_plus(worked_gap_net(), IMAGE, "1", 0)
    assert_close(L, 4 / 4.5 * 0.25 * torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))


def test_score_cam_worked_out() -> None:
    """Masks (A - min)/(max - min) of [[1, 2], [3, 4]] and [[2, 1], [0, 0]], one pixel an image."""
    model = worked_gap_net()
    A = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[2.0, 1.0], [0.0, 0.0]]])

    def score(pixels: list[float]) -> float:
        first, second = sum(pixels) / 4, sum(max(3 - p, 0) for p in pixels) / 4
        return first - 2 * second + 0.5

    through = [[0, 2 / 3, 2, 4], [1.0, 1.0, 0, 0]]
    gains = [score(pixels) - score([0, 0, 0, 0]) for pixels in through]
    weights = [math.exp(g) / sum(map(math.exp, gains)) for g in gains]
    expected = weights[0] * A[0] + weights[1] * A[1]
    assert_close(score_cam(model, IMAGE, "1", 0), expected[None])


def test_eigen_cam_worked_out() -> None:
    """Two maps that are multiples of one: the map is that one, at the length of the multiples."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([3.0, 4.0]).view(2, 1, 1, 1)
    assert_close(eigen_cam(model, IMAGE, "0"), 5 * IMAGE[:, 0])
    assert_close(eigen_cam(model, -IMAGE, "0"), 5 * IMAGE[:, 0])
    assert torch.equal(eigen_cam(model, IMAGE, "0", 0), eigen_cam(model, IMAGE, "0", 1))


# ---- independent replicas ------------------------------------------------------------------------


def test_grad_cam_plus_plus_by_third_derivatives() -> None:
    """Equation (19) with the derivatives of exp(y) taken by autograd, one position at a time."""
    model, layer, c = flat_net().double(), "2", 1
    images = pictures(1, 3, 10, 8, dtype=torch.float64)
    A = model[:3](images).detach().requires_grad_()
    Y = model[3:](A)[0, c].exp()
    (first,) = torch.autograd.grad(Y, A, create_graph=True)
    w = torch.zeros(6, dtype=torch.float64)
    for k, i, j in np.ndindex(6, 6, 4):
        (row,) = torch.autograd.grad(first[0, k, i, j], A, create_graph=True)
        second = row[0, k, i, j]
        (row,) = torch.autograd.grad(second, A, retain_graph=True)
        third = row[0, k, i, j]
        alpha = second / (2 * second + A[0, k].sum() * third)
        w[k] += (alpha * first[0, k, i, j].relu()).item()
    expected = torch.einsum("k,kij->ij", w, A[0].detach()).relu() / Y.item()
    assert_close(grad_cam_plus_plus(model, images, layer, c)[0], expected)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_score_cam_mask_by_mask(batch_size: int) -> None:
    model, target = gap_net(), [0, 3, 1]
    A, _ = by_hook(model, IMAGES, "6", 0)
    for n in range(3):
        gains = []
        for k in range(8):
            mask = F.interpolate(A[n : n + 1, k : k + 1], (10, 8), mode="bilinear")
            spread = mask.max() - mask.min()
            mask = (mask - mask.min()) / spread if spread > 0 else torch.zeros_like(mask)
            seen = model(IMAGES[n : n + 1] * mask)[0, target[n]]
            gains.append(seen - model(torch.zeros(1, 3, 10, 8))[0, target[n]])
        expected = (torch.stack(gains).softmax(0).view(8, 1, 1) * A[n]).sum(0).relu().detach()
        found = score_cam(model, IMAGES, "6", target, batch_size=batch_size)
        assert_close(found[n], expected)


def test_eigen_cam_by_numpy() -> None:
    A, _ = by_hook(gap_net(), IMAGES, "4", 0)
    found = eigen_cam(gap_net(), IMAGES, "4", relu=False)
    for n in range(3):
        matrix = A[n].flatten(1).T.detach().numpy().astype(float)
        values, vectors = np.linalg.eigh(matrix.T @ matrix)
        L = (matrix @ vectors[:, values.argmax()]).reshape(A.shape[2:])
        expected = torch.from_numpy(L * (1 if L.sum() >= 0 else -1)).float()
        assert_close(found[n], expected, rtol=1e-4, atol=1e-5)


# ---- who equals whom -----------------------------------------------------------------------------


def test_eigen_cam_of_bfloat16() -> None:
    model, images = gap_net(), pictures(2, 3, 8, 8)
    wide = eigen_cam(model, images, "6")
    narrow = eigen_cam(model.bfloat16(), images.bfloat16(), "6")
    assert (narrow.float() - wide).norm() < 0.05 * wide.norm()


def test_under_global_average_pooling() -> None:
    model = gap_net()
    for c in range(4):
        one = {"layer": "6", "target": c}
        assert_close(hires_cam(model, IMAGES, **one), grad_cam(model, IMAGES, **one))
        A, g = by_hook(model, IMAGES, "6", c)
        assert_close(layer_cam(model, IMAGES, **one), (A * g.clamp(min=0)).sum(1).detach())


def test_hires_cam_sums_up_to_the_score_where_grad_cam_does_not() -> None:
    model = flat_net()
    score = model(IMAGES)[:, 2] - model[-1].bias[2]
    faithful = hires_cam(model, IMAGES, "2", 2, relu=False).sum((1, 2))
    averaged = grad_cam(model, IMAGES, "2", 2, relu=False).sum((1, 2))
    assert_close(faithful, score.detach())
    assert (averaged - score).abs().max() > 0.1


@pytest.mark.parametrize("method", LAYERED, ids=lambda f: f.__name__)
def test_a_reading_is_the_method_of_each_layer(method) -> None:
    model = gap_net()
    recording = record(model, IMAGES, ["2", "4", "6"], pixels=True)
    for target in (None, 1, [0, 3, 2], lambda y: y[:, 0] - y[:, 1]):
        found = LAYERED[method](recording, target)
        assert list(found) == recording.layers == ["2", "4", "6"]
        for layer, heat in found.items():
            assert_close(heat, method(model, IMAGES, layer, target))
        assert_close(guided_backprop_of(recording, target), guided_backprop(model, IMAGES, target))
    assert_close(eigen_cam_of(recording)["4"], eigen_cam(model, IMAGES, "4"))


def test_many_targets_at_once() -> None:
    model = gap_net()
    recording = record(model, IMAGES, ["2", "6"])
    targets = [0, 3, [1, 2, 0], lambda y: y[:, 0] - y[:, 1]]
    for target, found in zip(targets, recording.gradients_of(targets), strict=True):
        for layer, gradient in recording.gradients(target).items():
            assert_close(found[layer], gradient)
