"""The command line: one verb, one function; arguments in, one function of the package called.

A verb's function has its help as docstring. Its parser is made only when the verb is typed, and what it needs is
imported inside it, so that help comes at once and without torch. Results go to standard output, progress and complaints
to standard error. What a user can mend ends in one line and exit code 2; only moon2's own faults show a traceback.
"""

from __future__ import annotations

import errno
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

EXIT_MENDABLE, EXIT_INTERRUPTED = 2, 130


class UsageError(ValueError):
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
    if typed[:1] == ["demo"]:
        return f"go on with the same command: {command}"
    if typed[:1] in (["import"], ["shop"]):
        return f"no catalogue was written; start again with: {command}"
    return f"start again with: {command}"


def _import_arguments(parser: ArgumentParser) -> None:
    from moon2.catalog.tables import ColumnMapping, LogMapping

    parser.add_argument("source", help="file, folder or glob (csv, parquet), hub id (hub), folder (fashion-log)")
    formats = ("csv", "parquet", "hub", "fashion-log")
    parser.add_argument("--as", required=True, choices=formats, help="what SOURCE is")
    parser.add_argument("--out", required=True, metavar="DATA", help="folder of the new catalogue")
    parser.add_argument("--log", metavar="FILE", help="CSV or Parquet table of the search log: queries and purchases")
    parser.add_argument("--subset", metavar="NAME", help="configuration of a hub dataset")
    parser.add_argument("--refer", action="store_true", help="leave pictures where they are and keep only their paths")
    parser.add_argument("--fetch", action="store_true", help="download pictures that are URLs into the catalogue")
    private = "with --fetch, also from hosts in private networks and on this machine"
    parser.add_argument("--allow_private_hosts", action="store_true", help=private)
    parser.add_argument("--title", help="title of the dataset card; the name of SOURCE when not given")
    parser.add_argument("--licence", default="unknown", help="licence on the dataset card, such as cc-by-4.0")
    parser.add_argument("--overwrite", action="store_true", help="replace the catalogue at DATA")
    parser.add_class_arguments(ColumnMapping, "columns")
    parser.add_class_arguments(LogMapping, "log_columns")


def _import(typed: Namespace) -> None:
    """Makes a catalogue of your table of products and, if you have one, your search log.

    Columns are found by their usual names; name those that are not. Rows that cannot be used are put
    aside with a reason in DATA/rejects.parquet, and the rest goes on. Picture URLs stay URLs, unread,
    unless you ask with --fetch.

    examples:
      moon2 import products.csv --as csv --out data/mine --columns.title product_name
      moon2 import products.parquet --as parquet --out data/mine --log searches.csv
      moon2 import ashraq/fashion-product-images-small --as hub --out data/fashion
    """
    from moon2.catalog.importing import import_catalogue
    from moon2.catalog.tables import ColumnMapping, LogMapping

    columns, log_columns = typed.get("columns"), typed.get("log_columns")
    result = import_catalogue(
        typed["source"],
        typed["out"],
        format=typed["as"],
        columns=ColumnMapping(**vars(columns)) if columns else None,
        log=typed.get("log"),
        log_columns=LogMapping(**vars(log_columns)) if log_columns else None,
        subset=typed.get("subset"),
        embed_images=not typed.get("refer"),
        fetch_images=typed.get("fetch", False),
        allow_private_hosts=typed.get("allow_private_hosts", False),
        title=typed.get("title"),
        licence=typed.get("licence", "unknown"),
        overwrite=typed.get("overwrite", False),
    )
    print(result)
    if result.unfetched:
        told = f"{result.unfetched:,} pictures are URLs, which training and evaluation cannot read"
        print(f"{told}; download them by importing with --fetch", file=sys.stderr)


def _shop_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DATA", help="folder of the new catalogue")
    parser.add_argument("--products", type=int, default=600, help="products, of both splits together; at least 60")
    parser.add_argument("--queries", type=int, default=600, help="rows of the training log")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw; the same seed gives the same shop")
    parser.add_argument("--overwrite", action="store_true", help="replace the catalogue at DATA")


def _shop(typed: Namespace) -> None:
    """Writes the generated shop as a catalogue, to see the format or to try things on.

    Drawn product photos, titles, and a search log with known mistakes (they are listed in noise.parquet,
    which training never reads). It opens with datasets.load_dataset(DATA, "products", split="train").

    example:
      moon2 shop --out data/shop
    """
    from moon2.catalog.synthetic import write_shop

    catalogue = write_shop(**{"folder" if name == "out" else name: value for name, value in vars(typed).items()})
    train, test = (len(catalogue.interactions(split)) for split in ("train", "test"))
    print(f"{typed['out']}: {len(catalogue):,} products, {train:,} training queries, {test:,} test queries")


def _train_arguments(parser: ArgumentParser) -> None:
    from moon2.recipe import Recipe

    parser.add_argument("--config", metavar="RECIPE", help="YAML recipe; what it leaves open has the defaults below")
    parser.add_argument("--data", required=True, help="folder of the catalogue")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN, if there is one")
    parser.add_class_arguments(Recipe, None)


def _train(typed: Namespace) -> None:
    """Trains an encoder on a catalogue, from its search log or from triplets mined in it.

    Settings come from the recipe; those typed here win over it. A run that was stopped goes on with
    --resume, to the same losses. RUN then holds model/ (the encoder), recipe.yaml, history.jsonl,
    tensorboard/ and checkpoints/.

    example:
      moon2 train --config recipes/tiny.yaml --data data/shop --out runs/shop --training.steps 300
    """
    from moon2.catalog.store import Catalogue
    from moon2.recipe import load_recipe

    own = ("config", "data", "out", "resume")
    settings = [(name, value) for name, value in typed.items() if name not in own]
    overrides = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings]
    recipe = load_recipe(typed.get("config"), overrides)
    Catalogue.open(typed["data"])  # before torch is loaded: a mistyped folder should cost no seconds

    from moon2.runs import train_run

    result = train_run(recipe, typed["data"], typed["out"], resume=typed.get("resume", False))
    print(
        f"{result.folder}: trained {result.steps:,} steps in {result.seconds:.0f} s; the encoder is in "
        f"{result.folder / 'model'}; score it with `moon2 evaluate {result.folder} --data {typed['data']}`"
    )


def _evaluate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", help="folder of the run, or of a saved encoder")
    parser.add_argument("--data", required=True, help="folder of a catalogue with test queries")
    parser.add_argument("--out", metavar="FILE", help="JSON file to write; RUN/evaluation.json when not given")
    parser.add_argument("--limit", type=int, help="for a quick look: at most so many products and queries")


def _evaluate(typed: Namespace) -> None:
    """Scores a trained encoder on a catalogue's test queries, and prints the table.

    Retrieval in five directions (t text, i photo, mm both: t→mm is words finding products) as R@1, R@5
    and R@10, and labels predicted without a classifier. The same figures are written as JSON.

    example:
      moon2 evaluate runs/shop --data data/shop
    """
    from moon2.runs import evaluate_run

    limit = typed.get("limit")
    if limit is not None and limit < 1:
        raise UsageError(f"evaluate: --limit is {limit}; it must be 1 or more, or left out to use everything")
    out = Path(typed.get("out") or Path(typed["run"]) / "evaluation.json")
    evaluation = evaluate_run(typed["run"], typed["data"], limit=limit)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(evaluation.to_json(), encoding="utf-8")
    print(evaluation.to_text())


def _report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", help="folder of a run that was evaluated")
    parser.add_argument("--data", required=True, help="folder of the catalogue it was evaluated on, for the pictures")


def _report(typed: Namespace) -> None:
    """Writes RUN/report.html: curves, scores, and what example queries find.

    One file with nothing beside it, from what `moon2 train` and `moon2 evaluate` left in RUN.

    example:
      moon2 report runs/shop --data data/shop
    """
    from moon2.runs import report_run

    command = shlex.join(["moon2", "report", typed["run"], "--data", typed["data"]])
    print(report_run(typed["run"], typed["data"], command=command))


def _demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", default="runs/demo", help="folder of the demo, which it owns")


def _demo(typed: Namespace) -> None:
    """Generates a shop, trains on it and shows what was learned, in minutes on two cores.

    Needs no network. It ends with a table of scores and writes report.html. Stopped in the middle and
    run again, it goes on; run again when it is done, it starts over.

    example:
      moon2 demo
    """
    from moon2.demo import run_demo

    run_demo(typed.get("out", "runs/demo"))


VERBS = {
    "demo": Verb(_demo, _demo_arguments, "[--out runs/demo]"),
    "shop": Verb(_shop, _shop_arguments, "--out DATA [--products 600] [--queries 600] [--seed 0] [--overwrite]"),
    "import": Verb(
        _import, _import_arguments, "SOURCE --as FORMAT --out DATA [--log FILE] [--columns.title NAME …] [options]"
    ),
    "train": Verb(
        _train, _train_arguments, "--config RECIPE --data DATA --out RUN [--resume] [--training.steps 300 …]"
    ),
    "evaluate": Verb(_evaluate, _evaluate_arguments, "RUN --data DATA [--out FILE.json] [--limit N]"),
    "report": Verb(_report, _report_arguments, "RUN --data DATA"),
}
