"""What is refused: the type of each error and the words in it that help."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nets import functional, gap_head, gap_net, pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F

from camwidgets import maps
from camwidgets.maps.targets import classes, scores

IMAGES = pictures(2, 3, 8, 8)
METHODS: dict[str, Callable[..., Any]] = {
    "layer_names": lambda m, x, t=None: maps.layer_names(m, x),
    "record": lambda m, x, t=None: maps.record(m, x, ["0"]).gradients(t),
    "cam": maps.cam,
    "grad_cam": lambda m, x, t=None: maps.grad_cam(m, x, "0", t),
    "layer_cam": lambda m, x, t=None: maps.layer_cam(m, x, None, t),
    "hires_cam": lambda m, x, t=None: maps.hires_cam(m, x, None, t),
    "grad_cam_plus_plus": lambda m, x, t=None: maps.grad_cam_plus_plus(m, x, None, t),
    "score_cam": lambda m, x, t=None: maps.score_cam(m, x, None, t),
    "eigen_cam": lambda m, x, t=None: maps.eigen_cam(m, x, None),
    "positive_grad_cam": lambda m, x, t=None: maps.positive_grad_cam(m, x, None, t),
    "gradient": maps.gradient,
    "guided_backprop": maps.guided_backprop,
    "deconvnet": maps.deconvnet,
    "guided_grad_cam": lambda m, x, t=None: maps.guided_grad_cam(m, x, None, t),
}
WITH_TARGET = [name for name in METHODS if name not in ("layer_names", "eigen_cam")]
GRADIENTS = [name for name in WITH_TARGET if name not in ("cam", "score_cam")]


def words(*parts: str) -> str:
    """A pattern: these parts, in this order."""
    return "(?s)" + ".*".join(re.escape(part) for part in parts)


# ---- images --------------------------------------------------------------------------------------

BAD_IMAGES = {
    "numpy": (IMAGES.numpy(), TypeError, ("float tensor (N, C, H, W)", "ndarray", "from_numpy")),
    "a list": ([[0.0]], TypeError, ("float tensor", "list")),
    "None": (None, TypeError, ("float tensor", "NoneType")),
    "bytes": ((IMAGES * 255).byte(), TypeError, ("floats", "uint8", "float() / 255")),
    "integers": (IMAGES.long(), TypeError, ("floats", "int64")),
    "one image": (IMAGES[0], ValueError, ("(N, C, H, W)", "(3, 8, 8)", "images[None]")),
    "five axes": (IMAGES[None], ValueError, ("(1, 2, 3, 8, 8)",)),
    "no image": (IMAGES[:0], ValueError, ("empty",)),
    "no pixels": (IMAGES[:, :, :0], ValueError, ("empty", "(2, 3, 0, 8)")),
    "NaN": (IMAGES.clone().index_fill(0, torch.tensor(1), torch.nan), ValueError, ("NaN",)),
    "infinite": (IMAGES / 0, ValueError, ("infinite",)),
    "doubles": (IMAGES.double(), ValueError, ("float64", "weights torch.float32", "images.to(")),
    "gray": (IMAGES[:, :1], ValueError, ("(2, 1, 8, 8)", "3 channels", "1 channels")),
    "channels last": (IMAGES.movedim(1, 3), ValueError, ("(2, 8, 8, 3)", "3 channels")),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
@pytest.mark.parametrize("name", METHODS)
def test_images(name: str, case: str) -> None:
    images, error, parts = BAD_IMAGES[case]
    with pytest.raises(error, match=words(*parts)):
        METHODS[name](gap_net(), images)


def test_images_too_small_for_a_flatten_head() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    with pytest.raises(ValueError, match=words("(2, 3, 9, 9)", "shapes cannot be multiplied")) as e:
        maps.grad_cam(model, pictures(2, 3, 9, 9))
    assert isinstance(e.value.__cause__, RuntimeError)


# ---- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("net.pt", "str: make the model and load its weights"),
        (gap_net, "function: if it makes the model, call it, gap_net(…)"),
        (nn.Conv2d, "type: if it makes the model, call it, Conv2d(…)"),
        (gap_net().state_dict(), "of weights, make the model and call load_state_dict"),
    ],
)
def test_what_would_be_a_model(model: Any, says: str) -> None:
    for call in METHODS.values():
        with pytest.raises(TypeError, match=re.escape(says)):
            call(model, IMAGES)


def test_an_exported_program_for_other_shapes() -> None:
    exported = torch.export.export(gap_net(), (IMAGES[:1],)).module()
    for call in METHODS.values():
        with pytest.raises(ValueError, match=words("exported program", "(2, 3, 8, 8)", "Python")):
            call(exported, IMAGES)


@pytest.mark.parametrize("model", ["resnet18", None, nn.Conv2d, lambda x: x, {"weight": 1}])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_model(name: str, model: Any) -> None:
    with pytest.raises(TypeError, match=words("torch.nn.Module", type(model).__name__)):
        METHODS[name](model, IMAGES)


@pytest.mark.parametrize("name", METHODS)
def test_weights_elsewhere(name: str) -> None:
    with pytest.raises(ValueError, match=words("on cpu", "weights", "on meta", "images.to(")):
        METHODS[name](gap_net().to("meta"), IMAGES)
    with pytest.raises(ValueError, match=words("float32 on cpu", "weights torch.float64")):
        METHODS[name](gap_net().double(), IMAGES)


@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("name", METHODS)
def test_lazy_layers(name: str, where: int) -> None:
    model = gap_net()
    model[where] = nn.LazyConv2d(6, 3, padding=1) if where == 0 else nn.LazyLinear(4)
    with pytest.raises(ValueError, match=words("lazy", "call it once")):
        METHODS[name](model, IMAGES)


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("target", [None, 1, [0, 3]])
@pytest.mark.parametrize("name", WITH_TARGET)
def test_weights_that_are_nan(name: str, layer: int, target: Any) -> None:
    model = gap_net()
    nn.init.constant_(model[layer].weight, float("nan"))
    with pytest.raises(ValueError, match=words("NaN or infinite for image [0, 1]", "weights")):
        METHODS[name](model, IMAGES, target)


def test_only_the_image_in_question_is_named() -> None:
    output = torch.tensor([[1.0, 2.0], [float("inf"), 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"image \[1\]"):
        scores(output)
    with pytest.raises(ValueError, match=r"image \[1\]"):
        scores(output, 0)
    assert scores(output, 1).tolist() == [2, 0, 1]  # that class is well


# ---- targets -------------------------------------------------------------------------------------

BAD_TARGETS = {
    "too large": (4, ValueError, ("target 4", "classes 0 to 3")),
    "negative": (-1, ValueError, ("target -1", "classes 0 to 3")),
    "one of them too large": ([0, 4], ValueError, ("[0, 4]", "classes 0 to 3")),
    "one of them negative": (torch.tensor([-1, 0]), ValueError, ("-1", "classes 0 to 3")),
    "float": (1.0, TypeError, ("int", "float32")),
    "floats": (torch.tensor([1.0, 0.0]), TypeError, ("int", "float32")),
    "bool": (True, TypeError, ("int", "bool")),
    "bools": ([True, False], TypeError, ("int", "bool")),
    "a name": ("ring", TypeError, ("int", "'ring'")),
    "names": (["ring", "ring"], TypeError, ("int", "'ring'")),
    "None among them": ([None, 1], TypeError, ("int", "[None, 1]")),
    "ragged": ([[0], [0, 1]], TypeError, ("int", "[[0], [0, 1]]")),
    "too few": ([1], ValueError, ("(1,)", "2 images")),
    "too many": ([1, 2, 3], ValueError, ("(3,)", "2 images")),
    "two axes": (torch.zeros(2, 1, dtype=torch.long), ValueError, ("(2, 1)", "2 images")),
    "empty": ([], TypeError, ("int",)),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
@pytest.mark.parametrize("name", WITH_TARGET)
def test_targets(name: str, case: str) -> None:
    target, error, parts = BAD_TARGETS[case]
    with pytest.raises(error, match=words(*parts)):
        METHODS[name](gap_net(), IMAGES, target)


@pytest.mark.parametrize(
    "target",
    [2, np.int64(2), np.array([2, 2]), [2, 2], (2, 2), torch.tensor(2), torch.full((2,), 2).byte()],
)
def test_every_way_to_write_a_class(target: Any) -> None:
    output = torch.arange(8.0).view(2, 4)
    assert classes(output, target).tolist() == [2, 2]
    assert scores(output, target).tolist() == [2, 6]


def test_a_small_integer_type_does_not_overflow() -> None:
    output = torch.zeros(2, 300)
    assert classes(output, torch.tensor([50, 255], dtype=torch.uint8)).tolist() == [50, 255]
    assert classes(output, torch.tensor([7, 127], dtype=torch.int8)).tolist() == [7, 127]


BAD_CALLABLES = {
    "all classes": (lambda o: o, ValueError, ("(N,)", "(2, 4)", "output[:, 3]")),
    "a column": (lambda o: o[:, :1], ValueError, ("(N,)", "(2, 1)")),
    "one number": (lambda o: o.sum(), ValueError, ("(N,)", "()")),
    "a float": (lambda o: 1.0, ValueError, ("(N,)", "float")),
    "None": (lambda o: None, ValueError, ("(N,)", "NoneType")),
    "numpy": (lambda o: o.detach().numpy()[:, 0], ValueError, ("(N,)", "ndarray")),
    "the first image": (lambda o: o[0], ValueError, ("4 came for 2", "output[:, 3]")),
    "too few": (lambda o: o[:1, 0], ValueError, ("1 came for 2",)),
    "NaN": (lambda o: o[:, 0] * float("nan"), ValueError, ("NaN", "image [0, 1]")),
    "detached": (lambda o: o[:, 0].detach(), ValueError, ("no gradient", "detach()")),
    "no_grad": (torch.no_grad()(lambda o: o[:, 0] * 2), ValueError, ("no gradient", "no_grad")),
    "a constant": (lambda o: torch.ones(2), ValueError, ("no gradient",)),
    "classes": (lambda o: o.argmax(1), ValueError, ("no gradient",)),
}


@pytest.mark.parametrize("case", BAD_CALLABLES)
@pytest.mark.parametrize("name", GRADIENTS)
def test_callable_targets(name: str, case: str) -> None:
    target, error, parts = BAD_CALLABLES[case]
    with pytest.raises(error, match=words(*parts)):
        METHODS[name](gap_net(), IMAGES, target)


def test_cam_takes_no_callable() -> None:
    with pytest.raises(TypeError, match=words("class", "int")):
        maps.cam(gap_net(), IMAGES, lambda output: output[:, 0])


@pytest.mark.parametrize("name", GRADIENTS)
def test_outputs_that_need_a_callable(name: str) -> None:
    heads = {
        "a tuple": lambda o: (o, o),
        "a dict": lambda o: {"logits": o},
        "a tensor of shape (2, 2, 2)": lambda o: o.view(2, 2, 2),
        "a tensor of shape ()": lambda o: o.sum(),
    }
    for found, head in heads.items():

        class Wrapped(nn.Sequential):
            def forward(self, x: Tensor, head: Callable = head) -> Any:
                return head(super().forward(x))

        for target in (None, 1):
            with pytest.raises(ValueError, match=words(found, "callable", "lambda output")):
                METHODS[name](Wrapped(*gap_net()), IMAGES, target)


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_squeezed_batch_of_one(name: str) -> None:
    """(1, K).squeeze() is (K,), which looks like one value for each of K images."""

    class Squeezed(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).squeeze()

    model = Squeezed(*gap_net())
    with pytest.raises(ValueError, match=words("4 came for 1 image", "squeeze()")):
        METHODS[name](model, IMAGES[:1])
    METHODS[name](model, IMAGES)


# ---- layers --------------------------------------------------------------------------------------

LAYERED = {
    "grad_cam": maps.grad_cam,
    "layer_cam": maps.layer_cam,
    "positive_grad_cam": maps.positive_grad_cam,
    "guided_grad_cam": maps.guided_grad_cam,
    "record": lambda m, x, layer: maps.record(m, x, [layer]),
}
KNOWN = ", ".join(repr(str(i)) for i in range(7))


@pytest.mark.parametrize("name", LAYERED)
def test_layers(name: str) -> None:
    f, model = LAYERED[name], gap_net()
    for layer in ("conv", "layer4.1", "", "0.weight"):
        with pytest.raises(ValueError, match=words(f"no layer named {layer!r}", KNOWN)):
            f(model, IMAGES, layer)
    stranger = nn.Conv2d(3, 4, 3)
    for layer, kind in ((stranger, "Conv2d"), (gap_net()[0], "Conv2d"), (model, "Sequential")):
        with pytest.raises(ValueError, match=words(f"This {kind} is no layer", KNOWN)):
            f(model, IMAGES, layer)
    for layer in (3, b"0", ["0"], True):
        with pytest.raises(TypeError, match=words("name or a module", type(layer).__name__)):
            f(model, IMAGES, layer)
    with pytest.raises(ValueError, match=words("'8' gives no feature map", KNOWN)):
        f(model, IMAGES, "8")


def test_images_inside_a_transform_of_torch_func() -> None:
    model = gap_net()
    for inside in (
        torch.func.grad(lambda x: maps.grad_cam(model, x).sum()),
        torch.vmap(lambda x: maps.guided_backprop(model, x[None])),
    ):
        with pytest.raises(ValueError, match=words("torch.func or vmap", "outside of it")):
            inside(IMAGES)


def test_one_layer_need_not_be_in_a_list() -> None:
    model = gap_net()
    assert maps.record(model, IMAGES, "4").layers == ["4"]
    assert maps.record(model, IMAGES, model[4]).layers == ["4"]


# ---- CAM's head ----------------------------------------------------------------------------------


def sequential(*head: nn.Module) -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *head))


def pool() -> tuple[nn.Module, nn.Module]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()


HEADS = {
    "Flatten → Linear": lambda: sequential(nn.Flatten(), nn.Linear(144, 3)),
    "AdaptiveAvgPool2d → Flatten → Linear → ReLU → Linear": lambda: sequential(
        *pool(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)
    ),
    "AdaptiveMaxPool2d → Flatten → Linear": lambda: sequential(
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ),
    "AdaptiveAvgPool2d → Flatten → Linear → LogSoftmax": lambda: sequential(
        *pool(), nn.Linear(4, 3), nn.LogSoftmax(1)
    ),
    "AdaptiveAvgPool2d → Flatten → BatchNorm1d → Linear": lambda: sequential(
        *pool(), nn.BatchNorm1d(4, eps=1), nn.Linear(4, 3)
    ),
    "AdaptiveAvgPool2d → Flatten. ": lambda: sequential(nn.Conv2d(4, 3, 1), *pool()),
}


@pytest.mark.parametrize("found", HEADS)
@pytest.mark.parametrize("scale", [1, 1e-6])
def test_cam_names_the_head_and_grad_cam(found: str, scale: float) -> None:
    with pytest.raises(ValueError, match=words("CAM needs", f"has: {found}", "Use grad_cam")):
        maps.cam(HEADS[found](), IMAGES * scale)
    assert torch.isfinite(maps.grad_cam(HEADS[found](), IMAGES)).all()


def test_cam_tells_images_that_are_too_small() -> None:
    early, late = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 6)
    many = [nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()) for _ in range(4)]
    model = seeded(lambda: nn.Sequential(early, late, *many, *gap_head()))
    found = "has: Conv2d → BatchNorm2d → 6 more → ReLU → AdaptiveAvgPool2d → Flatten → Linear"
    with pytest.raises(ValueError, match=words(found, "1×1 for images of 8×8: larger ones")):
        maps.cam(model, pictures(1, 3, 8, 8))
    assert maps.cam(model, pictures(1, 3, 12, 12)).shape == (1, 5, 5)
    pooled = sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="CAM needs") as caught:
        maps.cam(pooled, IMAGES)
    assert "larger" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (lambda net, A: F.log_softmax(net.linear(A.mean((2, 3))), 1), "output is not that of"),
        (lambda net, A: net.linear(A.mean((2, 3))).softmax(1), "output is not that of"),
        (lambda net, A: {"logits": net.linear(A.mean((2, 3)))}, "output is not that of"),
        (lambda net, A: net.linear(A.amax((2, 3))), "not the mean"),
        (lambda net, A: net.linear(A.mean((2, 3)).tanh()), "not the mean"),
        (lambda net, A: net.linear(A[:, :, 1:].mean((2, 3))), "not the mean"),
        (lambda net, A: net.linear(A.sigmoid().mean((2, 3))), "not the mean"),
    ],
)
def test_cam_says_what_is_wrong_with_a_linear_layer(head: Callable, reason: str) -> None:
    with pytest.raises(ValueError, match=words("has: Linear", reason, "grad_cam")):
        maps.cam(functional(head), IMAGES)


def test_cam_of_scores_without_a_gradient_says_how_to_name_the_map() -> None:
    model = sequential(*gap_head())
    expected = maps.cam(model, IMAGES, 1)
    model.forward = torch.no_grad()(model.forward)
    with pytest.raises(ValueError, match=r"record\(model, images, \['1'\]\)") as caught:
        maps.cam(model, IMAGES, 1)
    assert "no gradient" in str(caught.value.__cause__)
    assert torch.equal(maps.cam_of(maps.record(model, IMAGES, ["1"]), 1), expected)


def test_cam_of_a_head_without_a_layer() -> None:
    with pytest.raises(ValueError, match=words("has: no layer", "grad_cam")):
        maps.cam(functional(lambda net, A: A.mean((2, 3))), IMAGES)


# ---- what a message advises works ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "says", "target"),
    [
        (lambda o: (o, o), "output[0][:, 3]", lambda output: output[0][:, 3]),
        (
            lambda o: o[..., None, None].expand(-1, -1, 2, 2),
            "output[:, 3].mean((1, 2))",
            lambda output: output[:, 3].mean((1, 2)),
        ),
        (lambda o: torch.complex(o, o), "complex64", lambda output: output[:, 3].abs()),
        (lambda o: o > 0, "torch.bool", None),
        (lambda o: o[:, :0], "(2, 0)", None),
        (lambda o: o[:, 3], "lambda output: output.", lambda output: output),
        (
            lambda o: SimpleNamespace(logits=o),
            "output.logits[:, 3]",
            lambda output: output.logits[:, 3],
        ),
    ],
)
def test_an_output_without_classes(head: Callable, says: str, target: Any) -> None:
    class Headed(nn.Sequential):
        def forward(self, x: Tensor) -> Any:
            return head(super().forward(x))

    model = Headed(*gap_net())
    with pytest.raises(ValueError, match=words("output", says)):
        maps.grad_cam(model, IMAGES, "6", 1)
    if target is not None:
        assert maps.grad_cam(model, IMAGES, "6", target).shape == (2, 4, 4)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_no_masks(batch_size: int) -> None:
    with pytest.raises(ValueError, match=words("batch_size", "1 or more", str(batch_size))):
        maps.score_cam(gap_net(), IMAGES, "6", 1, batch_size=batch_size)
