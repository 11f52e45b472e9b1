"""The demo, made small: its folder, what it leaves there, and how it goes on after a kill."""

from __future__ import annotations

import html
import logging
import re
import shlex
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from moon2 import Encoder
from moon2.cli import main
from moon2.demo import demo, demo_recipe, run_demo
from moon2.recipe import load_recipe
from moon2.run_folder import RunError
from moon2.search.index import Index

RECIPE = small_recipe("training.steps=2", "training.save_every=1")


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_demos_recipe_can_be_written_and_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(demo_recipe().to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == demo_recipe()


def test_the_demo_goes_on_after_a_kill_and_starts_over_when_it_is_done(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, logger="moon2")
    folder = tmp_path / "demo"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("moon2.train.train.run_training", killed)
        run_demo(folder, RECIPE, products=60)
    baseline = (folder / "baseline.json").read_bytes()
    assert not (folder / "model").exists()
    assert "continued" not in caplog.text

    result = run_demo(folder, RECIPE, products=60)
    assert "moon2 demo, continued: a shop, an encoder for it, and a report" in caplog.text
    assert (folder / "baseline.json").read_bytes() == baseline, "it is not scored again"
    assert {"shop", "model", "index", "recipe.yaml", "evaluation.json"} <= {path.name for path in folder.iterdir()}
    report = (folder / "report.html").read_text()
    assert report.startswith("<!doctype html>")
    commands = [html.unescape(line) for line in re.findall("<pre>(moon2 search .*)</pre>", report)]
    assert [("--image" in line, len(shlex.split(line))) for line in commands] == [(False, 6), (True, 7), (True, 8)]
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(shlex.split(commands[2])[1:]) == 0
    first = capsys.readouterr().out.splitlines()[1].split(maxsplit=1)[1]
    assert (
        report.index("<h2>Search</h2>") < report.index(f"<p>{html.escape(first)}</p>") < report.index("<h2>Retrieval")
    )
    assert Encoder.from_pretrained(folder).encode("striped shirt").shape == (1, 32)
    text = str(result)
    assert "t→mm" in text and str(folder / "report.html") in text
    assert f'Encoder.from_pretrained("{folder}")' in text
    assert result.evaluation.recalls.keys() == {"t→mm", "i→mm", "mm→mm", "t→i", "i→t"}

    with monkeypatch.context() as patched:  # the server itself would take port 8000
        served: list[str] = []
        patched.setattr("moon2.demo.run_demo", lambda out, recipe, products: result)
        patched.setattr("moon2.serve.command.serve", served.append)
        assert main(["demo", "--serve", "--out", str(folder)]) == 0
    assert served == [str(folder / "index")] and Index.open(served[0]).search("shirt", limit=1)
    assert str(folder / "report.html") in caplog.text, "what to do next is said before it serves"

    (folder / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("moon2.train.train.run_training", killed)
        run_demo(folder, RECIPE, products=60)
    assert not (folder / "model").exists()
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_demo_that_was_stopped_with_another_recipe_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moon2.train.train.run_training", killed)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "demo", RECIPE, products=60)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "demo", small_recipe("training.steps=3"), products=60)
    assert load_recipe(tmp_path / "demo" / "recipe.yaml").training.steps == 3


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds something else than a demo; give another folder with --out"):
        demo(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
