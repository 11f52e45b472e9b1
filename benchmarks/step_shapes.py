"""What `benchmarks/training_step.py` measures: networks of a shape with random weights, and triplets for them."""

from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from earlier_steps import PaddedModel, SeparateModel, unfuse_norms, ungroup_experts

from moon2.model.backbone import build_backbone, train_tokenizer
from moon2.model.encoder import Encoder
from moon2.model.families import Grid, ImageTensor, decoder_of, family_of
from moon2.model.moon_model import MoonModel
from moon2.model.processor import Processor, ReadItem
from moon2.model.shapes import shape_config
from moon2.recipe import BackboneSettings, ExpertSettings, InputSettings, TinySettings
from moon2.train.batches import TripletExample, TripletOutline

WORDS, TOKENS_A_WORD = 24, 2
HUB = {
    "qwen3-vl-2b": "Qwen/Qwen3-VL-2B-Instruct",
    "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
    "qwen3-vl-8b": "Qwen/Qwen3-VL-8B-Instruct",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
}
TINY = {
    "tiny": TinySettings(vision_width=128),
    "small": TinySettings(
        vocabulary=16000, width=512, layers=8, heads=8, feed_forward=1024, vision_width=384, vision_layers=8
    ),
}


@dataclass
class Shape:
    """What is measured.

    Attributes:
        name: as typed.
        grid: of an image, in patches.
        expert_layers: how many of the last decoder layers have experts; None: all.
        triplets: a step, where all of a batch is kept.
    """

    name: str
    grid: Grid
    expert_layers: int | None
    triplets: int


SHAPES = {
    "tiny": Shape("tiny", (1, 6, 8), None, 64),
    "small": Shape("small", (1, 16, 16), None, 64),
    "qwen3-vl-2b": Shape("qwen3-vl-2b", (1, 32, 32), 12, 64),
    "qwen3-vl-4b": Shape("qwen3-vl-4b", (1, 32, 32), 8, 16),
    "qwen3-vl-8b": Shape("qwen3-vl-8b", (1, 32, 32), 4, 8),
    "qwen2.5-vl-3b": Shape("qwen2.5-vl-3b", (1, 32, 32), 8, 32),
}


@dataclass
class Variant:
    """One way to compute a step.

    Attributes:
        network: its class.
        checkpointing: the share of blocks that recompute.
        compiled: the blocks are.
        chunk_triplets: triplets in a chunk; None: no chunks.
        times: the triplets a step, over those of the shape.
        layout: "packed", or the three passes of "separate".
        experts: "grouped", "eager", or "dense".
        lora: adapters are trained, the rest is frozen.
    """

    network: type[MoonModel] = MoonModel
    checkpointing: float = 0.0
    compiled: bool = False
    chunk_triplets: int | None = None
    times: float = 1
    layout: str = "packed"
    experts: str = "grouped"
    lora: bool = False

    def network_of(self) -> tuple[object, ...]:
        """What a network has to be built anew for."""
        return self.network, self.compiled, self.layout, self.experts, self.lora


def variants(chunk: int) -> dict[str, Variant]:
    """All of them; `chunk` triplets in a chunk of `gradcache` and `lora`."""
    return {
        "separate": Variant(network=SeparateModel, layout="separate"),
        "padded": Variant(network=PaddedModel),
        "shared": Variant(),
        "checkpointed": Variant(checkpointing=1.0),
        "compiled": Variant(checkpointing=1.0, compiled=True),
        "gradcache": Variant(compiled=True, chunk_triplets=chunk, times=16),
        "lora": Variant(compiled=True, chunk_triplets=chunk, times=4, lora=True),
        "dense": Variant(experts="dense"),
        "eager": Variant(experts="eager"),
    }


def build(shape: Shape, variant: Variant, device: torch.device, dtype: torch.dtype) -> tuple[Processor, MoonModel]:
    """A network of this shape with random weights."""
    words = [f"word {number}" for number in range(2000)]
    inputs = InputSettings()
    experts = ExpertSettings(noise=0.1)
    if shape.name in TINY:
        sizes = TINY[shape.name]
        if variant.experts == "dense":
            sizes = replace(sizes, feed_forward=2 * sizes.feed_forward)
        settings = BackboneSettings(tiny=sizes, dtype="bfloat16" if dtype == torch.bfloat16 else "float32")
        loaded = build_backbone(settings, inputs, words)
        backbone, family, tokenizer = loaded.model.to(device), loaded.family, loaded.tokenizer
        image_processor: Any = loaded.image_processor
    else:
        from transformers import AutoModel, Qwen2VLImageProcessorPil

        config = shape_config(HUB[shape.name])
        if variant.experts == "dense":
            raise SystemExit("dense is measured on tiny and small, where every layer has experts")
        with torch.device(device):
            backbone = AutoModel.from_config(config, dtype=dtype)
        family = family_of(config.model_type, shape.name)
        family.prepare(backbone)
        side = config.vision_config.patch_size * config.vision_config.spatial_merge_size
        size = {"shortest_edge": 4 * side * side, "longest_edge": inputs.max_pixels}
        tokenizer = train_tokenizer(words, 2000)
        image_processor = Qwen2VLImageProcessorPil(patch_size=config.vision_config.patch_size, merge_size=2, size=size)
    layers = len(decoder_of(backbone, family).layers)
    if variant.experts == "dense":
        experts.layers = []
    elif shape.expert_layers is not None:
        experts.layers = list(range(layers - shape.expert_layers, layers))
    with torch.device(device):
        model = variant.network(backbone, family, experts)
    adapt(model, variant)
    return Processor(tokenizer, image_processor, family, backbone.config, inputs), model


def adapt(model: MoonModel, variant: Variant) -> None:
    """Puts earlier ways in the place of today's, where the variant says so."""
    if variant.network is not MoonModel:
        unfuse_norms(model)
    if variant.experts == "eager":
        ungroup_experts(model)


def random_triplets(
    shape: Shape, triplets: int, random: torch.Generator
) -> tuple[list[ReadItem], list[TripletOutline]]:
    """Random items; the numbers of their words are spread by a third about the mean."""
    frames, height, width = shape.grid
    patch = {"tiny": 3 * 100, "small": 3 * 100}.get(shape.name, 3 * 2 * (14 if "2.5" in shape.name else 16) ** 2)
    tokens = frames * height * width // 4
    # A few images under many names: what is in them makes no difference to the time.
    images = [torch.randn(frames * height * width, patch, generator=random) for _ in range(8)]
    read = []
    for number in range(3 * triplets):
        words = int(torch.randint(WORDS * 2 // 3, WORDS * 4 // 3 + 1, (1,), generator=random))
        ids = torch.randint(300, 1500, (TOKENS_A_WORD * words,), generator=random).tolist()
        image = ImageTensor(images[number % len(images)], shape.grid, tokens)
        read.append(ReadItem(ids, [(number.to_bytes(8, "big"), image)]))
    outlines = [
        TripletOutline(f"p{n}", f"n{n}", frozenset({f"p{n}"}), (f"p{n}", f"n{n}"), (f"p{n}", f"n{n}"))
        for n in range(triplets)
    ]
    return read, outlines


class CatalogTriplets:
    """The triplets of a shop's log, opened, and the encoder that a recipe begins with."""

    def __init__(self, data: Path, config: Path) -> None:
        from moon2.catalog.store import Catalog
        from moon2.catalog.triplets import training_triplets
        from moon2.recipe import load_recipe

        self.recipe, self.catalog = load_recipe(config), Catalog.open(data)
        self.triplets = training_triplets(self.catalog, self.recipe.training.seed)

    def encoder(self, variant: Variant) -> Encoder:
        """An untrained one, of the variant's network."""
        recipe = deepcopy(self.recipe)
        if variant.experts == "dense":
            recipe.backbone.tiny.feed_forward *= recipe.experts.active
            recipe.experts.layers = []
        texts = [row["title"] for row in self.catalog.rows("train", ["title"])]
        texts += [triplet.query.text for triplet in self.triplets]
        return Encoder.from_recipe(recipe, texts, variant.network)

    def examples(self, processor: Processor, step: int, size: int) -> list[TripletExample]:
        """The triplets of a step."""
        from moon2.train.stream import TripletStream

        stream = TripletStream(
            self.triplets,
            self.catalog,
            processor,
            self.recipe.image_transforms,
            self.recipe.augmentations,
            length=(step + 1) * size,
            seed=self.recipe.training.seed,
        )
        return [stream[number] for number in range(step * size, (step + 1) * size)]
