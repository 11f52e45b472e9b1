"""A benchmark like MBE2.0 from a shop's own catalog and search log: deduplicated, balanced, split without leaks.

The result is a catalog, so `moon2 evaluate` scores on it and `moon2 augment` takes its training split. Products are
read twice, one at a time: for their words and the fingerprints of their images, and to be written. In memory are words,
fingerprints and the log. Every draw is a hash of the seed and an id, so the same seed gives the same benchmark. A
product shown is a negative only if it answers the query in no row of the log and resembles no answer. rejects.parquet
lists what was left out, with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from moon2.catalog import schema
from moon2.catalog.benchmark.attribute_queries import attribute_queries
from moon2.catalog.benchmark.card import BenchmarkResult, BenchmarkSettings, write_description
from moon2.catalog.benchmark.query_groups import image_ties, query_groups
from moon2.catalog.benchmark.split import Split, draw, split_nodes
from moon2.catalog.groups import group_pairs
from moon2.catalog.near_duplicates import SimilarProducts
from moon2.catalog.schema import SPLITS, CatalogError, Reject, is_url
from moon2.catalog.store import Catalog, CatalogWriter, require_target
from moon2.catalog.styles import style_of
from moon2.files import exclusive_lock
from moon2.progress import progress_bar
from moon2.records import Interaction

__all__ = ["BenchmarkResult", "BenchmarkSettings", "build_benchmark"]

DEFAULT_SETTINGS = BenchmarkSettings()


def build_benchmark(
    data: Path,
    *,
    out: Path,
    settings: BenchmarkSettings = DEFAULT_SETTINGS,
    title: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> BenchmarkResult:
    """Build a benchmark like MBE2.0 from a catalog and its search log.

    Duplicates are removed, categories are capped, and the rest is split into train and test. No product,
    near-duplicate, style or query is on both sides. Purchases become positives. Products shown but not
    bought become negatives, unless they answer the query elsewhere in the log or resemble an answer.

    OUT is a catalog: `moon2 evaluate` scores on it, and datasets.load_dataset(OUT, "products", split="test")
    opens it. benchmark.json declares its tasks; rejects.parquet lists what was left out. To co-augment it, run
    `moon2 augment OUT --out OUT+`, which adds to the training split only.

    A shop without a log gets test queries made of attributes and kinds with --queries attributes. They are a
    weak measure: no shopper wrote them, and they use the shop's own words. Training then mines its triplets.

    example:
      moon2 benchmark build data/mine --out data/mine-benchmark --category_cap 500

    Args:
        data: folder of a catalog, with a search log unless --queries says otherwise; its own split is not used
        out: folder of the new benchmark; it appears as a whole or not at all
        settings: how it is built
        title: title of the dataset card; the name of DATA when not given
        licence: licence on the dataset card; that of DATA when not given
        overwrite: replace the catalog at OUT

    Raises:
        CatalogError: there is no log, too little is left for one of the splits, or OUT is in use, or is DATA.
    """
    catalog = Catalog.open(data)
    require_target(out, overwrite=overwrite, sources=[data])
    builder = _Builder(catalog, settings)
    if not builder.log and settings.queries == "log":
        raise CatalogError(
            f"{data}: has no search log; import the catalog with --log, or give --queries attributes for queries such "
            f'as "red cotton shirts"'
        )
    name, licence = title or f"{catalog.folder.name} benchmark", licence or catalog.licence()
    # Opened before the long work, because the folder may be in use.
    with (
        exclusive_lock(out, "`moon2 benchmark build`"),
        CatalogWriter(out, title=name, licence=licence, overwrite=overwrite) as writer,
        progress_bar(total=2 * len(catalog), unit="products", desc="benchmark") as bar,
    ):
        builder.read(bar)
        builder.remove_duplicates()
        builder.cap_categories()
        split = builder.split()
        builder.write(writer, split, bar)
        for side in SPLITS:
            needs_queries = side == "test" or settings.queries == "log"
            if not builder.products[side] or (needs_queries and not builder.queries[side]):
                counts = f"{builder.products[side]:,} products and {builder.queries[side]:,} queries"
                raise CatalogError(
                    f"{data}: the {side} split would have {counts}; give a longer log (or more attributes), or "
                    f"another test_share"
                )
    result = BenchmarkResult(
        Catalog.open(out),
        dict(builder.products),
        dict(builder.queries),
        dict(builder.left_out.most_common()),
        split.components,
        split.largest,
    )
    write_description(name, licence, str(data), settings, result, builder.labels)
    return result


class _Builder:
    """The steps, in order; each leaves its result to the next. Products are numbers, in the order of the catalog.

    After `remove_duplicates`, `number` gives for the id of a duplicate the number of the product that remains.
    """

    def __init__(self, catalog: Catalog, settings: BenchmarkSettings) -> None:
        self.catalog, self.settings = catalog, settings
        with_log = settings.queries == "log"
        self.log = [row for split in SPLITS for row in catalog.interactions(split)] if with_log else []
        self.left_out: Counter[str] = Counter()
        self.rejects: list[Reject] = []
        self.products, self.queries = Counter(dict.fromkeys(SPLITS, 0)), Counter(dict.fromkeys(SPLITS, 0))
        self.labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.removed: set[int] = set()
        self.query_ids: set[str] = set()

    def read(self, bar: tqdm[object]) -> None:
        """Words and fingerprints of all products, and which products and queries are similar."""
        self.ids: list[str] = []
        self.categories: list[tuple[str, ...]] = []
        self.styles: list[tuple[str, ...]] = []
        self.exact: list[bytes] = []
        similar = SimilarProducts()
        urls: list[tuple[int, str]] = []
        query_images = {row.query.image for row in self.log}
        columns = ["id", "title", "category", "attributes", "images"]
        for number, row in enumerate(self.catalog.rows(None, columns)):
            title, category = row["title"] or "", tuple(row["category"] or ())
            attributes = schema.pairs_to_dict(row["attributes"])
            images = [schema.cell_to_image(cell) for cell in row["images"] or ()]
            self.ids.append(row["id"])
            self.categories.append(category)
            self.styles.append(style_of(category, attributes))
            self.exact.append(_exact_key(title, category, attributes, images))
            similar.add(title, category, images)
            addresses = (image for image in images if isinstance(image, str) and is_url(image))
            urls += [(number, image) for image in addresses if image in query_images]
            bar.update()
        self.number = {id: number for number, id in enumerate(self.ids)}
        self.title_pairs = similar.title_pairs()
        self.image_pairs = similar.image_pairs()
        self.groups = query_groups(self.log)
        self.ties = image_ties(self.log, self.groups, len(self.ids), similar.prints, urls)

    def remove_duplicates(self) -> None:
        """Of products that are the same, or nearly the same in both title and image, the first remains."""
        first_of: dict[bytes, int] = {}
        exact = [(first_of.setdefault(key, number), number) for number, key in enumerate(self.exact)]
        self.remains = group_pairs(len(self.ids), [*exact, *(self.title_pairs & self.image_pairs)])
        for (first, number), remaining in zip(exact, self.remains, strict=True):
            if number != remaining:
                self.removed.add(number)
                id, other = self.ids[number], self.ids[remaining]
                reason = "exact_duplicate" if first != number else "near_duplicate"
                same = "is the same product as" if first != number else "has nearly the same title and image as"
                self._leave_out(id, reason, f"product {id!r}: {same} {other!r}, which replaces it in the log")
                self.number[id] = remaining

    def cap_categories(self) -> None:
        """Removes products of large categories: first those that were never bought."""
        cap = self.settings.category_cap
        if not cap:
            return
        bought = {self.number[id] for row in self.log for id in row.positive_ids}
        members: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, category in enumerate(self.categories):
            if number not in self.removed:
                members[category].append(number)
        for category, numbers in members.items():
            numbers.sort(key=lambda number: (number not in bought, draw(self.settings.seed, self.ids[number])))
            for number in sorted(numbers[cap:]):
                self.removed.add(number)
                id = self.ids[number]
                message = f"product {id!r}: {' > '.join(category)} has {cap} other products"
                self._leave_out(id, "over_category_cap", message)

    def split(self) -> Split:
        """The sides of products and queries; a row links its query to the products bought, not to the negatives."""
        count = len(self.ids)
        required = [*self.title_pairs, *self.image_pairs, *self.ties, *enumerate(self.remains)]
        first_of: dict[tuple[str, ...], int] = {}
        required += [(first_of.setdefault(style, i), i) for i, style in enumerate(self.styles) if style]
        preferred = [
            (number, count + group)
            for row, group in zip(self.log, self.groups, strict=True)
            for number in self._answers(row)
        ]
        groups = max(self.groups, default=-1) + 1
        weights = [int(number not in self.removed) for number in range(count)] + [0] * groups
        # The largest character of Unicode, so that a query's name never decides the draw of a component.
        names = [*self.ids, *["\U0010ffff"] * groups]
        share, seed = self.settings.test_share, self.settings.seed
        return split_nodes(names, weights, required, preferred, share=share, seed=seed)

    def write(self, writer: CatalogWriter, split: Split, bar: tqdm[object]) -> None:
        """Writes the products and log rows of both sides, and the list of what was left out."""
        self.in_test: list[bool] = split.in_test[: len(self.ids)].tolist()
        gallery: list[dict[str, Any]] = []
        for number, row in enumerate(self.catalog.rows(None, schema.PRODUCTS.names)):
            bar.update()
            if number in self.removed:
                continue
            side = SPLITS[self.in_test[number]]
            if side == "test":  # augmentations are for training only
                row |= {"enriched_title": None, "expanded_images": [], "provenance": []}
                self._count_labels(row)
                gallery.append({name: row[name] for name in ("id", "title", "category", "attributes")})
            writer.add_row(row, side)
            self.products[side] += 1
        query_in_test = self._query_sides()
        self._gather_answers()
        rows = [(row, group, query_in_test[group]) for row, group in zip(self.log, self.groups, strict=True)]
        self._write_train(((row, group) for row, group, in_test in rows if not in_test), writer)
        self._write_test(((row, group) for row, group, in_test in rows if in_test), writer)
        if self.settings.queries == "attributes":
            for query in attribute_queries(gallery, self.settings.seed):
                self._write_row(query, "test", writer)
        for reject in self.rejects:
            writer.add_reject(reject)

    def _leave_out(self, id: str, reason: str, message: str) -> None:
        self.left_out[reason] += 1
        self.rejects.append(Reject(0, id, "row", reason, message))

    def _answers(self, row: Interaction) -> list[int]:
        """The products bought and the product in the query's photo, which all answer the query."""
        return [self.number[id] for id in (*row.positive_ids, row.query.product_id) if id is not None]

    def _count_labels(self, row: Mapping[str, Any]) -> None:
        for label in (row["category"] or ())[-1:]:
            self.labels["class"][label] += 1
        for key, value in schema.pairs_to_dict(row["attributes"]).items():
            self.labels[f"attribute:{key}"][value] += 1

    def _query_sides(self) -> dict[int, bool]:
        """Whether each query is in the test split.

        A query is on the side of the product that its image nearly shows. Other queries are where most of their
        answers are, counted over all queries with the same image; for equal counts, in train.
        """
        count = len(self.ids)
        root_of = group_pairs(count + max(self.groups, default=-1) + 1, self.ties)
        products = {node for pair in self.ties for node in pair if node < count}
        side = {root_of[n]: self.in_test[n] for n in products if self.remains[n] not in self.removed}
        votes: Counter[int] = Counter()
        for row, group in zip(self.log, self.groups, strict=True):
            for number in self._answers(row):
                if number not in self.removed:
                    votes[root_of[count + group]] += 1 if self.in_test[number] else -1
        roots = {group: root_of[count + group] for group in self.groups}
        return {group: side.get(root, votes[root] > 0) for group, root in roots.items()}

    def _gather_answers(self) -> None:
        """All known answers of each query, their styles, and which products are similar to which."""
        self.answers_of: defaultdict[int, set[int]] = defaultdict(set)
        for row, group in zip(self.log, self.groups, strict=True):
            self.answers_of[group].update(self._answers(row))
        self.styles_of = {
            group: {self.styles[number] for number in numbers} - {()} for group, numbers in self.answers_of.items()
        }
        self.similar_to: defaultdict[int, set[int]] = defaultdict(set)
        for pair in self.title_pairs | self.image_pairs:
            first, second = (self.remains[number] for number in pair)
            self.similar_to[first].add(second)
            self.similar_to[second].add(first)

    def _negatives(self, ids: tuple[str, ...], group: int) -> tuple[str, ...]:
        """Products shown but not bought, without answers of the query and products that resemble an answer."""
        answers, negatives = self.answers_of[group], []
        for id in ids:
            number = self.number[id]
            if number in answers:
                self.left_out["exposure_of_known_answer"] += 1
            elif self.styles[number] in self.styles_of[group] or answers & self.similar_to.get(number, set()):
                self.left_out["exposure_like_known_answer"] += 1
            else:
                negatives.append(id)
        return tuple(negatives)

    def _on_side(self, row: Interaction, group: int, side: str) -> Interaction | None:
        """The row with the products of its side only; None, and listed, if no purchase or not its photo is left."""

        def here(ids: tuple[str, ...], kind: str) -> tuple[str, ...]:
            numbers: dict[int, None] = {}
            for number in (self.number[id] for id in ids):
                if number in self.removed:
                    self.left_out[f"{kind}_of_removed_product"] += 1
                elif SPLITS[self.in_test[number]] != side:
                    self.left_out[f"{kind}_across_the_split"] += 1
                else:
                    numbers[number] = None
            return tuple(self.ids[number] for number in numbers)

        query = row.query
        if query.product_id is not None:
            shown = here((query.product_id,), "photo")
            if not shown:
                message = f"query {query.id!r}: the product in its photo was removed, or is not in the {side} split"
                self._leave_out(query.id, "query_without_photo", message)
                return None
            query = replace(query, product_id=shown[0])
        positives = here(row.positive_ids, "purchase")
        if not positives:
            message = f"query {query.id!r}: the product bought was removed, or is not in the {side} split"
            self._leave_out(query.id, "query_without_purchase", message)
            return None
        negatives = self._negatives(here(row.negative_ids, "exposure"), group)
        graded = ((self.number[id], grade) for id, grade in row.grades.items())
        grades = _highest(
            (self.ids[number], grade)
            for number, grade in graded
            if number not in self.removed and SPLITS[self.in_test[number]] == side
        )
        return Interaction(query, positives, negatives, grades)

    def _write_train(self, rows: Iterable[tuple[Interaction, int]], writer: CatalogWriter) -> None:
        for row, group in rows:
            if reduced := self._on_side(row, group, "train"):
                self._write_row(reduced, "train", writer)

    def _write_test(self, rows: Iterable[tuple[Interaction, int]], writer: CatalogWriter) -> None:
        """One row a query; all products bought after it are relevant."""
        merged: dict[int, Interaction] = {}
        for row, group in rows:
            reduced, first = self._on_side(row, group, "test"), merged.get(group)
            if reduced and first:
                positives = dict.fromkeys((*first.positive_ids, *reduced.positive_ids))
                negatives = dict.fromkeys((*first.negative_ids, *reduced.negative_ids))
                grades = _highest((*first.grades.items(), *reduced.grades.items()))
                merged[group] = Interaction(first.query, tuple(positives), tuple(negatives), grades)
                self.left_out["repeated_test_query"] += 1
            elif reduced:
                merged[group] = reduced
        for row in merged.values():
            # The product in the query's photo would be retrieved by its own photo.
            relevant = tuple(id for id in row.positive_ids if id != row.query.product_id)
            if relevant:
                self._write_row(replace(row, positive_ids=relevant), "test", writer)
            else:
                message = f"query {row.query.id!r}: only the product in its photo was bought"
                self._leave_out(row.query.id, "query_without_purchase", message)

    def _write_row(self, row: Interaction, side: str, writer: CatalogWriter) -> None:
        """Writes a row under an id that no other query has."""
        id, count = row.query.id, 1
        while id in self.query_ids:
            count += 1
            id = f"{row.query.id}~{count}"
        self.query_ids.add(id)
        writer.add_interaction(replace(row, query=replace(row.query, id=id)), side)
        self.queries[side] += 1


def _highest(graded: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The highest grade of each product, as in the import of a log."""
    grades: dict[str, float] = {}
    for id, grade in graded:
        grades[id] = max(grade, grades.get(id, grade))
    return grades


def _exact_key(title: str, category: tuple[str, ...], attributes: dict[str, str], images: list[bytes | str]) -> bytes:
    """The key that exact duplicates share: words, category and the main image; without an image, all attributes."""
    main: object = images[0] if images else sorted(attributes.items())
    digest = main if isinstance(main, bytes) else repr(main).encode()
    words = " ".join(title.casefold().split())
    return blake2b(repr((words, category)).encode() + b"\0" + digest, digest_size=16).digest()
