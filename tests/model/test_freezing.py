"""A run may leave parts of the backbone as they are."""

from __future__ import annotations

import copy

import pytest

from moon2 import Encoder
from moon2.model.freezing import freeze, part_of
from moon2.recipe import PARTS, RecipeError, TrainingSettings


def test_every_weight_of_the_backbone_is_of_one_part(encoder: Encoder) -> None:
    found: dict[str | None, list[str]] = {}
    for name, _ in encoder.model.named_parameters():
        found.setdefault(part_of(encoder.model, name), []).append(name)
    assert found.keys() == {*PARTS, None}
    assert found[None] == ["dual_alignment"]
    assert len(found["embeddings"]) == 1
    assert all("layers." in name or name.endswith("norm.weight") for name in found["decoder"])
    assert all("merger" in name or "connector" in name for name in found["projector"])


@pytest.mark.parametrize("part", PARTS)
def test_named_parts_are_frozen_and_no_others(encoder: Encoder, part: str) -> None:
    model = copy.deepcopy(encoder).model
    freeze(model, [part])
    for name, weight in model.named_parameters():
        assert weight.requires_grad == (part_of(model, name) != part)


def test_an_unknown_part_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"training.freeze is \['tower'\]; it must be some of vision, projector"):
        TrainingSettings(freeze=["tower"])
    with pytest.raises(RecipeError, match="not all"):
        TrainingSettings(freeze=list(PARTS))
