"""Which column of a search log means what; columns that are not named are found by their usual names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from moon2.catalog.importing.columns import UsualNames, check_columns, name_columns, plain_name
from moon2.catalog.schema import CatalogError

USUAL_LOG_NAMES = {
    "id": "queryid searchid id",
    "text": "querytext query text searchterm searchterms keywords",
    "image": "queryimage queryimageurl queryimagepath",
    "product_id": "queryimageproductid queryproductid",
    # "purchased" and "bought" may be a flag beside the product's id, so they come last.
    "positives": "positiveids positives purchasedid purchasedids relevantids positiveid boughtid boughtids purchases "
    "purchaseid purchaseids clickedid productid purchased bought",
    "negatives": "negativeids negatives ignoredids negativeid ignoredid",
    "exposures": "exposures exposureids exposedids exposedid exposed shownids shown impressionids",
    "split": "split",
}


@dataclass(frozen=True)
class LogMapping:
    """Which column of a search log means what; None: found by its usual name, "": there is none."""

    id: str | None = None
    """Id of the query; without it, rows are numbered."""
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
    named or found; a column called `exposures` is read this way even if named as `negatives`."""
    split: str | None = None
    """train or test."""

    def resolve(self, columns: Sequence[str], where: str) -> LogMapping:
        """The mapping with every field set: open ones by the usual names, or "" if no column fits.

        Raises:
            CatalogError: a named column is missing, or no column is the query, or none is the product bought.
        """
        usual = UsualNames(columns)
        fields = usual.fill(self, USUAL_LOG_NAMES)
        taken = {column for name, column in fields.items() if name != "exposures"}
        if self.exposures is None:
            # Exposures contain the purchases too: read as negatives, they would contradict every row.
            if plain_name(fields["negatives"]) in USUAL_LOG_NAMES["exposures"].split():
                fields["exposures"] = fields["negatives"]
            elif fields["negatives"] or self.negatives == "" or fields["exposures"] in taken:
                fields["exposures"] = ""
        if fields["negatives"] == fields["exposures"]:
            fields["negatives"] = ""
        check_columns(fields, columns, where)
        if not fields["positives"]:
            raise CatalogError(f"{where}: which column is the product bought (positives=…)? {name_columns(columns)}")
        if not fields["text"] and not fields["image"] and not fields["product_id"]:
            raise CatalogError(f"{where}: which column is the query's words (text=…)? {name_columns(columns)}")
        return replace(self, **fields)


USUAL_LOG_COLUMNS = LogMapping()
"""Every column by its usual name."""
