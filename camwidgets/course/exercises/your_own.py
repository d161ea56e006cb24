"""Exercises of lesson 07: one's own pictures, a baseline, covering with controls, a regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ._draws import normal, order, positive
from ._engine import Exercise, Mistake

# to_input


def to_input(picture: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """A picture as a network takes it: scaled to [0, 1], then normalised channel by channel.

    picture: uint8 (H, W, 3) RGB. mean, std: three numbers each, of pictures in [0, 1].
    Returns float (3, H, W): (x - mean) / std.
    """
    pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    return (pixels - _column(mean)) / _column(std)


def _column(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


def _sides(generator: torch.Generator, least: int = 5, number: int = 2) -> list[int]:
    """Different sizes from `least` on."""
    return (torch.randperm(6, generator=generator)[:number] + least).tolist()


def _bytes(generator: torch.Generator, *shape: int) -> np.ndarray:
    return torch.randint(0, 256, shape, generator=generator).byte().numpy()


def _picture_mean_std(generator: torch.Generator) -> tuple[np.ndarray, tuple, tuple]:
    mean = (0.3 + 0.4 * torch.rand(3, generator=generator)).tolist()
    std = (0.15 + 0.2 * torch.rand(3, generator=generator)).tolist()
    return _bytes(generator, *_sides(generator), 3), tuple(mean), tuple(std)


TO_INPUT = Exercise(
    name="your_own.to_input",
    reference=to_input,
    cases=_picture_mean_std,
    edges=(
        (np.zeros((1, 1, 3), np.uint8), (0.5, 0.4, 0.3), (0.5, 0.25, 0.2)),
        lambda g: (_bytes(g, 1, 6, 3), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        lambda g: (_bytes(g, 6, 1, 3), (0.0, 0.1, 0.9), (1.0, 2.0, 0.1)),
        lambda g: (_bytes(g, 30, 24, 3), (0.4, 0.5, 0.6), (0.3, 0.2, 0.1)),
        lambda g: (_bytes(g, 3, 3, 3), (0.2, 0.3, 0.1), (0.2, 0.3, 0.1)),
        lambda g: (_bytes(g, 3, 4, 3) // 128, (0.2, 0.3, 0.1), (0.2, 0.3, 0.1)),
    ),
    hints=(
        "Three things happen to a pixel: bytes become numbers from 0 to 1, the channels move to "
        "the front, and each channel is shifted and stretched.",
        "`torch.from_numpy(picture).permute(2, 0, 1).float() / 255` is (3, H, W). A tensor of "
        "three numbers fits beside it as `[:, None, None]`.",
        "`return (pixels - torch.tensor(mean)[:, None, None]) / ___`",
    ),
    mistakes=(
        Mistake(
            lambda picture, mean, std: (
                (255 * to_input(picture, (0, 0, 0), (1, 1, 1)) - _column(mean)) / _column(std)
            ),
            "You normalised the bytes, 0 to 255: mean and std belong to pictures in `[0, 1]`.",
        ),
        Mistake(
            lambda picture, mean, std: to_input(picture, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            "You scaled the picture to `[0, 1]`; mean and std are still to come.",
        ),
        Mistake(
            lambda picture, mean, std: to_input(picture, std, mean),
            "mean and std are swapped: the mean is subtracted, the std divides.",
        ),
        Mistake(
            lambda picture, mean, std: to_input(picture[..., ::-1].copy(), mean, std),
            "Red and blue are swapped. The picture is RGB already; OpenCV's imread gives BGR.",
        ),
        Mistake(
            lambda picture, mean, std: (
                (
                    torch.from_numpy(picture).reshape(3, *picture.shape[:2]).float() / 255
                    - _column(mean)
                )
                / _column(std)
            ),
            "`reshape` cuts the row of numbers anew and scatters the colours; `permute` moves an "
            "axis.",
        ),
        Mistake(
            lambda picture, mean, std: to_input(picture, (0, 0, 0), std) - _column(mean),
            "You divided by std first; the mean is to be subtracted before.",
        ),
        Mistake(
            lambda picture, mean, std: to_input(picture, mean, std).permute(1, 2, 0),
            "The channels stand last; PyTorch's networks take them first, (3, H, W).",
        ),
        Mistake(
            lambda picture, mean, std: to_input(picture, mean, std)[None],
            "That is a batch of one, (1, 3, H, W); asked is the picture alone.",
        ),
    ),
)


# top_names


def top_names(logits: torch.Tensor, names: Sequence[str], count: int) -> list[str]:
    """The names of the classes with the highest scores, the highest first.

    logits: float (K,), all different. names: K names, in the order of the scores. count: how many.
    Returns the list of `count` names.
    """
    return [names[i] for i in logits.topk(count).indices.tolist()]


ANIMALS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")


def _logits_and_names(generator: torch.Generator) -> tuple[torch.Tensor, list[str], int]:
    number = int(torch.randint(6, 10, (1,), generator=generator))
    order = torch.randperm(len(ANIMALS), generator=generator).tolist()
    logits = torch.randperm(number, generator=generator).float() * 1.5 - 3
    names = [ANIMALS[i] for i in order[:number]]
    return logits, names, int(torch.randint(2, 5, (1,), generator=generator))


TOP_NAMES = Exercise(
    name="your_own.top_names",
    reference=top_names,
    cases=_logits_and_names,
    edges=(
        (torch.tensor([-2.0]), ["ant"], 1),
        (torch.tensor([-2.0, -1.0]), ["ant", "bee"], 2),
        (normal(10), list(ANIMALS), 1),
        (-positive(10), list(ANIMALS), 10),
        (order(30) * 0.1 - 1, [f"animal {i}" for i in range(30)], 12),
        (torch.tensor([0.0, 3.0, 1.5]), ("ant", "bee", "cat"), 3),
    ),
    hints=(
        "Which places in logits hold the highest numbers? The names stand at the same places.",
        "`logits.topk(count).indices` are the places, the highest first; `.tolist()` makes whole "
        "numbers of them, which a list of names understands.",
        "`return [names[i] for i in logits.topk(count).___.tolist()]`",
    ),
    mistakes=(
        Mistake(
            lambda logits, names, count: top_names(-logits, names, count),
            "Those are the lowest scores.",
        ),
        Mistake(
            lambda logits, names, count: top_names(logits, names, count)[::-1],
            "The right names, the lowest of them first; the highest is to come first.",
        ),
        Mistake(
            lambda logits, names, count: [
                (["background", *names])[i] for i in logits.topk(count).indices.tolist()
            ],
            "Every name is one place off, as with a list of 1,001 that begins with 'background'.",
        ),
        Mistake(
            lambda logits, names, count: [
                names[(i + 1) % len(names)] for i in logits.topk(count).indices.tolist()
            ],
            "Every name is one place too late: places are counted from 0.",
        ),
        Mistake(
            lambda logits, names, count: list(names[:count]),
            "Those are the first names of the list, whatever the scores say.",
        ),
        Mistake(
            lambda logits, names, count: top_names(logits.abs(), names, count),
            "You ranked by magnitude; a large negative score speaks against its class.",
        ),
        Mistake(
            lambda logits, names, count: sorted(top_names(logits, names, count)),
            "The right names in the order of the alphabet; asked is the order of the scores.",
        ),
        Mistake(
            lambda logits, names, count: logits.topk(count).indices.tolist(),
            "Those are the places; asked are the names that stand there.",
        ),
    ),
)


# odd_colours


def odd_colours(picture: np.ndarray) -> np.ndarray:
    """How far each pixel's colour lies from that of the picture's frame: a map without a network.

    picture: uint8 (H, W, 3), H and W 3 or more. Returns float (H, W): the Euclidean distance
    between the pixel's three values and the mean of the frame's, in units of bytes. The frame is
    the outermost ring of pixels, each counted once.
    """
    return _distance(picture, _frame(picture).mean(axis=0))


def _frame(picture: np.ndarray) -> np.ndarray:
    edge = np.ones(picture.shape[:2], bool)
    edge[1:-1, 1:-1] = False
    return picture[edge].astype(float)


def _distance(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.sqrt(((picture - colour) ** 2).sum(axis=-1))


def _frame_with_corners_twice(picture: np.ndarray) -> np.ndarray:
    sides = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
    return _distance(picture, np.concatenate(sides).astype(float).mean(axis=0))


def _in_bytes(picture: np.ndarray) -> np.ndarray:
    off = picture - _frame(picture).mean(axis=0).astype(np.uint8)
    return np.sqrt((off.astype(float) ** 2).sum(axis=-1))


def _random_picture(generator: torch.Generator) -> tuple[np.ndarray]:
    return (_bytes(generator, *_sides(generator), 3),)


ODD_COLOURS = Exercise(
    name="your_own.odd_colours",
    reference=odd_colours,
    cases=_random_picture,
    edges=(
        (np.full((3, 4, 3), 7, np.uint8),),
        lambda g: (_bytes(g, 3, 3, 3),),
        lambda g: (_bytes(g, 3, 9, 3),),
        lambda g: (_bytes(g, 30, 24, 3),),
    ),
    hints=(
        "Two steps: the mean colour of the outermost pixels, then for each pixel a distance "
        "between two points with three coordinates.",
        "A boolean (H, W) that is True on the frame picks its pixels: `picture[edge]` is (n, 3). "
        "Count with floats, since bytes wrap around below 0.",
        "`return np.sqrt(((picture - picture[edge].mean(axis=0)) ** 2).sum(axis=___))`",
    ),
    mistakes=(
        Mistake(
            lambda picture: _distance(picture, picture.reshape(-1, 3).mean(axis=0)),
            "You compare with the mean of the whole picture; asked is that of its frame.",
        ),
        Mistake(
            _frame_with_corners_twice,
            "Each corner counts twice in your mean: it lies in a row and in a column of the frame.",
        ),
        Mistake(
            lambda picture: odd_colours(picture) ** 2,
            "That is the squared distance; the root is missing.",
        ),
        Mistake(
            lambda picture: np.abs(picture - _frame(picture).mean(axis=0)).sum(axis=-1),
            "You added the three differences; the Euclidean distance is the root of their squares.",
        ),
        Mistake(
            lambda picture: np.abs(picture - _frame(picture).mean(axis=0)).mean(axis=-1),
            "You averaged the three differences; the Euclidean distance is the root of the sum of "
            "their squares.",
        ),
        Mistake(
            _in_bytes,
            "Bytes wrap around: 3 - 5 is 254 in uint8. Make floats of the picture first.",
        ),
        Mistake(
            lambda picture: np.abs(picture - _frame(picture).mean(axis=0)),
            "One number per channel is left; the distance joins the three.",
        ),
        Mistake(
            lambda picture: odd_colours(picture) / max(odd_colours(picture).max(), 1e-9),
            "You divided by the maximum; asked is the distance itself.",
        ),
        Mistake(
            lambda picture: np.abs(picture.mean(axis=-1) - _frame(picture).mean()),
            "You compare brightness; two colours may be equally bright and far apart.",
        ),
    ),
)


# hottest_window


def hottest_window(heat: torch.Tensor, side: int) -> tuple[int, int]:
    """Where the square window with the largest mean heat lies.

    heat: float (H, W), of either sign. side: of the window in pixels, at most H and W.
    Returns (top, left), whole numbers: the window is heat[top : top + side, left : left + side],
    wholly inside of the map.
    """
    return _peak(_window_means(heat, side))


def _window_means(heat: torch.Tensor, side: int) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(heat[None], side, stride=1)[0]


def _peak(values: torch.Tensor) -> tuple[int, int]:
    return divmod(int(values.argmax()), values.shape[1])


def _heat_and_side(generator: torch.Generator) -> tuple[torch.Tensor, int]:
    height, width = _sides(generator, 7)
    return torch.randn(height, width, generator=generator), 2 + height % 3


def _around_the_peak(heat: torch.Tensor, side: int) -> tuple[int, int]:
    top, left = (place - side // 2 for place in _peak(heat))
    return (
        min(max(top, 0), heat.shape[0] - side),
        min(max(left, 0), heat.shape[1] - side),
    )


def _on_a_grid(heat: torch.Tensor, side: int) -> tuple[int, int]:
    top, left = _peak(torch.nn.functional.avg_pool2d(heat[None], side)[0])
    return top * side, left * side


def _centre_of_the_window(heat: torch.Tensor, side: int) -> tuple[int, int]:
    top, left = hottest_window(heat, side)
    return top + side // 2, left + side // 2


HOTTEST_WINDOW = Exercise(
    name="your_own.hottest_window",
    reference=hottest_window,
    cases=_heat_and_side,
    edges=(
        lambda g: (torch.randn(5, 8, generator=g), 1),
        lambda g: (torch.randn(4, 9, generator=g), 4),
        lambda g: (-1 - torch.rand(6, 7, generator=g), 3),
        (torch.tensor([[1.5]]), 1),
        (normal(1, 6), 1),
        (normal(6, 1), 1),
        (-order(9, 9), 4),
        (-order(30, 24), 5),
        (order(24, 30) - 300, 11),
    ),
    hints=(
        "A window has H - side + 1 places downwards and W - side + 1 to the right. Each has a "
        "mean; which is the largest, and where?",
        "`torch.nn.functional.avg_pool2d(heat[None], side, stride=1)[0]` holds the mean of every "
        "window at its (top, left). `divmod` turns the place of its maximum into a row and a "
        "column.",
        "`return divmod(int(means.argmax()), means.shape[___])`",
    ),
    mistakes=(
        Mistake(
            _around_the_peak,
            "You put the window round the hottest pixel; another window may be hotter on average.",
        ),
        Mistake(
            lambda heat, side: _peak(heat),
            "That is the hottest pixel; asked is the corner of the hottest window.",
        ),
        Mistake(
            lambda heat, side: hottest_window(heat, side)[::-1],
            "Row and column are swapped: (top, left).",
        ),
        Mistake(
            lambda heat, side: hottest_window(-heat, side),
            "That is the coldest window.",
        ),
        Mistake(
            lambda heat, side: hottest_window(heat.abs(), side),
            "You took magnitudes; negative heat speaks against the class.",
        ),
        Mistake(
            _on_a_grid,
            "You tried windows side by side only: a window may begin at every pixel (`stride=1`).",
        ),
        Mistake(
            _centre_of_the_window,
            "That is the window's centre; asked is its upper left corner.",
        ),
        Mistake(
            lambda heat, side: int(_window_means(heat, side).argmax()),
            "That is the place in a flat list; `divmod` by the number of columns gives row and "
            "column.",
        ),
        Mistake(
            lambda heat, side: divmod(int(_window_means(heat, side).argmax()), heat.shape[1]),
            "You divided by the width of the map; the table of windows is narrower, W - side + 1.",
        ),
    ),
)


# cover


def cover(image: torch.Tensor, top: int, left: int, side: int) -> torch.Tensor:
    """The image with a square painted over in the mean colour of all that lies outside of it.

    image: float (C, H, W). top, left, side: the square, wholly inside and smaller than the image.
    Returns (C, H, W); the image handed in stays as it is.
    """
    square = torch.zeros(image.shape[1:], dtype=torch.bool)
    square[top : top + side, left : left + side] = True
    return torch.where(square, image[:, ~square].mean(dim=1)[:, None, None], image)


def _painted(
    image: torch.Tensor, top: int, left: int, side: int, colour: torch.Tensor | float
) -> torch.Tensor:
    out = image.clone()
    out[:, top : top + side, left : left + side] = colour
    return out


def _square_in_an_image(generator: torch.Generator) -> tuple[torch.Tensor, int, int, int]:
    height, width = _sides(generator, 7)
    side = 2 + height % 3
    image = torch.randn(3, height, width, generator=generator)
    top, left = torch.randperm(min(height, width) - side + 1, generator=generator)[:2].tolist()
    image[:, top : top + side, left : left + side] += 1
    return image, top, left, side


def _column_of(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None]


COVER = Exercise(
    name="your_own.cover",
    reference=cover,
    cases=_square_in_an_image,
    keeps=True,
    edges=(
        lambda g: (torch.rand(1, 4, 5, generator=g), 0, 0, 1),
        lambda g: (torch.rand(3, 4, 6, generator=g), 0, 2, 4),
        lambda g: (torch.rand(2, 5, 4, generator=g), 1, 0, 4),
        (9 * normal(12, 24, 30), 11, 15, 10),
        (normal(3, 1, 5), 0, 3, 1),
        (normal(3, 6, 1), 4, 0, 1),
        (-positive(2, 4, 4), 1, 1, 2),
    ),
    hints=(
        "Which pixels lie outside of the square, and what is their mean in each channel?",
        "A boolean `square` (H, W) helps twice: `image[:, ~square].mean(dim=1)` is the colour, "
        "one number per channel, and `torch.where` chooses.",
        "`return torch.where(square, colour[:, None, None], ___)`",
    ),
    mistakes=(
        Mistake(
            lambda image, top, left, side: _painted(
                image, top, left, side, _column_of(image.mean(dim=(1, 2)))
            ),
            "Your colour is the mean of the whole image, with what you want to hide in it; take "
            "the pixels outside of the square.",
        ),
        Mistake(
            lambda image, top, left, side: _painted(
                image,
                top,
                left,
                side,
                _column_of(image[:, top : top + side, left : left + side].mean(dim=(1, 2))),
            ),
            "You smeared the square with its own mean: its colour still tells what was there.",
        ),
        Mistake(
            lambda image, top, left, side: _painted(image, top, left, side, 0.0),
            "You wrote zeros; asked is the mean colour outside of the square.",
        ),
        Mistake(
            lambda image, top, left, side: _painted(
                image, top, left, side, cover(image, top, left, side)[:, top, left].mean()
            ),
            "You took one gray for all channels; each channel has its own mean.",
        ),
        Mistake(
            lambda image, top, left, side: cover(image.transpose(1, 2), top, left, side).transpose(
                1, 2
            ),
            "The square lies elsewhere: top counts rows, left counts columns.",
        ),
        Mistake(
            lambda image, top, left, side: torch.where(
                cover(image, top, left, side) == image,
                _column_of(cover(image, top, left, side)[:, top, left]),
                image,
            ),
            "You painted over everything else and left the square.",
        ),
        Mistake(
            lambda image, top, left, side: cover(image, top, left, side).mean(dim=0),
            "The channels are gone: the image keeps its shape (C, H, W).",
        ),
    ),
)


# p_value


def p_value(suspect: float, controls: torch.Tensor) -> float:
    """How often a cover elsewhere lowers the score at least as far as the cover of the suspect.

    suspect: the score with the suspect covered. controls: float (K,), the scores with one control
    each covered. Returns the share of all K + 1 covers, the suspect's own among them, whose score
    is as low as the suspect's or lower. (Phipson and Smyth 2010)
    """
    return (1 + int((controls <= suspect).sum())) / (len(controls) + 1)


def _scores(generator: torch.Generator) -> tuple[float, torch.Tensor]:
    number = int(torch.randint(6, 15, (1,), generator=generator))
    controls = torch.randint(-8, 9, (number,), generator=generator) / 4 + 0.5
    lower = int(torch.randint(2, number - 3, (1,), generator=generator))
    return controls.sort().values[lower].item(), controls  # equal to a control, so ties count


P_VALUE = Exercise(
    name="your_own.p_value",
    reference=p_value,
    cases=_scores,
    edges=(
        (-9.0, torch.tensor([1.0, 2.0, 3.0, 0.5])),
        (9.0, torch.tensor([1.0, 2.0])),
        (-2.0, torch.tensor([-2.0])),
        (0.0, torch.tensor([0.0, -0.5, 0.0, 3.0])),
        (0.5, normal(30)),
        (0.25, torch.tensor([0.2501, 0.3, -1.0, 0.2499, 0.26])),
        (-9.0, normal(40)),
        (1.5, order(12) / 4),
    ),
    hints=(
        "If the suspect were a square like any other, it would be one of K + 1, and its score "
        "could stand at any place in their order.",
        "Count the controls whose score is as low or lower, and add one for the suspect itself, "
        "above and below the line.",
        "`return (1 + int((controls <= suspect).sum())) / (___)`",
    ),
    mistakes=(
        Mistake(
            lambda suspect, controls: (controls <= suspect).double().mean().item(),
            "The suspect itself is missing: it is one of K + 1 covers, so no share is ever 0.",
        ),
        Mistake(
            lambda suspect, controls: (1 + int((controls < suspect).sum())) / (len(controls) + 1),
            "A control that is exactly as low counts too: as low or lower.",
        ),
        Mistake(
            lambda suspect, controls: (1 + int((controls >= suspect).sum())) / (len(controls) + 1),
            "You counted the controls with higher scores; asked are those as low or lower.",
        ),
        Mistake(
            lambda suspect, controls: (1 + int((controls <= suspect).sum())) / len(controls),
            "Above the line you count the suspect, below it you do not: there are K + 1 covers.",
        ),
        Mistake(
            lambda suspect, controls: int((controls <= suspect).sum()) / (len(controls) + 1),
            "Below the line you count the suspect, above it you do not.",
        ),
        Mistake(
            lambda suspect, controls: (
                (1 + int((controls.abs() >= abs(suspect)).sum())) / (len(controls) + 1)
            ),
            "You compared magnitudes; the question is how low a score is.",
        ),
        Mistake(
            lambda suspect, controls: 1 + int((controls <= suspect).sum()),
            "That is a number of covers; asked is their share.",
        ),
    ),
)


# skill


def skill(predictions: torch.Tensor, values: torch.Tensor, guess: float) -> float:
    """How much of the error of one constant guess a network's predictions save.

    predictions, values: float (n,), predicted and true. guess: what somebody says who never looks
    at a picture, such as the mean of the training values. Returns 1 - E / E_guess, both mean
    absolute errors: 1 is perfect, 0 as good as the guess, negative worse. E_guess is not 0.
    """
    error, of_guess = (predictions - values).abs().mean(), (guess - values).abs().mean()
    return (1 - error / of_guess).item()


def _predictions(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, float]:
    """An odd number, since between the two middle values every guess has the same error."""
    number = 5 + 2 * int(torch.randint(4, (1,), generator=generator))
    values = 10 * torch.rand(number, generator=generator)
    noise = 2 * torch.randn(number, generator=generator)
    guess = values.mean().item() + 1 + 2 * torch.rand(1, generator=generator).item()
    return values + noise, values, guess


def _error(predictions: torch.Tensor, values: torch.Tensor) -> float:
    return (predictions - values).abs().mean().item()


SKILL = Exercise(
    name="your_own.skill",
    reference=skill,
    cases=_predictions,
    edges=(
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), 0.0),
        (torch.tensor([5.0]), torch.tensor([1.0]), -1.0),
        (torch.tensor([3.0, 3.0, 3.0]), torch.tensor([1.0, 2.0, 6.0]), 3.0),
        (normal(5), -normal(5), 0.0),
        (9 * normal(30), -positive(30), -2.5),
        (torch.zeros(4), positive(4), 0.5),
        (normal(3) - 2, normal(3) - 1.9, -0.7),
    ),
    hints=(
        "Two mean absolute errors: of the predictions, and of somebody who always says `guess`.",
        "`(predictions - values).abs().mean()` is the first. The second has guess in place of the "
        "predictions. What share of the second does the first leave?",
        "`return (1 - error / ___).item()`",
    ),
    mistakes=(
        Mistake(
            lambda predictions, values, guess: 1 - skill(predictions, values, guess),
            "That is the share of the error that is left; asked is the share that is saved.",
        ),
        Mistake(
            lambda predictions, values, guess: (
                1 - ((predictions - values) ** 2).mean() / ((guess - values) ** 2).mean()
            ).item(),
            "You squared the errors (that is like R²); asked are absolute ones.",
        ),
        Mistake(
            lambda predictions, values, guess: (
                skill(predictions, values, values.mean().item())
                if (values != values[0]).any()
                else 0.0
            ),
            "Your guess is the mean of the test values, which nobody knows beforehand; take "
            "`guess`.",
        ),
        Mistake(
            lambda predictions, values, guess: (
                1 - (guess - values).abs().mean() / (predictions - values).abs().mean()
                if _error(predictions, values)
                else 0.0
            ),
            "The two errors are swapped: the network's stands above the line.",
        ),
        Mistake(
            lambda predictions, values, guess: (
                1 - (predictions - values).mean() / (guess - values).mean()
            ).item(),
            "Errors of both signs cancel in your means: take absolute values.",
        ),
        Mistake(
            lambda predictions, values, guess: (
                (guess - values).abs().mean() - (predictions - values).abs().mean()
            ).item(),
            "That is the error saved, in the values' unit; divide it by the guess's error.",
        ),
        Mistake(
            lambda predictions, values, guess: skill(predictions, values, 0.0),
            "You compare with a guess of 0; take `guess`.",
        ),
    ),
)
