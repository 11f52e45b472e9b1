"""Triplets (query, positive, negatives) to train on: from a search log, or mined from a catalog that has none.

In a log, a purchase is the positive, and products shown but not bought are the negatives. Mining takes each product as
its own query. The positive is another product of the same style or with nearly the same title; negatives are products
of the same category but of another style. An inverted index on rare words finds near-duplicate titles without comparing
all pairs.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moon2.catalog.schema import CatalogError, pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.records import Interaction, Query

# Two titles are near-duplicates when their sets of words overlap by this share of their union (Jaccard).
NEAR_DUPLICATE = 0.75
# An attribute that names the style decides alone; otherwise the category and two of brand, colour and gender decide.
STYLE_NAMES = ("styleid", "itemgroupid", "groupid", "parentid", "parentsku", "variantof")
BRAND_NAMES = ("brand", "brandname", "manufacturer")
COLOUR_NAMES = ("colour", "color", "basecolour", "basecolor", "colourname", "colorname")
GENDER_NAMES = ("gender", "targetgender", "department")
# Each product is compared with at most this many of those that share a word, which bounds the cost of common words.
MAX_COMPARED = 64


@dataclass(frozen=True, slots=True)
class Triplet:
    """One training example.

    Attributes:
        query: the search.
        positive_id: the product bought, or a product very similar to the query's own.
        negative_ids: products shown but not bought, or mined; none of them is a known positive; may be empty.
        known_positive_ids: every product known to answer this query, `positive_id` among them; they are never in-batch
            negatives of it.
    """

    query: Query
    positive_id: str
    negative_ids: tuple[str, ...]
    known_positive_ids: frozenset[str]


def training_triplets(catalog: Catalog, seed: int = 0) -> list[Triplet]:
    """The triplets of the training log if there is one, otherwise mined ones.

    Raises:
        CatalogError: there is no log, and no two products are similar enough to mine from.
    """
    triplets = triplets_from_log(catalog.interactions("train")) or mine_triplets(catalog, seed)
    if not triplets:
        raise CatalogError(
            f"{catalog.folder}: has no training log, and no two products share a style or a title; import a log"
        )
    return triplets


def triplets_from_log(interactions: Iterable[Interaction]) -> list[Triplet]:
    """One triplet for each positive of each interaction, in the order of the log.

    Known positives are the query's own product, and the positives of every interaction with the same query id, or with
    the same words (without case, punctuation and spacing) and the same product. A known positive is removed from the
    negatives.
    """
    interactions = list(interactions)
    positives: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for interaction in interactions:
        for key in same_query_keys(interaction.query):
            positives[key].update(interaction.positive_ids)
    triplets = []
    for interaction in interactions:
        query = interaction.query
        known = set().union(*(positives[key] for key in same_query_keys(query)))
        if query.product_id is not None:
            known.add(query.product_id)
        negatives = tuple(id for id in interaction.negative_ids if id not in known)
        known_positives = frozenset(known)
        triplets += [Triplet(query, positive, negatives, known_positives) for positive in interaction.positive_ids]
    return triplets


def same_query_keys(query: Query) -> list[tuple[str, ...]]:
    """Keys that equal queries share: the id, and the words together with the query's product."""
    keys: list[tuple[str, ...]] = [("id", query.id)]
    words = " ".join(_words(query.text))
    # Behind the same words, shoppers may have different images of their own.
    if query.image is None and (words or query.product_id):
        keys.append(("words", words, query.product_id or ""))
    return keys


def mine_triplets(catalog: Catalog, seed: int = 0, *, split: str = "train", negatives: int = 4) -> list[Triplet]:
    """One triplet for each product that has a similar one; the query is the product's own title and image.

    Args:
        catalog: its images are not read.
        seed: the same seed gives the same triplets.
        split: of the products; positives and negatives come from it too.
        negatives: per triplet; fewer where the catalog has no more products of another style.

    Returns:
        In the order of the catalog. Negatives share the longest part of the category path that holds another style.
    """
    rows = list(catalog.rows(split, ["id", "title", "category", "attributes"]))
    ids = [row["id"] for row in rows]
    categories = [tuple(row["category"] or ()) for row in rows]
    styles = [style_of(tuple(row["category"] or ()), pairs_to_dict(row["attributes"])) for row in rows]
    of_style: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    of_branch: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, (category, style) in enumerate(zip(categories, styles, strict=True)):
        if style:
            of_style[style].append(i)
        for depth in range(len(category) + 1):
            of_branch[category[:depth]].append(i)
    # Products of one style share one set: the memory is linear in the size of a style.
    ids_of_style = {style: frozenset(ids[i] for i in members) for style, members in of_style.items()}
    duplicates = near_duplicate_titles([frozenset(_words(row["title"] or "")) for row in rows], categories)

    triplets = []
    for i, style in enumerate(styles):
        same_style, same_title = of_style.get(style, []), duplicates.get(i, [])
        if len(same_style) < 2 and not same_title:
            continue
        rng = random.Random(f"{seed}/{ids[i]}")
        positive = i
        while positive == i:
            k = rng.randrange(len(same_title) + len(same_style))
            positive = same_title[k] if k < len(same_title) else same_style[k - len(same_title)]
        known = ids_of_style.get(style, frozenset((ids[i],)))
        others = {ids[j] for j in same_title}
        known = known if others <= known else known | others
        negative_ids = tuple(ids[j] for j in _draw_negatives(rng, negatives, categories[i], of_branch, ids, known))
        query = Query(id=f"mined-{ids[i]}", text=rows[i]["title"] or "", product_id=ids[i])
        triplets.append(Triplet(query, ids[positive], negative_ids, known))
    return triplets


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def style_of(category: tuple[str, ...], attributes: Mapping[str, str]) -> tuple[str, ...]:
    """A key that products of one style share; () when too little is known."""
    by_name = {re.sub(r"[\W_]", "", name.casefold()): value.strip().casefold() for name, value in attributes.items()}

    def first(names: Sequence[str]) -> str:
        return next((by_name[name] for name in names if by_name.get(name)), "")

    if first(STYLE_NAMES):
        return ("style", first(STYLE_NAMES))
    parts = (first(BRAND_NAMES), first(COLOUR_NAMES), first(GENDER_NAMES))
    return (*category, *parts) if category and sum(map(bool, parts)) >= 2 else ()


def near_duplicate_titles(
    titles: Sequence[frozenset[str]], categories: Sequence[tuple[str, ...]]
) -> dict[int, list[int]]:
    """Products of the same category whose titles' word sets overlap by at least `NEAR_DUPLICATE`, by index.

    Two sets that overlap by a share s must have one of their len − ⌈s·len⌉ + 1 rarest words in common, so only products
    that share a rare word are compared (prefix filtering; Chaudhuri, Ganti and Kaushik, ICDE 2006).
    """
    frequency = Counter(word for title in titles for word in title)
    members_of: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    keys: list[list[tuple[object, ...]]] = []
    for i, title in enumerate(titles):
        rarest = sorted(title, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(title) - math.ceil(NEAR_DUPLICATE * len(title)) + 1]
        # A title of one or two words, such as "shirt", says too little.
        keys.append([(categories[i], part) for part in (title, *prefix)] if len(title) >= 3 else [])
        for key in keys[i]:
            members_of[key].append(i)
    duplicates: dict[int, list[int]] = {}
    for i, title in enumerate(titles):
        candidates: set[int] = set()
        for key in keys[i]:
            members = members_of[key]
            start = max(0, bisect_left(members, i) - MAX_COMPARED // 2)
            candidates.update(members[start : start + MAX_COMPARED])
        candidates.discard(i)
        similar = [j for j in candidates if len(title & titles[j]) >= NEAR_DUPLICATE * len(title | titles[j])]
        if similar:
            duplicates[i] = sorted(similar)
    return duplicates


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
        # Of a large category, only a sample is looked at.
        sample = rng.sample(members, min(len(members), max(256, 8 * count)))
        chosen = [j for j in sample if ids[j] not in known][:count]
        if chosen:
            return chosen
    return []
