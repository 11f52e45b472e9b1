"""Embeddings in the forms that existing clients speak: OpenAI's, vLLM's with images, and Cohere's with mixed items."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
from fastapi import APIRouter, Request, Response

from moon2.serve.encoding import Asked, EncodingService, Role
from moon2.serve.refusals import Refusal, json_response
from moon2.serve.schemas import CohereRequest, EmbeddingRequest, EmbeddingType, ImagePart, Part
from moon2.serve.security import image_of
from moon2.serve.served import normalised
from moon2.serve.settings import Limits
from moon2.serve.state import state_of
from moon2.vectors.quantize import quantize

router = APIRouter(tags=["embeddings"])
COHERE_MOST = 96
"""Items of a request, as with Cohere itself."""
ROLES: dict[str, Role] = {"search_query": "query", "search_document": "document", "image": "document"}


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """The encoders that are served."""
    services = state_of(request).served.encoders.services()
    data = [
        {
            "id": service.names[0],
            "object": "model",
            "created": 0,
            "owned_by": "moon2",
            "dimension": service.dimension,
            "dimensions": [*service.dimensions],
        }
        for service in services
    ]
    return json_response({"object": "list", "data": data})


@router.post("/v1/embeddings")
async def embeddings(request: Request, body: EmbeddingRequest) -> Response:
    """Vectors of texts, as OpenAI's client asks for them; or of words and images, as one item, in vLLM's form."""
    state = state_of(request)
    if (body.input is None) == (body.messages is None):
        raise Refusal(422, "give either input or messages", "input")
    if body.messages is not None:
        content = body.messages[0].content
        if isinstance(content, str):
            items = [Asked(content, where="messages[0].content")]
        else:
            items = [_item(content, "messages[0].content", "", state.settings.limits)]
    elif isinstance(body.input, str):
        items = [Asked(body.input)]
    else:
        items = [Asked(text, where=f"input[{number}]") for number, text in enumerate(body.input or ())]
    if not items:
        raise Refusal(422, "input is an empty list; give at least one text", "input")
    with state.served.encoders.lease(body.model) as encoding:
        length = _length(encoding, body.dimensions, "dimensions")
        found = await encoding.encode(items)
    matrix = normalised(found.matrix, length)
    if body.encoding_format == "base64":
        written: Sequence[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in matrix]
    else:
        written = matrix.tolist()
    return json_response(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": row, "embedding": each} for row, each in enumerate(written)],
            "model": encoding.names[0],
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        }
    )


@router.post("/v2/embed")
async def embed(request: Request, body: CohereRequest) -> Response:
    """Vectors of texts, of images, or of items that have both, as Cohere's client asks for them."""
    state = state_of(request)
    role, limits = ROLES.get(body.input_type, ""), state.settings.limits
    if sum(given is not None for given in (body.texts, body.images, body.inputs)) != 1:
        raise Refusal(422, "give exactly one of texts, images and inputs", "texts")
    items = [Asked(text, where=f"texts[{number}]", role=role) for number, text in enumerate(body.texts or ())]
    for number, uri in enumerate(body.images or ()):
        where = f"images[{number}]"
        items.append(Asked("", (image_of(uri, where, limits),), where, role))
    items += [_item(each.content, f"inputs[{number}]", role, limits) for number, each in enumerate(body.inputs or ())]
    if not 1 <= len(items) <= COHERE_MOST:
        raise Refusal(422, f"a request holds 1 to {COHERE_MOST} items; this one has {len(items)}", "texts")
    with state.served.encoders.lease(body.model) as encoding:
        length = _length(encoding, body.output_dimension, "output_dimension")
        if body.truncate == "NONE":
            await encoding.require_whole(items)
        found = await encoding.encode(items)
    matrix = normalised(found.matrix, length)
    embeddings = {kind: _as_type(matrix, kind) for kind in dict.fromkeys(body.embedding_types)}
    units = {"input_tokens": found.tokens, "images": sum(len(item.images) for item in items)}
    return json_response(
        {
            "id": str(uuid4()),
            "embeddings": embeddings,
            "texts": body.texts or [],
            "meta": {"api_version": {"version": "2"}, "billed_units": units},
            "response_type": "embeddings_by_type",
        }
    )


def _item(parts: Sequence[Part], where: str, role: Role, limits: Limits) -> Asked:
    """Parts of content as one item: its texts in lines, and its images."""
    texts = [part.text for part in parts if not isinstance(part, ImagePart)]
    images = [
        image_of(part.image_url.url, f"{where}[{number}]", limits)
        for number, part in enumerate(parts)
        if isinstance(part, ImagePart)
    ]
    return Asked("\n".join(texts), tuple(images), where, role)


def _length(encoding: EncodingService, asked: int | None, param: str) -> int:
    if asked is None:
        return encoding.dimension
    if asked not in encoding.dimensions:
        known = ", ".join(map(str, encoding.dimensions))
        raise Refusal(422, f"{param} is {asked}; this encoder was trained for {known}", param)
    return asked


def _as_type(matrix: np.ndarray, kind: EmbeddingType) -> list[Any]:
    """Vectors as Cohere names the types.

    int8 and uint8 scale each vector by its largest number; the bits of binary and ubinary are 1 where a number is
    above 0, eight in a byte, the first the highest.
    """
    if kind == "float":
        return list(matrix.tolist())
    if kind == "base64":
        return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in matrix]
    stored = quantize(matrix, "int8" if kind in ("int8", "uint8") else "binary").numbers
    if kind == "uint8":
        return list((stored.astype(np.int16) + 128).tolist())
    if kind == "binary":
        return list((stored.astype(np.int16) - 128).tolist())
    return list(stored.tolist())
