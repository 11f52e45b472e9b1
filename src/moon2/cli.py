"""The command line: one verb, one function of the package; the verbs themselves are in `moon2.commands`.

A verb's parser is made only when it is typed. What a user can mend ends in one line and exit code 2; only moon2's own
faults show a traceback.
"""

from __future__ import annotations

import errno
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from moon2.commands import VERBS
from moon2.commands.verb import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

EXIT_MENDABLE, EXIT_INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, `sys.argv` when none is given; returns the exit code."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(typed)
    except SystemExit as stop:  # the parser's own way to end after help
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return _complain(f"stopped; {_how_to_go_on(typed)}", EXIT_INTERRUPTED)
    except Exception as error:
        message = _mendable(error)
        if message is None:
            raise
        return _complain(message, EXIT_MENDABLE)
    return 0


def _dispatch(typed: list[str]) -> None:
    if not typed or typed[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    if typed[0] == "--version":
        print(f"moon2 {version('moon2')}")
        return
    name = typed[0]
    if name not in VERBS:
        kind = "option" if name.startswith("-") else "verb"
        raise UsageError(f"there is no {kind} {name!r}; verbs are {', '.join(VERBS)}: see `moon2 --help`")
    from jsonargparse import ArgumentError

    try:
        parsed = _parser(name).parse_args(typed[1:], defaults=False)
    except ArgumentError as error:
        # 'Parser key "limit": Expected a <class 'int'>.' in words that a user typed.
        message = re.sub(r"<class '(\w+)'>", r"\1", re.sub(r'Parser key "([^"]+)"', r"--\1", str(error)))
        raise UsageError(f"{name}: {message}; see `moon2 {name} --help`") from None
    VERBS[name].run(parsed)


def _parser(name: str) -> ArgumentParser:
    from argparse import SUPPRESS, RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        """Defaults shown, descriptions printed as they are written."""

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    verb = VERBS[name]
    parser = ArgumentParser(
        prog=f"moon2 {name}",
        usage=f"moon2 {name} {verb.usage}",
        description=verb.help,
        formatter_class=Formatter,
        exit_on_error=False,
    )
    verb.arguments(parser)
    for action in parser._actions:
        if action.metavar == "CONFIG":  # a file for one section alone: nobody needs it, and it doubles the list
            action.help = SUPPRESS
    return parser


def _overview() -> str:
    lines = [f"  {name:<10}{verb.help.splitlines()[0]}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: moon2 VERB …",
            "",
            "Makes one embedding space of a shop's products: text, photos, or both (MOON2.0, arXiv 2511.12449).",
            "",
            "verbs:",
            *lines,
            "",
            "Begin with `moon2 demo`. `moon2 VERB --help` explains a verb; `moon2 --version` tells the version.",
        ]
    )


def _complain(message: str, code: int) -> int:
    print(f"moon2: {' '.join(message.split())}", file=sys.stderr)
    return code


def _mendable(error: Exception) -> str | None:
    """The line for a user, or None when the fault is moon2's own and the traceback is wanted."""
    if isinstance(error, ValueError) and type(error).__module__.partition(".")[0] == "moon2":
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC):
        return f"{error.filename or 'writing a file'}: {error.strerror}; choose another folder, or make room for it"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be imported to be known
        return "the device's memory is full; lower --training.batch_size or --input.max_pixels"
    return None


def _how_to_go_on(typed: Sequence[str]) -> str:
    command = shlex.join(["moon2", *typed])
    if typed[:1] == ["train"]:
        return f"go on from the last checkpoint with: {command}{'' if '--resume' in typed else ' --resume'}"
    if typed[:1] in (["demo"], ["augment"], ["compare"], ["ablate"]):
        return f"go on with the same command: {command}"
    if typed[:1] in (["import"], ["shop"]):
        return f"no catalogue was written; start again with: {command}"
    return f"start again with: {command}"
