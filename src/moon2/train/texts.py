"""The words that a run learns from, and what it says of them before it begins."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import Triplet
from moon2.model.product_text import FIELDS, columns_read, join_fields, unknown_fields
from moon2.recipe import InputSettings

if TYPE_CHECKING:
    from moon2.model.processor import Processor

SAMPLE = 500
CUT = 0.1
"""The share of products with longer texts than are read from which on it is said."""
logger = logging.getLogger(__name__)


def product_texts(catalog: Catalog, settings: InputSettings) -> Iterator[str]:
    """What is read of each training product that has a text; no image is read for it."""
    for row in catalog.rows("train", columns_read(settings.fields)):
        text = join_fields(
            row.get("title") or "",
            row.get("description") or "",
            row.get("category") or (),
            pairs_to_dict(row.get("attributes")),
            settings,
        )
        if text:
            yield text


def tokenizer_texts(catalog: Catalog, triplets: Iterable[Triplet], settings: InputSettings) -> Iterator[str]:
    """The products' texts and the queries, on which the tokenizer of the `tiny` backbone is trained."""
    yield from product_texts(catalog, settings)
    yield from (triplet.query.text for triplet in triplets if triplet.query.text)


def warn_about_texts(catalog: Catalog, processor: Processor) -> None:
    """Warns of fields that no product has, and of texts that are longer than what is read of them."""
    settings = processor.settings
    if set(settings.fields) - set(FIELDS):
        for line in unknown_fields(settings.fields, catalog.attribute_names("train")):
            logger.warning("%s: %s", catalog.folder, line)
    step = max(1, len(catalog.ids("train")) // SAMPLE)
    lengths = [processor.token_count(text) for text in islice(product_texts(catalog, settings), 0, None, step)]
    longer = sum(length > settings.max_text_tokens for length in lengths)
    if longer > CUT * len(lengths):
        order = ", the description before the end" if "description" in settings.fields else ""
        logger.warning(
            "input.max_text_tokens is %d, and of %d products looked at %d have a longer text (half have %d tokens "
            "or more), which is cut%s; raise it to read them whole",
            settings.max_text_tokens,
            len(lengths),
            longer,
            int(median(lengths)),
            order,
        )
