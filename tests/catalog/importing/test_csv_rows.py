"""Rows of CSV and TSV files: no row is lost in silence, whatever the quotes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from moon2.catalog.importing import csv_rows
from moon2.catalog.importing.csv_rows import name_columns, open_csv
from moon2.catalog.importing.sources import BadRow


def rows_of(path: Path, text: str) -> list[Any]:
    path.write_text(text, encoding="utf-8", newline="")
    table = open_csv([path])
    return [row.message if isinstance(row, BadRow) else [row[name] for name in table.columns] for _, row in table.rows]


def test_quotes_of_a_feed_are_part_of_its_titles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    titles = ['"Premium" pan', 'Pipe 5" long', '"Retro lamp, brass', "Hose", "Mat", 'Mug "Oslo"', "Pot", '"open']
    text = "id\ttitle\timage\n" + "".join(f"A{i}\t{title}\t\n" for i, title in enumerate(titles))
    assert rows_of(tmp_path / "feed.tsv", text) == [[f"A{i}", title, ""] for i, title in enumerate(titles)]
    [record] = caplog.records
    assert record.message.startswith("feed.tsv: 3 rows hold quotes that are not those of CSV, the first in line 2")


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_csv_writer_quotes_is_read_back(
    tmp_path: Path, delimiter: str, quoting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    html = f'<ul>\n\t<li>soft{delimiter} warm</li>\n\t<li>5" wide</li>\n</ul>'
    rows = [["id", "title", "text", "n"], ["1", "Two\nlines", html, "3"], ["2", 'She said "hi"\r\n', "\n", '"']]
    rows += [["3", "", f'"{delimiter}"', "\n\n"], ["4", "a" * 9, "padded ", "x"]]
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, quoting=quoting).writerows(rows)
    assert rows_of(tmp_path / "a.csv", written.getvalue()) == rows[1:]
    assert not caplog.records


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quote_that_closes_in_a_later_row_swallows_none_of_a_feed(tmp_path: Path, end: str) -> None:
    lines = ["id\ttitle\tn", '1\t"Lamp\t9', "2\tHose\t5", '3\tPipe 5"\t7', '4\t"Two', 'lines"\t8', "5\tPot\t1"]
    assert rows_of(tmp_path / "a.tsv", end.join(lines) + end) == [
        ["1", '"Lamp', "9"],
        ["2", "Hose", "5"],
        ["3", 'Pipe 5"', "7"],
        ["4", f"Two{end}lines", "8"],
        ["5", "Pot", "1"],
    ]


def test_a_swallowed_row_that_shows_by_its_number_of_fields(tmp_path: Path) -> None:
    lines = ["id\tb\tc\td\te", '2\tb5\tx\ty\t"', '3\t""""5"\t5"\t"\t5"', "4\ta\tb\tc\td"]
    first, _, last = rows_of(tmp_path / "a.tsv", "\n".join(lines))
    assert (first, last) == (["2", "b5", "x", "y", '"'], ["4", "a", "b", "c", "d"])


def test_swallowed_rows_of_comma_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["id,title,n", '1,"Lamp,9', "2,Hose,5", '3,Pipe 5",7', "4,Pot,1"]
    assert len(rows_of(tmp_path / "a.csv", "\n".join(lines))) == 4  # three lines of three fields are no accident
    caplog.clear()
    # Two lines may be one text with commas as well: it is believed, and said.
    [row] = rows_of(tmp_path / "b.csv", 'id,title,n\n1,"Lamp,9\n3,Pipe 5",7\n')
    assert row == ["1", "Lamp,9\n3,Pipe 5", "7"]
    assert "b.csv: 1 quoted fields hold lines that look like rows of their own, the first in line 2" in caplog.text


def test_sloppy_quotes_cost_nothing_but_themselves(tmp_path: Path) -> None:
    text = (
        'id, title, n\n1, "Red, soft", 2\n2,"6" pan",3\n3,"say \\"hi, you\\"",4\n4,"x" ,5\n5,"Lamp, brass,6\n6,Mat,7\n'
    )
    *rows, bad, last = rows_of(tmp_path / "a.csv", text)
    assert rows == [["1", "Red, soft", "2"], ["2", '"6" pan"', "3"], ["3", 'say "hi, you"', "4"], ["4", "x", "5"]]
    assert bad.startswith("line 6 has 4 fields where the header has 3") and last == ["6", "Mat", "7"]


def test_a_quote_that_never_closes_ends_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[str(i), '"open' if i == 1 else "x" * 99] for i in range(50)]
    text = "id\ttitle\n" + "".join("\t".join(row) + "\n" for row in rows)
    assert rows_of(tmp_path / "a.tsv", text) == rows
    monkeypatch.setattr(csv_rows, "MAX_FIELD_CHARACTERS", 500)
    assert rows_of(tmp_path / "a.tsv", text) == rows


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ("sep=;\nid;a,b\n1;2,3\n", ["id", "a,b"], [["1", "2,3"]]),
        ('"sep=|"\r\nid|a\r\n1|2\r\n', ["id", "a"], [["1", "2"]]),
        ("id,title,price\n1,Mat,2,\n2,Rug,3,,\n", ["id", "title", "price"], [["1", "Mat", "2"], ["2", "Rug", "3"]]),
        ("id,title,,\n1,Mat,,\n", ["id", "title"], [["1", "Mat"]]),
        ("id,title,,\n1,Mat,,\n2,Rug,x,\n", ["id", "title", "column 3"], [["1", "Mat", ""], ["2", "Rug", "x"]]),
        (",title\n7,Mat\n", ["column 1", "title"], [["7", "Mat"]]),
        ("\n \nid,img,img\n1,a,b\n,,\n\n2\n", ["id", "img", "img (2)"], [["1", "a", "b"], ["2", "", ""]]),
        ('"Name, long";id\nMat;1\n', ["Name, long", "id"], [["Mat", "1"]]),
        ('"Name\nlong"\tid\tn\nMat\t1\t2\n', ["Name long", "id", "n"], [["Mat", "1", "2"]]),
    ],
)
def test_headers_of_spreadsheets(tmp_path: Path, text: str, columns: list[str], rows: list[list[str]]) -> None:
    assert rows_of(tmp_path / "a.csv", text) == rows
    assert open_csv([tmp_path / "a.csv"]).columns == columns


def test_columns_have_names_of_their_own() -> None:
    assert name_columns([" a ", None, "a", "b", "", "a", ""]) == ["a", "column 2", "a (2)", "b", "column 5", "a (3)"]


@pytest.mark.parametrize(
    "above", ["Product export 2024-05-01;;\n\n", "Export, all products\nDate;1 May\n", "sep=;\nExport\n\n"]
)
def test_what_stands_above_the_header_is_left_out_and_said(
    tmp_path: Path, above: str, caplog: pytest.LogCaptureFixture
) -> None:
    mat, bad = rows_of(tmp_path / "a.csv", f"{above}id;title;price\n1;Mat;5\n2;Rug;5;7\n")
    assert mat == ["1", "Mat", "5"]
    assert bad.startswith(f"line {len(above.splitlines()) + 3} has 4 fields where the header has 3")
    assert "a.csv: what stands above its header (" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "ref;was;wie\n1;id;title\n",  # as long as the first row
        "ref;was;wie\n1;Mat;A mat, size, colour, brand\n",  # commas of a text
        'ref;"was\nid;title;price";wie\n1;Mat;5\n',  # a name of several lines
        "ref;id\n1;2\n",
        "ref;was;kg (netto, ca.);m 1;w 1;m 2;w 2\n1;Mat;2;colour;red;size;M\n",  # a comma in a name; attributes in rows
        "ref,was,kost,,\n1,Mat,9,color,size\n",  # columns without names
    ],
)
def test_a_first_row_of_unusual_names_stays_the_header(tmp_path: Path, text: str) -> None:
    rows_of(tmp_path / "a.csv", text)
    assert open_csv([tmp_path / "a.csv"]).columns[0] == "ref"


def test_rows_with_fewer_fields_than_the_header_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of(tmp_path / "a.csv", "id,title,price\n1,Mat,5\n2,Rug\nof wool,7\n")
    assert rows == [["1", "Mat", "5"], ["2", "Rug", ""], ["of wool", "7", ""]]
    [record] = caplog.records
    assert record.message.startswith("a.csv: 2 rows have fewer fields than the header, the first in line 3; ")
