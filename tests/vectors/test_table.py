"""Tables of vectors: rows come out in order, whether the table is in memory or in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from moon2.vectors import table as tables
from moon2.vectors.nearest import TIE_TOLERANCE, ranks, top_k
from moon2.vectors.table import VectorTable, release, shortened_rows


@pytest.mark.parametrize("large", [1, 2**30], ids=["file", "memory"])
def test_rows_come_out_in_order_and_those_of_nan_do_not(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGE", large)
    monkeypatch.setattr(tables, "BLOCK", 4)
    rows = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    rows[[0, 7, 8, 9, 10, 11, 12, 49]] = np.nan
    table = VectorTable(60, 3)
    for numbers in (range(30, 50), range(10, 30), range(10)):
        table.put(numbers, rows[list(numbers)])
    numbers, matrix = table.finish()
    assert isinstance(matrix, np.memmap) == (large == 1)
    assert numbers.tolist() == [n for n in range(1, 49) if not 7 <= n <= 12]
    release(matrix)
    np.testing.assert_array_equal(matrix, rows[numbers])


@pytest.mark.parametrize("large", [1, 2**30], ids=["file", "memory"])
def test_a_table_is_cut_block_by_block(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGE", large)
    monkeypatch.setattr(tables, "BLOCK", 4)
    rows = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    cut = shortened_rows(rows, 2)
    assert isinstance(cut, np.memmap) == (large == 1)
    np.testing.assert_allclose(cut, rows[:, :2] / np.linalg.norm(rows[:, :2], axis=1, keepdims=True), rtol=1e-6)
    assert shortened_rows(rows, 3) is rows and shortened_rows(rows, None) is rows


def test_a_row_put_twice_is_one_row() -> None:
    table = VectorTable(2, 1)
    table.put([0, 1], np.array([[1.0], [np.nan]], np.float32))
    table.put([1, 1], np.array([[2.0], [3.0]], np.float32))
    numbers, matrix = table.finish()
    assert (numbers.tolist(), matrix.tolist()) == ([0, 1], [[1.0], [3.0]])


def test_a_large_table_takes_no_memory_while_it_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    chunk, count = np.ones((16_384, 256), np.float32), 16  # 16 MiB a chunk, 256 in all

    def resident() -> int:
        return psutil.Process().memory_info().rss

    before, most = resident(), 0
    table = VectorTable(count * len(chunk), 256)
    for number in range(count):
        table.put(range(number * len(chunk), (number + 1) * len(chunk)), chunk)
        most = max(most, resident() - before)
    assert most < 100 * 2**20, f"{most / 2**20:.0f} MiB"
    assert table.finish()[1][::4096].sum() == 256 * count * 4


@pytest.mark.long
def test_a_million_rows_are_ranked_as_by_hand_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    count, block, dimension = 1_000_000, 10_000, 128  # 512 MB of vectors
    before = psutil.Process().memory_info().rss
    table = VectorTable(count, dimension)
    random = np.random.default_rng(0)
    for start in range(0, count, block):
        vectors = random.standard_normal((block, dimension), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[start // block] = np.nan  # one item of each block could not be embedded
        table.put(range(start, start + block), vectors)
    grown = psutil.Process().memory_info().rss - before
    assert grown < 200 * 2**20, f"{grown / 2**20:.0f} MiB"
    numbers, gallery = table.finish()
    assert len(numbers) == count - count // block
    queries = gallery[::50_000] + 0.1 * random.standard_normal((20, dimension), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    relevant = [[number, number + 1] for number in range(0, len(numbers), 50_000)]
    result = ranks(queries, gallery, relevant, [None] * len(queries))
    rows, _ = top_k(queries, gallery, 10)
    for query, right in enumerate(relevant):
        scores = gallery @ queries[query]
        assert rows[query].tolist() == np.argsort(-scores)[:10].tolist()
        assert result.above[query] == (scores > scores[right].max() + TIE_TOLERANCE).sum()
