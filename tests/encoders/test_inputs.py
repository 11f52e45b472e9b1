"""What people hand to `encode`, good and bad: the same for our own encoder and for others behind the protocol."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moon2 import Encoder
from moon2.encoders.dual import DualEncoder
from moon2.encoders.protocol import VectorEncoder
from moon2.images import open_image
from moon2.model.errors import EncoderError
from moon2.records import Product, Query

HALF_AN_EMOJI = "red shoes \ud83d"


@pytest.fixture(scope="module", params=["moon2", "dual"])
def encoder(request: pytest.FixtureRequest, small_encoder: Encoder, dual_checkpoints: dict[str, Path]) -> VectorEncoder:
    return small_encoder if request.param == "moon2" else DualEncoder.from_pretrained(dual_checkpoints["clip"])


def test_every_form_is_embedded_as_what_it_is(
    encoder: VectorEncoder, image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    navy = image("navy")
    navy.save(tmp_path / "navy.png")
    file = (tmp_path / "navy.png").read_bytes()
    product, query = Product("1", "navy shirt", images=[navy]), Query("q", "navy shirt")
    wanted = encoder.encode([navy, query, product])
    for source in (tmp_path / "navy.png", file, navy, {"image": file}, {"image": str(tmp_path / "navy.png")}):
        assert encoder.encode([source])[0] == pytest.approx(wanted[0], abs=1e-5)
    for source in ("navy shirt", {"text": "navy shirt"}, {"text": "navy shirt", "image": None}, np.str_("navy shirt")):
        assert encoder.encode([source])[0] == pytest.approx(wanted[1], abs=1e-5)
        assert encoder.encode(source)[0] == pytest.approx(wanted[1], abs=1e-5)
    assert encoder.encode([{"text": "navy shirt", "image": navy}])[0] == pytest.approx(wanted[2], abs=1e-5)


def test_every_iterable_with_an_order_is_a_list(encoder: VectorEncoder) -> None:
    words = ["navy shirt", "red shoes"]
    wanted = encoder.encode(words)
    table = pd.DataFrame({"title": words})
    forms: list[Any] = [
        tuple(words),
        dict.fromkeys(words).keys(),
        table["title"],
        table["title"].values,
        np.array(words),
    ]
    for form in [*forms, (word for word in words), iter(words)]:
        assert encoder.encode(form) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (pd.DataFrame({"title": ["navy shirt"]}), r"cannot embed a DataFrame; give a list .* list\(table\['title'\]\)"),
        ({"navy shirt"}, "cannot embed a set, which has no order"),
        (None, "cannot embed a NoneType"),
        (3, "cannot embed a int"),
        ([None], "item 0: cannot embed a NoneType"),
        ([float("nan")], "item 0: cannot embed a float"),
        ([["navy", "shirt"]], "item 0: cannot embed a list"),
        ([{"title": "navy shirt"}], "item 0: cannot embed a dictionary with 'title'; give text and image"),
        ([{"text": float("nan")}], "item 0: cannot embed a dictionary whose text is a float"),
        ([{"image": float("nan")}], "item 0: .*cannot open a float as an image"),
        ([{}], "item 0: "),
        (["navy shirt", " "], "item 1: "),
        ([b"navy shirt"], "item 0: image.* cannot be read as an image"),
        ([HALF_AN_EMOJI], "item 0: text: its text has half a character at 10"),
        ([{"text": HALF_AN_EMOJI}], "item 0: item: its text has half a character at 10"),
        ([Path("nowhere.jpg")], "item 0: image.* there is no such file"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(encoder: VectorEncoder, items: Any, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        encoder.encode(items)


def test_every_bad_item_can_be_set_aside(encoder: VectorEncoder, caplog: pytest.LogCaptureFixture) -> None:
    bad: list[Any] = [None, 3, "", " ", {}, {"title": "x"}, {"text": 3}, b"", HALF_AN_EMOJI, Path("nowhere.jpg"), []]
    items = [item for each in bad for item in (each, "navy shirt")]
    vectors = encoder.encode(items, skip_bad=True, batch_size=4)
    assert np.isnan(vectors).all(axis=1).tolist() == [True, False] * len(bad)
    assert vectors[1::2] == pytest.approx(np.tile(encoder.encode(["navy shirt"]), (len(bad), 1)), abs=1e-5)
    assert all(f"item {number}: " in caplog.text for number in range(0, len(items), 2))


@pytest.mark.parametrize("batch_size", [-1, 0, 2.5, "8", None])
def test_a_batch_of_no_items_is_refused(encoder: VectorEncoder, batch_size: Any) -> None:
    with pytest.raises(EncoderError, match=r"batch_size is .*; it must be a whole number of 1 or more"):
        encoder.encode(["navy shirt"], batch_size=batch_size)


def test_a_view_that_there_is_not_is_refused(encoder: VectorEncoder) -> None:
    with pytest.raises(EncoderError, match="view is 'image'; it must be one of t, i, mm"):
        encoder.encode(["navy shirt"], view="image")  # type: ignore[arg-type]


def test_the_other_names_of_encode_are_as_careful(small_encoder: Encoder) -> None:
    methods: list[Callable[..., Any]] = [
        small_encoder.encode_query,
        small_encoder.encode_document,
        small_encoder.encode_views,
    ]
    for method in methods:
        for items, message in ((pd.DataFrame({"title": ["a"]}), "a DataFrame"), ([HALF_AN_EMOJI], "half a character")):
            with pytest.raises(EncoderError, match=message):
                method(items)
        with pytest.raises(EncoderError, match="batch_size is -1"):
            method(["navy shirt"], batch_size=-1)
    assert np.isnan(small_encoder.encode_query(["navy shirt", HALF_AN_EMOJI], skip_bad=True)[1]).all()
    with pytest.raises(EncoderError, match="view is 'x'"):
        small_encoder.encode_views(["navy shirt"], ["x"])  # type: ignore[list-item]


def test_a_large_photo_is_scaled_while_it_is_decoded(
    encoder: VectorEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gives nearly the vector of the whole photo; a ribbon is no harder."""
    Image.linear_gradient("L").resize((2400, 1800)).convert("RGB").save(tmp_path / "large.jpg", quality=95)
    Image.new("RGB", (20_000, 2), "navy").save(tmp_path / "ribbon.png")
    large, ribbon = encoder.encode([tmp_path / "large.jpg", tmp_path / "ribbon.png"])
    whole = encoder.encode([open_image(tmp_path / "large.jpg")])[0]
    assert float(large @ whole) > 0.999 and np.isfinite(ribbon).all()
    read_at = encoder.processor.reading_size if isinstance(encoder, Encoder) else encoder.reading_size  # type: ignore[attr-defined]
    assert max(open_image(tmp_path / "large.jpg", read_at=read_at).size) < 400


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_pool_of_forked_processes_gives_the_same_vectors(encoder: VectorEncoder) -> None:
    """It did not end: a forked process waited for threads of OpenMP that it does not have."""
    words = ["navy shirt", "red women shoes and a bag"] * 40
    wanted = encoder.encode(words)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for vectors in pool.map_async(encoder.encode, [words, words]).get(60):
            assert vectors == pytest.approx(wanted, abs=1e-5)
