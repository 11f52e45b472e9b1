"""Contact sheets by which a person judges what `moon2 augment` makes without a model: would a shop print it?

    python benchmarks/merchandiser.py --out FOLDER [--number 20] [--seed 0] [--data CATALOG]

Takes products of the generated shop, difficult photos (`difficult_photos.py`) and, with --data, of another catalog, a
`--number` of each. FOLDER gets sheet-*.jpg, before, main image, title before and after; and verdicts.csv, a row a
product: what was measured, and the columns `title` and `image` to be filled in with good or bad. Where they are, this
also prints the shares: `python benchmarks/merchandiser.py --count FOLDER/verdicts.csv`.

"plain" is a photo with a border of one colour, perhaps in falling light; "replaced" a main image that is not the
photo; "gains" a title that says something of the row that the shop's title does not.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from textwrap import wrap

import numpy as np
from difficult_photos import difficult_products
from PIL import Image, ImageDraw, ImageFont, ImageOps

from moon2.augment.errors import ProductError
from moon2.augment.images.opencv import OpenCVProvider
from moon2.augment.text.entities import extract_entities
from moon2.augment.text.grounding import ground
from moon2.augment.text.rules import RulesProvider
from moon2.augment.text.sanitize import clean_product
from moon2.catalog.generated_shop.generate import generate_shop
from moon2.catalog.store import Catalog
from moon2.images import open_image
from moon2.records import Product

SIDE, TEXT, COLUMNS, A_SHEET = 128, 100, 4, 40
INK = (20, 24, 30)
PLAIN = 12
"""Grey levels by which nine tenths of a plain border differ at most from an even fall of light."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws sheets, or counts verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the sheets")
    parser.add_argument("--data", help="a catalog; its products are a third sample")
    parser.add_argument("--number", type=int, default=20, help="products of each sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=Path, help="a filled-in verdicts.csv")
    options = parser.parse_args(arguments)
    if options.count:
        print(shares(list(csv.DictReader(options.count.open(encoding="utf-8")))))
        return
    if options.out is None:
        parser.error("--out FOLDER is needed, or --count FILE")
    options.out.mkdir(parents=True, exist_ok=True)
    rows, cells = [], []
    for source, products in samples(options.number, options.seed, options.data):
        for product in products:
            row, cell = judged(len(rows) + 1, source, product)
            rows.append(row)
            cells.append(cell)
    for number, first in enumerate(range(0, len(cells), A_SHEET), 1):
        write_sheet(cells[first : first + A_SHEET], options.out / f"sheet-{number}.jpg")
    with (options.out / "verdicts.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    print(shares(rows))


def samples(number: int, seed: int, data: str | None) -> Iterable[tuple[str, list[Product]]]:
    """The products of each sample, with its name."""
    rng = Random(seed)
    shop = [p for split in generate_shop(600, 60, seed).products.values() for p in split if p.images and p.title]
    yield "shop", rng.sample(shop, number)
    yield "difficult", list(difficult_products(number, seed))
    if data is not None:
        catalog = Catalog.open(data)
        rows = [row["id"] for row in catalog.rows("train", ["id", "title"]) if row["title"]]
        yield Path(data).name, [p for p in map(catalog.product, rng.sample(rows, number + 5)) if p.images][:number]


def judged(number: int, source: str, product: Product) -> tuple[dict[str, object], Image.Image]:
    """A row of the table, without verdicts, and a cell of the sheet."""
    cleaned = clean_product(product)
    entities = extract_entities(cleaned)
    (enrichment,) = RulesProvider().enrich([cleaned], [entities], 0)
    grounded = ground(enrichment.text, cleaned, entities) if enrichment.text else None
    title = (grounded.text if grounded else None) or ""
    photo = open_image(product.images[0])
    try:
        expansion = OpenCVProvider().expand(cleaned, 0, 0)
        main_image, reason = Image.open(io.BytesIO(expansion.main)).convert("RGB"), expansion.reason
    except ProductError as error:
        main_image, reason = photo, str(error)
    row = {
        "number": number,
        "source": source,
        "id": product.id,
        "before": product.title,
        "after": title,
        "gains": int(bool(title)),
        "plain": int(is_plain(photo)),
        "replaced": int(not reason),
        "title": "" if title else "unchanged",
        "image": "" if not reason else "original",
    }
    return row, cell_of(number, photo, main_image, not reason, product.title, title)


def is_plain(photo: Image.Image) -> bool:
    """Whether nine tenths of the border are of one colour, under light that may fall off evenly."""
    pixels = np.asarray(photo.resize((64, 64)), np.float32)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y], axis=-1)
    edge = np.ones((64, 64), bool)
    edge[1:-1, 1:-1] = False
    fitted = terms[edge] @ np.linalg.lstsq(terms[edge], pixels[edge], rcond=None)[0]
    return bool(np.quantile(np.abs(pixels[edge] - fitted).max(axis=1), 0.9) < PLAIN)


def cell_of(
    number: int, photo: Image.Image, main_image: Image.Image, replaced: bool, before: str, after: str
) -> Image.Image:
    """Photo and main image side by side, titles below."""
    cell = Image.new("RGB", (2 * SIDE + 14, SIDE + TEXT), "white")
    for left, image in ((2, photo), (SIDE + 6, main_image)):
        small = ImageOps.contain(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
        cell.paste(small, (left + (SIDE - small.width) // 2, (SIDE - small.height) // 2))
    pen = ImageDraw.Draw(cell)
    pen.rectangle((SIDE + 5, 0, 2 * SIDE + 6, SIDE), outline=(30, 132, 73) if replaced else (190, 190, 190))
    small_font = ImageFont.load_default(10)
    pen.multiline_text(
        (4, SIDE + 3), "\n".join(wrap(f"{number}. {before}", 54)[:3]), fill=(110, 110, 116), font=small_font
    )
    pen.multiline_text(
        (4, SIDE + 46), "\n".join(wrap(after or "(unchanged)", 54)[:4]), fill=(20, 24, 30), font=small_font
    )
    return cell


def write_sheet(cells: Sequence[Image.Image], path: Path) -> None:
    """The cells in rows, in a small file."""
    width, height = cells[0].size
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(cells) // COLUMNS) * height), "white")
    for index, cell in enumerate(cells):
        sheet.paste(cell, (index % COLUMNS * width, index // COLUMNS * height))
    sheet.save(path, "JPEG", quality=60)


def shares(rows: Sequence[dict[str, object]]) -> str:
    """Shares of a table of verdicts, a line a sample and one for all."""
    groups: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        groups[str(row["source"])].append(row)
    lines = []
    for name, group in [*groups.items(), ("all", list(rows))]:
        plain = [row for row in group if int(str(row["plain"]))]
        titles = [row["title"] == "good" for row in group if row["title"] in ("good", "bad")]
        images = [row["image"] == "good" for row in group if row["image"] in ("good", "bad")]
        parts = [
            _share("titles gain a fact", [int(str(row["gains"])) for row in group]),
            _share("plain photos replaced", [int(str(row["replaced"])) for row in plain]),
            _share("new titles good", titles),
            _share("new main images good", images),
        ]
        lines.append(f"{name:<10} {len(group)} products: {', '.join(filter(None, parts))}")
    return "\n".join(lines)


def _share(what: str, values: Sequence[object]) -> str:
    count = sum(map(bool, values))
    return f"{count} of {len(values)} {what} ({count / len(values):.0%})" if values else ""


if __name__ == "__main__":
    main()
