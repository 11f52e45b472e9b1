"""`moon2 embed --what` touches what it names: the other table of the folder stays, or the command refuses."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from support.coloured_shop import photo

from moon2.catalog.store import write_catalog
from moon2.jobs.shards import JobFolder
from moon2.records import Interaction, Product, Query
from moon2.vectors.embed_catalog import embed
from moon2.vectors.vector_folder import VectorFolderError
from moon2.vectors.vector_writer import VectorWriter

NAMED: tuple[Literal["products", "queries"], ...] = ("products", "queries")


def write_shop(folder: Path, products: int = 6) -> Path:
    """Products and queries with the same ids, of each the third with an image that cannot be read."""
    write_catalog(
        folder,
        {
            "train": [
                Product(str(n), f"navy shirt {n}", images=(b"no image" if n == 2 else photo("red", "shirt"),))
                for n in range(products)
            ],
            "test": [Product("900", "red shoe")],
        },
        {
            "train": [
                Interaction(Query(str(n), f"shirt {n}", image=b"no image" if n == 2 else None), ("1",))
                for n in range(4)
            ]
        },
        title="shop",
        overwrite=True,
    )
    return folder


def digests(folder: Path, *, without: str = "") -> dict[str, str]:
    """Of the files; without those of a table, in which a row that is tried again may be rounded differently."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != without)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("what", NAMED)
def test_the_other_table_and_its_rejects_stay_as_they_are(
    what: Literal["products", "queries"], small_encoder_folder: Path, tmp_path: Path
) -> None:
    model, data, out = str(small_encoder_folder), write_shop(tmp_path / "shop"), tmp_path / "v"
    embed(model, data=data, out=out)
    before = digests(out, without=what)
    result = embed(model, data=data, out=out, what=what)
    assert result.counts == {"products": 7, "queries": 4} and result.gone == 0
    assert result.rejected == {"unreadable_image": 2}
    assert digests(out, without=what) == before


def test_one_table_after_the_other_is_both_at_once(small_encoder_folder: Path, tmp_path: Path) -> None:
    model, data = str(small_encoder_folder), write_shop(tmp_path / "shop")
    embed(model, data=data, out=tmp_path / "whole")
    for name, order in (("forth", NAMED), ("back", NAMED[::-1])):
        for what in order:
            embed(model, data=data, out=tmp_path / name, what=what)
        assert digests(tmp_path / name) == digests(tmp_path / "whole")


def test_the_images_stay_with_the_products(small_encoder_folder: Path, tmp_path: Path) -> None:
    model, data, out = str(small_encoder_folder), write_shop(tmp_path / "shop"), tmp_path / "v"
    embed(model, data=data, out=out, per_image=True)
    before = digests(out, without="queries")
    embed(model, data=data, out=out, what="queries")
    assert digests(out, without="queries") == before


def test_what_would_not_hold_of_the_other_table_is_refused(small_encoder_folder: Path, tmp_path: Path) -> None:
    model, data, out = str(small_encoder_folder), write_shop(tmp_path / "shop"), tmp_path / "v"
    embed(model, data=data, out=out)
    before = digests(out)
    with pytest.raises(VectorFolderError, match="its queries were made with another storage; leave out --what"):
        embed(model, data=data, out=out, what="products", storage="int8")
    with pytest.raises(VectorFolderError, match="its products were made with another views; leave out --what"):
        embed(model, data=data, out=out, what="queries", views=("t",))
    write_shop(data, products=8)
    with pytest.raises(VectorFolderError, match="its products were made with another state of the catalog"):
        embed(model, data=data, out=out, what="queries")
    assert digests(out) == before and {path.name for path in tmp_path.iterdir()} == {"shop", "v"}
    result = embed(model, data=data, out=out)
    assert (result.new, result.kept) == (4, 9), "two are new, two are tried again"
    assert embed(model, data=data, out=out, what="products").counts == {"products": 9, "queries": 4}


def test_a_folder_of_one_table_takes_another_setting(small_encoder_folder: Path, tmp_path: Path) -> None:
    model, data, out = str(small_encoder_folder), write_shop(tmp_path / "shop"), tmp_path / "v"
    embed(model, data=data, out=out, what="products")
    assert embed(model, data=data, out=out, what="products", storage="int8").new == 7


@pytest.mark.parametrize("moment", ["assembling", "replaced"])
def test_a_stopped_run_still_has_the_other_table(
    moment: str, small_encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, out = str(small_encoder_folder), write_shop(tmp_path / "shop"), tmp_path / "v"
    embed(model, data=data, out=out)
    before = digests(out, without="queries")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((VectorWriter, "reject") if moment == "assembling" else (JobFolder, "remove")), stop)
        with pytest.raises(KeyboardInterrupt):
            embed(model, data=data, out=out, what="queries")
    embed(model, data=data, out=out, what="queries")
    assert digests(out, without="queries") == before


def test_a_kill_while_the_folder_is_replaced_loses_no_table(small_encoder_folder: Path, tmp_path: Path) -> None:
    model, data, out = str(small_encoder_folder), write_shop(tmp_path / "shop"), tmp_path / "v"
    embed(model, data=data, out=out)
    before = digests(out, without="queries")
    killed_between_two_renames = """
import os, pathlib, signal, sys
from moon2.cli import main
rename = pathlib.Path.rename
def killed(self, target):
    if self.name == ".v.partial":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
pathlib.Path.rename = killed
main(["embed", *sys.argv[1:]])
"""
    arguments = [model, "--data", str(data), "--out", str(out), "--what", "queries"]
    command = [sys.executable, "-c", killed_between_two_renames, *arguments]
    running = subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert running.returncode == -signal.SIGKILL and not out.exists()
    embed(model, data=data, out=out, what="queries")
    assert digests(out, without="queries") == before
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "v"}
