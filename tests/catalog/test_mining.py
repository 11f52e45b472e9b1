"""Queries mined from a catalog without a log."""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path

import pytest

from moon2 import Product
from moon2.catalog.mining import MinedQuery, mine
from moon2.catalog.store import Catalog, write_catalog


@pytest.fixture
def shop(tmp_path: Path) -> Catalog:
    """Three styles of shirt and one of shoe, four products each; two near-duplicate lamps; one of a kind."""
    products = [
        Product(
            f"{colour}-{kind}-{i}",
            f"{colour} {kind} number {i} {' '.join(random.Random(f'{colour}{i}').choices('abcdefgh', k=4))}",
            category=("Apparel", kind),
            attributes={"Brand": "Puma", "base_colour": colour},
        )
        for kind, colours in (("Shirt", ("navy", "red", "green")), ("Shoe", ("black",)))
        for colour in colours
        for i in range(4)
    ]
    products += [
        Product("lamp-1", "Brass reading lamp with green glass shade", category=("Home", "Lamps")),
        Product("lamp-2", "Brass reading lamp, with green glass shade!", category=("Home", "Lamps")),
        Product("lamp-3", "Paper lantern", category=("Home", "Lamps")),
        # Nothing is asked of it: it has no title, and its attribute is a code.
        Product("untitled", images=(b"photo",), attributes={"gtin": "4012345678901"}),
    ]
    return write_catalog(tmp_path / "shop", {"train": products}, title="A shop")


def test_mined_positives_are_of_the_same_style_and_negatives_of_the_same_category(shop: Catalog) -> None:
    triplets = {triplet.query.product_id or "": triplet for triplet in like_themselves(shop)}
    assert len(triplets) == 4 * 4 + 2
    for id, triplet in triplets.items():
        query, positive = shop.product(id), shop.product(triplet.positive_id)
        assert triplet.query.text == query.title
        assert triplet.positive_id != id
        assert {id, triplet.positive_id} <= triplet.known_positive_ids
        assert not triplet.known_positive_ids & set(triplet.negative_ids)
        assert triplet.negative_ids
        if query.category[-1] == "Shirt":
            assert positive.attributes == query.attributes
            assert len(triplet.negative_ids) == 4
            for negative in map(shop.product, triplet.negative_ids):
                assert negative.category == query.category
                assert negative.attributes != query.attributes


def test_near_duplicate_titles_are_positives_without_any_attribute(shop: Catalog) -> None:
    lamps = {t.query.product_id: t for t in like_themselves(shop) if "lamp" in (t.query.product_id or "")}
    assert lamps["lamp-1"].positive_id == "lamp-2"
    assert lamps["lamp-2"].positive_id == "lamp-1"
    assert lamps["lamp-1"].negative_ids == ("lamp-3",)


def test_a_category_of_one_style_takes_negatives_from_the_branch_above(shop: Catalog) -> None:
    shoe = next(t for t in like_themselves(shop) if t.query.product_id == "black-Shoe-0")
    assert all(shop.product(id).category == ("Apparel", "Shirt") for id in shoe.negative_ids)


def test_the_seed_decides(shop: Catalog) -> None:
    assert mine(shop, seed=3) == mine(shop, seed=3)
    assert mine(shop, seed=3) != mine(shop, seed=4)


def test_a_style_id_decides_alone(tmp_path: Path) -> None:
    products = [Product(str(i), f"Thing {i}", attributes={"item_group_id": "g" if i < 2 else str(i)}) for i in range(4)]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    assert {(t.query.product_id, t.positive_id) for t in like_themselves(shop)} == {("0", "1"), ("1", "0")}


def like_themselves(shop: Catalog) -> list[MinedQuery]:
    """The mined queries that are a product's own title and image."""
    return [mined for mined in mine(shop) if mined.query.product_id]


def of_kind(shop: Catalog, kind: str) -> list[MinedQuery]:
    return [mined for mined in mine(shop) if mined.query.id.startswith(f"mined-{kind}-")]


def test_values_of_a_product_and_its_kind_ask_for_all_products_that_hold_them(tmp_path: Path) -> None:
    products = [
        Product(f"{colour}-{kind}-{n}", f"{kind} {n}", category=("Apparel", kind), attributes={"colour": colour})
        for colour in ("navy", "dark red")
        for kind in ("Shirts", "Shoes")
        for n in range(3)
    ]
    # Its colour stands in the title only, and its kind in the singular.
    products.append(Product("titled", "A navy shirt", category=("Sale",)))
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    by_text = {mined.query.text: mined for mined in of_kind(shop, "values")}
    navy = by_text["navy shirts"]
    assert navy.known_positive_ids == {"navy-Shirts-0", "navy-Shirts-1", "navy-Shirts-2", "titled"}
    assert set(by_text) == {f"{c} {k}" for c in ("navy", "dark red") for k in ("shirts", "shoes")} | {"sale"}
    for mined in by_text.values():
        assert mined.positive_id in mined.known_positive_ids
        assert not mined.known_positive_ids & set(mined.negative_ids)
        assert mined.negative_ids
        assert mined.query.product_id is None and mined.query.image is None


def test_words_of_a_title_are_never_the_whole_title_and_every_holder_is_known(shop: Catalog) -> None:
    titles = {product.id: product.title for product in shop.products()}
    asked = of_kind(shop, "words")
    assert len(asked) > 10
    for mined in asked:
        words = mined.query.text.split()
        assert 1 <= len(words) < len(titles[mined.query.id.removeprefix("mined-words-")].split())
        holders = {id for id, title in titles.items() if set(words) <= set(title.lower().replace(",", "").split())}
        assert holders <= mined.known_positive_ids
        assert mined.positive_id in mined.known_positive_ids


@pytest.mark.parametrize(
    "titles",
    [
        [
            "男士夏季纯棉短袖衬衫黑色",
            "男士夏季纯棉短袖衬衫白色",
            "男士夏季纯棉短袖衬衫黑色甲",
            "男士夏季纯棉短袖衬衫白色乙",
        ],
        ["メンズ半袖シャツ黒色綿", "メンズ半袖シャツ白色綿", "メンズ半袖シャツ黒色綿大", "メンズ半袖シャツ白色綿大"],
        ["เสื้อเชิ้ตผ้าฝ้ายสีดำ", "เสื้อเชิ้ตผ้าฝ้ายสีขาว", "เสื้อเชิ้ตผ้าฝ้ายสีดำใหญ่", "เสื้อเชิ้ตผ้าฝ้ายสีขาวใหญ่"],
    ],
)
def test_titles_without_spaces_are_mined_by_neighbouring_characters(tmp_path: Path, titles: list[str]) -> None:
    products = [Product(str(n), title, category=("x",)) for n, title in enumerate(titles)]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    assert {(mined.query.product_id, mined.positive_id) for mined in like_themselves(shop)} >= {("0", "2"), ("2", "0")}
    for mined in of_kind(shop, "words"):
        title = titles[int(mined.query.id.removeprefix("mined-words-"))]
        assert all(piece in title for piece in mined.query.text.split())
        assert mined.query.text != title
        assert all(all(piece in titles[int(id)] for piece in mined.query.text.split()) for id in [mined.positive_id])


def test_how_many_queries_of_each_kind_is_said(shop: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "moon2"):
        mined = mine(shop)
    assert f"mined {len(mined)} triplets: 16 of the same style, 2 of nearly the same title" in caplog.text
    assert "of attribute values" in caplog.text and "of title words" in caplog.text


@pytest.mark.long
def test_a_large_shop_is_mined_in_seconds(tmp_path: Path) -> None:
    draw = random.Random(0)
    words = [f"word{n}" for n in range(30_000)]
    common = [f"common{n}" for n in range(50)]
    products = [
        Product(
            str(n),
            " ".join([*draw.choices(common, k=3), *draw.choices(words, k=5)]),
            category=("shop", f"kind {n % 200}"),
            attributes={"brand": f"brand{n % 997}", "colour": draw.choice(common), "size": draw.choice("SMLX")},
        )
        for n in range(100_000)
    ]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    started = time.process_time()
    mined = mine(shop)
    assert len(mined) >= 200_000
    assert time.process_time() - started < 60
