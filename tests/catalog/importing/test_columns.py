"""Which column means what: by the user's mapping, or by the usual names."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2.catalog.importing.cells import to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.image_cells import read_images
from moon2.catalog.importing.prices import to_price
from moon2.catalog.importing.product_fields import read_fields
from moon2.catalog.schema import CatalogError
from moon2.records import RecordError


def test_usual_names_are_found() -> None:
    columns = ["SKU", "productDisplayName", "masterCategory", "subCategory", "articleType", "baseColour", "image_path"]
    mapping = ColumnMapping().resolve(columns, "styles.csv")
    assert (mapping.id, mapping.title, mapping.images) == ("SKU", "productDisplayName", ("image_path",))
    assert mapping.category == ("masterCategory", "subCategory", "articleType")
    assert mapping.attributes == ("baseColour",)
    assert mapping.price == ""


def test_a_named_column_wins_and_an_empty_name_leaves_out() -> None:
    mapping = ColumnMapping(title="alt", price="").resolve(["id", "title", "alt", "price"], "shop.csv")
    assert (mapping.id, mapping.title, mapping.price) == ("id", "alt", "")


def test_a_missing_column_is_an_error_that_lists_the_columns() -> None:
    with pytest.raises(CatalogError) as refused:
        ColumnMapping(title="tittle").resolve(["id", "title", "photo"], "shop.csv")
    message = "shop.csv: has no column 'tittle', named as title; its columns are id, title, photo"
    assert str(refused.value) == message
    with pytest.raises(CatalogError, match=r"which column is the id\?.*its columns are name, photo"):
        ColumnMapping().resolve(["name", "photo"], "shop.csv")
    with pytest.raises(CatalogError, match="which column is the title or the image"):
        ColumnMapping().resolve(["id", "weight"], "shop.csv")


@pytest.mark.parametrize(
    ("mapping", "row"),
    [
        (ColumnMapping(category="c"), {"c": "Apparel > Topwear > Shirts"}),
        (ColumnMapping(category="c", category_separator="/"), {"c": "Apparel/Topwear/Shirts"}),
        (ColumnMapping(category="c"), {"c": ["Apparel", "Topwear", "Shirts"]}),
        (ColumnMapping(category="c"), {"c": '["Apparel", "Topwear", "Shirts"]'}),
        (ColumnMapping(category=("a", "b", "c")), {"a": "Apparel", "b": "Topwear", "c": "Shirts"}),
    ],
)
def test_a_category_is_a_path_however_it_is_written(mapping: ColumnMapping, row: dict[str, object]) -> None:
    row = {"id": "1", "title": "Shirt", **row}
    assert read_fields(row, mapping.resolve(list(row), "shop.csv"))["category"] == ("Apparel", "Topwear", "Shirts")


def test_attributes_come_from_json_pairs_columns_or_the_rest() -> None:
    row = {
        "id": 1163.0,
        "title": "Shirt",
        "specs": '{"fabric": "cotton", "sizes": ["S", "M"], "none": null}',
        "pairs": [{"key": "sleeve", "value": "long"}],
        "brand": "Puma",
        "story": "long " * 60,
    }
    mapping = ColumnMapping(attributes=("specs", "pairs", "brand")).resolve(list(row), "shop.csv")
    expected = {"fabric": "cotton", "sizes": "S, M", "sleeve": "long", "brand": "Puma"}
    assert read_fields(row, mapping) == {
        "id": "1163",
        "title": "Shirt",
        "description": "",
        "price": None,
        "category": (),
        "attributes": expected,
    }
    rest = ColumnMapping(attributes="rest").resolve(list(row), "shop.csv")
    assert read_fields(row, rest)["attributes"] == expected


@pytest.mark.parametrize(
    ("written", "price"),
    [
        *[("1299", 1299), ("1,299.50", 1299.5), ("1.299,50", 1299.5), ("₹ 1,299", 1299), ("12,5 €", 12.5)],
        *[("Rs. 99", 99), (7, 7), (7.5, 7.5), ("0", 0), ("1,234,567", 1234567)],
        *[("", None), (None, None), (float("nan"), None)],
    ],
)
def test_prices_are_read_as_people_write_them(written: object, price: float | None) -> None:
    assert to_price(written) == price


def test_a_price_that_is_no_number_is_refused() -> None:
    row = {"id": "1", "title": "Shirt", "price": "ask us"}
    with pytest.raises(RecordError, match="product '1': price 'ask us' is not a number") as refused:
        read_fields(row, ColumnMapping().resolve(list(row), "shop.csv"))
    assert refused.value.reason == "bad_price"


def test_images_are_bytes_paths_urls_or_lists_of_them(tmp_path: Path) -> None:
    (tmp_path / "a, b;c.jpg").write_bytes(b"")
    mapping = ColumnMapping(id="id", images=("one", "two"))

    def images(one: object, two: object = None) -> list[object]:
        row = {"id": "1", "one": one, "two": two}
        return list(read_images(row, mapping.resolve(list(row), "shop.csv"), tmp_path))

    assert images("a.jpg", b"bytes") == [tmp_path / "a.jpg", b"bytes"]
    assert images("a.jpg|b.jpg; c.jpg") == [tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg"]
    assert images("a, b;c.jpg") == [tmp_path / "a, b;c.jpg"]
    assert images('["a.jpg", "b.jpg"]', "") == [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    assert images("https://x/1.jpg,https://x/2.jpg?a=1,2") == ["https://x/1.jpg", "https://x/2.jpg?a=1,2"]
    assert images([{"bytes": b"first", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None]) == [
        b"first",
        tmp_path / "b.jpg",
    ]
    assert images("x" * 300) == [tmp_path / ("x" * 300)]  # longer than a file's name can be
    assert images("/elsewhere/a.jpg") == [Path("/elsewhere/a.jpg")]


def test_cells_become_text() -> None:
    assert [to_text(cell) for cell in (None, float("nan"), 3.0, 3.5, "x", b"caf\xc3\xa9")] == [
        *("", "", "3", "3.5", "x", "café")
    ]


@pytest.mark.parametrize("cell", ["[" * 100_000, "[" + "9" * 5_000 + "]"], ids=["too deep", "too many digits"])
def test_cells_that_only_look_like_json_are_text(cell: str) -> None:
    row = {"id": "1", "title": "shirt", "tags": cell}
    mapping = ColumnMapping(category=("tags",)).resolve(list(row), "shop.csv")
    assert read_fields(row, mapping)["category"] == (cell,)
