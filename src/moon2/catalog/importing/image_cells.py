"""The images of a row: bytes, addresses and paths, in whatever form a table gives them."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from moon2.catalog.importing.cells import as_list, flat, is_empty, to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.schema import is_url
from moon2.images import decode_base64


class BadImage(NamedTuple):
    """A cell that names no image that can be read; as in `Reject`."""

    reason: str
    message: str


ImageCell: TypeAlias = bytes | str | Path | BadImage
"""Bytes, a URL, a path, or what is wrong."""

IMAGE_REASONS = frozenset(("no_image", "unreadable_image", "image_outside", "image_not_fetched"))
"""The reasons in `Reject` for which an image is left out."""

# Of a structure, the first of these that it holds is its image: the largest before smaller ones.
_KEYS = (
    "bytes hires hiresurl zoom original originalsrc full fullsize fullurl xlarge xl large largeurl big max src url "
    "imageurl imagelink link href image path file filename filepath uri medium md small sm thumb thumbnail thumburl"
)
IMAGE_KEYS = tuple(_KEYS.split())
# What Magento and others write for no image.
_NO_IMAGE = frozenset(("no_selection", "noimage", "no image", "no-image"))
_BETWEEN_URLS = re.compile(r"[|;,\s]\s*(?=(?:https?:)?//)", re.IGNORECASE)
_BETWEEN_PATHS = re.compile(r"\s*[|;\n]\s*|(?:(?<=\.\w{3})|(?<=\.\w{4})),\s*")
_OTHER_SCHEME = re.compile(r"(?!data:|https?:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def read_images(row: Mapping[str, Any], mapping: ColumnMapping, folder: Path) -> list[ImageCell]:
    """The images of one row by a resolved mapping, each once, unopened: bytes, URLs as text, and paths under `folder`.

    A cell that says in a word that there is no image, such as no_selection or NULL, is a `BadImage`; an empty cell is
    nothing.
    """
    root = folder if mapping.image_root is None else Path(mapping.image_root)
    images = [
        image for column in mapping.images or () for image in _images(row.get(column), root, mapping.outside_images)
    ]
    return list(dict.fromkeys(images))


def _images(cell: Any, root: Path, outside: bool) -> Iterator[ImageCell]:
    if isinstance(cell, str) and cell.strip() and (is_empty(cell) or cell.strip().casefold() in _NO_IMAGE):
        yield BadImage("no_image", f"{cell.strip()!r} stands for no image")
        return
    values = flat(as_list(cell))
    # Amazon calls the first image of a product its main one, but does not always list it first.
    values.sort(key=lambda value: isinstance(value, Mapping) and value.get("variant", "MAIN") != "MAIN")
    for value in values:
        for item in _of_structure(value) if isinstance(value, Mapping) else [value]:
            if isinstance(item, BadImage):
                yield item
            elif isinstance(item, (bytes, bytearray)):
                yield bytes(item)
            else:
                yield from _addresses(to_text(item).strip(), root, outside)


def _of_structure(structure: Mapping[Any, Any]) -> Sequence[Any]:
    """The image of a structure; of a structure of lists, such as {large: […], hi_res: […]}, its images."""
    by_name = {re.sub(r"[\W_]", "", str(key)).casefold(): value for key, value in structure.items()}
    held = [by_name[key] for key in IMAGE_KEYS if key in by_name]
    if lists := [value for value in held if isinstance(value, list)]:
        of_image = [list(filter(_is_image, sizes)) for sizes in zip_longest(*lists)]
        return [sizes[0] for sizes in of_image if sizes]
    for value in held:
        if isinstance(value, Mapping):
            return _of_structure(value)
        if _is_image(value):
            return [value]
    names = ", ".join(map(str, structure))
    return [BadImage("no_image", f"a structure of {names:.100} holds no address, path or bytes")]


def _is_image(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray)) or (isinstance(value, (str, Path)) and not is_empty(str(value)))


def _addresses(text: str, root: Path, outside: bool) -> Iterator[ImageCell]:
    """The addresses or paths of one text."""
    if text.startswith("data:"):
        yield _of_data_uri(text)
    elif is_url(text) or text.startswith("//"):
        for part in _BETWEEN_URLS.split(text):
            url = part.strip(" \t\r\n,;|")
            yield url if is_url(url) else f"https:{url}"
    elif not _OTHER_SCHEME.match(text) and _is_file(root / text):
        yield _inside(text, root, outside)
    else:
        for part in filter(None, _BETWEEN_PATHS.split(text)):
            if is_url(part):
                yield part
            elif scheme := _OTHER_SCHEME.match(part):
                yield BadImage("unreadable_image", f"{part:.200} cannot be read over {scheme[0]}; give a path or http")
            else:
                yield _inside(part, root, outside)


def _inside(name: str, root: Path, outside: bool) -> Path | BadImage:
    """The path of an image; a relative one that leaves the folder of the images is refused.

    "pics\\red.jpg" of Windows and "/r/e/red.jpg" of Magento, which begins at the folder of images, are found too.
    """
    path = root / name
    if not _is_file(path):
        others = (root / name.replace("\\", "/"), root / name.lstrip("/"), root / name.replace("\\", "/").lstrip("/"))
        path = next(filter(_is_file, others), path)
    try:
        if outside or Path(name).is_absolute() or path.resolve().is_relative_to(root.resolve()):
            return path
    except (OSError, RuntimeError, ValueError):  # too long, a circle of links, a NUL: said when it is opened
        return path
    message = f"{name:.200} leads out of {root}, the folder of the images; allow it with --columns.outside_images"
    return BadImage("image_outside", message)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name: a text, or a URL
        return False


def _of_data_uri(uri: str) -> bytes | BadImage:
    header, _, data = uri.partition(",")
    try:
        if header.endswith(";base64"):
            return decode_base64(data)
    except binascii.Error:
        pass
    return BadImage("unreadable_image", "a data URI must look like data:image/jpeg;base64,…")
