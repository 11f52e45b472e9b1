"""Queries with their answers, mined from a catalog that has no search log.

There are four kinds. A product's own title and image ask for another product of the same style, or with nearly the same
title. Values of its attributes with the name of its kind ("navy shirt"), and some words of its title, ask for all
products that hold them. Nothing is drawn but by the seed and the product's id.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moon2.catalog.facets import Facet, Holders, describe, facet
from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.catalog.styles import style_of
from moon2.catalog.titles import is_without_spaces, near_duplicate_titles, run_words, title_words
from moon2.records import Query

# A query with more answers is made narrower where the product has more to say.
MAX_ANSWERS = 200
# A word that more than this share of the products hold says little; of so few it always says something.
COMMON, FEW = 0.2, 20
# A query of title words has at most so many.
MAX_PIECES = 4
KINDS = {
    "style": "of the same style",
    "title": "of nearly the same title",
    "values": "of attribute values",
    "words": "of title words",
}

logger = logging.getLogger(__name__)


class MinedQuery(NamedTuple):
    """A query with a positive, negatives and all products that are known to answer it; as in `Triplet`."""

    query: Query
    positive_id: str
    negative_ids: tuple[str, ...]
    known_positive_ids: frozenset[str]


def mine(
    catalog: Catalog, seed: int = 0, *, split: str = "train", negatives: int = 4, also_known: Collection[str] = ()
) -> list[MinedQuery]:
    """Queries of each product that something can be said of, at most three a product.

    Args:
        catalog: its images are not read.
        seed: the same seed gives the same queries.
        split: of the products; positives and negatives come from it too.
        negatives: of a query; fewer where the catalog has no more products that do not answer it.
        also_known: ids of products of other splits, such as a log may name. Those that answer a query are known to.

    Returns:
        In the order of the catalog. Negatives share the longest part of the category path that holds any. How many
        queries there are of each kind is logged.
    """
    miner = _Miner(catalog, seed, split, negatives, also_known)
    mined = list(miner.queries())
    counts = ", ".join(f"{miner.counts[kind]:,} {words}" for kind, words in KINDS.items() if miner.counts[kind])
    if mined:
        without = f"; {miner.without:,} products have none" if miner.without else ""
        logger.info(f"{catalog.folder}: mined {len(mined):,} triplets: {counts}{without}")
    return mined


class _Miner:
    def __init__(self, catalog: Catalog, seed: int, split: str, negatives: int, also_known: Collection[str]) -> None:
        columns = ["id", "title", "category", "attributes"]
        rows = list(catalog.rows(split, columns))
        self.seed, self.negatives = seed, negatives
        # Queries, positives and negatives are of the first `own` products.
        self.own = len(rows)
        if others := set(also_known).difference(row["id"] for row in rows):
            rows += [row for row in catalog.rows(None, columns) if row["id"] in others]
        self.ids: list[str] = [row["id"] for row in rows]
        self.titles: list[str] = [row["title"] or "" for row in rows]
        self.categories = [tuple(row["category"] or ()) for row in rows]
        self.described = [describe(row) for row in rows]
        self.holders = Holders(rows)
        self.styles = [style_of(tuple(row["category"] or ()), pairs_to_dict(row["attributes"])) for row in rows]
        self.of_style: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        self.of_branch: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for i, (category, style) in enumerate(zip(self.categories, self.styles, strict=True)):
            if style:
                self.of_style[style].append(i)
            for depth in range(len(category) + 1 if i < self.own else 0):
                self.of_branch[category[:depth]].append(i)
        # Products of one style share one set: the memory is linear in the size of a style.
        self.ids_of_style = {style: frozenset(self.ids[i] for i in members) for style, members in self.of_style.items()}
        self.near_titles = near_duplicate_titles(list(map(title_words, self.titles)), self.categories)
        self._answers: dict[frozenset[str], tuple[NDArray[np.int32], frozenset[str]]] = {}
        self.counts: Counter[str] = Counter()
        self.without = 0

    def queries(self) -> Iterator[MinedQuery]:
        for i, id in enumerate(self.ids[: self.own]):
            rng = random.Random(f"{self.seed}/{id}")
            found = [
                query
                for query in (self._like_itself(i, rng), self._by_values(i, rng), self._by_words(i, rng))
                if query is not None
            ]
            self.without += not found
            yield from found

    def _like_itself(self, i: int, rng: random.Random) -> MinedQuery | None:
        """The product's own title and image, which ask for a similar product."""
        near = self.near_titles.get(i, [])
        same_style, same_title = self._own(self.of_style.get(self.styles[i], [])), self._own(near)
        if len(same_style) < 2 and not same_title:
            return None
        positive = i
        while positive == i:
            k = rng.randrange(len(same_title) + len(same_style))
            positive = same_title[k] if k < len(same_title) else same_style[k - len(same_title)]
        known = self.ids_of_style.get(self.styles[i], frozenset((self.ids[i],)))
        others = {self.ids[j] for j in near}
        known = known if others <= known else known | others
        self.counts["title" if k < len(same_title) else "style"] += 1
        query = Query(id=f"mined-{self.ids[i]}", text=self.titles[i], product_id=self.ids[i])
        return self._mined(query, i, positive, known, rng)

    def _own(self, numbers: list[int]) -> list[int]:
        return numbers if self.own == len(self.ids) else [number for number in numbers if number < self.own]

    def _by_values(self, i: int, rng: random.Random) -> MinedQuery | None:
        """One to three values of the product's attributes, and mostly the name of its kind."""
        described = self.described[i]
        values = list(described.values)
        if not values and described.kind is None:
            return None
        rng.shuffle(values)
        count = min(len(values), rng.choice((1, 1, 2)))
        kind = [described.kind] if described.kind and (len(values) < 2 or rng.random() < 0.8) else []
        chosen = values[:count]
        if len(chosen) + len(kind) < 2:
            # One value alone is a query where the product has no more to say.
            chosen, count = values[:2], min(len(values), 2)
        while len(self._answering([*chosen, *kind])[0]) > MAX_ANSWERS and count < min(len(values), 3):
            chosen.append(values[count])
            count += 1
        return self._asking("values", i, [*chosen, *kind], rng)

    def _by_words(self, i: int, rng: random.Random) -> MinedQuery | None:
        """Some words of the title in their order, never all of them."""
        title = self.described[i].title
        pieces = [piece for run in title for piece in self._pieces(run, rng)]
        order = rng.sample(range(len(pieces)), len(pieces))
        # A title of words only would be asked whole if every word were taken.
        most = min(MAX_PIECES, len(pieces) - 1 if pieces == list(title) else len(pieces))
        for count in range(max(1, min(most, rng.choice((2, 2, 3)))), most + 1):
            facets = [facet(pieces[k]) for k in sorted(order[:count])]
            if count == most or len(self._answering(facets)[0]) <= MAX_ANSWERS:
                return self._asking("words", i, facets, rng)
        return None

    def _pieces(self, run: str, rng: random.Random) -> list[str]:
        """What may be asked of a run of a title: a word that says something, or a few neighbouring characters."""
        if not is_without_spaces(run):
            says_something = len(run) > 1 and not run.isdecimal()
            return [run] if says_something and self.holders.count(run) <= max(COMMON * len(self.ids), FEW) else []
        if len(run) < 3:
            return [run]
        # Characters that often stand together are more often a word: of a few stretches, the commonest is taken.
        half = len(run) if len(run) < 8 else (len(run) + 1) // 2
        return [self._commonest_stretch(run[start : start + half], rng) for start in range(0, len(run), half)]

    def _commonest_stretch(self, run: str, rng: random.Random) -> str:
        stretches = []
        for _ in range(4):
            length = min(rng.choice((2, 2, 3, 4)), max(2, len(run) - 1))
            start = rng.randrange(max(1, len(run) - length + 1))
            stretches.append(run[start : start + length])
        return max(stretches, key=lambda stretch: min(map(self.holders.count, run_words(stretch))))

    def _asking(self, kind: str, i: int, facets: Sequence[Facet], rng: random.Random) -> MinedQuery:
        answers, known = self._answering(facets)
        text = " ".join(dict.fromkeys(facet.text for facet in facets))
        self.counts[kind] += 1
        positive = int(answers[rng.randrange(int(np.searchsorted(answers, self.own)))])
        return self._mined(Query(id=f"mined-{kind}-{self.ids[i]}", text=text), i, positive, known, rng)

    def _answering(self, facets: Sequence[Facet]) -> tuple[NDArray[np.int32], frozenset[str]]:
        """The products that hold all facets, as numbers and as ids; one set for all queries of the same words."""
        words = frozenset().union(*(facet.words for facet in facets))
        if words not in self._answers:
            numbers = self.holders.of(facets)
            self._answers[words] = numbers, frozenset(self.ids[j] for j in numbers)
        return self._answers[words]

    def _mined(self, query: Query, i: int, positive: int, known: frozenset[str], rng: random.Random) -> MinedQuery:
        drawn = _draw_negatives(rng, self.negatives, self.categories[i], self.of_branch, self.ids, known)
        return MinedQuery(query, self.ids[positive], tuple(self.ids[j] for j in drawn), known)


def _draw_negatives(
    rng: random.Random,
    count: int,
    category: tuple[str, ...],
    of_branch: Mapping[tuple[str, ...], Sequence[int]],
    ids: Sequence[str],
    known: frozenset[str],
) -> list[int]:
    for depth in range(len(category), -1, -1):
        members = of_branch[category[:depth]]
        # Most draws hit a product that is no answer; only where answers crowd the branch, a sample is looked at.
        chosen = _first_others((members[int(rng.random() * len(members))] for _ in range(3 * count)), count, ids, known)
        if len(chosen) < min(count, len(members)):
            sample = rng.sample(members, min(len(members), max(256, 8 * count)))
            chosen = _first_others(sample, count, ids, known)
        if chosen:
            return chosen
    return []


def _first_others(drawn: Iterable[int], count: int, ids: Sequence[str], known: frozenset[str]) -> list[int]:
    chosen: dict[int, None] = {}
    for j in drawn:
        if ids[j] not in known:
            chosen[j] = None
            if len(chosen) == count:
                break
    return list(chosen)
