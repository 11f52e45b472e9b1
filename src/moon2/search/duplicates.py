"""`moon2 duplicates`: products that a catalog lists twice, by photo, text or both, as groups with a score.

Pairs come from the vectors, compared with all others in blocks, and from the hashes of images and the words of titles,
which `moon2 benchmark build` uses too. `catalog/groups.py` makes groups of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.groups import Group, scored_groups
from moon2.catalog.near_duplicates import SimilarProducts
from moon2.catalog.schema import cell_to_image, pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.catalog.styles import style_of
from moon2.errors import UserError
from moon2.files import require_writable, write_text_atomic
from moon2.progress import progress_bar
from moon2.search.tables import require_table_file, write_table
from moon2.vectors.vector_folder import VectorFolder
from moon2.views import View

if TYPE_CHECKING:
    import numpy as np

    from moon2.search.duplicate_threshold import Threshold

By = Literal["both", "image", "text"]
Pairs = set[tuple[int, int]]
VIEWS_OF: dict[By, tuple[View, ...]] = {"both": ("i", "t"), "image": ("i",), "text": ("t",)}
WORDS: dict[View, str] = {"i": "photo", "t": "text"}


class DuplicatesError(UserError):
    """Near-duplicates cannot be looked for; one line with what, where and what to do."""


@dataclass(frozen=True)
class Duplicates:
    """What `moon2 duplicates` found.

    Attributes:
        out: the file of groups.
        html: the contact sheet, if there is one.
        groups: of numbers of products, the nearest first.
        thresholds: by view, the lowest cosine of a pair.
        products: how many there are.
        compared: how many of them have the vectors.
        lacking: by view, how many of them lack its vector.
    """

    out: Path
    html: Path | None
    groups: Sequence[Group]
    thresholds: dict[View, Threshold]
    products: int
    compared: int
    lacking: dict[View, int]

    def __str__(self) -> str:
        members = sum(len(group.members) for group in self.groups)
        by = " and ".join(WORDS[view] for view in self.thresholds)
        lines = [
            f"{len(self.groups):,} groups of {members:,} products are nearly the same by {by}, of "
            f"{self.compared:,} compared; without them {members - len(self.groups):,} products fewer"
        ]
        lines += [f"{WORDS[view]}: {threshold}" for view, threshold in self.thresholds.items()]
        if self.groups:
            lines.append(f"largest group: {max(len(group.members) for group in self.groups):,} products")
        if self.products > self.compared:
            lacking = (f"{count:,} without a {WORDS[view]}" for view, count in self.lacking.items() if count)
            lines.append(f"not compared: {self.products - self.compared:,} ({', '.join(lacking)})")
        lines.append(f"{self.out}: one row per product of a group")
        return "\n".join(lines + ([f"{self.html}: contact sheet"] if self.html else []))


def duplicates(
    vectors: Path,
    *,
    out: Path,
    by: By = "both",
    at_least: float | None = None,
    html: Path | None = None,
    data: Path | None = None,
) -> Duplicates:
    """Find products that a catalog lists twice, by photo, text or both.

    Two products are near-duplicates when the cosine of their vectors is at least the
    threshold, or the hash of a photo or the words of the title are nearly the same.
    By both, photo and text must be. The threshold is learned from the catalog:
    95 % of the known pairs above it are duplicates, and the others are products of
    another category or style. What is printed says how many that were.

    OUT has a row for each product of a group; the first one of the catalog has `keep`.

    examples:
      moon2 duplicates vectors/shop --out duplicates.csv --html duplicates.html
      moon2 duplicates vectors/shop --out same-photo.csv --by image --at_least 0.98

    Args:
        vectors: folder that `moon2 embed` wrote, with views i and t of products.
        out: file of groups; it ends in .csv or .parquet.
        by: what must be nearly the same.
        at_least: the lowest cosine of a pair, -1 to 1; learned from the catalog if not given.
        html: file of a contact sheet with photos.
        data: folder of the catalog, if it moved.

    Raises:
        DuplicatesError: there is nothing to compare, or VECTORS are of another catalog.
        TableError: OUT ends in something else.
        OutputError: OUT or HTML cannot be written.
        VectorFolderError: VECTORS lack a view.
        CatalogError: there is no such catalog.
    """
    require_table_file(out)
    if html is not None:
        require_writable(html, "--html")
    if at_least is not None and not -1 <= at_least <= 1:
        raise DuplicatesError(f"--at_least is {at_least:g}; a cosine is -1 to 1, such as 0.95")
    folder = VectorFolder.open(vectors)
    catalog = Catalog.open(data or folder.info.data)
    if folder.info.fingerprint != catalog_fingerprint(catalog):
        remedy = f"run `moon2 embed {folder.info.model} --data {catalog.folder} --out {vectors}`"
        raise DuplicatesError(f"{vectors}: was made of another catalog than {catalog.folder} is now; {remedy}")
    numbers, tables, lacking = _tables(folder, VIEWS_OF[by], catalog.ids())
    if len(numbers) < 2:
        raise DuplicatesError(f"{vectors}: fewer than two products have what is compared; choose another --by")
    shop = _read(catalog, VIEWS_OF[by])
    groups, thresholds = _find(shop, numbers, tables, at_least)
    _write(out, catalog, groups)
    if html is not None:
        from moon2.search.contact_sheet import contact_sheet

        write_text_atomic(html, contact_sheet(catalog, groups, str(out)))
    return Duplicates(out, html, groups, thresholds, len(catalog), len(numbers), lacking)


@dataclass(frozen=True)
class _Shop:
    """What the catalog knows: by view, the pairs that are nearly the same; by product, category and style."""

    same: dict[View, Pairs]
    categories: list[tuple[str, ...]]
    styles: list[tuple[str, ...]]


def _read(catalog: Catalog, views: Sequence[View]) -> _Shop:
    similar = SimilarProducts()
    categories: list[tuple[str, ...]] = []
    styles: list[tuple[str, ...]] = []
    columns = ["title", "category", "attributes", *(["images"] if "i" in views else [])]
    with progress_bar(total=len(catalog), desc="reading", unit="products") as bar:
        for row in catalog.rows(None, columns):
            category = tuple(row["category"] or ())
            categories.append(category)
            styles.append(style_of(category, pairs_to_dict(row["attributes"])))
            similar.add(row["title"] or "", category, map(cell_to_image, row.get("images") or ()))
            bar.update()
    same: dict[View, Pairs] = {}
    if "i" in views:
        same["i"] = similar.image_pairs()
    if "t" in views:
        same["t"] = similar.title_pairs()
    return _Shop(same, categories, styles)


def _tables(
    folder: VectorFolder, views: Sequence[View], ids: Sequence[str]
) -> tuple[list[int], dict[View, np.ndarray], dict[View, int]]:
    """Numbers of the products that have all views, ascending; by view, their vectors, [n, D] float32, and how many
    products lack it.
    """
    number_of = {id: number for number, id in enumerate(ids)}
    matrices = {view: folder.matrix("products", view) for view in views}
    rows = {view: {number_of[id]: row for row, id in enumerate(of)} for view, (of, _) in matrices.items()}
    numbers = sorted(set.intersection(*(set(of) for of in rows.values())))
    tables = {}
    for view, (of, matrix) in matrices.items():
        is_whole = len(of) == len(numbers)  # no copy of a large table
        tables[view] = matrix if is_whole else matrix[[rows[view][number] for number in numbers]]
    return numbers, tables, {view: len(ids) - len(of) for view, of in rows.items()}


def _find(
    shop: _Shop, numbers: Sequence[int], tables: dict[View, np.ndarray], at_least: float | None
) -> tuple[list[Group], dict[View, Threshold]]:
    """The groups, by number of a product, and the thresholds."""
    from moon2.search.duplicate_threshold import Threshold, learn_threshold
    from moon2.vectors.nearest import near_pairs

    thresholds = {
        view: learn_threshold(table, numbers, shop.same[view], shop.categories, shop.styles)
        if at_least is None
        else Threshold(at_least)
        for view, table in tables.items()
    }
    with progress_bar(total=len(numbers), desc="comparing", unit="products") as bar:
        floors = [thresholds[view].cosine for view in tables]
        found, cosines = near_pairs([*tables.values()], floors, on_rows=bar.update)
    scores = {(int(first), int(second)): float(score) for (first, second), score in zip(found, cosines, strict=True)}
    row_of = {number: row for row, number in enumerate(numbers)}
    # Of what hash and words call the same, the other view must be near as well.
    for first, second in set().union(*shop.same.values()):
        if first in row_of and second in row_of:
            rows = row_of[first], row_of[second]
            of = {view: float(table[rows[0]] @ table[rows[1]]) for view, table in tables.items()}
            if all((first, second) in shop.same[view] or of[view] >= thresholds[view].cosine for view in tables):
                scores.setdefault(rows, min(of.values()))
    groups = scored_groups(len(numbers), scores, scores.values())
    return [
        Group(tuple(numbers[row] for row in group.members), group.nearest, group.score) for group in groups
    ], thresholds


def _write(out: Path, catalog: Catalog, groups: Sequence[Group]) -> None:
    wanted = {number for group in groups for number in group.members}
    rows = {}
    for number, row in enumerate(catalog.rows(None, ["id", "title", "category"])):
        if number in wanted:
            rows[number] = [row["id"], row["title"] or "", " > ".join(row["category"] or ())]
    columns = [("group", pa.int64()), ("group_score", pa.float64()), ("keep", pa.bool_()), ("similarity", pa.float64())]
    columns += [(name, pa.string()) for name in ("id", "title", "category")]
    write_table(
        out,
        columns,
        [
            [place, group.score, number == group.members[0], near, *rows[number]]
            for place, group in enumerate(groups, 1)
            for number, near in zip(group.members, group.nearest, strict=True)
        ],
    )
