"""What became of a product that a search showed: bought, clicked, left, or graded, in the words of any shop's log."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from moon2.catalog.importing.cells import to_text
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.usual_names import plain_name
from moon2.catalog.schema import CatalogError
from moon2.records import RecordError


class Outcome(IntEnum):
    """What became of a product shown. Of several rows, the highest counts."""

    SHOWN = 0
    VIEWED = 1
    """Shown, in a log that also has clicks; otherwise a visit to the product's page, which is a click."""
    OTHER = 2
    """Something else happened, or it is not known what."""
    CLICKED = 3
    """Interest without a purchase: a click, a cart, a wish list."""
    BOUGHT = 4


class Judgement(NamedTuple):
    """What a log says about one product shown for one query."""

    outcome: Outcome
    grade: float | None = None

    def joined(self, other: Judgement) -> Judgement:
        """What two rows say together."""
        grades = [grade for grade in (self.grade, other.grade) if grade is not None]
        return Judgement(max(self.outcome, other.outcome), max(grades, default=None))


# Without case, spaces and punctuation.
_EVENTS = {
    Outcome.BOUGHT: "purchase purchases purchased buy buys bought order orders ordered orderplaced placeorder "
    "ordercompleted completeorder transaction transactions conversion convert converted sale sold paid itempurchased "
    "completepurchase kauf gekauft bestellung achat achete commande compra comprado pedido acquisto ordine",
    Outcome.CLICKED: "click clicks clicked itemclick productclick selectitem select tap viewitem viewcontent detail "
    "productdetail productview pageview pv cart addtocart addedtocart cartadd atc basket addtobasket begincheckout "
    "checkout wishlist addtowishlist favorite favourite fav save like removefromcart return refund klick warenkorb "
    "clic panier carrito",
    Outcome.VIEWED: "view views viewed",
    Outcome.SHOWN: "impression impressions imp shown show display displayed exposure exposed served seen viewitemlist "
    "searchresult searchresults noclick nopurchase notpurchased notbought notclicked skip skipped ignored none "
    "einblendung affichage impresion",
}
EVENTS = {name: outcome for outcome, names in _EVENTS.items() for name in names.split()}
_YES = frozenset(
    ["1", "true", "yes", "y", "t", "x", "ja", "oui", "si", "sì", "sí", "wahr", "vrai", "verdadero", "✓", "✔"]
)
_EMPTY = frozenset(["-", "null", "none", "nan", "na", "n/a"]) | {""}
_NO = frozenset(["0", "false", "no", "n", "f", "nein", "non", "falsch", "faux", "falso"]) | _EMPTY
# What databases and spreadsheets write for no date: 0 as a day.
_NO_DATE = re.compile(r"(?:0000-00-00|1899-12-30|1900-01-00|0?0[./]0?0[./]0000|12/30/1899|30\.12\.1899|1/0/1900)(?!\d)")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = r"(?:[0-2]?\d|3[01])"
_DATE = re.compile(
    rf"(?:\d{{4}}[-/.][01]?\d[-/.]{_DAY}|{_DAY}[-/.]{_DAY}[-/.](?:\d{{4}}|\d\d)|"
    rf"{_MONTH} {_DAY},? \d{{4}}|{_DAY}\.? {_MONTH},? \d{{4}})(?!\.?\d)"
)
# Only their order within one log counts.
_GRADES = {
    "e": 3.0, "exact": 3.0, "s": 2.0, "substitute": 2.0, "c": 1.0, "complement": 1.0, "i": 0.0, "irrelevant": 0.0,
    "perfect": 4.0, "excellent": 3.0, "good": 2.0, "fair": 1.0, "bad": 0.0, "highlyrelevant": 3.0, "relevant": 2.0,
    "partial": 1.0, "partiallyrelevant": 1.0, "somewhatrelevant": 1.0, "notrelevant": 0.0,
}  # fmt: skip
_CLICKS_ARE = {"neither": "neither positive nor negative", "positive": "positive"}
_LETTERS = frozenset("esci")
# A scale has few grades; a column with more holds something else, such as the scores of a search engine.
MAX_GRADES = 20


def to_flag(value: Any) -> bool | None:
    """Whether a cell says yes: a flag, a quantity above 0, an event or its date; None if it is none of them."""
    text = to_text(value).strip().casefold()
    if text in _YES or text in _NO:
        return text in _YES
    try:
        return float(text.replace(",", ".")) > 0
    except ValueError:
        pass
    if plain_name(text) in EVENTS:
        return EVENTS[plain_name(text)] is not Outcome.SHOWN
    if _NO_DATE.match(text):
        return False
    return True if _DATE.match(text) else None


def to_grade(value: Any) -> float | None:
    """A grade as a number: 0 to 4, E, S, C, I, exact to irrelevant, perfect to bad; None if it is none of them."""
    text = to_text(value).strip().casefold()
    try:
        grade = float(text.replace(",", "."))
        return grade if math.isfinite(grade) else None
    except ValueError:
        return _GRADES.get(plain_name(text))


class OutcomeReader:
    """Reads the outcome of each row of one log, and then decides which outcomes are positive and which negative.

    Attributes:
        events: how often the log names each event that is not known.
    """

    def __init__(self, mapping: LogMapping, where: str) -> None:
        self.mapping, self.where = mapping, where
        self.outcomes: Counter[Outcome] = Counter()
        self.grades: Counter[float] = Counter()
        self.events: Counter[str] = Counter()
        self.first_unread = ""
        self._letters: set[str] = set()
        self._not_words: set[str] = set()
        self.highest, self.lowest = float("inf"), float("-inf")
        names = (mapping.positive_if or "").split(",") if mapping.event else []
        self._positive_events = {plain_name(name) for name in names if name.strip()}

    @property
    def has_columns(self) -> bool:
        """Whether any column says what became of a product; otherwise every row is a purchase."""
        return bool(self.mapping.purchased or self.mapping.clicked or self.mapping.event or self.mapping.grade)

    def read(self, row: Mapping[str, Any]) -> Judgement:
        """What a row says.

        Raises:
            RecordError: reasons `bad_flag`, `bad_grade`.
        """
        mapping = self.mapping
        outcome = Outcome.SHOWN if mapping.purchased or mapping.clicked or mapping.event else Outcome.OTHER
        for columns, yes in ((mapping.clicked, Outcome.CLICKED), (mapping.purchased, Outcome.BOUGHT)):
            for column in (columns,) if isinstance(columns, str) else columns or ():
                flag = to_flag(row.get(column)) if column else False
                if flag is None:
                    self._refuse("bad_flag", column, row, "neither a flag such as 1 and 0 nor a quantity")
                outcome = max(outcome, yes) if flag else outcome
        if mapping.event:
            outcome = max(outcome, self._event(to_text(row.get(mapping.event)).strip()))
        grade = self._grade(row, mapping.grade) if mapping.grade else None
        self.outcomes[outcome] += 1
        if grade is not None:
            self.grades[grade] += 1
        return Judgement(outcome, grade)

    def decide(self, *, grade_is_guessed: bool = False, lowest_is_negative: bool = True) -> str:
        """Sets what counts as positive, once all rows are read; returns that in words.

        Raises:
            CatalogError: it is unclear what the log says; the message names the option that tells.
        """
        mapping, where = self.mapping, self.where
        if not self.has_columns:
            return "every row is a purchase"
        if self._letters and self._not_words:
            values = sorted(self._letters | self._not_words)
            raise CatalogError(
                f"{where}: column {mapping.grade!r} holds {', '.join(values[:8])}, and letters are grades only if they "
                f"are all E, S, C or I; write numbers instead, the highest for the best"
            )
        if not self.outcomes:
            if self.first_unread:
                raise CatalogError(
                    f"{where}: {self.first_unread}; name the right column, or give --log_columns.positives if it holds "
                    f"the ids of the products bought"
                )
            return "no rows"
        words = []
        if self.grades:
            words.append(self._decide_grades(grade_is_guessed, lowest_is_negative))
        bought, clicked = self.outcomes[Outcome.BOUGHT], self.outcomes[Outcome.CLICKED]
        if not clicked:
            clicked = self.outcomes[Outcome.VIEWED]
        if not bought and not self.grades:
            self._refuse_without_purchase(bool(clicked))
        if bought:
            words.append(f"purchases {bought:,}")
        if clicked:
            words.append(f"clicks and carts {clicked:,}, which are {_CLICKS_ARE[mapping.click_is]}")
        if self.events:
            names = ", ".join(f"{name!r} {count:,}" for name, count in self.events.most_common(5))
            words.append(f"events that are not known count as neither: {names}")
        return "; ".join(words)

    def is_positive(self, judgement: Judgement) -> bool:
        """Whether the product answers the query."""
        if judgement.grade is not None and judgement.grade >= self.highest:
            return True
        return judgement.outcome is Outcome.BOUGHT or (
            self.mapping.click_is == "positive" and self._is_click(judgement.outcome)
        )

    def is_negative(self, judgement: Judgement) -> bool:
        """Whether the product was shown and left."""
        if self._is_click(judgement.outcome) or self.is_positive(judgement):
            return False
        if judgement.grade is not None:
            return judgement.grade <= self.lowest
        return judgement.outcome in (Outcome.SHOWN, Outcome.VIEWED)

    def without_positive(self, judgements: Sequence[Judgement]) -> str:
        """Why a query has no positive, in words."""
        clicked = sum(self._is_click(judgement.outcome) for judgement in judgements)
        if not clicked:
            return f"none of its {len(judgements):,} products is positive"
        option = "; --log_columns.click_is positive makes a click an answer"
        return f"{clicked:,} of its {len(judgements):,} products clicked and none bought{option}"

    def _is_click(self, outcome: Outcome) -> bool:
        views_are_clicks = not self.outcomes[Outcome.CLICKED]
        return outcome is Outcome.CLICKED or (outcome is Outcome.VIEWED and views_are_clicks)

    def _event(self, name: str) -> Outcome:
        plain = plain_name(name)
        if plain in self._positive_events:
            return Outcome.BOUGHT
        if plain not in EVENTS:
            self.events[name] += 1
            return Outcome.OTHER
        outcome = EVENTS[plain]
        return Outcome.OTHER if outcome is Outcome.BOUGHT and self._positive_events else outcome

    def _grade(self, row: Mapping[str, Any], column: str) -> float | None:
        text = to_text(row.get(column)).strip()
        plain, grade = plain_name(text), to_grade(text)
        if plain in _LETTERS and grade is not None:
            self._letters.add(text)
        elif text.casefold() not in _EMPTY and plain not in _GRADES and len(self._not_words) < MAX_GRADES:
            self._not_words.add(f"{' '.join(text.split()):.20}")
        if grade is None and text.casefold() not in _EMPTY:
            self._refuse("bad_grade", column, row, "no grade such as 0 to 4 or E, S, C, I")
        return grade

    def _decide_grades(self, is_guessed: bool, lowest_is_negative: bool) -> str:
        mapping, lowest, highest = self.mapping, min(self.grades), max(self.grades)
        column = f"{self.where}: column {mapping.grade!r}"
        if is_guessed and set(self.grades) <= {0.0, 1.0}:
            raise CatalogError(
                f"{column} holds 0 and 1; say what 1 means with --log_columns.purchased, .clicked or .grade "
                f"{mapping.grade}"
            )
        if mapping.positive_if is not None and not mapping.event:
            threshold = to_grade(mapping.positive_if)
            if threshold is None:
                raise CatalogError(
                    f"{self.where}: --log_columns.positive_if is {mapping.positive_if!r}; write a grade of column "
                    f"{mapping.grade!r}"
                )
            self.highest = threshold
        elif len(self.grades) > MAX_GRADES:
            raise CatalogError(
                f"{column} holds {len(self.grades):,} different numbers, which is no scale of grades; say from which "
                f"on a product is relevant: --log_columns.positive_if"
            )
        else:
            self.highest = highest
        has_negatives = lowest_is_negative and lowest < self.highest
        self.lowest = lowest if has_negatives else float("-inf")
        words = f"grades {lowest:g} to {highest:g}, positive from {self.highest:g}"
        return f"{words}, negative at {lowest:g}" if has_negatives else words

    def _refuse_without_purchase(self, has_clicks: bool) -> None:
        mapping, where = self.mapping, self.where
        if has_clicks:
            if mapping.click_is == "positive":
                return
            raise CatalogError(
                f"{where}: has clicks and not one purchase; to learn from clicks, give --log_columns.click_is positive"
            )
        if mapping.event:
            names = ", ".join(name for name, _ in self.events.most_common(8)) or "impressions only"
            raise CatalogError(
                f"{where}: not one event in column {mapping.event!r} is known as a purchase ({names}); name those that "
                f"are with --log_columns.positive_if NAME"
            )
        column = mapping.purchased or mapping.grade
        raise CatalogError(
            f"{where}: not one row is a purchase by column {column!r}; name another with --log_columns.purchased"
        )

    def _refuse(self, reason: str, column: str, row: Mapping[str, Any], what: str) -> None:
        message = f"column {column!r} holds {row.get(column)!r:.60}, which is {what}"
        self.first_unread = self.first_unread or message
        raise RecordError(reason, message)
