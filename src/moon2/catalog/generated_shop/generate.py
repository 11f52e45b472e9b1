"""A generated shop whose search log has known mistakes: what `moon2 demo` trains on, with no network and no licence.

Products come in styles (same kind, colour and pattern, mostly one brand), so that a query has relevant products beside
the one it shows. Styles, not products, are dealt to train and test: the test asks for combinations never seen before.
Of the training log a known share is wrong, and which rows are is told in a table that training never reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from moon2.catalog.generated_shop.backgrounds import room, studio
from moon2.catalog.generated_shop.drawing import PHOTO_SIDE, Pen, encoded, mix, pattern_cloth, photograph
from moon2.catalog.generated_shop.shapes import DRAWINGS
from moon2.catalog.generated_shop.words import (
    COLOURS,
    KINDS,
    brands_of,
    product_description,
    product_title,
    shopper_text,
)
from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.images import open_image
from moon2.records import Interaction, Product, Query

FALSE_POSITIVES = 0.12
"""Share of the training log in which the purchase has nothing to do with the query."""
FALSE_NEGATIVES = 0.05
"""Share of the training log in which one product shown and left is of the very style asked for."""
TEST_SHARE = 0.3
"""Share of each kind's styles that make the test split."""
LEAST_PRODUCTS = 60
_KIND_OF = {facts.category: kind for kind, facts in KINDS.items()}


@dataclass(frozen=True, slots=True)
class NoiseLabel:
    """What is wrong with one row of the training log.

    Attributes:
        query_id: the row's query.
        purchase_is_noise: the positive is unrelated to the query.
        ignored_is_relevant: one of the negatives is of the style asked for.
    """

    query_id: str
    purchase_is_noise: bool
    ignored_is_relevant: bool


@dataclass
class Shop:
    """A generated shop in memory.

    Attributes:
        products: split ("train", "test") to products, pictures as WebP bytes.
        interactions: split to search log; for "train" one purchase a query, for "test" all relevant products.
        noise: one label a row of the training log.
    """

    products: dict[str, list[Product]]
    interactions: dict[str, list[Interaction]]
    noise: list[NoiseLabel]


Style = tuple[str, str, str]
"""Kind, colour, pattern."""


def style_of(product: Product) -> Style:
    """The kind, colour and pattern of a generated product; products of one style are relevant to the same queries."""
    return _KIND_OF[product.category], product.attributes["colour"], product.attributes["pattern"]


def generate_shop(products: int = 600, queries: int = 600, seed: int = 0) -> Shop:
    """Draws and words a shop; the same arguments give the same shop.

    Args:
        products: how many, of both splits together; at least 60.
        queries: rows of the training log. The test log has one row a test product that has picture and title.
        seed: of every draw.

    Raises:
        CatalogError: too few products or queries.
    """
    if products < LEAST_PRODUCTS or queries < 1:
        asked = f"{products} products and {queries} queries"
        raise CatalogError(f"generated shop: {asked} make no shop; ask for at least {LEAST_PRODUCTS} and 1")
    rng = Random(f"moon2 shop {seed}")
    styles = _styles(products, rng)
    spare = 0
    # Shuffled, so that neighbours in the catalog are not of one style.
    numbers = rng.sample(range(1, products + 1), products)
    by_split: dict[str, list[Product]] = {"train": [], "test": []}
    for (style, split), size in styles.items():
        main_brand = rng.choice(brands_of(style[0]))
        for position in range(size):
            brand = main_brand if rng.random() < 0.7 else rng.choice(brands_of(style[0]))
            # One generator a product: what one draws never shifts the next.
            id = f"p{numbers.pop():05d}"
            own = Random(f"moon2 shop {seed} product {id}")
            # The first three of a style are whole, so that every query has a picture and a whole product to find.
            spare += position >= 3
            lacks = {5: "title", 13: "picture"}.get(spare % 16, "") if position >= 3 else ""
            by_split[split].append(_product(id, style, brand, own, lacks))
    for split in by_split:
        by_split[split].sort(key=lambda product: product.id)
    train_log, noise = _training_log(by_split["train"], queries, rng)
    return Shop(by_split, {"train": train_log, "test": _test_log(by_split["test"], rng)}, noise)


def write_shop(
    folder: str | Path, products: int = 600, queries: int = 600, seed: int = 0, *, overwrite: bool = False
) -> Catalog:
    """Writes a generated shop as a catalog, with `noise.parquet` (query_id, purchase_is_noise, ignored_is_relevant).

    The noise labels are for measuring the filter; training does not read them.

    Raises:
        CatalogError: too few products or queries, or the folder is in use (a catalog is replaced with `overwrite`).
    """
    shop = generate_shop(products, queries, seed)
    catalog = write_catalog(
        folder,
        shop.products,
        shop.interactions,
        title="A generated shop",
        description=f"Drawn and worded by moon2 (seed {seed}): {products} products, {queries} training queries.",
        licence="cc0-1.0",
        overwrite=overwrite,
    )
    labels = {name: [getattr(label, name) for label in shop.noise] for name in NoiseLabel.__slots__}
    pq.write_table(pa.table(labels), Path(folder) / "noise.parquet")
    return catalog


def contact_sheet(products: Sequence[Product], columns: int = 12) -> Image.Image:
    """All pictures of some products side by side on white, row by row; products without a picture are left out.

    Returns:
        RGB, `columns` × 84 pixels wide.

    Raises:
        ImageError: a picture cannot be read.
    """
    photos = [open_image(image, f"product {product.id!r}") for product in products for image in product.images]
    gap, cell = 2, PHOTO_SIDE + 4
    sheet = Image.new("RGB", (columns * cell, max(1, -(-len(photos) // columns)) * cell), "white")
    for index, photo in enumerate(photos):
        photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
        sheet.paste(photo, (index % columns * cell + gap, index // columns * cell + gap))
    return sheet


def _styles(products: int, rng: Random) -> dict[tuple[Style, str], int]:
    """How many products each style of each split has: at least 3, about 4; kinds evenly."""
    wanted = products // 4
    # At least three styles a kind, so that the gallery holds others of the same kind.
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
        own = [style for style in chosen if style[0] == kind]
        in_test = max(1, round(len(own) * TEST_SHARE))
        for index, style in enumerate(own):
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
        images=() if lacks == "picture" else tuple(images),
        price=round(rng.uniform(low, high)) - 0.01,
    )


def _photos(kind: str, variant: str, colour: str, pattern: str, rng: Random) -> list[bytes]:
    """One to three photos of one product, the first whole; others may be in another place or close up."""
    towards = (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0)
    dye = mix(COLOURS[colour], towards, rng.uniform(0, 0.08))
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
    wrong_purchase = set(rng.sample(range(queries), round(FALSE_POSITIVES * queries)))
    wrong_ignored = set(rng.sample(range(queries), round(FALSE_NEGATIVES * queries)))
    log: list[Interaction] = []
    noise: list[NoiseLabel] = []
    for row in range(queries):
        style = rng.choice(list(by_style))
        shown, bought, relevant = rng.sample([p for p in by_style[style] if p.images], 3)
        alike = [p.id for other in by_style if _alike(style, other) for p in by_style[other]]
        unlike = [p.id for other in by_style if not _shares(style, other) for p in by_style[other]]
        # A small shop may have no product of another kind in another colour.
        unlike = unlike or [p.id for other in by_style if style[0] != other[0] for p in by_style[other]]
        purchase = rng.choice(unlike) if row in wrong_purchase else bought.id
        ignored = rng.sample(alike, min(len(alike), rng.randint(3, 4)))
        if row in wrong_ignored:
            ignored[rng.randrange(len(ignored))] = relevant.id
        id = f"train-{row:05d}"
        text = shopper_text(style[0], dict(shown.attributes), rng, careless=True)
        log.append(Interaction(Query(id, text, product_id=shown.id), (purchase,), tuple(ignored)))
        noise.append(NoiseLabel(id, row in wrong_purchase, row in wrong_ignored))
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


def _alike(first: Style, second: Style) -> bool:
    """Of another style, yet close enough to be shown: the same kind or the same colour."""
    return first != second and _shares(first, second)
