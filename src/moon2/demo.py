"""`moon2 demo`: from nothing to a trained, scored encoder and a report, on a generated shop, with no network.

The demo owns its folder, which is a run like any other with the shop beside the model; `demo.json` marks it. A demo
that was stopped goes on where it was, one that is done starts over.
"""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moon2.catalog.store import Catalog, CatalogError
from moon2.evaluate.format import to_text
from moon2.evaluate.result import Evaluation
from moon2.evaluate.test_set import EvaluationError
from moon2.files import write_atomic, write_text_atomic
from moon2.recipe import (
    AlignmentSettings,
    BackboneSettings,
    ExpertSettings,
    ImageTransformSettings,
    InputSettings,
    Recipe,
    RecipeError,
    TinySettings,
    TrainingSettings,
    load_recipe,
)
from moon2.records import Query
from moon2.run_folder import RunError, RunFolder

if TYPE_CHECKING:
    from moon2.evaluate.report.examples import Card
    from moon2.model.encoder import Encoder
    from moon2.search.index import Index

PRODUCTS, QUERIES, SEED = 1_000, 1_200, 0
VECTORS, INDEX, PHOTOS = "vectors", "index", "photos"
"""In the demo's folder: vectors, the index of them, and photos to search with."""
HITS = 6
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoResult:
    """What a demo leaves behind: its folder and its figures. It prints as what to do next."""

    folder: Path
    evaluation: Evaluation

    def __str__(self) -> str:
        folder = shlex.quote(str(self.folder))
        return f"""{to_text(self.evaluation)}

The report, with searches and curves:  {RunFolder(self.folder).report}
The encoder:  {RunFolder(self.folder).model}
The shop:     {self.folder / "shop"}
The index:    {self.folder / INDEX}

Next, search it by words or by a photo:
   moon2 search {shlex.quote(str(self.folder / INDEX))} "striped shirt" --where "price < 50"
   moon2 search {shlex.quote(str(self.folder / INDEX))} --image {shlex.quote(str(self.folder / PHOTOS / "2.webp"))}

or in Python:
   from moon2 import Encoder
   encoder = Encoder.from_pretrained("{self.folder}")
   vectors = encoder.encode(["striped shirt", "red handbag"])
   from moon2.search.index import Index
   hits = Index.open("{self.folder / INDEX}").search("striped shirt", where="price < 50", limit=5)

or with your own products:
   moon2 import products.csv --out data/mine
   moon2 train --config recipes/tiny.yaml --data data/mine --out runs/mine
or look at one again:  moon2 evaluate {folder} --data {folder}/shop"""


def demo(*, out: Path = Path("runs/demo"), serve: bool = False) -> DemoResult:
    """Generate a shop, train on it, and show what can be found.

    Takes minutes on two cores and needs no network. It ends with a table of scores and writes report.html. Stopped
    in the middle and run again, it goes on; run again when it is done, it starts over.

    examples:
      moon2 demo
      moon2 demo --serve

    Args:
        out: folder of the demo, which it owns.
        serve: at the end serve its index, as `moon2 serve` does, until Ctrl-C.

    Raises:
        RunError: the folder holds something else than a demo.
    """
    result = run_demo(out, demo_recipe(), PRODUCTS)
    if serve:
        from moon2.serve.command import serve as serve_index

        logger.info("%s\n", result)
        serve_index(str(out / INDEX))
    return result


def demo_recipe() -> Recipe:
    """How the demo trains: the tiny backbone from nothing, in a few minutes on two cores."""
    return Recipe(
        backbone=BackboneSettings(tiny=TinySettings(vocabulary=2000, vision_width=128)),
        experts=ExpertSettings(noise=0.5),
        # The shop's photos have 80 × 80 pixels.
        input=InputSettings(max_text_tokens=48, max_pixels=6400, max_images=1),
        # The log is read eight times over; without this, images are learned by heart.
        image_transforms=ImageTransformSettings(flip=True, crop=0.1),
        alignment=AlignmentSettings(temperature_inter=0.07, temperature_intra=0.07),
        training=TrainingSettings(
            steps=300,
            batch_size=32,
            optimizer="muon",
            learning_rate=8e-3,
            warmup_steps=20,
            weight_decay=0.05,
            evaluate_every=150,
            validation_queries=100,
            save_every=50,
        ),
    )


def run_demo(out: Path, recipe: Recipe, products: int) -> DemoResult:
    """`demo` with another recipe and size of the shop."""
    started = time.monotonic()
    run = RunFolder(out)
    goes_on = _prepare(run, recipe, products)
    head = "moon2 demo, continued" if goes_on else "moon2 demo"
    logger.info("%s: a shop, an encoder for it, and a report, all in %s.", head, out)

    clock = time.monotonic()
    catalog = _shop(out / "shop", products)
    logger.info(
        "1. The shop: %s products with drawn photos, %s searches that ended in a purchase (some by mistake), and %s "
        "test queries on %s products that training never sees (%s).",
        f"{len(catalog):,}",
        f"{len(catalog.interactions('train')):,}",
        f"{len(catalog.interactions('test')):,}",
        f"{len(catalog.ids('test')):,}",
        _since(clock),
    )

    from moon2.train.prepare import untrained_encoder
    from moon2.train.train import run_training

    baseline = _read(run.baseline)
    if baseline is None:
        baseline = _score(untrained_encoder(recipe, catalog), catalog, "before training", run.baseline)
    logger.info(
        "2. Before training, a relevant product is among the first ten for %.0f of 100 queries.", _mean(baseline)
    )

    settings = recipe.training
    logger.info(
        "3. Training: %s steps of %d triplets, from random weights.", f"{settings.steps:,}", settings.batch_size
    )
    result = run_training(recipe, catalog, out, resume=True)
    logger.info("   Trained %.1f million weights (%.0f s).", result.parameters / 1e6, result.seconds)

    from moon2.evaluate.report.report import write_report
    from moon2.model.encoder import Encoder

    evaluation = _score(Encoder.from_pretrained(out), catalog, "after training", run.evaluation)
    logger.info("4. After training it is %.0f of 100.", _mean(evaluation))

    clock = time.monotonic()
    index = _index(run.path, catalog)
    searches = _searches(index, catalog, evaluation, run.path)
    logger.info("5. An index of the products, to search by words, photo or both (%s).", _since(clock))
    write_report(
        run.report,
        evaluation,
        run.read_history(),
        catalog,
        baseline=baseline,
        searches=searches,
        title="moon2 demo",
        command="moon2 demo",
    )
    _mark(run, products, finished=True)
    logger.info("6. Done (%s). All scores, in percent:\n", _since(started))
    return DemoResult(out, evaluation)


def _prepare(run: RunFolder, recipe: Recipe, products: int) -> bool:
    """Makes or clears the demo's folder; True if a demo that was stopped there goes on.

    Raises:
        RunError: it is not a demo's.
    """
    mark = run.path / "demo.json"
    if mark.is_file():
        try:
            unfinished = json.loads(mark.read_text()) == {"products": products, "finished": False}
            if unfinished and load_recipe(run.recipe) == recipe:
                return True
        except (json.JSONDecodeError, RecipeError):
            pass  # cut short by a kill: start over
        for name in ("shop", VECTORS, INDEX, PHOTOS):
            shutil.rmtree(run.path / name, ignore_errors=True)
        run.remove()
    elif run.path.is_file() or (run.path.is_dir() and any(run.path.iterdir())):
        raise RunError(f"{run.path}: holds something else than a demo; give another folder with --out")
    run.path.mkdir(parents=True, exist_ok=True)
    _mark(run, products, finished=False)
    # Training takes a folder with its own recipe for a run to go on with, and so accepts the shop that is in it.
    write_text_atomic(run.recipe, recipe.to_yaml())
    return False


def _mark(run: RunFolder, products: int, *, finished: bool) -> None:
    write_text_atomic(run.path / "demo.json", json.dumps({"products": products, "finished": finished}))


def _shop(folder: Path, products: int) -> Catalog:
    try:
        return Catalog.open(folder)
    except CatalogError:
        from moon2.catalog.generated_shop.generate import write_shop

        write_shop(out=folder, products=products, queries=QUERIES, seed=SEED, overwrite=True)
        return Catalog.open(folder)


def _read(path: Path) -> Evaluation | None:
    """An evaluation of an earlier start; None where there is none, or a kill cut it short."""
    try:
        return Evaluation.read(path)
    except EvaluationError:
        return None


def _score(encoder: Encoder, catalog: Catalog, when: str, path: Path) -> Evaluation:
    from moon2.evaluate.score import score

    evaluation, _ = score(encoder, catalog, show_progress=True, model=f"the tiny encoder {when}")
    evaluation.write(path)
    return evaluation


def _index(folder: Path, catalog: Catalog) -> Index:
    from moon2.search.build import build_index
    from moon2.vectors.embed_catalog import embed

    embed(str(folder), data=catalog.folder, out=folder / VECTORS, what="products", views=("mm",))
    return build_index(folder / VECTORS, str(folder / INDEX), None, None, "all", thumbnails=192, overwrite=True)


def _searches(index: Index, catalog: Catalog, evaluation: Evaluation, folder: Path) -> list[Card]:
    """A search by words, by a photo and by both, by the first random queries of the evaluation that have both."""
    from moon2.evaluate.report.examples import Found, search_card

    log = {interaction.query.id: interaction for interaction in catalog.interactions("test")}
    examples = evaluation.examples.get("mm→mm", ())
    cards = []
    for number, (example, view) in enumerate(zip(examples, ("Words", "A photo", "Words and photo"), strict=False), 1):
        interaction = log[example["query"]]
        query = catalog.with_image(interaction.query)
        text, image = query.text if view != "A photo" else "", query.image if view != "Words" else None
        # A query was made from a product, which would be found first.
        where = None if query.product_id is None else f"id <> '{query.product_id}'"
        command = ["moon2", "search", str(folder / INDEX), *([text] if text else [])]
        if isinstance(image, bytes):
            photo = folder / PHOTOS / f"{number}.webp"
            photo.parent.mkdir(exist_ok=True)
            write_atomic(photo, image)
            command += ["--image", str(photo)]
        command += ["--where", where] if where else []
        hits = index.search(text, image, where=where, limit=HITS)
        pictures = index.photos([hit.id for hit in hits])
        found = [Found(hit.id, hit.title, pictures.get(hit.id), hit.cosine) for hit in hits]
        asked = Query(query.id, text, image)
        cards.append(search_card(asked, view, found, interaction.positive_ids, _typed(command)))
    return cards


def _typed(words: list[str]) -> str:
    """A command as people type it: in double quotes what has a space, where the shell reads nothing else in them."""
    return " ".join(
        f'"{word}"' if " " in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in words
    )


def _mean(evaluation: Evaluation) -> float:
    """Mean R@10 over the directions, in percent."""
    return sum(by_k[10] for by_k in evaluation.recalls.values()) / len(evaluation.recalls)


def _since(moment: float) -> str:
    seconds = time.monotonic() - moment
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
