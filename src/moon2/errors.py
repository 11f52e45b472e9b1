"""The base of every error that a user can fix, and the guess at what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike
from pathlib import Path


class UserError(ValueError):
    """Something a user can fix. The message is one line: what is wrong, where, and what to do.

    The command line prints that line and exits with 2. Any other exception is a fault of moon2 and keeps its traceback.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message that names the nearest known word, such as "; did you mean 'steps'?"; "" if none is near."""
    by_folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_folded, 1, cutoff=0.6)
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


def did_you_mean_file(path: str | PathLike[str]) -> str:
    """The same for a file or folder that is not there: what is beside it, or where its folder should be."""
    missing = Path(path)
    while not missing.parent.exists():
        missing = missing.parent
    try:
        beside = {str(missing.parent / one.name) for one in missing.parent.iterdir() if not one.name.startswith(".")}
    except OSError:
        return ""
    return did_you_mean(str(missing), beside)
