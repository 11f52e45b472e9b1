"""How fast a training step is, how much memory it takes, and what each part of the engine gives.

    python benchmarks/training_step.py --shape qwen3-vl-2b --device cuda --json step.json
    python benchmarks/training_step.py --shape tiny --device cpu --data DATA --variants separate padded shared

A step is all of it: forward, the whole loss, backward, clipping, the optimizer. Weights are random, and so are items
unless --data names a catalog: 24 words of two tokens, and an image of 256 visual tokens (`tiny`: 12). On the CPU
variants take turns, round by round, so a machine whose speed drifts slows all; there set OMP_NUM_THREADS to the cores
that are free. Seconds are the median over the rounds.

Variants, each with as many triplets a step as fit it (--triplets for all):

    separate      three passes a triplet: text, image, both
    padded        two passes, each row padded to the longest: the step of commit b8be867
    shared        one pass over packed rows
    checkpointed  the same, activations recomputed
    compiled      the same, blocks compiled (CUDA)
    gradcache     16 times the triplets, in chunks
    lora          the base frozen, adapters trained, in chunks
    dense         no experts, a decoder of twice an expert's inner width: the same active size
    eager         experts one after another

MFU is useful operations (`moon2.train.arithmetic`) a second over the 989e12 of an H100; padding and recomputation are
not useful. `share_of_matrix_rate` sets them beside what one large matrix product reaches on the same device.

It runs from the source tree alone: torch and transformers are all it needs.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from earlier_steps import SeparateBatch
from step_shapes import SHAPES, CatalogTriplets, Shape, Variant, adapt, build, random_triplets, variants
from torch import Tensor

from moon2.model.item_batch import ItemBatch
from moon2.recipe import LoraSettings, Recipe
from moon2.train.arithmetic import useful_operations
from moon2.train.batches import ChunkLayout, TripletBatch, triplet_masks
from moon2.train.gradcache import add_gradients
from moon2.train.memory import MemoryMeter
from moon2.train.optimizer import make_optimizer
from moon2.train.processes import Processes
from moon2.train.step import triplet_loss
from moon2.views import View

H100 = 989e12


class Step:
    """A network, its optimizer and batches; calling it is one step."""

    def __init__(
        self,
        shape: Shape,
        variant: Variant,
        triplets: int,
        device: torch.device,
        bf16: bool,
        source: CatalogTriplets | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.device = device
        self.processes = Processes(0, 1, device)
        self.source = source
        if source is None:
            self.recipe = Recipe()
            self.recipe.training.optimizer = "adamw_bf16" if bf16 else "adamw"
            self.processor, self.model = build(shape, variant, device, torch.bfloat16 if bf16 else torch.float32)
        else:
            encoder = source.encoder(variant)
            self.recipe, self.processor, self.model = source.recipe, encoder.processor, encoder.model.to(device)
            adapt(self.model, variant)
        if variant.lora:
            from moon2.model.lora import add_lora

            add_lora(self.model, LoraSettings(rank=16))
        self.model.train()
        if variant.compiled and device.type == "cuda":
            self.model.compile_blocks()
        self.trained = [weights for weights in self.model.parameters() if weights.requires_grad]
        self.optimizer = make_optimizer(self.model, self.recipe.training)
        self.shape = shape
        self.random = torch.Generator().manual_seed(1)
        self.number = 0
        self.built = torch.cuda.memory_allocated() / 2**30 if device.type == "cuda" else None
        self.change(variant, triplets)

    def change(self, variant: Variant, triplets: int) -> None:
        """Another way to compute a step with the same network."""
        self.variant, self.triplets = variant, triplets
        self.model.checkpoint_activations(variant.checkpointing)
        self.seconds: list[float] = []
        self.peak: float | None = None
        self.recompilations, self.operations = 0, 0.0

    def timed(self, batch: TripletBatch, *, measured: bool) -> float:
        """One step; its loss."""
        before = graphs()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        wait(self.device)
        started = time.perf_counter()
        loss = float(self(batch))
        wait(self.device)
        if measured:
            self.seconds.append(time.perf_counter() - started)
            self.recompilations += graphs() - before
            if self.device.type == "cuda":
                self.peak = torch.cuda.max_memory_allocated() / 2**30
        return loss

    def batch(self, triplets: int | None = None) -> TripletBatch:
        """Queries, positives and negatives, as tensors on the host; ever new."""
        size = triplets or self.triplets
        if self.source is None:
            read, outlines = random_triplets(self.shape, size, self.random)
        else:
            examples = self.source.examples(self.processor, self.number, size)
            outlines = [example.outline for example in examples]
            items = [example.query for example in examples] + [example.positive for example in examples]
            items += [example.negative for example in examples if example.negative is not None]
            read = self.processor.read(items)
        layout = ChunkLayout(self.processor)
        if self.variant.layout == "separate":
            only_images = [replace(item, tokens=[]) for item in read]
            parts: dict[View, ItemBatch] = {
                "t": self.processor.pack([replace(item, images=[]) for item in read]),
                "i": self.processor.pack(only_images, text=False),
                "mm": self.processor.pack(read, text=False),
            }
            chunks: list[Any] = [SeparateBatch(parts)]
        elif self.variant.chunk_triplets is None:
            chunks = layout.pack(read)
        else:
            size = 3 * self.variant.chunk_triplets
            chunks = [self.processor.pack(read[start : start + size]) for start in range(0, len(read), size)]
        packed = layout.pack(read) if self.variant.layout == "separate" else chunks
        self.operations = useful_operations(self.model, packed)
        count = len(read)
        masks = triplet_masks(outlines)
        return TripletBatch(chunks, [count], torch.arange(count), masks, sum(chunk.tokens for chunk in packed))

    def __call__(self, batch: TripletBatch) -> Tensor:
        """One step; its loss, still on the device."""
        # With a catalog it is the recipe that decides; random weights have their number format already.
        bf16 = self.source is not None and self.recipe.training.bf16
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)
        result = add_gradients(self.model, batch, triplet_loss, self.recipe, self.number, self.processes, precision)
        self.processes.average_gradients(self.trained)
        self.processes.clip_gradients(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.number += 1
        return result.loss.detach()


def matrix_rate(device: torch.device) -> float:
    """Operations a second of one large matrix product, in the number format of the run."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    first, second = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        wait(device)
        started = time.perf_counter()
        first @ second
        wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[2:])


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def profile(step: Step, batch: TripletBatch) -> None:
    """Prints the kernels that take most of the GPU's time in one step."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as found:
        step(batch)
        wait(step.device)
    rows = [row for row in found.key_averages() if row.device_type == torch.autograd.DeviceType.CUDA]
    total = sum(row.self_device_time_total for row in rows)
    print(f"GPU busy for {total / 1e6:.3f} s")
    for row in sorted(rows, key=lambda row: -row.self_device_time_total)[:40]:
        print(f"{row.self_device_time_total / total:6.1%} {row.count:6} {row.key[:110]}")


def graphs() -> int:
    """Graphs that were compiled so far."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def measure(
    names: Sequence[str], shape: Shape, device: torch.device, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Each variant alone in memory on CUDA; on the CPU all of them, taking turns."""
    rate = matrix_rate(device)
    print(f"one large matrix product: {rate / 1e12:.2f} TFLOP/s", flush=True)
    chosen = {name: variants(options.chunk)[name] for name in names}
    if device.type == "cpu":
        steps = {name: new_step(shape, variant, device, options) for name, variant in chosen.items()}
        return [result(name, step, rate) for name, step in run(steps, options).items()]
    results = []
    step: Step | None = None
    for name, variant in chosen.items():
        # One network serves all variants that it can, since building and compiling it takes longer than the steps.
        if step is not None and step.variant.network_of() == variant.network_of():
            step.change(variant, options.triplets or round(shape.triplets * variant.times))
        else:
            del step
            gc.collect()
            torch.cuda.empty_cache()
            torch._dynamo.reset()
            step = new_step(shape, variant, device, options)
        try:
            results += [result(name, found, rate) for found in run({name: step}, options).values()]
        except torch.OutOfMemoryError:
            print(f"{name}: out of memory", flush=True)
        if options.profile:
            profile(step, step.batch(min(step.triplets, 64)))
    return results


def new_step(shape: Shape, variant: Variant, device: torch.device, options: argparse.Namespace) -> Step:
    """A network and its optimizer."""
    triplets = options.triplets or round(shape.triplets * variant.times)
    source = CatalogTriplets(options.data, options.config) if options.data else None
    return Step(shape, variant, triplets, device, bf16=device.type == "cuda", source=source)


def run(steps: dict[str, Step], options: argparse.Namespace) -> dict[str, Step]:
    """Steps that take turns; each keeps what its own took."""
    for step in steps.values():
        # Two chunks compile all that many do.
        few = 2 * step.variant.chunk_triplets if step.variant.chunk_triplets else step.triplets
        step.timed(step.batch(min(few, step.triplets)), measured=False)
        if step.device.type == "cpu":
            step.peak = live_gib(step)
    for number in range(options.rounds):
        for name in [*steps] if number % 2 else [*reversed(steps)]:
            loss = steps[name].timed(steps[name].batch(), measured=True)
            took = steps[name].seconds[-1]
            print(f"{name:14} {steps[name].triplets:5} triplets  {took:8.3f} s  loss {loss:.3f}", flush=True)
    return steps


def live_gib(step: Step) -> float:
    """The most GiB of tensors that live at once in one more step, on a device whose allocator does not tell."""
    batch = step.batch()
    with MemoryMeter() as meter:
        meter.add([*step.model.parameters(), *step.model.buffers()])
        meter.add(state for states in step.optimizer.state.values() for state in states.values())
        step(batch)
    return float(meter.peak) / 2**30


def result(name: str, step: Step, rate: float) -> dict[str, Any]:
    """The row of a variant."""
    median = statistics.median(step.seconds)
    return {
        "name": name,
        "triplets": step.triplets,
        "triplets_per_second": step.triplets / median,
        "seconds": median,
        "seconds_all": step.seconds,
        "tflop_per_triplet": step.operations / step.triplets / 1e12,
        "mfu": step.operations / median / H100,
        "share_of_matrix_rate": step.operations / median / rate,
        "peak_gib": step.peak,
        "built_gib": step.built,
        "recompilations": step.recompilations,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints a table, and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--variants", nargs="+", choices=variants(1), help="all, or on CUDA the three that matter most")
    parser.add_argument("--data", type=Path, help="folder of a catalog; its triplets, and the encoder of --config")
    parser.add_argument("--config", type=Path, default=Path("recipes/tiny.yaml"))
    parser.add_argument("--triplets", type=int, help="a step, for all variants")
    parser.add_argument("--chunk", type=int, default=8, help="triplets in a chunk of gradcache and lora")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print where the GPU's time goes in one more step")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    default = ["compiled", "gradcache", "lora"] if options.device == "cuda" else list(variants(1))
    names = options.variants or default
    found = measure(names, SHAPES[options.shape], device, options)
    card = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"\n{options.shape} on {card}")
    print("| variant | triplets | s | triplets/s | TFLOP/triplet | MFU | of matrix rate | peak GiB | recompilations |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in found:
        print(
            f"| {row['name']} | {row['triplets']} | {row['seconds']:.3f} | {row['triplets_per_second']:.1f} | "
            f"{row['tflop_per_triplet']:.3f} | {row['mfu']:.3f} | {row['share_of_matrix_rate']:.2f} | "
            f"{'–' if row['peak_gib'] is None else format(row['peak_gib'], '.1f')} | {row['recompilations']} |"
        )
    if device.type == "cpu" and len(found) > 1:
        print("\nseconds of each variant over those of shared, round by round")
        for row in found:
            base = next((other for other in found if other["name"] == "shared"), found[0])
            pairs = zip(row["seconds_all"], base["seconds_all"], strict=True)
            ratios = sorted(mine / other * base["triplets"] / row["triplets"] for mine, other in pairs)
            print(f"{row['name']:14} {statistics.median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    if options.json:
        options.json.write_text(json.dumps({"device": card, "shape": options.shape, "variants": found}, indent=1))


if __name__ == "__main__":
    main()
