"""What is compared: every variant of the method, and every peer, is a list of settings over one recipe.

So a peer sees the same triplets, pictures, tokenizer, optimiser and schedule as MOON2.0; what differs stands here. Each
peer gets a dense network of the size that is active in ours, as far as the backbone can be resized (`tiny` can; a
pretrained one keeps its own width).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from moon2.recipe import OBJECTIVES, Recipe

OURS = "MOON2.0"
SAME_BUDGET = 0.1
"""Runs whose tokens or seconds differ by less than this share count as of equal budget."""
MOON_MIXTURE = {"i→mm": 12.0, "t→mm": 3.0, "mm→mm": 2.0}
"""Image to text to joint queries in MOON (arXiv 2511.11305 and 2508.11999), here as shares of the loss."""


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: as it stands in the tables.
        settings: recipe settings such as `filter.enabled=false` over the experiment's own recipe.
        log_noise: share of false purchases in the log it learns from; None: the log as it is.
        published: the row of the published table that it repeats, "" for none.
    """

    name: str
    settings: tuple[str, ...] = field(default=())
    log_noise: float | None = None
    published: str = ""


def peers(recipe: Recipe) -> list[Variant]:
    """MOON2.0 as the recipe has it, and the ways to train that a team would try instead."""
    dense = _dense(recipe, recipe.experts.active)
    equal = ("alignment.balance=fixed", "filter.enabled=false", "augmentations.use=none")
    single = f"alignment.objectives={json.dumps({'mm→mm': 1}, ensure_ascii=False)}"
    mixture = f"alignment.objectives={json.dumps(MOON_MIXTURE, ensure_ascii=False)}"
    return [
        Variant(OURS, published="MOON2.0"),
        Variant("CLIP-style dual encoder", (*dense, "backbone.fusion=late", *equal)),
        Variant("single InfoNCE (VLM2Vec-style)", (*dense, single, "alignment.partial_queries=true", *equal)),
        Variant("fixed 12:3:2 mixture (MOON)", (mixture, *equal), published="MOON (predecessor)"),
        Variant("sentence-transformers", (*dense, "training.trainer=sentence-transformers", "augmentations.use=none")),
    ]


def ablations(recipe: Recipe, *, augmentations: bool, noise: Sequence[float] = ()) -> list[Variant]:
    """MOON2.0 as the recipe has it, and without each of its parts.

    Args:
        recipe: the whole method.
        augmentations: the catalog was augmented; a recipe that leaves its augmentations aside is then tried with them.
        noise: shares of false purchases at which the method is tried with and without the filter.
    """
    between, within = (_objectives(recipe, part) for part in (OBJECTIVES[:3], OBJECTIVES[3:]))
    found = [
        Variant(OURS, published="MOON2.0"),
        *_without_experts(recipe),
        Variant("without inter-product alignment", (within,), published="without dual-level alignment"),
        Variant("without intra-product alignment", (between,), published="without dual-level alignment"),
        Variant("without learned weights", ("alignment.balance=fixed",)),
        Variant("without filtering", ("filter.enabled=false",), published="without filtering"),
    ]
    if recipe.augmentations.use != "none":
        found.append(
            Variant("without co-augmentation", ("augmentations.use=none",), published="without co-augmentation")
        )
    elif augmentations:
        found.append(Variant("with co-augmentation", ("augmentations.use=draw",)))
    for share in noise:
        found.append(Variant(name_of(OURS, share), (), share))
        found.append(Variant(name_of("without filtering", share), ("filter.enabled=false",), share))
    return found


def name_of(what: str, log_noise: float | None) -> str:
    """How a variant is called that learns from a log with a chosen share of noise; None: the log as it is."""
    return what if log_noise is None else f"{what}, {100 * log_noise:g}% noise"


def _without_experts(recipe: Recipe) -> list[Variant]:
    if not _resizable(recipe):
        return [Variant("dense, the backbone's own size", _dense(recipe, 1), published="without MoE")]
    sizes = {"active": recipe.experts.active, "total": recipe.experts.count}
    return [
        Variant(f"dense, equal {name} size", _dense(recipe, k), published="without MoE") for name, k in sizes.items()
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


def _objectives(recipe: Recipe, names: Sequence[str]) -> str:
    kept = {name: share for name, share in recipe.alignment.objectives.items() if name in names}
    return f"alignment.objectives={json.dumps(kept, ensure_ascii=False)}"
