"""A shop's whole way over the command line: benchmark, augmentation, training, evaluation, report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import error_line, write_shop_without_log
from support.small_recipe import write_small_recipe

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import write_catalog
from moon2.cli import main
from moon2.records import Interaction, Product, Query


def test_checkpoints_are_compared_on_held_out_queries_of_the_log_itself(tmp_path: Path) -> None:
    """Even without test queries; what is held out is not trained on."""
    products = [Product(id=str(number), title=f"shirt number {number}") for number in range(40)]
    log = [Interaction(Query(f"q{number}", f"number {number}"), (str(number),)) for number in range(40)]
    data = write_catalog(tmp_path / "data", {"train": products}, {"train": log}, title="shirts").folder
    recipe = write_small_recipe(tmp_path / "small.yaml", "training.steps=3", "training.evaluate_every=3")
    assert main(["train", "--config", str(recipe), "--data", str(data), "--out", str(tmp_path / "run")]) == 0
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history if "eval/t→mm R@10" in line] == [3]
    assert "from 36 triplets" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_train_evaluate_report(capsys: pytest.CaptureFixture[str], tmp_path: Path, data_folder: Path) -> None:
    run = tmp_path / "run"
    recipe = write_small_recipe(tmp_path / "small.yaml", "training.steps=3", "training.evaluate_every=3")
    train = ["train", "--config", str(recipe), "--data", str(data_folder), "--out", str(run)]

    assert main([*train, "--training.seed", "3"]) == 0
    printed = capsys.readouterr()
    assert "trained 3 steps" in printed.out and "moon2 evaluate" in printed.out
    assert "{'" not in printed.out + printed.err, "no dictionaries of a library's"
    assert "seed: 3" in (run / "recipe.yaml").read_text()
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history if "loss" in line] == [1, 2, 3]
    assert any("eval/score" in line for line in history)

    # A run is never overwritten by mistake, nor resumed with another recipe.
    assert "--resume" in error_line(capsys, *train, "--training.seed", "3")
    assert "another recipe" in error_line(capsys, *train, "--training.seed", "4", "--resume")

    no_queries = write_shop_without_log(tmp_path / "no-queries")
    assert "nothing to score" in error_line(capsys, "evaluate", run, "--data", no_queries)
    assert not (run / "evaluation.json").exists()

    assert main(["evaluate", str(run), "--data", str(data_folder), "--attributes", "colour", "material"]) == 0
    printed = capsys.readouterr()
    assert all(direction in printed.out for direction in ("t→mm", "i→mm", "mm→mm", "t→i", "i→t"))
    tasks = {"class", "colour", "material"}
    scored = set(json.loads((run / "evaluation.json").read_text())["zero_shot"])
    assert scored == {task + form for task in tasks for form in ("", ", in phrases", ", weighed")}

    assert main(["report", str(run), "--data", str(data_folder)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert "Loss of each objective" in (run / "report.html").read_text()

    # An evaluation is shown with the catalog it was made on: ids repeat between shops.
    other = write_shop(out=tmp_path / "other", products=60, queries=16, seed=1).folder
    line = error_line(capsys, "report", run, "--data", other)
    assert "other test queries or products" in line and "moon2 evaluate" in line

    assert main(["evaluate", str(run), "--data", str(data_folder), "--against", str(run)]) == 0
    assert f"difference to {run}" in capsys.readouterr().out
    assert "moon2 evaluate" in error_line(capsys, "evaluate", run, "--data", data_folder, "--against", "no/such-model")


def test_a_co_augmented_benchmark_is_still_one(tmp_path: Path, data_folder: Path) -> None:
    bench, plus = tmp_path / "bench", tmp_path / "plus"
    assert main(["benchmark", "build", str(data_folder), "--out", str(bench), "--test_share", "0.25"]) == 0
    assert main(["augment", str(bench), "--out", str(plus), "--workers", "1", "--images.provider", "none"]) == 0
    assert (plus / "benchmark.json").read_text() == (bench / "benchmark.json").read_text()
    card = (plus / "README.md").read_text()
    assert "Made by `moon2 augment`" in card and "Built by `moon2 benchmark build`" in card
    assert card.count("| table | split | rows |") == 1
