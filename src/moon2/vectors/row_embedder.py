"""The work on one shard of `moon2 embed`: records in, rows of vectors out; the same in threads and in Ray's workers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from moon2.catalog.schema import REJECTS
from moon2.catalog.store import Catalog
from moon2.encoders.load import load_encoder
from moon2.encoders.protocol import VectorEncoder
from moon2.objective.matryoshka import shortened
from moon2.records import Product, Query
from moon2.vectors.embed import text_read
from moon2.vectors.item_embedder import ItemEmbedder, Problem, Record, deciding_images
from moon2.vectors.known_rows import KnownRows, row_key
from moon2.vectors.vector_folder import VectorInfo, What
from moon2.vectors.vector_writer import stored_rows
from moon2.views import View

REASONS = {"image": "unreadable_image", "row": "nothing_to_embed"}


@dataclass(frozen=True)
class EmbeddingJob:
    """What a worker needs to know; it is sent to workers.

    Attributes:
        info: of the folder that is being made.
        fields, trust_remote_code: as `load_encoder` takes them.
        per_image: give each image a vector too.
        known: table → Parquet files with vectors from before.
        workers: of Ray; None without Ray.
    """

    info: VectorInfo
    fields: tuple[str, ...] = ()
    trust_remote_code: bool = False
    per_image: bool = False
    known: Mapping[What, tuple[Path, ...]] = field(default_factory=dict)
    workers: int | None = None

    @property
    def made_by(self) -> str:
        """All that decides the vectors of a row beside what it holds."""
        info = self.info
        inputs = sorted(info.inputs.items())
        return repr((info.identity, info.prompt, inputs, info.dimension, info.storage, info.views, self.per_image))


def load_embedder(job: EmbeddingJob) -> RowEmbedder:
    """Loads the encoder, in the process that is to work with it."""
    encoder = load_encoder(
        job.info.model, prompt=job.info.prompt, fields=job.fields, trust_remote_code=job.trust_remote_code
    )
    return RowEmbedder(encoder, job)


class RowEmbedder:
    """Products or queries of a shard → tables of that name, `rejects`, `counts` and, where asked for, `images`.

    Threads may share it.

    Attributes:
        items: the encoder at work.
    """

    def __init__(self, encoder: VectorEncoder, job: EmbeddingJob) -> None:
        self.items = ItemEmbedder(encoder, job.workers)
        self._job = job
        self._known = {what: KnownRows(files) for what, files in job.known.items() if files}
        self._of_thread = threading.local()

    def __call__(self, records: Sequence[Product] | Sequence[Query]) -> dict[str, pa.Table]:
        """The tables of one shard, rows in its order."""
        what: What = "queries" if records and isinstance(records[0], Query) else "products"
        whole = [self._with_image(record) if isinstance(record, Query) else record for record in records]
        keys = [self._key(each) for each in whole]
        known = self._known[what].find(keys) if what in self._known else None
        old_keys = set() if known is None else set(known["key"].to_pylist())
        rows: dict[str, int] = {}  # equal records are embedded once
        for row, key in enumerate(keys):
            if key not in old_keys:
                rows.setdefault(key, row)
        new = [whole[row] for row in rows.values()]
        found = self.items.embed(new, self._job.info.views)
        faults = dict(found.problems)
        new_keys = list(rows)
        parts = [self._stored(what, found.vectors, key=new_keys), known]
        if self._job.per_image and what == "products":
            places, alone = self.items.embed_images([each for each in new if isinstance(each, Product)])
            faults = alone.problems | faults
            owners, numbers = [new_keys[row] for row, _ in places], [image for _, image in places]
            images = self._stored("images", alone.vectors, key=owners, image=numbers)
            known_images = self._known["images"].find([*old_keys]) if "images" in self._known else None
            image_parts = [images.filter(images["i"].is_valid()), known_images]
        problems = {new_keys[row]: problem for row, problem in faults.items()}
        tables = {what: _arranged(parts, keys, whole, problems), "rejects": _rejects(keys, whole, problems)}
        if self._job.per_image and what == "products":
            tables["images"] = _arranged(image_parts, keys, whole, problems)
        kept = sum(key in old_keys for key in keys)
        tables["counts"] = pa.table({"name": ["new", "kept"], "count": [len(keys) - kept, kept]})
        return tables

    def _with_image(self, query: Query) -> Query:
        if not hasattr(self._of_thread, "catalog"):  # a catalog's cache is not made for threads
            self._of_thread.catalog = Catalog.open(self._job.info.data)
        catalog: Catalog = self._of_thread.catalog
        return catalog.with_image(query)

    def _key(self, record: Record) -> str:
        images = deciding_images(self.items.encoder, record, self._job.info.views, self._job.per_image)
        return row_key(self._job.made_by, text_read(self.items.encoder, record), images)

    def _stored(self, what: What, vectors: dict[View, np.ndarray], **columns: Sequence[object]) -> pa.Table:
        info = self._job.info
        cut = {view: shortened(torch.from_numpy(part), info.dimension).numpy() for view, part in vectors.items()}
        blank = [""] * len(columns["key"])
        # What is read back from a finished shard knows nothing of `datasets`.
        return stored_rows(info, what, cut, {"id": blank, "split": blank, **columns}).replace_schema_metadata(None)


def _arranged(
    parts: Sequence[pa.Table | None], keys: list[str], records: Sequence[Record], problems: Mapping[str, Problem]
) -> pa.Table:
    """The rows of each key in the order of the keys, with the records' own ids.

    What had a problem gets no key: the next run tries again, and tells again what is wrong.
    """
    whole = [part for part in parts if part is not None]
    pool = pa.concat_tables([part.select(whole[0].column_names).cast(whole[0].schema) for part in whole])
    places: dict[str, list[int]] = {}
    for place, key in enumerate(pool["key"].to_pylist()):
        places.setdefault(key, []).append(place)
    taken = [(row, place) for row, key in enumerate(keys) for place in places.get(key, ())]
    columns = {
        "id": [records[row].id for row, _ in taken],
        "key": ["" if keys[row] in problems else keys[row] for row, _ in taken],
    }
    table = pool.combine_chunks().take(pa.array([place for _, place in taken], pa.int64()))
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return table


def _rejects(keys: list[str], records: Sequence[Record], problems: Mapping[str, Problem]) -> pa.Table:
    """`schema.REJECTS`, rows counted from 1."""
    named: dict[str, str] = {}  # of equal records the first was embedded, and messages name it
    rows = [
        {
            "row": number,
            "id": record.id,
            "dropped": problems[key].dropped,
            "reason": REASONS[problems[key].dropped],
            "message": problems[key].message.replace(repr(named.setdefault(key, record.id)), repr(record.id), 1),
        }
        for number, (record, key) in enumerate(zip(records, keys, strict=True), 1)
        if key in problems
    ]
    return pa.Table.from_pylist(rows, schema=REJECTS)
