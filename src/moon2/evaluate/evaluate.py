"""`moon2 evaluate`: scores a model on a catalog, writes its figures, and compares it with another model's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moon2.catalog.store import Catalog
from moon2.evaluate.format import comparison_text, to_text
from moon2.evaluate.per_query import (
    QueryScores,
    compare_query_scores,
    query_scores_beside,
    read_query_scores,
    write_query_scores,
)
from moon2.evaluate.result import Evaluation
from moon2.evaluate.test_set import EvaluationError, read_test_set, require_attributes
from moon2.files import require_writable
from moon2.run_folder import RunFolder, find_model_folder
from moon2.vectors.ranker import open_ranker

if TYPE_CHECKING:
    from moon2.encoders.protocol import VectorEncoder
    from moon2.vectors.fusion import Fusion

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class EvaluatedModel:
    """What `moon2 evaluate` prints.

    Attributes:
        evaluation: the figures.
        comparison: differences to another model as a table; "" if none was named.
    """

    evaluation: Evaluation
    comparison: str = ""

    def __str__(self) -> str:
        return "\n\n".join(filter(None, (to_text(self.evaluation), self.comparison)))


def evaluate(
    model: str,
    *,
    data: Path,
    out: Path | None = None,
    against: str | None = None,
    attributes: tuple[str, ...] = (),
    label_prompt: str = "{}",
    dimensions: tuple[int, ...] = (),
    prompt: str = "",
    fields: tuple[str, ...] = (),
    trust_remote_code: bool = False,
    limit: int | None = None,
) -> EvaluatedModel:
    """Score an encoder, or any other model, on a catalog's test queries.

    Retrieval in five directions (t text, i image, mm both: t→mm is words finding products) as R@1, R@5 and R@10
    with its 95 % bootstrap interval. Labels are predicted without a classifier: by the nearest label, as published;
    in phrases, such as "black shirts", too; and weighed by how common each is in the training split. Where the log
    has grades, nDCG@10 and MRR@10 too; a grade is the gain of its product. The same figures are written as JSON, and
    what each query scored as Parquet beside it. Keyword search (BM25) and the hybrid of it with the encoder stand
    beside. With --against, the differences to another model, their intervals, and how often chance alone makes such a
    difference (p).

    MODEL may also be an index: then all that it holds is searched, by vectors, words and both, and within the
    category of what is sought; --against another one says what its storage or settings cost.

    MODEL may be a run, a saved encoder, a sentence-transformers model, or a dual encoder of transformers (CLIP,
    SigLIP, FashionCLIP …). A model that embeds text and images apart gets the sum of both for a whole product.

    examples:
      moon2 evaluate runs/shop --data data/shop
      moon2 evaluate runs/new --data data/shop --against runs/shop
      moon2 evaluate indexes/shop --data data/shop
      moon2 evaluate patrickjohncyh/fashion-clip --data data/shop --against openai/clip-vit-base-patch32

    Args:
        model: folder of a run or of an index, or folder or hub id of any model that embeds text and images.
        data: folder of a catalog with test queries.
        out: JSON file to write; RUN/evaluation.json for a run, evaluations/MODEL.json for another model. With --limit
            the name ends in -limited.json: it never replaces the whole evaluation.
        against: another model evaluated on the same data, as it was named then, or its …-queries.parquet.
        attributes: attributes to predict; when not given, those a benchmark declares, else a colour attribute.
        label_prompt: a label in words, such as "a photo of {}".
        dimensions: lengths to which vectors are cut, to score those too; those it was trained for when not given.
        prompt: text before a query's, for another model; its own when not given.
        fields: what another model reads of a product as its text, such as title brand; its title when not given.
        trust_remote_code: let a sentence-transformers model run Python that comes with it.
        limit: for a quick look, at most so many products and queries.

    Raises:
        EvaluationError: the model or the data cannot be scored, or the other model was scored on other data.
        RunError: the run is not finished.
        OutputError: the file cannot be written.
    """
    if "{}" not in label_prompt:
        raise EvaluationError(f"--label_prompt is {label_prompt!r}; put {{}} where the label is to stand")
    catalog = Catalog.open(data)
    # The cheap checks come before the libraries are loaded.
    test_set = read_test_set(catalog, limit)
    require_attributes(attributes, catalog)
    file = out or _evaluation_file(model, limit)
    index, expected = open_ranker(Path(model)), test_set.fingerprint
    if index is not None:
        from moon2.evaluate.index_scores import index_fingerprint

        if attributes or dimensions or prompt or fields or label_prompt != "{}" or trust_remote_code:
            raise EvaluationError(f"{model}: is an index; it takes --data, --out, --against and --limit alone")
        expected = index_fingerprint(test_set, set(index.ids()))
    # A name like organisation/model that is no folder here may be a hub's; whatever else is there must hold a model.
    elif (Path(model).exists() or not HUB_ID.fullmatch(model)) and not (Path(model) / "modules.json").is_file():
        RunFolder(model).require_model()
    others = None
    if against is not None:
        scores = _query_scores_file(against, limit)
        if limit is not None and not scores.is_file():
            raise EvaluationError(
                f"{against}: was not evaluated with --limit {limit} (there is no {scores}); evaluate both with "
                "the same --limit"
            )
        others, fingerprint = read_query_scores(scores)
        if fingerprint != expected:
            raise EvaluationError(
                f"{against}: was scored on other queries or another gallery, so the two cannot be compared; evaluate "
                f"both on the same catalog with the same --limit"
            )
    if out is not None:
        require_writable(out, "--out")
    if index is not None:
        from moon2.evaluate.index_scores import score_index

        evaluation, per_query = score_index(index, catalog, model=model, limit=limit)
        return _finish(file, evaluation, per_query, others, against)
    from moon2.encoders.load import load_encoder
    from moon2.evaluate.score import score

    encoder = load_encoder(model, prompt=prompt, fields=fields, trust_remote_code=trust_remote_code)
    evaluation, per_query = score(
        encoder,
        catalog,
        show_progress=True,
        limit=limit,
        attributes=attributes,
        label_prompt=label_prompt,
        dimensions=dimensions,
        model=model,
        fusions=_fusions(model, encoder, catalog),
    )
    return _finish(file, evaluation, per_query, others, against)


def _finish(
    file: Path,
    evaluation: Evaluation,
    per_query: Mapping[str, QueryScores],
    others: Mapping[str, QueryScores] | None,
    against: str | None,
) -> EvaluatedModel:
    """Writes the figures, and compares them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    evaluation.write(file)
    write_query_scores(query_scores_beside(file), per_query, evaluation.fingerprint)
    if others is None:
        return EvaluatedModel(evaluation)
    return EvaluatedModel(evaluation, comparison_text(compare_query_scores(per_query, others), str(against)))


def _fusions(model: str, encoder: VectorEncoder, catalog: Catalog) -> Mapping[str, Mapping[str, Fusion]]:
    """What hybrid search weighs by: fitted when the model was trained, or here for a model that is not ours."""
    from moon2.evaluate.keywords import log_fusions
    from moon2.model.encoder import Encoder
    from moon2.vectors.fit_fusions import FUSIONS
    from moon2.vectors.fusion import read_fusions

    if not isinstance(encoder, Encoder):
        return log_fusions(encoder, catalog)
    folder = find_model_folder(model)
    return read_fusions(folder / FUSIONS) if folder else {}


def _evaluation_file(model: str, limit: int | None) -> Path:
    """Where a model's evaluation is written when nothing else is asked for; one of a sample apart from the whole."""
    if Path(model).is_dir():
        run = RunFolder(model)
        return run.evaluation if limit is None else run.quick_evaluation
    ending = "" if limit is None else "-limited"
    return Path("evaluations") / f"{model.replace('/', '--')}{ending}.json"


def _query_scores_file(model: str, limit: int | None) -> Path:
    """Where an evaluated model's query scores are, by its name or by one of the two files of its evaluation."""
    if model.endswith(".parquet"):
        return Path(model)
    return query_scores_beside(Path(model) if model.endswith(".json") else _evaluation_file(model, limit))
