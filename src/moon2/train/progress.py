"""One progress bar for a run: steps, the last loss and triplets a second, in place of a dictionary a line.

It goes to standard error, so that standard output carries results alone.
"""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# A log file gets a line now and then, a terminal a moving bar.
SECONDS_BETWEEN_LINES = 30.0


class TrainingBar(TrainerCallback):
    """Draws the bar; evaluations during training leave a line above it."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Starts at the step of the checkpoint, when there is one."""
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="train",
                unit="step",
                dynamic_ncols=True,
                mininterval=0.2 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES,
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Moves the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Shows the loss and the speed, or the score of an evaluation."""
        if self.bar is None or not logs:
            return
        if "loss" in logs:
            shown = {"loss": f"{logs['loss']:.3f}"}
            if "triplets_per_second" in logs:
                shown["triplets/s"] = f"{logs['triplets_per_second']:.1f}"
            self.bar.set_postfix(shown, refresh=False)
        if "eval/score" in logs:
            tqdm.write(f"step {state.global_step}: mean R@10 {logs['eval/score']:.1f}", file=sys.stderr)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Closes the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
