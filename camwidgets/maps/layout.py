"""Which axes of a tensor are channels and which are positions: followed, not guessed.

The shape alone cannot tell a feature map (N, K, h, w) from attention weights or from a map with
the channels last. Autograd's graph can: it says by which views and permutations each axis came
about. Here every axis is a product of *atoms* (as in einops): "n", the images; "h" and "w", rows
and columns; "k", anything else. A view multiplies and splits them, a permutation moves them, a
convolution makes new channels. What moves positions, or mixes them up, leaves a layout `LOST`, and
so does all that follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .graph import dims_of, name_of, signed


class Atom(NamedTuple):
    """A factor of an axis. A part of a split atom knows what it was split from."""

    label: str
    size: int
    whole: Atom | None = None
    part: int = 0
    parts: int = 1
    grid: tuple[Atom, ...] = ()
    """for tokens with others before or after: the positions among them"""
    before: int = 0
    mirrored: bool = False
    off: float = 0.0
    """by how many positions its middle lies before that of the image's rows or columns"""
    extra: float = 0.0
    """how many positions it has more than the image's rows or columns, by padding less cutting"""


Axis = tuple[Atom, ...]
Layout = tuple[Axis, ...]
Shape = Sequence[int]
LOST: Layout = ((Atom("lost", 0),),)
"""positions are in it, and nobody knows where"""


@dataclass(frozen=True)
class Reading:
    """How a tensor is read as maps (N, K, h, w)."""

    order: tuple[int, ...]
    """the tensor's axes that hold N, K and the positions, in this order"""
    h: int
    w: int
    before: int = 0
    """tokens in front of the grid: class and register tokens"""
    mirrored: tuple[int, ...] = ()
    """2 if the rows run from the bottom up, 3 if the columns run from right to left"""

    @property
    def is_grid(self) -> bool:
        """Whether rows and columns are axes of the tensor, which tokens have not."""
        return len(self.order) == 4

    def __call__(self, tensor: Tensor) -> Tensor:
        """The map (N, K, h, w) in a tensor of this layout."""
        maps = tensor.permute(self.order)
        if maps.ndim == 3:
            maps = maps[..., self.before : self.before + self.h * self.w]
            maps = maps.unflatten(2, (self.h, self.w))
        return maps.flip(self.mirrored) if self.mirrored else maps


@dataclass
class Layouts:
    """The layouts of the tensors of one forward pass, worked out when they are asked for."""

    count: int
    """the number of images"""
    known: dict[tuple[Any, int], Layout | None] = field(default_factory=dict)

    def reading(self, edge: tuple[Any, int]) -> Reading | None:
        """How what this edge leads to is read as maps larger than 1×1; None if it holds none."""
        for here in _inputs_first(edge, self.known):
            self.known[here] = self._of(*here)
        layout = self.known[edge]
        return None if layout is None else _reading(layout, self.count)

    def has_lost(self, edge: tuple[Any, int]) -> bool:
        """Whether what this edge leads to held positions, and they were moved."""
        layout = self.known.get(edge) or ()
        return layout is LOST or any(_is_off(atom) for axis in layout for atom in axis)

    def _of(self, node: Any, output: int) -> Layout | None:
        """The layout of what a node gave, from those of what it was given."""
        name = name_of(node)
        inputs = [self.known.get(edge) for edge in node.next_functions]
        if name in OF_ONE:
            return inputs[0]
        made = node._input_metadata[output]
        if made.is_nested_tensor:
            return None
        shape = tuple(made.shape)
        if name.endswith("Convolution"):
            if node.next_functions[0][0] is None:  # a view of the images, cut off by no_grad
                return LOST
            return _convolved(inputs[0], shape, self.count)
        if name == "AccumulateGrad":  # the graph begins again, where the model detached it
            return _fresh(shape, self.count)
        if name in PUT and inputs[0] is None:
            return _put(name, inputs, shape, self.count)
        given = _most_spatial(inputs, shape)
        if given is None or given is LOST:
            return given
        followed = _followed(node, output, name, given, inputs, shape, self.count)
        return LOST if followed is None and any(map(_is_spatial, given)) else followed


@lru_cache(maxsize=1024)
def _fresh(shape: Shape, count: int) -> Layout | None:
    """The layout of a tensor (N, K, h, w) at which the graph begins."""
    if len(shape) != 4:
        return None
    images = Atom("n" if shape[0] == count else "k", shape[0])
    _, k, h, w = shape
    return ((images,), (Atom("k", k),), (Atom("h", h),), (Atom("w", w),))


@lru_cache(maxsize=1024)
def _convolved(given: Layout | None, shape: Shape, count: int) -> Layout | None:
    """New channels at the same positions; what holds none becomes a map of its own."""
    if given is LOST:
        return LOST
    if given is None or len(given) != len(shape) or not any(map(_is_spatial, given)):
        return _fresh(shape, count)
    positions = _resized(given[2:], shape[2:])
    if positions is None or _has_images(given[2:]):
        return LOST
    return (given[0], (Atom("k", shape[1]),), *positions)


def _followed(
    node: Any,
    output: int,
    name: str,
    given: Layout,
    inputs: list[Layout | None],
    shape: Shape,
    count: int,
) -> Layout | None:
    """What becomes of the layout `given` in any operation but a convolution."""
    if name in OF_TWO and _sizes(given) == shape:
        return given
    dims = dims_of(node)
    if name in MOVES or "_roi_" in node.name():
        in_channels = dims and all(_is_channels(given[dim]) for dim in dims)
        return _resized(given, shape) if in_channels else None
    if name == "Flip":
        return _flipped(given, dims)
    if name == "Rot90":
        a, b = dims
        turns = node._saved_k % 4
        axes = list(given)
        if turns % 2:
            axes[a], axes[b] = axes[b], axes[a]
        return _flipped(tuple(axes), [[], [a], [a, b], [b]][turns])
    if name in ("Index", "IndexSelect"):
        at = node._saved_indices if name == "Index" else [None] * (dims[0] % len(shape))
        return _indexed(given, [*at] if name == "Index" else [*at, node._saved_index], shape)
    if name == "Repeat":
        repeats = node._saved_repeats
        grown = [
            axis for axis, times in zip(given, repeats[-len(given) :], strict=True) if times > 1
        ]
        plain = len(given) == len(shape) and all(map(_is_channels, grown))
        return _resized(given, shape) if plain else None
    if name == "Im2Col":
        return _patches(given, node, shape)
    if name == "Col2Im":
        return _unpatched(given, node, shape)
    if name == "Unfold":
        windows = _resized(given, shape[:-1])
        return windows and (*windows, (Atom("k", shape[-1]),))
    if name == "Permute":
        return tuple(given[dim] for dim in node._saved_dims)
    if name == "Transpose":
        axes = list(given)
        a, b = signed(node._saved_dim0), signed(node._saved_dim1)
        axes[a], axes[b] = axes[b], axes[a]
        return tuple(axes)
    if name == "T":
        return given[::-1]
    if name in ("Addmm", "Mm", "Bmm", "Baddbmm"):
        return _product(inputs[-2], inputs[-1], shape)
    if name.startswith("ScaledDotProduct"):
        return _product(inputs[0], inputs[2], shape)
    if name in ("Cdist", "EuclideanDist"):
        columns = inputs[1]
        return _product(inputs[0], columns and (*columns[:-2], *columns[:-3:-1]), shape)
    if name == "Cat":
        return _joined(given, inputs, dims[0], shape, count)
    if name == "Stack":
        dim = dims[0] % len(shape)
        together = _alike(given, inputs)
        return (
            (*given[:dim], (_pile(given, dim, shape, count),), *given[dim:]) if together else None
        )
    if name == "AsStrided":
        return _restrided(given, node, shape)
    if name == "Slice":
        dim = dims[0] % len(shape)
        asked = slice(signed(node._saved_start), signed(node._saved_end))
        start, end, _ = asked.indices(node._saved_self_sym_sizes[dim])
        sliced = _sliced(given, dim, start, (*shape[:dim], end - start, *shape[dim + 1 :]))
        return sliced and _resized(sliced, shape)
    if name in ("Split", "SplitWithSizes"):
        before = node._saved_split_sizes if name == "SplitWithSizes" else [node._saved_split_size]
        start = sum(before[:output]) if name == "SplitWithSizes" else output * before[0]
        return _sliced(given, dims[0], start, shape)
    if name == "ConstantPadNd":
        return _padded(given, [signed(side) for side in node._saved_pad], shape)
    if name.startswith(("ReplicationPad", "ReflectionPad")):
        return _padded(given, [signed(side) for side in node._saved_padding], shape)
    if name in ("Select", "Unbind") or (dims and len(shape) == len(given) - len(dims)):
        gone = {dim % len(given) for dim in dims}
        return tuple(axis for i, axis in enumerate(given) if i not in gone)
    if name == "Glu" and _is_spatial(given[dims[0]]):
        return None
    if len(given) == len(shape) and name not in VIEWS:
        return _resized(given, shape)
    return _regrouped(given, shape)


VIEWS = {"View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze"}
MOVES = {
    *("Roll", "Gather", "Sort", "Topk", "Scatter", "ScatterAdd", "ScatterReduce", "IndexReduce"),
    *("Cumsum", "Take"),
    *("GridSampler2D", "FftC2C", "FftC2R", "FftR2C"),
}
"""what mixes or moves positions: beyond it their places are not known"""
OF_ONE = {
    *("Relu", "Hardtanh", "Hardswish", "Silu", "Gelu", "Clone", "NativeBatchNorm"),
    *("CudnnBatchNorm", "NativeLayerNorm", "NativeGroupNorm"),
}
"""the most frequent operations on one tensor that keep every number's place"""
OF_TWO = {"Add", "Sub", "Mul", "Div"}
PUT = {"CopySlices", "SliceScatter", "SelectScatter", "IndexPut", "IndexAdd", "IndexCopy"}
"""what writes into a tensor"""


def _inputs_first(
    edge: tuple[Any, int], known: Mapping[tuple[Any, int], Any]
) -> Iterator[tuple[Any, int]]:
    """The edges that lead to `edge`, each after its inputs, back to what is known."""
    stack, opened = [edge], set()
    while stack:
        here = stack[-1]
        node = here[0]
        if here in known or node is None:
            stack.pop()
        elif here in opened:
            yield stack.pop()
        else:
            opened.add(here)
            stack.extend(e for e in node.next_functions if e[0] is not None and e not in opened)


def _product(a: Layout | None, b: Layout | None, shape: Shape) -> Layout | None:
    """a @ b, and attention (the rows of the queries, the columns of the values)."""
    if LOST in (a, b) or (a is None and b is None):
        return None
    if a is None:
        return b and (*b[:-2], (Atom("k", shape[-2]),), b[-1])
    columns = (Atom("k", shape[-1]),) if b is None else b[-1]
    return (*a[:-1], columns) if len(a) == len(shape) else None


def _put(name: str, inputs: list[Layout | None], shape: Shape, count: int) -> Layout | None:
    """Something put into a tensor of no layout; autograd does not tell where."""
    given = _most_spatial(inputs[1:], shape)
    if given is None or given is LOST or name.startswith("Index"):
        return given and LOST
    if len(given) == len(shape) - 1 and not _has_images(given):  # image by image
        given = (_pile(given, 0, shape, count),), *given
    if len(given) != len(shape):
        return LOST if any(map(_is_spatial, given)) else None
    grown = [
        _shifted(axis, size, (size - _size(axis)) / 2)
        for axis, size in zip(given, shape, strict=True)
    ]
    return _resized(tuple(grown), shape) or LOST


def _indexed(given: Layout, at: Sequence[Tensor | None], shape: Shape) -> Layout | None:
    """Parts of axes by their numbers; of positions, if they stay as evenly spread."""
    if len(given) != len(shape):
        return None
    for axis, index in zip(given, at, strict=False):
        if index is None or _is_channels(axis):
            continue
        if index.ndim != 1:
            return None
        index = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        size, count = _size(axis), len(index)
        even = (torch.arange(count, device=index.device) + 0.5) * size / count
        if (index + 0.5 - even).abs().max() > _is_spatial(axis):  # images have to stay in order
            return None
    return _resized(given, shape)


def _restrided(given: Layout, node: Any, shape: Shape) -> Layout | None:
    """A view in the order of its base, as autograd tells it behind a change in place."""
    base, start = _sizes(given), node._saved_storage_offset
    steps = [prod(base[i + 1 :]) for i in range(len(base))]
    if list(node._saved_stride) != steps:
        return None
    for dim, step in enumerate(steps):
        first, start = divmod(start, step)
        whole = (*shape[: dim + 1], *base[dim + 1 :])
        if (next_given := _sliced(given, dim, first, whole)) is None:
            return None
        given = next_given
    return given


def _has_images(layout: Layout) -> bool:
    return any(atom.label == "n" for axis in layout for atom in axis)


def _pile(given: Layout, dim: int, shape: Shape, count: int) -> Atom:
    """The axis of things that are put one on another: as many as the images, these themselves."""
    images = dim == 0 and shape[0] == count and not _has_images(given)
    return Atom("n" if images else "k", shape[dim])


def _padded(given: Layout, sides: list[int], shape: Shape) -> Layout | None:
    """More at the ends of axes, the last one first, or less."""
    axes = list(given)
    for i, (before, after) in enumerate(zip(sides[::2], sides[1::2], strict=True), 1):
        axis = axes[-i]
        if len(axis) > 1 and _is_spatial(axis) and before >= 0 and after >= 0 < before + after:
            axes[-i] = (Atom("t", shape[-i], grid=axis, before=before),)
        else:
            axes[-i] = _shifted(axis, shape[-i], (before - after) / 2)
    return _resized(tuple(axes), shape)


def _shifted(axis: Axis, size: int, by: float) -> Axis:
    """More or fewer positions, their middle moved; an outer part becomes an axis of its own."""
    if (size == _size(axis) and not by) or not _is_outer(axis):
        return axis
    (atom,) = axis
    extra = atom.extra + size - atom.size
    return (_sized(atom, atom.size)._replace(size=size, off=atom.off + by, extra=extra),)


def _flipped(given: Layout, dims: list[int]) -> Layout | None:
    axes = list(given)
    for dim in dims:
        if (mirrored := _mirrored(given[dim])) is None:
            return None
        axes[dim] = mirrored
    return tuple(axes)


def _mirrored(axis: Axis) -> Axis | None:
    if _is_channels(axis):
        return axis
    if not _is_whole(axis):
        return None
    return (axis[0]._replace(mirrored=not axis[0].mirrored, off=-axis[0].off),)


def _patches(given: Layout, node: Any, shape: Shape) -> Layout | None:
    """Patches (N, K·k·k, h·w) cut from a map."""
    if [[atom.label for atom in axis] for axis in given[1:]] != [["k"], ["h"], ["w"]]:
        return None
    h, w = _places(
        node, (node._saved_self_sym_argsize_minus_2, node._saved_self_sym_argsize_minus_1)
    )
    places = (_sized(given[2][0], h), _sized(given[3][0], w))
    return (given[0], (Atom("k", shape[1]),), places)


def _unpatched(given: Layout, node: Any, shape: Shape) -> Layout | None:
    """Patches put back, or added up, where they were cut."""
    h, w = _places(node, shape[-2:])
    if [(atom.label, atom.size) for atom in given[-1]] != [("h", h), ("w", w)]:
        return None
    rows, columns = given[-1]
    sides = ((_sized(rows, shape[-2]),), (_sized(columns, shape[-1]),))
    return (*given[:-2], (Atom("k", shape[-3]),), *sides)


def _places(node: Any, sides: Shape) -> Iterator[int]:
    """How many patches there are along each side."""
    steps = (node._saved_kernel_size, node._saved_stride, node._saved_padding, node._saved_dilation)
    for size, kernel, stride, padding, dilation in zip(sides, *steps, strict=True):
        yield (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _is_spatial(axis: Axis) -> bool:
    return any(atom.label in "hwt" for atom in axis)


def _size(axis: Sequence[Atom]) -> int:
    return axis[0].size if len(axis) == 1 else prod(atom.size for atom in axis)


def _sizes(layout: Layout) -> Shape:
    return tuple(map(_size, layout))


def _is_outer(axis: Axis) -> bool:
    """Whether this is an axis of rows or of columns, or of every so many of them."""
    return len(axis) == 1 and axis[0].label in "hw" and axis[0].part == 0


def _is_whole(axis: Axis) -> bool:
    """Whether this is an axis of rows or of columns."""
    return len(axis) == 1 and axis[0].label in "hw" and axis[0].parts == 1


def _is_channels(axis: Axis) -> bool:
    return all(atom.label == "k" for atom in axis)


def _alike(given: Layout, inputs: list[Layout | None], dim: int | None = None) -> bool:
    """Whether all layouts have the axes of this one, but for the axis `dim`."""

    def rest(layout: Layout) -> Layout:
        return layout if dim is None else (*layout[:dim], *layout[dim + 1 :])

    def kinds(layout: Layout) -> list[Any]:
        return [
            [(atom.label, atom.part, atom.mirrored) for atom in axis if atom.label in "nhwt"]
            for axis in rest(layout)
        ]

    others = [x for x in inputs if x and rest(x) != rest(given)]
    others = [x for x in others if x is LOST or any(map(_is_spatial, x))]
    return all(x is not LOST and kinds(x) == kinds(given) for x in others)


def _most_spatial(inputs: list[Layout | None], shape: Shape) -> Layout | None:
    """Of a sum or product, the operand that says most about the positions."""
    layouts = [layout for layout in inputs if layout is not None]
    if len(layouts) < 2:
        return layouts[0] if layouts else None

    def says(layout: Layout) -> tuple[bool, int]:
        return _sizes(layout) == shape, sum(map(_is_spatial, layout))

    best = max(layouts, key=says)
    return LOST if LOST in layouts and not says(best)[0] else best


@lru_cache(maxsize=1024)
def _resized(given: Layout, shape: Shape) -> Layout | None:
    """The same axes with other sizes: pooling, enlarging, padding, cutting, elementwise."""
    axes = []
    for axis, size in zip(given, shape, strict=True):
        if _size(axis) == size:
            axes.append(axis)
        elif not _is_spatial(axis):
            axes.append((Atom("k", size),))
        elif _is_outer(several := tuple(atom for atom in axis if atom.size > 1)):
            axes.append((_sized(several[0], size),))
        else:
            return None
    return tuple(axes)


def _sized(atom: Atom, size: int) -> Atom:
    """As many rows or columns of the same image."""
    times = size / atom.size
    off, extra = atom.off * times, atom.extra * times
    return Atom(atom.label, size, mirrored=atom.mirrored, off=off, extra=extra)


def _joined(
    given: Layout, inputs: list[Layout | None], dim: int, shape: Shape, count: int
) -> Layout | None:
    """Concatenation; along the positions, one grid with other tokens before or after it."""
    dim %= len(shape)
    if not _alike(given, inputs, dim):
        return None
    grids = [i for i, layout in enumerate(inputs) if layout and _is_spatial(layout[dim])]
    axes = list(given)
    if not grids:
        single = all(layout and _size(layout[dim]) == 1 for layout in inputs)
        axes[dim] = (_pile(given, dim, shape, count) if single else Atom("k", shape[dim]),)
        return tuple(axes)
    atoms = given[dim]
    size = _size(atoms)
    if len(grids) > 1 or grids[0] not in (0, len(inputs) - 1):
        return None
    extra = 0 if grids[0] == 0 else shape[dim] - size
    if _is_whole(atoms):
        axes[dim] = _shifted(atoms, shape[dim], (shape[dim] - size) / (2 if extra else -2))
        return tuple(axes)
    if atoms[0].label == "t":
        extra, atoms = extra + atoms[0].before, atoms[0].grid
    axes[dim] = (Atom("t", shape[dim], grid=atoms, before=extra),)
    return tuple(axes)


def _sliced(given: Layout, dim: int, start: int, shape: Shape) -> Layout | None:
    """A part of one axis; of tokens, as long as the whole grid stays."""
    dim %= len(shape)
    (atom, *others) = given[dim] or (Atom("k", 1),)
    if others or atom.label != "t":
        less = _size(given[dim]) - shape[dim]
        axis = _shifted(given[dim], shape[dim], less / 2 - start)
        return _resized((*given[:dim], axis, *given[dim + 1 :]), shape)
    before, size = atom.before - start, _size(atom.grid)
    if before >= shape[dim] or before + size <= 0:  # class tokens alone
        return (*given[:dim], (Atom("k", shape[dim]),), *given[dim + 1 :])
    if before < 0 or before + size > shape[dim]:
        return None
    whole = before == 0 and size == shape[dim]
    axis = atom.grid if whole else (Atom("t", shape[dim], grid=atom.grid, before=before),)
    return (*given[:dim], axis, *given[dim + 1 :])


def _regrouped(given: Layout, shape: Shape) -> Layout | None:
    """A view: the same atoms in the same order, multiplied and split into other axes."""
    atoms = [atom for axis in given for atom in axis]
    axes: list[Axis] = []
    if 0 in shape:
        return None
    for i, size in enumerate(shape):
        axis: list[Atom] = []
        while _size(axis) < size or (size == 1 and not axis and atoms):
            if not atoms:
                return None
            atom = atoms.pop(0)
            needed, rest = divmod(size, _size(axis))
            if rest:
                return None
            if size == 1 and atom.size > 1:
                atoms.insert(0, atom)
                break
            if atom.size > needed:
                if atom.size % needed or atom.label == "t":
                    return None
                outer = _sized(atom, needed)._replace(whole=atom, parts=2)
                atoms.insert(0, Atom(atom.label, atom.size // needed, atom, 1, 2))
                atom = outer
            axis.append(atom)
        if _size(axis) != size:
            return None
        single = atoms and atoms[0].label == "n" and atoms[0].size == 1
        if single and size > 1 and _is_spatial(tuple(axis)) and shape[i + 1 : i + 2] != (1,):
            axis.append(atoms.pop(0))  # a batch of one stays beside its tokens, not its channels
        axes.append(tuple(axis))
    if any(atom.size > 1 for atom in atoms):
        return None
    if atoms and axes:
        axes[-1] = (*axes[-1], *atoms)
    return tuple(map(_merged, axes))


def _merged(axis: Axis) -> Axis:
    """Parts that stand together again become the atom that they were split from.

    Channels inside rows or columns are rows or columns between them.
    """
    atoms: list[Atom] = []
    for atom in axis:
        atoms.append(atom)
        while len(atoms) > 1 and atoms[-1].part == 1 and (whole := atoms[-1].whole):
            first, second = atoms[-2:]
            if first.whole != whole or first.size * second.size != whole.size:
                break
            atoms[-2:] = [whole]
    if len(atoms) > 1 and _is_whole(tuple(atoms[:1])) and _is_channels(tuple(atoms[1:])):
        return (_sized(atoms[0], _size(atoms)),)
    return tuple(atoms)


def _is_off(atom: Atom) -> bool:
    """Whether rows or columns lie beside the image's, or are half of them or less."""
    return abs(atom.off) > max(0.5, atom.size / 8) or 2 * atom.size <= atom.size - atom.extra


@lru_cache(maxsize=1024)
def _reading(layout: Layout, count: int) -> Reading | None:
    """How to read a layout; of one image alone, a view does not tell which 1 it is."""
    where: dict[str, int] = {}
    grid: tuple[Atom, ...] = ()
    before = 0
    ones: list[int] = []
    for i, axis in enumerate(layout):
        atoms = tuple(a for a in axis if a.size > 1 or a.label not in "kn" or axis == (a,))
        if _size(axis) == 1 and _is_channels(axis):
            ones.append(i)
            continue
        labels = "".join(atom.label for atom in atoms)
        if labels == "t":
            before, atoms = atoms[0].before, atoms[0].grid
            labels = "".join(atom.label for atom in atoms)
        if labels in ("h", "w", "hw"):
            grid += atoms
        elif labels != "n":
            inner = all(a.label == "k" or a.part == 1 for a in atoms)  # patches cut by a view
            labels = "k" if inner else "?"
        if labels in where:
            return None
        where[labels] = i
    if any(map(_is_off, grid)):
        return None
    for label in ("n", "k") if count == 1 else ("k",):
        if label not in where and ones:
            where[label] = ones.pop(0)
    if ones:
        return None
    sizes = {atom.label: atom.size for atom in grid if atom.part == 0}
    if sizes.keys() != {"h", "w"} or sizes["h"] * sizes["w"] < 2 or len(grid) != 2:
        return None
    positions = [where["hw"]] if "hw" in where else [where["h"], where["w"]]
    if set(where) - {"n", "k", "h", "w", "hw"} or not {"n", "k"} <= where.keys():
        return None
    if _size(layout[where["n"]]) != count:
        return None
    mirrored = tuple(2 + "hw".index(atom.label) for atom in grid if atom.mirrored)
    order = (where["n"], where["k"], *positions)
    return Reading(order, sizes["h"], sizes["w"], before, mirrored)
