"""Images in every form a shop has them become upright opaque RGB; those that cannot be read say so in one line."""

from __future__ import annotations

import base64
import io
import os
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageFile, features
from support.photos import FewPixels, encoded

from moon2.images import FORMATS, ImageError, contact_sheet, open_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def test_path_bytes_and_opened_image_are_the_same(tmp_path: Path) -> None:
    image = Image.new("RGB", (5, 7), RED)
    path = tmp_path / "red.png"
    image.save(path)
    for form in (path, str(path), path.read_bytes(), image, Image.open(path)):
        opened = open_image(form)
        assert (opened.mode, opened.size, opened.getpixel((2, 3))) == ("RGB", (5, 7), RED)


def test_arrays_tensors_files_and_data_uris_are_the_same() -> None:
    image = Image.new("RGB", (5, 7), RED)
    array, file = np.asarray(image), encoded(image)
    uri = "data:image/png;base64," + base64.b64encode(file).decode()
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    shares = tensor / 255
    for source in (array, array / 255.0, tensor, shares, shares.bfloat16(), io.BytesIO(file), uri):
        opened = open_image(source)
        assert (opened.mode, opened.size, opened.getpixel((2, 3))) == ("RGB", (5, 7), RED)
    grey = np.full((7, 5), 128, np.uint8)
    for source in (grey, grey[..., None], torch.from_numpy(grey)[None]):
        assert open_image(source).getpixel((2, 3)) == (128, 128, 128)


def test_transparent_parts_become_white() -> None:
    cut_out = Image.new("RGBA", (2, 1), (*RED, 255))
    cut_out.putpixel((0, 0), (0, 0, 0, 0))
    for image in (encoded(cut_out), encoded(cut_out.quantize()), cut_out):
        opened = open_image(image)
        assert opened.getpixel((0, 0)) == WHITE
        assert opened.getpixel((1, 0)) == RED


def test_grey_with_transparency_becomes_white() -> None:
    assert open_image(encoded(Image.new("LA", (2, 2), (0, 0)))).getpixel((0, 0)) == WHITE


def png_of_sixteen_bits(values: np.ndarray, colour_type: int, key: tuple[int, ...]) -> bytes:
    """A PNG with a colour that counts as transparent; PIL writes none of 16 bits a channel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = ((b"IHDR", header), (b"tRNS", struct.pack(f">{len(key)}H", *key)), (b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in (*parts, (b"IEND", b"")))


@pytest.mark.parametrize("side", [16, 400])
def test_a_colour_that_counts_as_transparent_becomes_white(side: int) -> None:
    marked = Image.new("RGB", (side, side), (10, 20, 30))
    marked.paste(RED, (0, 0, side, side // 2))
    grey, bilevel = marked.convert("L"), Image.new("1", (side, side), 0)
    sixteen = np.full((side, side), 60_000, np.uint16)
    sixteen[side // 2 :] = 300
    key = {"RGB": (10, 20, 30), "L": grey.getpixel((0, side - 1)), "1": 0}
    files = [encoded(image, transparency=key[image.mode]) for image in (marked, grey, bilevel)]
    files.append(png_of_sixteen_bits(sixteen, 0, (300,)))
    files.append(png_of_sixteen_bits(np.stack([sixteen] * 3, axis=-1), 2, (300, 300, 300)))
    for file in files:
        for opened in (open_image(file), open_image(file, read_at=FewPixels(100))):
            assert opened.getpixel((0, opened.height - 1)) == WHITE
    assert open_image(files[0]).getpixel((0, 0)) == RED


def test_a_big_endian_tiff_of_sixteen_bits_keeps_its_shades() -> None:
    shades = np.array([[0, 32_768, 65_535]], ">u2")
    tags = ((256, 3), (257, 1), (258, 16), (259, 1), (262, 1), (273, 110), (277, 1), (278, 1))
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    file = b"MM\0*" + struct.pack(">IH", 8, len(tags)) + entries + b"\0" * 4 + shades.tobytes()
    assert [open_image(file).getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_a_tiff_of_floats_is_scaled_and_its_holes_are_black() -> None:
    heights = np.array([[0.0, 25.0, 50.0, np.nan, np.inf]], np.float32)
    opened = open_image(encoded(Image.fromarray(heights), "TIFF"))
    assert [opened.getpixel((x, 0))[0] for x in range(5)] == [0, 128, 255, 0, 0]


@pytest.mark.parametrize("path", ["pipe", "/dev/zero"])
def test_a_pipe_or_device_is_refused_and_not_waited_for(path: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="is a pipe or a device"):
        open_image(tmp_path / path)


def test_damaged_exif_costs_itself_alone() -> None:
    file = encoded(Image.new("RGB", (8, 4), RED), "JPEG")
    damaged = b"\xff\xe1\x00\x0eExif\0\0MM\x00*\xff\xff"
    assert open_image(file[:2] + damaged + file[2:]).size == (8, 4)
    unknown = Image.Exif()
    unknown[ExifTags.Base.Orientation] = 65_535
    assert open_image(encoded(Image.new("RGB", (8, 4), RED), "JPEG", exif=unknown)).size == (8, 4)


def test_orientation_flag_is_applied() -> None:
    sideways = Image.new("RGB", (40, 20), "blue")
    sideways.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    opened = open_image(encoded(sideways, "JPEG", exif=exif, quality=95))
    assert opened.size == (20, 40)
    red, _, blue = opened.getpixel((10, 5))
    assert red > 200 > 50 > blue


def test_cmyk_becomes_rgb() -> None:
    opened = open_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert opened.mode == "RGB"
    assert opened.getpixel((4, 4))[0] > 200
    assert opened.getpixel((4, 4))[2] < 60


def test_sixteen_bits_keep_their_shades() -> None:
    ramp = Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(1, 64))
    shades = np.asarray(open_image(encoded(ramp)))[0, :, 0].astype(int)
    assert np.abs(shades - np.linspace(0, 255, 64)).max() <= 2


def test_sixteen_bits_of_one_shade_keep_it() -> None:
    white = Image.fromarray(np.full((4, 4), 65535, np.uint16))
    assert open_image(encoded(white)).getpixel((1, 1)) == WHITE


def test_animation_gives_its_first_image() -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    opened = open_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert opened.getpixel((3, 3)) == RED


@pytest.mark.parametrize("format", [*FORMATS, "MPO"])
def test_formats_of_shops_and_phones_open_whatever_the_file_is_called(format: str, tmp_path: Path) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    more = {"save_all": True, "append_images": [Image.new("RGB", (16, 16))]} if format == "MPO" else {}
    path = tmp_path / "shirt.eps"
    path.write_bytes(encoded(Image.new("RGB", (16, 16), RED), format, **more))
    for form in (path, path.read_bytes()):
        assert np.abs(np.subtract(open_image(form).getpixel((8, 8)), RED)).max() <= 4


@pytest.mark.parametrize("format", ["EPS", "PPM", "TGA", "PCX", "DDS", "SGI", "ICO"])
def test_other_formats_are_refused_unread(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghostscript, ran = tmp_path / "gs", tmp_path / "ran"
    ghostscript.write_text(f"#!/bin/sh\ntouch {ran}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for anew, as in a fresh process
    image = tmp_path / "shirt.jpg"
    image.write_bytes(encoded(Image.new("RGB", (20, 20), RED), format))
    for form in (image, image.read_bytes()):
        with pytest.raises(ImageError, match="cannot be read as an image"):
            open_image(form)
    assert not ran.exists()


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_images_open_or_are_a_image_error(format: str) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    whole, draw = encoded(Image.effect_noise((24, 24), 60).convert("RGB"), format), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(min(len(damaged), 300))] = draw.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, that it makes the best of it
            try:
                assert open_image(bytes(damaged)).mode == "RGB"
            except ImageError as error:
                assert "\n" not in str(error)


def test_a_machine_without_memory_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(image: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", no_memory)
    with pytest.raises(MemoryError):
        open_image(encoded(Image.new("RGB", (4, 4)), "JPEG"))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"no image at all", "cannot be read as an image"),
        (b"", "cannot be read as an image"),
        (encoded(Image.new("RGB", (64, 64), RED), "JPEG")[:300], "cannot be read as an image"),
        ("nowhere.jpg", "there is no such file"),
        ("https://example.com/a.jpg", "is a URL"),
        (".", "is a folder"),
        (17, "cannot open a int as an image; give a path, bytes"),
        (np.zeros((2, 3, 4, 3), np.uint8), "an array of shape (2, 3, 4, 3) is no image"),
        (np.full((4, 4, 3), 2.5), "a float array must hold 0 to 1"),
        (np.zeros((4, 4, 3), np.int64), "an array of int64 is no image"),
        (Image.new("RGB", (0, 5)), "is empty, 0 × 5 pixels"),
        ("data:image/png,rawtext", "a data URI must look like"),
        ("data:image/png;base64,%%%", "not valid base64"),
    ],
    ids=[
        "text",
        "empty",
        "cut",
        "missing",
        "URL",
        "folder",
        "number",
        "batch",
        "range",
        "dtype",
        "no pixels",
        "plain URI",
        "base64",
    ],
)
def test_unreadable_image_says_which_and_why(image: Any, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        open_image(image, "product '17': image 1")
    message = str(caught.value)
    assert message.startswith("product '17': image 1")
    assert reason in message
    assert "\n" not in message


def test_opened_image_cut_short_is_a_image_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(Image.effect_noise((64, 64), 80), "JPEG")[:900])
    with Image.open(path) as lazy, pytest.raises(ImageError, match="cannot be read"):
        open_image(lazy, "image")


def test_huge_image_is_refused_before_it_is_decoded() -> None:
    header = encoded(Image.new("1", (9000, 9000)))
    with pytest.raises(ImageError, match="9000 × 9000 pixels are more than 64000000"):
        open_image(header)
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    with pytest.raises(ImageError, match=r"^image: has far more than 64000000 pixels; scale it down$"):
        open_image(bomb)


def test_a_contact_sheet_shows_every_image_in_its_own_square() -> None:
    colours = [RED, (0, 128, 0), (0, 0, 255)]
    sheet = contact_sheet([Image.new("RGB", (40, 20), colour) for colour in colours], columns=2, side=20)
    assert sheet.size == (2 * 24, 2 * 24)
    assert [sheet.getpixel(middle) for middle in ((12, 12), (36, 12), (12, 36), (36, 36))] == [*colours, WHITE]
    assert sheet.getpixel((12, 3)) == WHITE, "a wide image stands in the middle of its square"
    assert contact_sheet([], columns=3, side=20).size == (72, 24)
