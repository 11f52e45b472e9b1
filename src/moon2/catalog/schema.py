"""How a catalog is stored: the Arrow columns of its tables, and the conversion of records to rows and back.

The schemas carry the feature types of the `datasets` library in their metadata. So `datasets.load_dataset` opens the
Parquet files with decoded images, while reading and writing here needs pyarrow only.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import yaml

from moon2.errors import UserError
from moon2.images import ImageSource, open_image
from moon2.records import Interaction, Product, Query

SPLITS = ("train", "test")

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PAIRS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
_GRADES = pa.list_(pa.struct([("product_id", pa.string()), ("grade", pa.float64())]))


Dropped: TypeAlias = Literal["row", "field", "image", "product_id"]
"""What an entry of rejects.parquet left out: a row; of a row that is kept, a field or an image; of a log's row that is
kept, one of its products."""


class CatalogError(UserError):
    """A catalog, or the source of one, cannot be used."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One row, or one part of a row, that is not in the catalog.

    Attributes:
        row: its number in its file, counted from 1 (a CSV's header line does not count); 0 when unknown.
        id: of the product or query, "" when it has none.
        dropped: what was left out, "row", "field", "image" or "product_id"; see `Dropped`.
        reason: short stable code for counting, e.g. `duplicate_id`.
        message: one line for people: what, where, what to do.
    """

    row: int
    id: str
    dropped: Dropped
    reason: str
    message: str


def _feature(kind: pa.DataType) -> Any:
    """The `datasets` description of one column type."""
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    names = {pa.string(): "string", pa.float64(): "float64", pa.int64(): "int64"}
    return {"dtype": names[kind], "_type": "Value"}


def table_schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    """An Arrow schema that `datasets` reads with its own feature types."""
    features = {name: _feature(kind) for name, kind in columns}
    return pa.schema(list(columns), metadata={"huggingface": json.dumps({"info": {"features": features}})})


PRODUCTS = table_schema(
    ("id", pa.string()),
    ("title", pa.string()),
    ("description", pa.string()),
    ("category", pa.list_(pa.string())),
    ("attributes", _PAIRS),
    ("images", pa.list_(IMAGE)),
    ("price", pa.float64()),
    ("enriched_title", pa.string()),
    ("expanded_images", pa.list_(IMAGE)),
    ("provenance", _PAIRS),
)
INTERACTIONS = table_schema(
    ("query_id", pa.string()),
    ("query_text", pa.string()),
    ("query_image", IMAGE),
    ("query_product_id", pa.string()),
    ("positive_ids", pa.list_(pa.string())),
    ("negative_ids", pa.list_(pa.string())),
    ("grade", _GRADES),
)
REJECTS = table_schema(("row", pa.int64()), *((name, pa.string()) for name in ("id", "dropped", "reason", "message")))


def leaf_columns(schema: pa.Schema) -> list[str]:
    """The dotted Parquet names of the innermost columns, e.g. `images.list.element.bytes`."""

    def leaves(name: str, kind: pa.DataType) -> list[str]:
        if pa.types.is_list(kind):
            return leaves(f"{name}.list.element", kind.value_type)
        if pa.types.is_struct(kind):
            return [leaf for field in kind for leaf in leaves(f"{name}.{field.name}", field.type)]
        return [name]

    return [leaf for field in schema for leaf in leaves(field.name, field.type)]


def product_to_row(product: Product) -> dict[str, object]:
    """One row of `PRODUCTS`; images as of `image_to_cell`."""
    return {
        "id": product.id,
        "title": product.title,
        "description": product.description,
        "category": list(product.category),
        "attributes": _pairs(product.attributes),
        "images": [image_to_cell(image) for image in product.images],
        "price": None if product.price is None else float(product.price),
        "enriched_title": product.enriched_title,
        "expanded_images": [image_to_cell(image) for image in product.expanded_images],
        "provenance": _pairs(product.provenance),
    }


def row_to_product(row: Mapping[str, Any]) -> Product:
    """The product of one row of `PRODUCTS`; images as of `cell_to_image`."""
    return Product(
        id=row["id"],
        title=row["title"] or "",
        description=row["description"] or "",
        category=tuple(row["category"] or ()),
        attributes=pairs_to_dict(row["attributes"]),
        images=tuple(cell_to_image(cell) for cell in row["images"] or ()),
        price=row["price"],
        enriched_title=row["enriched_title"],
        expanded_images=tuple(cell_to_image(cell) for cell in row["expanded_images"] or ()),
        provenance=pairs_to_dict(row["provenance"]),
    )


def interaction_to_row(interaction: Interaction) -> dict[str, object]:
    """One row of `INTERACTIONS`."""
    query = interaction.query
    return {
        "query_id": query.id,
        "query_text": query.text,
        "query_image": None if query.image is None else image_to_cell(query.image),
        "query_product_id": query.product_id,
        "positive_ids": list(interaction.positive_ids),
        "negative_ids": list(interaction.negative_ids),
        "grade": [{"product_id": id, "grade": grade} for id, grade in interaction.grades.items()],
    }


def row_to_interaction(row: Mapping[str, Any]) -> Interaction:
    """The interaction of one row of `INTERACTIONS`."""
    cell = row["query_image"]
    image = None if cell is None else cell_to_image(cell)
    query = Query(id=row["query_id"], text=row["query_text"] or "", image=image, product_id=row["query_product_id"])
    grades = {pair["product_id"]: pair["grade"] for pair in row["grade"] or ()}
    return Interaction(query, tuple(row["positive_ids"] or ()), tuple(row["negative_ids"] or ()), grades)


def image_to_cell(image: ImageSource) -> dict[str, object]:
    """One cell of an `IMAGE` column: bytes and URLs unchanged, paths made absolute, anything else encoded as PNG.

    Raises:
        ImageError: something else than bytes, a URL or a path, and it cannot be opened.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return {"bytes": bytes(image), "path": None}
    if isinstance(image, (str, PathLike)) and not (name := fspath(image)).startswith("data:"):
        return {"bytes": None, "path": name if is_url(name) else str(Path(name).absolute())}
    encoded = io.BytesIO()
    open_image(image).save(encoded, format="PNG")
    return {"bytes": encoded.getvalue(), "path": None}


def cell_to_image(cell: Mapping[str, Any]) -> bytes | str:
    """The image of one cell of an `IMAGE` column: the bytes, or else the path or URL."""
    image: bytes | str = cell["bytes"] if cell["bytes"] is not None else cell["path"]
    return image


def pairs_to_dict(pairs: list[dict[str, str]] | None) -> dict[str, str]:
    """The mapping that a list of {key, value} stores; empty for None."""
    return {pair["key"]: pair["value"] for pair in pairs or ()}


def _pairs(mapping: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in mapping.items()]


def is_url(image: object) -> bool:
    """Whether an image is given by its web address."""
    return isinstance(image, str) and image.lower().startswith(("http://", "https://"))


def dataset_card(title: str, description: str, licence: str, counts: Mapping[str, Mapping[str, int]]) -> str:
    """README.md of a catalog.

    Args:
        counts: rows by table ("products", "interactions") and split, e.g. {"products": {"train": 10}}.
    """
    configs = []
    for table, pattern in (("products", "products/{}-*.parquet"), ("interactions", "interactions/{}.parquet")):
        splits = [split for split in SPLITS if counts.get(table, {}).get(split)]
        files = [{"split": split, "path": pattern.format(split)} for split in splits]
        if files:
            configs.append({"config_name": table, "default": table == "products", "data_files": files})
    header = {"pretty_name": title, "license": licence, "configs": configs}
    lines = ["---", yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip(), "---", "", f"# {title}", ""]
    if description:
        lines += [description, ""]
    lines += ["| table | split | rows |", "|---|---|---|"]
    lines += [
        f"| {table} | {split} | {rows:,} |" for table, by_split in counts.items() for split, rows in by_split.items()
    ]
    lines += [
        "",
        "A moon2 catalog. It also opens with `datasets.load_dataset(folder, " + '"products", split="train")`.',
        "",
    ]
    return "\n".join(lines)
