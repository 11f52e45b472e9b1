"""The prompts of augmentation: versioned files that a merchandiser can read and change.

A version is the file's name, with a short hash once the file is no longer moon2's own, so that provenance tells two
edits apart. A product's text comes from strangers: it enters a prompt as JSON without angle brackets, so that no title
can end the place where data stands.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, get_args

import yaml

from moon2.augment.errors import AugmentationError
from moon2.augment.text.entities import Entity
from moon2.augment.text.sanitize import CleanProduct
from moon2.errors import one_line

MAX_TITLE = 200
"""Characters of a title in an instruction for images."""
MAX_DESCRIPTION = 1_500
"""Characters of a description in the prompt of textual enrichment."""

VariantKind = Literal["background", "viewpoint", "detail"]

ENRICHMENT_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}
"""JSON schema of what a model answers to the prompt `enrich`."""

_PLACEHOLDER_OF = {"enrich": "product", "main-image": "title", "variants": "title"}


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
    """All prompts of augmentation.

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

    def for_enrichment(self, product: CleanProduct, entities: Iterable[Entity]) -> str:
        """The prompt of textual enrichment for one product; the image, if any, goes beside it."""
        data = {
            "title": product.title,
            "description": product.description[:MAX_DESCRIPTION],
            "category": product.category,
            "attributes": product.attributes,
            "entities": [{"kind": entity.kind, "value": entity.value} for entity in entities],
        }
        return _fill(self.enrich.text, "product", {key: value for key, value in data.items() if value})

    def for_main_image(self, product: CleanProduct) -> str:
        """The instruction by which an image-editing model makes I_m."""
        return _fill(self.main_image.text, "title", _name(product))

    def for_variant(self, variant: VariantPrompt, product: CleanProduct) -> str:
        """The instruction by which an image-editing model makes one variant of I_m."""
        return _fill(variant.instruction, "title", _name(product))


def write_prompts(folder: Path) -> Path:
    """Write the prompts of `moon2 augment` into a folder, to be changed.

    enrich-v1.md asks for an enriched title, main-image-v1.md for a main image,
    variants-v1.yaml for its variants. Remove what you do not change: moon2's own
    is used then. {product} and {title} stand where the product data belongs.

    examples:
      moon2 augment prompts my-prompts
      moon2 augment data/shop --out data/shop+ --prompts my-prompts

    Args:
        folder: the folder to write to.

    Returns:
        The folder.

    Raises:
        AugmentationError: one of the files exists, and nothing is written then; or the folder cannot be made.
    """
    files = {folder / name: text for name, text in _own_files().items()}
    for path in files:
        if path.exists():
            raise AugmentationError(f"prompt {str(path)!r}: exists already; choose another folder or remove it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise AugmentationError(f"prompts {str(folder)!r}: is a file or below one; choose another folder") from None
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return folder


def load_prompts(folder: str | Path | None = None) -> Prompts:
    """Reads the prompts; what the folder has no file for is moon2's own.

    Args:
        folder: holds any of `enrich-NAME.md`, `main-image-NAME.md`, `variants-NAME.yaml`; None for moon2's own.

    Raises:
        AugmentationError: a file cannot be used; the message says which, why and what to do.
    """
    if folder is not None and not Path(folder).is_dir():
        raise AugmentationError(f"prompts {str(folder)!r}: is not a folder; give the one that holds your prompts")
    enrich, main_image, variants = (_find(folder, purpose) for purpose in _PLACEHOLDER_OF)
    if "{product}" not in enrich.text:
        raise AugmentationError(f"prompt {enrich.version}: has no {{product}}; write it where the product data belongs")
    return Prompts(enrich, main_image, _read_variants(variants), variants.version)


@functools.cache
def _own_files() -> dict[str, str]:
    files = resources.files("moon2").joinpath("augment", "prompts").iterdir()
    return {file.name: _read(file) for file in sorted(files, key=lambda file: file.name)}


def _find(folder: str | Path | None, purpose: str) -> Prompt:
    """The folder's own file for a purpose, or moon2's."""
    own = next(name for name in _own_files() if name.startswith(f"{purpose}-"))
    name, text = own, _own_files()[own]
    changed = sorted(Path(folder).glob(f"{purpose}-*{Path(own).suffix}")) if folder is not None else []
    if len(changed) > 1:
        names = ", ".join(path.name for path in changed)
        raise AugmentationError(f"prompts {str(folder)!r}: {names} have the same purpose; keep one of them")
    if changed:
        name, text = changed[0].name, _read(changed[0])
    placeholder = _PLACEHOLDER_OF[purpose]
    for unknown in sorted(set(re.findall(r"\{([A-Za-z_]\w*)\}", text)) - {placeholder}):
        raise AugmentationError(f"prompt {name}: unknown placeholder {{{unknown}}}; it can hold {{{placeholder}}}")
    version = Path(name).stem
    if text != _own_files().get(name):
        version += "+" + hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return Prompt(version, text)


def _read(path: Traversable) -> str:
    """The text of a file. An editor's line ends do not make a new version."""
    try:
        text: str = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AugmentationError(f"prompt {str(path)!r}: cannot be read ({error}); save it as UTF-8 text") from error
    if not text:
        raise AugmentationError(f"prompt {str(path)!r}: is empty; write the prompt or remove the file")
    return text + "\n"


def _read_variants(prompt: Prompt) -> tuple[VariantPrompt, ...]:
    where = f"prompt {prompt.version}"
    try:
        rows = yaml.safe_load(prompt.text)
    except yaml.YAMLError as error:
        raise AugmentationError(f"{where}: is not YAML ({one_line(error)}); compare with moon2's own") from error
    if not isinstance(rows, list) or not rows:
        raise AugmentationError(f"{where}: must be a list of variants, each with name, kind and instruction")
    variants: dict[str, VariantPrompt] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or set(row) != {"name", "kind", "instruction"}:
            raise AugmentationError(f"{where}: variant {number}: must have exactly name, kind and instruction")
        if not all(isinstance(value, str) and value.strip() for value in row.values()):
            raise AugmentationError(f"{where}: variant {number}: name, kind and instruction must be text and not empty")
        name, kind, kinds = row["name"], row["kind"], get_args(VariantKind)
        if kind not in kinds:
            raise AugmentationError(f"{where}: variant {number}: kind {kind!r} is unknown; choose {', '.join(kinds)}")
        if name in variants:
            raise AugmentationError(f"{where}: two variants are called {name!r}; give each its own name")
        variants[name] = VariantPrompt(name, kind, row["instruction"].strip())
    return tuple(variants.values())


def _name(product: CleanProduct) -> str:
    name = product.title or (product.category[-1] if product.category else "")
    return name[:MAX_TITLE].strip() or "of the picture"


def _fill(text: str, placeholder: str, value: object) -> str:
    """The text with the value as JSON without angle brackets, put in once: a value's own braces stay as they are."""
    data = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return text.strip().replace("{" + placeholder + "}", data)
