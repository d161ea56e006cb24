"""Run a stand-in for the model and keep what its layers give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import is_lazy

from . import graph
from .asked import (
    UnknownLayer,
    check,
    find,
    first_line,
    form,
    listed,
    nearest,
    refuse_other_inputs,
)
from .double import stand_in
from .layout import Layouts, Reading
from .targets import Target, differentiable, scores, warn_if_saturated

ToMaps = Callable[[Tensor], Tensor]
"""how a layer's output is read as feature maps (N, K, h, w)"""
BATCHED = 2**18
"""up to so many numbers in all feature maps, the gradients of many classes come at once"""
CANDIDATES = 2
"""so many of the last maps are kept ready until it is known which one the score comes from"""
HALF_SCALE = 2.0**12
"""float16 gradients are multiplied by this on their way, or the mean over 512×512 would vanish"""
UNSEEN = " It never ran, or only by a call of its forward(), which hooks do not see."
MOVED = (
    "before that positions are moved, mixed up or cut off, so that places there are not the image's"
)
CHANGED = (
    "The model's weights were changed while the map was computed. Ask for maps between two steps "
    "of the training, or of a copy: copy.deepcopy(model)."
)


@dataclass(eq=False)
class Call:
    """One run of one layer during a forward pass."""

    name: str
    """dotted; `relu#2` is the second run of a layer that runs more than once"""
    module: nn.Module
    """the layer's stand-in"""
    given: Any
    """its first positional argument"""
    output: Any
    """what it gave"""
    run: int
    """1 for the layer's first run"""
    reading: ToMaps | None = None
    """how its output is read as feature maps; None if it is none"""

    def __post_init__(self) -> None:
        self.layer = self.name
        tensor = self.tensor
        if isinstance(tensor, Tensor) and not tensor.is_inference():
            self.version = tensor._version
            self.edge = (tensor.grad_fn, tensor.output_nr)

    is_moved: bool = False
    """whether it holds positions that are no longer those of the image"""
    layer: str = ""
    """its name without the number of the run"""
    version: int = 0
    edge: tuple[Any, int] = (None, 0)
    """the node of autograd's graph that made the output, and which of its outputs it is"""

    @property
    def tensor(self) -> Any:
        """The output itself, or the first of a tuple if the rest of that holds no tensors."""
        output = self.output
        if type(output) not in (tuple, list) or not output:
            return output
        return output if any(isinstance(part, Tensor) for part in output[1:]) else output[0]

    @property
    def node(self) -> Any:
        """What made the output, in autograd's graph."""
        return self.edge[0]

    @property
    def pools_nothing(self) -> bool:
        """Whether this is an adaptive pooling to no fewer positions."""
        pools = isinstance(self.module, nn.AdaptiveAvgPool2d) and isinstance(self.given, Tensor)
        return pools and self.tensor.shape[-2:].numel() >= self.given.shape[-2:].numel()

    def replaced(self, tensor: Tensor) -> Any:
        """The output with this tensor in place of its own."""
        if self.tensor is self.output:
            return tensor
        return type(self.output)([tensor, *self.output[1:]])


@dataclass
class Trace:
    """A forward pass with every run of every layer."""

    output: Any
    """what the model gave, attached to the graph"""
    calls: list[Call]
    """in the order in which they ended"""


@dataclass
class Recording:
    """One forward pass, and the feature maps A of the layers asked for."""

    output: Any
    """what the model gave, attached to the graph"""
    images: Tensor
    """a copy of the images (N, C, H, W), where the graph begins"""
    features: dict[str, Tensor]
    """layer → A (N, K, h, w), in forward order, off the graph"""
    head: tuple[Tensor, Tensor, Tensor] | None
    """the last linear layer to run: its weight, input and output"""
    _calls: list[Call] = field(repr=False)
    _scores: dict[int | None, Tensor] = field(repr=False)
    """those worked out already, by class"""

    @property
    def layers(self) -> list[str]:
        """The names of the layers recorded, in forward order."""
        return list(self.features)

    def gradients(self, target: Target = None, *, last: bool = False) -> dict[str, Tensor]:
        """∂y^c/∂A of every recorded layer, (N, K, h, w), by one backward pass.

        Args:
            target: the class c, or another score; see `targets.Target`.
            last: let the graph go; no further backward pass is possible then.

        Raises:
            TypeError, ValueError: the target does not fit the output.
            ValueError: the score does not depend on one of the layers, or the weights were
                changed since the forward pass.
        """
        with graph.autograd_on():
            score = self._score(target)
            found = self._backward(score, [call.tensor for call in self._calls], keep=not last)
        unused = [c.name for c, g in zip(self._calls, found, strict=True) if g is None]
        if unused:
            raise ValueError(
                f"The score does not depend on {listed(unused)}: "
                "choose a layer that lies on the way to the output. (What runs under no_grad, or "
                "in a checkpoint with use_reentrant=True, keeps no gradient.)"
            )
        gradients = self._read(found)
        warn_if_saturated(score, gradients.values())
        return gradients

    def gradients_of(self, targets: Sequence[Target]) -> list[dict[str, Tensor]]:
        """`gradients` of many targets, in one batched backward pass where the maps are small."""
        small = sum(A.numel() for A in self.features.values()) <= BATCHED
        half = any(call.tensor.dtype == torch.float16 for call in self._calls)
        if small and not half and len(targets) > 1:
            try:
                return self._at_once(targets)
            except RuntimeError:  # an operation in the model cannot be batched
                pass
        return [self.gradients(target) for target in targets]

    def _at_once(self, targets: Sequence[Target]) -> list[dict[str, Tensor]]:
        with graph.autograd_on():
            every = [self._score(target) for target in targets]
            sums = torch.stack([score.sum() for score in every])
            found = torch.autograd.grad(
                sums,
                [call.tensor for call in self._calls],
                torch.eye(len(targets)).to(sums),
                retain_graph=True,
                is_grads_batched=True,
            )
        gradients = [self._read([g[k] for g in found]) for k in range(len(targets))]
        for score, of_layers in zip(every, gradients, strict=True):
            warn_if_saturated(score, of_layers.values())
        return gradients

    def image_gradient(
        self, target: Target = None, rule: graph.Rule | None = None, *, last: bool = False
    ) -> Tensor:
        """∂y^c/∂x, (N, C, H, W), each ReLU passing gradients by `rule` where one is given.

        Raises:
            ValueError: the recording was made without `pixels=True`, or the model met no ReLU.
            TypeError, ValueError: as `gradients`.
        """
        with graph.autograd_on():
            score = self._score(target)
            relus: list[Any] = []
            if rule:
                relus = self._relus if _is_class(target) else graph.relus_before(score.grad_fn)
            with graph.relus_follow(rule, relus) if rule else nullcontext():
                (found,) = self._backward(score, [self.images], keep=not last)
        if found is None:
            raise ValueError("The score does not depend on the images.")
        warn_if_saturated(score, [found])
        return found

    @cached_property
    def _relus(self) -> list[Any]:
        return graph.relus_before(self.output.grad_fn)

    def _score(self, target: Target) -> Tensor:
        if not _is_class(target):
            return differentiable(scores(self.output, target, len(self.images)))
        if target not in self._scores:
            self._scores[target] = scores(self.output, target, len(self.images))
        return differentiable(self._scores[target])

    def _backward(self, score: Tensor, tensors: list[Tensor], *, keep: bool) -> list[Any]:
        """∂score/∂tensors, None for those it does not depend on; float16 scaled on the way."""
        half = torch.float16 in (score.dtype, *(tensor.dtype for tensor in tensors))
        for scale in (HALF_SCALE, 1.0) if half else (1.0,):
            try:
                found = torch.autograd.grad(
                    score.sum() * scale,
                    tensors,
                    retain_graph=keep or scale > 1,
                    allow_unused=True,
                )
            except RuntimeError as error:
                if type(error) is not RuntimeError or "allocate memory" in str(error):
                    raise
                raise ValueError(f"The backward pass stopped: {first_line(error)}") from error
            if scale == 1 or all(g is None or g.isfinite().all() for g in found):
                break
        return [None if g is None else full(g) / scale for g in found]

    def _read(self, found: Sequence[Tensor]) -> dict[str, Tensor]:
        pairs = zip(self._calls, found, strict=True)
        return {call.name: full(call.reading(g)) for call, g in pairs if call.reading}


def _is_class(target: Target) -> TypeGuard[int | None]:
    """Whether this asks for one class, of which the score is worked out only once."""
    return target is None or type(target) is int


def record(
    model: nn.Module,
    images: Tensor,
    layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
    *,
    target: Target = None,
    pixels: bool = False,
    reshape_transform: ToMaps | None = None,
) -> Recording:
    """Run the model once and keep the feature maps of some layers.

    What the backward pass needs is kept from the shallowest of these layers on; parameters take
    no part in it. Each map is the layer's own output even if the model changes it in place
    afterwards, because a clone is what travels on.

    Args:
        model: any module; it is not touched, a `stand_in` runs.
        images: float tensor (N, C, H, W) as the model takes it.
        layers: names as in `layer_names`, or the modules themselves, or one such; an empty list
            for none. None is the last map larger than 1×1 that everything on the way to the score
            passes through; the model's own output and a pooling that only repeats do not count.
        target: the score meant by that way; see `targets.Target`.
        pixels: keep all that gradients at the images need.
        reshape_transform: for layers whose output is in no order that is recognised: a function
            from it, and from its gradient, to maps (N, K, h, w).

    Raises:
        TypeError: `model` is no module, or `images` no float tensor.
        ValueError: an unknown layer, a layer that gives no map, or images the model cannot take.
    """
    check(model, images)
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    if layers is None and reshape_transform:
        raise ValueError("reshape_transform needs a layer: name the one whose output it reads.")
    keep = pixels or (layers is not None and not layers)
    try:
        return _record(model, images, layers, target, keep, reshape_transform)
    except Dropped:  # by a model that takes gradients in its forward pass
        return _record(model, images, layers, target, True, reshape_transform)


def _record(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str | nn.Module] | None,
    target: Target,
    keep: bool,
    reshape_transform: ToMaps | None,
) -> Recording:
    if layers is None:
        last = _LastMaps(model, images, keep)
        calls = last.on_the_way(target)
        if not calls:
            raise ValueError(_no_map(model, images))
        if len(calls) == 1 and last.is_ready(calls[0]):
            return last.recording(calls)
        layers = [calls[0].name]
        if len(calls) > 1:
            layers = [_last_to_count(model, images, calls, target, keep)]
    passed = _AskedLayers(model, images, layers, keep, reshape_transform)
    return passed.recording(passed.calls)


def _no_map(model: nn.Module, images: Tensor) -> str:
    """The sentence for a model without a map on the way to the score."""
    calls = trace(model, images).calls
    several = [c for c in calls if isinstance(c.tensor, Tensor) and c.tensor.ndim > 2]
    counts = {len(c.tensor) for c in several if len(c.tensor) > len(images)}
    if any(call.reading for call in calls):
        reason = (
            "(What runs under no_grad, or in a checkpoint with use_reentrant=True, keeps no "
            "gradient.)"
        )
    elif not any(call.module._parameters for call in calls):
        reason = (
            "None of its weights is in a layer that runs, as in an exported graph: give the Python "
            "model that it was made from."
        )
    elif several and all(call.tensor.shape[2:].numel() == 1 for call in several):
        reason = "All its maps are of one position: give larger images."
    elif several:
        forms = ", ".join(f"{c.name!r} {tuple(c.tensor.shape)}" for c in several[-3:])
        grown = f", and the images given are {len(images)}" if counts else ""
        grown += f", and {MOVED}" if several[-1].is_moved else ""
        reason = (
            f"Its last layers with positions give {forms}{grown}. Name one, and say how to read "
            "it as maps of the images given: reshape_transform=."
        )
    else:
        reason = "No layer gives more than two axes."
    return (
        "This model gives no feature map (N, K, h, w) larger than 1×1 on the way to the score. "
        + reason
    )


def _last_to_count(
    model: nn.Module, images: Tensor, calls: list[Call], target: Target, keep: bool
) -> str:
    """The last of some layers of tokens whose grid the score depends on.

    Behind the last attention a class token may be all that still counts.
    """
    passed = _AskedLayers(model, images, [call.name for call in calls], keep)
    gradients = passed.recording(passed.calls).gradients(target, last=True)
    names = [name for name, gradient in gradients.items() if gradient.any()]
    return names[-1] if names else calls[0].name


def trace(model: nn.Module, images: Tensor) -> Trace:
    """One forward pass with every run of every layer; args and errors as `layer_names`."""
    check(model, images)
    try:
        passed = _EveryLayer(model, images)
    except Dropped:
        passed = _EveryLayer(model, images, keep=True)
    return Trace(passed.output, passed.calls)


def layer_names(model: nn.Module, images: Tensor) -> list[str]:
    """Names of the layers whose output is a feature map with h·w > 1, in forward order.

    Found by running the model on `images`, so that it works for input of any size and number of
    channels. A feature map is (N, K, h, w), or channels last (N, h, w, C), or tokens (N, L, D) on
    a grid; see `layout`. A layer that runs more than once on maps has a name for each run:
    `relu#1`, `relu#2`.

    Args:
        model: any module; it is not touched.
        images: float tensor (N, C, H, W) as the model takes it.

    Raises:
        TypeError: `model` is no module, or `images` no float tensor.
        ValueError: images the model cannot take.
    """
    return [call.name for call in trace(model, images).calls if call.reading]


def run(model: nn.Module, images: Tensor) -> Any:
    """The model's output in eval mode, without a graph; args and errors as `layer_names`."""
    check(model, images)
    with torch.inference_mode(False), torch.no_grad():
        return _called(stand_in(model), images.detach().clone())


def full(tensor: Tensor) -> Tensor:
    """float16 as float32, which holds the small numbers of a map; others as they are."""
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _called(model: nn.Module, images: Tensor) -> Any:
    try:
        return model(images)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        refuse_other_inputs(model, error)
        raise
    except AssertionError as error:
        if not str(error).startswith("Guard failed"):
            raise
        raise ValueError(
            f"This exported program does not take images of shape {tuple(images.shape)} "
            f"({error}): give the Python model that it was made from."
        ) from error
    except RuntimeError as error:
        if type(error) is not RuntimeError or "allocate memory" in str(error):
            raise
        raise ValueError(
            f"The model stopped on images of shape {tuple(images.shape)}: {error}"
        ) from error


def refuse_changed(
    weights: list[Tensor], versions: list[int], error: Exception | None = None
) -> None:
    """Raise the sentence for weights that have other versions now, caused by `error`."""
    if versions != [weight._version for weight in weights]:
        raise ValueError(CHANGED) from error


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Raise the sentence if a model that is run more than once is another one in the end."""
    before = _versions(model)
    try:
        yield
    except Exception as error:
        if _versions(model) != before:
            raise ValueError(CHANGED) from error
        raise
    if _versions(model) != before:
        raise ValueError(CHANGED)


def _versions(model: nn.Module) -> list[tuple[int, int]]:
    tensors = (*model.parameters(), *model.buffers())
    return [(id(t), 0 if is_lazy(t) or t.is_inference() else t._version) for t in tensors]


# ---- what autograd keeps -------------------------------------------------------------------------


class Dropped(ValueError):
    """A backward pass needs what was not kept."""


class _Saved:
    """Tensors saved for the backward pass: only those that can still be needed are held."""

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.parts: deque[list[list[Any]]] = deque()

    def pack(self, tensor: Tensor) -> list[Any]:
        entry = [tensor.detach(), tensor._version] if self.keep or self.parts else [None, 0]
        if self.parts:
            self.parts[-1].append(entry)
        return entry

    def unpack(self, entry: list[Any]) -> Tensor:
        tensor, version = entry
        if tensor is None:
            raise Dropped("Gradients at the images need record(…, pixels=True).")
        if tensor._version != version:
            raise ValueError(CHANGED)
        return tensor

    def refuse_checkpoint(self) -> None:
        """Raise Dropped in a checkpoint: it needs what it was given, which came before."""
        try:
            top = torch._C._autograd._top_saved_tensors_default_hooks(False)
        except (AttributeError, TypeError):  # private, and not the same in every PyTorch
            return
        if not self.keep and top and top[0] != self.pack:
            raise Dropped("A checkpoint needs what it was given.")

    def next_part(self) -> None:
        """Begin a new part; of the parts before, the last few stay."""
        self.refuse_checkpoint()
        self.parts.append([])
        if len(self.parts) > CANDIDATES:
            for entry in self.parts.popleft():
                if not self.keep:
                    entry[0] = None


# ---- three ways to watch a forward pass ----------------------------------------------------------


class _Pass(ABC):
    """A forward pass of the model's stand-in with a look at layers."""

    def __init__(self, model: nn.Module, images: Tensor, keep: bool = False) -> None:
        self.model = stand_in(model)
        named = self.model.named_modules()
        self.layers = {n: m for n, m in named if n and "parametrizations" not in n.split(".")}
        self.calls: list[Call] = []
        self.head: tuple[Tensor, Tensor, Tensor] | None = None
        self.saved = _Saved(keep)
        self.layouts = Layouts(len(images))
        self.scores: dict[int | None, Tensor] = {}
        with graph.autograd_on():
            self.images = images.detach().clone().requires_grad_()

    def go(self, watched: Iterable[str]) -> None:
        """Run; `visit` sees each call of the layers to watch."""
        runs: Counter[str] = Counter()

        def hook(name: str) -> Any:
            def look(module: nn.Module, args: tuple, output: Any) -> Any:
                runs[name] += 1
                return self.visit(Call(name, module, args[0] if args else None, output, runs[name]))

            return look

        hooks = [self.layers[name].register_forward_hook(hook(name)) for name in watched]
        for layer in self.layers.values():
            if isinstance(layer, nn.Linear):
                hooks.append(layer.register_forward_hook(self._keep_head))
        modules = (self.model, *self.layers.values())
        held = [w for m in modules for w in m._parameters.values() if w is not None]
        weights = [w for w in held if not getattr(w, "is_copy", True)]  # those of the model's
        versions = [weight._version for weight in weights]
        try:
            with (
                graph.autograd_on(),
                saved_tensors_hooks(self.saved.pack, self.saved.unpack),
            ):
                self.output = _called(self.model, self.images.clone())
        except ValueError as error:
            refuse_changed(weights, versions, error)
            raise
        finally:  # else the stand-in and this pass would keep each other alive
            for handle in hooks:
                handle.remove()
        refuse_changed(weights, versions)
        self._name_runs(runs)

    @abstractmethod
    def visit(self, call: Call) -> Any:
        """See a call; what is returned, unless None, is handed on in place of its output."""

    def could_be_maps(self, tensor: Any) -> bool:
        """A first look: floats with an axis for the images and two or three more."""
        return (
            isinstance(tensor, Tensor)
            and tensor.ndim in (3, 4)
            and tensor.is_floating_point()
            and self.layouts.count in tensor.shape
        )

    def reading(self, tensor: Any) -> Reading | None:
        """How the tensor is read as feature maps."""
        if not self.could_be_maps(tensor):
            return None
        if not torch.is_grad_enabled() and tensor.grad_fn is None and tensor.ndim == 4:
            with graph.autograd_on():
                # below a no_grad of the model's own there is no graph
                tensor = tensor.new_empty(tensor.shape).requires_grad_()
                tensor = tensor.view_as(tensor)
        edge = (tensor.grad_fn, tensor.output_nr)
        return self.layouts.reading(edge) if tensor.requires_grad else None

    def recording(self, calls: list[Call]) -> Recording:
        """What was kept of these calls."""
        if changed := [c.name for c in calls if c.tensor._version != c.version]:
            raise ValueError(
                f"The model changes the output of {changed[0]!r}, which one of its hooks keeps, in "
                "place: have the hook keep output.clone()."
            )
        features = {c.name: full(c.reading(c.tensor.detach())) for c in calls if c.reading}
        return Recording(self.output, self.images, features, self.head, calls, self.scores)

    def _keep_head(self, module: nn.Linear, args: tuple, output: Any) -> None:
        if args and isinstance(output, Tensor):
            self.head = (module.weight.detach(), args[0].detach(), output.detach())

    def _name_runs(self, runs: Counter[str]) -> None:
        """`relu#2` where a layer has run more than once and that on maps."""
        maps = Counter(call.name for call in self.calls if call.reading)
        for call in self.calls:
            if maps[call.name] > 1 or (not call.reading and runs[call.name] > 1):
                call.name = f"{call.name}#{call.run}"


class _EveryLayer(_Pass):
    """All calls, and how each output is read."""

    def __init__(self, model: nn.Module, images: Tensor, keep: bool = False) -> None:
        super().__init__(model, images, keep)
        self.go(self.layers)

    def visit(self, call: Call) -> None:
        call.reading = self.reading(call.tensor)
        call.is_moved = self.layouts.has_lost(call.edge)
        self.calls.append(call)


class _AskedLayers(_Pass):
    """The calls of the layers asked for; from the first of them on, gradients can flow."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        layers: Sequence[str | nn.Module],
        keep: bool = False,
        reshape_transform: ToMaps | None = None,
    ) -> None:
        super().__init__(model, images, keep)
        self.reshape_transform = reshape_transform
        asked = []
        for layer in layers:
            try:
                asked.append(find(model, self.model, self.layers, layer))
            except UnknownLayer as problem:
                raise ValueError(
                    f"{problem}. {nearest(layer_names(model, images), layer)}"
                ) from None
        self.forms: dict[str, str] = {}
        self.runs = {name: {run for other, run in asked if other == name} for name, _ in asked}
        self.go(self.runs)
        found = [self._call(name, run, model, images) for name, run in asked]
        self.calls = [call for call in self.calls if call in found]

    def visit(self, call: Call) -> Any:
        tensor = call.tensor
        self.forms[call.name] = form(tensor)
        if isinstance(tensor, Tensor) and torch.is_grad_enabled() and not tensor.requires_grad:
            self.forms[call.name] += ", and autograd cannot follow it (no_grad, detach(), vmap)"
        call.reading = self.reading(call.tensor)
        if self.layouts.has_lost(call.edge):
            self.forms[call.name] += f", and {MOVED}"
        if self.reshape_transform:
            fits = isinstance(call.tensor, Tensor) and call.tensor.is_floating_point()
            call.reading = self._by_transform if fits else None
        if call.reading is None:
            return None
        if not self.runs[call.name] & {0, call.run}:  # only counted
            call.output = call.given = None
            self.calls.append(call)
            return None
        self.saved.refuse_checkpoint()
        self.saved.keep = True
        A = call.tensor  # itself, where a hook of the model's may hand it on too
        if len(call.module._forward_hooks) == 1 or not A.requires_grad or A is call.given:
            A = A.clone()
        call.version = A._version
        call.output = call.replaced(A if A.requires_grad else A.detach().requires_grad_())
        self.calls.append(call)
        return call.replaced(call.tensor.clone())

    def _by_transform(self, tensor: Tensor) -> Tensor:
        maps: Any = self.reshape_transform(tensor) if self.reshape_transform else tensor
        if not isinstance(maps, Tensor) or maps.ndim != 4 or len(maps) != len(self.images):
            raise ValueError(
                f"reshape_transform must give maps (N, K, h, w), with N = {len(self.images)} here, "
                f"of an output {form(tensor)}; what it gave is {form(maps)}."
            )
        return maps

    def _call(self, name: str, run: int, model: nn.Module, images: Tensor) -> Call:
        calls = [c for c in self.calls if c.layer == name]
        of_run = [c for c in calls if c.run == run] if run else calls
        if len(of_run) == 1:
            return of_run[0]
        if calls:
            runs = listed([c.name for c in calls])
            if len(calls) == 1:
                raise ValueError(f"Layer {name!r} runs only once on maps: its name is {runs}.")
            raise ValueError(
                f"Layer {name!r} runs {len(calls)} times on maps: name one of its runs, {runs}."
            )
        seen = f" Its output is {self.forms[name]}." if name in self.forms else UNSEEN
        names = layer_names(model, images)
        hint = " If it holds one in an order of its own, say how to read it: reshape_transform=."
        if not self.forms.get(name, "").startswith("of shape"):
            hint = ""
        raise ValueError(
            f"Layer {name!r} gives no feature map (N, K, h, w) larger than 1×1.{seen} "
            f"{nearest(names, name)}{hint}"
        )


class _LastMaps(_Pass):
    """Which maps there are on the way to the score; the last few are ready for gradients."""

    def __init__(self, model: nn.Module, images: Tensor, keep: bool) -> None:
        super().__init__(model, images, keep)
        self.ready: deque[Call] = deque()
        self.go(self.layers)

    def visit(self, call: Call) -> Any:
        tensor = call.tensor
        if not self.could_be_maps(tensor) or not tensor.requires_grad or _repeats(call):
            return None
        if tensor.shape[2:].numel() == 1:  # pooled to one position
            return None
        self.calls.append(call)
        self.ready.append(call)
        self.saved.next_part()
        if len(self.ready) > CANDIDATES:
            self.ready.popleft().output = None
        call.given = None
        return call.replaced(tensor.clone()) if tensor.numel() <= self.images.numel() else None

    def on_the_way(self, target: Target, most: int = 12) -> list[Call]:
        """The last map that everything passes through on the way to the score.

        Of tokens, the last few such maps, the very last one first; a grid ends the search. None
        is there if the list is empty.
        """
        with graph.autograd_on():
            score = scores(self.output, target, len(self.images))
        root = differentiable(score).grad_fn
        if _is_class(target):
            self.scores[target] = score
        own = graph.shown_in(self.output, root)
        gates = graph.on_every_path(root)
        moved = ""
        for nodes in (gates, graph.reached(root)):
            found: list[Call] = []
            for call in reversed(self.calls):
                if call.node in nodes and call.node not in own:
                    call.reading = reading = self.layouts.reading(call.edge)
                    found += [call] if reading else []
                    if not moved and self.layouts.has_lost(call.edge):
                        moved = call.name
                    if (reading and reading.is_grid) or len(found) == most:
                        break
            if found:
                break
        else:
            return []
        last = found[0].name
        if moved and found[0].node not in gates:
            raise ValueError(
                f"The last map on the way to the score is that of {moved!r}, and {MOVED}: name "
                f"another layer, such as {last!r}, or say how to read it: reshape_transform=."
            )
        if "#" in last and found[0].node not in gates:
            raise ValueError(
                f"The score comes from several runs of one layer, the last {last!r}, and no map "
                "lies behind them all: name the run that you mean."
            )
        return found

    def is_ready(self, call: Call) -> bool:
        """Whether gradients at this map can be had from this pass."""
        return call in self.ready and call.tensor._version == call.version


def _repeats(call: Call) -> bool:
    """Whether a layer hands on its input, or pools a map to no fewer positions."""
    return (call.tensor is call.given and not call.version) or call.pools_nothing
