"""Picture files of every kind as uint8 RGB: photographs, deep and multi-page files, DICOM."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple, NoReturn

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as TiffTags

Array = np.ndarray
Window = tuple[float, float]

MOST_PIXELS = 50_000_000
FORMATS = ("PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
ROWS_AT_ONCE = 256
MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # in a JPEG's pixels: the next one that counts


def load_image(
    path: str | Path,
    size: int | tuple[int, int] | None = None,
    *,
    page: int = 0,
    window: Window | None = None,
) -> Array:
    """A picture file as uint8 RGB (H, W, 3), upright as its orientation tag says.

    JPEG, PNG, TIFF, GIF, BMP, WebP and their like, and DICOM where pydicom 3 is installed. Gray
    pictures get three equal channels, transparent ones are laid on white, a JPEG with a video or
    further pictures behind it gives its first picture. Colour profiles are left out of account.

    Deeper files are brought to bytes by `window`. By default that is: for whole numbers from 0 on,
    the smallest depth of 8, 12, 16 or 32 bits that holds them; for floats, 0 to 1 if they lie in
    it; for a DICOM file, its own first window; else the picture's minimum to its maximum.

    Args:
        path: the file.
        size: (H, W), or one number for a square. The largest centred region of that shape is
            cut out and resized, so that nothing is stretched. None keeps the picture as it is.
        page: which page of a TIFF, frame of a GIF or DICOM file.
        window: the values that become black and white, in the file's own unit (DICOM: after its
            rescaling, such as Hounsfield units). Give it to compare pictures with each other.

    Raises:
        ValueError: no such file or page, a file that is no picture or is broken, or one of more
            than 50 megapixels; a JPEG of that size is read at a half, quarter or eighth of it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r}: check the name and the folder.")
    if size is not None and min(np.atleast_1d(size)) < 1:
        raise ValueError(f"size must be 1 or more pixels, not {size}.")
    if window is not None and not window[0] < window[1]:
        raise ValueError(f"window must be (black, white), the lower value first, not {window}.")
    try:
        found = _read(path, page, warn=size is None)
    except _Refused:
        raise
    except Exception as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a picture: it is damaged, cut short, or of a kind "
            "that is not known here (known are JPEG, PNG, TIFF, GIF, BMP, WebP, DICOM). Copy or "
            "download it again, or save it as PNG."
        ) from error
    image = _as_rgb(found, window or found.window, path)
    return image if size is None else _cropped(image, size)


class _Refused(ValueError):
    """A sentence that is complete; other errors of the readers are put into one."""


class _Found(NamedTuple):
    """What stands in a file: (H, W) or (H, W, channels) of any dtype."""

    values: Array
    window: Window | None = None
    inverted: bool = False


def _read(path: Path, page: int, *, warn: bool) -> _Found:
    with path.open("rb") as file:
        start = file.read(132)
    if start[:3] == b"\xff\xd8\xff":
        return _jpeg(path, page, warn)
    if start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
        return _dicom(path, page)
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(path, page)
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        _refuse(path, "is a HEIC photograph, which is not read here: save or send it as JPEG")
    return _by_pillow(path, page, deep=start[:4] == b"\x89PNG" and start[24] == 16)


def _refuse(path: Path, reason: str) -> NoReturn:
    raise _Refused(f"{str(path)!r} {reason}.")


def _require_page(path: Path, page: int, pages: int) -> None:
    if not 0 <= page < pages:
        which = "only page 0" if pages == 1 else f"pages 0 to {pages - 1}"
        _refuse(path, f"has {which}, no page {page}")


def _require_pixels(path: Path, width: int, height: int, most: int = MOST_PIXELS) -> None:
    if width * height > most:
        millions = width * height / 1e6
        _refuse(
            path,
            f"has {width} × {height} pixels, {millions:.0f} megapixels; up to {most / 1e6:.0f} are "
            "read. Make a smaller copy, cut out a part, or save it as a plain JPEG, which can be "
            "read at a reduced size",
        )


# One kind of file each


def _jpeg(path: Path, page: int, warn: bool) -> _Found:
    _require_page(path, page, 1)
    if not _is_complete(path.read_bytes()):
        raise EOFError("no end marker after the pixels")
    with JpegImageFile(path) as picture:  # Image.open would count its pixels first, and refuse
        width, height = picture.size
        if "progressive" in picture.info:  # kept in memory as a whole while it is decoded
            _require_pixels(path, width, height, 2 * MOST_PIXELS)
        shrink = next(s for s in (1, 2, 4, 8) if width * height <= MOST_PIXELS * s**2 or s == 8)
        if shrink > 1:
            picture.draft(None, (width // shrink, height // shrink))
            if warn:
                warnings.warn(
                    f"{str(path)!r} has {width * height / 1e6:.0f} megapixels; it is read at "
                    f"1/{shrink} of its width and height.",
                    stacklevel=4,
                )
        return _Found(_channels(ImageOps.exif_transpose(picture)))


def _is_complete(data: bytes) -> bool:
    """Whether a JPEG's first picture has its end marker: what comes after it does not matter."""
    place = 2
    while found := MARKER.search(data, place):
        marker, place = data[found.end() - 1], found.end()
        if marker == 0xD9:
            return True
        if marker != 0x01:
            place += int.from_bytes(data[place : place + 2], "big")
    return False


def _tiff(path: Path, page: int) -> _Found:
    tags, pages = _tiff_page(path, page)
    _require_page(path, page, pages)
    _require_pixels(path, tags[256], tags[257])
    bits, form = max(np.atleast_1d(tags.get(258, 1))), max(np.atleast_1d(tags.get(339, 1)))
    if bits <= 8 and form == 1:
        return _by_pillow(path, page)
    samples, photometric = tags.get(277, 1), tags.get(262, 1)
    if photometric > 2 or (samples > 1 and tags.get(284, 1) == 2):
        kind = "in separate colour planes" if photometric <= 2 else "in CMYK, YCbCr or Lab"
        _refuse(path, f"is a TIFF of {bits} bits {kind}, which is not read: save it as RGB or gray")
    values = _by_opencv(path, page)
    if samples in (2, 4) and 2 not in np.atleast_1d(tags.get(338, 2)):
        values = values[..., :-1]  # a further channel that is no opacity
    return _Found(values, inverted=photometric == 0)


def _tiff_page(path: Path, page: int) -> tuple[TiffTags, int]:
    """The tags of a page (the last one if there is no such page), and how many pages there are."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about tags that are cut off
        header = file.read(8)
        if 43 in header[2:4]:  # a BigTIFF
            header += file.read(8)
        following, seen, wanted = TiffTags(header).next, set(), None
        while following and following not in seen:
            seen.add(following)
            file.seek(following)
            tags = TiffTags(header)
            tags.load(file)
            wanted = tags if wanted is None or len(seen) <= page + 1 else wanted
            following = tags.next
    if wanted is None:
        raise EOFError("no page")
    return wanted, len(seen)


def _by_opencv(path: Path, page: int = 0) -> Array:
    data = np.fromfile(path, np.uint8)
    if page == 0:  # older versions of OpenCV read the first page only
        values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    else:
        pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(page, page + 1))[1]
        values = pages[0] if pages else None
    if values is None:
        raise EOFError("OpenCV cannot decode it")
    if values.ndim == 3 and values.shape[2] > 2:
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]
    return values


def _by_pillow(path: Path, page: int, *, deep: bool = False) -> _Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own about size; ours is the stricter limit
        try:
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as picture:
                if picture.format == "PNG":
                    picture.verify()  # the checksums, which loading does not look at
        except Image.DecompressionBombError:
            _refuse(path, f"has more than the {MOST_PIXELS / 1e6:.0f} megapixels that are read")
        # An open file, not a path: some turned TIFFs come out garbled by Pillow's memory mapping.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as picture:
            _require_page(path, page, getattr(picture, "n_frames", 1))
            picture.seek(page)
            _require_pixels(path, *picture.size)
            if deep:  # Pillow would make bytes of it, without asking how deep the data are
                return _Found(_turned(_by_opencv(path), picture.getexif().get(274, 1)))
            picture.load()
            return _Found(_channels(ImageOps.exif_transpose(picture)))


def _dicom(path: Path, page: int) -> _Found:
    try:
        from pydicom import dcmread
        from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
    except ImportError:
        _refuse(path, "is a DICOM file: `pip install 'pydicom>=3'` and it can be read")
    data = dcmread(path, force=True)
    if "Rows" not in data:
        _refuse(path, "is a DICOM file without a picture, or no DICOM file")
    _require_page(path, page, int(data.get("NumberOfFrames", 1) or 1))
    _require_pixels(path, data.Columns, data.Rows)
    try:
        values = pixel_array(data, index=page)
    except RuntimeError as error:  # packed in a way that wants a further package
        _refuse(path, f"cannot be unpacked by pydicom: {' '.join(str(error).split())}")
    if data.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, data)
    if values.ndim == 3:
        return _Found(values)
    inverted = data.PhotometricInterpretation == "MONOCHROME1"
    values = apply_modality_lut(values, data)
    if "VOILUTSequence" in data:
        return _Found(apply_voi_lut(values, data), inverted=inverted)
    if "WindowCenter" not in data:
        return _Found(values, inverted=inverted)
    centre, width = (
        float(np.atleast_1d(data[name].value)[0]) for name in ("WindowCenter", "WindowWidth")
    )
    if data.get("VOILUTFunction", "LINEAR") == "LINEAR":  # DICOM PS3.3, C.11.2.1.2.1
        centre, width = centre - 0.5, width - 1
    window = centre - width / 2, centre + max(width, 1) / 2
    return _Found(values, window, inverted)


# Channels and bytes


def _channels(picture: Image.Image) -> Array:
    """A Pillow picture as an array: deep gray as it is, else bytes of RGB or RGBA."""
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture)
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def _turned(values: Array, orientation: int) -> Array:
    """Upright, by the eight values of the EXIF tag Orientation."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def _as_rgb(found: _Found, window: Window | None, path: Path) -> Array:
    values = found.values[..., None] if found.values.ndim == 2 else found.values
    channels = values.shape[2]
    if channels == 3 and values.dtype == np.uint8 and window is None:
        return np.ascontiguousarray(values)
    colours = channels - (channels in (2, 4))
    low, high = window or _range(values[..., :colours], path)
    whole = np.iinfo(values.dtype).max if np.issubdtype(values.dtype, np.integer) else 1
    image = np.empty((*values.shape[:2], 3), np.uint8)
    for top in range(0, len(values), ROWS_AT_ONCE):
        rows = values[top : top + ROWS_AT_ONCE].astype(np.float64)
        share = np.nan_to_num(np.clip((rows[..., :colours] - low) / (high - low), 0, 1))
        if found.inverted:
            share = 1 - share
        if channels > colours:
            opacity = rows[..., colours:] / whole
            share = share * opacity + 1 - opacity
        image[top : top + ROWS_AT_ONCE] = np.rint(255 * share)
    return image


def _range(values: Array, path: Path) -> Window:
    if values.dtype == np.uint8:
        return 0, 255
    finite = values if values.dtype.kind in "iub" else values[np.isfinite(values)]
    if not finite.size:
        _refuse(path, "holds no finite value: there is nothing to show")
    low, high = float(finite.min()), float(finite.max())
    if values.dtype.kind in "iu" and low >= 0:
        return 0, 2 ** next(bits for bits in (8, 12, 16, 32, 64) if high < 2**bits) - 1
    if low >= 0 and high <= 1:
        return 0, 1
    return low, high if high > low else low + 1


def _cropped(image: Array, size: int | tuple[int, int]) -> Array:
    height, width = (size, size) if np.ndim(size) == 0 else size
    h, w = image.shape[:2]
    scale = min(h / height, w / width)
    crop_h, crop_w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    region = image[top : top + crop_h, left : left + crop_w]
    method = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return cv2.resize(region, (width, height), interpolation=method)
