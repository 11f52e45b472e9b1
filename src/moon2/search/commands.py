"""The commands that use and change an index."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from moon2.catalog.store import Catalog
from moon2.files import require_writable, write_text_atomic
from moon2.meant import did_you_mean_file
from moon2.progress import progress_bar
from moon2.search.errors import ProductIndexError
from moon2.search.versions import is_remote, sole_writer

if TYPE_CHECKING:
    from moon2.search.index import Index

SHOWN_PROBLEMS = 10


def build_index(
    vectors: Path,
    *,
    out: str,
    data: Path | None = None,
    model: Path | None = None,
    text: Literal["title", "all"] = "all",
    thumbnails: int = 192,
    overwrite: bool = False,
) -> object:
    """Make an index for search of the vectors that `moon2 embed` made.

    Below 100,000 vectors every search is exact. Above, an approximate index is built, and its recall against
    the exact search is measured, with and without filters, and kept with it. Vectors of single images, made
    with `moon2 embed --per_image`, are searched too, and a hit says which image was nearest.

    examples:
      moon2 index vectors/shop --out indexes/shop
      moon2 index vectors/shop --out s3://bucket/shop

    Args:
        vectors: folder that `moon2 embed` wrote
        out: folder of the index, or its address on object storage
        data: folder of the catalog, if it moved since it was embedded
        model: the encoder, if it moved since
        text: what keyword search reads of a product: its title, or all its text
        thumbnails: longest side in pixels of the photos kept in the index to show hits; 0 for none
        overwrite: replace the index at OUT

    Raises:
        VectorFolderError: there are no vectors, or none of whole products
        CatalogError: the catalog is not where it was, or has changed since
        ProductIndexError: there is an index at OUT, or it cannot be written
    """
    from moon2.search.build import build_index

    return build_index(vectors, out, data, model, text, thumbnails, overwrite)


def search(
    index: str,
    text: str = "",
    *,
    image: Path | None = None,
    like: str | None = None,
    where: str | None = None,
    limit: int = 10,
    offset: int = 0,
    hybrid: bool = True,
    exact: bool = False,
    json: bool = False,
    html: Path | None = None,
    model: Path | None = None,
) -> object:
    """Search an index by words, by a photo, or by both.

    Words are compared in two ways: by their vector, which knows what looks or reads alike, and by the very
    words (BM25), which know names and codes. The hybrid of both is the default; each hit shows both ranks.
    A product whose id or title is exactly what was asked comes first.

    A filter is SQL over the index's columns: title, description, category (the last level), category_path,
    price, images (their number), and one column for each common attribute.

    examples:
      moon2 search indexes/shop "navy casual shirt"
      moon2 search indexes/shop "in red" --image photo.jpg --where "price < 50 AND category = 'Shirts'"
      moon2 search indexes/shop --like SKU-17 --where "array_has(category_path, 'Apparel')"
      moon2 search indexes/shop "navy shirt" --html hits.html

    Args:
        index: folder of the index, or its address on object storage
        text: what to search for, in words
        image: what to search for, as a photo
        like: id of a product; finds others like it
        where: filter that a product must pass, in SQL
        limit: number of hits
        offset: number of hits to pass over; with --limit, the next page
        hybrid: rank by vectors and by words together; false for vectors alone
        exact: compare with every vector, even if there is an approximate index
        json: print JSON
        html: write a page with photos to this file
        model: where the encoder is now, if it moved

    Raises:
        ProductIndexError: there is no such index, the photo or the filter cannot be used, or nothing was asked
        EncoderError: the encoder cannot be read
        OutputError: the page cannot be written
    """
    from moon2.search.index import Index
    from moon2.search.show import Found

    if image is not None and not image.is_file():
        raise ProductIndexError(f"{image}: there is no such photo{did_you_mean_file(image)}")
    if html is not None:
        require_writable(html, "--html")
    opened = Index.open(index, model=model)
    hits = opened.search(text, image, like=like, where=where, limit=limit, offset=offset, hybrid=hybrid, exact=exact)
    in_colour = sys.stdout.isatty() and os.environ.get("COLORTERM") in ("truecolor", "24bit")
    photos = opened.photos([hit.id for hit in hits]) if html or (in_colour and not json) else {}
    found = Found(_asked(text, image, like, where, offset), hits, photos, in_colour, offset)
    if html:
        write_text_atomic(html, found.to_html())
        return f"{html}: {len(hits)} hits"
    return found.to_json() if json else found


def upsert(index: str, data: Path, *, model: Path | None = None) -> str:
    """Write the products of a catalog into an index, also in place of others.

    A product takes the place of one of the same id. Those that are there with the same content are left
    alone. Where only the price or another field that the encoder does not read has changed, no vector is made
    anew. If it is stopped or killed, what was written is there, and the same command goes on. Products that
    the catalog lacks stay: see `moon2 delete`.

    examples:
      moon2 upsert indexes/shop data/new-products

    Args:
        index: folder of the index, or its address on object storage
        data: folder of the catalog
        model: where the encoder is now, if it moved

    Raises:
        ProductIndexError: there is no such index, or it cannot be written
        CatalogError: there is no such catalog
        EncoderError: the encoder cannot be loaded
    """
    catalog = Catalog.open(data)
    with (
        _opened(index, model) as opened,
        progress_bar(total=len(catalog), desc="upsert", unit="products") as bar,
    ):
        changes = opened.upsert(catalog.products(), bar.update)
    lines = [f"{index}: wrote {changes.written:,} products; {changes.unchanged:,} were there already"]
    if changes.refused:
        lines.append(f"{changes.refused:,} could not be embedded")
    lines += [f"  {id}: {problem}" for id, problem in list(changes.problems.items())[:SHOWN_PROBLEMS]]
    if len(changes.problems) > SHOWN_PROBLEMS:
        lines.append(f"  and {len(changes.problems) - SHOWN_PROBLEMS:,} more problems")
    return "\n".join(lines + _waiting(index, changes.unindexed))


def delete(index: str, ids: tuple[str, ...] = (), *, missing_from: Path | None = None) -> str:
    """Delete products from an index, by id, or those the catalog has no more.

    If a catalog lacks more than half of the products, nothing is deleted: a feed that was cut short looks like that.

    examples:
      moon2 delete indexes/shop SKU-17 SKU-18
      moon2 delete indexes/shop --missing_from data/shop

    Args:
        index: folder of the index, or its address on object storage
        ids: of the products; none with --missing_from
        missing_from: folder of a catalog; what it lacks is deleted

    Raises:
        ProductIndexError: there is no such index, it cannot be written, or the catalog lacks most of it
        CatalogError: there is no such catalog
    """
    if not ids and missing_from is None:
        raise ProductIndexError("nothing to delete; give ids, or a catalog with --missing_from")
    catalog = None if missing_from is None else Catalog.open(missing_from)
    with _opened(index) as opened:
        vanished = [] if catalog is None else sorted(set(opened.ids()) - set(catalog.ids()))
        if 2 * len(vanished) > len(opened):
            raise ProductIndexError(
                f"{missing_from}: lacks {len(vanished):,} of the {len(opened):,} products of {index}, and nothing was "
                f"deleted; if the catalog is whole, build the index anew with `moon2 embed` and `moon2 index`"
            )
        changes = opened.delete([*dict.fromkeys([*ids, *vanished])])
    lines = [f"{index}: deleted {changes.deleted:,} of {len(opened) + changes.deleted:,} products"]
    if changes.problems:
        lines.append(f"not there: {', '.join(changes.problems)}")
    return "\n".join(lines)


def optimize(index: str) -> str:
    """Take what was written since into the structures that make a search fast.

    A search finds new products at once, but by a scan; many of them make it slow. Above 100,000 products this
    also builds the approximate index of the vectors, and measures what it finds of an exact search's results.

    examples:
      moon2 optimize indexes/shop

    Args:
        index: folder of the index, or its address on object storage

    Raises:
        ProductIndexError: there is no such index, or it cannot be written
    """
    with _opened(index) as opened:
        opened.optimize()
        return str(opened)


@contextmanager
def _opened(place: str, model: Path | None = None) -> Iterator[Index]:
    """An index that no other process changes meanwhile."""
    from moon2.search.index import Index

    if is_remote(place):  # object storage has no locks; LanceDB refuses one of two conflicting writes
        yield Index.open(place, model=model)
        return
    with sole_writer(Path(place)):
        yield Index.open(place, model=model)


def _asked(text: str, image: Path | None, like: str | None, where: str | None, offset: int) -> str:
    parts = [text and f"“{text}”", image and f"photo {image}", like and f"like {like}", where and f"where {where}"]
    parts.append(f"from hit {offset + 1:,}" if offset else "")
    return " · ".join(str(part) for part in parts if part)


def _waiting(index: str, rows: int) -> list[str]:
    return [f"{rows:,} rows are not in the indexes yet: `moon2 optimize {index}`"] if rows else []
