"""`moon2 benchmark check`: what of the test is nearly in training, by title, photo and, if given, vectors.

Near-duplicates are those that `moon2 benchmark build` keeps on one side. A check reads every image, which takes longer
than many an evaluation. So it is a command of its own that leaves its figures in the catalog, and evaluations carry
them as long as the catalog is the one that was checked.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.near_duplicates import SimilarProducts
from moon2.catalog.schema import cell_to_image, is_url
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import same_query_keys
from moon2.evaluate.test_set import EvaluationError
from moon2.files import require_writable, write_text_atomic
from moon2.progress import progress_bar

RECORD, PAIRS = "contamination.json", "contamination.csv"
NEAREST = 10
"""Training products whose vectors are looked at, of each test product."""
logger = logging.getLogger(__name__)
Pairs = set[tuple[int, int]]


@dataclass(frozen=True)
class Contamination:
    """What of a test is nearly in training.

    Attributes:
        products, queries: of the test.
        near_products: test products with a near-duplicate among the products of the train split.
        by: "title", "photo", "title and photo" or "vectors" → how many of them are so in that way.
        near_queries: test queries that have such a product among their relevant ones.
        named_products: test products that the training log names.
        repeated_queries: test queries that the training log has too, by their id or words.
        unseen: URLs, which were compared as text, and images that are blank or cannot be read.
        pairs: file of the pairs.
        fingerprint: of the catalog that was checked.
    """

    products: int
    queries: int
    near_products: int
    by: dict[str, int]
    near_queries: int
    named_products: int
    repeated_queries: int
    unseen: int
    pairs: str
    fingerprint: str

    @property
    def summary(self) -> str:
        """One line: both shares, and by what."""
        ways = ", ".join(f"{count:,} by {way}" for way, count in self.by.items())
        near = _share(self.near_products, self.products)
        return (
            f"{near} test products have a near-duplicate in training ({ways}), and "
            f"{_share(self.near_queries, self.queries)} test queries such an answer"
        )

    def __str__(self) -> str:
        lines = [f"{self.summary}; the pairs are in {self.pairs}"]
        lines.append(f"the training log names {_share(self.named_products, self.products)} test products")
        lines.append(f"the training log has {_share(self.repeated_queries, self.queries)} test queries too")
        if self.unseen:
            lines.append(f"{self.unseen:,} images were not compared by sight: URLs, blank or unreadable")
        return "\n".join(lines)


def check_benchmark(
    data: Path, *, vectors: Path | None = None, at_least: float = 0.95, out: Path | None = None
) -> Contamination:
    """Check how much of a catalog's test is nearly in training.

    Two products are near-duplicates when nearly all words of their titles are the same, or a photo is nearly the
    same, as `moon2 benchmark build` has it; with --vectors, also when their vectors are as near as --at_least. Says
    what share of the test products and of the test queries is touched, and writes the pairs to a file.

    The figures stay in DATA/contamination.json. Evaluations and reports show them until the catalog changes.

    examples:
      moon2 benchmark check data/shop
      moon2 benchmark check data/shop --vectors vectors/shop --at_least 0.97

    Args:
        data: folder of a catalog with products of split train and of split test
        vectors: folder that `moon2 embed` made of it
        at_least: lowest cosine of near-duplicates by vectors, 0 to 1; it depends on the encoder
        out: CSV file of the pairs; DATA/contamination.csv when not given

    Raises:
        EvaluationError: one of the splits has no products, or the vectors are of another catalog.
        CatalogError: there is no such catalog.
        OutputError: the file of the pairs cannot be written.
    """
    catalog = Catalog.open(data)
    if missing := [split for split in ("train", "test") if split not in catalog.splits]:
        raise EvaluationError(
            f"{data}: has no products of split {missing[0]}, so nothing can be in both; make a split with "
            f"`moon2 benchmark build {data} --out …`"
        )
    if not 0 < at_least <= 1:
        raise EvaluationError(f"--at_least is {at_least:g}; it is a cosine, above 0 and at most 1")
    file = out or catalog.folder / PAIRS
    require_writable(file, "--out")
    by_vectors = _vector_pairs(catalog, vectors, at_least) if vectors is not None else None
    shop = _read(catalog)
    found = {"title": shop.across(shop.title_pairs), "photo": shop.across(shop.photo_pairs)}
    found["title and photo"] = found["title"] & found["photo"]
    if by_vectors is not None:
        found["vectors"] = shop.across(by_vectors)
    every = set().union(*found.values())
    near = {shop.ids[test] for test, _ in every}
    train, test = catalog.interactions("train"), catalog.interactions("test")
    asked = {key for it in train for key in same_query_keys(it.query)}
    named = {id for it in train for id in (*it.positive_ids, *it.negative_ids, *it.grades)}
    members = set(shop.ids[: shop.tests])
    write_text_atomic(file, _pairs_table(shop, found, every))
    result = Contamination(
        products=shop.tests,
        queries=len(test),
        near_products=len(near),
        by={way: len({first for first, _ in pairs}) for way, pairs in found.items()},
        near_queries=sum(not near.isdisjoint(it.positive_ids) for it in test),
        named_products=len(named & members),
        repeated_queries=sum(not asked.isdisjoint(same_query_keys(it.query)) for it in test),
        unseen=shop.unseen,
        pairs=str(file),
        fingerprint=catalog_fingerprint(catalog),
    )
    write_text_atomic(catalog.folder / RECORD, json.dumps(asdict(result), indent=2, ensure_ascii=False) + "\n")
    return result


def read_contamination(catalog: Catalog) -> str:
    """The shares that a check of this catalog found, in words; "" where there was none since it changed."""
    path = catalog.folder / RECORD
    if not path.is_file():
        return ""
    try:
        found = Contamination(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        logger.warning(f"{path}: cannot be read; run `moon2 benchmark check {catalog.folder}` again")
        return ""
    if found.fingerprint != catalog_fingerprint(catalog):
        logger.warning(f"{path}: the catalog has changed since; run `moon2 benchmark check {catalog.folder}` again")
        return ""
    return found.summary


@dataclass(frozen=True)
class _Shop:
    """Products by number, those of the test first, and the pairs (lower, higher) that are nearly the same."""

    ids: list[str]
    titles: list[str]
    tests: int
    title_pairs: Pairs
    photo_pairs: Pairs
    unseen: int

    def across(self, pairs: Pairs) -> Pairs:
        """Of pairs, those of a test product and a training product, in that order."""
        return {(first, second) for first, second in pairs if first < self.tests <= second}


def _read(catalog: Catalog) -> _Shop:
    ids: list[str] = []
    titles: list[str] = []
    similar = SimilarProducts()
    tests_with: defaultdict[str, list[int]] = defaultdict(list)
    same_address: Pairs = set()
    count = 0
    with progress_bar(total=len(catalog), desc="check", unit=" products") as bar:
        for split in ("test", "train"):
            for row in catalog.rows(split, ["id", "title", "category", "images"]):
                number, images = len(ids), [cell_to_image(cell) for cell in row["images"] or ()]
                for address in (image for image in images if isinstance(image, str) and is_url(image)):
                    if split == "test":
                        tests_with[address].append(number)
                    else:
                        same_address.update((test, number) for test in tests_with.get(address, ()))
                count += len(images)
                ids.append(row["id"])
                titles.append(row["title"] or "")
                similar.add(titles[-1], tuple(row["category"] or ()), images)
                bar.update()
    tests, unseen = len(catalog.ids("test")), count - len(similar.prints)
    return _Shop(ids, titles, tests, similar.title_pairs(), similar.image_pairs() | same_address, unseen)


def _vector_pairs(catalog: Catalog, vectors: Path, at_least: float) -> Pairs:
    """Pairs whose vectors of the whole product, or of its only view, are near."""
    from moon2.vectors.nearest import top_k
    from moon2.vectors.vector_folder import VectorFolder

    folder = VectorFolder.open(vectors)
    if folder.info.fingerprint != catalog_fingerprint(catalog):
        raise EvaluationError(
            f"{vectors}: was made of another catalog than {catalog.folder} is now; run `moon2 embed "
            f"{folder.info.model} --data {catalog.folder} --out {vectors}`"
        )
    number = {id: number for number, id in enumerate([*catalog.ids("test"), *catalog.ids("train")])}
    tests = len(catalog.ids("test"))
    views = folder.info.columns("products")
    ids, matrix = folder.matrix("products", "mm" if "mm" in views else views[0])
    numbers = [number[id] for id in ids]
    test = [row for row, product in enumerate(numbers) if product < tests]
    train = [row for row, product in enumerate(numbers) if product >= tests]
    rows, cosines = top_k(matrix[test], matrix[train], NEAREST)
    return {
        (numbers[test[query]], numbers[train[row]])
        for query, (near, scores) in enumerate(zip(rows.tolist(), cosines.tolist(), strict=True))
        for row, score in zip(near, scores, strict=True)
        if score >= at_least
    }


def _pairs_table(shop: _Shop, found: dict[str, Pairs], every: Pairs) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test_id", "train_id", "near_by", "test_title", "train_title"])
    for test, train in sorted(every):
        ways = [way for way, pairs in found.items() if (test, train) in pairs and way != "title and photo"]
        writer.writerow([shop.ids[test], shop.ids[train], " and ".join(ways), shop.titles[test], shop.titles[train]])
    return text.getvalue()


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({100 * part / max(whole, 1):.1f} %)"
