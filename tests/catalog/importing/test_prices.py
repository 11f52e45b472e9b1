"""Prices as shops of many countries write them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from moon2.catalog.importing.prices import decimal_of, to_price
from moon2.records import RecordError


@pytest.mark.parametrize(
    ("written", "price"),
    [
        *[("1299", 1299), ("1,299.50", 1299.5), ("1.299,50", 1299.5), ("₹ 1,299", 1299), ("12,5 €", 12.5), ("0", 0)],
        *[("Rs. 99", 99), ("Rs.99", 99), ("EUR15", 15), ("USD 15", 15), ("15.00 USD", 15), ("1,234,567", 1234567)],
        *[("1.299,00 €", 1299), ("1.299 €", 1299), ("£1,299", 1299), ("1,299", 1299), ("¥12,800", 12800)],
        *[("1 299,00 kr", 1299), ("1\xa0299,00 kr", 1299), ("1\u202f299 €", 1299), ("1 234 567", 1234567)],
        *[("1'299.00", 1299), ("CHF 1’299.–", 1299), ("99,-", 99), ("1.299,-", 1299), ("12.-", 12), ("1299:-", 1299)],
        *[("Rp 1.250.000", 1250000), ("R$ 1.999,99", 1999.99), ("12.345,6", 12345.6), ("1299.5000", 1299.5)],
        *[("₹1,29,999", 129999), ("1,29,999.00", 129999), ("Rs.1,299/-", 1299)],
        *[("１２００円", 1200), ("٣٤٫٥", 34.5), ("1e3", 1000), (",89 €", 0.89), ("$.99", 0.99), ("0.999", 0.999)],
        *[("KWD 1.250", 1.25), ("1234.567", 1234.567), ("¢1500", 1500), ("990p", 990)],
        *[("99¢", 0.99), ("150 ¢", 1.5), ("99 ct", 0.99), ("50 Cents", 0.5), ("99p", 0.99)],
        *[("100 (incl. VAT)", 100), ("from 19.90", 19.9), ("ab 19,90 € / Stück", 19.9), ("ca. 12", 12)],
        *[("R$ 4,50 / 100g", 4.5), ("R$ 12,90/kg", 12.9), ("2,49 € / 0,5 l", 2.49), ("3.99 per 2 kg", 3.99)],
        *[("de R$ 15,90 por R$ 12,90", 12.9), ("statt 1.299,00 € nur 999,00 €", 999), ("was $20 now $15", 15)],
        *[("19.90 - 29.90", 19.9), ("29,90 €–19,90 €", 19.9), ("10 to 20", 10), ("de 10 a 20", 10)],
        *[(7, 7), (7.5, 7.5), (1.299, 1.299), (Decimal("12.50"), 12.5), ({"amount": "12,5", "currency": "EUR"}, 12.5)],
        *[("['12.50']", 12.5), ("", None), (None, None), (float("nan"), None), ("N/A", None), ("-", None)],
    ],
)
def test_prices_are_read_as_people_write_them(written: object, price: float | None) -> None:
    assert to_price(written) == price


@pytest.mark.parametrize(
    "written",
    [
        *["POA", "ask us", "free", "-1", "-5,00", "€ -5", "−5", "- 12", -3, float("inf"), "Infinity", True],
        *[
            "2 for 10",
            "3 por R$ 10,00",
            "10x de R$ 12,90",
            "3 x 4.99",
            "10%",
            "10.5.2024",
            "1.299.50",
            "1,299,00",
            "1,2,3",
            "19 90",
            "1_000",
            "12 34 56",
            "0.99¢",
            "from 99¢",
            "50 - 99 cents",
        ],
    ],
)
def test_what_is_no_price_is_refused(written: object) -> None:
    with pytest.raises(RecordError, match="is not a number of at least 0") as refused:
        to_price(written)
    assert refused.value.reason == "bad_price"


@pytest.mark.parametrize(
    ("column", "sign"),
    [
        *[(["12,50", "1.299"], ","), (["12.5", "1.299"], "."), (["1.299,00 €"], ","), (["1.250.000"], ",")],
        *[(["99,-"], ","), (["1", "1.299"], ""), (["1.299,00 €", "15.00 USD"], ""), ([12.5, None, "nan"], "")],
    ],
)
def test_the_prices_of_a_column_tell_its_decimal_sign(column: list[object], sign: str) -> None:
    assert decimal_of(column) == sign


def test_a_price_that_can_be_read_in_two_ways_is_read_as_its_column_is() -> None:
    assert to_price("1.299", usual=",") == 1299
    assert to_price("1.299", usual=".") == 1.299  # as programs print a number
    assert to_price("1,299", usual=".") == 1299
    for written, usual in (("1.299", ""), ("1.299 €", "."), ("1,299", ",")):
        with pytest.raises(
            RecordError, match=r"can be 1299 or 1\.299; name the decimal sign with --columns\.dec"
        ) as unclear:
            to_price(written, usual=usual)  # type: ignore[arg-type]
        assert unclear.value.reason == "unclear_price"
    assert (to_price("1.299", "."), to_price("1.299", ","), to_price("1,299 €", ",")) == (1.299, 1299, 1.299)
