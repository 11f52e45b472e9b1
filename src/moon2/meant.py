"""The guess at what was meant by a mistyped word: the end of a message about it, or nothing where nothing is near."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

# How jsonargparse names an option or a key of a file that is none.
_UNKNOWN_OPTION = (
    re.compile(r"unrecognized arguments: --(?P<option>[^\s=]+)"),
    re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<option>[^']+)'"),
    re.compile(r"Option '(?P<option>[^']+)' is not accepted"),
)
# The shell put the names of files in the place of a pattern.
_SURPLUS = re.compile(r"unrecognized arguments: ([^-].*?)(?: |$)")
_NO_FILE = re.compile(r"File does not exist: '([^']+)'")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message that names the nearest known word, such as "; did you mean 'steps'?"; "" if none is near."""
    near = _nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def did_you_mean_file(path: str | PathLike[str]) -> str:
    """The same for a file or folder that is not there: what is beside it, or where its folder should be."""
    missing = Path(path)
    while not missing.parent.exists():
        missing = missing.parent
    try:
        names = [one.name for one in missing.parent.iterdir() if not one.name.startswith(".")]
    except OSError:
        return ""
    near = _nearest(missing.name, names)
    return f"; did you mean '{missing.parent / near}'?" if near else ""


def did_you_mean_option(message: str, options: Iterable[str]) -> str:
    """The same for a message of jsonargparse that names an option, a key or a file which is none.

    Args:
        message: of the error.
        options: all that there are, such as "training.steps".
    """
    if missing := _NO_FILE.search(message):
        return did_you_mean_file(missing[1])
    if (surplus := _SURPLUS.search(message)) and Path(surplus[1]).exists():
        return "; several files in the place of one: write a pattern in quotes, such as 'export/*.parquet';"
    for pattern in _UNKNOWN_OPTION:
        if found := pattern.search(message):
            names = found.groupdict()
            return did_you_mean(".".join(filter(None, (names.get("group"), names["option"]))), options)
    return ""


def _nearest(word: str, known: Iterable[str]) -> str:
    by_folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_folded, 1, cutoff=0.7)
    return by_folded[near[0]] if near else ""
