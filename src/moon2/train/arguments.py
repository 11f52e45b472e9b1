"""What every trainer built on `transformers.Trainer` is told alike, so that two of them differ only in their method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from moon2.recipe import TrainingSettings


def common_arguments(settings: TrainingSettings, folder: Path) -> dict[str, Any]:
    """Keyword arguments of `TrainingArguments` for a run in `folder`."""
    return {
        "output_dir": str(folder / "checkpoints"),
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup_steps,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        # A shorter memory of gradients' sizes than the usual 0.999: these runs are of hundreds of steps.
        "adam_beta2": 0.99,
        "bf16": settings.bf16,
        # The trainer refuses mixed precision on a CPU that it was not told to use.
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "steps",
        "save_steps": settings.save_every,
        "save_total_limit": 2,
        "logging_steps": settings.log_every,
        "logging_first_step": True,
        "seed": settings.seed,
        "disable_tqdm": False,
    }
