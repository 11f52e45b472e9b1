"""A tiny random LLaVA in the hub's own layout, and `transformers serve` answering with it on this machine.

LLaVA because its processor needs no torchvision. Untaught it writes noise; taught, it writes the titles of a test.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    GPT2Tokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
)

from moon2.augment.prompts import load_prompts
from moon2.augment.text.sanitize import clean_product
from moon2.records import Product
from support.tiny_checkpoints import byte_level_tokenizer

SIDE, PATCH = 32, 8
VISUAL_TOKENS = (SIDE // PATCH) ** 2
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_llava(folder: Path) -> Path:
    """Writes config, weights, tokenizer, image processor and chat template; always the same weights."""
    tokenizer = byte_level_tokenizer(GPT2Tokenizer, ["<|endoftext|>", "<image>"])
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    vision: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    config = LlavaConfig(
        text_config={"model_type": "llama", **text},
        vision_config={"model_type": "clip_vision_model", **vision},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=VISUAL_TOKENS,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.15)
    model.save_pretrained(folder)
    image_processor = LlavaImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


@dataclass
class Taught:
    """A checkpoint, the folder of its prompt, the products that it was taught, and their titles."""

    model: str
    prompts: str
    products: list[Product]
    titles: list[str]


def write_taught_llava(folder: Path) -> Taught:
    """Two products differ only in their image, and one has none: all three titles need a look at the images."""
    prompts = folder / "prompts"
    prompts.mkdir(parents=True)
    (prompts / "enrich-short.md").write_text("Title of {product}")
    products = [
        Product(id="1", title="shoe", images=(Image.new("RGB", (40, 40), "red"),)),
        Product(id="2", title="shoe", images=(Image.new("RGB", (60, 40), "blue"),)),
        Product(id="3", title="a bag with a zip"),
    ]
    titles = ["red shoe", "blue shoe", "zip bag"]
    model = write_llava(folder / "llava")
    questions = [load_prompts(prompts).for_enrichment(clean_product(product), ()) for product in products]
    images = [product.images[0] if product.images else None for product in products]
    replies = [f'{{"title": "{title}"}}' for title in titles]
    _teach(model, list(zip(questions, images, replies, strict=True)))
    return Taught(str(model), str(prompts), products, titles)


def _teach(folder: Path, lessons: list[tuple[str, Image.Image | None, str]]) -> None:
    """Trains the checkpoint in `folder` until it answers each question, with its image, by its reply."""
    processor = LlavaProcessor.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    batches = [_lesson(processor, *lesson) for lesson in lessons]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(400):
        losses = [model(**batch).loss for batch in batches]
        if max(losses) < 0.01:
            break
        torch.stack(losses).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    else:
        raise AssertionError(f"the tiny model did not learn its lessons: {max(losses):.3f}")
    model.save_pretrained(folder)


def _lesson(processor: Any, question: str, image: Image.Image | None, reply: str) -> dict[str, torch.Tensor]:
    content = [] if image is None else [{"type": "image", "image": image}]
    conversation = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    batch = processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    answer = torch.tensor([[*processor.tokenizer.encode(reply, add_special_tokens=False), 0]])
    question_ids = batch["input_ids"]
    pixels = {"pixel_values": batch["pixel_values"]} if "pixel_values" in batch else {}
    return {
        **pixels,
        "input_ids": torch.cat([question_ids, answer], dim=1),
        "labels": torch.cat([torch.full_like(question_ids, -100), answer], dim=1),
    }


@contextlib.contextmanager
def transformers_serve(log: Path) -> Iterator[str]:
    """The address of a server of this environment's transformers; it loads the model that a request names."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        assert server.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError(f"the server did not start within two minutes: {log.read_text()[-2000:]}")
