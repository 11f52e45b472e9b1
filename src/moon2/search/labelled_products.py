"""The labels of a catalog's products, which products are nearly the same, and which part each plays in a prediction.

A product that is listed twice plays one part, so that nothing is reported on that was learned from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from moon2.catalog.benchmark.split import draw
from moon2.catalog.groups import group_pairs
from moon2.catalog.near_duplicates import SimilarProducts
from moon2.catalog.schema import cell_to_image, pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.errors import UserError
from moon2.meant import did_you_mean
from moon2.progress import progress_bar
from moon2.vectors.label_tasks import CLASS, attribute_task

Part = Literal["learned", "calibration", "held out"]
CALIBRATION_SHARE, HELD_OUT_SHARE = 0.15, 0.15
"""Of a catalog without a test split. Of one with a test split, which may hold products of other styles or of later
days, each is half of that: what is learned of confidence must be learned where it is to hold."""
FEWEST_LABELS, FEWEST_PRODUCTS_A_LABEL, FEWEST_PRODUCTS = 2, 10, 0.5
"""An attribute that is not named is predicted from so many labels on, each of so many products on average, where it is
known of such a share of all products: one that few have is mostly one that the others cannot have."""


class PredictionError(UserError):
    """Labels cannot be predicted; one line with what, where and what to do."""


@dataclass(frozen=True)
class LabelledProducts:
    """A catalog's products as those who predict labels see them; lists are in the catalog's order.

    Attributes:
        ids, titles: of the products.
        parts: what each is for.
        groups: number of the first product that is the same listed twice, see `SimilarProducts.same_product_pairs`.
        labels: by task, which is `CLASS` (the leaf of the category) or an `attribute_task`; None where there is none.
    """

    ids: list[str]
    titles: list[str]
    parts: list[Part]
    groups: list[int]
    labels: dict[str, list[str | None]]


def read_labelled_products(catalog: Catalog, attributes: Sequence[str] = ()) -> LabelledProducts:
    """Reads all products, images too, a row group at a time.

    Args:
        catalog: of the products.
        attributes: to be predicted beside the class; when none are named, those whose values come again and again.

    Raises:
        PredictionError: no product has one of these attributes, or no product has any label.
    """
    ids: list[str] = []
    titles: list[str] = []
    in_test: list[bool] = []
    classes: list[str | None] = []
    values: list[dict[str, str]] = []
    similar = SimilarProducts()
    same: dict[str, str] = {}  # few labels, many products: one string object for each label
    columns = ["id", "title", "category", "attributes", "images"]
    with progress_bar(total=len(catalog), desc="reading", unit="products") as bar:
        for split in catalog.splits:
            for row in catalog.rows(split, columns):
                category = tuple(row["category"] or ())
                ids.append(row["id"])
                titles.append(row["title"] or "")
                in_test.append(split == "test")
                classes.append(same.setdefault(category[-1], category[-1]) if category else None)
                values.append(
                    {key: same.setdefault(value, value) for key, value in pairs_to_dict(row["attributes"]).items()}
                )
                similar.add(titles[-1], category, map(cell_to_image, row["images"] or ()))
                bar.update()
    named = attributes or _repeated(values)
    labels = {attribute_task(name): [of.get(name) or None for of in values] for name in named}
    for name in attributes:
        if not any(labels[attribute_task(name)]):
            known = catalog.attribute_names()
            raise PredictionError(
                f"{catalog.folder}: no product has the attribute {name!r}{did_you_mean(name, known) or ';'} there are "
                f"{', '.join(sorted(known))}"
            )
    tasks = {name: of for name, of in {CLASS: classes, **labels}.items() if len(set(of) - {None}) >= FEWEST_LABELS}
    if not tasks:
        raise PredictionError(
            f"{catalog.folder}: has no category and no attribute with two values to learn from; import one that has"
        )
    groups = group_pairs(len(ids), similar.same_product_pairs())
    return LabelledProducts(ids, titles, _parts(ids, groups, in_test), groups, tasks)


def _repeated(values: Sequence[dict[str, str]]) -> list[str]:
    """Attributes with labels: values that many products share, unlike codes and prose."""
    counts: dict[str, Counter[str]] = {}
    for of in values:
        for name, value in of.items():
            if value:
                counts.setdefault(name, Counter())[value] += 1
    return [
        name
        for name, count in sorted(counts.items())
        if len(count) >= FEWEST_LABELS
        and count.total() >= max(FEWEST_PRODUCTS_A_LABEL * len(count), FEWEST_PRODUCTS * len(values))
    ]


def _parts(ids: Sequence[str], groups: Sequence[int], in_test: Sequence[bool]) -> list[Part]:
    has_test = any(in_test)
    calibration, held_out = (0.5, 0.5) if has_test else (CALIBRATION_SHARE, HELD_OUT_SHARE)
    parts: list[Part] = []
    for group, is_test in zip(groups, in_test, strict=True):
        place = draw(0, ids[group]) / 2**64
        if has_test and not is_test:
            parts.append("learned")
        else:
            late = place < calibration + held_out
            parts.append("calibration" if place < calibration else "held out" if late else "learned")
    return parts
