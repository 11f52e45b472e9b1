"""Opening an image, whatever it comes as: a path, bytes, an array, … become one upright, opaque RGB image.

Shops keep images with transparency, with an orientation flag, in CMYK. Files are other people's: only the formats of
`FORMATS` are tried, by what the file holds and not by its name. An image that cannot be read raises `ImageError`, so
that a reader of many can set that one aside.

A photo of a phone has 12 million pixels and a model reads a fiftieth of them. Who knows the reading size gives it, and
a large image is scaled to it while it is decoded, so a batch never holds more than one image at its full size.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import os
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from moon2.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 64_000_000
# An image is scaled while it is opened if it has so many times the pixels of its reading size. Below, there is little
# to save, and a crop still finds all its pixels.
CLEARLY_LARGER = 4
# libjpeg decodes at 1/2, 1/4 or 1/8. So many times the reading size's sides are left to the last, exact scaling.
DRAFT_MARGIN = 1.5
# What shops and phones use (a phone's MPO opens as JPEG). Pillow knows forty more, among them EPS, which it hands to
# Ghostscript, an interpreter of programs. JPEG and PNG stand first, so that for them no further plug-in is loaded.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# What each orientation of EXIF asks for.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

ImageSource: TypeAlias = "str | PathLike[str] | bytes | bytearray | Image.Image | NDArray[Any] | Tensor | BinaryIO"
"""What `open_image` reads: a path, a data URI, the bytes of an image file, a file-like object that holds them, a PIL
image, a numpy array [height, width] or [height, width, 3 or 4], or a torch tensor [3, height, width]."""


class ReadingSize(Protocol):
    """The size at which a model reads an image. Its `repr` names all that decides it beside the image's own size."""

    @property
    def resample(self) -> Image.Resampling:
        """By which filter it is scaled."""

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels → width and height as they are read. A size that was given is given again."""


@dataclass(frozen=True)
class LongestSide:
    """A reading size for what shows or compares images: no side longer than `side` pixels, the shape kept."""

    side: int
    resample: Image.Resampling = Image.Resampling.LANCZOS

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels, of the image and as it is read."""
        longest = max(width, height)
        if longest <= self.side:
            return width, height
        return max(1, round(width * self.side / longest)), max(1, round(height * self.side / longest))


class NotedSize:
    """A reading size that notes what it was asked.

    Attributes:
        original: width and height of the image that was opened last, upright.
        reading: width and height at which it is read.
    """

    def __init__(self, read_at: ReadingSize) -> None:
        self.read_at = read_at
        self.resample = read_at.resample
        self.original = self.reading = (0, 0)

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """As the reading size that it was made of."""
        self.original, self.reading = (width, height), self.read_at(width, height)
        return self.reading


class ImageOpener(Protocol):
    """`open_image`, or what stands in its place, such as a cache."""

    def __call__(self, source: ImageSource, where: str = ..., read_at: ReadingSize | None = ...) -> Image.Image:
        """See `open_image`."""


class ImageError(UserError):
    """An image cannot be used; the message says which and why."""


def open_image(source: ImageSource, where: str = "image", read_at: ReadingSize | None = None) -> Image.Image:
    """Reads an image as upright opaque RGB.

    Args:
        source: see `ImageSource`. Arrays and tensors hold 0–255 as uint8 or 0–1 as floats. URLs are refused: nothing is
            downloaded here.
        where: how the error names the image, such as "product '17': image 1".
        read_at: the size at which it will be read. An image that `is_clearly_larger` comes scaled to exactly that size;
            any other, and any where nothing is given, comes at its own.

    Raises:
        ImageError: missing, a URL, a pipe or device, of another format or type, cut short, empty, or of more than 64
            million pixels.
    """
    if isinstance(source, Image.Image):
        return _decode(source, where, read_at)
    if isinstance(source, str) and source.startswith("data:"):
        return _open_file(io.BytesIO(_data_uri_bytes(source, where)), where, read_at)
    if isinstance(source, (str, PathLike)):
        path = os.fsdecode(source)
        if path.startswith(("http://", "https://")):
            raise ImageError(f"{where}: {path:.200} is a URL; download it first (moon2 import does with --fetch)")
        return _open_file(path, f"{where} ({path:.200})", read_at)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _open_file(io.BytesIO(source), where, read_at)
    if is_image_array(source):
        return _from_array(source, where, read_at)
    if hasattr(source, "read"):
        return _open_file(source, where, read_at)
    raise ImageError(
        f"{where}: cannot open a {type(source).__name__} as an image; give a path, bytes, a PIL image or an array"
    )


def is_image_array(value: object) -> TypeGuard[NDArray[Any] | Tensor]:
    """Whether it is a numpy array or a torch tensor; torch need not be installed."""
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "numpy"))


def is_clearly_larger(size: tuple[int, int], reading: tuple[int, int]) -> bool:
    """Whether an image of one width and height has at least four times the pixels that are read of it."""
    return size[0] * size[1] >= CLEARLY_LARGER * reading[0] * reading[1]


def _open_file(file: Any, where: str, read_at: ReadingSize | None) -> Image.Image:
    try:
        if isinstance(file, str) and not _is_ordinary(file):
            raise ImageError(f"{where}: is a pipe or a device, which may never end; give an ordinary file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.preinit()  # without it, opening by the name *.png would load every plug-in to look for JPEG
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} × {image.height}"
                    raise ImageError(f"{where}: {size} pixels are more than {MAX_PIXELS}; scale it down")
                if read_at is not None and isinstance(image, JpegImageFile):
                    return _decode(_scaled_jpeg(image, read_at), where)
                return _decode(image, where, read_at)
    except FileNotFoundError:
        raise ImageError(f"{where}: there is no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{where}: is a folder, not an image") from None
    except (ImageError, MemoryError):  # a machine without memory says nothing about the image
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, above this one
        raise ImageError(f"{where}: has far more than {MAX_PIXELS} pixels; scale it down") from None
    except UnidentifiedImageError:  # its own message ends in the memory address of what was read
        raise ImageError(f"{where}: cannot be read as an image (of no known format)") from None
    except Exception as error:  # a damaged file takes decoders anywhere: libavif ends in RuntimeError, EXIF in others
        raise _unreadable(error, where) from None


def _scaled_jpeg(image: JpegImageFile, read_at: ReadingSize) -> Image.Image:
    """At its reading size, not yet upright, decoded at no more than it takes; or as it is, if that is not far off."""
    is_turned = _turn(image) in (5, 6, 7, 8)
    upright_size = image.size[::-1] if is_turned else image.size
    reading = read_at(*upright_size)
    if not is_clearly_larger(upright_size, reading):
        return image
    width, height = reading[::-1] if is_turned else reading
    drafted = image.draft(None, (math.ceil(DRAFT_MARGIN * width), math.ceil(DRAFT_MARGIN * height)))
    # The last row of blocks may be partly outside the image; the box says where the image ends.
    return image.resize((width, height), read_at.resample, drafted and drafted[1])


def _decode(image: Image.Image, where: str, read_at: ReadingSize | None = None) -> Image.Image:
    if not all(image.size):
        raise ImageError(f"{where}: is empty, {image.width} × {image.height} pixels; give another image")
    try:
        image.load()  # fails here rather than later when the file is cut short
        turn = _turn(image)
        upright = _eight_bits(image if turn is None else image.transpose(TURNS[turn]))
        if read_at is not None and is_clearly_larger(upright.size, reading := read_at(*upright.size)):
            if upright.has_transparency_data:
                upright = upright if upright.mode in ("RGBA", "LA") else _with_alpha(upright)
            elif upright.mode not in ("RGB", "L"):  # palettes have no colour between two of theirs
                upright = _opaque(upright)
            upright = upright.resize(reading, read_at.resample)
        return _opaque(upright)
    except MemoryError:
        raise
    except Exception as error:  # as for files: decoders raise anything
        raise _unreadable(error, where) from None


def _turn(image: Image.Image) -> int | None:
    """The orientation that EXIF states, a key of `TURNS`; None where it is upright, or what is stated is damaged."""
    try:
        stated = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF costs itself, not the image; its reader raises anything
        return None
    return stated if stated in TURNS else None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Numbers of more bits become L, or LA where one of them stands for transparency; other images stay as they are.

    16 bits are scaled by their own range, other numbers so that the least is black and the largest white.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float32)
    finite = np.isfinite(values)
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (0.0, 0.0)
    if not high and finite.any():
        low, high = float(values.min(where=finite, initial=np.inf)), float(values.max(where=finite, initial=-np.inf))
    scaled = (values - low) * (255.0 / max(high - low, 1e-6))
    grey = Image.fromarray(np.rint(np.where(finite, scaled, 0.0)).clip(0, 255).astype(np.uint8))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))


def _opaque(image: Image.Image) -> Image.Image:
    """A copy in RGB."""
    image = _eight_bits(image)
    if image.has_transparency_data:
        # Shops show cut-out products on white; black, PIL's own choice, would change what the image says.
        background = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(background, _with_alpha(image)).convert("RGB")
    return image.convert("RGB")


def _with_alpha(image: Image.Image) -> Image.Image:
    """RGBA of an image that has transparency in any form."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)  # PIL scales a PNG of 16 bits, but not its key
    return image.convert("RGBA")


def _is_ordinary(path: str) -> bool:
    """Whether reading it ends; folders and what is missing are told by opening them."""
    mode = os.stat(path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _from_array(source: NDArray[Any] | Tensor, where: str, read_at: ReadingSize | None) -> Image.Image:
    if isinstance(source, np.ndarray):
        array = source
    else:  # a torch tensor has its channels first
        tensor = source.detach().cpu()
        array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy has no bfloat16
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)) or not array.size:
        raise ImageError(
            f"{where}: an array of shape {tuple(source.shape)} is no image; give numpy [height, width, 3] or a torch "
            f"tensor [3, height, width]"
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError(f"{where}: a float array must hold 0 to 1; divide by 255, or give uint8")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"{where}: an array of {array.dtype} is no image; give uint8, or floats from 0 to 1")
    squeezed = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    return _decode(Image.fromarray(np.ascontiguousarray(squeezed)), where, read_at)


def _data_uri_bytes(uri: str, where: str) -> bytes:
    header, comma, data = uri.partition(",")
    if not comma or not header.endswith(";base64"):
        raise ImageError(f"{where}: a data URI must look like data:image/jpeg;base64,…")
    try:
        return decode_base64(data)
    except binascii.Error:
        raise ImageError(f"{where}: the data URI is not valid base64") from None


def decode_base64(text: str) -> bytes:
    """The bytes of a text that may be broken into lines, as in mail, and may lack the "=" at its end.

    Raises:
        binascii.Error: it is no base64.
    """
    data = "".join(text.split())
    return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)


def _unreadable(error: Exception, where: str) -> ImageError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ImageError(f"{where}: cannot be read as an image ({reason})")


def contact_sheet(images: Sequence[Image.Image], columns: int, side: int) -> Image.Image:
    """Images in rows on white, each scaled to fit a square.

    Args:
        images: RGB, in the order of reading.
        columns: of the sheet.
        side: of a square in pixels; 4 pixels stand between two of them.

    Returns:
        RGB; one empty row where there are no images.
    """
    cell = side + 4
    sheet = Image.new("RGB", (columns * cell, max(1, -(-len(images) // columns)) * cell), "white")
    for number, image in enumerate(images):
        small = ImageOps.contain(image, (side, side))
        left, top = number % columns * cell + 2, number // columns * cell + 2
        sheet.paste(small, (left + (side - small.width) // 2, top + (side - small.height) // 2))
    return sheet
