"""The command line: what is typed becomes what the command's function gets."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.example_command import Settings, Wrapping

from moon2.cli import UsageError, call, main


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


def test_a_file_that_leaves_a_value_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sizes.yaml").write_text("sizes:\n#  - 3\n")
    with pytest.raises(UsageError, match="sizes has no value; give one, or leave it out"):
        order("shirt", "there", "--as", "box", "--config", str(tmp_path / "sizes.yaml"))


def test_a_reader_that_has_read_enough_is_no_fault() -> None:
    command = [sys.executable, "-m", "moon2", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # as `| head -0` does
        assert (process.stderr.read(), process.wait()) == (b"", 0)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_quiet_leaves_warnings_and_the_result(
    place: int, data_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    args = ["benchmark", "build", str(data_folder), "--out", str(tmp_path / "bench"), "--test_share", "0.25"]
    assert main([*args[:place], "--quiet", *args[place:]] if place != 1 else [*args, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out and printed.err == ""


def test_warnings_are_marked_and_notices_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    capsys.readouterr()
    logging.getLogger("moon2.somewhere").warning("set aside %s", "an image")
    logging.getLogger("moon2.somewhere").info("1. The shop")
    assert capsys.readouterr().err == "moon2: set aside an image\n1. The shop\n"
