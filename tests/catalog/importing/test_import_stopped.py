"""Importing: a catalog appears as a whole or not at all, whatever stops the import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.imported_tables import run, write_csv

from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog
from moon2.files import FolderInUseError, exclusive_lock

Encode = Callable[..., bytes]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_import_leaves_no_catalog_and_the_next_one_works(
    tmp_path: Path, image_bytes: Encode, how: signal.Signals
) -> None:
    (tmp_path / "1.jpg").write_bytes(image_bytes("navy", "JPEG", (1_000, 1_000)))
    table = write_csv(tmp_path / "shop.csv", [("id", "image"), *((i, "1.jpg") for i in range(2_000))])
    # Under a shell that runs the tests in its background, every process ignores SIGINT.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from moon2.cli import main; sys.exit(main(['import', sys.argv[1], '--as', 'csv', '--out', sys.argv[2]]))"
    )
    importing = subprocess.Popen([sys.executable, "-c", program, table, tmp_path / "out"], stderr=subprocess.DEVNULL)
    while not (tmp_path / ".out.partial").exists() and importing.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(importing.pid, how)
    assert importing.wait() != 0
    assert not (tmp_path / "out").exists()
    write_csv(table, [("id", "image"), ("1", "1.jpg")])
    assert run(table, tmp_path / "out").products == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.jpg", "out", "shop.csv"]


def test_a_second_import_into_a_folder_is_refused(tmp_path: Path) -> None:
    run(write_csv(tmp_path / "shop.csv", [("id", "title"), (1, "Shirt")]), tmp_path / "out")
    with exclusive_lock(tmp_path / "out", "`moon2 import`"):
        with pytest.raises(FolderInUseError, match="out: another `moon2 import` is writing it"):
            run(tmp_path / "shop.csv", tmp_path / "out", overwrite=True)
        with pytest.raises(CatalogError, match=r"out: holds a catalog already; .* add --overwrite"):
            run(tmp_path / "shop.csv", tmp_path / "out")
    assert Catalog.open(tmp_path / "out").ids() == ["1"]


def test_a_full_disk_ends_in_one_line_and_leaves_what_was_there(tmp_path: Path, image_bytes: Encode) -> None:
    run(write_csv(tmp_path / "shop.csv", [("id", "title"), (1, "Shirt")]), tmp_path / "out")
    # Files of at most so many bytes stand for the disk: too little for a row group, for the last one, for the footer.
    images = [image_bytes("navy", "BMP", (80, 80)) for _ in range(40)]
    rows = [{"id": str(i), "title": "Shirt", "images": [image]} for i, image in enumerate(images)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "new.parquet")
    program = (
        "import resource, sys; from moon2.catalog import shards; from moon2.cli import main;"
        "shards.ROW_GROUP_BYTES = 200_000; limits = map(int, sys.argv[3:]);"
        "codes = [resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)) or"
        " main(['import', sys.argv[1], '--out', sys.argv[2], '--overwrite']) for limit in limits]; print(codes)"
    )
    whole = 40 * len(images[0])
    limits = [1_000, whole // 2, whole - 100, whole + 300]
    command = [sys.executable, "-c", program, tmp_path / "new.parquet", tmp_path / "out", *map(str, limits)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[2, 2, 2, 2]", done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("moon2: ")]
    assert len(lines) == 4 and "Traceback" not in done.stderr and "ignored" not in done.stderr
    assert f"{tmp_path / 'out'}: cannot be written (file too large); make room, or choose another folder" in lines[0]
    assert Catalog.open(tmp_path / "out").ids() == ["1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.parquet", "out", "shop.csv"]
