"""A shop of eight products, and an encoder so simple that every score can be foreseen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from moon2.catalog.store import Catalog, write_catalog
from moon2.encoders.protocol import EncoderAdapter
from moon2.records import Interaction, Product, Query

COLOURS = {"red": (200, 20, 20), "green": (20, 160, 20), "blue": (20, 20, 200), "white": (235, 235, 235)}
KINDS = ("shirt", "bag")


class ColourAndKindEncoder(EncoderAdapter):
    """Text: its colour and kind words. Images: the nearest colour, and a tall image is a shirt.

    Args:
        sees_colours: off, all colours are the same to it.
    """

    def __init__(self, *, sees_colours: bool = True) -> None:
        super().__init__("colour-and-kind")
        self.sees_colours = sees_colours

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> np.ndarray:
        """[n, 6] float32 of unit length."""
        words = [text.lower().split() for text in texts]
        return self._unit([[word in text for word in (*COLOURS, *KINDS)] for text in words])

    def embed_images(self, images: Sequence[Image.Image], batch_size: int = 64, role: str = "") -> np.ndarray:
        """[n, 6] float32 of unit length."""
        rows = []
        for image in images:
            pixel = np.array(image.resize((1, 1)).getpixel((0, 0)))
            colour = int(np.argmin([np.abs(pixel - other).sum() for other in COLOURS.values()]))
            kind = len(COLOURS) + (image.width >= image.height)
            rows.append([number in (colour, kind) for number in range(len(COLOURS) + len(KINDS))])
        return self._unit(rows)

    def _unit(self, rows: list[list[bool]]) -> np.ndarray:
        vectors = np.array(rows, np.float32) + 0.01
        if not self.sees_colours:
            vectors[:, : len(COLOURS)] = 0.01
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class PhraseReader(ColourAndKindEncoder):
    """Knows "red bag" and "blue bag", and no word alone."""

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> np.ndarray:
        """[n, 6] float32 of unit length."""
        return super().embed_texts([text if " " in text else "" for text in texts], batch_size, role)


def photo(colour: str, kind: str) -> bytes:
    """A one-coloured PNG, tall for a shirt."""
    file = io.BytesIO()
    Image.new("RGB", (20, 30) if kind == "shirt" else (30, 20), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


def twins() -> tuple[list[Product], list[Interaction]]:
    """Two products of each kind in red and in blue; every query shows one product's photo and wants its twin."""
    products, interactions = [], []
    for kind in KINDS:
        for colour in ("red", "blue"):
            ids = (f"{kind}-{colour}-1", f"{kind}-{colour}-2")
            products += [
                Product(
                    id,
                    f"{colour} {kind}",
                    category=("Shop", kind),
                    attributes={"colour": colour},
                    images=(photo(colour, kind),),
                )
                for id in ids
            ]
            query = Query(f"q-{kind}-{colour}", f"{colour} {kind}", product_id=ids[0])
            interactions.append(Interaction(query, (ids[1],)))
    return products, interactions


def write_test_catalog(
    folder: Path, products: Sequence[Product], interactions: Sequence[Interaction], split: str = "test"
) -> Catalog:
    """The catalog `folder`/shop with these products and test queries."""
    log = {"test": interactions} if interactions else None
    return write_catalog(folder / "shop", {split: products}, log, title="Twins")
