"""The gradients of a batch do not depend on how it is cut: at once, in chunks (GradCache), or with recomputation.

Gradients are compared before the optimizer, each within 1e-5 of its tensor's largest entry, in float32.
"""

from __future__ import annotations

import pytest
import torch
from support.mixed_batch import Gradients, assert_same, encoder_for_gradients, gradients, item, mixed_triplets

from moon2 import Encoder
from moon2.model.experts import ModalityExperts
from moon2.model.items import Item
from moon2.train.batches import ChunkLayout


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return encoder_for_gradients()


def chunk_sizes(encoder: Encoder, tokens: int) -> list[int]:
    """How many items each chunk of the mixed batch has."""
    triplets = mixed_triplets()
    items = [triplet.query for triplet in triplets] + [triplet.positive for triplet in triplets]
    items += [triplet.negative for triplet in triplets if triplet.negative is not None]
    return [len(chunk.has_text) for chunk in ChunkLayout(encoder.processor, tokens=tokens).chunks(items)]


@pytest.mark.parametrize("tokens", [200, 75, 1], ids=["3 chunks", "7 chunks", "one item a chunk"])
def test_chunks_give_the_gradients_of_one_pass(encoder: Encoder, tokens: int) -> None:
    sizes = chunk_sizes(encoder, tokens)
    assert len(sizes) == {200: 3, 75: 7, 1: 19}[tokens] and sum(sizes) == 22  # empty items join another
    assert_same(gradients(encoder, mixed_triplets()), gradients(encoder, mixed_triplets(), chunk_tokens=tokens))


def test_what_could_not_be_read_joins_the_chunk_before(encoder: Encoder) -> None:
    items = [Item("red"), Item("navy shirt with a collar and long sleeves"), Item()]
    assert [len(chunk.has_text) for chunk in ChunkLayout(encoder.processor, tokens=2).chunks(items)] == [1, 2]


def test_a_teacher_of_words_and_one_of_images_teach_in_chunks_what_they_do_at_once(encoder: Encoder) -> None:
    setting = "training.teacher=[random]"
    at_once = gradients(encoder, mixed_triplets(), None, setting)
    assert_same(at_once, gradients(encoder, mixed_triplets(), None, setting, chunk_tokens=75))
    untaught = gradients(encoder, mixed_triplets())
    assert at_once.log["teacher"] > 0
    torch.testing.assert_close(at_once.loss, untaught.loss + at_once.log["teacher"])
    torch.testing.assert_close(at_once.of["dual_alignment"], untaught.of["dual_alignment"])
    assert sum(not torch.allclose(untaught.of[name], at_once.of[name]) for name in untaught.of) > len(untaught.of) // 2


def test_a_batch_with_hardly_an_image_may_have_chunks_without_one(encoder: Encoder) -> None:
    triplets = mixed_triplets(images_from=7)
    assert_same(gradients(encoder, triplets), gradients(encoder, triplets, chunk_tokens=60))


@pytest.mark.parametrize("tokens", [None, 75], ids=["at once", "in chunks"])
def test_minimax_reverses_the_matrix_and_the_routers_where_it_may_and_nothing_else(
    encoder: Encoder, tokens: int | None
) -> None:
    """A weight learns from the losses and from ω. Reversed ω leaves the mean of both runs: the losses alone."""
    guarded, matrix_only, both = (
        gradients(
            encoder,
            mixed_triplets(),
            None,
            f"alignment.balance={mode}",
            # L_sparsity has a gradient of its own on W*, which stays as it is.
            "alignment.sparsity_weight=0",
            chunk_tokens=tokens,
        )
        for mode in ("guarded", "minimax", "minimax_routing")
    )
    reversed_matrix = -guarded.of.pop("dual_alignment")
    assert reversed_matrix.abs().max() > 0
    for found in (matrix_only, both):
        torch.testing.assert_close(found.loss, guarded.loss)
        assert torch.equal(found.of.pop("dual_alignment"), reversed_matrix)
    middle = {name: (gradient + both.of[name]) / 2 for name, gradient in guarded.of.items()}
    assert_same(matrix_only, Gradients(guarded.loss, guarded.log, middle))
    routers = [name for name in guarded.of if "router" in name]
    assert routers and all((guarded.of[name] - both.of[name]).abs().max() > 1e-5 for name in routers)


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("tokens", [None, 75])
def test_recomputed_activations_give_the_same_gradients(encoder: Encoder, share: float, tokens: int | None) -> None:
    kept = gradients(encoder, mixed_triplets())
    assert_same(kept, gradients(encoder, mixed_triplets(), chunk_tokens=tokens, checkpointed=share))


def test_recomputation_forgets_the_activations(encoder: Encoder) -> None:
    """What a pass keeps for its gradients shrinks, and each expert layer runs once more."""
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    kept = {}
    layers = [module for module in encoder.model.modules() if isinstance(module, ModalityExperts)]
    hooks = [layer.router.register_forward_pre_hook(count) for layer in layers]
    for share in (0.0, 1.0):
        encoder.model.train()
        encoder.model.checkpoint_activations(share)
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        runs = 0
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            views = encoder.model(encoder.item_batch([item("navy shirt", (48, 24))] * 4, {"mm", "t"}))
        views.vectors["mm"].sum().backward()
        kept[share] = sum(sizes.values()), runs
    for hook in hooks:
        hook.remove()
    encoder.model.checkpoint_activations(0.0)
    assert kept[1.0][0] < 0.6 * kept[0.0][0]
    assert (kept[0.0][1], kept[1.0][1]) == (len(layers), 2 * len(layers))


def test_the_second_pass_repeats_the_experts_of_the_first(encoder: Encoder) -> None:
    """Near-equal experts are chosen by rounding; a choice that changed between the passes would be a wrong gradient."""
    batch = encoder.item_batch([item("navy shirt", (48, 24)), item("red bag", None)], {"t", "mm"})
    encoder.model.eval()
    first = encoder.model(batch)
    others = {number: 3 - layer.chosen for number, layer in first.layers.items()}
    second = encoder.model(batch, chosen=others)
    for number, layer in second.layers.items():
        assert torch.equal(layer.chosen, others[number])
    assert not torch.allclose(first.vectors["mm"], second.vectors["mm"])
