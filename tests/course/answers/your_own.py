"""Right answers to the exercises of your_own, each written in another way, and some wrong ones."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms.v2.functional import normalize, to_dtype, to_image


def _input_in_numpy(picture, mean, std):
    return ((picture.astype(float) / 255 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)


def _input_by_loop(picture, mean, std):
    channels = [(torch.tensor(picture[..., c]) / 255 - mean[c]) / std[c] for c in range(3)]
    return torch.stack(channels)


def _input_by_torchvision(picture, mean, std):
    return normalize(to_dtype(to_image(picture), torch.float32, scale=True), mean, std)


def _odd_by_loop(picture):
    height, width = picture.shape[:2]
    frame = [
        picture[y, x].astype(float)
        for y in range(height)
        for x in range(width)
        if y in (0, height - 1) or x in (0, width - 1)
    ]
    mean = sum(frame) / len(frame)
    return [
        [float(np.linalg.norm(picture[y, x] - mean)) for x in range(width)] for y in range(height)
    ]


def _odd_in_torch(picture):
    pixels = torch.from_numpy(picture).double()
    inner = pixels[1:-1, 1:-1]
    number = pixels[..., 0].numel() - inner[..., 0].numel()
    mean = (pixels.sum((0, 1)) - inner.sum((0, 1))) / number
    return torch.linalg.vector_norm(pixels - mean, dim=-1)


def _odd_by_sides(picture):
    sides = (picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1])
    return np.linalg.norm(picture - np.concatenate(sides).mean(axis=0), axis=2)


def _window_by_loop(heat, side):
    best = None
    for top in range(heat.shape[0] - side + 1):
        for left in range(heat.shape[1] - side + 1):
            mean = heat[top : top + side, left : left + side].double().mean().item()
            if best is None or mean > best[0]:
                best = mean, (top, left)
    return best[1]


def _window_by_unfold(heat, side):
    sums = heat.double().unfold(0, side, 1).unfold(1, side, 1).sum(dim=(2, 3))
    return np.unravel_index(int(sums.argmax()), sums.shape)


def _window_by_summed_areas(heat, side):
    table = np.pad(heat.double().numpy().cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    return [int(place) for place in np.argwhere(sums == sums.max())[0]]


def _cover_in_place_of_a_copy(image, top, left, side):
    out = image.clone()
    rows, columns = slice(top, top + side), slice(left, left + side)
    inside = image[:, rows, columns]
    outside = image[0].numel() - inside[0].numel()
    out[:, rows, columns] = ((image.sum((1, 2)) - inside.sum((1, 2))) / outside)[:, None, None]
    return out


def _cover_in_numpy(image, top, left, side):
    out = image.double().numpy().copy()
    square = np.zeros(out.shape[1:], bool)
    square[top : top + side, left : left + side] = True
    for channel in out:
        channel[square] = channel[~square].mean()
    return out


def _cover_by_nan(image, top, left, side):
    holed = image.clone()
    holed[:, top : top + side, left : left + side] = float("nan")
    colour = holed.flatten(1).nanmean(dim=1)[:, None, None]
    return torch.where(holed.isnan(), colour, image)


RIGHT = {
    "your_own.to_input": (_input_in_numpy, _input_by_loop, _input_by_torchvision),
    "your_own.top_names": (
        lambda logits, names, count: [
            name for _, name in sorted(zip(logits.tolist(), names, strict=True), reverse=True)
        ][:count],
        lambda logits, names, count: tuple(
            names[i] for i in logits.argsort(descending=True)[:count]
        ),
        lambda logits, names, count: [names[i] for i in np.argsort(-logits.numpy())[:count]],
        lambda logits, names, count: np.array(names)[logits.topk(count).indices.numpy()],
        lambda logits, names, count: map(names.__getitem__, logits.topk(count).indices.tolist()),
    ),
    "your_own.odd_colours": (_odd_by_loop, _odd_in_torch, _odd_by_sides),
    "your_own.hottest_window": (_window_by_loop, _window_by_unfold, _window_by_summed_areas),
    "your_own.cover": (_cover_in_place_of_a_copy, _cover_in_numpy, _cover_by_nan),
    "your_own.p_value": (
        lambda suspect, controls: (
            sum(score <= suspect for score in [suspect, *controls.tolist()]) / (len(controls) + 1)
        ),
        lambda suspect, controls: (
            torch.cat([torch.tensor([suspect]), controls]).le(suspect).double().mean()
        ),
        lambda suspect, controls: np.mean(np.append(controls.numpy(), suspect) <= suspect),
    ),
    "your_own.skill": (
        lambda predictions, values, guess: (
            1
            - np.abs(predictions.numpy() - values.numpy()).sum()
            / np.abs(guess - values.numpy()).sum()
        ),
        lambda predictions, values, guess: (
            1
            - torch.nn.functional.l1_loss(predictions.double(), values.double())
            / torch.nn.functional.l1_loss(torch.full_like(values, guess).double(), values.double())
        ),
        lambda predictions, values, guess: (
            1
            - sum(abs(p - v) for p, v in zip(predictions.tolist(), values.tolist(), strict=True))
            / sum(abs(guess - v) for v in values.tolist())
        ),
    ),
}

WRONG = {
    "your_own.p_value": (
        lambda suspect, controls: (1 + (controls <= suspect + 0.1).sum()) / (1 + len(controls)),
    ),
    "your_own.skill": (
        lambda predictions, values, guess: (
            1 - (predictions - values).abs().sum() / (values.median() - values).abs().sum()
        ),
    ),
}
