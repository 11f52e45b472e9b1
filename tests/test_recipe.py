"""Recipes: what is written is read back, and a mistake in one is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from moon2.recipe import ExpertSettings, Recipe, RecipeError, TrainingSettings, load_recipe
from moon2.views import Objective


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_written_recipe_is_read_back(tmp_path: Path) -> None:
    recipe = Recipe(
        experts=ExpertSettings(count=8, active=3, layers=[0, 2], noise=0.1),
        training=TrainingSettings(learning_rate=3e-4, bf16=True),
    )
    assert load_recipe(write(tmp_path, recipe.to_yaml())) == recipe


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    assert load_recipe() == Recipe() == load_recipe(write(tmp_path, ""))


def test_a_recipe_names_only_what_it_changes(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "training:\n  learning_rate: 1e-3\nbackbone:\n  tiny:\n    layers: 2\n"))
    assert recipe.training.learning_rate == 0.001
    assert recipe.backbone.tiny.layers == 2
    assert recipe.training.steps == TrainingSettings().steps


def test_overrides_win(tmp_path: Path) -> None:
    path = write(tmp_path, "training:\n  steps: 5\n  batch_size: 3\n")
    recipe = load_recipe(path, ["training.steps=7", "experts.layers=[0,1]", "backbone.tiny.width=64"])
    assert (recipe.training.steps, recipe.training.batch_size) == (7, 3)
    assert (recipe.experts.layers, recipe.backbone.tiny.width) == ([0, 1], 64)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("training:\n  step: 5\n", "step"),
        ("trainings:\n  steps: 5\n", "trainings"),
        ("backbone:\n  tiny:\n    depth: 5\n", "depth"),
        ("training:\n  steps: many\n", "steps"),
        ("backbone:\n  dtype: float8\n", "dtype"),
        ("experts:\n  count: 2\n  active: 3\n", "experts.active"),
        ("experts:\n  noise: -1\n", "experts.noise"),
        ("backbone:\n  tiny:\n    heads: 0\n", "backbone.tiny.heads"),
        ("backbone:\n  tiny:\n    width: 100\n", "backbone.tiny.width"),
        ("backbone:\n  tiny: {width: 12, heads: 1}\n", "backbone.tiny.width is 12; it must be a multiple of 8"),
        ("backbone:\n  tiny: {feed_forward: 52}\n", "backbone.tiny.feed_forward is 52; it must be a multiple of 8"),
        ("experts:\n  layers: [0, 0]\n", "experts.layers is [0, 0]; it must be numbers that are all different"),
        ("input:\n  max_pixels: 0\n", "input.max_pixels"),
        ("alignment:\n  temperature_inter: 0\n", "alignment.temperature_inter"),
        ("alignment:\n  floor_share: 2\n", "alignment.floor_share"),
        ("image_transforms:\n  crop: 1.0\n", "image_transforms.crop"),
        ("augment:\n  crop: 0.5\n", "augment"),
        ("alignment:\n  objectives: {t→x: 1}\n", "alignment.objectives"),
        ("alignment:\n  objectives: {t→mm: 0}\n", "alignment.objectives"),
        ("filter:\n  threshold: 1.5\n", "filter.threshold"),
        ("augmentations:\n  use: always\n", "use"),
        ("augmentations:\n  keep_original: 1.5\n", "augmentations.keep_original"),
        ("augmentations:\n  images: -1\n", "augmentations.images"),
        ("training:\n  learning_rate: 0\n", "training.learning_rate"),
        ("backbone:\n  dtype: bfloat16\n", "training.optimizer is 'adamw'; it must be adamw_bf16"),
        ("backbone:\n  dtype: bfloat16\ntraining:\n  optimizer: muon\n", "training.optimizer is 'muon'"),
        ("training:\n  dimensions: [64, 0]\n", "training.dimensions"),
        ("training:\n  chunk_tokens: 0\n", "training.chunk_tokens"),
        ("training:\n  hard_negatives: -1\n", "training.hard_negatives"),
        ("training:\n  mined_share: 1\n", "training.mined_share is 1"),
        ("training:\n  hard_negatives: 2\n  steps: 500\n", "training.mine_every is 500"),
        ("backbone:\n  tiny:\n    vision_width: 0\n", "backbone.tiny.vision_width is 0"),
        ("training:\n  seed: 18446744073709551616\n", "training.seed is 18446744073709551616"),
        ("alignment:\n  objectives: {1: 1}\n", "alignment.objectives"),
        ("training:\n", "training"),
        ("alignment:\n  objectives:\n", "alignment.objectives has no value; give one, or leave it out"),
        ("filter:\n  margin_start:\n", "filter.margin_start has no value"),
        ("training:\n  freeze:\n  #  - vision\n", "training.freeze has no value"),
        ("- a\n- list\n", "a recipe is a table"),
        ("training: [\n", "is not YAML"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_comes_with_moon2_is_read() -> None:
    for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml")):
        assert load_recipe(path) != Recipe(), path.name


def test_a_table_of_objectives_names_those_that_are_trained(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "alignment:\n  objectives: {t→mm: 2, i2t: 1}\n  balance: fixed\n"))
    assert recipe.alignment.shares == {Objective("t", "mm"): 2, Objective("i", "t"): 1}
    assert load_recipe(write(tmp_path, recipe.to_yaml())) == recipe


@pytest.mark.parametrize("name", ["t→i", "t2i", "t->i"])
def test_one_share_is_changed_and_the_others_stay(name: str, tmp_path: Path) -> None:
    fixed = ["alignment.balance=fixed", f"alignment.objectives.{name}=8"]
    assert load_recipe(None, fixed).alignment.objectives == {"t→mm": 1, "i→mm": 1, "mm→mm": 1, "i→t": 1, "t→i": 8}
    path = write(tmp_path, "alignment:\n  objectives: {t->i: 3, i→t: 2}\n")
    assert load_recipe(path, fixed).alignment.objectives == {"t→i": 8, "i→t": 2}
    assert "t→i" not in load_recipe(None, [f"alignment.objectives.{name}=0"]).alignment.objectives


def test_shares_that_nothing_would_read_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"alignment\.balance is 'guarded'; it must be fixed, which alone reads"):
        load_recipe(None, ["alignment.objectives.t2i=8"])


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("training.stps=3", "training.steps"),
        ("trainin.steps=3", "training.steps"),
        ("input.feilds=[a]", "input.fields"),
    ],
)
def test_the_setting_that_was_meant_is_named(setting: str, meant: str, tmp_path: Path) -> None:
    name, _, value = setting.partition("=")
    section, _, key = name.partition(".")
    path = write(tmp_path, f"{section}:\n  {key}: {value}\n")
    for options in ((path,), (None, [setting])):
        with pytest.raises(RecipeError, match=rf"did you mean '{meant}'\?"):
            load_recipe(*options)


def test_bfloat16_weights_are_trained_by_their_own_optimizer() -> None:
    for dtype in ("float32", "bfloat16"):
        assert load_recipe(None, [f"backbone.dtype={dtype}", "training.optimizer=adamw_bf16"]).backbone.dtype == dtype


def test_a_mistaken_override_is_named() -> None:
    with pytest.raises(RecipeError, match="stepz"):
        load_recipe(None, ["training.stepz=3"])


def test_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: there is no such recipe"):
        load_recipe(tmp_path / "none.yaml")
    write(tmp_path, "")
    with pytest.raises(RecipeError, match=r"did you mean '.*/recipe\.yaml'\?"):
        load_recipe(tmp_path / "recpie.yaml")


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """One that was saved as Windows-1252, and a folder."""
    (tmp_path / "latin.yaml").write_bytes("# für die Röcke\n".encode("cp1252"))
    for path in (tmp_path / "latin.yaml", tmp_path):
        with pytest.raises(RecipeError, match=r": cannot be read \(.*\); give a YAML file, saved as UTF-8") as caught:
            load_recipe(path)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_reading_a_recipe_imports_no_torch() -> None:
    code = "import sys; from moon2.recipe import load_recipe; load_recipe(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
