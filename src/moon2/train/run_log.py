"""What a run logs: `history.jsonl` (a JSON object a line), TensorBoard, and a progress bar.

After a resume, lines past the checkpoint are dropped, so a resumed run has the same lines as an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

from moon2.files import write_text_atomic
from moon2.progress import progress_bar
from moon2.recipe import TrainingSettings
from moon2.run_folder import RunFolder
from moon2.train.divergence import require_finite_steps
from moon2.train.loading import Loader

logger = logging.getLogger(__name__)


class RunLog:
    """The log of a run that starts, or goes on, after `done` steps; use as a context manager.

    What is logged of a step stays on its device until a line is written. Of several processes that train together only
    one `writes`.

    Attributes:
        loader: of the batches; its own throughput goes into each line.
    """

    def __init__(self, run: RunFolder, settings: TrainingSettings, done: int, *, writes: bool = True) -> None:
        self.run = run
        self.settings = settings
        self.loader: Loader[Any] | None = None
        self._curves: SummaryWriter | None = None
        if writes:
            from torch.utils.tensorboard import SummaryWriter  # slow, and only a run that is under way needs it

            kept = [line for line in run.read_history() if line["step"] <= done]
            write_text_atomic(run.history, "".join(_json_line(line) for line in kept))
            self._curves = SummaryWriter(str(run.tensorboard), purge_step=done + 1)
        self._bar: tqdm[None] = progress_bar(
            disable=not writes,
            total=settings.steps,
            initial=done,
            desc="train",
            unit="steps",
            dynamic_ncols=True,
            mininterval=0.2,
        )
        self._parts: dict[str, list[Tensor]] = {}
        self._triplets = 0
        self._clock = time.monotonic()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._curves is not None:
            self._curves.close()

    def add_step(self, step: int, parts: Mapping[str, Tensor], triplets: int) -> None:
        """Adds what one step gave; writes a line at the first step, every `log_every`, at checkpoints and at the end.

        A line holds the mean of each part over the steps since the last one; a part that no batch had, such as the loss
        of an objective without samples, is left out.

        Args:
            step: steps done, this one included.
            parts: scalars, among them "loss" and "grad_norm"; NaN where the batch had no such part.
            triplets: in the batch.

        Raises:
            DivergenceError: a line is due, and one of its losses or gradients is not finite.
        """
        for name, value in parts.items():
            self._parts.setdefault(name, []).append(value.detach())
        self._triplets += triplets
        self._bar.update()
        if (
            step in (1, self.settings.steps)
            or not step % self.settings.log_every
            or not step % self.settings.save_every
        ):
            self.require_finite(step)
            means = {name: float(torch.stack(values).float().nanmean()) for name, values in self._parts.items()}
            line = {name: value for name, value in means.items() if not math.isnan(value)}
            seconds = max(time.monotonic() - self._clock, 1e-9)
            line["triplets_per_second"] = self._triplets / seconds
            if self.loader is not None:
                line |= self.loader.report(seconds)
            self.write(step, line)
            shown = {"loss": f"{means['loss']:.3f}", "triplets/s": f"{line['triplets_per_second']:.1f}"}
            self._bar.set_postfix(shown, refresh=False)
            self._parts, self._triplets, self._clock = {}, 0, time.monotonic()

    def require_finite(self, step: int) -> None:
        """Checks the steps since the last line; for what is done between two of them.

        Raises:
            DivergenceError: see `require_finite_steps`.
        """
        if self._parts:
            require_finite_steps(self._parts["loss"], self._parts["grad_norm"], step)

    def write(self, step: int, line: Mapping[str, float]) -> None:
        """Writes one line as it is."""
        if self._curves is None:
            return
        with self.run.history.open("a", encoding="utf-8") as file:
            file.write(_json_line({"step": step, **line}))
        for name, value in line.items():
            self._curves.add_scalar(name, value, step)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time within the block does not count for the throughput."""
        started = time.monotonic()
        yield
        self._clock += time.monotonic() - started


def _json_line(values: Mapping[str, float]) -> str:
    return json.dumps(values, ensure_ascii=False) + "\n"
