"""A shop goes through the pipeline: nothing is lost, a kill changes nothing, same input gives same output."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from moon2.augment.pipeline import AugmentationResult, fingerprint
from moon2.augment.pipeline import augment as augment_command
from moon2.augment.settings import CoAugmentationSettings, ConsistencySettings, ImageSettings
from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.files import FolderInUseError
from moon2.images import open_image
from moon2.jobs.ray_pools import run_stages
from moon2.jobs.shards import JobError, JobFolder, shards_of
from moon2.records import Product

pytestmark = pytest.mark.usefixtures("ray")
SECONDS = 300
"""Until a started run is given up; a Ray under load takes its time."""


def augment(
    data: Path, out: Path, settings: CoAugmentationSettings | None = None, **options: Any
) -> AugmentationResult:
    return augment_command(data, out=out, settings=settings or CoAugmentationSettings(), **options)


@pytest.fixture(scope="module")
def augmented(shop: Catalog, ray: None, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    out = tmp_path_factory.mktemp("augmented") / "shop+"
    augment(shop.folder, out, workers=2)
    return Catalog.open(out)


def rows(catalog: Catalog | Path) -> list[dict]:
    """Everything of the training split, as stored."""
    folder = catalog.folder if isinstance(catalog, Catalog) else catalog
    return [row for path in sorted(folder.glob("products/train-*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_product_keeps_what_it_had_before(shop: Catalog, augmented: Catalog) -> None:
    for before, after in zip(shop.products("train"), augmented.products("train"), strict=True):
        plain = replace(after, enriched_title=None, expanded_images=(), provenance={})
        assert plain == before
    assert [p.id for p in augmented.products("test")] == [p.id for p in shop.products("test")]
    assert augmented.interactions("train") == shop.interactions("train")
    assert augmented.interactions("test") == shop.interactions("test")


def test_augmentations_carry_their_provenance(augmented: Catalog) -> None:
    titles = images = 0
    for product in augmented.products("train"):
        if product.enriched_title is not None:
            titles += 1
            facts = json.loads(product.provenance["enriched_title"])
            assert facts["provider"] == "rules" and facts["parents"] and facts["seed"] == 0
        if product.expanded_images:
            images += 1
            facts = json.loads(product.provenance["expanded_images"])
            assert [one["kind"] == "main" for one in facts] == [True, False, False, False]
            assert len(facts) == len(product.expanded_images)
            assert open_image(product.expanded_images[0]).size == open_image(product.images[0]).size
    assert titles > 0.8 * len(augmented.ids("train"))
    assert images > 0.9 * len(augmented.ids("train"))


def test_the_test_split_is_not_augmented(augmented: Catalog) -> None:
    assert all(p.enriched_title is None and not p.expanded_images for p in augmented.products("test"))


def test_datasets_opens_it(augmented: Catalog, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = str(augmented.folder)
    products = datasets.load_dataset(folder, "products", split="train", cache_dir=str(tmp_path))
    assert len(products) == len(augmented.ids("train"))
    assert any(products[row]["expanded_images"] for row in range(5))


def test_workers_and_runs_make_no_difference(shop: Catalog, augmented: Catalog, tmp_path: Path) -> None:
    augment(shop.folder, tmp_path / "again", workers=1)
    assert rows(tmp_path / "again") == rows(augmented)
    other = augment(shop.folder, tmp_path / "other", CoAugmentationSettings(seed=1), workers=2)
    assert other.products == len(rows(augmented))
    assert rows(tmp_path / "other") != rows(augmented)


def test_a_broken_image_is_reported_and_its_product_stays(tmp_path: Path) -> None:
    products = [
        Product(id="broken", title="Puma men navy shirt", images=(b"no image",), attributes={"fabric": "cotton"}),
        Product(id="text", title="Puma women red dress", attributes={"fabric": "silk"}),
        Product(id="image", images=(image_bytes(),)),
    ]
    write_catalog(tmp_path / "shop", {"train": products}, title="shop")
    result = augment(tmp_path / "shop", tmp_path / "shop+", workers=1)
    assert result.products == 3
    after = {product.id: product for product in Catalog.open(tmp_path / "shop+").products()}
    assert not after["broken"].expanded_images and after["broken"].enriched_title
    assert after["image"].expanded_images and after["image"].enriched_title is None
    rejected = pq.read_table(tmp_path / "shop+" / "rejected_augmentations.parquet").to_pylist()
    reasons = {(row["id"], row["kind"]): row["reason"] for row in rejected}
    assert reasons["broken", "image"] == "unreadable_image"
    assert reasons["text", "image"] == "no_image"
    assert ("image", "title") in reasons


def test_the_filter_drops_what_scores_below_and_keeps_it_with_its_score(tmp_path: Path) -> None:
    from support.dual_checkpoints import write_dual_checkpoint

    products = [
        Product(id=str(n), title="red cotton shoes", images=(image_bytes(n),), attributes={"brand": "Puma"})
        for n in range(3)
    ]
    write_catalog(tmp_path / "shop", {"train": products}, title="shop")
    judge = str(write_dual_checkpoint("clip", tmp_path / "clip"))
    images = ImageSettings(count=1)
    for threshold, kept in ((-1.0, 2), (1.0, 0)):
        settings = CoAugmentationSettings(images=images, consistency=ConsistencySettings(judge, threshold))
        out = tmp_path / f"kept-{kept}"
        augment(tmp_path / "shop", out, settings, workers=1)
        for product in Catalog.open(out).products():
            assert len(product.expanded_images) == kept
            assert (product.enriched_title is not None) == bool(kept)
            scores = [one["score"] for one in json.loads(product.provenance.get("expanded_images", "[]"))]
            assert all(-1 <= score <= 1 for score in scores)
        rejected = pq.read_table(out / "rejected_augmentations.parquet").to_pylist() if not kept else []
        assert {row["reason"] for row in rejected} <= {"low_consistency"}
        assert len(rejected) == (0 if kept else 9)
        assert all(row["score"] is not None for row in rejected)


def test_a_run_is_not_mixed_with_another(shop: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "shop+"
    JobFolder(tmp_path / ".shop+.augmenting").begin({"settings": "", "products": ""})
    with pytest.raises(JobError, match="interrupted run with other settings and products"):
        augment(shop.folder, out)
    assert not out.exists()


def test_what_may_not_be_replaced_is_refused_before_the_work(shop: Catalog, tmp_path: Path) -> None:
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "may.txt").touch()
    for out, why in ((shop.folder, "is its own source"), (tmp_path / "diary", "holds something")):
        with pytest.raises(CatalogError, match=why):
            augment(shop.folder, out, overwrite=True)


def test_killed_between_its_last_two_steps_the_same_command_still_ends_well(tmp_path: Path) -> None:
    products = [Product(id="one", title="Puma navy shirt"), Product(id="two", title="Puma red dress")]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="shop")
    out, settings = tmp_path / "shop+", CoAugmentationSettings()
    augment(shop.folder, out, settings, workers=1)
    before = rows(out)
    with pytest.raises(CatalogError, match="holds a catalog already; choose another folder or add --overwrite"):
        augment(shop.folder, out, settings, workers=1)
    job = JobFolder(tmp_path / ".shop+.augmenting")
    job.begin(fingerprint(shop, shards_of(shop, "train"), settings))
    augment(shop.folder, out, settings, workers=1)
    assert rows(out) == before
    assert not job.path.exists()


def test_a_damaged_source_ends_the_run_in_one_line_and_what_is_done_stays(shop: Catalog, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(shop.folder, damaged)
    path = next((damaged / "products").glob("train-*.parquet"))
    content = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(1)
    columns = [group.column(number) for number in range(group.num_columns)]
    images = next(column for column in columns if column.path_in_schema == "images.list.element.bytes")
    start, size = images.data_page_offset, images.total_compressed_size
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    with pytest.raises(JobError, match="damaged") as stopped:
        augment(damaged, tmp_path / "shop+", workers=1)
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "shop+").exists()


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_workers_than_one_are_refused_by_every_job(workers: int, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=f"--workers is {workers}; give 1 or more"):
        list(run_stages([], [], JobFolder(tmp_path), address=None, workers=workers))


def test_a_provider_that_cannot_work_ends_the_run_in_one_line(shop: Catalog, tmp_path: Path) -> None:
    images = ImageSettings(provider="diffusers", model=str(tmp_path / "nothing"))
    with pytest.raises(JobError, match="nothing") as stopped:
        augment(shop.folder, tmp_path / "shop+", CoAugmentationSettings(images=images), workers=1)
    assert "\n" not in str(stopped.value)


def augment_and_kill(data: Path, out: Path, finished: int) -> JobFolder:
    """Goes on with a run in other processes, and kills them once so many shards are finished."""
    job = JobFolder(out.with_name(f".{out.name}.augmenting"))
    command = [Path(sys.executable).parent / "moon2", "augment", data, "--out", out, "--workers", "1"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + SECONDS
    while running.poll() is None and time.monotonic() < deadline:
        if job.is_begun() and len(job.finished()) >= finished:
            break
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not out.exists()
    return job


def test_killed_at_any_moment_it_goes_on_to_the_same_output(shop: Catalog, augmented: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "shop+"
    for finished in (0, 1):
        job = augment_and_kill(shop.folder, out, finished)
    assert 1 <= len(job.finished()) < len(shards_of(shop, "train"))
    resumed = augment(shop.folder, out, workers=2)
    assert resumed.resumed > 0
    assert rows(out) == rows(augmented)
    assert not job.path.exists()


@pytest.mark.long
def test_killed_eight_times_it_goes_on_to_the_same_output(tmp_path: Path) -> None:
    shop = write_shop(out=tmp_path / "shop", products=5_000, queries=60)
    augment(shop.folder, tmp_path / "whole", workers=2)
    out = tmp_path / "killed"
    for finished in (0, 0, 1, 3, 3, 5, 7, 9):
        job = augment_and_kill(shop.folder, out, finished)
    assert 9 <= len(job.finished()) < len(shards_of(shop, "train"))
    augment(shop.folder, out, workers=2)
    assert rows(out) == rows(tmp_path / "whole")


def test_two_runs_on_one_target_do_not_mix_and_a_killed_one_is_not_waited_for(tmp_path: Path) -> None:
    shop = write_catalog(tmp_path / "shop", {"train": [Product(id="1", title="Puma navy shirt")]}, title="shop")
    out, job = tmp_path / "shop+", JobFolder(tmp_path / ".shop+.augmenting")
    command = [str(Path(sys.executable).parent / "moon2"), "augment", str(shop.folder), "--out", str(out)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + SECONDS
        while not job.is_begun() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(first.pid, signal.SIGSTOP)  # however quick it is, it has not ended
        message = re.escape(f"{out}: another `moon2 augment` is writing it")
        with pytest.raises(FolderInUseError, match=message) as refusal:
            augment(shop.folder, out, workers=1)
        assert "\n" not in str(refusal.value)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    # What it left is looked at again, which is done behind the lock.
    with pytest.raises(JobError, match="interrupted run with other settings"):
        augment(shop.folder, out, CoAugmentationSettings(seed=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [job.path.name, "shop"]


def image_bytes(seed: int = 0) -> bytes:
    """A dark box on white."""
    import io

    from PIL import Image, ImageDraw

    image = Image.new("RGB", (60, 80), "white")
    ImageDraw.Draw(image).rectangle((15 + seed, 20, 45, 60), fill=(30, 40, 120))
    stored = io.BytesIO()
    image.save(stored, "PNG")
    return stored.getvalue()
