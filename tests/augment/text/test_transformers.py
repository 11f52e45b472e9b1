from dataclasses import replace

import pytest
import torch
from PIL import Image
from support.served_model import VISUAL_TOKENS, write_llava, write_taught_llava
from support.tiny_checkpoints import CHECKPOINTS, write_checkpoint

from moon2.augment.providers import text_provider
from moon2.augment.settings import TextSettings
from moon2.augment.text.provider import EnrichmentError
from moon2.augment.text.transformers import LocalChatProvider
from moon2.records import Product

QWEN_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
SMOL_TEMPLATE = QWEN_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    return write_taught_llava(tmp_path_factory.mktemp("taught"))


def local(taught, **more):
    settings = TextSettings(provider="transformers", model=taught.model, concurrency=8, max_tokens=30)
    return text_provider(replace(settings, **more), taught.prompts)


def enrich(provider, products):
    return provider.enrich(products, [()] * len(products), seed=0)


def test_titles_are_what_the_model_says_of_text_and_picture(taught):
    provider = local(taught)
    results = enrich(provider, taught.products)
    assert [result.text for result in results] == taught.titles
    assert all(result.tokens_in > VISUAL_TOKENS and 10 < result.tokens_out < 30 for result in results)


def test_a_batch_says_what_each_product_alone_is_told(taught):
    longer = [replace(product, id=f"{product.id}b", description="cotton " * 9) for product in taught.products]
    products = [*longer, *taught.products, Product(id="4", title="navy men casual shirt")]
    together = enrich(local(taught), products)
    alone = [enrich(local(taught, concurrency=1), [product])[0] for product in products]
    assert together == alone
    assert [result.text for result in together[3:6]] == taught.titles


def test_an_unreadable_picture_counts_as_none(taught):
    bag = replace(taught.products[2], images=(b"not a picture",))
    assert enrich(local(taught), [bag])[0].text == taught.titles[2]


def test_memory_that_runs_out_halves_the_batch(taught):
    provider = local(taught, concurrency=8)
    generate, sizes = provider._network.generate, []

    def in_little_memory(**inputs):
        sizes.append(len(inputs["input_ids"]))
        return torch.empty(2**60) if sizes[-1] > 2 else generate(**inputs)

    provider._network.generate = in_little_memory
    results = enrich(provider, taught.products[:2] * 3)
    assert [result.text for result in results] == taught.titles[:2] * 3
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    provider._network.generate = lambda **inputs: torch.empty(2**60)
    assert [result.reason.split(":")[0] for result in enrich(provider, taught.products)] == ["out_of_memory"] * 3


def test_a_product_on_which_the_model_fails_takes_no_other_with_it(taught):
    provider = local(taught)
    generate = provider._network.generate

    def failing_on_longer_text(**inputs):
        if inputs["input_ids"].shape[1] > 60:
            raise IndexError("index out of range")
        return generate(**inputs)

    provider._network.generate = failing_on_longer_text
    long = replace(taught.products[2], id="long", description="cotton " * 40)
    results = enrich(provider, [taught.products[2], long])
    assert [result.text for result in results] == [taught.titles[2], None]
    assert results[1].reason == "failed: index out of range"
    with pytest.raises(EnrichmentError, match="index out of range"):
        fresh = local(taught)
        fresh._network.generate = failing_on_longer_text
        enrich(fresh, [long])


def test_what_is_not_the_json_asked_for_is_put_aside(tmp_path):
    settings = TextSettings(provider="transformers", model=str(write_llava(tmp_path / "untaught")), max_tokens=4)
    result = enrich(LocalChatProvider(settings), [Product(id="1", title="navy shirt")])[0]
    assert result.text is None and result.reason.startswith("bad_json: ")
    assert result.reason.endswith("raise text.max_tokens") and result.tokens_out == 4


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_families_whose_processors_need_torchvision_do_without(kind, tmp_path):
    folder = write_checkpoint(kind, tmp_path)
    (folder / "chat_template.jinja").write_text(SMOL_TEMPLATE if kind == "smolvlm" else QWEN_TEMPLATE)
    settings = TextSettings(provider="transformers", model=str(folder), max_tokens=3)
    provider = LocalChatProvider(settings)
    provider._prompts = replace(provider._prompts, enrich=replace(provider._prompts.enrich, text="of {product}"))
    pictures = [Image.new("RGB", size, "red") for size in ((64, 64), (64, 64), (96, 64))]
    products = [
        *(Product(id=str(number), title="shoe", images=(picture,)) for number, picture in enumerate(pictures)),
        Product(id="none", title="shoe"),
    ]
    written = []
    decode = provider._reader.tokenizer.decode
    provider._reader.tokenizer.decode = lambda row, **more: written.append(row) or decode(row, **more)
    together = enrich(provider, products)
    in_batch, written[:] = list(written), []
    alone = [enrich(provider, [product])[0] for product in products]
    assert written == in_batch and together == alone
    square, _, wide, none = (result.tokens_in for result in together)
    # Two fences around a picture, and a token for 16 × 16 pixels; SmolVLM scales to 32 × 32 and names the picture too.
    assert (square - none, wide - none) == ((4 + 3, 4 + 3) if kind == "smolvlm" else (16 + 2, 24 + 2))


@pytest.mark.parametrize(("model", "said"), [("", "text.model is empty"), ("/nowhere", "cannot be opened")])
def test_a_model_that_cannot_be_opened_is_one_line(model, said):
    with pytest.raises(EnrichmentError, match=said) as failure:
        LocalChatProvider(TextSettings(provider="transformers", model=model))
    assert "\n" not in str(failure.value)
