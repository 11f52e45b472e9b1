"""A benchmark like MBE2.0 from a shop's own catalog and search log: deduplicated, balanced, split without leaks.

What is built is a catalog of its own, so `moon2 evaluate` scores on it and `moon2 augment` takes its training part.
Products stream by: first their words, then their pictures one at a time as fingerprints, then whole rows to be written.
What stays in memory is words, fingerprints and the log. Every draw comes from a hash of the seed and an id, so the same
seed gives the same benchmark. An exposure is a negative only where nothing says that it answers the query after all:
neither another row of the log nor its likeness to an answer. What does not get in is listed, with its reason, in
rejects.parquet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from moon2.catalog import schema
from moon2.catalog.benchmark.card import BenchmarkResult, BenchmarkSettings, write_card, write_declaration
from moon2.catalog.benchmark.near_duplicates import Fingerprint, alike_pictures, alike_titles, fingerprint
from moon2.catalog.benchmark.query_groups import picture_ties, query_groups
from moon2.catalog.benchmark.split import Split, UnionFind, draw, split_nodes
from moon2.catalog.schema import SPLITS, CatalogError, Reject, is_url
from moon2.catalog.store import Catalog, CatalogWriter
from moon2.catalog.triplets import style_of
from moon2.records import Interaction

__all__ = ["BenchmarkResult", "BenchmarkSettings", "build_benchmark"]


def build_benchmark(
    data: str | Path,
    out: str | Path,
    settings: BenchmarkSettings | None = None,
    *,
    title: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
    show_progress: bool = True,
) -> BenchmarkResult:
    """Builds a benchmark from a catalog with a search log.

    Args:
        data: folder of the catalog. Its own split is not used; both parts of its log are.
        out: folder of the benchmark; it appears whole or not at all.
        settings: the defaults when not given.
        title, licence: for the card; the licence is the catalog's when not given.
        overwrite: replace a catalog that is at `out`.
        show_progress: a bar on standard error.

    Raises:
        CatalogError: there is no log, too little is left for one of the parts, or `out` is in use.
    """
    settings = settings or BenchmarkSettings()
    catalog = Catalog.open(data)
    if not any(catalog.interactions(split) for split in SPLITS):
        raise CatalogError(f"{data}: has no search log; import the catalog with --log")
    name, licence = title or f"{catalog.folder.name} benchmark", licence or catalog.licence()
    # Opened before the long work, as the folder may be in use.
    writer = CatalogWriter(out, title=name, licence=licence, overwrite=overwrite)
    with writer, tqdm(total=2 * len(catalog), unit=" products", desc="benchmark", disable=not show_progress) as bar:
        builder = _Builder(catalog, settings)
        builder.read(bar)
        builder.remove_duplicates()
        builder.cap_categories()
        split = builder.split()
        builder.write(writer, split, bar)
        for part in SPLITS:
            if not builder.products[part] or not builder.queries[part]:
                told = f"{builder.products[part]:,} products and {builder.queries[part]:,} queries"
                raise CatalogError(
                    f"{data}: the {part} part would have {told}; give a longer log, or another test_share"
                )
    result = BenchmarkResult(
        Catalog.open(out),
        dict(builder.products),
        dict(builder.queries),
        dict(builder.left_out.most_common()),
        split.components,
        split.largest,
    )
    write_card(name, licence, str(data), settings, result)
    write_declaration(name, licence, str(data), settings, result, builder.labels)
    return result


class _Builder:
    """The steps, and what they leave to the next: products by number, in the order of the catalog."""

    def __init__(self, catalog: Catalog, settings: BenchmarkSettings) -> None:
        self.catalog, self.settings = catalog, settings
        self.log = [row for split in SPLITS for row in catalog.interactions(split)]
        self.left_out: Counter[str] = Counter()
        self.rejects: list[Reject] = []
        self.products, self.queries = Counter(dict.fromkeys(SPLITS, 0)), Counter(dict.fromkeys(SPLITS, 0))
        self.labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.kept_of: list[int] = []
        self.removed: set[int] = set()

    def leave_out(self, id: str, reason: str, message: str) -> None:
        self.left_out[reason] += 1
        self.rejects.append(Reject(0, id, reason, message))

    def read(self, bar: tqdm[Any]) -> None:
        self.ids: list[str] = []
        self.titles: list[str] = []
        self.categories: list[tuple[str, ...]] = []
        self.styles: list[tuple[str, ...]] = []
        self.exact: list[bytes] = []
        prints: list[tuple[int, Fingerprint]] = []
        urls: list[tuple[int, str]] = []
        asked = {row.query.image for row in self.log}
        columns = ["id", "title", "category", "attributes", "images"]
        for number, row in enumerate(self.catalog.rows(None, columns)):
            category = tuple(row["category"] or ())
            attributes = {pair["key"]: pair["value"] for pair in row["attributes"] or ()}
            pictures = [schema.cell_to_picture(cell) for cell in row["images"] or ()]
            self.ids.append(row["id"])
            self.titles.append(row["title"] or "")
            self.categories.append(category)
            self.styles.append(style_of(category, attributes))
            self.exact.append(_exact_key(row["title"] or "", category, attributes, pictures))
            for picture in pictures:
                if isinstance(picture, str) and is_url(picture):
                    urls += [(number, picture)] if picture in asked else []
                elif found := fingerprint(picture):
                    prints.append((number, found))
            bar.update()
        self.number_of = {id: number for number, id in enumerate(self.ids)}
        self.alike_titles = set(alike_titles(self.titles, self.categories))
        self.alike_pictures = alike_pictures(prints)
        self.group_of = query_groups(self.log)
        self.ties = picture_ties(self.log, self.group_of, len(self.ids), prints, urls)

    def remove_duplicates(self) -> None:
        """One product remains of those that are the same, and of those alike in title and in picture both."""
        sets = UnionFind([1] * len(self.ids))
        first_of: dict[bytes, int] = {}
        for number, key in enumerate(self.exact):
            sets.union(first_of.setdefault(key, number), number)
        exact = {number for number, key in enumerate(self.exact) if first_of[key] != number}
        for first, second in sorted(self.alike_titles & self.alike_pictures):
            sets.union(first, second)
        least: dict[int, int] = {}
        for number in range(len(self.ids)):
            least.setdefault(sets.find(number), number)
        self.kept_of = [least[sets.find(number)] for number in range(len(self.ids))]
        for number, kept in enumerate(self.kept_of):
            if number != kept:
                self.removed.add(number)
                reason = "exact_duplicate" if number in exact else "near_duplicate"
                same = "the same product as" if number in exact else "nearly the same title and picture as"
                message = f"product {self.ids[number]!r}: {same} {self.ids[kept]!r}, which stands for it in the log"
                self.leave_out(self.ids[number], reason, message)

    def cap_categories(self) -> None:
        cap = self.settings.category_cap
        if not cap:
            return
        bought = {self.kept_of[self.number_of[id]] for row in self.log for id in row.positive_ids}
        members: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, category in enumerate(self.categories):
            if number not in self.removed:
                members[category].append(number)
        for category, numbers in members.items():
            numbers.sort(key=lambda number: (number not in bought, draw(self.settings.seed, self.ids[number])))
            for number in sorted(numbers[cap:]):
                self.removed.add(number)
                message = f"product {self.ids[number]!r}: {' > '.join(category)} has {cap} products already"
                self.leave_out(self.ids[number], "over_category_cap", message)

    def split(self) -> Split:
        """Sides of the products; a log row ties its query to what was bought and shown, but not to what was left."""
        count = len(self.ids)
        bound = [*self.alike_titles, *self.alike_pictures, *self.ties]
        bound += [(number, kept) for number, kept in enumerate(self.kept_of) if number != kept]
        first_of: dict[tuple[str, ...], int] = {}
        bound += [(first_of.setdefault(style, i), i) for i, style in enumerate(self.styles) if style]
        wished = [
            (self.kept_of[self.number_of[id]], count + group)
            for group, row in zip(self.group_of, self.log, strict=True)
            for id in (*row.positive_ids, row.query.product_id)
            if id is not None
        ]
        groups = max(self.group_of, default=-1) + 1
        weights = [int(number not in self.removed) for number in range(count)] + [0] * groups
        # A query's node is named so that it never decides a component's draw.
        names = [*self.ids, *["\U0010ffff"] * groups]
        share, seed = self.settings.test_share, self.settings.seed
        return split_nodes(names, weights, bound, wished, share=share, seed=seed)

    def write(self, writer: CatalogWriter, split: Split, bar: tqdm[Any]) -> None:
        in_test = split.in_test[: len(self.ids)]
        for number, row in enumerate(self.catalog.rows(None, schema.PRODUCTS.names)):
            bar.update()
            if number in self.removed:
                continue
            part = SPLITS[int(in_test[number])]
            if part == "test":  # nothing is augmented where it is scored
                row |= {"enriched_title": None, "expanded_images": [], "provenance": []}
                self._count_labels(row)
            writer.add_row(row, part)
            self.products[part] += 1
        side_of = self._query_sides(in_test)
        self._gather_answers()
        self._write_train([(row, g) for row, g in zip(self.log, self.group_of, strict=True) if not side_of[g]], writer)
        self._write_test([(row, g) for row, g in zip(self.log, self.group_of, strict=True) if side_of[g]], writer)
        for reject in self.rejects:
            writer.add_reject(reject)

    def _count_labels(self, row: dict[str, Any]) -> None:
        for label in (row["category"] or ())[-1:]:
            self.labels["class"][label] += 1
        for pair in row["attributes"] or ():
            self.labels[f"attribute:{pair['key']}"][pair["value"]] += 1

    def _query_sides(self, in_test: Any) -> dict[int, bool]:
        """Which side each query is on: that of the product whose photo its own picture is nearly; without such a one,
        where most of what it asks with and for is, counted with all queries that show its picture. Equally many make it
        train.
        """
        self.in_test, count = in_test, len(self.ids)
        sets = UnionFind([1] * (count + max(self.group_of) + 1))
        for first, second in self.ties:
            sets.union(first, second)
        photographed = {node for pair in self.ties for node in pair if node < count}
        side = {sets.find(n): bool(in_test[n]) for n in photographed if self.kept_of[n] not in self.removed}
        votes: Counter[int] = Counter()
        for group, row in zip(self.group_of, self.log, strict=True):
            for id in (*row.positive_ids, row.query.product_id):
                number = -1 if id is None else self.kept_of[self.number_of[id]]
                if number >= 0 and number not in self.removed:
                    votes[sets.find(count + group)] += 1 if in_test[number] else -1
        root_of = {group: sets.find(count + group) for group in set(self.group_of)}
        return {group: side.get(root, votes[root] > 0) for group, root in root_of.items()}

    def _gather_answers(self) -> None:
        """For each query, what is known to answer it: what was ever bought after it, and what it shows."""
        self.answers: defaultdict[int, set[int]] = defaultdict(set)
        for group, row in zip(self.group_of, self.log, strict=True):
            ids = (*row.positive_ids, *filter(None, (row.query.product_id,)))
            self.answers[group].update(self.kept_of[self.number_of[id]] for id in ids)
        self.styles_of = {
            group: {self.styles[number] for number in numbers} - {()} for group, numbers in self.answers.items()
        }
        self.alike_to: defaultdict[int, set[int]] = defaultdict(set)
        for pair in self.alike_titles | self.alike_pictures:
            first, second = (self.kept_of[number] for number in pair)
            self.alike_to[first].add(second)
            self.alike_to[second].add(first)

    def _low_relevance(self, ids: tuple[str, ...], group: int) -> tuple[str, ...]:
        """Exposures less those that answer the query, and those like an answer in title, picture or style."""
        answers, found = self.answers[group], []
        for id in ids:
            number = self.number_of[id]
            if number in answers:
                self.left_out["exposure_of_known_answer"] += 1
            elif self.styles[number] in self.styles_of[group] or answers & self.alike_to.get(number, set()):
                self.left_out["exposure_like_known_answer"] += 1
            else:
                found.append(id)
        return tuple(found)

    def _on_side(self, row: Interaction, group: int, test: bool) -> Interaction | None:
        """The row with only the products of its side; None, listed, where no purchase or no shown product is left."""

        def here(ids: tuple[str, ...], what: str) -> tuple[str, ...]:
            found: dict[str, None] = {}
            for id in ids:
                number = self.kept_of[self.number_of[id]]
                if number in self.removed:
                    self.left_out[f"{what}_of_removed_product"] += 1
                elif bool(self.in_test[number]) != test:
                    self.left_out[f"{what}_across_the_split"] += 1
                else:
                    found[self.ids[number]] = None
            return tuple(found)

        where = f"query {row.query.id!r}"
        query, part = row.query, SPLITS[int(test)]
        if query.product_id is not None:
            shown = here((query.product_id,), "photo")
            if not shown:
                message = f"{where}: the product it shows was removed, or is not on the {part} side of the split"
                self.leave_out(query.id, "query_without_photo", message)
                return None
            query = replace(query, product_id=shown[0])
        # A product that stands for its duplicate may be shown and bought at once; that would be found by its photo.
        positives = here(row.positive_ids, "purchase")
        if not positives:
            message = f"{where}: what was bought was removed, or is not on the {part} side of the split"
            self.leave_out(query.id, "query_without_purchase", message)
            return None
        return Interaction(query, positives, self._low_relevance(here(row.negative_ids, "exposure"), group))

    def _write_train(self, rows: list[tuple[Interaction, int]], writer: CatalogWriter) -> None:
        self.query_ids: set[str] = set()
        for row, group in rows:
            found = self._on_side(row, group, test=False)
            if found:
                writer.add_interaction(self._with_own_id(found), "train")
                self.queries["train"] += 1

    def _write_test(self, rows: list[tuple[Interaction, int]], writer: CatalogWriter) -> None:
        """One row a query, with all that was ever bought after it as relevant."""
        merged: dict[int, Interaction] = {}
        for row, group in rows:
            found, before = self._on_side(row, group, test=True), merged.get(group)
            if found and before:
                positives = dict.fromkeys((*before.positive_ids, *found.positive_ids))
                negatives = dict.fromkeys((*before.negative_ids, *found.negative_ids))
                merged[group] = Interaction(before.query, tuple(positives), tuple(negatives))
                self.left_out["repeated_test_query"] += 1
            elif found:
                merged[group] = found
        for row in merged.values():
            shown = row.query.product_id
            relevant = tuple(id for id in row.positive_ids if id != shown)
            if not relevant:
                message = f"query {row.query.id!r}: only the product whose photo it shows was bought"
                self.leave_out(row.query.id, "query_without_purchase", message)
                continue
            writer.add_interaction(self._with_own_id(replace(row, positive_ids=relevant)), "test")
            self.queries["test"] += 1

    def _with_own_id(self, row: Interaction) -> Interaction:
        id, count = row.query.id, 1
        while id in self.query_ids:
            count += 1
            id = f"{row.query.id}~{count}"
        self.query_ids.add(id)
        return replace(row, query=replace(row.query, id=id))


def _exact_key(title: str, category: tuple[str, ...], attributes: dict[str, str], pictures: list[bytes | str]) -> bytes:
    """What exact duplicates have in common: words, category and the main picture; without one, all that is known."""
    main: Any = pictures[0] if pictures else sorted(attributes.items())
    digest = main if isinstance(main, bytes) else repr(main).encode()
    words = " ".join(title.casefold().split())
    return blake2b(repr((words, category)).encode() + b"\0" + digest, digest_size=16).digest()
