"""The three views of an item and the five alignment objectives, as values.

A view is what of an item is embedded: its text (t), its images (i), or both (mm). An objective aligns one view of a
query with one view of a product (arXiv 2511.12449, M = 5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from moon2.errors import UserError

View = Literal["t", "i", "mm"]
VIEWS: tuple[View, ...] = ("t", "i", "mm")


@dataclass(frozen=True, slots=True)
class Objective:
    """A view of the query aligned with a view of the product; within a product, both sides are the same product.

    >>> str(Objective(query="t", product="mm"))
    't→mm'
    """

    query: View
    product: View

    def __str__(self) -> str:
        return f"{self.query}→{self.product}"

    @property
    def is_inter(self) -> bool:
        """Whether it aligns a query with another item, the product; the others align two views of one product."""
        return self.product == "mm"


INTER_OBJECTIVES = (Objective("t", "mm"), Objective("i", "mm"), Objective("mm", "mm"))
INTRA_OBJECTIVES = (Objective("i", "t"), Objective("t", "i"))
OBJECTIVES = (*INTER_OBJECTIVES, *INTRA_OBJECTIVES)
"""In the order of the columns of the dual-alignment matrix W*."""
DIRECTIONS = (*INTER_OBJECTIVES, *reversed(INTRA_OBJECTIVES))
"""The retrieval directions of an evaluation, in the order of the published table."""


def parse_objective(text: str) -> Objective:
    """The objective that a setting names, such as "t→mm", which may be typed t2mm or t->mm too.

    Raises:
        UserError: there is no such objective.
    """
    name = re.sub("->|2", "→", text.strip())
    for objective in OBJECTIVES:
        if str(objective) == name:
            return objective
    raise UserError(f"there is no objective {text!r}; they are {', '.join(map(str, OBJECTIVES))}")
