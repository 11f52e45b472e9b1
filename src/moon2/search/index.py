"""An index of a shop's products, opened: search by words, photo or both, and durable changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from moon2.catalog.schema import pairs_to_dict
from moon2.errors import UserError
from moon2.images import ImageError, ImageSource, open_image
from moon2.records import Product, Query
from moon2.search.changes import Changes, ProductWriter, key_of
from moon2.search.errors import ProductIndexError
from moon2.search.info import IndexInfo
from moon2.search.product_table import EXACT_BELOW, ProductTable
from moon2.search.ranking import Ranked, rank_by_both, rank_by_vector, rank_by_words
from moon2.search.recall import QUERIES, choose_probes
from moon2.search.table_schema import SHOWN, WHOLE
from moon2.search.versions import tables_of
from moon2.vectors.fusion import CANDIDATES, UNSCALED, default_fusion
from moon2.vectors.product_texts import TextFields
from moon2.views import View

if TYPE_CHECKING:
    from moon2.encoders.protocol import VectorEncoder
    from moon2.vectors.item_embedder import ItemEmbedder


@dataclass(frozen=True)
class Hit:
    """A product that a search found.

    Attributes:
        id: of the product.
        title, description, category, attributes, price: of the product.
        score: by which hits are ordered: a cosine or, in a hybrid search, the fused score.
        cosine: of the query and the product; NaN where words alone were asked.
        vector_rank: its rank, from 1, by vectors alone; None below the candidates.
        word_rank: its rank, from 1, by words alone; None where it has none of them or words were not asked.
        image: which of its images was nearest, from 0; None where it was the product as a whole.
        exact: "id" or "title" where the words are that of the product, which puts it first.
    """

    id: str
    title: str
    description: str
    category: tuple[str, ...]
    attributes: dict[str, str]
    price: float | None
    score: float
    cosine: float
    vector_rank: int | None
    word_rank: int | None
    image: int | None
    exact: str = ""


class Index:
    """An index that is open.

    >>> index = Index.open("indexes/shop")
    >>> index.search("navy casual shirt", where="price < 50", limit=3)
    >>> index.search(image="photo.jpg")

    Attributes:
        place: its folder, or its address on object storage.
        info: what it says of itself.
        table: its products.
    """

    def __init__(self, place: str, info: IndexInfo, table: ProductTable, model: str | Path | None) -> None:
        """Is called by `open`."""
        self.place, self.info, self.table = place, info, table
        self._model = model or info.model
        self._reading = Lock()
        self._vocabulary: tuple[int, frozenset[str]] | None = None  # the version of the table, and its words

    @classmethod
    def open(cls, place: str | Path, *, model: str | Path | None = None) -> Index:
        """Opens an index; its encoder is loaded by the first search that needs it.

        Args:
            place: its folder, or its address on object storage such as s3://bucket/shop.
            model: where the encoder is now, if it moved.

        Raises:
            ProductIndexError: there is no whole index.
        """
        name = str(place)
        while True:
            tables = tables_of(name)
            try:
                return cls(name, IndexInfo.read(tables), ProductTable.open(tables), model)
            except ProductIndexError:
                # Built anew twice since its pointer was read, an index has these tables no more.
                if tables_of(name) == tables:
                    raise

    @property
    def model(self) -> str | Path:
        """Where its encoder is."""
        return self._model

    def reopened(self) -> Index:
        """The index as it is now on disk, with what this one has loaded and still holds; this one stays as it is.

        Raises:
            ProductIndexError: there is no whole index any more.
        """
        fresh = Index.open(self.place, model=None if self._model == self.info.model else self._model)
        if fresh.info.encoder == self.info.encoder:
            fresh.__dict__.update({name: self.__dict__[name] for name in ("encoder", "items") if name in self.__dict__})
        if fresh.table.place == self.table.place:  # versions of another table count from the start
            fresh._vocabulary = self._vocabulary
        return fresh

    def __len__(self) -> int:
        """Products."""
        return self.table.products()

    def __str__(self) -> str:
        kind = f"approximate, recall {self.info.recall.get('all', 0):.3f}" if self.info.probes else "exact"
        waiting = self.table.unindexed_rows()
        more = f"; {waiting:,} rows wait for `moon2 optimize`" if waiting else ""
        return f"{self.place}: {len(self):,} products, vectors of {self.info.dimension} numbers, {kind}{more}"

    @cached_property
    def encoder(self) -> VectorEncoder:
        """The encoder that the index was made with.

        Raises:
            ProductIndexError: it is another now.
            EncoderError: it cannot be loaded.
        """
        from moon2.encoders.identity import encoder_identity
        from moon2.encoders.load import load_encoder

        if (now := encoder_identity(self._model)) != self.info.identity:
            raise ProductIndexError(
                f"{self._model}: is not the encoder that {self.place} was made with ({now[:12]}, not "
                f"{self.info.identity[:12]}); give that one with --model, or run `moon2 embed` and `moon2 index` again"
            )
        return load_encoder(self._model, prompt=self.info.prompt, fields=self.info.fields)

    @cached_property
    def items(self) -> ItemEmbedder:
        """The encoder at work on many products."""
        from moon2.vectors.item_embedder import ItemEmbedder

        return ItemEmbedder(self.encoder)

    @property
    def dimension(self) -> int:
        """D, numbers of a vector."""
        return self.info.dimension

    @property
    def text(self) -> TextFields:
        """What keyword search reads of a product."""
        return self.info.text

    @property
    def is_approximate(self) -> bool:
        """Whether a search may miss what an exact one finds."""
        return bool(self.info.probes)

    def holds(self, product: Product) -> bool:
        """Whether its row was made of this title and these images, as far as the encoder reads them.

        By the id of a catalog's product another one may have been written since.
        """
        row = self.table.fetch([product.id], ["title", "images", "key"]).get(product.id)
        if row is None or (row["title"], row["images"]) != (product.title, len(product.images)):
            return False
        # A row of which something could not be read has no key.
        return row["key"] in ("", key_of(product, self.info, self.encoder))

    def ids(self) -> list[str]:
        """Of all products."""
        return self.table.scan(["id"])["id"].to_pylist()

    def encode(self, text: str = "", image: ImageSource | None = None) -> np.ndarray:
        """[D] float32 of unit length, of the words, the photo, or both.

        Raises:
            ProductIndexError: the photo cannot be read.
            EncoderError: the encoder cannot be loaded.
            RecordError: there is neither.
        """
        encoder, query = self.encoder, Query("search", text, image)
        try:
            vector = encoder.encode([query])[0, : self.info.dimension]
        except UserError:
            # An encoder speaks of the item of a list, and of options that a search has not.
            _require_readable(image)
            raise
        return vector / np.linalg.norm(vector)

    def search(
        self,
        text: str = "",
        image: ImageSource | None = None,
        *,
        like: str | None = None,
        where: str | None = None,
        limit: int = 10,
        offset: int = 0,
        hybrid: bool = True,
        exact: bool = False,
    ) -> list[Hit]:
        """The products that answer best, best first.

        Args:
            text: words.
            image: a photo: a path, bytes, or whatever `open_image` reads.
            like: id of a product instead; it is not among the hits.
            where: SQL over the columns of the index, such as "price < 50 AND category = 'Shoes'".
            limit: at most so many.
            offset: how many to pass over. Pages together are the list that one longer search gives, up to the 1,000th;
                with an approximate index, nearly so.
            hybrid: rank by vectors and by words together; a photo alone is ranked by vectors in any case.
            exact: compare with every vector, whatever index there is.

        Raises:
            ProductIndexError: the photo cannot be read, the filter cannot be used, there is no such product, or nothing
                is asked.
            EncoderError: the encoder cannot be loaded.
        """
        if limit < 1:
            raise ProductIndexError(f"limit is {limit}; it must be 1 or more")
        if not 0 <= offset <= CANDIDATES:
            raise ProductIndexError(
                f"offset is {offset}; pages go up to the {CANDIDATES:,}th hit, so give 0 to {CANDIDATES}"
            )
        if like is not None:
            if text or image is not None:
                raise ProductIndexError("give words and a photo, or a product to find others like it, not both")
            return self.rank_like(like, self._vector_of(like), where=where, limit=limit, offset=offset, exact=exact)
        if not text.strip() and image is None:
            raise ProductIndexError("nothing to search for; give words, a photo, or a product to find others like it")
        vector = self.encode(text, image)
        view: View = "t" if image is None else "mm"
        return self.rank(vector, text if hybrid else "", view, where=where, limit=limit, offset=offset, exact=exact)

    def rank(
        self,
        vector: np.ndarray | None,
        text: str = "",
        view: View = "t",
        *,
        where: str | None = None,
        limit: int = 10,
        offset: int = 0,
        exact: bool = False,
    ) -> list[Hit]:
        """As `search`, for a query that is encoded already; without words by the vector alone, or the other way round.

        Args:
            vector: [D] float32, unit length.
            text: the words of the query.
            view: of the query, t or mm; words and vector are weighed accordingly.
            where, limit, offset, exact: as of `search`.
        """
        # Every further page is cut from one list, since an approximate search for more finds others.
        last = CANDIDATES if offset else limit
        if vector is None:
            ranked = rank_by_words(self.table, text, self.known_words(), where, last)
        elif text.strip():
            known, fusion = self.known_words(), self.info.fusions[view]
            ranked = rank_by_both(self.table, self.info, vector, text, known, fusion, where, last, exact)
        else:
            ranked = rank_by_vector(self.table, self.info, vector, where, last, exact)
        ranked = ranked[offset : offset + limit]
        shown = self.table.fetch([one.id for one in ranked], SHOWN)
        return [_hit(one, shown[one.id]) for one in ranked if one.id in shown]

    def rank_like(
        self, id: str, vector: np.ndarray, *, where: str | None, limit: int, offset: int, exact: bool = False
    ) -> list[Hit]:
        """The products that are nearest to one, without it; ranks are those among the others.

        Args:
            id: of the product.
            vector: [D] float32, its own.
            where, limit, offset, exact: as of `search`.
        """
        last = CANDIDATES if offset else limit
        hits = self.rank(vector, where=where, limit=last + 1, exact=exact)
        others = [hit for hit in hits if hit.id != id][:last]
        return [replace(hit, vector_rank=rank) for rank, hit in enumerate(others, 1)][offset : offset + limit]

    def photos(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Product → its thumbnail as JPEG, of those that have one."""
        rows = self.table.fetch(ids, ["thumbnail"])
        return {id: row["thumbnail"] for id, row in rows.items() if row["thumbnail"] is not None}

    def upsert(self, products: Iterable[Product], progress: Callable[[int], object] = lambda done: None) -> Changes:
        """Writes products in place of those of the same ids; what is counted as written is durable.

        A product whose content is there already is left alone, and one of which nothing that the encoder reads has
        changed, such as the price alone, keeps its vectors. One that cannot be embedded is refused; its old row stays.

        Args:
            products: any iterable, never in memory as a whole.
            progress: is called with the number of products done, after each write.

        Raises:
            ProductIndexError: a write failed; those before it are there.
        """
        known_words = self.known_words()
        writer = ProductWriter(self.table, self.info, self.items, known_words)
        changes = writer.upsert(products, progress)
        self._vocabulary = self.table.version, known_words | writer.written_words
        return changes

    def delete(self, ids: Collection[str]) -> Changes:
        """Deletes products; `problems` names the ids that are not there.

        Raises:
            ProductIndexError: a product is still there.
        """
        there = self.table.fetch(list(ids), ["id"])
        if there:
            known_words = self.known_words()
            self.table.delete(list(there))
            self._vocabulary = self.table.version, known_words
        missing = {id: "there is no such product" for id in ids if id not in there}
        return Changes(deleted=len(there), problems=missing)

    def optimize(self) -> None:
        """Adds the rows written since to the indexes, builds one of the vectors above 100,000, and measures recall.

        An index that was begun with a few products learns how its cosines spread, for hybrid search.

        Raises:
            ProductIndexError: it cannot be written.
        """
        if not self.table.is_approximate() and self.table.rows() >= EXACT_BELOW:
            self.table.build_approximate()
        self.table.optimize()
        info, drawn = self.info, self.table.sample_vectors(QUERIES)
        if self.table.is_approximate():
            probes, recall = choose_probes(self.table, drawn)
            info = replace(info, probes=probes, recall=recall)
        scaled = default_fusion(drawn, drawn)  # products are their own queries: there are no others
        info = replace(info, fusions={v: scaled if one == UNSCALED else one for v, one in info.fusions.items()})
        if info != self.info:
            self.info = info
            info.write(self.table.place)

    def known_words(self) -> frozenset[str]:
        """All words of all products, by which compounds are taken apart.

        They are read when they are first asked for. A write by this index adds its own; the words of what was deleted
        or replaced are known until the index is opened again.
        """
        with self._reading:  # a server's first requests would each read all of them
            version = self.table.version
            if self._vocabulary is None or self._vocabulary[0] != version:
                words = pc.list_flatten(pc.split_pattern(self.table.scan(["words"])["words"].drop_null(), " "))
                self._vocabulary = version, frozenset(pc.unique(words).to_pylist())
            return self._vocabulary[1]

    def _vector_of(self, id: str) -> np.ndarray:
        row = self.table.fetch([id], ["vector"]).get(id)
        if row is None:
            raise ProductIndexError(f"{self.place}: there is no product {id!r}")
        return np.array(row["vector"], np.float32)


def _require_readable(image: ImageSource | None) -> None:
    try:
        if image is not None:
            open_image(image, "photo")
    except ImageError as error:
        raise ProductIndexError(f"{error}{'' if ';' in str(error) else '; give another photo'}") from None


def _hit(ranked: Ranked, row: Mapping[str, Any]) -> Hit:
    return Hit(
        id=ranked.id,
        title=row["title"],
        description=row["description"],
        category=tuple(row["category_path"]),
        attributes=pairs_to_dict(row["attributes"]),
        price=row["price"],
        score=ranked.score,
        cosine=ranked.cosine,
        vector_rank=ranked.vector_rank or None,
        word_rank=ranked.word_rank or None,
        image=None if ranked.image == WHOLE else ranked.image,
        exact=("", "title", "id")[ranked.exact],
    )
