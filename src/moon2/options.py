"""What jsonargparse lets through and no option may be: a key of a file whose value was left out."""

from __future__ import annotations

from argparse import ArgumentError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def require_values(parser: ArgumentParser, config: Namespace) -> Namespace:
    """The parsed options, as they are.

    Raises:
        ArgumentError: one has no value that has one by default, such as a list whose lines were commented out.
    """
    for action in parser._actions:
        if action.default is not None and config.get(action.dest, "") is None:
            raise ArgumentError(None, f"{action.dest} has no value; give one, or leave it out")
    return config
