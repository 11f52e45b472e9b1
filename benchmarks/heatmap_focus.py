"""Do heatmaps lie on the product and on the words that name it? Trained against untrained and against shuffled weights.

    python benchmarks/heatmap_focus.py RUN --data DATA --photos 300 --out focus.json --samples focus

Photos of the test split on a near-white background are cut out and pasted, smaller and off the middle, into drawn
rooms, so that the product's mask is known. The lift of a map is its share on the mask over the mask's share of the
area: 1 is chance. Patches are coarse; `ceiling` is the lift of a map with everything on the one patch that the product
covers most. Titles get filler words, at the end or mixed in; lift there is the share of words of a role over their
share of the tokens. Intervals are 95 % bootstrap over products.

Sanity check (Adebayo et al., 2018, "Sanity Checks for Saliency Maps"): with other weights a map must change. Weights
are shuffled inside each tensor, so that their size and spread stay: everywhere at once, or in a cascade from the last
decoder layer down to the vision tower. Reported is the rank correlation of the maps over patches and over words.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import nn

from moon2.catalog.generated_shop.backgrounds import room
from moon2.catalog.store import Catalog
from moon2.experiments.runner import source_commit
from moon2.explain.draw.panels import panels
from moon2.explain.draw.png import draw_png
from moon2.explain.explain import explain
from moon2.explain.explanation import Explanation
from moon2.explain.rollout import pooled_attention
from moon2.explain.token_layout import token_grids
from moon2.explain.trace import trace
from moon2.images import open_image
from moon2.model.encoder import Encoder
from moon2.model.families import decoder_of
from moon2.recipe import load_recipe
from moon2.records import Product
from moon2.train.prepare import untrained_encoder

FILLER = ("high", "quality", "women", "best", "new", "arrival")
ROLES = ("brand", "type", "colour", "filler", "other")
Masked = tuple[Product, np.ndarray]
METHODS = ("attention", "attention, position not corrected", "gradient")
DRAWS = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints two tables, writes the JSON and the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--out", default="focus.json")
    parser.add_argument("--samples", default="focus", help="folder for twenty drawings")
    options = parser.parse_args(arguments)
    catalog = Catalog.open(options.data)
    trained = Encoder.from_pretrained(options.run)
    encoders = {
        "trained": trained,
        "untrained": untrained_encoder(load_recipe(Path(options.run) / "recipe.yaml"), catalog),
        "shuffled": shuffled(trained),
    }
    chosen, on_paper = pasted_products(catalog, options.photos)
    result = {
        "command": shlex.join(["python", "benchmarks/heatmap_focus.py", *(arguments or sys.argv[1:])]),
        "commit": source_commit(),
        "photos": {"in rooms": photo_focus(encoders, chosen), "on paper": photo_focus(encoders, on_paper)},
        "titles": {order: title_focus(encoders, chosen, order) for order in ("appended", "mixed")},
        "rank_correlation_with_trained": sanity(trained, chosen[:60]),
    }
    Path(options.out).write_text(json.dumps(result, indent=1, ensure_ascii=False))
    print_tables(result)
    write_samples(encoders, chosen[:20], Path(options.samples))


def product_mask(photo: Image.Image) -> np.ndarray:
    """[H, W] bool: what is not near-white paper connected to the edge of the photo."""
    paper = (np.asarray(photo.convert("RGB")).min(axis=2) >= 232).astype(np.uint8)
    framed = np.pad(paper, 1, constant_values=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return framed[1:-1, 1:-1] != 2


def paste(photo: Image.Image, mask: np.ndarray, rng: Random) -> tuple[Image.Image, np.ndarray]:
    """The product in a drawn room of the photo's size, at 55 to 80 % of its own and anywhere, and its new mask."""
    width, height = photo.size
    backdrop = room(rng)
    side = min(backdrop.width, round(backdrop.height * width / height))
    tall = round(side * height / width)
    left, top = rng.randint(0, backdrop.width - side), rng.randint(0, backdrop.height - tall)
    ground = backdrop.crop((left, top, left + side, top + tall)).resize(photo.size, Image.Resampling.BICUBIC)
    factor = rng.uniform(0.55, 0.8)
    size = round(width * factor), round(height * factor)
    cut = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    corner = rng.randint(0, width - size[0]), rng.randint(0, height - size[1])
    ground.paste(photo.resize(size, Image.Resampling.BICUBIC), corner, cut)
    pasted = np.zeros((height, width), bool)
    pasted[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]] = np.asarray(cut) > 127
    return ground, pasted


def pasted_products(catalog: Catalog, number: int) -> tuple[list[Masked], list[Masked]]:
    """Products of the test split that fill 8 to 70 % of a white photo: in drawn rooms, and as they are; with masks."""
    ids = catalog.ids("test")
    order = np.random.default_rng(0).permutation(len(ids))
    in_rooms: list[Masked] = []
    on_paper: list[Masked] = []
    for index in order:
        product = catalog.product(ids[index])
        if len(in_rooms) == number:
            break
        if not product.images or not {"base_colour", "brand"} <= product.attributes.keys():
            continue
        photo = open_image(product.images[0])
        mask = product_mask(photo)
        if 0.08 <= mask.mean() <= 0.7:
            image, pasted = paste(photo, mask, Random(f"focus {product.id}"))
            in_rooms.append((replace(product, images=(image,)), pasted))
            on_paper.append((product, mask))
    return in_rooms, on_paper


def shopper_query(product: Product) -> str:
    """What a shopper would type for it: colour and type."""
    return f"{product.attributes['base_colour']} {product.category[-1]}".lower()


def maps_of(encoder: Encoder, product: Product) -> dict[str, np.ndarray]:
    """Per method the map over the image's patches, summing to one."""
    explanation = explain(encoder, product, shopper_query(product))
    traced = trace(encoder, encoder.processor.item(product))
    pooled = pooled_attention(traced.attentions, traced.pooling_mask)[traced.image_mask]
    [image] = explanation.images
    maps = dict(
        zip(METHODS, (image.attention, pooled.reshape(image.attention.shape), np.abs(image.gradient)), strict=True)
    )
    return {method: values / values.sum() for method, values in maps.items()}


def covered(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """[h, w]: which share of each patch the mask [H, W] covers."""
    return cv2.resize(mask.astype(np.float64), shape[::-1], interpolation=cv2.INTER_AREA)


def photo_focus(encoders: dict[str, Encoder], chosen: Sequence[Masked]) -> dict:
    """Share of each method's map on the product, by encoder."""
    area = np.array([mask.mean() for _, mask in chosen])
    best = []
    for product, mask in chosen:
        inputs = encoders["trained"].processor.batch([encoders["trained"].processor.item(product)], text=False).joint
        best.append(covered(mask, token_grids(inputs.grids[0], int(inputs.image_mask.sum()))[0]).max())
    result: dict = {"photos": len(chosen), "area": float(area.mean()), "ceiling": lift(np.array(best), area)}
    for name, encoder in encoders.items():
        shares = {method: [] for method in METHODS}
        for product, mask in chosen:
            for method, values in maps_of(encoder, product).items():
                shares[method].append(float((values * covered(mask, values.shape)).sum()))
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
    words = [(word, next((role for role, names in stems.items() if stemmed(word) & names), "other"))
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
            explanation = explain(encoder, changed, shopper_query(product))
            counts = np.array([word.tokens for word in explanation.words], float)
            seen = roles[: len(counts)]
            tokens.append(by_role(counts, seen))
            for kind, collected in rows.items():
                collected.append(by_role(np.array([abs(getattr(word, kind)) for word in explanation.words]), seen))
        even = np.array(tokens)
        result[name] = {
            kind: {role: lift(np.array(collected)[:, at], even[:, at]) for at, role in enumerate(ROLES)}
            for kind, collected in rows.items()
        }
    return result


def by_role(values: np.ndarray, roles: Sequence[str]) -> list[float]:
    """The share of each role in the sum of values."""
    return [float(values[[other == role for other in roles]].sum() / values.sum()) for role in ROLES]


def shuffled(encoder: Encoder) -> Encoder:
    """A copy of an encoder with the values inside each of its tensors shuffled."""
    *_, (_, last) = cascade(encoder)
    return last


def cascade(encoder: Encoder) -> Iterator[tuple[str, Encoder]]:
    """One copy that is shuffled ever deeper: from the last decoder layer to the first, then all the rest."""
    copy = Encoder(deepcopy(encoder.model), encoder.processor)
    generator = torch.Generator().manual_seed(0)
    layers = decoder_of(copy.model.backbone, copy.model.family).layers
    done: set[nn.Parameter] = set()
    parts: list[tuple[str, nn.Module]] = [(f"layers from {number}", layer) for number, layer in enumerate(layers)]
    for name, part in [*reversed(parts), ("all weights", copy.model)]:
        with torch.no_grad():
            for weight in part.parameters():
                if weight not in done:
                    order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                    weight.copy_(weight.flatten()[order].view_as(weight))
                    done.add(weight)
        yield name, copy


def sanity(trained: Encoder, chosen: Sequence[Masked]) -> dict[str, dict[str, float]]:
    """Mean rank correlation of the trained encoder's maps with those under ever more shuffled weights."""
    ours = [explain(trained, product, shopper_query(product)) for product, _ in chosen]
    result = {}
    for name, other in cascade(trained):
        theirs = [explain(other, product, shopper_query(product)) for product, _ in chosen]
        result[name] = {
            f"{kind} of {part}": mean_correlation(ours, theirs, kind, part)
            for kind in ("attention", "gradient")
            for part in ("patches", "words")
        }
    return result


def mean_correlation(ours: Sequence[Explanation], theirs: Sequence[Explanation], kind: str, part: str) -> float:
    """Spearman's ρ among patches or among words, mean over items; apart, since any model sets the two apart."""
    pairs = [[weights(explanation, kind, part) for explanation in pair] for pair in zip(ours, theirs, strict=True)]
    # An even map has no ranks; it counts as unlike any other.
    correlations = [0.0 if min(np.ptp(one), np.ptp(other)) == 0 else float(spearmanr(one, other).statistic)
                    for one, other in pairs if len(one) > 2]  # fmt: skip
    return float(np.mean(correlations))


def weights(explanation: Explanation, kind: str, part: str) -> np.ndarray:
    """The "attention" or "gradient" of all patches or words in one row, by size.

    A word has its tokens' mean: their number depends on the title, and would make any two models agree.
    """
    if part == "patches":
        return np.abs(getattr(explanation.images[0], kind).ravel())
    return np.abs([getattr(word, kind) / word.tokens for word in explanation.words])


def print_tables(result: dict) -> None:
    """Lift of each method over photos and of each role over titles."""
    for ground, photos in result["photos"].items():
        ceiling = photos["ceiling"]["lift"]
        print(f"{photos['photos']} photos {ground}; the product fills {photos['area']:.1%}; ceiling {ceiling:.2f}")
        for name in ("trained", "untrained", "shuffled"):
            for method in METHODS:
                print(f"  {name:<10}{method:<34}{with_interval(photos[name][method])}")
    for order, by_encoder in result["titles"].items():
        print(f"titles, filler {order}")
        for name, kinds in by_encoder.items():
            for kind, roles in kinds.items():
                cells = "  ".join(f"{role} {with_interval(roles[role])}" for role in ROLES)
                print(f"  {name:<10}{kind:<10}{cells}")
    for name, row in result["rank_correlation_with_trained"].items():
        print(f"  ρ with {name} shuffled: " + ", ".join(f"{kind} {value:+.2f}" for kind, value in row.items()))


def with_interval(row: dict) -> str:
    """A lift with its interval."""
    return f"{row['lift']:.2f} ({row['interval'][0]:.2f} to {row['interval'][1]:.2f})"


def write_samples(encoders: dict[str, Encoder], chosen: Sequence[Masked], folder: Path) -> None:
    """A drawing of each, and one sheet: photo, attention and gradient of the trained, attention of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    side, columns = 150, 5
    sheet = Image.new("RGB", (2 * columns * (side - 30), (side + 10) * ((len(chosen) + 1) // 2)), "white")
    for number, (product, _) in enumerate(chosen):
        by_name = {name: explain(encoder, product, shopper_query(product)) for name, encoder in encoders.items()}
        draw_png(by_name["trained"]).save(folder / f"{number:02d}-{product.id}.png")
        photo, heat, slope, *_ = panels(by_name["trained"], side)[0]
        row = [photo, heat, slope, panels(by_name["untrained"], side)[0][1], panels(by_name["shuffled"], side)[0][1]]
        for column, panel in enumerate(row):
            left = (columns * (number % 2) + column) * (side - 30)
            sheet.paste(panel.image, (left, (number // 2) * (side + 10)))
    sheet.save(folder / "sheet.png")


if __name__ == "__main__":
    main()
