"""Which axes of a tensor are channels and which are positions: followed, not guessed.

The shape alone cannot tell a feature map (N, K, h, w) from attention weights or from a map with
the channels last. Autograd's graph can: it says by which views and permutations each axis came
about. Here every axis is a product of *atoms* (as in einops): "n", the images; "h" and "w", rows
and columns; "k", anything else. A view multiplies and splits them, a permutation moves them, a
convolution makes new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Atom:
    """A factor of an axis. A part of a split atom knows what it was split from."""

    label: str
    size: int
    whole: Atom | None = None
    part: int = 0
    parts: int = 1
    grid: tuple[Atom, ...] = ()
    """for tokens with others before or after: the positions among them"""
    before: int = 0


Axis = tuple[Atom, ...]
Layout = tuple[Axis, ...]
Shape = Sequence[int]


@dataclass(frozen=True)
class Reading:
    """How a tensor is read as maps (N, K, h, w)."""

    order: tuple[int, ...]
    """the tensor's axes that hold N, K and the positions, in this order"""
    h: int
    w: int
    before: int = 0
    """tokens in front of the grid: class and register tokens"""

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
        return maps


@dataclass
class Layouts:
    """The layouts of the tensors of one forward pass, worked out when they are asked for."""

    count: int
    """the number of images"""
    known: dict[tuple[Any, int], Layout | None] = field(default_factory=dict)

    def start(self, leaf: Tensor) -> None:
        """A tensor (N, K, h, w) at which the graph begins."""
        with torch.enable_grad():
            view: Any = leaf.view_as(leaf).grad_fn
        self.known[view.next_functions[0][0], 0] = self._fresh(leaf.shape)

    def reading(self, edge: tuple[Any, int]) -> Reading | None:
        """How what this edge leads to is read as maps larger than 1×1; None if it holds none."""
        for node, output in _inputs_first(edge, self.known):
            self.known[node, output] = self._of(node, output)
        layout = self.known[edge]
        return None if layout is None else _reading(layout)

    def _fresh(self, shape: Shape) -> Layout | None:
        if len(shape) != 4:
            return None
        images = Atom("n" if shape[0] == self.count else "k", shape[0])
        _, k, h, w = shape
        return ((images,), (Atom("k", k),), (Atom("h", h),), (Atom("w", w),))

    def _of(self, node: Any, output: int) -> Layout | None:
        """The layout of what a node gave, from those of what it was given."""
        name = _name(node)
        shape = tuple(node._input_metadata[output].shape)
        if name.endswith("Convolution"):
            return self._fresh(shape)
        inputs = [self.known.get(edge) for edge in node.next_functions]
        given = _most_spatial(inputs, shape)
        if given is None or name in MOVES or "_roi_" in node.name():
            return None
        if name == "Im2Col":
            return _patches(given, node, shape)
        if name == "Unfold":
            windows = _resized(given, shape[:-1])
            return windows and (*windows, (Atom("k", shape[-1]),))
        if name == "Permute":
            return tuple(given[dim] for dim in node._saved_dims)
        if name == "Transpose":
            axes = list(given)
            a, b = _dim(node._saved_dim0), _dim(node._saved_dim1)
            axes[a], axes[b] = axes[b], axes[a]
            return tuple(axes)
        if name == "T":
            return given[::-1]
        if name in ("Addmm", "Mm"):
            return (*given[:-1], (Atom("k", shape[-1]),)) if len(given) == len(shape) else None
        if name in ("Bmm", "Baddbmm"):
            return _product(inputs[-2], inputs[-1], shape)
        if name.startswith("ScaledDotProduct"):
            return _product(inputs[0], inputs[2], shape)
        if name == "Cat":
            return _joined(given, inputs, _dim(node._saved_dim), shape)
        if name == "Slice" and node._saved_step == 1:
            return _sliced(given, _dim(node._saved_dim), node._saved_start, shape)
        if name == "Select":
            axes = list(given)
            del axes[_dim(node._saved_dim)]
            return tuple(axes)
        if len(given) == len(shape) and name not in VIEWS:
            return _resized(given, shape)
        return _regrouped(given, shape)


VIEWS = {"View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze"}
MOVES = {
    *("Roll", "Flip", "Rot90", "Index", "IndexSelect", "Gather", "Sort", "Topk", "Scatter"),
    *("AsStrided", "Cumsum", "Take", "Repeat", "GridSampler2D"),
    *("FftC2C", "FftC2R", "FftR2C"),
}
"""what mixes or moves positions: beyond it their places are not known"""


def _name(node: Any) -> str:
    return node.name().partition("Backward")[0].rpartition("::")[2]


def _dim(dim: int) -> int:
    return dim - 2**64 if dim >= 2**63 else dim


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
        elif here in opened or _name(node).endswith("Convolution"):
            yield stack.pop()
        else:
            opened.add(here)
            stack.extend(e for e in node.next_functions if e[0] is not None and e not in opened)


def _product(a: Layout | None, b: Layout | None, shape: Shape) -> Layout | None:
    """a @ b, and attention (the rows of the queries, the columns of the values)."""
    if a is None:
        return None
    columns = (Atom("k", shape[-1]),) if b is None else b[-1]
    return (*a[:-1], columns)


def _patches(given: Layout, node: Any, shape: Shape) -> Layout | None:
    """Patches (N, K·k·k, h·w) cut from a map."""
    if [[atom.label for atom in axis] for axis in given[1:]] != [["k"], ["h"], ["w"]]:
        return None
    sizes = (node._saved_self_sym_argsize_minus_2, node._saved_self_sym_argsize_minus_1)
    steps = (node._saved_kernel_size, node._saved_stride, node._saved_padding, node._saved_dilation)
    h, w = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, padding, dilation in zip(sizes, *steps, strict=True)
    )
    return (given[0], (Atom("k", shape[1]),), (Atom("h", h), Atom("w", w)))


def _is_spatial(axis: Axis) -> bool:
    return any(atom.label in "hwt" for atom in axis)


def _most_spatial(inputs: list[Layout | None], shape: Shape) -> Layout | None:
    """Of a sum or product, the operand that says most about the positions."""
    layouts = [layout for layout in inputs if layout is not None]
    if len(layouts) < 2:
        return layouts[0] if layouts else None

    def says(layout: Layout) -> tuple[bool, int]:
        sizes = [prod(atom.size for atom in axis) for axis in layout]
        return sizes == list(shape), sum(map(_is_spatial, layout))

    return max(layouts, key=says)


def _resized(given: Layout, shape: Shape) -> Layout | None:
    """The same axes with other sizes: pooling, enlarging, padding, cutting, elementwise."""
    axes = []
    for axis, size in zip(given, shape, strict=True):
        if prod(atom.size for atom in axis) == size:
            axes.append(axis)
        elif not _is_spatial(axis):
            axes.append((Atom("k", size),))
        elif len(axis) == 1 and axis[0].label in "hw":
            axes.append((Atom(axis[0].label, size),))
        else:
            return None
    return tuple(axes)


def _joined(given: Layout, inputs: list[Layout | None], dim: int, shape: Shape) -> Layout | None:
    """Concatenation; along the positions, one grid with other tokens before or after it."""
    dim %= len(shape)
    grids = [i for i, layout in enumerate(inputs) if layout and _is_spatial(layout[dim])]
    axes = list(given)
    if not grids:
        axes[dim] = (Atom("k", shape[dim]),)
        return tuple(axes)
    atoms = given[dim]
    size = prod(atom.size for atom in atoms)
    if len(grids) > 1 or grids[0] not in (0, len(inputs) - 1):
        return None
    extra = 0 if grids[0] == 0 else shape[dim] - size
    if atoms[0].label == "t":
        extra, atoms = extra + atoms[0].before, atoms[0].grid
    axes[dim] = (Atom("t", shape[dim], grid=atoms, before=extra),)
    return tuple(axes)


def _sliced(given: Layout, dim: int, start: int, shape: Shape) -> Layout | None:
    """A part of one axis; of tokens, as long as the whole grid stays."""
    dim %= len(shape)
    (atom, *others) = given[dim] or (Atom("k", 1),)
    if others or atom.label != "t":
        return _resized(given, shape)
    before, size = atom.before - start, prod(part.size for part in atom.grid)
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
        while prod(atom.size for atom in axis) < size or (size == 1 and not axis and atoms):
            if not atoms:
                return None
            atom = atoms.pop(0)
            needed, rest = divmod(size, prod(part.size for part in axis))
            if rest:
                return None
            if size == 1 and atom.size > 1:
                atoms.insert(0, atom)
                break
            if atom.size > needed:
                if atom.size % needed or atom.label == "t":
                    return None
                outer = Atom(atom.label, needed, atom, 0, 2)
                atoms.insert(0, Atom(atom.label, atom.size // needed, atom, 1, 2))
                atom = outer
            axis.append(atom)
        if prod(atom.size for atom in axis) != size:
            return None
        single = atoms and atoms[0].label == "n" and atoms[0].size == 1
        if single and size > 1 and shape[i + 1 : i + 2] != (1,):
            axis.append(atoms.pop(0))  # a batch of one stays beside its tokens, not its channels
        axes.append(tuple(axis))
    if any(atom.size > 1 for atom in atoms):
        return None
    if atoms and axes:
        axes[-1] = (*axes[-1], *atoms)
    return tuple(map(_merged, axes))


def _merged(axis: Axis) -> Axis:
    """Parts that stand together again become the atom that they were split from."""
    atoms: list[Atom] = []
    for atom in axis:
        atoms.append(atom)
        while len(atoms) > 1 and atoms[-1].part == 1 and (whole := atoms[-1].whole):
            first, second = atoms[-2:]
            if first.whole is not whole or first.size * second.size != whole.size:
                break
            atoms[-2:] = [whole]
    return tuple(atoms)


def _reading(layout: Layout) -> Reading | None:
    where: dict[str, int] = {}
    grid: tuple[Atom, ...] = ()
    before = 0
    for i, axis in enumerate(layout):
        atoms = tuple(a for a in axis if a.label != "k" or a.size > 1)
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
    sizes = {atom.label: atom.size for atom in grid if atom.part == 0}
    if sizes.keys() != {"h", "w"} or sizes["h"] * sizes["w"] < 2 or len(grid) != 2:
        return None
    positions = [where["hw"]] if "hw" in where else [where["h"], where["w"]]
    if set(where) - {"n", "k", "h", "w", "hw"} or not {"n", "k"} <= where.keys():
        return None
    return Reading((where["n"], where["k"], *positions), sizes["h"], sizes["w"], before)
