"""Run by `torchrun`: the gradients of the mixed batch by several processes, saved by the first of them.

Arguments: a folder. For each case NAME.pt is written, `placement-RANK.json` and `placement-LoRA-RANK.json` with how the
sharded weights lie, and `threads-RANK.json` with the names of the threads that are left when Python ends.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from moon2.train.processes import Processes
from support.mixed_batch import encoder_for_gradients, gradients, mixed_triplets

# Name: whether weights are sharded, tokens of a chunk, the share of recomputed blocks, and what the triplets lack. A
# name with "LoRA": adapters are trained. A word of SETTINGS in a name: the recipe has those settings too.
CASES: dict[str, tuple[bool, int | None, float, dict[str, Any]]] = {
    "whole": (False, None, 0.0, {}),
    "whole, chunks": (False, 75, 0.0, {}),
    "whole, one process without images": (False, 75, 0.0, {"images_from": 4}),
    "whole, one process that can read nothing": (False, None, 0.0, {"unreadable": range(4)}),
    "sharded": (True, None, 0.0, {}),
    "sharded, chunks, recomputed": (True, 75, 1.0, {}),
    "sharded, one process without images": (True, 75, 0.0, {"images_from": 4}),
    "sharded, one process that can read nothing": (True, 75, 0.0, {"unreadable": range(4)}),
    "minimax, chunks": (False, 75, 0.0, {}),
    "minimax_routing, chunks": (False, 75, 0.0, {"images_from": 4}),
    "taught, chunks": (False, 75, 0.0, {}),
    "taught, sharded, one process that can read nothing": (True, 75, 0.0, {"unreadable": range(4)}),
    "LoRA": (False, 75, 0.0, {}),
    "LoRA sharded": (True, 75, 1.0, {"images_from": 4}),
}
SETTINGS = {f"{mode},": f"alignment.balance={mode}" for mode in ("minimax", "minimax_routing")}
SETTINGS["taught,"] = "training.teacher=[random]"


def settings_of(case: str) -> list[str]:
    """Of the recipe of a case."""
    return [setting for word, setting in SETTINGS.items() if word in case]


def note_threads(file: Path) -> None:
    """Writes the names of this process's threads."""
    file.write_text(json.dumps([each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]))


def main(folder: Path) -> None:
    """All cases, one after another."""
    # What is registered first is called last.
    atexit.register(note_threads, folder / f"threads-{os.environ['RANK']}.json")
    torch.set_num_threads(1)
    with Processes.start() as processes:
        for sharded, lora in product((False, True), (False, True)):
            encoder = encoder_for_gradients(lora=lora)
            if sharded:
                processes.shard(encoder.model, bf16=False)
            if sharded:
                placement = {
                    name: (str(weights.placements[0]), weights.to_local().numel())
                    for name, weights in encoder.model.named_parameters()
                    if isinstance(weights, DTensor)
                }
                modules = [name for name, module in encoder.model.named_modules() if isinstance(module, FSDPModule)]
                (folder / f"placement{'-LoRA' * lora}-{processes.rank}.json").write_text(
                    json.dumps([placement, modules])
                )
            for name, (is_sharded, tokens, checkpointed, lacking) in CASES.items():
                if (is_sharded, "LoRA" in name) == (sharded, lora):
                    triplets = mixed_triplets(**lacking)
                    settings = settings_of(name)
                    found = gradients(
                        encoder, triplets, processes, *settings, chunk_tokens=tokens, checkpointed=checkpointed
                    )
                    if processes.is_first:
                        torch.save([found.loss, found.log, found.of], folder / f"{name}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
