"""The page at /docs: what the server offers, told from its OpenAPI description."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from moon2.serve.page.page import HEADERS, TEMPLATES


class Operation(NamedTuple):
    """A route as the page tells of it; `examples` are bodies in JSON, `parameters` those of the address."""

    method: str
    path: str
    description: str
    parameters: list[str]
    examples: list[str]


def add_docs(app: FastAPI) -> None:
    """Serves the page at /docs.

    Args:
        app: the server, with all its routes.
    """

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        described = app.openapi()
        page = TEMPLATES.get_template("docs.html.j2").render(about=described["info"], groups=_operations(described))
        return HTMLResponse(page, headers=HEADERS)


def _operations(described: dict[str, Any]) -> dict[str, list[Operation]]:
    """The routes of each group, in the order in which they were added."""
    groups: dict[str, list[Operation]] = {}
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            parameters = [each["name"] for each in told.get("parameters", []) if each["in"] == "query"]
            examples = [json.dumps(each, indent=2, ensure_ascii=False) for each in _examples(described, told)]
            operation = Operation(method.upper(), path, told["description"], parameters, examples)
            groups.setdefault(told["tags"][0], []).append(operation)
    return groups


def _examples(described: dict[str, Any], told: dict[str, Any]) -> list[Any]:
    body = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "examples" in body:
        return [each["value"] for each in body["examples"].values()]
    schema = body.get("schema", {})
    if "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "items" in schema:
        return [schema["items"]["examples"]]
    return list(schema.get("examples", []))
