"""`moon2 embed`: the vectors are the encoder's own, a second run does only what is new, a stop loses nothing."""

from __future__ import annotations

import hashlib
import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moon2 import Encoder
from moon2.catalog import shards as catalog_shards
from moon2.catalog.store import Catalog, write_catalog
from moon2.files import FolderInUseError, exclusive_lock
from moon2.jobs.shards import JobError, JobFolder
from moon2.records import Interaction, Product, Query
from moon2.vectors import embed_catalog
from moon2.vectors.embed import product_vectors, query_vectors
from moon2.vectors.embed_catalog import EmbeddingResult, embed
from moon2.vectors.vector_folder import VectorFolder, VectorFolderError, What
from moon2.vectors.vector_writer import VectorWriter
from moon2.views import VIEWS


def photo(colour: int, size: tuple[int, int] = (20, 16)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (colour % 256, 90, 255 - colour % 256)).save(file, "PNG")
    return file.getvalue()


def products_of(count: int, offset: int = 0) -> list[Product]:
    """With text, an image, or both; the second image of some."""
    products = []
    for number in range(offset, offset + count):
        images = (photo(number), photo(number + 100, (16, 24))) if number % 4 == 3 else (photo(number),)
        products.append(
            Product(
                f"p{number}",
                "" if number % 5 == 4 else f"navy shirt {number} {'of cotton ' * (number % 7)}",
                images=() if number % 5 == 2 else images,
            )
        )
    return products


def log_of(products: Sequence[Product], count: int) -> list[Interaction]:
    """Words, a product's photo, or both; the same query comes twice."""
    return [
        Interaction(
            Query(
                f"q{n}",
                "" if n % 3 == 1 else f"shirt {n // 2}",
                product_id=products[n].id if n % 3 else None,
            ),
            (products[0].id,),
        )
        for n in range(count)
    ]


WriteShop = Callable[..., Path]


@pytest.fixture
def write_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteShop:
    """Writes a catalog with row groups of four; 14 products to train with and 5 to test, unless given."""
    monkeypatch.setattr(catalog_shards, "ROW_GROUP_ROWS", 4)

    def write(products: Sequence[Product] | None = None, name: str = "shop") -> Path:
        train = products_of(14) if products is None else list(products)
        write_catalog(
            tmp_path / name,
            {"train": train, "test": products_of(5, offset=900)},
            {"train": log_of(train, min(6, len(train)))},
            title="shop",
            overwrite=True,
        )
        return tmp_path / name

    return write


def table_of(folder: Path, what: What) -> dict[str, list[object]]:
    batches = [batch.to_pydict() for batch in VectorFolder.open(folder).batches(what)]
    return {name: [value for batch in batches for value in batch[name]] for name in batches[0]}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_vectors_are_the_encoders_own_in_the_catalogs_order(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path
) -> None:
    data, out = write_shop(), tmp_path / "v"
    result = embed(str(small_encoder_folder), data=data, out=out)
    assert result.counts == {"products": 19, "queries": 6} and (result.new, result.kept, result.gone) == (25, 0, 0)
    encoder, catalog, folder = Encoder.from_pretrained(small_encoder_folder), Catalog.open(data), VectorFolder.open(out)
    products = list(catalog.products())
    queries = [catalog.with_image(interaction.query) for interaction in catalog.interactions("train")]
    for what, records, wanted in (
        ("products", products, product_vectors(encoder, products, 64)),
        ("queries", queries, query_vectors(encoder, queries, 64)),
    ):
        for view in VIEWS:
            ids, matrix = folder.matrix(what, view)
            has = ~np.isnan(wanted[view]).all(axis=1)
            assert ids == [record.id for record, there in zip(records, has, strict=True) if there]
            np.testing.assert_allclose(matrix, wanted[view][has], atol=2e-6)
    assert table_of(out, "products")["split"] == ["train"] * 14 + ["test"] * 5
    assert folder.info.model == str(small_encoder_folder) and folder.info.data == str(data)
    assert not result.folder.with_name(".v.embedding").exists() and not folder.rejects()


def test_a_second_run_embeds_what_is_new_or_changed_and_forgets_what_is_gone(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path
) -> None:
    products, out = products_of(14), tmp_path / "v"
    model = str(small_encoder_folder)
    embed(model, data=write_shop(products), out=out, what="products")
    again = embed(model, data=write_shop(products), out=out, what="products")
    assert (again.new, again.kept, again.gone) == (0, 19, 0)

    changed = [replace(products[1], title="red shoe"), *products[3:], replace(products[2], images=(photo(7),))]
    changed += products_of(1, offset=90)
    changed[3] = replace(changed[3], price=3.0, description="not read")
    result = embed(model, data=write_shop(changed), out=out, what="products")
    assert (result.new, result.kept, result.gone) == (3, 16, 1)
    assert "16 unchanged and kept, 1 no longer in the catalog" in str(result)
    embed(model, data=tmp_path / "shop", out=tmp_path / "fresh", what="products")
    for view in VIEWS:
        ids, matrix = VectorFolder.open(out).matrix("products", view)
        fresh_ids, fresh = VectorFolder.open(tmp_path / "fresh").matrix("products", view)
        assert ids == fresh_ids and "p0" not in ids
        np.testing.assert_allclose(matrix, fresh, atol=2e-6)


def test_another_encoder_or_setting_embeds_all(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path
) -> None:
    data, out, model = write_shop(), tmp_path / "v", str(small_encoder_folder)
    embed(model, data=data, out=out)
    assert embed(model, data=data, out=out, storage="int8").new == 25
    assert VectorFolder.open(out).info.storage == "int8"
    assert embed(model, data=data, out=out, storage="int8").new == 0
    encoder = Encoder.from_pretrained(model)
    with torch.no_grad():
        encoder.model.backbone.get_input_embeddings().weight[5] += 1  # type: ignore[operator, union-attr]
    encoder.save_pretrained(tmp_path / "trained")
    assert embed(str(tmp_path / "trained"), data=data, out=out, storage="int8").new == 25


@pytest.mark.parametrize("moment", ["shard", "assembling", "replaced"])
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    moment: str, small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = str(small_encoder_folder), write_shop()
    embed(model, data=data, out=tmp_path / "whole", per_image=True)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "shard":
            write, written = JobFolder.write, []

            def write_three(self: JobFolder, number: int, tables: object) -> None:
                written.append(number)
                stop() if len(written) > 3 else write(self, number, tables)  # type: ignore[arg-type]

            patch.setattr(JobFolder, "write", write_three)
        elif moment == "assembling":
            patch.setattr(VectorWriter, "reject", stop)
        else:
            patch.setattr(JobFolder, "remove", stop)
        with pytest.raises(KeyboardInterrupt):
            embed(model, data=data, out=tmp_path / "stopped", per_image=True)
    assert (tmp_path / ".stopped.embedding").is_dir()
    finished = len(JobFolder(tmp_path / ".stopped.embedding").finished())
    assert finished == (3 if moment == "shard" else 8)
    embed(model, data=data, out=tmp_path / "stopped", per_image=True)
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "whole", "stopped"}


def test_what_an_interrupted_run_finished_serves_a_changed_catalog(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = str(small_encoder_folder), tmp_path / "v"
    with monkeypatch.context() as patch:
        patch.setattr(embed_catalog, "_assemble", None)
        with pytest.raises(TypeError):
            embed(model, data=write_shop(), out=out)
    products = products_of(14)
    products[5] = replace(products[5], title="a new title")
    result = embed(model, data=write_shop(products), out=out)
    assert (result.new, result.kept) == (1, 24)


def test_a_shard_that_a_kill_left_half_written_is_not_taken_over(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path
) -> None:
    model, out = str(small_encoder_folder), tmp_path / "v"
    killed_at_half = """
import os, signal, sys
from moon2.cli import main
from moon2.jobs import shards
whole = shards.pq.write_table
def write(table, where, **options):
    whole(table, where, **options)
    if where.name == "products.parquet":
        os.truncate(where, where.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
shards.pq.write_table = write
main(["embed", *sys.argv[1:]])
"""
    command = [sys.executable, "-c", killed_at_half, model, "--data", str(write_shop()), "--out", str(out)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".v.embedding/.*/products.parquet")), "half a shard is left"
    assert embed(model, data=write_shop(products_of(13)), out=out).counts == {"products": 18, "queries": 6}


def test_a_bad_row_is_set_aside_and_tried_again(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path
) -> None:
    products, out, model = products_of(7), tmp_path / "v", str(small_encoder_folder)
    missing = tmp_path / "photo.png"
    products[1] = replace(products[1], images=(b"no image",))
    products[4] = replace(products[4], images=(str(missing),))
    result = embed(model, data=write_shop(products), out=out, what="products")
    assert result.rejected == {"unreadable_image": 1, "nothing_to_embed": 1}
    rejects = VectorFolder.open(out).rejects()
    assert [(reject.row, reject.id, reject.dropped) for reject in rejects] == [(2, "p1", "image"), (5, "p4", "row")]
    assert "product 'p4': image 1" in rejects[1].message and "no such file" in rejects[1].message
    rows = table_of(out, "products")
    assert rows["t"][1] == rows["mm"][1] and rows["t"][1] and rows["i"][1] is None
    assert [rows[view][4] for view in VIEWS] == [None] * 3

    missing.write_bytes(photo(3))
    repaired = embed(model, data=tmp_path / "shop", out=out, what="products")
    assert (repaired.new, repaired.kept, repaired.rejected) == (2, 10, {"unreadable_image": 1})
    assert table_of(out, "products")["i"][4]
    assert embed(model, data=tmp_path / "shop", out=out, what="products").kept == 11

    missing.write_bytes(photo(200))  # the path is the same, its content is not
    assert embed(model, data=tmp_path / "shop", out=out, what="products").new == 2


def test_each_image_has_a_vector_of_its_own(small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path) -> None:
    products = products_of(9)
    products[7] = replace(products[7], images=(photo(1), b"no image", photo(2)))
    out, model = tmp_path / "v", str(small_encoder_folder)
    embed(model, data=write_shop(products), out=out, what="products", per_image=True)
    rows = table_of(out, "images")
    wanted = [
        (product.id, number)
        for product in [*products, *products_of(5, offset=900)]
        for number, image in enumerate(product.images)
        if image != b"no image"
    ]
    assert list(zip(rows["id"], rows["image"], strict=True)) == wanted
    encoder = Encoder.from_pretrained(model)
    alone = encoder.encode([Image.open(io.BytesIO(products[3].images[1]))])[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(rows["i"][wanted.index(("p3", 1))], alone, atol=2e-6)
    assert [reject.message.partition(" cannot")[0] for reject in VectorFolder.open(out).rejects()] == [
        "product 'p7': image 2:"
    ]
    again = embed(model, data=tmp_path / "shop", out=out, what="products", per_image=True)
    assert again.new == 1, "the one with a fault"
    rows_again = table_of(out, "images")
    np.testing.assert_allclose(rows_again["i"], rows["i"], atol=2e-6)
    assert [rows_again[name] for name in ("id", "key", "image")] == [rows[name] for name in ("id", "key", "image")]


def test_some_views_in_fewer_numbers(small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path) -> None:
    data, model = write_shop(), str(small_encoder_folder)
    with pytest.raises(VectorFolderError, match=r"--dimension is 8, and .* trained at 32; give one of 32, or add"):
        embed(model, data=data, out=tmp_path / "v", dimension=8)
    with pytest.raises(VectorFolderError, match=r"--dimension is 64; vectors of .* have 1 to 32"):
        embed(model, data=data, out=tmp_path / "v", dimension=64, untrained_dimension=True)
    embed(model, data=data, out=tmp_path / "v", dimension=8, untrained_dimension=True, views=("t",), what="products")
    folder = VectorFolder.open(tmp_path / "v")
    ids, matrix = folder.matrix("products", "t")
    encoder = Encoder.from_pretrained(model)
    titles = [product.title for product in Catalog.open(data).products() if product.title]
    np.testing.assert_allclose(matrix, encoder.encode(titles, dimension=8), atol=2e-6)
    assert len(ids) == len(titles) and "i" not in table_of(tmp_path / "v", "products")


def test_encoders_of_others_embed_a_catalog_too(
    dual_checkpoints: dict[str, Path], write_shop: WriteShop, tmp_path: Path
) -> None:
    products, out, model = products_of(7), tmp_path / "v", str(dual_checkpoints["clip"])
    products[1] = replace(products[1], images=(b"no image",))
    result = embed(model, data=write_shop(products), out=out, prompt="find: ")
    assert result.rejected == {"unreadable_image": 2}, "a product, and the query that was made with its photo"
    rows = table_of(out, "products")
    assert rows["t"][1] == rows["mm"][1] and rows["t"][2] == rows["mm"][2] and rows["i"][4] == rows["mm"][4]
    assert embed(model, data=tmp_path / "shop", out=out, prompt="find: ").kept == 16
    with pytest.raises(VectorFolderError, match="not known to have been trained at other lengths"):
        embed(model, data=tmp_path / "shop", out=out, dimension=4)


def test_mistakes_are_one_line(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, model = write_shop([Product("p0", images=(b"no image",))]), str(small_encoder_folder)
    with (
        exclusive_lock(tmp_path / "v", "`moon2 embed`"),
        pytest.raises(FolderInUseError, match="another `moon2 embed`"),
    ):
        embed(model, data=data, out=tmp_path / "v")
    with pytest.raises(VectorFolderError, match="--views is t t; give"):
        embed(model, data=data, out=tmp_path / "v", views=("t", "t"))
    with pytest.raises(JobError, match="--workers is 0; give 1 or more"):
        embed(model, data=data, out=tmp_path / "v", workers=0)
    write_catalog(tmp_path / "bad", {"train": [Product("p0", images=(b"no image",))]}, title="bad")
    with pytest.raises(VectorFolderError, match="has no queries, so there is nothing to embed"):
        embed(model, data=tmp_path / "bad", out=tmp_path / "v", what="queries")
    embed(model, data=tmp_path / "bad", out=tmp_path / "v")
    assert "not one row could be embedded; see" in caplog.text


@pytest.mark.long
def test_ray_workers_give_the_same_vectors(small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path) -> None:
    data, model = write_shop(), str(small_encoder_folder)
    embed(model, data=data, out=tmp_path / "here")
    embed(model, data=data, out=tmp_path / "ray", workers=2)
    assert digests(tmp_path / "here") == digests(tmp_path / "ray")


@pytest.mark.long
def test_killed_five_times_it_gives_the_same_bytes(
    small_encoder_folder: Path, write_shop: WriteShop, tmp_path: Path
) -> None:
    data = write_shop(products_of(150))
    embed(str(small_encoder_folder), data=data, out=tmp_path / "whole")
    command = [sys.executable, "-m", "moon2", "embed", str(small_encoder_folder), "--data", str(data)]
    job = JobFolder(tmp_path / ".killed.embedding")
    for wanted in (1, 8, 15, 22, 29):
        running = subprocess.Popen([*command, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
        while running.poll() is None and not (job.is_begun() and len(job.finished()) >= wanted):
            time.sleep(0.001)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL, "it was to be killed before it ended"
    subprocess.run([*command, "--out", str(tmp_path / "killed")], check=True, capture_output=True)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_the_result_reads_well(tmp_path: Path) -> None:
    result = EmbeddingResult(
        tmp_path, {"products": 1200, "queries": 30}, 30, 1200, 2, {"unreadable_image": 1}, 5.0, 3.0
    )
    assert str(result).splitlines() == [
        f"{tmp_path}: 1,200 products, 30 queries; 30 embedded in 5 s (once loaded, 10 a second)",
        "1,200 unchanged and kept, 2 no longer in the catalog and removed",
        f"not embedded as they are, see {tmp_path}/rejects.parquet: unreadable_image 1",
    ]
