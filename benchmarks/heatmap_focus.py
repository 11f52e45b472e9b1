"""Do heatmaps lie on the product and on the words that name it? Trained against untrained and against shuffled weights.

    python benchmarks/heatmap_focus.py RUN --data DATA --photos 300 --out focus.json --pictures focus

Photos of the test split on a near-white ground are cut out and pasted, smaller and off the middle, into drawn rooms, so
that the product's mask is known. Share of a map on the mask over the mask's share of the area is its lift: 1 is chance.
Patches are coarse; `ceiling` is the lift of a map with everything on the one patch that the product covers most. Titles
get filler words, at the end or mixed in; lift there is the share of words of a role over their share of the tokens.
Intervals are 95 % bootstrap over products.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
from PIL import Image

from moon2.catalog.generated_shop.backgrounds import room
from moon2.catalog.store import Catalog
from moon2.experiments.runner import commit
from moon2.explain.draw.panels import panels
from moon2.explain.explain import Explanation, explain
from moon2.explain.rollout import pooled_attention
from moon2.explain.sanity import cascade, randomised, rank_correlation, weights
from moon2.explain.token_layout import spread, token_grids
from moon2.explain.trace import trace
from moon2.images import open_image
from moon2.model.encoder import Encoder
from moon2.recipe import load_recipe
from moon2.records import Product
from moon2.runs import untrained_encoder

FILLER = ("high", "quality", "women", "best", "new", "arrival")
ROLES = ("brand", "type", "colour", "filler", "other")
Masked = tuple[Product, np.ndarray]
METHODS = ("attention", "attention, place not corrected", "gradient")
DRAWS = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints two tables, writes the JSON and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--out", default="focus.json")
    parser.add_argument("--pictures", default="focus", help="folder for twenty samples")
    options = parser.parse_args(arguments)
    catalog = Catalog.open(options.data)
    trained = Encoder.from_pretrained(options.run)
    encoders = {
        "trained": trained,
        "untrained": untrained_encoder(load_recipe(Path(options.run) / "recipe.yaml"), catalog),
        "shuffled": randomised(trained),
    }
    chosen, on_paper = pasted_products(catalog, options.photos)
    result = {
        "command": shlex.join(["python", "benchmarks/heatmap_focus.py", *(arguments or sys.argv[1:])]),
        "commit": commit(),
        "photos": {"in rooms": photo_focus(encoders, chosen), "on paper": photo_focus(encoders, on_paper)},
        "titles": {order: title_focus(encoders, chosen, order) for order in ("appended", "mixed")},
        "rank_correlation_with_trained": sanity(trained, chosen[:60]),
    }
    Path(options.out).write_text(json.dumps(result, indent=1, ensure_ascii=False))
    print_tables(result)
    write_samples(encoders, chosen[:20], Path(options.pictures))


def product_mask(photo: Image.Image) -> np.ndarray:
    """[H, W] bool: what is not near-white paper connected to the edge of the photo."""
    paper = (np.asarray(photo.convert("RGB")).min(axis=2) >= 232).astype(np.uint8)
    framed = np.pad(paper, 1, constant_values=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return framed[1:-1, 1:-1] != 2


def paste(photo: Image.Image, mask: np.ndarray, rng: Random) -> tuple[Image.Image, np.ndarray]:
    """The product in a drawn room of the photo's size, at 55 to 80 % of its own and anywhere, and its new mask."""
    width, height = photo.size
    place = room(rng)
    side = min(place.width, round(place.height * width / height))
    tall = round(side * height / width)
    left, top = rng.randint(0, place.width - side), rng.randint(0, place.height - tall)
    ground = place.crop((left, top, left + side, top + tall)).resize(photo.size, Image.Resampling.BICUBIC)
    factor = rng.uniform(0.55, 0.8)
    size = round(width * factor), round(height * factor)
    cut = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    corner = rng.randint(0, width - size[0]), rng.randint(0, height - size[1])
    ground.paste(photo.resize(size, Image.Resampling.BICUBIC), corner, cut)
    found = np.zeros((height, width), bool)
    found[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]] = np.asarray(cut) > 127
    return ground, found


def pasted_products(catalog: Catalog, number: int) -> tuple[list[Masked], list[Masked]]:
    """Products of the test split that fill 8 to 70 % of a white photo: in drawn rooms, and as they are; with masks."""
    ids = catalog.ids("test")
    order = np.random.default_rng(0).permutation(len(ids))
    found: list[Masked] = []
    on_paper: list[Masked] = []
    for place in order:
        product = catalog.product(ids[place])
        if len(found) == number:
            break
        if not product.images or not {"base_colour", "brand"} <= product.attributes.keys():
            continue
        photo = open_image(product.images[0])
        mask = product_mask(photo)
        if 0.08 <= mask.mean() <= 0.7:
            image, pasted = paste(photo, mask, Random(f"focus {product.id}"))
            found.append((replace(product, images=(image,)), pasted))
            on_paper.append((product, mask))
    return found, on_paper


def asked(product: Product) -> str:
    """What a shopper would type for it: colour and type."""
    return f"{product.attributes['base_colour']} {product.category[-1]}".lower()


def maps_of(encoder: Encoder, product: Product) -> dict[str, np.ndarray]:
    """Per method the map over the picture's pixels, summing to one."""
    found = explain(encoder, product, asked(product))
    plain = trace(encoder, encoder.processor.item(product))
    pooled = pooled_attention(plain.attentions, plain.content)[plain.picture]
    cells = pooled.reshape(token_grids(plain.grids, len(pooled))[0])
    all_maps = dict(zip(METHODS, (found.image_maps[0], spread(cells, found.image_maps[0].shape),
                                  np.abs(found.gradient_maps[0])), strict=True))  # fmt: skip
    return {method: values / values.sum() for method, values in all_maps.items()}


def photo_focus(encoders: dict[str, Encoder], chosen: Sequence[Masked]) -> dict:
    """Share of each method's map on the product, by encoder."""
    area = np.array([mask.mean() for _, mask in chosen])
    best = []
    for product, mask in chosen:
        item = encoders["trained"].processor.item(product)
        inputs = encoders["trained"].processor.batch([item], text=False).joint
        shape = token_grids(inputs.grids[0], int(inputs.picture.sum()))[0]
        cells = [spread(np.eye(shape[0] * shape[1])[cell].reshape(shape), mask.shape) for cell in range(np.prod(shape))]
        best.append(max(float((cell * mask).sum()) for cell in cells))
    result: dict = {"photos": len(chosen), "area": float(area.mean()), "ceiling": lift(np.array(best), area)}
    for name, encoder in encoders.items():
        shares = {method: [] for method in METHODS}
        for product, mask in chosen:
            for method, values in maps_of(encoder, product).items():
                shares[method].append(float(values[mask].sum()))
        result[name] = {method: lift(np.array(values), area) for method, values in shares.items()}
    return result


def lift(share: np.ndarray, even: np.ndarray) -> dict[str, float | list[float]]:
    """Mean share, and the mean share over the mean even share with its interval."""
    draws = np.random.default_rng(0).integers(0, len(share), (DRAWS, len(share)))
    ratios = share[draws].mean(axis=1) / even[draws].mean(axis=1)
    return {
        "share": float(share.mean()),
        "lift": float(share.mean() / even.mean()),
        "interval": [float(edge) for edge in np.quantile(ratios, (0.025, 0.975))],
    }


def with_filler(product: Product, order: str) -> tuple[Product, list[str]]:
    """The title with filler words, and each word's role; "women" is no filler where it is true."""
    known = product.attributes
    stems = {
        "brand": stemmed(known["brand"]),
        "type": stemmed(product.category[-1]),
        "colour": stemmed(known["base_colour"]),
    }
    words = [(word, next((role for role, own in stems.items() if stemmed(word) & own), "other"))
             for word in product.title.split()]  # fmt: skip
    filler = [word for word in FILLER if not (word == "women" and known.get("gender") in ("Women", "Girls", None))]
    rng = Random(f"filler {product.id}")
    for word in filler:
        words.insert(len(words) if order == "appended" else rng.randint(0, len(words)), (word, "filler"))
    return replace(product, title=" ".join(word for word, _ in words)), [role for _, role in words]


def stemmed(text: str) -> set[str]:
    """Words without case, punctuation and plural; "T-shirt" is "tshirt"."""
    words = (re.sub(r"[^a-z0-9]", "", word) for word in text.lower().split())
    return {word[:-1] if word.endswith("s") and len(word) > 3 else word for word in words if word}


def title_focus(encoders: dict[str, Encoder], chosen: Sequence[Masked], order: str) -> dict:
    """Share of the words' weight on each role over the role's share of the tokens, by encoder and method."""
    result: dict = {}
    for name, encoder in encoders.items():
        rows: dict[str, list[list[float]]] = {"attention": [], "gradient": []}
        tokens: list[list[float]] = []
        for product, _ in chosen:
            changed, roles = with_filler(product, order)
            found = explain(encoder, changed, asked(product))
            counts = np.array([word.tokens for word in found.words], float)
            seen = roles[: len(counts)]
            tokens.append(by_role(counts, seen))
            for kind, into in rows.items():
                into.append(by_role(np.array([abs(getattr(word, kind)) for word in found.words]), seen))
        even = np.array(tokens)
        result[name] = {
            kind: {role: lift(np.array(into)[:, at], even[:, at]) for at, role in enumerate(ROLES)}
            for kind, into in rows.items()
        }
    return result


def by_role(values: np.ndarray, roles: Sequence[str]) -> list[float]:
    """The share of each role in the sum of values."""
    return [float(values[[own == role for own in roles]].sum() / values.sum()) for role in ROLES]


def sanity(trained: Encoder, chosen: Sequence[Masked]) -> dict[str, dict[str, float]]:
    """Mean rank correlation of the trained encoder's maps with those under ever more shuffled weights."""
    ours = [explain(trained, product, asked(product)) for product, _ in chosen]
    result = {}
    for name, other in cascade(trained):
        theirs = [explain(other, product, asked(product)) for product, _ in chosen]
        result[name] = {
            f"{kind} of {part}": mean_correlation(ours, theirs, kind, part)
            for kind in ("attention", "gradient")
            for part in ("patches", "words")
        }
    return result


def mean_correlation(ours: Sequence[Explanation], theirs: Sequence[Explanation], kind: str, part: str) -> float:
    """Spearman's ρ among patches or among words, mean over items; apart, as any model sets the two apart."""
    found = []
    for one, two in zip(ours, theirs, strict=True):
        rows = [weights(explanation, kind) for explanation in (one, two)]
        patches = one.pictures[0].attention.size
        rows = [row[:patches] if part == "patches" else row[patches:] for row in rows]
        if len(rows[0]) > 2:
            found.append(rank_correlation(*rows))
    return float(np.mean(found))


def print_tables(result: dict) -> None:
    """Lift of each method over photos and of each role over titles."""
    for ground, photos in result["photos"].items():
        ceiling = photos["ceiling"]["lift"]
        print(f"{photos['photos']} photos {ground}; the product fills {photos['area']:.1%}; ceiling {ceiling:.2f}")
        for name in ("trained", "untrained", "shuffled"):
            for method in METHODS:
                print(f"  {name:<10}{method:<34}{said(photos[name][method])}")
    for order, by_encoder in result["titles"].items():
        print(f"titles, filler {order}")
        for name, kinds in by_encoder.items():
            for kind, roles in kinds.items():
                cells = "  ".join(f"{role} {said(roles[role])}" for role in ROLES)
                print(f"  {name:<10}{kind:<10}{cells}")
    for name, row in result["rank_correlation_with_trained"].items():
        print(f"  ρ with {name} shuffled: " + ", ".join(f"{kind} {value:+.2f}" for kind, value in row.items()))


def said(row: dict) -> str:
    """A lift with its interval."""
    return f"{row['lift']:.2f} ({row['interval'][0]:.2f} to {row['interval'][1]:.2f})"


def write_samples(encoders: dict[str, Encoder], chosen: Sequence[Masked], folder: Path) -> None:
    """A drawing of each, and one sheet: photo, attention and gradient of the trained, attention of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    side, columns = 150, 5
    sheet = Image.new("RGB", (2 * columns * (side - 30), (side + 10) * ((len(chosen) + 1) // 2)), "white")
    for number, (product, _) in enumerate(chosen):
        found = {name: explain(encoder, product, asked(product)) for name, encoder in encoders.items()}
        found["trained"].save_png(folder / f"{number:02d}-{product.id}.png")
        photo, heat, slope, *_ = panels(found["trained"], side)[0]
        row = [photo, heat, slope, panels(found["untrained"], side)[0][1], panels(found["shuffled"], side)[0][1]]
        for column, panel in enumerate(row):
            left = (columns * (number % 2) + column) * (side - 30)
            sheet.paste(panel.image, (left, (number // 2) * (side + 10)))
    sheet.save(folder / "sheet.png")


if __name__ == "__main__":
    main()
