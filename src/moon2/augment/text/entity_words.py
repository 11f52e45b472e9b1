"""The words by which entities are known: colours, materials, patterns, styles, genders, sizes, attribute keys.

A shop that is not about fashion loses nothing: what is not listed is not an entity, and attributes speak for
themselves. Phrases of up to three words stand with single spaces; a hyphen in a text counts as a space.
"""

from __future__ import annotations


def phrase_set(text: str) -> frozenset[str]:
    """The phrases of a text in which commas part them."""
    return frozenset(" ".join(phrase.split()) for phrase in text.split(",") if phrase.strip())


def word_set(text: str) -> frozenset[str]:
    """The words of a text in which spaces part them."""
    return frozenset(text.split())


def _table(text: str) -> dict[str, str]:
    """From each phrase of a line to the word before the line's colon, and from that word to itself."""
    table = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, phrases = line.partition(":")
        table.update(dict.fromkeys(phrase_set(phrases), name.strip()))
    return table


COLOURS = phrase_set("""
    amber, anthracite, apricot, aqua, aquamarine, beige, black, blue, blush, bronze, brown, burgundy, camel,
    champagne, charcoal, chocolate, cobalt, copper, coral, cream, crimson, cyan, ecru, emerald, fuchsia, gold,
    golden, gray, green, grey, gunmetal, indigo, ivory, jade, khaki, lavender, lemon, lilac, lime, magenta,
    maroon, mauve, mint, multicolor, multicolour, multicoloured, mustard, navy, nude, ochre, off white, olive,
    orange, peach, pink, plum, purple, red, rose, rose gold, ruby, rust, salmon, sapphire, scarlet, silver, tan,
    taupe, teal, terracotta, turquoise, vermilion, violet, white, wine, yellow, navy blue, royal blue, sky blue,
    light blue, dark blue, baby blue, midnight blue, ice blue, light grey, dark grey, grey melange, light green,
    dark green, lime green, olive green, sea green, bottle green, forest green, mint green, light pink, hot
    pink, dusty pink, light brown, dark brown, coffee brown, dark red, turquoise blue, jet black, transparent,
    黑色, 白色, 红色, 蓝色, 绿色, 黄色, 灰色, 粉色, 紫色, 棕色, 米色, 橙色, 藏青, 卡其色, 咖啡色, 银色, 金色
""")
MATERIALS = phrase_set("""
    acacia, acrylic, alloy, aluminium, aluminum, bamboo, brass, canvas, carbon fiber, carbon fibre, cardboard,
    cashmere, cast iron, ceramic, chambray, chenille, chiffon, concrete, copper, corduroy, cork, cotton, cotton
    blend, crepe, crystal, denim, down, elastane, enamel, eva, faux fur, faux leather, faux suede, felt, fleece,
    foam, georgette, glass, gold plated, granite, hemp, iron, jacquard, jersey, jute, knit, latex, leather,
    leatherette, linen, lycra, lyocell, mahogany, marble, melamine, memory foam, merino, merino wool, mesh,
    metal, microfiber, microfibre, modal, neoprene, nubuck, nylon, oak, oak wood, organic cotton, paper, patent
    leather, pine, pine wood, plastic, plywood, polycarbonate, polycotton, polyester, polyethylene,
    polypropylene, polyurethane, porcelain, pure cotton, pvc, rattan, rayon, resin, rubber, satin, sheepskin,
    sherpa, silicone, silk, solid wood, spandex, stainless steel, steel, sterling silver, stoneware, straw,
    suede, synthetic leather, teak, tencel, terracotta, terry, titanium, tulle, tweed, twill, velour, velvet,
    vinyl, viscose, walnut, wicker, wood, wooden, wool, zinc,
    纯棉, 棉, 真皮, 皮革, 不锈钢, 羊毛, 真丝, 亚麻, 牛仔布, 陶瓷, 玻璃, 实木,
    硅胶, 塑料, 雪纺, 羽绒
""")
PATTERNS = phrase_set("""
    abstract, animal print, argyle, basketweave, botanical, brocade, camo, camouflage, checked, checkered,
    checks, chequered, chevron, colorblock, colour block, colour blocked, colourblock, colourblocked, damask,
    embellished, embossed, embroidered, fair isle, floral, floral print, geometric, gingham, graphic, graphic
    print, herringbone, houndstooth, ikat, leopard, leopard print, marbled, mosaic, ombre, paisley, patchwork,
    pinstripe, pinstriped, pinstripes, plaid, polka dot, polka dots, printed, quilted, ribbed, self design,
    snakeskin, solid, speckled, stripe, striped, stripes, tartan, textured, tie dye, tie dyed, tribal, tropical,
    typography, unprinted, washed, woven design, zebra, 条纹, 格子, 印花, 碎花, 刺绣, 纯色, 波点, 迷彩
""")
STYLES = phrase_set("""
    a line, art deco, athleisure, baggy, bodycon, bohemian, boho, bootcut, business, casual, classic,
    contemporary, cropped, dressy, ethnic, evening, fitted, flared, formal, gothic, hooded, industrial, loose
    fit, maxi, mid century, midi, mini, minimalist, modern, oversized, party, preppy, regular fit, relaxed fit,
    retro, rustic, scandinavian, semi formal, semiformal, skater, skinny, skinny fit, slim, slim fit, smart
    casual, sports, sporty, straight fit, streetwear, tailored, traditional, travel, vintage, western, wide leg,
    workwear, 休闲, 复古, 商务, 运动, 宽松, 修身, 简约
""")
GENDER_OF = _table("""
    men: man, men, men's, mens, man's, male, gents, gentlemen, adults men, 男, 男士, 男款, 男装
    women: woman, women, women's, womens, woman's, female, ladies, lady, adults women, 女, 女士, 女款, 女装
    unisex: unisex, adults unisex, 男女通用, 中性
    boys: boy, boys, boys', boy's, kids boys, 男童
    girls: girl, girls, girls', girl's, kids girls, 女童
    kids: kid, kids, kids', children, children's, childrens, child, toddler, kids unisex, 儿童, 童装
    baby: baby, babies, infant, newborn, 婴儿
""")
"""Words for whom a product is meant, to one name each."""

LETTER_SIZES = word_set("XXS XS S M L XL XXL XXXL XXXXL 2XL 3XL 4XL 5XL 6XL")
WORD_SIZES = phrase_set("one size, free size, plus size, king size, queen size, twin size, full size, petite")
UNITS = _table("""
    mm: mm, millimeter, millimeters, millimetre, millimetres
    cm: cm, cms, centimeter, centimeters, centimetre, centimetres
    m: m, meter, meters, metre, metres
    km: km
    in: in, inch, inches, ", ''
    ft: ft, feet, foot
    ml: ml, milliliter, millilitre
    cl: cl
    l: l, litre, liter, litres, liters, ltr, ltrs
    mg: mg
    g: g, gm, gms, gram, grams
    kg: kg, kgs, kilogram, kilograms
    oz: oz, ounce, ounces
    lb: lb, lbs, pound, pounds
    gb: gb
    tb: tb
    mb: mb
    w: w, watt, watts
    kw: kw
    v: v, volt, volts
    mah: mah
    ah: ah
    wh: wh
    hz: hz
    khz: khz
    mhz: mhz
    ghz: ghz
    mp: mp
    px: px
    dpi: dpi
    rpm: rpm
    psi: psi
    bar: bar
    atm: atm
    lm: lm, lumens
    db: db
    k: k
    ct: ct, carat, carats
    tc: tc
    gsm: gsm
    denier: denier
    %: %, percent
    °c: °c
    °f: °f
    °: °, degrees
    h: h, hour, hours, hrs
    min: min, minutes
    day: day, days
    week: week, weeks
    month: month, months
    year: year, years, yrs
    pc: pc, pcs, piece, pieces, count
    pack: pack, packs
    €: €, eur
    $: $, usd
    £: £, gbp
    ¥: ¥
    ₹: ₹, rs, inr
""")
"""Units and currencies as written, to one spelling each."""
SIZE_UNITS = word_set("mm cm m in ft ml cl l g kg oz lb gb tb")
"""Units that make a number a product's size."""
SIZE_SYSTEMS = word_set("uk us eu eur fr it jp size ind")

KIND_OF_KEY = _table("""
    brand: brand, brand name, manufacturer, maker, make by, label, marke, marque, marca, 品牌
    type: type, product type, article type, item type, kind, garment type, produkttyp, 类型, 类别, 产品类型
    material: material, materials, fabric, fabric type, upper material, outer material, shell material, strap material
    material: frame material, dial material, case material, sole material, composition, material type, base metal
    material: saree fabric, top fabric, bottom fabric, 材质, 面料, 材料
    colour: colour, color, base colour, base color, main colour, main color, colour name, color name, colour family
    colour: color family, frame colour, strap colour, dial colour, farbe, couleur, 颜色
    pattern: pattern, print, print or pattern type, pattern type, print type, design, weave pattern, surface styling
    pattern: motif, 图案, 花型
    style: style, fit, occasion, usage, look, theme, fit type, silhouette, 风格, 款式, 版型
    gender: gender, sex, department, target gender, target group, audience, age group, 性别, 适用性别, 适用人群
    size: size, sizes, dimensions, volume, capacity, length, width, height, diameter, weight, item weight, screen size
    size: 尺寸, 尺码, 规格, 容量
""")
"""Attribute keys (lower case, underscores and hyphens as spaces) and the kind of entity their value is."""
EMPTY_VALUES = phrase_set("""
    -, na, n/a, none, no, yes, other, others, unknown, null, nan, all, general, regular, assorted, not applicable,
    standard, default, multi
""") | {""}
"""Attribute values that say nothing by themselves."""
