"""What an import, or a dry run of one, tells."""

from __future__ import annotations

from dataclasses import dataclass

from moon2.catalog.importing.understood import product_line
from moon2.catalog.store import Catalog
from moon2.records import Product


@dataclass(frozen=True)
class ImportResult:
    """The result of an import.

    Attributes:
        catalog: the new catalog, opened.
        products: number of products.
        having: how many of them have a title, an image, a price, a category.
        interactions: number of events of the search log.
        rejected: rows put aside, of products and log together.
        dropped: fields, images and products of log entries that were left out of rows.
        reasons: number of cases by reason; they sum to `rejected` + `dropped`.
        unfetched: images that are URLs, which training and evaluation cannot read.
    """

    catalog: Catalog
    products: int
    having: dict[str, int]
    interactions: int
    rejected: int
    dropped: int
    reasons: dict[str, int]
    unfetched: int

    def __str__(self) -> str:
        counts = f"{self.catalog.folder}: {self.products:,} products, {self.interactions:,} log entries"
        see = ": see rejects.parquet" if self.reasons else ""
        return f"{counts}; {self.losses()}{see}\n  {self.fields()}"

    def fields(self) -> str:
        """How many products have each of the fields that are optional."""
        return "products with " + ", ".join(f"{name} {count:,}" for name, count in self.having.items())

    def losses(self) -> str:
        """What was left out, counted."""
        if not self.reasons:
            return "nothing was put aside"
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.items())
        rows, parts = ("row" if self.rejected == 1 else "rows"), ("part" if self.dropped == 1 else "parts")
        return f"{self.rejected:,} {rows} put aside, {self.dropped:,} {parts} dropped ({reasons})"


@dataclass(frozen=True)
class DryRun:
    """What an import would do, told from the first rows of the products.

    Attributes:
        understood: which column means what, a line each.
        products: the first of the products, at most three.
        queries: the first queries of the logs that have a positive, at most three, a line each.
        rejects: what was left out of the first rows, one message a reason.
        counts: what became of the first rows.
    """

    understood: list[str]
    products: list[Product]
    queries: list[str]
    rejects: list[str]
    counts: str

    def __str__(self) -> str:
        products = (f"  {product_line(product)}" for product in self.products)
        left_out = (f"left out: {message}" for message in self.rejects)
        queries = ["the first queries:", *(f"  {query}" for query in self.queries)] if self.queries else []
        shown = ("the first products:", *products, *queries, *left_out, self.counts, "nothing was written")
        lines = (*self.understood, *shown)
        return "\n".join(lines)
