"""`moon2 compare` and `moon2 ablate` from outside: tables on paper and on the terminal, mistakes in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_running import SMALL

from moon2.catalog.generated_shop.generate import write_shop
from moon2.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    write_shop(out=folder / "shop", products=80, queries=40)
    (folder / "small.yaml").write_text(SMALL)
    return folder


def test_compare_then_ablate_share_their_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [
        str(folder / "shop"),
        "--out",
        str(folder / "out"),
        "--config",
        str(folder / "small.yaml"),
        "--seeds",
        "0",
    ]
    assert main(["compare", *common, "--budgets", "tokens", "--only", "MOON2.0", "CLIP-style dual encoder"]) == 0
    told = capsys.readouterr().out
    assert "# Same triplets: 2 steps of 4" in told
    assert "# Same tokens of training as MOON2.0" in told
    assert "seconds of training" not in told
    assert "| CLIP-style dual encoder | 1 |" in told
    assert "| published, on MBE2.0 |" in told
    assert (folder / "out" / "compare.md").read_text() == told
    assert main(["compare", *common, "--only", "MOON2.0"]) == 0
    told = capsys.readouterr().out
    assert "# Same tokens of training" in told and "# Same seconds of training" in told, "both are the default"
    noise = ["--noise", "0", "--noise_labels", str(folder / "shop" / "noise.parquet")]
    names = ["--only", "MOON2.0", "without filtering, 0% noise"]
    assert main(["ablate", *common, *noise, *names]) == 0
    told = capsys.readouterr().out
    assert "| without filtering, 0% noise | 1 |" in told
    made = sorted(path.name for path in (folder / "out" / "runs").iterdir() if path.is_dir())
    assert made == ["clip-style-dual-encoder-2-0", "moon2-0-2-0", "without-filtering-0-noise-2-0"]


def test_what_is_no_folder_and_what_is_no_table_is_said_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["compare", str(folder / "shop"), "--out", str(tmp_path / "file"), "--only", "MOON2.0"]) == 2
    assert f"{tmp_path / 'file'}: is a file; give a folder with --out" in capsys.readouterr().err
    labels = ["--noise", "0", "--noise_labels", str(folder / "small.yaml")]
    assert main(["ablate", str(folder / "shop"), "--out", str(tmp_path / "out"), *labels]) == 2
    assert "small.yaml: is not a Parquet table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--only", "CLIP"], "--only: there is no variant 'CLIP'; there are 'MOON2.0',"),
        (["--seeds", "0", "1", "0"], "--seeds is 0 1 0; name each once"),
        (["--at_once", "0"], "--at_once is 0; it must be 1 or more"),
        (["--experts.active", "9"], "experts.active is 9"),
    ],
)
def test_mistakes_in_what_is_compared_end_in_one_line(
    folder: Path, typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(folder / "shop"), "--out", str(folder / "bad"), *typed]) == 2
    complaint = capsys.readouterr().err
    assert told in complaint
    assert complaint.count("\n") == 1
    assert not (folder / "bad").exists()


def test_a_clean_log_needs_to_be_told_what_is_false(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", str(folder / "shop"), "--out", str(folder / "bad"), "--noise", "0"]) == 2
    assert "--noise 0 takes false purchases out of the log; name them with --noise_labels" in capsys.readouterr().err


def test_a_catalog_without_test_queries_is_refused_before_anything_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "shop", tmp_path / "shop")
    (tmp_path / "shop" / "interactions" / "test.parquet").unlink()
    assert main(["compare", str(tmp_path / "shop"), "--out", str(tmp_path / "out")]) == 2
    assert "has no test queries to compare by; make some with `moon2 benchmark build`" in capsys.readouterr().err
