"""`moon2 duplicates`: what was put in twice comes out as groups, and the threshold says what it rests on."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon2.catalog.store import Catalog, write_catalog
from moon2.errors import UserError
from moon2.files import OutputError
from moon2.records import Product
from moon2.search import contact_sheet
from moon2.search.duplicate_threshold import learn_threshold
from moon2.search.duplicates import duplicates
from moon2.vectors.embed_catalog import embed

TWICE = (3, 10, 11)
"""Numbers of the products that are listed again."""


def saved_again(image: object) -> bytes:
    assert isinstance(image, bytes)
    file = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


def again(product: Product) -> Product:
    """The same product in a shop's second entry: the photo saved again, the title in capitals, another price."""
    return replace(
        product, id=f"{product.id}-2", title=product.title.upper(), images=(saved_again(product.images[0]),), price=9.0
    )


@pytest.fixture(scope="module")
def shop(generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    products = [product for product in generated_shop.products() if product.images and product.title][:40]
    more = [again(products[number]) for number in TWICE]
    lone = Product("words-only", products[3].title)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8))
    file = io.BytesIO()
    noise.save(file, "PNG")
    more.append(Product("other-photo", products[3].title, images=(file.getvalue(),)))
    return write_catalog(tmp_path_factory.mktemp("twice") / "shop", {"train": [*products, *more, lone]}, title="shop")


@pytest.fixture(scope="module")
def vectors(small_encoder_folder: Path, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vectors") / "shop"
    embed(str(small_encoder_folder), data=shop.folder, out=out, what="products", views=("t", "i"))
    return out


def groups_of(file: Path) -> dict[str, list[str]]:
    """The products of each group; the first is the one to keep."""
    groups: dict[str, list[str]] = {}
    for row in csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()):
        assert (row["keep"] == "True") == (row["group"] not in groups)
        assert float(row["similarity"]) >= float(row["group_score"])
        groups.setdefault(row["group"], []).append(row["id"])
    return groups


def test_what_is_listed_twice_is_found_by_photo_and_text(vectors: Path, shop: Catalog, tmp_path: Path) -> None:
    ids = shop.ids()
    result = duplicates(vectors, out=tmp_path / "d.csv", at_least=1)  # hash and words find these without vectors
    assert sorted(groups_of(tmp_path / "d.csv").values()) == sorted([ids[n], f"{ids[n]}-2"] for n in TWICE)
    assert "3 groups of 6 products are nearly the same by photo and text, of 44 compared" in str(result)
    assert "not compared: 1 (1 without a photo)" in str(result)


def test_what_lacks_a_photo_and_what_lacks_a_text_are_told_apart(
    small_encoder_folder: Path, generated_shop: Catalog, tmp_path: Path
) -> None:
    whole = [product for product in generated_shop.products() if product.images and product.title][:8]
    lacking = [*(replace(one, title="") for one in whole[:3]), *(replace(one, images=()) for one in whole[3:5])]
    write_catalog(tmp_path / "shop", {"train": [*lacking, *whole[5:]]}, title="shop")
    embed(str(small_encoder_folder), data=tmp_path / "shop", out=tmp_path / "v", what="products", views=("t", "i"))
    result = duplicates(tmp_path / "v", out=tmp_path / "d.csv", at_least=1)
    assert "not compared: 5 (2 without a photo, 3 without a text)" in str(result)


def test_by_text_alone_photos_are_not_needed(vectors: Path, shop: Catalog, tmp_path: Path) -> None:
    duplicates(vectors, out=tmp_path / "d.csv", by="text", at_least=1)
    ids = shop.ids()
    assert [ids[3], f"{ids[3]}-2", "other-photo", "words-only"] in groups_of(tmp_path / "d.csv").values()


def test_a_lower_threshold_takes_in_what_only_vectors_call_alike(vectors: Path, tmp_path: Path) -> None:
    members = [
        sum(map(len, groups_of_by(vectors, tmp_path / f"{at_least}.csv", at_least))) for at_least in (1.0, 0.9, -1.0)
    ]
    assert members[0] < members[1] <= members[2] == 44  # at -1 all are one group


def groups_of_by(vectors: Path, out: Path, at_least: float) -> list[list[str]]:
    duplicates(vectors, out=out, by="image", at_least=at_least)
    return list(groups_of(out).values())


def test_the_contact_sheet_shows_photos_and_the_ends_of_a_long_list(
    vectors: Path, shop: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "SHOWN_GROUPS", 2)
    html = tmp_path / "new" / "d.html"
    duplicates(vectors, out=tmp_path / "d.csv", at_least=1, html=html)
    page, ids = html.read_text(), shop.ids()
    assert page.count("data:image/webp") == 4 and f"{ids[3]}-2" in page
    assert "1 most alike groups are shown, and the 1 least alike" in page and page.count("The least alike") == 1
    assert "Group 1 " in page and "Group 2 " not in page and "Group 3 " in page


def test_the_threshold_is_the_lowest_at_which_known_pairs_are_duplicates() -> None:
    """Pairs far from each other on a circle: 40 duplicates up to 2° apart, 20 of two categories from 2.3° on."""
    gaps = [*np.arange(1, 41) / 20, *np.minimum(2.3 + 0.3 * np.arange(20), 2.9)]
    radians = np.radians([angle for n, gap in enumerate(gaps) for angle in (6 * n, 6 * n + gap)])
    vectors = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    same = {(2 * n, 2 * n + 1) for n in range(40)}
    categories = [("a",), ("a",)] * 40 + [("a",), ("b",)] * 20
    threshold = learn_threshold(vectors, range(120), same, categories, [()] * 120)
    # 40 of 42 are 95 %; a third pair that is none would be too many.
    assert (threshold.duplicates, threshold.others, threshold.missed) == (40, 2, 0)
    assert np.degrees(np.arccos(threshold.cosine)) == pytest.approx(2.6, abs=0.01)
    # Without a known duplicate, nothing that is known to differ passes.
    alone = learn_threshold(vectors, range(120), set(), categories, [()] * 120)
    assert (alone.duplicates, alone.others) == (0, 0)
    assert 1.8 < np.degrees(np.arccos(alone.cosine)) < 2.3


def test_vectors_of_another_catalog_are_refused(vectors: Path, generated_shop: Catalog, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was made of another catalog"):
        duplicates(vectors, out=tmp_path / "d.csv", data=generated_shop.folder)
    with pytest.raises(UserError, match="--at_least is 95; a cosine is -1 to 1"):
        duplicates(vectors, out=tmp_path / "d.csv", at_least=95)


def test_files_that_cannot_be_written_are_refused_before_the_long_work(tmp_path: Path) -> None:
    """Before the vectors are even looked for."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"--out .*file/d\.csv: cannot be written below a file"):
        duplicates(tmp_path / "none", out=tmp_path / "file" / "d.csv")
    with pytest.raises(OutputError, match=r"--html .*: is a folder"):
        duplicates(tmp_path / "none", out=tmp_path / "d.csv", html=tmp_path)
