"""Excel files: the sheet that is meant, with ids as Excel shows them."""

from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from moon2.catalog.importing import excel_rows
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.excel_rows import open_excel
from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.schema import CatalogError

openpyxl = pytest.importorskip("openpyxl")

PRODUCTS = [["sku", "Bezeichnung", "Preis", "seit"], [4006381333931, "Matte", 12.5, datetime(2026, 1, 5)]]
PRODUCTS += [[None] * 4, [12.0, "Lampe", 3, "#N/A"]]
NOTES = [["Stand: Januar"], [None], ["Preise mit Steuer"]]


def save(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for title, rows in sheets.items():
        sheet = workbook.create_sheet(title)
        for row in rows:
            sheet.append(row)
    workbook.save(path)
    return path


def test_the_only_table_of_a_file_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "shop.xlsx", {"Hinweise": NOTES, "Artikel": [[], *PRODUCTS], "leer": []})
    table = open_excel([path])
    assert table.columns == ["sku", "Bezeichnung", "Preis", "seit"]
    assert [[row[name] for name in table.columns] for _, row in table.rows if isinstance(row, dict)] == [
        [4006381333931, "Matte", 12.5, "2026-01-05"],
        [12, "Lampe", 3, None],
    ]
    result = import_catalog(str(path), out=tmp_path / "out", columns=ColumnMapping(title="Bezeichnung"))
    assert result.catalog.ids() == ["4006381333931", "12"]


def test_of_several_tables_one_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "shop.xlsx", {"Sommer": PRODUCTS, "Winter": PRODUCTS, "Hinweise": NOTES})
    with pytest.raises(CatalogError, match="which sheet is the table\\? Name one with --subset: Sommer, Winter"):
        open_excel([path])
    with pytest.raises(CatalogError, match="has no sheet 'Herbst'; its sheets are Sommer, Winter, Hinweise"):
        open_excel([path], "Herbst")
    assert open_excel([path], "Winter").columns == PRODUCTS[0]
    assert open_excel([path], "Hinweise").columns == NOTES[0]


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    whole = save(tmp_path / "whole.xlsx", {"a": PRODUCTS}).read_bytes()
    (tmp_path / "cut.xlsx").write_bytes(whole[: len(whole) // 2])
    for name in ("p.xlsx", "cut.xlsx"):
        with pytest.raises(CatalogError, match=rf"{name}: cannot be read as an Excel file \(.*\); save it") as refused:
            open_excel([tmp_path / name])
        assert str(refused.value).isprintable()
    with pytest.raises(CatalogError, match=r"e\.xlsx: no sheet of it \(a\) has a header of several"):
        open_excel([save(tmp_path / "e.xlsx", {"a": [["id", "title"]]})])


def test_without_openpyxl_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel_rows, "find_spec", lambda name: None)
    with pytest.raises(CatalogError, match=r"need openpyxl: pip install 'moon2\[excel\]'"):
        open_excel([tmp_path / "p.xlsx"])


def test_rows_above_the_header_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "shop.xlsx", {"Artikel": [["Export"], [], *PRODUCTS], "Hinweise": NOTES})
    table = open_excel([path])
    assert table.columns == PRODUCTS[0] and len(list(table.rows)) == 2
    assert caplog.messages == ["shop.xlsx: what stands above its header (Export) is left out"]
