"""Scores on a shop of eight products, with an encoder simple enough to foresee every answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.coloured_shop import ColourAndKindEncoder, PhraseReader, photo, twins, write_test_catalog

from moon2 import Encoder
from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.encoders.load import load_encoder
from moon2.evaluate.format import to_markdown, to_text
from moon2.evaluate.result import Evaluation
from moon2.evaluate.score import score
from moon2.evaluate.test_set import EvaluationError, read_test_set
from moon2.recipe import InputSettings
from moon2.records import Interaction, Product, Query
from moon2.views import DIRECTIONS

NAMES = [str(direction) for direction in DIRECTIONS]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return write_test_catalog(tmp_path, *twins())


@pytest.fixture
def new_matryoshka(small_encoder_folder: Path) -> Encoder:
    """An encoder that says that it was trained at two lengths."""
    encoder = Encoder.from_pretrained(small_encoder_folder)
    encoder.dimensions = [8, 32]
    return encoder


def evaluation_of(catalog: Catalog, **options: object) -> Evaluation:
    """The figures of the encoder that knows colours and kinds."""
    evaluation, _ = score(ColourAndKindEncoder(), catalog, **options)
    return evaluation


def with_phrases(*tasks: str) -> set[str]:
    """The tasks, alone and in phrases."""
    return {*tasks, *(f"{task}, in phrases" for task in tasks)}


def test_a_perfect_encoder_scores_100_everywhere(catalog: Catalog) -> None:
    evaluation = evaluation_of(catalog)
    assert evaluation.recalls == {name: {1: 100.0, 5: 100.0, 10: 100.0} for name in NAMES}
    assert (evaluation.gallery, evaluation.queries) == (8, 4)
    assert set(evaluation.scored.values()) == {4}
    assert not any(evaluation.left_out.values())
    assert evaluation.labels == dict.fromkeys(with_phrases("class", "colour"), 2)
    assert {view: scores["f1"] for view, scores in evaluation.zero_shot["class"].items()} == dict.fromkeys(
        ("mm", "i", "t"), 100
    )
    assert evaluation.zero_shot["colour"]["i"]["accuracy"] == 100
    assert evaluation.intervals["t→mm"][10] == [100, 100]
    assert (evaluation.model, evaluation.catalog) == ("colour-and-kind", "shop")
    assert evaluation.fingerprint == read_test_set(catalog).fingerprint


@pytest.mark.parametrize("kind", ["moon2", "clip", "siglip"])
def test_any_encoder_is_scored_in_every_direction(
    kind: str,
    dual_checkpoints: dict[str, Path],
    small_encoder_folder: Path,
    catalog: Catalog,
) -> None:
    encoder = load_encoder({"moon2": small_encoder_folder, **dual_checkpoints}[kind])
    evaluation, _ = score(encoder, catalog, model=kind)
    assert list(evaluation.recalls) == NAMES
    assert evaluation.zero_shot["class"]["mm"]["accuracy"] >= 0
    assert evaluation.model == kind


def test_a_query_cannot_want_the_product_that_it_shows(tmp_path: Path) -> None:
    products, interactions = twins()
    own = [replace(it, positive_ids=(it.query.product_id or "",)) for it in interactions]
    with pytest.raises(EvaluationError, match="no test query has a relevant product in the gallery"):
        evaluation_of(write_test_catalog(tmp_path, products, own))


def test_an_item_without_a_view_is_left_out_of_that_direction_alone_and_counted(tmp_path: Path) -> None:
    products, interactions = twins()
    products[1] = replace(products[1], images=())  # the red shirt that the first query wants: text only
    products[3] = replace(products[3], title="")  # the blue shirt that the second query wants: image only
    interactions[2] = replace(interactions[2], query=Query(id="words-only", text="red bag"))
    evaluation = evaluation_of(write_test_catalog(tmp_path, products, interactions))
    assert evaluation.scored == {"t→mm": 4, "i→mm": 3, "mm→mm": 3, "t→i": 3, "i→t": 2}
    assert evaluation.left_out == {
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
    assert evaluation.recalls["t→mm"][10] == 100.0
    assert evaluation.left_out_of_task["class"] == {"mm": 0, "i": 1, "t": 1}


@pytest.mark.parametrize("batch_size", [1, 64])
def test_an_unreadable_image_costs_that_image_only(batch_size: int, tmp_path: Path) -> None:
    products, interactions = twins()
    products[1] = replace(products[1], images=(b"not an image",))
    query = Query("broken", "blue bag", image=b"not an image")
    interactions[3] = Interaction(query, ("bag-blue-1", "bag-blue-2"))
    evaluation = evaluation_of(write_test_catalog(tmp_path, products, interactions), batch_size=batch_size)
    assert evaluation.scored == {"t→mm": 4, "i→mm": 3, "mm→mm": 3, "t→i": 3, "i→t": 3}
    assert evaluation.left_out["t→i"]["gallery products without a readable image"] == 1
    assert evaluation.left_out["mm→mm"] == {"queries without both text and a readable image": 1}
    assert evaluation.recalls["t→mm"][1] == 100.0


def test_a_catalog_without_splits_is_its_own_gallery(tmp_path: Path) -> None:
    assert evaluation_of(write_test_catalog(tmp_path, *twins(), split="train")).gallery == 8


def test_a_limit_takes_a_sample_of_queries_and_products(catalog: Catalog) -> None:
    evaluation = evaluation_of(catalog, limit=5)
    assert (evaluation.gallery, evaluation.limit) == (5, 5)
    assert 0 < evaluation.queries <= 4
    assert evaluation.fingerprint == read_test_set(catalog, 5).fingerprint != read_test_set(catalog).fingerprint


def test_the_label_prompt_puts_labels_into_words(catalog: Catalog) -> None:
    assert evaluation_of(catalog, label_prompt="a {} of the shop").zero_shot["class"]["t"]["accuracy"] == 100.0
    # No word that this encoder knows: every label has the same vector, so the first one is taken.
    unknown = evaluation_of(catalog, label_prompt="something {}ish").zero_shot
    assert {task: unknown[task]["t"]["accuracy"] for task in ("class", "colour")} == {"class": 50, "colour": 50}


def test_a_benchmarks_declared_attributes_are_its_tasks(tmp_path: Path) -> None:
    products, interactions = twins()
    products = [
        replace(p, attributes={**p.attributes, "made_of": "wool" if "shirt" in p.id else "hide"}) for p in products
    ]
    catalog = write_test_catalog(tmp_path, products, interactions)
    assert set(evaluation_of(catalog).zero_shot) == with_phrases("class", "colour")
    assert set(evaluation_of(catalog, attributes=["made_of"]).zero_shot) == with_phrases("class", "made_of")
    with pytest.raises(EvaluationError, match="'size'; there are colour, made_of"):
        evaluation_of(catalog, attributes=["size"])
    declared = {"tasks": {"attributes": [{"attribute": "colour"}, {"attribute": "made_of"}]}}
    (catalog.folder / "benchmark.json").write_text(json.dumps(declared))
    assert set(evaluation_of(catalog).zero_shot) == with_phrases("class", "colour", "made_of")
    (catalog.folder / "benchmark.json").write_text("[]")
    with pytest.raises(CatalogError, match="build the benchmark again"):
        evaluation_of(catalog)


def test_an_attribute_called_class_is_a_task_beside_the_category(tmp_path: Path) -> None:
    """Car parts and tyres have such classes; the category of each product is its kind, as ever."""
    products, interactions = twins()
    products = [replace(p, attributes={"class": p.attributes["colour"]}) for p in products]
    catalog = write_test_catalog(tmp_path, products, interactions)
    encoder = ColourAndKindEncoder(sees_colours=False)
    encoder.inputs = InputSettings(fields=["title", "class"])
    evaluation, per_query = score(encoder, catalog, attributes=["class"])
    accuracy = {task: views["mm"]["accuracy"] for task, views in evaluation.zero_shot.items()}
    assert accuracy == {
        task: 100 if task.startswith("class") else 50 for task in with_phrases("class", "attribute class")
    }
    assert {"class (mm)", "attribute class (mm)"} < per_query.keys()
    assert evaluation.labels_read == {"attribute class": "class"}


def test_labels_have_intervals_and_are_known_product_by_product(catalog: Catalog) -> None:
    evaluation, per_query = score(ColourAndKindEncoder(sees_colours=False), catalog)
    accuracy = evaluation.zero_shot["colour"]["mm"]["accuracy"]
    low, high = evaluation.accuracy_intervals["colour"]["mm"]
    assert low < accuracy < high
    task = per_query["colour (mm)"]
    assert sorted(task.ids) == sorted(catalog.ids())
    assert 100 * task.hits[1].mean() == accuracy
    assert evaluation_of(catalog).accuracy_intervals["colour"]["mm"] == [100, 100]


def test_what_each_query_scored_adds_up_to_the_recall(catalog: Catalog) -> None:
    evaluation, per_query = score(ColourAndKindEncoder(sees_colours=False), catalog)
    assert per_query["i→mm"].ids == ["q-shirt-red", "q-shirt-blue", "q-bag-red", "q-bag-blue"]
    # Four products of a kind look alike; the query's own is left out, so the twin is one of three.
    assert per_query["i→mm"].hits[1].tolist() == pytest.approx([1 / 3] * 4)
    assert evaluation.recalls["i→mm"][1] == pytest.approx(100 / 3)


def test_rows_of_a_log_that_share_an_id_are_counted_apart(tmp_path: Path) -> None:
    """The log of a shop that counts sessions. Its first row shows no photo, and is not scored in i→mm."""
    products, interactions = twins()
    log = [replace(it, query=replace(it.query, id="session", product_id=None)) for it in interactions]
    shown = [replace(it, query=replace(it.query, image=photo("red", "bag"))) for it in log[1:]]
    _, per_query = score(ColourAndKindEncoder(), write_test_catalog(tmp_path, products, [log[0], *shown]))
    assert (per_query["t→mm"].occurrences, per_query["i→mm"].occurrences) == ([0, 1, 2, 3], [1, 2, 3])


def test_a_purchase_by_mistake_is_the_hardest_query_in_every_view(tmp_path: Path) -> None:
    products, interactions = twins()
    products += [
        Product(id=f"more-{number}", title="red shirt", images=(photo("red", "shirt"),)) for number in range(6)
    ]
    mistake = Interaction(Query("mistake", "red shirt", product_id="shirt-red-1"), ("bag-blue-1",))
    evaluation = evaluation_of(write_test_catalog(tmp_path, products, [*interactions, mistake]))
    for view in ("t", "i", "mm"):
        hardest = evaluation.hard[f"{view}→mm"][0]
        assert (hardest["query"], hardest["relevant"]) == ("mistake", "bag-blue-1")
        assert hardest["rank"] > 9
    assert evaluation.examples["t→mm"]


def test_without_test_queries_labels_are_scored_and_whether_photos_find_their_own_titles(tmp_path: Path) -> None:
    products, _ = twins()
    evaluation = evaluation_of(write_test_catalog(tmp_path, products, []))
    assert (evaluation.queries, evaluation.recalls, evaluation.left_out) == (0, {}, {})
    # The twin has the same title, so it is as right.
    assert evaluation.own_titles == {name: {1: 100.0, 5: 100.0, 10: 100.0} for name in ("t→i", "i→t")}
    assert evaluation.own_titles_scored == {"t→i": 8, "i→t": 8}
    assert evaluation.zero_shot["class"]["mm"]["accuracy"] == 100
    for text in (to_text(evaluation), to_markdown(evaluation)):
        assert "no test queries: search quality was not measured" in text
        assert "a photo finds its own title" in text
        assert "t→mm" not in text and "R@10 95 %" not in text
    evaluation.write(tmp_path / "evaluation.json")
    assert Evaluation.read(tmp_path / "evaluation.json") == evaluation


def test_where_nothing_can_be_scored_is_one_clear_line(tmp_path: Path) -> None:
    products = [Product(str(number), f"Thing {number}") for number in range(3)]
    with pytest.raises(EvaluationError, match=r"has no test interactions, no product with both.*import it") as error:
        evaluation_of(write_test_catalog(tmp_path, products, []))
    assert "\n" not in str(error.value)


def test_a_shop_of_titles_and_brands_is_told_to_name_the_brand(tmp_path: Path) -> None:
    products = [Product(str(number), f"Thing {number}", attributes={"brand": f"B{number}"}) for number in range(3)]
    products += [Product("4", "red bag", category=("bag",), attributes={"colour": "red"}), Product("5", "blue bag")]
    catalog = write_test_catalog(tmp_path, products, [])
    with pytest.raises(EvaluationError, match=r"that has test queries, or name an attribute with --attributes: brand$"):
        evaluation_of(catalog)
    with pytest.raises(EvaluationError, match=r"nothing to score; .* test queries, or name .*: brand$"):
        evaluation_of(catalog, attributes=["colour"])
    assert set(evaluation_of(catalog, attributes=["brand"]).zero_shot) == {"brand"}
    with pytest.raises(EvaluationError, match=r"nothing to score; .* test queries$"):
        evaluation_of(catalog, attributes=["brand"], limit=1)


def test_photos_that_cannot_be_read_leave_nothing_to_score(tmp_path: Path) -> None:
    products = [Product(str(number), f"Thing {number}", images=(b"not an image",)) for number in range(3)]
    with pytest.raises(EvaluationError, match="reads neither a labelled product nor a photo of a titled one"):
        evaluation_of(write_test_catalog(tmp_path, products, []))


def test_few_queries_are_cautioned_against(catalog: Catalog) -> None:
    evaluation = evaluation_of(catalog)
    assert "only 4 test queries, under 100: each moves R@k by 25.0 points" in to_text(evaluation)
    enough = replace(evaluation, scored=dict.fromkeys(NAMES, 100))
    assert "under 100" not in to_text(enough)


class Diverged(ColourAndKindEncoder):
    """Gives no finite vector."""

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> np.ndarray:
        return np.full_like(super().embed_texts(texts), np.nan)

    def embed_images(self, images: Sequence[Image.Image], batch_size: int = 64, role: str = "") -> np.ndarray:
        return np.full_like(super().embed_images(images), np.nan)


def test_an_encoder_that_diverged_is_named(catalog: Catalog) -> None:
    with pytest.raises(EvaluationError, match=r"no usable vector for any product of .*; has its training diverged"):
        score(Diverged(), catalog)


def test_vectors_cut_to_a_length_are_scored_beside_the_whole_ones(tmp_path: Path) -> None:
    """The first four numbers know colours alone: the right red shirt is one of thirteen red products."""
    products, interactions = twins()
    more = [Product(f"more-{number}", "red bag", images=(photo("red", "bag"),)) for number in range(10)]
    evaluation = evaluation_of(write_test_catalog(tmp_path, [*products, *more], interactions[:1]), dimensions=(4, 4))
    assert list(evaluation.recalls_by_dimension) == [4, 6]
    assert evaluation.recalls_by_dimension[6] == dict.fromkeys(NAMES, 100.0)
    assert evaluation.recalls_by_dimension[4] == pytest.approx(dict.fromkeys(NAMES, 100 * 10 / 13))
    assert f"{100 * 10 / 13:.1f}" in to_text(evaluation) and "| 4 | 76.9 |" in to_markdown(evaluation)
    evaluation.write(tmp_path / "evaluation.json")
    assert Evaluation.read(tmp_path / "evaluation.json") == evaluation


def test_the_lengths_that_were_trained_are_scored_unasked(new_matryoshka: Encoder, catalog: Catalog) -> None:
    evaluation, _ = score(new_matryoshka, catalog)
    assert list(evaluation.recalls_by_dimension) == [8, 32]
    assert list(evaluation.recalls_by_dimension[8]) == NAMES
    assert evaluation_of(catalog).recalls_by_dimension == {}


def test_a_length_above_the_width_is_refused_before_the_work(catalog: Catalog) -> None:
    with pytest.raises(EvaluationError, match="--dimensions has 7; each must be 1 to 6, the length of the vectors"):
        evaluation_of(catalog, dimensions=(4, 7))


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        (["title"], {}),
        (["title", "brand", "description"], {}),
        (["title", "category"], {"class": "category"}),
        (["attributes"], {"colour": "attributes"}),
        (["category", "colour"], {"class": "category", "colour": "colour"}),
    ],
)
def test_a_label_that_is_read_is_no_prediction(fields: list[str], read: dict[str, str], catalog: Catalog) -> None:
    encoder = ColourAndKindEncoder()
    encoder.inputs = InputSettings(fields=fields)
    evaluation, _ = score(encoder, catalog)
    assert (evaluation.fields, evaluation.labels_read) == (fields, read)
    for task, field in read.items():
        line = f"{task} is read, not predicted, in views mm and t: its label is in the field {field!r}"
        assert line in to_text(evaluation) and line in to_markdown(evaluation)


def test_labels_are_also_told_in_phrases(catalog: Catalog) -> None:
    """To one who knows no single word, "red" is as "blue"; "red bag" is not as "blue bag"."""
    evaluation, per_query = score(PhraseReader(), catalog)
    accuracy = {task: views["mm"]["accuracy"] for task, views in evaluation.zero_shot.items()}
    assert accuracy == {"class": 50, "class, in phrases": 100, "colour": 50, "colour, in phrases": 100}
    assert per_query["colour, in phrases (mm)"].hits[1].mean() == 1
    assert {"colour (2 labels)", "colour, in phrases"} <= {
        row.split("  ")[0] for row in to_text(evaluation).splitlines()
    }


def test_labels_are_also_told_by_how_common_they_are_in_training(tmp_path: Path) -> None:
    """To whom all colours are alike, the first label is the nearest; three quarters of the products are red."""
    products, interactions = twins()
    is_red = [True, True, True, False] * 2
    products = [
        replace(p, attributes={"colour": "red" if red else "blue"}) for p, red in zip(products, is_red, strict=True)
    ]
    learned = [Product(f"old-{n}", "a thing", attributes={"colour": "red" if n else "blue"}) for n in range(20)]
    catalog = write_catalog(tmp_path / "shop", {"train": learned, "test": products}, {"test": interactions}, title="S")
    evaluation, per_query = score(ColourAndKindEncoder(sees_colours=False), catalog)
    accuracy = {task: views["mm"]["accuracy"] for task, views in evaluation.zero_shot.items()}
    of_class = {"class": 100, "class, in phrases": 100, "class, weighed": 100}
    assert accuracy == {**of_class, "colour": 25, "colour, weighed": 75}, "training has no class to say a colour with"
    assert per_query["colour, weighed (mm)"].hits[1].mean() == 0.75
    assert set(evaluation.accuracy_intervals) == set(evaluation.labels) == set(accuracy)
    assert "colour, weighed" in to_text(evaluation)
