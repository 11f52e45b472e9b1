"""Typing mistakes are mended towards the product's own row, and names are left alone."""

from __future__ import annotations

import pytest

from moon2.augment.text.sanitize import clean_product
from moon2.augment.text.spelling import corrected
from moon2.records import Product

ROW = clean_product(Product("1", "-", category=("Accessories", "Sunglasses"), attributes={"brand": "Castello"}))


@pytest.mark.parametrize(
    ("title", "mended"),
    [
        ("Csatello sunglases", "Castello sunglasses"),
        ("sccarlet dress, navy bllue", "scarlet dress, navy blue"),
        ("Cotten Club tshirt", "Cotten Club tshirt"),
        ("Stretch brolly", "Stretch brolly"),
    ],
)
def test_one_slip_is_mended(title: str, mended: str) -> None:
    assert corrected(title, ROW) == mended
