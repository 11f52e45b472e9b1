"""Text files: compressed or not, in any usual encoding, and one line for what is no text."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from moon2.catalog.importing.text_files import TextFile
from moon2.catalog.schema import CatalogError

TEXT = "id;title\n1;Café crème, groß\n2;Plain\n"


def zipped(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def read(path: Path, data: bytes, encoding: str | None = None) -> str:
    path.write_bytes(data)
    with TextFile(path, encoding).open() as file:
        return file.read()


@pytest.mark.parametrize(
    "encode", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_the_bytes_show_the_encoding(tmp_path: Path, encode: str) -> None:
    assert read(tmp_path / "a.csv", TEXT.encode(encode)) == TEXT


def test_windows_1252_is_said_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert "€ 3 – “groß”" in read(tmp_path / "a.csv", ("x" * 50_000 + "€ 3 – “groß”").encode("cp1252"))
    assert [record.message[:39] for record in caplog.records] == ["a.csv: is not UTF-8, and is read as Win"]
    caplog.clear()
    assert read(tmp_path / "a.csv", TEXT.encode()) == TEXT and not caplog.records


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "id,title\n1,红色连衣裙\n2,蓝色衬衫\n"),
        ("shift_jis", "id,title\n1,赤いワンピース\n2,シャツ\n"),
        ("euc_kr", "id,title\n1,빨간 원피스\n"),
        ("cp1251", "id,title\n1,Красное платье\n"),
    ],
)
def test_another_encoding_is_asked_for_and_read_by_name(tmp_path: Path, encoding: str, text: str) -> None:
    with pytest.raises(CatalogError, match="its encoding is unclear, as it is not UTF-8; name it with --encoding"):
        read(tmp_path / "a.csv", text.encode(encoding))
    assert read(tmp_path / "a.csv", text.encode(encoding), encoding) == text


def test_a_few_broken_bytes_do_not_change_the_encoding(tmp_path: Path) -> None:
    data = "größer, kräftig, Café".encode().replace("é".encode(), b"\xc3")
    assert read(tmp_path / "a.csv", data) == "größer, kräftig, Caf\ufffd"


def test_a_mark_wins_over_the_name_of_an_encoding(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", TEXT.encode("utf-16"), "cp1252") == TEXT
    assert read(tmp_path / "a.csv", TEXT.encode("utf-8-sig"), "utf-8") == TEXT
    with pytest.raises(CatalogError, match="there is no encoding 'utf8-bom'"):
        read(tmp_path / "a.csv", TEXT.encode(), "utf8-bom")


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, lambda data: zipped({"__MACOSX/a": b"", "a.csv": data})]
)
def test_a_compressed_file_is_read(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    assert read(tmp_path / "a.csv.packed", compress(TEXT.encode())) == TEXT
    with pytest.raises(CatalogError, match=r"packed: cannot be read \("):
        read(tmp_path / "a.csv.packed", compress(TEXT.encode() * 9)[:40])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped({"a.csv": b"id", "b.csv": b"id"}), r"holds 2 files \(a.csv, b.csv\); unpack it"),
        (zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "is an Excel file; read it with --as xlsx"),
        (b"PAR1" + bytes(100), "is a Parquet file; read it with --as parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), r"is an old Excel file \(.xls\); save it as .xlsx"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x0c\0\0\0\x10\x08\x02", "is no text, and no table that can be read"),
        (b"SQLite format 3\0\x10\0\x02\x02\0@  \0\0\0\x1e\0\0\0\x07" + bytes(60), "is no text"),
    ],
)
def test_a_file_that_is_no_text_is_refused_in_one_line_of_text(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message) as refused:
        read(tmp_path / "a.csv", data)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("encoding", ["base64", "rot13", "idna", "undefined"])
def test_what_python_calls_an_encoding_and_is_none_of_text_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(CatalogError, match=f"there is no encoding '{encoding}'"):
        read(tmp_path / "a.csv", b"id,title\n", encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_known_where_few_characters_are_ascii(tmp_path: Path, encoding: str) -> None:
    text = "编号,标题,描述\n" + "".join(f"{n},衬衫,{'纯棉长袖翻领商务休闲衬衫男士春秋款' * 3}\n" for n in range(30))
    assert read(tmp_path / "a.csv", text.encode(encoding)) == text


def test_a_stray_zero_byte_costs_nothing_but_its_row(tmp_path: Path) -> None:
    text = "id,title\n" + "".join(f"{n},Title number {n}\n" for n in range(50))
    stray = text.replace("number 7\n", "number\0 7\n")
    assert read(tmp_path / "a.csv", stray.encode()) == stray
