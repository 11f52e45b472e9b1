"""Images of a row: addresses, paths and bytes, in the forms of shops' exports."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.image_cells import BadImage, read_images
from moon2.images import ImageError, open_image


def images(folder: Path, *cells: object, **options: Any) -> list[object]:
    row = {str(i): cell for i, cell in enumerate(cells)}
    return list(read_images(row, ColumnMapping(id="id", images=tuple(row), **options), folder))


def test_images_are_bytes_paths_urls_or_lists_of_them(tmp_path: Path) -> None:
    (tmp_path / "a, b;c.jpg").write_bytes(b"")
    a, b, c = (tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg"))
    assert images(tmp_path, "a.jpg", b"bytes") == [a, b"bytes"]
    assert images(tmp_path, "a.jpg|b.jpg; c.jpg") == [a, b, c]
    assert images(tmp_path, "a.jpg, b.jpg,c.jpg") == [a, b, c]
    assert images(tmp_path, "a, b;c.jpg") == [tmp_path / "a, b;c.jpg"]
    assert images(tmp_path, '["a.jpg", "b.jpg"]', "", "b.jpg") == [a, b]
    assert images(tmp_path, "['a.jpg', 'b.jpg']", "[['c.jpg']]") == [a, b, c]
    assert images(tmp_path, [{"bytes": b"first", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]) == [
        b"first",
        b,
    ]
    assert images(tmp_path, "x" * 300) == [tmp_path / ("x" * 300)]  # longer than a file's name can be
    assert images(tmp_path, "/elsewhere/a.jpg") == [Path("/elsewhere/a.jpg")]
    assert images(tmp_path, "data:image/png;base64," + base64.b64encode(b"png").decode()) == [b"png"]


@pytest.mark.parametrize(
    "cell",
    [
        *[
            "https://x/1.jpg,https://x/2.jpg?a=1,2",
            "https://x/1.jpg | https://x/2.jpg?a=1,2;",
            "//x/1.jpg //x/2.jpg?a=1,2",
        ],
        [{"id": 1, "src": "https://x/1.jpg"}, {"id": 2, "url": "https://x/2.jpg?a=1,2"}],
        [
            {"thumb": "https://x/2t.jpg", "large": "https://x/2.jpg?a=1,2", "hi_res": None, "variant": "PT01"},
            {"thumb": "https://x/1t.jpg", "large": "https://x/1l.jpg", "hi_res": "https://x/1.jpg", "variant": "MAIN"},
        ],
        {
            "hi_res": ["https://x/1.jpg", None],
            "large": ["https://x/1l.jpg", "https://x/2.jpg?a=1,2"],
            "thumb": ["t", "t"],
        },
        "[{'large': {'url': 'https://x/1.jpg'}}, {'link': 'https://x/2.jpg?a=1,2'}]",
    ],
    ids=str,
)
def test_addresses_are_read_once_each_the_largest_first(tmp_path: Path, cell: object) -> None:
    urls = [str(image).removeprefix("https:") for image in images(tmp_path, cell)]
    assert urls == ["//x/1.jpg", "//x/2.jpg?a=1,2"]


@pytest.mark.parametrize(
    "cell", ["no_selection", "NULL", "-", "nan", {"alt": "red"}, "ftp://x/1.jpg", "data:image/png,x"]
)
def test_what_names_no_image_is_said(tmp_path: Path, cell: object) -> None:
    [image] = images(tmp_path, cell)
    assert isinstance(image, BadImage)
    assert images(tmp_path, "", None, []) == []


def test_a_relative_path_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "in.jpg").write_bytes(b"")
    (tmp_path / "out.jpg").write_bytes(b"")
    (folder / "link.jpg").symlink_to(tmp_path / "out.jpg")
    (folder / "inner.jpg").symlink_to(folder / "in.jpg")
    assert images(folder, "../shop/in.jpg", "inner.jpg") == [folder / "../shop/in.jpg", folder / "inner.jpg"]
    for name in ("../out.jpg", "link.jpg", "../nowhere.jpg", "..\\out.jpg"):
        [image] = images(folder, name)
        assert isinstance(image, BadImage) and image.reason == "image_outside"
        assert "allow it with --columns.outside_images" in image.message
    assert images(folder, "../out.jpg", outside_images=True) == [folder / "../out.jpg"]
    assert images(folder, "../out.jpg", image_root=tmp_path / "shop" / "..") != []


def test_paths_of_windows_and_from_the_folder_of_images_are_found(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/red.jpg").write_bytes(b"")
    assert images(tmp_path, "r\\red.jpg") == images(tmp_path, "/r/red.jpg") == [tmp_path / "r/red.jpg"]


def test_a_data_uri_may_be_broken_into_lines_and_lack_its_padding(tmp_path: Path) -> None:
    data = base64.encodebytes(b"\xff" * 100).decode().rstrip("=\n")
    assert "\n" in data and len(data.replace("\n", "")) % 4
    assert images(tmp_path, f"data:image/png;base64,{data}") == [b"\xff" * 100]
    with pytest.raises(ImageError, match="of no known format"):  # it is decoded, and no image
        open_image(f"data:image/png;base64,{data}", "photo")


def test_a_long_cell_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as refused:
        open_image(tmp_path / ("x" * 10_000), "photo")
    assert len(str(refused.value)) < 400
