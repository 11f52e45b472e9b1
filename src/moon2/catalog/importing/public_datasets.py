"""Public product data in its own layout, from the hub or a local copy: Fashion200K, M5Product, fashion-products.

A reader turns the set's files into rows and says which column means what; columns that the user names win. Local files
are told apart by their endings, and their split by their names ("train", "test", "val" …). MBE stands in `mbe.py`.

What was seen and what is assumed: Fashion200K's labels (path, detection score and caption, parted by tabs) and folders
as its authors describe them; fashion-products' columns as on the hub, or styles.csv and images/ID.jpg as on Kaggle. Of
M5Product, public code reads a JSON object from item id to {"title", "pv"}, pv being key#:#value pairs joined by #;#;
names of category and picture columns were not seen and are guessed, and pictures may be ID.jpg in a folder of pictures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any

from moon2.catalog.importing.columns import SPLIT_NAMES, ColumnMapping, LogMapping
from moon2.catalog.importing.json_rows import json_rows
from moon2.catalog.importing.sources import BadRow, Source, open_source
from moon2.catalog.schema import CatalogError

JSON_ENDINGS = ("json", "jsonl", "ndjson")
ENDINGS = ("parquet", "csv", "tsv", *JSON_ENDINGS)
_PICTURE_FOLDERS = ("images", "image", "imgs", "pictures", "photos", "")
_PICTURE_ENDINGS = ("jpg", "jpeg", "png", "webp")
_LABELS = re.compile(r"(?P<category>.+)_(?P<split>train|test)_detect_all\.txt")

Row = dict[str, Any]


@dataclass
class PublicSet:
    """A set ready to be imported.

    Attributes:
        products: its rows.
        columns: which column means what.
        logs: split (None: the rows tell), table and mapping of each table of queries.
        licence: as its authors state it, a hub identifier; "unknown" where they do not.
    """

    products: Source
    columns: ColumnMapping
    logs: list[tuple[str | None, Source, LogMapping]] = field(default_factory=list)
    licence: str = "unknown"


def over(given: Any, defaults: Any) -> Any:
    """A mapping with what the user left open filled from the set's own."""
    if given is None:
        return defaults
    filled = {f.name: getattr(defaults, f.name) for f in fields(given) if getattr(given, f.name) is None}
    return replace(given, **filled)


def open_files(source: str | Path, subset: str | None = None, change: Callable[[Row], Row] | None = None) -> Source:
    """Rows of a local file or folder (parquet, csv, tsv, json, jsonl), or of a hub dataset.

    Args:
        change: makes the row that is wanted of the row that is there; its result may have further columns.

    Raises:
        CatalogError: it is missing or cannot be read, or its files have other columns than the first of them.
    """
    path = Path(source)
    if not path.exists():
        return _changed(_without_odd_splits(open_source(source, "hub", subset)), change)
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix[1:].lower() in ENDINGS)
    # The hub's own files about a dataset are not rows of it.
    found = [p for p in found if p.name not in ("dataset_infos.json", "dataset_info.json", "state.json")]
    if not found:
        raise CatalogError(f"{source}: has no {', '.join(f'*.{ending}' for ending in ENDINGS)} file to read")
    folder = path if path.is_dir() else path.parent
    parts = [_open_file(p, folder) for p in found]
    for part in parts[1:]:
        if not set(part.columns) & set(parts[0].columns):
            raise CatalogError(
                f"{folder / part.name}: has other columns ({', '.join(part.columns)}) than {parts[0].name}; import one"
            )
    columns = list(dict.fromkeys(name for part in parts for name in part.columns))
    counts = [part.total for part in parts]
    total = None if None in counts else sum(count for count in counts if count is not None)
    rows = chain.from_iterable(part.rows for part in parts)
    return _changed(Source(path.name, columns, rows, folder, total), change)


def split_of(path: Path) -> str | None:
    """The split that a file's name, or its folder's, states: a word of it such as "train" or "dev"."""
    for name in (path.stem, path.parent.name):
        for word in re.split(r"[^a-z]+", name.casefold()):
            if word and word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return None


def _open_file(path: Path, folder: Path) -> Source:
    split, ending = split_of(path), path.suffix[1:].lower()
    if ending in JSON_ENDINGS:
        rows: Iterator[tuple[str | None, Row | BadRow]] = ((None, row) for row in json_rows(path))
        first = next(rows, None)
        while first is not None and isinstance(first[1], BadRow):
            first = next(rows, None)
        columns = list(first[1]) if first is not None and isinstance(first[1], dict) else []
        if not columns:
            raise CatalogError(f"{path}: has no JSON object to read")
        opened = Source(path.name, columns, ((None, row) for row in json_rows(path)), folder)
    else:
        opened = open_source(path, "parquet" if ending == "parquet" else "csv")
    return replace(opened, folder=folder, rows=((split or stated, row) for stated, row in opened.rows))


def _without_odd_splits(table: Source) -> Source:
    """Splits such as "data", which are neither train nor test, say nothing."""
    rows = ((split if (split or "").casefold() in SPLIT_NAMES else None, row) for split, row in table.rows)
    return replace(table, rows=rows)


def _changed(table: Source, change: Callable[[Row], Row] | None) -> Source:
    if change is None:
        return table
    rows = ((split, row if isinstance(row, BadRow) else change(row)) for split, row in table.rows)
    return replace(table, rows=rows)


def open_fashion200k(
    source: str | Path, subset: str | None, columns: ColumnMapping | None, log_columns: LogMapping | None
) -> PublicSet:
    """Fashion200K: one product a folder of photos, with its captions.

    Raises:
        CatalogError: a local folder has no labels, or the hub dataset cannot be opened.
    """
    folder = Path(source)
    if not folder.exists():
        table = open_files(source, subset)
        known = [name for name in ("category1", "category2", "category3") if name in table.columns]
        hub = ColumnMapping(id=_first(table, "item_ID"), title=_first(table, "text"), category=tuple(known) or None)
        return PublicSet(table, over(columns, hub))
    files = sorted(p for p in folder.rglob("*.txt") if _LABELS.fullmatch(p.name))
    if not files:
        raise CatalogError(f"{folder}: has no labels/*_train_detect_all.txt; Fashion200K has labels/ and women/")
    names = ["id", "title", "description", "category", "images"]
    root = folder if (folder / "women").is_dir() or folder.name != "labels" else folder.parent
    mapping = ColumnMapping(id="id", title="title", description="description", category="category", images="images")
    return PublicSet(Source(folder.name, names, _fashion200k_rows(files), root), over(columns, mapping))


def _fashion200k_rows(files: list[Path]) -> Iterator[tuple[str | None, Row | BadRow]]:
    # Test files first: a product that both name is a test product, and its training lines are put aside.
    files = sorted(files, key=lambda path: ("_test_" not in path.name, path.name))
    side_of: dict[str, str] = {}
    for path in files:
        split = "test" if "_test_" in path.name else "train"
        photos: dict[str, list[tuple[float, str, str]]] = {}
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                parts = line.rstrip("\r\n").split("\t")
                where = f"{path.name} line {number}"
                try:
                    image, score, caption = parts[0], float(parts[1]), parts[2].strip()
                except (IndexError, ValueError):
                    if line.strip():
                        yield split, BadRow("bad_row", f"{where}: is not path, detection score and caption by tabs")
                    continue
                product, _, photo = image.strip("/").rpartition("/")
                if not product or not photo:
                    yield split, BadRow("bad_row", f"{where}: the picture {image!r:.80} lies in no product's folder")
                elif side_of.setdefault(product, split) != split:
                    yield split, BadRow("in_both_splits", f"{where}: product {product} is in the test files too")
                else:
                    photos.setdefault(product, []).append((score, image, caption))
        for product, entries in photos.items():
            yield split, _fashion200k_product(product, entries)


def _fashion200k_product(product: str, entries: list[tuple[float, str, str]]) -> Row:
    captions = list(dict.fromkeys(caption for _, _, caption in sorted(entries, key=lambda e: -e[0])))
    *category, id = product.split("/")
    return {
        "id": id,
        "title": captions[0],
        "description": "; ".join(captions[1:]),
        "category": [part.replace("_", " ") for part in category],
        "images": list(dict.fromkeys(image for _, image, _ in entries)),
    }


def open_m5product(
    source: str | Path, subset: str | None, columns: ColumnMapping | None, log_columns: LogMapping | None
) -> PublicSet:
    """M5Product: annotation files with titles and property-value pairs, and pictures by name or by id."""
    table = open_files(source, subset)
    attributes = _first(table, "pv", "item_pv", "attributes", "pv_pairs", "property_value", "item_property")
    guessed = ColumnMapping(
        id=_first(table, "id", "item_id", "image_id"),
        title=_first(table, "title", "item_title", "caption"),
        category=_first(table, "category_name", "category", "cate_name", "item_category", "category_id", "label"),
        attributes=attributes,
        images=_first(table, "image", "image_name", "image_path", "item_image", "img", "image_url"),
    )
    mapping = over(columns, guessed)
    pairs = mapping.attributes if isinstance(mapping.attributes, str) else None

    def change(row: Row) -> Row:
        value = row.get(pairs) if pairs else None
        return {**row, pairs: pairs_of(value, "#;#", "#:#")} if pairs and isinstance(value, str) else row

    table = _changed(table, change)
    return _with_pictures_by_id(PublicSet(table, mapping))


def pairs_of(text: str, between: str, within: str, several: str | None = None) -> dict[str, Any]:
    """Key to value (or list of values) of a text such as colour:red,,size:S!!!M; what is no pair is left out."""
    found: dict[str, list[str]] = {}
    for part in text.split(between):
        key, parted, value = part.partition(within)
        values = [item.strip() for item in (value.split(several) if several else [value])]
        if parted and key.strip() and any(values):
            found.setdefault(key.strip(), []).extend(item for item in values if item)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}


def open_fashion_products(
    source: str | Path, subset: str | None, columns: ColumnMapping | None, log_columns: LogMapping | None
) -> PublicSet:
    """fashion-product-images: the hub's table with its pictures, or the original's styles.csv beside images/ID.jpg."""
    folder = Path(source)
    styles = folder / "styles.csv"
    table = open_files(styles if styles.is_file() else source, subset)
    names = ("gender", "articleType", "baseColour", "season", "year", "usage")
    mapping = ColumnMapping(
        title=_first(table, "productDisplayName"),
        category=tuple(n for n in ("masterCategory", "subCategory", "articleType") if n in table.columns) or None,
        attributes=tuple(name for name in names if name in table.columns) or None,
    )
    return _with_pictures_by_id(PublicSet(table, over(columns, mapping)))


def _with_pictures_by_id(found: PublicSet) -> PublicSet:
    """Where no column names a picture, ID.jpg (png …) in the set's folder, or in a folder of pictures there."""
    table = found.products
    mapping = found.columns.resolve(table.columns, table.name)
    if mapping.images or found.columns.images == "" or "image" in table.columns:
        return found
    root = table.folder if mapping.image_root is None else Path(mapping.image_root)
    folders = [root / name for name in _PICTURE_FOLDERS if (root / name).is_dir()]

    def change(row: Row) -> Row:
        name = str(row.get(mapping.id or "")).strip()
        tried = (place / f"{name}.{ending}" for place in folders for ending in _PICTURE_ENDINGS)
        # An id is somebody else's text, and must not lead out of the folder.
        inside = name and not re.search(r"[/\\\0]", name)
        return {**row, "image": next((str(path.relative_to(root)) for path in tried if inside and path.is_file()), "")}

    products = replace(_changed(table, change), columns=[*table.columns, "image"])
    return replace(found, products=products, columns=replace(found.columns, images="image"))


def _first(table: Source, *names: str) -> str | None:
    """The first of the names that is a column, whatever its case."""
    by_name: Mapping[str, str] = {column.casefold(): column for column in reversed(table.columns)}
    return next((by_name[name.casefold()] for name in names if name.casefold() in by_name), None)
