"""Prices as people write them."""

from __future__ import annotations

import re
from typing import Any

from moon2.catalog.importing.cells import to_text


def to_price(value: Any) -> float | None:
    """A price as a number, from 1,299.50 or 1.299,50, with or without a currency; None when the cell is empty.

    Raises:
        ValueError: it is no price.
    """
    text = to_text(value).strip()
    if not text:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    # One number, with at most a currency such as "Rs." or "EUR" beside it.
    number = re.fullmatch(r"[^\d\-]{0,5}(-?\d[\d.,\s']*)[^\d]{0,5}", text)
    if number is None:
        raise ValueError(f"{text!r} is not a price")
    text = re.sub(r"[\s']", "", number[1]).rstrip(".,")
    if "," in text and "." in text:
        text = text.replace("." if text.rfind(",") > text.rfind(".") else ",", "")
    text = re.sub(r",(?=\d{3}(?:,|\.|$))", "", text).replace(",", ".")
    return float(text)
