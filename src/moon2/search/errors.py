"""The errors of an index."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from moon2.errors import UserError
from moon2.meant import did_you_mean
from moon2.search.table_schema import HIDDEN

_NO_COLUMN = re.compile(r"""No field named [`"]?(.+?)[`"]?\. Valid fields""")


class ProductIndexError(UserError):
    """An index cannot be used; one line that says why and what to do."""


class FilterError(ProductIndexError):
    """A filter cannot be used."""


def filter_or_index_error(place: str, columns: Iterable[str], where: str | None, error: Exception) -> ProductIndexError:
    """What LanceDB's error means: with a filter it is that which cannot be used; without one, the files are damaged."""
    if where is None:
        return ProductIndexError(
            f"{place}: the index cannot be read ({reason_of(error)}); build it anew with `moon2 index`"
        )
    if no_column := _NO_COLUMN.search(str(error)):
        return FilterError(f"filter {where!r:.200}: cannot be used: {unknown_word(no_column[1], columns)}")
    return FilterError(
        f'filter {where!r:.200}: cannot be used ({reason_of(error)}); write SQL such as "price < 50 AND category = '
        f"'Shoes'\" over {', '.join(_shown(columns))}"
    )


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Makes LanceDB's errors within it one line: `what` cannot be written, and why."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise ProductIndexError(f"{what} cannot be written ({reason_of(error)})") from None


def unknown_word(word: str, columns: Iterable[str]) -> str:
    """What is said of a word of a filter that is neither a column nor SQL's."""
    shown = _shown(columns)
    meant = did_you_mean(word[:40], shown)
    return f"{word[:40]!r} is no column and no word of a filter; columns are {', '.join(shown)}{meant}"


def reason_of(error: Exception) -> str:
    """LanceDB's message on one line, without the place in its Rust code that it ends in."""
    first = str(error).partition("\n")[0]
    return " ".join(re.sub(r",? /\S+\.rs:\d+:\d+", "", first).split())[:200] or type(error).__name__


def _shown(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if name not in HIDDEN]
