"""The README of a trained encoder: what it is, what it learned from, how to use it."""

from __future__ import annotations

from collections.abc import Sequence

from moon2.catalog.store import Catalog
from moon2.recipe import Recipe


def model_card(recipe: Recipe, catalog: Catalog, triplets: int, dimensions: Sequence[int]) -> str:
    """A model card in the hub's form, Markdown under a YAML header.

    Args:
        recipe, catalog: of the run.
        triplets: that were learned from.
        dimensions: lengths at which the vectors were trained, ascending.
    """
    start = f", on from `{recipe.init}`" if recipe.init else ""
    return f"""---
library_name: moon2
tags: [product-search, multimodal-retrieval, embeddings, mixture-of-experts]
---

# A moon2 product encoder

Text, images or both of a product become one vector in one space (MOON2.0, arXiv 2511.12449).
Backbone `{recipe.backbone.name}`, {recipe.experts.count} experts of which {recipe.experts.active} work on a token.
Trained for {recipe.training.steps} steps of {recipe.training.batch_size} triplets{start},
from {triplets} triplets over the {len(catalog)} products of the catalog `{catalog.folder.name}`.
Of a product it reads the images and, as its text, {", ".join(recipe.input.fields)}.

```python
from moon2 import Encoder, Product
encoder = Encoder.from_pretrained("this folder")
vectors = encoder.encode([Product(id="1", title="Navy shirt", images=["shirt.jpg"])])
encoder.encode(["navy shirt"])  # the same space
```
{_cutting(dimensions)}
## Recipe

```yaml
{recipe.to_yaml()}```
"""


def _cutting(dimensions: Sequence[int]) -> str:
    *shorter, whole = dimensions
    if not shorter:
        return ""
    return f"""
Its vectors have {whole} numbers. The first {" or ".join(map(str, shorter))} of them were trained to do on their own, at
unit length again: `encoder.encode(items, dimension={shorter[0]})`, in sentence-transformers
`SentenceTransformer(folder, truncate_dim={shorter[0]})`.
"""
