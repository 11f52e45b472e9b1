"""A body as JSON, or as a form with an uploaded photo, read into one schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from fastapi import Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json

from moon2.serve.refusals import Refusal
from moon2.serve.schemas import Asked, Body
from moon2.serve.security import checked_image, image_of
from moon2.serve.state import state_of

Form = TypeVar("Form", bound=Asked)
Schema = TypeVar("Schema", bound=Body)
MOST_FIELDS = 16


def accepts(schema: type[Asked]) -> dict[str, Any]:
    """What OpenAPI says of a route that takes both forms."""
    described = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    form = {**described, "properties": {**described["properties"], "image": {"type": "string", "format": "binary"}}}
    form.pop("examples", None)
    examples = {str(number): {"value": each} for number, each in enumerate(described.pop("examples", []), 1)}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": described, "examples": examples},
                "multipart/form-data": {"schema": form},
            },
        }
    }


async def read(request: Request, schema: type[Form]) -> tuple[Form, bytes | None]:
    """The body, and the file of its image.

    Raises:
        Refusal: it is neither form, or its image is none.
        RequestValidationError: it does not fit the schema.
    """
    kind, limits = _kind(request), state_of(request).settings.limits
    if kind == "application/json":
        asked = validated(schema, await _json(request))
        return asked, None if asked.image is None else image_of(asked.image, "image", limits)
    if kind != "multipart/form-data":
        raise Refusal(415, "send application/json, or multipart/form-data with a file", "content-type")
    async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
        fields: dict[str, Any] = {}
        image = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) or not isinstance(value, str):
                if name != "image":
                    raise Refusal(422, f"a file may be sent as image, not as {name[:40]!r}", name[:40])
                image = checked_image(await value.read(), "image", limits)
            elif name in fields:
                raise Refusal(422, f"{name[:40]} is given twice", name[:40])
            else:
                fields[name] = _value(schema, name, value)
    asked = validated(schema, fields)
    if asked.image is not None:
        image = image_of(asked.image, "image", limits)
    return asked, image


def validated(schema: type[Schema], body: Any) -> Schema:
    """A body as its schema.

    Raises:
        RequestValidationError: it does not fit.
    """
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        problems = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(problems, body=body) from None


def _value(schema: type[Asked], name: str, value: str) -> Any:
    """A form has texts alone: numbers, switches and lists are written as in JSON."""
    field = schema.model_fields.get(name)
    if field is None or _may_be_text(field.annotation):
        return value
    try:
        return from_json(value.encode("utf-8", "replace"))
    except ValueError:
        return value


def _may_be_text(kind: Any) -> bool:
    """Whether a type is a text, or a union with one, such as `Annotated[str, …] | None`."""
    is_wrapper = get_origin(kind) in (Annotated, Union, UnionType)
    return kind is str or (is_wrapper and any(map(_may_be_text, get_args(kind))))


async def read_list(request: Request, most: int) -> list[Any]:
    """A body that is a JSON list of at most so many objects, not yet looked into."""
    if _kind(request) != "application/json":
        raise Refusal(415, "send application/json", "content-type")
    body = await _json(request)
    if not isinstance(body, list) or not 1 <= len(body) <= most:
        raise Refusal(422, f"send a list of 1 to {most:,} products")
    return body


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _json(request: Request) -> Any:
    try:
        return from_json(await request.body())
    except ValueError as error:
        raise Refusal(400, f"the body is no JSON ({error!s:.100})") from None


def first_problem(error: RequestValidationError) -> tuple[str, str]:
    """Of all that does not fit the first, in a line, and where it is, such as "input[3]"."""
    (problem, steps), *others = ((each, _steps(each, error.body)) for each in error.errors())
    for other, deeper in others:
        # A union tells what is wrong for each of its kinds; the one that was meant is looked into deepest.
        if len(deeper) > len(steps) and deeper[: len(steps)] == steps:
            problem, steps = other, deeper
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")[:200]
    return " ".join(str(problem["msg"]).removeprefix("Value error, ").split())[:300], where


def _steps(problem: Mapping[str, Any], body: Any) -> list[Any]:
    """The place of a problem, without the kinds of a union that pydantic tried, which are no part of the request."""
    steps = [*problem["loc"][1:]]  # the first says whether it is the body, or parameters of the address
    found = _path(steps, body, problem) if problem["loc"][0] == "body" else None
    return steps if found is None else found


def _path(steps: Sequence[Any], at: Any, problem: Mapping[str, Any]) -> list[Any] | None:
    """Those of the steps that lead from a part of the body to what the problem is about; None if none do."""
    if at is problem["input"] and len(steps) == (problem["type"] == "missing"):
        return [*steps]
    if not steps:
        return None
    step, *rest = steps
    is_there = step in at if isinstance(at, dict) else isinstance(at, list) and step in range(len(at))
    found = _path(rest, at[step], problem) if is_there else None
    return _path(rest, at, problem) if found is None else [step, *found]
