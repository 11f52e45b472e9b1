"""Unit vectors in fewer bytes stay near what they were."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.vectors.quantize import STORAGES, Storage, dequantize, quantize, stored_width

DRAW = np.random.default_rng(0)
UNIT = DRAW.standard_normal((200, 70)).astype(np.float32)
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("storage", "near"), [("float32", 1.0), ("float16", 0.9999), ("int8", 0.9999), ("binary", 0.7)]
)
def test_what_is_read_points_where_the_vector_did(storage: Storage, near: float) -> None:
    stored = quantize(UNIT, storage)
    read = dequantize(stored, storage, 70)
    assert read.dtype == np.float32 and stored.numbers.shape == (200, stored_width(70, storage))
    cosines = (read * UNIT).sum(axis=1) / np.linalg.norm(read, axis=1)
    assert cosines.min() > near - 1e-6
    np.testing.assert_allclose(np.linalg.norm(read, axis=1), 1, atol=0.01)


def test_a_vector_is_stored_alike_whatever_is_stored_with_it() -> None:
    for storage in STORAGES:
        together, alone = quantize(UNIT, storage), quantize(UNIT[3:4], storage)
        np.testing.assert_array_equal(together.numbers[3:4], alone.numbers)


def test_one_large_number_keeps_its_place_in_int8() -> None:
    matrix = np.array([[0.99, -0.1, 0.1, 0.0], [0, 0, 0, 0]], np.float32)
    stored = quantize(matrix, "int8")
    assert stored.numbers.tolist() == [[127, -13, 13, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(dequantize(stored, "int8", 4), matrix, atol=0.004)


def test_bits_are_those_of_sentence_transformers() -> None:
    quantization = pytest.importorskip("sentence_transformers.quantization")
    wanted = quantization.quantize_embeddings(UNIT[:, :64], precision="ubinary")
    np.testing.assert_array_equal(quantize(UNIT[:, :64], "binary").numbers, wanted)
