"""Ray below the pipeline: a cluster joined or started, and the pools of workers that parts stream through.

Stages that compute here share the workers; a stage that waits for a server, or wants a GPU, gets workers of its own, so
that on a cluster each kind runs where its resources are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from moon2.augment.prompts import PromptError
from moon2.augment.settings import AugmentationError, CoAugmentationSettings
from moon2.catalog.schema import CatalogError
from moon2.errors import UserError
from moon2.jobs.shards import Part, Work, read_part, write_part

Row = dict[str, Any]
"""{"number", "path", "group", "rows"} of a part, and on its way "work"."""
Stage = Callable[[Work], Work]
OBJECT_STORE_BYTES = 400_000_000
"""Shared memory of a local Ray: a few parts under way, each of some megabytes."""
PARTS_AT_ONCE = 2_000
"""Parts that Ray is told of at once: each is a block of its own, and blocks cost the driver memory."""


class StageError(UserError):
    """A provider cannot be used at all; one line."""


@dataclass(frozen=True)
class Pool:
    """Stages that run one after the other in the same workers.

    Attributes:
        names: of the stages: "read", "enrich", "expand", "judge", "write".
        workers: how many.
        cores: each worker's share of cores; less than one for workers that wait for a server.
        gpus: GPUs of each worker; less than one where two pools share them.
    """

    names: tuple[str, ...]
    workers: int
    cores: float
    gpus: float = 0


@contextmanager
def connected(address: str | None, cores: int) -> Iterator[None]:
    """Joins the cluster at `address`, or starts a Ray on this machine that ends with the block.

    Raises:
        AugmentationError: there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    for name in ("ray.data", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)

    if ray.is_initialized():  # somebody else's, who will also end it
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **quiet,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        token = "; if the cluster asks for a token, set RAY_AUTH_MODE=token" if address else ""
        raise AugmentationError(f"augment: no Ray at {address or 'this machine'} ({reason}){token}") from None
    try:
        yield
    finally:
        ray.shutdown()


def pools_for(
    settings: CoAugmentationSettings, judged: bool, workers: int, gpus: int, cores: float | None = None
) -> list[Pool]:
    """Which stages share workers, and what the workers need: never more in all than there is, or Ray waits for ever.

    Args:
        settings: which providers.
        judged: whether the filter runs.
        workers: workers of stages that compute.
        gpus: GPUs there are.
        cores: cores there are; one a worker when not given.
    """
    stages = [("read", "compute")]
    text = {"rules": "compute", "openai": "wait", "transformers": "gpu"}
    images = {"opencv": "compute", "openai": "wait", "diffusers": "gpu"}
    if settings.text.provider != "none":
        stages.append(("enrich", text[settings.text.provider]))
    if settings.images.provider != "none":
        stages.append(("expand", images[settings.images.provider]))
    if judged:
        stages.append(("judge", "gpu"))
    stages.append(("write", "compute"))
    groups: list[tuple[str, list[str]]] = []
    for name, kind in stages:
        kind = "compute" if kind == "gpu" and not gpus else kind
        if groups and (groups[-1][0] == kind or name == "write"):
            groups[-1][1].append(name)
        else:
            groups.append((kind, [name]))
    computing = sum(kind == "compute" for kind, _ in groups)
    # Ray starts a pool only when all its workers find their share of the cores.
    each = min(1.0, (cores or workers) / workers)
    share = {"compute": int(9_000 * each / max(computing, 1)) / 10_000, "wait": 0.01, "gpu": 0.01}
    number = {"compute": workers, "wait": 1, "gpu": max(gpus, 1)}
    on_gpu = sum(kind == "gpu" for kind, _ in groups)
    return [Pool(tuple(names), number[kind], share[kind], (kind == "gpu") / max(on_gpu, 1)) for kind, names in groups]


def worker_pools(
    parts: list[Part], folder: Path, settings: CoAugmentationSettings, threshold: float | None, workers: int | None
) -> Iterator[Row]:
    """Streams parts through the pools; gives each that is written, as it comes.

    Args:
        parts: to be done.
        folder: where they are written.
        settings: what is made.
        threshold: of the filter, None without one.
        workers: workers of each stage that computes; one a core of the cluster when not given.

    Raises:
        StageError: a provider cannot be used, or a part cannot be read or written.
    """
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    there: dict[str, float] = ray.cluster_resources()
    cores = float(there.get("CPU", 1))
    pools = pools_for(settings, threshold is not None, workers or max(int(cores), 1), int(there.get("GPU", 0)), cores)
    for first in range(0, len(parts), PARTS_AT_ONCE):
        yield from _stream(parts[first : first + PARTS_AT_ONCE], pools, folder, settings, threshold)


def _stream(
    parts: list[Part], pools: list[Pool], folder: Path, settings: CoAugmentationSettings, threshold: float | None
) -> Iterator[Row]:
    import ray.data

    rows = [{"number": p.number, "path": p.path, "group": p.group, "rows": p.rows} for p in parts]
    dataset: Any = ray.data.from_items(rows, override_num_blocks=len(rows))  # its types know no classes as functions
    for pool in pools:
        dataset = dataset.map(
            Worker,
            fn_constructor_args=(pool.names, str(folder), settings, threshold),
            num_cpus=pool.cores,
            num_gpus=pool.gpus or None,
            compute=ray.data.ActorPoolStrategy(size=pool.workers, max_tasks_in_flight_per_actor=2),
        )
    for row in dataset.iter_rows():
        if row.get("error"):
            raise StageError(row["error"])
        yield row


class Worker:
    """The stages of a pool, made once in a worker process."""

    def __init__(
        self, names: tuple[str, ...], folder: str, settings: CoAugmentationSettings, threshold: float | None
    ) -> None:
        from moon2.augment import stages

        stages.one_thread()
        self.folder = Path(folder)
        self.names = names
        self.error = ""
        makers: dict[str, Callable[[], Stage]] = {
            "enrich": partial(stages.EnrichStage, settings),
            "expand": partial(stages.ExpandStage, settings),
        }
        if threshold is not None:
            makers["judge"] = partial(stages.JudgeStage, settings, threshold)
        self.stages: list[Stage] = []
        self.fatal = stages.FATAL
        try:
            self.stages = [makers[name]() for name in names if name in makers]
        except (*stages.FATAL, PromptError, AugmentationError) as error:
            self.error = " ".join(str(error).split())

    def __call__(self, row: Row) -> Row:
        """Takes a part through the stages; an error that would be every part's is handed on, to end the run."""
        if self.error or row.get("error"):
            return {**_plain(row), "error": self.error or row["error"]}
        try:
            work = read_part(row["path"], row["group"]) if "read" in self.names else row["work"]
            for stage in self.stages:
                work = stage(work)
            if "write" in self.names:
                write_part(self.folder, row["number"], work)
                return _plain(row)
        except (*self.fatal, CatalogError, OSError) as error:  # a damaged source, or no room
            self.error = " ".join(str(error).split())
            return {**_plain(row), "error": self.error}
        return {**_plain(row), "work": work}


def _plain(row: Row) -> Row:
    return {name: row[name] for name in ("number", "path", "group", "rows")} | {"error": ""}
