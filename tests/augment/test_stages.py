"""A product on which a provider fails costs no other product; a provider that fails on all of them ends the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from moon2.augment.errors import AugmentationError, ProductError, ProviderError
from moon2.augment.stages import PATIENCE, ProviderCalls
from moon2.augment.text.provider import Enrichment


def calls(batch_size: int = 4, concurrency: int = 1) -> ProviderCalls[Enrichment]:
    return ProviderCalls("text", SimpleNamespace(name="test", batch_size=batch_size, concurrency=concurrency))


def provider_that_fails_on(
    rows_at_fault: Sequence[int], error: type[Exception] = RuntimeError
) -> Callable[[Sequence[int]], list[Enrichment]]:
    """Fails on any batch with one of these rows."""

    def enrich(rows: Sequence[int]) -> list[Enrichment]:
        if at_fault := sorted(set(rows) & set(rows_at_fault)):
            raise error(f"cannot\nread {at_fault[0]}")
        return [Enrichment(f"title {row}") for row in rows]

    return enrich


def test_one_product_that_breaks_the_provider_costs_no_other() -> None:
    results = calls().results(provider_that_fails_on([2]), 10)
    assert str(results.pop(2)) == "provider_failed: RuntimeError: cannot read 2"
    assert results == [Enrichment(f"title {row}") for row in range(10) if row != 2]


def test_products_without_a_result_are_asked_for_again() -> None:
    def forgetful(rows: Sequence[int]) -> list[Enrichment]:
        return [Enrichment(f"title {rows[0]}")]

    assert calls().results(forgetful, 3) == [Enrichment(f"title {row}") for row in range(3)]


def test_results_stay_in_order_and_no_more_calls_are_under_way_than_allowed() -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    first_three = threading.Barrier(3)

    def slow(rows: Sequence[int]) -> list[Enrichment]:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if rows[0] < 3:
            first_three.wait(60)
        time.sleep(0.002 * (10 - rows[0]))  # later ones end sooner
        with lock:
            under_way -= 1
        return [Enrichment(f"title {row}") for row in rows]

    results = calls(batch_size=1, concurrency=3).results(slow, 10)
    assert results == [Enrichment(f"title {row}") for row in range(10)]
    assert most == 3


def test_a_provider_that_is_down_ends_the_run() -> None:
    expected = (
        rf"text.provider test: failed on the last {PATIENCE} products \(provider_failed: RuntimeError: cannot read 7\)"
    )
    with pytest.raises(AugmentationError, match=expected):
        calls().results(provider_that_fails_on(range(100)), 100)
    few = calls().results(provider_that_fails_on(range(100)), PATIENCE - 1)
    assert all(isinstance(result, ProviderError) for result in few), "a handful may well be bad products"


def test_failures_count_across_shards_and_a_success_between_forgives_them() -> None:
    with pytest.raises(AugmentationError):
        provider = calls()
        for _ in range(2):
            provider.results(provider_that_fails_on(range(5)), 5)
    forgiving = calls()
    for _ in range(2):
        forgiving.results(provider_that_fails_on(range(5)), 6)


def test_products_at_fault_do_not_count_as_failures_of_the_provider() -> None:
    results = calls().results(provider_that_fails_on(range(50), ProductError), 50)
    assert all(isinstance(result, ProductError) for result in results)


def test_what_no_product_can_get_ends_the_run_at_once() -> None:
    with pytest.raises(AugmentationError, match="cannot\nread 0"):
        calls().results(provider_that_fails_on([0], AugmentationError), 3)
