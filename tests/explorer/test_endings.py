"""How networks end, what their scores mean, and the scores before the ending."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nets import IMAGE, functional, seeded, worked_gap_net
from torch import Tensor, nn
from torch.nn import functional as F

import camwidgets as cw
from camwidgets.explorer.atlas import Atlas
from camwidgets.explorer.endings import Watch, meaning, plain, rows
from camwidgets.explorer.inputs import prepare

PICTURE = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
X = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255


def net(end, classes: int = 3) -> nn.Module:
    """Convolutions, the mean over positions, a linear layer, and `end`."""

    def head(own, A: Tensor):
        logits = own.linear(A.relu().mean((2, 3)))
        return end(8 * logits[:, :classes])

    return functional(head)


def logits_of(classes: int = 3) -> Tensor:
    return net(lambda y: y, classes)(X)


ENDINGS = {
    "nn.Softmax": (nn.Softmax(dim=1), "softmax"),
    "F.softmax": (lambda y: F.softmax(y, dim=-1), "softmax"),
    "torch.softmax": (lambda y: torch.softmax(y, 1), "softmax"),
    "Tensor.softmax": (lambda y: y.softmax(dim=1), "softmax"),
    "by keywords": (lambda y: F.softmax(input=y, dim=1), "softmax"),
    "a view": (lambda y: y[:, :, None, None].softmax(1).flatten(1), "softmax"),
    "a map of 1×1": (lambda y: y[:, :, None, None].softmax(1), "softmax"),
    "nn.LogSoftmax": (nn.LogSoftmax(dim=1), "softmax"),
    "F.log_softmax": (lambda y: F.log_softmax(y, 1), "softmax"),
    "Tensor.log_softmax": (lambda y: y.log_softmax(-1), "softmax"),
    "nn.Sigmoid": (nn.Sigmoid(), "sigmoid"),
    "F.sigmoid": (F.sigmoid, "sigmoid"),
    "Tensor.sigmoid": (lambda y: y.sigmoid(), "sigmoid"),
    "in place": (lambda y: y.sigmoid_(), "sigmoid"),
    "nn.LogSigmoid": (nn.LogSigmoid(), "sigmoid"),
    "cast": (lambda y: y.double().softmax(1).float(), "softmax"),
    "cloned": (lambda y: y.softmax(1)[..., None].clone().squeeze(2), "softmax"),
    "logits in a mapping": (lambda y: {"logits": y.softmax(1), "loss": None}, "softmax"),
    "logits in an object": (lambda y: SimpleNamespace(logits=y), "softmax"),
    "none": (lambda y: y, "softmax"),
    "a sigmoid before the end": (lambda y: y.sigmoid().logit(), "softmax"),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_maps_and_scores_are_those_of_the_logits(case: str) -> None:
    end, activation = ENDINGS[case]
    atlas = Atlas({"net": net(end)}, prepare(PICTURE))
    logits, logit_net = logits_of(), net(lambda y: y)
    assert atlas.offer["scoreName"] == {"net": "logit"}
    assert atlas.offer["activation"] == {"net": activation}
    header = atlas.part("scores/0/0").header
    np.testing.assert_allclose(header["scores"], logits[0].detach(), rtol=1e-4)
    shares = logits.softmax(1) if activation == "softmax" else logits.sigmoid()
    np.testing.assert_allclose(header["shares"], shares[0].detach(), rtol=1e-4)
    for c in range(3):
        (_, heat) = atlas.part(f"maps/0/0/{c}/Grad-CAM").raw()
        expected = cw.grad_cam(logit_net, X, "last", c, relu=False)[0]
        np.testing.assert_allclose(heat, expected, atol=float(expected.abs().max()) * 1e-4)


@pytest.mark.parametrize("end", [lambda y: y, nn.Sigmoid(), lambda y: y.sigmoid().squeeze(1)])
@pytest.mark.parametrize("names", [None, ["no crack", "crack"], ["crack"]])
def test_a_single_logit_has_two_sides(end, names) -> None:
    activation = "sigmoid" if end(torch.zeros(1, 1)).flatten() == 0 else None
    atlas = Atlas({"net": net(end, 1)}, prepare(PICTURE), class_names=names, activation=activation)
    expected = names if names and len(names) == 2 else ["not crack", "crack"]
    assert atlas.offer["names"]["net"] == (["class 0", "class 1"] if names is None else expected)
    assert atlas.offer["activation"] == {"net": "sides"}
    z = float(logits_of(1).detach())
    header = atlas.part("scores/0/0").header
    np.testing.assert_allclose(header["scores"], [-z, z], rtol=1e-4)
    np.testing.assert_allclose(header["shares"], [1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))])
    against, speaks_for = (atlas.part(f"maps/0/0/{c}/Grad-CAM").raw()[-1] for c in (0, 1))
    np.testing.assert_allclose(against, -speaks_for)
    assert np.abs(speaks_for).max() > 0
    expected_map = cw.grad_cam(net(lambda y: y, 1), X, "last", 0, relu=False)[0]
    heat = atlas.part("maps/0/0/1/Grad-CAM").raw()[-1]
    np.testing.assert_allclose(heat, expected_map, atol=float(expected_map.abs().max()) * 1e-4)


def test_cam_of_both_sides() -> None:
    """IMAGE's map is (2.5, 0.75) on the mean, weights (1, -2): by hand in `nets`."""
    model = worked_gap_net()
    model[-1].weight, model[-1].bias = (nn.Parameter(p[:1]) for p in model[-1].parameters())
    atlas = Atlas({"net": nn.Sequential(*model, nn.Sigmoid())}, prepare(IMAGE[0].clone()))
    ((against,), (speaks_for,)) = (atlas.part(f"maps/0/0/{c}/CAM").raw() for c in (0, 1))
    np.testing.assert_allclose(speaks_for, [[1 - 4, 2 - 2], [3, 4]], atol=1e-3)
    np.testing.assert_allclose(against, -speaks_for)
    assert atlas.part("scores/0/0").header["scores"] == [-1.5, 1.5]


def test_two_names_say_that_one_score_has_two_sides() -> None:
    named = Atlas({"net": net(lambda y: y, 1)}, prepare(PICTURE), class_names=["no", "yes"])
    assert named.offer["activation"] == {"net": "sides"}
    assert named.offer["classes"] == {"net": 2}


@pytest.mark.parametrize("end", [lambda y: y, lambda y: y[:, 0]])
def test_a_regression_has_no_shares(end) -> None:
    atlas = Atlas({"net": net(end, 1)}, prepare(PICTURE))
    assert atlas.offer["names"] == {"net": ["output"]}
    assert atlas.offer["activation"] == {"net": "none"}
    assert atlas.offer["scoreName"] == {"net": "output"}
    header = atlas.part("scores/0/0").header
    assert header["scores"] == [pytest.approx(float(logits_of(1).detach()))]
    assert header["shares"] == [None]


def test_worked_shares() -> None:
    scores = torch.tensor([3.0, 3.0, 3.0, -3.0])
    sigmoid = meaning(None, scores, "sigmoid", None)
    assert sigmoid.shares(scores) == pytest.approx([0.952574, 0.952574, 0.952574, 0.047426], 1e-5)
    softmax = meaning(None, scores, None, None)
    assert softmax.shares(scores) == pytest.approx([0.333058, 0.333058, 0.333058, 0.000826], 1e-3)
    assert meaning(None, scores, "none", None).shares(scores) == [None] * 4


def test_shares_made_by_hand_are_shown_as_they_are() -> None:
    shares = torch.tensor([0.7, 0.2, 0.1])
    by_hand = meaning(None, shares, None, None)
    assert (by_hand.activation, by_hand.score_name) == ("none", "probability")
    assert by_hand.shares(shares) == pytest.approx([0.7, 0.2, 0.1])
    logs = meaning(None, shares.log(), None, None)
    assert (logs.activation, logs.score_name) == ("none", "log-probability")
    assert logs.shares(shares.log()) == pytest.approx([0.7, 0.2, 0.1])


def test_a_mean_of_shares_is_shown_and_the_note_says_that_logits_are_better() -> None:
    twice = net(lambda y: (y.softmax(1) + (2 * y).softmax(1)) / 2)
    offer = Atlas({"net": twice}, prepare(PICTURE)).offer
    assert offer["scoreName"] == {"net": "probability"}
    assert "return logits" in offer["note"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_caller_s_grad_mode_makes_no_difference(mode) -> None:
    with mode():
        atlas = Atlas({"net": net(nn.Softmax(1))}, prepare(PICTURE))
        inside = atlas.part("maps/0/0/1/Grad-CAM").raw()[-1]
    expected = cw.grad_cam(net(lambda y: y), X, "last", 1, relu=False)[0]
    np.testing.assert_allclose(inside, expected, atol=float(expected.abs().max()) * 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_precision(dtype) -> None:
    atlas = Atlas({"net": net(nn.Softmax(1)).to(dtype)}, prepare(PICTURE))
    expected = cw.grad_cam(net(lambda y: y), X, "last", 1, relu=False)[0]
    heat = atlas.part("maps/0/0/1/Grad-CAM").raw()[-1]
    np.testing.assert_allclose(heat, expected, atol=float(expected.abs().max()) * 0.05)


@pytest.mark.parametrize(
    "end",
    [nn.Tanh(), nn.ReLU(), nn.Hardsigmoid(), nn.Softplus(), torch.exp, lambda y: y.clamp(0, 1)],
)
def test_outputs_of_an_activation_are_no_logits(end) -> None:
    atlas = Atlas({"net": net(end)}, prepare(PICTURE))
    assert atlas.offer["scoreName"] == {"net": "output"}
    assert "ends in an activation" in atlas.offer["note"]
    header = atlas.part("scores/0/0").header
    assert header["shares"] == [None] * 3
    np.testing.assert_allclose(header["scores"], end(logits_of())[0].detach(), rtol=1e-5)
    said = Atlas({"net": net(end)}, prepare(PICTURE), activation="softmax")
    assert said.offer["scoreName"] == {"net": "logit"}


def test_clipped_logits_are_logits() -> None:
    for end in (lambda y: y.clamp(-9, 9), lambda y: 30 * torch.tanh(y / 30)):
        assert Atlas({"net": net(end)}, prepare(PICTURE)).offer["scoreName"] == {"net": "logit"}


def test_what_the_user_says_counts() -> None:
    softmaxed = net(nn.Softmax(1))
    atlas = Atlas({"net": softmaxed}, prepare(PICTURE), activation="none")
    assert atlas.offer["scoreName"] == {"net": "output"}
    np.testing.assert_allclose(
        atlas.part("scores/0/0").header["scores"], softmaxed(X)[0].detach(), rtol=1e-5
    )
    said = Atlas({"net": net(nn.LogSoftmax(1))}, prepare(PICTURE), activation="softmax")
    np.testing.assert_allclose(
        said.part("scores/0/0").header["scores"], logits_of()[0].detach(), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("end", "classes", "activation", "says"),
    [
        (nn.Softmax(1), 3, "sigmoid", r"ends in a softmax.*activation='sigmoid'"),
        (nn.Sigmoid(), 3, "softmax", r"ends in a sigmoid.*activation='softmax'"),
        (lambda y: y, 3, "tanh", r"'softmax', 'sigmoid', 'none' or None, not 'tanh'"),
        (nn.Softmax(1), 1, None, r"softmax of one score is always 1"),
    ],
)
def test_contradictions_are_refused(end, classes: int, activation, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Atlas({"net": net(end, classes)}, prepare(PICTURE), activation=activation)


def test_a_gate_inside_is_no_ending() -> None:
    """A squeeze-and-excitation gate ends in a sigmoid, as other parts may."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            A = self.conv(x)
            gate = A.mean((2, 3)).sigmoid()
            return self.out((A * gate[..., None, None]).relu().mean((2, 3))) * gate

    atlas = Atlas({"net": seeded(Gated)}, prepare(PICTURE))
    assert atlas.offer["activation"] == {"net": "softmax"}
    with torch.no_grad():
        expected = seeded(Gated)(X)[0]
    np.testing.assert_allclose(atlas.part("scores/0/0").header["scores"], expected, rtol=1e-5)


def test_a_forward_set_on_the_object_is_kept() -> None:
    model = net(lambda y: y)
    first = model.forward
    model.forward = lambda x: first(x) + 1
    atlas = Atlas({"net": model}, prepare(PICTURE))
    np.testing.assert_allclose(
        atlas.part("scores/0/0").header["scores"], logits_of()[0].detach() + 1, rtol=1e-4
    )


def test_outputs_as_rows() -> None:
    y = torch.rand(2, 3)
    assert torch.equal(rows({"logits": y}), y)
    assert torch.equal(rows(y[:, :, None, None]), y)
    assert rows(y[:, 0]).shape == (2, 1)
    assert rows((y, y)) is None
    assert rows(y[None]) is None
    assert rows(torch.rand(2, 3, 4, 4)) is None


def test_the_ending_is_found_by_where_its_numbers_are() -> None:
    y = torch.rand(1, 3)
    with Watch() as watch:
        shares = y.softmax(1)
        other = y.softmax(1)
    kind, given = watch.ending(shares)
    assert kind == "softmax"
    assert given is y or torch.equal(given, y)
    assert watch.ending(other * 1) is None
    assert watch.ending(shares[:, :2]) is None
    assert watch.ending(None) is None


def test_two_sides_for_methods_of_one_s_own() -> None:
    one = plain(net(nn.Sigmoid(), 1), cut=True, sides=True)
    z = logits_of(1)
    np.testing.assert_allclose(one(X).detach(), torch.cat([-z, z], 1).detach(), rtol=1e-5)
