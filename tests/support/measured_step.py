"""The most bytes of live tensors in a real step of training; by several processes when run by `torchrun`.

Arguments of the command: a recipe, and a file for what the first process measured.
"""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image

from moon2 import Encoder
from moon2.model.freezing import freeze
from moon2.model.item_batch import ItemBatch
from moon2.model.items import Item
from moon2.model.lora import add_lora
from moon2.recipe import Recipe, load_recipe
from moon2.train.batches import ChunkLayout, TripletExample, TripletOutline, collate
from moon2.train.gradcache import add_gradients
from moon2.train.memory import MemoryMeter
from moon2.train.optimizer import make_optimizer
from moon2.train.processes import Processes
from moon2.train.step import triplet_loss

SIZES = ("input.max_text_tokens=16", "input.max_pixels=1024", "training.batch_size=16")
"""Every text is cut at 16 tokens, and every image is one of as many visual tokens as 1,024 pixels allow."""


def triplets(count: int) -> list[TripletExample]:
    """No two items alike."""
    examples = []
    for number in range(count):
        colours = [(number, kind, 100) for kind in range(3)]
        items = [Item("navy shirt " * 20, [Image.new("RGB", (32, 32), colour)]) for colour in colours]
        names = (f"p{number}", f"n{number}")
        examples.append(TripletExample(*items, TripletOutline(*names, frozenset(names[:1]), names, names)))
    return examples


class OnHost:
    """A chunk that is copied to the device when it is needed, as to a GPU."""

    def __init__(self, chunk: ItemBatch) -> None:
        self.chunk = chunk

    def to(self, device: torch.device) -> ItemBatch:
        return cast(ItemBatch, copied(self.chunk))


def copied(part: Any) -> Any:
    """All tensors anew."""
    if isinstance(part, torch.Tensor):
        return part.clone()
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{field.name: copied(getattr(part, field.name)) for field in fields(part)})
    if isinstance(part, dict):
        return {name: copied(each) for name, each in part.items()}
    return [copied(each) for each in part] if isinstance(part, list) else part


def measured(recipe: Recipe, processes: Processes | None = None) -> int:
    """Bytes at the largest moment of two steps, on the device of the first process."""
    processes = processes or Processes(0, 1, torch.device("cpu"))
    encoder, settings = Encoder.from_recipe(recipe, ["navy shirt", "red shoes"]), recipe.training
    model = encoder.model.train()
    freeze(model, settings.freeze)
    if recipe.lora.rank:
        add_lora(model, recipe.lora)
    model.checkpoint_activations(settings.activation_checkpointing)
    if settings.shard_weights:
        processes.shard(model, bf16=settings.bf16)
    examples = triplets(settings.batch_size)
    bounds = [round(len(examples) * rank / processes.count) for rank in range(processes.count + 1)]
    shares = [examples[start:end] for start, end in pairwise(bounds)]
    layout = ChunkLayout(encoder.processor, tokens=settings.chunk_tokens)
    batch = collate(shares[processes.rank], [[example.outline for example in share] for share in shares], layout)
    batch.chunks = [cast(ItemBatch, OnHost(chunk)) for chunk in batch.chunks]
    optimizer = make_optimizer(model, settings)
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    autocast = settings.bf16 and not settings.shard_weights
    with MemoryMeter() as meter:
        meter.add([*model.parameters(), *model.buffers()])
        for step in range(2):
            precision = torch.autocast("cpu", torch.bfloat16, enabled=autocast)
            add_gradients(model, batch, triplet_loss, recipe, step, processes, precision)
            processes.average_gradients(trained)
            processes.clip_gradients(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return int(meter.peak)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with Processes.start() as together:
        found = measured(load_recipe(sys.argv[1]), together)
        if together.is_first:
            Path(sys.argv[2]).write_text(str(found))
