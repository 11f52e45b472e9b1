"""The network: a backbone with experts, and the three views t, i and mm of each item.

With images before text, the states of a causal decoder over the images are the same whether or not text follows. So
a joint row holds two views: the mean over the image tokens is r^i, the mean over all pooled tokens is r^mm. Only r^t
needs a row of its own, which is short and skips the vision tower. This is exact, not an approximation.

All rows of a batch, joint and text, go through the decoder as one packed sequence: no token is padding.

Shapes: N items, R rows, T tokens, V visual tokens, D width, Z experts, L layers with experts, M objectives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as fx_settings
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from moon2.model.backbone_types import Backbone
from moon2.model.experts import ExpertDecoderLayer, LayerRouting, upcycle
from moon2.model.families import Family, decoder_of
from moon2.model.item_batch import ItemBatch
from moon2.model.packed_attention import PACKED_ATTENTION
from moon2.recipe import ExpertSettings
from moon2.views import OBJECTIVES, VIEWS, View


@dataclass
class RouterSums:
    """What the load-balancing loss needs of the routers; those of several batches are added.

    Kinds of rows: 0 are joint rows, 1 are text rows. The loss is taken of each kind on its own.

    Attributes:
        assigned: [2, L, Z] float32, how many of the tokens' k choices went to each expert.
        probability: [2, L, Z] float32, the sum of G over the tokens (differentiable).
    """

    assigned: Tensor
    probability: Tensor


@dataclass
class Views:
    """What the network gives for N items.

    Attributes:
        has_text, has_images: [N] bool.
        vectors: per view [N, D] float32 of unit length; rows of items that lack the view are zeros. An item with only
            text has it as its mm too, and likewise one with only images.
        routing: per view [N, Z] float32, G̃ averaged over the view's tokens and then over the expert layers; Z is 0
            where no layer has experts.
        router_sums: over all tokens.
        layers: by the number of each decoder layer with experts, what its router decided for each token.
    """

    has_text: Tensor
    has_images: Tensor
    vectors: dict[View, Tensor]
    routing: dict[View, Tensor]
    router_sums: RouterSums
    layers: dict[int, LayerRouting]

    def has(self, view: View) -> Tensor:
        """[N] bool, the items that have the view."""
        return {"t": self.has_text, "i": self.has_images, "mm": self.has_text | self.has_images}[view]


@dataclass
class DecoderInput:
    """What enters the decoder.

    Attributes:
        embeddings: [T, D].
        deepstack: each [V, D], added in the places of the images after layer 0, layer 1, …
    """

    embeddings: Tensor
    deepstack: list[Tensor]


class MoonModel(nn.Module):
    """A vision-language model whose feed-forward layers are experts, with the dual-alignment matrix W* [Z, M].

    Built from a dense backbone by upcycling. `dual_alignment` starts at zero: experts serve all objectives alike.
    """

    def __init__(
        self,
        backbone: Backbone,
        family: Family,
        settings: ExpertSettings,
        pooling: Literal["tokens", "modalities"] = "tokens",
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.backbone = backbone
        self.family = family
        self.settings = settings
        decoder = decoder_of(backbone, family)
        fuse_norms(cast(nn.Module, backbone))
        upcycle(decoder.layers, settings)
        decoder.config._attn_implementation = PACKED_ATTENTION
        self.dual_alignment = nn.Parameter(torch.zeros(settings.count, len(OBJECTIVES)))
        self.dimension: int = decoder.config.hidden_size
        self.checkpointed_layers = 0

    def joint_rows(self, views: Collection[View]) -> bool:
        """Whether `forward` wants the rows of images with the text after them."""
        return set(views) != {"t"}

    def text_rows(self, views: Collection[View]) -> bool:
        """Whether `forward` wants a row of text alone also for items that have images."""
        return "t" in views

    def checkpoint_activations(self, share: float) -> None:
        """Lets the first blocks of the decoder and of the vision tower forget their activations, in training.

        They are computed again when gradients are: less memory for more time.

        Args:
            share: of the blocks, 0 (none) to 1 (all).
        """
        self.checkpointed_layers = round(share * len(decoder_of(self.backbone, self.family).layers))
        blocks = cast(nn.ModuleList, self.backbone.get_submodule(self.family.vision_blocks))
        for number, block in enumerate(blocks):
            switches: Any = block
            switches.gradient_checkpointing = number < round(share * len(blocks))
            switches._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    def compile_blocks(self, backend: str | Callable[..., object] = "inductor", *, whole: bool = False) -> None:
        """Compiles the blocks of the decoder and of the vision tower, for inputs of any length, in place.

        Blocks of one kind share their code, so a model is compiled in the time of a few blocks. One setting of torch is
        changed for all that this process compiles: sizes that are equal in the first batch may differ later.

        Args:
            backend: of `torch.compile`.
            whole: a part of a block that cannot be compiled is an error, and no slower way.
        """
        settings: dict[str, Any] = {"fullgraph": whole, "dynamic": True, "backend": backend}
        # Else each batch in which they do differ is a reason to compile anew.
        fx_settings.use_duck_shape = False
        blocks = cast(nn.ModuleList, self.backbone.get_submodule(self.family.vision_blocks))
        for block in (*blocks, *decoder_of(self.backbone, self.family).layers):
            if isinstance(block, ExpertDecoderLayer):
                block.attend = torch.compile(block.attend, **settings)  # type: ignore[method-assign]  # in its place
                block.mix = torch.compile(block.mix, **settings)  # type: ignore[method-assign]  # in its place
            else:
                block.compile(**settings)

    def forward(
        self, batch: ItemBatch, views: Collection[View] = VIEWS, chosen: dict[int, Tensor] | None = None
    ) -> Views:
        """The wanted views of each item; see `Views`.

        Args:
            batch: with the rows that `joint_rows` and `text_rows` ask for.
            views: which to pool.
            chosen: by layer, the experts [T, k] chosen in an earlier pass over the same batch; it is repeated.
        """
        states, layers = self.decode(self.embed(batch), batch, chosen)
        return self.pool(states, layers, batch, views)

    def embed(self, batch: ItemBatch) -> DecoderInput:
        """Words and images to what enters the decoder."""
        embeddings = decoder_of(self.backbone, self.family).embed_tokens(batch.input_ids)
        if batch.images is None:
            return DecoderInput(embeddings, [])
        features, deepstack = self.family.image_features(self.backbone, batch.images.inputs)
        visual = features.index_select(0, batch.images.sources).to(embeddings.dtype)
        return DecoderInput(embeddings.index_copy(0, batch.images.slots, visual), deepstack)

    def decode(
        self, inputs: DecoderInput, batch: ItemBatch, chosen: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, dict[int, LayerRouting]]:
        """The decoder's last states [T, D], and what the routers decided, by the number of the layer."""
        decoder = decoder_of(self.backbone, self.family)
        # A copy: blocks are compiled anew for a tensor that shares another's memory, and again without gradient.
        states = inputs.embeddings.unsqueeze(0).clone()
        if not batch.tokens:
            return states[0], {}
        # Qwen has positions of three dimensions, [3, 1, T]; others one, [1, T].
        positions = batch.positions.unsqueeze(1) if len(batch.positions) > 1 else batch.positions
        attention: dict[str, object] = {
            "attention_mask": None,
            "position_embeddings": decoder.rotary_emb(states, positions),
            "packing": batch.packing,
        }
        layers: dict[int, LayerRouting] = {}
        memory = dict(chosen or {})
        for number, layer in enumerate(decoder.layers):
            run = partial(_run_layer, layer, number, memory, attention)
            if self.training and torch.is_grad_enabled() and number < self.checkpointed_layers:
                states, probabilities = checkpoint(run, states, use_reentrant=False)
            else:
                states, probabilities = run(states)
            if probabilities is not None:
                layers[number] = LayerRouting(probabilities, memory[number])
            if number < len(inputs.deepstack):
                assert batch.images is not None
                visual = inputs.deepstack[number].index_select(0, batch.images.sources).to(states.dtype)
                states = states.index_add(1, batch.images.slots, visual.unsqueeze(0))
        return decoder.norm(states)[0], layers

    def pool(self, states: Tensor, layers: dict[int, LayerRouting], batch: ItemBatch, views: Collection[View]) -> Views:
        """The last states [T, D] of packed rows → views, in float32."""
        items, rows = len(batch.has_text), len(batch.item_of_row)
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            gates = self._mean_gates(layers, states)
            weights: dict[View, Tensor] = {"t": self.token_weights(batch), "i": batch.is_image.float()}
            pooled = {"t": row_means(weights["t"], (states, gates), batch.row_of_token, rows)}
            pooled["mm"] = pooled["t"]
            if "i" in views:
                pooled["i"] = row_means(weights["i"], (states, gates), batch.row_of_token, rows)
            result = Views(batch.has_text, batch.has_images, {}, {}, self._router_sums(layers, batch), layers)
            for view in views:
                index = batch.view_rows[view]
                item = batch.item_of_row.index_select(0, index)
                vectors, routing = (part.index_select(0, index) for part in pooled[view])
                unit = functional.normalize(vectors, dim=-1)
                result.vectors[view] = unit.new_zeros(items, self.dimension).index_copy(0, item, unit)
                result.routing[view] = unit.new_zeros(items, gates.shape[1]).index_copy(0, item, routing)
        return result

    def token_weights(self, batch: ItemBatch) -> Tensor:
        """[T] float32, how much each token counts in its row's vector, up to a factor a row."""
        if self.pooling == "tokens":
            return batch.is_pooled.float()
        image = batch.is_image.float()
        text = batch.is_pooled.float() - image
        totals = image.new_zeros(2, len(batch.item_of_row))
        totals = totals.index_add(1, batch.row_of_token, torch.stack([image, text])).clamp(min=1)
        return (torch.stack([image, text]) / totals.index_select(1, batch.row_of_token)).sum(dim=0)

    def _mean_gates(self, layers: dict[int, LayerRouting], states: Tensor) -> Tensor:
        """G̃ [T, Z], the mean over the layers with experts."""
        if not layers:
            return states.new_zeros(len(states), 0)
        return torch.stack([layer.gates for layer in layers.values()]).mean(dim=0)

    def _router_sums(self, layers: dict[int, LayerRouting], batch: ItemBatch) -> RouterSums:
        kinds = batch.row_kind.index_select(1, batch.row_of_token)  # [2, T]
        if not layers:
            nothing = kinds.new_zeros(2, 0, self.settings.count)
            return RouterSums(nothing, nothing)
        probabilities = torch.stack([layer.probabilities for layer in layers.values()])  # [L, T, Z]
        with torch.no_grad():
            chosen = torch.stack([layer.chosen for layer in layers.values()])
            assigned = torch.zeros_like(probabilities).scatter(2, chosen, 1.0)
        return RouterSums(*(torch.einsum("gt,ltz->glz", kinds, value) for value in (assigned, probabilities)))


class FusedRMSNorm(nn.RMSNorm):
    """RMSNorm in one kernel, which wants the weight in the number format of the states."""

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] → [..., D], in the same number format."""
        return functional.rms_norm(states, self.normalized_shape, self.weight.to(states.dtype), self.eps)


def fuse_norms(module: nn.Module) -> None:
    """Puts PyTorch's RMSNorm, one kernel, in the place of transformers' own, which are half a dozen; in place."""
    for name, child in module.named_children():
        if type(child).__name__.endswith("RMSNorm") and not isinstance(child, nn.RMSNorm):
            norm = FusedRMSNorm(child.weight.shape, eps=cast(float, child.variance_epsilon), device="meta")
            norm.weight = cast(nn.Parameter, child.weight)
            setattr(module, name, norm)
        else:
            fuse_norms(child)


def _run_layer(
    layer: nn.Module, number: int, memory: dict[int, Tensor], attention: dict[str, object], states: Tensor
) -> tuple[Tensor, Tensor | None]:
    """One decoder layer; of one with experts also G. What its router chose is kept, and repeated if it runs again."""
    if not isinstance(layer, ExpertDecoderLayer):
        return layer(states, **attention), None
    states, probabilities, memory[number] = layer(states, chosen=memory.get(number), **attention)
    return states, probabilities


def row_means(weights: Tensor, values: tuple[Tensor, ...], row_of_token: Tensor, rows: int) -> tuple[Tensor, ...]:
    """Weighted means over each row's tokens: each [T, …] → [R, …]; rows without weight give zeros."""
    totals = weights.new_zeros(rows).index_add(0, row_of_token, weights).clamp(min=1e-6)
    shares = (weights / totals.index_select(0, row_of_token)).unsqueeze(1)
    return tuple(value.new_zeros(rows, value.shape[1]).index_add(0, row_of_token, shares * value) for value in values)
