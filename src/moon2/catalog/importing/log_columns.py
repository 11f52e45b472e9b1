"""Which column of a search log means what; columns that are not named are found by their usual names.

A log is wide, with one row a query and lists of products, or long, with one row a product shown. In a long log a flag,
the name of an event or a grade says what became of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from moon2.catalog.importing.columns import as_written, check_columns, name_columns
from moon2.catalog.importing.usual_names import UsualNames, plain_name, usual_names
from moon2.catalog.schema import CatalogError


@dataclass(frozen=True)
class LogMapping:
    """Which column of a search log means what; not given: found by its usual name, "": there is none."""

    id: str | None = None
    """Id of the query; without it, rows are numbered."""
    session: str | None = None
    """Id of the visit. In a long log without ids of queries, the same words in one session are one query."""
    text: str | None = None
    """The words of the query."""
    image: str | None = None
    """The shopper's image: a path, URL or bytes."""
    product_id: str | None = None
    """The product whose photo the shopper searched with."""
    positives: str | None = None
    """Bought or relevant products: one id, a list, a JSON list, or ids separated by `,` `;` `|` or spaces."""
    negatives: str | None = None
    """Products shown but not bought, written like `positives`; a row with a product in both is rejected."""
    exposures: str | None = None
    """All products shown, written like `positives`; those not bought are negatives. Used if no column of negatives is
    named or found; a column called `exposures` is read this way even if named as `negatives`. In a log with one row a
    product shown: that product."""
    purchased: str | None = None
    """In a log with one row a product shown: a flag or a quantity that says whether it was bought."""
    clicked: str | Sequence[str] | None = None
    """Flags that say whether the product shown was clicked or put into the cart; in a log with one row a query, the ids
    of the products clicked."""
    event: str | None = None
    """In a log with one row a product shown: the name of what happened, such as purchase, click or impression."""
    grade: str | None = None
    """In a log with one row a product shown: its grade, such as 0 to 4 or E, S, C, I; kept in the catalog."""
    positive_if: str | None = None
    """The least grade, or the names of the events separated by commas, that make a product positive; the highest grade
    and the usual names of a purchase when not given."""
    click_is: Literal["neither", "positive"] = "neither"
    """What a click or a cart without a purchase is: neither positive nor negative, or positive."""
    split: str | None = None
    """train or test."""

    @classmethod
    def only(cls, **columns: Any) -> LogMapping:
        """The mapping of a log whose columns are known: a field that is not named has no column."""
        names = [field.name for field in fields(cls) if field.name not in ("positive_if", "click_is")]
        return cls(**{**dict.fromkeys(names, ""), **columns})

    @property
    def is_long(self) -> bool:
        """Whether a resolved mapping reads one row a product shown."""
        return not self.positives

    def resolve(self, columns: Sequence[str], where: str) -> LogMapping:
        """The mapping with every field set: open ones by the usual names, or "" if no column fits.

        Raises:
            CatalogError: a named column is missing, or no column is the query, or none is a product.
        """
        usual, names = UsualNames(columns), usual_names("logs")
        given = replace(self, clicked=as_written(self.clicked, columns))
        fields = usual.fill(given, names)
        own = {fields[name] for name in ("id", "text", "image", "product_id", "split")}
        free = UsualNames([column for column in columns if column not in own])
        fields |= given._long(free, fields) or given._wide(free, fields, where)
        if not fields["positives"] and self.id is None:
            # In a long log, "id" numbers the rows.
            fields["id"] = usual.find(" ".join(name for name in names["id"].split() if name != "id"))
        check_columns(fields, columns, where)
        if not fields["positives"] and not fields["exposures"]:
            raise CatalogError(
                f"{where}: which column is the product bought (--log_columns.positives), or the product shown "
                f"(--log_columns.exposures)? {name_columns(columns)}"
            )
        if not fields["text"] and not fields["image"] and not fields["product_id"]:
            raise CatalogError(
                f"{where}: which column is the query's words (--log_columns.text) or its photo (--log_columns.image)? "
                f"{name_columns(columns)}"
            )
        return replace(self, **fields)

    def _long(self, usual: UsualNames, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a log with one row a product shown; empty if it is a wide one."""
        names, outcomes_named = usual_names("long logs"), any((self.purchased, self.event, self.grade))
        if fields["positives"] and not outcomes_named:
            return {}
        found = outcomes_named or any(usual.find(names[name]) for name in ("event", "grade"))
        product = (self.positives if outcomes_named else "") or usual.find(names["exposures"])
        product = product or (fields["exposures"] if found else "")
        if self.exposures and (product or found or not usual.find(usual_names("wide logs")["positives"])):
            product = self.exposures
        if not product:
            return {}
        long = usual.fill(self, {name: names[name] for name in names if name not in ("exposures", "clicked")})
        clicked = self.clicked
        if clicked is None:
            clicked = tuple(usual.find_every(names["clicked"]))
        return long | {"exposures": product, "clicked": clicked, "positives": "", "negatives": ""}

    def _wide(self, usual: UsualNames, fields: dict[str, Any], where: str) -> dict[str, Any]:
        """The fields of a log with one row a query."""
        names = usual_names("wide logs")
        wide = {name: "" for name in usual_names("long logs") if name not in ("exposures", "clicked")}
        wide |= {name: getattr(self, name) for name in ("positives", "clicked") if getattr(self, name) is not None}
        positives, negatives, exposures = (fields[name] for name in ("positives", "negatives", "exposures"))
        if not positives and self.positives is None:
            positives = usual.find(names["positives"])
        clicked = usual.find(names["clicked"]) if self.clicked is None else self.clicked
        if not positives and clicked:
            if self.click_is != "positive":
                raise CatalogError(
                    f"{where}: column {clicked!r} holds clicks, and no column holds purchases; to learn from clicks, "
                    f"give --log_columns.click_is positive"
                )
            positives, clicked = clicked, ""
        if self.exposures is None:
            # Exposures contain the purchases too: read as negatives, they would contradict every row.
            if plain_name(negatives) in usual_names("logs")["exposures"].split():
                exposures = negatives
            elif negatives or self.negatives == "" or exposures in {fields["product_id"], positives}:
                exposures = ""
        if negatives == exposures:
            negatives = ""
        return wide | {"positives": positives, "negatives": negatives, "exposures": exposures, "clicked": clicked}


USUAL_LOG_COLUMNS = LogMapping()
"""Every column by its usual name."""
