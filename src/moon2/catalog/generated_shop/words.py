"""The words of the generated shop: kinds, colours and brands, the shop's titles and the shoppers' queries.

Kinds, colours and patterns have several names. Titles contain filler, typing mistakes and gaps, as real ones do.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

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
    genders: tuple[str, ...] = ("men", "women", "unisex")


_ALL = ("striped", "checked", "dotted", "floral", "zigzag")
_WOMEN = ("women",)
_HOME = ("home",)

# fmt: off
KINDS: dict[str, Kind] = {
    "shirt": Kind(
        ("shirt", "button-down", "button-up shirt"), ("Fashion", "Tops", "Shirts"), ("long sleeve", "short sleeve"),
        ("striped", "checked", "dotted", "floral"), ("cotton", "linen", "poplin"), (19, 79), ("men", "women"),
    ),
    "t-shirt": Kind(
        ("t-shirt", "tee", "tshirt"), ("Fashion", "Tops", "T-shirts"), ("crew neck", "v-neck", "logo"),
        ("striped", "dotted", "zigzag"), ("cotton", "jersey", "organic cotton"), (9, 39),
    ),
    "dress": Kind(
        ("dress", "frock", "gown"), ("Fashion", "Dresses"), ("strappy", "cap sleeve", "long sleeve", "maxi"),
        _ALL, ("viscose", "chiffon", "cotton"), (29, 149), _WOMEN,
    ),
    "trousers": Kind(
        ("trousers", "pants", "slacks"), ("Fashion", "Bottoms", "Trousers"), ("slim fit", "wide leg", "cropped"),
        ("striped", "checked"), ("cotton", "wool blend", "corduroy"), (25, 99), ("men", "women"),
    ),
    "skirt": Kind(
        ("skirt", "midi skirt"), ("Fashion", "Bottoms", "Skirts"), ("a-line", "pencil", "pleated"),
        _ALL, ("denim", "viscose", "satin"), (19, 89), _WOMEN,
    ),
    "sneaker": Kind(
        ("sneakers", "trainers", "running shoes"), ("Fashion", "Shoes", "Sneakers"), ("low-top", "high-top"),
        ("striped", "checked"), ("mesh", "canvas", "suede"), (35, 139),
    ),
    "heels": Kind(
        ("heels", "pumps", "high heels"), ("Fashion", "Shoes", "Heels"), ("stiletto", "block heel", "ankle strap"),
        ("dotted", "floral"), ("leather", "satin", "suede"), (39, 159), _WOMEN,
    ),
    "boot": Kind(
        ("boots", "leather boots", "winter boots"), ("Fashion", "Shoes", "Boots"), ("ankle", "knee-high", "lace-up"),
        ("checked",), ("leather", "suede", "rubber"), (49, 199), ("men", "women"),
    ),
    "handbag": Kind(
        ("handbag", "purse", "shoulder bag"), ("Fashion", "Bags", "Handbags"), ("satchel", "tote", "clutch"),
        ("striped", "checked", "dotted", "floral"), ("leather", "canvas", "vegan leather"), (29, 199), _WOMEN,
    ),
    "backpack": Kind(
        ("backpack", "rucksack", "daypack"), ("Fashion", "Bags", "Backpacks"), ("zip-top", "roll-top"),
        _ALL, ("nylon", "canvas", "polyester"), (29, 119), ("unisex",),
    ),
    "watch": Kind(
        ("watch", "wristwatch", "timepiece"), ("Fashion", "Accessories", "Watches"), ("round", "square", "gold case"),
        ("striped",), ("leather strap", "nylon strap", "silicone"), (49, 349),
    ),
    "hat": Kind(
        ("hat", "headwear"), ("Fashion", "Accessories", "Hats"), ("baseball cap", "sun hat", "beanie"),
        ("striped", "checked", "dotted"), ("cotton", "wool", "straw"), (12, 49),
    ),
    "sunglasses": Kind(
        ("sunglasses", "shades", "sun glasses"), ("Fashion", "Accessories", "Sunglasses"),
        ("round", "cat-eye", "wayfarer"), (), ("acetate", "polycarbonate"), (15, 129),
    ),
    "umbrella": Kind(
        ("umbrella", "brolly", "parasol"), ("Fashion", "Accessories", "Umbrellas"), ("long", "folding"),
        _ALL, ("polyester", "pongee"), (12, 59), ("unisex",),
    ),
    "mug": Kind(
        ("mug", "coffee cup", "tea mug"), ("Home", "Kitchen", "Mugs"), ("classic", "tall", "tapered"),
        _ALL, ("stoneware", "porcelain", "enamel"), (7, 29), _HOME,
    ),
    "bottle": Kind(
        ("water bottle", "drinking bottle", "bottle"), ("Home", "Kitchen", "Bottles"), ("classic", "sports", "flask"),
        ("striped", "dotted", "zigzag"), ("steel", "glass", "tritan"), (9, 45), _HOME,
    ),
    "lamp": Kind(
        ("lamp", "light", "reading lamp"), ("Home", "Lighting", "Lamps"), ("table", "floor", "desk"),
        ("striped", "dotted", "floral", "zigzag"), ("linen shade", "metal", "paper shade"), (25, 149), _HOME,
    ),
    "chair": Kind(
        ("chair", "seat"), ("Home", "Furniture", "Chairs"), ("dining", "armchair", "stool"),
        ("striped", "checked", "floral", "zigzag"), ("velvet", "oak and cotton", "wool"), (49, 399), _HOME,
    ),
}
# fmt: on

COLOURS: dict[str, Colour] = {
    "black": Colour((40, 38, 42), ("black", "jet black")),
    "white": Colour((240, 239, 235), ("white", "off-white", "ivory")),
    "grey": Colour((138, 140, 144), ("grey", "gray", "silver grey")),
    "navy": Colour((34, 46, 92), ("navy", "navy blue", "dark blue")),
    "blue": Colour((62, 124, 204), ("blue", "sky blue", "azure")),
    "red": Colour((196, 40, 46), ("red", "scarlet", "crimson")),
    "green": Colour((52, 132, 78), ("green", "forest green", "emerald")),
    "yellow": Colour((238, 200, 58), ("yellow", "mustard", "lemon")),
    "pink": Colour((238, 148, 178), ("pink", "rose pink", "blush")),
    "brown": Colour((122, 78, 48), ("brown", "chocolate", "chestnut")),
    "purple": Colour((118, 70, 152), ("purple", "violet", "plum")),
    "orange": Colour((234, 124, 42), ("orange", "tangerine")),
}
PATTERN_NAMES: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid", "solid colour"),
    "striped": ("striped", "stripes", "stripe"),
    "checked": ("checked", "plaid", "check"),
    "dotted": ("dotted", "polka dot", "spotted"),
    "floral": ("floral", "flower print", "flowers"),
    "zigzag": ("zigzag", "chevron"),
}
FASHION_BRANDS = (
    "Norvik", "Lumera", "Castello", "Zephyr & Co", "Tidemark", "Kestrel", "Brava", "Solstice", "Orla Finch",
)  # fmt: skip
HOME_BRANDS = ("Hearthly", "Pinewood", "Maplight", "Juniper Lane", "Tidemark", "Nordlys")
_FILLER = (
    "high quality", "new arrival 2026", "free shipping", "best seller", "gift idea", "premium", "hot sale",
    "limited edition", "top rated", "official store", "ready to ship", "special offer",
)  # fmt: skip
_QUERY_FILLER = ("buy", "cheap", "nice", "best", "sale", "online")


def brands_of(kind: str) -> tuple[str, ...]:
    """The brands that sell a kind."""
    return HOME_BRANDS if KINDS[kind].category[0] == "Home" else FASHION_BRANDS


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
    filler = rng.sample(_FILLER, rng.choices([0, 1, 2], weights=[4, 4, 2])[0])
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
        words.insert(0, rng.choice(_QUERY_FILLER))
    text = " ".join(word for word in words if word).lower()
    return typing_mistake(text, rng) if careless and rng.random() < 0.1 else text
