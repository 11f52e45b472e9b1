"""Hard negatives: for each triplet, the products that the encoder takes for answers to its query, and that are none.

They are mined from all training products with the weights as they are (Xiong et al., 2021, "ANCE", arXiv 2007.00808).
Most products of a shop are in nobody's log, and one that looks right often is. So what comes too near is left out: it
must score clearly less than the triplet's own positive (TopK-PercPos of Moreira et al., 2024, "NV-Retriever", arXiv
2407.15831), and share neither title nor style with a known positive.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.catalog.styles import style_of
from moon2.catalog.triplets import Triplet
from moon2.encoders.protocol import VectorEncoder
from moon2.progress import progress_bar
from moon2.recipe import TrainingSettings
from moon2.run_folder import HARD_NEGATIVES
from moon2.vectors.embed import embed_whole
from moon2.vectors.nearest import top_k

MARGIN = 0.05
"""A candidate scores at least this share less than the positive; NV-Retriever found 0.05 best among 0 to 0.5."""
CANDIDATES = 128
"""Nearest products that are looked at; of a style with more members than these, no negative may be left."""
BATCH_SIZE, BLOCK = 64, 4096
"""Items in a forward pass, and triplets compared with the catalog at a time."""
logger = logging.getLogger(__name__)


def spans(done: int, settings: TrainingSettings) -> Iterator[tuple[int, int, bool]]:
    """The steps that are left, cut where hard negatives are mined.

    Yields:
        First step, the step after the last, and whether hard negatives are mined before the first.
    """
    every = settings.mine_every if settings.hard_negatives else settings.steps
    while done < settings.steps:
        end = min((done // every + 1) * every, settings.steps)
        yield done, end, done > 0 and done % every == 0
        done = end


def mine_hard_negatives(
    encoder: VectorEncoder, catalog: Catalog, triplets: Sequence[Triplet], wanted: Collection[int], count: int
) -> list[tuple[str, ...]]:
    """Mines for some of the triplets; the same weights give the same products.

    Memory holds the vectors of the training products and of the wanted queries (in a temporary file when they are
    many, `moon2.vectors.table`), their titles and styles, and one block of similarities.

    Args:
        encoder: embeds products and queries by all that they have.
        catalog: its training products are the candidates.
        triplets: of the whole run.
        wanted: numbers of the triplets to mine for: those seen before the next mining.
        count: how many products to mine for each.

    Returns:
        Of each triplet the ids of at most `count` products, hardest first, other than its own negatives. Fewer, or
        none, where no more are far enough from the positive, or where query or positive cannot be embedded.
    """
    started = time.monotonic()
    numbers = sorted(wanted)
    # Triplets of one interaction share their query.
    queries = {id(triplets[number].query): triplets[number].query for number in numbers}
    query_row = {key: row for row, key in enumerate(queries)}
    candidates = _Candidates(catalog)
    total = len(queries) + len(candidates.ids)
    with progress_bar(total=total, desc="mine", unit="items", leave=False) as bar:
        complete = (catalog.with_image(query) for query in queries.values())
        asked = embed_whole(encoder, complete, len(queries), BATCH_SIZE, bar)
        products = embed_whole(encoder, catalog.products("train"), len(candidates.ids), BATCH_SIZE, bar)
    query_place, product_place = (
        {int(row): place for place, row in enumerate(vectors.rows)} for vectors in (asked, products)
    )
    usable = []
    for number in numbers:
        query = query_place.get(query_row[id(triplets[number].query)])
        positive = product_place.get(candidates.row_of.get(triplets[number].positive_id, -1))
        if query is not None and positive is not None:
            usable.append((number, query, positive))

    mined: list[tuple[str, ...]] = [()] * len(triplets)
    for start in range(0, len(usable), BLOCK):
        block = usable[start : start + BLOCK]
        vectors = asked.matrix[[query for _, query, _ in block]]
        scores = (vectors * products.matrix[[positive for _, _, positive in block]]).sum(axis=1)
        # Less by a share of its size, so that the ceiling is below a negative score too.
        ceilings = scores - MARGIN * np.abs(scores)
        nearest, cosines = top_k(vectors, products.matrix, CANDIDATES, ceilings=ceilings)
        for (number, _, _), places, similar in zip(block, nearest, cosines, strict=True):
            rows = products.rows[places[np.isfinite(similar)]].tolist()
            mined[number] = tuple(islice(candidates.wrong(rows, triplets[number]), count))
    found = sum(map(bool, mined))
    seconds = time.monotonic() - started
    logger.info("mined hard negatives for %s of %s triplets in %.0f s", f"{found:,}", f"{len(numbers):,}", seconds)
    return mined


class _Candidates:
    """The training products, without their images; a style or title of theirs is a number."""

    def __init__(self, catalog: Catalog) -> None:
        self.ids: list[str] = []
        groups: dict[object, int] = {}
        titles, styles = [], []
        for row in catalog.rows("train", ["id", "title", "category", "attributes"]):
            self.ids.append(row["id"])
            title = (row["title"] or "").strip().casefold()
            style = style_of(tuple(row["category"] or ()), pairs_to_dict(row["attributes"]))
            # Products without one are in no group, which is −1.
            titles.append(groups.setdefault(title, len(groups)) if title else -1)
            styles.append(groups.setdefault(style, len(groups)) if style else -1)
        self.groups = np.array([titles, styles], dtype=np.int64).T
        self.row_of = {id: row for row, id in enumerate(self.ids)}

    def wrong(self, rows: Sequence[int], triplet: Triplet) -> Iterator[str]:
        """Those of these products that are no known positive, nothing like one, and no negative of the log."""
        known = [self.row_of[id] for id in triplet.known_positive_ids if id in self.row_of]
        right = set(self.groups[known].ravel().tolist()) - {-1}
        for row in rows:
            id = self.ids[row]
            if (
                id not in triplet.known_positive_ids
                and id not in triplet.negative_ids
                and right.isdisjoint(self.groups[row].tolist())
            ):
                yield id


def write_hard_negatives(checkpoint: Path, mined: Sequence[Sequence[str]] | None) -> None:
    """Adds what is in use to a checkpoint; nothing where nothing was mined yet."""
    if mined is not None:
        (checkpoint / HARD_NEGATIVES).write_text(json.dumps(mined, ensure_ascii=False), encoding="utf-8")


def read_hard_negatives(checkpoint: Path) -> list[tuple[str, ...]] | None:
    """What was in use at a checkpoint; None where nothing was mined yet."""
    path = checkpoint / HARD_NEGATIVES
    return [tuple(ids) for ids in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else None
