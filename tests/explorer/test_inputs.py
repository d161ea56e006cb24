"""Pictures as people have them, in and back."""

from __future__ import annotations

import io
import random
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from camwidgets.explorer.given import MOST
from camwidgets.explorer.inputs import prepare


def picture(height: int = 24, width: int = 32, gray: bool = False) -> np.ndarray:
    """Smooth shapes and a little noise, black and white among it."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (3 + c)) + np.cos(y / (4 + c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 0.3, (height, width, 3))
    rgb = np.clip(128 + 50 * (np.stack(waves, axis=2) + noise), 0, 255).astype(np.uint8)
    rgb[0, 0], rgb[0, 1] = 0, 255
    return rgb[..., 0] if gray else rgb


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1)


RGB = picture()
GRAY = picture(gray=True)
OPACITY = np.where(RGB[..., :1] > 128, 255, 0).astype(np.uint8)
RGBA = np.concatenate([RGB, OPACITY], axis=2)
ON_WHITE = np.where(OPACITY > 0, RGB, 255)
AS_RGB = np.repeat(GRAY[..., None], 3, axis=2)


def pil(mode: str) -> Image.Image:
    return Image.fromarray(RGB).convert(mode)


def palette(**transparent: int) -> Image.Image:
    """Sixteen colours by their index."""
    image = Image.fromarray((GRAY // 16).astype(np.uint8), mode="P")
    image.putpalette([value for k in range(16) for value in (16 * k, 255 - 16 * k, 7)])
    image.info.update(transparent)
    return image


def of_palette() -> np.ndarray:
    k = (GRAY // 16).astype(int)
    return np.stack([16 * k, 255 - 16 * k, np.full_like(k, 7)], axis=2).astype(np.uint8)


def turned() -> Image.Image:
    """Stored on its side, with the note that says so."""
    image = Image.fromarray(np.rot90(RGB).copy())
    image.getexif()[274] = 6
    return image


TWELVE_BIT = GRAY.astype(np.uint16) * 16 + GRAY // 16  # 0 to 4095

ONE_PICTURE = {
    "bytes": (RGB, RGB),
    "gray bytes": (GRAY, AS_RGB),
    "gray with an axis": (GRAY[..., None], AS_RGB),
    "channels first": (RGB.transpose(2, 0, 1), RGB),
    "gray, channel first": (GRAY[None], AS_RGB),
    "RGBA": (RGBA, ON_WHITE),
    "RGBA in a list, channels first": ([RGBA.transpose(2, 0, 1)], ON_WHITE),
    "floats from 0 to 1": (RGB / 255, RGB),
    "half floats": ((RGB / 255).astype(np.float16), RGB),
    "floats, resized": (np.where(RGB > 0, RGB / 255, -1e-4) * (1 + 1e-6), RGB),
    "floats from 0 to 255": (RGB.astype(np.float32), RGB),
    "whole numbers": (RGB.astype(np.int64), RGB),
    "16 bits": (RGB.astype(np.uint16) * 257, RGB),
    "16 bits, the other way round": (RGB.astype(">u2") * 257, RGB),
    "12 bits in 16": (TWELVE_BIT, AS_RGB),
    "a tensor of 12 bits in 32": (torch.from_numpy(TWELVE_BIT.astype(np.int32)), AS_RGB),
    "a tensor of bools": (torch.from_numpy(RGB > 128), 255 * (RGB > 128)),
    "mirrored": (RGB[:, ::-1][:, ::-1], RGB),
    "bool": (RGB[..., 0] > 128, np.repeat(OPACITY, 3, axis=2)),
    "a tensor of bytes": (as_tensor(RGB), RGB),
    "a gray tensor": (torch.from_numpy(GRAY.copy()), AS_RGB),
    "a tensor, channels last": (torch.from_numpy(RGB.copy()), RGB),
    "a tensor from 0 to 1": (as_tensor(RGB) / 255, RGB),
    "a bfloat16 tensor": ((as_tensor(RGB) > 128).bfloat16(), 255 * (RGB > 128)),
    "PIL": (pil("RGB"), RGB),
    "PIL L": (Image.fromarray(GRAY), AS_RGB),
    "PIL LA": (Image.fromarray(np.stack([GRAY, OPACITY[..., 0]], 2)), None),
    "PIL La": (Image.fromarray(np.stack([GRAY, OPACITY[..., 0]], 2)).convert("La"), None),
    "PIL 1": (Image.fromarray(GRAY > 128), np.where(AS_RGB > 128, 255, 0)),
    "PIL P": (palette(), of_palette()),
    "PIL P with a transparent colour": (
        palette(transparency=3),
        np.where((GRAY // 16 == 3)[..., None], 255, of_palette()),
    ),
    "PIL RGBA": (Image.fromarray(RGBA), ON_WHITE),
    "PIL CMYK": (pil("CMYK"), RGB),
    "PIL I;16": (Image.fromarray(GRAY.astype(np.uint16) * 257), AS_RGB),
    "PIL I": (Image.fromarray(TWELVE_BIT.astype(np.int32)), AS_RGB),
    "PIL I;16B": (Image.fromarray(GRAY.astype(">u2") * 257), AS_RGB),
    "PIL F": (Image.fromarray((GRAY / 255).astype(np.float32)), AS_RGB),
    "PIL on its side": (turned(), RGB),
}


@pytest.mark.parametrize("case", ONE_PICTURE)
def test_one_picture(case: str) -> None:
    images, expected = ONE_PICTURE[case]
    inputs = prepare(images)
    assert len(inputs) == 1
    item = inputs.item(0)
    if expected is None:
        expected = np.where(OPACITY > 0, AS_RGB, 255)
    assert item.picture.dtype == np.uint8
    assert np.abs(item.picture.astype(int) - expected).max() <= 1
    assert item.tensor.shape[1:] == (24, 32)
    assert len(item.tensor) in (1, 3)
    shown = item.tensor if len(item.tensor) == 3 else item.tensor.expand(3, -1, -1)
    np.testing.assert_allclose(shown, as_tensor(item.picture) / 255, atol=0.002 + 1 / 255)


def test_files_are_read_as_load_image_reads_them(tmp_path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.fromarray(GRAY).save(tmp_path / "b.png")
    palette().save(tmp_path / "c.png")
    paths = [tmp_path / "a.png", str(tmp_path / "b.png"), tmp_path / "c.png"]
    inputs = prepare(paths)
    assert [inputs.title(k) for k in range(3)] == ["a.png", "b.png", "c.png"]
    for k, expected in enumerate((RGB, AS_RGB, of_palette())):
        assert (inputs.item(k).picture == expected).all()
    assert (prepare(str(paths[0])).item(0).picture == RGB).all()


def test_a_tensor_of_floats_reaches_the_model_exactly() -> None:
    x = torch.rand(3, 5, 7)
    assert torch.equal(prepare(x).item(0).tensor, x)


def test_a_normalised_tensor_is_the_model_s_own_and_shown_from_minimum_to_maximum() -> None:
    x = torch.randn(2, 3, 5, 7)
    x[1] = x[1].abs() + 0.5
    inputs = prepare(x)
    for k in range(2):
        item = inputs.item(k)
        assert torch.equal(item.tensor, x[k])
        expected = (x[k] - x[k].min()) / (x[k].max() - x[k].min())
        np.testing.assert_allclose(as_tensor(item.picture) / 255, expected, atol=0.0021)


def test_tensors_of_many_channels_are_the_model_s_own() -> None:
    x = torch.rand(6, 5, 7)
    item = prepare([x]).item(0)
    assert torch.equal(item.tensor, x)
    np.testing.assert_allclose(item.picture[..., 1] / 255, x.mean(0), atol=0.0021)


def test_a_dark_picture_among_deep_ones_stays_dark() -> None:
    deep = [TWELVE_BIT // 40, TWELVE_BIT]
    assert prepare(deep).item(0).picture.max() == round(255 * (4095 // 40) / 4095)
    floats = [np.ones((4, 4, 3)), np.full((4, 4, 3), 255.0)]
    assert prepare(floats).item(0).picture.max() == 1


SEVERAL = {
    "a list": [RGB, RGB],
    "a tuple": (RGB, RGB),
    "an array": np.stack([RGB, RGB]),
    "gray": np.stack([GRAY, GRAY]),
    "channels first": np.stack([RGB, RGB]).transpose(0, 3, 1, 2),
    "RGBA": np.stack([RGBA, RGBA]),
    "one axis more": np.stack([GRAY, GRAY])[..., None],
    "a tensor": torch.stack([as_tensor(RGB)] * 2),
    "objects": np.array([None, None], dtype=object),
    "a generator": None,
    "mixed": [pil("RGB"), GRAY],
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_pictures(case: str) -> None:
    images = SEVERAL[case]
    if case == "objects":
        images[:] = [RGB, RGB]
    if case == "a generator":
        images = (RGB for _ in range(2))
    inputs = prepare(images)
    assert len(inputs) == 2
    assert inputs.item(1).picture.shape == (24, 32, 3)


# -- labels -----------------------------------------------------------------------------------


class Pairs(Dataset):
    """As torchvision's: (PIL image, class), the classes kept in `targets` too."""

    def __init__(self, count: int = 4, targets: bool = True) -> None:
        self.read: list[int] = []
        self.count = count
        if targets:
            self.targets = [k % 3 for k in range(count)]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        self.read.append(index)
        return Image.fromarray(RGB), index % 3


def labels(inputs) -> list:
    return [inputs.label(k) for k in range(len(inputs))]


def test_pairs_bring_their_labels() -> None:
    assert labels(prepare([(RGB, 2), (RGB, torch.tensor(0)), (GRAY, np.int64(1))])) == [2, 0, 1]
    assert labels(prepare((RGB, 2))) == [2]
    assert labels(prepare([(RGB, "ring"), (RGB, None)])) == ["ring", None]
    assert labels(prepare([{"image": RGB, "label": 1}, {"img": RGB}])) == [1, None]
    assert labels(prepare([(RGB,), (GRAY,)])) == [None, None]
    assert labels(prepare([(RGB, torch.tensor([0.0, 1.0])), (RGB, 2.5)])) == [None, None]


def test_a_batch_brings_its_labels() -> None:
    pairs = TensorDataset(torch.rand(4, 3, 5, 5), torch.tensor([3, 1, 0, 2]))
    inputs = prepare(next(iter(DataLoader(pairs, batch_size=4))))
    assert labels(inputs) == [3, 1, 0, 2]
    batch = {"pixel_values": pairs.tensors[0], "labels": pairs.tensors[1]}
    assert labels(prepare(batch)) == [3, 1, 0, 2]
    assert len(prepare({"pixel_values": pairs.tensors[0]})) == 4
    assert torch.equal(inputs.item(2).tensor, pairs[2][0])


@pytest.mark.parametrize("labels_", [[2, 0], (2, 0), np.array([2, 0]), torch.tensor([2, 0])])
def test_a_batch_or_slice_brings_its_labels_in_any_form(labels_) -> None:
    for images in (np.stack([RGB, RGB]), np.stack([GRAY, GRAY]), [pil("RGB"), pil("RGB")]):
        assert labels(prepare((images, labels_))) == [2, 0]
        assert labels(prepare([images, labels_])) == [2, 0]
        assert labels(prepare({"image": images, "label": labels_})) == [2, 0]
        assert labels(prepare({"image": images})) == [None, None]
        assert labels(prepare([images, torch.eye(3)[:2]])) == [None, None]


def test_labels_and_masks_have_an_order() -> None:
    for name in ("labels", "masks"):
        for things in ({0: 1}, {1}):
            with pytest.raises(TypeError, match=f"{name} must be a list in the order"):
                prepare(RGB, **{name: things})


def test_a_data_set_is_read_when_someone_looks() -> None:
    data = Pairs()
    inputs = prepare(data)
    assert data.read == []
    assert labels(inputs) == [0, 1, 2, 0]
    assert (inputs.item(3).picture == RGB).all()
    inputs.item(3)
    assert data.read == [3]
    assert labels(prepare(Subset(Pairs(), [2, 1]))) == [2, 1]


def test_a_data_set_brings_its_class_names() -> None:
    data = Pairs()
    data.classes = ["a", "b", "c"]
    assert prepare(data).class_names == ["a", "b", "c"]
    assert prepare(Subset(data, [1])).class_names == ["a", "b", "c"]
    assert prepare([RGB]).class_names is None


def test_a_label_that_comes_with_the_picture_is_known_after_reading_it() -> None:
    inputs = prepare(Pairs(targets=False))
    assert inputs.label(2) is None
    inputs.item(2)
    assert inputs.label(2) == 2


def test_labels_given_beside_the_pictures_count() -> None:
    assert labels(prepare([(RGB, 2), (RGB, 2)], labels=torch.tensor([0, 1]))) == [0, 1]
    assert labels(prepare(RGB, labels=1)) == [1]
    assert labels(prepare([RGB, RGB], labels=["ring", None])) == ["ring", None]
    with pytest.raises(ValueError, match="one class per image: 2, not 3"):
        prepare([RGB, RGB], labels=[1, 2, 3])
    with pytest.raises(ValueError, match=r"label 1 is \[1, 0\]"):
        prepare([RGB, RGB], labels=[0, [1, 0]])


# -- preprocess -------------------------------------------------------------------------------

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def crop(image: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(image).permute(2, 0, 1)[:, 4:20, 6:30] / 255 - MEAN) / STD


def test_the_normalisation_is_undone_and_the_crop_is_kept() -> None:
    mask = np.zeros((24, 32), bool)
    mask[4:8, 6:8] = True
    item = prepare(RGB, crop, [mask]).item(0)
    assert (item.picture == RGB[4:20, 6:30]).all()
    assert item.mask.shape == (16, 24)
    assert item.mask.sum() == 8
    assert item.mask[:4, :2].all()


def test_an_inverted_scale_is_undone_too() -> None:
    item = prepare(RGB, lambda image: 1 - torch.from_numpy(image).permute(2, 0, 1) / 255).item(0)
    assert np.abs(item.picture.astype(int) - RGB).max() <= 1


def test_a_border_of_one_colour_does_not_hide_the_scale() -> None:
    def letterbox(image: np.ndarray) -> torch.Tensor:
        x = torch.full((3, 32, 32), 114 / 255)
        x[:, 4:28] = torch.from_numpy(image).permute(2, 0, 1) / 255
        return (x - MEAN) / STD

    mask = np.ones((24, 32), bool)
    item = prepare(RGB, letterbox, mask).item(0)
    assert (item.picture[4:28] == RGB).all()
    assert (item.picture[:4] == 114).all()
    assert item.mask[4:28].all()
    assert not item.mask[:4].any()
    assert not item.mask[28:].any()


def test_standardised_pictures_are_shown_from_their_minimum_to_their_maximum() -> None:
    def standardise(image):
        x = torch.from_numpy(image).permute(2, 0, 1).float()
        return (x - x.mean()) / (x.std() + 1e-6)

    shown = prepare(RGB, standardise, [RGB[..., 0] > 128]).item(0).picture
    assert (shown.min(), shown.max()) == (0, 255)
    assert np.corrcoef(shown.ravel(), RGB.ravel())[0, 1] > 0.999


def transforms():
    return pytest.importorskip("torchvision").transforms


def standardised(image: Image.Image) -> torch.Tensor:
    """As many do it: a picture of one colour has no spread to divide by."""
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    return ((x - x.mean()) / x.std())[:, 4:].flip(2)


def test_a_preprocess_that_cannot_take_one_colour_shows_from_minimum_to_maximum() -> None:
    item = prepare(RGB, standardised).item(0)
    assert (item.picture.min(), item.picture.max()) == (0, 255)

    def divides(image: Image.Image) -> torch.Tensor:
        if np.array(image).std() == 0:
            raise ZeroDivisionError
        return standardised(image)

    assert torch.equal(prepare(RGB, divides).item(0).tensor, item.tensor)


def test_a_mask_follows_where_pictures_are_standardised() -> None:
    mask = np.zeros((24, 32), bool)
    mask[6:15, 2:9] = True
    item = prepare([RGB, RGB], standardised, [mask, mask & False]).item(0)
    assert (item.mask == mask[4:, ::-1]).all()
    assert not prepare(RGB, standardised, mask & False).item(0).mask.any()

    def edges(image: Image.Image) -> torch.Tensor:
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        return x - torch.nn.functional.avg_pool2d(x, 3, 1, 1)

    def negative(image: Image.Image) -> torch.Tensor:
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        return (x.mean() - x) / x.std()

    assert (prepare(RGB, edges, mask).item(0).mask == mask).all()
    assert (prepare(RGB, negative, mask).item(0).mask == mask).all()


def test_torchvision_s_own_transforms_work() -> None:
    v1 = transforms()
    v2 = pytest.importorskip("torchvision.transforms.v2")
    weights = pytest.importorskip("torchvision").models.ResNet18_Weights.DEFAULT.transforms()
    modern = v2.Compose(
        [v2.Resize(16), v2.CenterCrop(16), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )
    for transform, size in [
        (weights, 224),
        (pytest.importorskip("torchvision").models.ResNet18_Weights.DEFAULT, 224),
        (v1.Compose([v1.Resize(20), v1.CenterCrop(16), v1.ToTensor()]), 16),
        (modern, 16),
        (lambda image: modern(image), 16),
    ]:
        for images in ([picture(240, 300), picture(260, 256)], [as_tensor(picture(240, 300))]):
            item = prepare(images, transform).item(0)
            assert item.tensor.shape == (3, size, size)
            assert type(item.tensor) is torch.Tensor
            assert item.picture.std() > 10


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda image: torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255,
        lambda image: {"pixel_values": [np.asarray(image).transpose(2, 0, 1) / 255]},
        lambda image: np.asarray(image).transpose(2, 0, 1) / 255,
        lambda image: image.transpose(2, 0, 1) / np.float32(255),
        lambda tensor: tensor.float() / 255,
        lambda tensor: transforms().Normalize([0, 0, 0], [1, 1, 1])(tensor),
    ],
    ids=["a batch of one", "a processor", "numpy", "array alone", "bytes", "floats"],
)
def test_preprocess_gets_the_form_that_it_takes(preprocess) -> None:
    for images in (RGB, Image.fromarray(RGB), as_tensor(RGB)):
        item = prepare(images, preprocess).item(0)
        assert (item.picture == RGB).all()
        np.testing.assert_allclose(item.tensor, as_tensor(RGB) / 255, atol=1e-6)


@pytest.mark.parametrize("kind", ["flip", "noise", "own generator", "rotation"])
def test_a_random_preprocess_is_refused_where_masks_would_have_to_follow(kind: str) -> None:
    generator = np.random.default_rng(3)

    def preprocess(image: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(image).permute(2, 0, 1) / 255
        if kind == "flip":
            return x.flip(2) if random.random() < 0.5 else x
        if kind == "noise":
            return x + 0.01 * torch.randn(1)
        if kind == "own generator":
            return x[:, :16, generator.integers(16) :][..., :16]
        return torch.rot90(x, 2 * np.random.randint(2), (1, 2))

    with pytest.raises(ValueError, match=r"Image 0: `preprocess` is random.*masks out"):
        prepare(RGB, preprocess, RGB[..., 0] > 128).item(0)
    item = prepare(RGB, preprocess).item(0)
    again = prepare(RGB, lambda image: item.tensor).item(0)
    assert torch.equal(item.tensor, again.tensor)


def test_a_preprocess_that_draws_numbers_and_gives_the_same_is_taken() -> None:
    def preprocess(image: np.ndarray) -> torch.Tensor:
        torch.rand(1)
        return torch.from_numpy(image).permute(2, 0, 1) / 255

    assert prepare(RGB, preprocess, RGB[..., 0] > 128).item(0).mask.any()


# -- masks ------------------------------------------------------------------------------------

MASK = RGB[..., 0] > 128
COLOURED = MASK[..., None] * np.uint8([200, 10, 0])
OPAQUE = np.dstack([COLOURED, np.full_like(MASK, 255, np.uint8)])
WHITE = np.dstack([np.full_like(COLOURED, 255), np.uint8(255) * MASK])
"""white all over, and transparent outside"""


@pytest.mark.parametrize(
    "mask",
    [
        MASK,
        [MASK],
        MASK[None],
        np.uint8(255) * MASK,
        MASK.astype(float),
        MASK[..., None],
        torch.from_numpy(MASK),
        [torch.from_numpy(MASK)[None]],
        torch.from_numpy(MASK).bfloat16(),
        Image.fromarray(MASK),
        COLOURED,
        [COLOURED],
        COLOURED[None],
        COLOURED / 255,
        COLOURED > 0,
        torch.from_numpy(COLOURED).permute(2, 0, 1),
        [torch.from_numpy(COLOURED).permute(2, 0, 1)],
        Image.fromarray(COLOURED),
        OPAQUE,
        [OPAQUE],
        Image.fromarray(OPAQUE),
        WHITE,
        [WHITE / 255],
        Image.fromarray(WHITE),
        np.where([True, True, True, False], np.uint8(0), WHITE),
    ],
)
def test_masks_in_every_form(mask) -> None:
    assert (prepare(RGB, masks=mask).item(0).mask == MASK).all()
    assert (prepare(RGB, crop, mask).item(0).mask == MASK[4:20, 6:30]).all()


# -- painting ---------------------------------------------------------------------------------


def test_masks_from_files(tmp_path) -> None:
    for name in ("mask.png", "mask.jpg"):
        Image.fromarray(np.uint8(255) * MASK[::-1]).save(tmp_path / name, quality=95)
        mask = prepare(RGB, masks=tmp_path / name).item(0).mask
        assert (mask == MASK[::-1]).mean() > (0.999 if name.endswith("png") else 0.9)
    for k, mask in enumerate((MASK.astype(np.uint8), COLOURED, OPAQUE, WHITE)):
        Image.fromarray(mask).save(tmp_path / f"{k}.png")
        assert (prepare(RGB, masks=[tmp_path / f"{k}.png"]).item(0).mask == MASK).all()
    Image.fromarray(np.uint8(255) * MASK).convert("RGB").save(tmp_path / "opened.jpg", quality=95)
    mask = prepare(RGB, masks=[Image.open(tmp_path / "opened.jpg")]).item(0).mask
    assert (mask == MASK).mean() > 0.9


def test_several_masks_in_colours() -> None:
    for masks in (np.stack([COLOURED] * 2), torch.from_numpy(COLOURED).expand(2, -1, -1, -1)):
        inputs = prepare([RGB, RGB], masks=masks)
        assert all((inputs.item(i).mask == MASK).all() for i in range(2))
    assert prepare([RGB, RGB], masks=[COLOURED, None]).item(1).mask is None


def test_what_is_painted_reaches_the_model_and_the_rest_is_exact() -> None:
    item = prepare(RGB, crop).item(0)
    painted = item.picture.copy()
    painted[2:5, 3:9] = (255, 0, 128)
    tensor = item.painted(painted)
    whole = RGB.copy()
    whole[6:9, 9:15] = (255, 0, 128)
    np.testing.assert_allclose(tensor, crop(whole), atol=1e-5)
    untouched = (painted == item.picture).all(axis=2)
    assert torch.equal(tensor[:, untouched], item.tensor[:, untouched])


def test_a_gray_model_sees_the_gray_of_the_paint() -> None:
    item = prepare(GRAY).item(0)
    painted = item.picture.copy()
    painted[3, 4] = (30, 60, 90)
    tensor = item.painted(painted)
    assert tensor.shape == (1, 24, 32)
    assert float(tensor[0, 3, 4]) == pytest.approx(60 / 255)


def test_a_painted_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \(24, 32, 3\)"):
        prepare(RGB).item(0).painted(RGB[:8])


def test_a_trimap_is_no_mask(tmp_path) -> None:
    """Its numbers mean three things, and none of them is outside."""
    trimap = MASK.astype(np.uint8) * 2 + 1
    Image.fromarray(trimap).save(tmp_path / "trimap.png")
    says = r"Mask 0 holds the numbers 1 to 3 and no 0.*trimap == 1"
    for mask in (trimap, trimap.astype(float), tmp_path / "trimap.png"):
        with pytest.raises(ValueError, match=says):
            prepare(RGB, masks=[mask]).item(0)
    assert prepare(RGB, masks=[np.ones_like(MASK, np.uint8)]).item(0).mask.all()


# -- refused ----------------------------------------------------------------------------------

REFUSED = {
    "nothing": ([], ValueError, "at least one picture"),
    "None": (None, TypeError, "pictures.*NoneType"),
    "a number": (3, TypeError, "int"),
    "bytes": (b"\xff\xd8", TypeError, "content of a file"),
    "a loader": (DataLoader(Pairs()), TypeError, "DataLoader.*loader.dataset"),
    "an open file": (io.BytesIO(b""), TypeError, "open file: give its name, or PIL.Image.open"),
    "the text of a file": (["x/" * 3000], ValueError, "no file 'x/x/.{96}…'"),
    "a mapping": ({"a": RGB}, TypeError, "dict"),
    "no file": (["nowhere.png"], ValueError, "no file 'nowhere.png'"),
    "a page": ("https://example.org/a.png", ValueError, "download"),
    "a folder": ([RGB, "/"], ValueError, "Image 1.*folder.*glob"),
    "five axes": (np.zeros((1, 2, 4, 4, 3)), ValueError, r"\(1, 2, 4, 4, 3\)"),
    "two channels": ([RGB, RGB[..., :2]], ValueError, r"Image 1 has shape \(24, 32, 2\)"),
    "no pixels": (RGB[:0], ValueError, r"\(0, 32, 3\)"),
    "four axes in a list": ([RGB[None]], ValueError, r"Image 0 has shape \(1, 24, 32, 3\)"),
    "four first": (np.zeros((4, 9, 9), np.uint8), ValueError, r"images\[None\].*list\(images\)"),
    "text": ([RGB, {"a": 1}], TypeError, "Image 1 is no picture but dict"),
    "complex": (RGB * 1j, TypeError, "complex128"),
    "ragged": ([RGB, [[0], [0, 1]]], ValueError, "Image 1 has rows of different lengths"),
    "two pictures as one": ([[RGB, RGB], [RGB, RGB]], ValueError, "Image 0 is a list.*`masks`"),
    "a mask as label": ([(RGB, MASK)], ValueError, "Image 0 is a tuple.*`masks`"),
    "negative whole numbers": (RGB.astype(np.int16) - 9, ValueError, "Image 0.*-9 to 246.*black"),
    "normalised arrays": ([RGB, RGB / 99 - 1], ValueError, "Image 1.*floats from -1 to"),
    "an image without pixels": ([Image.new("RGB", (0, 5))], ValueError, "no pixels: it is 0 × 5"),
    "a set": ({"a.png"}, TypeError, "a set, which has no order"),
    "labels of another number": ((np.stack([RGB, RGB]), [1]), ValueError, "2 pictures, but 1 lab"),
    "floats beyond": (RGB * 1.001, ValueError, "0 to 1"),
    "NaN": ([RGB, np.full((3, 4), np.nan)], ValueError, "Image 1 holds NaN"),
    "NaN in a tensor": (torch.full((3, 4, 4), torch.nan), ValueError, "Image 0 holds NaN"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_picture_is_refused_in_a_sentence(case: str) -> None:
    images, error, says = REFUSED[case]
    with pytest.raises(error, match=f"(?s){says}"):
        read_all(images)


def read_all(images) -> None:
    inputs = prepare(images)
    for k in range(len(inputs)):
        inputs.item(k)


def test_too_many_pictures_are_refused_before_they_are_read() -> None:
    data = Pairs(50_000)
    with pytest.raises(ValueError, match=r"holds 50000 pictures.*Subset"):
        prepare(data)
    assert data.read == []
    with pytest.raises(ValueError, match=f"more than {MOST} pictures"):
        prepare(GRAY for _ in range(10**9))


BAD_PREPROCESS = {
    "not callable": ("resize", TypeError, "preprocess must be a function"),
    "an error": (lambda image: 1 / 0, ValueError, "Image 1: `preprocess` failed.*division by zero"),
    "None": (lambda image: None, ValueError, "Image 1: .*float tensor.*NoneType"),
    "bytes": (lambda image: as_tensor(RGB), ValueError, "Image 1: .*torch.uint8"),
    "channels last": (
        lambda image: torch.zeros(24, 32, 3),
        ValueError,
        r"Image 1: .*\(24, 32, 3\) has its channels last.*permute\(2, 0, 1\)",
    ),
    "NaN": (lambda image: torch.full((3, 4, 4), torch.nan), ValueError, "Image 1: .*NaN"),
}


@pytest.mark.parametrize("case", BAD_PREPROCESS)
def test_a_preprocess_that_does_not_fit_is_named_with_its_picture(case: str) -> None:
    preprocess, error, says = BAD_PREPROCESS[case]
    with pytest.raises(error, match=f"(?s){says}"):
        prepare([RGB, RGB], preprocess).item(1)


def test_a_normalised_tensor_is_not_preprocessed_again() -> None:
    with pytest.raises(ValueError, match=r"Image 0.*preprocessed already: leave `preprocess` out"):
        prepare(torch.randn(1, 3, 8, 8), lambda x: x).item(0)


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ([None, None], "one mask per image: 1, not 2"),
        ([np.ones((4, 4), bool)], r"Mask 0 has shape \(4, 4\); its image needs \(24, 32\)"),
        ([np.full((24, 32), np.nan)], "Mask 0.*NaN"),
        ([RGB], r"Mask 0 has \d+ colours, as a photograph: a mask is black outside"),
        ([MASK.astype(int) * 2 - 1], "Mask 0 holds the numbers -1 to 1: give what is true"),
        ([np.where(MASK[..., None], COLOURED, 255)], "Mask 0 has several colours and no black"),
        ([np.dstack([COLOURED, 255 - COLOURED[..., 0]])], "Mask 0 is transparent in places and"),
        ([np.ones((4, 24, 32), bool)], r"Mask 0 has shape \(4, 24, 32\)"),
        ([np.ones((12, 16, 3), bool)], r"Mask 0 has shape \(12, 16\); its image needs"),
        (np.ones((3, 24, 32), bool), "one mask per image: 1, not 3"),
        (7, "masks must be a list, one mask per image, not 7"),
        (["nowhere.png"], "Mask 0: There is no file 'nowhere.png'"),
    ],
)
def test_masks_that_do_not_fit(masks, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        prepare(RGB, masks=masks).item(0)


def test_a_broken_file_or_row_is_named(tmp_path) -> None:
    Image.fromarray(RGB).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    inputs = prepare([tmp_path / "good.png", tmp_path / "bad.png"])
    inputs.item(0)
    with pytest.raises(ValueError, match=r"Image 1 \(bad.png\): .*cannot be read"):
        inputs.item(1)

    class Broken(Pairs):
        def __getitem__(self, index: int):
            raise OSError("the disk is gone")

    with pytest.raises(ValueError, match=re.escape("Image 2: the disk is gone")):
        prepare(Broken()).item(2)

    class Missing(Pairs):
        def __getitem__(self, index: int):
            return {}["row"]

    with pytest.raises(ValueError, match="Image 2: KeyError: 'row'"):
        prepare(Missing()).item(2)


@pytest.mark.parametrize("whole", [False, True])
def test_a_float_tensor_without_preprocess_is_what_the_model_takes(whole: bool) -> None:
    """A model may divide by 255 itself."""
    images = 255 * torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    images = images.round() if whole else images
    inputs = prepare(images)
    for k in range(2):
        assert torch.equal(inputs.item(k).tensor, images[k])
        assert inputs.item(k).picture.max() == 255


def test_a_tensor_beyond_white_is_shown_from_its_minimum_to_its_maximum() -> None:
    def glowing(picture: Image.Image) -> torch.Tensor:
        x = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
        return x + 4 * x * (1 - x)  # 0 and 1 stay, 3/5 becomes 1.56

    gray = np.array(8 * [[0, 153, 255, 0, 0, 0]], np.uint8)
    shown = prepare(np.stack(3 * [gray], 2), glowing).item(0).picture[0, :, 0]
    assert shown.tolist() == [0, 255, 163, 0, 0, 0]
