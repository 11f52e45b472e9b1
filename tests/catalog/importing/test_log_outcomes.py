"""What became of a product shown, in the words of any shop's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.log_outcomes import OutcomeReader, to_flag, to_grade
from moon2.catalog.schema import CatalogError
from moon2.records import RecordError


def verdicts(values: Sequence[Any], **mapping: Any) -> str:
    """For each value of the only column "it": + positive, - negative, o neither."""
    reader = OutcomeReader(LogMapping(**{n: "it" if v is ... else v for n, v in mapping.items()}), "log.csv")
    judgements = [reader.read({"it": value}) for value in values]
    reader.decide()
    return "".join("+" if reader.is_positive(j) else "-" if reader.is_negative(j) else "o" for j in judgements)


@pytest.mark.parametrize("yes", ["1", 1, True, "true", "Yes", "x", "ja", "2", "2.0", "2024-05-01T10:00:00Z", "bought"])
@pytest.mark.parametrize("no", ["0", 0, False, "false", "no", "", None, "NULL", "-1", "not_purchased"])
def test_flags_quantities_and_dates_say_whether_it_was_bought(yes: object, no: object) -> None:
    assert verdicts([yes, no], purchased=...) == "+-"


@pytest.mark.parametrize(
    "date",
    ["2024/01/05", "5.1.24", "05-01-2024", "2024-1-5", "1/5/24 10:00", "Jan 5, 2024", "5 Jan 2024"],
)
@pytest.mark.parametrize("no_date", ["0000-00-00", "0000-00-00 00:00:00", "1899-12-30", "1900-01-00"])
def test_dates_of_any_form_say_yes_and_dates_of_zeros_no(date: str, no_date: str) -> None:
    assert verdicts([date, no_date], purchased=...) == "+-"


def test_what_is_no_flag_is_not_read_as_one() -> None:
    assert [to_flag(cell) for cell in ("P12", "12-34-5678", "1.2.34.5", "may 5")] == [None] * 4
    with pytest.raises(RecordError, match="column 'it' holds 'P12', which is neither a flag such as 1 and 0"):
        OutcomeReader(LogMapping(purchased="it"), "log.csv").read({"it": "P12"})


@pytest.mark.parametrize("bought", ["purchase", "ORDER", "Transaction", "conversion", "order_placed", "buy", "Kauf"])
@pytest.mark.parametrize("shown", ["impression", "Impressions", "view_item_list", "shown"])
def test_events_in_usual_spellings(bought: str, shown: str) -> None:
    assert verdicts([bought, shown, "click", "add_to_cart", "wiggle"], event=...) == "+-ooo"


def test_a_view_is_an_impression_where_clicks_have_events_of_their_own_and_else_a_visit() -> None:
    assert verdicts(["view", "click", "purchase"], event=...) == "-o+"
    assert verdicts(["view", "impression", "transaction"], event=...) == "o-+"


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ([0, 1, 2, 3], "-oo+"),
        (["0", "4", "1", "2", "4.0"], "-+oo+"),
        (["1", "2.33", "3"], "-o+"),
        (["E", "S", "C", "I", ""], "+oo-o"),
        (["exact", "Substitute", "complement", "irrelevant"], "+oo-"),
        (["Exact", "Partial", "Irrelevant"], "+o-"),
        (["perfect", "excellent", "good", "fair", "bad"], "+ooo-"),
        ([3, 3], "++"),
    ],
)
def test_the_highest_grade_is_positive_and_the_lowest_negative(grades: list[Any], expected: str) -> None:
    assert verdicts(grades, grade=...) == expected


def test_positive_if_moves_the_threshold_or_names_events() -> None:
    assert verdicts([0, 1, 2, 3], grade=..., positive_if="2") == "-o++"
    assert verdicts(["E", "S", "C", "I"], grade=..., positive_if="S") == "++o-"
    assert verdicts(["4", "3", "1"], event=..., positive_if="4, 3") == "++o"
    assert verdicts([n / 30 for n in range(31)], grade=..., positive_if="0.5").count("+") == 16


def test_click_is_positive_only_by_request() -> None:
    assert verdicts(["click", "impression"], event=..., click_is="positive") == "+-"
    assert verdicts(["1", "0"], clicked=..., click_is="positive") == "+-"


@pytest.mark.parametrize(
    ("values", "mapping", "message"),
    [
        (["click", "impression"], {"event": ...}, "clicks and not one purchase.*--log_columns.click_is positive"),
        (["view", "view"], {"event": ...}, "--log_columns.click_is positive"),
        (["1", "0"], {"clicked": ...}, "--log_columns.click_is positive"),
        (["foo", "bar"], {"event": ...}, r"known as a purchase \(foo, bar\).*--log_columns.positive_if NAME"),
        (["impression"], {"event": ...}, "--log_columns.positive_if"),
        (["0", "0"], {"purchased": ...}, "not one row is a purchase by column 'it'.*--log_columns.purchased"),
        ([n / 30 for n in range(31)], {"grade": ...}, "31 different numbers.*--log_columns.positive_if"),
        ([1, 2], {"grade": ..., "positive_if": "high"}, "positive_if is 'high'; write a grade"),
    ],
)
def test_what_is_unclear_is_refused_in_one_line_that_names_the_option(
    values: list[Any], mapping: dict[str, Any], message: str
) -> None:
    with pytest.raises(CatalogError, match=message) as refused:
        verdicts(values, **mapping)
    assert "\n" not in str(refused.value)


def test_what_is_no_grade() -> None:
    assert [to_grade(value) for value in ("nan", "inf", "best", None, "2,5")] == [None, None, None, None, 2.5]
