"""The verb that adds to a catalog what training learns better with: augment."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from moon2.commands.verb import UsageError, Verb

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def _augment_arguments(parser: ArgumentParser) -> None:
    from moon2.augment.settings import CoAugmentationSettings

    parser.add_argument("data", nargs="?", help="folder of the catalog")
    parser.add_argument("--out", metavar="DATA+", help="folder of the new catalog")
    parser.add_argument(
        "--address", help="Ray cluster to work on, such as auto or ray://host:10001; this machine alone"
    )
    parser.add_argument("--workers", type=int, help="workers of each stage that computes here; one a core")
    parser.add_argument("--overwrite", action="store_true", help="replace the catalog at DATA+")
    write = "write the prompts into a folder, to be changed and given as --prompts; does nothing else"
    parser.add_argument("--write_prompts", metavar="FOLDER", help=write)
    parser.add_class_arguments(CoAugmentationSettings, None)


def _augment(typed: Namespace) -> None:
    """Adds enriched titles and expanded images to a catalog, for training.

    Every product of the training split gets a richer title, a main image without what is not the product,
    and variants of it before other backgrounds, from other viewpoints, in other light. What is not in the
    product's own data is taken out of a title again (grounding); with --consistency.checkpoint, augmentations
    whose picture and title do not belong together are dropped. What was not kept is listed with its reason
    in DATA+/rejected_augmentations.parquet. The test split and the log stay as they are.

    Without further settings it needs no model and no network. Stopped or killed, the same command goes on.
    On a cluster, moon2 must be installed on every node, and DATA and DATA+ on storage that every node sees;
    where the cluster asks for a token, set RAY_AUTH_MODE=token.

    examples:
      moon2 augment data/shop --out data/shop+
      moon2 augment data/shop --out data/shop+ --consistency.checkpoint runs/shop
      moon2 augment data/shop --out data/shop+ --text.provider openai \\
        --text.base_url http://localhost:8000/v1 --text.model Qwen/Qwen3-VL-8B-Instruct --text.concurrency 64
      moon2 augment data/shop --out data/shop+ --address auto --images.provider diffusers \\
        --images.model Qwen/Qwen-Image-Edit-2511
      moon2 augment --write_prompts my-prompts
    """
    if typed.get("write_prompts"):
        from moon2.augment.prompts import write_prompts

        for path in write_prompts(typed["write_prompts"]):
            print(path)
        return
    if not typed.get("data") or not typed.get("out"):
        raise UsageError("augment: give the folder of a catalog and --out for the new one; see moon2 augment --help")
    from moon2.catalog.store import Catalog

    Catalog.open(typed["data"])  # before the libraries are loaded: a mistyped folder should cost no seconds
    from moon2.augment.pipeline import augment_catalog

    print(
        augment_catalog(
            typed["data"],
            typed["out"],
            _settings(typed),
            address=typed.get("address"),
            workers=typed.get("workers"),
            overwrite=typed.get("overwrite", False),
            show_progress=True,
        )
    )


def _settings(typed: Namespace) -> Any:
    from moon2.augment.settings import CoAugmentationSettings, ConsistencySettings, ImageSettings, TextSettings

    stages = {"text": TextSettings, "images": ImageSettings, "consistency": ConsistencySettings}
    given: dict[str, Any] = {name: kind(**vars(typed[name])) for name, kind in stages.items() if typed.get(name)}
    plain = [part.name for part in fields(CoAugmentationSettings) if part.name not in stages]
    return CoAugmentationSettings(**given, **{name: typed[name] for name in plain if name in typed})


VERBS = {
    "augment": Verb(
        _augment,
        _augment_arguments,
        "DATA --out DATA+ [--text.provider rules …] [--images.provider opencv …] [--address …]",
    ),
}
