"""What of a test is nearly in training, on a shop whose near-duplicates are known."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.coloured_shop import ColourAndKindEncoder

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.store import Catalog, write_catalog
from moon2.evaluate.contamination import check_benchmark, read_contamination
from moon2.evaluate.format import to_markdown, to_text
from moon2.evaluate.report.report import write_report
from moon2.evaluate.score import score
from moon2.evaluate.test_set import EvaluationError
from moon2.files import OutputError
from moon2.records import Interaction, Product, Query
from moon2.vectors.vector_folder import VectorInfo
from moon2.vectors.vector_writer import VectorWriter, stored_rows

URL = "https://shop.example/same.jpg"


def photo(seed: int, path: Path) -> Path:
    """A photo of its own for each seed; the ending of the path decides how it is saved."""
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 9, 3), np.uint8)
    Image.fromarray(pixels).resize((90, 80), Image.Resampling.NEAREST).save(path)
    return path


@pytest.fixture
def new_shop(tmp_path: Path) -> Callable[[], Catalog]:
    def write() -> Catalog:
        train = [
            Product("train-1", "soft red cotton shirt for men", images=(photo(1, tmp_path / "1.png"),)),
            Product("train-2", "large blue bag", images=(photo(2, tmp_path / "2.png"),)),
            Product("train-3", "green hat of wool", images=(URL,)),
        ]
        test = [
            Product("title", "Soft red cotton shirt, for men", images=(photo(3, tmp_path / "3.png"),)),
            Product("photo", "a travel companion", images=(photo(2, tmp_path / "2.bmp"),)),
            Product("address", "winter headwear", images=(URL,)),
            Product("address-too", "a present", images=(URL,)),
            Product("clean", "white porcelain tea pot", images=(photo(4, tmp_path / "4.png"),)),
            Product("clean-too", "black iron frying pan", images=(photo(5, tmp_path / "5.png"),)),
        ]
        log = {
            "train": [Interaction(Query("1", "a BAG"), ("train-2",), ("clean",))],
            "test": [
                Interaction(Query("2", "men shirt"), ("title", "clean")),
                Interaction(Query("3", "a bag"), ("clean-too",)),
                Interaction(Query("4", "pot"), ("clean",)),
            ],
        }
        return write_catalog(tmp_path / "shop", {"train": train, "test": test}, log, title="Leaky")

    return write


def test_near_duplicates_in_training_are_counted_and_listed(new_shop: Callable[[], Catalog]) -> None:
    catalog = new_shop()
    found = check_benchmark(catalog.folder)
    assert (found.near_products, found.products) == (4, 6)
    assert found.by == {"title": 1, "photo": 3, "title and photo": 0}
    assert (found.near_queries, found.queries, found.repeated_queries, found.named_products) == (1, 3, 1, 1)
    assert found.unseen == 3
    with Path(found.pairs).open(newline="") as file:
        rows = {(row["test_id"], row["train_id"]): row["near_by"] for row in csv.DictReader(file)}
    assert rows == {
        ("title", "train-1"): "title",
        ("photo", "train-2"): "photo",
        ("address", "train-3"): "photo",
        ("address-too", "train-3"): "photo",
    }
    for part in ("4 of 6 (66.7 %)", "1 of 3 (33.3 %)", "1 by title, 3 by photo", "contamination.csv"):
        assert part in str(found)


def test_vectors_find_what_the_encoder_takes_for_the_same(new_shop: Callable[[], Catalog], tmp_path: Path) -> None:
    """The test product "clean" has nearly the vector of a training product, and "clean-too" none."""
    catalog = new_shop()
    vector_of = {id: row for id, row in zip(catalog.ids(), np.eye(12, dtype=np.float32), strict=False)}
    vector_of["clean"] = 0.99 * vector_of["train-1"] + np.sqrt(1 - 0.99**2) * vector_of["clean"]
    del vector_of["clean-too"]
    info = VectorInfo(12, "float32", ("mm",), "m", "ab", str(catalog.folder), catalog_fingerprint(catalog))
    with VectorWriter(tmp_path / "vectors", info) as writer:
        for split in ("train", "test"):
            ids = [id for id in catalog.ids(split) if id in vector_of]
            columns = {"id": ids, "split": [split] * len(ids), "key": ids}
            matrix = np.stack([vector_of[id] for id in ids]).astype(np.float32)
            writer.write("products", split, stored_rows(info, "products", {"mm": matrix}, columns))
    found = check_benchmark(catalog.folder, vectors=tmp_path / "vectors", at_least=0.98)
    assert (found.by["vectors"], found.near_products) == (1, 5)
    assert check_benchmark(catalog.folder, vectors=tmp_path / "vectors", at_least=0.995).by["vectors"] == 0
    other = write_catalog(tmp_path / "other", {split: catalog.products(split) for split in ("train", "test")}, title="")
    with pytest.raises(EvaluationError, match="was made of another catalog than"):
        check_benchmark(other.folder, vectors=tmp_path / "vectors")


def test_an_evaluation_and_its_report_carry_the_share(new_shop: Callable[[], Catalog], tmp_path: Path) -> None:
    catalog = new_shop()
    before, _ = score(ColourAndKindEncoder(), catalog)
    assert before.contamination == "" and "near-duplicate" not in to_text(before)
    found = check_benchmark(catalog.folder, out=tmp_path / "pairs.csv")
    evaluation, _ = score(ColourAndKindEncoder(), catalog)
    html = write_report(tmp_path / "report.html", evaluation, [], catalog).read_text()
    assert (evaluation.contamination, evaluation.fingerprint) == (found.summary, before.fingerprint)
    for text in (to_text(evaluation), to_markdown(evaluation), html):
        assert "4 of 6 (66.7 %) test products have a near-duplicate in training" in text


def test_a_check_of_an_older_catalog_is_not_carried(
    new_shop: Callable[[], Catalog], caplog: pytest.LogCaptureFixture
) -> None:
    catalog = new_shop()
    check_benchmark(catalog.folder)
    record = (catalog.folder / "contamination.json").read_text()
    path = catalog.folder / "contamination.json"
    path.write_text(record.replace('"fingerprint": "', '"fingerprint": "0'))
    assert read_contamination(catalog) == "" and "the catalog has changed since" in caplog.text
    path.write_text("[]")
    assert read_contamination(catalog) == "" and "cannot be read" in caplog.text


def test_a_file_of_pairs_that_cannot_be_written_is_refused_before_the_work(
    new_shop: Callable[[], Catalog], tmp_path: Path
) -> None:
    catalog = new_shop()
    with pytest.raises(OutputError, match=r"--out .*: is a folder; name a file"):
        check_benchmark(catalog.folder, vectors=tmp_path / "none", out=tmp_path)
    found = check_benchmark(catalog.folder, out=tmp_path / "new" / "pairs.csv")
    assert (tmp_path / "new" / "pairs.csv").exists() and read_contamination(catalog) == found.summary


def test_a_catalog_without_a_split_is_refused(tmp_path: Path) -> None:
    write_catalog(tmp_path / "shop", {"train": [Product("1", "a shirt")]}, title="Whole")
    with pytest.raises(EvaluationError, match=r"has no products of split test.*benchmark build"):
        check_benchmark(tmp_path / "shop")
