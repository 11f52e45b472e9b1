"""Keyword search and the hybrid beside an encoder that knows colours and kinds, but no ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.coloured_shop import ColourAndKindEncoder, twins, write_test_catalog

from moon2.catalog.store import Catalog
from moon2.evaluate.evaluate import EvaluatedModel
from moon2.evaluate.format import to_markdown
from moon2.evaluate.keywords import log_fusions
from moon2.evaluate.result import Evaluation
from moon2.evaluate.score import score
from moon2.records import Interaction, Query
from moon2.vectors.fusion import Fusion, fuse
from moon2.vectors.lexical import LexicalIndex, Scored
from moon2.vectors.nearest import top_k
from moon2.vectors.product_texts import product_texts

FUSIONS = {fields: {view: Fusion(0.5, 0.2, 0.7) for view in ("t", "mm")} for fields in ("title", "all")}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Eight products; one is described by a word that is in no title, one query is a photo alone."""
    products, interactions = twins()
    products[5] = replace(products[5], description="made of corduroy", attributes={"brand": "Nordwind"})
    corduroy = Interaction(Query("q-corduroy", "nordwind corduroy"), (products[5].id,))
    interactions[1] = replace(interactions[1], query=replace(interactions[1].query, text=""))
    return write_test_catalog(tmp_path, products, [*interactions, corduroy])


def test_words_are_scored_over_titles_and_over_all_text(catalog: Catalog) -> None:
    evaluation, per_query = score(ColourAndKindEncoder(), catalog, fusions=FUSIONS)
    assert list(evaluation.keywords) == [
        "t→mm, BM25 (titles)",
        "t→mm, BM25 (all text)",
        "t→mm, hybrid (titles)",
        "t→mm, hybrid (all text)",
        "mm→mm, hybrid (titles)",
        "mm→mm, hybrid (all text)",
    ]
    by_title, by_all = (per_query[f"t→mm, BM25 ({name})"] for name in ("titles", "all text"))
    assert by_title.ids == ["q-shirt-red", "q-bag-red", "q-bag-blue", "q-corduroy"], "a photo alone has no words"
    # No title has the words: all eight products tie, and guessing finds one of them.
    assert by_title.hits[1][-1] == pytest.approx(1 / 8) and by_all.hits[1][-1] == 1
    assert evaluation.keyword_queries["mm→mm, hybrid (titles)"] == 3
    low, high = evaluation.keyword_intervals["t→mm, BM25 (titles)"][1]
    assert low <= evaluation.keywords["t→mm, BM25 (titles)"][1] <= high


def test_the_hybrid_row_is_what_search_calls(catalog: Catalog) -> None:
    """The same ranks as `fuse` gives for each query, where no two products tie."""
    random = np.random.default_rng(0)

    class Noisy(ColourAndKindEncoder):
        def embed_texts(self, texts: list[str], batch_size: int = 64, role: str = "") -> np.ndarray:
            vectors = super().embed_texts(texts) + 0.3 * random.standard_normal((len(texts), 6)).astype(np.float32)
            seen.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
            return seen[-1]

        def embed_pairs(self, texts: list[str], images: list, batch_size: int = 64, role: str = "") -> np.ndarray:
            return self.embed_texts(texts)

    seen: list[np.ndarray] = []
    _, per_query = score(Noisy(), catalog, fusions=FUSIONS)
    gallery = next(matrix for matrix in reversed(seen) if len(matrix) == 8)
    asked = next(matrix for matrix in seen if len(matrix) == 4)
    index = LexicalIndex.build(product_texts(catalog, "title"))
    ids = [text.id for text in product_texts(catalog, "title")]
    interactions = [it for it in catalog.interactions("test") if it.query.text]
    row = per_query["t→mm, hybrid (titles)"]
    for number, (interaction, query) in enumerate(zip(interactions, asked, strict=True)):
        out = ids.index(interaction.query.product_id) if interaction.query.product_id else None
        rows, cosines = (found[0] for found in top_k(query[None], gallery, 1000, [out]))
        kept = np.isfinite(cosines)
        allowed = np.array([number != out for number in range(8)])
        hits = fuse(
            Scored(rows[kept], cosines[kept]),
            index.scores(interaction.query.text),
            lambda rows, query=query: gallery[rows] @ query,
            FUSIONS["title"]["t"],
            index.exact(interaction.query.text),
            allowed,
        )
        assert row.hits[1][number] == float(ids[hits.rows[0]] in interaction.positive_ids)


def test_an_exact_id_is_found_first_whatever_the_vectors_say(tmp_path: Path) -> None:
    products, _ = twins()
    by_id = Interaction(Query("q", products[3].id.upper()), (products[3].id,))
    evaluation, _ = score(ColourAndKindEncoder(), write_test_catalog(tmp_path, products, [by_id]))
    assert evaluation.keywords["t→mm, hybrid (titles)"][1] == 100
    assert evaluation.recalls["t→mm"][1] < 100


def test_the_rows_are_shown_written_and_read(catalog: Catalog, tmp_path: Path) -> None:
    evaluation, _ = score(ColourAndKindEncoder(), catalog, fusions=FUSIONS)
    for text in (str(EvaluatedModel(evaluation)), to_markdown(evaluation)):
        assert "t→mm, BM25 (titles)" in text and "mm→mm, hybrid (all text)" in text
    evaluation.write(tmp_path / "evaluation.json")
    again = Evaluation.read(tmp_path / "evaluation.json")
    assert again == evaluation and again.fusions["all"]["t"]["weight"] == 0.7


def test_a_model_of_text_alone_is_scored_where_it_has_a_view(catalog: Catalog) -> None:
    """It reads a whole product, and a query of words and photo, by their words."""

    class TextAlone(ColourAndKindEncoder):
        takes_images = False

        def embed_images(self, *_: object, **__: object) -> np.ndarray:
            raise AssertionError("it was asked for an image")

    evaluation, _ = score(TextAlone(), catalog)
    assert set(evaluation.recalls) == {"t→mm", "mm→mm"}
    assert "t→mm, hybrid (titles)" in evaluation.keywords
    assert evaluation.zero_shot["class"].keys() == {"t", "mm"}
    assert evaluation.left_out["i→mm"]["queries without a readable image"] == 5


def test_a_model_that_did_not_train_on_the_log_is_weighed_by_it(shop: Catalog, catalog: Catalog) -> None:
    assert log_fusions(ColourAndKindEncoder(), catalog) == {}, "this catalog has no training log"
    fusions = log_fusions(ColourAndKindEncoder(), shop)
    assert fusions.keys() <= {"title", "all"}
