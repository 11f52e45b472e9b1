"""Product ids of a log, matched with those of the catalog."""

from __future__ import annotations

import pytest

from moon2.catalog.importing.id_matching import IdMatcher

SHOP = {"12", "13.0", "00045", "1.23E+12", "AB 7", "A,9", "7|x", "sku-b"}


@pytest.mark.parametrize("cell", [["a", "b"], '["a", "b"]', "a,b", "a; b", "a b", "a|b|a"])
def test_ids_are_read_however_they_are_listed(cell: object) -> None:
    assert IdMatcher({"a", "b", "the red one"}).read(cell) == (("a", "b"), ())


def test_an_id_may_contain_separators() -> None:
    matcher = IdMatcher(SHOP)
    assert matcher.read("AB 7") == (("AB 7",), ())
    assert matcher.read("AB 7;12") == (("AB 7", "12"), ())
    assert matcher.read("12, A,9 7|x | 00045") == (("12", "A,9", "7|x", "00045"), ())
    assert matcher.read("12 nothing 7|x") == (("12", "7|x"), ("nothing",))
    # "7 8" and "9" or "7", "8" and "9"? The cell is not read by guess.
    assert IdMatcher({"7", "8", "7 8", "9"}).read("7 8;9") == ((), ("7 8;9",))


@pytest.mark.parametrize(
    ("written", "product", "change"),
    [
        ("12.0", "12", "removing '.0'"),
        ("12,00", "12", "removing '.0'"),
        ("13", "13.0", "removing '.0'"),
        ("45", "00045", "removing leading zeros"),
        (45.0, "00045", "removing leading zeros"),
        ("'00045", "00045", "removing quotes"),
        ('="00045"', "00045", "removing quotes"),
        ("1230000000000", "1.23E+12", "writing out scientific notation"),
        ("SKU-B", "sku-b", "ignoring case"),
    ],
)
def test_what_a_spreadsheet_did_to_an_id_is_undone_and_counted(written: object, product: str, change: str) -> None:
    matcher = IdMatcher(SHOP)
    assert matcher.read([written, written]) == ((product,), ())
    assert matcher.summary() == [f"product ids matched after {change}: 1"]


def test_an_exact_match_wins_and_nothing_is_guessed() -> None:
    matcher = IdMatcher({"12", "0012", "12.0", "1230000000017", "AB-7"})
    assert matcher.read("12 0012 12.0") == (("12", "0012", "12.0"), ())
    assert matcher.read("012") == ((), ("012",))
    assert not matcher.matched
    assert matcher.explain("012").startswith("product '012' is not in the catalog; did you mean '")
    # Excel has rounded it: the digits are lost, so the one product that it may be is only named.
    assert matcher.explain("1.23E+12") == "product '1.23E+12' is not in the catalog; did you mean '1230000000017'?"
    assert matcher.find("1.23E+12") is None
    assert matcher.explain("ab7") == "product 'ab7' is not in the catalog; did you mean 'AB-7'?"
    assert matcher.explain("gone") == "product 'gone' is not in the catalog"
