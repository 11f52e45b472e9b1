"""The generated shop: the same for the same seed, with known noise, and with images of all kinds of products."""

from random import Random

import numpy as np
import pyarrow.parquet as pq
import pytest

from moon2.catalog.generated_shop.backgrounds import room, studio
from moon2.catalog.generated_shop.drawing import PATTERNS, PHOTO_SIDE, Pen, pattern_cloth, photograph
from moon2.catalog.generated_shop.generate import Shop, generate_shop, style_of, write_shop
from moon2.catalog.generated_shop.shapes import DRAWINGS
from moon2.catalog.generated_shop.words import COLOURS, KINDS, typing_mistake
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog
from moon2.cli import main
from moon2.images import open_image


@pytest.fixture(scope="module")
def shop() -> Shop:
    return generate_shop(products=300, queries=400, seed=3)


def test_the_same_seed_gives_the_same_shop_and_another_seed_another(shop: Shop) -> None:
    first, again = (generate_shop(products=60, queries=20, seed=5) for _ in range(2))
    assert first == again
    other = generate_shop(products=60, queries=20, seed=6)
    assert [product.images for product in first.products["train"]] != [p.images for p in other.products["train"]]
    assert first.interactions != other.interactions


def test_no_product_and_no_style_is_in_both_splits(shop: Shop) -> None:
    train, test = shop.products["train"], shop.products["test"]
    assert len(train) + len(test) == 300
    assert len({product.id for product in train + test}) == 300
    assert not {style_of(product) for product in train} & {style_of(product) for product in test}
    assert 0.2 < len(test) / 300 < 0.4


def test_the_training_log_is_wrong_exactly_in_the_labelled_rows(shop: Shop) -> None:
    styles = {product.id: style_of(product) for product in shop.products["train"]}
    assert [label.query_id for label in shop.noise] == [row.query.id for row in shop.interactions["train"]]
    for row, label in zip(shop.interactions["train"], shop.noise, strict=True):
        style = styles[row.query.product_id]
        (purchase,) = row.positive_ids
        assert purchase != row.query.product_id
        assert (styles[purchase] == style) is not label.purchase_is_noise
        assert sum(styles[id] == style for id in row.negative_ids) == label.ignored_is_relevant
        close = [styles[id][0] == style[0] or styles[id][1] == style[1] for id in row.negative_ids]
        assert all(close) and 3 <= len(close) <= 4


def test_the_share_of_wrong_rows_is_known(shop: Shop) -> None:
    assert sum(label.purchase_is_noise for label in shop.noise) == 48
    assert sum(label.ignored_is_relevant for label in shop.noise) == 20


def test_a_test_query_lists_every_other_product_of_its_style(shop: Shop) -> None:
    products = {product.id: product for product in shop.products["test"]}
    for row in shop.interactions["test"]:
        shown = products[row.query.product_id]
        style = {product.id for product in products.values() if style_of(product) == style_of(shown)}
        assert set(row.positive_ids) == style - {shown.id}
        assert shown.images and shown.title and row.query.text


def test_products_look_like_those_of_a_shop(shop: Shop) -> None:
    products = shop.products["train"] + shop.products["test"]
    assert len({product.category for product in products}) >= 12
    assert all(set(p.attributes) == {"brand", "colour", "pattern", "material", "gender"} for p in products)
    assert {len(product.images) for product in products} == {0, 1, 2, 3}
    assert 0 < sum(not product.title for product in products) < 15
    assert all(product.price > 0 for product in products)


def test_images_have_one_size_and_those_of_one_product_differ(shop: Shop) -> None:
    for product in shop.products["test"]:
        assert {open_image(image).size for image in product.images} <= {(PHOTO_SIDE, PHOTO_SIDE)}
        assert len(set(product.images)) == len(product.images)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_in_all_its_variants(kind: str) -> None:
    outlines = []
    for variant in KINDS[kind].variants:
        cloth = pattern_cloth("plain", COLOURS["red"].rgb, Random(0))
        pen = Pen(cloth, COLOURS["red"].rgb)
        DRAWINGS[kind](pen, variant)
        drawn = np.asarray(pen.layer)
        assert 0.05 < (drawn[..., 3] > 0).mean() < 0.8
        assert (drawn == (*COLOURS["red"].rgb, 255)).all(axis=-1).any(), "the drawing shows the product's colour"
        outlines.append(drawn.tobytes())
    assert len(set(outlines)) == len(KINDS[kind].variants) >= 2


def test_patterns_can_be_told_apart() -> None:
    cloths = {name: np.asarray(pattern_cloth(name, COLOURS["blue"].rgb, Random(1))) for name in PATTERNS}
    assert np.unique(cloths["plain"].reshape(-1, 3), axis=0).shape == (1, 3)
    assert len({cloth.tobytes() for cloth in cloths.values()}) == len(PATTERNS)
    for name in set(PATTERNS) - {"plain"}:
        covered = (cloths[name] != cloths["plain"]).any(axis=-1).mean()
        assert 0.1 < covered < 0.8, name


def test_rooms_are_cluttered_and_studios_are_not() -> None:
    def edges(background) -> float:
        return float(np.abs(np.diff(np.asarray(background, dtype=float), axis=1)).mean())

    calmest_room = min(edges(room(Random(seed))) for seed in range(12))
    busiest_studio = max(edges(studio(Random(seed))) for seed in range(12))
    assert calmest_room > 10 * busiest_studio


def test_the_product_stands_out_from_its_background() -> None:
    pen = Pen(pattern_cloth("plain", COLOURS["green"].rgb, Random(0)), COLOURS["green"].rgb)
    DRAWINGS["mug"](pen, "classic")
    middle = np.asarray(photograph(pen.layer, studio(Random(0)), Random(0)))[35:50, 30:45].reshape(-1, 3).mean(axis=0)
    assert middle[1] > middle[0] + 30


def test_typing_mistakes_change_a_word_but_never_a_short_one() -> None:
    rng = Random(0)
    assert any(typing_mistake("trousers", rng) != "trousers" for _ in range(5))
    assert typing_mistake("red", rng) == "red"


def test_a_shop_is_written_as_a_catalog_with_its_noise_labels_beside_it(tmp_path) -> None:
    catalog = write_shop(out=tmp_path / "shop", products=60, queries=50, seed=2)
    assert catalog.splits == ("train", "test") and len(catalog) == 60
    in_memory = generate_shop(products=60, queries=50, seed=2)
    assert list(catalog.products("test")) == in_memory.products["test"]
    assert catalog.interactions("train") == in_memory.interactions["train"]
    labels = pq.read_table(tmp_path / "shop" / "noise.parquet").to_pylist()
    assert sum(label["purchase_is_noise"] for label in labels) == 6
    with pytest.raises(CatalogError, match="already"):
        write_shop(out=tmp_path / "shop", products=60, queries=50)
    assert write_shop(out=tmp_path / "shop", products=61, queries=50, overwrite=True).ids() != catalog.ids()
    assert set(labels[0]) == {"query_id", "purchase_is_noise", "ignored_is_relevant"}


def test_the_command_says_what_it_wrote(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shop"
    assert main(["shop", "--out", str(out), "--products", "60", "--queries", "20"]) == 0
    tests = len(Catalog.open(out).interactions("test"))
    assert capsys.readouterr().out == f"{out}: 60 products, 20 training queries, {tests} test queries\n"


def test_a_shop_too_small_is_refused_in_one_line() -> None:
    with pytest.raises(CatalogError, match="at least 60"):
        generate_shop(products=10)
