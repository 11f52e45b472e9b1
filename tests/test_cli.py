"""The command line as users meet it: help at once, one line for what they can mend, and a whole shop's way through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from moon2.commands import VERBS

from moon2 import cli
from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog, write_catalog
from moon2.cli import main
from moon2.recipe import Recipe
from moon2.records import Interaction, Product, Query

# As small as the tiny backbone goes: these tests ask whether the parts fit, not what is learned.
SMALL = """
backbone:
  tiny: {vocabulary: 400, width: 32, layers: 1, heads: 2, feed_forward: 32, vision_width: 32, vision_layers: 1}
input: {max_pixels: 3600, max_text_tokens: 16, max_images: 1}
training:
  {steps: 3, batch_size: 4, learning_rate: 0.001, warmup_steps: 1, log_every: 1, save_every: 2, evaluate_every: 3}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated shop on disk."""
    return write_shop(out=tmp_path_factory.mktemp("shop") / "data", products=60, queries=16).folder


@pytest.fixture
def no_queries(tmp_path: Path) -> Path:
    """A catalog without a search log."""
    products = [Product(id=str(number), title=f"shirt number {number}") for number in range(3)]
    return write_catalog(tmp_path / "no-queries", {"train": products}, title="shirts").folder


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Runs a command that must end with exit code 2, nothing on standard output and one line, which is returned."""
    assert main([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("moon2: ")]
    assert len(lines) == 1
    assert "Traceback" not in printed.err
    return lines[0]


# Help


def test_help_imports_no_torch():
    script = "\n".join(
        [
            "import sys",
            "from moon2.cli import VERBS, main",
            "for arguments in (['--help'], *([verb, '--help'] for verb in VERBS)):",
            "    assert main(arguments) == 0",
            "loaded = {'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)",
            "sys.exit(f'help imported {loaded}' if loaded else 0)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"usage: moon2 {verb}" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]):
    assert main([verb, "--help"]) == 0
    assert f"\n  moon2 {verb}" in capsys.readouterr().out


def test_help_of_train_tells_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]):
    main(["train", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "--training.steps STEPS Optimiser steps. (type: int, default: 1000)" in printed
    assert "--alignment.balance {paper,guarded,fixed}" in printed


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("moon2 0.")


# Bad input: what, where, what to do


def test_unknown_verb(capsys: pytest.CaptureFixture[str]):
    line = complaint(capsys, "trian")
    assert "'trian'" in line and "train" in line and "moon2 --help" in line


def test_missing_argument(capsys: pytest.CaptureFixture[str], shop: Path):
    line = complaint(capsys, "train", "--data", shop)
    assert "out" in line and "moon2 train --help" in line


def test_unknown_option(capsys: pytest.CaptureFixture[str], shop: Path):
    assert "--dta" in complaint(capsys, "evaluate", "run", "--data", shop, "--dta", "x")


def test_missing_source(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    line = complaint(capsys, "import", tmp_path / "shop.csv", "--as", "csv", "--out", tmp_path / "out")
    assert "shop.csv" in line and "no such file" in line
    assert not (tmp_path / "out").exists()


def test_unknown_format(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    line = complaint(capsys, "import", tmp_path / "shop.xls", "--as", "excel", "--out", tmp_path / "out")
    assert "'excel'" in line and "csv" in line and "parquet" in line


def test_missing_column(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    table = tmp_path / "shop.csv"
    table.write_text("sku,name\n1,Red shirt\n")
    asked = ("--columns.title", "product_name")
    line = complaint(capsys, "import", table, "--as", "csv", "--out", tmp_path / "out", *asked)
    assert "shop.csv" in line and "'product_name'" in line and "sku, name" in line


def test_unknown_recipe_key(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("training: {stps: 3}\n")
    line = complaint(capsys, "train", "--config", recipe, "--data", shop, "--out", tmp_path / "run")
    assert "mine.yaml" in line and "stps" in line


def test_unknown_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    assert "stps" in complaint(capsys, "train", "--data", shop, "--out", tmp_path / "run", "--training.stps", "3")


def test_recipe_value_of_the_wrong_type(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("training: {steps: many}\n")
    line = complaint(capsys, "train", "--config", recipe, "--data", shop, "--out", tmp_path / "run")
    assert "mine.yaml" in line and "steps" in line and "many" in line


def test_setting_of_the_wrong_type(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    line = complaint(capsys, "train", "--data", shop, "--out", tmp_path / "run", "--training.steps", "many")
    assert "training.steps" in line and "many" in line


def test_recipe_value_out_of_range(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    line = complaint(capsys, "train", "--data", shop, "--out", tmp_path / "run", "--experts.active", "5")
    assert "experts.active is 5" in line and "1 to experts.count" in line


def test_missing_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    config = tmp_path / "none.yaml"
    assert "none.yaml" in complaint(capsys, "train", "--config", config, "--data", shop, "--out", tmp_path / "run")


def test_missing_catalog(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    line = complaint(capsys, "train", "--data", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert "nowhere" in line and "moon2 import" in line
    assert not (tmp_path / "run").exists()


def test_damaged_catalog(capsys: pytest.CaptureFixture[str], tmp_path: Path, no_queries: Path):
    table = no_queries / "products" / "train-00000.parquet"
    table.write_bytes(table.read_bytes()[:200])
    line = complaint(capsys, "train", "--data", no_queries, "--out", tmp_path / "run")
    assert "train-00000.parquet" in line


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_missing_run(verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    line = complaint(capsys, verb, tmp_path / "nowhere", "--data", shop)
    assert "nowhere" in line and "moon2 train" in line


def test_run_that_is_none(capsys: pytest.CaptureFixture[str], shop: Path):
    assert "is not a run" in complaint(capsys, "evaluate", shop, "--data", shop)


def test_run_that_is_not_finished(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    (tmp_path / "recipe.yaml").write_text(Recipe().to_yaml())
    assert "--resume" in complaint(capsys, "evaluate", tmp_path, "--data", shop)


def test_run_that_was_not_evaluated(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    assert f"moon2 evaluate {tmp_path}" in complaint(capsys, "report", tmp_path, "--data", shop)


def test_evaluation_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path):
    (tmp_path / "evaluation.json").write_text("[]")
    assert "evaluation.json" in complaint(capsys, "report", tmp_path, "--data", shop)


def test_limit_out_of_range(capsys: pytest.CaptureFixture[str], shop: Path):
    assert "--limit is 0" in complaint(capsys, "evaluate", "run", "--data", shop, "--limit", "0")


def test_label_prompt_without_a_place_for_the_label(capsys: pytest.CaptureFixture[str], shop: Path):
    line = complaint(capsys, "evaluate", "run", "--data", shop, "--label_prompt", "a photo")
    assert "--label_prompt" in line and "{}" in line


def test_too_small_a_shop(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "at least 60" in complaint(capsys, "shop", "--out", tmp_path / "data", "--products", "5")


def test_catalog_in_the_way(capsys: pytest.CaptureFixture[str], shop: Path):
    assert "overwrite" in complaint(capsys, "shop", "--out", shop, "--products", "60", "--queries", "1")


def test_folder_that_is_not_a_demo(capsys: pytest.CaptureFixture[str], shop: Path):
    assert "something else than a demo" in complaint(capsys, "demo", "--out", shop)
    assert len(Catalog.open(shop)) == 60


def test_unreadable_image_is_listed_and_the_import_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    (tmp_path / "shop.csv").write_text("sku,name,image\n1,Red shirt,broken.jpg\n2,Blue shirt,\n,Nothing,\n3,Cap,\n")
    out = tmp_path / "data"
    assert main(["import", str(tmp_path / "shop.csv"), "--as", "csv", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2 products" in printed and "rejects.parquet" in printed
    rejects = pq.read_table(out / "rejects.parquet").to_pylist()
    assert any("broken.jpg" in reject["message"] for reject in rejects)
    assert any(reject["reason"] == "no_id" for reject in rejects)


def test_a_log_of_which_nothing_can_be_used_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "products.csv").write_text("id,title\n1,navy shirt\n2,red bag\n")
    (tmp_path / "log.csv").write_text("query,purchased_id\nshirt,8\nbag,9\n")
    out = tmp_path / "shop"
    typed = ["import", str(tmp_path / "products.csv"), "--as", "csv", "--out", str(out)]
    assert main([*typed, "--log", str(tmp_path / "log.csv")]) == 2
    said = capsys.readouterr()
    assert f"log.csv: not one row of the log could be used; {out / 'rejects.parquet'} says why" in said.err
    assert "2 products, 0 log entries" in said.out


# Faults that are not the user's, and being stopped


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shop: Path):
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("moon2.catalog.generated_shop.generate.write_shop", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["shop", "--out", str(tmp_path)])


def test_stopped_training_tells_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", stopped)
    assert main(["train", "--data", "my shop", "--out", "run"]) == 130
    assert capsys.readouterr().err.endswith("moon2 train --data 'my shop' --out run --resume\n")


# All the way


def test_checkpoints_are_compared_on_held_out_queries_of_the_log_itself(tmp_path: Path):
    """Even a catalog with no test queries has its training evaluated; what is held out is not trained on."""
    products = [Product(id=str(number), title=f"shirt number {number}") for number in range(40)]
    log = [Interaction(Query(f"q{number}", f"number {number}"), (str(number),)) for number in range(40)]
    data = write_catalog(tmp_path / "data", {"train": products}, {"train": log}, title="shirts").folder
    (tmp_path / "small.yaml").write_text(SMALL)
    train = ["train", "--config", str(tmp_path / "small.yaml"), "--data", str(data), "--out", str(tmp_path / "run")]
    assert main(train) == 0
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history if "eval/t→mm R@10" in line] == [3]
    assert "from 36 triplets" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_train_evaluate_report(capsys: pytest.CaptureFixture[str], tmp_path: Path, shop: Path, no_queries: Path):
    recipe, run = tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(SMALL)
    train = ["train", "--config", str(recipe), "--data", str(shop), "--out", str(run)]

    assert main([*train, "--training.seed", "3"]) == 0
    printed = capsys.readouterr()
    assert "trained 3 steps" in printed.out and "moon2 evaluate" in printed.out
    assert "{'" not in printed.out + printed.err  # no dictionaries of the trainer's
    assert "seed: 3" in (run / "recipe.yaml").read_text()
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history if "loss" in line] == [1, 2, 3]
    assert any("eval/t→mm R@10" in line for line in history)

    # A run is never overwritten by mistake, nor gone on with by another recipe.
    assert "--resume" in complaint(capsys, *train, "--training.seed", "3")
    assert "another recipe" in complaint(capsys, *train, "--training.seed", "4", "--resume")

    assert "has no test interactions" in complaint(capsys, "evaluate", run, "--data", no_queries)
    assert not (run / "evaluation.json").exists()

    assert main(["evaluate", str(run), "--data", str(shop)]) == 0
    printed = capsys.readouterr()
    assert all(direction in printed.out for direction in ("t→mm", "i→mm", "mm→mm", "t→i", "i→t"))
    assert set(json.loads((run / "evaluation.json").read_text())["recalls"]) == {"t→mm", "i→mm", "mm→mm", "t→i", "i→t"}

    assert main(["report", str(run), "--data", str(shop)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert "Loss of each objective" in (run / "report.html").read_text()

    # An evaluation is shown with the catalog it was made on: ids repeat between shops.
    other = write_shop(out=tmp_path / "other", products=60, queries=16, seed=1).folder
    line = complaint(capsys, "report", run, "--data", other)
    assert "other test queries or products" in line and "moon2 evaluate" in line

    # A model is compared with any other that was evaluated, however it is named, but on the same gallery only.
    elsewhere = tmp_path / "elsewhere.json"
    assert main(["evaluate", str(run), "--data", str(shop), "--out", str(elsewhere), "--against", str(run)]) == 0
    assert f"difference to {run}" in capsys.readouterr().out
    line = complaint(capsys, "evaluate", run, "--data", shop, "--limit", "8", "--against", elsewhere)
    assert "elsewhere.json" in line and "--limit" in line
    scores = tmp_path / "elsewhere-queries.parquet"
    asked = ["--attributes", "colour", "material", "--label_prompt", "a photo of {}"]
    assert main(["evaluate", str(run), "--data", str(shop), *asked, "--against", str(scores)]) == 0
    assert set(json.loads((run / "evaluation.json").read_text())["zero_shot"]) == {"class", "colour", "material"}
    assert "+0.0" in capsys.readouterr().out
    assert "moon2 evaluate" in complaint(capsys, "evaluate", run, "--data", shop, "--against", "no/such-model")


def test_a_co_augmented_benchmark_is_still_one(tmp_path: Path, shop: Path):
    bench, plus = tmp_path / "bench", tmp_path / "plus"
    assert main(["benchmark", "build", str(shop), "--out", str(bench), "--test_share", "0.25"]) == 0
    assert main(["augment", str(bench), "--out", str(plus), "--workers", "1", "--images.provider", "none"]) == 0
    assert (plus / "benchmark.json").read_text() == (bench / "benchmark.json").read_text()
    card = (plus / "README.md").read_text()
    assert "Made by `moon2 augment`" in card and "Built by `moon2 benchmark build`" in card
    assert card.count("| table | split | rows |") == 1
