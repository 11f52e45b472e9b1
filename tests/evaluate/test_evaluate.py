"""The benchmark on a shop of eight products, with an encoder simple enough to foresee every answer."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.evaluate.evaluate import DIRECTIONS, evaluate
from moon2.evaluate.per_query import (
    QueryScores,
    compare_query_scores,
    comparison_text,
    read_query_scores,
    write_query_scores,
)
from moon2.evaluate.result import Evaluation, EvaluationError
from moon2.evaluate.test_set import fingerprint
from moon2.records import Interaction, Product, Query

COLOURS = {"red": (200, 20, 20), "green": (20, 160, 20), "blue": (20, 20, 200), "white": (235, 235, 235)}
KINDS = ("shirt", "bag")


class ColourAndKindEncoder:
    """Words: counts of the colour and kind words. Images: nearest colour, and a tall image is a shirt."""

    name = "colour-and-kind"

    def encode(self, items: Sequence[object], *, view: str | None = None, batch_size: int = 64, skip_bad: bool = False):
        vectors = np.stack([self._vector_or_nan(item, view or "mm", skip_bad) for item in items])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def encode_views(self, products: Sequence[Product], *, batch_size: int = 64, skip_bad: bool = False):
        return {view: self.encode(products, view=view, skip_bad=skip_bad) for view in ("t", "i", "mm")}

    def _vector_or_nan(self, item: object, view: str, skip_bad: bool) -> np.ndarray:
        try:
            return self._vector(item, view)
        except OSError:
            if not skip_bad:
                raise
            return np.full(len(COLOURS) + len(KINDS), np.nan)

    def _vector(self, item: object, view: str) -> np.ndarray:
        text, image = item if isinstance(item, str) else "", None
        if isinstance(item, Product):
            text, image = item.title, next(iter(item.images), None)
        elif isinstance(item, Query):
            text, image = item.text, item.image
        vector = np.full(len(COLOURS) + len(KINDS), 0.01)
        if view != "i":
            vector += [word in text.lower().split() for word in (*COLOURS, *KINDS)]
        if view != "t" and image is not None:
            image = Image.open(io.BytesIO(image) if isinstance(image, bytes) else image).convert("RGB")
            pixel = np.array(image.resize((1, 1)).getpixel((0, 0)))
            vector[np.argmin([np.abs(pixel - colour).sum() for colour in COLOURS.values()])] += 1
            vector[len(COLOURS) + (image.width >= image.height)] += 1
        return vector


class ColourBlindEncoder(ColourAndKindEncoder):
    """The same without the colours."""

    def _vector(self, item: object, view: str) -> np.ndarray:
        vector = super()._vector(item, view)
        vector[: len(COLOURS)] = 0.01
        return vector


def photo(colour: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 30) if kind == "shirt" else (30, 20), COLOURS[colour]).save(buffer, "PNG")
    return buffer.getvalue()


def shop() -> tuple[list[Product], list[Interaction]]:
    """Two of each kind in each of two colours; every query shows one product's photo and wants its twin."""
    products, interactions = [], []
    for kind in KINDS:
        for colour in ("red", "blue"):
            twins = (f"{kind}-{colour}-1", f"{kind}-{colour}-2")
            products += [
                Product(
                    id=id,
                    title=f"{colour} {kind}",
                    category=("Shop", kind),
                    attributes={"colour": colour},
                    images=(photo(colour, kind),),
                )
                for id in twins
            ]
            query = Query(id=f"q-{kind}-{colour}", text=f"{colour} {kind}", product_id=twins[0])
            interactions.append(Interaction(query=query, positive_ids=(twins[1],)))
    return products, interactions


def written(folder: Path, products: list[Product], interactions: list[Interaction], split: str = "test") -> Catalog:
    log = {"test": interactions} if interactions else None
    return write_catalog(folder / "shop", {split: products}, log, title="Twins")


def test_a_perfect_encoder_scores_100_everywhere(tmp_path: Path) -> None:
    result = evaluate(ColourAndKindEncoder(), written(tmp_path, *shop()))
    assert result.recalls == {direction: {1: 100.0, 5: 100.0, 10: 100.0} for direction in DIRECTIONS}
    assert (result.gallery, result.queries) == (8, 4)
    assert set(result.scored.values()) == {4}
    assert not any(result.left_out.values())
    assert result.labels == {"class": 2, "colour": 2}
    assert {view: scores["f1"] for view, scores in result.zero_shot["class"].items()} == {"mm": 100, "i": 100, "t": 100}
    assert result.zero_shot["colour"]["i"]["accuracy"] == 100


def test_the_querys_own_product_is_no_competitor(tmp_path: Path) -> None:
    products, interactions = shop()
    # Now every query wants the product whose photo it shows: there is nothing left to find.
    own = [replace(it, positive_ids=(it.query.product_id or "",)) for it in interactions]
    with pytest.raises(CatalogError, match="no test query has a relevant product in the gallery"):
        evaluate(ColourAndKindEncoder(), written(tmp_path, products, own))


def test_items_without_a_form_are_left_out_of_that_direction_alone_and_counted(tmp_path: Path) -> None:
    products, interactions = shop()
    products[1] = replace(products[1], images=())  # the red shirt that the first query wants: words only
    products[3] = replace(products[3], title="")  # the blue shirt that the second query wants: photo only
    interactions[2] = replace(interactions[2], query=Query(id="words-only", text="red bag"))
    result = evaluate(ColourAndKindEncoder(), written(tmp_path, products, interactions))
    assert result.scored == {"t→mm": 4, "i→mm": 3, "mm→mm": 3, "t→i": 3, "i→t": 2}
    assert result.left_out == {
        "t→mm": {},
        "i→mm": {"queries without a readable image": 1},
        "mm→mm": {"queries without both text and a readable image": 1},
        "t→i": {
            "gallery products without a readable image": 1,
            "queries without a relevant product in the gallery": 1,
        },
        "i→t": {
            "queries without a readable image": 1,
            "gallery products without text": 1,
            "queries without a relevant product in the gallery": 1,
        },
    }
    assert result.recalls["t→mm"][10] == 100.0
    assert result.left_out_of_task["class"] == {"mm": 0, "i": 1, "t": 1}
    assert "left out of i→mm, i→t: 1 queries without a readable image" in result.to_text()


def test_a_image_that_cannot_be_read_costs_that_image_only(tmp_path: Path) -> None:
    products, interactions = shop()
    products[1] = replace(products[1], images=(b"not an image",))
    result = evaluate(ColourAndKindEncoder(), written(tmp_path, products, interactions))
    assert result.scored == {"t→mm": 4, "i→mm": 4, "mm→mm": 4, "t→i": 3, "i→t": 4}
    assert result.left_out["t→i"]["gallery products without a readable image"] == 1
    assert result.recalls["t→mm"][1] == 100.0


def test_a_catalog_without_splits_is_its_own_gallery(tmp_path: Path) -> None:
    products, interactions = shop()
    result = evaluate(ColourAndKindEncoder(), written(tmp_path, products, interactions, split="train"))
    assert result.gallery == 8


def test_a_limit_takes_a_sample_of_both(tmp_path: Path) -> None:
    products, interactions = shop()
    result = evaluate(ColourAndKindEncoder(), written(tmp_path, products, interactions), limit=5)
    assert result.gallery == 5
    assert 0 < result.queries <= 4
    assert "a sample of at most 5 of each" in result.to_text()


def test_prompts_put_labels_into_words(tmp_path: Path) -> None:
    catalog = written(tmp_path, *shop())
    misleading = evaluate(ColourAndKindEncoder(), catalog, prompts={"class": "red shirt"})
    assert misleading.zero_shot["class"]["mm"]["accuracy"] == 50.0  # one vector for every label: the first is taken
    assert misleading.zero_shot["colour"]["mm"]["accuracy"] == 100.0
    everywhere = evaluate(ColourAndKindEncoder(), catalog, prompts="red shirt {}")
    assert {task: everywhere.zero_shot[task]["t"]["accuracy"] for task in ("class", "colour")} != {100.0}


def test_no_test_queries_is_one_clear_line(tmp_path: Path) -> None:
    products, _ = shop()
    with pytest.raises(CatalogError, match=r"has no test interactions.*import it again") as error:
        evaluate(ColourAndKindEncoder(), written(tmp_path, products, []))
    assert "\n" not in str(error.value)


def test_an_evaluation_survives_json_and_prints(tmp_path: Path) -> None:
    result = evaluate(ColourAndKindEncoder(), written(tmp_path, *shop()), model="twins")
    assert Evaluation.from_json(result.to_json()) == result
    # One written by the first versions lacks what was added since.
    old = {name: value for name, value in json.loads(result.to_json()).items() if name != "fingerprint"}
    assert Evaluation.from_json(json.dumps(old)) == replace(result, fingerprint="")
    assert "| t→mm | 100.0 | 100.0 | 100.0 | 100.0–100.0 | 4 |" in result.to_markdown()
    assert "t→mm       100.0  100.0  100.0  100.0–100.0        4" in result.to_text()
    with pytest.raises(ValueError, match="not an evaluation written by moon2"):
        Evaluation.from_json('{"recalls": 3}')


def test_two_models_are_compared_query_by_query(tmp_path: Path) -> None:
    catalog = written(tmp_path, *shop())
    good: dict[str, QueryScores] = {}
    poor: dict[str, QueryScores] = {}
    evaluate(ColourAndKindEncoder(), catalog, by_query=good)
    evaluate(ColourBlindEncoder(), catalog, by_query=poor)
    write_query_scores(tmp_path / "good.parquet", good)
    kept = read_query_scores(tmp_path / "good.parquet")
    assert kept["t→mm"].input_ids == good["t→mm"].ids
    found = compare_query_scores(kept, poor)
    # It sees two colours as one, so each query has four products alike, of which its own is out of the gallery.
    assert found["i→mm"][1].difference == pytest.approx(1 - 1 / 3)
    assert found["i→mm"][1].queries == 4
    assert "i→mm" in comparison_text(found, "the colour-blind one")


def test_labels_too_have_intervals_and_are_compared_product_by_product(tmp_path: Path) -> None:
    catalog = written(tmp_path, *shop())
    good: dict[str, QueryScores] = {}
    poor: dict[str, QueryScores] = {}
    result = evaluate(ColourAndKindEncoder(), catalog, by_query=good)
    blind = evaluate(ColourBlindEncoder(), catalog, by_query=poor)
    name, task = next((f"{task} (mm)", task) for task in result.zero_shot if task != "class")
    assert result.accuracy_intervals[task]["mm"] == [100, 100]
    low, high = blind.accuracy_intervals[task]["mm"]
    assert low < blind.zero_shot[task]["mm"]["accuracy"] < high
    write_query_scores(tmp_path / "poor.parquet", poor)
    kept = read_query_scores(tmp_path / "poor.parquet")
    assert list(kept[name].hits) == [1]
    found = compare_query_scores(good, kept)[name][1]
    assert 100 * found.difference == pytest.approx(100 - blind.zero_shot[task]["mm"]["accuracy"])
    assert found.queries == result.gallery
    assert f"{result.gallery} products" in comparison_text({name: {1: found}}, "the colour-blind one")
    assert Evaluation.from_json(blind.to_json()) == blind


def test_scores_of_other_queries_cannot_be_compared() -> None:
    mine, theirs = (QueryScores([id], {k: np.ones(1) for k in (1, 5, 10)}) for id in ("a", "b"))
    with pytest.raises(EvaluationError, match="different queries"):
        compare_query_scores({"t→mm": mine}, {"t→mm": theirs})


def test_rows_of_a_log_that_share_an_id_are_compared_each_with_itself(tmp_path: Path) -> None:
    products, interactions = shop()
    # One id for all: the log of a shop that counts sessions. One row shows no photo, and is not scored in i→mm.
    log = [replace(it, query=replace(it.query, id="session", product_id=None)) for it in interactions]
    log[0] = replace(log[0], query=replace(log[0].query, text="something"))
    shown = [replace(it, query=replace(it.query, image=photo("red", "bag"))) for it in log[1:]]
    found: dict[str, QueryScores] = {}
    evaluate(ColourAndKindEncoder(), written(tmp_path, products, [log[0], *shown]), by_query=found)
    assert (found["t→mm"].occurrences, found["i→mm"].occurrences) == ([0, 1, 2, 3], [1, 2, 3])
    assert len(set(found["t→mm"].hits[1])) > 1
    write_query_scores(tmp_path / "scores.parquet", found)
    for by_k in compare_query_scores(found, read_query_scores(tmp_path / "scores.parquet")).values():
        assert {comparison.difference for comparison in by_k.values()} == {0.0}


def test_scores_on_another_gallery_are_refused_those_of_earlier_versions_are_not(tmp_path: Path) -> None:
    catalog = written(tmp_path, *shop())
    full: dict[str, QueryScores] = {}
    limited: dict[str, QueryScores] = {}
    whole = evaluate(ColourAndKindEncoder(), catalog, by_query=full)
    sample = evaluate(ColourAndKindEncoder(), catalog, by_query=limited, limit=7)
    assert (whole.fingerprint, sample.fingerprint) == (fingerprint(catalog), fingerprint(catalog, 7))
    with pytest.raises(EvaluationError, match="another gallery") as error:
        compare_query_scores(full, limited)
    assert "\n" not in str(error.value)
    write_query_scores(tmp_path / "full.parquet", full)
    table = pq.read_table(tmp_path / "full.parquet").drop_columns("occurrence").replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "old.parquet")
    assert compare_query_scores(full, read_query_scores(tmp_path / "old.parquet"))["t→mm"][1].difference == 0
    pq.write_table(table.drop_columns("hit_5"), tmp_path / "other.parquet")
    with pytest.raises(EvaluationError, match="no column hit_5"):
        read_query_scores(tmp_path / "other.parquet")


def test_a_fingerprint_tells_shops_apart_that_use_the_same_ids(tmp_path: Path) -> None:
    products, interactions = shop()
    one = written(tmp_path / "one", products, interactions)
    same = written(tmp_path / "same", products, interactions)
    others = [
        written(tmp_path / "titles", [replace(products[0], title="lamp"), *products[1:]], interactions),
        written(tmp_path / "words", products, [replace(interactions[0], query=Query("q", "lamp")), *interactions[1:]]),
        written(tmp_path / "positives", products, [replace(it, positive_ids=("bag-red-1",)) for it in interactions]),
    ]
    assert fingerprint(one) == fingerprint(same)
    assert len({fingerprint(catalog) for catalog in (one, *others)}) == 4


def test_a_benchmarks_declared_attributes_are_its_tasks(tmp_path: Path) -> None:
    products, interactions = shop()
    made = [replace(p, attributes={**p.attributes, "made_of": "wool" if "shirt" in p.id else "hide"}) for p in products]
    catalog = written(tmp_path, made, interactions)
    assert set(evaluate(ColourAndKindEncoder(), catalog).zero_shot) == {"class", "colour"}
    assert set(evaluate(ColourAndKindEncoder(), catalog, attributes=["made_of"]).zero_shot) == {"class", "made_of"}
    with pytest.raises(EvaluationError, match="'size'; there are colour, made_of"):
        evaluate(ColourAndKindEncoder(), catalog, attributes=["size"])
    declared = {"tasks": {"attributes": [{"attribute": "colour"}, {"attribute": "made_of"}]}}
    (catalog.folder / "benchmark.json").write_text(json.dumps(declared))
    found = evaluate(ColourAndKindEncoder(), catalog)
    assert set(found.zero_shot) == {"class", "colour", "made_of"}
    (catalog.folder / "benchmark.json").write_text("[]")
    with pytest.raises(CatalogError, match="build the benchmark again"):
        evaluate(ColourAndKindEncoder(), catalog)
