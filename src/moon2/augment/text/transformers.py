"""The provider `transformers`: enriched titles by a local vision-language model, greedy, in batches.

Any checkpoint that `AutoModelForImageTextToText` opens will do. For most, `AutoProcessor` turns messages into tensors.
The families that moon2 upcycles have processors that need torchvision for video; `moon2.model.families` reads for them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from accelerate.utils.memory import should_reduce_batch_size
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, ProcessorMixin

from moon2.augment.errors import AugmentationError, ProductError
from moon2.augment.prompts import Prompts
from moon2.augment.text.entities import Entity
from moon2.augment.text.provider import Enrichment, TextProvider
from moon2.augment.text.reply import IMAGE_SIDE, main_image, title_in
from moon2.augment.text.sanitize import CleanProduct
from moon2.errors import one_line
from moon2.model.families import FAMILIES, Family

if TYPE_CHECKING:
    from moon2.augment.settings import TextSettings

Conversation = list[dict[str, object]]


class TransformersTextProvider(TextProvider):
    """`settings.concurrency` products in a batch; fewer once the memory did not suffice."""

    name = "transformers"

    def __init__(self, settings: TextSettings, prompts: Prompts) -> None:
        """Loads the model, on the GPU if there is one.

        Raises:
            AugmentationError: it cannot be opened.
        """
        self.model = settings.model
        self.prompt = prompts.enrich.version
        self.batch_size = settings.concurrency
        self._prompts = prompts
        self._max_tokens = settings.max_tokens
        try:
            self._network: Any = AutoModelForImageTextToText.from_pretrained(settings.model, dtype="auto").eval()
            family = FAMILIES.get(self._network.config.model_type)
            self._reader: _Reader = (
                _FamilyReader(settings.model, self._network, family) if family else _ProcessorReader(settings.model)
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise AugmentationError(
                f"text.model {self.model!r} cannot be opened ({one_line(error)}); choose another"
            ) from error
        tokenizer = self._reader.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._network.to("cuda" if torch.cuda.is_available() else "cpu")

    def enrich(
        self, products: Sequence[CleanProduct], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """See `TextProvider`. The reason of a product without a text is `bad_json`."""
        questions = [self._prompts.for_enrichment(*product) for product in zip(products, entities, strict=True)]
        images = [main_image(product) for product in products]
        enrichments: dict[int, Enrichment] = {}
        try:
            # Processors take no batch in which only some rows have an image.
            for has_image in (True, False):
                rows = [row for row, image in enumerate(images) if (image is not None) is has_image]
                if rows:
                    shown = [image for image in images if image is not None] if has_image else []
                    enrichments |= zip(rows, self._generate([questions[row] for row in rows], shown), strict=True)
        except Exception as error:
            if should_reduce_batch_size(error):
                self.batch_size = max(1, len(products) // 2)
            raise
        return [enrichments[row] for row in range(len(products))]

    @torch.inference_mode()
    def _generate(self, questions: list[str], images: list[Image.Image]) -> list[Enrichment]:
        inputs = {name: value.to(self._network.device) for name, value in self._reader.read(questions, images).items()}
        pad = self._reader.tokenizer.pad_token_id
        sequences = self._network.generate(**inputs, max_new_tokens=self._max_tokens, do_sample=False, pad_token_id=pad)
        replies = sequences[:, inputs["input_ids"].shape[1] :].tolist()
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._enrichment(reply, length) for reply, length in zip(replies, lengths, strict=True)]

    def _enrichment(self, reply: list[int], tokens_in: int) -> Enrichment:
        # A row ends with padding where another row of its batch is longer.
        end = self._network.generation_config.eos_token_id
        ends = [reply.index(token) + 1 for token in (end if isinstance(end, list) else [end]) if token in reply]
        reply = reply[: min(ends, default=len(reply))]
        try:
            title = title_in(self._reader.tokenizer.decode(reply, skip_special_tokens=True))
        except ProductError as error:
            cut = "" if len(reply) < self._max_tokens else ", which was cut off: raise text.max_tokens"
            return Enrichment(None, f"{error}{cut}", tokens_in, len(reply))
        return Enrichment(title, "", tokens_in, len(reply))


class _Reader(Protocol):
    tokenizer: Any

    def read(self, questions: list[str], images: list[Image.Image]) -> dict[str, Tensor]:
        """The tensors of one batch, padded on the left; each question has an image, or none has."""


class _ProcessorReader:
    """Reads by the checkpoint's own processor."""

    def __init__(self, source: str) -> None:
        self._processor = AutoProcessor.from_pretrained(source)
        self.tokenizer = self._processor.tokenizer

    def read(self, questions: list[str], images: list[Image.Image]) -> dict[str, Tensor]:
        shown: Sequence[Image.Image | None] = images or [None] * len(questions)
        conversations = [_conversation(question, image) for question, image in zip(questions, shown, strict=True)]
        return dict(
            self._processor.apply_chat_template(
                conversations,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        )


class _FamilyReader:
    """Reads by a family of `moon2.model.families`, and puts the tokens of the image into the text."""

    def __init__(self, source: str, network: Any, family: Family) -> None:
        self._config = network.config
        self._family = family
        self._takes_token_types = "mm_token_type_ids" in inspect.signature(network.forward).parameters
        self._image_processor = family.image_processor(source, self._config, IMAGE_SIDE**2)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(source)
        # Some checkpoints keep the template that knows images with the processor only.
        processor_config, _ = ProcessorMixin.get_processor_dict(source)
        self._template = processor_config.get("chat_template") or self.tokenizer.chat_template
        if not self._template:
            raise ValueError("it has no chat template")
        markers = family.image_markers(self.tokenizer)
        self._before, self._after = ("".join(self.tokenizer.convert_ids_to_tokens(ids)) for ids in markers)
        self._image_token = str(self.tokenizer.convert_ids_to_tokens(self._config.image_token_id))

    def read(self, questions: list[str], images: list[Image.Image]) -> dict[str, Tensor]:
        texts = [
            self.tokenizer.apply_chat_template(
                _conversation(question, images[0] if images else None),
                chat_template=self._template,
                add_generation_prompt=True,
                tokenize=False,
            )
            for question in questions
        ]
        tensors: dict[str, Tensor] = {}
        if images:
            read = self._family.image_tensors(self._image_processor, self._config, images)
            tensors = self._family.generation_inputs(read)
            texts = [self._with_image(text, image.tokens) for text, image in zip(texts, read, strict=True)]
        tokens = self.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        tensors |= {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        if self._takes_token_types:
            tensors["mm_token_type_ids"] = (tensors["input_ids"] == self._config.image_token_id).long()
        return tensors

    def _with_image(self, text: str, count: int) -> str:
        """The text with `count` image tokens, and the family's markers, instead of the template's one image token."""
        before, token, after = map(re.escape, (self._before, self._image_token, self._after))
        tokens = self._before + self._image_token * count + self._after
        return re.sub(f"(?:{before})?{token}(?:{after})?", lambda _: tokens, text, count=1)


def _conversation(question: str, image: Image.Image | None) -> Conversation:
    content: Conversation = [] if image is None else [{"type": "image", "image": image}]
    return [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
