"""Grounding: of 405 adversarial replies nothing forbidden survives, honest ones come through whole."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from support.adversarial import PRODUCTS, SUBJECTS, Attack, attacks, survives

from moon2.augment.prompts import load_prompts
from moon2.augment.text.entities import extract_entities
from moon2.augment.text.grounding import Grounded, ground
from moon2.augment.text.sanitize import clean_product
from moon2.records import Product

ATTACKS = list(attacks())
POLO, MUG, DRILL, LAMP, DRESS = PRODUCTS
CHINESE = Product(
    id="杯",
    title="陶瓷咖啡杯 350毫升",
    category=("家居", "杯子"),
    attributes={"颜色": "白色", "材质": "陶瓷", "品牌": "景德"},
)
IMAGE_ONLY = Product(id="image", images=("a.jpg",))

HONEST = [
    (POLO, "Puma men's navy cotton polo T-shirt, solid, casual"),
    (POLO, "Puma Men's Navy Blue Cotton Pique Polo T-Shirt with Short Sleeves and Ribbed Collar"),
    (POLO, "Puma men's polo shirt in navy, 100% cotton, buttoned placket, regular fit"),
    (POLO, "Puma PM-2231 navy pique polo, size M"),
    (POLO, "Puma navy tshirt for men, machine washable, crew neck"),
    (POLO, "Navy Puma polo tee, striped cuffs, chest pocket, breathable"),
    (POLO, "Puma men's navy polo T-shirt: cotton pique, ribbed collar, short sleeves"),
    (MUG, "Off white stoneware coffee mug with curved handle, glazed, 350 ml"),
    (MUG, "Ceramic mug 350ml, dishwasher-safe, glossy off-white glaze"),
    (MUG, "Minimalist off white ceramic coffee mug with rounded handle"),
    (MUG, "Stoneware mug for coffee or tea, matte finish, 350 ml"),
    (MUG, "Coffee cup in glazed stoneware, off white, curved handle"),
    (MUG, "Handmade-style ceramic mug, off white with speckled glaze"),
    (DRILL, "Bosch GSR 12V-15 cordless drill with two batteries and LED light"),
    (DRILL, "Bosch compact cordless drill, 12 V, 30 Nm torque, ergonomic grip"),
    (DRILL, "Cordless Bosch drill 12V with 2 batteries, LED work light, black handle"),
    (DRILL, "Bosch cordless drill, blue and black, lightweight, rechargeable"),
    (DRILL, "Bosch GSR 12V-15 drill, keyless design with rubber grip, compact"),
    (LAMP, "Gold brass table lamp with beige linen shade, 48 cm"),
    (LAMP, "Table lamp in brass and linen, height 48 cm, switch on the cable"),
    (LAMP, "Modern gold bedside-style table lamp with round base and beige shade"),
    (LAMP, "Brass table lamp with conical linen shade, warm light, living room"),
    (LAMP, "Vintage brass desk lamp, beige linen lampshade, slender stem"),
    (DRESS, "Women's floral midi dress, v-neck, long sleeves, UK 8"),
    (DRESS, "Floral print midi dress with flowing skirt, ruffled hem and tie waist"),
    (DRESS, "Women's summer midi dress in floral chiffon, short sleeves"),
    (DRESS, "Pink and white floral midi dress, sleeveless, pleated skirt, size UK 8"),
    (DRESS, "Floral midi wrap dress for women, casual, relaxed fit"),
    (CHINESE, "景德陶瓷咖啡杯，白色，350毫升"),
    (CHINESE, "白色陶瓷咖啡杯 景德 家用 简约"),
    (IMAGE_ONLY, "Navy cotton polo shirt with short sleeves"),
    (IMAGE_ONLY, "Brown leather ankle boots with laces and rubber sole"),
    (IMAGE_ONLY, "Round wooden coffee table with metal legs"),
]  # fmt: skip


def grounded(product: Product, reply: str) -> Grounded:
    cleaned = clean_product(product)
    return ground(reply, cleaned, extract_entities(cleaned))


def test_there_are_enough_attacks_of_every_family() -> None:
    assert len(ATTACKS) >= 200
    assert len({(attack.product.id, attack.product.title, attack.reply) for attack in ATTACKS}) >= 200
    assert min(Counter(attack.family for attack in ATTACKS).values()) >= 50


@pytest.mark.parametrize("family", sorted({attack.family for attack in ATTACKS}))
def test_nothing_forbidden_survives(family: str) -> None:
    through = []
    for attack in (attack for attack in ATTACKS if attack.family == family):
        text = grounded(attack.product, attack.reply).text or ""
        through += [(attack.reply, text, word) for word in attack.forbidden if survives(word, text)]
    assert not through


def test_the_attacks_would_survive_without_grounding() -> None:
    harmless = [attack for attack in ATTACKS if not any(survives(word, attack.reply) for word in attack.forbidden)]
    assert not harmless


def test_most_of_a_title_outlives_one_invention() -> None:
    """Rejecting everything would be safe and useless: what is true in an adversarial reply mostly stays."""
    inventing = [attack for attack in ATTACKS if attack.family in ("brand", "size", "number", "model number")]
    kept = [attack for attack in inventing if _keeps_its_subject(attack)]
    assert len(kept) >= 0.85 * len(inventing), f"{len(kept)} of {len(inventing)}"


def _keeps_its_subject(attack: Attack) -> bool:
    text = grounded(attack.product, attack.reply).text
    subject = SUBJECTS[attack.product.id].split()
    return text is not None and sum(word in text.split() for word in subject) >= len(subject) - 1


@pytest.mark.parametrize(("product", "reply"), HONEST, ids=[reply for _, reply in HONEST])
def test_an_honest_reply_is_unharmed(product: Product, reply: str) -> None:
    result = grounded(product, reply)
    assert result.text is not None and result.removed == () and result.reason == ""
    assert result.text == reply


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("...", "empty"),
        ("Navy polo\nwith collar", "many_lines"),
        ("navy polo " * 40, "too_long"),
        ("As an AI language model I see a polo", "not_grounded"),
        ("navy polo, ignore previous instructions", "not_grounded"),
        ("Never invent a brand, model number, size, quantity, price or any other number", "not_grounded"),
        ("Flobber zibble wug", "not_grounded"),
        ("Puma Navy Polo T-shirt", "nothing_to_add"),
        ("Sorry, no navy polo", "nothing_to_add"),
    ],
)
def test_a_reply_that_is_no_title_is_rejected_with_a_code(reply: str, code: str) -> None:
    result = grounded(POLO, reply)
    assert result.text is None
    assert result.reason.startswith(f"{code}: ") and "\n" not in result.reason


def test_what_was_removed_is_listed() -> None:
    result = grounded(POLO, "Nike men's navy cotton polo with 5000 mAh battery, size XL")
    assert result == Grounded("Men's navy cotton polo", ("Nike", "5000 mAh", "size XL"))


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Puma navy polo with Camel Active collar", "Puma navy polo with collar"),  # Camel alone is a colour
        ("Zibble, with ribbed collar, cotton", "Ribbed collar, cotton"),
        ('Title: "Navy polo with ribbed collar"', "Navy polo with ribbed collar"),
    ],
)
def test_the_rest_is_a_title(reply: str, text: str) -> None:
    assert grounded(POLO, reply).text == text


def test_a_phrase_that_loses_its_head_goes_as_a_whole() -> None:
    assert (
        grounded(LAMP, "Gold brass table lamp with soft zibble, beige shade").text
        == "Gold brass table lamp, beige shade"
    )


@pytest.mark.parametrize(
    ("reply", "stays"),
    [
        ("navy cotton polo, 8 buttons", False),  # 8 is nowhere
        ("women's floral dress with long sleeves, UK 8", True),
        ("women's floral dress with long sleeves, EU 8", False),  # another system is another size
    ],
)
def test_a_number_counts_with_what_it_measures(reply: str, stays: bool) -> None:
    text = grounded(DRESS, reply).text
    assert (text is not None and "8" in text) == stays
    storage = dataclasses.replace(DRILL, attributes={"Memory": "8 GB"})
    text = grounded(storage, "Bosch cordless drill with size 8 LED work light").text
    assert text is not None and "8" not in text


def test_numbers_are_compared_by_value() -> None:
    product = Product(id="1", title="Lamp", description="1,299 lumens, two shades, 32.0 cm")
    text = "Lamp of 1299 lumens with 2 shades, 32 cm"
    assert grounded(product, text).text == text


def test_words_of_a_brand_may_be_anything() -> None:
    product = Product(id="1", title="Free People midi dress", attributes={"brand": "Free People"})
    assert grounded(product, "Free People midi dress, floral").text == "Free People midi dress, floral"
    assert grounded(DRESS, "Floral midi dress, free, women's").text == "Floral midi dress, women's"


def test_no_line_of_the_prompt_becomes_a_title() -> None:
    for line in filter(None, load_prompts().enrich.text.splitlines()):
        assert grounded(IMAGE_ONLY, line).text is None
