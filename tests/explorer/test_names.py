"""Class names as people have them."""

from __future__ import annotations

from enum import Enum

import pytest
import torch

from camwidgets.explorer.names import class_names, listed_names

EXPECTED = ["ring", "$x^2$ 😀", "疟原虫"]


@pytest.mark.parametrize(
    "names",
    [
        EXPECTED,
        tuple(EXPECTED),
        iter(EXPECTED),
        dict(enumerate(EXPECTED)),
        {2: EXPECTED[2], 0: EXPECTED[0], 1: EXPECTED[1]},
        {name: c for c, name in enumerate(EXPECTED)},
        {name: c for c, name in reversed(list(enumerate(EXPECTED)))},
        {str(c): name for c, name in enumerate(EXPECTED)},
        dict(zip(EXPECTED, EXPECTED, strict=True)).keys(),
    ],
)
def test_every_form_gives_the_names_in_the_order_of_the_scores(names) -> None:
    assert class_names(listed_names(names), 3) == EXPECTED


def test_names_that_are_no_text_become_text() -> None:
    assert listed_names([b"cat", torch.tensor(3), Enum("Kind", "DOG").DOG]) == ["cat", "3", "DOG"]
    assert listed_names(Enum("Kind", ["CAT", "DOG"])) == ["CAT", "DOG"]
    assert listed_names(torch.arange(2)) == ["0", "1"]


def test_a_class_without_a_name_is_numbered() -> None:
    assert listed_names(["cat", None, "", "  "]) == ["cat", "class 1", "class 2", "class 3"]


def test_synonyms_stand_side_by_side() -> None:
    """As in ImageNet's lists: torchvision's tuples, and the pairs of its class index."""
    assert listed_names([("tench", "Tinca tinca"), ("goldfish",)])[0] == "tench, Tinca tinca"
    assert listed_names({"0": ["n01440764", "tench"]}) == ["n01440764, tench"]


def test_digits_as_names() -> None:
    assert listed_names({"1": 0, "0": 1}) == ["1", "0"]
    assert listed_names({0: 7, 1: 9}) == ["7", "9"]
    assert listed_names(range(10, 12)) == ["10", "11"]


def test_weights_bring_their_names() -> None:
    models = pytest.importorskip("torchvision.models")
    for weights in (models.ResNet18_Weights.DEFAULT, models.ResNet18_Weights):
        assert listed_names(weights)[:2] == ["tench", "goldfish"]


def test_without_names_classes_are_numbered() -> None:
    assert class_names(None, 3) == ["class 0", "class 1", "class 2"]
    assert class_names(None, 1) == ["output"]


@pytest.mark.parametrize(
    ("names", "error", "says"),
    [
        (["a", "b"], ValueError, "3 names, one per score of the model; it holds 2"),
        ({0: "a", 1: "b", 3: "c"}, ValueError, "each index from 0 to 2 once; found: 0, 1, 3"),
        ({1: "a", 2: "b", 3: "c"}, ValueError, "found: 1, 2, 3"),
        ({"a": 0, "b": 0, "c": 1}, ValueError, "each index from 0 to 2 once; found: 0, 1"),
        ({"a": "x", "b": "y", "c": "z"}, ValueError, "{index: name} or {name: index}"),
        ({"a", "b", "c"}, TypeError, "a set has none: give a list"),
        (frozenset("abc"), TypeError, "a set has none"),
        ("abc", ValueError, "not 'abc'"),
        (3, ValueError, "not 3"),
        ({}, ValueError, "3 names"),
    ],
)
def test_names_that_do_not_fit(names, error, says: str) -> None:
    with pytest.raises(error, match=says):
        class_names(listed_names(names), 3)
