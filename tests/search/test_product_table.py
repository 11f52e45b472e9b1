"""The table of an index: nearest products with filters, words, changes that are counted."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from moon2.records import Product
from moon2.search.errors import FilterError, ProductIndexError
from moon2.search.product_table import ProductTable
from moon2.search.rows import EmbeddedProduct, RowMaker
from moon2.search.table_schema import WHOLE, attribute_columns
from moon2.vectors.words import words

COLUMNS = {"colour": "colour", "Base Material": "base_material"}
MAKER = RowMaker(dimension=16, attributes=COLUMNS, thumbnails=0)
RANDOM = np.random.default_rng(0)


def unit(count: int) -> np.ndarray:
    vectors = RANDOM.normal(size=(count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(products: list[Product], vectors: np.ndarray, first: int = 0) -> pa.Table:
    embedded = [
        EmbeddedProduct(product, "key", position, {WHOLE: vector})
        for position, (product, vector) in enumerate(zip(products, vectors, strict=True), first)
    ]
    return MAKER.rows(embedded, [words(product.title) for product in products])


def some_products(count: int) -> list[Product]:
    return [
        Product(
            id=f"p{i}",
            title=f"{('navy', 'red')[i % 2]} {('shirt', 'hat', 'sock')[i % 3]} {i}",
            category=("Apparel", ("Shirts", "Hats", "Socks")[i % 3]),
            attributes={"colour": ("navy", "red")[i % 2], "Base Material": "cotton"},
            price=float(i),
        )
        for i in range(count)
    ]


@pytest.fixture
def table(tmp_path: Path) -> ProductTable:
    products = some_products(60)
    return ProductTable.create(str(tmp_path / "index"), MAKER.schema, rows(products, unit(60)).to_batches())


def test_nearest_is_what_comparing_with_all_gives_with_every_filter(tmp_path: Path) -> None:
    products, vectors = some_products(200), unit(200)
    table = ProductTable.create(str(tmp_path / "index"), MAKER.schema, rows(products, vectors).to_batches())
    query = unit(1)[0]
    filters = {
        None: lambda product: True,
        "price < 50 AND category = 'Shirts'": lambda product: product.price < 50 and product.category[-1] == "Shirts",
        "colour = 'red' OR price >= 190": lambda product: product.attributes["colour"] == "red" or product.price >= 190,
        "NOT (price < 150)": lambda product: not product.price < 150,
        "array_has(category_path, 'Apparel') AND base_material = 'cotton' AND price IN (3, 5, 7)": (
            lambda product: product.price in (3, 5, 7)
        ),
        "title LIKE 'navy%'": lambda product: product.title.startswith("navy"),
        "price > 1000": lambda product: False,
    }
    for where, passes in filters.items():
        passing = [row for row, product in enumerate(products) if passes(product)]
        best = sorted(passing, key=lambda row: -float(vectors[row] @ query))[:7]
        found = table.nearest(query, 7, where=where)
        assert found.ids == [products[row].id for row in best], where
        assert np.allclose(found.cosines, vectors[best] @ query, atol=1e-5)
        assert table.products(where) == len(passing)


def test_words_are_scored_by_bm25_and_filtered(table: ProductTable) -> None:
    found = table.matching(["navy", "sock"], 100)
    navy_socks = [product.id for product in some_products(60) if product.title.startswith("navy sock")]
    assert found.ids[: len(navy_socks)] == navy_socks  # equal scores stand in the order of the table
    # By hand: every title has 3 words, so a word counts idf = ln(1 + (N - n + 0.5) / (n + 0.5)); 30 are navy, 20 socks.
    # Once in a title of mean length counts 1 / (1 + k1) of it.
    assert found.scores[0] == pytest.approx((np.log(1 + 30.5 / 30.5) + np.log(1 + 40.5 / 20.5)) / 2.2, rel=1e-5)
    cheap = table.matching(["navy", "sock"], 100, where="price < 6")
    assert set(cheap.ids) == {"p0", "p2", "p4", "p5"}
    assert table.matching(["nothing"], 5).ids == []


def test_equal_products_stand_in_the_order_of_the_catalog(tmp_path: Path) -> None:
    """Also those of a shorter list, though LanceDB gives any of equal rows; so pages put together are the long list."""
    same = np.repeat(unit(1), 20, axis=0)
    backwards = rows(some_products(20), same).take(list(range(19, -1, -1)))
    table = ProductTable.create(str(tmp_path / "index"), MAKER.schema, backwards.to_batches(max_chunksize=7))
    for limit in (1, 5, 20):
        assert table.nearest(same[0], limit).ids == [f"p{i}" for i in range(limit)]


def test_an_upsert_replaces_and_adds_and_is_found_before_the_indexes_know_it(table: ProductTable) -> None:
    vectors = unit(3)
    changed = [Product(id="p7", title="Orange scarf"), Product(id="p60", title="Orange cape")]
    table.upsert(rows(changed, vectors[:2], first=7))
    assert table.products() == 61
    assert table.unindexed_rows() == 2
    assert table.nearest(vectors[0], 1).ids == ["p7"]
    assert sorted(table.matching(["orange"], 10).ids) == ["p60", "p7"]
    assert table.matching(["7"], 10).ids == []  # its old title is gone
    table.optimize()
    assert table.unindexed_rows() == 0
    assert sorted(table.matching(["orange"], 10).ids) == ["p60", "p7"]


def test_a_deleted_product_is_gone_and_others_stay(table: ProductTable) -> None:
    table.delete(["p3", "o'clock"])
    assert table.products() == 59
    assert table.fetch(["p3", "p4"], ["title"]) == {"p4": {"id": "p4", "title": "navy hat 4"}}


def test_of_several_vectors_the_best_counts_and_names_its_image(tmp_path: Path) -> None:
    vectors = unit(6)
    product = Product(id="many", title="A lamp", images=(b"1", b"2"))
    embedded = [
        EmbeddedProduct(product, "key", 0, {WHOLE: vectors[0], 0: vectors[1], 1: vectors[2]}),
        EmbeddedProduct(Product(id="one", title="A chair"), "key", 1, {WHOLE: vectors[3]}),
    ]
    table = ProductTable.create(
        str(tmp_path / "index"), MAKER.schema, MAKER.rows(embedded, [["lamp"], ["chair"]]).to_batches()
    )
    assert (table.rows(), table.products()) == (4, 2)
    found = table.nearest(vectors[2], 2)
    assert found.ids == ["many", "one"]
    assert list(found.images) == [1, WHOLE]
    assert table.matching(["lamp"], 5).ids == ["many"]
    # Written again with one image, the other is gone.
    fewer = EmbeddedProduct(product, "key", 0, {WHOLE: vectors[0], 0: vectors[1]})
    table.upsert(MAKER.rows([fewer], [["lamp"]]))
    assert table.rows() == 3
    assert sorted(table.all_vectors(["many"])["many"]) == [WHOLE, 0]


def test_a_bad_filter_is_one_line_that_names_the_columns(table: ProductTable) -> None:
    hidden = ("vector = 1", "thumbnail = 'a'", "words < 3 AND", "_distance < 1")
    bad = ("", "prize < 5", "price <", "price < 'a' AND", "price < 'a'", "price < 5; DROP TABLE products", *hidden)
    for where in bad:
        with pytest.raises(FilterError, match=r"filter .*: cannot be used.* price, .*colour") as error:
            table.nearest(unit(1)[0], 3, where=where)
        with pytest.raises(FilterError, match=re.escape(f"filter {where!r}: cannot be used")):
            table.same("p3", where)
        assert "\n" not in str(error.value)
        assert "/" not in str(error.value)  # where LanceDB's own code lies says nothing to anyone


def test_a_column_that_is_none_is_named_and_so_is_the_one_that_was_meant(table: ProductTable) -> None:
    shown = "id, title, description, category, category_path, price, attributes, colour, base_material, images"
    message = "'prise' is no column and no word of a filter; columns are " + shown + "; did you mean 'price'?"
    with pytest.raises(FilterError, match=re.escape(f"filter 'prise < 20': cannot be used: {message}")):
        table.nearest(unit(1)[0], 3, where="prise < 20")


def test_a_hidden_column_can_be_filtered_by(table: ProductTable) -> None:
    for where in (
        "position < 3",
        "image = -1 AND position < 3",
        "words LIKE '%0' AND position < 3 OR position IN (1, 2)",
    ):
        assert sorted(table.nearest(unit(1)[0], 60, where=where).ids) == ["p0", "p1", "p2"]


def test_a_table_that_is_none_or_damaged_is_one_line(table: ProductTable, tmp_path: Path) -> None:
    with pytest.raises(ProductIndexError, match="is no index"):
        ProductTable.open(str(tmp_path))
    for file in (tmp_path / "index").glob("products.lance/data/*"):
        file.write_bytes(file.read_bytes()[:20])
    damaged = ProductTable.open(table.place)
    for read in (lambda: damaged.fetch(["p1"], ["title"]), lambda: damaged.sample_vectors(1), damaged.last_position):
        with pytest.raises(ProductIndexError, match=r"index: the index cannot be read .* build it anew") as error:
            read()
        assert "filter" not in str(error.value) and ".rs" not in str(error.value)


def test_columns_of_attributes_have_names_that_sql_takes() -> None:
    names = ["Base Colour", "base-colour", "price", "Größe", "!!"]
    assert attribute_columns(names) == {"Base Colour": "base_colour", "Größe": "größe"}


@pytest.mark.parametrize("few", [0, 5000])
def test_an_approximate_search_with_a_filter_misses_nothing_also_after_changes(
    few: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered = comparing with all that passes: few that pass, many, none, and rows the indexes do not hold yet."""
    monkeypatch.setattr("moon2.search.product_table.EXACT_AMONG", few)
    products, vectors = some_products(3000), unit(3000)
    table = ProductTable.create(str(tmp_path / "index"), MAKER.schema, rows(products, vectors).to_batches())
    table.build_approximate()
    changed = [
        Product(f"p{i}", "changed", category=("Apparel", "Hats"), price=float(-i % 700)) for i in range(0, 300, 3)
    ]
    new = unit(len(changed))
    table.upsert(rows(changed, new))
    table.delete([f"p{i}" for i in range(1, 300, 3)])
    for row, product in zip(range(0, 300, 3), changed, strict=True):
        products[row], vectors[row] = product, new[(row) // 3]
    stay = [row for row in range(3000) if row >= 300 or row % 3 != 1]
    assert (table.products(), table.unindexed_rows()) == (len(stay), 100)
    filters = {
        None: lambda product: True,
        "price < 20": lambda product: product.price < 20,
        "category = 'Hats' AND price > 100": lambda product: product.category[-1] == "Hats" and product.price > 100,
        "title = 'changed'": lambda product: product.title == "changed",
        "price > 1e9": lambda product: False,
    }
    for where, passes in filters.items():
        passing = [row for row in stay if passes(products[row])]
        for query in unit(5):
            best = sorted(passing, key=lambda row: -float(vectors[row] @ query))[:10]
            found = table.nearest(query, 10, where=where, probes=64)
            assert found.ids == [products[row].id for row in best], where
