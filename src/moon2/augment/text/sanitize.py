"""The one cleaning of shop text, where a product enters `augment`: providers, prompts and grounding see what is left.

Shop text comes from strangers. Addresses, telephone numbers and markup are taken out. From an instruction to a model
("ignore previous instructions …") on, the rest of that text goes too, because nobody can tell where it ends. Disguises
are looked through: full-width letters, look-alikes from other alphabets, digits for letters, HTML entities.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from moon2.images import ImageSource
from moon2.records import Product

_LOOKALIKES = str.maketrans("авеѕіјкмнорстухѵгԁԛԝαβεικνορτυχγωіı", "abesijkmhopctyxvrdqwabeiknoptuxywii")
_LEET = str.maketrans("013457@$", "oieastas")
_QUOTES = str.maketrans("‘’“”‐‑–—−", "''\"\"-----")
_UNWANTED = re.compile(
    r"<(?:!--.*?(?:-->|$)|(script|style)\b.*?(?:</\1\s*>|$)|/?[a-z][^<>]*(?:>|$))"  # markup
    r"|\b(?:https?|ftp)\s?:\S*|\bwww\.\S+"  # addresses
    r"|(?<![\w-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}\.(?:(?:com|net|org|info|shop|store|ru|cn)\b(?:/\S*)?|[a-z]{2,24}/\S+)"
    r"|(?<![\w.+-])[\w.+-]{0,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,5}"
    r"|\+\d[\d ()./-]{6,}\d|\(\d{2,5}\) ?\d[\d -]{4,}\d|\b\d{3,5}[ .-]\d{3,5}[ .-]\d{3,5}\b"  # telephone numbers
    r"|\b\d+ ?% ?(?:off|discount)\b",
    re.IGNORECASE | re.DOTALL,
)
_INSTRUCTION = re.compile(
    r"\b(?:ignor|disregard|forget|overrid|bypass)\w*\b[^.]{0,40}?\b(?:instruc|prompt|rule|above|previous|prior|earlier)"
    r"|忽略|(?:^|[.>!?;|\]]) ?(?:system|assistant|user) ?:|\b(?:say|write|answer|reply) ?:|\bnew instructions\b"
    r"|\bto (?:the |any |all )?(?:ai|llm|chatbot|assistant|language model)\b"
    r"|(?<![^\W_])(?:[a-z][ ._*-]{1,2}){6}",  # letters one by one
    re.IGNORECASE,
)


_ENTITY_REST = re.compile(
    r"&\s?#?\w{2,7};|&?\s?\b(?:[lr][sd]quo|[nm]dash|nbsp|hellip|quot|bull|reg|trade|copy|deg|apos|amp);"
    r"|&\s?(?:[lr][sd]quo|[nm]dash|nbsp|hellip|quot|amp)\b|[™®©]",
    re.IGNORECASE,
)
"""What a broken export leaves of HTML entities: "& ndash", "rsquo;", "&amp;nbsp"; and trade marks' signs."""


@dataclass(frozen=True, slots=True)
class CleanProduct:
    """A product as providers see it: its text is cleaned, its images are as the catalog has them."""

    id: str
    title: str
    description: str
    category: tuple[str, ...]
    attributes: Mapping[str, str]
    images: tuple[ImageSource, ...]


def clean_product(product: Product) -> CleanProduct:
    """The product with `clean_text` applied to everything a shop writes."""
    return CleanProduct(
        product.id,
        clean_text(product.title),
        clean_text(product.description),
        tuple(map(clean_text, product.category)),
        {clean_text(key): text for key, value in product.attributes.items() if (text := clean_text(value))},
        product.images,
    )


def clean_text(text: str) -> str:
    """One line of plain text without addresses, markup, and what stands from an instruction to a model on."""
    if "&" in text or ";" in text or not text.isascii():
        text = _ENTITY_REST.sub(" ", html.unescape(html.unescape(text)))
    text = plain(text)
    revealed = text.translate(_LOOKALIKES)
    matches = (_INSTRUCTION.search(revealed), _INSTRUCTION.search(revealed.translate(_LEET)))
    end = min((match.start() for match in matches if match), default=len(text))
    return " ".join(_UNWANTED.sub(" ", text[:end]).split())


def plain(text: str) -> str:
    """NFKC without invisible characters, all digits as 0-9, one kind of quote and dash, single blanks."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
        text = "".join(map(_plain_character, text))
    return " ".join(text.split())


def _plain_character(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Nd":
        return str(unicodedata.digit(character))
    return "" if kind in ("Cf", "Mn", "Me") else " " if kind == "Cc" else character
