"""Large images are stored as small copies; small ones stay the files they are."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.importing.small_copies import small_copy
from moon2.catalog.schema import CatalogError
from moon2.images import ImageError

Encode = Callable[..., bytes]


def opened(copy: bytes) -> Image.Image:
    return Image.open(io.BytesIO(copy))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("size", [(1200, 900), (90, 120), (400, 3)])
def test_a_large_image_becomes_a_jpeg_that_fits(format: str, size: tuple[int, int], image_bytes: Encode) -> None:
    copy = opened(small_copy(image_bytes("navy", format, size), "image", 80))
    assert (copy.format, max(copy.size)) == ("JPEG", 80)
    assert copy.size == (round(size[0] * 80 / max(size)), max(1, round(size[1] * 80 / max(size))))
    assert max(abs(a - b) for a, b in zip(copy.getpixel((5, 0)), (0, 0, 128), strict=True)) <= 3


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_small_image_stays_byte_for_byte(format: str, image_bytes: Encode, tmp_path: Path) -> None:
    file = image_bytes("navy", format, (80, 20))
    (tmp_path / "image").write_bytes(file)
    assert small_copy(file, "image", 80) == small_copy(tmp_path / "image", "image", 80) == file


def test_a_copy_is_upright_and_on_white() -> None:
    exif, turned, cut_out = Image.Exif(), io.BytesIO(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(turned, "JPEG", exif=exif)
    Image.new("RGBA", (200, 100), (255, 0, 0, 0)).save(cut_out, "PNG")
    assert opened(small_copy(turned.getvalue(), "image", 80)).size == (40, 80)
    assert opened(small_copy(cut_out.getvalue(), "image", 80)).getpixel((0, 0)) == (255, 255, 255)


def test_a_damaged_image_is_an_image_error(image_bytes: Encode) -> None:
    with pytest.raises(ImageError, match="product 7: cannot be read"):
        small_copy(image_bytes("navy", "JPEG", (300, 300))[:700], "product 7", 80)


def test_an_import_stores_small_copies(tmp_path: Path, image_bytes: Encode) -> None:
    for name, size in (("large", (900, 600)), ("small", (60, 40))):
        (tmp_path / f"{name}.jpg").write_bytes(image_bytes("navy", "JPEG", size))
    (tmp_path / "shop.csv").write_text("id,title,image\n1,Shirt,large.jpg\n2,Lamp,small.jpg\n")
    source = str(tmp_path / "shop.csv")
    catalog = import_catalog(source, layout="csv", out=tmp_path / "out", max_side=80).catalog
    large, small = (catalog.product(id).images[0] for id in ("1", "2"))
    assert isinstance(large, bytes) and opened(large).size == (80, 53)
    assert small == (tmp_path / "small.jpg").read_bytes()
    with pytest.raises(CatalogError, match="--max_side stores copies, --refer leaves images outside"):
        import_catalog(source, layout="csv", out=tmp_path / "other", max_side=80, refer=True)
    with pytest.raises(CatalogError, match="give 16 pixels or more"):
        import_catalog(source, layout="csv", out=tmp_path / "other", max_side=-1)
