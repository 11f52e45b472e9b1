"""The contrastive losses against cases worked out by hand, and what may never be a negative."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from moon2.objective.alignment import (
    info_nce,
    inter_product,
    intra_product,
)
from moon2.views import OBJECTIVES
from moon2.views import parse_objective as objective

# Unit vectors in the plane whose products with EAST are 1, 0.6, 0 and -1.
EAST, NORTH_EAST, NORTH, WEST = (1.0, 0.0), (0.6, 0.8), (0.0, 1.0), (-1.0, 0.0)
TEMPERATURE = 0.5


def vectors(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random_unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=-1)


def nothing_excluded(rows: int, columns: int) -> torch.Tensor:
    return torch.zeros(rows, columns, dtype=torch.bool)


def test_info_nce_by_hand():
    candidates = vectors(NORTH_EAST, NORTH, WEST)
    loss = info_nce(vectors(EAST), candidates, torch.tensor([0]), nothing_excluded(1, 3), TEMPERATURE)
    # Products 0.6, 0 and -1 over a temperature of 0.5.
    expected = -math.log(math.exp(1.2) / (math.exp(1.2) + math.exp(0.0) + math.exp(-2.0)))
    assert loss.tolist() == pytest.approx([expected])


def test_info_nce_leaves_out_excluded_candidates_but_never_the_positive():
    candidates = vectors(NORTH_EAST, NORTH, WEST)
    excluded = torch.tensor([[True, False, True]])  # the positive is flagged, too
    loss = info_nce(vectors(EAST), candidates, torch.tensor([0]), excluded, TEMPERATURE)
    assert loss.tolist() == pytest.approx([-math.log(math.exp(1.2) / (math.exp(1.2) + math.exp(0.0)))])


def test_info_nce_is_zero_and_still_where_no_negative_is_left():
    anchors = vectors(EAST).requires_grad_()
    loss = info_nce(anchors, vectors(NORTH_EAST, WEST), torch.tensor([0]), torch.tensor([[False, True]]), TEMPERATURE)
    loss.sum().backward()
    assert loss.item() == 0
    assert anchors.grad.tolist() == [[0, 0]]


def test_info_nce_of_an_empty_batch_is_empty():
    no_index = torch.zeros(0, dtype=torch.long)
    assert info_nce(random_unit(0, 4), random_unit(3, 4), no_index, nothing_excluded(0, 3), TEMPERATURE).shape == (0,)


@pytest.mark.parametrize("wrong", [nothing_excluded(1, 2), torch.zeros(2, 2)], ids=["shape", "dtype"])
def test_info_nce_refuses_a_mask_that_would_be_misread(wrong):
    with pytest.raises(ValueError, match=r"it must be bool \(2, 2\)"):
        info_nce(vectors(EAST, WEST), vectors(EAST, WEST), torch.tensor([0, 1]), wrong, TEMPERATURE)


def test_info_nce_gradient_by_finite_differences():
    anchors, candidates = random_unit(3, 4).requires_grad_(), random_unit(5, 4, seed=1).requires_grad_()
    excluded = nothing_excluded(3, 5)
    excluded[0, 0] = excluded[0, 3] = excluded[2, 1] = True
    positive = torch.tensor([0, 4, 2])
    assert torch.autograd.gradcheck(lambda a, c: info_nce(a, c, positive, excluded, 0.2), (anchors, candidates))


@pytest.mark.parametrize("autocast", [False, True], ids=["bfloat16 vectors", "mixed precision"])
def test_bfloat16_training_loses_no_more_than_the_rounding_of_the_vectors(autocast):
    rounded = random_unit(8, 32).bfloat16()
    given = rounded.float() if autocast else rounded
    mask = nothing_excluded(8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = info_nce(given, given.flip(0), torch.arange(8), mask, 0.05)
    exact = info_nce(rounded.double(), rounded.double().flip(0), torch.arange(8), mask, 0.05)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=0, atol=1e-4)


def test_inter_product_by_hand_for_each_view_of_the_query():
    queries = {"t": vectors(EAST), "i": vectors(NORTH), "mm": vectors(NORTH_EAST)}
    losses = inter_product(queries, vectors(EAST, NORTH), torch.tensor([0]), nothing_excluded(1, 2), TEMPERATURE)

    def by_hand(positive: float, negative: float) -> float:
        positive, negative = math.exp(positive / TEMPERATURE), math.exp(negative / TEMPERATURE)
        return -math.log(positive / (positive + negative))

    assert list(losses) == list(OBJECTIVES[:3])
    assert losses[objective("t→mm")].item() == pytest.approx(by_hand(1.0, 0.0))
    assert losses[objective("i→mm")].item() == pytest.approx(by_hand(0.0, 1.0))
    assert losses[objective("mm→mm")].item() == pytest.approx(by_hand(0.6, 0.8))


def test_a_query_without_image_has_no_image_loss_and_disturbs_nobody():
    candidates = random_unit(4, 3, seed=1).requires_grad_()
    image = random_unit(2, 3)
    image[1] = float("nan")  # the mean over no visual tokens
    image.requires_grad_()
    losses = inter_product(
        {"i": image},
        candidates,
        torch.tensor([0, 1]),
        nothing_excluded(2, 4),
        TEMPERATURE,
        valid={"i": torch.tensor([True, False])},
    )[objective("i→mm")]
    alone = info_nce(image[:1], candidates, torch.tensor([0]), nothing_excluded(1, 4), TEMPERATURE)
    assert losses.tolist() == [alone.item(), 0]
    (expected,) = torch.autograd.grad(alone.sum(), candidates)
    losses.sum().backward()
    assert torch.equal(candidates.grad, expected)
    assert image.grad[1].tolist() == [0, 0, 0]


def test_intra_product_by_hand_both_ways():
    image, text = vectors(EAST, NORTH), vectors(NORTH_EAST, WEST)
    losses = intra_product(image, text, torch.eye(2, dtype=torch.bool), TEMPERATURE)
    # image·text: shirt's image 0.6 and -1, shoe's image 0.8 and 0.
    e = {product: math.exp(product / TEMPERATURE) for product in (0.6, -1.0, 0.8, 0.0)}
    assert losses[objective("i→t")].tolist() == pytest.approx(
        [-math.log(e[0.6] / (e[0.6] + e[-1.0])), -math.log(e[0.0] / (e[0.0] + e[0.8]))]
    )
    assert losses[objective("t→i")].tolist() == pytest.approx(
        [-math.log(e[0.6] / (e[0.6] + e[0.8])), -math.log(e[0.0] / (e[0.0] + e[-1.0]))]
    )


def test_a_pair_excluded_one_way_is_left_out_of_the_same_image_and_text_both_ways():
    image, text = vectors(EAST, NORTH), vectors(NORTH_EAST, WEST)
    excluded = torch.tensor([[False, True], [False, False]])  # shirt's image against shoe's text
    losses = intra_product(image, text, excluded, TEMPERATURE)
    assert losses[objective("i→t")][0] == losses[objective("t→i")][1] == 0
    assert (losses[objective("i→t")][1] > 0) & (losses[objective("t→i")][0] > 0)


def test_intra_product_gradient_by_finite_differences():
    image, text = random_unit(4, 3).requires_grad_(), random_unit(4, 3, seed=1).requires_grad_()
    excluded = torch.eye(4, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda i, t: tuple(intra_product(i, t, excluded, 0.2).values()), (image, text))
