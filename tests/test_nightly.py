"""A shop's night, from a changed feed to an index that answers by it, by the commands of docs/search.md."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.drawn_shop import COLOURS, KINDS, draw
from support.small_recipe import write_small_recipe

from moon2.cli import main
from moon2.search.index import Index
from moon2.vectors.embed_catalog import EmbeddingResult, embed

Row = dict[str, str]


def write_feed(folder: Path, rows: list[Row]) -> None:
    log = [
        {"query_text": row["title"], "purchased_ids": row["id"], "ignored_ids": rows[number - 1]["id"]}
        for number, row in enumerate(rows)
    ]
    for name, table in (("products.csv", rows), ("searches.csv", log)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)


def moon2(line: str) -> None:
    assert main([*line.split(), "--quiet"]) == 0, line


def embedded(model: str) -> EmbeddingResult:
    return embed(model, data=Path("data/shop"), out=Path("vectors/shop"))


def test_a_night_with_and_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows: list[Row] = []
    for number, (colour, kind) in enumerate((colour, kind) for colour in COLOURS for kind in KINDS):
        draw(colour, kind).save(f"{colour}-{kind}.png")
        image = f"{colour}-{kind}.png"
        rows.append({"id": f"p{number}", "title": f"{colour} {kind}", "image": image, "price": str(10 + number)})
    write_feed(tmp_path, rows)
    write_small_recipe(tmp_path / "recipe.yaml", "training.steps=2")
    importing = "import products.csv --as csv --out data/shop --log searches.csv --overwrite"

    # The first day.
    moon2(importing)
    moon2("train --config recipe.yaml --data data/shop --out runs/day1")
    assert embedded("runs/day1").new == 2 * len(rows)
    moon2("index vectors/shop --out indexes/shop")
    before = Index.open("indexes/shop")
    assert before.search("navy shirt", limit=1)[0].price == 10

    # A light night: one product is new, one dearer, one has another title, one is gone.
    feed = [*rows[:-1], {**rows[0], "id": "new", "title": "violet gramophone"}]
    feed[0] = {**feed[0], "price": "99"}
    feed[1] = {**feed[1], "title": "navy slippers"}
    write_feed(tmp_path, feed)
    moon2(importing)
    moon2("upsert indexes/shop data/shop")
    moon2("delete indexes/shop --missing_from data/shop")
    moon2("optimize indexes/shop")
    light = Index.open("indexes/shop")
    assert sorted(light.ids()) == sorted(row["id"] for row in feed)
    assert light.search("gramophone", limit=1)[0].id == "new"
    assert light.search("navy shirt", limit=1)[0].price == 99
    assert light.search("slippers", limit=1)[0].id == "p1"
    assert (light.table.unindexed_rows(), light.table.rows()) == (0, len(feed))

    # The encoder stayed: only what it reads anew is embedded. Trained on, all is.
    by_shop = embedded("runs/day1")
    assert (by_shop.new, by_shop.gone) == (4, 1), "two products and their queries"
    moon2("train --config recipe.yaml --data data/shop --out runs/day2 --init runs/day1")
    assert embedded("runs/day2").kept == 0
    moon2("index vectors/shop --out indexes/shop --overwrite")

    # Who had it open goes on with what it has, by the encoder that made it, until it opens the index again.
    assert light.search("gramophone", limit=1)[0].id == "new"
    assert len(light.search("navy", limit=50)) == len(feed)
    after = Index.open("indexes/shop")
    assert after.info.identity != light.info.identity
    assert sorted(after.ids()) == sorted(light.ids())
    assert after.search("slippers", limit=1)[0].id == "p1"
    for _ in range(2):  # this version and the one before are there
        assert sum(path.is_dir() for path in Path("indexes/shop").iterdir()) == 2
        moon2("index vectors/shop --out indexes/shop --overwrite")
