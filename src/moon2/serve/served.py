"""The indexes that are served: opened, exchanged for newer versions while requests go on, and written.

An index that is open stays at its version. A write, and a change that another process made, opens the index anew; new
requests get the new one, and the old one ends with its last request. So a search never sees half a change.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import numpy as np

from moon2.catalog.store import Catalog, CatalogError
from moon2.encoders.load import load_encoder
from moon2.encoders.protocol import VectorEncoder
from moon2.files import FolderInUseError, OutputError, exclusive_lock
from moon2.records import Product
from moon2.run_folder import find_model_folder
from moon2.search.changes import Changes
from moon2.search.errors import ProductIndexError
from moon2.search.index import Index
from moon2.search.info import EncoderKey
from moon2.search.versions import is_remote, tables_of
from moon2.serve.encoding import EncodingService, named_path
from moon2.serve.metrics import Metrics
from moon2.serve.refusals import Refusal
from moon2.serve.settings import ServeError, ServeSettings
from moon2.vectors.ranker import POINTER

logger = logging.getLogger(__name__)
T = TypeVar("T")
MOST_WRITES = 64
WATCH_SECONDS, WATCH_REMOTE_SECONDS = 2.0, 30.0
KEPT_FACETS = 32


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Runs what waits for disks outside the event loop; a request that is out of time does not wait for its end."""
    return await anyio.to_thread.run_sync(lambda: _without_panic(function, *args), abandon_on_cancel=True)


def _without_panic(function: Callable[..., T], *args: Any) -> T:
    try:
        return function(*args)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust, and no Exception
            raise
        raise ProductIndexError(f"the index cannot be read ({error!s:.100})") from None


class Opened:
    """An index at one version, and the encoder that reads queries for it.

    Attributes:
        index: not changed any more.
        encoding: shared with other versions, and with another index of the same encoder.
        users: requests that are at it.
        facets: answers about it that are kept.
    """

    def __init__(self, index: Index, encoding: EncodingService) -> None:
        self.index, self.encoding = index, encoding
        self.users = 0
        self.is_retired = False
        self.products = len(index)
        self.version = index.table.version
        self.facets: OrderedDict[str | None, dict[str, Any]] = OrderedDict()

    def keep_facets(self, where: str | None, facets: dict[str, Any]) -> None:
        """Keeps an answer; the oldest goes."""
        self.facets[where] = facets
        while len(self.facets) > KEPT_FACETS:
            self.facets.popitem(last=False)


class Encoders:
    """Encoders with their prompts and fields, loaded once, closed when nobody needs them. Threads may share it."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._services: dict[EncoderKey, EncodingService] = {}
        self._users: Counter[EncoderKey] = Counter()
        self._lock, self._loading = threading.Lock(), threading.Lock()
        metrics.watch_queue(lambda: sum(each.batcher.waiting for each in self.services()))

    def services(self) -> list[EncodingService]:
        """Those that are loaded."""
        with self._lock:
            return [*self._services.values()]

    def acquire(self, key: EncoderKey, load: Callable[[], tuple[VectorEncoder, str | Path]]) -> EncodingService:
        """The service of an encoder; `load` gives the encoder and its source where there is none."""
        with self._loading:
            with self._lock:
                known = self._services.get(key)
            if known is None:
                limits, remembered = self._settings.limits, self._settings.query_cache
                known = EncodingService(*load(), limits, self._metrics, remembered)
            with self._lock:
                self._services[key] = known
                self._users[key] += 1
        return known

    def release(self, key: EncoderKey) -> None:
        """Gives one up."""
        with self._lock:
            self._users[key] -= 1
            unused = None if self._users[key] else self._services.pop(key)
        if unused is not None:
            # It ends its threads, for which nobody here waits.
            threading.Thread(target=unused.close, name="moon2-close").start()

    @contextmanager
    def lease(self, model: str) -> Iterator[EncodingService]:
        """The encoder of this name, for one request.

        Raises:
            Refusal: there is none.
        """
        with self._lock:
            found = next((key for key, service in self._services.items() if model in service.names), None)
            if found is None:
                names = ", ".join(service.names[0] for service in self._services.values())
                raise Refusal(404, f"model {model[:100]!r} is not served here; there is {names}", "model")
            service = self._services[found]
            self._users[found] += 1
        try:
            yield service
        finally:
            self.release(found)


class ServedIndex:
    """An index under its place, in whatever version is there.

    Attributes:
        name: of its folder.
    """

    def __init__(self, place: str, model: Path | None, encoders: Encoders, metrics: Metrics) -> None:
        self.place, self.name = place, named_path(place).name
        self._model, self._encoders, self._metrics = model, encoders, metrics
        self._signature = self._look()
        self._current = self._open(Index.open(place, model=model))
        self._turn = asyncio.Lock()
        self._writes: set[asyncio.Task[Changes]] = set()
        self._refreshing: asyncio.Task[bool] | None = None
        self._catalog: Catalog | None = None
        self._catalog_files: list[tuple[object, ...]] = []
        self._reading = threading.Lock()
        metrics.watch_index(self.name, lambda: self._current.products)

    @property
    def current(self) -> Opened:
        """What new requests get."""
        return self._current

    @contextmanager
    def lease(self) -> Iterator[Opened]:
        """The index as it is now, for one request."""
        opened = self._current
        opened.users += 1
        try:
            yield opened
        finally:
            opened.users -= 1
            self._close_if_unused(opened)

    async def watch(self) -> None:
        """Opens what other processes write; until it is cancelled."""
        seconds = WATCH_REMOTE_SECONDS if is_remote(self.place) else WATCH_SECONDS
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except Exception:  # it goes on with the version that it has, and looks again
                logger.exception("%s: another version cannot be opened", self.place)

    async def refresh(self) -> bool:
        """Opens another version if there is one; says whether."""
        if await in_thread(self._look) == self._signature:
            return False
        # One for all that ask, and of its own: a request that is out of time would leave the encoder in use.
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_in_turn())
            self._refreshing.add_done_callback(_ask_for_its_error)
        return await asyncio.shield(self._refreshing)

    async def upsert(self, products: Sequence[Product]) -> Changes:
        """Writes products; when it returns they are on disk, and found.

        Raises:
            Refusal: another process writes the index, or nothing can be written there.
            ProductIndexError: it cannot be written.
        """
        changes = await self._write(lambda index: index.upsert(products))
        self._metrics.written.labels(self.name).inc(changes.written)
        return changes

    async def delete(self, id: str) -> Changes:
        """Deletes a product, as `upsert` writes them."""
        changes = await self._write(lambda index: index.delete([id]))
        self._metrics.deleted.labels(self.name).inc(changes.deleted)
        return changes

    async def catalog_product(self, id: str) -> Product | None:
        """The product as the catalog has it, with its images and augmentations; None if it is not there."""

        def read() -> Product | None:
            folder = Path(self._current.index.info.data)
            with self._reading:  # a catalog's cache is not made for threads
                try:
                    files = _product_files(folder)
                    if self._catalog is None or files != self._catalog_files:
                        self._catalog = None  # what is there no more is not kept open
                        self._catalog, self._catalog_files = Catalog.open(folder), files
                    return self._catalog.product(id)
                except (CatalogError, OSError):
                    return None

        return await in_thread(read)

    async def close(self) -> None:
        """Lets writes end, and the encoder go."""
        await asyncio.gather(*self._writes, *filter(None, [self._refreshing]), return_exceptions=True)
        self._current.is_retired = True
        self._close_if_unused(self._current)

    async def _write(self, change: Callable[[Index], Changes]) -> Changes:
        if len(self._writes) >= MOST_WRITES:
            raise Refusal(429, f"{MOST_WRITES} changes wait already; try again in a moment", retry_after=1)
        # A task of its own: a request that is out of time goes away, and its change is made as a whole or not at all.
        task = asyncio.create_task(self._write_in_turn(change))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        task.add_done_callback(_ask_for_its_error)
        return await asyncio.shield(task)

    async def _refresh_in_turn(self) -> bool:
        async with self._turn:
            signature = await in_thread(self._look)
            if signature != self._signature:  # else somebody was quicker
                self._exchange(await in_thread(self._reopened))
                self._signature = signature
                self._metrics.swaps.labels(self.name).inc()
            return True

    async def _write_in_turn(self, change: Callable[[Index], Changes]) -> Changes:
        def write() -> tuple[Changes, Opened, tuple[object, ...]]:
            with nullcontext() if is_remote(self.place) else exclusive_lock(Path(self.place), "moon2 command"):
                fresh = self._reopened()
                try:
                    changes = change(fresh.index)
                    fresh.products, fresh.version = len(fresh.index), fresh.index.table.version
                except BaseException:
                    self._encoders.release(fresh.index.info.encoder)
                    raise
                return changes, fresh, self._look()

        async with self._turn:
            try:
                changes, fresh, self._signature = await in_thread(write)
            except FolderInUseError:
                raise Refusal(503, "another process writes the index; try again later", retry_after=5) from None
            except OutputError as error:
                logger.error("%s", error)
                raise Refusal(503, "the index cannot be written on the server; its log says why") from None
            self._exchange(fresh)
            return changes

    def _open(self, index: Index) -> Opened:
        encoding = self._encoders.acquire(index.info.encoder, lambda: (index.encoder, index.model))
        index.encoder = encoding.encoder  # another index may have loaded it
        return Opened(index, encoding)

    def _reopened(self) -> Opened:
        return self._open(self._current.index.reopened())

    def _exchange(self, fresh: Opened) -> None:
        old, self._current = self._current, fresh
        old.is_retired = True
        self._close_if_unused(old)

    def _close_if_unused(self, opened: Opened) -> None:
        if opened.is_retired and not opened.users:
            opened.users = -1  # closed once
            self._encoders.release(opened.index.info.encoder)

    def _look(self) -> tuple[object, ...]:
        """Changes when another process writes the index, or puts another one in its place."""
        tables = tables_of(self.place)
        if is_remote(self.place):
            return tables, Index.open(self.place).table.version
        looks: list[object] = [tables]
        for versions in sorted(Path(tables).glob("*.lance/_versions")):
            looks.append((versions.parent.name, versions.stat().st_mtime_ns))
        return tuple(looks)


class Served:
    """All that a server serves.

    Attributes:
        encoders: of the indexes; where there is no index, that of the run.
        indexes: none, one, or two to compare.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self.encoders = Encoders(settings, metrics)
        self.indexes: list[ServedIndex] = []
        source = settings.source
        if _is_index(source):
            places = [(source, settings.model), *([(settings.beside, None)] if settings.beside else [])]
            self.indexes = [ServedIndex(place, model, self.encoders, metrics) for place, model in places]
        elif settings.beside:
            raise ServeError(f"{source}: is no index, so nothing can stand beside it; give two indexes")
        else:
            self.encoders.acquire((source, "", ()), lambda: (load_encoder(source), source))

    def index(self, number: int) -> ServedIndex:
        """One of them.

        Raises:
            Refusal: there is no such index here.
        """
        if not self.indexes:
            raise Refusal(404, "this server has an encoder and no index; start it with `moon2 serve INDEX`")
        if number >= len(self.indexes):
            raise Refusal(404, "this server has one index; start it with --beside for a second one", "index")
        return self.indexes[number]

    async def close(self) -> None:
        """Ends what runs, after what has begun."""
        for index in self.indexes:
            await index.close()
        for service in self.encoders.services():
            await in_thread(service.close)


def _ask_for_its_error(task: asyncio.Task[Any]) -> None:
    """Nobody may be waiting for it; asyncio would warn of an error that is never asked for."""
    if not task.cancelled():
        task.exception()


def _is_index(source: str) -> bool:
    if is_remote(source) or (Path(source) / POINTER).is_file():
        return True
    if Path(source).is_dir() and find_model_folder(source) is None and not (Path(source) / "modules.json").is_file():
        raise ServeError(f"{source}: holds neither an index nor an encoder; give what `moon2 index` or `train` wrote")
    return False


def _product_files(catalog: Path) -> list[tuple[object, ...]]:
    """Changes when a catalog is imported again; quick enough to be asked with every request."""
    looks = ((path, path.stat()) for path in sorted(catalog.glob("products/*.parquet")))
    return [(path, look.st_ino, look.st_size, look.st_mtime_ns) for path, look in looks]


def normalised(vector: np.ndarray, dimension: int) -> np.ndarray:
    """Cut to a length, and of unit length again."""
    short = vector[..., :dimension]
    return short / np.linalg.norm(short, axis=-1, keepdims=True).clip(min=1e-12)
