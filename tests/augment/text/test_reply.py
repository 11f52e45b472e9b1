"""The title in a model's reply, and the image that a model sees."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from moon2.augment.errors import ProductError
from moon2.augment.text.reply import IMAGE_SIDE, main_image, title_in
from moon2.augment.text.sanitize import clean_product
from moon2.records import Product


@pytest.mark.parametrize(
    "reply",
    [
        '{"title": "Nike red shoe"}',
        '```json\n{"title": "Nike red shoe"}\n```',
        'Sure! {"title": "Nike red shoe"} Hope it helps {smile}.',
        '<think>{"title": "no"} or {</think>{"title": "Nike red shoe"}',
        'First {"title": "draft"}, better: {"title": "Nike red shoe"}',
        '{"product": {"title": "Nike\\n red \\u0000shoe\\ud800"}}',
        '{"title": "Nike\nred shoe"}',
    ],
)
def test_a_title_is_read_whatever_stands_around_it(reply: str) -> None:
    assert title_in(reply) == "Nike red shoe"


@pytest.mark.parametrize(
    "reply",
    [
        *("", None, "Nike red shoe", '{"title": 3}', '{"title": " "}', '{"title": "cut', '{"a":' * 9000, '["title"]'),
        json.dumps({"title": "a" * 3000}),
    ],
)
def test_a_reply_without_a_title_is_refused_in_one_line(reply: str | None) -> None:
    with pytest.raises(ProductError, match="bad_json: ") as failure:
        title_in(reply)
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 200


@pytest.mark.parametrize(("size", "shown"), [((1, 1), (32, 32)), ((3000, 2), (IMAGE_SIDE, 32)), ((90, 60), (90, 60))])
def test_slivers_and_single_pixels_become_images_that_servers_take(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = main_image(clean_product(Product(id="a", images=(Image.new("RGB", size),))))
    assert image is not None and image.size == shown


def test_a_product_without_a_readable_image_is_asked_about_without() -> None:
    assert main_image(clean_product(Product(id="a", title="shirt", images=(b"not an image",)))) is None
