"""What an import understood of a table, one line a field, for people who check it before they wait for many rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from moon2.catalog.importing.cells import is_empty, to_text, to_words
from moon2.catalog.importing.columns import FIELDS, ColumnMapping, as_names
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.product_fields import ProductReader
from moon2.catalog.importing.sources import LogTable, Source
from moon2.catalog.importing.usual_names import UsualNames, plain_name, usual_names
from moon2.records import Product

MAX_NAMES = 12
"""So many columns are named in one line, and of the others the number."""


def products_understood(
    given: ColumnMapping, reader: ProductReader, table: Source, head: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Lines such as `title ← Bezeichnung`, and a line for each guess that could be wrong.

    Args:
        given: the mapping as the user gave it.
        reader: of the same, resolved.
        table: the products.
        head: its first rows.
    """
    mapping, lines = reader.mapping, []
    missing = []
    for field in FIELDS:
        columns = as_names(getattr(mapping, field))
        if columns:
            sign = ", " if field == "images" else " > " if field == "category" else " + "
            made_of = [origin for name in columns for origin in table.made_of.get(name, ())]
            shown = ", ".join(made_of) or sign.join(columns)
            lines.append(f"{field} ← {shown}{_note(field, reader, table)}")
        elif field != "split":
            missing.append(field)
        if getattr(given, field) is None:
            lines += _doubts(field, columns, mapping, table, head)
    if missing:
        lines.append(f"no column for {', '.join(missing)}; if there is one, name it, as in --columns.{missing[0]} NAME")
    names = reader.attribute_columns
    if names:
        shown_names = [c if c == name else f"{name} ({c})" for c, name in names.items()]
        lines.append(f"attributes ← {_some([o for c in shown_names for o in table.made_of.get(c, [c])])}")
    lines += _unused(table, [*names, *(name for field in FIELDS for name in as_names(getattr(mapping, field)))])
    return lines


def log_understood(log: LogTable, products: Source) -> list[str]:
    """Lines such as `text ← Suchbegriff` for the columns of a search log, which may be the table of products itself."""
    mapping: LogMapping = log.columns
    fields = {field: set(as_names(value)) & set(log.table.columns) for field, value in asdict(mapping).items()}
    lines = [f"{field} ← {', '.join(sorted(columns))}" for field, columns in fields.items() if columns]
    if not mapping.split and log.split is None:
        lines.append(
            "no column for split: all is for training; `moon2 benchmark build` then makes a test of the catalog"
        )
    return [*lines, *_unused(log.table, [*products.columns, *(c for columns in fields.values() for c in columns)])]


def product_line(product: Product) -> str:
    """A product in one line, such as `12: "Red mat", Home > Mats, 12.5, 2 images, colour: red`."""
    images = len(product.images)
    parts = [
        f'"{product.title:.80}"' if product.title else "no title",
        " > ".join(product.category),
        "" if product.price is None else f"{product.price:,.2f}",
        f"{images} image{'s' if images != 1 else ''}",
        *(f"{name}: {value:.40}" for name, value in islice(product.attributes.items(), 6)),
    ]
    return f"{product.id}: {', '.join(filter(None, parts))}"


def _note(field: str, reader: ProductReader, table: Source) -> str:
    mapping = reader.mapping
    if field == "images":
        root = table.folder if mapping.image_root is None else Path(mapping.image_root)
        return f" (paths are relative to {root.absolute() if root else 'the folder of each file'})"
    if field == "price":
        sign = mapping.decimal or reader.usual_decimal
        return f" (decimal sign {sign!r})" if sign else ""
    return ""


def _doubts(
    field: str, columns: Sequence[str], mapping: ColumnMapping, table: Source, head: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Why the guess of a field's column could be wrong, indented below it; or which column could be the field."""
    doubts = []
    taken = {name for other in FIELDS for name in as_names(getattr(mapping, other))}
    usual = usual_names("products")[field]
    others = [name for name in UsualNames(table.columns).find_every(usual) if name not in taken]
    if columns and others:
        doubts.append(f"  {_some(others)} could be it too; if so, name it with --columns.{field}")
    if not columns and field != "split":
        # "Preço promocional site" holds a usual name, but no more than that is known.
        long = [name for name in usual.split() if len(name) >= 4]
        near = [c for c in table.columns if c not in taken and any(name in plain_name(c) for name in long)]
        doubts += [f"{field}: {_some(near)} could be it; name it with --columns.{field}"] if near else []
    values = [to_text(row.get(columns[0])).strip() for row in head] if columns else []
    if head and columns and field != "split" and all(is_empty(row.get(name)) for row in head for name in columns):
        doubts.append(
            f"  {_some(columns)} is empty in all of the first rows; name another column with --columns.{field}"
        )
    if field == "title" and values and all(not any(map(str.isalpha, to_words(value))) for value in values):
        doubts.append(f"  no title of the first {len(values)} has a letter; name the right column with --columns.title")
    repeated = sum(count - 1 for value, count in Counter(values).items() if value)
    if field == "id" and repeated:
        doubts.append(f"  of the first {len(values)} ids {repeated} came before; only the first row of an id is kept")
    return doubts


def _unused(table: Source, used: Sequence[str]) -> list[str]:
    origins = {origin for name in used for origin in table.made_of.get(name, ())}
    unused = [column for column in table.columns if column not in used and column not in origins]
    return [f"not used: {_some(unused)}"] if unused else []


def _some(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
