"""Text files of other people: compressed or not, in the encoding that their bytes show.

A byte-order mark decides. Without one, the whole file is checked for UTF-8, as one wrong letter may stand far below;
then UTF-16 and Windows-1252 are recognised, and Windows-1252 is said. Anything else must be named (`--encoding`).
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import logging
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from moon2.catalog.schema import CatalogError
from moon2.errors import one_line

logger = logging.getLogger(__name__)

COMPRESSED_ENDINGS = (".gz", ".bz2", ".xz", ".zip")
READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a file raises that is missing, cut short or damaged."""
_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_KINDS = {
    b"PAR1": "is a Parquet file; read it with --as parquet",
    b"\xd0\xcf\x11\xe0": "is an old Excel file (.xls); save it as .xlsx, or as CSV",
    b"%PDF": "is a PDF; a table is needed",
}
_HEAD_BYTES = 1 << 14
# Of a table in any language, at least so many characters are delimiters, digits and line ends. Fewer zeros are an
# accident in another encoding.
_ASCII_SHARE = 0.02
_PIECE_BYTES = 1 << 20
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))
# Windows-1252 has single letters such as é among ASCII; other code pages have whole words of such bytes.
_FOREIGN_WORDS = re.compile(rb"[\x80-\xff]{3,}")
_UNDEFINED_IN_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a file for reading, decompressed if it is gzip, bzip2, xz, or a zip of one file.

    Raises:
        CatalogError: it cannot be opened, or a zip holds several files.
    """
    try:
        with path.open("rb") as file:
            start = file.read(6)
        for magic, opener in _OPENERS.items():
            if start.startswith(magic):
                return opener(path, "rb")
        return _open_zip(path) if start.startswith(b"PK\x03\x04") else path.open("rb")
    except READ_ERRORS as error:
        raise cannot_be_read(path, error) from None


def cannot_be_read(path: Path, error: BaseException) -> CatalogError:
    """The error for a file that is missing, cut short or damaged."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return CatalogError(f"{path}: cannot be read ({reason})")


def _open_zip(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names:
        raise CatalogError(f"{path}: is an Excel file; read it with --as xlsx")
    if len(names) != 1:
        raise CatalogError(f"{path}: holds {len(names)} files ({', '.join(names):.80}); unpack it and import one")
    if archive.getinfo(names[0]).flag_bits & 1:
        raise CatalogError(f"{path}: is locked with a password; unpack it")
    return archive.open(names[0])


class TextFile:
    """A text file whose encoding is known; it can be opened several times.

    Attributes:
        path: of the file.
        encoding: a name that Python knows.

    Raises:
        CatalogError: it cannot be read, is no text, or its encoding is unclear.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path = path
        try:
            with open_bytes(path) as file:
                head = file.read(_HEAD_BYTES)
                marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
                self.encoding = marked or (_known(encoding) if encoding else self._guess(file, head))
        except READ_ERRORS as error:
            raise cannot_be_read(path, error) from None

    def open(self) -> io.TextIOWrapper:
        """The text, with its line ends as they are; bytes that cannot be decoded become U+FFFD.

        The records refuse U+FFFD, so such bytes cost a field or a row, and not the file.
        """
        return io.TextIOWrapper(open_bytes(self.path), self.encoding, errors="replace", newline="")

    def _guess(self, file: IO[bytes], head: bytes) -> str:
        for start, kind in _OTHER_KINDS.items():
            if head.startswith(start):
                raise CatalogError(f"{self.path}: {kind}")
        if head.count(0) and (encoding := _utf_16_without_mark(head)):
            return encoding
        controls = len(head) - len(head.translate(None, _CONTROLS))
        if controls > 3 and controls > len(head) / 30:
            raise CatalogError(f"{self.path}: is no text, and no table that can be read; save it as CSV or .xlsx")
        share, foreign = _utf_8_share(file, head)
        if share >= 0.5:
            return "utf-8"
        if foreign:
            raise CatalogError(
                f"{self.path}: its encoding is unclear, as it is not UTF-8; name it with --encoding, such as gb18030, "
                f"shift_jis, euc_kr, cp1251 or cp1252"
            )
        logger.warning(
            f"{self.path.name}: is not UTF-8, and is read as Windows-1252; if letters come out wrong, name the "
            f"encoding with --encoding, such as cp1250"
        )
        return "cp1252"


def _known(encoding: str) -> str:
    try:
        "a".encode(encoding, "replace")  # Python calls base64, idna and the like encodings too, but not of text
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError):
        raise CatalogError(f"there is no encoding {encoding!r}; usual ones are cp1252, utf-16, gb18030") from None


def _utf_16_without_mark(head: bytes) -> str | None:
    """UTF-16 has a zero in every ASCII character, always on the same side."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > max(4 * others, _ASCII_SHARE * len(head) / 2):
            text = head[: len(head) // 2 * 2].decode(encoding, "replace")
            if not re.search("[\0-\x08\x0e-\x19\ufffd]", text[:-1]):
                return encoding
    return None


def _utf_8_share(file: IO[bytes], head: bytes) -> tuple[float, bool]:
    """Of the characters beyond ASCII, the share that UTF-8 can read; and whether the others look like no Windows-1252.

    Bytes that a program cut in two leave most others readable, while another encoding leaves next to none.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    good = bad = letters = foreign = 0
    piece = head
    while piece:
        text = decoder.decode(piece)
        if not text.isascii():
            wrong = text.count("\ufffd") - piece.count("\ufffd".encode())
            bad += wrong
            good += len(text) - len(text.encode("ascii", "ignore")) - wrong
            if wrong:
                letters += sum(byte >= 0x80 for byte in piece)
                foreign += sum(map(len, _FOREIGN_WORDS.findall(piece))) + 2 * len(_UNDEFINED_IN_1252.findall(piece))
        piece = file.read(_PIECE_BYTES)
    return (good / (good + bad) if bad else 1.0), 2 * foreign > letters
