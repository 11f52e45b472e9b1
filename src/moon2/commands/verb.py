"""What a verb of the command line is. Results go to standard output, progress and complaints to standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING

from moon2.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


class UsageError(UserError):
    """The command was typed wrong; the message says where its help is."""


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    Attributes:
        run: does it, from the arguments that were typed (those left out are not in the namespace); its docstring is
            the verb's help, the first line the summary.
        arguments: adds its arguments to a parser.
        usage: how it is typed.
    """

    run: Callable[[Namespace], None]
    arguments: Callable[[ArgumentParser], None]
    usage: str

    @property
    def help(self) -> str:
        """What there is to know before using it, with an example."""
        return cleandoc(self.run.__doc__ or "")
