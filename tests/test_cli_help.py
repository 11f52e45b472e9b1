"""The command line's help: at once, of every command and option, and without torch."""

from __future__ import annotations

import sys

import pytest
from support.command_line import HEAVY, run_python

from moon2 import cli
from moon2.cli import COMMANDS, main


def test_help_comes_at_once() -> None:
    """In 0.25 s here; a slow machine takes longer, and the libraries that must not be loaded some seconds."""
    runs = [run_python("-m", "moon2", "--help") for _ in range(5)]
    assert min(seconds for seconds, _ in runs) < 1
    assert all(f"\n  {command} " in runs[0][1] for command in COMMANDS)


def test_the_overview_has_a_short_line_for_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["--help"], ["help"]):
        assert main(args) == 0
        lines = capsys.readouterr().out.splitlines()
        commands = lines[lines.index("commands:") + 1 :][: len(COMMANDS)]
        assert [line[2:19].strip() for line in commands] == list(COMMANDS)
        assert all(line.endswith(".") and len(line) <= 17 + 2 + 75 for line in commands)


def test_the_first_word_of_two_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["benchmark"], ["benchmark", "--help"]):
        assert main(args) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(".")[0][:17] for line in lines if line.startswith("  ")] == [
            "  benchmark build",
            "  benchmark check",
        ]
    assert main(["benchmark", "bild"]) == 2
    assert "did you mean 'benchmark build'? see `moon2 benchmark --help`" in capsys.readouterr().err
    assert main(["benchmark", "data/shop"]) == 2
    assert "'benchmark data/shop'; commands are benchmark build, benchmark check: see" in capsys.readouterr().err


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
    printed = capsys.readouterr().out
    assert f"\n  moon2 {command}" in printed
    module, _, name = COMMANDS[command].partition(":")
    parser = cli.make_parser(getattr(sys.modules[module], name), command)
    assert [action.dest for action in parser._actions if not action.help] == []
    assert "type: Literal" not in printed and "type: Optional[Literal" not in printed


def test_help_of_train_lists_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("usage: moon2 train [options]")
    assert "--training.steps STEPS Optimizer steps. (type: int, default: 1000)" in printed
    assert "--alignment.balance {paper,guarded,minimax,minimax_routing,fixed}" in printed


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("moon2 0.")
