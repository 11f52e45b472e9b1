"""The fields of a product: each is read for itself, and one that cannot be read costs only itself."""

from __future__ import annotations

from typing import Any

import pytest

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.product_fields import ProductReader


def read(row: dict[str, Any], has_image: bool = False, **columns: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    reader = ProductReader(ColumnMapping(**columns).resolve(list(row), "shop.csv"), [row])
    product, faults = reader.read(row, (b"image",) if has_image else ())
    fields = {
        name: getattr(product, name) for name in ("id", "title", "description", "category", "attributes", "price")
    }
    return fields, [(fault.dropped, fault.reason) for fault in faults]


def test_attributes_come_from_json_pairs_columns_or_the_rest() -> None:
    row = {
        "id": 1163.0,
        "title": "Shirt",
        "specs": '{"fabric": "cotton", "sizes": ["S", "M"], "none": null}',
        "pairs": [{"key": "sleeve", "value": "long"}],
        "brand": "Puma",
        "story": "long " * 60,
    }
    expected = {"fabric": "cotton", "sizes": "S, M", "sleeve": "long", "brand": "Puma"}
    fields, faults = read(row, attributes=("specs", "pairs", "brand"))
    assert fields == {
        "id": "1163",
        "title": "Shirt",
        "description": "",
        "price": None,
        "category": (),
        "attributes": expected,
    }
    assert faults == []
    assert read(row, attributes="rest")[0]["attributes"] == expected


@pytest.mark.parametrize(
    "cell",
    [
        {"colour": "red", "size": "M", "none": None},
        '{"colour": "red", "size": "M", "note": ""}',
        "{'colour': 'red', 'size': 'M', 'note': nan}",
        "colour: red; size: M",
        "colour=red|size=M",
        [{"name": "colour", "value": "red"}, {"name": "size", "options": ["M"]}],
        "[{'colour': 'red'}, {'size': ['M']}]",
    ],
    ids=str,
)
def test_attributes_are_read_however_they_are_written(cell: object) -> None:
    row = {"id": "1", "title": "Shirt", "attributes": cell}
    assert read(row)[0]["attributes"] == {"colour": "red", "size": "M"}


def test_attributes_of_other_languages_have_the_names_that_mining_knows() -> None:
    row = {
        "id": "1",
        "title": "Hemd",
        "Marke": "Kante",
        "Farbe": "rot &amp; blau",
        "attribute:sleeve": "long",
        "Size": "-",
    }
    assert read(row)[0]["attributes"] == {"brand": "Kante", "colour": "rot & blau", "sleeve": "long"}
    assert read({"id": "1", "title": "Hemd", "Marke": {"id": 7, "name": "Oslo"}})[0]["attributes"] == {"brand": "Oslo"}
    # Two columns never share one name.
    row = {"id": "1", "title": "Hemd", "Farbe": "rot", "colour": "red"}
    assert read(row, attributes=("Farbe", "colour"))[0]["attributes"] == {"Farbe": "rot", "colour": "red"}


@pytest.mark.parametrize(
    ("brand", "name", "title"),
    [
        ("Puma", "Running shirt", "Puma Running shirt"),
        ("Puma", "PUMA Running shirt", "PUMA Running shirt"),
        ("Puma", "Pumas of the zoo", "Puma Pumas of the zoo"),
        ("nan", "Shirt", "Shirt"),
        ("Puma", "", "Puma"),
        ("Puma", "puma", "Puma"),
    ],
)
def test_a_title_may_be_joined_from_several_columns(brand: str, name: str, title: str) -> None:
    fields, _ = read({"id": "1", "brand": brand, "name": name}, title=("brand", "name"))
    assert fields["title"] == title


def test_text_is_decoded_and_a_list_of_texts_joined() -> None:
    row = {"id": "1", "title": "Tee &amp; <b>Badge</b>", "description": ["<p>Soft</p>", "Warm"]}
    fields, _ = read(row)
    assert (fields["title"], fields["description"]) == ("Tee & Badge", "Soft Warm")
    assert read({**row, "description": "['Soft', 'Warm']"})[0]["description"] == "Soft Warm"


@pytest.mark.parametrize(
    ("field", "cell", "reason"),
    [
        ("price", "cheap", "bad_price"),
        ("price", "-3", "bad_price"),
        ("price", "1.299", "unclear_price"),
        ("description", "caf\ufffd", "broken_encoding"),
        ("description", "x" * 100_001, "text_too_long"),
        ("category", "A > caf\ufffd", "broken_encoding"),
        ("brand", "caf\ufffd", "broken_encoding"),
        ("brand", "x" * 2_001, "text_too_long"),
        ("title", "caf\ufffd", "broken_encoding"),
        ("title", "x" * 2_001, "text_too_long"),
        ("title", "None", "no_title"),
    ],
)
def test_a_field_that_cannot_be_read_costs_itself(field: str, cell: str, reason: str) -> None:
    row = {
        **{"id": "1", "title": "Shirt", "description": "Soft", "category": "A > B", "price": "5", "brand": "Puma"},
        "colour": "red",
    }
    whole, _ = read(row)
    fields, faults = read({**row, field: cell}, has_image=True)
    assert faults == [("field", reason)]
    nothing = {"price": None, "category": (), "brand": {"colour": "red"}}.get(field, "")
    assert fields == {**whole, "attributes" if field == "brand" else field: nothing}


@pytest.mark.parametrize("cell", ["NULL", "nan", "None", "n/a", "-", "", None])
def test_empty_words_are_empty_without_a_fault(cell: object) -> None:
    row = {"id": "1", "title": "Shirt", "description": cell, "category": cell, "price": cell, "brand": cell}
    fields, faults = read(row)
    assert faults == []
    assert (fields["description"], fields["category"], fields["price"], fields["attributes"]) == ("", (), None, {})


def test_pairs_of_magento_become_attributes() -> None:
    row = {"sku": "1", "name": "Bag", "additional_attributes": "activity=Gym,Hike,color=Blue"}
    assert read(row)[0]["attributes"] == {"activity": "Gym,Hike", "color": "Blue"}


def test_titles_that_are_objects_and_attributes_that_are_maps_of_parquet() -> None:
    row = {"id": 1, "title": [{"en": "Shirt"}, {"de": "Hemd"}], "attributes": [("colour", "red"), ("size", "M")]}
    fields, _ = read(row, attributes="attributes")
    assert (fields["title"], fields["attributes"]) == ("Shirt", {"colour": "red", "size": "M"})
