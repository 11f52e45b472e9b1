"""The shape of each kind of product: one function a kind, with its variants (sleeve length, heel, brim …).

Points are in a square of 100 × 100 units; see `moon2.catalog.generated_shop.drawing.Pen`.
"""

from __future__ import annotations

from collections.abc import Callable

from moon2.catalog.generated_shop.drawing import (
    DARK,
    GOLD,
    STEEL,
    WHITE,
    WOOD,
    Pen,
    Point,
    ellipse,
    lightness,
    mirrored,
    mix,
    rectangle,
)


def _both(pen: Pen, points: list[Point], rounding: int = 1, shade: float = 1.0) -> None:
    pen.cloth(points, rounding, shade)
    pen.cloth(mirrored(points), rounding, shade)


def shirt(pen: Pen, variant: str) -> None:
    if variant == "short sleeve":
        _both(pen, [(36, 17), (27, 21), (11, 42), (24, 51), (34, 38)], shade=0.9)
    else:
        _both(pen, [(36, 17), (26, 21), (16, 46), (9, 82), (20, 85), (27, 58), (34, 40)], shade=0.9)
        for side in (lambda p: p, mirrored):
            pen.solid(side([(9.5, 79), (8.5, 85), (19.5, 88), (21, 82)]), mix(pen.colour, (255, 255, 255), 0.3), 0)
    pen.cloth([(38, 15), (62, 15), (72, 21), (71, 50), (73, 91), (27, 91), (29, 50), (28, 21)])
    pen.line([(50, 24), (50, 90)], width=1.4)
    pen.cloth([(36, 13), (43, 11), (50, 22), (44, 32), (34, 21)], 0, shade=0.82)
    pen.cloth(mirrored([(36, 13), (43, 11), (50, 22), (44, 32), (34, 21)]), 0, shade=0.82)
    button = WHITE if lightness(pen.colour) < 190 else DARK
    for y in (36, 48, 60, 72, 84):
        pen.solid(ellipse(50, y, 1.8, 1.8), button, 0)
    pen.cloth([(57, 38), (67, 38), (67, 48), (62, 51), (57, 48)], 0, shade=0.93)


def t_shirt(pen: Pen, variant: str) -> None:
    _both(pen, [(34, 17), (24, 20), (4, 38), (15, 54), (32, 42)], 1, shade=0.9)
    pen.cloth([(36, 15), (64, 15), (77, 21), (74, 52), (75, 88), (25, 88), (26, 52), (23, 21)])
    if variant == "v-neck":
        neck = [(38, 14), (62, 14), (50, 35)]
        pen.solid(neck, mix(pen.colour, (0, 0, 0), 0.5), 0)
        pen.line([(38, 14), (50, 35), (62, 14)], mix(pen.colour, (255, 255, 255), 0.35), 2.2)
    else:
        pen.solid(ellipse(50, 15, 13, 9), mix(pen.colour, (0, 0, 0), 0.5), 0)
        pen.line(ellipse(50, 15, 13, 9, 0, 180), mix(pen.colour, (255, 255, 255), 0.35), 2.4)
    if variant == "logo":
        print_colour = WHITE if lightness(pen.colour) < 150 else DARK
        pen.solid([(50, 36), (60, 56), (40, 56)], print_colour, 0)
        pen.line([(40, 62), (60, 62)], print_colour, 2.5)


def dress(pen: Pen, variant: str) -> None:
    hem = 95 if variant == "maxi" else 82
    spread = 26 if variant == "maxi" else 32
    if variant == "long sleeve":
        _both(pen, [(40, 16), (32, 18), (20, 52), (27, 56), (38, 36)], 1, shade=0.9)
    elif variant != "strappy":
        _both(pen, [(40, 14), (33, 15), (25, 28), (32, 34), (39, 28)], 1, shade=0.9)
    else:
        for x in (41, 59):
            pen.line([(x, 6), (x, 20)], mix(pen.colour, (0, 0, 0), 0.25), 2)
    top = 18 if variant == "strappy" else 13
    pen.cloth(
        [(39, top), (45, top + 2), (50, top + 7), (55, top + 2), (61, top), (63, 28), (58, 44), (42, 44), (37, 28)]
    )
    pen.cloth([(42, 44), (58, 44), (50 + spread, hem - 3), (50, hem + 2), (50 - spread, hem - 3)], 1)
    pen.solid(rectangle(41, 42, 59, 46.5), mix(pen.colour, (0, 0, 0), 0.4), 0)
    for fold in (-0.5, -0.15, 0.15, 0.5):
        pen.line([(50 + 10 * fold, 50), (50 + 1.7 * spread * fold, hem - 3)], width=0.9)


def trousers(pen: Pen, variant: str) -> None:
    bottom = 78 if variant == "cropped" else 94
    inner, outer = (40, 16) if variant == "wide leg" else (44, 27)
    leg = [(33, 14), (50, 14), (50, 34), (inner + 4, 60), (inner, bottom), (outer, bottom), (28, 50)]
    pen.cloth(mirrored(leg), 0, shade=0.88)
    pen.cloth(leg, 0)
    pen.cloth([(32, 8), (68, 8), (68, 15), (32, 15)], 0, shade=0.8)
    pen.line([(50, 14), (50, 34)], width=1.3)
    pen.line([(34, 17), (32, 26)], width=1.3)
    pen.line([(66, 17), (68, 26)], width=1.3)
    pen.solid(ellipse(50, 11.5, 2, 2), GOLD, 0)
    for x in (38, 62):
        pen.line([(x, 7), (x, 16)], width=2)


def skirt(pen: Pen, variant: str) -> None:
    if variant == "pencil":
        outline = [(36, 20), (64, 20), (70, 40), (66, 88), (34, 88), (30, 40)]
    elif variant == "pleated":
        outline = [(35, 24), (65, 24), (88, 76), (50, 81), (12, 76)]
    else:
        outline = [(36, 28), (64, 28), (80, 72), (50, 76), (20, 72)]
    top = outline[0][1]
    pen.cloth(outline, 0)
    if variant == "pleated":
        for index in range(1, 8):
            share = index / 8
            pen.line([(35 + 30 * share, 24), (12 + 76 * share, 76 + (4 if 2 < index < 6 else 2))], width=1.5)
    elif variant == "pencil":
        pen.line([(50, 70), (50, 88)], width=1.6)
    else:
        pen.line([(42, 34), (34, 72)], width=1)
        pen.line([(58, 34), (66, 72)], width=1)
    pen.cloth([(outline[0][0] - 1, top - 6), (outline[1][0] + 1, top - 6), (65, top + 1), (35, top + 1)], 0, shade=0.75)


def sneaker(pen: Pen, variant: str) -> None:
    high = 22 if variant == "high-top" else 38
    pen.cloth([(12, high), (34, high), (46, 44), (66, 55), (88, 60), (93, 72), (90, 78), (11, 78), (10, 55)], 2)
    pen.solid([(70, 57), (86, 59), (94, 70), (92, 78), (72, 78)], WHITE if lightness(pen.colour) < 200 else STEEL, 1)
    pen.solid([(8, 75), (94, 75), (95, 84), (88, 87), (12, 87), (7, 84)], WHITE, 1)
    pen.line([(8, 82), (94, 82)], mix(pen.colour, DARK, 0.3), 1.6)
    for x, y in ((40, 45), (47, 49), (54, 53), (61, 57)):
        pen.line([(x - 4, y + 6), (x + 3, y - 2)], WHITE if lightness(pen.colour) < 170 else DARK, 2.2)
    pen.line([(20, 74), (34, 60), (48, 70), (58, 62)], mix(pen.colour, (255, 255, 255), 0.6), 3.4)
    pen.solid(ellipse(23, high + 1, 11, 4), mix(pen.colour, (0, 0, 0), 0.55), 0)


def heels(pen: Pen, variant: str) -> None:
    if variant == "block heel":
        pen.solid([(10, 48), (24, 58), (23, 86), (9, 86)], mix(pen.colour, (0, 0, 0), 0.35), 0)
    else:
        pen.solid([(11, 46), (21, 58), (15, 87), (11, 87)], mix(pen.colour, (0, 0, 0), 0.35), 0)
    pen.cloth(
        [(9, 30), (17, 34), (26, 54), (46, 68), (60, 62), (76, 70), (93, 82), (90, 87), (58, 86), (30, 68), (10, 52)], 1
    )
    pen.solid([(24, 49), (46, 65), (59, 61), (48, 72), (28, 60)], mix((206, 176, 146), pen.colour, 0.2), 1)
    pen.solid([(52, 85), (93, 84), (91, 88.5), (56, 88.5)], DARK, 0)
    if variant == "ankle strap":
        pen.line([(12, 34), (12, 16), (30, 18), (27, 52)], mix(pen.colour, (0, 0, 0), 0.2), 2.6, 1)


def boot(pen: Pen, variant: str) -> None:
    top = 34 if variant == "ankle" else 8
    pen.cloth([(24, top), (52, top), (53, 56), (68, 64), (88, 70), (90, 82), (24, 82), (22, 60)], 1)
    pen.solid([(22, 81), (91, 81), (91, 88), (46, 88), (44, 85), (40, 85), (40, 94), (23, 94)], DARK, 0)
    pen.cloth([(23, top - 2), (53, top - 2), (53, top + 6), (23, top + 6)], 0, shade=0.75)
    if variant == "lace-up":
        for y in range(top + 12, 60, 8):
            pen.line([(40, y), (53, y + 4)], WHITE if lightness(pen.colour) < 170 else DARK, 2)
    elif variant == "ankle":
        pen.solid([(34, top + 4), (42, top + 4), (42, 58), (34, 58)], DARK, 1)
    else:
        pen.line([(38, top + 8), (38, 74)], width=1.4)
        pen.line([(24, 66), (54, 60)], mix(pen.colour, (0, 0, 0), 0.4), 3)
        pen.solid(ellipse(46, 62, 3, 3), GOLD, 0)


def handbag(pen: Pen, variant: str) -> None:
    strap = mix(pen.colour, (0, 0, 0), 0.35)
    if variant == "tote":
        pen.line([(32, 44), (34, 12), (66, 12), (68, 44)], strap, 3.4, 2)
        pen.cloth([(16, 36), (84, 36), (78, 90), (22, 90)], 0)
        pen.line([(17, 42), (83, 42)], width=1.6)
    elif variant == "clutch":
        pen.cloth(rectangle(10, 36, 90, 76), 1)
        pen.cloth([(10, 36), (90, 36), (50, 62)], 0, shade=0.84)
        pen.solid(ellipse(50, 60, 3.4, 3.4), GOLD, 0)
    else:
        pen.line([(22, 46), (26, 8), (74, 8), (78, 46)], strap, 2.6, 3)
        pen.cloth([(20, 40), (80, 40), (90, 84), (50, 90), (10, 84)], 1)
        pen.cloth([(20, 40), (80, 40), (80, 58), (50, 68), (20, 58)], 1, shade=0.84)
        pen.solid(rectangle(45, 61, 55, 70), GOLD, 0)


def backpack(pen: Pen, variant: str) -> None:
    strap = mix(pen.colour, (0, 0, 0), 0.4)
    pen.line([(40, 16), (42, 5), (58, 5), (60, 16)], strap, 3.2, 1)
    for side in (lambda p: p, mirrored):
        pen.line(side([(26, 28), (14, 46), (18, 82)]), strap, 5, 1)
    top = 22 if variant == "roll-top" else 12
    pen.cloth([(24, top), (76, top), (80, 50), (80, 92), (20, 92), (20, 50)], 2 if variant != "roll-top" else 1)
    pen.cloth([(28, 56), (72, 56), (74, 86), (26, 86)], 1, shade=0.82)
    pen.line([(30, 62), (70, 62)], STEEL, 1.6)
    if variant == "roll-top":
        pen.cloth(rectangle(20, 12, 80, 26), 1, shade=0.7)
        for x in (34, 66):
            pen.line([(x, 14), (x, 50)], strap, 3)
            pen.solid(rectangle(x - 3, 38, x + 3, 44), STEEL, 0)
    else:
        pen.line([(24, 44), (30, 26), (70, 26), (76, 44)], STEEL, 1.8, 2)
        pen.solid(rectangle(43, 36, 57, 46), mix(pen.colour, (255, 255, 255), 0.5), 0)


def watch(pen: Pen, variant: str) -> None:
    pen.cloth([(40, 4), (60, 4), (63, 34), (37, 34)], 0)
    pen.cloth([(37, 66), (63, 66), (60, 96), (40, 96)], 0)
    for y in (76, 82, 88):
        pen.solid(ellipse(50, y, 1.3, 1.6), DARK, 0)
    pen.solid(rectangle(74, 47, 80, 53), STEEL, 0)
    metal = GOLD if variant == "gold case" else STEEL
    square = variant == "square"
    pen.solid(rectangle(26, 27, 74, 73) if square else ellipse(50, 50, 26, 26), metal, 1 if square else 0)
    pen.solid(rectangle(31, 32, 69, 68) if square else ellipse(50, 50, 20.5, 20.5), (250, 249, 244), 1 if square else 0)
    for x, y in ((50, 34), (50, 66), (34, 50), (66, 50)):
        pen.solid(ellipse(x, y, 1.6, 1.6), DARK, 0)
    pen.line([(50, 50), (50, 38)], DARK, 2.2)
    pen.line([(50, 50), (60, 55)], DARK, 2.2)


def hat(pen: Pen, variant: str) -> None:
    if variant == "baseball cap":
        pen.cloth([(46, 60), (74, 58), (97, 68), (92, 75), (66, 70)], 2, shade=0.72)
        pen.cloth([*ellipse(44, 62, 34, 36, 180, 360), (78, 66), (10, 66)], 0)
        pen.line(ellipse(44, 62, 12, 36, 180, 360))
        pen.solid(ellipse(44, 26, 3.5, 2.5), mix(pen.colour, (0, 0, 0), 0.4), 0)
    elif variant == "beanie":
        pen.cloth([*ellipse(50, 62, 30, 44, 180, 360), (80, 66), (20, 66)], 0)
        pen.cloth(rectangle(17, 60, 83, 80), 1, shade=0.78)
        for x in range(24, 82, 7):
            pen.line([(x, 62), (x, 78)], width=1.1)
        pen.solid(ellipse(50, 17, 9, 9), mix(pen.colour, (255, 255, 255), 0.55), 0)
    else:
        pen.cloth(ellipse(50, 68, 46, 15), 0, shade=0.9)
        pen.cloth([*ellipse(50, 52, 25, 30, 180, 360), (76, 66), (50, 72), (24, 66)], 0)
        pen.line([(25, 62), (50, 68), (75, 62)], mix(pen.colour, (0, 0, 0), 0.6), 5.5, 2)


def mug(pen: Pen, variant: str) -> None:
    top, bottom = (16, 90) if variant == "tall" else (30, 86)
    pen.line(ellipse(72, (top + bottom) / 2, 17, 19, -95, 95), mix(pen.colour, (0, 0, 0), 0.15), 6)
    narrow = 7 if variant == "tapered" else 0
    side = [
        (18, top),
        (18 + narrow, bottom - 4),
        (30, bottom + 2),
        (60, bottom + 2),
        (72 - narrow, bottom - 4),
        (72, top),
    ]
    pen.cloth(side, 0)
    pen.solid(ellipse(45, top, 27, 8), mix(pen.colour, (255, 255, 255), 0.4), 0)
    pen.solid(ellipse(45, top + 1.5, 22, 5.5), (84, 54, 36), 0)


def lamp(pen: Pen, variant: str) -> None:
    if variant == "desk":
        pen.line([(36, 88), (26, 52), (58, 24)], STEEL, 3.6)
        pen.solid(ellipse(26, 52, 3.5, 3.5), DARK, 0)
        pen.solid(ellipse(80, 60, 10, 8), (255, 240, 180), 0)
        pen.cloth([(50, 20), (64, 14), (94, 52), (62, 66)], 1)
        pen.solid([(16, 88), (56, 88), (60, 94), (12, 94)], DARK, 0)
        return
    floor = variant == "floor"
    shade_bottom, half = (40, 24) if floor else (54, 34)
    pen.line([(50, shade_bottom - 4), (50, 92)], WOOD if not floor else STEEL, 3 if floor else 5)
    if not floor:
        pen.solid([(44, 58), (56, 58), (64, 78), (58, 90), (42, 90), (36, 78)], mix(pen.colour, WOOD, 0.75), 2)
    pen.solid(ellipse(50, 93, 19, 3.5), DARK, 0)
    pen.solid(ellipse(50, shade_bottom, half, 5), (255, 240, 190), 0)
    pen.cloth([(50 - half * 0.55, 8), (50 + half * 0.55, 8), (50 + half, shade_bottom), (50 - half, shade_bottom)], 0)


def chair(pen: Pen, variant: str) -> None:
    legs = STEEL if variant == "stool" else WOOD
    for path in ([(30, 60), (24, 96)], [(70, 60), (76, 96)], [(38, 58), (37, 88)], [(62, 58), (63, 88)]):
        pen.line(path, legs, 3.6)
    if variant == "stool":
        pen.line([(27, 80), (73, 80)], legs, 2.6)
        pen.cloth(ellipse(50, 54, 30, 9), 0, shade=0.75)
        pen.cloth(ellipse(50, 49, 30, 9), 0)
        return
    if variant == "armchair":
        pen.cloth([(24, 14), (76, 14), (80, 62), (20, 62)], 2)
        pen.cloth(rectangle(22, 54, 78, 74), 1, shade=0.88)
        _both(pen, [(10, 42), (22, 40), (24, 78), (11, 78)], 1, shade=0.8)
        return
    for x in (31, 69):
        pen.line([(x, 10), (x, 60)], legs, 3.4)
    pen.cloth(rectangle(29, 10, 71, 44), 1)
    pen.cloth([(30, 54), (70, 54), (78, 66), (22, 66)], 0, shade=0.86)


def bottle(pen: Pen, variant: str) -> None:
    if variant == "sports":
        pen.solid([(42, 6), (58, 6), (58, 16), (42, 16)], DARK, 1)
        pen.solid(rectangle(34, 14, 66, 26), DARK, 0)
        pen.cloth(
            [(34, 26), (66, 26), (68, 46), (63, 54), (68, 62), (68, 94), (32, 94), (32, 62), (37, 54), (32, 46)], 0
        )
    elif variant == "flask":
        pen.line(ellipse(68, 54, 13, 18, -90, 90), STEEL, 3.4)
        pen.solid(rectangle(36, 6, 64, 26), STEEL, 1)
        pen.cloth(rectangle(32, 22, 68, 94), 0)
        pen.solid(rectangle(32, 86, 68, 94), STEEL, 0)
    else:
        pen.solid(rectangle(43, 4, 57, 14), STEEL, 0)
        pen.cloth([(44, 13), (56, 13), (57, 30), (69, 42), (69, 94), (31, 94), (31, 42), (43, 30)], 1)
    pen.line([(38, 48), (38, 84)], mix(pen.colour, (255, 255, 255), 0.6), 2.4)


def sunglasses(pen: Pen, variant: str) -> None:
    lens = (62, 58, 66) if lightness(pen.colour) > 60 else (126, 96, 70)
    for side in (lambda p: p, mirrored):
        pen.line(side([(9, 44), (3, 36), (14, 24)]), mix(pen.colour, (0, 0, 0), 0.15), 4.4)
        if variant == "round":
            frame, glass = ellipse(28, 52, 20, 20), ellipse(28, 52, 14.5, 14.5)
        elif variant == "cat-eye":
            frame = [(3, 32), (20, 37), (46, 40), (46, 54), (38, 66), (22, 68), (11, 58)]
            glass = [(13, 42), (42, 45), (40, 55), (34, 62), (23, 63), (16, 56)]
        else:
            frame, glass = rectangle(6, 36, 47, 70), rectangle(12, 42, 42, 64)
        pen.cloth(side(frame), 0 if variant == "round" else 1)
        pen.solid(side(glass), lens, 0 if variant == "round" else 1)
        pen.line(side([(20, 58), (29, 46)]), mix(lens, (255, 255, 255), 0.5), 2.6)
    pen.line([(44, 46), (50, 43), (56, 46)], mix(pen.colour, (0, 0, 0), 0.15), 4.4)


def umbrella(pen: Pen, variant: str) -> None:
    if variant == "folding":
        pen.line([(50, 70), (50, 88)], DARK, 5)
        pen.solid(rectangle(45, 80, 55, 96), DARK, 1)
        pen.cloth([(50, 4), (56, 12), (62, 66), (56, 78), (44, 78), (38, 66), (44, 12)], 1)
        pen.line([(50, 12), (46, 74)])
        pen.line([(39, 52), (61, 48)], mix(pen.colour, (0, 0, 0), 0.5), 3)
        return
    pen.line([(50, 14), (50, 84), (54, 93), (62, 91), (63, 84)], WOOD, 3.4)
    pen.line([(50, 4), (50, 16)], DARK, 2)
    scallops = [(94, 56), (80, 51), (65, 56), (50, 51), (35, 56), (20, 51), (6, 56)]
    pen.cloth([*ellipse(50, 56, 44, 46, 180, 360), *scallops], 0)
    for foot in (35, 65):
        pen.line([(50, 10), ((foot + 50) / 2 - (50 - foot) * 0.28, 28), (foot, 56)], width=1.5, rounding=1)


_FUNCTIONS = (
    *(shirt, t_shirt, dress, trousers, skirt, sneaker, heels, boot, handbag, backpack),
    *(watch, hat, mug, lamp, chair, bottle, sunglasses, umbrella),
)
DRAWINGS: dict[str, Callable[[Pen, str], None]] = {
    function.__name__.replace("_", "-"): function for function in _FUNCTIONS
}
"""Kind → function that draws it with a pen, given the variant."""
