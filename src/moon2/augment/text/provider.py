"""Textual enrichment behind one small protocol: T⁺ = MLLM_text(T, I, E) of the paper's co-augmentation.

Three providers speak it: `rules` (no model), `openai` (any compatible chat server) and `transformers` (a local VLM);
`providers.py` gives the one that the settings name. A reply that must not be used is not an exception but an
`Enrichment` without text and with the reason, because in a catalog of millions some rows always fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from moon2.errors import UserError
from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.text.entities import Entity


class EnrichmentError(UserError):
    """The settings of textual enrichment cannot be followed; the message is one line for people."""


@dataclass(frozen=True, slots=True)
class Enrichment:
    """What a provider made of one product.

    Attributes:
        text: the enriched title T⁺, one line of plain text; None when there is none.
        reason: why there is none, as "code: one line"; with a text, what grounding took out of it, or "".
        model: the model that answered; "" for rules.
        tokens_in: tokens read, as the provider counts them; 0 for rules.
        tokens_out: tokens written.
    """

    text: str | None
    reason: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


class TextProvider(Protocol):
    """What turns products and their entities into enriched titles.

    `name` is the provider's name in the settings, `model` the model it asks ("" for rules), `prompt` the version of the
    prompt it asks with, such as "enrich-v1" ("" for rules). All three go into a product's provenance.
    """

    name: str
    model: str
    prompt: str

    def enrich(
        self, products: Sequence[Product], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """One `Enrichment` a product, in the same order.

        What is drawn for a product depends on `seed` and its id only. A bad row never raises: it has no text and a
        reason.
        """
        ...
