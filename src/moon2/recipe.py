"""Every setting of moon2, as dataclasses: the same names on the command line, in YAML and in Python.

A recipe is read with `load_recipe`; a key that is not a setting is refused by name, so a typing mistake never trains a
different model in silence. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from moon2.errors import UserError, one_line
from moon2.meant import did_you_mean_file, did_you_mean_option
from moon2.options import require_values
from moon2.views import OBJECTIVES, Objective, parse_objective

PARTS = ("vision", "projector", "embeddings", "decoder")
"""Of a backbone: the vision tower, what turns its output into visual tokens, the words' embeddings, the decoder."""


class RecipeError(UserError):
    """A recipe cannot be used; the message names the file, the key and the remedy."""


def require(holds: bool, setting: str, value: object, wanted: str) -> None:
    """Refuses a setting whose value is out of range.

    Raises:
        RecipeError: `holds` is false.
    """
    if not holds:
        raise RecipeError(f"{setting} is {value!r}; it must be {wanted}")


@dataclass
class TinySettings:
    """Sizes of the `tiny` backbone: the Qwen3-VL architecture, small enough to train from nothing on two CPU cores."""

    vocabulary: int = 6000
    """Entries of the byte-level BPE tokenizer that is trained on the catalog's own products and queries."""
    width: int = 192
    """Hidden size D of the decoder, which is also the length of the vectors; a multiple of 8 and of 4 × `heads`."""
    layers: int = 4
    """Decoder layers."""
    heads: int = 4
    """Attention heads of the decoder and of the vision tower."""
    feed_forward: int = 256
    """Inner size of one expert's (and of the dense model's) gated MLP; a multiple of 8."""
    vision_width: int = 192
    """Hidden size of the vision tower; a multiple of 4 × `heads`."""
    vision_layers: int = 4
    """Layers of the vision tower."""
    patch: int = 10
    """Side of a vision patch in pixels; `merge` × `merge` patches become one visual token."""
    merge: int = 2
    """Side, in patches, of the square that one visual token covers."""

    def __post_init__(self) -> None:
        for name in ("heads", "layers", "width", "patch", "merge", "feed_forward", "vision_width", "vision_layers"):
            require(getattr(self, name) >= 1, f"backbone.tiny.{name}", getattr(self, name), "1 or more")
        for name in ("width", "vision_width"):
            fits = getattr(self, name) % (4 * self.heads) == 0
            require(fits, f"backbone.tiny.{name}", getattr(self, name), "a multiple of 4 × backbone.tiny.heads")
        # A byte-level tokenizer begins with the 256 bytes and its special tokens.
        require(self.vocabulary >= 300, "backbone.tiny.vocabulary", self.vocabulary, "300 or more")


@dataclass
class BackboneSettings:
    """Which vision-language model is upcycled."""

    name: str = "tiny"
    """`tiny`, or a Qwen2.5-VL, Qwen3-VL or SmolVLM checkpoint: a hub id or a folder."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format in which the weights are held; `bfloat16` is trained by `training.optimizer: adamw_bf16`. For
    float32 weights with bfloat16 arithmetic see `training.bf16`."""
    tiny: TinySettings = field(default_factory=TinySettings)
    """Sizes of the `tiny` backbone; ignored for any other."""
    pooling: Literal["tokens", "modalities"] = "tokens"
    """What the joint vector is the mean of: all `tokens`, as in the paper, or the two `modalities`, text and images,
    each the mean of its own tokens, so that many visual tokens do not drown a short title."""


@dataclass
class ExpertSettings:
    """The modality-driven mixture of experts that replaces the decoder's feed-forward layers."""

    count: int = 4
    """Z, the number of experts in a layer."""
    active: int = 2
    """k, how many experts a token is sent to."""
    layers: list[int] | None = None
    """Which decoder layers get experts, counted from 0; all when not given."""
    noise: float = 0.0
    """Standard deviation of what is added to each expert's copy of the dense weights, as a share of the weights' own
    standard deviation. At 0 the upcycled model computes exactly what the dense one did."""

    def __post_init__(self) -> None:
        require(1 <= self.active <= self.count, "experts.active", self.active, "1 to experts.count")
        require(self.noise >= 0, "experts.noise", self.noise, "0 or more")
        layers = self.layers or []
        require(len(set(layers)) == len(layers), "experts.layers", layers, "numbers that are all different")


@dataclass
class LoraSettings:
    """LoRA: low-rank adapters are trained and the backbone is frozen, for models that are too large to train whole.

    Trained are adapters of all matrices in the decoder's layers, attention and experts alike, the routers and W*."""

    rank: int = 0
    """r, the rank of an adapter, a multiple of 8; 0 trains the model whole. A learning rate of 1e-4 is usual."""
    alpha: float = 32.0
    """α: an adapter counts α / r times."""
    vision: bool = False
    """Adapters in the vision tower too."""

    def __post_init__(self) -> None:
        # A GPU's grouped products want rows of a multiple of 16 bytes.
        require(self.rank >= 0 and self.rank % 8 == 0, "lora.rank", self.rank, "0 or a multiple of 8")
        require(self.alpha > 0, "lora.alpha", self.alpha, "above 0")


@dataclass
class InputSettings:
    """What of a product or query reaches the model."""

    fields: list[str] = field(default_factory=lambda: ["title"])
    """What of a product is read as its text, in this order: `title`, `description`, `category`, `attributes` (all), or
    the name of one attribute, such as `[title, brand, attributes, description]`. Queries are read as they are."""
    max_text_tokens: int = 64
    """Longer text is cut here; of a product's first its description, then its end."""
    max_pixels: int = 262_144
    """Larger images are scaled down to this many pixels (height × width), keeping their shape. It decides how many
    visual tokens an image costs and so, more than anything else, speed and memory."""
    max_images: int = 4
    """Images of one product that are read; further ones are ignored."""

    def __post_init__(self) -> None:
        for name in ("max_text_tokens", "max_pixels", "max_images"):
            require(getattr(self, name) >= 1, f"input.{name}", getattr(self, name), "1 or more")
        usable = bool(self.fields) and all(name.strip() for name in self.fields)
        require(usable, "input.fields", self.fields, "one or more names, such as [title, brand]")
        require(len(set(self.fields)) == len(self.fields), "input.fields", self.fields, "names that are all different")


@dataclass
class AlignmentSettings:
    """Dual-level alignment: the contrastive losses between products and within one."""

    temperature_inter: float = 0.05
    """ε, of the losses between a query and a product."""
    temperature_intra: float = 0.05
    """ε̃, of the losses between one product's image and its text."""
    objectives: dict[str, float] = field(default_factory=lambda: {str(objective): 1.0 for objective in OBJECTIVES})
    """The objectives that are trained, each with its share of the loss. Shares that differ want `balance: fixed`. A
    table of them replaces all; `--alignment.objectives.t2i 8` changes one (t2i is t→i), and 0 leaves it out."""
    balance: Literal["paper", "guarded", "minimax", "minimax_routing", "fixed"] = "guarded"
    """How objectives are weighed: by the dual-alignment matrix W*, `paper` as printed or `guarded` with a floor under
    each, both of which move weight to the easiest; `minimax`, where W* moves it to the hardest; `minimax_routing`,
    where W* and the routers do; or `fixed` by the shares in `objectives`."""
    floor_share: float = 0.8
    """`guarded` and minimax only: the least weight of an objective, as a share of an equal split (0: none, 1: equal
    weights)."""
    load_balance_weight: float = 0.01
    """ρ, the weight of the load-balancing loss L_aux."""
    sparsity_weight: float = 0.01
    """ς, the weight of L_sparsity."""

    def __post_init__(self) -> None:
        for name in ("temperature_inter", "temperature_intra"):
            require(getattr(self, name) > 0, f"alignment.{name}", getattr(self, name), "above 0")
        for name in ("load_balance_weight", "sparsity_weight"):
            require(getattr(self, name) >= 0, f"alignment.{name}", getattr(self, name), "0 or more")
        require(0 <= self.floor_share <= 1, "alignment.floor_share", self.floor_share, "0 to 1")
        try:
            # One that is named in two ways has the share that was given last.
            named = {str(parse_objective(str(name))): share for name, share in self.objectives.items()}
        except UserError as error:
            raise RecipeError(f"alignment.objectives: {error}") from None
        usable = min(named.values(), default=0) >= 0 and max(named.values(), default=0) > 0
        require(usable, "alignment.objectives", self.objectives, "shares of 0 or more, one above 0")
        self.objectives = {name: share for name, share in named.items() if share}
        is_read = self.balance == "fixed" or len(set(self.objectives.values())) == 1
        require(is_read, "alignment.balance", self.balance, f"fixed, which alone reads the shares {self.objectives}")

    @property
    def shares(self) -> dict[Objective, float]:
        """The trained objectives, each with its share."""
        return {parse_objective(name): share for name, share in self.objectives.items()}


@dataclass
class FilterSettings:
    """Dynamic sample filtering: φ = σ(κ(r_q·r_p − r_q·r_n − m̄)) tells how far a triplet of the log can be believed."""

    enabled: bool = True
    """Off: every triplet counts in full."""
    sharpness: float = 10.0
    """κ."""
    margin_start: float = 0.3
    """m̄ at the first step."""
    margin_end: float = 0.0
    """m̄ at the last step; linear in between."""
    threshold: float = 0.6
    """τ: a triplet with φ below it is weighted by φ, any other by 1."""

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, "filter.threshold", self.threshold, "0 to 1")
        require(self.sharpness > 0, "filter.sharpness", self.sharpness, "above 0")


@dataclass
class ImageTransformSettings:
    """Cheap changes to images during training; off for a pretrained backbone."""

    flip: bool = False
    """Mirror an image left to right half of the time."""
    crop: float = 0.0
    """Largest share of the height and of the width that a random crop takes away."""

    def __post_init__(self) -> None:
        require(0 <= self.crop < 1, "image_transforms.crop", self.crop, "0 to below 1")


@dataclass
class AugmentationSettings:
    """Use in training of what `moon2 augment` added to the products: enriched titles and expanded images."""

    use: Literal["none", "concatenate", "draw"] = "none"
    """`concatenate` adds them to the product's own title and images, as the paper does. `draw` puts the enriched
    title in place of the title half of the time, and an image drawn among the main one and the expanded ones in place
    of the main one, at little further cost. Queries and evaluation never see them."""
    keep_original: float = 0.5
    """Probability with which a product is given without augmentations in a step, as it will be when it is searched."""
    images: int = 3
    """`concatenate` only: n_c, how many expanded images at most, beside those that `input.max_images` allows."""

    def __post_init__(self) -> None:
        require(0 <= self.keep_original <= 1, "augmentations.keep_original", self.keep_original, "0 to 1")
        require(self.images >= 0, "augmentations.images", self.images, "0 or more")


@dataclass
class TrainingSettings:
    """The run."""

    steps: int = 1000
    """Optimizer steps."""
    batch_size: int = 64
    """Triplets a step, of all devices together (each is a query, a positive and a negative). Every other triplet serves
    as negatives, so larger is better; `chunk_tokens` bounds the memory that it takes."""
    chunk_tokens: int | None = None
    """How many tokens go through the network at once, on each device. A larger batch is computed in chunks, exactly
    (GradCache), for about a quarter more time. Not given: the whole batch at once."""
    activation_checkpointing: float = 0.0
    """The share of the decoder's and of the vision tower's blocks that compute their activations twice rather than keep
    them: 0 none, 1 all. Less memory, for up to a third more time."""
    compile: bool = False
    """Compile the network's blocks (torch.compile) where the run is on a GPU and computes in bfloat16: a minute or two
    at the start, then fewer and larger kernels. Vectors and losses stay the same up to rounding."""
    shard_weights: bool = False
    """Each device holds a part of the weights, gradients and optimizer states (FSDP2), for models too large for one."""
    freeze: list[str] = field(default_factory=list)
    """Parts of the backbone that are not trained: vision, projector, embeddings, decoder. With LoRA all are frozen."""
    optimizer: Literal["adamw", "adamw_bf16", "muon"] = "adamw"
    """`adamw`; `adamw_bf16`, the same for `backbone.dtype: bfloat16`, in half the memory or less by stochastic
    rounding; or `muon`: Muon for matrices and AdamW for the rest, which learns from nothing in fewer steps."""
    learning_rate: float = 1e-5
    """Peak learning rate; cosine to 0 after the warm-up."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, not applied to norms and biases."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    bf16: bool = False
    """bfloat16 arithmetic over float32 weights (mixed precision). On a GPU the encoder then embeds in bfloat16 too."""
    dimensions: list[int] | None = None
    """Lengths to which vectors can be cut, beside their full width: the losses are the mean of those at each
    (Matryoshka). Not given: the full width alone."""
    mined_share: float = 0.0
    """The share of the triplets that are mined from the catalog beside those of the log, of each category as many. They
    teach words that the log seldom has. Without a log all triplets are mined."""
    hard_negatives: int = 0
    """Wrong products most like its query to the encoder as it is, mined for each triplet. The negative of a step is
    drawn among them and those that the log shows. 0: none are mined."""
    mine_every: int = 500
    """`hard_negatives` only: steps between minings, which embed the whole catalog; the first comes after as many."""
    teacher: list[str] = field(default_factory=list)
    """Folders that `moon2 embed` wrote of this catalog with other models, whose similarities between items are learned,
    such as [vectors/minilm, vectors/clip]. The first folder with texts (t) teaches texts, the first with images (i)
    images; one folder may do both."""
    teacher_weight: float = 1.0
    """`teacher` only: λ, the weight of L_T beside the other losses."""
    evaluate_every: int = 0
    """Steps between evaluations on queries held out of the log, to keep the best weights. 0: none are held out."""
    validation_queries: int = 300
    """How many queries are held out for that (at most a tenth of the log); the test queries are never looked at."""
    save_every: int = 100
    """Steps between checkpoints, from which `--resume` goes on."""
    log_every: int = 10
    """Steps between lines of the log."""
    image_cache_gb: float = 4.0
    """Disk space, in the user's cache folder, for large images at the size at which they are read; 0: none."""
    seed: int = 0
    """Seed of the weights, the order of the triplets and every random draw."""

    def __post_init__(self) -> None:
        share, tokens = self.activation_checkpointing, self.chunk_tokens
        require(0 <= share <= 1, "training.activation_checkpointing", share, "0 to 1")
        require(0 <= self.mined_share < 1, "training.mined_share", self.mined_share, "0 to below 1")
        require(self.teacher_weight > 0, "training.teacher_weight", self.teacher_weight, "above 0")
        require(set(self.freeze) < set(PARTS), "training.freeze", self.freeze, f"some of {', '.join(PARTS)}, not all")
        require(tokens is None or tokens >= 1, "training.chunk_tokens", tokens, "1 or more")
        for name in ("steps", "batch_size", "save_every", "log_every", "mine_every"):
            require(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), "1 or more")
        names = ("evaluate_every", "validation_queries", "warmup_steps", "seed", "weight_decay", "hard_negatives")
        for name in (*names, "image_cache_gb"):
            require(0 <= getattr(self, name) < 2**63, f"training.{name}", getattr(self, name), "0 or more, below 2**63")
        in_time = not self.hard_negatives or self.mine_every < self.steps
        require(in_time, "training.mine_every", self.mine_every, "below training.steps, or no hard negative is mined")
        for name in ("learning_rate", "max_grad_norm"):
            require(getattr(self, name) > 0, f"training.{name}", getattr(self, name), "above 0")
        require(min(self.dimensions or [1]) >= 1, "training.dimensions", self.dimensions, "1 or more each")

    def trained_lengths(self, width: int) -> list[int]:
        """The lengths at which vectors of this width are trained: `dimensions` and the width, each once, ascending.

        Raises:
            RecipeError: one is above the width.
        """
        lengths = sorted({*(self.dimensions or []), width})
        require(lengths[-1] == width, "training.dimensions", self.dimensions, f"at most {width} each, the full width")
        return lengths


@dataclass
class Recipe:
    """All settings of one run."""

    init: str | None = None
    """A trained encoder to go on from: the folder of a run or of an encoder, or a hub id. `backbone`, `experts` and
    `input.fields` are then its own and need not be given; `--resume` needs it again."""
    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    experts: ExpertSettings = field(default_factory=ExpertSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    input: InputSettings = field(default_factory=InputSettings)
    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    filter: FilterSettings = field(default_factory=FilterSettings)
    image_transforms: ImageTransformSettings = field(default_factory=ImageTransformSettings)
    augmentations: AugmentationSettings = field(default_factory=AugmentationSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        # Grouped products of experts want rows of a multiple of 16 bytes: 8 numbers of bfloat16.
        for name, size in (("width", self.backbone.tiny.width), ("feed_forward", self.backbone.tiny.feed_forward)):
            require(size % 8 == 0, f"backbone.tiny.{name}", size, "a multiple of 8")
        # Any other optimizer rounds to the nearest bfloat16 number, and that is mostly the weight as it was.
        fits = self.backbone.dtype == "float32" or self.training.optimizer == "adamw_bf16"
        wanted = "adamw_bf16 with backbone.dtype: bfloat16; or set backbone.dtype: float32 and training.bf16: true"
        require(fits, "training.optimizer", self.training.optimizer, wanted)

    def to_yaml(self) -> str:
        """The whole recipe, defaults included, as YAML that `load_recipe` reads back to an equal recipe."""
        return yaml.safe_dump(asdict(self), sort_keys=False)


def load_recipe(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a YAML recipe and applies overrides such as `training.steps=300`; the later wins.

    Raises:
        RecipeError: the file cannot be read, a key is unknown, or a value has the wrong type or range.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe, None)
    where = str(path) if path else "the settings given"
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8")) if path else {}
        if not isinstance(settings or {}, dict):
            raise RecipeError(f"{where}: a recipe is a table of sections such as `training:`, got {settings!r:.60}")
        config = parser.parse_object(settings or {})
        config = parser.parse_args([f"--{item}" for item in overrides], namespace=config)
        return Recipe(**vars(parser.instantiate(require_values(parser, config))))
    except FileNotFoundError:
        near = did_you_mean_file(where) or "; `ls recipes` shows those that come with moon2"
        raise RecipeError(f"{where}: there is no such recipe{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{where}: cannot be read ({one_line(error)}); give a YAML file, saved as UTF-8") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: is not YAML: {' '.join(str(error).split())}") from None
    except (ArgumentError, TypeError, KeyError) as error:
        near = did_you_mean_option(str(error), (action.dest for action in parser._actions))
        raise RecipeError(f"{where}: {' '.join(str(error).split())}{near}") from None
