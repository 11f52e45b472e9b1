"""Triplets (query, positive, negatives) to train on: from a search log, or mined from a catalog that has none.

A log's purchase is the positive and what was shown and left are the negatives. Mining takes each product as its own
query, another product of the same style or with nearly the same title as the positive, and products of the same
category but of another style as negatives. Near-duplicate titles are found through an inverted index on rare words,
never over all pairs.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moon2.catalog.store import Catalog, CatalogError
from moon2.records import Interaction, Query

# Two titles are near-duplicates when their sets of words overlap by this share of their union (Jaccard).
NEAR_DUPLICATE = 0.75
# An attribute that names the style outright decides alone; otherwise category and two of brand, colour and gender do.
STYLE_NAMES = ("styleid", "itemgroupid", "groupid", "parentid", "parentsku", "variantof")
BRAND_NAMES = ("brand", "brandname", "manufacturer")
COLOUR_NAMES = ("colour", "color", "basecolour", "basecolor", "colourname", "colorname")
GENDER_NAMES = ("gender", "targetgender", "department")
# Bounds the work a common word can cause: so many products that share it are compared.
MAX_COMPARED = 64


@dataclass(frozen=True, slots=True)
class Triplet:
    """One thing to learn from.

    Attributes:
        query: what was asked.
        positive_id: the product bought, or a product very like the one asked with.
        negative_ids: products that were shown and left, or mined; none of them is a known positive; may be empty.
        known_positive_ids: every product known to answer this query, `positive_id` among them; in-batch negatives
            leave them out.
    """

    query: Query
    positive_id: str
    negative_ids: tuple[str, ...]
    known_positive_ids: frozenset[str]


def training_triplets(catalog: Catalog, seed: int = 0) -> list[Triplet]:
    """The triplets of the training log if there is one, otherwise mined ones.

    Raises:
        CatalogError: there is no log and no two products are alike enough to mine from.
    """
    triplets = triplets_from_log(catalog.interactions("train")) or mine_triplets(catalog, seed)
    if not triplets:
        raise CatalogError(
            f"{catalog.folder}: has no training log, and no two products share a style or a title; import a log"
        )
    return triplets


def triplets_from_log(interactions: Iterable[Interaction]) -> list[Triplet]:
    """One triplet for each positive of each interaction, in the order of the log.

    Known positives are the positives of every interaction with the same query id, or with the same words (case,
    punctuation and spacing aside) and the same product shown, and the product shown itself. A negative of one
    interaction that is a known positive is no longer a negative.
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
    """What a query has in common with others that are the same: its id, and its words with the product it shows."""
    keys: list[tuple[str, ...]] = [("id", query.id)]
    words = " ".join(_words(query.text))
    # A picture of the shopper's own may differ behind the same words, and without words nothing can be compared.
    if query.image is None and (words or query.product_id):
        keys.append(("asked", words, query.product_id or ""))
    return keys


def mine_triplets(catalog: Catalog, seed: int = 0, *, split: str = "train", negatives: int = 4) -> list[Triplet]:
    """One triplet for each product that has a product like it; the query is the product's own title and picture.

    Args:
        catalog: its pictures are not read.
        seed: the same seed gives the same triplets.
        split: which products; positives and negatives come from it too.
        negatives: how many a triplet gets, fewer where the whole catalog has no more of another style.

    Returns:
        In the order of the catalog. Negatives share the whole category path where that holds another style, else the
        nearest part of the path that does.
    """
    rows = list(catalog.rows(split, ["id", "title", "category", "attributes"]))
    ids = [row["id"] for row in rows]
    categories = [tuple(row["category"] or ()) for row in rows]
    attributes = [{pair["key"]: pair["value"] for pair in row["attributes"] or ()} for row in rows]
    styles = [style_of(category, pairs) for category, pairs in zip(categories, attributes, strict=True)]
    of_style: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    of_branch: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, (category, style) in enumerate(zip(categories, styles, strict=True)):
        if style:
            of_style[style].append(i)
        for depth in range(len(category) + 1):
            of_branch[category[:depth]].append(i)
    # Products of one style share one set, so that a large style does not cost its square.
    ids_of_style = {style: frozenset(ids[i] for i in members) for style, members in of_style.items()}
    alike_titles = near_duplicates([frozenset(_words(row["title"] or "")) for row in rows], categories)

    triplets = []
    for i, style in enumerate(styles):
        same_style, alike = of_style.get(style, []), alike_titles.get(i, [])
        if len(same_style) < 2 and not alike:
            continue
        draw = random.Random(f"{seed}/{ids[i]}")
        positive = i
        while positive == i:
            k = draw.randrange(len(alike) + len(same_style))
            positive = alike[k] if k < len(alike) else same_style[k - len(alike)]
        known = ids_of_style.get(style, frozenset((ids[i],)))
        others = {ids[j] for j in alike}
        known = known if others <= known else known | others
        against = [ids[j] for j in _draw_negatives(draw, negatives, categories[i], of_branch, ids, known)]
        query = Query(id=f"mined-{ids[i]}", text=rows[i]["title"] or "", product_id=ids[i])
        triplets.append(Triplet(query, ids[positive], tuple(against), known))
    return triplets


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def style_of(category: tuple[str, ...], attributes: Mapping[str, str]) -> tuple[str, ...]:
    """What products of one style have in common; () when too little is known to say."""
    by_name = {re.sub(r"[\W_]", "", name.casefold()): value.strip().casefold() for name, value in attributes.items()}

    def first(names: Sequence[str]) -> str:
        return next((by_name[name] for name in names if by_name.get(name)), "")

    if first(STYLE_NAMES):
        return ("style", first(STYLE_NAMES))
    parts = (first(BRAND_NAMES), first(COLOUR_NAMES), first(GENDER_NAMES))
    return (*category, *parts) if category and sum(map(bool, parts)) >= 2 else ()


def near_duplicates(titles: Sequence[frozenset[str]], categories: Sequence[tuple[str, ...]]) -> dict[int, list[int]]:
    """Products of the same category whose titles' word sets overlap by at least `NEAR_DUPLICATE`, by index.

    Two sets that overlap by a share s must have one of their len − ⌈s·len⌉ + 1 rarest words in common, so only products
    under the same rare word are compared (prefix filtering; Chaudhuri, Ganti and Kaushik, ICDE 2006).
    """
    frequency = Counter(word for title in titles for word in title)
    under: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    keys: list[list[tuple[object, ...]]] = []
    for i, title in enumerate(titles):
        rarest = sorted(title, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(title) - math.ceil(NEAR_DUPLICATE * len(title)) + 1]
        # Of one or two words, such as "shirt", a title says too little.
        keys.append([(categories[i], part) for part in (title, *prefix)] if len(title) >= 3 else [])
        for key in keys[i]:
            under[key].append(i)
    found: dict[int, list[int]] = {}
    for i, title in enumerate(titles):
        candidates: set[int] = set()
        for key in keys[i]:
            members = under[key]
            start = max(0, bisect_left(members, i) - MAX_COMPARED // 2)
            candidates.update(members[start : start + MAX_COMPARED])
        candidates.discard(i)
        alike = [j for j in candidates if len(title & titles[j]) >= NEAR_DUPLICATE * len(title | titles[j])]
        if alike:
            found[i] = sorted(alike)
    return found


def _draw_negatives(
    draw: random.Random,
    count: int,
    category: tuple[str, ...],
    of_branch: Mapping[tuple[str, ...], Sequence[int]],
    ids: Sequence[str],
    known: frozenset[str],
) -> list[int]:
    for depth in range(len(category), -1, -1):
        members = of_branch[category[:depth]]
        # A large category is sampled, a small one gone through.
        tried = draw.sample(members, min(len(members), max(256, 8 * count)))
        chosen = [j for j in tried if ids[j] not in known][:count]
        if chosen:
            return chosen
    return []
