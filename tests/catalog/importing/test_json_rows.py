"""Rows of JSON files: a fault costs only its row, wherever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moon2.catalog.importing import json_rows
from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.importing.sources import COLUMN_ROWS, BadRow
from moon2.catalog.schema import CatalogError

LONG = "1" + "0" * 5_000


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, indent: int | None) -> None:
    monkeypatch.setattr(json_rows, "PIECE_CHARACTERS", piece)
    rows = [{"id": str(number), "title": 'x, [y] {z} \\ " 图' * number, "n": number} for number in range(9)]
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=indent))
    assert list(json_rows.json_rows(tmp_path / "list.json")) == rows
    (tmp_path / "object.json").write_text(json.dumps({row["id"]: row for row in rows}, indent=indent))
    assert list(json_rows.json_rows(tmp_path / "object.json")) == rows
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, rows)))
    assert list(json_rows.json_rows(tmp_path / "lines.json")) == rows
    (tmp_path / "cut.json").write_text(json.dumps(rows, indent=indent)[:-30])
    with pytest.raises(CatalogError, match="is not JSON after 8 rows"):
        list(json_rows.json_rows(tmp_path / "cut.json"))


def test_a_line_that_is_not_json_costs_only_that_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n[2]\n{"id": \n\n{"id": 3}\n')
    rows = list(json_rows.json_rows(tmp_path / "a.jsonl"))
    assert [row.reason if isinstance(row, BadRow) else row["id"] for row in rows] == [1, "bad_row", "bad_row", 3]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("layout", ["rows.jsonl", "rows.json", "list.json", "object.json"])
@pytest.mark.parametrize("piece", [7, 1 << 16])
def test_an_integer_of_thousands_of_digits_costs_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, place: int, piece: int
) -> None:
    monkeypatch.setattr(json_rows, "PIECE_CHARACTERS", piece)
    rows = [json.dumps({"id": name, "title": "a lamp", "price": 7}) for name in "abc"]
    rows[place] = rows[place].replace("7", LONG)
    members = ", ".join(f'"{name}": {row}' for name, row in zip("abc", rows, strict=True))
    texts = {"rows": "\n".join(rows), "list": f"[{', '.join(rows)}]", "object": f"{{{members}}}"}
    (tmp_path / layout).write_text(texts[Path(layout).stem])
    result = list(json_rows.json_rows(tmp_path / layout))
    assert [row["id"] for row in result if isinstance(row, dict)] == [name for name in "abc" if name != "abc"[place]]
    bad = result[place]
    assert isinstance(bad, BadRow) and bad.reason == "bad_row"
    assert bad.message.endswith("holds an integer of more than 4,300 digits")


def test_a_first_line_nested_too_deep_costs_that_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": ' + "[" * 100_000 + "]" * 100_000 + '}\n{"id": "b"}\n')
    bad, good = json_rows.json_rows(tmp_path / "rows.jsonl")
    assert isinstance(bad, BadRow) and good == {"id": "b"}


def test_an_import_lists_rows_that_cannot_be_written_and_goes_on(tmp_path: Path) -> None:
    row = {"id": "a", "doc_title": "shirt", "query": "x", "qid": "1", "query_image": "https://shop.example/1.jpg"}
    rows = [
        row,
        {**row, "qid": "q\ud800"},
        {**row, "qid": "2", "query_image": "https://shop.example/\ud800.jpg"},
        {**row, "id": "b", "qid": "3", "doc_image": "https://shop.example/\ud800.jpg"},
        {**row, "qid": "4"},
    ]
    lines = [json.dumps({"doc_image": "https://shop.example/a.jpg", **row}) for row in rows]
    lines.insert(1, lines[0].replace('"1"', LONG))
    (tmp_path / "mbe_test.jsonl").write_text("\n".join(lines))
    result = import_catalog(str(tmp_path / "mbe_test.jsonl"), out=tmp_path / "out", layout="mbe")
    assert result.catalog.ids() == ["a"]
    assert [interaction.query.id for interaction in result.catalog.interactions("test")] == ["1", "4"]
    assert result.reasons == {"bad_row": 2, "broken_encoding": 3, "unknown_product": 1}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_lines_of_objects_are_no_object_of_products(tmp_path: Path, name: str) -> None:
    rows = [{"id": str(n), "seo": {"title": "Mat"}, "price": {"value": n}, "brand": {"name": "Oslo"}} for n in range(3)]
    (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    assert list(json_rows.json_rows(tmp_path / name)) == rows


@pytest.mark.parametrize("piece", [1, 1 << 16])
def test_what_follows_a_list_is_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(json_rows, "PIECE_CHARACTERS", piece)
    (tmp_path / "a.json").write_text('[{"id": 1}, {"id": 2}]\n[]\n[{"id": 3}]\n')
    assert list(json_rows.json_rows(tmp_path / "a.json")) == [{"id": 1}, {"id": 2}, {"id": 3}]
    (tmp_path / "b.json").write_text('[{"id": 1}, {"id": 2}]\n{"id": 3}\n')
    with pytest.raises(CatalogError, match="is not JSON after 2 rows"):
        list(json_rows.json_rows(tmp_path / "b.json"))


def test_columns_that_only_late_rows_have_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"id": str(n), "title": f"Lamp {n}"} | ({"price": n} if n > COLUMN_ROWS else {}) for n in range(1_004)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_catalog(str(tmp_path / "a.jsonl"), out=tmp_path / "shop")
    assert "a.jsonl: columns that none of the first 1,000 rows has are not read: price (3)" in caplog.text
