"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
TOKENS = (16, 64, 256, 1024, 2048, 4096, 16_384)


class Metrics:
    """The counters of one server; several servers of a process do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.seconds = self._histogram("request_seconds", "Time of a request.", SECONDS, "route", "method", "status")
        self.batch_items = self._histogram("batch_items", "Items of a pass of the encoder.", SIZES)
        self.batch_tokens = self._histogram("batch_tokens", "Tokens of a pass.", TOKENS)
        self.batch_seconds = self._histogram("batch_seconds", "Time of a pass.", SECONDS)
        self.cache_hits = self._counter("query_cache_hits", "Queries whose vector was known.")
        self.cache_misses = self._counter("query_cache_misses", "Queries whose vector was made.")
        self.rejected = self._counter("rejected_requests", "Requests that were refused.", "status")
        self.written = self._counter("products_written", "Products written into an index.", "index")
        self.deleted = self._counter("products_deleted", "Products deleted from an index.", "index")
        self.swaps = self._counter("index_swaps", "Times that another version of an index was opened.", "index")
        self._queue = Gauge("moon2_queue_items", "Items that wait for the encoder.", registry=self.registry)
        self._products = Gauge("moon2_index_products", "Products of an index.", ["index"], registry=self.registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"moon2_{name}", says, labels, registry=self.registry)

    def _histogram(self, name: str, says: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"moon2_{name}", says, labels, buckets=buckets, registry=self.registry)

    def batch(self, items: int, tokens: int, seconds: float) -> None:
        """One pass of the encoder was made."""
        self.batch_items.observe(items)
        self.batch_tokens.observe(tokens)
        self.batch_seconds.observe(seconds)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """From now on the queue's length is what this says."""
        self._queue.set_function(waiting)

    def watch_index(self, name: str, products: Callable[[], int]) -> None:
        """From now on the size of an index is what this says."""
        self._products.labels(name).set_function(products)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
