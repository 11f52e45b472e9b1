"""What a step costs, as far as that can be told without a GPU: number formats, compilation, waiting for the device."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from support.mixed_batch import COLOURS, RECIPE, drawn_triplets, encoder_for_gradients, gradients, item, mixed_triplets
from support.small_recipe import small_recipe
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import moon2
from moon2.model.reference import read_reference, reference_items
from moon2.train.batches import ChunkLayout, collate
from moon2.train.gradcache import add_gradients
from moon2.train.optimizer import make_optimizer
from moon2.train.processes import Processes
from moon2.train.step import triplet_loss

# What asks a GPU for numbers, and so waits until it has done all that it was given.
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::is_nonzero"}

# These ask for numbers too where the index is a mask.
INDEXING = {"aten::index.Tensor", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_experts_are_multiplied_in_bfloat16(weights: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed precision by autocast, or bfloat16 weights: neither may fall back to float32 inside the experts."""
    seen: list[torch.dtype] = []
    product: Callable[..., Tensor] = functional.grouped_mm

    def record(rows: Tensor, stack: Tensor, **options: Any) -> Tensor:
        seen.extend((rows.dtype, stack.dtype))
        return product(rows, stack, **options)

    encoder = encoder_for_gradients()
    encoder.model.backbone.to(weights)
    monkeypatch.setattr(functional, "grouped_mm", record)
    mixed = torch.autocast("cpu", torch.bfloat16) if weights == torch.float32 else nullcontext()
    with mixed:
        views = encoder.model(encoder.item_batch([item("navy shirt", (24, 40))], {"mm"}), {"mm"})
    assert len(seen) == 8 and set(seen) == {torch.bfloat16}
    assert views.vectors["mm"].dtype == torch.float32
    assert views.router_sums.probability.dtype == torch.float32


class _Watch(TorchDispatchMode):
    """Notes every operation that waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        name = operation.name()
        by_mask = name in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        if name in WAITING or by_mask:
            self.found.append(name)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("chunk_tokens", [None, 75])
@pytest.mark.parametrize("balance", ["guarded", "fixed"])
def test_a_step_never_waits_for_the_device(
    chunk_tokens: int | None, balance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Tensor.to

    def to(tensor: Tensor, *target: Any, **options: Any) -> Tensor:
        """As it is, but our own code copies nothing to a device that a step would wait for."""
        is_copied = any(isinstance(each, torch.device) for each in (*target, *options.values()))
        is_ours = Path(moon2.__file__).parent in Path(sys._getframe(1).f_code.co_filename).parents
        assert options.get("non_blocking") or not (is_copied and is_ours)
        return copied(tensor, *target, **options)

    def fetched(tensor: Tensor) -> None:
        raise AssertionError(f"a tensor {tuple(tensor.shape)} is fetched, which waits for the device")

    encoder, recipe = encoder_for_gradients(), small_recipe(*RECIPE, f"alignment.balance={balance}")
    model = encoder.model.train()
    model.checkpoint_activations(0.5)
    examples = mixed_triplets()
    layout = ChunkLayout(encoder.processor, tokens=chunk_tokens)
    batch = collate(examples, [[example.outline for example in examples]], layout)
    optimizer, processes = make_optimizer(model, recipe.training), Processes(0, 1, torch.device("cpu"))
    precision = torch.autocast("cpu", torch.bfloat16)
    for _ in range(2):
        with _Watch() as watch, monkeypatch.context() as patch:
            patch.setattr(Tensor, "to", to)
            for name in ("cpu", "item", "numpy", "tolist"):
                patch.setattr(Tensor, name, fetched)
            add_gradients(model, batch, triplet_loss, recipe, 3, processes, precision)
            processes.average_gradients(model.parameters())
            processes.clip_gradients(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        assert watch.count > 500 and watch.found == []


@pytest.mark.parametrize("lora", [False, pytest.param(True, marks=pytest.mark.long)])
def test_blocks_compile_whole_and_once_for_batches_of_any_length(lora: bool) -> None:
    """Two kinds of block, dense in the vision tower and with experts in the decoder: few graphs serve 50 batches."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    encoder = encoder_for_gradients(lora=lora)
    encoder.model.backbone.to(torch.bfloat16)
    counter = CompileCounterWithBackend("eager")
    encoder.model.train().compile_blocks(counter, whole=True)
    draw = random.Random(0)
    for _ in range(50):
        items = [
            item(
                " ".join([draw.choice(COLOURS), *["very"] * draw.randrange(9)]),
                ((24, 40), (48, 24), None)[number % 3],
            )
            for number in range(draw.randrange(12, 40))
        ]
        views = encoder.model(encoder.item_batch(items, {"t", "i", "mm"}))
        views.vectors["mm"].sum().backward()
    assert counter.frame_count <= 2 + 4
    torch._dynamo.reset()


@pytest.mark.parametrize("is_sharded", [False, pytest.param(True, marks=pytest.mark.long)])
def test_training_in_chunks_compiles_few_graphs(is_sharded: bool, mesh: object) -> None:
    """Batches cut or whole, without and with gradient, recomputed, and validation between: never at torch's limit."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    encoder, recipe = encoder_for_gradients(), small_recipe(*RECIPE)
    model, processes = encoder.model.train(), Processes(0, 1, torch.device("cpu"))
    counter = CompileCounterWithBackend("eager")
    model.checkpoint_activations(1.0)
    model.compile_blocks(counter, whole=True)
    precision: AbstractContextManager[None] = torch.autocast("cpu", torch.bfloat16)
    if is_sharded:
        processes.shard(model, bf16=True)
        precision = nullcontext()
    draw = random.Random(0)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for step in range(3 if is_sharded else 6):
            # Images of one size: on a CPU, unlike a GPU, the vision tower is compiled anew for a number of sizes.
            examples = drawn_triplets(draw)
            layout = ChunkLayout(encoder.processor, tokens=None if step % 3 == 2 else 150, always_images=is_sharded)
            batch = collate(examples, [[example.outline for example in examples]], layout)
            add_gradients(model, batch, triplet_loss, recipe, step, processes, precision)
            model.zero_grad()
            if step == 2:
                with precision:
                    encoder.encode(["navy shirt", "red bag"])
    # Both halves of a decoder block, and a block of the vision tower; each with and without gradient, in a few forms.
    assert counter.frame_count <= 10
    torch._dynamo.reset()


def test_a_model_compiled_in_bfloat16_is_saved_in_float32(tmp_path: Path) -> None:
    torch._dynamo.reset()
    encoder = encoder_for_gradients()
    encoder.model.train().compile_blocks("eager")
    with torch.autocast("cpu", torch.bfloat16):
        views = encoder.model(
            encoder.item_batch([item("navy shirt", (24, 40)), item("red bag", None)], {"t", "i", "mm"})
        )
        views.vectors["mm"].sum().backward()
    encoder.save_pretrained(tmp_path)
    kept, asked = read_reference(tmp_path), [{"text": text, "image": image} for text, image in reference_items()]
    assert kept is not None
    torch._dynamo.reset()
    assert (kept * encoder_for_gradients().encode(asked)).sum(axis=1).min() > 0.9999


def test_compiled_blocks_recompute_what_they_computed() -> None:
    """A block that is compiled and recomputed keeps as many tensors both times, and gives the gradients of neither."""
    torch._dynamo.reset()
    found = []
    for is_compiled in (False, True):
        encoder = encoder_for_gradients()
        encoder.model.backbone.to(torch.bfloat16)
        if is_compiled:
            encoder.model.compile_blocks("aot_eager", whole=True)
        found.append(gradients(encoder, mixed_triplets(), checkpointed=1.0))
    # In bfloat16 a single bias may be off by much; all gradients together point the same way.
    first, second = (torch.cat([each.flatten().float() for each in result.of.values()]) for result in found)
    assert (second - first).norm() < 0.05 * first.norm()
    torch._dynamo.reset()
