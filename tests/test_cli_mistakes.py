"""What a user of the command line can fix is one line, before anything is loaded: what, where, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import HEAVY, error_line, run_python, write_shop_without_log


def test_the_command_or_folder_that_was_meant_is_named(
    data_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "did you mean 'train'? see `moon2 --help`" in error_line(capsys, "trian")
    line = error_line(capsys, "train", "--data", f"{data_folder}s", "--out", tmp_path / "run")
    assert f"there is no such catalog; did you mean '{data_folder}'?" in line
    (tmp_path / "mine.yaml").write_text("traning: {steps: 3}\n")
    line = error_line(capsys, "train", "--config", tmp_path / "mine.yaml", "--plan")
    assert "did you mean 'training.steps'?" in line
    line = error_line(capsys, "train", "--config", tmp_path / "mime.yaml", "--plan")
    assert f"did you mean '{tmp_path / 'mine.yaml'}'?" in line
    (tmp_path / "latin.yaml").write_bytes("# für die Röcke".encode("cp1252"))
    line = error_line(capsys, "train", "--config", tmp_path / "latin.yaml", "--plan")
    assert f"--config {tmp_path / 'latin.yaml'}: cannot be read" in line and line.endswith("; save it as UTF-8")


REFUSED = f"""
import sys
from moon2.cli import main
shop, run, new = sys.argv[1:]
used = ["--out", shop]
for args in (
    ["train", "--data", shop, *used],
    ["train", "--data", shop, "--out", run],
    ["train", "--data", new, "--out", new],
    ["evaluate", run, "--data", shop, "--attributes", "fabirc"],
    ["evaluate", run, "--data", shop, "--out", shop],
    ["evaluate", run, "--data", shop, "--out", run + "/recipe.yaml/figures.json"],
    ["heatmap", run, "--text", "shirt", "--out", run + "/recipe.yaml/heat.png"],
    ["evaluate", run, "--data", new],
    ["import", "no.csv", "--as", "csv", *used],
    ["augment", shop, *used],
    ["benchmark", "build", shop, *used],
    ["shop", *used],
    ["demo", *used],
    ["compare", new, "--out", new],
    ["heatmap", shop, "--text", "shirt", "--out", "heat.png"],
    ["report", shop, "--data", shop],
):
    assert main(args) == 2, args
    loaded = {HEAVY} & set(sys.modules)
    assert not loaded, (args, loaded)
"""


def test_what_is_refused_is_refused_before_anything_is_loaded(data_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "recipe.yaml").touch()
    (run / "model" / "config.json").write_text("{}")
    run_python("-c", REFUSED, str(data_folder), str(run), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("word", ["", "trian", "--trian", "os:getcwd", "support.example_command:order"])
def test_only_commands_and_functions_of_moon2_run(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_line(capsys, word)
    assert repr(word) in line and "see `moon2 --help`" in line


def test_mistakes_in_the_words_of_a_command(
    data_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = error_line(capsys, "train", "--data", data_folder)
    assert "out" in line and "moon2 train --help" in line
    assert "--dta" in error_line(capsys, "evaluate", "run", "--data", data_folder, "--dta", "x")
    line = error_line(capsys, "import", "shop.xls", "--as", "excel", "--out", tmp_path / "out")
    assert "--as: Expected one of 'auto', 'csv', 'parquet'" in line and "excel" in line
    train = ("train", "--data", data_folder, "--out", tmp_path / "run")
    assert "did you mean 'training.steps'?" in error_line(capsys, *train, "--training.stps", "3")
    line = error_line(capsys, *train, "--training.steps", "many")
    assert "training.steps" in line and "many" in line
    line = error_line(capsys, *train, "--experts.active", "5")
    assert "experts.active is 5" in line and "1 to experts.count" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training: {stps: 3}\n", ["mine.yaml", "stps"]),
        ("training: {steps: many}\n", ["mine.yaml", "steps", "many"]),
        ("experts: {active: 5}\n", ["experts.active is 5"]),
        ("training: [", ["mine.yaml"]),
        (None, ["mine.yaml"]),
    ],
)
def test_a_recipe_that_cannot_be_used(
    text: str | None, words: list[str], data_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    if text is not None:
        recipe.write_text(text)
    line = error_line(capsys, "train", "--config", recipe, "--data", data_folder, "--out", tmp_path / "run")
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_folders_that_are_not_what_they_should_be(
    data_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = error_line(capsys, "train", "--data", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert "nowhere" in line and "moon2 import" in line
    for command in ("evaluate", "report"):
        line = error_line(capsys, command, tmp_path / "nowhere", "--data", data_folder)
        assert "nowhere" in line and "moon2 train" in line
    assert "is not a run" in error_line(capsys, "evaluate", data_folder, "--data", data_folder)
    assert f"moon2 evaluate {tmp_path}" in error_line(capsys, "report", tmp_path, "--data", data_folder)
    assert "overwrite" in error_line(capsys, "shop", "--out", data_folder, "--products", "60", "--queries", "1")
    assert "something else than a demo" in error_line(capsys, "demo", "--out", data_folder)
    no_queries = write_shop_without_log(tmp_path / "no-queries")
    table = no_queries / "products" / "train-00000.parquet"
    table.write_bytes(table.read_bytes()[:200])
    assert "train-00000.parquet" in error_line(capsys, "train", "--data", no_queries, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_values_that_a_command_refuses(data_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--label_prompt" in error_line(capsys, "evaluate", "run", "--data", data_folder, "--label_prompt", "a photo")
    assert "at least 60" in error_line(capsys, "shop", "--out", tmp_path / "data", "--products", "5")
