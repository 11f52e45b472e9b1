"""The command line as users meet it: help at once, one line for what they can fix, and a shop's whole way through."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.example_command import Settings, Wrapping
from support.small_recipe import write_small_recipe

from moon2 import cli
from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog, write_catalog
from moon2.cli import COMMANDS, UsageError, call, main
from moon2.records import Interaction, Product, Query

HEAVY = {"torch", "transformers", "datasets", "ray", "sklearn", "accelerate"}


@pytest.fixture(scope="module")
def data(generated_shop: Catalog) -> Path:
    """The folder of a generated shop."""
    return generated_shop.folder


@pytest.fixture
def no_queries(tmp_path: Path) -> Path:
    """A catalog without a search log."""
    products = [Product(id=str(number), title=f"shirt number {number}") for number in range(3)]
    return write_catalog(tmp_path / "no-queries", {"train": products}, title="shirts").folder


def error_line(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Runs a command that must end with exit code 2, nothing on standard output and one line, which is returned."""
    assert main([str(arg) for arg in args]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("moon2: "), printed.err
    return lines[0]


# Help


def run_python(*args: str) -> tuple[float, str]:
    """Seconds of the processor that a new Python takes, and what it prints.

    Of the processor and not of the clock, so that a busy machine changes nothing.
    """
    process = subprocess.Popen([sys.executable, *args], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return usage.ru_utime + usage.ru_stime, output


def test_help_comes_at_once() -> None:
    """Best of five, since a first start also compiles."""
    runs = [run_python("-m", "moon2", "--help") for _ in range(5)]
    assert min(seconds for seconds, _ in runs) < 0.3
    assert all(f"\n  {command} " in runs[0][1] for command in COMMANDS)


def test_the_overview_has_a_short_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["--help"], ["help"]):
        assert main(args) == 0
        lines = capsys.readouterr().out.splitlines()
        commands = lines[lines.index("commands:") + 1 :][: len(COMMANDS)]
        assert [line[2:19].strip() for line in commands] == list(COMMANDS)
        assert all(line.endswith(".") and len(line) <= 17 + 2 + 75 for line in commands)


HELP_OF_ALL = f"""
import sys
from moon2.cli import COMMANDS, main
for command in COMMANDS:
    assert main([*command.split(), "--help"]) == 0
loaded = {HEAVY} & set(sys.modules)
sys.exit(f"help imported {{loaded}}" if loaded else 0)
"""


def test_no_help_imports_torch() -> None:
    _, printed = run_python("-c", HELP_OF_ALL)
    assert all(f"usage: moon2 {command}" in printed for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option_and_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert f"\n  moon2 {command}" in capsys.readouterr().out
    module, _, name = COMMANDS[command].partition(":")
    parser = cli.make_parser(getattr(sys.modules[module], name), command)
    assert [action.dest for action in parser._actions if not action.help] == []


def test_help_of_train_lists_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("usage: moon2 train [options]")
    assert "--training.steps STEPS Optimizer steps. (type: int, default: 1000)" in printed
    assert "--alignment.balance {paper,guarded,minimax,minimax_routing,fixed}" in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("moon2 0.")


# What is typed becomes what the function gets


def order(*args: str) -> tuple[Any, ...]:
    """What the example command was given: item, folder, layout, settings, sizes, colours, gift."""
    names = {"Path": Path, "PosixPath": Path, "Settings": Settings, "Wrapping": Wrapping}
    return eval(call("support.example_command:order", args, "order"), names)


def test_arguments_options_and_sections_of_settings() -> None:
    assert order("shirt", "there", "--as", "box") == ("shirt", Path("there"), "box", Settings(), (1, 2), (), False)
    typed = order("shirt", "there", "--as=bag", "--wrapping.paper", "red", "--wrapping.bows=2", "--limit", "3")
    assert typed[:4] == ("shirt", Path("there"), "bag", Settings(Wrapping("red", 2), 3))


def test_an_option_of_several_words() -> None:
    assert order("shirt", "there", "--sizes", "3", "4", "5", "--as", "box")[4] == (3, 4, 5)
    assert order("shirt", "there", "--as", "box", "--sizes")[4] == ()
    assert order("shirt", "there", "--as", "box", "--colours", "blue", "red")[5] == ("blue", "red")


@pytest.mark.parametrize(("words", "gift"), [(["--gift"], True), (["--gift", "false"], False), (["--gift=true"], True)])
def test_a_switch_needs_no_value_and_accepts_one(words: list[str], gift: bool) -> None:
    assert order("shirt", "there", *words, "--as", "box")[6] is gift


@pytest.mark.parametrize("file_first", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_what_is_typed_wins_over_a_file_wherever_that_stands(file_first: bool, joined: bool, tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text("layout: bag\nwrapping: {paper: red, bows: 3}\nsizes: [7]\ngift: true\n")
    config = [f"--config={file}"] if joined else ["--config", str(file)]
    typed = ["--wrapping.bows", "2"]
    item, _, layout, settings, sizes, _, gift = order(
        "shirt", "there", *(config + typed if file_first else typed + config)
    )
    assert (item, layout, settings.wrapping, sizes, gift) == ("shirt", "bag", Wrapping("red", 2), (7,), True)


def test_of_two_files_the_later_wins(tmp_path: Path) -> None:
    for name, text in (("one", "{layout: bag, limit: 1}"), ("two", "{limit: 2}")):
        (tmp_path / name).write_text(text)
    typed = order("shirt", "there", "--config", str(tmp_path / "one"), "--config", str(tmp_path / "two"))
    assert (typed[2], typed[3].limit) == ("bag", 2)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["shirt", "there"], "--as"),
        (["shirt", "--as", "box"], "folder"),
        (["shirt", "there", "--as", "barrel"], "--as: Expected one of 'box', 'bag'. Got value: barrel"),
        (["shirt", "there", "--as", "box", "--wraping.bows", "2"], "--wraping.bows"),
        (["shirt", "there", "--as", "box", "--wrapping.bows", "many"], "many"),
        (["shirt", "there", "--as", "box", "--sizes", "3", "large"], "large"),
        (["shirt", "there", "--as", "box", "--colours", "green"], "green"),
        (["shirt", "there", "--as", "box", "--gift", "perhaps"], "perhaps"),
        (["shirt", "there", "here", "--as", "box"], "here"),
        (["shirt", "there", "--as", "box", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_what_cannot_be_understood_is_named_with_where_help_is(args: list[str], message: str) -> None:
    with pytest.raises(UsageError, match="see `moon2 order --help`") as error:
        order(*args)
    assert message in str(error.value) and "\n" not in str(error.value)


# Bad input ends in one line: what, where, what to do


def test_the_command_or_folder_that_was_meant_is_named(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "did you mean 'train'? see `moon2 --help`" in error_line(capsys, "trian")
    line = error_line(capsys, "train", "--data", f"{data}s", "--out", tmp_path / "run")
    assert f"there is no such catalog; did you mean '{data}'?" in line
    (tmp_path / "mine.yaml").write_text("traning: {steps: 3}\n")
    line = error_line(capsys, "train", "--config", tmp_path / "mine.yaml", "--plan")
    assert "did you mean 'training.steps'?" in line
    line = error_line(capsys, "train", "--config", tmp_path / "mime.yaml", "--plan")
    assert f"did you mean '{tmp_path / 'mine.yaml'}'?" in line


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


def test_what_is_refused_is_refused_before_anything_is_loaded(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "recipe.yaml").touch()
    (run / "model" / "config.json").write_text("{}")
    run_python("-c", REFUSED, str(data), str(run), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_quiet_leaves_warnings_and_the_result(
    place: int, data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    args = ["benchmark", "build", str(data), "--out", str(tmp_path / "bench"), "--test_share", "0.25"]
    assert main([*args[:place], "--quiet", *args[place:]] if place != 1 else [*args, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out and printed.err == ""


@pytest.mark.parametrize("word", ["trian", "--trian", "os:getcwd", "support.example_command:order", "benchmark"])
def test_only_commands_and_functions_of_moon2_run(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_line(capsys, word)
    assert repr(word) in line and "see `moon2 --help`" in line


def test_mistakes_in_the_words_of_a_command(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = error_line(capsys, "train", "--data", data)
    assert "out" in line and "moon2 train --help" in line
    assert "--dta" in error_line(capsys, "evaluate", "run", "--data", data, "--dta", "x")
    line = error_line(capsys, "import", "shop.xls", "--as", "excel", "--out", tmp_path / "out")
    assert "--as: Expected one of 'auto', 'csv', 'parquet'" in line and "excel" in line
    train = ("train", "--data", data, "--out", tmp_path / "run")
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
    text: str | None, words: list[str], data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    if text is not None:
        recipe.write_text(text)
    line = error_line(capsys, "train", "--config", recipe, "--data", data, "--out", tmp_path / "run")
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_folders_that_are_not_what_they_should_be(
    data: Path, no_queries: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = error_line(capsys, "train", "--data", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert "nowhere" in line and "moon2 import" in line
    for command in ("evaluate", "report"):
        line = error_line(capsys, command, tmp_path / "nowhere", "--data", data)
        assert "nowhere" in line and "moon2 train" in line
    assert "is not a run" in error_line(capsys, "evaluate", data, "--data", data)
    assert f"moon2 evaluate {tmp_path}" in error_line(capsys, "report", tmp_path, "--data", data)
    assert "overwrite" in error_line(capsys, "shop", "--out", data, "--products", "60", "--queries", "1")
    assert "something else than a demo" in error_line(capsys, "demo", "--out", data)
    table = no_queries / "products" / "train-00000.parquet"
    table.write_bytes(table.read_bytes()[:200])
    assert "train-00000.parquet" in error_line(capsys, "train", "--data", no_queries, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_values_that_a_command_refuses(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--label_prompt" in error_line(capsys, "evaluate", "run", "--data", data, "--label_prompt", "a photo")
    assert "at least 60" in error_line(capsys, "shop", "--out", tmp_path / "data", "--products", "5")


# Faults that are not the user's, a machine that is full, and being stopped


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `moon2 shop` fail with an error."""

    def fail_with(error: BaseException) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("moon2.catalog.generated_shop.generate.generate_shop", fail)

    return fail_with


def test_a_fault_of_our_own_keeps_its_traceback(failing: Any, tmp_path: Path) -> None:
    failing(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        main(["shop", "--out", str(tmp_path)])
    failing(FileNotFoundError(errno.ENOENT, "no such file"))
    with pytest.raises(FileNotFoundError):
        main(["shop", "--out", str(tmp_path)])


def test_a_full_machine_is_one_line(failing: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import torch

    failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate …"))
    line = error_line(capsys, "shop", "--out", tmp_path)
    assert line == "moon2: the device's memory is full; lower --training.batch_size or --input.max_pixels"
    failing(OSError(errno.ENOSPC, "No space left on device", "data/file"))
    assert "data/file: the disk is full; make room on it" in error_line(capsys, "shop", "--out", tmp_path)
    failing(PermissionError(errno.EACCES, "Permission denied", "data/file"))
    assert "data/file: Permission denied" in error_line(capsys, "shop", "--out", tmp_path)


@pytest.mark.parametrize(
    ("args", "way_on"),
    [
        (["train", "--data", "my shop", "--out", "run"], "moon2 train --data 'my shop' --out run --resume"),
        (["train", "--data", "shop", "--out", "run", "--resume"], "moon2 train --data shop --out run --resume"),
        (["compare", "shop", "--out", "c"], "go on with the same command: moon2 compare shop --out c"),
        (["evaluate", "run", "--data", "shop"], "start again with: moon2 evaluate run --data shop"),
    ],
)
def test_a_command_that_is_stopped_says_how_to_go_on(
    args: list[str], way_on: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", stop)
    assert main(args) == 130
    assert capsys.readouterr().err.endswith(f"{way_on}\n")


def test_warnings_are_marked_and_notices_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    capsys.readouterr()
    logging.getLogger("moon2.somewhere").warning("set aside %s", "an image")
    logging.getLogger("moon2.somewhere").info("1. The shop")
    assert capsys.readouterr().err == "moon2: set aside an image\n1. The shop\n"


# A shop's whole way


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


def test_train_evaluate_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, no_queries: Path
) -> None:
    run = tmp_path / "run"
    recipe = write_small_recipe(tmp_path / "small.yaml", "training.steps=3", "training.evaluate_every=3")
    train = ["train", "--config", str(recipe), "--data", str(data), "--out", str(run)]

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

    assert "nothing to score" in error_line(capsys, "evaluate", run, "--data", no_queries)
    assert not (run / "evaluation.json").exists()

    assert main(["evaluate", str(run), "--data", str(data), "--attributes", "colour", "material"]) == 0
    printed = capsys.readouterr()
    assert all(direction in printed.out for direction in ("t→mm", "i→mm", "mm→mm", "t→i", "i→t"))
    assert set(json.loads((run / "evaluation.json").read_text())["zero_shot"]) == {"class", "colour", "material"}

    assert main(["report", str(run), "--data", str(data)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert "Loss of each objective" in (run / "report.html").read_text()

    # An evaluation is shown with the catalog it was made on: ids repeat between shops.
    other = write_shop(out=tmp_path / "other", products=60, queries=16, seed=1).folder
    line = error_line(capsys, "report", run, "--data", other)
    assert "other test queries or products" in line and "moon2 evaluate" in line

    assert main(["evaluate", str(run), "--data", str(data), "--against", str(run)]) == 0
    assert f"difference to {run}" in capsys.readouterr().out
    assert "moon2 evaluate" in error_line(capsys, "evaluate", run, "--data", data, "--against", "no/such-model")


def test_a_co_augmented_benchmark_is_still_one(tmp_path: Path, data: Path) -> None:
    bench, plus = tmp_path / "bench", tmp_path / "plus"
    assert main(["benchmark", "build", str(data), "--out", str(bench), "--test_share", "0.25"]) == 0
    assert main(["augment", str(bench), "--out", str(plus), "--workers", "1", "--images.provider", "none"]) == 0
    assert (plus / "benchmark.json").read_text() == (bench / "benchmark.json").read_text()
    card = (plus / "README.md").read_text()
    assert "Made by `moon2 augment`" in card and "Built by `moon2 benchmark build`" in card
    assert card.count("| table | split | rows |") == 1
