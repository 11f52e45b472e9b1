"""The verbs that train an encoder and show what it learned: demo, train, evaluate, report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from moon2.commands.verb import UsageError, Verb

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def _demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", help="folder of the demo, which it owns")


def _demo(typed: Namespace) -> None:
    """Generates a shop, trains on it and shows what was learned, in minutes on two cores.

    Needs no network. It ends with a table of scores and writes report.html. Stopped in the middle and
    run again, it goes on; run again when it is done, it starts over.

    example:
      moon2 demo
    """
    from moon2.demo import run_demo

    run_demo(typed.get("out", "runs/demo"))


def _train_arguments(parser: ArgumentParser) -> None:
    from moon2.recipe import Recipe

    parser.add_argument("--config", metavar="RECIPE", help="YAML recipe; what it leaves open has the defaults below")
    parser.add_argument("--data", required=True, help="folder of the catalog")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN, if there is one")
    parser.add_class_arguments(Recipe, None)


def _train(typed: Namespace) -> None:
    """Trains an encoder on a catalog, from its search log or from triplets mined in it.

    Settings come from the recipe; those typed here win over it. A run that was stopped goes on with
    --resume, to the same losses. RUN then holds model/ (the encoder), recipe.yaml, history.jsonl,
    tensorboard/ and checkpoints/.

    example:
      moon2 train --config recipes/tiny.yaml --data data/shop --out runs/shop --training.steps 300
    """
    from moon2.catalog.store import Catalog
    from moon2.recipe import load_recipe

    own = ("config", "data", "out", "resume")
    settings = [(name, value) for name, value in typed.items() if name not in own]
    overrides = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings]
    recipe = load_recipe(typed.get("config"), overrides)
    Catalog.open(typed["data"])  # before torch is loaded: a mistyped folder should cost no seconds

    from moon2.runs import train_run

    result = train_run(recipe, typed["data"], typed["out"], resume=typed.get("resume", False))
    print(
        f"{result.folder}: trained {result.steps:,} steps in {result.seconds:.0f} s; the encoder is in "
        f"{result.folder / 'model'}; score it with `moon2 evaluate {result.folder} --data {typed['data']}`"
    )


def _evaluate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="MODEL", help="folder of a run, or folder or hub id of any model that embeds both"
    )
    parser.add_argument("--data", required=True, help="folder of a catalog with test queries")
    out = "JSON file to write; RUN/evaluation.json for a run, evaluations/MODEL.json for another model"
    parser.add_argument("--out", metavar="FILE", help=out)
    parser.add_argument("--prompt", default="", help="words before a query's, of another model; its own when not given")
    trust = "let a sentence-transformers model run Python that comes with it"
    parser.add_argument("--trust_remote_code", action="store_true", help=trust)
    attributes = "attributes to predict; those a benchmark declares, else the first colour attribute, when not given"
    parser.add_argument("--attributes", nargs="+", metavar="NAME", help=attributes)
    parser.add_argument(
        "--label_prompt", metavar="WORDS", help='a label in words, "a photo of {}"; plain when not given'
    )
    against = (
        "another model evaluated on the same data, as it was named then, or its …-queries.parquet: compare with it"
    )
    parser.add_argument("--against", metavar="MODEL", help=against)
    parser.add_argument("--limit", type=int, help="for a quick look: at most so many products and queries")


def _evaluate(typed: Namespace) -> None:
    """Scores a trained encoder, or any other model, on a catalog's test queries, and prints the table.

    Retrieval in five directions (t text, i photo, mm both: t→mm is words finding products) as R@1, R@5
    and R@10 with its 95 % bootstrap interval, and labels predicted without a classifier. The same figures
    are written as JSON, and what each query scored as Parquet beside it. With --against, the differences
    to another model, their intervals, and how often chance alone makes such a difference (p).

    MODEL may be a run, a saved encoder, a sentence-transformers model, or a dual encoder of transformers
    (CLIP, SigLIP, FashionCLIP …); of one that embeds words and pictures apart, both together are their sum.

    examples:
      moon2 evaluate runs/shop --data data/shop
      moon2 evaluate runs/new --data data/shop --against runs/shop
      moon2 evaluate patrickjohncyh/fashion-clip --data data/shop --against openai/clip-vit-base-patch32
    """
    from moon2.catalog.store import Catalog
    from moon2.evaluate.per_query import (
        QueryScores,
        compare_query_scores,
        comparison_text,
        fingerprint_of,
        read_query_scores,
        require_same,
        write_query_scores,
    )
    from moon2.evaluate.test_set import fingerprint
    from moon2.files import write_text_atomic
    from moon2.runs import evaluate_run

    limit = typed.get("limit")
    if limit is not None and limit < 1:
        raise UsageError(f"evaluate: --limit is {limit}; it must be 1 or more, or left out to use everything")
    label_prompt = typed.get("label_prompt")
    if label_prompt is not None and "{}" not in label_prompt:
        raise UsageError(f"evaluate: --label_prompt is {label_prompt!r}; put {{}} where the label is to stand")
    out = Path(typed.get("out") or _evaluation_of(typed["run"]))
    against = typed.get("against")
    theirs = read_query_scores(_query_scores_of(against)) if against else None
    if theirs is not None:  # before the long work: it may not be there, or be of another gallery
        require_same(fingerprint(Catalog.open(typed["data"]), limit), fingerprint_of(theirs), against)
    by_query: dict[str, QueryScores] = {}
    evaluation = evaluate_run(
        typed["run"],
        typed["data"],
        limit=limit,
        prompt=typed.get("prompt", ""),
        trust_remote_code=typed.get("trust_remote_code", False),
        attributes=typed.get("attributes"),
        label_prompt=label_prompt,
        by_query=by_query,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(out, evaluation.to_json())
    write_query_scores(_beside(out), by_query)
    print(evaluation.to_text())
    if theirs is not None:
        print("", comparison_text(compare_query_scores(by_query, theirs), against), sep="\n")


def _evaluation_of(model: str) -> Path:
    """Where a model's evaluation is written when nothing else is asked for."""
    folder = Path(model)
    return folder / "evaluation.json" if folder.is_dir() else Path("evaluations") / f"{model.replace('/', '--')}.json"


def _beside(evaluation: Path) -> Path:
    return evaluation.with_name(f"{evaluation.stem}-queries.parquet")


def _query_scores_of(model: str) -> Path:
    """Where what each query scored is kept, of a model that was evaluated, or of one of the two files of that."""
    if model.endswith(".parquet"):
        return Path(model)
    return _beside(Path(model) if model.endswith(".json") else _evaluation_of(model))


def _report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", help="folder of a run that was evaluated")
    parser.add_argument("--data", required=True, help="folder of the catalog it was evaluated on, for the pictures")


def _report(typed: Namespace) -> None:
    """Writes RUN/report.html: curves, scores, and what example queries find.

    One file with nothing beside it, from what `moon2 train` and `moon2 evaluate` left in RUN.

    example:
      moon2 report runs/shop --data data/shop
    """
    from moon2.runs import report_run

    command = shlex.join(["moon2", "report", typed["run"], "--data", typed["data"]])
    print(report_run(typed["run"], typed["data"], command=command))


VERBS = {
    "demo": Verb(_demo, _demo_arguments, "[--out runs/demo]"),
    "train": Verb(
        _train, _train_arguments, "--config RECIPE --data DATA --out RUN [--resume] [--training.steps 300 …]"
    ),
    "evaluate": Verb(
        _evaluate,
        _evaluate_arguments,
        "MODEL --data DATA [--against MODEL] [--attributes NAME …] [--label_prompt WORDS] [--prompt WORDS] "
        "[--trust_remote_code] [--out FILE.json] [--limit N]",
    ),
    "report": Verb(_report, _report_arguments, "RUN --data DATA"),
}
