"""`moon2 compare` and `moon2 ablate` from outside: their tables, the runs they share, mistakes in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.small_recipe import write_small_recipe

from moon2.catalog.store import Catalog
from moon2.cli import main
from moon2.experiments import compare as compare_module


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_recipe(tmp_path_factory.mktemp("recipe") / "small.yaml", "training.steps=2")


def test_compare_and_ablate_share_their_runs(
    recipe: Path, generated_shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shop = tmp_path / "out", generated_shop.folder
    options = ["--out", str(out), "--config", str(recipe), "--seeds", "0", "--at_once", "2"]
    only = ["--only", "MOON2.0", "CLIP-style dual encoder", "fixed 12:3:2 mixture (MOON)"]
    assert main(["compare", str(shop), *options, "--budgets", "tokens", *only]) == 0
    printed = capsys.readouterr().out
    assert "# Same triplets: 2 steps of 4" in printed
    assert "# Same tokens of training as MOON2.0" in printed
    assert "seconds of training" not in printed
    assert "| CLIP-style dual encoder | 1 |" in printed
    assert "| published, on MBE2.0 |" in printed
    assert (out / "compare.md").read_text() == printed

    assert main(["compare", str(shop), *options, "--only", "MOON2.0"]) == 0
    printed = capsys.readouterr().out
    assert "# Same tokens of training" in printed and "# Same seconds of training" in printed, "both are the default"

    noise = ["--noise", "0", "--noise_labels", str(shop / "noise.parquet")]
    assert main(["ablate", str(shop), *options, *noise, "--only", "MOON2.0", "without filtering, 0% noise"]) == 0
    printed = capsys.readouterr().out
    assert "| without filtering, 0% noise | 1 |" in printed
    assert (out / "ablate.md").read_text() == printed
    runs = sorted(path.name for path in (out / "runs").iterdir() if path.is_dir())
    # A dual encoder reads each word once where MOON2.0 reads it in two rows, so the same tokens are more steps of it.
    longer = next(name for name in runs if name.startswith("clip-style") and name != "clip-style-dual-encoder-2-0")
    assert int(longer.split("-")[-2]) > 2
    equal = ["fixed-12-3-2-mixture-moon-2-0", "moon2-0-2-0"]
    assert runs == ["clip-style-dual-encoder-2-0", longer, *equal, "without-filtering-0-noise-2-0"]


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("compare", ["--only", "CLIP"], "--only: there is no variant 'CLIP'; there are 'MOON2.0',"),
        ("compare", ["--seeds", "0", "1", "0"], "--seeds is 0 1 0; name each once"),
        ("compare", ["--seeds"], "--seeds is empty; name one at least, such as 0"),
        ("compare", ["--at_once", "0"], "--at_once is 0; it must be 1 or more"),
        ("compare", ["--experts.active", "9"], "experts.active is 9"),
        ("compare", ["--out", "FILE", "--only", "MOON2.0"], "file: is a file; give a folder with --out"),
        ("ablate", ["--noise", "0"], "--noise 0 takes false purchases out of the log; name them with --noise_labels"),
        ("ablate", ["--noise", "1"], "--noise is 1.0; each must be 0 or more and below 1"),
        ("ablate", ["--noise", "0.3", "0.3"], "--noise is 0.3 0.3; name each once"),
        ("ablate", ["--noise", "0", "--noise_labels", "FILE"], "file: is not a Parquet table"),
    ],
)
def test_a_mistake_ends_in_one_line(
    command: str,
    args: list[str],
    message: str,
    generated_shop: Catalog,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    words = [str(tmp_path / "file") if word == "FILE" else word for word in args]
    assert main([command, str(generated_shop.folder), "--out", str(tmp_path / "out"), *words]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_catalog_without_test_queries_is_refused_before_anything_runs(
    generated_shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(generated_shop.folder, tmp_path / "shop")
    (tmp_path / "shop" / "interactions" / "test.parquet").unlink()
    assert main(["compare", str(tmp_path / "shop"), "--out", str(tmp_path / "out")]) == 2
    assert "has no test queries to compare by; make some with `moon2 benchmark build`" in capsys.readouterr().err


def test_without_sentence_transformers_its_row_is_left_out(
    generated_shop: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compare_module, "find_spec", lambda name: None)
    args = ["compare", str(generated_shop.folder), "--out", str(tmp_path / "out"), "--only", "sentence-transformers"]
    assert main(args) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == ("moon2: left out sentence-transformers, which is not installed; pip install 'moon2[peers]'")
    assert "there is no variant 'sentence-transformers'" in lines[1]
