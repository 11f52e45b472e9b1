"""Opening a product's picture, whatever it comes as, into one form: RGB, upright, opaque.

Shops keep pictures as paths, as bytes in a table, or as PIL images; with transparency, with an orientation flag, in
CMYK. A picture that cannot be read raises `PictureError`, so that a reader of many can put that one aside. Files are
other people's: only the formats of `FORMATS` are tried, by what the file holds and not by its name.
"""

from __future__ import annotations

import io
import warnings
from os import PathLike, fspath
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 64_000_000
# What shops and phones use (a phone's MPO opens as JPEG). Pillow knows forty more, among them EPS, which it hands to
# Ghostscript, an interpreter of programs. JPEG and PNG stand first, so that for them no further plug-in is loaded.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


class PictureError(ValueError):
    """A picture cannot be used; the message says which and why, in one line."""


def open_picture(picture: Any, where: str = "picture") -> Image.Image:
    """Reads a path, the bytes of an encoded file, or a PIL image, as an upright opaque RGB image.

    Args:
        picture: str or PathLike (a file on this machine; URLs are refused), bytes, or PIL image; a file or bytes in
            one of `FORMATS`.
        where: how the error names the picture, e.g. "product '17': image 0".

    Raises:
        PictureError: missing, a URL, not a picture, of another format, cut short, empty, or of more than 64 million
            pixels.
    """
    if isinstance(picture, (str, PathLike)):
        path = fspath(picture)
        if path.startswith(("http://", "https://")):
            raise PictureError(f"{where}: {path} is a URL; download it first (moon2 import does with --fetch)")
        source: Any = path
        where = f"{where} ({path})"
    elif isinstance(picture, (bytes, bytearray, memoryview)):
        source = io.BytesIO(picture)
    elif isinstance(picture, Image.Image):
        source = None
    else:
        raise PictureError(f"{where}: expected a path, bytes or PIL image, got {type(picture).__name__}")
    try:
        if source is None:
            return _upright_rgb(picture)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.preinit()  # without it, opening by the name *.png would load every plug-in to look for JPEG
            with Image.open(source, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} × {image.height}"
                    raise PictureError(f"{where}: {size} pixels are more than {MAX_PIXELS}; scale it down")
                return _upright_rgb(image)
    except FileNotFoundError:
        raise PictureError(f"{where}: there is no such file") from None
    except IsADirectoryError:
        raise PictureError(f"{where}: is a folder, not a picture") from None
    except (PictureError, MemoryError):  # a machine without memory says nothing about the picture
        raise
    except UnidentifiedImageError:  # its own message ends in the memory address of what was read
        raise PictureError(f"{where}: cannot be read as a picture (of no known format)") from None
    except Exception as error:  # a damaged file takes decoders anywhere: libavif ends in RuntimeError, EXIF in others
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise PictureError(f"{where}: cannot be read as a picture ({reason})") from None


def _upright_rgb(image: Image.Image) -> Image.Image:
    # exif_transpose decodes the pixels, and fails here rather than later when the file is cut short.
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("RGBA", "LA", "PA") or (upright.mode == "P" and "transparency" in upright.info):
        # Shops show cut-out products on white; black, PIL's own choice, would change what the picture says.
        background = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(background, upright.convert("RGBA")).convert("RGB")
    if upright.mode in ("I", "I;16", "F"):
        extrema: Any = (0, 65535) if upright.mode == "I;16" else upright.getextrema()
        low, high = (float(value) for value in extrema)
        scale = 255.0 / max(high - low, 1e-6)
        return upright.point(lambda value: (value - low) * scale).convert("L").convert("RGB")
    return upright.convert("RGB")
