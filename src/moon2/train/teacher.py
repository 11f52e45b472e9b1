"""The teachers of a run: folders of vectors that `moon2 embed` wrote with other models, looked up for each batch.

One model may teach words and another images. Of a teacher's text the similarities to texts and to whole products are
learned, of its image those to images and to whole products.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import Triplet
from moon2.recipe import RecipeError
from moon2.train.batches import TaughtView, TripletOutline
from moon2.vectors.vector_folder import VectorFolder, What
from moon2.views import View

TABLES: tuple[tuple[What, str | None], ...] = (("products", None), ("queries", "train"))
logger = logging.getLogger(__name__)


@dataclass
class TeacherTable:
    """What one model makes of a shop.

    Attributes:
        places: the row of a product or query, by its table and id.
        own: [R + 1, E] float32 of unit length, the view that is taught; the last row, of items without one, is zeros.
        joint: the same of what such a view is compared with as a whole, mm, or the view itself where there is no mm.
    """

    places: dict[tuple[What, str], int]
    own: Tensor
    joint: Tensor

    def taught(self, keys: Sequence[tuple[What, str]], names: Sequence[str]) -> TaughtView:
        """Of these items; of those of one name that have a vector only the first takes part: a copy changes nothing."""
        places = [self.places.get(key, -1) for key in keys]
        first: dict[str, int] = {}
        for number, (name, place) in enumerate(zip(names, places, strict=True)):
            if place >= 0:
                first.setdefault(name, number)
        counts = torch.tensor([first.get(name) == number for number, name in enumerate(names)])
        return TaughtView(self.own[places], self.joint[places], counts)


class Teacher:
    """What a run's teachers make of its products and queries.

    Workers that load batches share its tensors. Of the items of a run, memory holds two vectors a view.

    Attributes:
        tables: by the view that is taught, t or i.
        identities: of the models and of the catalog.
    """

    def __init__(self, tables: dict[View, TeacherTable], identities: Sequence[str] = ()) -> None:
        self.tables = tables
        self.identities = identities

    def taught(self, outlines: Sequence[TripletOutline]) -> dict[View, TaughtView]:
        """Of a batch's queries, positives and the negatives there are, in this order, by the view that is taught."""
        keys: list[tuple[What, str]] = [("queries", outline.query_id) for outline in outlines]
        keys += [("products", outline.positive_id) for outline in outlines]
        texts = [outline.query_text for outline in outlines] + [outline.own_texts[0] for outline in outlines]
        for outline in outlines:
            if outline.negative_id is not None:
                keys.append(("products", outline.negative_id))
                texts.append(outline.own_texts[1])
        # Texts that are equal are one to any teacher of words; images are told apart by whose they are.
        names = {"t": [text.casefold() for text in texts], "i": [" ".join(key) for key in keys]}
        return {view: table.taught(keys, names[view]) for view, table in self.tables.items()}


def open_teacher(folders: Sequence[str], catalog: Catalog, triplets: Sequence[Triplet]) -> Teacher | None:
    """The teachers of these folders; None where there are none.

    Of each view, t and i, the first folder that has it teaches. Items without a vector are not taught; how many
    those are is logged.

    Raises:
        VectorFolderError: a folder holds no vectors.
        RecipeError: they are of another catalog, or of neither texts nor images.
    """
    if not folders:
        return None
    opened = [VectorFolder.open(path) for path in folders]
    fingerprint = catalog_fingerprint(catalog)
    wanted = _wanted(catalog, triplets)
    for folder in opened:
        if folder.info.fingerprint != fingerprint:
            missing = _missing(_ids(folder), wanted)
            raise RecipeError(
                f"training.teacher {folder.path}: holds vectors of another catalog or state of it "
                f"({folder.info.data}), lacking {missing or 'nothing'} of {catalog.folder}; run `moon2 embed "
                f"{folder.info.model} --data {catalog.folder} --out FOLDER`, and give that folder"
            )
    tables: dict[View, TeacherTable] = {}
    views: tuple[View, ...] = ("t", "i")
    for view in views:
        for folder in [each for each in opened if each.info.vectors.get("products", {}).get(view)][:1]:
            tables[view] = _table(folder, view)
            missing = _missing(tables[view].places.keys(), wanted)
            if missing:
                logger.warning("training.teacher %s: not taught by %s: %s have no vector", folder.path, view, missing)
    if not tables:
        where = ", ".join(folders)
        raise RecipeError(f"training.teacher {where}: has neither texts (t) nor images (i) of any product")
    return Teacher(tables, [f"{each.info.identity} {each.info.fingerprint} {each.info.inputs}" for each in opened])


def _table(folder: VectorFolder, view: View) -> TeacherTable:
    joint: View = "mm" if "mm" in folder.info.views else view
    places: dict[tuple[What, str], int] = {}
    parts: dict[View, list[np.ndarray]] = {view: [], joint: []}
    for what, split in TABLES:
        if what not in folder.info.counts:
            continue
        matrices = {each: folder.matrix(what, each, split=split) for each in parts}
        rows = {each: {id: number for number, id in enumerate(ids)} for each, (ids, _) in matrices.items()}
        places |= {(what, id): len(places) + number for number, id in enumerate(rows[view])}
        for each, (_, matrix) in matrices.items():
            # A query of words or a photo alone has no joint vector; that view is then all of it.
            whole = matrices[view][1].copy()
            known = [id in rows[each] for id in rows[view]]
            whole[known] = matrix[[rows[each][id] for id in rows[view] if id in rows[each]]]
            parts[each].append(whole)
    nothing = np.zeros((1, folder.info.dimension), np.float32)
    tensors = {
        each: functional.normalize(torch.from_numpy(np.concatenate([*part, nothing])), dim=-1)
        for each, part in parts.items()
    }
    return TeacherTable(places, tensors[view], tensors[joint])


def _ids(folder: VectorFolder) -> set[tuple[What, str]]:
    return {
        (what, id)
        for what, split in TABLES
        for batch in folder.batches(what, ["id"], split=split)
        for id in batch.column("id").to_pylist()
    }


def _wanted(catalog: Catalog, triplets: Sequence[Triplet]) -> dict[What, set[str]]:
    """What a run is about, by table."""
    return {"products": set(catalog.ids("train")), "queries": {triplet.query.id for triplet in triplets}}


def _missing(keys: Collection[tuple[What, str]], wanted: dict[What, set[str]]) -> str:
    """How many of them are not among the keys, in words; "" for none."""
    counts = {what: sum((what, id) not in keys for id in ids) for what, ids in wanted.items()}
    return " and ".join(f"{count:,} of {len(wanted[what]):,} {what}" for what, count in counts.items() if count)
