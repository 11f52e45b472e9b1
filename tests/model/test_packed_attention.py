"""Packed sequences: each attends within itself, whatever grids they are laid in, and gradients come back exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from moon2.model.packed_attention import CAUSAL_GRIDS, Packing, _FromGrid, packed_attention
from moon2.model.rows import select_rows


def attention_of(*, causal: bool) -> Any:
    """A module as transformers hands it to its attention."""
    module: Any = nn.Module()
    module.is_causal = causal
    return module


def random_lengths(seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    return [int(length) for length in random.integers(1, 40, size=random.integers(1, 20))]


def test_grids_of_a_small_case_by_hand() -> None:
    """Lengths 1, 5, 1, 6: the first cut saves 2 · (6 − 1) cells, the second 1 · (6 − 5); no other saves any."""
    packing = Packing.of([1, 5, 1, 6], causal=True)
    five, six = [1, 2, 3, 4, 5], [7, 8, 9, 10, 11, 12]
    assert [grid.tolist() for grid in packing.grids] == [[[0, 0], [6, 6]], [five, five], [six, six], [[0, 0], [0, 0]]]
    assert packing.place is not None
    assert packing.place.tolist() == [0, 4, 5, 6, 7, 8, 2, 14, 15, 16, 17, 18, 19]
    assert (packing.bounds.tolist(), packing.bounds.dtype, packing.longest) == ([0, 1, 6, 7, 13], torch.int32, 6)


def test_a_shorter_sequence_repeats_its_last_token() -> None:
    """Five lengths and four grids: the cut that would save least is not made, so 3 stands beside 4."""
    packing = Packing.of([3, 4, 10, 20, 30], causal=True)
    assert [list(grid.shape) for grid in packing.grids] == [[2, 4], [2, 10], [2, 20], [2, 30]]
    assert packing.grids[0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 6]]
    assert packing.place is not None and packing.place.tolist()[:7] == [0, 1, 2, 4, 5, 6, 7]


def test_equal_sequences_are_one_grid_in_order() -> None:
    for causal in (True, False):
        packing = Packing.of([3, 3], causal=causal)
        assert packing.place is None and [grid.tolist() for grid in packing.grids] == [[[0, 1, 2], [3, 4, 5]]]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_every_token_has_one_cell_of_its_own(seed: int, causal: bool) -> None:
    lengths = random_lengths(seed)
    packing = Packing.of(lengths, causal=causal)
    cells = torch.cat([grid.flatten() for grid in packing.grids])
    tokens = torch.arange(sum(lengths))
    place = tokens if packing.place is None else packing.place
    assert torch.equal(cells[place], tokens)
    assert len(place.unique()) == sum(lengths)
    # Row by row the grids hold the sequences whole, with nothing but their last token after it.
    bounds = packing.bounds.tolist()
    held = set()
    for grid in packing.grids:
        for row in grid.tolist() if grid.any() else ():
            number = bounds.index(row[0])
            held.add(number)
            length = lengths[number]
            assert row[:length] == list(range(row[0], row[0] + length))
            assert row[length:] == [row[length - 1]] * (len(row) - length)
    assert sorted(held) == list(range(len(lengths)))
    if packing.place is None:
        assert len(packing.grids) == 1
    elif causal:
        # One form for all batches: compiled blocks are not compiled again.
        assert len(packing.grids) == CAUSAL_GRIDS and all(min(grid.shape) > 1 for grid in packing.grids)
    else:
        assert len(cells) == sum(lengths), "only a causal grid may be padded"


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_each_sequence_attends_as_it_would_alone(seed: int, causal: bool) -> None:
    """With two queries' heads to one of keys, as in grouped-query attention."""
    lengths = random_lengths(seed)
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 4, sum(lengths), 8, generator=generator)
    key, value = torch.randn(2, 1, 2, sum(lengths), 8, generator=generator)
    packing = Packing.of(lengths, causal=causal)
    together, _ = packed_attention(attention_of(causal=causal), query, key, value, packing=packing, scaling=0.3)
    alone = [
        scaled_dot_product_attention(*part, is_causal=causal, scale=0.3, enable_gqa=True).transpose(1, 2)
        for part in zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=0, atol=1e-5)


def test_it_compiles_whole_though_no_size_is_known() -> None:
    """Not even the numbers of heads, as in blocks of sharded weights, which torch compiles so."""
    torch._dynamo.reset()
    query, key, value = (torch.randn(1, heads, 9, 8) for heads in (4, 2, 2))
    compiled = torch.compile(packed_attention, fullgraph=True, dynamic=True, backend="eager")
    module, packing = attention_of(causal=True), Packing.of([4, 5], causal=True)
    expected, _ = packed_attention(module, query, key, value, packing=packing)
    torch.testing.assert_close(compiled(module, query, key, value, packing=packing)[0], expected, rtol=0, atol=1e-6)


def test_a_windowed_module_attends_within_its_windows() -> None:
    query, key, value = torch.randn(3, 1, 2, 10, 8, generator=torch.Generator().manual_seed(0))
    whole, windows = Packing.of([4, 6], causal=False), Packing.of([2, 2, 3, 3], causal=False)
    module = attention_of(causal=False)

    def attend(**packings: Packing) -> Tensor:
        return packed_attention(module, query, key, value, **packings)[0]

    within, across = attend(packing=windows), attend(packing=whole)
    assert not torch.allclose(within, across, atol=1e-2)
    assert torch.equal(attend(packing=whole, window_packing=windows), across), "not every layer is windowed"
    module.windowed = True
    assert torch.equal(attend(packing=whole, window_packing=windows), within)


def test_the_gradients_of_the_grids_by_finite_differences() -> None:
    packing = Packing.of([3, 1, 4, 2, 9, 20, 30], causal=True)
    index = torch.cat([grid.flatten() for grid in packing.grids])
    assert packing.place is not None and len(index) > len(packing.place), "some cells are repeated"
    place = packing.place
    tokens = torch.randn(len(place), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    # A repeated cell gets no gradient in use, because nothing behind it is read: so not here either.
    def there_and_back(tokens: Tensor) -> Tensor:
        return _FromGrid.apply(select_rows(tokens, index, place).sin(), place)

    torch.testing.assert_close(there_and_back(tokens), tokens.sin())
    assert torch.autograd.gradcheck(there_and_back, (tokens.requires_grad_(),))
    cells = torch.randn(len(index), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda cells: _FromGrid.apply(cells, place), (cells,))


@pytest.mark.parametrize("causal", [True, False])
def test_the_gradients_of_attention_by_finite_differences(causal: bool) -> None:
    """In float64, with padded cells where the attention is causal: their gradients are nothing."""
    lengths = [2, 1, 3, 5, 7, 11]
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 2, sum(lengths), 2, dtype=torch.float64, generator=generator, requires_grad=True)
    key, value = (
        torch.randn(1, 1, sum(lengths), 2, dtype=torch.float64, generator=generator, requires_grad=True)
        for _ in range(2)
    )
    packing = Packing.of(lengths, causal=causal)
    assert (sum(grid.numel() for grid in packing.grids) > sum(lengths)) == causal
    module = attention_of(causal=causal)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return packed_attention(module, query, key, value, packing=packing)[0]

    assert torch.autograd.gradcheck(attend, (query, key, value))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fused attention in half precision needs a GPU")
@pytest.mark.parametrize("causal", [True, False])
def test_on_a_gpu_in_half_precision_it_is_the_same_up_to_rounding(causal: bool) -> None:
    """Outputs and gradients, against float32 on the same device; windows too."""
    lengths = [300, 17, 64, 64, 1]
    whole, windows = Packing.of(lengths, causal=causal), Packing.of([150, 150, 17, 64, 64, 1], causal=causal)
    module = attention_of(causal=causal)
    module.windowed = not causal
    drawn = torch.randn(3, 1, 4, sum(lengths), 64, generator=torch.Generator().manual_seed(0))
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [part.to("cuda", dtype).requires_grad_() for part in drawn]
        output, _ = packed_attention(
            module, *inputs, packing=whole.to("cuda"), window_packing=None if causal else windows.to("cuda")
        )
        output.float().sin().sum().backward()
        results.append([output, *(tensor.grad for tensor in inputs)])
    for exact, half in zip(*results, strict=True):
        torch.testing.assert_close(half.float(), exact, rtol=0.05, atol=0.05)
