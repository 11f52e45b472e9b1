"""What ranks products for a query, as evaluation sees it: an index, which names the class that opens it.

Evaluation and search stand side by side and do not import each other. So a folder that can rank has a file that says
which class of moon2 opens it, as a saved peer says which network it is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

import numpy as np

from moon2.errors import UserError
from moon2.vectors.product_texts import TextFields
from moon2.views import View

if TYPE_CHECKING:
    from moon2.encoders.protocol import VectorEncoder

POINTER = "index.json"
OPENED_BY = "opened_by"


class RankerError(UserError):
    """A folder cannot be opened as what ranks."""


class RankedProduct(Protocol):
    """A product that was found; equal scores of equal exactness are a tie."""

    @property
    def id(self) -> str:
        """Of the product."""

    @property
    def score(self) -> float:
        """By which hits are ordered, those of equal `exact`."""

    @property
    def exact(self) -> str:
        """ "id", "title" or "": a product that the query names comes before all others."""


class Ranker(Protocol):
    """What evaluation needs of an index."""

    @property
    def encoder(self) -> VectorEncoder:
        """Embeds the queries."""

    @property
    def dimension(self) -> int:
        """D, numbers of a vector."""

    @property
    def text(self) -> TextFields:
        """What keyword search reads of a product."""

    @property
    def is_approximate(self) -> bool:
        """Whether a search may miss what an exact one finds."""

    def ids(self) -> Collection[str]:
        """Of all products."""

    def rank(
        self,
        vector: np.ndarray | None,
        text: str = "",
        view: View = "t",
        *,
        where: str | None = None,
        limit: int = 10,
        exact: bool = False,
    ) -> Sequence[RankedProduct]:
        """The best products by vector, by words, or by both."""


def open_ranker(folder: Path) -> Ranker | None:
    """Opens what ranks; None where the folder is something else.

    Raises:
        RankerError: it names a class that moon2 does not have.
    """
    try:
        path = json.loads((folder / POINTER).read_text(encoding="utf-8"))[OPENED_BY]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:  # from moon2 alone, so that a folder cannot run other code
        kind = resolve_name(path) if str(path).startswith("moon2.") else None
    except (ImportError, AttributeError, ValueError):
        kind = None
    if kind is None or not hasattr(kind, "open"):
        raise RankerError(f"{folder / POINTER}: names {path!r}, which this moon2 does not have; build the index anew")
    return kind.open(folder)
