"""What stands in one cell of a foreign table: text, nothing, several values, ids, or the name of a split."""

from __future__ import annotations

import ast
import html
import json
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from moon2.records import RecordError

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "dev", "val", "valid", "validation", "eval", "testing"), "test"),
}
# What programs write where there is nothing: databases, pandas, JavaScript, spreadsheets and their errors.
_NOTHING = r"null nil nan nat none undefined (null) <na> \n n/a n.a. #n/a #name? #ref! #value! #div/0! - -- --- – —"
# What people write: abbreviations with their signs, because "ka" and "nd" may be names, and words for nothing else.
_ABBREVIATIONS = "k.a. k/a n/v n.v. o.a. o/a n.d. n/d s/d s/i s.o. b.d. n.b. i/t"
_SAID = (
    "keine angabe, keine angaben, ohne angabe, nicht angegeben, nicht verfügbar, nicht vorhanden, not available, "
    "not applicable, not specified, non renseigné, non disponible, non spécifié, sin datos, sin especificar, "
    "no disponible, no aplica, não informado, nao informado, não disponível, não se aplica, não especificado, "
    "non specificato, niet beschikbaar, niet opgegeven, brak, brak danych, nie dotyczy, ej angivet, belirtilmemiş, "
    "无, 暂无, なし"
)
EMPTY_WORDS = frozenset([*_NOTHING.split(), *_ABBREVIATIONS.split(), *_SAID.split(", ")])
_LONGEST = max(map(len, EMPTY_WORDS)) + 1  # a space may stand in an abbreviation
# A name such as "Na" is none of them.
EMPTY_CAPITALS = frozenset(("NA",))
_CLOSING = {"[": "]", "(": ")", "{": "}", "a": ")"}
# Longer texts are not searched for lists.
MAX_LIST_CHARACTERS = 1_000_000
# No table of products nests so many lists and objects; Python cannot go down a thousand.
MAX_DEPTH = 50

# Only the tags of HTML are taken out; a parser of HTML would take "Size <M, >L" for a tag too.
_BLOCKS = (
    "address|article|aside|blockquote|body|br|button|caption|center|dd|details|div|dl|dt|fieldset|figcaption|figure|"
    "footer|form|h[1-6]|head|header|hr|html|iframe|img|input|legend|li|link|main|meta|nav|ol|option|p|pre|section|"
    "select|source|summary|table|tbody|td|tfoot|th|thead|tr|ul|video"
)
_INLINE = "a|abbr|b|big|cite|code|del|em|font|i|ins|label|mark|s|small|span|strike|strong|sub|sup|tt|u"
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style|title)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCKS})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?:\s[^<>]*)?/?>", re.IGNORECASE)
# Without the semicolon, "cut&region" would hold a ®.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
# What Python and numpy print and Python's own reader does not take: ['a' 'b'], array([…], dtype=…), np.str_('a'), nan.
_PRINTED = re.compile(rf"({_QUOTED})(\s+(?=['\"]))?|\b(?:nan|null)\b|\barray\(|\bnp\.\w+\(|,\s*dtype=[^()]*|[()]")


def to_text(value: Any) -> str:
    """A cell as text: None and NaN are "", a whole number has no decimals (pandas turns ids into 1163.0)."""
    if type(value) is str:  # as most are
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing: nothing at all, or a word for it such as NULL, nan, N/A, "k. A." or a dash."""
    text = (value if isinstance(value, str) else to_text(value)).strip()
    if len(text) > _LONGEST:
        return False
    plain = text.casefold()
    if not text or text in EMPTY_CAPITALS or plain in EMPTY_WORDS:
        return True
    return len(text) <= 6 and ("." in text or "/" in text) and plain.replace(" ", "") in EMPTY_WORDS


def to_words(value: Any) -> str:
    """A cell as words for people: "" where it `is_empty`, a list joined, entities and tags of HTML decoded.

    Tags that end a line become spaces, and so does white space of any kind where something was decoded. Of an object,
    such as {"en": "Shirt"}, its first text is taken, and of a list of objects the first: they say one thing over again.
    """
    if isinstance(value, Mapping):
        texts = [item for item in value.values() if isinstance(item, (str, list, Mapping))]
        values = [*(value[key] for key in ("value", "text", "name") if key in value), *texts]
        return next((words for words in map(to_words, values) if words), "")
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
        return to_words(value[0])
    if isinstance(value, (list, tuple)):
        return " ".join(filter(None, map(to_words, value)))
    text = value if isinstance(value, str) else to_text(value)
    if is_empty(text):
        return ""
    if "&" not in text and "<" not in text:
        return text.strip()
    decoded = text
    for _ in range(2):  # feeds escape HTML, and some shops escape it twice
        decoded = _ENTITY.sub(lambda entity: html.unescape(entity[0]), _without_tags(decoded))
    decoded = _without_tags(decoded)
    return text.strip() if decoded == text else "" if is_empty(decoded) else " ".join(decoded.split())


def _without_tags(text: str) -> str:
    return _INLINE_TAG.sub("", _BLOCK_TAG.sub(" ", _UNSEEN.sub(" ", text))) if "<" in text else text


def as_list(value: Any) -> list[Any]:
    """The values of a cell that may hold one or several; lists within it are kept as such.

    A text is read as JSON, as Python or numpy print a list, or as bare words in brackets.
    """
    if isinstance(value, str):
        value = from_text(value)
    if hasattr(value, "tolist"):  # numpy's
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [item for item in value if isinstance(item, (list, tuple, dict, bytes)) or not is_empty(item)]
    return [value] if isinstance(value, (dict, bytes)) or not is_empty(value) else []


def flat(values: list[Any]) -> list[Any]:
    """The values of nested lists, one after another."""
    return [
        item for value in values for item in (flat(as_list(value)) if isinstance(value, (list, tuple)) else [value])
    ]


def from_text(text: str) -> Any:
    """The list or dictionary that a text spells; the text itself where it spells none, or one too long or too deep."""
    stripped = text.strip()
    closing = _CLOSING.get(stripped[:1])
    if closing is None or not stripped.endswith(closing) or len(stripped) > MAX_LIST_CHARACTERS:
        return text
    if stripped[0] == "a" and not stripped.startswith("array("):
        return text
    try:
        value = json.loads(stripped)
        return text if is_too_deep(value) else value
    except (ValueError, RecursionError):
        pass
    printed = _as_python(stripped)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of a single backslash, as in 'images\red.jpg'
            value = ast.literal_eval(printed)
            if isinstance(value, set):  # in the order in which it was written
                value = ast.literal_eval(f"[{printed[1:-1]}]")
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        value = None
    if isinstance(value, (list, tuple, dict)):
        return text if is_too_deep(value) else value
    bare = re.fullmatch(r"[\[{]([^\[\]{}'\":]*)[\]}]", stripped)
    if bare is None:
        return text
    if "," in bare[1]:
        return [part.strip() for part in bare[1].split(",")]
    return [part.removesuffix(".") for part in bare[1].split()]  # numpy prints 12.0 as 12.


def is_too_deep(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether more than `MAX_DEPTH` lists and objects stand within each other."""
    if not isinstance(value, (list, tuple, dict)):
        return False
    members = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(is_too_deep(member, depth - 1) for member in members)


def _as_python(text: str) -> str:
    brackets: list[bool] = []  # whether each one that is open is Python's, or opens a call such as array(

    def change(printed: re.Match[str]) -> str:
        if printed[1]:
            return f"{printed[1]}, " if printed[2] else printed[1]
        if printed[0] == ")":
            return ")" if not brackets or brackets.pop() else ""
        if printed[0].endswith("("):
            brackets.append(printed[0] == "(")
            return "(" if brackets[-1] else ""
        return "None" if printed[0] in ("nan", "null") else ""

    return _PRINTED.sub(change, text)


def to_split(value: Any) -> str:
    """train or test; train where the cell is empty.

    Raises:
        RecordError: reason `bad_split`.
    """
    name = to_text(value).strip().casefold()
    if not is_empty(name) and name not in SPLIT_NAMES:
        raise RecordError("bad_split", f"split {name!r:.60} is neither train nor test")
    return SPLIT_NAMES.get(name, "train")
