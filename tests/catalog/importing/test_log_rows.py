"""Search logs, wide (one row a query) and long (one row a product shown), as a shop has them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from moon2.catalog.importing.import_catalog import ImportResult, import_catalog
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError

PRODUCTS = "id,title\n" + "".join(f"P{n},product {n}\n" for n in range(1, 7))


def imported(tmp_path: Path, log: str, products: str = PRODUCTS, **mapping: Any) -> ImportResult:
    (tmp_path / "products.csv").write_text(products)
    (tmp_path / "log.csv").write_text(log)
    return import_catalog(
        str(tmp_path / "products.csv"),
        layout="csv",
        out=tmp_path / "out",
        log=tmp_path / "log.csv",
        log_columns=LogMapping(**mapping),
        overwrite=True,
    )


def read(result: ImportResult) -> list[tuple[str, str, str]]:
    """Words, positives and negatives of each interaction."""
    log = result.catalog.interactions("train")
    return [(it.query.text, " ".join(it.positive_ids), " ".join(it.negative_ids)) for it in log]


def test_flags_of_one_query_are_gathered_wherever_its_rows_stand(tmp_path: Path) -> None:
    log = """query,product_id,clicked,purchased
mower tyre,P1,1,1
table,P4,1,1
Mower  tyre,P3,0,0
table,P1,0,0
table,P2,1,0
mower tyre,P4,0,0
"""
    result = imported(tmp_path, log)
    assert read(result) == [("mower tyre", "P1", "P3 P4"), ("table", "P4", "P1")]
    assert (result.interactions, result.rejected, result.dropped) == (2, 0, 0)


def test_events_of_one_session_are_a_query(tmp_path: Path) -> None:
    log = """session_id,query,sku,event_type
s1,tyre,P1,impression
s2,tyre,P1,impression
s1,tyre,P1,click
s1,tyre,P2,impression
s1,tyre,P1,purchase
s2,tyre,P2,purchase
s3,tyre,P3,impression
"""
    result = imported(tmp_path, log)
    assert read(result) == [("tyre", "P1", "P2"), ("tyre", "P2", "P1")]
    # The third shopper bought nothing: the row of the log where that query began is listed.
    (reject,) = result.catalog.rejects()
    assert (reject.row, reject.id, reject.reason) == (7, "log-7", "no_positive")
    without_sessions = imported(tmp_path, log, session="")
    assert read(without_sessions) == [("tyre", "P1 P2", "P3")]


def test_rows_with_the_id_of_a_query_are_one_and_grades_are_kept(tmp_path: Path) -> None:
    log = """query_id,query,product_id,esci_label
7,tyre,P1,E
8,tyre,P1,I
7,tyre (new),P2,S
7,tyre,P3,I
8,tyre,P2,E
7,tyre,P9,C
"""
    result = imported(tmp_path, log)
    assert read(result) == [("tyre", "P1", "P3"), ("tyre", "P2", "P1")]
    first, second = result.catalog.interactions("train")
    assert first.grades == {"P1": 3, "P2": 2, "P3": 0}
    assert second.grades == {"P1": 0, "P2": 3}
    assert result.reasons == {"unknown_product": 1}
    lenient = imported(tmp_path, log, positive_if="S")
    assert read(lenient)[0] == ("tyre", "P1 P2", "P3")


def test_queries_whose_id_is_empty_are_gathered_by_their_words_and_numbered(tmp_path: Path) -> None:
    log = """query_id,query,product_id,event
q1,tyre,P1,purchase
,mat,P1,impression
,Mat ,P2,purchase
NULL,table,P3,purchase
q1,tyre,P2,impression
"""
    result = imported(tmp_path, log)
    assert read(result) == [("tyre", "P1", "P2"), ("mat", "P2", "P1"), ("table", "P3", "")]
    assert [it.query.id for it in result.catalog.interactions("train")] == ["q1", "log-2", "log-4"]
    assert result.rejected == 0


def test_quantities_and_a_column_of_row_numbers(tmp_path: Path) -> None:
    log = "id,query,product_id,qty\n1,tyre,P1,2\n2,tyre,P2,0\n3,tyre,P3,\n"
    assert read(imported(tmp_path, log)) == [("tyre", "P1", "P2 P3")]


def test_a_log_of_purchases_only_has_a_row_each(tmp_path: Path) -> None:
    assert read(imported(tmp_path, "query,product_id,day\ntyre,P1,3\ntyre,P2,4\nmat,P3,3\n")) == [
        ("tyre", "P1 P2", ""),
        ("mat", "P3", ""),
    ]


def test_a_wide_log_with_purchases_clicks_and_exposures(tmp_path: Path) -> None:
    log = "query,shown_ids,clicked_ids,purchased_ids\ntyre,P1 P2 P3 P4,P2 P1,P1\n"
    assert read(imported(tmp_path, log)) == [("tyre", "P1", "P3 P4")]
    assert read(imported(tmp_path, log, click_is="positive")) == [("tyre", "P1 P2", "P3 P4")]


@pytest.mark.parametrize(
    ("log", "option"),
    [
        ("query,product_id,hit\na,P1,1\na,P2,0\n", "--log_columns.purchased, .clicked or .grade hit"),
        ("query,product_id,label\na,P1,1\na,P2,0\n", "--log_columns.purchased, .clicked or .grade label"),
        ("query,product_id,what\na,P1,purchase\na,P2,impression\n", "--log_columns.event what"),
        ("query,product_id,judge\na,P1,E\na,P2,I\n", "--log_columns.grade judge"),
        ("query,product_id,event\na,P1,foo\na,P2,bar\n", "--log_columns.positive_if NAME"),
        ("query,product_id,clicked\na,P1,1\na,P2,0\n", "--log_columns.click_is positive"),
        ("query,clicked_ids\na,P1\n", "--log_columns.click_is positive"),
        ("query,product_id,purchased\na,P2,P1\n", "--log_columns.positives"),
        ("query,words\na,P1\n", "--log_columns.exposures"),
        ("query,product_id,grade\na,P1,A\na,P2,B\na,P3,E\n", "holds A, B, E, and letters are grades only if"),
    ],
)
def test_an_unclear_log_is_refused_before_anything_is_written(tmp_path: Path, log: str, option: str) -> None:
    with pytest.raises(CatalogError) as refused:
        imported(tmp_path, log)
    message = str(refused.value)
    assert option in message and message.startswith("log.csv: ") and "\n" not in message
    assert not (tmp_path / "out").exists()


def test_the_option_that_the_line_names_settles_it(tmp_path: Path) -> None:
    log = "query,product_id,hit\na,P1,1\na,P2,0\n"
    assert read(imported(tmp_path, log, purchased="hit")) == [("a", "P1", "P2")]
    assert read(imported(tmp_path, log, purchased="hit", positives="product_id")) == [("a", "P1", "P2")]
    assert read(imported(tmp_path, log, clicked="hit", click_is="positive")) == [("a", "P1", "P2")]
    assert read(imported(tmp_path, log, grade="hit")) == [("a", "P1", "P2")]
    assert read(imported(tmp_path, log, positives="product_id")) == [("a", "P1", ""), ("a", "P2", "")]


def test_ids_are_matched_as_a_spreadsheet_wrote_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    products = 'id,title\n12,Twelve\n13.0,Float\n00045,Zeros\nAB 7,Space\n"A,9",Comma\n'
    log = 'query,purchased_ids,ignored_ids\na,12.0,\nb,13,AB-7\nc,45,\nd,"12,00045",\ne,AB 7;12,"A,9"\nf,"[12, 45]",\n'
    with caplog.at_level(logging.INFO, "moon2"):
        result = imported(tmp_path, log, products)
    assert read(result) == [
        ("a", "12", ""),
        ("b", "13.0", ""),
        ("c", "00045", ""),
        ("d", "12 00045", ""),
        ("e", "AB 7 12", "A,9"),
        ("f", "12 00045", ""),
    ]
    assert "log.csv: product ids matched after removing leading zeros: 1" in caplog.text
    (reject,) = result.catalog.rejects()
    assert reject.message.endswith("product 'AB-7' is not in the catalog; did you mean 'AB 7'?; it was left out")


def test_a_photo_that_is_gone_costs_itself_and_not_the_words(tmp_path: Path) -> None:
    log = "query,query_image,query_product_id,purchased_ids\nred,gone.jpg,,P1\nlike this,,P99,P2\n,gone.jpg,,P3\n"
    result = imported(tmp_path, log)
    assert read(result) == [("red", "P1", ""), ("like this", "P2", "")]
    assert [(reject.row, reject.dropped) for reject in result.catalog.rejects()] == [
        (1, "image"),
        (2, "image"),
        (3, "row"),
    ]


@pytest.mark.parametrize(
    ("column", "cells", "remedy"),
    [
        ("order_id", ["A%d", ""], "in a column of 1 and 0, --log_columns.purchased NAME"),
        ("clicked_at", ["2024-01-05 10:%02d", ""], "--log_columns.purchased, .clicked or .grade clicked_at"),
        ("num_orders", ["%d.5", "0"], "--log_columns.purchased, .clicked or .grade num_orders"),
    ],
)
def test_a_column_of_many_values_that_may_say_what_was_bought_is_refused(
    tmp_path: Path, column: str, cells: list[str], remedy: str
) -> None:
    filled, nothing = cells
    log = f"query,product_id,{column}\n" + "".join(f"tyre,P1,{filled % n}\n" for n in range(10, 40))
    assert read(imported(tmp_path, log, purchased="", clicked="")) == [("tyre", "P1", "")]
    with pytest.raises(CatalogError, match=f"column '{column}' holds ") as refused:
        imported(tmp_path, f"{log}tyre,P2,{nothing}\n", purchased="", clicked="")
    assert remedy in str(refused.value)


@pytest.mark.parametrize(
    ("column", "cells", "remedy"),
    [
        ("outcome", ["1", "0", "-1"], "--log_columns.purchased, .clicked or .grade outcome; "),
        ("outcome", ["yes", "no"], "--log_columns.purchased, .clicked or .grade outcome; "),
        ("result", ["1", ""], "holds 1, empty cells: say what it means with --log_columns.purchased, "),
        ("status", ["purchased", "clicked"], "with --log_columns.event status; "),
        ("Order status", ["completed", "cancelled"], "positive_if NAME,NAME --log_columns.event 'Order status'; "),
    ],
)
def test_a_column_that_by_its_name_says_what_became_of_products_is_refused(
    tmp_path: Path, column: str, cells: list[str], remedy: str
) -> None:
    log = f"query,product_id,{column}\n" + "".join(f"tyre,P{n},{cell}\n" for n, cell in enumerate(cells, 1))
    with pytest.raises(CatalogError, match=f"column '{column}' holds ") as refused:
        imported(tmp_path, log, purchased="", clicked="")
    assert remedy in str(refused.value)


def test_such_a_column_is_read_as_it_is_named_and_one_value_says_nothing(tmp_path: Path) -> None:
    log = "query,product_id,outcome\ntyre,P1,1\ntyre,P2,0\ntyre,P3,-1\n"
    assert read(imported(tmp_path, log, purchased="outcome")) == [("tyre", "P1", "P2 P3")]
    log = "query,product_id,status\ntyre,P1,completed\ntyre,P2,cancelled\n"
    events = imported(tmp_path, log, event="status", positive_if="completed")
    assert read(events) == [("tyre", "P1", "")]
    log = "query,product_id,status\ntyre,P1,completed\ntyre,P2,Completed\n"
    assert read(imported(tmp_path, log)) == [("tyre", "P1 P2", "")]
