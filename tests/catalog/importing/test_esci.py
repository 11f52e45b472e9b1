"""ESCI with SQID's photos, from a small copy in their published layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon2.catalog.importing.import_catalog import ImportResult, import_catalog
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError
from moon2.records import Interaction

# query id, query, product, label, locale, small version, split
JUDGEMENTS = [
    (1, "red mat", "A", "E", "us", 1, "train"),
    (1, "red mat", "B", "I", "us", 1, "train"),
    (1, "red mat", "C", "S", "us", 1, "train"),
    (2, "blue mat", "B", "E", "us", 1, "test"),
    (2, "blue mat", "C", "C", "us", 1, "test"),
    (2, "blue mat", "D", "I", "us", 1, "test"),
    (3, "easy", "E", "E", "us", 0, "test"),
    (4, "alfombra", "A", "E", "es", 1, "test"),
]
URL = "https://m.media-amazon.example/images/I/"


@pytest.fixture
def esci(tmp_path: Path) -> Path:
    folder = tmp_path / "esci"
    folder.mkdir()
    names = ("query_id", "query", "product_id", "esci_label", "product_locale", "small_version", "split")
    rows = [{"example_id": n, **dict(zip(names, row, strict=True))} for n, row in enumerate(JUDGEMENTS)]
    examples = pa.Table.from_pylist([row | {"large_version": 1} for row in rows])
    pq.write_table(examples, folder / "shopping_queries_dataset_examples.parquet")
    products = [
        {
            "product_id": id,
            "product_title": f"{id} of {locale}",
            "product_description": "<p>soft</p>" if id == "A" else None,
            "product_bullet_point": "rolls up\nred",
            "product_brand": "Lana",
            "product_color": "Red" if id == "A" else None,
            "product_locale": locale,
        }
        for locale, ids in (("us", "ABCDEF"), ("es", "A"))
        for id in ids
    ]
    pq.write_table(pa.Table.from_pylist(products), folder / "shopping_queries_dataset_products.parquet")
    (folder / "sqid").mkdir()
    lines = ["product_id,image_url", f"B,{URL}b.jpg", "C,", f"D,{URL}Default_Background_Art_LTR.jpg", f"Z,{URL}z.jpg"]
    (folder / "sqid/product_image_urls.csv").write_text("\n".join(lines) + "\n")
    (folder / "sqid/supp_product_image_urls.csv").write_text(f"product_id,image_url\nA,{URL}a.jpg\n")
    return folder


def run(source: Path, out: Path, **options: Any) -> ImportResult:
    result = import_catalog(str(source), out=out, layout="esci", **options)
    assert isinstance(result, ImportResult)
    return result


def log_of(result: ImportResult, split: str) -> list[Interaction]:
    return result.catalog.interactions(split)


def test_the_small_american_version_with_the_published_split(esci: Path, tmp_path: Path) -> None:
    result = run(esci, tmp_path / "out")
    catalog = result.catalog
    # What a test query judges is in the gallery, though training names B and C too.
    assert (catalog.ids("train"), catalog.ids("test")) == (["A"], ["B", "C", "D"])
    mat = catalog.product("A")
    assert (mat.title, mat.description) == ("A of us", "soft rolls up red")
    assert mat.attributes == {"brand": "Lana", "colour": "Red"}
    (red,), (blue,) = log_of(result, "train"), log_of(result, "test")
    assert (red.query.id, red.query.text, red.positive_ids, red.negative_ids) == ("1", "red mat", ("A",), ("B",))
    assert (blue.positive_ids, blue.grades) == (("B",), {"B": 1.0, "C": 0.01, "D": 0.0})
    assert catalog.licence() == "apache-2.0"


def test_photos_are_sqids_addresses(esci: Path, tmp_path: Path) -> None:
    result = run(esci, tmp_path / "out")
    photos = {product.id: product.images for product in result.catalog.products()}
    assert photos == {"A": (f"{URL}a.jpg",), "B": (f"{URL}b.jpg",), "C": (), "D": ()}
    assert result.unfetched == 2


def test_other_locales_and_the_large_version(esci: Path, tmp_path: Path) -> None:
    spanish = run(esci, tmp_path / "es", subset="es").catalog
    assert [product.title for product in spanish.products()] == ["A of es"]
    large = run(esci, tmp_path / "large", subset="us-large")
    assert [it.query.text for it in log_of(large, "test")] == ["blue mat", "easy"]
    with pytest.raises(CatalogError, match="--subset fr: of ESCI there are us, es and jp"):
        run(esci, tmp_path / "fr", subset="fr")
    with pytest.raises(CatalogError, match="no judgements of jp"):
        run(esci, tmp_path / "jp", subset="jp")


def test_substitutes_can_be_positive(esci: Path, tmp_path: Path) -> None:
    result = run(esci, tmp_path / "out", log_columns=LogMapping(positive_if="0.1"))
    assert log_of(result, "train")[0].positive_ids == ("A", "C")


def test_an_unknown_label_costs_its_row(esci: Path, tmp_path: Path) -> None:
    path = esci / "shopping_queries_dataset_examples.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[2]["esci_label"] = "?"
    pq.write_table(pa.Table.from_pylist(rows), path)
    result = run(esci, tmp_path / "out")
    assert result.reasons == {"bad_grade": 1}
    assert log_of(result, "train")[0].grades == {"A": 1.0, "B": 0.0}


def test_a_row_of_photos_that_cannot_be_read_is_listed(esci: Path, tmp_path: Path) -> None:
    photos = f"product_id,image_url\nB,{URL}b.jpg\nC,{URL}c.jpg,more\nü,x\n"
    (esci / "sqid/product_image_urls.csv").write_bytes(photos.encode("cp1252"))
    result = run(esci, tmp_path / "out")
    assert result.catalog.product("B").images == (f"{URL}b.jpg",)
    assert "product_image_urls.csv row 2: line 3 has 3 fields" in result.catalog.rejects()[0].message
    (esci / "sqid/product_image_urls.csv").write_text("asin,image_url\nB,b.jpg\n")
    with pytest.raises(CatalogError, match=r"is not SQID's table of images .it has no column product_id"):
        run(esci, tmp_path / "again")


def test_files_that_are_missing_or_something_else_are_one_line(esci: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"holds no shopping_queries_dataset_examples\.parquet; give the folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    pq.write_table(pa.table({"a": [1]}), esci / "shopping_queries_dataset_examples.parquet")
    with pytest.raises(CatalogError, match="is not ESCI's table of examples") as error:
        run(esci, tmp_path / "out")
    assert "\n" not in str(error.value)
