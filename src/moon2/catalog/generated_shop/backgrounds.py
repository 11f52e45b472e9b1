"""Backgrounds of product photos: a clean studio, or a room whose clutter competes with the product."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from moon2.catalog.generated_shop.drawing import RGB, SCENE_SIDE, mix


def studio(rng: Random) -> Image.Image:
    """White or pale paper in the light of a studio lamp; RGB, `SCENE_SIDE` pixels square."""
    top: RGB = rng.choice([(255, 255, 255), (255, 255, 255), (244, 244, 246), (240, 236, 230), (232, 238, 242)])
    return _gradient(top, mix(top, (196, 196, 200), rng.uniform(0.0, 0.35)))


def room(rng: Random) -> Image.Image:
    """A table, floor, wall, rug, meadow or shelf with things around; RGB, `SCENE_SIDE` pixels square."""
    scene = rng.choice([_table, _tiles, _wall_and_floor, _rug, _meadow, _shelf])(rng)
    draw = ImageDraw.Draw(scene, "RGBA")
    for _ in range(rng.randint(2, 5)):
        # Around the middle, which is the place of the product.
        angle, distance = rng.random() * math.tau, rng.uniform(0.36, 0.52) * SCENE_SIDE
        x, y = SCENE_SIDE / 2 + distance * math.cos(angle), SCENE_SIDE / 2 + distance * math.sin(angle)
        _thing(draw, x, y, rng.uniform(10, 24), rng)
    return scene.filter(ImageFilter.BoxBlur(1))


def _gradient(top: RGB, bottom: RGB) -> Image.Image:
    share = np.linspace(0, 1, SCENE_SIDE, dtype=np.float32)[:, None, None]
    rows = np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share
    return Image.fromarray(np.broadcast_to(rows, (SCENE_SIDE, SCENE_SIDE, 3)).astype(np.uint8))


def _any_colour(rng: Random) -> RGB:
    return rng.randint(40, 225), rng.randint(40, 225), rng.randint(40, 225)


def _table(rng: Random) -> Image.Image:
    wood: RGB = rng.choice([(168, 122, 80), (118, 82, 54), (206, 172, 130), (84, 66, 56)])
    scene = Image.new("RGB", (SCENE_SIDE, SCENE_SIDE), wood)
    draw = ImageDraw.Draw(scene)
    plank = rng.randint(26, 44)
    for top in range(0, SCENE_SIDE, plank):
        draw.rectangle((0, top, SCENE_SIDE, top + plank - 2), fill=mix(wood, (0, 0, 0), rng.uniform(0, 0.16)))
        for _ in range(4):
            y = top + rng.randint(3, plank - 3)
            draw.line((0, y, SCENE_SIDE, y + rng.randint(-3, 3)), fill=mix(wood, (40, 20, 0), 0.28))
    return scene


def _tiles(rng: Random) -> Image.Image:
    tile: RGB = rng.choice([(206, 204, 198), (176, 188, 196), (150, 150, 154), (214, 196, 176)])
    scene = Image.new("RGB", (SCENE_SIDE, SCENE_SIDE), mix(tile, (0, 0, 0), 0.3))
    draw = ImageDraw.Draw(scene)
    side = rng.randint(28, 48)
    for x in range(-rng.randint(0, side), SCENE_SIDE, side):
        for y in range(-rng.randint(0, side), SCENE_SIDE, side):
            shade = mix(tile, (60, 60, 60), 0.35 if (x // side + y // side) % 2 else rng.uniform(0, 0.08))
            draw.rectangle((x, y, x + side - 3, y + side - 3), fill=shade)
    return scene


def _wall_and_floor(rng: Random) -> Image.Image:
    wall = mix(_any_colour(rng), (235, 232, 226), 0.6)
    scene = _gradient(wall, mix(wall, (0, 0, 0), 0.12))
    draw = ImageDraw.Draw(scene)
    edge = rng.randint(92, 122)
    floor: RGB = rng.choice([(150, 112, 78), (128, 124, 122), (186, 164, 138)])
    draw.rectangle((0, edge, SCENE_SIDE, SCENE_SIDE), fill=floor)
    draw.rectangle((0, edge - 6, SCENE_SIDE, edge), fill=(238, 236, 232))
    left = rng.choice([4, 104])
    if rng.random() < 0.5:
        draw.rectangle((left, 6, left + 50, 58), fill=(250, 250, 248))
        draw.rectangle((left + 4, 10, left + 46, 54), fill=(176, 208, 232))
        draw.line((left + 25, 10, left + 25, 54), fill=(250, 250, 248), width=3)
    else:
        draw.rectangle((left, 8, left + 46, 48), fill=(90, 70, 56))
        draw.rectangle((left + 4, 12, left + 42, 44), fill=_any_colour(rng))
    return scene


def _rug(rng: Random) -> Image.Image:
    ground = mix(_any_colour(rng), (220, 214, 204), 0.5)
    scene = Image.new("RGB", (SCENE_SIDE, SCENE_SIDE), ground)
    draw = ImageDraw.Draw(scene)
    step = rng.randint(14, 24)
    for start in range(-SCENE_SIDE, SCENE_SIDE, step):
        band = (start, 0, start + SCENE_SIDE, SCENE_SIDE)
        draw.line(band, fill=mix(ground, (70, 60, 60), 0.25), width=step // 3)
    return scene


def _meadow(rng: Random) -> Image.Image:
    scene = _gradient((176, 208, 226), (98, 140, 74))
    draw = ImageDraw.Draw(scene, "RGBA")
    draw.rectangle((0, 96, SCENE_SIDE, SCENE_SIDE), fill=(104, 146, 76))
    for _ in range(26):
        # Leaves and lights out of focus.
        x, y, radius = rng.uniform(0, SCENE_SIDE), rng.uniform(0, 112), rng.uniform(5, 16)
        green = (rng.randint(60, 170), rng.randint(130, 190), rng.randint(60, 120), 120)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=green)
    return scene


def _shelf(rng: Random) -> Image.Image:
    wall = mix(_any_colour(rng), (228, 222, 214), 0.7)
    scene = _gradient(wall, mix(wall, (0, 0, 0), 0.1))
    draw = ImageDraw.Draw(scene)
    for y in (38, 136):
        x = rng.randint(0, 20)
        while x < SCENE_SIDE:
            # Books.
            width, height = rng.randint(5, 11), rng.randint(16, 30)
            if rng.random() < 0.75:
                draw.rectangle((x, y - height, x + width, y), fill=_any_colour(rng))
            x += width + 1
        draw.rectangle((0, y, SCENE_SIDE, y + 6), fill=(132, 98, 66))
    return scene


def _thing(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: Random) -> None:
    colour = _any_colour(rng)
    draw.ellipse((x - size, y + size * 0.2, x + size * 1.1, y + size * 1.05), fill=(0, 0, 0, 50))
    kind = rng.choice(["book", "plate", "plant", "box", "ball", "leaf"])
    if kind == "book":
        draw.rectangle((x - size, y - size * 0.6, x + size, y + size * 0.6), fill=colour)
        draw.rectangle((x - size, y + size * 0.4, x + size, y + size * 0.6), fill=(240, 236, 226))
    elif kind == "plate":
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(240, 240, 238))
        draw.ellipse((x - size * 0.6, y - size * 0.6, x + size * 0.6, y + size * 0.6), fill=colour)
    elif kind == "plant":
        for index in range(6):
            angle = math.pi + index * math.pi / 5
            tip_x, tip_y = x + size * math.cos(angle), y + size * math.sin(angle)
            draw.line((x, y, tip_x, tip_y), fill=(58, 122, 66), width=6)
        draw.polygon([(x - 9, y - 2), (x + 9, y - 2), (x + 6, y + size), (x - 6, y + size)], fill=(178, 96, 62))
    elif kind == "box":
        draw.rectangle((x - size * 0.8, y - size * 0.7, x + size * 0.8, y + size * 0.8), fill=(196, 158, 112))
        draw.rectangle((x - size * 0.15, y - size * 0.7, x + size * 0.15, y + size * 0.8), fill=(222, 204, 164))
    elif kind == "ball":
        draw.ellipse((x - size * 0.7, y - size * 0.7, x + size * 0.7, y + size * 0.7), fill=colour)
        draw.ellipse((x - size * 0.4, y - size * 0.45, x, y - size * 0.1), fill=mix(colour, (255, 255, 255), 0.5))
    else:
        draw.polygon([(x - size, y), (x, y - size * 0.45), (x + size, y), (x, y + size * 0.45)], fill=(110, 140, 70))
