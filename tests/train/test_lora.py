"""A LoRA run: only adapters learn, however a batch is cut; it leaves an ordinary encoder and an adapter."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from support.coloured_shop import twins, write_test_catalog
from support.drawn_shop import TITLES, draw
from support.mixed_batch import Gradients, assert_same, encoder_for_gradients, gradients, mixed_triplets
from support.tiny_checkpoints import CHECKPOINTS

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.evaluate.evaluate import evaluate
from moon2.explain.heatmap import heatmap
from moon2.model.freezing import freeze
from moon2.model.lora import adapters, add_lora, merged
from moon2.recipe import LoraSettings, Recipe
from moon2.run_folder import RunFolder
from moon2.train import validation
from moon2.train.arithmetic import useful_operations
from moon2.train.optimizer import make_optimizer
from moon2.train.prepare import untrained_encoder
from moon2.train.processes import STATE_FILE, Processes
from moon2.train.train import run_training

ITEMS: list[Any] = ["navy shirt", {"text": "red shoes", "image": draw("red", "shoes")}, draw("navy", "bag")]
LORA = (
    "lora.rank=8",
    "lora.vision=true",
    "experts.noise=0.3",
    "training.steps=4",
    "training.save_every=2",
    "training.learning_rate=1e-2",
)


@pytest.fixture(scope="module")
def recipe(small_recipe: Callable[..., Recipe]) -> Recipe:
    """Four steps, saved every two."""
    return small_recipe(*LORA)


@pytest.fixture(scope="module")
def run(recipe: Recipe, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An uninterrupted run; not to be changed."""
    return RunFolder(run_training(recipe, shop, tmp_path_factory.mktemp("lora") / "run").folder)


def vectors(run: RunFolder) -> np.ndarray:
    return Encoder.from_pretrained(run.path, device="cpu").encode(ITEMS)


def losses(run: RunFolder) -> list[float]:
    return [line["loss"] for line in run.read_history()]


def test_gradients_are_those_of_the_merged_weights() -> None:
    """By the chain rule: A gets α / r · Bᵀ G and B gets α / r · G Aᵀ, where G is the gradient of the merged weight."""
    encoder = encoder_for_gradients(lora=True)
    found = gradients(encoder, mixed_triplets()).of
    whole = encoder_for_gradients()
    whole.model.load_state_dict(merged(encoder.model, encoder.model.state_dict()))
    plain = gradients(whole, mixed_triplets())
    expected = {}
    for weight, name, each in adapters(encoder.model):
        adapter = copy.deepcopy(each).requires_grad_(False)
        gradient = adapter.scale * plain.of[weight]
        expected[f"{name}.A"] = adapter.B.mT @ gradient
        expected[f"{name}.B"] = gradient @ adapter.A.mT
    assert_same(
        Gradients(plain.loss, {}, expected), Gradients(plain.loss, {}, {name: found[name] for name in expected})
    )


@pytest.mark.parametrize(("tokens", "checkpointed"), [(75, 0.0), (None, 1.0), (75, 1.0)])
def test_chunks_and_recomputation_give_the_same_gradients(tokens: int | None, checkpointed: float) -> None:
    encoder = encoder_for_gradients(lora=True)
    kept = gradients(encoder, mixed_triplets())
    assert_same(kept, gradients(encoder, mixed_triplets(), chunk_tokens=tokens, checkpointed=checkpointed))


def test_sharded_bfloat16_weights_take_float32_adapters(mesh: object, small_recipe: Callable[..., Recipe]) -> None:
    """FSDP2 refuses several number formats among the trained weights of a block."""
    recipe = small_recipe(*LORA, "backbone.dtype=bfloat16", "training.optimizer=adamw_bf16")
    encoder = Encoder.from_recipe(recipe, TITLES)
    add_lora(encoder.model, recipe.lora)
    batch = encoder.item_batch([encoder.processor.item(item) for item in ITEMS], {"mm"})
    before = {name: weight.clone() for name, weight in encoder.model.named_parameters()}
    Processes(0, 1, torch.device("cpu")).shard(encoder.model, bf16=False)
    encoder.model(batch, {"mm"}).vectors["mm"].sum().backward()
    make_optimizer(encoder.model, recipe.training).step()
    for name, weight in encoder.model.named_parameters():
        own: Any = weight
        moved = not torch.equal(own if name == "dual_alignment" else own.full_tensor(), before[name])
        # A waits for B, which is zero; W* is in the loss alone.
        assert moved == name.endswith((".B", "router.weight")) or name == "dual_alignment" or name.endswith(".A")


def test_it_leaves_an_ordinary_encoder(run: RunFolder, recipe: Recipe, shop: Catalog) -> None:
    begin = untrained_encoder(recipe, shop)
    opened = Encoder.from_pretrained(run.path, device="cpu")
    assert opened.model.state_dict().keys() == begin.model.state_dict().keys()
    assert np.abs(opened.encode(ITEMS) - begin.encode(ITEMS)).max() > 0.01


def test_the_adapter_on_what_the_run_began_with_is_the_encoder(run: RunFolder, recipe: Recipe, shop: Catalog) -> None:
    encoder: Any = untrained_encoder(recipe, shop)
    encoder.model = peft.PeftModel.from_pretrained(encoder.model, run.adapter).base_model.model
    np.testing.assert_allclose(encoder.encode(ITEMS), vectors(run), atol=1e-5)


def test_resumed_it_is_the_same_run_and_its_checkpoints_are_small(
    run: RunFolder, recipe: Recipe, shop: Catalog, tmp_path: Path
) -> None:
    again = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, again.path)
    for folder in (again.model, again.adapter, again.checkpoints / "step-00000004"):
        shutil.rmtree(folder)
    run_training(recipe, shop, again.path, resume=True)
    assert losses(again) == losses(run)
    np.testing.assert_array_equal(vectors(again), vectors(run))
    first, second = (load_file(each.adapter / "adapter_model.safetensors") for each in (again, run))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    saved = torch.load(run.checkpoints / "step-00000004" / STATE_FILE, weights_only=True)["model"]
    assert all(".adapter." in name or ".router." in name or name == "dual_alignment" for name in saved)


def test_the_adapter_is_that_of_the_best_weights(
    checkpoints: dict[str, Path],
    small_recipe: Callable[..., Recipe],
    shop: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = (
        f"backbone.name={checkpoints['qwen3_vl']}",
        "training.evaluate_every=2",
        "training.validation_queries=2",
    )
    recipe = small_recipe(*LORA, *settings)
    scores = iter([0.9, 0.1])
    monkeypatch.setattr(validation, "validate", lambda *_: ({"score": next(scores)}, {}))
    run = RunFolder(run_training(recipe, shop, tmp_path / "run").folder)
    encoder: Any = Encoder.from_recipe(recipe, TITLES)
    encoder.model = peft.PeftModel.from_pretrained(encoder.model, run.adapter).base_model.model
    np.testing.assert_allclose(encoder.encode(ITEMS), vectors(run), atol=1e-5)
    of_step = {
        n: torch.load(run.checkpoints / f"step-0000000{n}" / STATE_FILE, weights_only=True)["model"] for n in (2, 4)
    }
    saved = load_file(run.adapter / "adapter_model.safetensors")
    routers = [name for name in of_step[2] if "router" in name]
    assert all(torch.equal(saved[f"base_model.model.{name}"], of_step[2][name]) for name in routers)
    assert any(not torch.equal(of_step[2][name], of_step[4][name]) for name in routers)


@pytest.mark.parametrize("family", CHECKPOINTS)
def test_every_family_is_trained_scored_and_drawn(
    family: str, checkpoints: dict[str, Path], small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    recipe = small_recipe(*LORA, f"backbone.name={checkpoints[family]}", "training.steps=1", "training.warmup_steps=0")
    run = RunFolder(run_training(recipe, shop, tmp_path / "run").folder)
    encoder = Encoder.from_pretrained(run.path, device="cpu")
    expected = [encoder.encode(items) for items in (ITEMS, ITEMS[:1], ITEMS[1:], ITEMS[2:])]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode, (ITEMS, ITEMS[:1], ITEMS[1:], ITEMS[2:])))
    assert all(np.array_equal(*each) for each in zip(found, expected, strict=True))
    catalog = write_test_catalog(tmp_path / "data", *twins())
    evaluation = evaluate(str(run.path), data=catalog.folder).evaluation
    assert all(sum(shares) == pytest.approx(1, abs=1e-5) for shares in evaluation.expert_use.values())
    assert len(evaluation.expert_use) == 3
    assert heatmap(run.path, text="navy shirt", query="shirt", out=tmp_path / "heat.png").is_file()


def test_what_is_frozen_stays_as_it_was(small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path) -> None:
    """Without LoRA too; a checkpoint then leaves the frozen parts out."""
    recipe = small_recipe("training.freeze=[vision, embeddings]", "training.steps=2", "training.save_every=1")
    run = RunFolder(run_training(recipe, shop, tmp_path / "run").folder)
    before = untrained_encoder(recipe, shop).model.state_dict()
    after = Encoder.from_pretrained(run.path, device="cpu").model.state_dict()
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in kept if "merger" in name} == set()
    assert any("visual.blocks" in name for name in kept) and "backbone.language_model.embed_tokens.weight" in kept
    saved = torch.load(run.checkpoints / "step-00000002" / STATE_FILE, weights_only=True)["model"]
    assert not kept & saved.keys()
    shutil.rmtree(run.checkpoints / "step-00000002")
    run_training(recipe, shop, run.path, resume=True)
    again = Encoder.from_pretrained(run.path, device="cpu").model.state_dict()
    assert all(torch.equal(after[name], again[name]) for name in after)


def test_frozen_weights_cost_no_gradient_of_their_own() -> None:
    """Of the products of a trained weight, three a token, a frozen one has two; a frozen vision tower has one."""
    whole, frozen, alone = (encoder_for_gradients().model for _ in range(3))
    add_lora(frozen, LoraSettings(rank=8))
    freeze(alone, ["embeddings"])
    encoder = encoder_for_gradients()
    words = encoder.item_batch([encoder.processor.item("navy shirt")], {"t"})
    image = encoder.item_batch([encoder.processor.item(draw("red", "shoes"))], {"i"})
    attention = 3 * 2 * 2 * words.tokens * (words.tokens + 1) / 2 * 32 * 2
    least, most = (useful_operations(model, [words]) - attention for model in (frozen, whole))
    router = 2 * 2 * 4 * 32 * words.tokens  # trained in both
    assert least - router == pytest.approx((most - router) * 2 / 3, rel=0.01)
    assert useful_operations(alone, [words, image]) == useful_operations(whole, [words, image])
    assert useful_operations(frozen, [image]) < 0.6 * useful_operations(whole, [image])
