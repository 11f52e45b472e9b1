"""A folder of vectors is read back as it was written, by moon2 and by other libraries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moon2.catalog.schema import Reject
from moon2.vectors import vector_writer
from moon2.vectors.quantize import STORAGES, Storage
from moon2.vectors.vector_folder import VectorFolder, VectorFolderError, VectorInfo
from moon2.vectors.vector_writer import VectorWriter, stored_rows
from moon2.views import View

REJECT = Reject(3, "p3", "image", "unreadable_image", "product 'p3': image 1: cannot be read")


def info_of(
    storage: Storage = "float32", dimension: int = 12, views: tuple[View, ...] = ("t", "i", "mm")
) -> VectorInfo:
    return VectorInfo(dimension, storage, views, model="/m", identity="ab", data="/data/shop", fingerprint="cd")


def random_vectors(rows: int, dimension: int = 12) -> dict[View, np.ndarray]:
    """Unit vectors; every third row lacks its images."""
    draw = np.random.default_rng(0)
    matrices: dict[View, np.ndarray] = {}
    for view in ("t", "i", "mm"):
        matrix = draw.standard_normal((rows, dimension)).astype(np.float32)
        matrices[view] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    matrices["i"][::3] = np.nan
    return matrices


def write(path: Path, storage: Storage = "float32", rows: int = 30, step: int = 7) -> dict[View, np.ndarray]:
    """Writes products of both splits, `step` at a time, and two images."""
    info, vectors = info_of(storage), random_vectors(rows)
    with VectorWriter(path, info) as writer:
        for split in ("train", "test"):
            for start in range(0, rows, step):
                part = {view: matrix[start : start + step] for view, matrix in vectors.items()}
                numbers = range(start, start + len(part["t"]))
                columns = {
                    "id": [f"{split}-{n}" for n in numbers],
                    "split": [split for _ in numbers],
                    "key": [f"{n:032x}" for n in numbers],
                }
                writer.write("products", split, stored_rows(info, "products", part, columns))
        images = {"id": ["train-1", "train-1"], "split": ["train"] * 2, "key": ["0", "0"], "image": [0, 1]}
        writer.write("images", "train", stored_rows(info, "images", {"i": vectors["t"][:2]}, images))
        writer.reject([REJECT])
    return vectors


@pytest.mark.parametrize("storage", STORAGES)
def test_vectors_come_back_in_order(storage: Storage, tmp_path: Path) -> None:
    vectors = write(tmp_path / "v", storage)
    folder = VectorFolder.open(tmp_path / "v")
    assert folder.info.counts == {"products": {"train": 30, "test": 30}, "images": {"train": 2}}
    assert folder.info.vectors == {"products": {"t": 60, "i": 40, "mm": 60}, "images": {"i": 2}}
    assert (folder.count("products"), folder.count("products", "test"), folder.count("queries")) == (60, 30, 0)
    ids, matrix = folder.matrix("products", "i", split="train")
    wanted = [n for n in range(30) if n % 3]
    assert ids == [f"train-{n}" for n in wanted]
    assert matrix.dtype == np.float32
    cosines = (matrix * vectors["i"][wanted]).sum(axis=1) / np.linalg.norm(matrix, axis=1)
    assert cosines.min() > (0.3 if storage == "binary" else 0.9999)
    assert [id for batch in folder.batches("products", ["id"], rows=8) for id in batch.column(0).to_pylist()] == [
        f"{split}-{n}" for split in ("train", "test") for n in range(30)
    ]
    assert folder.matrix("images", "i")[1].shape == (2, 12)
    assert folder.rejects() == [REJECT]


def test_how_rows_come_in_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_writer, "MAX_ROW_GROUP_ROWS", 4)
    monkeypatch.setattr(vector_writer, "ROW_GROUPS_A_FILE", 3)
    digests = []
    for step in (1, 7, 30):
        write(tmp_path / str(step), step=step)
        files = sorted(path for path in (tmp_path / str(step)).rglob("*") if path.is_file())
        digests.append([(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files])
    assert digests[0] == digests[1] == digests[2]
    assert [path.name for path in VectorFolder.open(tmp_path / "1").files("products", "test")] == [
        f"test-0000{n}.parquet" for n in range(3)
    ]


@pytest.mark.parametrize("storage", STORAGES)
def test_other_libraries_read_it(storage: Storage, tmp_path: Path) -> None:
    write(tmp_path / "v", storage)
    stored = VectorFolder.open(tmp_path / "v").batches("products", ["id", "i"], split="train")
    wanted = [row for batch in stored for row in batch.to_pylist()]

    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.sql(f"select id, i from '{tmp_path}/v/products/train-*.parquet'").fetchall()
    assert [{"id": id, "i": None if i is None else list(i)} for id, i in rows] == wanted

    datasets: Any = pytest.importorskip("datasets")
    table = datasets.load_dataset(str(tmp_path / "v"), "products", split="train", cache_dir=str(tmp_path / "cache"))
    assert table.select_columns(["id", "i"]).to_list() == wanted


def test_lancedb_takes_the_batches_and_finds_a_vector_by_itself(tmp_path: Path) -> None:
    lancedb: Any = pytest.importorskip("lancedb")
    vectors = write(tmp_path / "v")
    folder = VectorFolder.open(tmp_path / "v")
    database = lancedb.connect(str(tmp_path / "lance"))
    batches, schema = folder.batches("products"), folder.info.schema("products")
    table = database.create_table("products", batches, schema=schema, on_bad_vectors="null")
    assert table.count_rows() == 60
    found = table.search(vectors["mm"][5], vector_column_name="mm").limit(2).to_list()
    assert {row["id"] for row in found} == {"train-5", "test-5"}


def test_after_an_error_the_old_vectors_stay(tmp_path: Path) -> None:
    write(tmp_path / "v", rows=3)
    with pytest.raises(RuntimeError), VectorWriter(tmp_path / "v", info_of()) as writer:
        writer.begin("products", "train")
        raise RuntimeError
    assert VectorFolder.open(tmp_path / "v").count("products") == 6
    assert [path.name for path in tmp_path.iterdir()] == ["v"]


def test_an_empty_table_is_there_and_is_read(tmp_path: Path) -> None:
    with VectorWriter(tmp_path / "v", info_of()) as writer:
        writer.begin("queries", "train")
    folder = VectorFolder.open(tmp_path / "v")
    assert folder.info.counts == {"queries": {"train": 0}}
    ids, matrix = folder.matrix("queries", "t")
    assert ids == [] and matrix.shape == (0, 12)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_view_that_no_product_has_is_an_empty_matrix(storage: Storage, tmp_path: Path) -> None:
    """As in a catalog without photos."""
    info, vectors = info_of(storage), random_vectors(3)
    vectors["i"][:] = np.nan
    columns = {"id": ["a", "b", "c"], "split": ["train"] * 3, "key": ["0", "1", "2"]}
    with VectorWriter(tmp_path / "vectors", info) as writer:
        writer.write("products", "train", stored_rows(info, "products", vectors, columns))
    ids, matrix = VectorFolder.open(tmp_path / "vectors").matrix("products", "i")
    assert (ids, matrix.shape) == ([], (0, 12))


def test_what_is_no_folder_of_vectors_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(VectorFolderError, match=r"holds no vectors.*moon2 embed"):
        VectorFolder.open(tmp_path / "none")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(VectorFolderError, match="something else"):
        VectorWriter(tmp_path / "other", info_of())
    write(tmp_path / "v")
    with pytest.raises(VectorFolderError, match="no view 't' of queries"):
        VectorFolder.open(tmp_path / "v").matrix("queries", "t")
    file = next((tmp_path / "v" / "products").iterdir())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(VectorFolderError, match=rf"{file.name}: is damaged"):
        VectorFolder.open(tmp_path / "v").matrix("products", "t")
    for text, message in (('{"format": 1}', r"vectors\.json: is damaged"), ('{"format": 99}', "by another moon2")):
        (tmp_path / "v" / "vectors.json").write_text(text)
        with pytest.raises(VectorFolderError, match=message):
            VectorFolder.open(tmp_path / "v")
