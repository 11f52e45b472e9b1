"""What describes a benchmark: its settings, the text on its card, and benchmark.json with its tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from moon2.catalog.schema import SPLITS, CatalogError, dataset_card
from moon2.catalog.store import Catalog, read_card
from moon2.files import write_text_atomic
from moon2.views import DIRECTIONS

DECLARATION = "benchmark.json"
# An attribute is a task if at least this share of the test products has it, with at most so many values.
MIN_COVERAGE, MAX_VALUES = 0.5, 1_000


@dataclass(frozen=True)
class BenchmarkSettings:
    """How a benchmark is built."""

    test_share: float = 0.1
    """Share of the products in the test split; they are also the gallery."""
    category_cap: int = 0
    """Maximum number of products of one category; products that were bought come first, others are drawn; 0: no cap."""
    queries: Literal["log", "attributes"] = "log"
    """Whose queries: those of the search log, or made of the test products' attributes and kinds (a weak measure)."""
    seed: int = 0
    """Seed of every draw; the same seed gives the same benchmark."""

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise CatalogError(f"benchmark: test_share is {self.test_share}; it must be between 0 and 1")
        if self.category_cap < 0:
            raise CatalogError(f"benchmark: category_cap is {self.category_cap}; it must be 0 (no cap) or more")


@dataclass(frozen=True)
class BenchmarkResult:
    """A finished benchmark.

    Attributes:
        catalog: the benchmark, opened.
        products, queries: number by split.
        left_out: number of products, queries and links left out, by reason.
        components: groups of products that must stay on one side.
        largest: products of the largest group.
    """

    catalog: Catalog
    products: dict[str, int]
    queries: dict[str, int]
    left_out: dict[str, int]
    components: int
    largest: int

    def __str__(self) -> str:
        parts = [f"{s}: {self.products[s]:,} products, {self.queries[s]:,} queries" for s in SPLITS]
        line = f"{self.catalog.folder}: {'; '.join(parts)}; {self.components:,} groups, the largest of {self.largest:,}"
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.left_out.items())
        return f"{line}\nleft out: {reasons}; see rejects.parquet" if reasons else f"{line}\nnothing was left out"


_LOG_STEPS = (
    "3. Split by connected components: near-duplicates in title or in image and products of one style are never "
    "separated. Nor are the rows of one query, or queries with the same image. A query and the products bought "
    "after it stay together unless the component becomes too large; purchases and exposures on the other side are "
    "then left out.",
    "4. Triplets: products bought after a query are its positives. Products shown but not bought are its "
    "negatives, unless they answer the same query elsewhere in the log, or resemble an answer in title, image or "
    "style. A test query comes once, with all products bought after it.",
)
_ATTRIBUTE_STEPS = (
    "3. Split by connected components: near-duplicates in title or in image and products of one style are never "
    "separated.",
    '4. Test queries: values of attributes with a kind, such as "red cotton shirts", drawn from the test products. All '
    "test products that hold every value are relevant; a grade is the number of values held. There is no training log.",
    "",
    "These queries are a weak measure. No shopper wrote them, they use the shop's own words, and a model that matches "
    "words answers many of them. They tell models apart; they do not say how well shoppers are served.",
)


def describe(source: str, licence: str, settings: BenchmarkSettings, left_out: Mapping[str, int]) -> str:
    """The text of the card, in Markdown."""
    cap = f"at most {settings.category_cap:,} products a category" if settings.category_cap else "no cap"
    lines = [
        f"Built by `moon2 benchmark build` from `{source}`, licence {licence}; test share {settings.test_share:g}, "
        f"seed {settings.seed}.",
        "",
        "1. Deduplicated: of products with the same title, category and image, and of those nearly alike in both title "
        "and image, the first remains and replaces the others in the log.",
        f"2. Balanced over categories: {cap}; products that were bought come first, others are drawn.",
        *(_LOG_STEPS if settings.queries == "log" else _ATTRIBUTE_STEPS),
        "",
        "Only the training split may be co-augmented; the products of the test split are as the shop has them. Tasks "
        f"({', '.join(map(str, DIRECTIONS))}, scored by Recall@1, 5 and 10; class and attributes, without training on "
        "their labels) are declared in `benchmark.json`.",
    ]
    if left_out:
        lines += ["", "| left out | count |", "|---|---|"]
        lines += [f"| {reason} | {count:,} |" for reason, count in sorted(left_out.items())]
    return "\n".join(lines)


def declared_attributes(folder: Path) -> list[str] | None:
    """The attributes that a catalog's benchmark.json declares as tasks; None where it has no such file.

    Raises:
        CatalogError: the file is damaged, or something else.
    """
    path = folder / DECLARATION
    if not path.is_file():
        return None
    try:
        return [str(task["attribute"]) for task in json.loads(path.read_text(encoding="utf-8"))["tasks"]["attributes"]]
    except (ValueError, TypeError, KeyError) as error:
        raise CatalogError(
            f"{path}: its attributes cannot be read ({type(error).__name__}); build the benchmark again, or remove the "
            f"file"
        ) from None


def card_text(folder: Path) -> str:
    """The text of a catalog's card between its title and the table of its rows; empty without a card."""
    card = read_card(folder)[1].partition("\n# ")[2].partition("\n")[2]
    return card.partition("\n| table | split | rows |")[0].strip()


def keep_declaration(source: Path, target: Path) -> None:
    """Copies benchmark.json, if the source has one, into a catalog made from it."""
    path = source / DECLARATION
    if path.is_file():
        write_text_atomic(target / DECLARATION, path.read_text(encoding="utf-8"))


def write_description(
    name: str,
    licence: str,
    source: str,
    settings: BenchmarkSettings,
    result: BenchmarkResult,
    labels: Mapping[str, Mapping[str, int]],
) -> None:
    """Writes card and benchmark.json into the finished benchmark; only then are all counts known.

    Args:
        labels: "class" and "attribute:KEY" → label → number of test products that have it.
    """
    counts = {"products": result.products, "interactions": result.queries}
    text = describe(source, licence, settings, result.left_out)
    write_text_atomic(result.catalog.folder / "README.md", dataset_card(name, text, licence, counts))
    enough = MIN_COVERAGE * result.products["test"]
    attributes = [
        {"attribute": task.partition(":")[2], "labels": len(counts), "products": sum(counts.values())}
        for task, counts in sorted(labels.items())
        if task != "class" and sum(counts.values()) >= enough and 1 < len(counts) <= MAX_VALUES
    ]
    classes = labels.get("class", {})
    directions = [str(direction) for direction in DIRECTIONS]
    declaration = {
        "name": name,
        "licence": licence,
        "source": source,
        "settings": asdict(settings),
        "products": result.products,
        "queries": result.queries,
        "groups": {"count": result.components, "largest": result.largest},
        "left_out": result.left_out,
        "tasks": {
            "retrieval": {"directions": directions, "metrics": ["R@1", "R@5", "R@10"], "gallery": "test"},
            "class": {"labels": len(classes), "products": sum(classes.values())},
            "attributes": attributes,
        },
    }
    text = json.dumps(declaration, indent=2, ensure_ascii=False) + "\n"
    write_text_atomic(result.catalog.folder / DECLARATION, text)
