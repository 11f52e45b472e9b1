"""A run may start from a trained encoder: nothing of it is lost, and what contradicts it is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.drawn_shop import COLOURS, KINDS, draw, png
from support.tiny_checkpoints import CHECKPOINTS

from moon2 import Encoder, Interaction, Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.errors import UserError
from moon2.experiments.peers import two_towers
from moon2.model.encoder_folder import read_encoder_config, weights_dtype
from moon2.recipe import Recipe, RecipeError, load_recipe
from moon2.run_folder import RunError, RunFolder
from moon2.train.prepare import untrained_encoder
from moon2.train.train import run_training, train

# Recipes other than the trained encoder's, in what may differ.
PLAIN = ("training.steps=2", "input.max_pixels=1024", "training.batch_size=4", "training.log_every=1")


@pytest.fixture(scope="module")
def trained(small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose experts differ and whose W* has moved; not to be changed."""
    recipe = small_recipe(
        "training.steps=4", "experts.noise=0.3", "experts.count=3", "backbone.pooling=modalities", "training.seed=7"
    )
    return run_training(recipe, shop, tmp_path_factory.mktemp("trained") / "run").folder


@pytest.fixture(scope="module")
def another_shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Other products with other words."""
    products = [Product(f"{c}-{k}", f"cosy {c} {k}", images=[png(draw(c, k))]) for c in COLOURS[:2] for k in KINDS]
    log = [
        Interaction(Query(f"q-{p.id}", f"a cosy {p.id}"), (p.id,), (products[n - 1].id,))
        for n, p in enumerate(products)
    ]
    folder = tmp_path_factory.mktemp("another") / "shop"
    return write_catalog(folder, {"train": products}, {"train": log}, title="Another")


def start(trained: Path, *overrides: str) -> Recipe:
    return load_recipe(None, [*PLAIN, f"init={trained}", *overrides])


def items(shop: Catalog) -> list[Product | str]:
    return [*shop.products(), "navy shirt"]


def test_a_gpu_computes_as_the_last_training_did(trained: Path, shop: Catalog, tmp_path: Path) -> None:
    """In bfloat16 if that did; on a CPU, mostly slower so, the weights are as they were saved."""
    mixed = run_training(start(trained, "training.bf16=true"), shop, tmp_path / "mixed").folder
    for folder, on_gpu in ((trained, "float32"), (mixed, "bfloat16")):
        _, config = read_encoder_config(folder)
        assert weights_dtype(config, torch.device("cpu")) == "float32"
        assert weights_dtype(config, torch.device("cuda")) == on_gpu
    assert untrained_encoder(start(mixed), shop).mixed_precision is False
    if torch.cuda.is_available():
        before = Encoder.from_pretrained(mixed, "cpu").encode(items(shop))
        near = Encoder.from_pretrained(mixed, "cuda")
        assert next(near.model.backbone.parameters()).dtype == torch.bfloat16
        assert (near.encode(items(shop)) * before).sum(axis=1).min() > 0.98


def test_at_step_0_it_is_the_trained_encoder(trained: Path, shop: Catalog) -> None:
    before, now = Encoder.from_pretrained(trained, "cpu"), untrained_encoder(start(trained), shop)
    assert np.array_equal(now.encode(items(shop)), before.encode(items(shop)))
    assert now.model.dual_alignment.abs().sum() > 0
    assert torch.equal(now.model.dual_alignment, before.model.dual_alignment)
    assert now.model.settings == before.model.settings


def test_it_learns_on_from_another_catalog(trained: Path, shop: Catalog, another_shop: Catalog, tmp_path: Path) -> None:
    run = RunFolder(run_training(start(trained), another_shop, tmp_path / "run").folder)
    before, after = Encoder.from_pretrained(trained, "cpu"), Encoder.from_pretrained(run.path, "cpu")
    assert not np.array_equal(after.encode(items(shop)), before.encode(items(shop)))
    assert after.processor.tokenizer.get_vocab() == before.processor.tokenizer.get_vocab()
    written = load_recipe(run.recipe)
    assert written.init == str(trained)
    assert (written.experts, written.backbone) == (load_recipe(trained / "recipe.yaml").experts, after.origin)
    assert after.origin == load_recipe(trained / "recipe.yaml").backbone


def test_it_can_be_started_from_again(trained: Path, shop: Catalog, another_shop: Catalog, tmp_path: Path) -> None:
    """From the encoder's own folder, by the whole recipe of the run, and with the weights in another format."""
    second = run_training(start(trained), another_shop, tmp_path / "second").folder
    whole = [f"init={second / 'model'}", "backbone.dtype=bfloat16", "training.optimizer=adamw_bf16"]
    encoder = untrained_encoder(load_recipe(second / "recipe.yaml", whole), shop)
    assert next(encoder.model.backbone.parameters()).dtype == torch.bfloat16
    likeness = encoder.encode(items(shop)) * Encoder.from_pretrained(second, "cpu").encode(items(shop))
    assert likeness.sum(axis=1).min() > 0.99


def test_it_may_come_from_the_hub(
    trained: Path, shop: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moon2.model.hub.snapshot_download", {"shop/encoder": trained / "model"}.__getitem__)
    run = run_training(start(Path("shop/encoder"), "training.steps=1"), shop, tmp_path / "run").folder
    assert load_recipe(run / "recipe.yaml").init == "shop/encoder"
    assert load_recipe(run / "recipe.yaml").experts.count == 3


def test_it_may_read_larger_images_and_longer_text(trained: Path, shop: Catalog) -> None:
    settings = ("input.max_pixels=4096", "input.max_text_tokens=5", "input.max_images=2")
    now = untrained_encoder(start(trained, *settings), shop)
    assert now.processor.image_processor.size["longest_edge"] == 4096
    assert now.processor.settings == start(trained, *settings).input
    large = draw("navy", "shirt").resize((256, 256))
    before = Encoder.from_pretrained(trained, "cpu").processor
    tokens = [int(each.batch([each.item(large)]).is_image.sum()) for each in (now.processor, before)]
    assert tokens[0] == 4 * tokens[1]


@pytest.mark.parametrize(
    "setting",
    [
        "experts.count=8",
        "input.fields=[title, brand]",
        "experts.active=1",
        "backbone.tiny.width=64",
        "backbone.name=Qwen/Qwen3-VL-2B-Instruct",
    ],
)
def test_what_contradicts_the_encoder_is_refused(setting: str, trained: Path, shop: Catalog, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        run_training(start(trained, setting), shop, tmp_path / "run")
    assert setting.partition("=")[0] in str(caught.value) and str(trained) in str(caught.value)
    assert "\n" not in str(caught.value) and not (tmp_path / "run" / "recipe.yaml").exists()


def test_it_goes_on_with_the_fields_that_it_reads(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    Encoder.from_recipe(small_recipe("input.fields=[title, brand]"), ["navy shirt"]).save_pretrained(tmp_path)
    assert untrained_encoder(load_recipe(None, [*PLAIN, f"init={tmp_path}"]), shop).fields == ["title", "brand"]


def test_its_own_settings_may_be_given(trained: Path, shop: Catalog, tmp_path: Path) -> None:
    recipe = load_recipe(trained / "recipe.yaml", [f"init={trained}", "training.steps=1"])
    assert run_training(recipe, shop, tmp_path / "run").steps == 1


def test_resumed_it_is_the_same_run(trained: Path, another_shop: Catalog, tmp_path: Path) -> None:
    recipe = start(trained, "training.steps=4", "training.save_every=2")
    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    run_training(recipe, another_shop, whole.path)
    shutil.copytree(whole.path, stopped.path)
    shutil.rmtree(stopped.checkpoints / "step-00000004")
    shutil.rmtree(stopped.model)
    train(data=another_shop.folder, out=stopped.path, recipe=recipe, resume=True)
    one, other = (Encoder.from_pretrained(run.path, "cpu").model.state_dict() for run in (whole, stopped))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_not_resumed_from_another_encoder(
    trained: Path, small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    shutil.copytree(trained, first)
    run_training(start(first), shop, tmp_path / "run")
    shutil.copytree(trained, tmp_path / "copy")
    with pytest.raises(RecipeError, match="was begun with another recipe"):
        run_training(start(tmp_path / "copy"), shop, tmp_path / "run", resume=True)
    with pytest.raises(RecipeError, match="was begun with another recipe"):
        run_training(small_recipe("training.steps=2"), shop, tmp_path / "run", resume=True)
    retrained = Encoder.from_pretrained(first, "cpu")
    with torch.no_grad():
        retrained.model.dual_alignment += 1
    retrained.save_pretrained(first / "model")
    with pytest.raises(RecipeError, match=r"was begun on other data \(another catalog, log or --init\)"):
        run_training(start(first), shop, tmp_path / "run", resume=True)


def test_what_is_no_encoder_of_this_trainer_is_named(
    trained: Path, small_recipe: Callable[..., Recipe], checkpoints: dict[str, Path], shop: Catalog, tmp_path: Path
) -> None:
    unfinished, adapter, empty = (tmp_path / name for name in ("unfinished", "adapter", "empty"))
    RunFolder(unfinished).begin(small_recipe(), "data", resume=False)
    for folder in (adapter, empty):
        folder.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    dense = ("experts.count=1", "experts.active=1")
    two_towers.train(data=shop.folder, out=tmp_path / "towers", recipe=small_recipe("training.steps=1", *dense))
    wrong: dict[Path, tuple[type[UserError], str]] = {
        unfinished: (RunError, "training is not finished"),
        empty: (RunError, "is not a run"),
        adapter: (RecipeError, "holds an adapter, no encoder"),
        checkpoints["qwen3_vl"]: (UserError, "'qwen3_vl', not a moon2 encoder"),
        tmp_path / "towers": (RecipeError, "two_towers.TwoTowers, and this trains moon2.model.moon_model.MoonModel"),
    }
    for folder, (kind, message) in wrong.items():
        with pytest.raises(kind, match=message) as caught:
            run_training(start(folder), shop, tmp_path / "run")
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    # The peer's own trainer goes on from it.
    goes_on = start(tmp_path / "towers", *dense)
    assert two_towers.train(data=shop.folder, out=tmp_path / "run", recipe=goes_on).steps == 2


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_every_family_goes_on(
    kind: str, checkpoints: dict[str, Path], small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    recipe = small_recipe(f"backbone.name={checkpoints[kind]}", "training.steps=1", "input.max_pixels=65536")
    first = run_training(recipe, shop, tmp_path / "first").folder
    now = untrained_encoder(start(first, "input.max_pixels=65536"), shop)
    assert np.array_equal(now.encode(items(shop)), Encoder.from_pretrained(first, "cpu").encode(items(shop)))
