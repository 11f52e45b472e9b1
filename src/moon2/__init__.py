"""moon2: one embedding space in which a product's text, its photos, or both can stand for it.

The method is that of MOON2.0, arXiv 2511.12449.
"""

from typing import TYPE_CHECKING

from moon2.records import Interaction, Product, Query, RecordError

if TYPE_CHECKING:
    from moon2.model.encoder import Encoder

    __version__: str

__all__ = ["Encoder", "Interaction", "Product", "Query", "RecordError", "__version__"]


def __getattr__(name: str) -> object:
    # torch takes seconds to import, and records, catalogs and `moon2 --help` do without it.
    if name == "Encoder":
        from moon2.model.encoder import Encoder

        return Encoder
    if name == "__version__":  # the number stands in pyproject.toml alone
        from importlib.metadata import version

        return version("moon2")
    raise AttributeError(f"module 'moon2' has no attribute {name!r}")
