"""Importing: the rows of a search log become interactions with the products of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.imported_tables import run, write_csv

from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.store import Catalog
from moon2.cli import main

Encode = Callable[..., bytes]


def test_a_log_becomes_interactions(tmp_path: Path) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("id", "title"), *((f"p{i}", f"Product {i}") for i in range(4))])
    log = write_csv(
        tmp_path / "log.csv",
        [
            ("query", "photo", "bought", "ignored", "split"),
            ("navy shirt", "", "p0", "p1 p2", ""),
            ("", "p3", "p0;p1", "", "test"),
            ("gone", "", "p9", "p1", ""),
            ("nothing bought", "", "", "p1", ""),
            ("contradiction", "", "p1", "p1", ""),
            ("part gone", "p0", "p1", "p9 p2", ""),
            ("photo gone", "p9", "p1", "", ""),
            ("", "", "p1", "", ""),
        ],
    )
    columns = LogMapping(product_id="photo", positives="bought", negatives="ignored")
    result = run(shop, tmp_path / "out", log=log, log_columns=columns)
    train, test = result.catalog.interactions("train"), result.catalog.interactions("test")
    rows = [(i.query.text, i.query.product_id, i.positive_ids, i.negative_ids) for i in (*train, *test)]
    assert rows == [
        ("navy shirt", None, ("p0",), ("p1", "p2")),
        ("part gone", "p0", ("p1",), ("p2",)),
        ("photo gone", None, ("p1",), ()),
        ("", "p3", ("p0", "p1"), ()),
    ]
    assert (result.interactions, result.rejected, result.dropped) == (4, 4, 2)
    assert result.reasons == {"unknown_product": 3, "no_positive": 1, "positive_is_negative": 1, "no_content": 1}
    assert [(reject.row, reject.dropped, reject.reason) for reject in result.catalog.rejects()] == [
        (3, "row", "unknown_product"),
        (4, "row", "no_positive"),
        (5, "row", "positive_is_negative"),
        (6, "product_id", "unknown_product"),
        (7, "image", "unknown_product"),
        (8, "row", "no_content"),
    ]


@pytest.mark.parametrize(
    "columns",
    [LogMapping(), LogMapping(positives="purchases", negatives="exposures"), LogMapping(exposures="exposures")],
)
def test_exposures_that_were_not_bought_are_negatives(tmp_path: Path, columns: LogMapping) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("id", "title"), *((f"p{i}", f"Product {i}") for i in range(4))])
    rows = [
        ("query", "exposures", "purchases"),
        ("navy shirt", "p0 p1 p2", "p1"),
        ("lamp", "p3", "p3"),
        ("part gone", "p9 p1 p8 p2", "p8 p2"),
    ]
    result = run(shop, tmp_path / "out", log=write_csv(tmp_path / "log.csv", rows), log_columns=columns)
    rows = [(i.query.text, i.positive_ids, i.negative_ids) for i in result.catalog.interactions("train")]
    assert rows == [("navy shirt", ("p1",), ("p0", "p2")), ("lamp", ("p3",), ()), ("part gone", ("p2",), ("p1",))]
    assert (result.rejected, result.reasons) == (0, {"unknown_product": 2})


def test_a_query_that_was_only_clicked_says_what_would_make_it_an_answer(tmp_path: Path) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("sku", "name"), (1, "Mat"), (2, "Lamp")])
    log = write_csv(
        tmp_path / "log.csv",
        [("query", "product_id", "action"), ("mat", 1, "click"), ("mat", 2, "impression"), ("lamp", 2, "purchase")],
    )
    result = run(shop, tmp_path / "out", log=log)
    (reject,) = result.catalog.rejects()
    assert reject.message.endswith(
        "1 of its 2 products clicked and none bought; --log_columns.click_is positive makes a click an answer"
    )


def test_the_command_needs_one_usable_row_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("id", "title"), (1, "navy shirt"), (2, "red bag")])
    log = write_csv(tmp_path / "log.csv", [("query", "purchased_id"), ("shirt", 8), ("bag", 9)])
    out = tmp_path / "out"
    assert main(["import", str(shop), "--as", "csv", "--out", str(out), "--log", str(log)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"not one row of the log could be used; {out / 'rejects.parquet'} says why" in line
    assert "the 2 products are imported" in line and len(Catalog.open(out)) == 2
