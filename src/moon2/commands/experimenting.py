"""The verbs that measure the method: compare with peers, ablate its parts."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from moon2.commands.verb import UsageError, Verb

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from moon2.experiments.runner import Experiment
    from moon2.experiments.variants import Variant


def _common_arguments(parser: ArgumentParser) -> None:
    from moon2.recipe import Recipe

    parser.add_argument("data", help="folder of a catalog with test queries")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="gets results.json, the tables and the runs")
    parser.add_argument(
        "--config", metavar="RECIPE", help="YAML recipe of the whole method; its steps are a run's budget"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="each variant is trained with each")
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side; if several, on one core each")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these variants, named as in the table")
    parser.add_class_arguments(Recipe, None)


def _compare_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--budgets",
        nargs="*",
        choices=BUDGETS,
        default=list(BUDGETS),
        help="further tables; a variant that needs fewer or more than MOON2.0 is trained anew for as many steps as fit "
        "(name none for the table of equal steps alone)",
    )
    _common_arguments(parser)


def _compare(typed: Namespace) -> None:
    """Trains MOON2.0 and its peers on the same data and compares them, as a team would want to decide by.

    Peers: a CLIP-style dual encoder, a single InfoNCE as in VLM2Vec, MOON's fixed 12:3:2 mixture of
    modalities, and sentence-transformers' own trainer with its cached ranking loss, all of the same
    backbone. One table after equal steps (the same triplets), one after equal tokens, one after equal seconds,
    each with mean and standard deviation over seeds. The budget of a run is --training.steps.

    Stopped or killed, the same command goes on and repeats no finished run; `moon2 ablate` with the same
    FOLDER and settings takes over the runs that both need.

    example:
      moon2 compare data/shop --out runs/compare --config recipes/tiny.yaml --training.steps 100 --at_once 2
    """
    from moon2.experiments.variants import OURS, peers

    experiment = _experiment(typed)
    variants = _chosen(_installed(peers(experiment.recipe)), typed)
    from moon2.experiments.runner import run_same_budget, run_same_steps
    from moon2.experiments.tables import differences_table, means_table, published_table, timing_notes, verdict

    rows = run_same_steps(experiment, variants)
    steps = experiment.recipe.training.steps
    parts = [f"# Same triplets: {steps} steps of {experiment.recipe.training.batch_size}", "", means_table(rows), ""]
    parts += [verdict(rows), "", differences_table(rows), ""]
    wanted = len(variants) * len(experiment.seeds)
    found = len(rows)
    for budget in typed.get("budgets", BUDGETS) if any(row["variant"] == OURS for row in rows) else ():
        same = run_same_budget(experiment, variants, rows, budget)
        parts += [f"# Same {budget} of training as {OURS}", "", means_table(same), "", verdict(same), ""]
        parts += [timing_notes(same), ""] if budget == "seconds" else []
        wanted, found = wanted + len(variants) * len(experiment.seeds), found + len(same)
    _write(experiment, "compare.md", [*parts, published_table(variants)])
    _require_all(found, wanted)


def _ablate_arguments(parser: ArgumentParser) -> None:
    labels = "Parquet of known false purchases (query_id, purchase_is_noise), such as a generated shop's noise.parquet"
    parser.add_argument("--noise_labels", metavar="FILE", help=labels)
    noise = "shares of false purchases in the training log to try with and without the filter, such as 0 0.3"
    parser.add_argument("--noise", type=float, nargs="*", default=[], help=noise)
    _common_arguments(parser)


def _ablate(typed: Namespace) -> None:
    """Trains MOON2.0 whole and without each of its parts, to see what each is worth on your data.

    Without experts (dense, of equal active and of equal total size; a pretrained backbone keeps its own),
    without alignment between or within products, without learned weights, without filtering, and with or
    without co-augmentation where the catalog was augmented; with --noise also on logs with chosen shares
    of false purchases. Mean and standard deviation over seeds, the published table beside. The budget of a
    run is --training.steps.

    Stopped or killed, the same command goes on and repeats no finished run.

    example:
      moon2 ablate data/shop --out runs/compare --config recipes/tiny.yaml --training.steps 100 --at_once 2 \\
        --noise 0 0.3 --noise_labels data/shop/noise.parquet
    """
    from moon2.catalog.store import Catalog
    from moon2.experiments.noisy_log import read_noise_labels
    from moon2.experiments.variants import ablations

    labels = typed.get("noise_labels")
    experiment = _experiment(typed, read_noise_labels(labels) if labels else frozenset())
    rows = Catalog.open(experiment.data).rows("train", ["enriched_title"])
    added = any(row["enriched_title"] for row in rows)
    shares = typed.get("noise") or []
    if any(not 0 <= share < 1 for share in shares):
        raise UsageError(f"ablate: --noise is {shares}; each must be 0 or more and below 1")
    if 0 in shares and not labels:
        raise UsageError("ablate: --noise 0 takes false purchases out of the log; name them with --noise_labels FILE")
    variants = _chosen(ablations(experiment.recipe, augmentations=added, noise=shares), typed)
    from moon2.experiments.runner import run_same_steps
    from moon2.experiments.tables import differences_table, means_table, published_table, verdict

    found = run_same_steps(experiment, variants)
    steps = experiment.recipe.training.steps
    head = f"# Ablations after {steps} steps of {experiment.recipe.training.batch_size} triplets"
    parts = [head, "", means_table(found), "", verdict(found), "", differences_table(found), ""]
    _write(experiment, "ablate.md", [*parts, published_table(variants)])
    _require_all(len(found), len(variants) * len(experiment.seeds))


def _experiment(typed: Namespace, known_noise: frozenset[str] = frozenset()) -> Experiment:
    from moon2.catalog.store import Catalog
    from moon2.experiments.runner import Experiment
    from moon2.recipe import Recipe, load_recipe

    sections = Recipe.__dataclass_fields__
    given = [(name, value) for name, value in typed.items() if name.partition(".")[0] in sections]
    overrides = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given]
    recipe = load_recipe(typed.get("config"), overrides)
    if not Catalog.open(typed["data"]).interactions("test"):
        raise UsageError(f"{typed['data']}: has no test queries to compare by; make some with `moon2 benchmark build`")
    for what, given in (("--seeds", typed.get("seeds") or []), ("--noise", typed.get("noise") or [])):
        if len(set(given)) < len(given):
            raise UsageError(f"{what} is {' '.join(map(str, given))}; name each once")
    at_once = typed.get("at_once", 1)
    if at_once < 1:
        raise UsageError(f"--at_once is {at_once}; it must be 1 or more")
    return Experiment(
        folder=Path(typed["out"]),
        data=Path(typed["data"]),
        recipe=recipe,
        seeds=typed.get("seeds") or [0, 1, 2],
        at_once=at_once,
        known_noise=known_noise,
        command=shlex.join(["moon2", *sys.argv[1:]]),
    )


def _chosen(variants: list[Variant], typed: Namespace) -> list[Variant]:
    wanted = typed.get("only")
    if not wanted:
        return variants
    names = [variant.name for variant in variants]
    for name in wanted:
        if name not in names:
            raise UsageError(f"--only: there is no variant {name!r}; there are {', '.join(map(repr, names))}")
    return [variant for variant in variants if variant.name in wanted]


def _installed(variants: list[Variant]) -> list[Variant]:
    if find_spec("sentence_transformers"):
        return variants
    print("moon2: left out sentence-transformers, which is not installed; pip install 'moon2[peers]'", file=sys.stderr)
    return [variant for variant in variants if variant.name != "sentence-transformers"]


def _require_all(made: int, wanted: int) -> None:
    from moon2.experiments.runner import ExperimentError

    if made < wanted:
        failed = f"{wanted - made} of {wanted} runs failed, the lines above say why"
        raise ExperimentError(f"{failed}; the tables have the others, and the same command tries these again")


def _write(experiment: Experiment, name: str, parts: list[str]) -> None:
    text = "\n".join(parts).strip()
    (experiment.folder / name).write_text(text + "\n", encoding="utf-8")
    print(text)


BUDGETS = ("tokens", "seconds")
_USAGE = "DATA --out FOLDER [--config RECIPE] [--training.steps N] [--seeds 0 1 2] [--at_once N] [--only NAME …]"
VERBS = {
    "compare": Verb(_compare, _compare_arguments, _USAGE),
    "ablate": Verb(_ablate, _ablate_arguments, f"{_USAGE} [--noise 0 0.3 --noise_labels FILE]"),
}
