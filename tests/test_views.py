"""Views and objectives are values; an objective's name is read back."""

from __future__ import annotations

import pytest

from moon2.errors import UserError
from moon2.views import DIRECTIONS, INTER_OBJECTIVES, OBJECTIVES, Objective, parse_objective


def test_objectives_are_named_and_read_back() -> None:
    assert [str(objective) for objective in OBJECTIVES] == ["t→mm", "i→mm", "mm→mm", "i→t", "t→i"]
    assert [parse_objective(str(objective)) for objective in OBJECTIVES] == list(OBJECTIVES)
    assert parse_objective("t→mm") == Objective(query="t", product="mm")


def test_directions_are_in_the_order_of_the_published_table() -> None:
    assert [str(direction) for direction in DIRECTIONS] == ["t→mm", "i→mm", "mm→mm", "t→i", "i→t"]


def test_what_aligns_two_items_is_told_from_what_aligns_one() -> None:
    assert [objective for objective in OBJECTIVES if objective.is_inter] == list(INTER_OBJECTIVES)


@pytest.mark.parametrize("text", ["t=>mm", "mm→t", ""])
def test_another_name_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"there is no objective .*; they are t→mm, i→mm") as refusal:
        parse_objective(text)
    assert "\n" not in str(refusal.value)
