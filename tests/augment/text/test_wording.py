"""How titles are worded: no boilerplate, nothing twice, printed punctuation and capitals, in any language."""

from __future__ import annotations

import pytest

from moon2.augment.text.wording import advertising, as_printed, tidy, without_boilerplate, without_repeats


@pytest.mark.parametrize(
    ("title", "cleaned"),
    [
        ("FREE SHIPPING!! Puma shirt", "Puma shirt"),
        ("★ HOT SALE ★ Puma shirt - Key features: cotton", "Puma shirt - cotton"),
        ("Blue skirt (new arrival 2026) ready-to-ship", "Blue skirt"),
        ("NEW! Linen dress - buy now", "Linen dress"),
        ("Hemd blau, versandkostenfrei", "Hemd blau"),
        ("Robe rouge - LIVRAISON GRATUITE", "Robe rouge"),
        ("【包邮】女士手提包 正品，黑色", "女士手提包，黑色"),
        ("New Balance shoe with lace details", "New Balance shoe with lace details"),
    ],
)
def test_boilerplate_goes_in_every_language(title: str, cleaned: str) -> None:
    assert without_boilerplate(title) == cleaned


def test_a_brand_may_be_called_like_boilerplate() -> None:
    assert without_boilerplate("Must Have lipstick, must have", "Best & Must Have") == "Must Have lipstick, must have"


@pytest.mark.parametrize(
    ("title", "printed"),
    [
        ("shirt,blue ,cotton", "shirt, blue, cotton"),
        ("1,299 pieces,red", "1,299 pieces, red"),
        ("Shirt | Blue | M", "Shirt, Blue, M"),
        ("Shirt ( ) blue - ", "Shirt blue"),
        ("白色,350毫升", "白色，350毫升"),
        ("Handmade by", "Handmade"),
    ],
)
def test_punctuation_is_as_it_is_printed(title: str, printed: str) -> None:
    assert tidy(title) == printed


@pytest.mark.parametrize(
    ("title", "once"),
    [
        ("Puma T-shirt Puma blue T-shirts", "Puma T-shirt blue"),
        ("black case with black strap", "black case with black strap"),
        ("Chair, height 75 cm, width 90 cm", "Chair, height 75 cm, width 90 cm"),
    ],
)
def test_no_word_stands_twice_in_one_breath(title: str, once: str) -> None:
    assert without_repeats(title) == once


@pytest.mark.parametrize(
    ("title", "printed"),
    [
        ("PINEWOOD MUG SPOTTED SILVER GREY", "Pinewood Mug Spotted Silver Grey"),
        ("LED TV 55 INCH UE55 4K HDR", "LED TV 55 Inch UE55 4K HDR"),
        ("HERREN JACKE GRÜN", "Herren Jacke Grün"),
        ("linen dress", "Linen dress"),
        ("iPhone case", "iPhone case"),
    ],
)
def test_titles_neither_shout_nor_whisper(title: str, printed: str) -> None:
    assert as_printed(title) == printed


def test_words_of_advertising_may_mean_something_else() -> None:
    assert advertising(["sugar", "free", "gum"], set(), []) == set()
    assert advertising(["gum", "free", "today"], set(), []) == {1, 2}
    assert advertising(["my", "little", "pony"], set(), ["hasbro", "my", "little", "pony"]) == set()
    assert advertising(["my", "pony"], set(), ["hasbro", "my", "little", "pony"]) == {0}
