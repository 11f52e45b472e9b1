"""The route of the page, and of the files that it loads.

All of it comes from this server: the policy in the header lets a browser load nothing else and run no script that
stands in the page itself, so a title that holds markup can do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from moon2.templates import templates

TEMPLATES = templates("moon2.serve.page")
STATIC = Path(__file__).parent / "static"
COMMON = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
"""A browser asks whether a file has changed, so that a page and scripts of two versions never meet."""
HEADERS = COMMON | {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class ShownIndex:
    """What the page says of an index before anything is searched: its name and number of products."""

    name: str
    products: int


def add_page(app: FastAPI, indexes: Callable[[], Sequence[ShownIndex]]) -> None:
    """Serves the page at / and its files below /static.

    Args:
        app: the server.
        indexes: what is served now; asked anew for each page.
    """

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(TEMPLATES.get_template("page.html.j2").render(indexes=indexes()), headers=HEADERS)

    app.mount("/static", _Files(directory=STATIC), name="static")


class _Files(StaticFiles):
    def file_response(self, *arguments: Any, **named: Any) -> Response:
        response = super().file_response(*arguments, **named)
        response.headers.update(COMMON)
        return response
