"""Draws the image at the top of README: what three test queries of the demo's shop find.

    python benchmarks/example_searches.py runs/demo --out docs/images/searches.png

The first is asked by its words, the second by its photo, the third by both. Each row shows what was asked and the first
results among products that training never saw; relevant ones have a green frame.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.images import contact_sheet, open_image
from moon2.records import Product

QUERIES = ("green polka dot tshirt", "checked skirt blue", "leather boots castello tangerine")
RESULTS, SIDE, ASKED = 6, 112, 320
INK, GREEN = (40, 46, 56), (30, 132, 73)


def main(arguments: Sequence[str] | None = None) -> None:
    """Searches, and writes the image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a demo")
    parser.add_argument("--out", type=Path, default=Path("docs/images/searches.png"))
    parser.add_argument("--queries", nargs=3, default=QUERIES, metavar="WORDS", help="the words of three test queries")
    options = parser.parse_args(arguments)
    encoder = Encoder.from_pretrained(options.run)
    catalog = Catalog.open(options.run / "shop")
    products = [product for product in catalog.products("test") if product.images]
    vectors = encoder.encode_document(products)
    log = {interaction.query.text: interaction for interaction in catalog.interactions("test")}
    rows = []
    for number, words in enumerate(options.queries):
        query = catalog.with_image(log[words].query)
        asked = (replace(query, image=None), replace(query, text=""), query)[number]
        similarities = encoder.similarity(encoder.encode_query(asked), vectors)[0]
        ranked = [products[row] for row in (-similarities).argsort() if products[row].id != query.product_id]
        photo = None if asked.image is None else open_image(asked.image)
        rows.append(draw_row(asked.text, photo, ranked[:RESULTS], log[words].positive_ids))
    page = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    for number, row in enumerate(rows):
        page.paste(row, (0, number * row.height))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    page.quantize(160, dither=Image.Dither.NONE).save(options.out, optimize=True)
    print(options.out)


def draw_row(words: str, photo: Image.Image | None, results: Sequence[Product], relevant: Sequence[str]) -> Image.Image:
    """What was asked on the left, what was found on the right."""
    framed = []
    for product in results:
        image = ImageOps.contain(open_image(product.images[0]), (SIDE - 8, SIDE - 8))
        framed.append(ImageOps.expand(image, 4, GREEN if product.id in relevant else "white"))
    sheet = contact_sheet(framed, RESULTS, SIDE)
    row = Image.new("RGB", (ASKED + sheet.width, sheet.height + 8), "white")
    row.paste(sheet, (ASKED, 4))
    pen, middle, left = ImageDraw.Draw(row), row.height // 2, 8
    if photo is not None:
        small = ImageOps.contain(photo, (SIDE - 16, SIDE - 16))
        row.paste(small, (left, middle - small.height // 2))
        left += small.width + 12
    if words:
        lines = words if photo is None else words.replace(" ", "\n", 2)
        pen.text((left, middle), lines, INK, ImageFont.load_default(17), anchor="lm", spacing=5)
    tip = ASKED - 14
    pen.line((tip - 22, middle, tip, middle), INK, 2)
    pen.line((tip - 7, middle - 6, tip, middle, tip - 7, middle + 6), INK, 2)
    return row


if __name__ == "__main__":
    main()
