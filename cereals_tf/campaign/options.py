"""The options of a campaign: one field each, with its default, its rule and its help.

The command line, `campaign.json` and the code all read this one description.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.data_prep.option import number, one_of, option, options_of, read_options, written


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


def _image_size(text: str) -> Size | None:
    if not text:
        return None
    size = Size.read(text)
    if min(size) < STRIDE:
        raise ValueError(f"sides of at least {STRIDE} pixels")
    return size


CLICK_KINDS = ("vertices", "intersections", "corners")


def _clicks(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split("+"))
    if not set(kinds) <= set(CLICK_KINDS) or len(set(kinds)) != len(kinds):
        raise ValueError(f"kinds of {', '.join(CLICK_KINDS)} joined by +")
    return kinds


def _plugin(text: str) -> str:
    module, colon, function = text.partition(":")
    if text and not (module and colon and function):
        raise ValueError("package.module:function")
    return text


COST_UNITS = ("clicks", "seconds")
INFORMATION = ("entropy", "vote_entropy", "bald", "margin", "least_confidence", "random")


@dataclass(frozen=True)
class Options:
    """Options of a campaign, fixed when it starts."""

    region: RegionSize = option(
        "auto",
        "Size of the regions to annotate, in pixels, multiples of 8: a number for squares, "
        "HEIGHTxWIDTH, 'image' for whole images, or 'auto', an eighth of the shortest image side.",
        _region,
    )
    information: str = option(
        "entropy", f"Information measure: {', '.join(INFORMATION)}.", one_of(*INFORMATION)
    )
    committee: int = option(
        20, "Monte-Carlo dropout passes for vote_entropy and bald.", number(2, 255)
    )
    fusion: str = option(
        "product",
        "How information and cost become a score: none (information alone), ratio (Eq. 3), "
        "product (Eq. 4), convex (Eq. 5).",
        one_of("none", "ratio", "product", "convex"),
    )
    alpha: float = option(0.75, "Weight of the information in convex fusion, 0 to 1.", number(0, 1))
    cost: str = option(
        "est",
        "Where a region's cost comes from: est (the cost model) or gt (the ground truth; "
        "simulation only).",
        one_of("est", "gt"),
    )
    clicks: tuple[str, ...] = option(
        ("vertices", "intersections"),
        "Which clicks of a region count: vertices, intersections, corners, joined by +.",
        _clicks,
    )
    max_overlap: float = option(
        0.0,
        "Share of a region's area that may overlap an annotated region, 0 up to 1.",
        number(0, 0.99),
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
    )
    seed: int = option(0, "Every random number of the campaign is drawn from it.", number(0))
    backbone: str = option("vgg16", "vgg16 or mobilenet.", one_of("vgg16", "mobilenet"))
    model: str = option(
        "",
        "A segmentation model of your own, package.module:function; the function takes the "
        "number of classes and returns a Keras model from images to logits.",
        _plugin,
    )
    cost_model: str = option(
        "", "A cost model of your own, likewise; the function is called with 1.", _plugin
    )
    weights: str = option(
        "",
        "Initial weights of the backbone: a file of Keras's VGG16 or MobileNet weights, or "
        "'imagenet'. Default: random.",
    )
    width_multiplier: float = option(
        0.25, "Every layer's width is multiplied by it (MobileNet's alpha).", number(0, 4, True)
    )
    image_size: Size | None = option(
        None,
        "HEIGHTxWIDTH in pixels that images and labels are resized to on reading. Default: as "
        "they are.",
        _image_size,
    )
    normalization: str = option(
        "batch", "batch (normalisation) or none (the letter of FCN8s).", one_of("batch", "none")
    )
    precision: str = option(
        "float32",
        "float32, mixed_bfloat16 or mixed_float16.",
        one_of("float32", "mixed_bfloat16", "mixed_float16"),
    )
    train_on: str = option(
        "mask",
        "mask (whole images, unlabelled positions weigh 0), crop (regions with their receptive "
        "field; batch size 1), or auto (whichever costs less time, image by image; likewise).",
        one_of("mask", "crop", "auto"),
    )
    warm_start: bool = option(
        False, "Start each round's training from the round before instead of from scratch."
    )
    epochs: int = option(100, "Most training epochs of a model in a round.", number(1))
    patience: int = option(
        10, "Epochs without improvement on val after which training stops.", number(1)
    )
    batch_size: int = option(1, "Images in a training step, on all devices together.", number(1))
    learning_rate: float = option(1e-4, "Adam's learning rate.", number(0, above=True))
    cache: str = option(
        "auto",
        "Where decoded training and val samples stay between epochs: memory, disk (in the "
        "campaign's folder, until the training ends), none (they are decoded again), or auto "
        "(memory if a quarter of it is enough, else none). The results are the same.",
        one_of("auto", "memory", "disk", "none"),
    )
    annotator: str = option(
        "oracle",
        "Who annotates: oracle (reads the ground truth) or files (people: each round waits for "
        "what cereals collect reads from their annotation tool).",
        one_of("oracle", "files"),
    )
    cost_unit: str = option(
        "clicks",
        "What the cost model learns to expect: clicks, or the seconds that people need (annotator "
        "files).",
        one_of(*COST_UNITS),
    )

    def __post_init__(self) -> None:
        if self.batch_size > 1 and self.train_on != "mask":
            raise UserError(
                f"--batch_size={self.batch_size}: --train_on={self.train_on} takes batches of 1, "
                "as its cut-outs differ in size"
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

    @classmethod
    def of(cls, **given: Any) -> "Options":
        """Read options in their written forms, those of campaign.json; the others have defaults.

        Raises:
            UserError: An unknown option, or a value that breaks its rule.
        """
        return read_options(cls, given)

    def but(self, **given: Any) -> "Options":
        """Return these options with some others, in their written forms.

        Raises:
            UserError: As `of`.
        """
        return Options.of(**{**self.to_json(), **given})

    def to_json(self) -> dict[str, Any]:
        """Return every option by name, in its written form."""
        return {option.name: written(getattr(self, option.name)) for option in OPTIONS}


OPTIONS = options_of(Options)
"""All options of a campaign."""
