"""A command for tests of the command line: it has every kind of option, and says what it was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moon2.errors import UserError


@dataclass
class Wrapping:
    """How it is wrapped."""

    paper: str = "plain"
    """Which paper."""
    bows: int = 1
    """How many bows."""

    def __post_init__(self) -> None:
        if self.bows < 0:
            raise UserError(f"wrapping.bows is {self.bows}; it must be 0 or more")


@dataclass
class Settings:
    """Sections of settings."""

    wrapping: Wrapping = field(default_factory=Wrapping)
    """How it is wrapped."""
    limit: int | None = None
    """At most so many."""


def order(
    item: str,
    folder: Path,
    *,
    layout: Literal["box", "bag"],
    settings: Settings,
    sizes: tuple[int, ...] = (1, 2),
    colours: tuple[Literal["red", "blue"], ...] = (),
    gift: bool = False,
) -> str | None:
    """Order an item.

    Nothing is sent.

    example:
      moon2 order shirt there --as box

    Args:
        item: what is ordered; "nothing" prints nothing.
        folder: where to put it.
        layout: what it comes in.
        settings: how it is wrapped.
        sizes: which sizes.
        colours: which colours.
        gift: add a card.
    """
    return None if item == "nothing" else repr((item, folder, layout, settings, sizes, colours, gift))
