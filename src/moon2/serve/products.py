"""Search, and the products of an index: read, labelled, explained, written and deleted."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Annotated, Any
from urllib.parse import quote, unquote

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator
from starlette.routing import Match
from starlette.types import Scope

from moon2.catalog.schema import is_url, pairs_to_dict
from moon2.errors import UserError
from moon2.images import ImageError
from moon2.model.encoder import Encoder
from moon2.model.items import ItemSource
from moon2.records import Product, RecordError
from moon2.search.table_schema import SHOWN
from moon2.serve import forms
from moon2.serve.encoding import Asked
from moon2.serve.refusals import Refusal, json_response
from moon2.serve.schemas import (
    FacetParameters,
    HeatmapRequest,
    IndexParameter,
    PredictRequest,
    ProductBody,
    ProductParameters,
    SearchAnswer,
    SearchRequest,
    SimilarParameters,
)
from moon2.serve.searching import (
    Page,
    about,
    address,
    catalog_entry,
    drawn_product,
    facets,
    find,
    find_like,
    no_product,
    predicted,
    query_vector,
    shown,
    with_index,
)
from moon2.serve.security import image_of
from moon2.serve.served import Opened, in_thread, normalised
from moon2.serve.settings import Limits
from moon2.serve.state import log, state_of
from moon2.thumbnails import open_small


class EncodedPath(APIRoute):
    """A route that is matched with the path as it was sent, in which a "/" of a product's id is %2F.

    Decoded, the address of a product called "set/photo" is that of the photo of "set".
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the route is asked for."""
        # The router also tries paths that were not sent: without the "/" at the end.
        sent = scope.get("raw_path", b"").decode()
        return super().matches({**scope, "path": sent if unquote(sent) == scope["path"] else quote(scope["path"])})


router = APIRouter(tags=["search"], route_class=EncodedPath)
ProductId = Annotated[str, AfterValidator(unquote)]
SHOWN_SIDE = 1024
"""Longest side, in pixels, of a product's photo as it is sent."""
PHOTO_HEADERS = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}


@router.post("/v1/search", openapi_extra=forms.accepts(SearchRequest), responses={200: {"model": SearchAnswer}})
async def search(request: Request) -> Response:
    """Products that answer words, a photo, or both, best first; or others like a product."""
    started = time.perf_counter()
    asked, image = await forms.read(request, SearchRequest)
    served = state_of(request).served.index(asked.index)
    text = asked.text.strip()
    if asked.like is None and not text and image is None:
        raise Refusal(422, "nothing to search for; give text, image or like", "text")
    if asked.like is not None and (text or image is not None):
        raise Refusal(422, "give words and a photo, or a product to find others like it, not both", "like")

    page = Page(where=asked.where, limit=asked.limit, offset=asked.offset)

    async def work(opened: Opened) -> dict[str, Any]:
        if asked.like is not None:
            hits = await find_like(opened, asked.like, **page)
        else:
            hits = await find(opened, text, image, asked.hybrid, **page)
        answer: dict[str, Any] = {"hits": await shown(opened, hits, asked.index)}
        if asked.facets:
            answer["facets"] = await facets(opened, asked.where)
        return answer | {"index": about(served, opened)}

    answer = await with_index(served, work, asked.where)
    private = {"text": text, "where": asked.where, "like": asked.like}
    log(request, hits=len(answer["hits"]), has_image=image is not None, private=private)
    return json_response(answer | {"took_ms": round(1000 * (time.perf_counter() - started), 1)})


@router.get("/v1/facets")
async def facets_of(request: Request, parameters: Annotated[FacetParameters, Query()]) -> Response:
    """The most frequent values of each column that products can be filtered by."""
    served = state_of(request).served.index(parameters.index)
    return json_response(await with_index(served, lambda opened: facets(opened, parameters.where), parameters.where))


@router.put(
    "/v1/products",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "array", "items": ProductBody.model_json_schema()}}},
        }
    },
)
async def put_products(request: Request, parameters: Annotated[IndexParameter, Query()]) -> Response:
    """Writes products in place of those of the same ids. The answer comes when they are on disk and can be found.

    A product that cannot be read or embedded is told of in `problems` and left out; the others are written.
    """
    state = state_of(request)
    served = state.served.index(parameters.index)
    bodies = await forms.read_list(request, state.settings.limits.items)
    products, problems = [], []
    numbers: dict[str, int] = {}
    for number, body in enumerate(bodies):
        try:
            product = await in_thread(_product, forms.validated(ProductBody, body), number, state.settings.limits)
            products.append(product)
            numbers[product.id] = number
        except RequestValidationError as error:
            message, param = forms.first_problem(error)
            id = body.get("id") if isinstance(body, dict) else None
            problems.append(
                {"index": number, "id": id if isinstance(id, str) else None, "message": f"{param}: {message}"}
            )
        except (Refusal, RecordError) as error:
            problems.append({"index": number, "id": body["id"], "message": str(error)})
    answer: dict[str, Any] = {"written": 0, "unchanged": 0, "refused": len(problems), "problems": problems}
    if products:
        changes = await served.upsert(products)
        problems += [{"index": numbers[id], "id": id, "message": message} for id, message in changes.problems.items()]
        answer |= {"written": changes.written, "unchanged": changes.unchanged, "unindexed": changes.unindexed}
        answer["refused"] += changes.refused
    if problems and not answer["written"] and not answer["unchanged"]:
        first = problems[0]
        raise Refusal(422, f"[{first['index']}]: {first['message']}", f"[{first['index']}]")
    return json_response(answer)


@router.delete("/v1/products/{id:path}")
async def delete_product(request: Request, id: ProductId, parameters: Annotated[IndexParameter, Query()]) -> Response:
    """Deletes a product. The answer comes when it is gone from the disk."""
    changes = await state_of(request).served.index(parameters.index).delete(id)
    if not changes.deleted:
        raise no_product(id)
    return json_response({"deleted": id})


@router.get("/v1/products/{id:path}/photo")
async def photo(request: Request, id: ProductId, parameters: Annotated[IndexParameter, Query()]) -> Response:
    """A small photo of a product, JPEG."""
    served = state_of(request).served.index(parameters.index)

    async def work(opened: Opened) -> bytes | None:
        return (await in_thread(opened.index.photos, [id])).get(id)

    found = await with_index(served, work)
    if found is None:
        raise Refusal(404, f"there is no photo of {id[:200]!r}", "id")
    return Response(found, media_type="image/jpeg", headers=PHOTO_HEADERS)


@router.get("/v1/products/{id:path}/images/{number}")
async def image_of_product(
    request: Request, id: ProductId, number: int, parameters: Annotated[IndexParameter, Query()]
) -> Response:
    """An image of a product from its catalog, JPEG of at most 1,024 pixels a side."""
    return await _catalog_image(request, id, number, parameters.index, "images")


@router.get("/v1/products/{id:path}/expanded/{number}")
async def expanded_image(
    request: Request, id: ProductId, number: int, parameters: Annotated[IndexParameter, Query()]
) -> Response:
    """An image that augmentation made of a product."""
    return await _catalog_image(request, id, number, parameters.index, "expanded_images")


@router.get("/v1/products/{id:path}/similar")
async def similar(request: Request, id: ProductId, parameters: Annotated[SimilarParameters, Query()]) -> Response:
    """Products that are nearest to a product."""
    served = state_of(request).served.index(parameters.index)

    async def work(opened: Opened) -> dict[str, Any]:
        page = Page(where=parameters.where, limit=parameters.limit, offset=parameters.offset)
        hits = await find_like(opened, id, **page)
        return {"hits": await shown(opened, hits, parameters.index), "index": about(served, opened)}

    return json_response(await with_index(served, work, parameters.where))


@router.get("/v1/products/{id:path}")
async def product(request: Request, id: ProductId, parameters: Annotated[ProductParameters, Query()]) -> Response:
    """All that is known of a product; with `predict=1` the labels that its neighbours have."""
    served, number = state_of(request).served.index(parameters.index), parameters.index

    async def work(opened: Opened) -> dict[str, Any]:
        rows = await in_thread(opened.index.table.fetch, [id], [*SHOWN, "thumbnail", "vector"])
        if id not in rows:
            raise no_product(id)
        row = rows[id]
        entry = await catalog_entry(served, opened, id)
        answer: dict[str, Any] = {
            "id": id,
            "title": row["title"],
            "description": row["description"],
            "category": row["category_path"],
            "attributes": pairs_to_dict(row["attributes"]),
            "price": row["price"],
            "photo": address(id, "photo", number) if row["thumbnail"] is not None else None,
            "images": _addresses(entry, "images", number),
            "augmentations": None,
            "index": about(served, opened),
        }
        if entry is not None and (entry.enriched_title or entry.expanded_images):
            answer["augmentations"] = {
                "enriched_title": entry.enriched_title,
                "images": _addresses(entry, "expanded_images", number),
                "provenance": dict(entry.provenance),
            }
        if parameters.predict:
            vector = normalised(np.array(row["vector"], np.float32), opened.index.info.dimension)
            answer["predicted"] = await predicted(opened, vector, without=id)
        return answer

    return json_response(await with_index(served, work))


@router.post("/v1/predict", openapi_extra=forms.accepts(PredictRequest))
async def predict(request: Request) -> Response:
    """Labels of words, a photo or both: which of the given ones is nearest, or what the nearest products have."""
    asked, image = await forms.read(request, PredictRequest)
    if not asked.text.strip() and image is None:
        raise Refusal(422, "nothing to label; give text, image, or both", "text")
    served = state_of(request).served.index(asked.index)

    async def work(opened: Opened) -> dict[str, Any]:
        vector = await query_vector(opened, asked.text, image)
        if asked.labels is None:
            return {"predicted": await predicted(opened, vector)}
        items = [Asked(label, where=f"labels[{number}]") for number, label in enumerate(asked.labels)]
        labels = normalised((await opened.encoding.encode(items)).matrix, opened.index.info.dimension)
        cosines = (labels @ vector).tolist()
        order = sorted(range(len(cosines)), key=lambda row: -cosines[row])
        return {"labels": [{"value": asked.labels[row], "cosine": cosines[row]} for row in order]}

    return json_response(await with_index(served, work))


@router.post(
    "/v1/heatmap",
    openapi_extra=forms.accepts(HeatmapRequest),
    responses={200: {"content": {"image/png": {}}}},
    response_class=Response,
)
async def heatmap(request: Request) -> Response:
    """A drawing (PNG) of what the encoder looks at in words and a photo, and which experts handle them."""
    asked, image = await forms.read(request, HeatmapRequest)
    served = state_of(request).served.index(asked.index)
    given = bool(asked.text.strip()) or image is not None
    if given == (asked.product is not None):
        raise Refusal(422, "give text, image or both, or a product", "product")

    async def work(opened: Opened) -> bytes:
        encoder = opened.encoding.encoder
        if not isinstance(encoder, Encoder):
            raise Refusal(422, "heatmaps are drawn of moon2's own encoders only", "index")
        item: ItemSource = {"text": asked.text, "image": [image] if image is not None else []}
        if asked.product is not None:
            item = await drawn_product(served, opened, asked.product)
        query = (asked.query or "").strip() or None
        thread, loop = state_of(request).heatmaps, asyncio.get_running_loop()
        return await loop.run_in_executor(thread, _drawn, encoder, item, query, asked.layer)

    return Response(await with_index(served, work), media_type="image/png")


def _drawn(encoder: Encoder, item: ItemSource, query: str | None, layer: int | None) -> bytes:
    from moon2.explain.draw.png import draw_png
    from moon2.explain.explain import explain

    try:
        explanation = explain(encoder, item, query, layer)
    except UserError as error:
        raise Refusal(422, str(error).removeprefix("item: ")) from None
    written = io.BytesIO()
    draw_png(explanation).save(written, "PNG")
    return written.getvalue()


def _product(body: ProductBody, number: int, limits: Limits) -> Product:
    images = tuple(image_of(each, f"[{number}].images[{place}]", limits) for place, each in enumerate(body.images))
    # As `moon2 import` does: what is empty would stand among the labels and the values of filters.
    category = tuple(level for level in body.category if level.strip())
    attributes = {name: value for name, value in body.attributes.items() if value.strip()}
    return Product(body.id, body.title, body.description, category, attributes, images, body.price)


def _addresses(entry: Product | None, kind: str, number: int) -> list[str]:
    if entry is None:
        return []
    part = "images" if kind == "images" else "expanded"
    return [
        address(entry.id, f"{part}/{place}", number)
        for place, image in enumerate(getattr(entry, kind))
        if not is_url(image)
    ]


async def _catalog_image(request: Request, id: str, number: int, index: int, kind: str) -> Response:
    served = state_of(request).served.index(index)
    entry = await with_index(served, lambda opened: catalog_entry(served, opened, id))
    images = getattr(entry, kind) if entry is not None else ()
    if not 0 <= number < len(images):
        raise Refusal(404, f"the catalog has no image {number} of {id[:200]!r} as it is now", "number")

    def encoded() -> bytes:
        written = io.BytesIO()
        open_small(images[number], SHOWN_SIDE).save(written, "JPEG", quality=85)
        return written.getvalue()

    try:
        return Response(await in_thread(encoded), media_type="image/jpeg", headers=PHOTO_HEADERS)
    except ImageError:
        raise Refusal(404, f"image {number} of {id[:200]!r} cannot be read", "number") from None
