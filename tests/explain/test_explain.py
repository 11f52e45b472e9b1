"""Explanations of every family's encoder: whole, faithful to `encode`, and the model's own."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from moon2 import Encoder, Product
from moon2.explain.explain import explain
from moon2.explain.gradient import decoder_inputs
from moon2.explain.rollout import relevance
from moon2.explain.sanity import cascade, randomised, rank_correlation, rank_correlations, weights
from moon2.explain.trace import ExplainError, trace
from moon2.model.families import decoder_layers
from moon2.recipe import load_recipe


def test_the_vector_is_that_of_encode_and_the_encoder_stays_as_it_was(encoder: Encoder, product: Product) -> None:
    _, config = decoder_layers(encoder.model.backbone, encoder.model.family)
    before, implementation = encoder.encode(product)[0], config._attn_implementation
    assert implementation != "eager"
    encoder.model.train()
    for query in (None, "red shoes"):
        np.testing.assert_allclose(explain(encoder, product, query).vector, before, atol=1e-5)
    assert encoder.model.training and config._attn_implementation == implementation
    encoder.model.eval()
    assert np.array_equal(encoder.encode(product)[0], before)
    assert all(weight.grad is None for weight in encoder.model.parameters())


@pytest.mark.parametrize("layer", [None, 1])
def test_shares_over_pictures_and_words_sum_to_one(encoder: Encoder, product: Product, layer: int | None) -> None:
    found = explain(encoder, product, "red shoes", layer)
    assert [attention.shape for attention in found.image_maps] == [(64, 96), (81, 50)]
    assert all((attention >= 0).all() for attention in found.image_maps)
    whole = sum(float(attention.sum()) for attention in found.image_maps)
    assert whole + sum(word.attention for word in found.words) == pytest.approx(1, abs=1e-4)
    signed = [picture.gradient for picture in found.pictures]
    assert sum(np.abs(part).sum() for part in signed) > 0 and len(found.gradient_maps) == 2
    assert [word.text for word in found.words] == product.title.split()
    assert max(word.tokens for word in found.words) > 1
    for shares in found.experts.values():
        assert shares.sum() == pytest.approx(1)
    assert found.pictures[0].experts.shape == (*found.pictures[0].attention.shape, 4)


def test_layers_differ_and_one_that_is_not_there_is_named(encoder: Encoder, product: Product) -> None:
    first, second = (weights(explain(encoder, product, layer=layer), "attention") for layer in (0, 1))
    assert not np.allclose(first, second)
    with pytest.raises(ExplainError, match=r"layer is 2; this decoder has layers 0 to 1"):
        explain(encoder, product, layer=2)


@pytest.mark.parametrize("kind", ["word", "picture"])
def test_contributions_are_gradient_times_input(encoder: Encoder, product: Product, kind: str) -> None:
    """Scaling all that enters the decoder at a token by 1 ± ε changes the similarity by 2ε times its contribution."""
    target = encoder.encode("red shoes")[0]
    item = encoder.processor.item(product)
    found = trace(encoder, item, target)
    assert found.contributions is not None
    kinds = {"word": found.content & ~found.picture, "picture": found.picture}
    place, step, results = int(np.flatnonzero(kinds[kind])[-1]), 1e-2, []
    among_pictures = int(found.picture[:place].sum())
    decoder = getattr(encoder.model.backbone, encoder.model.family.decoder)
    for factor in (1 + step, 1 - step):

        def scale(_: object, positional: object, named: dict, factor: float = factor) -> tuple[object, dict]:
            changed = named["inputs_embeds"].clone()
            changed[:, place] *= factor
            features = [feature.clone() for feature in named.get("deepstack_visual_embeds") or []]
            if kind == "picture":
                for feature in features:
                    feature[among_pictures] *= factor
            more = {"deepstack_visual_embeds": features} if features else {}
            return positional, {**named, "inputs_embeds": changed, **more}

        hook = decoder.register_forward_pre_hook(scale, with_kwargs=True)
        with torch.no_grad():
            vector = encoder.model(encoder.processor.batch([item], text=False), ("mm",)).vectors["mm"][0].numpy()
        hook.remove()
        results.append(float(vector @ target))
    slope = (results[0] - results[1]) / (2 * step)
    assert found.contributions[place] == pytest.approx(slope, rel=0.05, abs=2e-4)


def test_maps_hold_each_token_where_it_lies_in_its_picture(encoder: Encoder, product: Product) -> None:
    """Row by row, picture after picture, as the tokens follow each other; the two pictures are cut differently."""
    shown = explain(encoder, product, "red shoes")
    found = trace(encoder, encoder.processor.item(product), encoder.encode("red shoes")[0])
    places = np.flatnonzero(found.picture)
    heat = relevance(found.attentions, found.weights, None)[places]
    shapes = [picture.attention.shape for picture in shown.pictures]
    assert sum(rows * columns for rows, columns in shapes) == len(places)
    first = shapes[0][0] * shapes[0][1]
    for picture, own in zip(shown.pictures, (heat[:first], heat[first:]), strict=True):
        rows, columns = picture.attention.shape
        for row in range(rows):
            for column in range(columns):
                assert picture.attention[row, column] == own[row * columns + column]


def test_what_changes_in_a_corner_of_a_picture_enters_at_the_token_of_that_corner(
    encoder: Encoder, product: Product
) -> None:
    def entering(wide: Image.Image) -> torch.Tensor:
        item = encoder.processor.item(replace(product, images=(wide, product.images[1])))
        with torch.no_grad(), decoder_inputs(decoder) as entered:
            encoder.model(encoder.processor.batch([item], text=False), ("mm",))
        assert entered.embeddings is not None
        return entered.embeddings[0, torch.tensor(places)]

    decoder = getattr(encoder.model.backbone, encoder.model.family.decoder)
    places = np.flatnonzero(trace(encoder, encoder.processor.item(product)).picture)
    rows, columns = explain(encoder, product).pictures[0].attention.shape
    plain = Image.new("RGB", (96, 64), "navy")
    before = entering(plain)
    for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)):
        width, height = 96 / columns, 64 / rows
        box = (int(column * width), int(row * height), int((column + 1) * width), int((row + 1) * height))
        changed = plain.copy()
        changed.paste("yellow", box)
        moved = (entering(changed) - before).norm(dim=-1)
        assert int(moved.argmax()) == row * columns + column


def test_text_alone_and_a_picture_alone(encoder: Encoder, product: Product) -> None:
    text = explain(encoder, "red women shoes", np.ones(encoder.dimension))
    assert not text.pictures and text.experts.keys() == {"text"}
    assert sum(word.attention for word in text.words) == pytest.approx(1)
    picture = explain(encoder, product.images[0], product.images[1])
    assert not picture.words and picture.similarity is not None
    assert float(picture.image_maps[0].sum()) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ExplainError, match="cannot explain it: text: has neither text nor a picture"):
        explain(encoder, " ")
    with pytest.raises(ExplainError, match=r"query has shape \(3,\)"):
        explain(encoder, "red", np.ones(3))


def test_other_weights_give_another_map_and_the_same_weights_the_same(encoder: Encoder, product: Product) -> None:
    assert rank_correlations(encoder, encoder, product, "red shoes") == pytest.approx({"attention": 1, "gradient": 1})
    before = {name: weight.clone() for name, weight in encoder.model.named_parameters()}
    found = []
    for seed in range(4):
        *_, (_, other) = cascade(encoder, seed)
        found.append(rank_correlations(encoder, other, product, "red shoes"))
    for kind in ("attention", "gradient"):
        assert np.mean([row[kind] for row in found]) < 0.6, kind
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.model.named_parameters())
    other = randomised(encoder)
    assert not np.allclose(other.encode(product), encoder.encode(product), atol=1e-2)


def test_rank_correlation() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 10, 11])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 1, 1]), np.array([3.0, 2, 1])) == 0


def test_png_and_page(encoder: Encoder, product: Product, tmp_path: Path) -> None:
    found = explain(encoder, product, '"><script>alert(1)</script>')
    found.save_png(tmp_path / "new" / "heat.png")
    with Image.open(tmp_path / "new" / "heat.png") as image:
        assert image.width == 720 and image.height > 800
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 100
    found.save_html(tmp_path / "heat.html")
    html = (tmp_path / "heat.html").read_text()
    assert "<script" not in html and "&lt;b&gt;Unheard-of&lt;/b&gt;" in html
    assert html.count("<img ") == html.count(" alt=") and "http" not in html
    assert "Picture 2" in html and "prefers-color-scheme: dark" in html


def test_what_was_cut_off_is_named(encoder: Encoder, tmp_path: Path) -> None:
    found = explain(encoder, "red women shoes " * 60 + "end")
    assert found.unread.endswith("shoes end") and sum(word.tokens for word in found.words) <= 64
    found.save_png(tmp_path / "long.png")


def test_an_encoder_pooled_by_form_is_explained_with_its_own_weights(encoder: Encoder, product: Product) -> None:
    """Pictures' tokens and words' tokens then have half of the vector each; the vector stays that of `encode`."""
    by_form = Encoder(copy.deepcopy(encoder.model), encoder.processor)
    by_form.model.pooling = "forms"
    found = trace(by_form, by_form.processor.item(product))
    assert found.vector == pytest.approx(by_form.encode(product)[0], abs=1e-5)
    assert np.abs(found.vector - encoder.encode(product)[0]).max() > 1e-4
    assert found.weights[found.picture].sum() == pytest.approx(found.weights[~found.picture].sum())


def test_two_towers_are_refused_with_the_reason(product: Product) -> None:
    settings = ["backbone.fusion=late", "experts.count=1", "experts.active=1", "backbone.tiny.vocabulary=300"]
    towers = Encoder.from_recipe(load_recipe(None, settings), ["navy shirt"])
    with pytest.raises(ExplainError, match="two towers have no attention between words and pictures"):
        explain(towers, product)
