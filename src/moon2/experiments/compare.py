"""`moon2 compare` and `moon2 ablate`: what the method is worth on your data."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from moon2.catalog.store import Catalog
from moon2.experiments.noisy_log import read_noise_labels
from moon2.experiments.paired import paired_table
from moon2.experiments.runner import Experiment, ExperimentError, run_same_budget, run_same_steps
from moon2.experiments.tables import (
    differences_table,
    means_table,
    published_table,
    timing_notes,
    verdict,
    words_table,
)
from moon2.experiments.variants import OURS, Variant, ablations, peers
from moon2.files import write_text_atomic
from moon2.recipe import Recipe

Budget = Literal["tokens", "seconds"]
logger = logging.getLogger(__name__)


def compare(
    data: Path,
    *,
    out: Path,
    recipe: Recipe,
    seeds: tuple[int, ...] = (0, 1, 2),
    at_once: int = 1,
    only: tuple[str, ...] = (),
    budgets: tuple[Budget, ...] = ("tokens", "seconds"),
) -> str:
    """Compare MOON2.0 with its peers, trained on the same data.

    Peers: a CLIP-style dual encoder, a single InfoNCE as in VLM2Vec, MOON's fixed 12:3:2 mixture of modalities, and
    sentence-transformers' own trainer with its cached ranking loss, all of the same backbone. One table after equal
    steps (the same triplets), one after equal tokens, one after equal seconds, each with mean and standard deviation
    over seeds. After equal steps, MOON2.0 less each peer too, query by query, with 95 % intervals. The budget of a run
    is --training.steps.

    Stopped or killed, the same command goes on and repeats no finished run. `moon2 ablate` with the same folder and
    settings takes over the runs that both need.

    example:
      moon2 compare data/shop --out runs/compare --config recipes/tiny.yaml --training.steps 100 --at_once 2

    Args:
        data: folder of a catalog with test queries.
        out: folder that gets results.json, the tables and the runs.
        recipe: the whole method.
        seeds: each variant is trained with each.
        at_once: runs side by side; if several, with one thread each.
        only: only these variants, named as in the table.
        budgets: further tables. A variant that needs more or less than MOON2.0 is trained anew for as many steps as
            fit. Name none for the table of equal steps alone.

    Raises:
        ExperimentError: a setting cannot be used, the folder holds another experiment, or a run failed.
    """
    experiment = _experiment(data, out, recipe, seeds, at_once)
    variants = _choose(_installed(peers(recipe)), only)
    rows = run_same_steps(experiment, variants)
    training = recipe.training
    parts = [f"# Same triplets: {training.steps} steps of {training.batch_size}", "", means_table(rows), ""]
    parts += [verdict(rows), "", differences_table(rows), "", paired_table(out, rows), "", words_table(rows), ""]
    wanted = len(variants) * len(seeds)
    done = len(rows)
    for budget in budgets if any(row["variant"] == OURS for row in rows) else ():
        same = run_same_budget(experiment, variants, rows, budget)
        parts += [f"# Same {budget} of training as {OURS}", "", means_table(same), "", verdict(same), ""]
        parts += [timing_notes(same), ""] if budget == "seconds" else []
        wanted, done = wanted + len(variants) * len(seeds), done + len(same)
    return _write(experiment, "compare.md", [*parts, published_table(variants)], wanted - done)


def ablate(
    data: Path,
    *,
    out: Path,
    recipe: Recipe,
    seeds: tuple[int, ...] = (0, 1, 2),
    at_once: int = 1,
    only: tuple[str, ...] = (),
    noise: tuple[float, ...] = (),
    noise_labels: Path | None = None,
) -> str:
    """Train MOON2.0 whole and without each of its parts.

    Without experts (dense, of equal active and of equal total size; a pretrained backbone keeps its own), without
    alignment between or within products, without learned weights, without filtering, and with or without
    co-augmentation where the catalog was augmented; with --noise also on logs with chosen shares of false purchases.
    Mean and standard deviation over seeds, differences query by query with 95 % intervals, the published table beside.
    The budget of a run is --training.steps.

    Stopped or killed, the same command goes on and repeats no finished run.

    example:
      moon2 ablate data/shop --out runs/compare --config recipes/tiny.yaml --training.steps 100 --at_once 2 \\
        --noise 0 0.3 --noise_labels data/shop/noise.parquet

    Args:
        data: folder of a catalog with test queries.
        out: folder that gets results.json, the tables and the runs.
        recipe: the whole method.
        seeds: each variant is trained with each.
        at_once: runs side by side; if several, with one thread each.
        only: only these variants, named as in the table.
        noise: shares of false purchases in the training log to try with and without the filter, such as 0 0.3.
        noise_labels: Parquet of known false purchases (query_id, purchase_is_noise), such as a generated shop's
            noise.parquet.

    Raises:
        ExperimentError: a setting cannot be used, the folder holds another experiment, or a run failed.
    """
    if any(not 0 <= share < 1 for share in noise):
        raise ExperimentError(f"--noise is {_words(noise)}; each must be 0 or more and below 1")
    if 0 in noise and noise_labels is None:
        raise ExperimentError("--noise 0 takes false purchases out of the log; name them with --noise_labels FILE")
    _require_distinct("--noise", noise)
    known_noise = read_noise_labels(noise_labels) if noise_labels else frozenset()
    experiment = _experiment(data, out, recipe, seeds, at_once, known_noise)
    augmented = any(row["enriched_title"] for row in Catalog.open(data).rows("train", ["enriched_title"]))
    variants = _choose(ablations(recipe, augmented=augmented, noise=noise), only)
    rows = run_same_steps(experiment, variants)
    training = recipe.training
    head = f"# Ablations after {training.steps} steps of {training.batch_size} triplets"
    parts = [head, "", means_table(rows), "", verdict(rows), "", differences_table(rows), ""]
    parts += [paired_table(out, rows), "", words_table(rows), ""]
    return _write(experiment, "ablate.md", [*parts, published_table(variants)], len(variants) * len(seeds) - len(rows))


def _experiment(
    data: Path,
    out: Path,
    recipe: Recipe,
    seeds: Sequence[int],
    at_once: int,
    known_noise: frozenset[str] = frozenset(),
) -> Experiment:
    if not Catalog.open(data).interactions("test"):
        raise ExperimentError(f"{data}: has no test queries to compare by; make some with `moon2 benchmark build`")
    if not seeds:
        raise ExperimentError("--seeds is empty; name one at least, such as 0")
    _require_distinct("--seeds", seeds)
    if at_once < 1:
        raise ExperimentError(f"--at_once is {at_once}; it must be 1 or more")
    command = shlex.join(["moon2", *sys.argv[1:]])
    return Experiment(out, data, recipe, seeds, at_once, known_noise, command)


def _require_distinct(option: str, values: Sequence[float]) -> None:
    if len(set(values)) < len(values):
        raise ExperimentError(f"{option} is {_words(values)}; name each once")


def _words(values: Sequence[float]) -> str:
    return " ".join(map(str, values))


def _choose(variants: list[Variant], only: Sequence[str]) -> list[Variant]:
    names = [variant.name for variant in variants]
    for name in only:
        if name not in names:
            raise ExperimentError(f"--only: there is no variant {name!r}; there are {', '.join(map(repr, names))}")
    return [variant for variant in variants if variant.name in only or not only]


def _installed(variants: list[Variant]) -> list[Variant]:
    if find_spec("sentence_transformers"):
        return variants
    logger.warning("left out sentence-transformers, which is not installed; pip install 'moon2[peers]'")
    return [variant for variant in variants if variant.name != "sentence-transformers"]


def _write(experiment: Experiment, name: str, parts: list[str], failed: int) -> str:
    text = "\n".join(parts).strip()
    file = experiment.folder / name
    write_text_atomic(file, text + "\n")
    if failed:
        raise ExperimentError(
            f"{failed} runs failed, the lines above say why; {file} has the tables of the others, and the same command "
            f"tries these again"
        )
    return text
