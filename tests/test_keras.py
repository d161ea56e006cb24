"""Keras 3 models: the same maps as their PyTorch twins, by Keras's names, and left as they were."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from untouched import untouched

os.environ["KERAS_BACKEND"] = "torch"
keras = pytest.importorskip("keras")
layers = keras.layers

import camwidgets as cw  # noqa: E402
from camwidgets.keras import as_torch  # noqa: E402


def pictures(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def uneven(model: keras.Model, seed: int = 0) -> keras.Model:
    """Batch-norm statistics and biases that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif variable.name == "kernel":
            variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


def body() -> list[keras.Layer]:
    return [
        layers.Conv2D(6, 3, padding="same", name="first"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.MaxPooling2D(name="pool"),
        layers.Dropout(0.5, name="drop"),
        layers.Conv2D(8, 3, activation="relu", name="last"),
    ]


def head(classes: int = 4, activation: str | None = "softmax") -> list[keras.Layer]:
    return [
        layers.GlobalAveragePooling2D(name="gap"),
        layers.Dense(classes, activation=activation, name="scores"),
    ]


def sequential() -> keras.Model:
    return keras.Sequential([keras.Input((12, 16, 3)), *body(), *head()])


def functional() -> keras.Model:
    given = x = keras.Input((12, 16, 3))
    for layer in (*body(), *head()):
        x = layer(x)
    return keras.Model(given, x)


def nested() -> keras.Model:
    backbone = keras.Sequential([keras.Input((12, 16, 3)), *body()], name="backbone")
    given = keras.Input((12, 16, 3))
    x = backbone(given)
    for layer in head():
        x = layer(x)
    return keras.Model(given, x)


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.body = body()
        self.parts = {"gap": head()[0], "scores": head()[1]}

    def call(self, x: Tensor) -> Tensor:
        for layer in self.body:
            x = layer(x)
        return self.parts["scores"](self.parts["gap"](x))


def subclassed() -> keras.Model:
    model = Subclassed()
    model(np.zeros((1, 12, 16, 3), "float32"))
    return model


def twin(model: keras.Model) -> nn.Module:
    """The same network in PyTorch, with the weights of `model`."""
    net = nn.Sequential()
    net.first, net.norm = nn.Conv2d(3, 6, 3, padding="same"), nn.BatchNorm2d(6, eps=1e-3)
    net.relu, net.pool = nn.ReLU(), nn.MaxPool2d(2)
    net.last, net.relu2 = nn.Conv2d(6, 8, 3), nn.ReLU()
    net.gap, net.flat, net.scores = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    source = {"/".join(v.path.split("/")[-2:]): v.value for v in model.variables}
    with torch.no_grad():
        for name in ("first", "last"):
            conv = getattr(net, name)
            conv.weight.copy_(source[f"{name}/kernel"].permute(3, 2, 0, 1))
            conv.bias.copy_(source[f"{name}/bias"])
        net.norm.weight.copy_(source["norm/gamma"])
        net.norm.bias.copy_(source["norm/beta"])
        net.norm.running_mean.copy_(source["norm/moving_mean"])
        net.norm.running_var.copy_(source["norm/moving_variance"])
        net.scores.weight.copy_(source["scores/kernel"].T)
        net.scores.bias.copy_(source["scores/bias"])
    return net.eval()


MODELS = [sequential, functional, nested, subclassed]
each_model = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


@each_model
def test_same_maps_as_the_twin_in_pytorch(make):
    model = uneven(make())
    net, other, x = as_torch(model), twin(model), pictures(3, 3, 12, 16)
    path = "backbone." if make is nested else ""
    torch.testing.assert_close(net(x), other(x), atol=1e-5, rtol=0)
    for name, same in (("first", "first"), ("relu", "relu"), ("pool", "pool"), ("last", "relu2")):
        for method in (cw.grad_cam, cw.maps.layer_cam, cw.maps.positive_grad_cam):
            ours, theirs = method(net, x, path + name, 2), method(other, x, same, 2)
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    for method in (cw.cam, cw.guided_backprop, cw.guided_grad_cam):
        ours, theirs = method(net, x, target=[0, 1, 3]), method(other, x, target=[0, 1, 3])
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(cw.grad_cam(net, x), cw.grad_cam(other, x), atol=1e-5, rtol=0)


@each_model
def test_layers_answer_to_keras_names(make):
    model = make()
    names = cw.layer_names(as_torch(model), pictures(1, 3, 12, 16))
    found = ["first", "norm", "relu", "pool", "drop", "last"]
    if make is nested:
        assert [n for n in names if "." in n] == [f"backbone.{name}" for name in found]
        assert [model.get_layer("backbone").get_layer(name) for name in found]
    else:
        assert names == found
        assert [model.get_layer(name) for name in found]


@each_model
def test_the_model_is_not_touched(make):
    model, x = uneven(make()), pictures(2, 3, 12, 16)
    model.trainable_variables[0].value.grad = torch.ones_like(model.trainable_variables[0].value)
    names = [v.path for v in model.variables]
    model(x.permute(0, 2, 3, 1))  # Keras itself notes the first call
    with untouched(model, x):
        net = as_torch(model)
        with torch.no_grad():
            cw.grad_cam(net, x)
        cw.cam(net, x)
        cw.guided_backprop(net, x)
    assert [v.path for v in model.variables] == names
    assert not torch.nn.modules.module._global_forward_hooks


def test_dropout_and_batch_norm_rest_whatever_keras_is_told():
    model, x = uneven(sequential()), pictures(4, 3, 12, 16)
    net = as_torch(model)
    model.train()
    net.train()
    before = [v.value.clone() for v in model.variables]
    torch.testing.assert_close(cw.grad_cam(net, x, target=1), cw.grad_cam(net, x, target=1))
    torch.testing.assert_close(net(x), twin(model)(x), atol=1e-5, rtol=0)
    for was, variable in zip(before, model.variables, strict=True):
        assert torch.equal(was, variable.value)


def test_training_on_is_seen_and_a_copy_stays():
    import copy

    model, x = uneven(sequential()), pictures(8, 3, 12, 16)
    net = as_torch(model)
    kept, before = copy.deepcopy(net), cw.grad_cam(net, x, target=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x.permute(0, 2, 3, 1).numpy(), np.arange(8) % 4, epochs=2, verbose=0)
    torch.testing.assert_close(cw.grad_cam(kept, x, target=0), before)
    assert not torch.allclose(cw.grad_cam(net, x, target=0), before)
    torch.testing.assert_close(net(x), as_torch(model)(x))


@pytest.mark.parametrize(
    "end",
    [
        lambda: [layers.Dense(4, activation="softmax", name="scores")],
        lambda: [layers.Dense(4, name="scores"), layers.Softmax()],
        lambda: [layers.Dense(4, name="scores"), layers.Activation("softmax")],
        lambda: [layers.Dense(4, activation="sigmoid", name="scores")],
        lambda: [layers.Dense(4, name="scores")],
        lambda: [keras.Sequential([layers.Dense(4, activation="softmax", name="scores")])],
    ],
)
def test_scores_are_logits_and_cam_takes_the_head(end):
    stack = [keras.Input((12, 16, 3)), *body(), head()[0], *end()]
    model, x = uneven(keras.Sequential(stack)), pictures(2, 3, 12, 16)
    other = twin(model)
    torch.testing.assert_close(as_torch(model)(x), other(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(cw.cam(as_torch(model), x), cw.cam(other, x), atol=1e-5, rtol=0)


def test_a_gate_inside_keeps_its_sigmoid():
    gate, given = layers.Activation("sigmoid", name="gate"), keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(given)
    x = layers.Multiply(name="gated")([x, gate(layers.Conv2D(4, 1, name="squeeze")(x))])
    model = uneven(keras.Model(given, gate(layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))))
    x = pictures(2, 3, 8, 8)
    torch.testing.assert_close(as_torch(model)(x).sigmoid(), model(x.permute(0, 2, 3, 1)))


class Lamp(keras.Model):
    """A mask by a convolution with a sigmoid of its own, and by one that is called."""

    def __init__(self, inside: bool) -> None:
        super().__init__()
        self.conv = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")
        self.out = layers.Conv2D(1, 1, activation="sigmoid" if inside else None, name="out")
        self.inside = inside

    def call(self, x: Tensor) -> dict[str, Tensor]:
        y = self.out(self.conv(x))
        return {"mask": y if self.inside else keras.activations.sigmoid(y)}


@pytest.mark.parametrize("inside", [True, False])
def test_segmentation_gives_logits_channels_first(inside):
    model, x = Lamp(inside), pictures(2, 3, 10, 8)
    probability = model(x.permute(0, 2, 3, 1))["mask"]
    net = as_torch(model)
    mask = net(x)["mask"]
    torch.testing.assert_close(mask.sigmoid(), probability.permute(0, 3, 1, 2))
    heat = cw.grad_cam(net, x, "conv", lambda output: output["mask"][:, 0, 2:5, 2:5].mean((1, 2)))
    kernel = model.out.kernel.value.detach()[0, 0, :, 0]
    A = F.relu(model.conv(x.permute(0, 2, 3, 1)).detach())
    torch.testing.assert_close(heat, (A @ kernel).relu() / 80, atol=1e-6, rtol=1e-4)


def test_a_model_that_counts_its_channels_first():
    stack = [
        keras.Input((3, 12, 16)),
        layers.Conv2D(5, 3, data_format="channels_first", activation="relu", name="conv"),
        layers.GlobalAveragePooling2D(data_format="channels_first"),
        layers.Dense(2),
    ]
    net, x = as_torch(keras.Sequential(stack)), pictures(1, 3, 12, 16)
    assert cw.maps.record(net, x, ["conv"]).features["conv"].shape == (1, 5, 10, 14)
    torch.testing.assert_close(cw.cam(net, x) / 140, cw.grad_cam(net, x, relu=False))


def test_a_layer_in_a_wrapper_and_layers_of_one_name():
    class Twice(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(name="twice")
            self.one = layers.Conv2D(4, 3, name="conv")
            self.two = layers.Conv2D(5, 3, name="conv")

        def call(self, x: Tensor) -> Tensor:
            return self.two(self.one(x))

    model = keras.Sequential([keras.Input((9, 9, 3)), Twice(), *head(2)])
    net = as_torch(model)
    names = cw.layer_names(net, pictures(1, 3, 9, 9))
    assert names == ["twice.conv", "twice.conv_1", "twice"]
    assert set(dict(net.named_parameters())) == {
        *("twice.conv.kernel", "twice.conv.bias", "twice.conv_1.kernel", "twice.conv_1.bias"),
        *("scores.kernel", "scores.bias"),
    }


def test_two_threads_at_once_get_their_own_maps():
    model = uneven(functional())
    net, batches = as_torch(model), [pictures(4, 3, 12, 16, seed=seed) for seed in range(4)]
    alone = [cw.grad_cam(net, x, "first", 1) for x in batches]
    found: dict[int, list[Tensor]] = {k: [] for k in range(4)}

    def work(k: int) -> None:
        mine = as_torch(model)
        for _ in range(10):
            found[k].append(cw.grad_cam(mine, batches[k], "first", 1))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, expected in enumerate(alone):
        assert len(found[k]) == 10
        for maps in found[k]:
            torch.testing.assert_close(maps, expected)


def test_inception_v3_by_the_articles_name():
    keras.utils.set_random_seed(0)
    net = as_torch(keras.applications.InceptionV3(weights=None, classes=10))
    x = pictures(1, 3, 299, 299).clamp(-1, 1)
    recording = cw.maps.record(net, x, ["mixed7"])
    assert recording.features["mixed7"].shape == (1, 768, 17, 17)
    assert cw.grad_cam(net, x, "mixed7").shape == (1, 17, 17)


def test_maps_after_each_epoch_of_fit():
    model, x = uneven(sequential()), pictures(8, 3, 12, 16).sigmoid()
    film = cw.MapsEachEpoch(x[:2], 1, layer="last")
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    y = np.arange(8) % 4
    model.fit(x.movedim(1, 3).numpy(), y, epochs=3, verbose=0, callbacks=[film.keras()])
    assert film.epochs == [1, 2, 3]
    for maps, kept in zip(film.maps, film.models.values(), strict=True):
        torch.testing.assert_close(cw.grad_cam(kept, x[:2], "last", 1), maps)
    assert not torch.allclose(film.maps[0], film.maps[2])
    torch.testing.assert_close(cw.grad_cam(as_torch(model), x[:2], "last", 1), film.maps[2])


def test_the_explorer_takes_it():
    model = uneven(sequential())
    photograph = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    explorer = cw.Explorer(as_torch(model), [photograph], ["a", "b", "c", "d"])
    explorer.layer = "first"
    assert explorer.layer == "first"
    explorer.close()


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (nn.Linear(2, 2), TypeError, "takes a Keras 3 model, not Linear"),
        (keras.Sequential([layers.Dense(2)], name="raw"), ValueError, "'raw' has no weights yet"),
    ],
)
def test_what_does_not_fit_is_said(model, error, words):
    with pytest.raises(error, match=words):
        as_torch(model)


def test_a_keras_model_itself_is_told_the_way():
    for ask in (cw.grad_cam, cw.layer_names, cw.cam, cw.guided_backprop):
        with pytest.raises(TypeError, match=r"camwidgets\.keras\.as_torch\(model\)"):
            ask(sequential(), pictures(1, 12, 16, 3))


def test_two_inputs_are_refused():
    a, b = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(ValueError, match="takes 2 inputs"):
        as_torch(keras.Model([a, b], layers.Add()([a, b])))


def test_another_backend_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="Keras runs on jax here, and maps need it on PyTorch"):
        as_torch(sequential())


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_no_keras_or_none_that_starts_is_told_with_the_way_to_get_it(missing):
    program = f"import sys; sys.modules[{missing!r}] = None; import camwidgets.keras"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    said = done.stderr.splitlines()[-1]
    assert 'camwidgets.keras needs Keras 3 on PyTorch: pip install "camwidgets[keras]"' in said
    assert 'os.environ["KERAS_BACKEND"] = "torch" before Keras is imported' in said
