"""The prompts of augmentation: versioned files that a merchandiser can read and change.

`write_prompts(folder)` copies moon2's own out, `load_prompts(folder)` reads them back. A version is the file's name,
with a short hash once the file is no longer moon2's own, so that provenance tells two edits apart. A product's text
comes from strangers: it is cleaned, and enters a prompt as JSON without angle brackets, so that no title can end the
place where data stands.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml

from moon2.augment.text.sanitize import safe_text
from moon2.errors import UserError
from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.text.entities import Entity

MAX_TITLE = 200
MAX_DESCRIPTION = 1_500
"""Characters of a title in an instruction for pictures, and of a description in the prompt of textual enrichment."""

VariantKind = Literal["background", "viewpoint", "detail"]

ENRICHMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}
"""JSON schema of what a model answers to the prompt `enrich`."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_KNOWN = {"enrich": "product", "main-image": "title", "variants": "title"}
_SUFFIX = {"enrich": ".md", "main-image": ".md", "variants": ".yaml"}


class PromptError(UserError):
    """A prompt file cannot be used; the message says which, why, and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and its version, such as "enrich-v1", or "enrich-v1+3f2a9c1d" once it was changed."""

    version: str
    text: str


@dataclass(frozen=True, slots=True)
class VariantPrompt:
    """How one variant is made from the main image; `instruction` may hold the placeholder {title}."""

    name: str
    kind: VariantKind
    instruction: str


@dataclass(frozen=True, slots=True)
class Prompts:
    """All prompts of a run of augmentation.

    Attributes:
        enrich: for T⁺; holds {product}.
        main_image: for I_m; may hold {title}.
        variants: for I^c_k, in the order in which they are used.
        variants_version: the version of the file of the variants.
    """

    enrich: Prompt
    main_image: Prompt
    variants: tuple[VariantPrompt, ...]
    variants_version: str

    def for_enrichment(self, product: Product, entities: Iterable[Entity]) -> str:
        """The prompt of textual enrichment for one product; the picture, if any, goes beside it."""
        data = {
            "title": safe_text(product.title),
            "description": safe_text(product.description)[:MAX_DESCRIPTION],
            "category": [safe_text(part) for part in product.category],
            "attributes": {safe_text(key): safe_text(value) for key, value in product.attributes.items()},
            "entities": [{"kind": entity.kind, "value": safe_text(entity.value)} for entity in entities],
        }
        return _fill(self.enrich.text, "product", _as_data({key: value for key, value in data.items() if value}))

    def for_main_image(self, product: Product) -> str:
        """The instruction by which an image-editing model makes I_m."""
        return _fill(self.main_image.text, "title", _title_as_data(product))

    def for_variant(self, variant: VariantPrompt, product: Product) -> str:
        """The instruction by which an image-editing model makes one variant of I_m."""
        return _fill(variant.instruction, "title", _title_as_data(product))


def load_prompts(folder: str | Path | None = None) -> Prompts:
    """Reads the prompts; what the folder has no file for is moon2's own.

    Args:
        folder: holds any of `enrich-NAME.md`, `main-image-NAME.md`, `variants-NAME.yaml`; None for moon2's own.

    Raises:
        PromptError: the folder or a file cannot be read, two files claim the same place, a placeholder is unknown or
            missing, or the variants are not a list of name, kind and instruction.
    """
    if folder is not None and not Path(folder).is_dir():
        raise PromptError(f"prompts {str(folder)!r}: is not a folder; give the one that holds your prompts")
    enrich, main_image, variants = (_find(folder, place) for place in _KNOWN)
    if "{product}" not in enrich.text:
        raise PromptError(f"prompt {enrich.version}: has no {{product}}; write it where the product data belongs")
    return Prompts(enrich, main_image, _read_variants(variants), variants.version)


def write_prompts(folder: str | Path) -> list[Path]:
    """Copies moon2's own prompts out for editing and returns the files.

    Raises:
        PromptError: one of the files is there already; nothing is written then.
    """
    paths = {Path(folder) / name: text for name, text in _own_files().items()}
    there = [path for path in paths if path.exists()]
    if there:
        raise PromptError(f"prompt {str(there[0])!r}: is there already; choose another folder or remove it first")
    Path(folder).mkdir(parents=True, exist_ok=True)
    for path, text in paths.items():
        path.write_text(text, encoding="utf-8")
    return list(paths)


@functools.cache
def _own_files() -> dict[str, str]:
    own = resources.files("moon2").joinpath("augment", "prompts")
    files = [file for file in own.iterdir() if file.name.endswith((".md", ".yaml"))]
    return {file.name: _read(file) for file in sorted(files, key=lambda file: file.name)}


def _find(folder: str | Path | None, place: str) -> Prompt:
    """The prompt of a place: the folder's own file if it has one."""
    suffix = _SUFFIX[place]
    own = {name: text for name, text in _own_files().items() if name.startswith(f"{place}-")}
    changed = sorted(Path(folder).glob(f"{place}-*{suffix}")) if folder is not None else []
    if len(changed) > 1:
        names = ", ".join(path.name for path in changed)
        raise PromptError(f"prompts {str(folder)!r}: {names} are for the same place; keep one of them")
    (name, text) = (changed[0].name, _read(changed[0])) if changed else next(iter(own.items()))
    _check_placeholders(name, text, _KNOWN[place])
    version = name.removesuffix(suffix)
    if text != own.get(name):
        version += "+" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return Prompt(version, text)


def _read(path: Any) -> str:
    """The text of a file, with the line ends of this house, so that an editor's habits do not make a new version."""
    try:
        text: str = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"prompt {str(path)!r}: cannot be read ({error}); save it as UTF-8 text") from error
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise PromptError(f"prompt {str(path)!r}: is empty; write the prompt or remove the file")
    return text + "\n"


def _check_placeholders(name: str, text: str, known: str) -> None:
    unknown = sorted(set(_PLACEHOLDER.findall(text)) - {known})
    if unknown:
        raise PromptError(f"prompt {name}: unknown placeholder {{{unknown[0]}}}; it can hold {{{known}}}")


def _read_variants(prompt: Prompt) -> tuple[VariantPrompt, ...]:
    try:
        rows = yaml.safe_load(prompt.text)
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise PromptError(f"prompt {prompt.version}: is not YAML ({what}); compare with moon2's own") from error
    if not isinstance(rows, list) or not rows:
        raise PromptError(f"prompt {prompt.version}: must be a list of variants, each with name, kind and instruction")
    variants = tuple(_variant(row, f"prompt {prompt.version}: variant {number}") for number, row in enumerate(rows, 1))
    names = [variant.name for variant in variants]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PromptError(f"prompt {prompt.version}: two variants are called {twice!r}; give each its own name")
    return variants


def _variant(row: Any, where: str) -> VariantPrompt:
    if not isinstance(row, dict) or set(row) != {"name", "kind", "instruction"}:
        raise PromptError(f"{where}: must have exactly name, kind and instruction")
    if not all(isinstance(value, str) and value.strip() for value in row.values()):
        raise PromptError(f"{where}: name, kind and instruction must be text and not empty")
    if row["kind"] not in get_args(VariantKind):
        raise PromptError(f"{where}: kind {row['kind']!r} is unknown; choose {', '.join(get_args(VariantKind))}")
    return VariantPrompt(row["name"], row["kind"], row["instruction"].strip())


def _title_as_data(product: Product) -> str:
    words = safe_text(product.title) or (safe_text(product.category[-1]) if product.category else "")
    return _as_data(words[:MAX_TITLE].strip() or "of the picture")


def _as_data(value: Any) -> str:
    """JSON in which no angle bracket stands, so that text inside cannot look like a tag of the prompt."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")


def _fill(text: str, placeholder: str, value: str) -> str:
    """The text with the value put in once: what the value itself says is never taken for a placeholder."""
    return text.strip().replace("{" + placeholder + "}", value)
