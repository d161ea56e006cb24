"""Class names as people have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, EnumMeta
from numbers import Integral
from typing import Any

from torch import Tensor


def listed_names(names: Any) -> list[str] | None:
    """The names in the order of the scores, or None if there are none.

    Args:
        names: a list of names; {index: name}, as Hugging Face's `id2label`; {name: index}, as
            torchvision's `class_to_idx`; weights of torchvision, which bring their names; or None.
            A name may be several, as ImageNet's.

    Raises:
        TypeError, ValueError: names without an order, or indices that leave one out.
    """
    if names is None:
        return None
    if isinstance(names, EnumMeta):
        names = getattr(names, "DEFAULT", names)
    meta = getattr(names, "meta", None)
    if isinstance(meta, Mapping):
        if "categories" not in meta:
            raise ValueError("These weights bring no class names: give class_names as a list.")
        names = meta["categories"]
    if isinstance(names, Mapping):
        return _by_index(names)
    if isinstance(names, (set, frozenset)):
        raise TypeError(
            "class_names must have an order, and a set has none: give a list in the order of the "
            "model's scores."
        )
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise ValueError(
            "class_names must be a list of names, one per score of the model, or a mapping of "
            f"names and indices, not {names!r}."
        )
    return [_text(name, c) for c, name in enumerate(names)]


def class_names(names: list[str] | None, count: int, *, sides: bool = False) -> list[str]:
    """One name per class: those given, or "class 0", "class 1", …

    Args:
        names: as `listed_names` gives them.
        count: the number of classes.
        sides: whether the two classes are the sides of one score: one name is that of class 1.

    Raises:
        ValueError: not as many names as classes.
    """
    if names is None:
        return ["output"] if count == 1 else [f"class {c}" for c in range(count)]
    if sides and len(names) == 1:
        return [f"not {names[0]}", names[0]]
    if len(names) != count:
        raise ValueError(
            f"class_names must hold {count} names, one per score of the model; it holds "
            f"{len(names)}."
        )
    return names


def _by_index(names: Mapping[Any, Any]) -> list[str]:
    """From {index: name}, {name: index} or JSON's {"index": name}, whichever it is."""
    if all(map(_is_index, names)):
        pairs = {int(k): v for k, v in names.items()}
    elif all(map(_is_index, names.values())):
        pairs = {int(v): k for k, v in names.items()}
    elif all(isinstance(k, str) and k.isdecimal() for k in names):
        pairs = {int(k): v for k, v in names.items()}
    else:
        raise ValueError("class_names as a mapping must be {index: name} or {name: index}.")
    if sorted(pairs) != list(range(len(names))):
        found = ", ".join(map(str, sorted(pairs)[:20]))
        raise ValueError(
            f"class_names must name each index from 0 to {len(names) - 1} once; found: {found}."
        )
    return [_text(pairs[c], c) for c in range(len(pairs))]


def _text(name: Any, c: int) -> str:
    """A name in words: synonyms side by side, and "class 3" where there is none."""
    if isinstance(name, (tuple, list)):
        return ", ".join(_text(part, c) for part in name)
    if isinstance(name, bytes):
        name = name.decode(errors="replace")
    if isinstance(name, Tensor):
        name = name.tolist()
    if isinstance(name, Enum):
        name = name.name
    return f"class {c}" if name is None or not str(name).strip() else str(name)


def _is_index(thing: Any) -> bool:
    return isinstance(thing, Integral) and not isinstance(thing, bool)
