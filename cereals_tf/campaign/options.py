"""The options of a campaign: one field each, with its default, its rule and its help.

The command line, `campaign.json` and the code all read this one description.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from cereals_tf.acquisition.composition import SELECTIONS, Composition, compose
from cereals_tf.acquisition.fusion import FUSIONS, Fusion
from cereals_tf.acquisition.information import MEASURES, Measure
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.data_prep.option import (
    Need,
    number,
    one_of,
    option,
    options_of,
    read_options,
    refuse_without_effect,
    written,
)
from cereals_tf.models.registry import BACKBONES, NORMALIZATIONS, PRECISIONS, Backbone
from cereals_tf.trainers.choices import SCHEDULES, TRAIN_ON, WAYS


class Amount(NamedTuple):
    """How much to annotate: images' area, a share of all pixels, clicks, seconds, or regions."""

    number: float
    unit: str

    def __str__(self) -> str:
        whole = self.number == int(self.number)
        return f"{int(self.number) if whole else self.number}{self.unit}"


def _amount(*units: str) -> Callable[[str], Amount]:
    """Return what reads `5images`, `2%`, `3000clicks`, `600seconds` or `40regions`."""
    expected = "a number with " + " or ".join(f"'{unit}'" for unit in units) + f", as 10{units[0]}"

    def read(text: str) -> Amount:
        unit = next((unit for unit in units if text.endswith(unit)), None)
        try:
            count = float(text.removesuffix(unit or "")) if unit else math.nan
        except ValueError:
            count = math.nan
        if unit is None or not (math.isfinite(count) and count > 0):
            raise ValueError(expected)
        if unit == "%" and count > 100:
            raise ValueError("at most 100%")
        if unit != "%" and count != int(count):
            raise ValueError(f"a whole number of {unit}")
        return Amount(count, unit)

    return read


class Size(NamedTuple):
    """A size in pixels, written HEIGHTxWIDTH, or as one number if it is square."""

    height: int
    width: int

    @classmethod
    def read(cls, text: str) -> "Size":
        """Read a size.

        Raises:
            ValueError: The expected form, for the user to read.
        """
        parts = text.split("x")
        if len(parts) not in (1, 2) or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError("pixels as HEIGHTxWIDTH, or one number for a square")
        height, width = int(parts[0]), int(parts[-1])
        if not height or not width:
            raise ValueError("sizes above 0")
        return cls(height, width)

    def __str__(self) -> str:
        return f"{self.height}" if self.height == self.width else f"{self.height}x{self.width}"


RegionSize = Size | Literal["auto", "image"]


def read_region_size(text: str) -> Size | Literal["image"]:
    """Read the size of regions, of which `image` is one.

    Raises:
        ValueError: The expected form, for the user to read.
    """
    if text == "image":
        return "image"
    size = Size.read(text)
    if size.height % STRIDE or size.width % STRIDE:
        raise ValueError(f"multiples of {STRIDE} pixels")
    return size


def _region(text: str) -> RegionSize:
    return "auto" if text == "auto" else read_region_size(text)


def optional_size(text: str) -> Size | None:
    """Return the size of images that a text names, None for no text.

    Raises:
        ValueError: It is none, or too small.
    """
    if not text:
        return None
    size = Size.read(text)
    if min(size) < STRIDE:
        raise ValueError(f"sides of at least {STRIDE} pixels")
    return size


DRAWN = ("vertices", "intersections", "corners")
"""Kinds of clicks that lie in polygons, the parts of `RegionClicks`."""
REGION = "region"
"""The kind that is what a region takes beside its polygons."""


def _clicks(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split("+"))
    known = {*DRAWN, REGION}
    if not set(kinds) <= known or len(set(kinds)) != len(kinds) or kinds == (REGION,):
        raise ValueError(f"kinds of {', '.join(DRAWN)} joined by +, and maybe +{REGION}")
    return kinds


def _plugin(text: str) -> str:
    module, colon, function = text.partition(":")
    if text and not (module and colon and function):
        raise ValueError("package.module:function")
    return text


LEAST_BATCH = 4
"""Batches that batch normalisation can have its statistics from."""
COST_UNITS = ("clicks", "seconds")


@dataclass(frozen=True)
class _NamedIn:
    """Reads a name of a registry, or that of a function of the user's own."""

    choices: Mapping[str, Any]

    def __call__(self, text: str) -> str:
        if ":" in text:
            return _plugin(text)
        if text not in self.choices:
            raise ValueError(f"one of {', '.join(self.choices)}, or package.module:function")
        return text


def _selection(text: str) -> tuple[str, ...]:
    names = tuple(text.split("+"))
    compose(names)
    return names


def _cache(text: str) -> str:
    if text not in WAYS and "/" not in text:
        raise ValueError(f"one of {', '.join(WAYS)}, or a folder with a / in it")
    return text


def _listed(registry: Mapping[str, Measure | Fusion | Composition | Backbone]) -> str:
    return ", ".join(f"{name} ({entry.help})" for name, entry in registry.items())


def _with_entry(option_name: str, registry: Mapping[str, Any], have: Callable[[Any], bool]) -> Need:
    """Return the need of such an entry of a registry as another option chooses."""
    names = [name for name, entry in registry.items() if have(entry)]
    text = f"with --{option_name}={' or '.join(names)}"
    return Need(text, lambda its: its[option_name] in names)


_WITH_PARTS = Need("with regions that are parts of images", lambda its: its["region"] != "image")
_OF_COMMITTEE = _with_entry("information", MEASURES, lambda entry: entry.needs_committee)
_WITH_COMMITTEE = Need(
    _OF_COMMITTEE.text, lambda its: ":" in its["information"] or _OF_COMMITTEE.met(its)
)
_WITH_ALPHA = _with_entry("fusion", FUSIONS, lambda entry: "alpha" in entry.parameters)
_FIXED = ("frozen", "tuned")
"""What an encoder does that has weights before the campaign begins."""
_ON_IMAGES = Need(
    "with models that learn from images, not with --encoder=frozen",
    lambda its: its["encoder"] != "frozen" or bool(its["model"] or its["cost_model"]),
)
_COUNTS_CROSSINGS = Need(
    "with --cost_unit=clicks and intersections among --clicks",
    lambda its: its["cost_unit"] == "clicks" and "intersections" in its["clicks"].split("+"),
)
_BY_SCORE = Need(
    "without --information=random_grid",
    lambda its: ":" in its["information"] or not MEASURES[its["information"]].of_tiles,
)
_PER_REGION = _with_entry("fusion", FUSIONS, lambda entry: "region_clicks" in entry.parameters)
_WITH_REGION_CLICKS = Need(
    f"{_PER_REGION.text} or --clicks=...+{REGION}",
    lambda its: ":" in its["fusion"] or _PER_REGION.met(its) or REGION in its["clicks"].split("+"),
)
_OF_MODELS = "the models of earlier rounds are built so"
_WITHOUT_MODEL = Need("without --model", lambda its: not its["model"])
_WITHOUT_COST_MODEL = Need("without --cost_model", lambda its: not its["cost_model"])


@dataclass(frozen=True)
class Options:
    """Options of a campaign: of all of it where they are `fixed`, else from some round on."""

    recipe: str = option(
        "paper",
        "A set of defaults, each of which any option overrides: fast (heads on a pretrained "
        "encoder that is frozen, whose features are computed once), best (the same, then all "
        "layers, with augmentation) or paper (FCN8s from random weights).",
        one_of("fast", "best", "paper"),
    )

    region: RegionSize = option(
        "auto",
        "Size of the regions to annotate, in pixels, multiples of 8: a number for squares, "
        "HEIGHTxWIDTH, 'image' for whole images, or 'auto', an eighth of the shortest image side.",
        _region,
    )
    information: str = option(
        "entropy",
        f"Information measure: {_listed(MEASURES)}, or one of your own, package.module:function.",
        _NamedIn(MEASURES),
    )
    committee: int = option(20, "Monte-Carlo dropout passes.", number(2, 255), _WITH_COMMITTEE)
    fusion: str = option(
        "product",
        f"How information and cost become a score: {_listed(FUSIONS)}, or in a way of your own, "
        "package.module:function.",
        _NamedIn(FUSIONS),
        _BY_SCORE,
    )
    alpha: float = option(0.75, "Weight of the information, 0 to 1.", number(0, 1), _WITH_ALPHA)
    cost: str = option(
        "est",
        "Where a region's cost comes from: est (the cost model) or gt (the ground truth; "
        "simulation only).",
        one_of("est", "gt"),
        _BY_SCORE,
    )
    useless_cost: str = option(
        "use",
        "What a round does where the cost model before it predicts val no better than the mean of "
        "what is annotated: use (its estimates all the same, saying so) or ignore (choose by "
        "information alone).",
        one_of("use", "ignore"),
        _BY_SCORE,
    )
    correct_bill: bool = option(
        False,
        "Multiply what the chosen regions are estimated to take, and so what they take from a "
        "budget of people, by a factor that makes up for half of what the estimates of the "
        "rounds before missed; before there are any, of what those of images that are labelled "
        "whole would have. The choice stays as it is.",
        needs=_BY_SCORE,
    )
    clicks: tuple[str, ...] = option(
        ("vertices", "intersections"),
        "Which clicks of a region are billed: vertices, intersections, corners, and region, "
        "what it takes beside them (--region_clicks), joined by +. A region is at least 1.",
        _clicks,
        fixed="the clicks of earlier rounds were billed so",
    )
    region_clicks: int = option(
        4,
        "What a region takes beside its polygons, to open it, say its classes and finish it, in "
        "clicks (in seconds with --cost_unit=seconds): Eq. 3 adds it to the cost.",
        number(1),
        _WITH_REGION_CLICKS,
    )
    selection: tuple[str, ...] = option(
        ("best",),
        f"How a round's regions are chosen by score: {_listed(SELECTIONS)}; or a drawing and a "
        "listing way joined by +, as power+stratified.",
        _selection,
        _BY_SCORE,
    )
    max_per_image: int = option(
        0,
        "Most regions of one image that a round may choose, 0: any number.",
        number(0),
        _WITH_PARTS,
    )
    max_overlap: float = option(
        0.0,
        "Share of a region's area that may overlap an annotated region, 0 up to 1.",
        number(0, 0.99),
        _WITH_PARTS,
    )
    budget: Amount = option(
        Amount(5, "%"),
        "What a round may annotate: 5images (the area of so many), 2% (of the train pixels), "
        "3000clicks, or 600seconds (with --cost_unit=seconds). People's clicks and seconds are "
        "those that the cost model expects.",
        _amount("images", "%", *COST_UNITS),
    )
    initial: Amount = option(
        Amount(10, "%"),
        "What round 0 annotates at random: whole images, as 10images or 5% (of the images, at "
        "least one), or random regions, as 40regions.",
        _amount("images", "%", "regions"),
        fixed="round 0 is drawn so",
    )
    initial_by: str = option(
        "random",
        "How round 0 is drawn: random (images, or regions that are the tiles of a grid), coverage "
        "(images that stand for the others by a frozen encoder's features), or dense (regions "
        "anywhere, mostly in an image's middle, as version 0.1).",
        one_of("random", "coverage", "dense"),
        fixed="round 0 is drawn so",
    )
    seed: int = option(
        0,
        "Every random number of the campaign is drawn from it.",
        number(0),
        fixed="every random number of the campaign is drawn from it",
    )
    backbone: str = option(
        "vgg16",
        f"Network that FCN8s' decoder stands on: {_listed(BACKBONES)}.",
        one_of(*BACKBONES),
        _WITHOUT_MODEL,
        fixed=_OF_MODELS,
    )
    model: str = option(
        "",
        "A segmentation model of your own, package.module:function; the function takes the "
        "number of classes and returns a Keras model from images to logits.",
        _plugin,
        fixed=_OF_MODELS,
    )
    cost_model: str = option(
        "",
        "A cost model of your own, likewise; the function is called with 1.",
        _plugin,
        fixed=_OF_MODELS,
    )
    weights: str = option(
        "",
        "Initial weights of the backbone: imagenet, none (random), or a file saved from its class "
        "of keras.applications. Default: none for vgg16 and mobilenet that are trained, else "
        "imagenet.",
        needs=_WITHOUT_MODEL,
        fixed=_OF_MODELS,
    )
    encoder: str = option(
        "trained",
        "What becomes of the backbone's weights: trained (with all else), frozen (heads alone are "
        "trained, on features that are kept), or tuned (once the segmentation's head is trained, "
        "all is; batch normalisation keeps its statistics; the cost head stays on what is frozen).",
        one_of("trained", *_FIXED),
        _WITHOUT_MODEL,
    )
    width_multiplier: float = option(
        0.25,
        "The width of every layer of vgg16 and mobilenet, and of the decoder on any other "
        "backbone, is multiplied by it (MobileNet's alpha).",
        number(0, 4, True),
        _WITHOUT_MODEL,
        fixed=_OF_MODELS,
    )
    image_size: Size | None = option(
        None,
        "HEIGHTxWIDTH in pixels that images and labels are resized to on reading. Default: as "
        "they are.",
        optional_size,
        fixed="the regions of earlier rounds are in its pixels",
    )
    normalization: str = option(
        "auto",
        "What follows a convolution: batch (normalisation), group, none (the letter of FCN8s), or "
        "auto: group where batches are smaller than 4 and the backbone's weights random, else "
        "batch.",
        one_of("auto", *NORMALIZATIONS),
        _WITHOUT_MODEL,
        fixed=_OF_MODELS,
    )
    precision: str = option(
        "float32",
        "float32, mixed_bfloat16 or mixed_float16.",
        one_of(*PRECISIONS),
        fixed=_OF_MODELS,
    )
    train_on: str = option(
        "mask",
        "mask (whole images, unlabelled positions weigh 0), crop (regions with their receptive "
        "field; batch size 1), or auto (whichever costs less time, image by image; likewise).",
        one_of(*TRAIN_ON),
    )
    warm_start: bool = option(
        False, "Start each round's training from the round before instead of from scratch."
    )
    min_steps: int = option(
        20,
        "Least steps of a training epoch. Where all that is annotated is fewer, it comes again, in "
        "another order, and again.",
        number(1),
    )
    epochs: int = option(100, "Most training epochs of a model in a round.", number(1))
    patience: int = option(
        10, "Epochs without improvement on val after which training stops.", number(1)
    )
    batch_size: int = option(1, "Images in a training step, on all devices together.", number(1))
    learning_rate: float = option(
        1e-4,
        "Adam's learning rate, in the first epoch; where an encoder is tuned, a tenth of it.",
        number(0, above=True),
    )
    schedule: str = option(
        "constant",
        "What becomes of the learning rate: constant, or cosine (half a cosine towards 0 over "
        "--epochs).",
        one_of(*SCHEDULES),
    )
    loss_mean: str = option(
        "batch",
        "Of which labelled positions a step's loss of the segmentation is the mean: batch (those "
        "of its images, which count more where few are labelled) or all (each counts alike).",
        one_of("batch", "all"),
    )
    augment: bool = option(
        False,
        "Draw other views of the images in training: flipped, scaled, shifted, lighter or darker "
        "(for the cost model flipped and lighter or darker).",
        needs=_ON_IMAGES,
    )
    cache: str = option(
        "auto",
        "Where decoded training and val samples stay between epochs: memory, disk (in the "
        "campaign's folder, until the training ends), none (they are decoded again), or auto "
        "(memory if a quarter of it is enough, else none). The features of a frozen encoder stay "
        "in a folder that is named here with a / in it, in the campaign's (disk), nowhere (none), "
        "or in the data set's, where all its campaigns use them (auto). The results are the same.",
        _cache,
    )
    annotator: str = option(
        "oracle",
        "Who annotates: oracle (reads the ground truth) or files (people: each round waits for "
        "what cereals collect reads from their annotation tool).",
        one_of("oracle", "files"),
        fixed="the labels of earlier rounds are theirs",
    )
    cost_maps: str = option(
        "vertices",
        "What the cost model predicts: vertices (the paper's one map), or all: vertices in each "
        "cell and crossings of its edges, from which the clicks of any region follow.",
        one_of("vertices", "all"),
        _COUNTS_CROSSINGS,
        fixed="the costs of earlier rounds are in it",
    )
    discount_void: bool = option(
        False,
        "Multiply information by the probability that a position is not void (ignored), which the "
        "cost model learns from ignored labels.",
        needs=_WITHOUT_COST_MODEL,
        fixed=_OF_MODELS,
    )
    cost_unit: str = option(
        "clicks",
        "What the cost model learns to expect: clicks, or the seconds that people need (annotator "
        "files).",
        one_of(*COST_UNITS),
        fixed="the costs of earlier rounds are in it",
    )

    def __post_init__(self) -> None:
        if self.batch_size > 1 and self.train_on != "mask":
            raise UserError(
                f"--batch_size={self.batch_size}: --train_on={self.train_on} takes batches of 1, "
                "as its cut-outs differ in size"
            )
        self._check_encoder()
        whole = not self.model and BACKBONES[self.backbone].looks_at_whole_image
        if self.train_on == "crop" and whole:
            raise UserError(
                f"--train_on=crop: {self.backbone} looks at the whole image (squeeze and "
                "excitation), so that no crop gives what it gives; expected mask"
            )
        stands = self.encoder != "trained" and not self.model
        if self.initial_by == "coverage" and not (stands and self.initial.unit != "regions"):
            raise UserError(
                "--initial_by=coverage: chooses whole images by the features of an encoder that is "
                "frozen or tuned, expected --recipe=fast and --initial in images or %"
            )
        if self.augment and self.train_on != "mask":
            raise UserError(
                f"--train_on={self.train_on}: --augment shows whole images, expected mask"
            )
        if self.annotator == "files" and self.cost == "gt":
            raise UserError("--cost=gt: not with --annotator=files, expected est")
        if self.annotator != "files" and self.cost_unit == "seconds":
            raise UserError(
                f"--cost_unit=seconds: not with --annotator={self.annotator}, expected files"
            )
        unit = self.budget.unit
        if unit in COST_UNITS and unit != self.cost_unit:
            raise UserError(f"--budget={self.budget}: expected --cost_unit={unit} beside it")

    def _check_encoder(self) -> None:
        if self.encoder == "trained" or self.model:
            if "/" in self.cache:
                raise UserError(
                    f"--cache={self.cache}: a folder is for the features of --encoder=frozen or "
                    f"tuned, expected one of {', '.join(WAYS)}"
                )
            return
        if self.weights == "none":
            raise UserError(
                f"--weights=none: --encoder={self.encoder} needs weights, expected imagenet or a "
                "file"
            )
        if self.train_on != "mask":
            raise UserError(
                f"--train_on={self.train_on}: the features of --encoder={self.encoder} are of "
                "whole images, expected mask"
            )
        if self.cache == "memory":
            raise UserError(
                f"--cache=memory: the features of --encoder={self.encoder} are kept on disk, "
                "expected auto, disk, none or a folder"
            )

    @property
    def predicts_crossings(self) -> bool:
        """Whether the cost model has three maps."""
        return self.cost_maps == "all" and _COUNTS_CROSSINGS.met(self.to_json())

    @property
    def predicts_void(self) -> bool:
        """Whether the cost model has a last map more, of what is void."""
        return self.discount_void and not self.cost_model

    @property
    def source_of_weights(self) -> str:
        """What `weights` is where it is not given."""
        if self.weights or self.encoder == "trained":
            return self.weights or BACKBONES[self.backbone].default_weights
        return "imagenet"

    @property
    def normalizes(self) -> str:
        """What follows a convolution, `auto` resolved."""
        if self.normalization != "auto":
            return self.normalization
        small = self.batch_size < LEAST_BATCH
        return "group" if small and self.source_of_weights == "none" else "batch"

    @property
    def draws_tiles(self) -> bool:
        """Whether regions are drawn from the tiles of a grid, and nothing is scored."""
        return self.information in MEASURES and MEASURES[self.information].of_tiles

    @property
    def drawn_clicks(self) -> tuple[str, ...]:
        """The kinds of clicks that count and lie in polygons, parts of `RegionClicks`."""
        return tuple(kind for kind in self.clicks if kind != REGION)

    def bill(self, drawn: float, unit: str = "clicks") -> float:
        """Return what a region takes from an account, at least 1, as its class must be said.

        Args:
            drawn: What its polygons take: their clicks that count or its seconds, true or
                estimated.
            unit: Of the account, `clicks` or `seconds`; all seconds of a region are in `drawn`.
        """
        beside = self.region_clicks if unit == "clicks" and REGION in self.clicks else 0
        return max(1, drawn + beside)

    @property
    def composition(self) -> Composition:
        """How a round's batch is composed, what `selection` names."""
        return compose(self.selection)

    @classmethod
    def of(cls, **given: Any) -> "Options":
        """Read options in their written forms, those of campaign.json; the others have defaults.

        Raises:
            UserError: An unknown option, or a value that breaks its rule.
        """
        return read_options(cls, given)

    @classmethod
    def chosen(cls, **given: Any) -> "Options":
        """Read what a user chose, as `of`; what has no effect beside the rest is refused too.

        Raises:
            UserError: As `of`, or an option has no effect.
        """
        options = cls.by_recipe(**given)
        refuse_without_effect(OPTIONS, given, options.to_json())
        return options

    @classmethod
    def by_recipe(cls, **given: Any) -> "Options":
        """Read options as `of`, those of a recipe where they are not given.

        Raises:
            UserError: As `of`.
        """
        plugged = given.get("model") or given.get("cost_model")
        recipe = given.get("recipe", "paper" if plugged else "fast")
        cls.of(recipe=recipe)
        return cls.of(**{**RECIPES[recipe], **given, "recipe": recipe})

    def with_recipe(self, recipe: str) -> "Options":
        """Return these options under another recipe; what a user chose otherwise stays.

        Raises:
            UserError: The encoder was trained with all else, so that there is none to stand on.
        """
        if recipe == self.recipe:
            return self
        before, after = ({**_PAPER, **RECIPES[name]} for name in (self.recipe, recipe))
        if "trained" in (self.encoder, after["encoder"]):
            raise UserError(f"--recipe={recipe}: {self._only_between_recipes}")
        mine = self.to_json()
        changes = {name: after[name] for name in after if mine[name] == before[name]}
        return self.but(**{**changes, "recipe": recipe})

    @property
    def _only_between_recipes(self) -> str:
        return (
            "a campaign of fast can have rounds of best, and one of best rounds of fast; this "
            f"campaign's encoder is {self.encoder}"
        )

    def altered(self, **given: Any) -> "Options":
        """Return the options with which a campaign that has these goes on, as a user chose them.

        Raises:
            UserError: As `of`, an option is fixed or has no effect.
        """
        chosen = (self.with_recipe(given["recipe"]) if "recipe" in given else self).but(**given)
        for found in OPTIONS:
            before = getattr(self, found.name)
            if found.fixed and found.name in given and getattr(chosen, found.name) != before:
                raise UserError(
                    f"--{found.name}={given[found.name]}: fixed when a campaign starts, as "
                    f"{found.fixed}; this one has {written(before)!r}, another needs a campaign of "
                    "its own"
                )
        if chosen.encoder != self.encoder and "trained" in (chosen.encoder, self.encoder):
            raise UserError(f"--encoder={chosen.encoder}: {self._only_between_recipes}")
        refuse_without_effect(OPTIONS, given, chosen.to_json())
        if chosen.normalizes != self.normalizes:  # auto goes by the batch size
            chosen = chosen.but(normalization=self.normalizes)
        return chosen

    def differences(self, before: "Options") -> dict[str, Any]:
        """Return the options that are others than before, in their written forms."""
        old = before.to_json()
        return {name: form for name, form in self.to_json().items() if form != old[name]}

    def but(self, **given: Any) -> "Options":
        """Return these options with some others, in their written forms.

        Raises:
            UserError: As `of`.
        """
        return Options.of(**{**self.to_json(), **given})

    def changed(self) -> dict[str, Any]:
        """Return the options that do not have their defaults, in their written forms."""
        chosen = self.to_json()
        return {
            found.name: chosen[found.name]
            for found in OPTIONS
            if chosen[found.name] != found.default
        }

    def to_json(self) -> dict[str, Any]:
        """Return every option by name, in its written form."""
        return {option.name: written(getattr(self, option.name)) for option in OPTIONS}


OPTIONS = options_of(Options)
"""All options of a campaign."""

_ON_PRETRAINED = {
    "backbone": "efficientnet_lite0",
    "batch_size": 8,
    "learning_rate": 1e-2,
    "schedule": "cosine",
    "loss_mean": "all",
    "epochs": 10,
    "cost_maps": "all",
    "discount_void": True,
    "correct_bill": True,
}
RECIPES: dict[str, dict[str, Any]] = {
    "fast": {**_ON_PRETRAINED, "encoder": "frozen"},
    "best": {**_ON_PRETRAINED, "encoder": "tuned", "augment": True},
    "paper": {},
}
"""What each recipe's options are, in their written forms, where they are not those of `paper`."""

GROUPS = {
    "Data": ("image_size",),
    "Regions and budget": (
        "region",
        "clicks",
        "region_clicks",
        "max_overlap",
        "budget",
        "initial",
        "initial_by",
        "seed",
    ),
    "Choice": (
        "information",
        "committee",
        "fusion",
        "alpha",
        "cost",
        "useless_cost",
        "correct_bill",
        "selection",
        "max_per_image",
    ),
    "Model": (
        "recipe",
        "backbone",
        "encoder",
        "width_multiplier",
        "weights",
        "normalization",
        "precision",
        "model",
        "cost_model",
    ),
    "Training": (
        "train_on",
        "warm_start",
        "min_steps",
        "epochs",
        "patience",
        "batch_size",
        "learning_rate",
        "schedule",
        "loss_mean",
        "augment",
        "cache",
    ),
    "Annotation": ("annotator", "cost_unit", "cost_maps", "discount_void"),
}
"""The names of the options in the order of work, as help shows them."""
_PAPER = Options().to_json()
OF_0_1 = {"selection": "by_id", "min_steps": 1, "region_clicks": 1, "initial_by": "dense"}
"""What a campaign of version 0.1 means by options that it does not name, where not the default."""
