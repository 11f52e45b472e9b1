"""The contrastive losses against cases worked out by hand, and what may never be a negative."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from moon2.objective.alignment import (
    OBJECTIVES,
    info_nce,
    inter_product,
    intra_product,
    known_positive_mask,
    same_product_mask,
)

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


def test_inter_product_by_hand_for_each_form_of_the_query():
    queries = {"t": vectors(EAST), "i": vectors(NORTH), "mm": vectors(NORTH_EAST)}
    losses = inter_product(queries, vectors(EAST, NORTH), torch.tensor([0]), nothing_excluded(1, 2), TEMPERATURE)

    def by_hand(positive: float, negative: float) -> float:
        positive, negative = math.exp(positive / TEMPERATURE), math.exp(negative / TEMPERATURE)
        return -math.log(positive / (positive + negative))

    assert list(losses) == ["t→mm", "i→mm", "mm→mm"] == list(OBJECTIVES[:3])
    assert losses["t→mm"].item() == pytest.approx(by_hand(1.0, 0.0))
    assert losses["i→mm"].item() == pytest.approx(by_hand(0.0, 1.0))
    assert losses["mm→mm"].item() == pytest.approx(by_hand(0.6, 0.8))


def test_a_query_without_picture_has_no_picture_loss_and_disturbs_nobody():
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
    )["i→mm"]
    alone = info_nce(image[:1], candidates, torch.tensor([0]), nothing_excluded(1, 4), TEMPERATURE)
    assert losses.tolist() == [alone.item(), 0]
    (expected,) = torch.autograd.grad(alone.sum(), candidates)
    losses.sum().backward()
    assert torch.equal(candidates.grad, expected)
    assert image.grad[1].tolist() == [0, 0, 0]


def test_inter_product_names_an_unknown_view():
    with pytest.raises(ValueError, match="no view 'text'"):
        inter_product({"text": random_unit(1, 3)}, random_unit(1, 3), torch.tensor([0]), nothing_excluded(1, 1), 0.1)


def test_intra_product_by_hand_both_ways():
    image, text = vectors(EAST, NORTH), vectors(NORTH_EAST, WEST)
    losses = intra_product(image, text, same_product_mask(["shirt", "shoe"]), TEMPERATURE)
    # image·text: shirt's picture 0.6 and -1, shoe's picture 0.8 and 0.
    e = {product: math.exp(product / TEMPERATURE) for product in (0.6, -1.0, 0.8, 0.0)}
    assert losses["i→t"].tolist() == pytest.approx(
        [-math.log(e[0.6] / (e[0.6] + e[-1.0])), -math.log(e[0.0] / (e[0.0] + e[0.8]))]
    )
    assert losses["t→i"].tolist() == pytest.approx(
        [-math.log(e[0.6] / (e[0.6] + e[0.8])), -math.log(e[0.0] / (e[0.0] + e[-1.0]))]
    )


def test_a_pair_excluded_one_way_is_left_out_of_the_same_picture_and_text_both_ways():
    image, text = vectors(EAST, NORTH), vectors(NORTH_EAST, WEST)
    excluded = torch.tensor([[False, True], [False, False]])  # shirt's picture against shoe's text
    losses = intra_product(image, text, excluded, TEMPERATURE)
    assert losses["i→t"][0] == losses["t→i"][1] == 0
    assert (losses["i→t"][1] > 0) & (losses["t→i"][0] > 0)


def test_intra_product_gradient_by_finite_differences():
    image, text = random_unit(4, 3).requires_grad_(), random_unit(4, 3, seed=1).requires_grad_()
    excluded = same_product_mask(["a", "b", "a", "c"])
    assert torch.autograd.gradcheck(lambda i, t: tuple(intra_product(i, t, excluded, 0.2).values()), (image, text))


def test_a_product_twice_in_the_batch_is_no_negative_of_itself():
    image, text = random_unit(3, 4), random_unit(3, 4, seed=1)
    excluded = same_product_mask(["a", "b", "a"])
    assert excluded.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    before = intra_product(image, text, excluded, TEMPERATURE)
    moved = image.clone(), text.clone()
    moved[0][2], moved[1][2] = random_unit(4, seed=2), random_unit(4, seed=3)
    after = intra_product(*moved, excluded, TEMPERATURE)
    for objective in ("i→t", "t→i"):
        assert after[objective][0] == before[objective][0]  # the other copy of product a moved
        assert after[objective][1] != before[objective][1]  # for b it is a negative like any other


def test_known_positives_never_count_as_negatives():
    candidate_ids = ["shirt", "shoe", "blouse", "shirt", "bag"]
    # The first query's buyers also took the blouse; the batch holds its positive, the shirt, twice.
    excluded = known_positive_mask([{"shirt", "blouse", "not in this batch"}, {"shoe"}], candidate_ids)
    assert excluded.tolist() == [[True, False, True, True, False], [False, True, False, False, False]]

    queries = {view: random_unit(2, 4, seed=seed) for seed, view in enumerate(("t", "i", "mm"))}
    candidates = random_unit(5, 4, seed=9)
    positive = torch.tensor([0, 1])
    before = inter_product(queries, candidates, positive, excluded, TEMPERATURE)
    moved = candidates.clone()
    moved[2:4] = random_unit(2, 4, seed=10)  # the blouse and the second shirt
    after = inter_product(queries, moved, positive, excluded, TEMPERATURE)
    for objective in before:
        assert after[objective][0] == before[objective][0]
        assert after[objective][1] != before[objective][1]


def test_masks_of_empty_batches_keep_their_shape():
    assert known_positive_mask([], ["a"]).shape == (0, 1)
    assert known_positive_mask([{"a"}, ()], []).shape == (2, 0)
    assert same_product_mask([]).shape == (0, 0)
