"""Cells: text, nothing, and lists, as databases, spreadsheets, Python and the web write them."""

from __future__ import annotations

import pytest

from moon2.catalog.importing.cells import as_list, is_empty, to_split, to_text, to_words
from moon2.records import RecordError


def test_cells_become_text() -> None:
    assert [to_text(cell) for cell in (None, float("nan"), 3.0, 3.5, "x", b"caf\xc3\xa9")] == [
        *("", "", "3", "3.5", "x", "café")
    ]


@pytest.mark.parametrize(
    "cell",
    [
        *["", " ", None, float("nan"), "NULL", "null", "nan", "NaN", "None", "N/A", "n/a", "-", "--", "#N/A", "NA"],
        *["\\N", "k. A.", "k.A.", "n/v", "n. v.", "s/d", "Keine Angabe", "não informado", "brak", "nie dotyczy", "无"],
    ],
)
def test_words_for_nothing_are_nothing(cell: object) -> None:
    assert is_empty(cell)
    assert to_words(cell) == ""
    assert as_list(cell) == []


@pytest.mark.parametrize(
    "cell",
    ["0", 0, "Na", "no", "nano", "-5", "none of these", False, "ka", "nd", "K.A. Müller", "S/M", "not applicable here"],
)
def test_other_words_are_something(cell: object) -> None:
    assert not is_empty(cell)


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("Men &gt; Shirts &amp; Tops", "Men > Shirts & Tops"),
        ("<p>Airy <b>linen</b></p><p>shirt&nbsp;&#233;</p>", "Airy linen shirt é"),
        ("&lt;p&gt;Soft&lt;/p&gt;<br/>warm", "Soft warm"),
        ("H<sub>2</sub>O<li>a</li><LI class='x'>b</LI>", "H2O a b"),
        ("<!-- old --><style>p {color: red}</style>Lamp", "Lamp"),
        ("Caf&amp;eacute;", "Café"),
        # No HTML, although it looks like it.
        ("a < b", "a < b"),
        ("Size <M, >L", "Size <M, >L"),
        ("I <3 lamps", "I <3 lamps"),
        ("AT&T cut&region", "AT&T cut&region"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_html_is_decoded(html: str, words: str) -> None:
    assert to_words(html) == words


@pytest.mark.parametrize(
    "cell",
    [
        ["a", "b c"],
        ("a", None, "b c"),
        '["a", "b c"]',
        '["a", null, NaN, "b c", ""]',
        "['a', 'b c']",
        "('a', 'b c')",
        "['a' 'b c']",
        "['a'\n 'b c']",
        "['a', nan, 'b c', 'NULL']",
        "array(['a', 'b c'], dtype=object)",
        "[np.str_('a'), np.str_('b c')]",
        "{'a', 'b c'}",
        "[a, b c]",
        "{a,b c}",
    ],
)
def test_lists_are_read_however_they_are_printed(cell: object) -> None:
    assert as_list(cell) == ["a", "b c"]


def test_other_lists_are_read() -> None:
    assert as_list("[12 45.]") == ["12", "45"]
    assert as_list("('P3',)") == ["P3"]
    assert as_list("['it\\'s (1)', \"x\"]") == ["it's (1)", "x"]
    assert as_list("[['a', 'b'], ['c']]") == [["a", "b"], ["c"]]
    assert as_list("{'colour': 'red'}") == [{"colour": "red"}]
    assert as_list("[]") == []


@pytest.mark.parametrize("cell", ["[" * 100_000, "[" * 1_000 + "]" * 1_000, "(new)", "[Sale] Shoes", "{x: y}", "array"])
def test_text_that_only_looks_like_a_list_stays_text(cell: str) -> None:
    assert as_list(cell) == [cell]


def test_splits_go_by_several_names() -> None:
    assert [to_split(cell) for cell in (None, "NULL", "Train", "dev", "validation")] == ["train"] * 3 + ["test"] * 2
    with pytest.raises(RecordError, match="'holdout' is neither train nor test"):
        to_split("holdout")


def test_of_an_object_the_words_are_its_value_or_its_first_text() -> None:
    cells = [{"en": "Red shirt", "de": "Rotes Hemd"}, {"lang": "en", "value": "Red shirt"}, {"en": None, "de": "Hemd"}]
    assert list(map(to_words, cells)) == ["Red shirt", "Red shirt", "Hemd"]
    assert to_words(cells) == "Red shirt" and to_words({}) == ""
