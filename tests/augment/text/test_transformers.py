"""The provider `transformers` with tiny models: a taught LLaVA, and the families that moon2 upcycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.served_model import VISUAL_TOKENS, Taught, write_llava, write_taught_llava
from support.tiny_checkpoints import CHECKPOINTS, write_checkpoint

from moon2.augment.errors import AugmentationError
from moon2.augment.prompts import Prompt, load_prompts
from moon2.augment.settings import TextSettings
from moon2.augment.stages import ProviderCalls
from moon2.augment.text.provider import Enrichment, TextProvider
from moon2.augment.text.sanitize import clean_product
from moon2.augment.text.transformers import TransformersTextProvider
from moon2.records import Product

QWEN_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
SMOL_TEMPLATE = QWEN_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return write_taught_llava(tmp_path_factory.mktemp("taught"))


def new_provider(taught: Taught) -> TransformersTextProvider:
    settings = TextSettings(provider="transformers", model=taught.model, concurrency=8, max_tokens=30)
    return TransformersTextProvider(settings, load_prompts(taught.prompts))


def enrich(provider: TextProvider, products: Sequence[Product]) -> list[Any]:
    """As the pipeline does: in batches, behind the circuit breaker."""
    cleaned = [clean_product(product) for product in products]

    def call(rows: Sequence[int]) -> list[Enrichment]:
        return provider.enrich([cleaned[row] for row in rows], [()] * len(rows), seed=0)

    return ProviderCalls("text", provider).results(call, len(products))


def test_titles_are_the_models_replies_to_text_and_image(taught: Taught) -> None:
    results = enrich(new_provider(taught), taught.products)
    assert [result.text for result in results] == taught.titles
    assert all(result.tokens_in > VISUAL_TOKENS and 10 < result.tokens_out < 30 for result in results)


def test_a_batch_gives_what_each_product_alone_gives(taught: Taught) -> None:
    longer = [replace(product, id=f"{product.id}b", description="cotton " * 9) for product in taught.products]
    products = [*longer, *taught.products, Product(id="4", title="navy men casual shirt")]
    together = enrich(new_provider(taught), products)
    alone = [enrich(new_provider(taught), [product])[0] for product in products]
    assert together == alone
    assert [result.text for result in together[3:6]] == taught.titles


def test_memory_that_runs_out_halves_the_batches(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = new_provider(taught)
    generate, sizes = provider._network.generate, []

    def generate_in_little_memory(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        return torch.empty(2**60) if sizes[-1] > 2 else generate(**inputs)

    monkeypatch.setattr(provider._network, "generate", generate_in_little_memory)
    for _ in range(2):
        assert [result.text for result in enrich(provider, taught.products[:2] * 4)] == taught.titles[:2] * 4
    assert sizes == [8, 4, 2, 2, 4, 2, 2, *[2, 2, 2, 2]]


def test_a_product_on_which_the_model_fails_costs_no_other(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = new_provider(taught)
    generate = provider._network.generate

    def fail_on_longer_text(**inputs: Any) -> Any:
        if inputs["input_ids"].shape[1] > 60:
            raise IndexError("index out of range")
        return generate(**inputs)

    monkeypatch.setattr(provider._network, "generate", fail_on_longer_text)
    long = replace(taught.products[2], id="long", description="cotton " * 40)
    result, failure = enrich(provider, [taught.products[2], long])
    assert result.text == taught.titles[2]
    assert str(failure) == "provider_failed: IndexError: index out of range"


def test_a_reply_that_is_no_json_has_a_reason(tmp_path: Path) -> None:
    settings = TextSettings(provider="transformers", model=str(write_llava(tmp_path / "untaught")), max_tokens=4)
    (result,) = enrich(TransformersTextProvider(settings, load_prompts()), [Product(id="1", title="navy shirt")])
    assert result.text is None and result.reason.startswith("bad_json: ")
    assert result.reason.endswith("raise text.max_tokens") and result.tokens_out == 4


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_families_whose_processors_need_torchvision_do_without(kind: str, tmp_path: Path) -> None:
    folder = write_checkpoint(kind, tmp_path)
    (folder / "chat_template.jinja").write_text(SMOL_TEMPLATE if kind == "smolvlm" else QWEN_TEMPLATE)
    prompts = replace(load_prompts(), enrich=Prompt("short", "of {product}"))
    settings = TextSettings(provider="transformers", model=str(folder), max_tokens=3)
    provider = TransformersTextProvider(settings, prompts)
    images = [Image.new("RGB", size, "red") for size in ((64, 64), (64, 64), (96, 64))]
    products = [
        *(Product(id=str(number), title="shoe", images=(image,)) for number, image in enumerate(images)),
        Product(id="none", title="shoe"),
    ]
    replies: list[list[int]] = []
    decode = provider._reader.tokenizer.decode
    provider._reader.tokenizer.decode = lambda reply, **more: replies.append(reply) or decode(reply, **more)
    together = enrich(provider, products)
    in_batch, replies[:] = list(replies), []
    alone = [enrich(provider, [product])[0] for product in products]
    assert replies == in_batch and together == alone
    square, _, wide, none = (result.tokens_in for result in together)
    # Two markers around an image, and a token for 16 × 16 pixels; SmolVLM scales to 32 × 32 and has a third marker.
    assert (square - none, wide - none) == ((4 + 3, 4 + 3) if kind == "smolvlm" else (16 + 2, 24 + 2))


def test_a_model_that_cannot_be_opened_is_one_line() -> None:
    with pytest.raises(AugmentationError, match="cannot be opened") as failure:
        TransformersTextProvider(TextSettings(provider="transformers", model="/nowhere"), load_prompts())
    assert "\n" not in str(failure.value)
