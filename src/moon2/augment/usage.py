"""How much a model was asked: requests, retries and tokens, counted by the providers that ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Usage:
    """Counts of one provider since it was made.

    Attributes:
        requests: requests sent, retries among them; for a local model, questions put to it.
        retries: requests sent again after a failure or a reply that could not be used.
        tokens_in: tokens read, as the server counts them.
        tokens_out: tokens written.
    """

    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
