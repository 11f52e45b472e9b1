"""What a recipe is said to take is what a real step of it takes, and the largest recipes fit the GPUs they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image
from support.tiny_checkpoints import write_checkpoint

from moon2 import Encoder
from moon2.model.item_batch import ItemBatch
from moon2.model.processor import Item
from moon2.recipe import Recipe
from moon2.train.batches import ChunkLayout, TripletExample, TripletOutline, collate
from moon2.train.dry_step import plan_run
from moon2.train.gradcache import add_gradients
from moon2.train.memory import MemoryMeter
from moon2.train.optimizer import make_optimizer
from moon2.train.processes import Processes
from moon2.train.step import triplet_loss

# Every text is cut at 16 tokens, and every image is one of as many visual tokens as 1,024 pixels allow.
SIZES = ("input.max_text_tokens=16", "input.max_pixels=1024", "training.batch_size=16")
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "checkpointed": ("training.activation_checkpointing=1",),
    "chunks": ("training.chunk_tokens=200",),
    "chunks-checkpointed": ("training.chunk_tokens=200", "training.activation_checkpointing=1"),
    "bf16": ("training.bf16=true",),
    "adamw_bf16": ("training.optimizer=adamw_bf16", "backbone.dtype=bfloat16"),
    "muon": ("training.optimizer=muon",),
}


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


def measured(recipe: Recipe) -> int:
    """The most bytes of live tensors in the second step of a real run."""
    encoder, settings = Encoder.from_recipe(recipe, ["navy shirt", "red shoes"]), recipe.training
    model, processes = encoder.model.train(), Processes(0, 1, torch.device("cpu"))
    model.checkpoint_activations(settings.activation_checkpointing)
    examples = triplets(settings.batch_size)
    layout = ChunkLayout(encoder.processor, tokens=settings.chunk_tokens)
    batch = collate(examples, [[example.outline for example in examples]], layout)
    batch.chunks = [cast(ItemBatch, OnHost(chunk)) for chunk in batch.chunks]
    optimizer, trained = make_optimizer(model, settings), list(model.parameters())
    with MemoryMeter() as meter:
        meter.add([*trained, *model.buffers()])
        for step in range(2):
            precision = torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16)
            add_gradients(model, batch, triplet_loss, recipe, step, processes, precision)
            processes.average_gradients(trained)
            processes.clip_gradients(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return meter.peak


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("backbone", ["tiny", "qwen3_vl", "smolvlm"])
def test_a_step_takes_what_was_planned(
    backbone: str, settings: Sequence[str], small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    name = backbone if backbone == "tiny" else str(write_checkpoint(backbone, tmp_path / backbone))
    recipe = small_recipe(*SIZES, f"backbone.name={name}", *settings)
    expected = measured(recipe)
    print(plan_run(recipe, gpu=False).peak / expected, expected)
    assert plan_run(recipe, gpu=False).peak == pytest.approx(expected, rel=0.15)
