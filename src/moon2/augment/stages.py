"""What happens to a part: enrich, expand, judge. Each stage is made once in its worker and then called with work.

A stage never loses a product: what cannot be made, or must not be kept, becomes a row of rejected augmentations, and if
a provider fails as a whole on some rows, each of them is tried alone before it is given up. A provider that breaks on
every row ends the run: a million products without augmentations are no result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from PIL.Image import Image

from moon2.augment.images.provider import Expansion, ExpansionError
from moon2.augment.prompts import load_prompts
from moon2.augment.providers import image_provider, text_provider
from moon2.augment.settings import CoAugmentationSettings
from moon2.augment.text.entities import extract_entities
from moon2.augment.text.grounding import ground
from moon2.augment.text.provider import Enrichment, EnrichmentError
from moon2.images import ImageError, open_image
from moon2.jobs.shards import Work
from moon2.records import Product

Made = TypeVar("Made", Enrichment, Expansion)
PAIRS_AT_ONCE = 64
"""Pictures opened at once to be judged: an opened one is a hundred times its file."""
FATAL = (EnrichmentError, ExpansionError)
"""What ends the run, because it would be the same for every product."""
ROWS_TO_BLAME_PROVIDER = 8
"""When so many products, a whole part, each break a provider by itself, the provider is broken and not the products."""


class EnrichStage:
    """T⁺ of every product, grounded."""

    def __init__(self, settings: CoAugmentationSettings) -> None:
        self.seed = settings.seed
        self.provider = text_provider(settings.text, settings.prompts)
        # A reply that repeats the prompt is no title; without a prompt there is nothing to repeat.
        self.prompt = load_prompts(settings.prompts).enrich.text if self.provider.prompt else ""

    def __call__(self, work: Work) -> Work:
        """Adds enriched titles."""
        entities = [extract_entities(product) for product in work.products]
        made = attempt(
            lambda rows: self.provider.enrich(
                [work.products[row] for row in rows], [entities[row] for row in rows], self.seed
            ),
            len(work.products),
            Enrichment,
            EnrichmentError,
        )
        for row, (product, one) in enumerate(zip(list(work.products), made, strict=True)):
            work.count("tokens_in", one.tokens_in)
            work.count("tokens_out", one.tokens_out)
            if one.text is None:
                work.reject(product, "title", one.reason, provider=self.provider.name)
                continue
            grounded = ground(one.text, product, entities[row], self.prompt)
            if grounded.text is None:
                work.reject(product, "title", grounded.reason, text=one.text, provider=self.provider.name)
                continue
            facts = {
                "provider": self.provider.name,
                "model": one.model or self.provider.model,
                "prompt": self.provider.prompt,
                "seed": self.seed,
                "parents": _parents(product, self.provider.name),
                "removed": list(grounded.removed),
                "score": None,
            }
            work.count("titles")
            provenance = {**product.provenance, "enriched_title": compact(facts)}
            work.replace(row, enriched_title=grounded.text, provenance=provenance)
        return work


class ExpandStage:
    """Main image and variants of every product."""

    def __init__(self, settings: CoAugmentationSettings) -> None:
        self.seed, self.count = settings.seed, settings.images.count
        self.provider = image_provider(settings.images, settings.prompts)

    def __call__(self, work: Work) -> Work:
        """Adds expanded images, the main image first."""
        made = attempt(
            lambda rows: self.provider.expand([work.products[row] for row in rows], self.count, self.seed),
            len(work.products),
            lambda text, reason: Expansion(text, (), reason),
            ExpansionError,
        )
        for row, (product, one) in enumerate(zip(list(work.products), made, strict=True)):
            if one.main is None or len(one.variants) < self.count:
                reason = one.reason or f"incomplete: {len(one.variants)} of {self.count} variants were made"
                work.reject(product, "image", reason, provider=self.provider.name)
            if one.main is None:
                continue
            common = {
                "provider": self.provider.name,
                "model": self.provider.model,
                "prompt": self.provider.prompt,
                "seed": self.seed,
            }
            facts = [{**common, "kind": "main", "what": one.reason, "parents": ["images/0"], "score": None}]
            facts += [
                {**common, "kind": v.kind, "what": v.prompt, "parents": ["main"], "score": None} for v in one.variants
            ]
            work.count("images", len(facts))
            images = (one.main, *(variant.image for variant in one.variants))
            provenance = {**product.provenance, "expanded_images": compact(facts)}
            work.replace(row, expanded_images=images, provenance=provenance)
        return work


class JudgeStage:
    """Drops augmentations whose picture and title do not belong together; a product of one form passes through."""

    def __init__(self, settings: CoAugmentationSettings, threshold: float) -> None:
        assert settings.consistency.checkpoint is not None
        from moon2.augment.consistency import load_scorer  # the only stage that may need torch

        self.scorer = load_scorer(settings.consistency.checkpoint)
        self.threshold = threshold

    def __call__(self, work: Work) -> Work:
        """Scores expanded images against the product's own title, and its enriched title against its own picture."""
        pairs = _pairs(work.products)
        by_row: dict[int, dict[int, float]] = {}
        while some := list(islice(pairs, PAIRS_AT_ONCE)):
            scores = self.scorer.similarities([picture for *_, picture, _ in some], [text for *_, text in some])
            for (row, number, *_), score in zip(some, scores, strict=True):
                by_row.setdefault(row, {})[number] = float(score)
        for row, found in by_row.items():
            work.products[row] = self._judged(work, work.products[row], found)
        return work

    def _judged(self, work: Work, product: Product, scores: dict[int, float]) -> Product:
        provenance = dict(product.provenance)
        message = f"low_consistency: below {self.threshold:.3f}"
        if -1 in scores:
            facts = json.loads(provenance["enriched_title"])
            if scores[-1] < self.threshold:
                title = product.enriched_title
                work.reject(product, "title", message, text=title, provider=facts["provider"], score=scores[-1])
                work.count("titles", -1)
                product = replace(product, enriched_title=None)
                del provenance["enriched_title"]
            else:
                provenance["enriched_title"] = compact({**facts, "score": round(scores[-1], 4)})
        if product.expanded_images:
            kept, facts_kept = [], []
            for number, (image, facts) in enumerate(
                zip(product.expanded_images, json.loads(provenance["expanded_images"]), strict=True)
            ):
                score = scores[number]
                if score < self.threshold:
                    work.reject(product, "image", message, image=image, provider=facts["provider"], score=score)
                    work.count("images", -1)
                else:
                    kept.append(image)
                    facts_kept.append({**facts, "score": round(score, 4)})
            product = replace(product, expanded_images=tuple(kept))
            provenance["expanded_images"] = compact(facts_kept)
            if not kept:
                del provenance["expanded_images"]
        return replace(product, provenance=provenance)


def _pairs(products: Sequence[Product]) -> Iterator[tuple[int, int, Image, str]]:
    """What is to be judged: row, number of the expanded image (-1: the enriched title), picture and text."""
    for row, product in enumerate(products):
        if not product.title.strip() or not product.images:
            continue
        for number, image in enumerate(product.expanded_images):
            yield row, number, open_image(image), product.title
        if product.enriched_title is not None:
            try:
                picture = open_image(product.images[0])
            except ImageError:
                continue
            yield row, -1, picture, product.enriched_title


def _parents(product: Product, provider: str) -> list[str]:
    """The product's own data that its enriched title was made from."""
    texts = [name for name in ("title", "description", "category", "attributes") if getattr(product, name)]
    return texts + (["images/0"] if product.images and provider != "rules" else [])


def attempt(
    make: Callable[[Sequence[int]], list[Made]],
    rows: int,
    failed: Callable[[Any, str], Made],
    broken: type[EnrichmentError | ExpansionError],
) -> list[Made]:
    """Makes something of every row; where that fails as a whole, of each row alone, so that one cannot spoil others.

    Args:
        make: what the provider makes of the rows numbered.
        rows: how many there are.
        failed: what stands for a row that fails alone, from None and a reason.
        broken: is raised when all of at least `ROWS_TO_BLAME_PROVIDER` rows fail alone.
    """
    try:
        made = make(range(rows))
        if len(made) == rows:
            return made
        raise RuntimeError(f"the provider gave {len(made)} results for {rows} products")
    except FATAL:
        raise
    except Exception:
        alone: list[Made] = []
        failures: list[str] = []
        for row in range(rows):
            try:
                alone += make([row])
            except FATAL:
                raise
            except Exception as error:
                failures.append(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
                alone.append(failed(None, f"provider_failed: {failures[-1]}"))
        if len(failures) == rows >= ROWS_TO_BLAME_PROVIDER:
            raise broken(
                f"the provider fails on every one of {rows} products ({failures[-1]}); mend it and run the same command"
            ) from None
        return alone


def compact(value: Any) -> str:
    """JSON without spaces, as provenance holds it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def one_thread() -> None:
    """Each worker has a core to itself; more threads than that make each other wait."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
