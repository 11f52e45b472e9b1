"""What a run logged, whole again after a kill and a resume: `history.jsonl`, a JSON object a line, and TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

from moon2.files import write_text_atomic


class HistoryFile(TrainerCallback):
    """Writes each line of the log as one JSON object; after a resume, lines past the checkpoint are dropped first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.path.exists():
            kept = [line for line in read_history(self.path) if line["step"] <= state.global_step]
            write_text_atomic(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # A line of the log averages the steps since the one before; where one ends at every checkpoint, a resumed run
        # has the same lines as an uninterrupted one.
        if state.global_step % int(args.save_steps) == 0:
            control.should_log = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": state.global_step, **(logs or {})}, ensure_ascii=False) + "\n")


class Curves(TensorBoardCallback):
    """TensorBoard's event files; after a resume, what an earlier attempt logged past the checkpoint is hidden."""

    def __init__(self, folder: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self.folder = folder

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow, and only a run that is under way needs it

        if state.is_world_process_zero:
            self.tb_writer = SummaryWriter(str(self.folder), purge_step=state.global_step + 1)


def read_history(path: str | Path) -> list[dict[str, float]]:
    """The lines of a run's `history.jsonl`; a last line cut short by a kill is left out."""
    lines = []
    for line in Path(path).read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines
