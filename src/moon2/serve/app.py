"""The server as an application: its routes, and what stands before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from moon2.serve import embeddings, operation, products
from moon2.serve.forms import first_problem
from moon2.serve.logs import Watch
from moon2.serve.metrics import Metrics
from moon2.serve.page.docs import add_docs
from moon2.serve.page.page import ShownIndex, add_page
from moon2.serve.refusals import Refusal
from moon2.serve.security import ApiKeys, Gate
from moon2.serve.served import Served
from moon2.serve.settings import ServeSettings
from moon2.serve.state import State

ABOUT = """Embeddings of a shop's products and queries, and search in an index of them. Images come as data URIs or
uploaded files; no address is ever opened. Errors are `{"error": {"type", "message", "param"}}`."""


def create_app(settings: ServeSettings) -> FastAPI:
    """The application; indexes and encoders are loaded when this returns.

    Raises:
        ServeError, ProductIndexError, EncoderError: something cannot be served as asked.
    """
    metrics = Metrics()
    keys = ApiKeys.read(settings.api_keys)
    served = Served(settings, metrics)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        watching = [asyncio.create_task(index.watch()) for index in served.indexes]
        yield
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await served.close()

    # FastAPI's own pages of the API load scripts from another site.
    app = FastAPI(
        title="moon2", version=version("moon2"), description=ABOUT, lifespan=life, docs_url=None, redoc_url=None
    )
    app.state.moon2 = State(settings, served, metrics, bool(keys))
    app.state.readiness = operation.Readiness()
    for router in (products.router, embeddings.router, operation.router):
        app.include_router(router)
    add_page(app, lambda: [ShownIndex(index.name, index.current.products) for index in served.indexes])
    add_docs(app)
    # The last one added is the first to see a request.
    app.add_middleware(Gate, limits=settings.limits, keys=keys, host=settings.host)
    app.add_middleware(Watch, metrics=metrics)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return refusal.response()

    @app.exception_handler(RequestValidationError)
    async def does_not_fit(request: Request, error: RequestValidationError) -> Response:
        message, param = first_problem(error)
        status = 400 if error.errors()[0]["type"] == "json_invalid" else 422
        return Refusal(status, f"{param}: {message}" if param else message, param or None).response()

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        response = Refusal(error.status_code, str(error.detail)).response()
        response.headers.update(error.headers or {})  # such as Allow
        return response

    return app
