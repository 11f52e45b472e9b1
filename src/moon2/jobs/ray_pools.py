"""A job on Ray: shards stream through pools of workers, so memory holds the shards under way and nothing else.

Stages with the same needs share workers. Those that wait for a server, or use a GPU, have workers of their own, so that
on a cluster each kind runs where its resources are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from moon2.errors import UserError, one_line
from moon2.jobs.shards import JobError, JobFolder, Shard

OBJECT_STORE_BYTES = 400_000_000
"""Shared memory of a local Ray: a few shards under way, each of some megabytes."""
SHARDS_AT_ONCE = 2_000
"""Shards in one Ray dataset: each is a block of its own, and blocks cost the driver memory."""

Needs = Literal["cpu", "gpu", "server", "any"]


@dataclass(frozen=True)
class Stage:
    """A step of a job.

    Attributes:
        make: makes the step in each worker, once; it is then called with the data of one shard after the other. The
            first step gets a list of `Product`, the last returns `Tables`. `make` must be picklable.
        needs: "cpu", "gpu" (a CPU where there is none), "server" (it waits for another machine), or "any": it runs
            with the stage before it.
    """

    make: Callable[[], Callable[[Any], Any]]
    needs: Needs = "cpu"


@dataclass(frozen=True)
class Pool:
    """Stages that run one after the other in the same workers.

    Attributes:
        stages: in order.
        workers: how many.
        cpus, gpus: share of each worker; less than one where workers share them, or wait for a server.
    """

    stages: tuple[Stage, ...]
    workers: int
    cpus: float
    gpus: float


def run_stages(
    shards: Sequence[Shard], stages: Sequence[Stage], folder: JobFolder, *, address: str | None, workers: int | None
) -> Iterator[Shard]:
    """Takes shards through the stages and writes what the last one returns; gives each finished shard as it comes.

    Args:
        shards: what is to be done.
        stages: in order.
        folder: where finished shards are written.
        address: of a Ray cluster; None for a Ray of this machine that ends with the job.
        workers: workers of each pool on CPUs; one a CPU when not given.

    Raises:
        JobError: as `require_workers`; there is no Ray; or a stage raised a `UserError` or an `OSError`, whose message
            it has.
    """
    require_workers(workers)
    with connect(address, workers or os.cpu_count() or 1):
        import ray
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        resources: dict[str, float] = ray.cluster_resources()
        cpus = float(resources.get("CPU", 1))
        pools = plan_pools(stages, workers or max(int(cpus), 1), cpus, int(resources.get("GPU", 0)))
        for first in range(0, len(shards), SHARDS_AT_ONCE):
            yield from _stream(shards[first : first + SHARDS_AT_ONCE], pools, folder)


def require_workers(workers: int | None) -> None:
    """Refuses a number of workers that is none.

    Raises:
        JobError: it is below 1.
    """
    if workers is not None and workers < 1:
        raise JobError(f"--workers is {workers}; give 1 or more, or leave it out for one a CPU")


@contextmanager
def connect(address: str | None, cpus: int) -> Iterator[None]:
    """Joins the cluster at `address`, or starts a Ray on this machine that ends with the block.

    Raises:
        JobError: there is no cluster at the address, or Ray cannot be started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    for name in ("ray.data", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)

    if ray.is_initialized():  # by the caller, who will also end it
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if not address:
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(address=address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = one_line(error)
        token = "; if the cluster asks for a token, set RAY_AUTH_MODE=token" if address else ""
        raise JobError(f"no Ray at {address or 'this machine'} ({reason}){token}") from None
    try:
        yield
    finally:
        ray.shutdown()


def plan_pools(stages: Sequence[Stage], workers: int, cpus: float, gpus: int) -> list[Pool]:
    """Which stages share workers, and what the workers get: never more in all than there is, or Ray waits for ever.

    Args:
        stages: in order.
        workers: workers of each pool on CPUs.
        cpus, gpus: what there is.
    """
    kinds: list[str] = []
    for stage in stages:
        kind = kinds[-1] if stage.needs == "any" else stage.needs
        kinds.append("cpu" if kind == "gpu" and not gpus else kind)
    groups = [(kind, list(members)) for kind, members in groupby(zip(kinds, stages, strict=True), lambda pair: pair[0])]
    # A tenth is left to the workers that wait. Ray counts in ten-thousandths.
    share = int(9_000 * min(1.0, cpus / workers) / max(1, sum(kind == "cpu" for kind, _ in groups))) / 10_000
    gpu_pools = sum(kind == "gpu" for kind, _ in groups)
    pools = []
    for kind, members in groups:
        number = {"cpu": workers, "server": 1, "gpu": gpus}[kind]
        gpu_share = 1 / gpu_pools if kind == "gpu" else 0.0
        pools.append(Pool(tuple(stage for _, stage in members), number, share if kind == "cpu" else 0.01, gpu_share))
    return pools


def _stream(shards: Sequence[Shard], pools: Sequence[Pool], folder: JobFolder) -> Iterator[Shard]:
    import ray.data

    rows = [{"shard": asdict(shard), "error": ""} for shard in shards]
    dataset: Any = ray.data.from_items(rows, override_num_blocks=len(rows))  # its types know no classes as functions
    for pool in pools:
        dataset = dataset.map(
            _Worker,
            fn_constructor_args=(pool.stages, folder if pool is pools[-1] else None),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            compute=ray.data.ActorPoolStrategy(size=min(pool.workers, len(rows)), max_tasks_in_flight_per_actor=2),
        )
    for row in dataset.iter_rows():
        if row["error"]:
            raise JobError(row["error"])
        yield Shard(**row["shard"])


class _Worker:
    """The stages of a pool in one process. The last pool has the folder, and writes.

    An error that would be every shard's is handed on in the row, because Ray would print its traceback.
    """

    def __init__(self, stages: Sequence[Stage], folder: JobFolder | None) -> None:
        self._folder = folder
        self._steps: list[Callable[[Any], Any]] = []
        self._error = ""
        try:
            self._steps = [stage.make() for stage in stages]
        except UserError as error:
            self._error = " ".join(str(error).split())

    def __call__(self, row: dict[str, Any]) -> dict[str, object]:
        shard = Shard(**row["shard"])
        result = {"shard": row["shard"], "error": row["error"] or self._error}
        if result["error"]:
            return result
        try:
            data: Any = row["data"] if "data" in row else shard.read()
            for step in self._steps:
                data = step(data)
            if self._folder is None:
                return result | {"data": data}
            self._folder.write(shard.number, data)
        except (UserError, OSError) as error:  # such as a damaged source, or no room
            self._error = result["error"] = " ".join(str(error).split())
        return result
