"""Photos of which a careless tool cuts the wrong thing: several objects, text, posters, goods that fill the frame.

Products are drawn as the generated shop draws them, and then stand among others. `benchmarks/merchandiser.py` looks at
what `moon2 augment` makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from moon2.catalog.generated_shop.backgrounds import room
from moon2.catalog.generated_shop.drawing import Pen, encoded, mix, pattern_cloth
from moon2.catalog.generated_shop.shapes import DRAWINGS
from moon2.catalog.generated_shop.words import COLOURS, KINDS
from moon2.records import Product

SIDE = 400
WORDS = ("-50 %", "NEW", "SALE", "HOT DEAL", "100 % cotton", "www.shop.example", "FREE SHIPPING")
LARGE = ["poster", "wall_art", "rug", "wallpaper", "bed_sheet"]


def difficult_products(number: int, seed: int) -> Iterator[Product]:
    """Products of each kind of photo in turn.

    Args:
        number: how many.
        seed: of every draw.
    """
    rng = Random(seed)
    for index in range(number):
        name, photo = list(PHOTOS.items())[index % len(PHOTOS)]
        kind, colour = rng.choice(sorted(KINDS)), rng.choice(sorted(COLOURS))
        image = photo(kind, colour, rng)
        facts = KINDS[kind]
        title, category = f"{rng.choice(COLOURS[colour].names)} {facts.names[0]}, BUY NOW", facts.category
        attributes = {"colour": colour, "material": rng.choice(facts.materials), "gender": rng.choice(facts.genders)}
        if name in ("poster", "rug"):
            category = ("Home", "Decoration", "Posters" if name == "poster" else "Rugs")
            title = f"{colour} {'art poster' if name == 'poster' else 'woven rug'} - free shipping"
            attributes = {"colour": colour, "size": "50 x 70 cm"}
        yield Product(f"{name}-{index}", title, "", category, attributes, images=(encoded(image),))


def drawn(kind: str, colour: str, rng: Random) -> Image.Image:
    """A product on a transparent layer."""
    facts = KINDS[kind]
    dye = COLOURS[colour].rgb
    pen = Pen(pattern_cloth(rng.choice(["plain", *facts.patterns]), dye, rng), dye)
    DRAWINGS[kind](pen, rng.choice(facts.variants))
    return pen.layer


def any_other(rng: Random) -> Image.Image:
    """Any product but the one that is sold."""
    return drawn(rng.choice(sorted(KINDS)), rng.choice(sorted(COLOURS)), rng)


def paste(scene: Image.Image, layer: Image.Image, x: float, y: float, size: float) -> None:
    """Sets a layer into a scene: its middle and its size as shares of the scene's side, with a soft shadow."""
    side = round(size * SIDE)
    small = layer.resize((side, side), Image.Resampling.LANCZOS)
    corner = round(x * SIDE - side / 2), round(y * SIDE - side / 2)
    shadow = small.getchannel("A").point(lambda value: value * 0.3).filter(ImageFilter.GaussianBlur(6))
    scene.paste((40, 36, 40), (corner[0] + 4, corner[1] + 6), shadow)
    scene.paste(small, corner, small)


def white(rng: Random) -> Image.Image:
    """A plain backdrop."""
    return Image.new("RGB", (SIDE, SIDE), rng.choice([(255, 255, 255), (255, 255, 255), (238, 238, 240)]))


def two_products(kind: str, colour: str, rng: Random) -> Image.Image:
    """The product beside another one, on a plain backdrop."""
    scene = white(rng)
    paste(scene, drawn(kind, colour, rng), 0.28, 0.5, 0.5)
    paste(scene, any_other(rng), 0.73, 0.5, rng.uniform(0.35, 0.55))
    return scene


def among_others(kind: str, colour: str, rng: Random) -> Image.Image:
    """The product in a room, others around it."""
    scene = room(rng).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    for x, y in rng.sample([(0.16, 0.2), (0.84, 0.2), (0.15, 0.8), (0.85, 0.8)], 3):
        paste(scene, any_other(rng), x, y, rng.uniform(0.22, 0.36))
    paste(scene, drawn(kind, colour, rng), 0.5, 0.52, rng.uniform(0.5, 0.65))
    return scene


def on_a_shelf(kind: str, colour: str, rng: Random) -> Image.Image:
    """Rows of products; the middle one is sold."""
    scene = Image.new("RGB", (SIDE, SIDE), (226, 220, 210))
    pen = ImageDraw.Draw(scene)
    for bottom in (0.34, 0.68, 0.99):
        pen.rectangle((0, bottom * SIDE - 8, SIDE, bottom * SIDE), fill=(150, 112, 76))
        for x in (0.18, 0.5, 0.82):
            middle = x == 0.5 and bottom == 0.68
            paste(scene, drawn(kind, colour, rng) if middle else any_other(rng), x, bottom - 0.17, 0.29)
    return scene


def with_text(kind: str, colour: str, rng: Random) -> Image.Image:
    """The product on a plain backdrop with words and a badge over it."""
    scene = white(rng)
    paste(scene, drawn(kind, colour, rng), 0.5, 0.5, 0.72)
    pen = ImageDraw.Draw(scene)
    pen.text((14, 8), rng.choice(WORDS), fill=(200, 30, 40), font=ImageFont.load_default(34))
    pen.rectangle((0, SIDE - 44, SIDE, SIDE), fill=rng.choice([(30, 60, 120), (200, 30, 40), (20, 20, 20)]))
    pen.text((20, SIDE - 38), rng.choice(WORDS), fill="white", font=ImageFont.load_default(28))
    pen.ellipse((SIDE - 96, 12, SIDE - 14, 94), fill=(250, 200, 40))
    return scene


def poster(kind: str, colour: str, rng: Random) -> Image.Image:
    """A print that fills the frame, or stands on white paper: a figure on its own ground with a line of text."""
    ground = rng.choice([(250, 248, 242), (255, 255, 255), mix(COLOURS[colour].rgb, (255, 255, 255), 0.7)])
    scene = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(scene)
    for _ in range(rng.randint(1, 4)):
        x, y, radius = rng.uniform(0.3, 0.7) * SIDE, rng.uniform(0.25, 0.6) * SIDE, rng.uniform(0.08, 0.25) * SIDE
        pen.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=mix(COLOURS[colour].rgb, (0, 0, 0), rng.random() / 2)
        )
    pen.text((SIDE * 0.2, SIDE * 0.86), "THE QUIET SUN", fill=(40, 40, 44), font=ImageFont.load_default(30))
    return scene


def rug(kind: str, colour: str, rng: Random) -> Image.Image:
    """A pattern that fills the frame."""
    pattern = rng.choice(["striped", "checked", "floral", "zigzag"])
    return pattern_cloth(pattern, COLOURS[colour].rgb, rng).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def close_up(kind: str, colour: str, rng: Random) -> Image.Image:
    """The product so near that it leaves the frame on all sides."""
    scene = white(rng)
    paste(scene, drawn(kind, colour, rng), rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.6), rng.uniform(1.8, 2.4))
    return scene


def collage(kind: str, colour: str, rng: Random) -> Image.Image:
    """Four photos in one."""
    scene = Image.new("RGB", (SIDE, SIDE), "white")
    for x in (0.25, 0.75):
        for y in (0.25, 0.75):
            tile = white(rng) if rng.random() < 0.5 else room(rng).resize((SIDE, SIDE))
            paste(tile, drawn(kind, colour, rng), 0.5, 0.5, 0.8)
            corner = round((x - 0.24) * SIDE), round((y - 0.24) * SIDE)
            scene.paste(tile.resize((round(0.48 * SIDE),) * 2, Image.Resampling.LANCZOS), corner)
    return scene


def pair(kind: str, colour: str, rng: Random) -> Image.Image:
    """Two of the same, as a set is shown."""
    scene = white(rng)
    state = rng.getstate()
    for x in (0.27, 0.73):
        rng.setstate(state)
        paste(scene, drawn(kind, colour, rng), x, 0.5, 0.48)
    return scene


def alone(kind: str, colour: str, rng: Random) -> Image.Image:
    """The product alone, on a plain backdrop."""
    scene = white(rng)
    paste(scene, drawn(kind, colour, rng), rng.uniform(0.42, 0.58), rng.uniform(0.44, 0.56), rng.uniform(0.55, 0.85))
    return scene


PHOTOS: dict[str, Callable[[str, str, Random], Image.Image]] = {
    "two": two_products,
    "among": among_others,
    "shelf": on_a_shelf,
    "text": with_text,
    "poster": poster,
    "rug": rug,
    "close-up": close_up,
    "collage": collage,
    "pair": pair,
    "alone": alone,
}
"""How the photo is difficult, to what draws it."""
