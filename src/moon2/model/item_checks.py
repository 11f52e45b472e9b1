"""What an encoder is asked, refused before any work."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from moon2.model.errors import EncoderError
from moon2.model.items import ItemError, ItemSource, item_list
from moon2.views import VIEWS, View


def require_items(
    items: Iterable[ItemSource] | ItemSource, views: Collection[View], batch_size: int
) -> list[ItemSource]:
    """What an encoder is given, as a list.

    Raises:
        EncoderError: it is no item and no list of them, there is no such view, or the batch size is not 1 or more.
    """
    for view in views:
        if view not in VIEWS:
            raise EncoderError(f"view is {view!r}; it must be one of {', '.join(VIEWS)}, or None for all an item has")
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise EncoderError(f"batch_size is {batch_size!r}; it must be a whole number of 1 or more")
    try:
        return item_list(items)
    except ItemError as error:
        raise EncoderError(str(error)) from None
