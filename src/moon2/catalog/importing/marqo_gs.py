"""Marqo-GS-10M: products that Google Shopping ranked for a query, graded by their place.

A set is a folder such as marqo_gs_wfash_1m (arXiv 2404.08535, Apache-2.0): corpus_1.json and corpus_2.json, objects of
products by id, and for seen (0) or new (1) queries × products query_Q_product_id_P.csv, with the graded test queries in
…_gt_test.json. Training is query_0_product_id_0. `--subset` names the test, as published: zero_shot (new queries, new
products), novel_document, novel_query, in_domain. Products of corpus_2 are the `test` split of the first two. The other
two search the products of training, so their catalog has no `test` split, and the gallery is all of it.

A grade is `score_linear`, 100 for the first place. The first ten places are positive, which is our choice; no place is
negative. Known and assumed: names of columns and files are those of the authors' evaluation. Test queries are taken to
be their words. Photos are found by the name of their file in a folder images… beside the set, or --columns.image_root.
"""

from __future__ import annotations

import json
from pathlib import Path

from moon2.catalog.importing.columns import ColumnMapping, fill_mapping
from moon2.catalog.importing.json_rows import json_rows
from moon2.catalog.importing.layouts import open_source
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.sources import BadRow, LogTable, ShopTables, Source, SplitRows, rows_of_files
from moon2.catalog.schema import CatalogError
from moon2.errors import one_line

TESTS = {"zero_shot": (1, 1), "novel_document": (0, 1), "novel_query": (1, 0), "in_domain": (0, 0)}
"""Name of a test → whether its queries, and its products, are new."""
GRADE, POSITIVE_FROM = "score_linear", "91"
LICENCE = "apache-2.0"
_BETWEEN_FIELDS = "_{!@#~}_"  # ends a query in files of the authors' later evaluation


def open_marqo_gs(source: str, subset: str | None, columns: ColumnMapping, log_columns: LogMapping) -> ShopTables:
    """Marqo-GS-10M, or its sets of fashion, from the folder with corpus_1.json.

    Args:
        source: the folder.
        subset: a name of `TESTS`; "zero_shot" when not given.
        columns, log_columns: what they name wins, such as `positive_if="100"`.

    Raises:
        CatalogError: a file is missing or damaged, or there is no such subset.
    """
    folder, test = Path(source), subset or "zero_shot"
    if test not in TESTS:
        raise CatalogError(f"--subset {subset}: the tests of Marqo-GS-10M are {', '.join(TESTS)}")
    new_query, new_product = TESTS[test]
    corpora = [(_file(folder, "corpus_1.json"), "train")]
    if new_product:
        corpora.append((_file(folder, "corpus_2.json"), "test"))
    root = Path(columns.image_root) if columns.image_root else None
    photos = [root] if root else sorted(p for f in (folder, folder.parent) for p in f.glob("images*") if p.is_dir())
    rows = rows_of_files(
        [path for path, _ in corpora], [_product_rows(*corpus, photos) for corpus in corpora], root or folder
    )
    products = Source(folder.name, ["product_id", "title", "image"], rows, root or folder)
    mapping = ColumnMapping.only(id="product_id", title="title", images="image")
    train = open_source(_file(folder, "query_0_product_id_0.csv"), "csv")
    truth = _file(folder, f"query_{new_query}_product_id_{new_product}_gt_test.json")
    queries = Source(truth.name, ["query", "product_id", GRADE], _test_rows(truth))
    graded = LogMapping.only(text="query", exposures="product_id", grade=GRADE, positive_if=POSITIVE_FROM)
    log_mapping = fill_mapping(log_columns, graded)
    logs = [
        LogTable(train, log_mapping, "train", lowest_is_negative=False),
        LogTable(queries, log_mapping, "test", lowest_is_negative=False),
    ]
    return ShopTables(products, fill_mapping(columns, mapping), logs, LICENCE)


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise CatalogError(f"{folder}: holds no {name}; give a folder of Marqo-GS-10M, such as marqo_gs_wfash_1m")
    return folder / name


def _product_rows(path: Path, split: str, photos: list[Path]) -> SplitRows:
    for row in json_rows(path, id_column="product_id"):
        if isinstance(row, BadRow):
            yield split, row
            continue
        name = Path(str(row.get("image_local") or "")).name
        found = next((folder / name for folder in photos if name and (folder / name).is_file()), None)
        yield split, row | {"image": str(found.absolute()) if found else name}


def _test_rows(path: Path) -> SplitRows:
    """One row a query and product of {query: {product id: grade}}."""
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        rows = [(str(q), str(id), grade) for q, products in truth.items() for id, grade in products.items()]
    except (OSError, ValueError, AttributeError) as error:
        raise CatalogError(f"{path}: is not query → product → grade ({one_line(error)})") from None
    for query, id, grade in rows:
        words = " ".join(query.replace(_BETWEEN_FIELDS, " ").split())
        yield None, {"query": words, "product_id": id, GRADE: grade}
