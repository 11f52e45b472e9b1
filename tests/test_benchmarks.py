"""The measuring scripts, on something small enough to check by hand: README's figures come from them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image
from support.benchmark_scripts import load_script
from support.small_recipe import small_recipe, write_small_recipe
from transformers import AutoModel, Qwen2VLImageProcessorPil

from moon2 import Product
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.evaluate.evaluate import evaluate
from moon2.model.backbone import train_tokenizer
from moon2.model.families import family_of
from moon2.model.moon_model import MoonModel
from moon2.model.processor import Processor
from moon2.model.shapes import shape_config
from moon2.recipe import ExpertSettings, InputSettings
from moon2.search.commands import build_index
from moon2.train.arithmetic import useful_operations
from moon2.train.teacher import open_teacher
from moon2.train.train import run_training
from moon2.vectors.embed_catalog import embed


@pytest.fixture(scope="module")
def run(generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, evaluated."""
    folder = tmp_path_factory.mktemp("benchmarks") / "run"
    run_training(small_recipe("training.steps=2"), generated_shop, folder)
    evaluate(str(folder), data=generated_shop.folder)
    return folder


def test_the_ways_to_round_are_compared_from_one_start(
    generated_shop: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    load_script("optimizer_rounding").compare(small_recipe("training.steps=3"), generated_shop, different_batches=2)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows] == [
        "AdamW, float32 weights",
        "adamw_bf16",
        "the same, noise drawn anew each step",
        "the same, rounded to nearest",
    ]
    assert rows[0][2].endswith("(+0.00 %)") and rows[3][3] != rows[0][3]


def test_opening_and_loading_images_is_timed(generated_shop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--megapixels", "1.2", "--max_pixels", "4800", "--repeats", "1", "--batches", "1", "--workers", "0"]
    load_script("image_loading").main([*args, "--data", str(generated_shop.folder)])
    result = json.loads(capsys.readouterr().out)
    assert [row["format"] for row in result["images"]] == ["JPEG", "PNG", "WEBP"]
    for row in result["images"]:
        assert row["cached_ms"] < row["whole_ms"]
        assert min(row["reduced_cosine"], row["cached_cosine"]) >= 0.999
    assert result["loader"][0]["triplets_per_second"] > 0


@pytest.mark.long
def test_large_photos_are_measured_beside_thumbnails(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--images", "4", "--megapixels", "2", "--max_pixels", "4800", "--steps", "2", "--batch_size", "2"]
    load_script("large_images").main([*args, "--rounds", "1"])
    result = json.loads(capsys.readouterr().out)
    assert set(result["encode"]) == {"JPEG", "PNG", "WEBP"}
    assert result["train"]["later_reads"]["seconds_ratio"] > 0


def test_the_memory_of_an_evaluation_is_printed_with_what_was_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    load_script("evaluation_memory").main(["--rows", "200", "--queries", "20", "--dimension", "16"])
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"], result["queries"], result["dimension"]) == (200, 20, 16)
    assert result["peak_growth_gb"] >= 0 and result["seconds"] >= 0


def test_scoring_is_timed_beside_the_bare_product(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--rows", "3000", "--queries", "64", "--dimension", "16", "--out", str(tmp_path / "scale.json")]
    load_script("retrieval_scale").main(args)
    result = json.loads((tmp_path / "scale.json").read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert (result["rows"], result["queries"], result["pairs"]) == (3000, 64, 1)
    assert result["ratio_lowest"] == result["ratio_median"] > 0


def test_the_filter_is_measured_on_the_labelled_rows_of_the_log(
    run: Path, generated_shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    noise = str(generated_shop.folder / "noise.parquet")
    args = [str(tmp_path / "run"), "--data", str(generated_shop.folder), "--noise", noise]
    load_script("filter_auroc").main(args)
    result = json.loads((tmp_path / "run" / "filter.json").read_text())
    assert 0 <= result["auroc"] <= 1
    assert 0 < result["wrong"] < result["triplets"] == 40
    assert f"{result['wrong']} of 40 triplets are wrong" in capsys.readouterr().out


def test_phi_of_a_triplet_is_the_mean_over_its_negatives(run: Path, generated_shop: Catalog) -> None:
    from moon2.catalog.triplets import triplets_from_log
    from moon2.encoders.load import load_own
    from moon2.recipe import FilterSettings

    encoder, settings = load_own(run), FilterSettings(sharpness=5, margin_end=0.1)
    triplet = next(t for t in triplets_from_log(generated_shop.interactions("train")) if len(t.negative_ids) > 1)
    query = encoder.encode([generated_shop.with_image(triplet.query)])[0]
    ids = [triplet.positive_id, *triplet.negative_ids]
    positive, *negatives = encoder.encode([generated_shop.product(id) for id in ids]) @ query
    wanted = np.mean([1 / (1 + np.exp(-5 * (positive - negative - 0.1))) for negative in negatives])
    phi = load_script("filter_auroc").mean_phi(encoder, generated_shop, [triplet], settings)
    assert phi == pytest.approx([wanted], abs=1e-5)


def test_the_results_on_the_fashion_log_are_gathered(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "filter.json").write_text('{"auroc": 0.9}')
    load_script("fashion_results").main([str(tmp_path), "--seconds", "1", "2", "3"])
    result = json.loads((tmp_path / "fashion.json").read_text())
    assert (result["seconds"], result["filter"]) == ({"import": 1, "train": 2, "evaluate": 3}, {"auroc": 0.9})
    recalls = json.loads((run / "evaluation.json").read_text())["recalls"]
    assert result["evaluation"]["recalls"] == recalls and "examples" not in result["evaluation"]
    assert list(result["weights_at_the_end"]) == ["t→mm", "i→mm", "mm→mm", "i→t", "t→i"]
    assert f"| t→mm | {recalls['t→mm']['1']:.1f} |" in capsys.readouterr().out


def test_balance_modes_are_compared_and_their_weights_shown(
    generated_shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = write_small_recipe(tmp_path / "small.yaml"), tmp_path / "out"
    args = [str(generated_shop.folder), "--config", str(recipe), "--steps", "2", "--at_once", "2", "--out", str(out)]
    load_script("balance_modes").main([*args, "--modes", "paper", "guarded:1.0"])
    runs = json.loads((out / "balance.json").read_text())["runs"]
    assert [run["mode"] for run in runs] == ["paper", "guarded:1.0"]
    last = {objective: curve[-1] for objective, curve in runs[1]["weights"].items()}
    assert last.pop("entropy of W*") == [2, pytest.approx(np.log(5), abs=1e-3)], "it starts without a preference"
    assert last == {str(objective): [2, pytest.approx(1)] for objective in last}, "a floor of 1 makes them equal"
    printed = capsys.readouterr().out
    assert "| guarded:1.0, seed 0 | 100% | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 | 1.6" in printed
    assert "| paper | 1 |" in printed


def test_a_balance_mode_names_its_floor_and_its_pooling() -> None:
    script = load_script("balance_modes")
    pooled = script.variant_of("minimax:0.8+modalities")
    assert pooled.settings == ("alignment.balance=minimax", "alignment.floor_share=0.8", "backbone.pooling=modalities")
    assert script.variant_of("fixed").settings == ("alignment.balance=fixed", "backbone.pooling=tokens")
    (towers,) = script.beside(["CLIP-style dual encoder"], small_recipe())
    assert towers.trainer.endswith("two_towers:train")


@pytest.mark.parametrize("mode", ["fixd", "fixed:1", "paper:0.5", "minimax", "guarded:2", "guarded:x", "fixed+mean"])
def test_a_mistaken_balance_mode_is_named(mode: str) -> None:
    with pytest.raises(SystemExit, match=rf"no mode '{re.escape(mode)}'|alignment\.floor_share"):
        load_script("balance_modes").main(["data", "--modes", mode])


def test_a_network_of_photos_teaches_what_has_a_photo(shop: Catalog, tmp_path: Path) -> None:
    script = load_script("image_features")
    script.write_image_teacher(shop.folder, tmp_path / "photos")
    teacher = open_teacher([str(tmp_path / "photos")], shop, training_triplets(shop))
    assert teacher is not None and list(teacher.tables) == ["i"]
    table = teacher.tables["i"]
    assert {id for what, id in table.places if what == "products"} == {
        product.id for product in shop.products("train") if product.images
    }
    # A query that shows a product has that product's photo.
    shown = next(each.query for each in shop.interactions("train") if each.query.product_id)
    query, product = (table.own[table.places[key]] for key in (("queries", shown.id), ("products", shown.product_id)))
    torch.testing.assert_close(query, product)
    assert torch.equal(table.own, table.joint)


def test_the_mask_of_a_photo_is_the_product_on_white_and_in_a_room() -> None:
    """A dark square with a white window. White that touches the edge is background, so the window is product."""
    focus = load_script("heatmap_focus")
    photo = Image.new("RGB", (60, 80), "white")
    photo.paste((20, 20, 20), (10, 20, 50, 60))
    photo.paste("white", (25, 35, 35, 45))
    mask = focus.product_mask(photo)
    assert mask.sum() == 40 * 40
    assert mask[20:60, 10:50].all()
    image, pasted = focus.paste(photo, mask, Random(0))
    assert image.size == photo.size
    assert 0.5 * 0.55**2 < pasted.sum() / mask.sum() < 1.3 * 0.8**2
    assert np.asarray(image)[pasted].mean() < np.asarray(image)[~pasted].mean()


def test_lift_is_share_over_even_share() -> None:
    result = load_script("heatmap_focus").lift(np.array([0.6, 0.2]), np.array([0.3, 0.1]))
    assert result["lift"] == pytest.approx(2)
    assert result["interval"] == pytest.approx([2, 2])


def test_title_words_get_their_roles_and_true_words_are_not_added_as_filler() -> None:
    focus = load_script("heatmap_focus")
    known = {"brand": "Nike", "base_colour": "Red", "gender": "Women"}
    product = Product("1", "Nike Women Red Shoes", category=("Footwear", "Shoes"), attributes=known)
    changed, roles = focus.with_filler(product, "appended")
    assert changed.title == "Nike Women Red Shoes high quality best new arrival"
    assert roles == ["brand", "other", "colour", "type", *["filler"] * 5]
    assert focus.by_role(np.array([1.0, 0, 1, 2, 0, 0, 0, 0, 0]), roles) == [0.25, 0.5, 0.25, 0, 0]


BLOCKED = ("torchao", "jsonargparse", "datasets", "ray", "pyarrow", "cv2", "openai")


def test_the_training_step_is_measured_by_torch_and_transformers_alone(tmp_path: Path) -> None:
    """On a bare GPU machine there is little else; every variant runs, and those of one step have one loss."""
    script = Path(__file__).parents[1] / "benchmarks" / "training_step.py"
    blocked = f"import runpy, sys; sys.modules.update(dict.fromkeys({BLOCKED})); sys.argv = sys.argv[1:]; "
    run = f"{blocked}runpy.run_path({str(script)!r}, run_name='__main__')"
    options = [
        "--shape",
        "tiny",
        "--triplets",
        "4",
        "--chunk",
        "1",
        "--rounds",
        "1",
        "--json",
        str(tmp_path / "f.json"),
    ]
    printed = subprocess.run([sys.executable, "-c", run, str(script), *options], capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr[-2000:]
    found = json.loads((tmp_path / "f.json").read_text())
    names = ["separate", "padded", "shared", "checkpointed", "compiled", "gradcache", "lora", "dense", "eager"]
    assert [row["name"] for row in found["variants"]] == names
    for row in found["variants"]:
        assert row["triplets_per_second"] > 0 and row["seconds"] > 0 and row["recompilations"] == 0
    losses = {line.split()[0]: line.split()[-1] for line in printed.stdout.splitlines() if " loss " in line}
    same = ["separate", "padded", "shared", "checkpointed", "compiled", "eager"]
    assert len({losses[name] for name in same}) == 1, losses


def test_the_arithmetic_of_a_triplet_of_the_2b_shape() -> None:
    """18.8 TFLOP for three items of 256 visual tokens and 24 words of two tokens, as reckoned by hand."""
    script = load_script("step_shapes")
    with torch.device("meta"):
        backbone = AutoModel.from_config(shape_config("Qwen/Qwen3-VL-2B-Instruct"), dtype=torch.bfloat16)
        family = family_of("qwen3_vl", "2B")
        model = MoonModel(backbone, family, ExpertSettings(layers=list(range(16, 28))))
    assert sum(weights.numel() for weights in model.parameters()) == pytest.approx(3.487e9, rel=1e-3)
    tokenizer = train_tokenizer(["a few words"], 300)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 4096, "longest_edge": 262144})
    processor = Processor(tokenizer, images, family, backbone.config, InputSettings())  # type: ignore[arg-type]
    read, _ = script.random_triplets(script.SHAPES["qwen3-vl-2b"], 32, torch.Generator().manual_seed(0))
    operations = useful_operations(model, [processor.pack(read)])
    assert operations / 32 / 1e12 == pytest.approx(18.8, abs=0.5)


def test_both_forms_of_lora_compute_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    load_script("lora_forms").main(["--steps", "1", "--items", "4", "--width", "48"])
    own, by_peft = (line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:])
    assert (own[0], by_peft[0]) == ("| moon2", "| peft") and own[1] == by_peft[1]


def test_embedding_is_measured_in_turns(
    generated_shop: Catalog, small_encoder_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And its memory, in processes of their own."""
    script, model = load_script("embedding"), str(small_encoder_folder)
    script.main(["speed", model, str(generated_shop.folder), "--products", "8", "--rounds", "1", "--sides", "9", "40"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| SentenceTransformer.encode",
        "| Encoder.encode",
        "| moon2 embed",
    ]
    assert lines[2].endswith("1.00× |")


def test_fewer_bytes_a_vector_are_scored(generated_shop: Catalog, small_encoder_folder: Path, tmp_path: Path) -> None:
    embed(str(small_encoder_folder), data=generated_shop.folder, out=tmp_path / "vectors")
    script = load_script("stored_vectors")
    script.main([str(tmp_path / "vectors"), str(generated_shop.folder), "--out", str(tmp_path / "scores.json")])
    whole, half, int8, binary = json.loads((tmp_path / "scores.json").read_text())["rows"]
    assert (whole["bytes"], half["bytes"], binary["bytes"]) == tuple(whole["dimension"] * n // 8 for n in (32, 16, 1))
    found = evaluate(str(small_encoder_folder), data=generated_shop.folder, out=tmp_path / "e.json").evaluation.recalls
    assert {name: whole[name] for name in found} == pytest.approx({name: of[10] for name, of in found.items()})
    assert int8["t→mm"] == pytest.approx(whole["t→mm"], abs=5)


@pytest.mark.long
def test_the_memory_and_the_kills_of_embedding_are_measured(
    generated_shop: Catalog, small_encoder_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_script("embedding").main(["writer", "--rows", "100", "5000", "--dimension", "8"])
    load_script("embedding").main(["memory", str(small_encoder_folder), "--rows", "10", "300"])
    printed = capsys.readouterr().out
    assert "× from 100 to 5,000 rows" in printed and "× from 10 to 300 rows" in printed


@pytest.mark.long
def test_a_server_is_measured_by_many_clients_and_by_one(
    generated_shop: Catalog, small_encoder_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = [str(small_encoder_folder), str(generated_shop.folder)]
    script = load_script("serving")
    script.main(["throughput", *source, "--seconds", "1", "--clients", "4", "--kinds", "text", "both"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["text", "1"], ["text", "4"], ["both", "1"], ["both", "4"]]
    assert all(int(row[2]) > 0 and row[8] == "0" for row in rows)
    script.main(["memory", *source, "--requests", "100", "--clients", "4"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + 11


@pytest.mark.long
def test_the_page_is_timed_and_drawn(
    generated_shop: Catalog, small_encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no browser is there: apt install chromium")
    embed(str(small_encoder_folder), data=generated_shop.folder, out=tmp_path / "vectors", what="products")
    index = build_index(tmp_path / "vectors", out=str(tmp_path / "index")).place
    script = load_script("page")
    script.main(["latency", index])
    found = re.search(r"40 searches, .* median (\d+) ms", capsys.readouterr().out)
    assert found and int(found[1]) >= 120, "the pause before a search is in it"
    script.main(["states", index, "--beside", index, "--out", str(tmp_path / "states")])
    assert len(list((tmp_path / "states").glob("*.png"))) == 2 * (11 + 12)
