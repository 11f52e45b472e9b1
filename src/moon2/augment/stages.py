"""The steps of augmentation on one shard: begin, enrich, expand, judge, finish; and the circuit breaker for providers.

No product is lost: what cannot be made, or must not be kept, becomes a row of rejected augmentations.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, TypeVar

import pyarrow as pa

from moon2.augment.consistency import PAIRS_AT_ONCE, READ_AT, Pair, similarities
from moon2.augment.errors import AugmentationError, ProductError, ProviderError
from moon2.augment.images.provider import Expansion, ImageProvider, load_image_provider
from moon2.augment.prompts import load_prompts
from moon2.augment.settings import CoAugmentationSettings
from moon2.augment.text.entities import extract_entities
from moon2.augment.text.grounding import ground
from moon2.augment.text.provider import Enrichment, TextProvider, load_text_provider
from moon2.augment.text.sanitize import CleanProduct, clean_product
from moon2.catalog import schema
from moon2.errors import one_line
from moon2.images import ImageError, open_image
from moon2.jobs.shards import Tables
from moon2.records import Product

PATIENCE = 8
"""Failures in a row after which a provider counts as down; twice `concurrency`, where that is more."""

REJECTED_AUGMENTATIONS = schema.table_schema(
    ("id", pa.string()),
    ("kind", pa.string()),
    ("text", pa.string()),
    ("image", schema.IMAGE),
    ("provider", pa.string()),
    ("reason", pa.string()),
    ("message", pa.string()),
    ("score", pa.float64()),
)

Result = TypeVar("Result")


@dataclass
class Batch:
    """The products of a shard under way.

    Attributes:
        products: as the catalog has them, with the augmentations so far.
        cleaned: the same products with cleaned text, as providers see them.
        rejected: rows of `REJECTED_AUGMENTATIONS`.
        counts: for the summary: titles, images, tokens_in, tokens_out.
    """

    products: list[Product]
    cleaned: list[CleanProduct]
    rejected: list[dict[str, object]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def reject(self, row: int, kind: str, provider: str, reason: str, **columns: object) -> None:
        """Lists what is not used.

        Args:
            row: of the product.
            kind: "title" or "image".
            provider: its name.
            reason: "code: message".
            columns: `text`, `image` and `score` of `REJECTED_AUGMENTATIONS`.
        """
        code, _, message = reason.partition(": ")
        values = {"id": self.products[row].id, "kind": kind, "provider": provider, "reason": code, "message": message}
        self.rejected.append(values | columns)

    def set(self, row: int, name: str, value: object, facts: object) -> None:
        """Sets `enriched_title` or `expanded_images` of a product, with its provenance; an empty value removes both."""
        provenance = {key: text for key, text in self.products[row].provenance.items() if key != name}
        if value:
            provenance[name] = json.dumps(facts, ensure_ascii=False, separators=(",", ":"))
        changed: dict[str, Any] = {name: value, "provenance": provenance}
        self.products[row] = replace(self.products[row], **changed)


def begin(products: list[Product]) -> Batch:
    """A shard's products, without augmentations of an earlier run. Here, and nowhere else, shop text is cleaned."""
    bare = [replace(product, enriched_title=None, expanded_images=(), provenance={}) for product in products]
    return Batch(bare, [clean_product(product) for product in bare])


def finish(batch: Batch) -> Tables:
    """What is written of a shard."""
    return {
        "products": pa.Table.from_pylist(list(map(schema.product_to_row, batch.products)), schema=schema.PRODUCTS),
        "rejected": pa.Table.from_pylist(batch.rejected, schema=REJECTED_AUGMENTATIONS),
        "counts": pa.table({"name": list(batch.counts), "count": list(batch.counts.values())}),
    }


class ProviderCalls(Generic[Result]):
    """Calls a provider for the products of a shard, so that a product on which it fails costs no other product.

    This is the circuit breaker: a provider that fails on many products in a row is down, and the run ends. A million
    products without augmentations are no result.

    Args:
        section: of the settings, for messages: "text" or "images".
        provider: its `batch_size` and `concurrency` are respected.
    """

    def __init__(self, section: str, provider: TextProvider | ImageProvider) -> None:
        self.section = section
        self.provider = provider
        self._failures = 0

    def results(
        self, call: Callable[[Sequence[int]], list[Result]], rows: int
    ) -> list[Result | ProviderError | ProductError]:
        """The provider's result of each row, or why there is none.

        Args:
            call: what the provider makes of the rows of these numbers.
            rows: how many there are.

        Raises:
            AugmentationError: the provider is down, or cannot work at all.
        """
        size = self.provider.batch_size
        pool = ThreadPoolExecutor(self.provider.concurrency)
        try:
            batches = [range(first, min(first + size, rows)) for first in range(0, rows, size)]
            results: list[Result | ProviderError | ProductError] = []
            for future in [pool.submit(_attempt, call, batch) for batch in batches]:
                for result in future.result():
                    self._check(result)
                    results.append(result)
            return results
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _check(self, result: Result | ProviderError | ProductError) -> None:
        if isinstance(result, ProviderError):
            self._failures += 1
        elif not isinstance(result, ProductError):
            self._failures = 0
        if self._failures >= max(PATIENCE, 2 * self.provider.concurrency):
            raise AugmentationError(
                f"{self.section}.provider {self.provider.name}: failed on the last {self._failures} products "
                f"({result}); repair it and run the same command again"
            )


def _attempt(
    call: Callable[[Sequence[int]], list[Result]], rows: Sequence[int]
) -> list[Result | ProviderError | ProductError]:
    """The results of some rows. A call that fails is repeated for each half, until only the rows at fault fail."""
    failure: ProviderError | ProductError
    try:
        results: list[Result] = call(rows)
        if len(results) == len(rows):
            return [*results]
        failure = ProviderError(f"provider_failed: it gave {len(results)} results for {len(rows)} products")
    except AugmentationError:
        raise
    except (ProviderError, ProductError) as error:  # a new one, because a traceback holds the tensors of the call
        failure = type(error)(str(error))
    except Exception as error:
        failure = ProviderError(f"provider_failed: {type(error).__name__}: {one_line(error)}")
    if len(rows) == 1:
        return [failure]
    middle = len(rows) // 2
    return _attempt(call, rows[:middle]) + _attempt(call, rows[middle:])


class EnrichStage:
    """Adds an enriched title T⁺ to every product, grounded."""

    def __init__(self, settings: CoAugmentationSettings) -> None:
        self.seed = settings.seed
        self.provider = load_text_provider(settings.text, load_prompts(settings.prompts))
        self.calls: ProviderCalls[Enrichment] = ProviderCalls("text", self.provider)

    def __call__(self, batch: Batch) -> Batch:
        provider, cleaned = self.provider, batch.cleaned
        entities = list(map(extract_entities, cleaned))

        def enrich(rows: Sequence[int]) -> list[Enrichment]:
            return provider.enrich([cleaned[row] for row in rows], [entities[row] for row in rows], self.seed)

        for row, result in enumerate(self.calls.results(enrich, len(cleaned))):
            if isinstance(result, ProviderError | ProductError):
                batch.reject(row, "title", provider.name, str(result))
                continue
            batch.counts.update(tokens_in=result.tokens_in, tokens_out=result.tokens_out)
            if result.text is None:
                batch.reject(row, "title", provider.name, result.reason)
                continue
            grounded = ground(result.text, cleaned[row], entities[row])
            if grounded.text is None:
                batch.reject(row, "title", provider.name, grounded.reason, text=result.text)
                continue
            parents = _parents(batch.products[row], provider.name)
            facts = _facts(provider, self.seed, parents=parents, removed=list(grounded.removed))
            batch.counts["titles"] += 1
            batch.set(row, "enriched_title", grounded.text, facts)
        return batch


class ExpandStage:
    """Adds expanded images to every product, the main image first."""

    def __init__(self, settings: CoAugmentationSettings) -> None:
        self.seed, self.count = settings.seed, settings.images.count
        self.provider = load_image_provider(settings.images, load_prompts(settings.prompts))
        self.calls: ProviderCalls[Expansion] = ProviderCalls("images", self.provider)

    def __call__(self, batch: Batch) -> Batch:
        provider = self.provider

        def expand(rows: Sequence[int]) -> list[Expansion]:
            return [provider.expand(batch.cleaned[row], self.count, self.seed) for row in rows]

        for row, result in enumerate(self.calls.results(expand, len(batch.cleaned))):
            if isinstance(result, ProviderError | ProductError):
                batch.reject(row, "image", provider.name, str(result))
                continue
            if len(result.variants) < self.count:
                reason = result.reason or f"incomplete: {len(result.variants)} of {self.count} variants were made"
                batch.reject(row, "image", provider.name, reason)
            facts = [_facts(provider, self.seed, kind="main", what=result.reason, parents=["images/0"])]
            for variant in result.variants:
                facts.append(_facts(provider, self.seed, kind=variant.kind, what=variant.prompt, parents=["main"]))
            batch.counts["images"] += len(facts)
            images = (result.main, *(variant.image for variant in result.variants))
            batch.set(row, "expanded_images", images, facts)
        return batch


class JudgeStage:
    """Drops augmentations whose image and title do not belong together; products without an image or title stay."""

    def __init__(self, checkpoint: str, threshold: float) -> None:
        from moon2.encoders.load import load_encoder  # the only stage that always needs torch

        self.encoder = load_encoder(checkpoint)
        self.threshold = threshold

    def __call__(self, batch: Batch) -> Batch:
        scores: dict[tuple[int, int], float] = {}
        pairs = _pairs(batch.products)
        while some := list(islice(pairs, PAIRS_AT_ONCE)):
            cosines = similarities(self.encoder, [pair for *_, pair in some])
            scores |= {(row, number): float(cosine) for (row, number, _), cosine in zip(some, cosines, strict=True)}
        reason = f"low_consistency: below {self.threshold:.3f}"
        for row in {row for row, _ in scores}:
            product = batch.products[row]
            if (row, -1) in scores:
                title, score = product.enriched_title, scores[row, -1]
                facts = {**json.loads(product.provenance["enriched_title"]), "score": round(score, 4)}
                if score < self.threshold:
                    batch.reject(row, "title", facts["provider"], reason, text=title, score=score)
                    batch.counts["titles"] -= 1
                batch.set(row, "enriched_title", title if score >= self.threshold else None, facts)
            images, all_facts = [], []
            for number, facts in enumerate(json.loads(product.provenance.get("expanded_images", "[]"))):
                image, score = product.expanded_images[number], scores[row, number]
                if score >= self.threshold:
                    images.append(image)
                    all_facts.append({**facts, "score": round(score, 4)})
                else:
                    cell = {"bytes": image, "path": None}
                    batch.reject(row, "image", facts["provider"], reason, image=cell, score=score)
                    batch.counts["images"] -= 1
            batch.set(row, "expanded_images", tuple(images), all_facts)
        return batch


def _pairs(products: Sequence[Product]) -> Iterator[tuple[int, int, Pair]]:
    """What is to be judged: row, number of the expanded image (-1: the enriched title), image and text."""
    for row, product in enumerate(products):
        if not product.title.strip() or not product.images:
            continue
        for number, image in enumerate(product.expanded_images):
            yield row, number, (open_image(image, read_at=READ_AT), product.title)
        if product.enriched_title is not None:
            try:
                yield row, -1, (open_image(product.images[0], read_at=READ_AT), product.enriched_title)
            except ImageError:
                continue


def _facts(provider: TextProvider | ImageProvider, seed: int, **more: object) -> dict[str, object]:
    """Where an augmentation comes from; the judge adds its score."""
    names = {"provider": provider.name, "model": provider.model, "prompt": provider.prompt, "seed": seed}
    return {**names, **more, "score": None}


def _parents(product: Product, provider: str) -> list[str]:
    """The product's own data that its enriched title was made from."""
    texts = [name for name in ("title", "description", "category", "attributes") if getattr(product, name)]
    return texts + (["images/0"] if product.images and provider != "rules" else [])
