"""Labels alone and in phrases: what they are said beside, in which order, and what a phrase tells beyond a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from support.coloured_shop import ColourAndKindEncoder

from moon2.vectors import label_texts
from moon2.vectors.label_texts import companions, encode_labels
from moon2.vectors.labels import nearest_label

COUNTS = {
    "class": Counter(shirt=5, bag=7, mug=0),
    "colour": Counter(red=3, blue=9),
    "material": Counter(wool=6, red=4),
}


class Reader(ColourAndKindEncoder):
    """Remembers what it was asked."""

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> np.ndarray:
        """[n, 6] float32 of unit length."""
        self.read = [*getattr(self, "read", []), *texts]
        return super().embed_texts(texts, batch_size, role)


def test_attributes_are_said_with_the_commonest_classes_and_classes_with_attributes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert companions("colour", COUNTS) == ["bag", "shirt"], "nobody has a mug"
    assert companions("class", COUNTS) == ["blue", "red", "wool"], "what two attributes share counts together"
    monkeypatch.setattr(label_texts, "COMPANIONS", 1)
    assert companions("class", COUNTS) == ["blue"]


def test_a_task_that_is_alone_or_has_very_many_labels_is_asked_by_its_labels_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert companions("class", {"class": COUNTS["class"]}) == []
    monkeypatch.setattr(label_texts, "MOST_PHRASES", 8)
    assert companions("colour", COUNTS) == ["bag", "shirt"]
    assert companions("class", COUNTS) == [], "three classes beside three attributes are nine"


def test_phrases_are_in_the_order_of_words_and_within_the_prompt() -> None:
    encoder = Reader()
    vectors = encode_labels(encoder, "colour", ["red", "blue"], ["bag", "shirt"], batch_size=3)
    assert encoder.read == ["red", "blue", "red bag", "blue bag", "red shirt", "blue shirt"]
    assert vectors.shape == (3, 2, 6)
    np.testing.assert_allclose(vectors[2, 0], encoder.encode(["red shirt"])[0])
    encoder = Reader()
    assert encode_labels(encoder, "class", ["bag"], ["red"], label_prompt="a {}", batch_size=3).shape == (2, 1, 6)
    assert encode_labels(encoder, "class", ["bag", "mug"], batch_size=3).shape == (1, 2, 6)
    assert encoder.read == ["a bag", "a red bag", "bag", "mug"]


def test_vectors_are_cut_to_the_length_of_the_products() -> None:
    cut = encode_labels(ColourAndKindEncoder(), "colour", ["red"], ["bag"], batch_size=3, length=4)
    assert cut.shape == (2, 1, 4)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=2), 1, rtol=1e-6)


def test_a_phrase_tells_what_a_word_leaves_open() -> None:
    """A shopper's "red" is a red shirt to this encoder, so a red bag is nearer to what "blue" alone stands for."""
    words = {"red": [1, 1, 0], "blue": [0, 1, 1], "red bag": [1, 0, 1], "blue bag": [0, 1, 1]}

    class Encoder(ColourAndKindEncoder):
        def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> np.ndarray:
            rows = np.array([words[text] for text in texts], np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    red_bag = np.array([[0.6, 0, 0.8]], np.float32)
    texts = encode_labels(Encoder(), "colour", ["red", "blue"], ["bag"], batch_size=2)
    assert nearest_label(red_bag, texts[:1]).tolist() == [1]
    assert nearest_label(red_bag, texts).tolist() == [0]
