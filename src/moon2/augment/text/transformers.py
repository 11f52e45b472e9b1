"""Textual enrichment by a local vision-language model: `generate` of transformers, batched, greedy, padded on the left.

Any checkpoint that `AutoModelForImageTextToText` opens will do. For most, `AutoProcessor` turns messages into tensors.
The families that moon2 upcycles have processors that need torchvision for video; for those the picture's tensors come
from `moon2.model.families`, and the picture's tokens are put into the text here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer, ProcessorMixin

from moon2.augment.prompts import load_prompts
from moon2.augment.text.provider import Enrichment, EnrichmentError, TextProvider
from moon2.augment.text.reply import PICTURE_SIDE, ReplyError, main_picture, title_in
from moon2.model.families import FAMILIES, Family
from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.settings import TextSettings
    from moon2.augment.text.entities import Entity


class LocalChatProvider(TextProvider):
    """The provider `transformers`: `settings.concurrency` products at once."""

    name = "transformers"

    def __init__(self, settings: TextSettings, prompts: str | None = None) -> None:
        """Loads the model, on the GPU if there is one.

        Raises:
            EnrichmentError: no model is named, or it cannot be opened.
            PromptError: a changed prompt cannot be used.
        """
        if not settings.model:
            raise EnrichmentError("text.model is empty; name a vision-language model by hub id or folder")
        self._prompts = load_prompts(prompts)
        self.model = settings.model
        self.prompt = self._prompts.enrich.version
        self._max_tokens = settings.max_tokens
        self._rows_at_once = settings.concurrency
        self._worked = False
        try:
            self._network: Any = AutoModelForImageTextToText.from_pretrained(settings.model, dtype="auto").eval()
            self._reader = _reader(settings.model, self._network)
        except (OSError, ValueError, KeyError, ImportError) as error:
            why = " ".join(str(error).split())[:300]
            raise EnrichmentError(f"text.model {settings.model!r} cannot be opened ({why}); choose another") from error
        self._network.to("cuda" if torch.cuda.is_available() else "cpu")

    def enrich(
        self, products: Sequence[Product], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """One `Enrichment` a product, in the same order. Greedy, hence `seed` changes nothing.

        Reasons of rows without text: `bad_json`, `out_of_memory` and `failed` (both with the product alone).

        Raises:
            EnrichmentError: the model has failed on every product so far.
        """
        questions = [
            _Question(self._prompts.for_enrichment(product, its_entities), main_picture(product))
            for product, its_entities in zip(products, entities, strict=True)
        ]
        results: list[Enrichment | None] = [None] * len(questions)
        # Processors take no batch in which only some rows have a picture; rows of like length need the least padding.
        order = sorted(range(len(questions)), key=lambda row: len(questions[row].text))
        for pictured in (True, False):
            rows = [row for row in order if (questions[row].picture is not None) is pictured]
            for row, result in zip(rows, self._answers([questions[row] for row in rows]), strict=True):
                results[row] = result
        done = [result for result in results if result is not None]
        self._worked = self._worked or any(not result.reason.startswith("failed") for result in done)
        if done and not self._worked:
            raise EnrichmentError(f"text.model {self.model!r} answers nothing ({done[0].reason}); choose another")
        return done

    def _answers(self, questions: list[_Question]) -> list[Enrichment]:
        answers: list[Enrichment] = []
        while len(answers) < len(questions):
            batch = questions[len(answers) : len(answers) + self._rows_at_once]
            try:
                answers += self._generate(batch)
                continue
            except (RuntimeError, ValueError, IndexError) as error:
                # Only the words are kept: the error itself would keep the tensors of the failed batch.
                too_much, why = should_reduce_batch_size(error), " ".join(str(error).split())[:200]
            if too_much:
                clear_device_cache(garbage_collection=True)
            if len(batch) == 1:
                answers.append(Enrichment(None, f"{'out_of_memory' if too_much else 'failed'}: {why}", self.model))
            elif too_much:
                self._rows_at_once = len(batch) // 2
            else:
                answers += [answer for question in batch for answer in self._answers([question])]
        return answers

    @torch.inference_mode()
    def _generate(self, batch: list[_Question]) -> list[Enrichment]:
        inputs = {name: tensor.to(self._network.device) for name, tensor in self._reader.read(batch).items()}
        tokenizer = self._reader.tokenizer
        rows = self._network.generate(
            **inputs, max_new_tokens=self._max_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        read = inputs["attention_mask"].sum(dim=1).tolist()
        ends = _end_tokens(self._network.generation_config)
        replies = [_until_end(row, ends) for row in rows[:, inputs["input_ids"].shape[1] :].tolist()]
        return [self._enrichment(reply, tokens) for reply, tokens in zip(replies, read, strict=True)]

    def _enrichment(self, reply: list[int], read: int) -> Enrichment:
        text, reason = None, ""
        try:
            text = title_in(self._reader.tokenizer.decode(reply, skip_special_tokens=True))
        except ReplyError as error:
            cut = "" if len(reply) < self._max_tokens else ", which was cut off: raise text.max_tokens"
            reason = f"bad_json: {error}{cut}"
        return Enrichment(text, reason, self.model, read, len(reply))


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    picture: Image.Image | None

    @property
    def conversation(self) -> list[dict[str, Any]]:
        picture = [] if self.picture is None else [{"type": "image", "image": self.picture}]
        return [{"role": "user", "content": [*picture, {"type": "text", "text": self.text}]}]


class _Reader(Protocol):
    """Questions → tensors of one batch, padded on the left; all questions have a picture or none has."""

    tokenizer: Any

    def read(self, batch: list[_Question]) -> dict[str, Tensor]: ...


class _ProcessorReader:
    """By the checkpoint's own processor."""

    def __init__(self, source: str) -> None:
        self._processor = AutoProcessor.from_pretrained(source)
        self.tokenizer = _padding_left(self._processor.tokenizer)

    def read(self, batch: list[_Question]) -> dict[str, Tensor]:
        return dict(
            self._processor.apply_chat_template(
                [question.conversation for question in batch],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        )


class _FamilyReader:
    """By a family of `moon2.model.families`: the picture's tokens are put into the text here."""

    def __init__(self, source: str, network: Any, family: Family) -> None:
        self._config = network.config
        self._family = family
        self._takes_kinds = "mm_token_type_ids" in inspect.signature(network.forward).parameters
        self._images = family.image_processor(source, self._config, PICTURE_SIDE**2)
        self.tokenizer = _padding_left(AutoTokenizer.from_pretrained(source))
        # Some checkpoints keep the template that knows pictures with the processor only.
        template = ProcessorMixin.get_processor_dict(source)[0].get("chat_template") or self.tokenizer.chat_template
        if not template:
            raise ValueError("it has no chat template")
        self._template = template
        names = [
            self.tokenizer.convert_ids_to_tokens(ids) for ids in family.around_picture(self.tokenizer, self._config)
        ]
        self._before, self._after = ("".join(tokens) for tokens in names)
        self._place: str = self.tokenizer.convert_ids_to_tokens(self._config.image_token_id)

    def read(self, batch: list[_Question]) -> dict[str, Tensor]:
        texts = [
            self.tokenizer.apply_chat_template(
                question.conversation, chat_template=self._template, add_generation_prompt=True, tokenize=False
            )
            for question in batch
        ]
        pictures = [question.picture for question in batch if question.picture is not None]
        tensors: dict[str, Tensor] = {}
        if pictures:
            read = self._family.pictures(self._images, self._config, pictures)
            tensors = read.tensors
            texts = [self._with_picture(text, count) for text, count in zip(texts, read.tokens, strict=True)]
        tokens = self.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        tensors |= {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        if self._takes_kinds:
            tensors["mm_token_type_ids"] = (tensors["input_ids"] == self._config.image_token_id).long()
        return tensors

    def _with_picture(self, text: str, count: int) -> str:
        """The text with `count` tokens where its template put the one place of the picture."""
        before, place, after = (re.escape(part) for part in (self._before, self._place, self._after))
        tokens = self._before + self._place * count + self._after
        return re.sub(f"(?:{before})?{place}(?:{after})?", lambda _: tokens, text, count=1)


def _reader(source: str, network: Any) -> _Reader:
    family = FAMILIES.get(network.config.model_type)
    return _ProcessorReader(source) if family is None else _FamilyReader(source, network, family)


def _padding_left(tokenizer: Any) -> Any:
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _end_tokens(config: Any) -> set[int]:
    ends = config.eos_token_id
    return set(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _until_end(reply: list[int], ends: set[int]) -> list[int]:
    """A row of a batch goes on as padding until the longest row ends; its own end counts as written."""
    for place, token in enumerate(reply):
        if token in ends:
            return reply[: place + 1]
    return reply
