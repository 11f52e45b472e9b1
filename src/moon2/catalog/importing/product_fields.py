"""The fields of a product, except its images, from one row of a table; a field that cannot be read costs itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moon2.catalog.importing.categories import CategoryReader
from moon2.catalog.importing.cells import as_list, flat, from_text, is_empty, to_text, to_words
from moon2.catalog.importing.columns import ATTRIBUTE_PREFIX, ColumnMapping, as_names
from moon2.catalog.importing.importer import Fault
from moon2.catalog.importing.prices import Decimal, decimal_of, to_price
from moon2.catalog.importing.usual_names import attribute_names, plain_name
from moon2.images import ImageSource
from moon2.records import Product, RecordError

# Of the columns of `attributes="rest"`, longer values are prose and no attributes.
MAX_REST_CHARACTERS = 200
KEPT = "; the product is kept without"
_WORD = re.compile(r"\w+")
# Columns whose text may hold pairs; the second is Magento's.
_OF_PAIRS = ("attributes", "additional_attributes")
_MAGENTO = re.compile(r"\w+=[^=]*(?:,\w+=[^=]*)*")
_PAIR = re.compile(r"\s*([^:=;|\n]{1,60}?)\s*[:=]\s*([^;|\n]+?)\s*")


class ProductReader:
    """Reads the rows of one table.

    Args:
        mapping: resolved.
        rows: the first rows of the table, from which the decimal sign and the roots of categories are learned.
    """

    def __init__(self, mapping: ColumnMapping, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        rows = list(rows)
        self.mapping = mapping
        self.title_columns = as_names(mapping.title)
        self.usual_decimal: Decimal = (
            "" if mapping.decimal else decimal_of(row.get(mapping.price or "") for row in rows)
        )
        self.category = CategoryReader(as_names(mapping.category), mapping.category_separator, rows)
        columns = as_names(mapping.attributes)
        self.takes_rest = columns[:1] == ("rest",) and not any("rest" in row for row in rows)
        self.attribute_columns = attribute_columns(columns[1:] if self.takes_rest else columns)

    def read(
        self, row: Mapping[str, Any], images: Sequence[ImageSource], number: str = ""
    ) -> tuple[Product, list[Fault]]:
        """The product of one row, and the faults of the fields that it is kept without.

        Args:
            row: the cells by column.
            images: of the product; with one, it is kept without a title that cannot be read.
            number: its id where the table has no column of ids.

        Raises:
            RecordError: it has no id, or neither a title nor an image.
        """
        mapping = self.mapping
        id = to_text(row.get(mapping.id)).strip() if mapping.id else number
        fields: dict[str, Any] = {"id": "" if is_empty(id) else id, "title": self._title(row)}
        fields["description"] = to_words(_joinable(row.get(mapping.description or "")))
        fields["category"] = self.category.read(row)
        fields["attributes"] = self._attributes(row)
        faults: list[Fault] = []
        try:
            fields["price"] = to_price(row.get(mapping.price or ""), mapping.decimal or "", self.usual_decimal)
        except RecordError as error:
            fields["price"] = None
            faults.append(_fault(id, "price", error.reason, f"product {id!r}: {error}"))
        if not fields["title"] and (said := self._empty_title(row)):
            faults.append(_fault(id, "title", "no_title", f"product {id!r}: title {said!r} stands for nothing"))
        try:
            return Product(**fields, images=tuple(images)), faults
        except RecordError:
            faults += _leave_out_broken(fields, bool(images))
        try:
            return Product(**fields, images=tuple(images)), faults
        except RecordError as error:
            if error.reason != "no_content" or not faults:
                raise
            message = f"{faults[0].message.partition(KEPT)[0]}, and neither a title nor an image is left"
            raise RecordError(faults[0].reason, message) from None

    def _title(self, row: Mapping[str, Any]) -> str:
        if len(self.title_columns) == 1:
            return to_words(_joinable(row.get(self.title_columns[0])))
        parts = [to_words(_joinable(row.get(column))) for column in self.title_columns]
        words = {f" {' '.join(_WORD.findall(part.casefold()))} ": part for part in reversed(parts) if part}
        # "Puma" is not said again before "Puma running shirt".
        return " ".join(
            part
            for said, part in reversed(words.items())
            if not any(said in other and said != other for other in words)
        )

    def _empty_title(self, row: Mapping[str, Any]) -> str:
        said = (to_text(row.get(column)).strip() for column in self.title_columns)
        return next(filter(None, said), "")

    def _attributes(self, row: Mapping[str, Any]) -> dict[str, str]:
        attributes: dict[str, str] = {}
        for column, name in self.attribute_columns.items():
            value = row.get(column)
            if value is None or value == "":
                continue
            if isinstance(value, str):
                value = from_text(value)
            if isinstance(value, str) and name in _OF_PAIRS:
                value = _pairs(value)
            if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
                value = {to_text(key): item for key, item in value}  # a map of Parquet
            if isinstance(value, (list, tuple)) and all(isinstance(pair, Mapping) for pair in value):
                value = dict(filter(None, map(_key_and_value, value)))
            if isinstance(value, Mapping) and name != "attributes" and "name" in value:
                pairs = {name: to_words(value["name"])}  # such as {id: 7, name: Oslo} for a brand
            elif isinstance(value, Mapping):
                pairs = {to_words(key): _attribute_text(item) for key, item in value.items()}
            elif self.takes_rest and (isinstance(value, (bytes, list)) or len(to_text(value)) > MAX_REST_CHARACTERS):
                continue
            else:
                pairs = {name: _attribute_text(value)}
            attributes.update({key: text for key, text in pairs.items() if key and text})
        return attributes


def attribute_columns(columns: Sequence[str]) -> dict[str, str]:
    """Column → name of the attribute: without "attribute:", and the English name for a usual one of other languages.

    A name that another column has is not given twice.
    """
    names: dict[str, str] = {}
    for column in columns:
        bare = ATTRIBUTE_PREFIX.sub("", column, count=1) if ATTRIBUTE_PREFIX.match(column) else column
        name = attribute_names().get(plain_name(bare), bare)
        is_taken = name in names.values() or (name != column and name in columns)
        names[column] = column if is_taken else name
    return names


def _leave_out_broken(fields: dict[str, Any], has_image: bool) -> list[Fault]:
    """Empties the fields that no record may hold, such as one with broken characters, and says which."""
    id, faults = fields["id"], []
    blank = {"description": "", "category": (), **({"title": ""} if has_image else {})}
    for name, nothing in blank.items():
        try:
            Product(**{"id": id or "?", "title": "?", name: fields[name]})
        except RecordError as error:
            fields[name] = nothing
            faults.append(_fault(id, name, error.reason, str(error)))
    for key in list(fields["attributes"]):
        try:
            Product(id=id or "?", title="?", attributes={key: fields["attributes"][key]})
        except RecordError as error:
            del fields["attributes"][key]
            faults.append(_fault(id, f"attribute {key!r:.60}", error.reason, str(error)))
    return faults


def _fault(id: str, field: str, reason: str, message: str) -> Fault:
    return Fault("field", reason, f"{message}{KEPT} its {field}")


def _joinable(value: Any) -> Any:
    """A cell of text, or the texts of a list."""
    if isinstance(value, str) and value.lstrip().startswith("['"):
        value = from_text(value)
    return flat(as_list(value)) if isinstance(value, (list, tuple)) else value


def _pairs(text: str) -> Any:
    """The pairs of "colour: red; size: M" or "colour=red,size=M"; the text itself where not every part is a pair."""
    separator = r",(?=\w+=)" if _MAGENTO.fullmatch(text) else r"[;|\n]"
    matches = [_PAIR.fullmatch(part) for part in re.split(separator, text) if part.strip()]
    return {match[1]: match[2] for match in matches if match} if matches and all(matches) else text


def _key_and_value(pair: Mapping[Any, Any]) -> tuple[str, Any] | None:
    """Of {key, value}, {name, value} and the like; of {colour: red}, its first."""
    key = next((pair[name] for name in ("key", "name", "label", "k") if name in pair), None)
    if key is not None:
        value = next((pair[name] for name in ("value", "values", "options", "v") if name in pair), None)
        return to_text(key), value
    return next(((to_text(name), value) for name, value in pair.items()), None)


def _attribute_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(filter(None, map(_attribute_text, value.values())))
    if isinstance(value, (list, tuple, set)) or (isinstance(value, str) and value.lstrip().startswith(("['", '["'))):
        return ", ".join(filter(None, (_attribute_text(item) for item in as_list(value))))
    return to_words(value)
