"""What training works on: triplets, the run's folder, the encoder at step 0, and the stream of examples."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import Triplet, mined_beside, training_triplets
from moon2.recipe import Recipe
from moon2.run_folder import RunFolder
from moon2.train.texts import tokenizer_texts, warn_about_texts

if TYPE_CHECKING:
    from moon2.model.encoder import Encoder
    from moon2.model.moon_model import MoonModel
    from moon2.train.stream import TripletStream
    from moon2.train.validation import HeldOut

logger = logging.getLogger(__name__)


@dataclass
class PreparedRun:
    """What training works on.

    Attributes:
        recipe, catalog: of the run.
        encoder: as it is at step 0.
        stream: the examples of the whole run.
        held_out: queries to choose among checkpoints by; None: the last weights are kept.
    """

    recipe: Recipe
    catalog: Catalog
    encoder: Encoder
    stream: TripletStream
    held_out: HeldOut | None


def prepare_run(
    recipe: Recipe,
    catalog: Catalog,
    run: RunFolder,
    *,
    resume: bool = False,
    network: type[MoonModel] | None = None,
) -> PreparedRun:
    """Triplets, the run's folder, the untrained encoder, and the stream of examples.

    Raises:
        RecipeError, CatalogError, BackboneError: see `train`.
    """
    from moon2.image_cache import caching_opener
    from moon2.model.freezing import freeze
    from moon2.model.lora import add_lora
    from moon2.model.moon_model import MoonModel
    from moon2.train.augmentations import augmentation_texts, require_augmentations
    from moon2.train.start import complete_recipe, fingerprint, new_encoder
    from moon2.train.stream import TripletStream
    from moon2.train.teacher import open_teacher

    network = network or MoonModel
    recipe = complete_recipe(recipe, network)
    settings = recipe.training
    require_augmentations(catalog, recipe.augmentations)
    triplets, mined, held_out = _triplets(recipe, catalog)
    asked = [*triplets, *mined]
    teacher = open_teacher(settings.teacher, catalog, asked)
    texts = [*tokenizer_texts(catalog, asked, recipe.input)]
    if is_first_process():
        more = chain(augmentation_texts(catalog, recipe.augmentations), fingerprint(recipe, teacher))
        run.begin(recipe, _fingerprint(texts, asked, more), resume=resume)
    encoder = new_encoder(recipe, texts, network)
    if is_first_process():
        warn_about_texts(catalog, encoder.processor)
        if settings.warmup_steps and settings.warmup_steps >= settings.steps - 1:
            logger.warning(
                f"training.warmup_steps is {settings.warmup_steps} and training.steps is {settings.steps}: the "
                "learning rate only rises and never falls; warm up for about a tenth of the steps"
            )
        if held_out:
            held_out.announce()
    freeze(encoder.model, settings.freeze)
    if recipe.lora.rank:
        add_lora(encoder.model, recipe.lora, settings.seed)
    encoder.dimensions = settings.trained_lengths(encoder.dimension)
    stream = TripletStream(
        triplets,
        catalog,
        encoder.processor,
        recipe.image_transforms,
        recipe.augmentations,
        length=settings.steps * settings.batch_size,
        seed=settings.seed,
        opener=caching_opener(settings.image_cache_gb),
        teacher=teacher,
        mined=mined,
        mined_share=settings.mined_share,
    )
    return PreparedRun(recipe, catalog, encoder, stream, held_out if held_out and held_out.interactions else None)


def untrained_encoder(recipe: Recipe, catalog: Catalog) -> Encoder:
    """The encoder that training by this recipe begins with."""
    from moon2.model.moon_model import MoonModel
    from moon2.train.start import complete_recipe, new_encoder

    recipe = complete_recipe(recipe, MoonModel)
    triplets, mined, _ = _triplets(recipe, catalog)
    return new_encoder(recipe, tokenizer_texts(catalog, [*triplets, *mined], recipe.input), MoonModel)


def is_first_process() -> bool:
    """Whether this process writes the run's folder; of several that train together, one does."""
    return os.environ.get("RANK", "0") == "0"


def _triplets(recipe: Recipe, catalog: Catalog) -> tuple[list[Triplet], list[Triplet], HeldOut | None]:
    """What is learned from, mined triplets beside a log apart; and what is held out, None where nothing is to be."""
    from moon2.train.validation import hold_out

    settings = recipe.training
    logged = training_triplets(catalog, settings.seed)
    held_out = None
    if settings.evaluate_every:
        held_out = hold_out(logged, catalog.ids("train"), settings.validation_queries, settings.seed)
    mined: list[Triplet] = []
    # Where there is no log, all triplets are mined already.
    if settings.mined_share and catalog.interactions("train"):
        trained = {id(triplet) for triplet in (held_out.training if held_out else logged)}
        unseen = [triplet.query for triplet in logged if id(triplet) not in trained]
        mined = mined_beside(catalog, logged, unseen, settings.seed)
        if not mined:
            logger.warning(f"{catalog.folder}: no query can be mined; training.mined_share is left out")
    return held_out.training if held_out else logged, mined, held_out


def _fingerprint(texts: Iterable[str], triplets: Iterable[Triplet], more: Iterable[str]) -> str:
    """A hash of what a run learns from: its words, its triplets, the augmentations it uses, what it starts from."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    for triplet in triplets:
        digest.update(f"{triplet.query.id}\t{triplet.positive_id}\t{triplet.negative_ids}\n".encode())
    for text in more:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()
