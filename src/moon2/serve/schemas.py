"""What requests hold. A key that is not here is refused by name: a misspelt option is never passed over in silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from moon2.meant import did_you_mean
from moon2.search.index import Hit
from moon2.vectors.fusion import CANDIDATES

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
MOST_HITS = 200
MOST_CHARACTERS = 2_000
"""Of a query, a filter, or an id."""


Where = Annotated[
    Annotated[StrictStr, Field(max_length=MOST_CHARACTERS)] | None,
    AfterValidator(lambda where: where if where and where.strip() else None),
    Field(description="Filter in SQL over the index's columns."),
]
"""A filter; a blank one is none."""


MEANT = {
    **dict.fromkeys(("query", "q"), "text"),
    **dict.fromkeys(("filter", "filters"), "where"),
    **dict.fromkeys(("top_k", "k", "size", "n"), "limit"),
    **dict.fromkeys(("skip", "from"), "offset"),
    "name": "title",
}
"""What other servers call it → our own name."""


class Body(BaseModel):
    """A body, or a part of one."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, body: Any) -> Any:
        """Before all else: what is said of the others may follow from a misspelt one."""
        for name in body if isinstance(body, dict) else ():
            if name not in cls.model_fields:
                word, known = str(name)[:60], [*cls.model_fields]
                meant = f"; did you mean {MEANT[name]!r}?" if MEANT.get(name) in known else did_you_mean(word, known)
                line = {"line": f"there is no key {word!r} here{meant}"}
                problem = PydanticCustomError("extra_forbidden", "{line}", line)
                found = InitErrorDetails(type=problem, loc=(name,), input=body[name])
                raise ValidationError.from_exception_data(cls.__name__, [found])
        return body


class ImageUrl(Body):
    """An image of a content part."""

    url: StrictStr = Field(description="The image as a data URI; no address is opened.")
    detail: StrictStr | None = Field(None, description="Is accepted, and changes nothing.")


class TextPart(Body):
    """Words."""

    type: Literal["text"]
    text: StrictStr


class ImagePart(Body):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Body):
    """A message of vLLM's form; its parts together are one item."""

    role: Literal["user"] = "user"
    content: StrictStr | list[Part]


def _no_token_ids(value: Any) -> Any:
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, list):
        first = first[0] if first else first
    if isinstance(first, int) and not isinstance(first, bool):
        raise ValueError("token ids are those of another model's tokenizer; send text")
    return value


class EmbeddingRequest(Body):
    """As OpenAI's client sends it, or vLLM's form with `messages`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "shop", "input": ["navy casual shirt", "red handbag"]},
                {
                    "model": "shop",
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,…"}},
                                {"type": "text", "text": "in red"},
                            ],
                        }
                    ],
                },
            ]
        }
    )
    model: StrictStr = Field(description="Name of an encoder that is served; see /v1/models.")
    input: Annotated[StrictStr | list[StrictStr], BeforeValidator(_no_token_ids)] | None = None
    messages: list[ChatMessage] | None = Field(None, min_length=1, max_length=1)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: StrictInt | None = Field(None, description="One of the lengths that the encoder was trained for.")
    user: StrictStr | None = Field(None, description="Is accepted, and changes nothing.")


class CohereInput(Body):
    """An item of words and images."""

    content: list[Part] = Field(min_length=1)


class CohereRequest(Body):
    """As Cohere's client sends it: exactly one of texts, images and inputs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "shop", "input_type": "search_query", "texts": ["navy shirt"], "embedding_types": ["float"]}
            ]
        }
    )
    model: StrictStr
    input_type: Literal["search_query", "search_document", "classification", "clustering", "image"] = "search_document"
    texts: list[StrictStr] | None = None
    images: list[StrictStr] | None = None
    inputs: list[CohereInput] | None = None
    embedding_types: list[EmbeddingType] = Field(default=["float"], min_length=1, max_length=6)
    output_dimension: StrictInt | None = None
    truncate: Literal["NONE", "END"] = Field("END", description="NONE refuses a text that is cut; START is not known.")


class Asked(Body):
    """Words, a photo, or both."""

    text: StrictStr = Field("", max_length=MOST_CHARACTERS)
    image: StrictStr | None = Field(None, description="A photo as a data URI.")
    index: StrictInt = Field(0, ge=0, le=1, description="1 for the index that is served beside the first.")


class SearchRequest(Asked):
    """What to search for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "navy casual shirt", "where": "price < 50", "limit": 20}, {"like": "SKU-17"}]
        }
    )
    like: StrictStr | None = Field(
        None, max_length=MOST_CHARACTERS, description="Id of a product, to find others like it."
    )
    where: Where = None
    limit: StrictInt = Field(20, ge=1, le=MOST_HITS)
    offset: StrictInt = Field(0, ge=0, le=CANDIDATES, description="Hits to pass over, for the next page.")
    hybrid: StrictBool = Field(True, description="Rank by vectors and by words together.")
    facets: StrictBool = Field(False, description="Tell the facets of the filter too.")


class PredictRequest(Asked):
    """What to label."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "navy shirt", "labels": ["shirt", "bag"]}]})
    labels: list[StrictStr] | None = Field(
        None, min_length=1, max_length=256, description="Labels to choose from; the index's own when not given."
    )


class HeatmapRequest(Asked):
    """What to explain: words and a photo, or a product of the index."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"product": "SKU-17", "query": "navy shirt"}]})
    product: StrictStr | None = Field(
        None, max_length=MOST_CHARACTERS, description="Id of a product, in place of text and image."
    )
    query: StrictStr | None = Field(
        None, max_length=MOST_CHARACTERS, description="What the similarity to is explained."
    )
    layer: StrictInt | None = Field(None, ge=0, description="One decoder layer; all when not given.")


class ProductBody(Body):
    """A product to write."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "SKU-17", "title": "Navy casual shirt", "category": ["Apparel", "Shirts"], "price": 29}]
        }
    )
    id: StrictStr
    title: StrictStr = ""
    description: StrictStr = ""
    category: list[StrictStr] = Field(default=[], max_length=32)
    attributes: dict[StrictStr, StrictStr] = {}
    images: list[StrictStr] = Field(default=[], max_length=32, description="Images as data URIs.")
    price: StrictFloat | None = None


class IndexParameter(Body):
    """Which index."""

    index: int = Field(0, ge=0, le=1)


class FacetParameters(IndexParameter):
    """Of `/v1/facets`."""

    where: Where = None


class ProductParameters(IndexParameter):
    """Of `/v1/products/{id}`."""

    predict: bool = False


class SimilarParameters(FacetParameters):
    """Of `/v1/products/{id}/similar`."""

    limit: int = Field(20, ge=1, le=MOST_HITS)
    offset: int = Field(0, ge=0, le=CANDIDATES)


@dataclass(frozen=True)
class ShownHit(Hit):
    """A product that a search found, and the address of its photo, if it has one."""

    photo: str | None = None


class AboutIndex(BaseModel):
    """Which index an answer comes from. Its version grows with each write; an index built anew counts anew."""

    name: str
    products: int
    version: int


class SearchAnswer(BaseModel):
    """What a search found; `facets` where they were asked for."""

    hits: list[ShownHit]
    index: AboutIndex
    took_ms: float
    facets: dict[str, Any] | None = None
