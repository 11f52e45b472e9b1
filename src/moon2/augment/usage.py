"""What a model was asked and what it cost: requests, retries, tokens and money, counted by the providers that ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Usage:
    """Counts of one provider since it was made.

    Attributes:
        price_in: currency per million tokens read.
        price_out: currency per million tokens written.
        requests: requests sent, retries among them; for a local model, questions put to it.
        retries: requests sent again after a failure or a reply that could not be used.
        tokens_in: tokens read, as the server counts them.
        tokens_out: tokens written.
    """

    price_in: float = 0.0
    price_out: float = 0.0
    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def cost(self) -> float:
        """In the currency of the prices."""
        return (self.tokens_in * self.price_in + self.tokens_out * self.price_out) / 1_000_000
