"""Public product datasets in their own layout, from the hub or a local copy: Fashion200K, M5Product, fashion-products.

A reader turns the files into rows and names the meaning of the columns; columns that the user names win. The ending of
a local file decides how it is read, and its name states its split ("train", "test", "val" …). MBE is in `mbe.py`.

Known and assumed: Fashion200K has labels (path, detection score and caption, separated by tabs) and folders as its
authors describe them. fashion-products has the columns of the hub's table, or styles.csv and images/ID.jpg as on
Kaggle. For M5Product, public code reads a JSON object from item id to {"title", "pv"}, where pv is key#:#value pairs
joined by #;#. Its columns of category and image are guessed, and images may be ID.jpg in a folder of images.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from moon2.catalog.importing.cells import SPLIT_NAMES
from moon2.catalog.importing.columns import ColumnMapping, fill_mapping
from moon2.catalog.importing.layouts import ending_of, layout_of, open_source
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.sources import PLACE, BadRow, Place, Row, ShopTables, Source, SplitRows, rows_of_files
from moon2.catalog.schema import CatalogError

ENDINGS = ("parquet", "csv", "tsv", "json", "jsonl", "ndjson")
_IMAGE_FOLDERS = ("images", "image", "imgs", "pictures", "photos", "")
_IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp")
_LABELS = re.compile(r"(?P<category>.+)_(?P<split>train|test)_detect_all\.txt")


def open_files(source: str | Path, subset: str | None = None) -> Source:
    """Rows of a local file or folder (parquet, csv, tsv, json, jsonl), or of a hub dataset.

    Raises:
        CatalogError: it is missing or cannot be read, or its files have other columns than the first of them.
    """
    path = Path(source)
    if not path.exists():
        table = open_source(source, "hub", subset)
        # A split such as "data" is neither train nor test.
        rows = ((split if (split or "").casefold() in SPLIT_NAMES else None, row) for split, row in table.rows)
        return replace(table, rows=rows)
    paths = [path] if path.is_file() else sorted(p for p in path.rglob("*") if ending_of(p) in ENDINGS)
    # Descriptions of a hub dataset are not rows of it.
    paths = [p for p in paths if p.name not in ("dataset_infos.json", "dataset_info.json", "state.json")]
    if not paths:
        raise CatalogError(f"{source}: has no {', '.join(f'*.{ending}' for ending in ENDINGS)} file to read")
    folder = path if path.is_dir() else path.parent
    tables = [_open_file(p) for p in paths]
    for table in tables[1:]:
        if not set(table.columns) & set(tables[0].columns):
            raise CatalogError(
                f"{folder / table.name}: has other columns ({', '.join(table.columns)}) than {tables[0].name}; "
                f"import one of them"
            )
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    counts = [table.total for table in tables]
    total = None if None in counts else sum(count or 0 for count in counts)
    return Source(path.name, columns, rows_of_files(paths, [table.rows for table in tables], folder), folder, total)


def split_of(path: Path) -> str | None:
    """The split that the name of a file or of its folder states: a word of it such as "train" or "dev"."""
    for name in (path.stem, path.parent.name):
        for word in re.split(r"[^a-z]+", name.casefold()):
            if word and word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return None


def _open_file(path: Path) -> Source:
    split = split_of(path)
    table = open_source(path, layout_of(path))
    return replace(table, rows=((split or stated, row) for stated, row in table.rows))


def change_rows(table: Source, change: Callable[[Row], Row]) -> Source:
    """The table with every row changed; new rows may have further columns."""
    rows = ((split, row if isinstance(row, BadRow) else change(row)) for split, row in table.rows)
    return replace(table, rows=rows)


def open_fashion200k(source: str, subset: str | None, columns: ColumnMapping, log_columns: LogMapping) -> ShopTables:
    """Fashion200K: one product a folder of photos, with its captions.

    Raises:
        CatalogError: a local folder has no labels, or the hub dataset cannot be opened.
    """
    folder = Path(source)
    if not folder.exists():
        table = open_files(source, subset)
        category = tuple(name for name in ("category1", "category2", "category3") if name in table.columns)
        hub = ColumnMapping(id=_first(table, "item_ID"), title=_first(table, "text"), category=category or None)
        return ShopTables(table, fill_mapping(columns, hub))
    files = [p for p in folder.rglob("*.txt") if _LABELS.fullmatch(p.name)]
    if not files:
        raise CatalogError(f"{folder}: has no labels/*_train_detect_all.txt; Fashion200K has labels/ and women/")
    root = folder if (folder / "women").is_dir() or folder.name != "labels" else folder.parent
    # By their usual names.
    table = Source(
        folder.name, ["id", "title", "description", "category", "images"], _fashion200k_rows(files, root), root
    )
    return ShopTables(table, columns)


def _fashion200k_rows(files: list[Path], root: Path) -> SplitRows:
    """The products, each at the place of its first line, and the lines that cannot be read."""
    # Test files first: a product of both is a test product, and its training lines are rejected.
    files = sorted(files, key=lambda path: ("_test_" not in path.name, path.name, path))
    split_of_product: dict[str, str] = {}
    numbers = count(1)
    for path in files:
        split = "test" if "_test_" in path.name else "train"
        photos: dict[str, list[tuple[float, str, str]]] = {}
        places: dict[str, Place] = {}
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                parts = line.rstrip("\r\n").split("\t")
                place = Place(path.name, number, root, next(numbers))
                try:
                    image, score, caption = parts[0], float(parts[1]), parts[2].strip()
                except (IndexError, ValueError):
                    if line.strip():
                        yield split, BadRow("bad_row", "is not path, detection score and caption by tabs", place)
                    continue
                product, _, photo = image.strip("/").rpartition("/")
                if not product or not photo:
                    yield split, BadRow("bad_row", f"the image {image!r:.80} is in no product's folder", place)
                elif split_of_product.setdefault(product, split) != split:
                    yield split, BadRow("in_both_splits", f"product {product} is in the test files too", place)
                else:
                    places.setdefault(product, place)
                    photos.setdefault(product, []).append((score, image, caption))
        for product, entries in photos.items():
            yield split, {**_fashion200k_product(product, entries), PLACE: places[product]}


def _fashion200k_product(product: str, entries: list[tuple[float, str, str]]) -> Row:
    captions = list(dict.fromkeys(caption for _, _, caption in sorted(entries, key=lambda entry: -entry[0])))
    *category, id = product.split("/")
    return {
        "id": id,
        "title": captions[0],
        "description": "; ".join(captions[1:]),
        "category": [part.replace("_", " ") for part in category],
        "images": list(dict.fromkeys(image for _, image, _ in entries)),
    }


def open_m5product(source: str, subset: str | None, columns: ColumnMapping, log_columns: LogMapping) -> ShopTables:
    """M5Product: annotation files with titles and key-value pairs, and images by name or by id."""
    table = open_files(source, subset)
    guess = ColumnMapping(
        id=_first(table, "id", "item_id", "image_id"),
        title=_first(table, "title", "item_title", "caption"),
        category=_first(table, "category_name", "category", "cate_name", "item_category", "category_id", "label"),
        attributes=_first(table, "pv", "item_pv", "attributes", "pv_pairs", "property_value", "item_property"),
        images=_first(table, "image", "image_name", "image_path", "item_image", "img", "image_url"),
    )
    mapping = fill_mapping(columns, guess)
    pairs = mapping.attributes if isinstance(mapping.attributes, str) else ""

    def change(row: Row) -> Row:
        value = row.get(pairs) if pairs else None
        return {**row, pairs: pairs_of(value, "#;#", "#:#")} if isinstance(value, str) else row

    return _with_images_by_id(change_rows(table, change), mapping)


def pairs_of(text: str, between: str, within: str, several: str | None = None) -> dict[str, Any]:
    """Key to value (or list of values) of a text such as colour:red,,size:S!!!M; other parts are left out."""
    values_of: dict[str, list[str]] = {}
    for part in text.split(between):
        key, separator, value = part.partition(within)
        values = [item.strip() for item in (value.split(several) if several else [value])]
        if separator and key.strip() and any(values):
            values_of.setdefault(key.strip(), []).extend(item for item in values if item)
    return {key: values[0] if len(values) == 1 else values for key, values in values_of.items()}


def open_fashion_products(
    source: str, subset: str | None, columns: ColumnMapping, log_columns: LogMapping
) -> ShopTables:
    """fashion-product-images: the hub's table with its images, or the original styles.csv beside images/ID.jpg."""
    styles = Path(source) / "styles.csv"
    table = open_files(styles if styles.is_file() else source, subset)
    category = tuple(n for n in ("masterCategory", "subCategory", "articleType") if n in table.columns)
    names = ("gender", "articleType", "baseColour", "season", "year", "usage")
    mapping = ColumnMapping(
        title=_first(table, "productDisplayName"),
        category=category or None,
        attributes=tuple(name for name in names if name in table.columns) or None,
    )
    return _with_images_by_id(table, fill_mapping(columns, mapping))


def _with_images_by_id(table: Source, columns: ColumnMapping) -> ShopTables:
    """If no column names an image, ID.jpg (png …) in the dataset's folder, or in a folder of images there."""
    mapping = columns.resolve(table.columns, table.name)
    if mapping.images or columns.images == "" or "image" in table.columns:
        return ShopTables(table, columns)
    root = (table.folder or Path()) if mapping.image_root is None else Path(mapping.image_root)
    folders = [root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()]

    def change(row: Row) -> Row:
        name = str(row.get(mapping.id or "")).strip()
        if not name or re.search(r"[/\\\0]", name):  # an id is foreign text, and must not lead out of the folder
            return {**row, "image": ""}
        paths = (folder / f"{name}.{ending}" for folder in folders for ending in _IMAGE_ENDINGS)
        return {**row, "image": next((str(path.relative_to(root)) for path in paths if path.is_file()), "")}

    products = replace(change_rows(table, change), columns=[*table.columns, "image"])
    return ShopTables(products, replace(columns, images="image"))


def _first(table: Source, *names: str) -> str | None:
    """The first of the names that is a column, in any case."""
    by_name = {column.casefold(): column for column in reversed(table.columns)}
    return next((by_name[name.casefold()] for name in names if name.casefold() in by_name), None)
