"""The benchmark builder: planted duplicates never cross the split, and everything left out is listed."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from moon2.catalog.benchmark.build import BenchmarkResult, BenchmarkSettings, build_benchmark
from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.near_duplicates import fingerprint, image_pairs
from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.cli import main
from moon2.records import Interaction, Product, Query

WORDS = ["red", "blue", "lamp", "shirt", "cotton", "steel", "oak", "large", "small", "round"]


def photo(seed: int, quality: int = 95, side: int = 64) -> bytes:
    """A unique image: smooth coloured noise, the same for the same seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def product(number: int, title: str = "", image: bytes | None = None, **more: Any) -> Product:
    words = random.Random(number).sample(WORDS, 4)
    category = ("Shop", f"Kind {number % 3}")
    title = title or f"{' '.join(words)} model{number} type{number * 7}"
    return Product(id=f"p{number:03}", title=title, category=category, images=(image or photo(number),), **more)


def build(folder: Path, out: Path, **settings: Any) -> BenchmarkResult:
    return build_benchmark(folder, out=out, settings=BenchmarkSettings(**settings))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Sixty products, some of them repeated: unchanged, with the image scaled and saved again, or with a word more."""
    products = [product(number) for number in range(60)]
    for number in range(0, 30, 3):
        first = products[number]
        products.append(Product(f"exact{number}", first.title.upper(), category=first.category, images=first.images))
        saved = photo(number, quality=80, side=96)
        products.append(Product(f"near{number}", f"{first.title} new", category=first.category, images=(saved,)))
        products.append(Product(f"photo{number}", f"other words {number}", category=("Else",), images=(saved,)))
        products.append(
            Product(f"title{number}", f"{first.title} used", category=first.category, images=(photo(500 + number),))
        )
    log = [
        Interaction(
            Query(f"q{n}", f"looking for {n}"),
            (products[n].id,),
            (products[(n + 1) % 60].id, products[(n + 7) % 60].id),
        )
        for n in range(1, 60)
    ]
    log += [
        Interaction(Query("q1", "looking for 1"), ("exact0",), ("p000",)),
        Interaction(Query("shown", "", product_id="exact3"), ("near3", "title3")),
    ]
    return write_catalog(tmp_path / "shop", {"train": products}, {"train": log}, title="shop", licence="mit").folder


def test_planted_duplicates_never_cross(planted: Path, tmp_path: Path) -> None:
    result = build(planted, tmp_path / "bench", test_share=0.3)
    bench = result.catalog
    assert (result.left_out["exact_duplicate"], result.left_out["near_duplicate"]) == (10, 10)
    side = {id: split for split in ("train", "test") for id in bench.ids(split)}
    assert len(side) == len(bench) == 80
    for number in range(0, 30, 3):
        assert f"exact{number}" not in side
        assert f"near{number}" not in side
        assert side[f"p{number:03}"] == side[f"photo{number}"] == side[f"title{number}"]
    assert 0.2 * 80 <= len(bench.ids("test")) <= 0.3 * 80
    queries = [row.query.id for split in ("train", "test") for row in bench.interactions(split)]
    assert len(queries) == len(set(queries)) == sum(result.queries.values())
    for split in ("train", "test"):
        for row in bench.interactions(split):
            ids = {*row.positive_ids, *row.negative_ids, row.query.product_id or row.positive_ids[0]}
            assert {side[id] for id in ids} == {split}
    reasons = Counter(reject.reason for reject in bench.rejects())
    assert reasons["exact_duplicate"] == 10
    assert all(reasons[reason] == result.left_out[reason] for reason in reasons)
    # A purchase of a duplicate counts for the product that replaces it.
    bought = {id for split in ("train", "test") for row in bench.interactions(split) for id in row.positive_ids}
    assert "p000" in bought


def test_words_of_one_query_are_on_one_side(tmp_path: Path) -> None:
    products = [product(number) for number in range(200)]
    rng = random.Random(0)
    log = [
        Interaction(Query(f"q{n}", f"Query {n % 40}"), tuple(f"p{rng.randrange(200):03}" for _ in range(2)))
        for n in range(400)
    ]
    folder = write_catalog(tmp_path / "shop", {"train": products}, {"train": log}, title="shop").folder
    result = build(folder, tmp_path / "bench", test_share=0.3)
    words = {split: {row.query.text for row in result.catalog.interactions(split)} for split in ("train", "test")}
    assert words["train"]
    assert words["test"]
    assert not words["train"] & words["test"]
    # Random purchases chain the two hundred products, so some links are cut, and counted.
    assert result.left_out["purchase_across_the_split"] > 0
    test = [row.query.text for row in result.catalog.interactions("test")]
    assert len(test) == len(set(test))


def test_a_case_worked_by_hand(tmp_path: Path) -> None:
    products = [product(n) for n in range(4)]
    log = [Interaction(Query(f"q{n}", f"words {n}"), (f"p{n:03}",), (f"p{(n + 1) % 4:03}",)) for n in range(4)]
    folder = write_catalog(tmp_path / "shop", {"train": products}, {"train": log}, title="shop").folder
    result = build(folder, tmp_path / "bench", test_share=0.25)
    [id] = result.catalog.ids("test")
    [row] = result.catalog.interactions("test")
    assert (row.positive_ids, row.negative_ids) == ((id,), ())
    assert result.queries == {"train": 3, "test": 1}
    # The test query showed a training product, and a training query showed the test product.
    assert result.left_out == {"exposure_across_the_split": 2}
    assert (result.components, result.largest) == (4, 1)


def test_an_answer_or_a_product_like_one_is_never_a_negative(tmp_path: Path) -> None:
    answer = product(0, attributes={"brand": "Puma", "colour": "navy"})
    others = [
        product(3, title=f"{answer.title} new"),
        product(6, image=photo(0, quality=80, side=96)),
        product(9, attributes={"colour": "navy", "brand": "puma"}),
        product(12),
        product(15),
    ]
    log = [
        Interaction(Query("q", "a navy lamp"), ("p000",), ("p003", "p006", "p009", "p012", "p015")),
        # Another shopper bought for the same words what the first did not; a third searched with its photo.
        Interaction(Query("again", "A navy  lamp!"), ("p015",), ("p000", "p012")),
        Interaction(Query("shown", "", product_id="p012"), ("p015",), ("p012", "p003")),
    ]
    rest = [product(n) for n in range(20, 40)]
    log += [Interaction(Query(f"q{n}", f"words {n}"), (f"p{n:03}",)) for n in range(20, 40)]
    shop = write_catalog(tmp_path / "shop", {"train": [answer, *others, *rest]}, {"train": log}, title="shop")
    for name, share in (("in_train", 0.1), ("in_test", 0.9)):
        result = build(shop.folder, tmp_path / name, test_share=share)
        rows = [row for split in ("train", "test") for row in result.catalog.interactions(split)]
        negatives = Counter(id for row in rows for id in row.negative_ids)
        assert negatives == ({"p012": 2, "p003": 1} if name == "in_train" else {"p012": 1, "p003": 1})
        assert result.left_out["exposure_like_known_answer"] == 3
        assert result.left_out["exposure_of_known_answer"] == 3
        card = (result.catalog.folder / "README.md").read_text()
        assert "| exposure_like_known_answer | 3 |" in card


def shop_of(folder: Path, products: list[Product], log: list[Interaction]) -> Path:
    return write_catalog(folder / "shop", {"train": products}, {"train": log}, title="shop").folder


def test_one_title_under_two_categories_never_crosses(tmp_path: Path) -> None:
    words = [product(n).title for n in range(50)]
    products = [Product(f"men{n}", title, category=("Men", "Shoes")) for n, title in enumerate(words)]
    products += [Product(f"sale{n}", f"{title} sale", category=("Sale",)) for n, title in enumerate(words)]
    log = [
        Interaction(Query(f"{side}{n}", f"{side} {n}"), (f"{side}{n}",)) for n in range(50) for side in ("men", "sale")
    ]
    bench = build(shop_of(tmp_path, products, log), tmp_path / "bench", test_share=0.3).catalog
    test = bench.ids("test")
    assert len(test) == 30
    assert {id.removeprefix("men") for id in test if id.startswith("men")} == {
        id.removeprefix("sale") for id in test if id.startswith("sale")
    }


def test_a_product_in_a_shoppers_photo_never_crosses(tmp_path: Path) -> None:
    products = [product(n) for n in range(60)]
    address = "https://shop.example/60.jpg"
    products.append(product(60, image=photo(60), expanded_images=()))
    products.append(Product("url", "an image that was not downloaded", images=(address,)))
    # Each product is bought after a photo of the next one, saved again. Pairs share one photo in two sizes.
    log = [
        Interaction(Query(f"next{n}", "", image=photo((n + 1) % 60, quality=80, side=96)), (f"p{n:03}",))
        for n in range(60)
    ]
    for n in range(0, 60, 2):
        log.append(Interaction(Query(f"large{n}", "like this", image=photo(700 + n, side=96)), (f"p{n:03}",)))
        log.append(Interaction(Query(f"small{n}", "and cheap", image=photo(700 + n, quality=80)), (f"p{n + 1:03}",)))
    log += [Interaction(Query(f"url{n}", f"{n}", image=address), (f"p{n:03}",)) for n in range(10)]
    result = build(shop_of(tmp_path, products, log), tmp_path / "bench", test_share=0.3)
    bench = result.catalog
    side = {product.id: split for split in ("train", "test") for product in bench.products(split)}
    assert len(bench.ids("test")) > 10
    photographed: dict[str, set[str]] = {}
    for split in ("train", "test"):
        for row in bench.interactions(split):
            if row.query.id.startswith("next"):
                assert side[f"p{(int(row.query.id[4:]) + 1) % 60:03}"] == split
            elif row.query.id.startswith("url"):
                assert side["url"] == split
            else:
                photographed.setdefault(row.query.id[5:], set()).add(split)
    assert all(len(sides) == 1 for sides in photographed.values())
    assert sum(result.queries.values()) > 60


def test_the_same_image_and_words_are_one_query(tmp_path: Path) -> None:
    products = [product(n) for n in range(40)]
    log = [Interaction(Query(f"q{n}", "Like  this", image=photo(800 + n // 2)), (f"p{n:03}",)) for n in range(40)]
    result = build(shop_of(tmp_path, products, log), tmp_path / "bench", test_share=0.3)
    train, test = ([row.query.image for row in result.catalog.interactions(split)] for split in ("train", "test"))
    assert not set(train) & set(test)
    assert len(test) == len(set(test)) == 6
    assert result.left_out == {"repeated_test_query": 6}


def test_categories_are_capped_and_bought_products_stay(planted: Path, tmp_path: Path) -> None:
    result = build(planted, tmp_path / "bench", test_share=0.3, category_cap=12)
    bench = result.catalog
    of_category = Counter(tuple(row["category"]) for row in bench.rows(None, ["category"]))
    assert max(of_category.values()) == 12
    assert result.left_out["over_category_cap"] == 80 - len(bench)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_benchmark(planted: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build(planted, tmp_path / name, test_share=0.3, seed=seed, category_cap=20)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert Catalog.open(tmp_path / "a").ids("test") != Catalog.open(tmp_path / "c").ids("test")


def test_it_opens_with_datasets_and_declares_its_tasks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shop, bench = write_shop(out=tmp_path / "shop", products=120, queries=80), tmp_path / "bench"
    assert main(["benchmark", "build", str(shop.folder), "--out", str(bench), "--test_share", "0.25"]) == 0
    printed = capsys.readouterr().out
    declared = json.loads((bench / "benchmark.json").read_text())
    loaded = datasets.load_dataset(str(bench), "products", split="test")
    assert len(loaded) == declared["products"]["test"] > 0
    assert loaded[0]["images"][0].size
    queries = datasets.load_dataset(str(bench), "interactions", split="test")
    assert set(queries[0]["positive_ids"]) <= set(loaded["id"])
    assert len(queries) == declared["queries"]["test"]
    assert declared["tasks"]["retrieval"]["directions"] == ["t→mm", "i→mm", "mm→mm", "t→i", "i→t"]
    assert declared["tasks"]["class"]["labels"] > 1
    assert f"test: {len(loaded):,} products" in printed
    card = (bench / "README.md").read_text()
    assert "Built by `moon2 benchmark build`" in card
    for reason, count in declared["left_out"].items():
        assert f"| {reason} | {count:,} |" in card


def test_the_test_split_has_no_augmentations(tmp_path: Path) -> None:
    products = [product(n, enriched_title=f"rich {n}", expanded_images=(photo(n + 900),)) for n in range(20)]
    log = [Interaction(Query(f"q{n}", f"words {n}"), (f"p{n:03}",)) for n in range(20)]
    folder = write_catalog(tmp_path / "shop", {"train": products}, {"train": log}, title="shop").folder
    bench = build(folder, tmp_path / "bench", test_share=0.25).catalog
    assert all(p.enriched_title and p.expanded_images for p in bench.products("train"))
    assert not any(p.enriched_title or p.expanded_images for p in bench.products("test"))


def test_a_benchmark_that_cannot_be_built_is_an_error(planted: Path, tmp_path: Path) -> None:
    alone = write_catalog(tmp_path / "alone", {"train": [product(1)]}, title="no log").folder
    with pytest.raises(CatalogError, match="has no search log"):
        build(alone, tmp_path / "bench")
    with pytest.raises(CatalogError, match="the test split would have 0 products"):
        build(planted, tmp_path / "bench", test_share=0.001)
    with pytest.raises(CatalogError, match=r"test_share is 1\.5"):
        build(planted, tmp_path / "bench", test_share=1.5)
    assert not (tmp_path / "bench").exists()


def test_images_are_pairs_when_saved_again_and_not_otherwise(image_bytes: Callable[..., bytes]) -> None:
    prints = [(n, fingerprint(photo(n))) for n in range(300)]
    prints += [(1000 + n, fingerprint(photo(n, quality=75, side=120))) for n in range(0, 300, 10)]
    pairs = image_pairs((n, print) for n, print in prints if print is not None)
    assert pairs == {(n, 1000 + n) for n in range(0, 300, 10)}
    # A blank image and bytes that are no image have no fingerprint.
    assert fingerprint(image_bytes("white")) is None
    assert fingerprint(b"broken") is None


def test_a_benchmark_is_not_built_in_the_place_of_its_catalog(planted: Path) -> None:
    with pytest.raises(CatalogError, match=r"is its own source, .*; choose another folder"):
        build_benchmark(planted, out=planted, overwrite=True)


def test_of_a_query_asked_twice_the_highest_grade_counts(tmp_path: Path) -> None:
    products = [product(n) for n in range(40)]
    log = [
        Interaction(Query(f"q{n}-{grade}", f"words {n}"), (f"p{n:03}",), grades={f"p{n:03}": grade})
        for n in range(40)
        for grade in (3.0, 1.0)
    ]
    result = build(shop_of(tmp_path, products, log), tmp_path / "bench", test_share=0.3)
    tested = list(result.catalog.interactions("test"))
    assert tested and all(set(row.grades.values()) == {3.0} for row in tested)
