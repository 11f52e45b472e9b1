"""What is compared: every variant of the method, and every peer, is a list of settings over one recipe.

So a peer sees the same triplets, images, tokenizer, optimizer and schedule as MOON2.0; what differs is listed here.
Each peer gets a dense network of the size that is active in ours, as far as the backbone can be resized (`tiny` can; a
pretrained one keeps its own width).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moon2.recipe import Recipe
from moon2.views import INTER_OBJECTIVES, INTRA_OBJECTIVES, Objective

logger = logging.getLogger(__name__)
OURS = "MOON2.0"
PEERS = "moon2.experiments.peers"
SAME_BUDGET = 0.1
"""Runs whose tokens or seconds differ by less than this share count as of equal budget."""
MOON_MIXTURE = {"i→mm": 12.0, "t→mm": 3.0, "mm→mm": 2.0}
"""Image to text to joint queries in MOON (arXiv 2511.11305 and 2508.11999), here as shares of the loss."""


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: as it is called in the tables.
        settings: recipe settings such as `filter.enabled=false` over the experiment's own recipe.
        log_noise: share of false purchases in the log it learns from; None: the log as it is.
        published: the row of the published table that it repeats, "" for none.
        trainer: the command that trains it: `train`, or a peer's function as "module:function".
    """

    name: str
    settings: tuple[str, ...] = ()
    log_noise: float | None = None
    published: str = ""
    trainer: str = "train"


def peers(recipe: Recipe) -> list[Variant]:
    """MOON2.0 as the recipe has it, and the ways to train that a team would try instead."""
    dense = _dense(recipe, recipe.experts.active)
    equal = ("alignment.balance=fixed", "filter.enabled=false", "augmentations.use=none")
    return [
        Variant(OURS, published="MOON2.0"),
        Variant("CLIP-style dual encoder", (*dense, *equal), trainer=f"{PEERS}.two_towers:train"),
        Variant(
            "single InfoNCE (VLM2Vec-style)",
            (*dense, 'alignment.objectives={"mm→mm": 1}', "augmentations.use=none", "training.dimensions=null"),
            trainer=f"{PEERS}.single_loss:train",
        ),
        Variant("fixed 12:3:2 mixture (MOON)", (_setting(MOON_MIXTURE), *equal), published="MOON (predecessor)"),
        Variant(
            "sentence-transformers",
            (
                *dense,
                "augmentations.use=none",
                "training.hard_negatives=0",
                "training.dimensions=null",
                "training.teacher=[]",
            ),
            trainer=f"{PEERS}.sentence_transformers:train",
        ),
    ]


def ablations(recipe: Recipe, *, augmented: bool, noise: Sequence[float] = ()) -> list[Variant]:
    """MOON2.0 as the recipe has it, and without each of its parts.

    Args:
        recipe: the whole method.
        augmented: the catalog was augmented; a recipe that does not use its augmentations is then tried with them.
        noise: shares of false purchases at which the method is tried with and without the filter.
    """
    variants = [
        Variant(OURS, published="MOON2.0"),
        *_without_experts(recipe),
        *_without_alignment(recipe),
        Variant("without learned weights", ("alignment.balance=fixed",)),
        Variant("without filtering", ("filter.enabled=false",), published="without filtering"),
    ]
    if recipe.augmentations.use != "none":
        name = "without co-augmentation"
        variants.append(Variant(name, ("augmentations.use=none",), published=name))
    elif augmented:
        variants.append(Variant("with co-augmentation", ("augmentations.use=draw",)))
    for share in noise:
        variants.append(Variant(name_with_noise(OURS, share), (), share))
        variants.append(Variant(name_with_noise("without filtering", share), ("filter.enabled=false",), share))
    return variants


def name_with_noise(name: str, log_noise: float | None) -> str:
    """How a variant is called that learns from a log with a chosen share of noise; None: the log as it is."""
    return name if log_noise is None else f"{name}, {100 * log_noise:g}% noise"


def _without_experts(recipe: Recipe) -> list[Variant]:
    if not _resizable(recipe):
        return [Variant("dense, the backbone's own size", _dense(recipe, 1), published="without MoE")]
    sizes = {"active": recipe.experts.active, "total": recipe.experts.count}
    return [
        Variant(f"dense, equal {name} size", _dense(recipe, k), published="without MoE") for name, k in sizes.items()
    ]


def _without_alignment(recipe: Recipe) -> list[Variant]:
    """Without the objectives between products, and without those within one, where the recipe trains both."""
    kept = {"inter": _objectives(recipe, INTRA_OBJECTIVES), "intra": _objectives(recipe, INTER_OBJECTIVES)}
    if not all(kept.values()):
        names = ", ".join(recipe.alignment.objectives)
        logger.warning("left out inter- and intra-product alignment: without one of them, nothing of %s is left", names)
        return []
    return [
        Variant(f"without {level}-product alignment", (_setting(objectives),), published="without dual-level alignment")
        for level, objectives in kept.items()
    ]


def _dense(recipe: Recipe, width: int) -> tuple[str, ...]:
    """One expert, `width` times as wide where the backbone can be resized, which starts as the backbone does."""
    experts = ("experts.count=1", "experts.active=1", "experts.noise=0")
    if not _resizable(recipe):
        return experts
    return (*experts, f"backbone.tiny.feed_forward={width * recipe.backbone.tiny.feed_forward}")


def _resizable(recipe: Recipe) -> bool:
    """Pretrained layers have the width they have, and where only some layers have experts, not all may be widened."""
    return recipe.backbone.name == "tiny" and recipe.experts.layers is None


def _objectives(recipe: Recipe, objectives: Sequence[Objective]) -> dict[str, float]:
    """Of these objectives, those that the recipe trains, with their shares."""
    return {str(objective): share for objective, share in recipe.alignment.shares.items() if objective in objectives}


def _setting(objectives: Mapping[str, float]) -> str:
    return f"alignment.objectives={json.dumps(objectives, ensure_ascii=False)}"
