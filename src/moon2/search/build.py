"""`moon2 index`: vectors and their catalog in, an index out; it appears as a whole or not at all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.progress import progress_bar
from moon2.run_folder import find_model_folder
from moon2.search.errors import ProductIndexError
from moon2.search.index import Index
from moon2.search.info import IndexInfo
from moon2.search.product_table import EXACT_BELOW, ProductTable
from moon2.search.recall import QUERIES, choose_probes
from moon2.search.rows import EmbeddedProduct, RowMaker, frequent_attributes
from moon2.search.table_schema import WHOLE, attribute_columns
from moon2.search.versions import (
    check_target,
    is_remote,
    new_version,
    put_in_use,
    put_remote_in_use,
    sole_writer,
    tables_at,
)
from moon2.vectors.fit_fusions import FUSIONS, VIEWS_WITH_WORDS
from moon2.vectors.fusion import default_fusion, read_fusions
from moon2.vectors.lexical import searched_words
from moon2.vectors.product_texts import TextFields, product_text, product_texts
from moon2.vectors.row_embedder import EmbeddingJob
from moon2.vectors.vector_folder import VectorFolder, What
from moon2.vectors.words import words
from moon2.views import View

CHUNK = 512
"""Products that become rows at a time; their images are in memory meanwhile."""
SAMPLE = 1000
"""Products of the random sample by which fusion standardises cosines."""


def build_index(
    vectors: Path,
    out: str,
    data: Path | None,
    model: Path | None,
    text: TextFields,
    thumbnails: int,
    overwrite: bool,
) -> Index:
    """See `moon2.search.commands.build_index`."""
    if thumbnails < 0:
        raise ProductIndexError(f"--thumbnails is {thumbnails}; it must be 0 or more")
    folder = VectorFolder.open(vectors)
    if not folder.info.vectors.get("products", {}).get("mm"):
        raise ProductIndexError(f"{vectors}: has no vectors of whole products; run `moon2 embed` with --views t i mm")
    catalog = Catalog.open(data or folder.info.data)
    if catalog_fingerprint(catalog) != folder.info.fingerprint:
        raise ProductIndexError(
            f"{catalog.folder}: is not as it was when {vectors} was made; run `moon2 embed` again, which embeds only "
            f"what has changed"
        )
    if is_remote(out):
        check_target(out, overwrite)
        version = new_version()
        try:
            _build(folder, catalog, tables_at(out, version), model, text, thumbnails)
        except BaseException:
            with suppress(OSError, RuntimeError):  # what went wrong first is told
                lancedb.connect(tables_at(out, version)).drop_all_tables()
            raise
        put_remote_in_use(version, out)
        return Index.open(out)
    target = Path(out).absolute()
    with sole_writer(target):
        check_target(str(target), overwrite)
        fresh = target.with_name(f".{target.name}.building")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            tables = fresh / new_version()
            _build(folder, catalog, str(tables), model, text, thumbnails)
            put_in_use(tables, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return Index.open(target)


def _build(
    folder: VectorFolder, catalog: Catalog, place: str, model: Path | None, text: TextFields, thumbnails: int
) -> None:
    counts: Counter[str] = Counter()
    for row in catalog.rows(None, ["attributes"]):
        counts.update(pairs_to_dict(row["attributes"]).keys())
    known_words = {word for product in product_texts(catalog, text) for word in words(product.text)}
    columns = attribute_columns(frequent_attributes(counts, len(catalog)))
    maker = RowMaker(folder.info.dimension, columns, thumbnails)
    written = Counter[str]()
    table = ProductTable.create(place, maker.schema, _batches(folder, catalog, maker, text, known_words, written))
    if table.products() != written["products"] or table.rows() != written["rows"]:
        raise ProductIndexError(
            f"{place}: holds {table.products():,} of {written['products']:,} products; build it again"
        )
    queries, per_image = _queries(folder), folder.count("images") > 0
    # A model that was not trained on a log has no weights; then the default serves.
    fusion = default_fusion(queries, table.sample_vectors(SAMPLE))
    model_folder = find_model_folder(model or folder.info.model)
    fitted = read_fusions(model_folder / FUSIONS).get(text, {}) if model_folder is not None else {}
    fusions = {view: fitted.get(view, fusion) for view in VIEWS_WITH_WORDS}
    info = IndexInfo(
        model=str(model.absolute() if model is not None else folder.info.model),
        identity=folder.info.identity,
        storage=folder.info.storage,
        prompt=folder.info.prompt,
        fields=tuple(folder.info.inputs.get("fields", ())),
        made_by=EmbeddingJob(folder.info, per_image=per_image).made_by,
        data=str(catalog.folder.absolute()),
        dimension=folder.info.dimension,
        per_image=per_image,
        text=text,
        attributes=columns,
        thumbnails=thumbnails,
        fusions=fusions,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if table.rows() >= EXACT_BELOW:
        table.build_approximate()
        probes, recall = choose_probes(table, queries[:QUERIES])
        info = replace(info, probes=probes, recall=recall)
    info.write(place)


def _batches(
    folder: VectorFolder,
    catalog: Catalog,
    maker: RowMaker,
    text: TextFields,
    known_words: Collection[str],
    written: Counter[str],
) -> Iterator[pa.RecordBatch]:
    """The rows of the table, chunk by chunk; counts what it gives in `written`."""
    # Both in the order of the catalog, which is as it was when they were made.
    wholes, images = _product_vectors(folder), groupby(_image_vectors(folder), key=itemgetter(0))
    whole, of_images = next(wholes, None), next(images, None)
    chunk: list[EmbeddedProduct] = []
    with progress_bar(total=folder.count("products"), desc="index", unit="products") as bar:
        for product in catalog.products():
            vectors: dict[int, np.ndarray] = {}
            if of_images is not None and of_images[0] == product.id:
                vectors = {number: vector for _, number, vector in of_images[1]}
                of_images = next(images, None)
            if whole is None or whole[0] != product.id:
                continue  # it could not be embedded as a whole; a single image of it may have been
            _, key, vectors[WHOLE] = whole
            whole = next(wholes, None)
            chunk.append(EmbeddedProduct(product, key, written["products"], vectors))
            written["products"] += 1
            written["rows"] += len(vectors)
            if len(chunk) == CHUNK:
                yield from _rows(maker, chunk, text, known_words)
                chunk = []
            bar.update()
    yield from _rows(maker, chunk, text, known_words)


def _rows(
    maker: RowMaker, chunk: list[EmbeddedProduct], text: TextFields, known_words: Collection[str]
) -> Iterator[pa.RecordBatch]:
    found_by = [searched_words(product_text(embedded.product, text), known_words) for embedded in chunk]
    yield from maker.rows(chunk, found_by).to_batches()


def _product_vectors(folder: VectorFolder) -> Iterator[tuple[str, str, np.ndarray]]:
    """Id, key and vector of each product that has one, in the catalog's order."""
    for batch in folder.batches("products", ["id", "key", *folder.columns_of("mm")], rows=CHUNK):
        rows, vectors = folder.decode(batch, "mm")
        ids, keys = batch.column("id").to_pylist(), batch.column("key").to_pylist()
        for row, vector in zip(rows, vectors, strict=True):
            yield ids[row], keys[row], vector


def _image_vectors(folder: VectorFolder) -> Iterator[tuple[str, int, np.ndarray]]:
    """Id, number of the image and vector, in the catalog's order."""
    if not folder.count("images"):
        return
    for batch in folder.batches("images", ["id", "image", *folder.columns_of("i")], rows=CHUNK):
        rows, vectors = folder.decode(batch, "i")
        ids, numbers = batch.column("id").to_pylist(), batch.column("image").to_pylist()
        for row, vector in zip(rows, vectors, strict=True):
            yield ids[row], numbers[row], vector


def _queries(folder: VectorFolder) -> np.ndarray:
    """[n, D] float32 of what is like shoppers' queries: their own, or else titles."""
    what: What = "queries" if folder.count("queries") else "products"
    for view in ("t", "mm", "i"):
        if view in folder.info.columns(what):
            drawn = drawn_vectors(folder, what, view)
            if len(drawn):
                return drawn
    return np.zeros((0, folder.info.dimension), np.float32)


def drawn_vectors(folder: VectorFolder, what: What, view: View) -> np.ndarray:
    """[n, D] float32, `SAMPLE` vectors drawn by chance; a part of the table is in memory at a time."""
    rng = np.random.default_rng(0)
    drawn, lots = np.zeros((0, folder.info.dimension), np.float32), np.zeros(0)
    for batch in folder.batches(what, folder.columns_of(view)):
        vectors = folder.decode(batch, view)[1]
        # Each draws a lot, and the lowest stay: so it does not matter how many are still to come.
        drawn, lots = np.concatenate([drawn, vectors]), np.concatenate([lots, rng.random(len(vectors))])
        lowest = np.argsort(lots)[:SAMPLE]
        drawn, lots = drawn[lowest], lots[lowest]
    return drawn
