"""The commands of an index as they are typed: what they print, write and leave when they are killed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from moon2 import Product
from moon2.catalog.store import Catalog, write_catalog
from moon2.cli import main
from moon2.files import exclusive_lock
from moon2.search.index import Index

PRODUCTS = [
    Product(
        f"p{number}",
        f"{colour} {kind}",
        category=("Apparel", kind),
        attributes={"colour": colour},
        price=10.0 + number,
    )
    for number, (colour, kind) in enumerate(
        (colour, kind) for colour in ("navy", "red", "green") for kind in ("shirt", "bag", "lamp")
    )
]


def run(*arguments: object) -> int:
    return main([str(word) for word in arguments])


@pytest.fixture(scope="module")
def made(small_encoder_folder: Path, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of products without photos, made by the commands; the photo of one other product beside it."""
    folder = tmp_path_factory.mktemp("commands")
    write_catalog(folder / "shop", {"train": PRODUCTS}, title="Shop")
    data, vectors = folder / "shop", folder / "vectors"
    assert run("embed", small_encoder_folder, "--data", data, "--out", vectors, "--views", "mm", "--quiet") == 0
    assert run("index", vectors, "--out", folder / "index", "--quiet") == 0
    (folder / "photo.png").write_bytes(next(shop.products()).images[0])
    return folder


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    """One that a test may change."""
    shutil.copytree(made / "index", tmp_path / "index")
    return tmp_path / "index"


def test_a_search_prints_a_table_json_or_a_page(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", made / "index", "navy shirt", "--where", "price < 12", "--limit", 2) == 0
    first, *hits = capsys.readouterr().out.splitlines()
    assert first == "“navy shirt” · where price < 12"
    assert hits[0].split() == ["1", "navy", "shirt"]
    assert hits[1].strip() == "p0 · 10.00 · Apparel > shirt"
    assert re.fullmatch(r"its very title, vectors: #\d \(cosine \d\.\d{3}\), words: #1", hits[2].strip())

    assert run("search", made / "index", "red", "--image", made / "photo.png", "--json", "--limit", 3) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 3
    assert {"id", "title", "category", "price", "score", "cosine", "vector_rank", "word_rank"} <= found[0].keys()

    assert run("search", made / "index", "lamp", "--limit", 2, "--offset", 2) == 0
    first, *hits = capsys.readouterr().out.splitlines()
    assert first == "“lamp” · from hit 3" and [hit.split()[0] for hit in hits[::3]] == ["3", "4"]

    page = tmp_path / "a" / "new" / "folder" / "hits.html"
    assert run("search", made / "index", "green lamp", "--html", page) == 0
    assert capsys.readouterr().out.strip() == f"{page}: 9 hits"
    html = page.read_text()
    assert "green lamp" in html and "no photo" in html and "<script" not in html
    assert run("search", made / "index", "--like", "p0", "--where", "price > 1000") == 0
    assert "nothing was found" in capsys.readouterr().out


def test_what_cannot_be_searched_ends_in_one_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes((made / "photo.png").read_bytes()[:90])
    for arguments, message in (
        ([made / "index", "--image", cut], f"moon2: photo ({cut}): cannot be read as an image ("),
        ([tmp_path / "none", "shirt"], "there is no such index; make one with `moon2 index`"),
        ([made / "index"], "nothing to search for"),
        ([made / "index", "a", "--where", "prize < 3"], "cannot be used"),
        ([made / "index", "--image", tmp_path / "none.jpg"], "none.jpg"),
        ([made / "index", "a", "--html", tmp_path], f"--html {tmp_path}: is a folder; name a file"),
    ):
        assert run("search", *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and "skip_bad" not in error


def test_products_are_written_deleted_and_the_rest_told(
    index: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = [Product("p0", "violet scarf"), Product("x1", "ochre hat"), Product("x2", images=(b"broken",))]
    write_catalog(tmp_path / "new", {"train": [*PRODUCTS[1:3], *new]}, title="New")
    assert run("upsert", index, tmp_path / "new") == 0
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert lines[0] == f"{index}: wrote 2 products; 2 were there already"
    assert lines[1] == "1 could not be embedded" and lines[2].startswith("  x2: ")
    assert lines[-1] == f"2 rows are not in the indexes yet: `moon2 optimize {index}`"
    assert "upsert:" in output.err, "a plain line of progress where there is no terminal"

    assert run("optimize", index, "--quiet") == 0
    assert capsys.readouterr().out.strip() == f"{index}: 10 products, vectors of 32 numbers, exact"
    assert run("delete", index, "x1", "never") == 0
    assert capsys.readouterr().out.splitlines() == [f"{index}: deleted 1 of 10 products", "not there: never"]
    assert run("delete", index) == 2
    assert "nothing to delete" in capsys.readouterr().err


def test_a_command_waits_for_a_server_that_writes_for_a_moment(
    index: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with exclusive_lock(index, "server"):
        monkeypatch.setattr("moon2.search.versions.WAIT_SECONDS", 0.1)
        for command in (("optimize", index), ("index", made / "vectors", "--out", index, "--overwrite")):
            assert run(*command) == 2
            assert "another moon2 command or server is writing it; wait" in capsys.readouterr().err
        monkeypatch.setattr("moon2.search.versions.WAIT_SECONDS", 30)
        waiting = threading.Thread(target=run, args=("optimize", index))
        waiting.start()
        time.sleep(0.5)
        assert waiting.is_alive()
    waiting.join(30)
    assert "9 products" in capsys.readouterr().out


def test_what_a_catalog_has_no_more_is_deleted_unless_it_is_most_of_it(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalog(tmp_path / "fewer", {"train": PRODUCTS[2:]}, title="Fewer")
    write_catalog(tmp_path / "cut", {"train": PRODUCTS[:3]}, title="A feed that was cut short")
    assert run("delete", index, "--missing_from", tmp_path / "cut") == 2
    assert "lacks 6 of the 9 products" in capsys.readouterr().err
    assert run("delete", index, "--missing_from", tmp_path / "fewer") == 0
    assert capsys.readouterr().out.strip() == f"{index}: deleted 2 of 9 products"
    assert sorted(Index.open(index).ids()) == [product.id for product in PRODUCTS[2:]]


WRITER = """
import sys
from moon2 import Product
from moon2.search.index import Index
index = Index.open(sys.argv[1])
start = int(sys.argv[2])
print("ready", flush=True)
for number in range(start, start + 500):
    index.upsert([Product(f"n{number}", f"title {number}"), Product("again", f"written {number}")])
    print(number, flush=True)
"""


def upsert_and_kill(index: Path, start: int, seconds: float) -> list[int]:
    """Kills a process that upserts; the numbers that it acknowledged."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(index), str(start)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        acknowledged = [int(writer.stdout.readline())]  # the first loads the encoder
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split("\n") if line]
    return acknowledged


def check_after_kills(index: Path, acknowledged: list[int]) -> None:
    opened = Index.open(index)
    ids = opened.ids()
    assert len(ids) == len(set(ids)) == len(opened)
    assert {f"n{number}" for number in acknowledged} <= set(ids)
    (again,) = opened.table.scan(["title"], "id = 'again'")["title"].to_pylist()
    assert int(again.split()[1]) >= acknowledged[-1]
    assert opened.search(f"title {acknowledged[-1]}", limit=1)[0].id == f"n{acknowledged[-1]}"


def test_a_killed_upsert_leaves_what_it_acknowledged_once(index: Path) -> None:
    check_after_kills(index, upsert_and_kill(index, 0, seconds=0.2))


@pytest.mark.long
def test_ten_killed_upserts_leave_what_they_acknowledged_once(index: Path) -> None:
    acknowledged: list[int] = []
    for kill in range(10):
        acknowledged += upsert_and_kill(index, 1000 * kill, seconds=random.Random(kill).uniform(0, 1))
        check_after_kills(index, acknowledged)
