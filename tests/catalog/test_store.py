"""A catalog on disk: moon2 and `datasets` read the records that were written."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from moon2 import Interaction, Product, Query
from moon2.catalog import shards, store
from moon2.catalog.benchmark.card import card_text
from moon2.catalog.schema import CatalogError, Reject
from moon2.catalog.store import Catalog, require_target, write_catalog
from moon2.images import open_image

Encode = Callable[..., bytes]


@pytest.fixture
def products(image_bytes: Encode) -> dict[str, list[Product]]:
    shirt = Product(
        id="shirt",
        title="Navy shirt",
        description="Soft cotton.",
        category=("Apparel", "Topwear", "Shirts"),
        attributes={"colour": "navy", "brand": "Ärmel & Söhne"},
        images=(image_bytes("navy"), image_bytes("navy", "WEBP")),
        price=29.5,
        enriched_title="Navy casual cotton shirt",
        expanded_images=(image_bytes("blue"),),
        provenance={"enriched_title": "a test"},
    )
    photo = Product(id="photo", images=(image_bytes("red", "JPEG"),))
    words = Product(id="words", title="Only words", price=0.0)
    return {"train": [shirt, photo], "test": [words]}


@pytest.fixture
def log() -> dict[str, list[Interaction]]:
    bought = Interaction(Query("q1", "navy shirt", product_id="photo"), ("shirt",), ("photo", "words"))
    relevant = Interaction(Query("q2", image=b"of the shopper"), ("words", "shirt"))
    return {"train": [bought], "test": [relevant]}


def test_records_are_read_as_they_were_written(
    tmp_path: Path, products: dict[str, list[Product]], log: dict[str, list[Interaction]]
) -> None:
    reject = Reject(3, "x", "row", "no_content", "row 3: has neither a title nor an image")
    written = write_catalog(tmp_path / "shop", products, log, title="A shop", rejects=[reject])
    catalog = Catalog.open(tmp_path / "shop")
    assert len(catalog) == len(written) == 3
    assert catalog.splits == ("train", "test")
    assert catalog.ids() == ["shirt", "photo", "words"]
    assert catalog.ids("test") == ["words"]
    assert list(catalog.products()) == products["train"] + products["test"]
    assert [catalog.product(id) for id in ("words", "shirt")] == [products["test"][0], products["train"][0]]
    assert catalog.interactions("train") == log["train"]
    assert catalog.interactions("test") == log["test"]
    assert catalog.rejects() == [reject]


def test_datasets_opens_it_with_decoded_images(
    tmp_path: Path, products: dict[str, list[Product]], log: dict[str, list[Interaction]]
) -> None:
    folder = str(write_catalog(tmp_path / "shop", products, log, title='A "shop": with signs').folder)
    rows = datasets.load_dataset(folder, "products", split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[0]["title"] == "Navy shirt"
    assert rows[0]["attributes"] == [{"key": "colour", "value": "navy"}, {"key": "brand", "value": "Ärmel & Söhne"}]
    assert [image.size for image in rows[0]["images"]] == [(12, 16), (12, 16)]
    assert isinstance(rows[1]["images"][0], Image.Image)
    tests = datasets.load_dataset(folder, "interactions", split="test", cache_dir=str(tmp_path / "cache"))
    assert tests.features["query_image"] == datasets.Image()
    assert tests.column_names == store.schema.INTERACTIONS.names


def test_paths_stay_paths_made_absolute_and_urls_stay_urls(tmp_path: Path, image_bytes: Encode) -> None:
    (tmp_path / "a.png").write_bytes(image_bytes())
    images = (tmp_path / "a.png", "https://shop.example/b.png")
    catalog = write_catalog(tmp_path / "shop", {"train": [Product("1", images=images)]}, title="A shop")
    assert catalog.product("1").images == (str(tmp_path / "a.png"), "https://shop.example/b.png")


def test_an_image_of_any_source_is_written(tmp_path: Path, image_bytes: Encode) -> None:
    png = image_bytes("navy")
    sources = {
        "array": np.asarray(Image.open(io.BytesIO(png))),
        "tensor": torch.from_numpy(np.asarray(Image.open(io.BytesIO(png))).copy()).permute(2, 0, 1),
        "cmyk": Image.open(io.BytesIO(png)).convert("RGBA").convert("CMYK"),
        "data": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "file": io.BytesIO(png),
        "bytes": bytearray(png),
    }
    products = [Product(id, images=(source,)) for id, source in sources.items()]
    log = [Interaction(Query("q", image=sources["array"]), ("array",))]
    catalog = write_catalog(tmp_path / "shop", {"train": products}, {"train": log}, title="A shop")
    stored = [image for product in catalog.products() for image in product.images]
    stored.append(catalog.interactions("train")[0].query.image)
    for image in stored:
        assert isinstance(image, bytes) and image.startswith(b"\x89PNG")
        assert open_image(image).getpixel((0, 0)) == (0, 0, 128)


def test_any_product_is_found_across_files_and_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_bytes: Encode
) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_ROWS", 4)
    monkeypatch.setattr(shards, "SHARD_ROWS", 10)
    monkeypatch.setattr(store, "CACHE_BYTES", 2_000)
    image = image_bytes()

    def generated() -> Iterator[Product]:
        return (Product(str(i), f"Product {i}", images=(image,)) for i in range(37))

    catalog = write_catalog(tmp_path / "shop", {"train": generated()}, title="A shop")
    assert len(list((tmp_path / "shop/products").iterdir())) == 5
    for i in (36, 0, 9, 10, 11, 20, 36, 3):
        assert catalog.product(str(i)).title == f"Product {i}"
    assert catalog._cached_bytes <= 2_000 + 1_000
    assert [product.id for product in catalog.products()] == [str(i) for i in range(37)]


def test_a_catalog_travels_to_a_worker_of_a_data_loader(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, title="A shop")
    with get_context("spawn").Pool(1) as workers:  # as a data loader starts its own, but without torch
        assert workers.apply(catalog.product, ("1",)).title == "Shirt"


def test_without_a_log_there_are_no_interactions(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, title="A shop")
    assert catalog.interactions("train") == []
    assert catalog.rejects() == []


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="there is no such catalog"):
        Catalog.open(tmp_path / "nowhere")
    with pytest.raises(CatalogError, match="is not a catalog"):
        Catalog.open(tmp_path)
    catalog = write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, title="A shop")
    with pytest.raises(CatalogError, match="no product 'shrit'"):
        catalog.product("shrit")
    with pytest.raises(CatalogError, match="no split 'dev'"):
        catalog.products("dev")
    with pytest.raises(CatalogError, match="no split 'dev'"):
        catalog.interactions("dev")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, title="A shop")
    (tmp_path / "shop/products/train-00000.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(CatalogError, match=r"train-00000\.parquet: cannot be read"):
        Catalog.open(tmp_path / "shop")


def test_a_second_product_of_the_same_id_is_refused_and_nothing_appears(tmp_path: Path) -> None:
    twice = [Product("1", "Shirt"), Product("1", "Skirt")]
    with pytest.raises(CatalogError, match="'1': is in the catalog twice"):
        write_catalog(tmp_path / "shop", {"train": twice}, title="A shop")
    assert list(tmp_path.iterdir()) == []


def test_an_interaction_of_an_unknown_product_is_refused(tmp_path: Path) -> None:
    log = {"train": [Interaction(Query("q", "shirt"), ("2",))]}
    with pytest.raises(CatalogError, match="query 'q': product '2' is not in the catalog"):
        write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, log, title="A shop")


def test_only_a_catalog_is_overwritten_and_only_when_asked(tmp_path: Path) -> None:
    first, second = {"train": [Product("1", "Shirt")]}, {"train": [Product("2", "Skirt")]}
    write_catalog(tmp_path / "shop", first, title="A shop")
    with pytest.raises(CatalogError, match="holds a catalog already"):
        write_catalog(tmp_path / "shop", second, title="A shop")
    assert write_catalog(tmp_path / "shop", second, title="A shop", overwrite=True).ids() == ["2"]
    (tmp_path / "shop/vectors").mkdir()
    with pytest.raises(CatalogError, match="holds vectors beside the catalog, and would lose it; move it elsewhere"):
        write_catalog(tmp_path / "shop", first, title="A shop", overwrite=True)
    assert (tmp_path / "shop/vectors").is_dir()
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary/monday.txt").write_text("dear diary")
    with pytest.raises(CatalogError, match="holds something else"):
        write_catalog(tmp_path / "diary", second, title="A shop", overwrite=True)
    assert (tmp_path / "diary/monday.txt").read_text() == "dear diary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["diary", "shop"]


def test_the_licence_is_read_from_the_header_of_the_card_alone(tmp_path: Path) -> None:
    shop = {"train": [Product("1", "Shirt")]}
    catalog = write_catalog(tmp_path / "shop", shop, title="Sale --- a: [shop", description="A\n---\nB", licence="mit")
    assert catalog.licence() == "mit"
    assert card_text(catalog.folder) == "A\n---\nB"
    for card in ("---\nlicense: [mit\n---\n", "---\nmit\n---\n", "# A shop\n---\nlicense: mit\n---\n", ""):
        (catalog.folder / "README.md").write_text(card)
        assert catalog.licence() == "unknown"
    (catalog.folder / "README.md").unlink()
    assert (catalog.licence(), card_text(catalog.folder)) == ("unknown", "")


def test_a_new_catalog_never_takes_the_place_of_its_own_source(tmp_path: Path) -> None:
    shop = write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, title="A shop").folder
    (tmp_path / "link").symlink_to(shop)
    for out, source, how in (
        (shop, shop, "is"),
        (tmp_path / "link", shop, "is"),
        (shop, shop / "products/*.parquet", "holds"),
    ):
        with pytest.raises(CatalogError, match=f"{out}: {how} its own source, {shop}.*; choose another folder"):
            require_target(out, overwrite=True, sources=[source])
    require_target(shop, overwrite=True, sources=["organisation/shop", tmp_path / "nowhere.csv"])
    require_target(tmp_path / "new", overwrite=False, sources=[tmp_path])  # as in `moon2 import . --out new`
    with pytest.raises(CatalogError, match="lies in its own source"):
        require_target(shop, overwrite=True, sources=[tmp_path])
