"""Explanations of every family's encoder: complete, faithful to `encode`, and specific to the model."""

from __future__ import annotations

import threading
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from support.plain_transformers import plain_inputs, plain_model
from support.tiny_checkpoints import WORDS

from moon2 import Encoder, Product
from moon2.explain.draw.page import render_page
from moon2.explain.draw.png import draw_png
from moon2.explain.explain import explain
from moon2.explain.explanation import Explanation
from moon2.explain.rollout import relevance
from moon2.explain.trace import ExplainError, copy_sharing_weights, trace
from moon2.model.families import decoder_of
from moon2.model.item_batch import ItemBatch
from moon2.model.items import ItemError
from moon2.model.moon_model import DecoderInput, MoonModel
from moon2.recipe import BackboneSettings, Recipe, TinySettings


def shares(explanation: Explanation, kind: str) -> np.ndarray:
    """The attention or gradient of all patches and words in one row, by size."""
    patches = [getattr(image, kind).ravel() for image in explanation.images]
    return np.abs(np.concatenate([*patches, [getattr(word, kind) / word.tokens for word in explanation.words]]))


def test_the_vector_is_that_of_encode_and_the_encoder_does_not_change(encoder: Encoder, product: Product) -> None:
    config = decoder_of(encoder.model.backbone, encoder.model.family).config
    before, implementation = encoder.encode(product)[0], config._attn_implementation
    assert implementation != "eager"
    for query in (None, "red shoes"):
        np.testing.assert_allclose(explain(encoder, product, query).vector, before, atol=1e-5)
    assert config._attn_implementation == implementation
    assert np.array_equal(encoder.encode(product)[0], before)
    assert all(weight.grad is None for weight in encoder.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.model.modules())


def test_another_thread_gets_the_same_vectors_meanwhile(encoder: Encoder, product: Product) -> None:
    wanted, stop = encoder.encode(product), threading.Event()
    encoded: list[bool] = []

    def encode_in_a_loop() -> None:
        while not stop.is_set():
            encoded.append(np.array_equal(encoder.encode(product), wanted))

    thread = threading.Thread(target=encode_in_a_loop)
    thread.start()
    vectors = [explain(encoder, product, "red shoes").vector for _ in range(10)]
    stop.set()
    thread.join()
    assert all(encoded) and len(encoded) > 1
    assert all(np.array_equal(vector, vectors[0]) for vector in vectors)


def test_a_copy_shares_the_weights_and_nothing_else(encoder: Encoder) -> None:
    copy = copy_sharing_weights(encoder.model)
    assert all(one is other for one, other in zip(copy.parameters(), encoder.model.parameters(), strict=True))
    assert not set(map(id, copy.modules())) & set(map(id, encoder.model.modules()))


@pytest.mark.parametrize("layer", [None, 1])
def test_shares_over_images_and_words_sum_to_one(encoder: Encoder, product: Product, layer: int | None) -> None:
    explanation = explain(encoder, product, "red shoes", layer)
    assert [image.image.size for image in explanation.images] == [(96, 64), (50, 81)]
    assert all((image.attention >= 0).all() for image in explanation.images)
    whole = sum(image.attention.sum() for image in explanation.images)
    assert whole + sum(word.attention for word in explanation.words) == pytest.approx(1)
    assert all(np.abs(image.gradient).sum() > 0 for image in explanation.images)
    assert [word.text for word in explanation.words] == product.title.split()
    assert max(word.tokens for word in explanation.words) > 1
    assert all(use.sum() == pytest.approx(1) for use in explanation.experts.values())
    assert explanation.images[0].experts.shape == (*explanation.images[0].attention.shape, 4)


def test_layers_differ_and_a_layer_that_does_not_exist_is_named(encoder: Encoder, product: Product) -> None:
    first, second = (shares(explain(encoder, product, layer=layer), "attention") for layer in (0, 1))
    assert not np.allclose(first, second)
    with pytest.raises(ExplainError, match=r"layer is 2; this decoder has layers 0 to 1"):
        explain(encoder, product, layer=2)


def experts_chosen(encoder: Encoder, batch: ItemBatch) -> dict[int, torch.Tensor]:
    """Of each layer; kept, a small change of the input changes its output smoothly."""
    with torch.no_grad():
        return {number: routing.chosen for number, routing in encoder.model(batch, {"mm"}).layers.items()}


@pytest.mark.parametrize("kind", ["word", "image"])
def test_contributions_are_gradient_times_input(encoder: Encoder, product: Product, kind: str) -> None:
    """Scaling all that enters the decoder at a token by 1 ± ε changes the similarity by 2ε times its contribution."""
    target = encoder.encode("red shoes")[0]
    item = encoder.processor.item(product)
    traced = trace(encoder, item, target)
    assert traced.contributions is not None
    masks = {"word": traced.pooling_mask & ~traced.image_mask, "image": traced.image_mask}
    token, step, results = int(np.flatnonzero(masks[kind])[-1]), 1e-2, []
    image_token = int(traced.image_mask[:token].sum())
    batch = encoder.processor.batch([item], text=False)
    chosen = experts_chosen(encoder, batch)
    for factor in (1 + step, 1 - step):
        with torch.no_grad():
            entering = encoder.model.embed(batch)
            embeddings = entering.embeddings.clone()
            embeddings[token] *= factor
            features = [feature.clone() for feature in entering.deepstack]
            for feature in features if kind == "image" else ():
                assert batch.images is not None
                feature[batch.images.sources[image_token]] *= factor
            states, layers = encoder.model.decode(DecoderInput(embeddings, features), batch, chosen)
            vector = encoder.model.pool(states, layers, batch, {"mm"}).vectors["mm"][0].numpy()
        results.append(float(vector @ target))
    slope = (results[0] - results[1]) / (2 * step)
    assert traced.contributions[token] == pytest.approx(slope, rel=0.05, abs=2e-4)


def test_maps_hold_each_token_where_it_lies_in_its_image(encoder: Encoder, product: Product) -> None:
    """Row by row and image after image, as the tokens follow each other."""
    explanation = explain(encoder, product, "red shoes")
    traced = trace(encoder, encoder.processor.item(product), encoder.encode("red shoes")[0])
    attention = relevance(traced.attentions, traced.weights, None)[traced.image_mask]
    rows = np.concatenate([image.attention.ravel() for image in explanation.images])
    assert np.array_equal(rows, attention)


def test_a_change_in_a_corner_of_an_image_enters_at_the_token_of_that_corner(
    encoder: Encoder, product: Product
) -> None:
    image_mask = torch.from_numpy(trace(encoder, encoder.processor.item(product)).image_mask)

    def entering(wide: Image.Image) -> torch.Tensor:
        item = encoder.processor.item(replace(product, images=(wide, product.images[1])))
        with torch.no_grad():
            entering = encoder.model.embed(encoder.processor.batch([item], text=False))
        return entering.embeddings[image_mask]

    rows, columns = explain(encoder, product).images[0].attention.shape
    plain = Image.new("RGB", (96, 64), "navy")
    before = entering(plain)
    for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)):
        width, height = 96 / columns, 64 / rows
        box = (int(column * width), int(row * height), int((column + 1) * width), int((row + 1) * height))
        changed = plain.copy()
        changed.paste("yellow", box)
        moved = (entering(changed) - before).norm(dim=-1)
        assert int(moved.argmax()) == row * columns + column


def test_attention_is_that_of_transformers_own_model(dense_encoder: Encoder, product: Product) -> None:
    """Of a dense model: the probabilities of its eager attention, layer by layer, averaged over the heads."""
    plain = plain_model(dense_encoder, "eager")
    for record in (product, product.images[0], "red women shoes"):
        item = dense_encoder.processor.item(record)
        traced = trace(dense_encoder, item)
        inputs, pooled = plain_inputs(dense_encoder, item)
        with torch.no_grad():
            expected = plain(**inputs, output_attentions=True).attentions
        assert len(traced.attentions) == len(expected) == 2
        for ours, theirs in zip(traced.attentions, expected, strict=True):
            np.testing.assert_allclose(ours, theirs[0].mean(dim=0).numpy(), rtol=0, atol=1e-5)
        assert np.array_equal(traced.pooling_mask, pooled.numpy())


@pytest.mark.parametrize("kind", ["first", "last"])
def test_a_photo_that_comes_twice_counts_in_each_place_for_itself(
    encoder: Encoder, product: Product, kind: str
) -> None:
    """Though it is read once: as above, for one of its tokens in the first or in the last place."""
    photo = product.images[0]
    item = encoder.processor.item(replace(product, images=(photo, product.images[1], photo)))
    target = encoder.encode("red shoes")[0]
    traced = trace(encoder, item, target)
    assert traced.contributions is not None
    batch, step, results = encoder.processor.batch([item], text=False), 1e-2, []
    assert batch.images is not None and len(batch.images.grids) == 2
    sources = batch.images.sources
    first, last = (sources == sources[1]).nonzero().flatten().tolist()
    chosen = first if kind == "first" else last
    token = int(batch.images.slots[chosen])
    experts = experts_chosen(encoder, batch)
    # A batch in which each place has features of its own.
    apart = replace(batch, images=replace(batch.images, sources=torch.arange(len(sources))))
    for factor in (1 + step, 1 - step):
        with torch.no_grad():
            entering = encoder.model.embed(batch)
            embeddings = entering.embeddings.clone()
            embeddings[token] *= factor
            features = [feature.index_select(0, sources) for feature in entering.deepstack]
            for feature in features:
                feature[chosen] *= factor
            states, layers = encoder.model.decode(DecoderInput(embeddings, features), apart, experts)
            vector = encoder.model.pool(states, layers, apart, {"mm"}).vectors["mm"][0].numpy()
        results.append(float(vector @ target))
    slope = (results[0] - results[1]) / (2 * step)
    assert traced.contributions[token] == pytest.approx(slope, rel=0.05, abs=2e-4)


def test_text_alone_and_an_image_alone(encoder: Encoder, product: Product) -> None:
    text = explain(encoder, "red women shoes", np.ones(encoder.dimension))
    assert not text.images and text.experts.keys() == {"text"}
    assert sum(word.attention for word in text.words) == pytest.approx(1)
    image = explain(encoder, product.images[0], product.images[1])
    assert not image.words and image.similarity is not None
    assert image.images[0].attention.sum() == pytest.approx(1)
    with pytest.raises(ItemError, match="text: has neither text nor an image"):
        explain(encoder, " ")
    with pytest.raises(ExplainError, match=r"query has shape \(3,\)"):
        explain(encoder, "red", np.ones(3))


def test_other_weights_give_another_map(encoder: Encoder, product: Product) -> None:
    """The sanity check of Adebayo et al. (2018): the map of a shuffled model must be unlike that of the model."""
    correlations: dict[str, list[float]] = {"attention": [], "gradient": []}
    for seed in range(4):
        shuffled = Encoder(deepcopy(encoder.model), encoder.processor)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in shuffled.model.parameters():
                weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=generator)].view_as(weight))
        one, other = explain(encoder, product, "red shoes"), explain(shuffled, product, "red shoes")
        for kind, values in correlations.items():
            values.append(float(spearmanr(shares(one, kind), shares(other, kind)).statistic))
    assert all(np.mean(values) < 0.6 for values in correlations.values()), correlations


def test_png_and_page(encoder: Encoder, product: Product) -> None:
    explanation = explain(encoder, product, '"><script>alert(1)</script>')
    drawing = draw_png(explanation)
    assert drawing.width == 720 and drawing.height > 800
    assert len(np.unique(np.asarray(drawing).reshape(-1, 3), axis=0)) > 100
    html = render_page(explanation)
    assert "<script" not in html and "&lt;b&gt;Unheard-of&lt;/b&gt;" in html
    assert html.count("<img ") == html.count(" alt=") and "http" not in html
    assert "Image 2" in html and "prefers-color-scheme: dark" in html


def test_the_end_that_was_cut_off_is_named(encoder: Encoder) -> None:
    explanation = explain(encoder, "red women shoes " * 60 + "end")
    assert explanation.unread.endswith("shoes end") and sum(word.tokens for word in explanation.words) <= 64
    assert draw_png(explanation).width == 720
    assert "shoes end</p>" in render_page(explanation)


def test_an_encoder_pooled_by_modality_is_explained_with_its_own_weights(encoder: Encoder, product: Product) -> None:
    """Image tokens and text tokens then have half of the vector each; the vector stays that of `encode`."""
    by_modality = Encoder(deepcopy(encoder.model), encoder.processor)
    by_modality.model.pooling = "modalities"
    traced = trace(by_modality, by_modality.processor.item(product))
    assert traced.vector == pytest.approx(by_modality.encode(product)[0], abs=1e-5)
    assert np.abs(traced.vector - encoder.encode(product)[0]).max() > 1e-4
    assert traced.weights[traced.image_mask].sum() == pytest.approx(traced.weights[~traced.image_mask].sum())


class Peer(MoonModel):
    """A network to compare with; it may pool other passes than moon2's own."""


def test_a_peer_is_refused_with_the_reason(product: Product) -> None:
    small = Recipe(backbone=BackboneSettings("tiny", tiny=TinySettings(vocabulary=300, width=32, layers=1)))
    peer = Encoder.from_recipe(small, WORDS, network=Peer)
    with pytest.raises(ExplainError, match="cannot explain a Peer"):
        explain(peer, product)
