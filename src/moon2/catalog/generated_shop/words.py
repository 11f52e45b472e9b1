"""The words of the generated shop, from words.yaml: the shop's titles and descriptions, and the shoppers' queries.

Kinds, colours and patterns have several names. Titles contain filler, typing mistakes and gaps, as real ones do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml

from moon2.catalog.generated_shop.drawing import RGB


@dataclass(frozen=True)
class Colour:
    """One colour: its pixels and the words for it."""

    rgb: RGB
    names: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """One kind of product.

    Attributes:
        names: words for it; the shop uses the first most often.
        category: path from the root to the leaf.
        variants: its shapes, as `shapes.py` draws them.
        patterns: of `drawing.PATTERNS`; every kind can also be plain.
        materials: possible materials.
        prices: lowest and highest price.
        genders: possible genders.
    """

    names: tuple[str, ...]
    category: tuple[str, ...]
    variants: tuple[str, ...]
    patterns: tuple[str, ...]
    materials: tuple[str, ...]
    prices: tuple[float, float]
    genders: tuple[str, ...]


_WORDS = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
KINDS = {name: Kind(**{key: tuple(words) for key, words in kind.items()}) for name, kind in _WORDS["kinds"].items()}
COLOURS = {name: Colour(tuple(colour["rgb"]), tuple(colour["names"])) for name, colour in _WORDS["colours"].items()}
PATTERN_NAMES: dict[str, list[str]] = _WORDS["patterns"]


def brands_of(kind: str) -> list[str]:
    """The brands that sell a kind."""
    brands: list[str] = _WORDS["brands"][KINDS[kind].category[0]]
    return brands


def typing_mistake(text: str, rng: Random) -> str:
    """One letter doubled, dropped or swapped with its neighbour, in a word of at least four letters if there is one."""
    positions = [i for i in range(1, len(text) - 2) if text[i - 1 : i + 3].isalpha()]
    if not positions:
        return text
    i = rng.choice(positions)
    return rng.choice(
        [text[:i] + text[i] + text[i:], text[:i] + text[i + 1 :], text[:i] + text[i + 1] + text[i] + text[i + 2 :]]
    )


def product_title(kind: str, variant: str, attributes: dict[str, str], rng: Random) -> str:
    """The shop's title: brand, attributes and kind in some order, with filler and sometimes a flaw."""
    colour = rng.choice(COLOURS[attributes["colour"]].names)
    pattern = rng.choice(PATTERN_NAMES[attributes["pattern"]])
    if attributes["pattern"] == "plain" and rng.random() < 0.7:
        pattern = ""
    flaw = rng.random()
    if flaw < 0.06:
        colour = ""
    gender = attributes["gender"] if attributes["gender"] in ("men", "women") and rng.random() < 0.6 else ""
    shape = variant if rng.random() < 0.7 else ""
    material = attributes["material"] if rng.random() < 0.4 else ""
    name = rng.choices(KINDS[kind].names, weights=[3] + [1] * (len(KINDS[kind].names) - 1))[0]
    core = [gender, colour, pattern, material, shape, name]
    if rng.random() < 0.3:
        core = [shape, name, gender and f"for {gender}", material, pattern, colour]
    filler = rng.sample(_WORDS["filler"]["title"], rng.choices([0, 1, 2], weights=[4, 4, 2])[0])
    words = [attributes["brand"], *core, *filler] if rng.random() < 0.75 else [*filler, *core, attributes["brand"]]
    title = " ".join(word for word in words if word)
    if 0.06 <= flaw < 0.14:
        return typing_mistake(title, rng)
    if 0.14 <= flaw < 0.19:
        return title.upper()
    if 0.19 <= flaw < 0.3:
        return title.lower()
    return title[0].upper() + title[1:]


def product_description(kind: str, variant: str, attributes: dict[str, str], rng: Random) -> str:
    """Two or three sentences that name the product's attributes; one in five products has none."""
    if rng.random() < 0.2:
        return ""
    name = KINDS[kind].names[0]
    sentences = [
        rng.choice([
            f"{variant.capitalize()} {name} by {attributes['brand']}, made of {attributes['material']}.",
            f"{attributes['brand']} presents this {variant} {name} in {attributes['material']}.",
        ]),
        rng.choice([
            f"Colour {attributes['colour']}, {attributes['pattern']}.",
            f"It comes in {attributes['colour']} with a {attributes['pattern']} finish.",
            "",
        ]),
        rng.choice([
            "Free returns within 30 days.",
            "A favourite of our customers.",
            "Colours may differ on your screen.",
            "",
        ]),
    ]  # fmt: skip
    return " ".join(sentence for sentence in sentences if sentence)


def shopper_text(kind: str, attributes: dict[str, str], rng: Random, *, careless: bool) -> str:
    """The words of a shopper who looks for such a product; never empty.

    Args:
        kind: of `KINDS`; the words always contain one of its names.
        attributes: brand, colour, pattern, material and gender of the product.
        rng: draws the words.
        careless: words may be missing or have typing mistakes, as in a real log.
    """
    colour = rng.choice(COLOURS[attributes["colour"]].names)
    pattern = rng.choice(PATTERN_NAMES[attributes["pattern"]])
    if attributes["pattern"] == "plain" and rng.random() < 0.7:
        pattern = ""
    brand = attributes["brand"] if rng.random() < 0.4 else ""
    gender = attributes["gender"] if attributes["gender"] in ("men", "women") and rng.random() < 0.3 else ""
    if careless and rng.random() < 0.2:
        # Only one of the two is left out, so that the query still has a meaning.
        colour, pattern = ("", pattern) if pattern and rng.random() < 0.5 else (colour, "")
    words = [brand, gender, colour, pattern, rng.choice(KINDS[kind].names)]
    if rng.random() < 0.25:
        rng.shuffle(words)
    if rng.random() < 0.12:
        words.insert(0, rng.choice(_WORDS["filler"]["query"]))
    text = " ".join(word for word in words if word).lower()
    return typing_mistake(text, rng) if careless and rng.random() < 0.1 else text
