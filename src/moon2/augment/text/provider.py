"""Textual enrichment: T⁺ = MLLM_text(T, I, E) of the paper. A provider's name is the name of its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

from moon2.augment.text.entities import Entity
from moon2.augment.text.sanitize import CleanProduct

if TYPE_CHECKING:
    from moon2.augment.prompts import Prompts
    from moon2.augment.settings import TextSettings

PROVIDERS = {
    "rules": "moon2.augment.text.rules:RulesProvider",
    "openai": "moon2.augment.text.openai:OpenAITextProvider",
    "transformers": "moon2.augment.text.transformers:TransformersTextProvider",
}


@dataclass(frozen=True, slots=True)
class Enrichment:
    """What a provider made of one product.

    Attributes:
        text: the enriched title T⁺, one line of plain text; None when there is none.
        reason: why there is none, as "code: one line"; else "".
        tokens_in, tokens_out: tokens that a model read and wrote.
    """

    text: str | None
    reason: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


class TextProvider(Protocol):
    """What turns products and their entities into enriched titles.

    Attributes:
        name, model, prompt: for provenance: the provider, its model and the version of its prompt; "" where there is
            none.
        batch_size: most products of one call.
        concurrency: calls under way at once, from threads.
    """

    name: str
    model: str
    prompt: str
    batch_size: int = 1
    concurrency: int = 1

    def enrich(
        self, products: Sequence[CleanProduct], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """One `Enrichment` a product, in the same order; draws depend on `seed` and the product alone.

        Raises:
            AugmentationError: the provider cannot work at all.
            Exception: any other; the provider failed on these products.
        """
        ...


def load_text_provider(settings: TextSettings, prompts: Prompts) -> TextProvider:
    """The provider that `settings.provider` names; its file is imported only now, as it may need torch.

    Raises:
        AugmentationError: its model cannot be used.
    """
    provider: TextProvider = resolve_name(PROVIDERS[settings.provider])(settings, prompts)
    return provider
