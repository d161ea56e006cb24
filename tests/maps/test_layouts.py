"""Which outputs are feature maps: followed through views, permutations and attention."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from nets import pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from untouched import untouched

from camwidgets.maps import (
    eigen_cam,
    features_and_gradient,
    grad_cam,
    grad_cam_plus_plus,
    guided_backprop,
    guided_grad_cam,
    hires_cam,
    layer_cam,
    layer_names,
    positive_grad_cam,
    record,
    score_cam,
    trace,
)


class Net(nn.Module):
    """A convolution, `middle` as a layer, and a linear layer on the mean of what is left."""

    def __init__(self, middle: nn.Module, channels: int = 8, stride: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride, padding=1)
        self.middle = middle
        self.linear = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self.conv(x))
        return self.linear(y.flatten(1) if y.dim() > 2 else y)


class Does(nn.Module):
    def __init__(self, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        return self.what(x)


def net(what: Callable[[Tensor], Tensor], n: int = 2, side: tuple[int, int] = (12, 16)) -> tuple:
    model, images = seeded(lambda: Net(Does(what))), pictures(n, 3, *side)
    model(images)
    return model, images


def windows(x: Tensor) -> Tensor:
    """(N, K, h, w) → (N · windows, K, 2, 2)"""
    n, k, h, w = x.shape
    x = x.view(n, k, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(-1, k, 2, 2)


def unwindowed(x: Tensor, n: int = 2, h: int = 6, w: int = 8) -> Tensor:
    x = x.view(-1, h // 2, w // 2, x.shape[1], 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(-1, x.shape[1], h, w)


def heads(x: Tensor) -> Tensor:
    n, k, _, _ = x.shape
    q = x.flatten(2).mT.view(n, -1, 2, k // 2).transpose(1, 2)
    return q @ q.mT


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT


def behind_a_token(x: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(x), 1, x.shape[2]), x], 1)


def registered(x: Tensor) -> Tensor:
    """Tokens with four others behind them."""
    return torch.cat([tokens(x), torch.ones(len(x), 4, x.shape[1])], 1)


def canvas(x: Tensor, *size: int, one_by_one: bool = False) -> Tensor:
    """Something larger that x is written into, at the front."""
    z = torch.zeros(len(x), *size)
    if not one_by_one:
        z[:, : x.shape[1], : x.shape[2], : x.shape[3]] = x
        return z
    for i, image in enumerate(x):
        z[i, : x.shape[1], : x.shape[2], : x.shape[3]].copy_(image)
    return z


def rows_from_below(x: Tensor) -> Tensor:
    z = torch.zeros_like(x)
    for row in range(x.shape[2]):
        z[:, :, -1 - row] = x[:, :, row]
    return z


def patchified(x: Tensor) -> Tensor:
    """(N, K, h, w) → (N, 4K, h/2, w/2)"""
    n, k, h, w = x.shape
    x = x.view(n, k, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(n, 4 * k, h // 2, w // 2)


WEIGHTS = torch.linspace(-1, 1, 40).view(5, 8)
KERNEL = torch.linspace(-1, 1, 5 * 8 * 9).sin().view(5, 8, 3, 3)
READ: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    # what the layer does, and how a person reads its output as (N, K, h, w) = (2, 8, 6, 8)
    "itself": (lambda x: 2 * x, lambda y: y),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), lambda y: y.permute(0, 3, 1, 2)),
    "movedim": (lambda x: x.movedim(1, -1) + 1, lambda y: y.permute(0, 3, 1, 2)),
    "columns first": (lambda x: x.transpose(2, 3), lambda y: y.transpose(2, 3)),
    "tokens": (lambda x: x.flatten(2).mT, lambda y: y.mT.reshape(2, 8, 6, 8)),
    "channels of tokens": (lambda x: x.flatten(2), lambda y: y.reshape(2, 8, 6, 8)),
    "a class token": (
        lambda x: torch.cat([torch.ones(2, 1, 8), x.flatten(2).mT], 1),
        lambda y: y[:, 1:].mT.reshape(2, 8, 6, 8),
    ),
    "registers behind": (
        lambda x: torch.cat([x.flatten(2).mT, torch.ones(2, 4, 8)], 1),
        lambda y: y[:, :48].mT.reshape(2, 8, 6, 8),
    ),
    "a class token, taken off": (
        lambda x: torch.cat([torch.ones(2, 1, 8), x.flatten(2).mT], 1)[:, 1:].sin(),
        lambda y: y.mT.reshape(2, 8, 6, 8),
    ),
    "one of two tokens taken off": (
        lambda x: torch.cat([torch.ones(2, 2, 8), x.flatten(2).mT], 1)[:, 1:],
        lambda y: y[:, 1:].mT.reshape(2, 8, 6, 8),
    ),
    "two class tokens, one after the other": (
        lambda x: behind_a_token(behind_a_token(tokens(x))),
        lambda y: y[:, 2:].mT.reshape(-1, 8, 6, 8),
    ),
    "registers brought to the front": (
        lambda x: torch.cat([registered(x)[:, 48:], registered(x)[:, :48]], 1),
        lambda y: y[:, 4:].mT.reshape(-1, 8, 6, 8),
    ),
    "windows and back": (lambda x: unwindowed(windows(x).relu()), lambda y: y),
    "channel shuffle": (
        lambda x: x.view(2, 2, 4, 6, 8).transpose(1, 2).reshape(2, 8, 6, 8),
        lambda y: y,
    ),
    "halves of the channels": (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), lambda y: y),
    "layer norm": (lambda x: F.layer_norm(x.movedim(1, 3), (8,)), lambda y: y.movedim(3, 1)),
    "attention": (
        lambda x: F.scaled_dot_product_attention(*3 * (x.flatten(2).mT[:, None],))[:, 0],
        lambda y: y.mT.reshape(2, 8, 6, 8),
    ),
    "attention by hand": (
        lambda x: (x.flatten(2).mT @ x.flatten(2)).softmax(-1) @ x.flatten(2).mT,
        lambda y: y.mT.reshape(2, 8, 6, 8),
    ),
    "patches": (lambda x: F.unfold(x, 2, stride=2), lambda y: y.view(2, 32, 3, 4)),
    "patches that overlap": (
        lambda x: F.unfold(x, (3, 5), padding=(1, 2), stride=(1, 2)).mT,
        lambda y: y.mT.reshape(2, 120, 6, 4),
    ),
    "windows of the axes": (
        lambda x: x.unfold(2, 2, 2).unfold(3, 4, 2).permute(0, 1, 4, 5, 2, 3).flatten(1, 3),
        lambda y: y,
    ),
    "beside rolled": (lambda x: x + torch.roll(x, 1, 3), lambda y: y),
    "mean of a stack": (lambda x: torch.stack([x, x.sin()]).mean(0), lambda y: y),
    "weighted sum of a stack": (
        lambda x: (torch.stack([x, x.sin()], -1) * torch.tensor([1.0, 2.0])).sum(-1),
        lambda y: y,
    ),
    "enlarged by repeating": (
        lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, 3),
        lambda y: y,
    ),
    "enlarged by a view": (
        lambda x: x.view(-1, 2, 2, 2, 6, 8).permute(0, 1, 4, 2, 5, 3).reshape(-1, 2, 12, 16),
        lambda y: y,
    ),
    "means of windows": (lambda x: x.unflatten(2, (3, 2)).mean(3), lambda y: y),
    "patches added up": (
        lambda x: F.fold(F.unfold(x, 2, stride=2), (6, 8), 2, stride=2),
        lambda y: y,
    ),
    "two positions": (lambda x: F.adaptive_avg_pool2d(x, (1, 2)), lambda y: y),
    "mirrored": (lambda x: x.flip(3), lambda y: y.flip(3)),
    "turned": (lambda x: x.rot90(1, (2, 3)), lambda y: y.rot90(-1, (2, 3))),
    "turned the other way": (lambda x: x.rot90(1, (3, 2)), lambda y: y.rot90(1, (2, 3))),
    "turned by half": (lambda x: x.rot90(2, (2, 3)), lambda y: y.flip((2, 3))),
    "turned three times": (
        lambda x: F.conv2d(x.rot90(3, (2, 3)), KERNEL, padding=1),
        lambda y: y.rot90(1, (2, 3)),
    ),
    "mirrored tokens": (
        lambda x: x.flip((2, 3)).flatten(2).mT,
        lambda y: y.mT.reshape(-1, 8, 6, 8).flip((2, 3)),
    ),
    "channels turned round": (lambda x: x.flip(1).roll(1, 1)[:, [2, 1, 0, 3]], lambda y: y),
    "channels sorted": (lambda x: x.sort(1).values, lambda y: y),
    "images in their order, by number": (
        lambda x: x[range(len(x))].index_select(0, torch.arange(len(x))),
        lambda y: y,
    ),
    "every second row, by number": (lambda x: x[:, :, [0, 2, 4]], lambda y: y),
    "channels of tokens by a matrix": (
        lambda x: WEIGHTS @ x.flatten(2),
        lambda y: y.view(-1, 5, 6, 8),
    ),
    "some channels, changed in place": (lambda x: x.clone()[:, 2:].mul_(2), lambda y: y),
    "written into a canvas a little larger": (lambda x: canvas(x, 8, 7, 9), lambda y: y),
    "written into more channels": (lambda x: canvas(x, 12, 6, 8), lambda y: y),
    "written image by image": (lambda x: canvas(x, 8, 7, 9, one_by_one=True), lambda y: y),
    "a convolution that wraps round": (
        lambda x: F.conv2d(F.pad(x.flip(3), (1, 1, 1, 1), "circular"), KERNEL),
        lambda y: y.flip(3),
    ),
    "images put on one another": (
        lambda x: F.conv2d(torch.stack([image / image.std() for image in x]), KERNEL),
        lambda y: y,
    ),
    "images joined": (
        lambda x: torch.cat([F.conv2d(image[None], KERNEL) for image in x]),
        lambda y: y,
    ),
    "patches by a view of a mirrored map": (lambda x: patchified(x.flip(3)), lambda y: y.flip(3)),
    "one column cut off, counted from behind": (lambda x: x[..., -7:], lambda y: y),
    "one column cut off the last axis": (lambda x: x.narrow(-1, 1, 7), lambda y: y),
    "a class token, taken off from behind": (
        lambda x: behind_a_token(tokens(x))[:, -48:].sin(),
        lambda y: y.mT.reshape(-1, 8, 6, 8),
    ),
    "every second row": (lambda x: x[:, :, ::2], lambda y: y),
    "channels by einsum": (lambda x: torch.einsum("oc,nchw->nohw", WEIGHTS, x), lambda y: y),
    "rows before columns by einsum": (
        lambda x: torch.einsum("oc,nchw->nowh", WEIGHTS, x),
        lambda y: y.mT,
    ),
    "a convolution of columns before rows": (
        lambda x: F.conv2d(x.mT, KERNEL, padding=1),
        lambda y: y.mT,
    ),
    "a convolution of a mirrored map": (
        lambda x: F.conv2d(x.flip(3), KERNEL, padding=1),
        lambda y: y.flip(3),
    ),
    "a convolution of tokens": (
        lambda x: F.conv1d(x.flatten(2), WEIGHTS[..., None]),
        lambda y: y.view(-1, 5, 6, 8),
    ),
    "a convolution of three axes": (
        lambda x: F.conv3d(x[:, :, None], KERNEL[:, :, None], padding=(0, 1, 1)).squeeze(2),
        lambda y: y,
    ),
    "padded and cut back": (lambda x: F.pad(x, (0, 9))[..., :8], lambda y: y),
    "columns joined in front and cut off": (
        lambda x: torch.cat([torch.ones(len(x), 8, 6, 4), x], 3)[..., 4:],
        lambda y: y,
    ),
    "padded at both ends, mirrored in between": (
        lambda x: F.pad(F.pad(x, (4, 0)).flip(3), (4, 0)),
        lambda y: y.flip(3),
    ),
    "one column cut off": (lambda x: x[..., 1:], lambda y: y),
    "split from a token": (
        lambda x: torch.cat([torch.ones(len(x), 1, 8), x.flatten(2).mT], 1).split([1, 48], 1)[1],
        lambda y: y.mT.reshape(-1, 8, 6, 8),
    ),
}
NOT_READ: dict[str, Callable[[Tensor], Tensor]] = {
    "attention weights": heads,
    "attention weights, as many heads as images": lambda x: heads(x).softmax(-1),
    "windows": windows,
    "rolled": lambda x: torch.roll(x, 1, 3),
    "sampled elsewhere": lambda x: F.grid_sample(
        x, torch.zeros(len(x), 6, 8, 2), align_corners=False
    ),
    "regions": lambda x: torchvision.ops.roi_align(
        x, torch.tensor([[0, 0.0, 0.0, 4.0, 4.0], [0, 1.0, 1.0, 5.0, 5.0]])[: len(x)], (4, 4)
    ),
    "mean of the rows": lambda x: x.mean(2),
    "pooled": lambda x: x.mean((2, 3), keepdim=True),
    "channels and columns changed": lambda x: x.flatten(1).view(2, 6, 8, 8),
    "images among the channels": lambda x: x.transpose(0, 1).reshape(2, 8, 6, 8),
    "spectrum": lambda x: torch.fft.rfft2(x).abs(),
    "sorted": lambda x: x.flatten(2).sort(2).values,
    "without the first column": lambda x: x.flatten(2)[:, :, 1:],
    "tokens without the last row": lambda x: registered(x)[:, :40],
    "beside itself mirrored": lambda x: torch.cat([x, x.flip(2)], 2),
    "with channels of itself mirrored": lambda x: torch.cat([x, x.flip(2)], 1),
    "the upper left quarter": lambda x: x[..., :3, :4],
    "the middle": lambda x: F.interpolate(x[..., 2:6], (6, 8)),
    "one of two halves": lambda x: x.chunk(2, 3)[1],
    "one of three parts": lambda x: x.split([1, 1, 6], 3)[1],
    "halves on each other": lambda x: sum(x.split(4, 3)),
    "rolled and gated": lambda x: x.roll(3, 3) * x.mean((2, 3), keepdim=True).sigmoid(),
    "rolled and gated by rows": lambda x: x.roll(3, 3) * x.mean(3, keepdim=True).sigmoid(),
    "pushed to one side": lambda x: F.pad(x, (4, 0)),
    "pushed to one side and pooled": lambda x: F.avg_pool2d(F.pad(x, (4, 0)), 2),
    "pushed out to one side": lambda x: F.pad(x, (4, 0))[..., :8],
    "put in elsewhere": lambda x: torch.zeros_like(x).index_copy(2, torch.arange(5, -1, -1), x),
    "put in further down": lambda x: torch.zeros(len(x), 8, 9, 8).slice_scatter(x, 2, 3, 9),
    "repeated side by side": lambda x: x.repeat(1, 1, 1, 2),
    "rows by number": lambda x: x[:, :, [5, 4, 3, 2, 1, 0]],
    "images by number": lambda x: x[[*range(1, len(x)), 0]] if len(x) > 1 else x.flip(0),
    "gated across": lambda x: F.glu(x, 3),
    "tokens mixed by a matrix": lambda x: torch.ones(48, 48).tril() @ tokens(x),
    "channels as images, as many": lambda x: F.conv2d(
        x[:, : len(x)].transpose(0, 1), KERNEL[:, : len(x)]
    ),
    "a half, changed in place": lambda x: F.conv2d(x.clone()[:, :, :3].mul_(2), KERNEL),
    "columns before rows, changed in place": lambda x: F.conv2d(F.relu_(x.clone().mT), KERNEL),
    "some channels of a rolled map, in place": lambda x: F.relu_(x.roll(4, 3)[:, :4]).sin(),
    "by steps in memory": lambda x: F.conv2d(
        x.as_strided((len(x), 8, 6, 6), (384, 48, 1, 8)), KERNEL
    ),
    "written into a corner": lambda x: F.conv2d(canvas(x, 8, 12, 16), KERNEL),
    "written row by row, from below": lambda x: F.conv2d(rows_from_below(x), KERNEL),
    "added up elsewhere": lambda x: torch.zeros_like(x).scatter_add(
        3, torch.arange(7, -1, -1).expand_as(x), x
    ),
    "patches by a view of a half": lambda x: F.conv2d(
        patchified(x[..., 4:]), KERNEL.repeat(1, 4, 1, 1), padding=1
    ),
    "means of windows of a half": lambda x: x.unflatten(3, (4, 2)).mean(4).chunk(2, 3)[1],
    "an inner half, enlarged": lambda x: F.interpolate(x.unflatten(2, (2, 3))[:, :, 1], (6, 8)),
    "rows among the channels, pooled": lambda x: F.avg_pool2d(x.reshape(len(x), 16, 3, 8), (1, 2)),
    "the right half, counted from behind": lambda x: x[..., -4:],
    "every second row but for the last three": lambda x: x[:, :, :-3:2],
    "every second row of a half": lambda x: x[:, :, 3::2],
    "repeated at one side": lambda x: F.pad(x, (6, 0, 0, 0), "replicate"),
    "one image in as many forms as there are images": lambda x: torch.stack([x, x.sin()])[:, 0],
    "pushed over one side at once": lambda x: F.pad(x, (4, -4)),
    "distances": lambda x: torch.cdist(x.flatten(2).mT, x.flatten(2).mT),
    "a convolution of a rolled map": lambda x: F.conv2d(x.roll(3, 3), KERNEL),
    "a convolution of images as columns": lambda x: F.conv2d(
        F.adaptive_avg_pool2d(x, (6, 2)).permute(3, 1, 2, 0), KERNEL, padding=1
    ).permute(3, 1, 2, 0),
    "a convolution of attention": lambda x: F.conv2d(heads(x), KERNEL[:, :2]),
    "a convolution of a cut map": lambda x: F.conv2d(x.flatten(2).view(-1, 8, 8, 6), KERNEL),
    "a convolution of channels as rows": lambda x: F.conv2d(x.transpose(1, 2), KERNEL[:, :6]),
    "a nested tensor": lambda x: torch.nested.as_nested_tensor([*x]).to_padded_tensor(0.0),
}


@pytest.mark.parametrize("name", READ)
def test_read(name: str) -> None:
    what, by_eye = READ[name]
    model, images = net(what)
    assert layer_names(model, images) == ["conv", "middle"]
    A, g = features_and_gradient(model, images, "middle", 1)
    conv = model.conv(images).detach()
    output = model.middle(conv).clone().requires_grad_()
    assert_close(A, by_eye(output).detach())
    (expected,) = torch.autograd.grad(model.linear(output.flatten(1))[:, 1].sum(), output)
    assert_close(g, by_eye(expected))
    with untouched(model, images):
        heat = grad_cam(model, images, "middle", 1, relu=False)
    alpha = by_eye(expected).mean((2, 3), keepdim=True)
    assert_close(heat, (alpha * by_eye(output)).sum(1).detach())


@pytest.mark.parametrize("name", NOT_READ)
def test_refused(name: str) -> None:
    model, images = net(NOT_READ[name])
    assert layer_names(model, images) == ["conv"]
    with pytest.raises(ValueError, match=r"'middle' gives no feature map.*Its output is of shape"):
        grad_cam(model, images, "middle", 1)


@pytest.mark.parametrize("moved", [lambda x: x[:, :, 8:], lambda x: x.mT, lambda x: x[..., 1::2]])
def test_images_cut_where_autograd_does_not_look(moved: Callable[[Tensor], Tensor]) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = moved(x)
            return self.linear(self.conv(x).mean((2, 3)))

    with pytest.raises(ValueError, match="positions are moved, mixed up or cut off"):
        grad_cam(seeded(Cut), pictures(2, 3, 16, 16), "conv", 1)


@pytest.mark.parametrize(
    "middle",
    [
        lambda x: F.avg_pool2d(x.transpose(0, 1).reshape(1, 8, 6, 8), 2),
        lambda x: F.avg_pool2d(torch.cat([x[0, i : i + 1] for i in range(8)])[None], 2),
    ],
)
def test_one_image_whose_axis_was_away(middle: Callable[[Tensor], Tensor]) -> None:
    model, images = net(middle, n=1)
    assert layer_names(model, images) == ["conv", "middle"]
    assert_close(
        record(model, images, "middle").features["middle"],
        F.avg_pool2d(model.conv(images), 2).detach(),
    )


def test_pairs_of_images_are_no_images() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(6, 4, 3, 2, 1), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x.view(len(x) // 2, 6, *x.shape[2:]))
            return self.linear(y.mean((2, 3))).repeat_interleave(2, 0)

    model, images = seeded(Pairs), pictures(4, 3, 16, 16)  # as many as the maps have channels
    assert layer_names(model, images) == []


class SequenceFirst(nn.Module):
    """CLIP's order: tokens (L, N, D), a class token first."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        one = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=batch_first)
        self.blocks = nn.TransformerEncoder(one, 2, enable_nested_tensor=False)
        self.linear = nn.Linear(8, 3)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).mT
        y = torch.cat([self.token.expand(len(y), -1, -1), y], 1)
        y = self.blocks(y) if self.batch_first else self.blocks(y.transpose(0, 1)).transpose(0, 1)
        return self.linear(y[:, 0])


@pytest.mark.parametrize("n", [1, 2])
def test_tokens_with_the_images_on_the_second_axis(n: int) -> None:
    first, second = (seeded(lambda way=way: SequenceFirst(way)) for way in (True, False))
    images = pictures(n, 3, 12, 16)
    names = layer_names(first, images)
    assert layer_names(second, images) == names
    assert "blocks.layers.0.self_attn" in names
    for name in ("blocks.layers.0", "blocks.layers.0.linear1", None):
        heat = grad_cam(second, images, name, 1)
        assert heat.shape == (n, 3, 4)
        assert_close(heat, grad_cam(first, images, name, 1))
    read = lambda y: y[1:].permute(1, 2, 0).reshape(n, 8, 3, 4)  # noqa: E731
    assert_close(
        grad_cam(second, images, "blocks.layers.0", 1),
        by_plain_hook(second, images, "blocks.layers.0", 1, read),
    )


class Without(nn.Module):
    """A model whose layers give no map of the images given."""

    def __init__(self, convolution: nn.Module, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution, self.what = convolution, what

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(self.what(x)).flatten(2).mean(2)
        return y.view(len(x), -1, y.shape[1]).mean(1)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            Without(nn.Conv1d(3, 4, 3), lambda x: x.flatten(2)),
            r"'convolution' \(2, 4, 190\), and before that positions are .*\. Name",
        ),
        (
            Without(nn.Conv3d(1, 4, 3, padding=1), lambda x: x[:, None]),
            r"'convolution' \(2, 4, 3, 12, 16\)\. Name",
        ),
        (
            Without(nn.Conv2d(3, 4, 3), lambda x: torch.cat([x, x.flip(3)])),
            r"'convolution' \(4, 4, 10, 14\), and the images given are 2",
        ),
    ],
)
def test_no_map_of_the_images_names_what_there_is(model: nn.Module, says: str) -> None:
    images = pictures(2, 3, 12, 16)
    with pytest.raises(ValueError, match=rf"no feature map.*{says}.*reshape_transform="):
        grad_cam(model, images)


def test_crops_made_inside_are_read_by_a_function_of_the_user_s() -> None:
    model = Without(nn.Conv2d(3, 4, 3), lambda x: torch.stack([x, x.flip(3)], 1).flatten(0, 1))
    images = pictures(2, 3, 12, 16)
    first = grad_cam(
        model, images, "convolution", 1, relu=False, reshape_transform=lambda y: y[::2]
    )
    assert_close(first, model.convolution(images)[:, 1].detach() / (2 * 10 * 14))


UNUSUAL: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    # what the layer does, and how its output becomes what the convolution gave
    "windows": (windows, lambda y: unwindowed(y, len(y) // 12)),
    "rolled": (lambda x: torch.roll(x, 1, 3), lambda y: torch.roll(y, -1, 3)),
    "channels and columns changed": (
        lambda x: x.flatten(1).view(-1, 6, 8, 8),
        lambda y: y.flatten(1).view(-1, 8, 6, 8),
    ),
    "images among the channels": (
        lambda x: x.transpose(0, 1).reshape(-1, 8, 6, 8),
        lambda y: y.reshape(8, -1, 6, 8).transpose(0, 1),
    ),
    "a class token in the middle": (
        lambda x: torch.cat(
            [x.flatten(2)[..., :9], x.mean((2, 3))[..., None], x.flatten(2)[..., 9:]], 2
        ),
        lambda y: torch.cat([y[..., :9], y[..., 10:]], 2).view(-1, 8, 6, 8),
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize(
    "method",
    [
        *(grad_cam, hires_cam, layer_cam, grad_cam_plus_plus, positive_grad_cam),
        *(guided_grad_cam, score_cam, eigen_cam),
    ],
)
def test_a_reshape_transform_of_the_user_s_own(name: str, method: Callable[..., Tensor]) -> None:
    what, back = UNUSUAL[name]
    middle = nn.Sequential(nn.ReLU(), Does(what), Does(lambda y: y.clone()), Does(back))
    model, images = seeded(lambda: Net(middle)), pictures(2, 3, 12, 16)
    model(images)
    expected = method(model, images, "middle.0", 1)
    with untouched(model, images):
        heat = method(model, images, "middle.2", 1, reshape_transform=back)
    assert_close(heat, expected)
    if "token" not in name:
        with pytest.raises(ValueError, match=r"gives no feature map.*reshape_transform"):
            method(model, images, "middle.2", 1)


def test_a_reshape_transform_that_gives_no_maps() -> None:
    model, images = net(lambda x: x.flatten(2))
    for wrong, found in [
        (lambda y: y, r"is of shape \(2, 8, 48\)"),
        (lambda y: y.view(1, 16, 6, 8), r"is of shape \(1, 16, 6, 8\)"),
        (lambda y: y.tolist(), "is a list"),
        (lambda y: None, "is a NoneType"),
    ]:
        sentence = rf"must give maps \(N, K, h, w\), with N = 2 here, of an output.*{found}"
        with pytest.raises(ValueError, match=sentence):
            grad_cam(model, images, "middle", 1, reshape_transform=wrong)
    with pytest.raises(ValueError, match="needs a layer"):
        grad_cam(model, images, target=1, reshape_transform=lambda y: y)


def test_a_table_that_has_the_batch_s_length_is_no_map() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.ones(1, 8, 6, 8))

        def forward(self, x: Tensor) -> Tensor:
            return self.table * 2

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position = Table()

        def forward(self, x: Tensor) -> Tensor:
            return x + self.position(x)

    model, images = seeded(lambda: Net(Added())), pictures(1, 3, 12, 16)
    model(images)
    assert layer_names(model, images) == ["conv", "middle"]


@pytest.mark.parametrize("name", READ)
def test_alone_as_in_a_batch(name: str) -> None:
    if "token" in name or "registers" in name or "shuffle" in name:
        pytest.skip("written for two images")
    model, images = net(READ[name][0])
    together = grad_cam(model, images, "middle", 1)
    for i in range(2):
        assert_close(grad_cam(model, images[i : i + 1], "middle", 1), together[i : i + 1])


# ---- transformers --------------------------------------------------------------------------------


def torchvision_vit() -> nn.Module:
    model = torchvision.models.VisionTransformer(32, 8, 3, 2, 24, 48, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    return model


def by_plain_hook(
    model: nn.Module, images: Tensor, layer: str, c: int, read: Callable[[Tensor], Tensor]
) -> Tensor:
    kept: list[Tensor] = []
    module = dict(model.named_modules())[layer]
    handle = module.register_forward_hook(lambda m, i, o: kept.append(o))
    score = model(images)[:, c].sum()
    handle.remove()
    (g,) = torch.autograd.grad(score, kept)
    A, g = read(kept[0]).detach(), read(g)
    return torch.einsum("nk,nkij->nij", g.mean((2, 3)), A).relu()


TIMM = {
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 2},
    "deit_tiny_distilled_patch16_224": {"img_size": 64, "depth": 2},
    "vit_small_patch14_reg4_dinov2": {"img_size": 56, "depth": 2, "embed_dim": 48, "num_heads": 2},
    "vit_base_patch16_siglip_224": {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 2},
    "eva02_tiny_patch14_224": {"img_size": 56, "depth": 2},
}
EXTRA = {"deit_tiny_distilled_patch16_224": 2, "vit_small_patch14_reg4_dinov2": 5}


@pytest.mark.parametrize("name", TIMM)
def test_timm_s_vision_transformers(name: str) -> None:
    size = TIMM[name]["img_size"]
    model = seeded(lambda: timm.create_model(name, num_classes=5, **TIMM[name]))
    images = pictures(2, 3, size, size)
    extra = EXTRA.get(name, 0 if "siglip" in name else 1)

    def read(tokens: Tensor) -> Tensor:
        return tokens[:, extra:].mT.reshape(2, -1, 4, 4)

    for layer in ("blocks.0", "blocks.0.norm1", "blocks.0.mlp", "blocks.1.norm1"):
        expected = by_plain_hook(model, images, layer, 3, read)
        assert expected.any()
        assert_close(grad_cam(model, images, layer, 3), expected, rtol=1e-3, atol=1e-6)
    names = layer_names(model, images)
    assert not any("attn.q_norm" in layer or "attn.k_norm" in layer for layer in names)
    gradients = record(model, images, target=3).gradients(3)
    assert all(g.any() for g in gradients.values()), "the default's grid decides the score"


def test_torchvision_s_vision_transformer() -> None:
    model, images = seeded(torchvision_vit), pictures(2, 3, 32, 32)

    def read(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].mT.reshape(2, 24, 4, 4)

    for layer in ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"):
        expected = by_plain_hook(model, images, layer, 3, read)
        assert_close(grad_cam(model, images, layer, 3), expected)
    assert record(model, images).layers == ["encoder.layers.encoder_layer_1"]
    assert torch.equal(
        grad_cam(model, images, None, 3),
        grad_cam(model, images, "encoder.layers.encoder_layer_1", 3),
    )


def last(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("build", "layers", "read"),
    [
        (
            lambda: torchvision.models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4]),
            ["features.1.0", "features.1.1", "features.3", "norm"],
            last,
        ),
        (
            lambda: timm.create_model(
                "swin_tiny_patch4_window7_224",
                img_size=64,
                window_size=4,
                embed_dim=24,
                depths=(2, 2, 2),
                num_heads=(1, 2, 4),
            ),
            ["layers.0.blocks.0", "layers.1.blocks.1", "layers.2", "norm"],
            last,
        ),
        (
            lambda: timm.create_model("convnext_atto", depths=(1, 1, 1, 1)),
            ["stem", "stages.1", "stages.2.blocks.0"],
            lambda x: x,
        ),
        (
            lambda: timm.create_model("efficientnet_b0"),
            ["blocks.1", "blocks.3.0", "conv_head"],
            lambda x: x,
        ),
    ],
    ids=["torchvision swin", "timm swin", "timm convnext", "timm efficientnet"],
)
def test_maps_with_channels_first_and_last(
    build: Callable[[], nn.Module], layers: list[str], read: Callable[[Tensor], Tensor]
) -> None:
    model, images = seeded(build), pictures(2, 3, 64, 64)
    for layer in layers:
        expected = by_plain_hook(model, images, layer, 3, read)
        assert_close(grad_cam(model, images, layer, 3), expected, rtol=1e-3, atol=1e-6)
        alone = grad_cam(model, images[1:], layer, 3)
        assert_close(alone, expected[1:], rtol=1e-3, atol=1e-6)


def test_window_partitions_are_no_maps() -> None:
    model = seeded(
        lambda: torchvision.models.MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 8, 0.0, num_classes=4)
    )
    for n in (1, 2):
        names = layer_names(model, pictures(n, 3, 64, 64))
        assert "blocks.1" in names
        inside = [name for name in names if "attn_layer" in name or "partition_op" in name]
        assert [name for name in inside if "departition_op" not in name] == []


def test_the_trace_reads_each_run() -> None:
    model, images = net(lambda x: x.movedim(1, 3))
    calls = {call.name: call for call in trace(model, images).calls}
    assert list(calls) == ["conv", "middle", "linear"]
    assert calls["linear"].reading is None
    middle = calls["middle"]
    assert_close(middle.reading(middle.tensor), calls["conv"].tensor)


def test_guided_backpropagation_needs_no_maps() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3))
    assert guided_backprop(model, pictures(2, 3, 4, 4), 1).shape == (2, 3, 4, 4)
