"""The errors of an index."""

import re

from moon2.errors import UserError


class ProductIndexError(UserError):
    """An index cannot be used; one line that says why and what to do."""


class FilterError(ProductIndexError):
    """A filter cannot be used."""


def reason_of(error: Exception) -> str:
    """LanceDB's message on one line, without the place in its Rust code that it ends in."""
    first = str(error).partition("\n")[0]
    return " ".join(re.sub(r",? /\S+\.rs:\d+:\d+", "", first).split())[:200] or type(error).__name__
