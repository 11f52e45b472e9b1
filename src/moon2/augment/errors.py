"""How augmentation fails: as a whole, or on one product."""

from moon2.errors import UserError


class AugmentationError(UserError):
    """A catalog cannot be augmented; the run ends with this line: what, where and what to do."""


class ProviderError(UserError):
    """A provider failed on a product, as "code: one line"; when it fails on many in a row, the run ends."""


class ProductError(UserError):
    """A product is at fault, not its provider, as "code: one line"; the product goes on without the augmentation."""
