"""The adapter: what a dual encoder makes of products, queries, plain text and images, and of what is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon2.encoders.dual import DualEncoder
from moon2.model.errors import EncoderError
from moon2.records import Product, Query
from moon2.views import VIEWS

BROKEN = Product(id="broken", title="red shoes", images=(b"no image",))


@pytest.fixture(scope="module")
def clip(dual_checkpoints: dict[str, Path]) -> DualEncoder:
    return DualEncoder.from_pretrained(dual_checkpoints["clip"])


@pytest.fixture(scope="module")
def good(image: Callable[..., Image.Image]) -> Product:
    return Product(id="good", title="navy shirt", images=(image("navy"), image("red")))


def test_a_whole_product_is_the_normalised_sum_of_its_text_and_its_first_image(
    clip: DualEncoder, good: Product
) -> None:
    t, i, both = (clip.encode([good], view=view)[0] for view in VIEWS)
    assert both == pytest.approx((t + i) / np.linalg.norm(t + i), abs=1e-5)
    assert i == pytest.approx(clip.encode([good.images[0]])[0], abs=1e-5)
    assert clip.encode([good])[0] == pytest.approx(both, abs=1e-5)


def test_a_mixed_list_keeps_its_order(clip: DualEncoder, good: Product, image: Callable[..., Image.Image]) -> None:
    items = ["red shoes", good, image("teal"), Query("q", "red shoes"), Query("photo", image=image("teal"))]
    one_by_one = np.concatenate([clip.encode([item]) for item in items])
    assert clip.encode(items, batch_size=2) == pytest.approx(one_by_one, abs=1e-5)
    assert one_by_one[3] == pytest.approx(one_by_one[0], abs=1e-5)
    assert one_by_one[4] == pytest.approx(one_by_one[2], abs=1e-5)


def test_the_prompt_is_put_before_queries_only(dual_checkpoints: dict[str, Path], clip: DualEncoder) -> None:
    prompted = DualEncoder.from_pretrained(dual_checkpoints["clip"], prompt="query: ")
    query, product = Query(id="q", text="red shoes"), Product(id="p", title="red shoes")
    assert prompted.encode([query]) == pytest.approx(clip.encode(["query: red shoes"]), abs=1e-5)
    assert np.abs(clip.encode([query]) - prompted.encode([query])).max() > 1e-3
    assert prompted.encode([product, "red shoes"]) == pytest.approx(clip.encode([product, "red shoes"]), abs=1e-5)


def test_a_broken_image_is_set_aside_and_the_rest_goes_on(
    clip: DualEncoder, good: Product, caplog: pytest.LogCaptureFixture
) -> None:
    for view in ("i", "mm", None):
        vectors = clip.encode([BROKEN, good], view=view, skip_bad=True)
        assert np.isnan(vectors).all(axis=1).tolist() == [True, False]
    views = clip.encode_views([BROKEN, good], skip_bad=True)
    for view in VIEWS:
        assert np.isnan(views[view]).all(axis=1).tolist() == [True, False]
    assert "product 'broken'" in caplog.text
    with pytest.raises(EncoderError, match="product 'broken'"):
        clip.encode([BROKEN, good], view="i")
    assert np.isfinite(clip.encode([BROKEN], view="t")).all(), "its text needs no image"


def test_rows_of_nan_have_the_length_of_any_other_where_nothing_can_be_embedded(
    dual_checkpoints: dict[str, Path], clip: DualEncoder
) -> None:
    fresh = DualEncoder.from_pretrained(dual_checkpoints["clip"])
    vectors = fresh.encode([BROKEN], view="i", skip_bad=True)
    assert vectors.shape == (1, clip.encode(["red shoes"]).shape[1])
    assert np.isnan(vectors).all()


def test_what_has_nothing_to_embed_is_refused(clip: DualEncoder) -> None:
    with pytest.raises(EncoderError, match="item 1: has nothing to embed in view i"):
        clip.encode([Query("q", image=Image.new("RGB", (9, 9))), Product("p", "only words")], view="i")
    with pytest.raises(EncoderError, match="cannot embed a int"):
        clip.encode([7])
