"""`moon2 push`: a trained encoder to the Hugging Face hub, with a model card that says what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from moon2.evaluate.format import (
    KEYWORD_HEAD,
    RETRIEVAL_HEAD,
    ZERO_SHOT_HEAD,
    keyword_rows,
    label_notes,
    markdown_table,
    retrieval_rows,
    zero_shot_rows,
)
from moon2.evaluate.result import Evaluation
from moon2.run_folder import RunFolder
from moon2.templates import templates

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TEMPLATES = templates("moon2")
RECIPE_HEAD = "\n## Recipe\n"


def push(run: Path, name: str, *, public: bool = False, revision: str | None = None) -> str:
    """Upload a trained encoder to the Hugging Face hub.

    Only its owner sees it, unless you say --public. Its model card holds the figures of `moon2 evaluate`, if RUN was
    evaluated, the recipe, and how to load it with moon2, sentence-transformers and mteb. Nothing of the catalog is
    uploaded but the names of its fields and what the recipe says. The token is that of HF_TOKEN or `hf auth login`.

    examples:
      moon2 push runs/shop organisation/shop-encoder
      moon2 push runs/shop organisation/shop-encoder --public --revision 2026-11

    Args:
        run: folder of a run, or of a saved encoder
        name: of the model on the hub; it is made if it is not there
        public: everybody may see it
        revision: branch to upload to, which is made if it is not there; the main one if not given

    Returns:
        The address of its page.

    Raises:
        RunError: there is no run, or it is not finished
        EvaluationError: its figures are damaged
        EncoderError: the hub cannot be reached, or does not allow it
    """
    folder = RunFolder(run)
    model = folder.require_model()
    evaluation = Evaluation.read(folder.evaluation) if folder.evaluation.is_file() else None
    from moon2.model.hub import push_folder

    with TemporaryDirectory() as staged:
        for path in model.iterdir():
            if path.name != "README.md" and not path.name.startswith("evaluation"):
                (Path(staged) / path.name).symlink_to(path.absolute())
        card = model / "README.md"
        text = hub_card(card.read_text(encoding="utf-8") if card.is_file() else "", name, evaluation)
        (Path(staged) / "README.md").write_text(text, encoding="utf-8")
        return push_folder(Path(staged), name, private=not public, revision=revision)


def hub_card(card: str, name: str, evaluation: Evaluation | None) -> str:
    """A model card for the hub.

    Args:
        card: as training wrote it.
        name: of the model on the hub.
        evaluation: its figures; a card without any says so.
    """
    from huggingface_hub import ModelCard, ModelCardData

    known = ModelCard(card)
    written: Any = known.data
    before = written.to_dict()
    tags = [*dict.fromkeys([*before.get("tags", []), "moon2", "sentence-transformers", "feature-extraction"])]
    ours = {"library_name": "moon2", "pipeline_tag": "feature-extraction", "license": "unknown", "tags": tags}
    data = ModelCardData(**{**before, **ours})
    if evaluation is not None and (results := [*_results(evaluation)]):
        data.model_name, data.eval_results = name, results
    about, recipe, after = known.text.strip().partition(RECIPE_HEAD)
    added = TEMPLATES.get_template("push.md.j2").render(
        name=name,
        evaluation=evaluation,
        tables=[] if evaluation is None else _tables(evaluation),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{about.strip() or '# A moon2 encoder'}\n\n{added}{recipe}{after}\n"


def _tables(evaluation: Evaluation) -> list[str]:
    tables = []
    if evaluation.queries:
        tables.append(markdown_table(RETRIEVAL_HEAD, retrieval_rows(evaluation)))
    if evaluation.keywords:
        tables.append(markdown_table(KEYWORD_HEAD, keyword_rows(evaluation)))
    if evaluation.zero_shot:
        tables.append(markdown_table(ZERO_SHOT_HEAD, zero_shot_rows(evaluation), left=2))
        tables += label_notes(evaluation)
    return tables


def _results(evaluation: Evaluation) -> Iterator[EvalResult]:
    """The recalls as the hub's own metadata."""
    from huggingface_hub import EvalResult

    for direction, by_k in evaluation.recalls.items():
        for k, recall in by_k.items():
            yield EvalResult(
                task_type="feature-extraction",
                task_name=f"product retrieval, {direction}",
                dataset_type="private",
                dataset_name=evaluation.catalog,
                metric_type=f"recall_at_{k}",
                metric_name=f"R@{k}, percent",
                metric_value=round(recall, 2),
            )
