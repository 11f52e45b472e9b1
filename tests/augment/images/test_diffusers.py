"""Visual expansion by an editing pipeline, on a tiny random InstructPix2Pix that the test makes in the hub's layout."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from moon2.augment.errors import AugmentationError, ProductError, ProviderError
from moon2.augment.images.diffusers import DiffusersProvider, working_size
from moon2.augment.prompts import load_prompts
from moon2.augment.settings import ImageSettings
from moon2.augment.text.sanitize import CleanProduct, clean_product
from moon2.images import open_image
from moon2.records import Product

pytest.importorskip("diffusers")


def write_pipeline(folder: Path) -> Path:
    """UNet, autoencoder, text encoder, tokenizer and scheduler, a few thousand random weights in all."""
    from diffusers import (
        AutoencoderKL,
        EulerAncestralDiscreteScheduler,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    alphabet = [chr(code) for code in range(33, 127)]
    words = [*alphabet, *(letter + "</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    (folder / "words").mkdir(parents=True)
    (folder / "words" / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "words" / "vocab.json"), str(folder / "words" / "merges.txt"))
    tokenizer.model_max_length = 77
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        bos_token_id=len(words) - 2, eos_token_id=len(words) - 1, pad_token_id=len(words) - 1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=8, in_channels=8, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64), in_channels=3, out_channels=3, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "pipeline")  # fmt: skip
    return folder / "pipeline"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> DiffusersProvider:
    folder = write_pipeline(tmp_path_factory.mktemp("pipeline"))
    return DiffusersProvider(ImageSettings(provider="diffusers", model=str(folder), steps=2), load_prompts())


def product(id: str, colour: str) -> CleanProduct:
    image = Image.new("RGB", (60, 80), "white")
    ImageDraw.Draw(image).rectangle((15, 20, 45, 60), fill=colour)
    stored = io.BytesIO()
    image.save(stored, "PNG")
    return clean_product(Product(id=id, title=f"{colour} {id}", images=(stored.getvalue(),)))


SHIRT, DRESS = product("shirt", "navy"), product("dress", "red")


def test_a_main_image_and_its_variants_of_the_photos_own_size(provider: DiffusersProvider) -> None:
    expansion = provider.expand(SHIRT, 3, seed=0)
    assert expansion.reason == ""
    images = [open_image(image) for image in (expansion.main, *(variant.image for variant in expansion.variants))]
    assert [image.size for image in images] == [(60, 80)] * 4
    assert {variant.kind for variant in expansion.variants} == {"background", "viewpoint", "detail"}
    arrays = [np.asarray(image, np.int16) for image in images]
    assert all(np.abs(arrays[0] - other).mean() > 1 for other in arrays[1:])


def test_only_seed_and_product_decide(provider: DiffusersProvider) -> None:
    first = provider.expand(SHIRT, 1, seed=0)
    provider.expand(DRESS, 1, seed=0)
    assert provider.expand(SHIRT, 1, seed=0) == first
    assert provider.expand(SHIRT, 1, seed=1) != first
    # One variant more changes none of the others.
    assert provider.expand(SHIRT, 2, seed=0).variants[0] == first.variants[0]


def test_a_pipeline_that_fails_or_gives_one_colour_is_reported(
    provider: DiffusersProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = SimpleNamespace(images=[Image.new("RGB", (64, 96))])
    monkeypatch.setattr(provider, "_pipeline", lambda **_: blank)
    with pytest.raises(ProductError, match="blank_image"):
        provider.expand(SHIRT, 1, seed=0)

    def fail(**_: object) -> None:
        raise RuntimeError("shapes\ndo not fit")

    monkeypatch.setattr(provider, "_pipeline", fail)
    with pytest.raises(ProviderError, match="editing_failed: shapes do not fit"):
        provider.expand(SHIRT, 1, seed=0)


def test_a_model_that_is_no_editing_pipeline_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = ImageSettings(provider="diffusers", model=str(tmp_path / "nowhere"))
    with pytest.raises(AugmentationError, match="nowhere") as refusal:
        DiffusersProvider(settings, load_prompts())
    assert "\n" not in str(refusal.value)


def test_sides_are_what_pipelines_take() -> None:
    assert working_size((60, 80), 1024) == (64, 96) or working_size((60, 80), 1024) == (64, 64)
    wide = working_size((4000, 1000), 1024)
    assert wide == (1024, 256)
