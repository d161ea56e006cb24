"""Exercise of lesson 00: where is a heat map hottest?"""

from __future__ import annotations

import torch

from ._draws import order
from ._engine import Exercise, Mistake

# brightest


def brightest(heat: torch.Tensor) -> tuple[int, int]:
    """Position (row, column) of the largest value of a heat map.

    heat: float (h, w), each value different. Returns two whole numbers, the row first.
    """
    width = heat.shape[1]
    return divmod(int(heat.argmax()), width)


def _heat(generator: torch.Generator) -> tuple[torch.Tensor]:
    """A map of distinct values, negative ones too."""
    height, width = torch.randint(5, 9, (2,), generator=generator).tolist()
    heat = torch.randperm(height * width, generator=generator).reshape(height, width) - 20.0
    return (heat / 4,)


BRIGHTEST = Exercise(
    name="welcome.brightest",
    reference=brightest,
    cases=_heat,
    edges=(
        (order(1, 7),),
        (order(6, 1),),
        (order(1, 1) - 2,),
        (order(9, 2),),
        (order(2, 13) - 40,),
        (torch.arange(12.0).reshape(3, 4) - 11,),
        (-torch.arange(12.0).reshape(4, 3),),
        (order(66, 70) - 99,),
        (1000 * order(5, 6) - 1e5,),
    ),
    hints=(
        "`heat.argmax()` counts the cells one after the other, row by row, from 0; `int(...)` "
        "makes a whole number of it.",
        "How many full rows fit before that cell, and how many cells are left over? The "
        "number of cells in a row is `heat.shape[1]`; `divmod` divides and keeps the rest.",
        "`return divmod(int(heat.argmax()), heat.shape[___])`",
    ),
    mistakes=(
        Mistake(
            lambda heat: divmod(int(heat.argmax()), heat.shape[1])[::-1],
            "You gave (column, row): the row comes first.",
        ),
        Mistake(
            lambda heat: divmod(int(heat.argmin()), heat.shape[1]),
            "You found the coldest cell; the hottest one is asked.",
        ),
        Mistake(
            lambda heat: divmod(int(heat.abs().argmax()), heat.shape[1]),
            "You took the value that is farthest from zero: a strongly negative one is cold.",
        ),
        Mistake(
            lambda heat: divmod(int(heat.argmax()), heat.shape[0]),
            "You divided by the number of rows; a row has `heat.shape[1]` cells.",
        ),
        Mistake(
            lambda heat: tuple(i + 1 for i in divmod(int(heat.argmax()), heat.shape[1])),
            "You count from 1; rows and columns are counted from 0.",
        ),
        Mistake(
            lambda heat: int(heat.argmax()),
            "You gave the cell's number, counted row by row: turn it into a row and a column.",
        ),
        Mistake(
            lambda heat: heat.max(),
            "You gave the largest value; asked is where it stands.",
        ),
    ),
)
