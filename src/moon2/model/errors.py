"""What goes wrong with an encoder."""

from moon2.errors import UserError


class EncoderError(UserError):
    """An encoder cannot be loaded, or cannot embed an item; the message says which, why, and what to do."""
