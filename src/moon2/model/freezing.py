"""Parts of a network that a run leaves as they are."""

from __future__ import annotations

from collections.abc import Collection

from moon2.model.moon_model import MoonModel
from moon2.recipe import PARTS


def freeze(model: MoonModel, parts: Collection[str]) -> None:
    """Freezes the named parts of the backbone, in place; see `part_of`."""
    for name, weight in model.named_parameters():
        if part_of(model, name) in parts:
            weight.requires_grad_(False)


def part_of(model: MoonModel, name: str) -> str | None:
    """Which of `PARTS` a parameter belongs to; W* is of none."""
    vision, projector, embeddings, decoder = PARTS
    inside, is_backbone, rest = name.partition("backbone.")
    if inside or not is_backbone:
        return None
    if rest.startswith(f"{model.family.decoder}.embed_tokens."):
        return embeddings
    if rest.startswith(f"{model.family.decoder}."):
        return decoder
    return projector if "merger" in rest or "connector" in rest else vision
