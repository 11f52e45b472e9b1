"""`moon2 demo`: from nothing to a trained, scored encoder and a report, on a generated shop, with no network.

The demo owns its folder, which is a run like any other with the shop beside the model; `demo.json` marks it. A demo
that was stopped goes on where it was, one that is done starts over.
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from moon2.catalog.store import Catalog, CatalogError
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
from moon2.runs import RunError, quiet_libraries, read_evaluation, train_run, untrained_encoder

if TYPE_CHECKING:
    from moon2.evaluate.result import Evaluation
    from moon2.model.encoder import Encoder

PRODUCTS, QUERIES, SEED = 1_000, 1_200, 0
# What a demo writes into its folder, and takes away when it starts over; anything else there is left alone.
FOLDERS = ("shop", "model", "best", "best.new", "checkpoints", "tensorboard")
FILES = ("demo.json", "recipe.yaml", "data.sha256", "history.jsonl", "baseline.json", "evaluation.json", "report.html")


def demo_recipe() -> Recipe:
    """How the demo trains: the tiny backbone from nothing, in a few minutes on two cores."""
    return Recipe(
        backbone=BackboneSettings(tiny=TinySettings(vocabulary=2000, vision_width=128)),
        experts=ExpertSettings(noise=0.5),
        # The shop's photos have 80 × 80 pixels.
        input=InputSettings(max_text_tokens=48, max_pixels=6400, max_images=1),
        # The log is read eight times over; without this, pictures are learned by heart.
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


def run_demo(out: str | Path = "runs/demo", recipe: Recipe | None = None, products: int = PRODUCTS) -> Path:
    """Generates a shop, trains on it, scores the encoder before and after, and says what it does on the way.

    Args:
        out: the demo's folder.
        recipe: another way to train than `demo_recipe()`.
        products: size of the shop.

    Returns:
        The report.

    Raises:
        RunError: the folder holds something else than a demo.
    """
    started = time.monotonic()
    folder = Path(out)
    recipe = recipe or demo_recipe()
    goes_on = _prepare(folder, recipe, products)
    quiet_libraries()

    head = "moon2 demo, continued" if goes_on else "moon2 demo"
    print(f"{head}: a shop, an encoder for it, and a report, all in {folder}.", flush=True)

    clock = time.monotonic()
    catalog = _shop(folder / "shop", products)
    test = catalog.interactions("test")
    print(
        f"1. The shop: {len(catalog):,} products with drawn photos, {len(catalog.interactions('train')):,} "
        f"searches that ended in a purchase (some by mistake), and {len(test):,} test queries on "
        f"{len(catalog.ids('test')):,} products that training never sees ({_since(clock)}).",
        flush=True,
    )

    baseline = _baseline(folder, recipe, catalog)
    print(f"2. Before training, a relevant product is among the first ten for {_mean(baseline):.0f} of 100 queries.")

    settings = recipe.training
    print(f"3. Training: {settings.steps:,} steps of {settings.batch_size} triplets, from random weights.", flush=True)
    result = train_run(recipe, folder / "shop", folder, resume=True)
    weights = sum(weight.numel() for weight in result.encoder.model.parameters())
    print(f"   Trained {weights / 1e6:.1f} million weights ({_since(time.monotonic() - result.seconds)}).", flush=True)

    evaluation = _evaluate(result.encoder, catalog, "after training", folder / "evaluation.json")
    print(f"4. After training it is {_mean(evaluation):.0f} of 100. All scores, in percent:\n")
    print(evaluation.to_text(), end="\n\n")

    report = _report(folder, evaluation, baseline, catalog)
    (folder / "demo.json").write_text(json.dumps({"products": products, "finished": True}))
    print(f"5. Done ({_since(started)}).")
    print(_what_next(folder, report))
    return report


def _prepare(folder: Path, recipe: Recipe, products: int) -> bool:
    """Makes or clears the demo's folder; True if a demo that was stopped there goes on.

    Raises:
        RunError: it is not a demo's.
    """
    mark = folder / "demo.json"
    if mark.is_file():
        try:
            unfinished = json.loads(mark.read_text()) == {"products": products, "finished": False}
            if unfinished and load_recipe(folder / "recipe.yaml") == recipe:
                return True
        except (json.JSONDecodeError, RecipeError):
            pass  # cut short by a kill, or of another version: start over
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    elif folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise RunError(f"{folder}: holds something else than a demo; give another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({"products": products, "finished": False}))
    # Training takes a folder with its own recipe for a run to go on with, and so accepts the shop that is there first.
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    return False


def _shop(folder: Path, products: int) -> Catalog:
    try:
        return Catalog.open(folder)
    except CatalogError:
        from moon2.catalog.generated_shop.generate import write_shop

        return write_shop(folder, products, QUERIES, SEED, overwrite=True)


def _baseline(folder: Path, recipe: Recipe, catalog: Catalog) -> Evaluation:
    path = folder / "baseline.json"
    if path.is_file():
        try:
            return read_evaluation(path)
        except RunError:
            pass  # cut short by a kill
    return _evaluate(untrained_encoder(recipe, catalog), catalog, "before training", path)


def _evaluate(encoder: Encoder, catalog: Catalog, model: str, path: Path) -> Evaluation:
    from moon2.evaluate.evaluate import evaluate

    evaluation = evaluate(encoder, catalog, show_progress=True, model=f"the tiny encoder {model}")
    path.write_text(evaluation.to_json(), encoding="utf-8")
    return evaluation


def _report(folder: Path, evaluation: Evaluation, baseline: Evaluation, catalog: Catalog) -> Path:
    from moon2.evaluate.report.report import write_report
    from moon2.train.history import read_history

    history = read_history(folder / "history.jsonl")
    return write_report(
        folder / "report.html",
        evaluation,
        history,
        catalog,
        baseline=baseline,
        title="moon2 demo",
        command="moon2 demo",
    )


def _mean(evaluation: Evaluation) -> float:
    """Mean R@10 over the directions, in percent."""
    return sum(row[10] for row in evaluation.recalls.values()) / len(evaluation.recalls)


def _since(moment: float) -> str:
    seconds = time.monotonic() - moment
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _what_next(folder: Path, report: Path) -> str:
    place = shlex.quote(str(folder))
    return f"""
   The report, with curves and what example queries find:  {report}
   The encoder:  {folder / "model"}
   The shop:     {folder / "shop"}

Next, in Python:
   from moon2 import Encoder
   encoder = Encoder.from_pretrained("{folder}")
   vectors = encoder.encode(["striped shirt", "red handbag"])

or with your own products:
   moon2 import products.csv --as csv --out data/mine
   moon2 train --config recipes/tiny.yaml --data data/mine --out runs/mine
or look at one again:  moon2 evaluate {place} --data {place}/shop"""
