"""The command line: each command is a function of the package, and its signature gives the options.

Parameters before the `*` are positional, the others are options, and the docstring's text before "Args:" is
the help; jsonargparse checks the values. What the function returns is printed. The modules in `COMMANDS` import torch
only inside functions, so that help comes at once.
"""

from __future__ import annotations

import ast
import errno
import importlib
import inspect
import logging
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from moon2 import progress
from moon2.errors import UserError
from moon2.files import is_disk_full
from moon2.meant import did_you_mean, did_you_mean_option
from moon2.options import require_values

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = {  # in the order in which they are used
    "demo": "moon2.demo:demo",
    "shop": "moon2.catalog.generated_shop.generate:write_shop",
    "import": "moon2.catalog.importing.import_catalog:import_catalog",
    "benchmark build": "moon2.catalog.benchmark.build:build_benchmark",
    "benchmark check": "moon2.evaluate.contamination:check_benchmark",
    "augment prompts": "moon2.augment.prompts:write_prompts",
    "augment": "moon2.augment.pipeline:augment",
    "train": "moon2.train.train:train",
    "evaluate": "moon2.evaluate.evaluate:evaluate",
    "report": "moon2.evaluate.report.report:report",
    "heatmap": "moon2.explain.heatmap:heatmap",
    "embed": "moon2.vectors.embed_catalog:embed",
    "index": "moon2.search.commands:build_index",
    "search": "moon2.search.commands:search",
    "upsert": "moon2.search.commands:upsert",
    "delete": "moon2.search.commands:delete",
    "optimize": "moon2.search.commands:optimize",
    "serve": "moon2.serve.command:serve",
    "predict": "moon2.search.predict:predict",
    "duplicates": "moon2.search.duplicates:duplicates",
    "push": "moon2.push:push",
    "compare": "moon2.experiments.compare:compare",
    "ablate": "moon2.experiments.compare:ablate",
}
GROUPS = {name.split()[0] for name in COMMANDS} - COMMANDS.keys()
"""First words that are no commands by themselves, such as `benchmark`."""
FLATTENED = ("recipe", "settings")
"""Parameters whose fields are options without a prefix."""
QUIET = "--quiet"
RESUMABLE = ("demo", "augment", "embed", "upsert", "compare", "ablate")
"""Commands that continue where they were stopped when they are given again."""
QUIET_LIBRARIES = ("torch", "transformers", "accelerate", "huggingface_hub", "tensorboard")
"""Their notices are about code, not about what a user of the command line can change."""


class UsageError(UserError):
    """The command line cannot be understood; the message says where its help is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, from `sys.argv` when no arguments are given.

    Returns:
        The exit code: 0 for success, 2 for something the user can fix, 130 for an interruption. A fault of moon2 itself
        keeps its traceback.
    """
    args = list(sys.argv[1:] if arguments is None else arguments)
    quiet = QUIET in args
    args = [word for word in args if word != QUIET]
    _set_up_terminal(quiet=quiet)
    try:
        _run(args)
    except SystemExit as stop:  # argparse ends this way after help
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return _fail(f"stopped; {_how_to_go_on(args)}", 130)
    except Exception as error:
        message = _user_message(error, args[0] if args else "")
        if message is None:
            raise
        return _fail(message, 2)
    return 0


def _run(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        _print(_overview())
    elif args[0] == "--version":
        _print(f"moon2 {version('moon2')}")
    elif args[0] in GROUPS and set(args[1:2]) <= {"-h", "--help", "help"}:
        _print(_overview(args[0]))
    else:
        group = args[0] if args[0] in GROUPS else ""
        asked = " ".join(args[: 2 if group else 1])
        command = next((name for name in COMMANDS if args[: len(name.split())] == name.split()), asked)
        # A function of moon2 is a command too: so `moon2 compare` trains its peers.
        path = command if re.fullmatch(r"moon2(\.\w+)+:\w+", command) else COMMANDS.get(command)
        if path is None:
            kind = "option" if command.rpartition(" ")[2].startswith("-") else "command"
            known = _commands(group)
            near = did_you_mean(command, known) or f"; commands are {', '.join(known)}:"
            raise UsageError(f"there is no {kind} {command!r}{near} see `{' '.join(['moon2', *group.split()])} --help`")
        result = call(path, args[len(command.split()) :], command)
        if result is not None:
            _print(str(result))


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still writes when it ends


def call(path: str, args: Sequence[str], command: str) -> object:
    """Calls a function with command-line arguments.

    Args:
        path: "module:function".
        args: the arguments, without the command's name.
        command: its name, for messages.

    Raises:
        UsageError: the arguments do not fit the function.
    """
    module, _, name = path.partition(":")
    function = getattr(importlib.import_module(module), name)
    from jsonargparse import ArgumentError

    parser = make_parser(function, command)
    files, typed = _config_and_typed(args)
    try:
        values = vars(parser.instantiate(require_values(parser, parser.parse_args([*files, *typed]))))
    except ArgumentError as error:
        where = f"{' '.join(files)}: " if files and _fails_alone(parser, files, str(error)) else ""
        near = did_you_mean_option(str(error), (action.dest for action in parser._actions)) or ";"
        raise UsageError(f"{command}: {where}{_in_typed_words(error)}{near} see `moon2 {command} --help`") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{command}: {' '.join(files)}: cannot be read ({error}); save it as UTF-8") from None
    del values["config"], values["quiet"]
    for name, parameter in _parameters(function).items():
        if name in FLATTENED:
            fields = parameter.annotation.__dataclass_fields__
            values[name] = parameter.annotation(**{field: values.pop(field) for field in fields})
        elif get_origin(parameter.annotation) is tuple:
            values[name] = tuple(values[name])
    return function(**values)


def make_parser(function: Callable[..., object], command: str) -> ArgumentParser:
    """The parser of a command.

    The fields of a parameter called `recipe` or `settings` are options without a prefix; those of another dataclass
    have the parameter's name before them. A parameter called `layout` is typed `--as`. A tuple takes several words. A
    switch needs no value.
    """
    from argparse import SUPPRESS, RawDescriptionHelpFormatter

    import docstring_parser
    from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
        """Shows defaults, and prints the description as it is written."""

        def _expand_help(self, action: Any) -> str:
            text = re.sub(r"<class '(\w+)'>", r"\1", super()._expand_help(action))
            # The values stand after the option's name already.
            return re.sub(r"type: (?:Optional\[)?Literal\[[^]]*\]\]?, ", "", text)

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    doc = inspect.getdoc(function) or ""
    help_of = {param.arg_name: param.description for param in docstring_parser.parse(doc).params}
    parser = ArgumentParser(
        prog=f"moon2 {command}",
        usage=_usage(function, command),
        description=re.split(r"\n\s*(?:Args|Returns|Raises):\n", doc)[0],
        formatter_class=Formatter,
        exit_on_error=False,
        allow_abbrev=False,  # "--training.step" is a mistake, not "--training.steps"
    )
    parser.add_argument("--config", action="config", help="YAML file of options; those typed here win over it")
    # `main` takes it away; it is here to be explained.
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings, errors and the result")
    for name, parameter in _parameters(function).items():
        kind, default, option = parameter.annotation, parameter.default, _option(name)
        if is_dataclass(kind):
            parser.add_class_arguments(kind, None if name in FLATTENED else name)
        elif parameter.kind is not parameter.KEYWORD_ONLY and get_origin(kind) is tuple:
            some = {"nargs": "+"} if default is parameter.empty else {"nargs": "*", "default": list(default)}
            parser.add_argument(name, type=get_args(kind)[0], help=help_of[name], **some)
        elif parameter.kind is not parameter.KEYWORD_ONLY and default is not parameter.empty:
            parser.add_argument(name, nargs="?", type=kind, default=default, help=help_of[name])
        elif get_origin(kind) is tuple:
            element, values = get_args(kind)[0], list(default)  # jsonargparse changes the default's elements in place
            parser.add_argument(f"--{name}", nargs="*", type=element, default=values, help=help_of[name])
        elif default is not parameter.empty:
            parser.add_argument(option, dest=name, type=kind, default=default, help=help_of[name])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parser.add_argument(option, dest=name, type=kind, required=True, help=help_of[name])
        else:
            parser.add_argument(name, type=kind, help=help_of[name])
    for action in parser._actions:
        if action.metavar == "CONFIG" and action.dest != "config":
            action.help = SUPPRESS  # a file for one section alone: nobody needs it, and it doubles the list
        if bool in (action.type, getattr(action, "_typehint", None)):
            action.nargs, action.const = "?", True
    return parser


def _parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function, eval_str=True).parameters


def _option(name: str) -> str:
    return "--as" if name == "layout" else f"--{name}"  # "as" is a word of Python


def _usage(function: Callable[..., object], command: str) -> str:
    """Names what must be given; the list of options shows the rest."""
    words = [f"moon2 {command}"]
    for name, parameter in _parameters(function).items():
        if is_dataclass(parameter.annotation):
            continue
        if parameter.default is not parameter.empty:
            words += [] if parameter.kind is parameter.KEYWORD_ONLY else [f"[{name.upper()}]"]
            continue
        is_option = parameter.kind is parameter.KEYWORD_ONLY
        words.append(f"{_option(name)} {name.upper()}" if is_option else name.upper())
    return " ".join([*words, "[options]"])


def _config_and_typed(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The `--config` options, and the rest.

    jsonargparse lets the later win. Given in this order, a typed option wins over the file, wherever either stands.
    """
    files: list[str] = []
    rest = list(args)
    for index in range(len(args) - 1, -1, -1):
        width = 2 if args[index] == "--config" else 1 if args[index].startswith("--config=") else 0
        files[:0] = rest[index : index + width]
        del rest[index : index + width]
    return files, rest


def _fails_alone(parser: ArgumentParser, files: Sequence[str], message: str) -> bool:
    """Whether the files are to blame for an error: without what was typed it is the same."""
    from jsonargparse import ArgumentError

    try:
        parser.parse_args(list(files))
    except ArgumentError as error:
        return str(error) == message and "are required" not in message
    return False


def _in_typed_words(error: Exception) -> str:
    """jsonargparse's message, such as 'Parser key "limit": Expected a <class 'int'>.', in a command line's words."""
    message = re.sub(r'Parser key "([^"]+)"', r"--\1", str(error))
    message = re.sub(r"(--)?\blayout\b", "--as", message)
    message = re.sub(r"a typing\.Literal\[([^]]+)\]", r"one of \1", message)
    return " ".join(re.sub(r"<class '(\w+)'>", r"\1", message).split())


def _commands(group: str) -> list[str]:
    return [name for name in COMMANDS if not group or name.startswith(f"{group} ")]


def _overview(group: str = "") -> str:
    """The commands, or those of a group."""
    lines = [f"  {name:<17}{_summary(COMMANDS[name])}" for name in _commands(group)]
    if group:
        return "\n".join([f"usage: moon2 {group} COMMAND …", "", "commands:", *lines])
    return "\n".join(
        [
            "usage: moon2 COMMAND …",
            "",
            "Learns one embedding space for a shop's products: text, images, or both (MOON2.0, arXiv 2511.12449).",
            "",
            "commands:",
            *lines,
            "",
            "Begin with `moon2 demo`. `moon2 COMMAND --help` explains a command; `moon2 --version` tells the version.",
            "`--quiet` with any command: nothing but warnings, errors and the result.",
        ]
    )


def _summary(path: str) -> str:
    """The first line of a function's docstring, read without importing its module."""
    module, _, name = path.partition(":")
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    raise LookupError(path)


class _TerminalHandler(logging.Handler):
    """Log records as lines on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "moon2: " if record.levelno >= logging.WARNING else ""
        progress.write_line(prefix + record.getMessage())


def _set_up_terminal(*, quiet: bool) -> None:
    # transformers reads these when it is imported; the tokenizer's threads only warn about the data loader's processes.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logger = logging.getLogger("moon2")
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    progress.set_quiet(quiet)
    if not any(isinstance(handler, _TerminalHandler) for handler in logger.handlers):
        logger.addHandler(_TerminalHandler())
    if not sys.warnoptions:
        for library in QUIET_LIBRARIES:
            warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")


def _fail(message: str, code: int) -> int:
    print(f"moon2: {' '.join(message.split())}", file=sys.stderr)
    return code


def _user_message(error: Exception, command: str) -> str | None:
    """The line for the user of this command; None for a fault of moon2, which keeps its traceback."""
    if isinstance(error, UserError):
        return str(error)
    if is_disk_full(error):
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        return f"{where}the disk is full; make room on it or choose another folder. What was there before is kept"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename or 'writing a file'}: {error.strerror}; choose another folder"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be imported to be known
        remedy = (
            "set or lower --training.chunk_tokens, or lower --input.max_pixels"
            if command == "train"
            else "end what else uses it, or compute on the CPU: CUDA_VISIBLE_DEVICES= moon2 …"
        )
        return f"the device's memory is full; {remedy}"
    return None


def _how_to_go_on(args: Sequence[str]) -> str:
    command = shlex.join(["moon2", *args])
    if args[:1] == ["train"]:
        return f"go on from the last checkpoint with: {command}{'' if '--resume' in args else ' --resume'}"
    if args and args[0] in RESUMABLE:
        return f"go on with the same command: {command}"
    return f"start again with: {command}"
