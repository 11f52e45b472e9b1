"""docs/search.md: its Python runs as written, against the real clients of the databases that it names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moon2.catalog.store import Catalog
from moon2.search.commands import build_index
from moon2.vectors.embed_catalog import embed

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "search.md").read_text()
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
IDS = ["a", "b", "c"]
VECTORS = np.eye(3, 4, dtype=np.float32)


def block(word: str) -> dict[str, Any]:
    """What the one block with this word defines."""
    (code,) = (code for code in BLOCKS if word in code)
    names: dict[str, Any] = {}
    exec(compile(code, "search.md", "exec"), names)
    return names


def test_the_index_and_the_vectors_are_read_as_the_guide_says(
    small_encoder_folder: Path, shop: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "shop").symlink_to(small_encoder_folder)
    embed("runs/shop", data=shop.folder, out=Path("vectors/shop"), what="products")
    build_index(Path("vectors/shop"), out="indexes/shop")
    (tmp_path / "photo.jpg").write_bytes(next(shop.products()).images[0])
    assert len(block("Index.open")["similar"]) == 10
    names = block("VectorFolder")
    assert names["ids"] == shop.ids()
    assert names["vectors"].shape == (len(shop), *names["query"].shape)


def test_qdrant_finds_what_was_filled_in() -> None:
    from qdrant_client import QdrantClient

    names, client = block("qdrant"), QdrantClient(":memory:")
    names["fill"](client, IDS, VECTORS)
    assert names["search"](client, VECTORS[1], limit=2)[0] == "b"


def test_opensearch_is_sent_what_it_takes() -> None:
    """Its client writes the requests; no server answers them but a transport that keeps what it is given."""
    from opensearchpy import Connection, OpenSearch

    sent: list[tuple[str, str, str]] = []

    class Recorded(Connection):
        def perform_request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
            body = arguments[1] if len(arguments) > 1 else options.get("body")
            sent.append((method, url, (body or b"").decode()))
            answer = {"errors": False, "items": [{"index": {"_id": id, "status": 201}} for id in IDS]}
            if url.endswith("_search"):
                answer = {"hits": {"hits": [{"_id": "b"}]}}
            return 200, {"content-type": "application/json"}, json.dumps(answer)

    names, client = block("opensearch"), OpenSearch("http://localhost:1", connection_class=Recorded)
    names["fill"](client, IDS, VECTORS)
    assert names["search"](client, VECTORS[1], limit=2) == ["b"]
    (made, filled, asked) = sent
    assert json.loads(made[2])["mappings"]["properties"]["vector"]["dimension"] == 4
    lines = [json.loads(line) for line in filled[2].splitlines()]
    assert lines[2:4] == [{"index": {"_id": "b", "_index": "products"}}, {"vector": [0.0, 1.0, 0.0, 0.0]}]
    assert json.loads(asked[2])["query"]["knn"]["vector"] == {"vector": [0.0, 1.0, 0.0, 0.0], "k": 2}


def test_pgvector_writes_what_postgresql_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements are kept; vectors are written by pgvector's own dumper of numpy arrays, as psycopg would."""
    import psycopg
    from pgvector.psycopg.vector import register_vector_info
    from psycopg.adapt import AdaptersMap, Transformer
    from psycopg.types import TypeInfo

    context = psycopg.adapters
    adapters = AdaptersMap(context)
    statements: list[tuple[str, Any]] = []

    class Context:
        def __init__(self) -> None:
            self.adapters, self.connection = adapters, None

    class Connection:
        def execute(self, statement: str, values: Any = None) -> Connection:
            statements.append((statement, values))
            return self

        def fetchall(self) -> list[tuple[str]]:
            return [("b",)]

        def cursor(self) -> Connection:
            return self

        def __enter__(self) -> Connection:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def executemany(self, statement: str, rows: list[Any]) -> None:
            statements.append((statement, rows))

    names = block("pgvector")
    names["fill"].__globals__["register_vector"] = lambda connection: None
    names["fill"](Connection(), IDS, VECTORS)
    assert names["search"](Connection(), VECTORS[1]) == [("b",)]
    assert [statement.split()[0] for statement, _ in statements] == ["CREATE", "CREATE", "INSERT", "CREATE", "SELECT"]
    assert "vector(4)" in statements[1][0]

    here = Context()
    register_vector_info(here, TypeInfo("vector", 16385, 16386))  # type: ignore[arg-type]
    transformer = Transformer(here)  # type: ignore[arg-type]
    (written,) = transformer.dump_sequence([statements[2][1][1][1]], [psycopg.adapt.PyFormat.TEXT])
    assert bytes(written) == b"[0.0,1.0,0.0,0.0]"
