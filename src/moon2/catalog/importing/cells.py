"""What stands in one cell of a foreign table: text, several values, ids, or the name of a split."""

from __future__ import annotations

import json
import math
from typing import Any

from moon2.records import RecordError

SPLIT_NAMES = {
    **dict.fromkeys(("", "train", "training"), "train"),
    **dict.fromkeys(("test", "dev", "val", "valid", "validation", "eval", "testing"), "test"),
}


def to_text(value: Any) -> str:
    """A cell as text: None and NaN are "", a whole number has no decimals (pandas turns ids into 1163.0)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def as_list(value: Any) -> list[Any]:
    """The values of a cell that may hold one or several."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = from_json(value)
    if isinstance(value, (list, tuple)):
        return [item for item in value if item is not None]
    return [] if to_text(value) == "" else [value]


def from_json(text: str) -> Any:
    """The value of JSON text; the text itself if it is no JSON, too deep, or holds numbers with too many digits."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def to_split(value: Any) -> str:
    """train or test.

    Raises:
        RecordError: reason `bad_split`.
    """
    name = to_text(value).strip().casefold()
    if name not in SPLIT_NAMES:
        raise RecordError("bad_split", f"split {name!r:.60} is neither train nor test")
    return SPLIT_NAMES[name]
