"""Keyword search by BM25 over the texts of products, in memory, as evaluation and the fitting of weights need it.

The words are those of `words.py`; a compound is found by its parts as well, `compounds.py`. Scores are those of the
library bm25s, in the form of Lucene (Kamphuis et al., ECIR 2020). It works out the score of each word in each product
when an index is built; a search only adds up what is listed under the query's words. An index on disk is LanceDB's
(`search/product_table.py`): by the same words and the same form, so its scores are these.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterable
from typing import NamedTuple

import bm25s
import numpy as np

from moon2.vectors.compounds import parts_of
from moon2.vectors.words import same_text, words

K1, B = 1.2, 0.75
"""How soon more of the same word stops to count, and how much a long text is held against it."""


def searched_words(text: str, vocabulary: Collection[str]) -> list[str]:
    """What a query is looked up by, and a product is found by: words, and the parts of those that are compounds."""
    return [form for word in words(text) for form in (word, *parts_of(word, vocabulary))]


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
    """BM25 over the texts of products, in memory, which are rows in their order. Made by `build`."""

    def __init__(self, keys: np.ndarray, scorer: bm25s.BM25) -> None:
        self._keys = keys  # [n, 2] int64, `_key` of each id and title
        self._scorer = scorer

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def build(cls, products: Iterable[ProductText]) -> LexicalIndex:
        """Indexes products, each with an id of its own."""
        vocabulary: dict[str, int] = {}
        keys, lengths, numbers = [], [0], array("i")
        for product in products:
            keys.append((_key(product.id), _key(product.title)))
            numbers.extend(vocabulary.setdefault(word, len(vocabulary)) for word in words(product.text))
            lengths.append(len(numbers))
        scorer = _Scorer.of(vocabulary, np.array(numbers, np.int64), np.diff(lengths))
        return cls(np.array(keys, np.int64).reshape(-1, 2), scorer)

    def scores(self, query: str) -> np.ndarray:
        """[products] float32: BM25 of every product, 0 where it has none of the query's words."""
        vocabulary = self._scorer.vocab_dict
        numbers = [vocabulary[word] for word in searched_words(query, vocabulary) if word in vocabulary]
        if not numbers:
            return np.zeros(len(self), np.float32)
        return self._scorer.get_scores_from_ids(numbers)

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
    """The library's BM25, built from numbered words at once instead of product by product: ten times as fast."""

    def __init__(self, k1: float = K1, b: float = B, method: str = "lucene", **options: object) -> None:
        super().__init__(k1=k1, b=b, method=method, **options)
        nothing = np.zeros(0, np.float32)
        self.scores = {"data": nothing, "indices": nothing, "indptr": np.zeros(1, np.int64), "num_docs": 0}
        self.vocab_dict: dict[str, int] = {}
        self.nonoccurrence_array = None  # the library sets it where it builds

    @classmethod
    def of(cls, vocabulary: dict[str, int], numbers: np.ndarray, counts: np.ndarray) -> _Scorer:
        """The scores of products that have these words, and the parts of those words that are compounds.

        Args:
            vocabulary: word → number.
            numbers: int64, of the words of all products, one product after another.
            counts: [products], how many words each has.
        """
        scorer = cls()
        rows, numbers = _with_parts(vocabulary, numbers, counts)
        products = len(counts)
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


def _with_parts(vocabulary: dict[str, int], numbers: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Product and number, both int64, of every word of every product and of the parts of its compounds."""
    rows = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    parts = [[vocabulary[part] for part in parts_of(word, vocabulary)] for word in vocabulary]
    sizes = np.array([len(found) for found in parts], np.int64)
    starts = np.cumsum(sizes) - sizes
    flat = np.array([part for found in parts for part in found], np.int64)
    of_each = sizes[numbers]
    within = np.arange(of_each.sum()) - np.repeat(np.cumsum(of_each) - of_each, of_each)
    added = flat[np.repeat(starts[numbers], of_each) + within]
    return np.concatenate([rows, np.repeat(rows, of_each)]), np.concatenate([numbers, added])
