"""An index in a folder: the tables of each time it was built, and a file that names those in use.

    INDEX/index.json    which class opens it, which version is in use, and which was before
    INDEX/VERSION/      the tables of LanceDB

So an index that is built anew takes the place of the old one in one step. Whoever has the old one open goes on with it:
its version stays until the next but one is in use. On object storage, where no file can be replaced in one step on
every system, a table of one row takes the place of index.json.
"""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import lancedb
import pyarrow as pa

from moon2.files import exclusive_lock, replace_folder, write_text_atomic
from moon2.search.errors import ProductIndexError, reason_of
from moon2.vectors.ranker import OPENED_BY, POINTER

WAIT_SECONDS = 30.0
"""A server writes for moments, after which a nightly command goes on."""
REMOTE_POINTER = "in_use"
VERSIONS = "????????T??????-??????"
"""What matches the name of every version."""
OPENER = "moon2.search.index:Index"
"""By this name `moon2 evaluate` opens an index."""


def is_remote(place: str) -> bool:
    """Whether an index is on object storage."""
    return "://" in place


def sole_writer(folder: Path) -> AbstractContextManager[None]:
    """Lets one command write an index; it waits a little for the other command or the server that writes it.

    Raises:
        FolderInUseError: the other one is still at it.
        OutputError: nothing can be written there.
    """
    return exclusive_lock(folder, "moon2 command or server", WAIT_SECONDS)


def tables_of(place: str) -> str:
    """Where the tables of the version in use are.

    Raises:
        ProductIndexError: there is no index.
    """
    version = (_read_remote(place) if is_remote(place) else _read(Path(place))).get("current")
    if not version:
        raise ProductIndexError(f"{place}: there is no such index; make one with `moon2 index`")
    return tables_at(place, version)


def tables_at(place: str, version: str) -> str:
    """Where the tables of a version are."""
    return f"{place.rstrip('/')}/{version}"


def new_version() -> str:
    """The name of a version, by the time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


def put_in_use(tables: Path, target: Path) -> None:
    """Makes tables that are whole the version in use of the index at `target`, and removes those no longer needed.

    Args:
        tables: a folder named after its version, alone in its own folder; they are moved.
        target: an index, or a folder that is not there yet.
    """
    before = _read(target).get("current")
    pointer = json.dumps({OPENED_BY: OPENER, "current": tables.name, "previous": before}, indent=1)
    if before is None:
        write_text_atomic(tables.parent / POINTER, pointer)
        replace_folder(tables.parent, target)
        return
    tables.rename(target / tables.name)
    write_text_atomic(target / POINTER, pointer)
    for other in target.iterdir():  # also those of a build that was killed before it was in use
        if other.is_dir() and other.name not in (tables.name, before) and any(other.glob("*.lance")):
            shutil.rmtree(other)


def put_remote_in_use(version: str, place: str) -> None:
    """Makes tables under the address of an index, which are whole, the version in use; the last but one goes.

    Raises:
        ProductIndexError: it cannot be written.
    """
    before = _read_remote(place)
    pointer = json.dumps({"current": version, "previous": before.get("current")})
    try:
        lancedb.connect(place).create_table(REMOTE_POINTER, pa.table({"json": [pointer]}), mode="overwrite")
        if last := before.get("previous"):
            lancedb.connect(tables_at(place, last)).drop_all_tables()
    except (OSError, RuntimeError) as error:
        raise ProductIndexError(f"{place}: cannot be written ({reason_of(error)})") from None


def check_target(place: str, overwrite: bool) -> None:
    """Refuses to build an index where something else is, or another index unless it may be replaced.

    Raises:
        ProductIndexError: says which.
    """
    if is_remote(place):
        if _read_remote(place) and not overwrite:
            raise ProductIndexError(f"{place}: holds an index already; add --overwrite to replace it")
        return
    target = Path(place)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    # The name of the pointer is a common one; where it is damaged, folders of tables tell that it was ours.
    is_ours = _read(target).get(OPENED_BY) == OPENER or any(target.glob(f"{VERSIONS}/*.lance"))
    if not (target / POINTER).is_file() or not is_ours:
        raise ProductIndexError(f"{target}: holds something else than an index; choose another folder")
    if not overwrite:
        raise ProductIndexError(f"{target}: holds an index already; add --overwrite to replace it")


def _read_remote(place: str) -> dict[str, str | None]:
    """The pointer of an index on object storage; empty where there is no index.

    Raises:
        ProductIndexError: the address cannot be read.
    """
    try:
        database = lancedb.connect(place)
        # Opening a table says "not found" of an address that cannot be reached, too.
        if REMOTE_POINTER not in database.list_tables().tables:
            return {}
        pointer: dict[str, str | None] = json.loads(database.open_table(REMOTE_POINTER).to_arrow()["json"][0].as_py())
        return pointer
    except (OSError, RuntimeError, ValueError) as error:
        raise ProductIndexError(f"{place}: cannot be read ({reason_of(error)})") from None


def _read(folder: Path) -> dict[str, str | None]:
    try:
        written = json.loads((folder / POINTER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_ours = isinstance(written, dict) and all(value is None or isinstance(value, str) for value in written.values())
    return written if is_ours else {}
