"""A step of a run on tensors that have sizes but no memory: what it takes can be told from its recipe alone.

It is the very step that training takes, so nothing here knows what a layer keeps. Only the network's weights, the items
and the other processes are stand-ins. Neither data nor weights nor a GPU is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from types import MethodType
from typing import Any, cast

import torch
import torch.distributed as dist
from tokenizers import Tokenizer, models
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModel, PreTrainedTokenizerFast, Qwen2VLImageProcessorPil
from transformers.initialization import no_init_weights

from moon2.model.experts import Experts, LayerRouting
from moon2.model.families import ImageTensor, family_of
from moon2.model.freezing import freeze
from moon2.model.item_batch import ItemBatch
from moon2.model.lora import add_lora
from moon2.model.moon_model import FusedRMSNorm, MoonModel, RouterSums, Views
from moon2.model.processor import Processor, ReadItem
from moon2.model.shapes import planned_config
from moon2.recipe import Recipe, RecipeError
from moon2.train.arithmetic import useful_operations
from moon2.train.batches import TripletBatch, TripletOutline, triplet_masks
from moon2.train.gradcache import add_gradients, chunk_layout
from moon2.train.memory import MemoryMeter
from moon2.train.optimizer import make_optimizer
from moon2.train.plan import Plan
from moon2.train.processes import Processes
from moon2.train.start import complete_recipe
from moon2.train.step import triplet_loss
from moon2.views import View

TITLE_TOKENS = 48
"""Of an item that is read by its title, unless `input.max_text_tokens` is less: about 24 words."""
CPU = torch.device("cpu")


def plan_run(recipe: Recipe, devices: int = 1, *, gpu: bool = True) -> Plan:
    """What a run of this recipe takes.

    Args:
        recipe: every setting.
        devices: that train together.
        gpu: count the kernels of a GPU, where they keep other tensors than a CPU's.

    Raises:
        RecipeError: the batch is smaller than the number of devices, or a setting does not fit the backbone.
        UserError: the sizes of the backbone are not known.
    """
    recipe = complete_recipe(recipe, MoonModel)
    settings = recipe.training
    if settings.batch_size < devices:
        raise RecipeError(f"training.batch_size is {settings.batch_size}; {devices} devices need one triplet each")
    model, processor = _network(recipe)
    image = processor.family.largest_image(processor.config, recipe.input.max_pixels)
    share = -(-settings.batch_size // devices)
    batch = _batch(recipe, model, processor, image, share, devices)
    parameters = sum(weights.numel() for weights in model.parameters())
    stacks = [part.numel() for module in model.modules() if isinstance(module, Experts) for part in module.parameters()]
    idle = recipe.experts.count - recipe.experts.active
    return Plan(
        backbone=recipe.backbone.name,
        devices=devices,
        shard_weights=settings.shard_weights,
        parameters=parameters,
        active=parameters - sum(stacks) // recipe.experts.count * idle,
        trained=sum(weights.numel() for weights in model.parameters() if weights.requires_grad),
        steps=settings.steps,
        batch_size=settings.batch_size,
        visual_tokens=image.tokens,
        text_tokens=_text_tokens(recipe),
        tokens=batch.tokens * settings.batch_size // share,
        operations=useful_operations(model, batch.chunks) / share,
        **_measure(recipe, model, batch, devices, gpu=gpu),
    )


def embedding_operations(recipe: Recipe) -> float:
    """Useful floating-point operations to embed a product with an image and a text, forward only."""
    model, processor = _network(recipe)
    # Of a network that is trained whole, forward is a third.
    model.requires_grad_(True)
    image = processor.family.largest_image(processor.config, recipe.input.max_pixels)
    text = [0] * _text_tokens(recipe)
    batch = processor.pack([ReadItem(text, [(b"image", image)])], text=False)
    return useful_operations(model, [batch]) / 3


def _text_tokens(recipe: Recipe) -> int:
    """Of an item; more fields than the title are taken to fill what is read."""
    most = recipe.input.max_text_tokens
    return min(TITLE_TOKENS, most) if recipe.input.fields == ["title"] else most


def _network(recipe: Recipe) -> tuple[MoonModel, Processor]:
    """The network without numbers in its weights, and what lays its items out."""
    config = planned_config(recipe.backbone)
    try:
        family = family_of(config.model_type, recipe.backbone.name)
    except ValueError as error:
        raise RecipeError(f"backbone.name: {error}") from None
    with torch.device("meta"), no_init_weights():
        backbone = AutoModel.from_config(config, dtype=getattr(torch, recipe.backbone.dtype))
        family.prepare(backbone)
        model = MoonModel(backbone, family, recipe.experts, recipe.backbone.pooling)
    freeze(model, recipe.training.freeze)
    if recipe.lora.rank:
        add_lora(model, recipe.lora)
    # Every word and marker is the one token that it knows: what they are makes no difference to memory.
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?", pad_token="?")
    # Any will do, since no image is opened.
    image_processor: Any = Qwen2VLImageProcessorPil()
    return model, Processor(tokenizer, image_processor, family, backbone.config, recipe.input)


def _batch(
    recipe: Recipe, model: MoonModel, processor: Processor, image: ImageTensor, share: int, devices: int
) -> TripletBatch:
    """What one device gets of a batch; all get as much."""
    title = [0] * min(TITLE_TOKENS, recipe.input.max_text_tokens)
    added = recipe.augmentations
    augmented = round(2 * share * (1 - added.keep_original)) if added.use == "concatenate" else 0
    items = []
    for number in range(3 * share):
        times = 1 + added.images if 3 * share - number <= augmented else 1
        keys = [f"{number} {copy}".encode() for copy in range(times)]
        text = title if number < share else [0] * _text_tokens(recipe)  # queries come first
        items.append(ReadItem(text * (2 if times > 1 else 1), [(key, image) for key in keys]))
    chunks = chunk_layout(model, processor, recipe, devices).pack(items)
    names = [f"{number}" for number in range(share * devices)]
    outlines = [
        TripletOutline(name, f"not {name}", frozenset({name}), (name, f"not {name}"), (name, f"not {name}"))
        for name in names
    ]
    return TripletBatch(
        chunks,
        [3 * share] * devices,
        torch.arange(3 * share * devices),
        triplet_masks(outlines),
        sum(chunk.read_tokens for chunk in chunks),
    )


def _without_numbers(batch: TripletBatch) -> TripletBatch:
    return replace(
        batch,
        chunks=[chunk.to("meta") for chunk in batch.chunks],
        order=batch.order.to("meta"),
        masks=batch.masks.to("meta"),
    )


def _measure(recipe: Recipe, model: MoonModel, batch: TripletBatch, devices: int, *, gpu: bool) -> dict[str, int]:
    """Bytes at the largest moment of a step, on one device."""
    settings = recipe.training
    model.train()
    model.checkpoint_activations(settings.activation_checkpointing)
    whole = sum(weights.nbytes for weights in model.parameters())
    is_sharded = settings.shard_weights and devices > 1
    precision = torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16 and not is_sharded)
    host = _without_numbers(batch)
    meter = MemoryMeter()
    with _processes(devices) as processes:
        if is_sharded:
            processes.shard(model, bf16=settings.bf16)
        grouped = _GroupedProducts()  # type: ignore[no-untyped-call]  # torch has no types
        kernels = _gpu_kernels(model) if gpu else nullcontext()
        with FakeTensorMode(allow_non_fake_inputs=True), grouped, kernels, meter:
            model.to_empty(device=processes.device)
            weights = meter.live
            trained = [each for each in model.parameters() if each.requires_grad]
            optimizer = make_optimizer(model, settings)
            for each in trained:
                each.grad = torch.zeros_like(each)
                meter.mark(each.grad)
                each.register_post_accumulate_grad_hook(partial(_mark_gradient, meter))
            before = meter.live
            optimizer.step()
            states = meter.live - before
            # From its second chunk on, a step adds to gradients that are there.
            if len(batch.chunks) == 1:
                optimizer.zero_grad()
            network: Any = model if len(batch.chunks) == 1 else _FirstChunk(model, len(batch.chunks))
            add_gradients(network, host, triplet_loss, recipe, 0, processes, precision)
            processes.average_gradients(trained)
            processes.clip_gradients(trained, settings.max_grad_norm)
    taken = weights + states + meter.marked_at_peak
    return {
        "weights": weights,
        "optimizer": states,
        "gradients": meter.marked_at_peak,
        "activations": meter.peak - taken,
        "loading": whole if is_sharded else 0,
    }


def _mark_gradient(meter: MemoryMeter, weights: Tensor) -> None:
    assert weights.grad is not None
    meter.mark(weights.grad)


class _FirstChunk:
    """A network that computes the first of a batch's chunks, and gives the others tensors of the same sizes."""

    def __init__(self, model: MoonModel, chunks: int) -> None:
        self.dual_alignment = model.dual_alignment
        self._model, self._chunks, self._calls = model, chunks, 0
        self._first: Views | None = None

    def __call__(self, batch: ItemBatch, views: Collection[View], chosen: dict[int, Tensor] | None = None) -> Views:
        self._calls += 1
        if self._calls % self._chunks == 1:
            found = self._model(batch, views, chosen)
            self._first = self._first or found
            return found
        assert self._first is not None
        return _empty_like(self._first)


def _empty_like(views: Views) -> Views:
    """Views of the same sizes, without a gradient."""
    return Views(
        views.has_text,
        views.has_images,
        {view: torch.empty_like(vectors) for view, vectors in views.vectors.items()},
        {view: torch.empty_like(routing) for view, routing in views.routing.items()},
        RouterSums(*(torch.empty_like(each) for each in (views.router_sums.assigned, views.router_sums.probability))),
        {
            number: LayerRouting(torch.empty_like(layer.probabilities), torch.empty_like(layer.chosen))
            for number, layer in views.layers.items()
        },
    )


@contextmanager
def _gpu_kernels(model: MoonModel) -> Iterator[None]:
    """Takes the kernels that a GPU has and a CPU lacks, where they keep other tensors: RMSNorm, attention of images."""
    for module in model.modules():
        if isinstance(module, FusedRMSNorm):
            module.forward = MethodType(_normed, module)  # type: ignore[method-assign]  # as a GPU has it
    # Where the network asks which kernel can take a tensor; PyTorch itself does not see the answer.
    FakeTensor.is_cuda = True
    try:
        yield
    finally:
        del FakeTensor.is_cuda


def _normed(norm: FusedRMSNorm, states: Tensor) -> Tensor:
    return cast(Tensor, _RMSNorm.apply(states, norm.weight.to(states.dtype)))  # type: ignore[no-untyped-call]  # torch has no types


class _RMSNorm(torch.autograd.Function):
    """What a GPU's RMSNorm keeps and makes; the CPU's keeps each step of it."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        """[..., D] → [..., D]."""
        ctx.save_for_backward(states, weight, torch.empty(states.shape[:-1]))
        return torch.empty_like(states)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Of the states and of the weight."""
        states, weight, _ = ctx.saved_tensors
        return torch.empty_like(states), torch.empty_like(weight)


class _GroupedProducts(TorchDispatchMode):
    """Gives grouped products their sizes; PyTorch knows them of bfloat16 alone."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """[R, I] times [Z, I, O] → [R, O]; [I, R] times [R, O], in Z groups of R → [Z, I, O]; else as ever."""
        if operation is not torch.ops.aten._grouped_mm.default:
            return operation(*args, **(kwargs or {}))
        first, second, ends = args[:3]
        groups = () if second.dim() == 3 else (len(ends),)
        return first.new_empty(*groups, first.shape[0], second.shape[-1])


class _Processes(Processes):
    """As if the others were there: they have as much to do, and send nothing."""

    def largest(self, number: int) -> int:
        """All have as many."""
        return number


@contextmanager
def _processes(devices: int) -> Iterator[Processes]:
    """This process among so many; PyTorch's own stand-in for a network connects them."""
    if devices == 1:
        yield _Processes(0, 1, CPU)
        return
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=devices)
    try:
        yield _Processes(0, devices, CPU)
    finally:
        dist.destroy_process_group()
