"""A large image comes at the size at which it is read, looks as if opened whole, and takes little memory."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.photos import FewPixels, encoded, synthetic_photo

from moon2.images import ImageError, open_image

RED = (255, 0, 0)
READ_AT = FewPixels()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Forms and texture of every size, and grain, on odd sides."""
    return synthetic_photo(701, 563)


def differs_by(image: Image.Image, other: Image.Image) -> float:
    """The mean difference of two images of one size, in shades of 255."""
    assert image.size == other.size
    return float(np.abs(np.asarray(image, int) - np.asarray(other, int)).mean())


@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_large_image_comes_at_its_reading_size(format: str, photo: Image.Image) -> None:
    file = encoded(photo, format, **({"quality": 92} if format in ("JPEG", "MPO", "WEBP") else {}))
    whole = open_image(file).resize(READ_AT(*photo.size), READ_AT.resample)
    # All but JPEG are equal: they are decoded whole, then scaled as they always were.
    assert differs_by(open_image(file, read_at=READ_AT), whole) <= (0.7 if format in ("JPEG", "MPO") else 0)


def test_the_last_pixels_of_a_jpeg_stand_at_its_edge() -> None:
    """801 columns are 100 blocks and one column of another, which libjpeg gives whole."""
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 801).astype(np.uint8), (801, 1)))
    file, read_at = encoded(ramp, "JPEG", quality=95), FewPixels(3600)
    whole, small = (np.asarray(image, int) for image in (open_image(file), open_image(file, read_at=read_at)))
    wanted = np.asarray(Image.fromarray(whole.astype(np.uint8)).resize((60, 60), read_at.resample), int)
    assert np.abs(small - wanted)[:, :-1].max() <= 1


def test_what_is_not_clearly_larger_comes_as_it_is() -> None:
    for size in ((312, 312), (100, 60)):
        for format in ("JPEG", "PNG"):
            assert open_image(encoded(Image.new("RGB", size), format), read_at=READ_AT).size == size
    assert open_image(encoded(Image.new("RGB", (320, 320))), read_at=READ_AT).size == READ_AT(320, 320)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_a_large_image_is_turned_upright(format: str, orientation: int, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(photo, format, exif=exif)
    upright = open_image(file)
    assert upright.size == (photo.size[::-1] if orientation >= 5 else photo.size)
    small = open_image(file, read_at=READ_AT)
    assert differs_by(small, upright.resize(READ_AT(*upright.size), READ_AT.resample)) < 2


def test_every_kind_of_large_image_looks_as_it_did(photo: Image.Image) -> None:
    cut_out = photo.convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (0, 0, 350, 563))
    grey_cut_out = cut_out.convert("LA")
    deep = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    kinds = {
        "CMYK JPEG": encoded(photo.convert("CMYK"), "JPEG"),
        "grey JPEG": encoded(photo.convert("L"), "JPEG"),
        "RGBA": encoded(cut_out),
        "RGBA WebP": encoded(cut_out, "WEBP"),
        "LA": encoded(grey_cut_out),
        "palette": encoded(photo.quantize(64)),
        "palette with transparency": encoded(cut_out.quantize(64)),
        "black and white": encoded(photo.convert("1")),
        "16 bits": encoded(deep),
        "opened": photo,
        "array": np.asarray(photo),
        "tensor": torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1),
        "file": io.BytesIO(encoded(photo)),
    }
    for kind, source in kinds.items():
        whole = open_image(source)
        small = open_image(source, read_at=READ_AT)
        assert small.mode == "RGB"
        assert differs_by(small, whole.resize(READ_AT(*whole.size), READ_AT.resample)) < 1, kind
    assert photo.size == (701, 563), "what was opened by the caller does not change"


def test_a_ribbon_is_scaled_though_one_side_is_short() -> None:
    class Ribbon(FewPixels):
        def __call__(self, width: int, height: int) -> tuple[int, int]:
            return 500, 20

    for format in ("PNG", "JPEG"):
        file = encoded(Image.new("RGB", (9_000, 16), RED), format)
        assert open_image(file, read_at=Ribbon()).size == (500, 20)


@pytest.mark.parametrize(
    ("format", "mode", "most"), [("JPEG", "RGB", 10), ("PNG", "RGB", 60), ("PNG", "RGBA", 130), ("WEBP", "RGB", 220)]
)
def test_eight_large_images_take_the_memory_of_one(format: str, mode: str, most: int, tmp_path: Path) -> None:
    """`most` is in megabytes; 12 million pixels are 36 in RGB and 48 in RGBA."""
    path = tmp_path / "large"
    band = Image.linear_gradient("L").resize((4000, 3000))
    path.write_bytes(encoded(Image.merge(mode, [band] * len(mode)), format))
    code = f"""
        import sys
        from pathlib import Path
        from PIL import Image
        from moon2.images import open_image
        def peak(): return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
        def read_at(width, height): return 144, 108
        read_at.resample = Image.Resampling.BICUBIC
        before = peak()
        images = [open_image({str(path)!r}, read_at=read_at) for _ in range(int(sys.argv[1]))]
        print(peak() - before)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code)]
    one, eight = (int(subprocess.check_output([*arguments, number])) / 1000 for number in ("1", "8"))
    assert one <= most and eight <= 1.3 * one + 0.5, f"one {one} MB, eight {eight} MB"


def test_a_large_image_cut_short_is_an_image_error(photo: Image.Image) -> None:
    for format in ("JPEG", "PNG", "WEBP"):
        file = encoded(photo, format)
        with pytest.raises(ImageError, match="cannot be read"):
            open_image(file[: len(file) // 2], read_at=READ_AT)
