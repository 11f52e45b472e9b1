"""The products of an index as one LanceDB table: vectors, words and filterable columns, on disk or object storage.

One table holds everything that a search reads, so a write is one transaction: a process that is killed leaves the table
before it or after it. A product has one row for the vector of all it has (its `image` is -1) and, in an index by image,
one more for each of its images.

What is known of LanceDB, and how it is met here. Rows that are written after an index was built are found by a scan
until `optimize` adds them, so they are counted (`unindexed_rows`). A merge with a scalar index on its key may update
nothing in silence (lancedb#3515, #3177), so the merge does not use the index of ids, and every write counts its rows.
A filter that few rows pass starves an approximate search (lancedb#2649), so such a search is exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import FTS, BTree, IvfSq
from lancedb.query import MatchQuery

from moon2.search.errors import ProductIndexError, filter_or_index_error, reason_of, writing
from moon2.search.table_schema import WHOLE, literal
from moon2.vectors.lexical import K1

TABLE = "products"
EXACT_BELOW = 100_000
"""With fewer rows a search is exact: it takes some 20 ms, and an approximate index gains nothing."""
EXACT_AMONG = 5000
"""Where so few rows pass a filter, their vectors are fetched and compared: an approximate search might miss them."""
FILTERED_PROBES = 16
"""Where more pass, so many times the lists are looked into: what passes lies further away than the nearest of all."""
MERGE_PRODUCTS = 1024
"""Products of one transaction: enough to make its cost small, few enough to hold in memory with their thumbnails."""
_LITERAL_IDS = 1000
REFINE = 2
"""So many times the wanted number of vectors are compared again with all their bits."""
MOST_TIED = 4_000
"""Rows read to tell equal vectors apart by their place in the catalog; of more, any come first."""
_WORDS = FTS(
    base_tokenizer="whitespace",  # the column holds our own words, joined by spaces
    max_token_length=None,
    lower_case=False,
    stem=False,
    remove_stop_words=False,
    ascii_folding=False,
)


@dataclass(frozen=True)
class Neighbours:
    """Products found by their vectors, the nearest first; of equal ones in the order of the catalog.

    Attributes:
        ids: of the products, each once.
        positions: [n] int64, in the order of the catalog.
        cosines: [n] float32.
        images: [n] int32, number of the image that was nearest, -1 where it was the product as a whole.
    """

    ids: list[str]
    positions: np.ndarray
    cosines: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class Matches:
    """Products found by their words, the best first; of equal ones in the order of the catalog.

    Attributes:
        ids: of the products.
        positions: [n] int64, in the order of the catalog.
        scores: [n] float32, BM25 as in `vectors/lexical.py`.
    """

    ids: list[str]
    positions: np.ndarray
    scores: np.ndarray


class ProductTable:
    """The table of one index, opened for reading and writing.

    Attributes:
        place: its folder or address.
        dimension: D, numbers of a vector.
    """

    def __init__(self, place: str, table: Any) -> None:
        """Is called by `create` and `open`."""
        self.place, self._table = place, table
        self.dimension = int(table.schema.field("vector").type.list_size)

    @classmethod
    def create(cls, place: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> ProductTable:
        """Writes a table of these rows, in place of one that is there, with its index of words and of ids.

        Raises:
            ProductIndexError: it cannot be written.
        """
        try:
            database = lancedb.connect(place)
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            table = database.create_table(TABLE, reader, mode="overwrite")
            created = cls(place, table)
            table.create_index("words", config=_WORDS)
            for column in ("id", "same_title", "same_id", "price", "category"):
                table.create_index(column, config=BTree())
        except (OSError, RuntimeError) as error:
            raise ProductIndexError(f"{place}: the index cannot be written ({reason_of(error)})") from None
        return created

    @classmethod
    def open(cls, place: str) -> ProductTable:
        """Opens a table.

        Raises:
            ProductIndexError: there is none, or it is damaged.
        """
        try:
            return cls(place, lancedb.connect(place).open_table(TABLE))
        except (OSError, RuntimeError, ValueError) as error:
            raise ProductIndexError(f"{place}: is no index, or a damaged one ({reason_of(error)})") from None

    @property
    def version(self) -> int:
        """Grows with each write."""
        return int(self._table.version)

    @property
    def columns(self) -> list[str]:
        """Of the table, in order."""
        return list(self._table.schema.names)

    def rows(self) -> int:
        """How many rows there are."""
        return self._count(None)

    def products(self, where: str | None = None) -> int:
        """How many products there are, or pass a filter.

        Raises:
            FilterError: the filter cannot be used.
        """
        return self._count(_and(f"image = {WHOLE}", where), where)

    def is_approximate(self) -> bool:
        """Whether there is an approximate index of the vectors."""
        return any(index.columns == ["vector"] for index in self._table.list_indices())

    def unindexed_rows(self) -> int:
        """Rows that the indexes do not hold yet: found all the same, by a scan."""
        numbers = (self._table.index_stats(index.name) for index in self._table.list_indices())
        return max((int(stats.num_unindexed_rows) for stats in numbers if stats is not None), default=0)

    def build_approximate(self) -> None:
        """Builds the approximate index of the vectors: inverted lists of vectors with a byte a number.

        Raises:
            ProductIndexError: it cannot be written.
        """
        with writing(f"{self.place}: the index"):
            self._table.create_index("vector", config=IvfSq(distance_type="dot"))

    def nearest(
        self,
        vector: np.ndarray,
        limit: int,
        *,
        where: str | None = None,
        exact: bool = False,
        probes: int = 0,
    ) -> Neighbours:
        """The products whose vectors are nearest.

        Args:
            vector: [D] float32, unit length.
            limit: at most so many products.
            where: SQL that a product must pass.
            exact: compare with every vector, even if `probes` are given.
            probes: how many lists of the approximate index to look into; 0 where there is none.

        Raises:
            FilterError: the filter cannot be used.
        """
        search = self._table.search(vector, vector_column_name="vector").distance_type("dot")
        try:
            if exact or not probes:
                search = search.bypass_vector_index()
            elif where is not None and self._count(f"({where})", where) <= EXACT_AMONG:
                return self._exact_among(vector, limit, where)
            else:
                lists = probes if where is None else probes * FILTERED_PROBES
                search = search.nprobes(lists).refine_factor(REFINE)
            if where is not None:
                search = search.where(f"({where})", prefilter=True)
            search = search.select(["id", "image", "position", "_distance"])
            rows = limit + 1
            while True:
                found = search.limit(rows).to_arrow()
                best = _best_of_each(found, limit)
                farthest = 1 - found["_distance"].to_numpy().max(initial=-np.inf)
                if len(found) < rows:
                    return best
                if len(best.ids) == limit and (best.cosines[-1] > farthest or rows > MOST_TIED):
                    return best
                # Products with many images took the places of others, or of equal ones not all are here.
                rows *= 4
        except (OSError, RuntimeError, ValueError) as error:
            raise filter_or_index_error(self.place, self.columns, where, error) from None

    def matching(self, words: Sequence[str], limit: int, *, where: str | None = None) -> Matches:
        """The products that hold any of these words, by BM25.

        Raises:
            FilterError: the filter cannot be used.
        """
        wanted: Any = partial(MatchQuery, " ".join(words), "words")  # its defaults are pydantic's: unknown to mypy
        search = self._table.search(wanted(), query_type="fts")
        try:
            if where is not None:
                search = search.where(f"({where})", prefilter=True)
            found = search.select(["id", "position", "_score"]).limit(limit).to_arrow()
        except (OSError, RuntimeError, ValueError) as error:
            raise filter_or_index_error(self.place, self.columns, where, error) from None
        # LanceDB's form has a constant factor more.
        scores = found["_score"].to_numpy() / (K1 + 1)
        positions = found["position"].to_numpy()
        order = np.lexsort((positions, -scores))
        return Matches(found["id"].take(order).to_pylist(), positions[order], scores[order])

    def fetch(self, ids: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """These columns of the products of these ids that there are."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _LITERAL_IDS):
            wanted = ", ".join(map(literal, ids[start : start + _LITERAL_IDS]))
            rows = self._select(f"image = {WHOLE} AND id IN ({wanted})", list(dict.fromkeys(["id", *columns])))
            found.update({row["id"]: row for row in rows.to_pylist()})
        return found

    def all_vectors(self, ids: Sequence[str]) -> dict[str, dict[int, np.ndarray]]:
        """Of the products of these ids: number of the image, or -1 → [D] float32."""
        vectors: dict[str, dict[int, np.ndarray]] = {}
        for start in range(0, len(ids), _LITERAL_IDS):
            wanted = ", ".join(map(literal, ids[start : start + _LITERAL_IDS]))
            for row in self._select(f"id IN ({wanted})", ["id", "image", "vector"]).to_pylist():
                vectors.setdefault(row["id"], {})[row["image"]] = np.array(row["vector"], np.float32)
        return vectors

    def sample_vectors(self, count: int, seed: int = 0) -> np.ndarray:
        """[n, D] float32 of products drawn at random, in random order; all of them if there are fewer."""
        rows = self.rows()
        drawn = np.random.default_rng(seed).permutation(rows)[:count]
        if not len(drawn):
            return np.zeros((0, self.dimension), np.float32)
        try:
            found = self._table.take_offsets(drawn.tolist()).select(["vector"]).to_arrow()
        except (OSError, RuntimeError, ValueError) as error:
            raise filter_or_index_error(self.place, self.columns, None, error) from None
        return found["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dimension)

    def last_position(self) -> int:
        """The highest position of a row; -1 in an empty table."""
        positions = self.scan(["position"])["position"]
        return int(pc.max(positions).as_py()) if len(positions) else -1

    def same(self, text: str, where: str | None = None) -> tuple[dict[str, int], dict[str, int]]:
        """Id → position of the products whose `same_id` is this text, and of those whose `same_title` is."""
        columns = ("same_id", "same_title")
        either = " OR ".join(f"{column} = {literal(text)}" for column in columns)
        rows = self._select(_and(f"({either})", where), ["id", "position", *columns], where).to_pylist()
        by_id, by_title = ({row["id"]: row["position"] for row in rows if row[column] == text} for column in columns)
        return by_id, by_title

    def scan(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """These columns of all products, one row each, that pass a filter.

        Raises:
            FilterError: the filter cannot be used.
        """
        return self._select(_and(f"image = {WHOLE}", where), columns, where)

    def upsert(self, rows: pa.Table) -> None:
        """Writes products in place of those of the same ids, in one transaction.

        Args:
            rows: of the table's columns; all rows of each product.

        Raises:
            ProductIndexError: nothing was written, or not what should have been.
        """
        ids = ", ".join(map(literal, dict.fromkeys(rows["id"].to_pylist())))
        with writing("the index"):
            merge = self._table.merge_insert(["id", "image"]).when_matched_update_all().when_not_matched_insert_all()
            # Images that the product no longer has.
            merge = merge.when_not_matched_by_source_delete(f"id IN ({ids})").use_index(False)
            merge.execute(rows)
        found = self._count(f"id IN ({ids})")
        if found != len(rows):
            raise ProductIndexError(
                f"the index holds {found:,} rows of the products just written and should hold {len(rows):,}; "
                f"build it anew with `moon2 index`"
            )

    def delete(self, ids: Collection[str]) -> None:
        """Deletes the products of these ids.

        Raises:
            ProductIndexError: some are still there.
        """
        condition = f"id IN ({', '.join(map(literal, ids))})"
        with writing("the index"):
            self._table.delete(condition)
        if left := self._count(condition):
            raise ProductIndexError(f"{left:,} rows are still there after they were deleted; build the index anew")

    def optimize(self) -> None:
        """Adds the rows written since to the indexes, joins small files, and removes versions older than an hour.

        Raises:
            ProductIndexError: it cannot be written.
        """
        with writing(f"{self.place}: the index"):
            self._table.optimize(cleanup_older_than=timedelta(hours=1))

    def _exact_among(self, vector: np.ndarray, limit: int, where: str) -> Neighbours:
        """The nearest of the few rows that pass a filter."""
        passing = (
            self._table.search().where(f"({where})").with_row_id(True).select(["id", "image", "position"]).to_arrow()
        )
        row_ids = passing["_rowid"].to_pylist()
        fetched = self._table.take_row_ids(row_ids).with_row_id().select(["vector"]).to_arrow() if row_ids else None
        distances = np.zeros(0, np.float32)
        if fetched is not None:
            vectors = fetched["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dimension)
            at = dict(zip(fetched["_rowid"].to_pylist(), (1 - vectors @ vector).tolist(), strict=True))
            distances = np.array([at[row_id] for row_id in row_ids], np.float32)
        return _best_of_each(passing.append_column("_distance", pa.array(distances)), limit)

    def _count(self, condition: str | None, where: str | None = None) -> int:
        """Rows that meet a condition, which may have a filter in it."""
        try:
            return int(self._table.count_rows(condition))
        except (OSError, RuntimeError, ValueError) as error:
            raise filter_or_index_error(self.place, self.columns, where, error) from None

    def _select(self, condition: str, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """These columns of the rows that meet a condition, which may have a filter in it."""
        try:
            return self._table.search().where(condition).select(list(columns)).to_arrow()
        except (OSError, RuntimeError, ValueError) as error:
            raise filter_or_index_error(self.place, self.columns, where, error) from None


def _and(condition: str, where: str | None) -> str:
    return condition if where is None else f"{condition} AND ({where})"


def _best_of_each(found: pa.Table, limit: int) -> Neighbours:
    """Of rows with the columns id, image, position and _distance, the best of each product."""
    cosines = 1 - found["_distance"].to_numpy()
    order = np.lexsort((found["position"].to_numpy(), -cosines))
    ids = found["id"].to_pylist()
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(ids[row], row)
        if len(first) == limit:
            break
    rows = np.fromiter(first.values(), np.int64, len(first))
    positions, images = (found[name].to_numpy()[rows] for name in ("position", "image"))
    return Neighbours(list(first), positions, cosines[rows].astype(np.float32), images)
