"""What the routes ask of an index: hits, facets, neighbours' labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import numpy as np
import pyarrow.compute as pc

from moon2.catalog.schema import is_url, pairs_to_dict
from moon2.images import ImageSource
from moon2.records import Product
from moon2.search.errors import FilterError, ProductIndexError
from moon2.search.index import Hit, Index
from moon2.search.table_schema import SHOWN, literal
from moon2.serve.encoding import Asked
from moon2.serve.refusals import Refusal
from moon2.serve.schemas import ShownHit
from moon2.serve.security import check_filter
from moon2.serve.served import Opened, ServedIndex, in_thread, normalised
from moon2.views import View

T = TypeVar("T")
FACET_VALUES = 50
NEIGHBOURS = 20
"""Products whose labels are counted."""
MOST_LABELS = 5
FIRST_COLUMNS = ("category", "brand", "colour", "color")


class Page(TypedDict):
    """Which hits of a search are wanted: those that pass a filter, after the first `offset`, at most `limit`."""

    where: str | None
    limit: int
    offset: int


async def with_index(served: ServedIndex, work: Callable[[Opened], Awaitable[T]], where: str | None = None) -> T:
    """Does something with an index; again with the newer one, where another process has just put one in its place.

    Raises:
        Refusal: the filter cannot be used (422), or the index cannot be read (503).
    """
    for _ in range(3):
        with served.lease() as opened:
            if where is not None:
                check_filter(where, opened.index.table.columns)
            try:
                return await work(opened)
            except (ProductIndexError, KeyError) as error:
                problem = error
        try:
            if not await served.refresh():
                break
        except ProductIndexError as error:
            problem = error
            break
    if isinstance(problem, FilterError):
        raise Refusal(422, f"where: {problem}", "where")
    raise Refusal(503, f"the index cannot be read now ({problem})", retry_after=2)


async def find(opened: Opened, text: str, image: bytes | None, hybrid: bool, **page: Unpack[Page]) -> list[Hit]:
    """Hits of words, a photo, or both."""
    vector = await query_vector(opened, text, image)
    view: View = "t" if image is None else "mm"
    return await in_thread(lambda: opened.index.rank(vector, text if hybrid else "", view, **page))


async def query_vector(opened: Opened, text: str, image: bytes | None) -> np.ndarray:
    """[D] float32 of the index's length."""
    asked = Asked(text, () if image is None else (image,), "image" if image is not None else "text", "query")
    found = await opened.encoding.encode([asked])
    vector: np.ndarray = normalised(found.matrix[0], opened.index.info.dimension)
    return vector


async def find_like(opened: Opened, id: str, **page: Unpack[Page]) -> list[Hit]:
    """Hits that are nearest to a product, without it.

    Raises:
        Refusal: there is no such product.
    """
    row = (await in_thread(opened.index.table.fetch, [id], ["vector"])).get(id)
    if row is None:
        raise no_product(id)
    vector = np.array(row["vector"], np.float32)
    return await in_thread(lambda: opened.index.rank_like(id, vector, **page))


async def catalog_entry(served: ServedIndex, opened: Opened, id: str) -> Product | None:
    """A product as the catalog has it; None where it is not there, or the index has another one by this id."""
    entry = await served.catalog_product(id)
    return entry if entry is not None and await in_thread(opened.index.holds, entry) else None


async def drawn_product(served: ServedIndex, opened: Opened, id: str) -> Product:
    """A product to explain: with the catalog's images or, where the catalog has none or another, its small photo.

    Raises:
        Refusal: there is no such product, or nothing of it to draw.
    """
    row = (await in_thread(opened.index.table.fetch, [id], [*SHOWN, "thumbnail"])).get(id)
    if row is None:
        raise no_product(id)
    entry = await catalog_entry(served, opened, id)
    images: Sequence[ImageSource] = [row["thumbnail"]] if row["thumbnail"] is not None else []
    if entry is not None:
        images = [image for image in entry.images if not is_url(image)]
    if not row["title"].strip() and not images:
        raise Refusal(422, f"the index keeps neither a title nor a photo of {id[:200]!r} to draw", "product")
    attributes = pairs_to_dict(row["attributes"])
    return Product(id, row["title"], row["description"], tuple(row["category_path"]), attributes, tuple(images))


def no_product(id: str) -> Refusal:
    """The refusal of an id that is not there."""
    return Refusal(404, f"there is no product {id[:200]!r}", "id")


async def shown(opened: Opened, hits: Sequence[Hit], number: int) -> list[dict[str, Any]]:
    """Hits as they are sent, with the addresses of their photos."""
    has_photo: set[str] = set()
    if hits and opened.index.info.thumbnails:
        among = ", ".join(literal(hit.id) for hit in hits)
        rows = await in_thread(opened.index.table.scan, ["id"], f"thumbnail IS NOT NULL AND id IN ({among})")
        has_photo = set(rows["id"].to_pylist())
    return [
        asdict(ShownHit(**vars(hit), photo=address(hit.id, "photo", number) if hit.id in has_photo else None))
        for hit in hits
    ]


def address(id: str, part: str, number: int) -> str:
    """Of something of a product."""
    return f"/v1/products/{quote(id, safe='')}/{part}" + (f"?index={number}" if number else "")


def about(served: ServedIndex, opened: Opened) -> dict[str, Any]:
    """What an answer says of the index that it comes from."""
    return {"name": served.name, "products": opened.products, "version": opened.version}


async def facets(opened: Opened, where: str | None) -> dict[str, Any]:
    """The most frequent values of each column that products are filtered by, and the span of prices."""
    if where not in opened.facets:
        opened.keep_facets(where, await in_thread(_facets, opened.index, where))
    return opened.facets[where]


def _facets(index: Index, where: str | None) -> dict[str, Any]:
    columns = sorted(
        ["category", *index.info.attributes.values()],
        key=lambda name: FIRST_COLUMNS.index(name) if name in FIRST_COLUMNS else len(FIRST_COLUMNS),
    )
    table = index.table.scan([*columns, "price"], where)
    counted = []
    for name in columns:
        counts = pc.value_counts(table[name].drop_null()).to_pylist()
        counts.sort(key=lambda each: (-each["counts"], each["values"]))
        values = [{"value": each["values"], "count": each["counts"]} for each in counts[:FACET_VALUES]]
        counted.append({"name": name, "values": values})
    finite = table["price"].drop_null()
    span = pc.min_max(finite).as_py() if len(finite) else {"min": None, "max": None}
    return {"columns": counted, "price": span}


async def predicted(opened: Opened, vector: np.ndarray, without: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Category and attributes by a vote of the nearest products, each counted by its cosine.

    Args:
        opened: the index.
        vector: [D] float32 of what is labelled.
        without: id of a product that has no vote.
    """
    hits = await in_thread(lambda: opened.index.rank(vector, limit=NEIGHBOURS + 1))
    voters = [hit for hit in hits if hit.id != without][:NEIGHBOURS]
    votes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for hit in voters:
        weight = max(hit.cosine, 0.0)
        labels = {**hit.attributes, "category": hit.category[-1] if hit.category else ""}
        for name, value in labels.items():
            if value and (name == "category" or name in opened.index.info.attributes):
                votes[name][value] += weight
    total = sum(max(hit.cosine, 0.0) for hit in voters) or 1.0
    return {
        name: [
            {"value": value, "probability": round(share / total, 4)}
            for value, share in sorted(shares.items(), key=lambda each: -each[1])[:MOST_LABELS]
        ]
        for name, shares in votes.items()
    }
