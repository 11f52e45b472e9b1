"""What was meant by a mistyped word is named, and nothing is where nothing is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2.meant import did_you_mean, did_you_mean_file, did_you_mean_option

OPTIONS = ("training.steps", "training.seed", "input.fields", "data")


def test_a_word() -> None:
    assert did_you_mean("Colour", ["colour", "brand"]) == "; did you mean 'colour'?"
    assert did_you_mean("wheels", ["colour", "brand"]) == did_you_mean("colour", []) == ""


def test_a_file_by_its_name_or_its_folders(tmp_path: Path) -> None:
    (tmp_path / "shop" / "parts").mkdir(parents=True)
    assert did_you_mean_file(tmp_path / "shp") == f"; did you mean '{tmp_path / 'shop'}'?"
    assert did_you_mean_file(tmp_path / "shp" / "parts" / "one.csv") == f"; did you mean '{tmp_path / 'shop'}'?"
    assert did_you_mean_file(tmp_path / "nowhere") == ""


def test_a_pattern_that_the_shell_expanded(tmp_path: Path) -> None:
    (tmp_path / "b.csv").touch()
    message = f"unrecognized arguments: {tmp_path / 'b.csv'} {tmp_path / 'c.csv'}"
    assert "write a pattern in quotes" in did_you_mean_option(message, OPTIONS)
    assert did_you_mean_option("unrecognized arguments: nowhere.csv", OPTIONS) == ""


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ("unrecognized arguments: --training.stps 3", "training.steps"),
        ("unrecognized arguments: --dta=x", "data"),
        ("Group 'input' does not accept option 'feilds'", "input.fields"),
        ("Option 'trainin.seed' is not accepted", "training.seed"),
    ],
)
def test_an_option_as_jsonargparse_names_it(message: str, meant: str) -> None:
    assert did_you_mean_option(message, OPTIONS) == f"; did you mean {meant!r}?"
    assert did_you_mean_option("Expected a number", OPTIONS) == ""
