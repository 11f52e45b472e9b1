"""What an index says of itself: which encoder and catalog it was made with, and how well it finds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import lancedb
import pyarrow as pa

from moon2.search.errors import ProductIndexError, reason_of
from moon2.vectors.fusion import Fusion
from moon2.vectors.product_texts import TextFields
from moon2.vectors.quantize import Storage
from moon2.views import View

TABLE = "about"
EncoderKey = tuple[str, str, tuple[str, ...]]
"""Identity, prompt and fields of an encoder."""
FORMAT = 2


@dataclass(frozen=True)
class IndexInfo:
    """What an index says of itself.

    Attributes:
        model: the encoder's folder (absolute) or hub id.
        identity: of the encoder; vectors of another cannot be compared with these.
        storage: how the vectors were stored that it was made of; those of changed products are rounded alike.
        prompt: put before every query's text.
        fields: what another library's encoder reads of a product as its text.
        made_by: all that decides a vector beside what the product holds; goes into its key.
        data: folder of the catalog, absolute.
        dimension: D, numbers of a vector.
        per_image: whether each image has a vector of its own.
        text: what keyword search reads of a product.
        attributes: attribute → the column to filter by.
        thumbnails: longest side of a thumbnail in pixels; 0 for none.
        fusions: view of the query, t or mm → how both rankings become one.
        probes: how many lists an approximate search looks into; 0 where every search is exact.
        recall: of the approximate search against the exact one, by what was filtered.
        created: when, in UTC.
    """

    model: str
    identity: str
    storage: Storage
    prompt: str
    fields: tuple[str, ...]
    made_by: str
    data: str
    dimension: int
    per_image: bool
    text: TextFields
    attributes: dict[str, str]
    thumbnails: int
    fusions: dict[View, Fusion]
    probes: int = 0
    recall: dict[str, float] = field(default_factory=dict)
    created: str = ""

    @property
    def encoder(self) -> EncoderKey:
        """What decides how a text or a product becomes a vector."""
        return self.identity, self.prompt, self.fields

    def write(self, place: str) -> None:
        """Writes it beside the table of products. Comes last: what has it is a whole index.

        Raises:
            ProductIndexError: it cannot be written.
        """
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        try:
            lancedb.connect(place).create_table(TABLE, pa.table({"json": [text]}), mode="overwrite")
        except (OSError, RuntimeError) as error:
            raise ProductIndexError(f"{place}: cannot be written ({reason_of(error)})") from None

    @classmethod
    def read(cls, place: str) -> IndexInfo:
        """Reads it.

        Raises:
            ProductIndexError: there is no whole index.
        """
        try:
            rows = lancedb.connect(place).open_table(TABLE).to_arrow()["json"].to_pylist()
            written: dict[str, Any] = json.loads(rows[0])
            if written.pop("format") == FORMAT:
                fusions = {view: Fusion(**fusion) for view, fusion in written["fusions"].items()}
                return cls(**{**written, "fields": tuple(written["fields"]), "fusions": fusions})
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
            raise ProductIndexError(
                f"{place}: holds no index, or not a whole one ({reason_of(error)}); make one with `moon2 index`"
            ) from None
        raise ProductIndexError(f"{place}: was written by another moon2; build it anew with `moon2 index`")
