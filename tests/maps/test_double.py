"""The stand-in gives the same output and shares nothing that a call could change."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import random
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from nets import gap_net, pictures, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close
from untouched import untouched

from camwidgets.maps import grad_cam, guided_backprop, layer_names, stand_in

IMAGES = pictures(2, 3, 12, 10)


class Holds(nn.Module):
    """A convolution, a batch norm and a linear layer; `how` says by what means they are reached."""

    def __init__(self, how: Callable[[Holds], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 3)
        self.features = how(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x).relu().mean((2, 3)))


def closure(model: Holds) -> Callable:
    conv, norm = model.conv, model.norm
    return lambda x: norm(conv(x))


def closure_of_a_list(model: Holds) -> Callable:
    layers = [model.conv, model.norm]
    return lambda x: layers[1](layers[0](x))


def keyword_default(model: Holds) -> Callable:
    return lambda x, layers=(model.conv, model.norm): layers[1](layers[0](x))


def keyword_only_default(model: Holds) -> Callable:
    return lambda x, *, layers=(model.conv, model.norm): layers[1](layers[0](x))


def default_of_a_dict(model: Holds) -> Callable:
    layers = collections.defaultdict(lambda: model.conv)
    return lambda x: model.norm(layers["first"](x))


class Runner:
    def __init__(self, *layers: nn.Module) -> None:
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def compose(x: Tensor, first: Callable, second: Callable) -> Tensor:
    return second(first(x))


def decorated(model: Holds) -> Callable:
    norm = model.norm

    def logged(function: Callable) -> Callable:
        @functools.wraps(function)
        def inner(*args: Any) -> Any:
            return function(*args)

        return inner

    return logged(logged(lambda x: norm(model.conv(x))))


def functions_in_a_closure(model: Holds) -> Callable:
    steps = [lambda x, layer=layer: layer(x) for layer in (model.conv, model.norm)]
    return lambda x: steps[1](steps[0](x))


def calls_itself(model: Holds) -> Callable:
    def climb(x: Tensor, names: tuple[str, ...] = ("conv", "norm")) -> Tensor:
        return climb(getattr(model, names[0])(x), names[1:]) if names else x

    return climb


class Slotted:
    __slots__ = ("__layers",)

    def __init__(self, *layers: nn.Module) -> None:
        self.__layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        return self.__layers[1](self.__layers[0](x))


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    norm: nn.Module
    conv: nn.Module

    def apply(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Pair(NamedTuple):
    conv: nn.Module
    norm: nn.Module


class Chain(list):
    def __call__(self, x: Tensor) -> Tensor:
        return functools.reduce(lambda y, layer: layer(y), self, x)


class Boxed:
    """An object that has an object that has the layers."""

    def __init__(self, *layers: nn.Module) -> None:
        self.box = types.SimpleNamespace(runner=Runner(*layers))

    def __call__(self, x: Tensor) -> Tensor:
        return self.box.runner(x)


def lookup(keeps: Callable[[Holds], Any], get: Callable[[Any, str], nn.Module]) -> Callable:
    """A way by something that `keeps` the layers and from which one can `get` them by name."""

    def way(model: Holds) -> Callable:
        model.kept = keeps(model)
        return types.MethodType(lambda m, x: get(m.kept, "norm")(get(m.kept, "conv")(x)), model)

    return way


def by_name(model: Holds) -> dict[str, nn.Module]:
    return {"conv": model.conv, "norm": model.norm}


def found_in(layers: Any, name: str) -> nn.Module:
    """The layer among these, which have an order or none."""
    kind = nn.Conv2d if name == "conv" else nn.BatchNorm2d
    return next(layer for layer in layers if isinstance(layer, kind))


WAYS = {
    "a closure": closure,
    "a closure over a list": closure_of_a_list,
    "a default argument": keyword_default,
    "a default argument by name alone": keyword_only_default,
    "what a dict makes itself": default_of_a_dict,
    "an object": lambda model: Runner(model.conv, model.norm),
    "a partial": lambda m: functools.partial(compose, first=m.conv, second=m.norm),
    "bound methods": lambda m: functools.partial(compose, first=m.conv.forward, second=m.norm),
    "a method of the model": lambda m: types.MethodType(lambda self, x: self.norm(self.conv(x)), m),
    "a decorated closure": decorated,
    "functions in a closure": functions_in_a_closure,
    "a function that calls itself": calls_itself,
    "slots": lambda m: Slotted(m.conv, m.norm),
    "a frozen dataclass's method": lambda m: Frozen(m.norm, m.conv).apply,
    "an object in an object": lambda m: Boxed(m.conv, m.norm),
    "a list of a class of its own": lambda m: Chain([m.conv, m.norm]),
    "a cache": lambda m: (
        (f := functools.lru_cache(lambda k: m.norm)) and (lambda x: f(1)(m.conv(x)))
    ),
    "a dict's own method": lambda m: (
        (get := by_name(m).get) and (lambda x: get("norm")(get("conv")(x)))
    ),
    "a named tuple": lookup(lambda m: Pair(m.conv, m.norm), getattr),
    "nested containers": lookup(
        lambda m: [({"a": (by_name(m),)},)], lambda k, n: k[0][0]["a"][0][n]
    ),
    "a frozen set": lookup(lambda m: frozenset([m.conv, m.norm]), found_in),
    "keys of a dict": lookup(lambda m: {m.norm: 1, m.conv: 2}, found_in),
    "a read-only dict": lookup(lambda m: types.MappingProxyType(by_name(m)), lambda k, n: k[n]),
    "a UserDict": lookup(lambda m: collections.UserDict(by_name(m)), lambda k, n: k[n]),
    "weak references": lookup(
        lambda m: {n: weakref.ref(layer) for n, layer in by_name(m).items()}, lambda k, n: k[n]()
    ),
    "weak proxies": lookup(
        lambda m: {n: weakref.proxy(layer) for n, layer in by_name(m).items()}, lambda k, n: k[n]
    ),
    "a weak set": lookup(lambda m: weakref.WeakSet([m.conv, m.norm]), found_in),
    "a dict of weak values": lookup(
        lambda m: weakref.WeakValueDictionary(by_name(m)), lambda k, n: k[n]
    ),
    "a dict of weak keys": lookup(
        lambda m: weakref.WeakKeyDictionary({m.norm: 1, m.conv: 2}), found_in
    ),
    "an object of another package": lookup(
        lambda m: argparse.Namespace(steps=[("conv", [m.conv]), ("norm", [m.norm])]),
        lambda k, n: dict(k.steps)[n][0],
    ),
    "a list within itself": lookup(
        lambda m: (k := [m.conv, m.norm]).append(k) or k, lambda k, n: found_in(k[2][2][:2], n)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_modules_reached_by_other_means(way: str) -> None:
    model = seeded(lambda: Holds(WAYS[way]))
    expected = model(IMAGES)
    model.train()
    with untouched(model, IMAGES):
        double = stand_in(model)
        assert_close(double(IMAGES), expected)
        grad_cam(model, IMAGES)
    assert "norm" in layer_names(model, IMAGES)


BACKBONE = gap_net()


class OfTheNotebook(nn.Module):
    """What people write in a notebook: the trained network is a global variable."""

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x).log_softmax(1)

    def scores(self, x: Tensor) -> Tensor:
        return BACKBONE(x)


def test_a_global_model_in_a_wrapper_is_not_touched() -> None:
    expected = BACKBONE.eval()(IMAGES).log_softmax(1)
    with untouched(BACKBONE.train(), IMAGES):
        assert_close(stand_in(OfTheNotebook())(IMAGES), expected)
        guided_backprop(OfTheNotebook(), IMAGES)


HELD = Boxed(BACKBONE)


def call_backbone(x: Tensor) -> Tensor:
    return BACKBONE(x) if len(x) else call_backbone(x)


class ByMeans(nn.Module):
    """A global network, reached by functions of every kind."""

    def an_object(self, x: Tensor) -> Tensor:
        return HELD(x)

    def a_function(self, x: Tensor) -> Tensor:
        return call_backbone(x)

    def a_lambda(self, x: Tensor) -> Tensor:
        return (lambda y: BACKBONE(y))(x)

    @staticmethod
    def a_static_method(x: Tensor) -> Tensor:
        return BACKBONE(x)

    @classmethod
    def a_class_method(cls, x: Tensor) -> Tensor:
        return BACKBONE(x) if issubclass(cls, ByMeans) else x

    @torch.enable_grad()
    def a_decorated_method(self, x: Tensor) -> Tensor:
        return BACKBONE(x)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.means)(x)


@pytest.mark.parametrize("means", [name for name in vars(ByMeans) if name.startswith("a")])
def test_a_global_model_behind_functions_is_not_touched(means: str) -> None:
    model = ByMeans()
    model.means = means
    expected = BACKBONE.eval()(IMAGES)
    with untouched(BACKBONE.train(), IMAGES):
        assert_close(stand_in(model)(IMAGES), expected)
        guided_backprop(model, IMAGES)


@pytest.mark.parametrize("bound", [False, True])
def test_a_forward_put_in_place_of_the_class_s(bound: bool) -> None:
    model, expected = gap_net(), grad_cam(gap_net(), IMAGES, "6", 1)
    plain = model.forward
    if bound:
        model.forward = types.MethodType(lambda self, x: 2 * plain(x), model)
    else:
        model.forward = lambda x: 2 * plain(x)
    with untouched(model.train(), IMAGES):
        assert_close(grad_cam(model, IMAGES, "6", 1), 2 * expected)


def test_weak_references_to_what_is_gone() -> None:
    model, gone = gap_net(), Settings()
    expected = grad_cam(model, IMAGES, "6", 1)
    model.settings, model.held = weakref.ref(gone), Boxed(weakref.proxy(gone))
    model.proxy, model.several = weakref.proxy(gone), [weakref.proxy(gone)]
    model[2].register_forward_hook(lambda *args, kept=model.proxy: None)
    del gone
    with untouched(model, IMAGES):
        assert torch.equal(grad_cam(model, IMAGES, "6", 1), expected)


class Diary(nn.Module):
    """Writes down what it sees, in every kind of place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gap_net()
        self.lock = threading.Lock()
        self.stream = (i for i in range(3))
        self.seen: list[Any] = []
        self.counts = {"calls": 0}
        self.notes = types.SimpleNamespace(last=None)
        self.sums = torch.zeros(())
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            self.kept = self.inner[:3](x)
        self.seen.append(x.shape)
        self.counts["calls"] += 1
        self.notes.last = x
        self.sums += x.sum()
        return self.inner[3:](self.kept)


def test_what_a_model_notes_down_stays_in_the_stand_in() -> None:
    model = seeded(Diary)
    model(IMAGES)  # keeps an activation with its graph, which deepcopy refuses
    seen, counts, sums = list(model.seen), dict(model.counts), model.sums.clone()
    with untouched(model, IMAGES):
        assert_close(stand_in(model)(IMAGES), model.inner(IMAGES))
        grad_cam(model, IMAGES)
        guided_backprop(model, IMAGES)
    assert (model.seen, model.counts) == (seen, counts)
    assert torch.equal(model.sums, sums)


def test_a_list_that_forgets_does_so_in_the_stand_in() -> None:
    class Recent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = gap_net(), collections.deque(maxlen=1)

        def forward(self, x: Tensor) -> Tensor:
            self.last.append(self.inner(x))
            return sum(self.last)

    model = seeded(Recent)
    model(IMAGES)
    assert_close(stand_in(model)(IMAGES), model.inner(IMAGES))


def test_an_object_seen_before_its_package_is_known() -> None:
    class Outer(nn.Module):
        def __init__(self, runner: Any) -> None:
            super().__init__()
            self.runner = runner

        def forward(self, x: Tensor) -> Tensor:
            return self.runner.layers[0](x)

    conv = seeded(lambda: nn.Conv2d(3, 4, 3))
    runner = Runner(Runner(conv))
    model = nn.Sequential(Outer(runner))
    model.register_forward_hook(lambda *args, known=runner: None)
    seen = []
    conv.register_forward_hook(lambda module, *_: seen.append(module))
    stand_in(model)(IMAGES)
    assert seen[0] is not conv


class Settings:
    def __init__(self) -> None:
        self.calls, self.log, self.sums = 0, ["made"], torch.zeros(3)


class Draws(nn.Module):
    """Changes objects that lead to no module, and has something open."""

    __slots__ = ("calls",)
    closed = 0

    def __init__(self) -> None:
        super().__init__()
        self.inner = gap_net()
        self.calls = 0
        self.settings, self.counter = Settings(), collections.Counter()
        self.array, self.bytes = np.zeros(3), bytearray(2)
        self.random, self.generator = random.Random(0), torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.settings.calls += 1
        self.settings.log.append("called")
        self.settings.sums += 1
        self.counter["calls"] += 1
        self.array += 1
        self.bytes[0] += 1
        noise = torch.rand(x.shape, generator=self.generator) + self.random.random()
        return self.inner(x + noise)

    def state(self) -> list[Any]:
        s = self.settings
        random_ = (self.random.getstate(), self.generator.get_state().tolist())
        kept = (self.counter.copy(), self.array.tolist(), bytes(self.bytes))
        return [self.calls, s.calls, list(s.log), s.sums.tolist(), *kept, *random_]

    def __del__(self) -> None:
        Draws.closed += 1


class Masked(nn.Module):
    """Changes its weights when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gap_net()

    @torch.no_grad()
    def limit(self) -> None:
        self.inner[0].weight.clamp_(min=0)

    @property
    def limited(self) -> nn.Module:
        self.inner[0].weight.data[self.inner[0].weight < 0] = 0
        return self.inner


def by_data(self: Masked, x: Tensor) -> Tensor:
    self.inner[0].weight.data *= self.inner[0].weight > 0
    return self.inner(x)


def by_method(self: Masked, x: Tensor) -> Tensor:
    self.limit()
    return self.inner(x)


def by_function(self: Masked, x: Tensor) -> Tensor:
    clamp(self.inner[0], ())
    return self.inner(x)


def by_property(self: Masked, x: Tensor) -> Tensor:
    return self.limited(x)


@torch.enable_grad()
def by_no_name(self: Masked, x: Tensor) -> Tensor:
    torch.relu_(self.inner[0].weight.detach())
    return self.inner(x)


def by_the_class_above(self: Masked, x: Tensor) -> Tensor:
    return 1 * super(type(self), self).forward(x)


def by_a_function_inside(self: Masked, x: Tensor) -> Tensor:
    def limit(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            module.weight.data.clamp_(min=0)

    self.apply(limit)
    return self.inner(x)


def by_a_helper(self: Masked, x: Tensor) -> Tensor:
    self.clip.limit(self.inner[0])
    return self.inner(x)


def by_text(self: Masked, x: Tensor) -> Tensor:
    getattr(self, "limit")()  # noqa: B009
    return self.inner(x)


def by_state_dict(self: Masked, x: Tensor) -> Tensor:
    self.inner.state_dict()["0.weight"].clamp_(min=0)
    return self.inner(x)


def by_loading(self: Masked, x: Tensor) -> Tensor:
    weights = {k: v.relu() if k == "0.weight" else v for k, v in self.inner.state_dict().items()}
    self.inner.load_state_dict(weights)
    return self.inner(x)


def by_output(self: Masked, x: Tensor) -> Tensor:
    weight = self.inner[0].weight.data
    torch.clamp(weight, 0, out=weight)
    return self.inner(x)


def by_hook(self: Masked, x: Tensor) -> Tensor:
    return self.inner(x)


def by_call(self: Masked, x: Tensor) -> Tensor:
    self.inner[0].weight.data.clamp_(min=0)
    return nn.Module.__call__(self, x)


class Clip:
    def limit(self, module: nn.Module, inputs: tuple = ()) -> None:
        module.weight.data.clamp_(min=0)

    __call__ = limit


def clamp(module: nn.Module, inputs: tuple) -> None:
    with torch.no_grad():
        module.weight.copy_(module.weight.relu())


BY_CODE = [
    *(by_data, by_method, by_function, by_property, by_no_name, by_the_class_above),
    *(by_a_function_inside, by_a_helper, by_text, by_state_dict, by_loading, by_output),
    by_call,
]


@pytest.mark.parametrize(
    ("forward", "hook"),
    [
        *((forward, None) for forward in BY_CODE),
        *((by_hook, hook) for hook in (clamp, Clip(), Clip().limit, functools.partial(clamp))),
    ],
)
def test_weights_that_a_model_changes_itself(forward: Callable, hook: Callable | None) -> None:
    kind = type("Masked", (Masked,), {"forward": forward})
    if forward is by_call:
        kind = type("Masked", (Masked,), {"forward": by_hook, "__call__": by_call})
    if forward is by_the_class_above:
        kind = type(
            "Masked", (type("Above", (Masked,), {"forward": by_data}),), {"forward": forward}
        )
    model, limited = seeded(kind), seeded(gap_net)
    model.clip = Clip()
    if hook is not None:
        model.inner[0].register_forward_pre_hook(hook)
    assert (limited[0].weight < 0).any()
    with untouched(model, IMAGES):
        of_model = grad_cam(model, IMAGES, "inner.6", 1)
    with torch.no_grad():
        limited[0].weight.clamp_(min=0)
    assert_close(of_model, grad_cam(limited, IMAGES, "6", 1))


def test_weights_that_a_hook_behind_the_layer_changes() -> None:
    def clamp_behind(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        with torch.no_grad():
            module.weight.copy_(module.weight.relu())

    model = seeded(gap_net)
    model[0].register_forward_hook(clamp_behind)
    with untouched(model, IMAGES):
        stand_in(model)(IMAGES)


class Counts(nn.Sequential):
    """Counts its calls in a constant."""

    def __init__(self) -> None:
        super().__init__(*gap_net())
        self.calls = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def test_a_constant_that_a_model_counts_in() -> None:
    model = Counts().eval()
    with untouched(model, IMAGES):
        assert torch.equal(grad_cam(model, IMAGES, "6", 1), grad_cam(gap_net(), IMAGES, "6", 1))


class Shares(nn.Module):
    """Its objects share a module through their class."""

    features = gap_net()[:4].train()

    def __init__(self) -> None:
        super().__init__()
        self.head = gap_net()[4:]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def test_a_module_of_the_class_is_not_touched() -> None:
    model = Shares()
    with untouched(model, IMAGES), untouched(Shares.features, IMAGES):
        of_model = grad_cam(model, IMAGES, "head.6", 1)
    whole = nn.Sequential(*Shares.features, *model.head)
    assert_close(of_model, grad_cam(whole, IMAGES, "6", 1))


def test_an_attribute_of_its_own_goes_before_that_of_the_class() -> None:
    model = Shares().eval()
    model.features = lambda x: x.repeat(1, 2, 1, 1)
    assert_close(stand_in(model)(IMAGES), model(IMAGES))


def test_objects_that_count_and_draw_are_the_stand_in_s_own() -> None:
    model = seeded(Draws)
    before = model.state()
    maps = [grad_cam(model, IMAGES, "inner.6", 1) for _ in range(2)]
    assert torch.equal(*maps), "each call begins where the model is"
    assert model.state() == before
    assert Draws.closed == 0, "the end of a stand-in closes nothing of the model's"
    model.eval()(IMAGES)
    assert all(a != b for a, b in zip(model.state(), before, strict=True))


def test_a_hook_that_knows_the_model_still_tells_its_owner() -> None:
    model, seen = gap_net(), []
    model[0].register_forward_hook(lambda m, i, o: seen.append(model[1].training))
    with untouched(model.train(), IMAGES):
        grad_cam(model, IMAGES)
    assert seen == [False], "the model that the hook sees is the stand-in"


def pruned() -> nn.Module:
    model = gap_net()
    prune.l1_unstructured(model[0], "weight", 0.3)
    model(IMAGES)
    return model


def normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = gap_net()
        norm(model[0])
        norm(model[-1])
        model.train()(IMAGES)
        return model.eval()

    return build


def hooked() -> nn.Module:
    model, kept = gap_net(), []
    model[0].register_forward_hook(lambda m, i, o: kept.append(o))
    model(IMAGES)
    return model


COPIED_BY_NOBODY = {
    "pruned": pruned,
    "weight norm": normed(parametrizations.weight_norm),
    "spectral norm": normed(parametrizations.spectral_norm),
    "someone's hook that keeps tensors": hooked,
}


@pytest.mark.parametrize("kind", COPIED_BY_NOBODY)
def test_models_that_deepcopy_may_refuse(kind: str) -> None:
    model = COPIED_BY_NOBODY[kind]()
    own = stand_in(model, own=True)
    expected = model(IMAGES)
    assert_close(own(IMAGES), expected)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    assert_close(own(IMAGES), expected)
    assert not torch.allclose(stand_in(model)(IMAGES), expected)


@pytest.mark.parametrize("kind", [list, dict, set, collections.deque, collections.OrderedDict])
def test_what_is_shared_and_still_empty_stays_shared(kind: Callable[[], Any]) -> None:
    model = gap_net()
    model.notes = model[4].notes = kind()
    double = stand_in(model)
    assert double.notes is double[4].notes is not model.notes
    assert type(double.notes) is kind


def test_every_weak_collection_has_its_own_members() -> None:
    model = gap_net()
    model.sets = [weakref.WeakSet([module]) for module in model[:5]]
    model.tables = [weakref.WeakKeyDictionary({module: None}) for module in model[:5]]
    double = stand_in(model)
    assert [set(each) for each in double.sets] == [{module} for module in double[:5]]
    assert [set(each) for each in double.tables] == [{module} for module in double[:5]]


class Keeps(nn.Module):
    """Its hook keeps what a layer gives, for a way past the next layers."""

    def __init__(self, hook: Callable[[Keeps], Callable]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.kept: dict[str, Any] = {}
        self.store, self.linear = Store(), nn.Linear(4, 3)
        self.conv.register_forward_hook(hook(self))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x)).relu()
        z = self.kept.get("last", self.store.last)
        return self.linear((y + z.sin()).mean((2, 3)))


class Store:
    last: Any = None

    def keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.last = output


def put(kept: dict, name: str, module: nn.Module, inputs: tuple, output: Tensor) -> None:
    kept[name] = output


KEEPERS = {
    "a closure": lambda m: (kept := m.kept) is None or (lambda *a: kept.update(last=a[2])),
    "a partial": lambda m: functools.partial(put, m.kept, "last"),
    "a method of an object": lambda m: m.store.keep,
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_what_hooks_and_the_model_share(keeper: str) -> None:
    model = seeded(lambda: Keeps(KEEPERS[keeper]))
    model(9 * IMAGES)  # what is kept of other images counts for nothing
    kept = model.kept.get("last"), model.store.last
    double = stand_in(model)
    output = double(IMAGES)
    assert (model.kept.get("last"), model.store.last) == kept
    with untouched(model, IMAGES):
        heat = grad_cam(model, IMAGES, "conv", 1, relu=False)
        assert_close(grad_cam(model, IMAGES, "norm", 1), grad_cam(double, IMAGES, "norm", 1))
    assert_close(model.eval()(IMAGES), output)
    A = model.kept.get("last", model.store.last)
    y = model.linear((model.norm(A).relu() + A.sin()).mean((2, 3)))
    (gradient,) = torch.autograd.grad(y[:, 1].sum(), [A])
    assert_close(heat, (gradient.mean((2, 3), keepdim=True) * A).sum(1).detach())


def test_what_a_hook_keeps_and_the_model_changes_is_told() -> None:
    model = gap_net()
    kept: list[Tensor] = []
    model[4].register_forward_hook(lambda m, i, o: kept.append(o))

    def clear(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        kept.pop().zero_()

    model[6].register_forward_hook(clear)
    with pytest.raises(ValueError, match=r"output of '4'.*in place.*output\.clone\(\)"):
        grad_cam(model, IMAGES, "4", 1)


def test_a_hook_that_removes_itself_is_still_there() -> None:
    model = gap_net()
    handles = []

    def once(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        handles[0].remove()
        return 2 * output

    handles.append(model[0].register_forward_hook(once))
    with untouched(model, IMAGES):
        first, second = (grad_cam(model, IMAGES, "6", 1) for _ in range(2))
    assert torch.equal(first, second)


class OwnModes(nn.Module):
    """Keeps a mode of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mode = gap_net(), "train"

    def train(self, mode: bool = True) -> OwnModes:
        self.mode = "train" if mode else "eval"
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * (2 if self.mode == "eval" else 5)


def test_a_train_of_its_own_is_called() -> None:
    model = OwnModes().train()
    with untouched(model, IMAGES):
        assert_close(stand_in(model)(IMAGES), 2 * gap_net()(IMAGES))
    assert model.mode == "train"


class Trains(nn.Module):
    """Its train() trains and its eval() evaluates, as in a beginner's notebook."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = OwnModes()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def train(self, epochs: int = 3) -> None:
        raise AssertionError("nobody asked for a training")

    def eval(self) -> None:
        raise AssertionError("nobody asked for a test")


def test_a_train_that_trains_is_not_called() -> None:
    assert_close(stand_in(Trains())(IMAGES), 2 * gap_net()(IMAGES))


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.best = gap_net(), None

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def scale(self, side: int) -> Tensor:
        return torch.full((), float(side))

    def forward(self, x: Tensor) -> Tensor:
        self.best = self.inner(x).topk(2, 1)
        return self.inner(x) * self.scale(x.shape[3])


def test_a_cache_of_a_method_keeps_no_stand_in() -> None:
    model = Cached()
    model(IMAGES)
    info = Cached.scale.cache_info()
    with untouched(model, IMAGES):
        assert_close(stand_in(model)(IMAGES), 10 * gap_net()(IMAGES))
    assert Cached.scale.cache_info() == info
    assert type(stand_in(model).best) is type(model.best)


class Tied(nn.Module):
    """Knows a weight by its class, its flag and what is written on it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.twin = gap_net(), nn.Conv2d(3, 6, 3, padding=1)
        self.inner[0].weight.scale = 3.0

    def forward(self, x: Tensor) -> Tensor:
        self.twin.weight = self.inner[0].weight
        assert type(self.twin.weight) is nn.Parameter
        return self.inner(x) * self.inner[0].weight.scale


def test_parameters_are_parameters() -> None:
    model = seeded(Tied)
    with untouched(model, IMAGES):
        assert_close(stand_in(model)(IMAGES), 3 * model.inner(IMAGES))
        grad_cam(model, IMAGES)


class Adapts(nn.Module):
    """Holds its optimizer and makes a step when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gap_net()
        self.optimizer = torch.optim.SGD(self.inner.parameters(), 0.1, momentum=0.9)

    def forward(self, x: Tensor) -> Tensor:
        for weight in self.inner.parameters():
            weight.grad = torch.ones_like(weight)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.inner(x)


def test_an_optimizer_steps_in_the_stand_in() -> None:
    model = Adapts()
    model(IMAGES).sum().backward()
    with untouched(model, IMAGES):
        grad_cam(model, IMAGES, "inner.6", 1)
    assert model.inner[0].weight.grad is not None


class Mode:
    pass


MEAN, MAXIMUM = Mode(), Mode()


class Pools(nn.Module):
    """Goes by constants of the program, and by an object that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mode, self.tick = gap_net(), MAXIMUM, Tick()
        self.notes: list[int] = []
        self.note = self.notes.append
        self.dice = np.random.RandomState(0)
        self.method = weakref.WeakMethod(self.inner.forward)
        self.lots = random.SystemRandom()

    def forward(self, x: Tensor) -> Tensor:
        self.note(self.tick())
        y = self.method()(x)
        return y * (1 if self.mode is MEAN else 2) * len(self.notes) + 0 * self.dice.rand()


class Tick:
    count = 0

    def __call__(self) -> int:
        self.count += 1
        return self.count


def test_constants_stay_themselves_and_what_counts_does_not() -> None:
    model = Pools()
    with untouched(model, IMAGES):
        for _ in range(2):
            assert_close(stand_in(model)(IMAGES), 2 * gap_net()(IMAGES))
    assert (model.notes, model.tick.count) == ([], 0)
    assert model.dice.rand() == np.random.RandomState(0).rand()


def test_a_global_that_comes_later_is_doubled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NameError):
        stand_in(ComesLater())(IMAGES)
    late = gap_net().train()
    monkeypatch.setitem(globals(), "LATE", late)
    with untouched(late, IMAGES):
        guided_backprop(ComesLater(), IMAGES)


class ComesLater(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return LATE(x)  # noqa: F821


def test_what_is_shared_stays_shared() -> None:
    model = gap_net()
    model.again, model.twin = model[4], nn.Conv2d(6, 8, 3, padding=1)
    model.twin.weight = model[4].weight
    model.dice = model[4].dice = np.random.default_rng(0)
    double = stand_in(model)
    assert double.dice is double[4].dice is not model.dice
    assert double.again is double[4]
    assert double.twin.weight is double[4].weight
    assert double[4].weight.data_ptr() == model[4].weight.data_ptr()
    assert double[1].running_mean.data_ptr() != model[1].running_mean.data_ptr()
    assert not any(module.training for module in stand_in(model.train()).modules())


class Wrapped(nn.Module):
    """One part of it is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.compile(gap_net()[:7], backend="aot_eager")
        self.head = gap_net()[7:]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def compiled_in_place() -> nn.Module:
    model = gap_net()
    model.compile(backend="aot_eager")
    return model


@pytest.mark.parametrize(
    ("wrap", "layer"),
    [
        (lambda: nn.DataParallel(gap_net()), "module.6"),
        (lambda: nn.DataParallel(gap_net()), "6"),
        (lambda: torch.compile(gap_net(), backend="aot_eager"), "_orig_mod.6"),
        (lambda: torch.compile(nn.DataParallel(gap_net()), backend="aot_eager"), "6"),
        (compiled_in_place, "6"),
        (Wrapped, "body._orig_mod.6"),
        (Wrapped, "body.6"),
        (lambda: torch.fx.symbolic_trace(gap_net()), "6"),
    ],
)
def test_wrappers_are_opened(wrap: Callable[[], nn.Module], layer: str) -> None:
    model = wrap()
    assert_close(grad_cam(model, IMAGES, layer, 1), grad_cam(gap_net(), IMAGES, "6", 1))
    assert_close(guided_backprop(model, IMAGES, 1), guided_backprop(gap_net(), IMAGES, 1))


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_watched_is_named() -> None:
    for model in (torch.jit.script(gap_net()), torch.jit.trace(gap_net(), IMAGES)):
        with pytest.raises(ValueError, match=r"TorchScript.*the Python model"):
            grad_cam(model, IMAGES)
    inside = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)), nn.Flatten())
    with pytest.raises(ValueError, match="TorchScript"):
        grad_cam(inside, IMAGES)
    exported = torch.export.export(gap_net(), (IMAGES,)).module()
    with pytest.raises(ValueError, match=r"exported graph.*the Python model"):
        grad_cam(exported, IMAGES)
    with pytest.raises(ValueError, match=r"meta device.*load its state_dict"):
        grad_cam(gap_net().to("meta"), IMAGES.to("meta"))
    quantised = torch.ao.quantization.quantize_dynamic(gap_net(), {nn.Linear})
    with pytest.raises(ValueError, match=r"quantised.*float model"):
        grad_cam(quantised, IMAGES)


def test_a_compiled_function_inside_the_model() -> None:
    class Compiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gap_net()
            self.run = torch.compile(self._run, backend="aot_eager")

        def _run(self, x: Tensor) -> Tensor:
            return self.inner(F.relu(x))

        def forward(self, x: Tensor) -> Tensor:
            return self.run(x)

    model = seeded(Compiled)
    assert_close(
        grad_cam(model, IMAGES, "inner.6", 1), grad_cam(model.inner, IMAGES.relu(), "6", 1)
    )


def test_a_module_compiled_in_place() -> None:
    model, plain = gap_net(), gap_net()
    model.compile(backend="aot_eager")
    with untouched(model, IMAGES):
        assert_close(grad_cam(model, IMAGES, "6", 1), grad_cam(plain, IMAGES, "6", 1))
        assert_close(guided_backprop(model, IMAGES, 1), guided_backprop(plain, IMAGES, 1))


class CompiledMethods(nn.Module):
    """Its class is written with `torch.compile`, as the model's speed is to have it everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = gap_net()

    @torch.compile(backend="aot_eager")
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner[:7](x))

    @torch.compile(backend="aot_eager")
    def head(self, x: Tensor) -> Tensor:
        return self.inner[7:](x)


def test_compiled_methods_of_a_class() -> None:
    model, plain = CompiledMethods(), gap_net()
    assert_close(grad_cam(model, IMAGES, "inner.6", 1), grad_cam(plain, IMAGES, "6", 1))
    assert_close(guided_backprop(model, IMAGES, 1), guided_backprop(plain, IMAGES, 1))


def test_a_class_that_is_given_another_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CompiledMethods()
    expected = stand_in(model)(IMAGES)
    monkeypatch.setattr(CompiledMethods, "head", lambda self, x: 2 * self.inner[7:](x))
    assert_close(stand_in(model)(IMAGES), 2 * expected)
    monkeypatch.setattr(CompiledMethods, "forward", lambda self, x: 3 * self.inner(x))
    assert_close(stand_in(model)(IMAGES), 3 * expected)


class Slopes(nn.Module):
    """Takes gradients in its forward pass."""

    def __init__(self, backward: bool) -> None:
        super().__init__()
        self.inner, self.backward = gap_net(), backward

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            z = x.detach().clone().requires_grad_()
            score = self.inner(z).square().sum()
            if self.backward:
                score.backward(inputs=[z])
            slope = z.grad if self.backward else torch.autograd.grad(score, z)[0]
        return self.inner(x + slope)


@pytest.mark.parametrize("backward", [False, True])
def test_a_model_that_takes_gradients_itself(backward: bool) -> None:
    model = Slopes(backward)
    slope = Slopes(backward)
    moved: list[Tensor] = []
    slope.inner.register_forward_pre_hook(lambda m, args: moved.append(args[0].detach()))
    slope(IMAGES)
    expected = grad_cam(gap_net(), moved[1], "6", 1)
    with untouched(model, IMAGES):
        assert_close(grad_cam(model, IMAGES, "inner.6#2", 1), expected)
        assert "inner.6#2" in layer_names(model, IMAGES)
    assert_close(grad_cam(model, IMAGES, None, 1), expected)
    assert_close(guided_backprop(model, IMAGES, 1), guided_backprop(gap_net(), moved[1], 1))


@pytest.mark.parametrize("cut", [torch.no_grad, torch.inference_mode])
def test_a_layer_behind_a_cut_is_refused_for_that(cut: Callable) -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = gap_net()

        def forward(self, x: Tensor) -> Tensor:
            with cut():
                x = self.inner[:4](x)
            return self.inner[4:](x.clone())

    assert layer_names(Cut(), IMAGES) == ["inner.0", "inner.1", "inner.2", "inner.3"]
    with pytest.raises(ValueError, match=r"autograd cannot follow it \(no_grad"):
        grad_cam(Cut(), IMAGES, "inner.6")
    read = grad_cam(Cut(), IMAGES, "inner.6", 1, reshape_transform=lambda y: y)
    assert_close(read, grad_cam(gap_net(), IMAGES, "6", 1))


def test_a_stand_in_of_an_own_copy_shares_its_parameters() -> None:
    """The Explorer runs one for each picture: were they copied, each would hold all weights."""
    own = stand_in(gap_net(), own=True)
    for parameter, shared in zip(own.parameters(), stand_in(own).parameters(), strict=True):
        assert not parameter.requires_grad
        assert shared.data_ptr() == parameter.data_ptr()


def test_the_stand_in_of_a_copy_knows_which_weights_are_shared() -> None:
    copy = stand_in(gap_net(), own=True)
    double = stand_in(copy)
    assert all(weight.is_copy for weight in copy.parameters())
    assert not any(weight.is_copy for weight in double.parameters())
    assert double[0].weight.data_ptr() == copy[0].weight.data_ptr()
