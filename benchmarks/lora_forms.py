"""What LoRA costs a step, computed as two thin products beside each weight (moon2) or by peft.

    python benchmarks/lora_forms.py --width 768

peft's own layers serve the linear ones, and `target_parameters` the experts' stacks. Both train the same adapters of
the same network and give the same loss. They take turns over titles; seconds are those of the processor, forward and
backward, the median. Kept are the bytes that a pass keeps for its gradients, weights not counted.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import peft
import torch

from moon2.model.adapter_folder import save_adapter
from moon2.model.encoder import Encoder
from moon2.model.items import Item
from moon2.model.lora import add_lora
from moon2.recipe import BackboneSettings, ExpertSettings, LoraSettings, Recipe, TinySettings

WORDS = [f"word {number}" for number in range(2000)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures both, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--width", type=int, default=192, help="of the decoder; an expert's is 4/3 of it, as in tiny")
    options = parser.parse_args(arguments)
    sizes = TinySettings(width=options.width, feed_forward=options.width * 4 // 3)
    recipe = Recipe(backbone=BackboneSettings(tiny=sizes), experts=ExpertSettings(noise=0.1))
    encoder = Encoder.from_recipe(recipe, WORDS)
    items = [Item(" ".join(WORDS[number : number + 12])) for number in range(options.items)]
    batch = encoder.item_batch(items, {"mm", "t"})
    own, base = copy.deepcopy(encoder.model), copy.deepcopy(encoder.model)
    add_lora(own, LoraSettings(rank=16))
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(own, Path(folder))
        by_peft = peft.PeftModel.from_pretrained(base, folder, is_trainable=True).base_model.model
    forms = {"moon2": own, "peft": by_peft}
    for model in forms.values():
        model.train()
    weights = {tensor.data_ptr() for model in forms.values() for tensor in model.parameters()}
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    kept, losses = {}, {}
    for _ in range(options.steps + 1):
        for name, model in forms.items():
            sizes: dict[int, int] = {}

            def keep(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in weights:
                    sizes[storage.data_ptr()] = storage.nbytes()
                return tensor

            started = time.process_time()
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = model(batch, {"mm", "t"}).vectors["mm"][:, 0].sum()
            loss.backward()
            seconds[name].append(time.process_time() - started)
            kept[name], losses[name] = sum(sizes.values()), float(loss.detach())
    print("| form | loss | s | MiB kept |\n|---|---|---|---|")
    for name in forms:
        print(
            f"| {name} | {losses[name]:.5f} | {statistics.median(seconds[name][1:]):.3f} | {kept[name] / 2**20:.0f} |"
        )


if __name__ == "__main__":
    main()
