"""Progress on standard error: a moving bar at a terminal or in a notebook, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0
PLAIN_LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {elapsed}, {remaining} left{postfix}"
PLAIN_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {elapsed}{postfix}"
_is_quiet = False


def set_quiet(quiet: bool) -> None:
    """Whether bars show nothing from now on: the command line's --quiet."""
    global _is_quiet
    _is_quiet = quiet


def progress_bar(*items: Any, **options: Any) -> tqdm[Any]:
    """A bar of tqdm, with its options; a log file gets whole lines, at the start, every half minute and at the end."""
    from tqdm.auto import tqdm

    options["unit"] = f" {options.get('unit', 'it')}"  # tqdm writes it right behind the number
    options["disable"] = _is_quiet or options.get("disable", False)
    if not sys.stderr.isatty() and "notebook" not in tqdm.__mro__[1].__module__ and not options["disable"]:
        options.setdefault("bar_format", PLAIN_LINE if options.get("total") is not None else PLAIN_LINE_WITHOUT_TOTAL)
        options |= {"file": _Lines(sys.stderr), "mininterval": SECONDS_BETWEEN_LINES, "maxinterval": float("inf")}
    return tqdm(*items, **options)


def write_line(text: str) -> None:
    """Writes a line to standard error, above a bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


class _Lines:
    """What tqdm writes to move a bar, as lines."""

    encoding = "utf-8"

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        line = text.replace("\x1b[A", "").strip()
        if line:
            self._file.write(line + "\n")

    def flush(self) -> None:
        self._file.flush()
