"""Picture files of every kind: each as uint8 RGB, or refused in a sentence that names the file."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from camwidgets import load_image
from camwidgets.files import MOST_PIXELS, _turned

RNG = np.random.default_rng(0)
RAMP = np.arange(60, dtype=np.uint8).reshape(6, 10)
NOISE = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(values).astype(np.uint8)[..., None], 3, axis=2)


def tiff(path: Path, values: np.ndarray, **options) -> Path:
    photometric = "rgb" if values.ndim == 3 and values.shape[-1] in (3, 4) else "minisblack"
    tifffile.imwrite(path, values, **{"photometric": photometric, **options})
    return path


# Deep files


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("top", "depth"), [(200, 255), (4000, 4095), (60000, 65535)])
@pytest.mark.parametrize("colours", [False, True])
def test_sixteen_bits_hold_8_12_or_16_bits_of_data(tmp_path, suffix, top, depth, colours) -> None:
    values = RNG.integers(0, top, (8, 10, 3) if colours else (8, 10)).astype(np.uint16)
    values[0, 0] = top
    path = tmp_path / f"deep.{suffix}"
    bgr = values[..., ::-1] if colours else values
    path.write_bytes(cv2.imencode(f".{suffix}", bgr)[1].tobytes())
    wanted = np.rint(255 * values.astype(float) / depth)
    np.testing.assert_array_equal(load_image(path), wanted if colours else gray(wanted))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (RAMP.astype(np.float32) / 59, 255 * (RAMP / 59)),
        (RAMP.astype(np.float64) / 59, 255 * (RAMP / 59)),
        (np.float32(10) * RAMP - 300, 255 * (RAMP / 59)),
        (RAMP.astype(np.int16) * 20 - 1000, 255 * (RAMP / 59)),
        (RAMP.astype(np.int32) - 5, 255 * (RAMP / 59)),
        (RAMP.astype(np.int16) * 60, 255 * (RAMP * 60.0 / 4095)),
        (RAMP.astype(np.uint32) * 2**26, 255 * (RAMP * 2.0**26 / (2**32 - 1))),
        (np.full((3, 4), -7.5, np.float32), np.zeros((3, 4))),
    ],
)
def test_floats_and_signed_numbers(tmp_path, values, wanted) -> None:
    np.testing.assert_array_equal(load_image(tiff(tmp_path / "a.tif", values)), gray(wanted))


def test_window_says_what_is_black_and_white(tmp_path) -> None:
    path = tiff(tmp_path / "a.tif", RAMP.astype(np.float32))
    wanted = 255 * np.clip((RAMP.astype(float) - 10) / 20, 0, 1)
    np.testing.assert_array_equal(load_image(path, window=(10, 30)), gray(wanted))
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", window=(10, 30)), gray(wanted))
    with pytest.raises(ValueError, match="the lower value first"):
        load_image(path, window=(30, 10))


def test_values_that_are_no_numbers_are_black(tmp_path) -> None:
    values = RAMP.astype(np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf
    image = load_image(tiff(tmp_path / "a.tif", values))
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[0, 1].tolist() == [255, 255, 255]
    assert image[-1, -1].tolist() == [255, 255, 255]
    path = tiff(tmp_path / "empty.tif", np.full((3, 4), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"empty\.tif' holds no finite value"):
        load_image(path)


@pytest.mark.parametrize("kind", ["page", "hyper"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pages_of_a_tiff(tmp_path, kind, dtype) -> None:
    stack = np.stack([RAMP, RAMP // 2, RAMP[::-1]]).astype(dtype)
    path = tiff(tmp_path / "stack.tif", stack, imagej=kind == "hyper")
    for page in range(3):
        own = stack[page].astype(float)
        wanted = 255 * (own - own.min()) / (own.max() - own.min()) if dtype == np.float32 else own
        np.testing.assert_array_equal(load_image(path, page=page), gray(wanted))
    for page in (3, -1):
        with pytest.raises(ValueError, match=r"stack\.tif' has pages 0 to 2, no page"):
            load_image(path, page=page)


def test_tiff_bytes_orders_planes_tiles_and_white_zero(tmp_path) -> None:
    deep = RAMP.astype(np.uint16) * 1000
    usual = load_image(tiff(tmp_path / "usual.tif", deep))
    options = [{"byteorder": ">"}, {"bigtiff": True}, {"compression": "zlib"}, {"tile": (16, 16)}]
    for k, option in enumerate(options):
        path = tiff(tmp_path / f"{k}.tif", deep, **option)
        np.testing.assert_array_equal(load_image(path), usual)
    white = tiff(tmp_path / "white.tif", deep, photometric="miniswhite")
    assert np.abs(load_image(white).astype(int) - (255 - usual.astype(int))).max() <= 1
    white = tiff(tmp_path / "white8.tif", RAMP, photometric="miniswhite")
    np.testing.assert_array_equal(load_image(white), 255 - gray(RAMP))
    planes = NOISE.transpose(2, 0, 1).copy()
    path = tiff(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(load_image(path), NOISE)
    deep_planes = planes.astype(np.uint16) * 256
    path = tiff(tmp_path / "p16.tif", deep_planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match=r"p16\.tif' is a TIFF of 16 bits in separate colour"):
        load_image(path)


def test_opacity_in_sixteen_bits(tmp_path) -> None:
    values = np.zeros((1, 2, 4), np.uint16)
    values[0, 0] = [65535, 0, 0, 65535]
    values[0, 1] = [65535, 0, 0, 0]
    tiff(tmp_path / "a.tif", values, extrasamples=["unassalpha"])
    cv2.imwrite(str(tmp_path / "a.png"), values[..., [2, 1, 0, 3]])
    for name in ("a.tif", "a.png"):
        assert load_image(tmp_path / name).tolist() == [[[255, 0, 0], [255, 255, 255]]]


# Modes of a photograph


def test_palette_cmyk_and_their_like(tmp_path) -> None:
    picture = Image.fromarray(np.kron(NOISE[:4, :4] // 64 * 64, np.ones((4, 4, 1), np.uint8)))
    wanted = np.asarray(picture)
    picture.quantize(64).save(tmp_path / "palette.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.tif")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    picture.save(tmp_path / "a.gif")
    picture.save(tmp_path / "a.bmp")
    picture.save(tmp_path / "a.webp", lossless=True)
    for name, off in {
        "palette.png": 0, "cmyk.tif": 0, "cmyk.jpg": 12, "a.gif": 0, "a.bmp": 0, "a.webp": 0,
    }.items():  # fmt: skip
        difference = np.abs(load_image(tmp_path / name).astype(int) - wanted)
        assert difference.max() <= off, name
    Image.fromarray(RAMP > 30).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(load_image(tmp_path / "bits.png"), gray(255.0 * (RAMP > 30)))


def test_transparent_palettes_and_gray(tmp_path) -> None:
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([0, 0, 255, 10, 20, 30])
    palette.save(tmp_path / "p.png", transparency=0)
    Image.fromarray(np.array([[[0, 0], [40, 255]]], np.uint8), "LA").save(tmp_path / "la.png")
    assert load_image(tmp_path / "p.png").tolist() == [[[255] * 3, [10, 20, 30]]]
    assert load_image(tmp_path / "la.png").tolist() == [[[255] * 3, [40] * 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path, orientation) -> None:
    """Pillow's own turning is the reference; deep files are turned by our own."""
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(RAMP)
    stored.save(tmp_path / "a.png", exif=exif)
    wanted = load_image(tmp_path / "a.png")
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "deep.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "deep.png", window=(0, 65535)), wanted)
    assert wanted.shape[:2] == ((6, 10) if orientation < 5 else (10, 6))
    np.testing.assert_array_equal(_turned(RAMP, orientation), wanted[..., 0])
    for values, white in ((RAMP, 255), (RAMP.astype(np.uint16) * 257, 65535)):
        tags = [(274, "H", 1, orientation, True)]
        path = tiff(tmp_path / "a.tif", values, extratags=tags)
        np.testing.assert_array_equal(load_image(path, window=(0, white)), wanted)


# JPEGs with something behind them


def jpeg(path: Path, image: np.ndarray = NOISE, **options) -> Path:
    Image.fromarray(image).save(path, quality=95, **options)
    return path


@pytest.mark.parametrize("progressive", [False, True])
def test_a_video_behind_a_photograph_does_not_matter(tmp_path, progressive) -> None:
    path = jpeg(tmp_path / "still.jpg", progressive=progressive)
    still = load_image(path)
    video = b"\0\0\0\x18ftypmp42" + b"\xff\xda" + RNG.bytes(5000).replace(b"\xff", b"\xfe")
    (tmp_path / "motion.jpg").write_bytes(path.read_bytes() + video)
    np.testing.assert_array_equal(load_image(tmp_path / "motion.jpg"), still)


def test_the_first_of_two_photographs_in_one_file(tmp_path) -> None:
    first, second = Image.fromarray(gray(RAMP)), Image.fromarray(gray(255 - RAMP))
    first.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    assert np.abs(load_image(tmp_path / "two.jpg").astype(int) - gray(RAMP)).max() < 10


def test_a_preview_in_the_head_is_not_taken_for_the_end(tmp_path) -> None:
    preview = jpeg(tmp_path / "preview.jpg").read_bytes()
    segment = b"\xff\xe2" + struct.pack(">H", len(preview) + 2) + preview
    whole = jpeg(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "with.jpg").write_bytes(whole[:2] + segment + whole[2:])
    np.testing.assert_array_equal(
        load_image(tmp_path / "with.jpg"), load_image(tmp_path / "whole.jpg")
    )
    (tmp_path / "cut.jpg").write_bytes((whole[:2] + segment + whole[2:])[:-300])
    with pytest.raises(ValueError, match=r"cut\.jpg' cannot be read"):
        load_image(tmp_path / "cut.jpg")


# What is broken


KINDS = {
    "jpg": {"quality": 95}, "png": {}, "tif": {}, "gif": {}, "bmp": {}, "webp": {"lossless": True},
}  # fmt: skip


@pytest.mark.parametrize("suffix", [*KINDS, "progressive.jpg", "deep.png", "deep.tif"])
@pytest.mark.parametrize("rest", ["nothing", "zeros"])
def test_files_that_were_cut_short(tmp_path, suffix, rest) -> None:
    """At every tenth of their length; also where the room for the rest was already reserved."""
    path = tmp_path / f"whole.{suffix}"
    if suffix.startswith("deep"):
        path.write_bytes(
            cv2.imencode(f".{suffix[-3:]}", NOISE.astype(np.uint16) * 200)[1].tobytes()
        )
    else:
        kind = suffix.rpartition(".")[2]
        Image.fromarray(NOISE).save(path, progressive="prog" in suffix, **KINDS[kind])
    whole = path.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    unnoticed = suffix in ("tif", "bmp", "webp")  # black pixels, and no checksum
    for tenth in range(10):
        keep = len(whole) * tenth // 10
        cut.write_bytes(whole[:keep] + bytes(len(whole) - keep if rest == "zeros" else 0))
        if rest == "zeros" and unnoticed and keep > 60:
            continue
        with pytest.raises(ValueError, match=r"cut\..*' (cannot be read|has only page)"):
            load_image(cut)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"<html>404</html>", b"\xff\xd8\xff", b"II*\0", b"II*\0\x08\0\0\0", b"GIF89a",
     b"\xd0\xcf\x11\xe0" + bytes(600), bytes(128) + b"DICM", RNG.bytes(4000)],
)  # fmt: skip
def test_what_is_no_picture_is_named(tmp_path, content) -> None:
    pytest.importorskip("pydicom")
    for name in ("Thumbs.db", "photo.jpg", "scan.dcm"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            load_image(tmp_path / name)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png' cannot be read"):
        load_image(tmp_path / "a.png")


def test_a_heic_photograph_is_told_what_to_do(tmp_path) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(500))
    with pytest.raises(ValueError, match=r"IMG_1\.HEIC' is a HEIC photograph.*as JPEG"):
        load_image(tmp_path / "IMG_1.HEIC")


@pytest.mark.parametrize("size", [0, -3, (0, 5)])
def test_a_size_of_nothing(tmp_path, size) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        load_image(jpeg(tmp_path / "a.jpg"), size)


# What is too large


def png_header(path: Path, width: int, height: int) -> Path:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + start + pixels + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [10_000, 13_000, 40_000, 1_000_000])
def test_too_many_pixels_are_refused_before_they_are_read(tmp_path, side) -> None:
    path = png_header(tmp_path / "vast.png", side, side)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"vast\.png' has .* megapixels"):
        load_image(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_a_vast_tiff_is_refused(tmp_path, dtype) -> None:
    path = tmp_path / "vast.tif"
    strip = np.zeros((16, 8), dtype)
    tiff(path, strip)
    data = path.read_bytes()
    for old, new in ((8, 60_000), (16, 50_000)):  # width and height, in the tags
        for kind in (b"\x04\0", b"\x03\0"):
            for tag in (256, 257):
                entry = struct.pack("<H", tag) + kind + struct.pack("<II", 1, old)
                data = data.replace(entry, struct.pack("<HHII", tag, 4, 1, new))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"vast\.tif' has 60000 × 50000 pixels, 3000 megapixels"):
        load_image(path)


def test_a_jpeg_of_a_hundred_megapixels_is_read_reduced(tmp_path) -> None:
    image = np.zeros((9_000, 12_000), np.uint8)
    image[:, 6_000:] = 250
    path = jpeg(tmp_path / "vast.jpg", image)
    with pytest.warns(UserWarning, match=r"vast\.jpg' has 108 megapixels.* 1/2 of its width"):
        loaded = load_image(path)
    assert loaded.shape == (4_500, 6_000, 3)
    assert loaded.size / 3 <= MOST_PIXELS
    assert loaded[:, :2_990].max() < 10
    assert loaded[:, 3_010:].min() > 240
    assert load_image(path, 50).shape == (50, 50, 3)


# DICOM


def dicom(path: Path, values: np.ndarray, **tags) -> Path:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    colour = values.ndim == 3 and values.shape[-1] == 3
    if values.ndim == 3 and not colour:
        data.NumberOfFrames = len(values)
    data.Rows, data.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * values.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_in_its_window_of_hounsfield_units(tmp_path) -> None:
    stored = (np.arange(60).reshape(6, 10) * 40).astype(np.int16)
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 401}
    path = dicom(tmp_path / "ct.dcm", stored, **tags)
    units = stored.astype(float) - 1024
    wanted = 255 * np.clip((units - (39.5 - 200)) / 400, 0, 1)
    np.testing.assert_array_equal(load_image(path), gray(wanted))
    wanted = 255 * np.clip((units + 1000) / 1500, 0, 1)
    np.testing.assert_array_equal(load_image(path, window=(-1000, 500)), gray(wanted))
    several = dicom(
        tmp_path / "two.dcm", stored, **tags | {"WindowCenter": [40, 300], "WindowWidth": [401, 9]}
    )
    np.testing.assert_array_equal(load_image(several), load_image(path))


def test_dicom_without_a_window_frames_colours_and_white_zero(tmp_path) -> None:
    stored = RAMP.astype(np.uint16) * 60
    wanted = 255 * (RAMP * 60.0 / 4095)
    np.testing.assert_array_equal(load_image(dicom(tmp_path / "a.dcm", stored)), gray(wanted))
    path = dicom(tmp_path / "b.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(load_image(path), gray(255 - wanted))
    path = dicom(tmp_path / "c.dcm", np.stack([stored, stored[::-1]]))
    np.testing.assert_array_equal(load_image(path, page=1), gray(wanted[::-1]))
    with pytest.raises(ValueError, match=r"c\.dcm' has pages 0 to 1, no page 2"):
        load_image(path, page=2)
    np.testing.assert_array_equal(load_image(dicom(tmp_path / "d.dcm", NOISE)), NOISE)
    (tmp_path / "no_suffix").write_bytes((tmp_path / "a.dcm").read_bytes())
    np.testing.assert_array_equal(load_image(tmp_path / "no_suffix"), gray(wanted))


def test_dicom_that_cannot_be_read(tmp_path, monkeypatch) -> None:
    path = dicom(tmp_path / "a.dcm", RAMP)
    whole = path.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"cut\.dcm' cannot be read as a picture"):
        load_image(tmp_path / "cut.dcm")
    path = dicom(tmp_path / "vast.dcm", RAMP, Rows=60_000, Columns=50_000)
    with pytest.raises(ValueError, match=r"vast\.dcm' has 50000 × 60000 pixels"):
        load_image(path)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"a\.dcm' is a DICOM file: `pip install"):
        load_image(tmp_path / "a.dcm")
