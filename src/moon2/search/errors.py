"""The error of an index."""

from moon2.errors import UserError


class ProductIndexError(UserError):
    """An index cannot be used; one line that says why and what to do."""
