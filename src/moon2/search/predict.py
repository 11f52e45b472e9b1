"""`moon2 predict`: what a product's category and attributes are, how sure that is, and which labels look wrong.

Nothing is trained. A label is told by its text, and by the labels of the nearest products of the training split. How
much each counts, and what a score is worth, is learned from products that are neither neighbours nor reported on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from moon2.catalog.store import Catalog
from moon2.progress import progress_bar
from moon2.search.labelled_products import LabelledProducts, PredictionError, read_labelled_products
from moon2.search.tables import require_table_file, write_table
from moon2.vectors.label_tasks import field_with_label

if TYPE_CHECKING:
    import numpy as np

    from moon2.encoders.protocol import VectorEncoder
    from moon2.search.label_predictor import Doubt, Predicted

logger = logging.getLogger(__name__)
BATCH_SIZE = 64
WELL_COVERED = 0.5
"""Where fewer of the products that may be neighbours have the label, those that have it are searched alone."""


@dataclass(frozen=True)
class Predictions:
    """What `moon2 predict` did.

    Attributes:
        out: the file of predictions.
        doubtful: the file of labels that look wrong.
        tasks: by task what was predicted.
        names: by task the labels.
        products: how many there are.
        embedded: how many of them have a vector; the others are not predicted.
        at_least: the confidence below which a prediction is left blank.
    """

    out: Path
    doubtful: Path
    tasks: Mapping[str, Predicted]
    names: Mapping[str, Sequence[str]]
    products: int
    embedded: int
    at_least: float

    def __str__(self) -> str:
        width = max(len("held-out products, %"), *map(len, self.tasks))
        heads = ("labels", "accuracy", "of the surest 80 %", "calibration error", "answered", "doubtful")
        lines = [f"{'held-out products, %':<{width}}  {'told by':<11}  " + "  ".join(heads)]
        for task, predicted in self.tasks.items():
            for way, figures in predicted.figures.items():
                cells = [
                    f"{len(self.names[task]):,}",
                    f"{100 * figures.accuracy:.1f}",
                    f"{100 * figures.accuracy_at_coverage:.1f}",
                    f"{100 * figures.calibration_error:.1f}",
                    *([self._answered(predicted), f"{len(predicted.doubts):,}"] if way == "both" else []),
                ]
                row = "  ".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=False))
                lines.append(f"{task if way == 'label text' else '':<{width}}  {way:<11}  {row}")
        lines += [
            f"{task}: no labelled product is held out, so nothing is known of the predictions"
            for task, predicted in self.tasks.items()
            if not predicted.figures
        ]
        lines += ["", f"{self.out}: predictions of {self.embedded:,} products" + self._blank()]
        if self.products > self.embedded:
            lines.append(f"{self.products - self.embedded:,} products have no vector and are left blank")
        doubts = sum(len(predicted.doubts) for predicted in self.tasks.values())
        lines.append(f"{self.doubtful}: {doubts:,} labels that look wrong, the least likely first")
        return "\n".join(lines)

    def _answered(self, predicted: Predicted) -> str:
        return f"{100 * float((predicted.confidence >= self.at_least).mean()):.0f}" if self.embedded else "0"

    def _blank(self) -> str:
        return f", blank where the confidence is below {self.at_least:g}" if self.at_least else ""


def predict(
    model: str,
    *,
    data: Path,
    out: Path,
    vectors: Path | None = None,
    at_least: float = 0.0,
    attributes: tuple[str, ...] = (),
    label_prompt: str = "{}",
    fields: tuple[str, ...] = (),
    trust_remote_code: bool = False,
) -> Predictions:
    """Predict classes and attributes of products; list labels that look wrong.

    The class is the last level of the category. A label is told by its text, alone and in
    phrases such as "black shirts", and by a vote of the 50 nearest labelled products of the
    training split, never by the product itself or its copies. The confidence is how often
    predictions of that score are right: it is learned from half of the test split and checked
    on the other half. A catalog without a test split has 15 % of its products held out for each.

    OUT has one row per product, with its label, the prediction and the confidence. Beside it,
    NAME-doubtful lists labels of the catalog that look wrong, the least likely first, with
    the products that speak against them.

    examples:
      moon2 predict runs/shop --data data/shop --out labels.csv
      moon2 predict runs/shop --data data/shop --out labels.parquet --vectors vectors/shop \\
        --attributes colour material --at_least 0.8

    Args:
        model: folder of a run or an encoder, or a hub id.
        data: folder of the catalog; its labels are learned from.
        out: file of predictions; it ends in .csv or .parquet.
        vectors: what `moon2 embed` wrote of the same model and catalog; without it, products are embedded now.
        at_least: leave predictions blank whose confidence, 0 to 1, is lower.
        attributes: to predict; if not given, those that half of the products have and whose values come again.
        label_prompt: a label in words, such as "a photo of {}".
        fields: what of a product another model than moon2's own reads as its text; its title if not given.
        trust_remote_code: let a sentence-transformers model run Python that comes with it.

    Raises:
        PredictionError: there is nothing to learn from, or VECTORS are of another model or catalog.
        TableError: OUT ends in something else.
        OutputError: OUT cannot be written.
        EncoderError: the model cannot be loaded.
        CatalogError: there is no such catalog.
    """
    require_table_file(out)
    if not 0 <= at_least <= 1:
        raise PredictionError(f"--at_least is {at_least:g}; a confidence is 0 to 1, such as 0.8")
    if "{}" not in label_prompt:
        raise PredictionError(f"--label_prompt is {label_prompt!r}; put {{}} where the label is to stand")
    catalog = Catalog.open(data)
    shop = read_labelled_products(catalog, attributes)
    from moon2.encoders.load import load_encoder

    encoder = load_encoder(model, fields=fields, trust_remote_code=trust_remote_code)
    rows, matrix = read_vectors(model, catalog, vectors) if vectors else _embed(encoder, catalog, shop.ids)
    if not len(rows):
        raise PredictionError(f"{data}: not one product could be embedded, so nothing can be predicted")
    tasks, names = predict_tasks(shop, encoder, rows, matrix, label_prompt)
    doubtful = out.with_name(f"{out.stem}-doubtful{out.suffix}")
    _write_predictions(out, shop, rows, tasks, names, at_least)
    _write_doubts(doubtful, shop, rows, tasks, names)
    return Predictions(out, doubtful, tasks, names, len(shop.ids), len(rows), at_least)


def read_vectors(model: str, catalog: Catalog, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """View mm of all products: which have it, [n] int64, and [n, D] float32."""
    import numpy as np

    from moon2.catalog.fingerprint import catalog_fingerprint
    from moon2.encoders.identity import encoder_identity
    from moon2.vectors.vector_folder import VectorFolder

    opened = VectorFolder.open(folder)
    again = f"run `moon2 embed {model} --data {catalog.folder} --out {folder}`"
    if opened.info.identity != encoder_identity(model):
        raise PredictionError(f"{folder}: was made by another model, {opened.info.model}; {again}, or name that model")
    if opened.info.fingerprint != catalog_fingerprint(catalog):
        raise PredictionError(f"{folder}: was made of another catalog than {catalog.folder} is now; {again}")
    ids, matrix = opened.matrix("products", "mm")
    row_of = {id: row for row, id in enumerate(catalog.ids())}
    return np.array([row_of[id] for id in ids], np.int64), matrix


def _embed(encoder: VectorEncoder, catalog: Catalog, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    from moon2.vectors.embed import NO_VECTORS, embed_products

    with progress_bar(total=len(ids), desc="embedding", unit="products") as bar:
        vectors = embed_products(encoder, catalog, ids, BATCH_SIZE, bar)[0].get("mm", NO_VECTORS)
    return vectors.rows, vectors.matrix


def predict_tasks(
    shop: LabelledProducts, encoder: VectorEncoder, rows: np.ndarray, matrix: np.ndarray, label_prompt: str
) -> tuple[dict[str, Predicted], dict[str, list[str]]]:
    """Every task, over the products that have a vector."""
    import numpy as np

    from moon2.search.label_predictor import LabelPredictor, find_neighbours
    from moon2.vectors.label_texts import encode_labels

    parts, groups = np.array(shop.parts)[rows], np.array(shop.groups)[rows]
    names = {task: sorted({label for label in of if label}) for task, of in shop.labels.items()}
    truths = {}
    for task, of in shop.labels.items():
        number = {name: place for place, name in enumerate(names[task])}
        truths[task] = np.array([-1 if label is None else number[label] for label in of])[rows]
    counts = {}
    for task, truth in truths.items():
        learned_from = np.bincount(truth[(parts == "learned") & (truth >= 0)], minlength=len(names[task]))
        counts[task] = dict(zip(names[task], learned_from.tolist(), strict=True))
    labelled = np.flatnonzero((parts == "learned") & np.any([truth >= 0 for truth in truths.values()], axis=0))
    texts = encode_labels(
        encoder, names, counts, label_prompt=label_prompt, batch_size=BATCH_SIZE, length=matrix.shape[1]
    )
    tasks: dict[str, Predicted] = {}
    with progress_bar(total=len(truths) + 1, desc="predicting", unit="tasks") as bar:
        neighbours = find_neighbours(matrix, labelled, groups)
        bar.update()
        for task, truth in truths.items():
            learned, calibration, held_out = (
                np.flatnonzero((parts == part) & (truth >= 0)) for part in ("learned", "calibration", "held out")
            )
            is_covered = len(learned) >= WELL_COVERED * len(labelled)
            near = neighbours if is_covered else find_neighbours(matrix, learned, groups)
            predictor = LabelPredictor(matrix, texts[task], truth, near, calibration, held_out)
            tasks[task] = predictor.predict()
            bar.update()
            if not tasks[task].is_calibrated:
                logger.warning(
                    f"{task}: only {len(calibration):,} labelled products are there to learn confidence from, so "
                    "it is the bare share of the votes; do not compare it with that of other catalogs"
                )
            if field := field_with_label(task, encoder.fields):
                logger.warning(
                    f"{task}: the model reads the field {field!r}, so the figures hold only for products that have it"
                )
    return tasks, names


def _write_predictions(
    out: Path,
    shop: LabelledProducts,
    rows: np.ndarray,
    tasks: Mapping[str, Predicted],
    names: Mapping[str, Sequence[str]],
    at_least: float,
) -> None:
    columns = [("id", pa.string()), ("part", pa.string())]
    for task in tasks:
        columns += [(task, pa.string()), (f"{task}_predicted", pa.string()), (f"{task}_confidence", pa.float64())]
    table: list[list[object]] = [[id, part] for id, part in zip(shop.ids, shop.parts, strict=True)]
    place = {row: number for number, row in enumerate(rows.tolist())}
    for task, predicted in tasks.items():
        labels, confidences = predicted.predicted.tolist(), predicted.confidence.tolist()
        for row, (cells, label) in enumerate(zip(table, shop.labels[task], strict=True)):
            number = place.get(row)
            if number is None:
                cells += [label, None, None]
            else:
                is_sure = confidences[number] >= at_least
                cells += [label, names[task][labels[number]] if is_sure else None, confidences[number]]
    write_table(out, columns, table)


def _write_doubts(
    out: Path,
    shop: LabelledProducts,
    rows: np.ndarray,
    tasks: Mapping[str, Predicted],
    names: Mapping[str, Sequence[str]],
) -> None:
    columns = [(name, pa.string()) for name in ("id", "title", "task", "label")]
    columns += [("label_chance", pa.float64()), ("predicted", pa.string()), ("confidence", pa.float64())]
    columns += [("neighbours", pa.list_(pa.string()))]

    def line(task: str, doubt: Doubt) -> list[object]:
        row, neighbours = rows[doubt.row], [shop.ids[rows[other]] for other in doubt.neighbours]
        of = names[task]
        told = [of[doubt.label], doubt.chance, of[doubt.predicted], doubt.confidence, neighbours]
        return [shop.ids[row], shop.titles[row], task, *told]

    doubts = [(task, doubt) for task, predicted in tasks.items() for doubt in predicted.doubts]
    doubts.sort(key=lambda pair: (pair[1].chance, -pair[1].confidence))
    write_table(out, columns, [line(task, doubt) for task, doubt in doubts])
