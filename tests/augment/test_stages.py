"""A product that breaks its provider costs no other product; a provider that breaks on all of them ends the run."""

from __future__ import annotations

import pytest

from moon2.augment.stages import ROWS_TO_BLAME_PROVIDER, attempt
from moon2.augment.text.provider import Enrichment, EnrichmentError


def titles(broken_rows):
    """A provider that breaks on any batch with one of `broken_rows`."""

    def make(rows):
        if broken := sorted(set(rows) & set(broken_rows)):
            raise RuntimeError(f"cannot\nread {broken[0]}")
        return [Enrichment(f"title {row}") for row in rows]

    return make


def test_one_product_that_breaks_the_provider_costs_no_other():
    made = attempt(titles({2}), 10, Enrichment, EnrichmentError)
    assert [one.text for one in made] == [None if row == 2 else f"title {row}" for row in range(10)]
    assert made[2].reason == "provider_failed: RuntimeError: cannot read 2"


def test_results_that_are_too_few_are_asked_for_one_by_one():
    def forgetful(rows):
        return titles(())(list(rows)[:1])

    assert [one.text for one in attempt(forgetful, 3, Enrichment, EnrichmentError)] == ["title 0", "title 1", "title 2"]


def test_a_provider_that_breaks_on_every_product_of_a_part_ends_the_run():
    many = ROWS_TO_BLAME_PROVIDER
    with pytest.raises(EnrichmentError, match=rf"every one of {many} products \(RuntimeError: cannot read 7\)"):
        attempt(titles(range(many)), many, Enrichment, EnrichmentError)
    few = attempt(titles(range(many)), many - 1, Enrichment, EnrichmentError)
    assert all(one.text is None for one in few), "a handful may well be bad products"
