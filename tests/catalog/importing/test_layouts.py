"""Tables of any layout: what a file is, by its ending."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.importing.layouts import layout_of
from moon2.catalog.schema import CatalogError
from moon2.cli import main


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("a.csv", "csv"),
        ("a.TSV", "csv"),
        ("a.txt.gz", "csv"),
        ("a.csv.zip", "csv"),
        ("b.pq", "parquet"),
        ("a.json", "json"),
        ("a.jsonl.gz", "json"),
        ("a.xlsx", "xlsx"),
        ("shop/*.csv", "csv"),
    ],
)
def test_the_ending_says_the_layout(name: str, layout: str) -> None:
    assert layout_of(name) == layout


def test_where_the_ending_does_not_say_it_the_option_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert layout_of(tmp_path) == "csv"
    (tmp_path / "b.jsonl").touch()
    (tmp_path / "c.pkl").touch()
    for source, message in (
        (tmp_path, "holds files of several kinds; name those to read with --as"),
        (tmp_path / "a.dat", "there is no such file"),
        (tmp_path / "c.pkl", r"save it as \.csv, \.xlsx, \.jsonl or \.parquet, or say what it is with --as"),
        (tmp_path / "a.xls", r"is an old Excel file; save it as \.xlsx"),
        ("shop/products", "there is no such file; if it is a dataset of the hub, say so with --as hub"),
    ):
        with pytest.raises(CatalogError, match=message):
            layout_of(source)


def test_json_lists_lines_and_wrapped_lists_are_imported_packed_or_not(tmp_path: Path) -> None:
    rows = [{"id": "J1", "title": "Red mat", "category": ["Home", "Mats"], "price": 12.5}, {"id": "J2", "title": "Rug"}]
    rows.append({"id": "J3", "title": "Cup", "attributes": {"colour": "red"}})
    texts = {
        "list.json": json.dumps(rows),
        "wrapped.json": json.dumps({"count": 3, "next": None, "products": rows}, indent=1),
        "lines.jsonl": "\n".join(map(json.dumps, rows)),
        "one.jsonl": json.dumps({**rows[2], "items": [{"id": "J9"}]}),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        catalog = import_catalog(str(tmp_path / f"{name}.gz"), out=tmp_path / name).catalog
        assert catalog.ids() == (["J3"] if name == "one.jsonl" else ["J1", "J2", "J3"])
        # The third row alone has attributes.
        assert catalog.product("J3").attributes == {"colour": "red"}


def test_the_log_is_read_by_its_ending_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.csv").write_bytes("id;title\nL1;Café\nL2;Tee\n".encode("cp1252"))
    (tmp_path / "log.jsonl").write_text('{"query": "kaffee", "purchased_ids": ["L1"]}')
    options = ["--out", str(tmp_path / "out"), "--log", str(tmp_path / "log.jsonl"), "--encoding", "cp1252"]
    assert main(["import", str(tmp_path / "shop.csv"), *options]) == 0
    assert "2 products, 1 log entries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--as", "csv"], "pics: the folder holds no *.csv or *.tsv or *.txt or *.tab; name another, or a file"),
        ([], "pics: the folder holds no .csv, .xlsx, .jsonl or .parquet; name another, or a file"),
    ],
)
def test_a_folder_without_tables_is_said_to_hold_none(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pics").mkdir()
    assert main(["import", str(tmp_path / "pics"), *options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
