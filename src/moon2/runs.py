"""What a run is from outside: train one, score one, show one.

It stands beside the command line, on the top floor, so that the rooms below need not know each other: training is
handed its evaluation as a function, and the report what both wrote into the run's folder.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moon2.catalog.store import Catalog
from moon2.errors import UserError
from moon2.recipe import Recipe

if TYPE_CHECKING:
    from moon2.evaluate.per_query import QueryScores
    from moon2.evaluate.result import Evaluation
    from moon2.model.encoder import Encoder
    from moon2.train.train import TrainingResult
    from moon2.train.validation import HeldOut


class RunError(UserError):
    """A folder is not the run that is needed; the message says which, why, and what to do."""


def train_run(recipe: Recipe, data: str | Path, out: str | Path, *, resume: bool = False) -> TrainingResult:
    """Trains an encoder on a catalog; with `training.evaluate_every`, keeps the weights best on held-out queries.

    Raises:
        CatalogError, RecipeError, BackboneError: as `moon2.train.train.train`.
    """
    quiet_libraries()
    from moon2.train.train import train

    catalog = Catalog.open(data)
    if not recipe.training.evaluate_every:
        return train(recipe, catalog, out, resume=resume)
    from moon2.catalog.triplets import training_triplets
    from moon2.train.validation import hold_out

    settings = recipe.training
    triplets = training_triplets(catalog, settings.seed)
    held = hold_out(triplets, catalog.ids("train"), settings.validation_queries, settings.seed)
    score = scoring(catalog, held) if held.interactions else None
    return train(recipe, catalog, out, resume=resume, score=score, triplets=held.training)


def scoring(catalog: Catalog, held: HeldOut) -> Callable[[Encoder], dict[str, float]]:
    """What training calls: R@10 of each direction on the held-out queries, and their mean as "score"."""
    from moon2.evaluate.evaluate import evaluate

    def score(encoder: Encoder) -> dict[str, float]:
        found = evaluate(encoder, catalog, attributes=(), interactions=held.interactions, gallery_ids=held.gallery_ids)
        measures = {f"{direction} R@10": row[10] for direction, row in found.recalls.items()}
        return {"score": sum(measures.values()) / len(measures), **measures}

    return score


def untrained_encoder(recipe: Recipe, catalog: Catalog) -> Encoder:
    """The very encoder that training by this recipe begins with."""
    quiet_libraries()
    from moon2.catalog.triplets import training_triplets
    from moon2.model.encoder import Encoder
    from moon2.train.train import tokenizer_texts

    return Encoder.from_recipe(recipe, tokenizer_texts(catalog, training_triplets(catalog, recipe.training.seed)))


def evaluate_run(
    run: str | Path,
    data: str | Path,
    *,
    limit: int | None = None,
    prompt: str = "",
    trust_remote_code: bool = False,
    attributes: Sequence[str] | None = None,
    label_prompt: str | None = None,
    by_query: dict[str, QueryScores] | None = None,
) -> Evaluation:
    """Scores a run's encoder, or any model that `load_model` knows, on the test queries of a catalog, with a bar.

    `attributes` and `label_prompt` are those of `moon2.evaluate.evaluate.evaluate`; `by_query` is filled with what
    each query scored, by direction.

    Raises:
        RunError: the run is not finished.
        EvaluationError: there is no such model.
        CatalogError: there is no such catalog, or it has no test queries.
    """
    # A name like organisation/model that is no folder here may be a hub's; whatever else is there must hold a model.
    on_hub = not Path(run).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(run))
    source = run if on_hub or (Path(run) / "modules.json").is_file() else model_folder(run)
    catalog = Catalog.open(data)
    quiet_libraries()
    from moon2.encoders.load import load_model
    from moon2.evaluate.evaluate import evaluate

    encoder = load_model(source, prompt=prompt, trust_remote_code=trust_remote_code)
    return evaluate(
        encoder,
        catalog,
        show_progress=True,
        limit=limit,
        attributes=attributes,
        prompts=label_prompt,
        model=str(run),
        by_query=by_query,
    )


def model_folder(run: str | Path) -> Path:
    """Where a run's saved encoder is; the folder of a saved encoder itself will do as well.

    Raises:
        RunError: the folder is missing, holds no run, or one that is not finished.
    """
    folder = Path(run)
    for candidate in (folder / "model", folder):
        if (candidate / "config.json").is_file():
            return candidate
    if not folder.is_dir():
        raise RunError(f"{run}: there is no such run; `moon2 train … --out {run}` makes one")
    if (folder / "recipe.yaml").is_file():
        raise RunError(f"{run}: training is not finished; go on with the same `moon2 train` command and --resume")
    raise RunError(f"{run}: is not a run (no recipe.yaml, no model); give the folder named by `moon2 train --out`")


def report_run(run: str | Path, data: str | Path, *, command: str = "") -> Path:
    """Writes RUN/report.html, and its tables as RUN/report.md, from what training and evaluation left there.

    Raises:
        RunError: there is no such run, it was not evaluated, or that was on other queries or products.
        CatalogError: there is no such catalog.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise RunError(f"{run}: there is no such run; `moon2 train … --out {run}` makes one")
    if not (folder / "evaluation.json").is_file():
        raise RunError(f"{run}: has no evaluation.json; run `moon2 evaluate {run} --data {data}` first")
    from moon2.evaluate.report.report import write_report
    from moon2.evaluate.test_set import fingerprint

    catalog = Catalog.open(data)
    evaluation = read_evaluation(folder / "evaluation.json")
    # Evaluations of the first versions have none.
    if evaluation.fingerprint and evaluation.fingerprint != fingerprint(catalog, evaluation.limit):
        raise RunError(
            f"{data}: has other test queries or products than {run} was evaluated on (catalog "
            f"{evaluation.catalog!r}); give that catalog, or run `moon2 evaluate {run} --data {data}` first"
        )
    history: list[dict[str, float]] = []
    if (folder / "history.jsonl").is_file():
        from moon2.train.history import read_history

        history = read_history(folder / "history.jsonl")
    baseline = folder / "baseline.json"
    (folder / "report.md").write_text(f"# moon2: {folder.name}\n\n{evaluation.to_markdown()}\n", encoding="utf-8")
    return write_report(
        folder / "report.html",
        evaluation,
        history,
        catalog,
        baseline=read_evaluation(baseline) if baseline.is_file() else None,
        title=f"moon2: {folder.name}",
        command=command,
    )


def read_evaluation(path: Path) -> Evaluation:
    """An evaluation as `moon2 evaluate` wrote it.

    Raises:
        RunError: the file is something else.
    """
    from moon2.evaluate.result import Evaluation

    try:
        return Evaluation.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path}: {' '.join(str(error).split())}") from None


def quiet_libraries() -> None:
    """Keeps from the terminal what users of moon2 cannot act on: notices and bars of the libraries below it."""
    # The tokenizer's threads only warn about the data loader's processes.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    enable_progress_bars()  # A download of gigabytes does want a bar.
    if not sys.warnoptions:
        for library in ("torch", "transformers", "accelerate", "huggingface_hub", "tensorboard"):
            warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
