"""Prices as people write them: "1.299,00 €", "Rp 1.250.000", "from 19.90", "19.90 - 29.90".

A price that can be read in two ways, such as 1.299, is read as the column's other prices are written. A library for
prices on web pages, `price-parser`, was tried: it reads -1 as 1, 1e3 as 1 and "2 for 10" as 2, without a word.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from moon2.catalog.importing.cells import as_list, is_empty, to_text
from moon2.records import RecordError

Decimal: TypeAlias = Literal[".", ",", ""]
"""The decimal sign of a column; "" where its prices do not tell."""

# Digits with their separators. A space or an apostrophe only separates groups of three.
_NUMBER = re.compile(r"(?<![\w.,])[.,]\d+|\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,]\d+)*")
# A whole price ends in a dash in much of Europe, in "/-" in India.
_DASH = re.compile(r"(?<=\d)(?:([.,])\s?(?:-{1,2}|–|—)|:-|/-)")
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
# Hundredths of the currency. Of p, only up to 99: it is roubles, too.
_CENTS = re.compile(r"(\d+) ?(?:¢|cts?\.?|cents?|pence)|(\d\d?)p", re.IGNORECASE)
_CENT = re.compile(r"\d ?(?:¢|(?:cts?|cents?|pence)\b)", re.IGNORECASE)
# The price of a weight or a piece: "/kg", "/ 100 g", "per 2 l".
_PER_UNIT = re.compile(
    r"(?:/|\bper\b|\bpro\b)\s*\d+(?:[.,]\d+)?\s*(?:kg|g|gr|mg|l|ml|cl|m²|m2|m|cm|oz|lb|szt)\b\.?", re.IGNORECASE
)
# Of "was 20 now 15", the second is the price.
_REDUCED = re.compile(
    r"\b(?:was|instead of|before|statt|vorher|bisher|früher|de|antes|avant|invece di|zamiast|van)\b[^\d]*"
    r"(?:\d[\d.,' ]*\D*?)\b(?:now|jetzt|nur|nun|por|ahora|agora|maintenant|ora|teraz|voor)\b",
    re.IGNORECASE,
)
_NOTE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_RANGE = re.compile(
    r"(?:^|[^\w.])(?:[-–—~〜〰]|\.\.\.?|…|to|bis|à|a|al|hasta|até|do|tot|til|till|и)(?:$|[^\w.])|[-–—~〜…]"
)
_MINUS = re.compile(r"[-−–]\s*[^\w\s]?\s*$")
_THREE_DECIMALS = re.compile(r"\b(?:kwd|bhd|omr|jod|tnd|lyd|iqd|kd|dt)\b|د\.", re.IGNORECASE)
_AMOUNT_KEYS = ("amount", "value", "price", "current", "min")


def to_price(value: Any, decimal: Decimal = "", usual: Decimal = "") -> float | None:
    """A price as a number; of a range, its lower end; None when the cell is empty.

    Args:
        value: a number, a text, or a structure with an amount.
        decimal: the decimal sign, if it is known; decides where a price can be read in two ways.
        usual: the decimal sign of the column's other prices, see `decimal_of`.

    Raises:
        RecordError: `bad_price`, it is no price, or below zero; `unclear_price`, it can be read in two ways.
    """
    if isinstance(value, Mapping):
        value = next((value[key] for key in _AMOUNT_KEYS if value.get(key) is not None), None)
    if isinstance(value, (list, tuple)) or (isinstance(value, str) and value.lstrip().startswith("[")):
        values = as_list(value)
        value = values[0] if len(values) == 1 else None if not values else value
    if is_empty(value):
        return None
    text = to_text(value).strip()
    amount = _written(text, decimal, usual) if isinstance(value, str) else _number(value)
    if amount is None or not math.isfinite(amount) or amount < 0:
        raise RecordError("bad_price", f"price {text!r:.60} is not a number of at least 0; write it like 1299.50")
    return amount


def decimal_of(values: Iterable[Any]) -> Decimal:
    """The decimal sign of a column, from those of its prices that can be read in one way only; "" if they differ."""
    signs: set[Decimal] = set()
    for value in values:
        text = _plain(value) if isinstance(value, str) else ""
        signs.update(map(_sign, _NUMBER.findall(text)))
        signs.update(_decimal(dash[1]) for dash in _DASH.finditer(text) if dash[1])
    signs.discard("")
    return signs.pop() if len(signs) == 1 else ""


def _decimal(sign: str) -> Decimal:
    return "," if sign == "," else "."


def _plain(text: str) -> str:
    """With digits, spaces and signs of ASCII, and without notes in brackets."""
    text = unicodedata.normalize("NFKC", text).translate({ord("’"): "'", ord("`"): "'", ord("٫"): ".", ord("٬"): ","})
    if not text.isascii():
        text = _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.digit(digit[0])), text)
    text = _REDUCED.sub(" ", _PER_UNIT.sub(" ", _NOTE.sub(" ", text)))
    return " ".join(text.split())


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _written(text: str, decimal: Decimal, usual: Decimal) -> float | None:
    """The number of a text; None where it is no price."""
    if re.fullmatch(r"\d+(\.\d{1,2}|\.\d{4,})?([eE]\d+)?", text):
        return float(text)
    plain = _plain(text)
    if cents := _CENTS.fullmatch(plain):
        return int(cents[1] or cents[2]) / 100
    if _CENT.search(plain):  # of "0.99¢" and "50-99¢" it is unclear what is in cents
        return None
    for dash in _DASH.finditer(plain):
        decimal = _decimal(dash[1]) if dash[1] else decimal
    plain = _DASH.sub("", plain)
    numbers = list(_NUMBER.finditer(plain))
    if not 1 <= len(numbers) <= 2 or "%" in plain or _MINUS.search(plain[: numbers[0].start()]):
        return None
    if len(numbers) == 2 and not _RANGE.search(plain[numbers[0].end() : numbers[1].start()]):
        return None
    outside = _NUMBER.sub("", plain)
    amounts = [_value(number[0], decimal, usual, outside, text) for number in numbers]
    return min((amount for amount in amounts if amount is not None), default=None) if None not in amounts else None


def _sign(number: str) -> Decimal:
    """The decimal sign of a number as far as it alone tells; "" if it does not."""
    separators = re.findall(r"[.,]", number)
    if not separators:
        return ""
    last = _decimal(separators[-1])
    if len(separators) == 1:
        return "" if _is_thousands_or_decimal(number) else last
    # Of two signs the last is the decimal one; one sign that comes twice separates thousands.
    return last if len(set(separators)) == 2 else "." if last == "," else ","


def _is_thousands_or_decimal(number: str) -> bool:
    """Whether one sign stands before exactly three digits, and can be either."""
    return re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", number) is not None


def _value(number: str, decimal: Decimal, usual: Decimal, outside: str, text: str) -> float | None:
    """The number of digits with separators; None where its groups are no groups."""
    number = re.sub(r"[ ']", "", number)
    if _is_thousands_or_decimal(number):
        sign = _decimal(number[-4])
        has_currency = bool(re.search(r"[^\W\d_]|[^\w\s.,'/~+*-]", outside))
        # No currency but the dinars has three decimals. A program prints 1.299 for a number, but never 1,299.
        is_number = sign == "." and not has_currency
        if decimal:
            is_decimal: bool | None = sign == decimal
        elif _THREE_DECIMALS.search(outside):
            is_decimal = sign == (usual or ".")
        elif sign == usual:
            is_decimal = True if is_number else None
        else:
            is_decimal = None if is_number and not usual else False
        if is_decimal is None:
            whole = number.replace(sign, "")
            raise RecordError(
                "unclear_price",
                f"price {text!r:.60} can be {whole} or {number.replace(',', '.')}; name the decimal sign with "
                f"--columns.decimal",
            )
        return float(number.replace(sign, "." if is_decimal else ""))
    sign = _sign(number)
    groups, _, cents = number.rpartition(sign) if sign and sign in number else (number, "", "")
    if not re.fullmatch(r"\d*|[1-9]\d{0,2}([.,])\d{3}(?:\1\d{3})*|[1-9]\d?(?:,\d\d)*,\d{3}", groups):
        return None
    return float(f"{re.sub('[.,]', '', groups) or '0'}.{cents or '0'}")
