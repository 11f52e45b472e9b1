"""The fields of a product, except its images, from one row of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from moon2.catalog.importing.cells import as_list, from_json, to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.prices import to_price
from moon2.records import RecordError

# Of the columns of `attributes="rest"`, longer values are prose and no attributes.
MAX_REST_CHARACTERS = 200


def read_fields(row: Mapping[str, Any], mapping: ColumnMapping) -> dict[str, Any]:
    """The fields of a `Product` from one row by a resolved mapping, except its images (see `read_images`).

    Raises:
        RecordError: reason `bad_price`.
    """

    def get(name: Any) -> Any:
        return row.get(name) if name else None

    id = to_text(get(mapping.id)).strip()
    fields = {"id": id, "title": to_text(get(mapping.title)), "description": to_text(get(mapping.description))}
    try:
        price = to_price(get(mapping.price))
    except ValueError:
        reason = f"product {id!r}: price {get(mapping.price)!r:.60} is not a number; write it like 1299.50"
        raise RecordError("bad_price", reason) from None
    return {**fields, "price": price, "category": _category(row, mapping), "attributes": _attributes(row, mapping)}


def _category(row: Mapping[str, Any], mapping: ColumnMapping) -> tuple[str, ...]:
    columns = mapping.category or ()
    if len(columns) == 1 and isinstance(value := row.get(columns[0]), str) and not value.startswith("["):
        parts: Iterable[Any] = value.split(mapping.category_separator) if mapping.category_separator else [value]
    else:
        parts = [part for column in columns for part in as_list(row.get(column))]
    return tuple(text for text in (to_text(part).strip() for part in parts) if text)


def _attributes(row: Mapping[str, Any], mapping: ColumnMapping) -> dict[str, str]:
    columns = list(mapping.attributes or ())
    rest = columns[:1] == ["rest"] and "rest" not in row
    attributes: dict[str, str] = {}
    for column in columns[1:] if rest else columns:
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            value = from_json(value)
        if isinstance(value, (list, tuple)) and all(isinstance(pair, Mapping) and "key" in pair for pair in value):
            value = {pair["key"]: pair.get("value") for pair in value}
        if isinstance(value, Mapping):
            pairs = {str(name): _attribute_text(item) for name, item in value.items()}
        elif rest and (isinstance(value, (bytes, list)) or len(to_text(value)) > MAX_REST_CHARACTERS):
            continue
        else:
            pairs = {column: _attribute_text(value)}
        attributes.update({name: text for name, text in pairs.items() if text})
    return attributes


def _attribute_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(to_text, value))
    return to_text(value).strip()
