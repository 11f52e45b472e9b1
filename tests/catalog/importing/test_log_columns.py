"""Which column of a search log means what."""

from __future__ import annotations

import pytest

from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError


def test_a_missing_column_is_an_error_that_lists_the_columns() -> None:
    with pytest.raises(CatalogError, match=r"no column 'bought', named as positives; its columns are query"):
        LogMapping(positives="bought").resolve(["query"], "log.csv")
    with pytest.raises(CatalogError, match="which column is the product bought"):
        LogMapping().resolve(["query"], "log.csv")


@pytest.mark.parametrize(
    ("given", "columns", "negatives", "exposures"),
    [
        ({}, "query exposures purchases", "", "exposures"),
        ({"positives": "purchases", "negatives": "exposures"}, "query exposures purchases", "", "exposures"),
        ({"exposures": "seen"}, "query seen purchases ignored_ids", "ignored_ids", "seen"),
        ({"negatives": "seen", "exposures": "seen"}, "query seen purchases", "", "seen"),
        # The negatives are known, or are not wanted, or the column means something else.
        ({}, "query exposures purchases ignored_ids", "ignored_ids", ""),
        ({"negatives": ""}, "query exposures purchases", "", ""),
        ({"product_id": "shown"}, "query shown bought", "", ""),
        ({"negatives": "left"}, "query left bought exposures", "left", ""),
    ],
)
def test_exposures_are_distinguished_from_negatives(
    given: dict[str, str], columns: str, negatives: str, exposures: str
) -> None:
    mapping = LogMapping(**given).resolve(columns.split(), "log.csv")
    assert (mapping.negatives, mapping.exposures) == (negatives, exposures)
    assert mapping.positives in ("purchases", "bought")


def test_a_flag_beside_the_id_of_a_product_makes_a_long_log() -> None:
    mapping = LogMapping().resolve(["id", "query", "product_id", "purchased", "clicks", "add_to_cart"], "log.csv")
    assert mapping.is_long
    assert (mapping.exposures, mapping.purchased, mapping.clicked) == (
        "product_id",
        "purchased",
        ("clicks", "add_to_cart"),
    )
    assert mapping.id == ""  # it numbers the rows


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        ({}, "query product_id purchased_ids"),
        ({"positives": "product_id"}, "query product_id purchased"),
        ({}, "query shown bought"),
        ({}, "query shown_ids clicked_ids purchased"),
    ],
)
def test_a_column_of_ids_that_were_bought_makes_a_wide_log(given: dict[str, str], columns: str) -> None:
    assert not LogMapping(**given).resolve(columns.split(), "log.csv").is_long


@pytest.mark.parametrize(
    "header",
    [
        "Suchbegriff;Artikelnummer;gekauft",
        "requête;id produit;acheté",
        "検索語;商品番号;購入",
        "zapytanie;kod produktu;kupiono",
    ],
)
def test_usual_names_of_other_languages_are_found(header: str) -> None:
    columns = header.split(";")
    mapping = LogMapping().resolve(columns, "log.csv")
    assert [mapping.text, mapping.exposures, mapping.purchased] == columns


def test_beside_known_columns_none_is_found_by_its_usual_name() -> None:
    columns = ["query_id", "query", "product_id", "split", "clicks", "session_id"]
    mapping = LogMapping.only(text="query", exposures="product_id").resolve(columns, "known.csv")
    assert (mapping.id, mapping.session, mapping.clicked, mapping.split) == ("", "", "", "")
