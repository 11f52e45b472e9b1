"""Keyword search by BM25 over the texts of products, kept on disk beside the vectors.

The words are those of `words.py`; a compound is found by its parts as well, `compounds.py`. Scores are those of the
library bm25s, in the form of Lucene (Kamphuis et al., ECIR 2020). It works out the score of each word in each product
when an index is built; a search only adds up what is listed under the query's words.

A score depends on how many products have a word, so products that come or go change all scores. `updated` keeps the
words of the others, whose finding takes most of the time, and works out the scores anew.
"""

from __future__ import annotations

import hashlib
import shutil
from array import array
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.errors import UserError
from moon2.files import replace_folder
from moon2.vectors.compounds import parts_of
from moon2.vectors.words import same_text, words

K1, B = 1.2, 0.75
"""How soon more of the same word stops to count, and how much a long text is held against it."""
PRODUCTS, SCORES = "products.parquet", "scores"
_WORDS = pa.large_list(pa.int32())


def searched_words(text: str, vocabulary: Collection[str]) -> list[str]:
    """What a query is looked up by, and a product is found by: words, and the parts of those that are compounds."""
    return [form for word in words(text) for form in (word, *parts_of(word, vocabulary))]


class LexicalIndexError(UserError):
    """A keyword index cannot be read."""


class ProductText(NamedTuple):
    """What keyword search knows of a product: its id, its title, and the text that is searched."""

    id: str
    title: str
    text: str


class Scored(NamedTuple):
    """Products and their scores, best first; of equal ones the lower row comes first.

    Attributes:
        rows: [n] int64, numbers of products.
        scores: [n] float32.
    """

    rows: np.ndarray
    scores: np.ndarray


class Exact(NamedTuple):
    """The rows, int64 and ascending, of products whose id is the query, and of those whose title is."""

    by_id: np.ndarray
    by_title: np.ndarray


class LexicalIndex:
    """BM25 over the texts of products. It never changes: `updated` gives another. Made by `build` and `open`.

    Attributes:
        ids: of the products; a row is a place in this list.
    """

    def __init__(self, ids: list[str], keys: np.ndarray, words_of: pa.LargeListArray, scorer: bm25s.BM25) -> None:
        self.ids = ids
        self._keys = keys  # [n, 2] int64, `_key` of each id and title
        self._words_of = words_of  # n lists of int32, numbers of words in the scorer's vocabulary
        self._scorer = scorer

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(cls, products: Iterable[ProductText]) -> LexicalIndex:
        """Indexes products, each with an id of its own."""
        return cls([], np.zeros((0, 2), np.int64), pa.array([], _WORDS), _Scorer()).updated(products)

    def updated(self, products: Iterable[ProductText] = (), removed: Collection[str] = ()) -> LexicalIndex:
        """The index without the removed products and with these ones, which replace those of the same id.

        Those that stay keep their order; what is added or replaced comes after them.
        """
        vocabulary = dict(self._scorer.vocab_dict)
        ids, keys, lengths, numbers = [], [], [0], array("i")
        for product in products:
            ids.append(product.id)
            keys.append((_key(product.id), _key(product.title)))
            numbers.extend(vocabulary.setdefault(word, len(vocabulary)) for word in words(product.text))
            lengths.append(len(numbers))
        added = pa.LargeListArray.from_arrays(pa.array(lengths, pa.int64()), pa.array(np.array(numbers, np.int32)))
        gone = {*removed, *ids}
        stays = np.array([id not in gone for id in self.ids], dtype=bool)
        words_of = pa.concat_arrays([self._words_of.filter(pa.array(stays)), added])
        return LexicalIndex(
            [*(id for id in self.ids if id not in gone), *ids],
            np.concatenate([self._keys[stays], np.array(keys, np.int64).reshape(-1, 2)]),
            words_of,
            _Scorer.of(vocabulary, words_of),
        )

    def save(self, folder: Path) -> None:
        """Writes a folder that `open` reads, in place of what is there: Parquet, NumPy and JSON files, no pickle."""
        fresh = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        columns = {"id": self.ids, "id_key": self._keys[:, 0], "title_key": self._keys[:, 1], "words": self._words_of}
        pq.write_table(pa.table(columns), fresh / PRODUCTS)
        self._scorer.save(fresh / SCORES)
        replace_folder(fresh, folder)

    @classmethod
    def open(cls, folder: Path) -> LexicalIndex:
        """Opens what `save` wrote. Scores stay on disk until a search needs them.

        Raises:
            LexicalIndexError: there is no such index, or it is damaged.
        """
        try:
            table = pq.read_table(folder / PRODUCTS).combine_chunks()
            scorer = _Scorer.load(folder / SCORES, mmap=True)
            if scorer.scores["num_docs"] != len(table):
                raise ValueError(f"{len(table)} products, scores of {scorer.scores['num_docs']}")
            keys = np.stack([table[name].to_numpy() for name in ("id_key", "title_key")], axis=1)
            words_of = table["words"].combine_chunks()
            words_of = words_of.chunk(0) if isinstance(words_of, pa.ChunkedArray) else words_of
            return cls(table["id"].to_pylist(), keys, words_of.cast(_WORDS), scorer)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:160]
            raise LexicalIndexError(f"{folder}: is no keyword index ({reason}); build the index again") from None

    def scores(self, query: str) -> np.ndarray:
        """[products] float32: BM25 of every product, 0 where it has none of the query's words."""
        vocabulary = self._scorer.vocab_dict
        numbers = [vocabulary[word] for word in searched_words(query, vocabulary) if word in vocabulary]
        if not numbers:
            return np.zeros(len(self), np.float32)
        return self._scorer.get_scores_from_ids(numbers)

    def search(self, query: str, limit: int, allowed: np.ndarray | None = None) -> Scored:
        """The `limit` products with the highest scores above 0, perhaps fewer.

        Args:
            query: words.
            limit: how many.
            allowed: [products] bool, which products may be found; all when not given.
        """
        scores = self.scores(query)
        return best(scores if allowed is None else np.where(allowed, scores, 0), limit)

    def exact(self, query: str) -> Exact:
        """What the query names, case, accents and spacing aside."""
        key = _key(query)
        if key == _key(""):
            return Exact(np.zeros(0, np.int64), np.zeros(0, np.int64))
        return Exact(*(np.flatnonzero(column == key) for column in self._keys.T))


def best(scores: np.ndarray, limit: int) -> Scored:
    """The highest scores above 0, at most `limit`.

    Args:
        scores: [products] float32.
        limit: how many.
    """
    rows = np.flatnonzero(scores > 0)
    if len(rows) > limit:
        least = np.partition(scores[rows], -limit)[-limit]
        rows = rows[scores[rows] >= least]  # with all that tie for the last place
    order = np.lexsort((rows, -scores[rows]))[:limit]
    return Scored(rows[order], scores[rows[order]])


def _key(text: str) -> int:
    """64 bits of a text as `same_text` gives it; two texts of a catalog share them with a chance of 1 in 10⁷."""
    digest = hashlib.blake2b(same_text(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class _Scorer(bm25s.BM25):  # type: ignore[misc]
    """The library's BM25, built from numbered words at once instead of product by product."""

    def __init__(self, k1: float = K1, b: float = B, method: str = "lucene", **options: object) -> None:
        super().__init__(k1=k1, b=b, method=method, **options)
        nothing = np.zeros(0, np.float32)
        self.scores = {"data": nothing, "indices": nothing, "indptr": np.zeros(1, np.int64), "num_docs": 0}
        self.vocab_dict: dict[str, int] = {}
        self.nonoccurrence_array = None  # the library sets it where it builds

    @classmethod
    def of(cls, vocabulary: dict[str, int], words_of: pa.LargeListArray) -> _Scorer:
        """The scores of products that have these words, and the parts of those words that are compounds."""
        scorer = cls()
        rows, numbers = _with_parts(vocabulary, words_of)
        products = len(words_of)
        lengths = np.bincount(rows, minlength=products)
        # Sorted by word, then product, each pair once with its count.
        pairs, counts = np.unique(numbers * products + rows, return_counts=True)
        numbers, rows = np.divmod(pairs, max(products, 1))
        having = np.bincount(numbers, minlength=len(vocabulary))
        rarity = np.log(1 + (products - having + 0.5) / (having + 0.5))
        length = lengths / max(lengths.mean(), 1e-9) if products else lengths
        saturated = counts / (counts + scorer.k1 * (1 - scorer.b + scorer.b * length[rows]))
        scorer.scores = {
            "data": (rarity[numbers] * saturated).astype(np.float32),
            "indices": rows.astype(np.int32),
            "indptr": np.concatenate([[0], np.cumsum(having)]),
            "num_docs": products,
        }
        scorer.vocab_dict = vocabulary
        return scorer


def _with_parts(vocabulary: dict[str, int], words_of: pa.LargeListArray) -> tuple[np.ndarray, np.ndarray]:
    """Product and number, both int64, of every word of every product and of the parts of its compounds."""
    numbers = words_of.flatten().to_numpy().astype(np.int64)
    lengths = np.diff(words_of.offsets.to_numpy())
    rows = np.repeat(np.arange(len(words_of), dtype=np.int64), lengths)
    parts = [[vocabulary[part] for part in parts_of(word, vocabulary)] for word in vocabulary]
    counts = np.array([len(found) for found in parts], np.int64)
    starts = np.cumsum(counts) - counts
    flat = np.array([part for found in parts for part in found], np.int64)
    of_each = counts[numbers]
    within = np.arange(of_each.sum()) - np.repeat(np.cumsum(of_each) - of_each, of_each)
    added = flat[np.repeat(starts[numbers], of_each) + within]
    return np.concatenate([rows, np.repeat(rows, of_each)]), np.concatenate([numbers, added])
