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


def test_attributes_are_said_with_the_commonest_classes_and_classes_with_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert companions("material", 2, COUNTS) == ["bag", "shirt"], "nobody has a mug"
    assert companions("class", 3, COUNTS) == ["blue", "red"]
    monkeypatch.setattr(label_texts, "COMPANIONS", 1)
    assert companions("class", 3, COUNTS) == ["blue"]


def test_without_colours_classes_are_said_with_all_attributes() -> None:
    counts = {"class": COUNTS["class"], "material": Counter(wool=6, red=4), "team": Counter(red=3, blue=5)}
    assert companions("class", 3, counts) == ["red", "wool", "blue"], "what two attributes share counts together"


def test_a_task_that_is_alone_or_has_very_many_labels_is_asked_by_its_labels_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert companions("class", 3, {"class": COUNTS["class"]}) == companions("colour", 3, {"colour": Counter()}) == []
    monkeypatch.setattr(label_texts, "MOST_PHRASES", 6)
    assert companions("class", 3, COUNTS) == ["blue", "red"]
    assert companions("class", 4, COUNTS) == [], "four classes beside two colours are eight phrases"


def test_phrases_are_in_the_order_of_words() -> None:
    phrases = ["red", "blue", "red bag", "blue bag", "red shirt", "blue shirt"]
    assert label_texts.label_texts("colour", ["red", "blue"], ["bag", "shirt"]) == phrases
    assert label_texts.label_texts("class", ["bag"], ["red", "blue"]) == ["bag", "red bag", "blue bag"]


def test_vectors_are_by_phrase_and_label_within_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_texts, "CHUNK", 4)
    encoder = ColourAndKindEncoder()
    labels = {"class": ["bag", "shirt", "mug"], "colour": ["red", "blue"]}
    vectors = encode_labels(encoder, labels, COUNTS, label_prompt="one {}", batch_size=3)
    assert {task: of.shape for task, of in vectors.items()} == {"class": (3, 3, 6), "colour": (3, 2, 6)}
    np.testing.assert_array_equal(vectors["colour"][2, 0], encoder.encode(["one red shirt"])[0])
    np.testing.assert_array_equal(vectors["class"][0, 1], encoder.encode(["one shirt"])[0])
    alone = encode_labels(encoder, labels, {}, label_prompt="{}", batch_size=3)
    assert {task: of.shape for task, of in alone.items()} == {"class": (1, 3, 6), "colour": (1, 2, 6)}


def test_without_labels_nothing_is_encoded_or_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert encode_labels(ColourAndKindEncoder(), {}, {}, label_prompt="{}", batch_size=3) == {}
    assert capsys.readouterr().err == ""


def test_vectors_are_cut_to_the_length_of_the_products() -> None:
    encoder, labels = ColourAndKindEncoder(), {"colour": ["red"]}
    cut = encode_labels(encoder, labels, COUNTS, label_prompt="{}", batch_size=3, length=4)["colour"]
    assert cut.shape == (3, 1, 4)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=2), 1, rtol=1e-6)


def test_a_phrase_tells_what_a_word_leaves_open() -> None:
    """A shopper's "red" is a red shirt to this encoder, so a red bag is nearer to what "blue" alone stands for."""
    words = {"red": [1, 1, 0], "blue": [0, 1, 1], "red bag": [1, 0, 1], "blue bag": [0, 1, 1]}

    class Encoder(ColourAndKindEncoder):
        def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> np.ndarray:
            rows = np.array([words[text] for text in texts], np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    labels, counts = {"colour": ["red", "blue"]}, {"class": {"bag": 1}}
    texts = encode_labels(Encoder(), labels, counts, label_prompt="{}", batch_size=2)["colour"]
    red_bag = np.array([[0.6, 0, 0.8]], np.float32)
    assert nearest_label(red_bag, texts[:1]).tolist() == [1]
    assert nearest_label(red_bag, texts).tolist() == [0]
