"""Maps worked out by hand on tiny nets, and the identities that tie the methods together."""

from __future__ import annotations

import pytest
import torch
from nets import (
    IMAGE,
    functional,
    gap_net,
    pictures,
    seeded,
    worked_flatten_net,
    worked_gap_net,
)
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from untouched import untouched

from camwidgets.maps import (
    cam,
    deconvnet,
    features_and_gradient,
    grad_cam,
    gradient,
    guided_backprop,
    guided_grad_cam,
    layer_cam,
    positive_grad_cam,
    upsample,
)

# ---- worked_gap_net: with w = (1, -2) for class 0 and (-1, 4) for class 1 ------------------------
# The ReLU gives A⁰ = [[1, 2], [3, 4]], A¹ = [[2, 1], [0, 0]]. CAM is Σ w_k A^k:
CAM = {0: [[-3, 0], [3, 4]], 1: [[7, 2], [-3, -4]]}
# The gradient at the ReLU is w / 4 at each position. At the convolution it is also that where the
# convolution is positive, so its mean is (1/4, -2/8) for class 0 and (-1/4, 4/8) for class 1, and
# A¹ is [[2, 1], [0, -1]] there:
GRAD_CAM_AT_CONV = {0: [[-0.25, 0.25], [0.75, 1.25]], 1: [[0.75, 0], [-0.75, -1.5]]}
# Positive gradients: for class 0 at channel 0 (1/4), for class 1 at channel 1 (1, upper row).
LAYER_CAM_AT_CONV = {0: [[0.25, 0.5], [0.75, 1]], 1: [[2, 1], [0, 0]]}
POSITIVE_AT_CONV = {0: [[0.25, 0.5], [0.75, 1]], 1: [[1, 0.5], [0, 0]]}
# Back to the image: times 1 through channel 0, times -1 through channel 1 (upper row only).
GRADIENT = {0: [[0.75, 0.75], [0.25, 0.25]], 1: [[-1.25, -1.25], [-0.25, -0.25]]}
GUIDED = {0: [[0.25, 0.25], [0.25, 0.25]], 1: [[-1, -1], [0, 0]]}
DECONVNET = {0: [[0.25, 0.25], [0.25, 0.25]], 1: [[-1, -1], [-1, -1]]}
# ReLU(CAM / 4) × GUIDED:
GUIDED_GRAD_CAM = {0: [[0, 0], [0.1875, 0.25]], 1: [[-1.75, -0.5], [0, 0]]}


def is_exactly(found: torch.Tensor, rows: list) -> None:
    assert_close(found, torch.tensor(rows, dtype=found.dtype).view_as(found), rtol=0, atol=0)


@pytest.mark.parametrize("c", [0, 1])
def test_worked_gap_net(c: int) -> None:
    model = worked_gap_net()
    is_exactly(cam(model, IMAGE, c), CAM[c])
    is_exactly(4 * grad_cam(model, IMAGE, "1", c, relu=False), CAM[c])
    is_exactly(4 * grad_cam(model, IMAGE, "1", c), torch.tensor(CAM[c]).clamp(min=0).tolist())
    is_exactly(grad_cam(model, IMAGE, "0", c, relu=False), GRAD_CAM_AT_CONV[c])
    is_exactly(layer_cam(model, IMAGE, "0", c), LAYER_CAM_AT_CONV[c])
    is_exactly(positive_grad_cam(model, IMAGE, "0", c), POSITIVE_AT_CONV[c])
    is_exactly(gradient(model, IMAGE, c), GRADIENT[c])
    is_exactly(guided_backprop(model, IMAGE, c), GUIDED[c])
    is_exactly(deconvnet(model, IMAGE, c), DECONVNET[c])
    is_exactly(guided_grad_cam(model, IMAGE, "1", c), GUIDED_GRAD_CAM[c])


def test_worked_flatten_net() -> None:
    """A = [[-1.5, -0.5], [0.5, 1.5]], gradient g = [[3, -1], [2, 4]]."""
    model = worked_flatten_net()
    # mean gradient 2: 2 A
    is_exactly(grad_cam(model, IMAGE, "0", relu=False), [[-3, -1], [1, 3]])
    # ReLU(g) A = [[-4.5, 0], [1, 6]], then ReLU
    is_exactly(layer_cam(model, IMAGE, "0"), [[0, 0], [1, 6]])
    # 1[A>0] 1[g>0] g = [[0, 0], [2, 4]], mean 1.5: ReLU(1.5 A)
    is_exactly(positive_grad_cam(model, IMAGE, "0"), [[0, 0], [0.75, 2.25]])
    is_exactly(gradient(model, IMAGE), [[3, -1], [2, 4]])


def test_map_and_gradient_are_those_of_the_layer() -> None:
    A, g = features_and_gradient(worked_gap_net(), IMAGE, "0", 1)
    is_exactly(A, [[1, 2], [3, 4], [2, 1], [0, -1]])
    is_exactly(g, [[-0.25, -0.25], [-0.25, -0.25], [1, 1], [0, 0]])
    assert not A.requires_grad
    assert not g.requires_grad


def test_layer_cam_drops_the_sum_below_zero_and_negative_gradients() -> None:
    """Two channels at one layer: A = (x, -x), g = (1, 2) at every place: ReLU(x - 2x) = 0."""
    conv, linear = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        conv.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        linear.weight[:] = torch.tensor([1.0] * 4 + [2.0] * 4)
    model = nn.Sequential(conv, nn.Flatten(), linear)
    is_exactly(layer_cam(model, IMAGE), [[0, 0], [0, 0]])
    is_exactly(layer_cam(model, -IMAGE), [[1, 2], [3, 4]])


def test_guided_grad_cam_upsamples_between_pixels() -> None:
    """Maps of one row, 1×2 for 1×4: (a, .75a + .25b, .25a + .75b, b)."""
    conv, linear = nn.Conv2d(1, 1, (1, 2), stride=(1, 2), bias=False), nn.Linear(1, 1, bias=False)
    nn.init.ones_(conv.weight)
    nn.init.ones_(linear.weight)
    model = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    x = torch.tensor([[[[1.0, 3.0, 5.0, 7.0]]]])  # A = (4, 12), gradient 1/2 at each: heat (2, 6)
    is_exactly(grad_cam(model, x), [[2, 6]])
    is_exactly(guided_grad_cam(model, x), [[1, 1.5, 2.5, 3]])  # × 1/2 guided backpropagation


# ---- CAM: its own definition, and Grad-CAM as its generalisation ---------------------------------

POOLED = {
    "AdaptiveAvgPool2d, flatten": lambda net, A: F.adaptive_avg_pool2d(A, 1).flatten(1),
    "mean over two axes": lambda net, A: A.mean(dim=(2, 3)),
    "mean, then mean": lambda net, A: A.mean(-1).mean(-1),
    "mean of the flattened map": lambda net, A: A.flatten(2).mean(2),
    "avg_pool2d of the map's size": lambda net, A: F.avg_pool2d(A, A.shape[2:])[:, :, 0, 0],
    "sum over size": lambda net, A: A.sum((2, 3)) / (A.shape[2] * A.shape[3]),
    "dropout before the linear layer": lambda net, A: net.drop(A.mean((2, 3))),
    "dropout before pooling": lambda net, A: net.drop(A).mean((2, 3)),
}


@pytest.mark.parametrize("scale", [1, 1e5])
@pytest.mark.parametrize("way", POOLED)
def test_grad_cam_generalises_cam(way: str, scale: float) -> None:
    model = functional(lambda net, A: net.linear(POOLED[way](net, A)))
    images = pictures(3, 3, 40, 28) * scale
    for c in (None, 2):
        heat = cam(model, images, c)
        h, w = heat.shape[1:]
        signed = grad_cam(model, images, None, c, relu=False)
        assert_close(signed * h * w, heat, rtol=1e-5, atol=1e-5 * heat.abs().max().item())
        assert_close(grad_cam(model, images, None, c), signed.relu(), rtol=0, atol=0)
        assert (signed < 0).any()


def test_mean_of_cam_plus_bias_is_the_logit() -> None:
    model, images = gap_net(), pictures(5, 3, 12, 12)
    logits = model(images)
    for c in range(4):
        mean = cam(model, images, c).mean(dim=(1, 2))
        assert_close(mean + model[-1].bias[c], logits[:, c])
    top = cam(model, images).mean(dim=(1, 2)) + model[-1].bias[logits.argmax(1)]
    assert_close(top, logits.max(dim=1).values)


@pytest.mark.parametrize("relu", [F.relu, lambda A: A.clamp(min=0), torch.Tensor.relu_])
def test_cam_sees_a_relu_that_is_no_module(relu) -> None:
    """The map that is pooled is then the last layer's ReLU; Grad-CAM keeps to the last layer."""
    model = functional(lambda net, A: net.linear(relu(A).mean((2, 3))))
    images = pictures(3, 3, 9, 11)
    pre = model.last(F.relu(model.first(images)))
    w = model.linear.weight
    for c in range(3):
        heat = cam(model, images, c)
        assert_close(heat, torch.einsum("k,nkij->nij", w[c], pre.relu()))
        assert_close(heat.mean((1, 2)) + model.linear.bias[c], model(images)[:, c])
        share = (pre > 0).float().mean((2, 3))
        expected = torch.einsum("nk,nkij->nij", w[c] * share, pre) / heat[0].numel()
        assert_close(grad_cam(model, images, "last", c, relu=False), expected)


def test_cam_of_a_regression_with_one_output() -> None:
    model, images = gap_net(classes=1), pictures(2, 3, 8, 8)
    assert_close(cam(model, images).mean((1, 2)) + model[-1].bias, model(images)[:, 0])


def test_cam_reads_the_weights_that_eval_mode_uses() -> None:
    """A spectral norm takes a step at each look at the weight in train mode."""
    model = gap_net()
    torch.nn.utils.parametrizations.spectral_norm(model[-1])
    images = pictures(2, 3, 8, 8)
    expected = model.eval()(images).max(dim=1).values
    bias = model[-1].bias[model(images).argmax(1)]
    with untouched(model.train(), images):
        heat = cam(model, images)
    assert_close(heat.mean((1, 2)) + bias, expected)


# ---- targets -------------------------------------------------------------------------------------

METHODS = {
    "cam": cam,
    "grad_cam": lambda m, x, t: grad_cam(m, x, None, t, relu=False),
    "layer_cam": lambda m, x, t: layer_cam(m, x, "4", t),
    "positive_grad_cam": lambda m, x, t: positive_grad_cam(m, x, "4", t),
    "gradient": gradient,
    "guided_backprop": guided_backprop,
    "deconvnet": deconvnet,
    "guided_grad_cam": lambda m, x, t: guided_grad_cam(m, x, "4", t),
}
PIXELS = {"gradient", "guided_backprop", "deconvnet", "guided_grad_cam"}
method = pytest.mark.parametrize("name", METHODS)


def shape_of(name: str, images: torch.Tensor) -> tuple[int, ...]:
    n, _, H, W = images.shape
    return tuple(images.shape) if name in PIXELS else (n, H // 2, W // 2)


@method
def test_a_batch_equals_its_images_one_by_one(name: str) -> None:
    model, images, f = gap_net(), pictures(4, 3, 8, 12), METHODS[name]
    for target, each in (
        (None, [None] * 4),
        (1, [1] * 4),
        ([3, 0, 0, 2], [3, 0, 0, 2]),
        (torch.tensor([3, 0, 0, 2], dtype=torch.uint8), [3, 0, 0, 2]),
    ):
        batch = f(model, images, target)
        assert batch.shape == shape_of(name, images)
        alone = torch.cat([f(model, images[i : i + 1], each[i]) for i in range(4)])
        assert_close(batch, alone, rtol=1e-4, atol=1e-6)
        assert batch.abs().sum() > 0


@method
def test_none_is_each_images_own_top_class(name: str) -> None:
    model, images = gap_net(), pictures(6, 3, 8, 8)
    with torch.no_grad():
        model[-1].bias -= model(images).mean(dim=0)  # no class wins everywhere
    top = model(images).argmax(dim=1)
    assert len(top.unique()) > 1
    f = METHODS[name]
    assert torch.equal(f(model, images, None), f(model, images, top))
    assert not torch.equal(f(model, images, None), f(model, images, 0))


@method
def test_the_scores_are_logits(name: str) -> None:
    """Each class alone: another logit's bias does not matter, as it would to a softmax."""
    model, images, f = gap_net(), pictures(2, 3, 8, 8), METHODS[name]
    before = f(model, images, 1)
    with torch.no_grad():
        model[-1].bias[2] += 100
    assert torch.equal(f(model, images, 1), before)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cam"])
def test_callable_targets(name: str) -> None:
    model, images, f = gap_net(), pictures(3, 3, 8, 8), METHODS[name]
    assert torch.equal(f(model, images, lambda output: output[:, 2]), f(model, images, 2))
    opposite = f(model, images, lambda output: -output[:, 2])
    assert opposite.abs().sum() > 0
    if name in {"grad_cam", "gradient"}:  # linear in the score
        assert_close(opposite, -f(model, images, 2))
        difference = f(model, images, lambda output: output[:, 2] - 3 * output[:, 0])
        assert_close(difference, f(model, images, 2) - 3 * f(model, images, 0))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "cam"])
def test_regression_outputs(name: str) -> None:
    """(N, 1) and (N,) are the same score, and neither needs a target."""
    column, images, f = gap_net(classes=1), pictures(3, 3, 8, 8), METHODS[name]
    flat = nn.Sequential(*column, nn.Flatten(0))
    assert flat(images).shape == (3,)
    expected = f(column, images, 0)
    assert torch.equal(f(column, images, None), expected)
    assert torch.equal(f(flat, images, None), expected)


def test_what_pushes_a_regression_down_is_kept() -> None:
    model, images = gap_net(classes=1), pictures(3, 3, 8, 8)
    up = grad_cam(model, images)
    down = grad_cam(model, images, target=lambda output: -output[:, 0])
    assert_close(up - down, grad_cam(model, images, relu=False))
    # -(y - t)²: its gradient is -2 (y - t) times that of y
    t = model(images).detach()[:, 0] + torch.tensor([1.0, -2.0, 0.5])
    near = grad_cam(model, images, target=lambda output: -((output[:, 0] - t) ** 2), relu=False)
    factor = torch.tensor([2.0, -4.0, 1.0]).view(3, 1, 1)
    assert_close(near, factor * grad_cam(model, images, relu=False), rtol=1e-3, atol=1e-5)


def test_tuple_and_dict_outputs() -> None:
    plain = functional(lambda net, A: net.linear(A.mean((2, 3))))
    pair = functional(lambda net, A: (A, net.linear(A.mean((2, 3)))))
    named = functional(lambda net, A: {"logits": net.linear(A.mean((2, 3))), "map": A})
    images = pictures(2, 3, 9, 9)
    for f in (lambda *a: grad_cam(a[0], a[1], None, a[2]), guided_backprop, gradient):
        expected = f(plain, images, 1)
        assert torch.equal(f(pair, images, lambda output: output[1][:, 1]), expected)
        assert torch.equal(f(named, images, lambda output: output["logits"][:, 1]), expected)


def test_segmentation_output() -> None:
    """The score of a region: of class 1 in the left half."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    images = pictures(2, 3, 8, 8)
    left = grad_cam(model, images, "1", lambda output: output[:, 1, :, :3].sum((1, 2)), relu=False)
    weights = model[2].weight[1, :, 0, 0] * 0.5  # the gradient is the weight in half the places
    assert_close(left, torch.einsum("k,nkij->nij", weights, model[:2](images)))


# ---- kinds of input ------------------------------------------------------------------------------


@method
@pytest.mark.parametrize("channels", [1, 5])
def test_gray_and_five_channels_not_square(name: str, channels: int) -> None:
    images = pictures(2, channels, 6, 14)
    found = METHODS[name](gap_net(channels), images, 0)
    assert found.shape == shape_of(name, images)
    assert torch.isfinite(found).all()
    assert found.abs().sum() > 0


@method
def test_double_precision(name: str) -> None:
    model, images, f = gap_net(), pictures(2, 3, 8, 8), METHODS[name]
    single = f(model, images, 1)
    double = f(model.double(), images.double(), 1)
    assert double.dtype == torch.float64
    assert_close(double.float(), single, rtol=1e-3, atol=1e-5)


@method
def test_half_precision(name: str) -> None:
    model, images, f = gap_net(), pictures(2, 3, 8, 8), METHODS[name]
    single = f(model, images, 1)
    half = f(model.bfloat16(), images.bfloat16(), 1)
    assert half.dtype == torch.bfloat16
    assert F.cosine_similarity(half.float().flatten(), single.flatten(), dim=0) > 0.95


@method
def test_layout_in_memory_does_not_matter(name: str) -> None:
    model, images, f = gap_net(), pictures(2, 3, 8, 8), METHODS[name]
    expected = f(model, images, 1)
    channels_last = images.to(memory_format=torch.channels_last)
    assert_close(f(model, channels_last, 1), expected)
    strided = images.repeat_interleave(2, dim=3)[..., ::2]
    assert_close(f(model, strided, 1), expected)


@pytest.mark.parametrize("layer", [None, "0", "2", "4"])
def test_the_product_is_where_times_what(layer: str | None) -> None:
    model, images = gap_net(), pictures(2, 3, 12, 8)
    found = [guided_grad_cam(model, images, layer, c) for c in range(4)]
    for c in range(4):
        where = upsample(grad_cam(model, images, layer, c), (12, 8))
        what = guided_backprop(model, images, c)
        assert_close(found[c], where[:, None] * what)
    assert torch.stack(found).any()


def test_a_blank_map_stays_blank() -> None:
    """A dead network (all features zero) gives zeros, not NaN, and no error."""
    model = gap_net()
    with torch.no_grad():
        model[5].weight.zero_()
        model[5].bias.fill_(-1)
    images = pictures(2, 3, 8, 8)
    for f in METHODS.values():
        assert torch.equal(f(model, images, 0).abs().sum(), torch.tensor(0.0))
