"""A generated shop whose search log has known mistakes: the data of `moon2 demo`, with no network and no licence.

Products come in styles (same kind, colour and pattern, mostly one brand), so a query has relevant products other than
its own. Each style is in train or in test: the test searches for combinations that training never saw. A known share of
the training log is wrong; a table that training never reads lists the wrong rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog.generated_shop.backgrounds import room, studio
from moon2.catalog.generated_shop.drawing import Pen, encoded, mix, pattern_cloth, photograph
from moon2.catalog.generated_shop.shapes import DRAWINGS
from moon2.catalog.generated_shop.words import (
    COLOURS,
    KINDS,
    brands_of,
    product_description,
    product_title,
    shopper_text,
)
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog, require_target, write_catalog
from moon2.records import Interaction, Product, Query

FALSE_POSITIVES = 0.12
"""Share of the training log in which the purchase has nothing to do with the query."""
FALSE_NEGATIVES = 0.05
"""Share of the training log in which one of the negatives has the style of the query."""
TEST_SHARE = 0.3
"""Share of each kind's styles in the test split."""
MIN_PRODUCTS = 60
_KIND_OF = {facts.category: kind for kind, facts in KINDS.items()}


@dataclass(frozen=True, slots=True)
class NoiseLabel:
    """The mistakes of one row of the training log.

    Attributes:
        query_id: the row's query.
        purchase_is_noise: the positive is unrelated to the query.
        ignored_is_relevant: one of the negatives has the style of the query.
    """

    query_id: str
    purchase_is_noise: bool
    ignored_is_relevant: bool


@dataclass
class Shop:
    """A generated shop in memory.

    Attributes:
        products: split ("train", "test") to products, with images as WebP bytes.
        interactions: split to search log; "train" has one purchase a query, "test" all relevant products.
        noise: one label for each row of the training log.
    """

    products: dict[str, list[Product]]
    interactions: dict[str, list[Interaction]]
    noise: list[NoiseLabel]


Style = tuple[str, str, str]
"""Kind, colour, pattern."""


def style_of(product: Product) -> Style:
    """The kind, colour and pattern of a generated product; products of one style are relevant to the same queries."""
    return _KIND_OF[product.category], product.attributes["colour"], product.attributes["pattern"]


def write_shop(
    *, out: Path, products: int = 600, queries: int = 600, seed: int = 0, overwrite: bool = False
) -> Catalog:
    """Write a generated shop as a catalog, to see the format or to try commands.

    The shop has drawn product photos, titles, and a search log with known mistakes. noise.parquet lists the
    mistakes (query_id, purchase_is_noise, ignored_is_relevant); training never reads it. The catalog also
    opens with datasets.load_dataset(OUT, "products", split="train").

    example:
      moon2 shop --out data/shop

    Args:
        out: folder of the new catalog
        products: number of products, of both splits together; at least 60
        queries: rows of the training log
        seed: seed of every draw; the same seed gives the same shop
        overwrite: replace the catalog at OUT

    Raises:
        CatalogError: too few products or queries, or OUT is in use.
    """
    require_target(out, overwrite=overwrite)
    shop = generate_shop(products, queries, seed)
    catalog = write_catalog(
        out,
        shop.products,
        shop.interactions,
        title="A generated shop",
        description=f"Drawn and worded by moon2 (seed {seed}): {products} products, {queries} training queries.",
        licence="cc0-1.0",
        overwrite=overwrite,
    )
    pq.write_table(pa.Table.from_pylist([asdict(label) for label in shop.noise]), catalog.folder / "noise.parquet")
    return catalog


def generate_shop(products: int = 600, queries: int = 600, seed: int = 0) -> Shop:
    """Generates a shop in memory; the same arguments give the same shop.

    Args:
        products: of both splits together; at least 60.
        queries: rows of the training log. The test log has one row for each test product with an image and a title.
        seed: of every draw.

    Raises:
        CatalogError: too few products or queries.
    """
    if products < MIN_PRODUCTS or queries < 1:
        sizes = f"{products} products and {queries} queries"
        raise CatalogError(f"generated shop: {sizes} are too few; give at least {MIN_PRODUCTS} and 1")
    rng = Random(f"moon2 shop {seed}")
    styles = _styles(products, rng)
    spare = 0
    # Shuffled, so that neighbours in the catalog have different styles.
    numbers = rng.sample(range(1, products + 1), products)
    by_split: dict[str, list[Product]] = {"train": [], "test": []}
    for (style, split), size in styles.items():
        main_brand = rng.choice(brands_of(style[0]))
        for position in range(size):
            brand = main_brand if rng.random() < 0.7 else rng.choice(brands_of(style[0]))
            id = f"p{numbers.pop():05d}"
            # Each product has its own generator, so that its draws do not change the next product.
            product_rng = Random(f"moon2 shop {seed} product {id}")
            # The first three of a style are complete, so that every query has an image and complete products.
            spare += position >= 3
            lacks = {5: "title", 13: "image"}.get(spare % 16, "") if position >= 3 else ""
            by_split[split].append(_product(id, style, brand, product_rng, lacks))
    for split in by_split:
        by_split[split].sort(key=lambda product: product.id)
    train_log, noise = _training_log(by_split["train"], queries, rng)
    return Shop(by_split, {"train": train_log, "test": _test_log(by_split["test"], rng)}, noise)


def _styles(products: int, rng: Random) -> dict[tuple[Style, str], int]:
    """The number of products of each style and split: at least 3, about 4; evenly over the kinds."""
    wanted = products // 4
    # At least three styles a kind, so that the gallery has other products of the same kind.
    kinds = rng.sample(sorted(KINDS), min(len(KINDS), max(3, wanted // 4)))
    possible = []
    for kind in kinds:
        looks = [(kind, colour, pattern) for colour in COLOURS for pattern in ("plain", *KINDS[kind].patterns)]
        rng.shuffle(looks)
        possible.append(looks)
    rounds = [[looks[turn] for looks in possible if turn < len(looks)] for turn in range(max(map(len, possible)))]
    chosen = [style for styles in rounds for style in styles][:wanted]
    splits: dict[tuple[Style, str], int] = {}
    for kind in kinds:
        styles = [style for style in chosen if style[0] == kind]
        in_test = max(1, round(len(styles) * TEST_SHARE))
        for index, style in enumerate(styles):
            splits[style, "test" if index < in_test else "train"] = 3
    for key in rng.choices(list(splits), k=products - 3 * len(splits)):
        splits[key] += 1
    return splits


def _product(id: str, style: Style, brand: str, rng: Random, lacks: str) -> Product:
    kind, colour, pattern = style
    facts = KINDS[kind]
    variant = rng.choice(facts.variants)
    attributes = {
        "brand": brand,
        "colour": colour,
        "pattern": pattern,
        "material": rng.choice(facts.materials),
        "gender": rng.choice(facts.genders),
    }
    title = product_title(kind, variant, attributes, rng)
    description = product_description(kind, variant, attributes, rng)
    images = _photos(kind, variant, colour, pattern, rng)
    low, high = facts.prices
    return Product(
        id=id,
        title="" if lacks == "title" else title,
        description="" if lacks == "title" else description,
        category=facts.category,
        attributes=attributes,
        images=() if lacks == "image" else tuple(images),
        price=round(rng.uniform(low, high)) - 0.01,
    )


def _photos(kind: str, variant: str, colour: str, pattern: str, rng: Random) -> list[bytes]:
    """One to three photos of one product; the first shows all of it, the others may be close-ups."""
    towards = (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0)
    dye = mix(COLOURS[colour].rgb, towards, rng.uniform(0, 0.08))
    pen = Pen(pattern_cloth(pattern, dye, rng), dye)
    DRAWINGS[kind](pen, variant)
    photos = []
    for index in range(rng.choices([1, 2, 3], weights=[60, 28, 12])[0]):
        background = studio(rng) if rng.random() < 0.5 else room(rng)
        close_up = index > 0 and rng.random() < 0.4
        photos.append(encoded(photograph(pen.layer, background, rng, close_up)))
    return photos


def _training_log(products: Sequence[Product], queries: int, rng: Random) -> tuple[list[Interaction], list[NoiseLabel]]:
    by_style = _by_style(products)
    false_positives = set(rng.sample(range(queries), round(FALSE_POSITIVES * queries)))
    false_negatives = set(rng.sample(range(queries), round(FALSE_NEGATIVES * queries)))
    log: list[Interaction] = []
    noise: list[NoiseLabel] = []
    for row in range(queries):
        style = rng.choice(list(by_style))
        shown, bought, relevant = rng.sample([p for p in by_style[style] if p.images], 3)
        similar = [p.id for other in by_style if _similar(style, other) for p in by_style[other]]
        unrelated = [p.id for other in by_style if not _shares(style, other) for p in by_style[other]]
        # A small shop may have no product of another kind in another colour.
        unrelated = unrelated or [p.id for other in by_style if style[0] != other[0] for p in by_style[other]]
        purchase = rng.choice(unrelated) if row in false_positives else bought.id
        negatives = rng.sample(similar, min(len(similar), rng.randint(3, 4)))
        if row in false_negatives:
            negatives[rng.randrange(len(negatives))] = relevant.id
        id = f"train-{row:05d}"
        text = shopper_text(style[0], dict(shown.attributes), rng, careless=True)
        log.append(Interaction(Query(id, text, product_id=shown.id), (purchase,), tuple(negatives)))
        noise.append(NoiseLabel(id, row in false_positives, row in false_negatives))
    return log, noise


def _test_log(products: Sequence[Product], rng: Random) -> list[Interaction]:
    by_style = _by_style(products)
    log: list[Interaction] = []
    for shown in products:
        if shown.title and shown.images:
            text = shopper_text(style_of(shown)[0], dict(shown.attributes), rng, careless=False)
            relevant = tuple(product.id for product in by_style[style_of(shown)] if product is not shown)
            log.append(Interaction(Query(f"test-{len(log):05d}", text, product_id=shown.id), relevant))
    return log


def _by_style(products: Sequence[Product]) -> dict[Style, list[Product]]:
    by_style: dict[Style, list[Product]] = defaultdict(list)
    for product in products:
        by_style[style_of(product)].append(product)
    return dict(by_style)


def _shares(first: Style, second: Style) -> bool:
    return first[0] == second[0] or first[1] == second[1]


def _similar(first: Style, second: Style) -> bool:
    """Another style of the same kind or colour, which a search would show."""
    return first != second and _shares(first, second)
