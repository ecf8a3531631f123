"""The options of a campaign: one field each, with its default, its rule and its help.

The command line, `campaign.json` and the code all read this one description.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE

Rule = Callable[[Any], str | None]
"""Returns what a value should have been, or None if it is right."""


def _option(default: Any, help_text: str, rule: Rule = lambda value: None) -> Any:
    return field(default=default, metadata={"help": help_text, "rule": rule})


def _one_of(*choices: str) -> Rule:
    return lambda value: None if value in choices else f"one of {', '.join(choices)}"


def _number(low: float, high: float = math.inf, above: bool = False) -> Rule:
    def rule(value: float) -> str | None:
        right = low <= value <= high and value != math.inf and not (above and value == low)
        if high == math.inf:
            limits = f"above {low:g}" if above else f"at least {low:g}"
        else:
            limits = f"above {low:g}, at most {high:g}" if above else f"from {low:g} to {high:g}"
        return None if right else f"a number {limits}"

    return rule


def _accepted_by(parse: Callable[[str], Any]) -> Rule:
    def rule(value: str) -> str | None:
        try:
            parse(value)
        except ValueError as error:
            return str(error)
        return None

    return rule


@dataclass(frozen=True)
class Amount:
    """How much to annotate: images' area, a share of all pixels, clicks, seconds, or regions."""

    number: float
    unit: str


def parse_amount(text: str, units: tuple[str, ...]) -> Amount:
    """Parse `5images`, `2%`, `3000clicks`, `600seconds` or `40regions`.

    Raises:
        ValueError: The expected form, for the user to read.
    """
    expected = "a number with " + " or ".join(f"'{unit}'" for unit in units) + f", as 10{units[0]}"
    unit = next((unit for unit in units if text.endswith(unit)), None)
    try:
        number = float(text.removesuffix(unit or "")) if unit else math.nan
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(expected)
    if unit == "%" and number > 100:
        raise ValueError("at most 100%")
    if unit != "%" and number != int(number):
        raise ValueError(f"a whole number of {unit}")
    return Amount(number, unit)


def parse_budget(text: str) -> Amount:
    """Parse `--budget`."""
    return parse_amount(text, ("images", "%", "clicks", "seconds"))


def parse_initial(text: str) -> Amount:
    """Parse `--initial`."""
    return parse_amount(text, ("images", "%", "regions"))


def parse_size(text: str) -> tuple[int, int]:
    """Parse `HxW` or one number for a square.

    Raises:
        ValueError: The expected form, for the user to read.
    """
    parts = text.split("x")
    if len(parts) not in (1, 2) or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError("pixels as HEIGHTxWIDTH, or one number for a square")
    height, width = int(parts[0]), int(parts[-1])
    if not height or not width:
        raise ValueError("sizes above 0")
    return height, width


def parse_region(text: str) -> tuple[int, int] | None:
    """Parse `--region` once `auto` is resolved; None stands for whole images."""
    if text == "image":
        return None
    height, width = parse_size(text)
    if height % STRIDE or width % STRIDE:
        raise ValueError(f"multiples of {STRIDE} pixels")
    return height, width


def parse_image_size(text: str) -> tuple[int, int] | None:
    """Parse `--image_size`; None: images as they are."""
    if not text:
        return None
    height, width = parse_size(text)
    if height < STRIDE or width < STRIDE:
        raise ValueError(f"sides of at least {STRIDE} pixels")
    return height, width


CLICK_KINDS = ("vertices", "intersections", "corners")


def parse_clicks(text: str) -> tuple[str, ...]:
    """Parse `--clicks`, kinds joined by `+`.

    Raises:
        ValueError: The expected form, for the user to read.
    """
    kinds = tuple(text.split("+"))
    if not set(kinds) <= set(CLICK_KINDS) or len(set(kinds)) != len(kinds):
        raise ValueError(f"kinds of {', '.join(CLICK_KINDS)} joined by +")
    return kinds


def _plugin(value: str) -> str | None:
    module, colon, function = value.partition(":")
    well_formed = not value or (module and colon and function)
    return None if well_formed else "package.module:function"


COST_UNITS = ("clicks", "seconds")
INFORMATION = ("entropy", "vote_entropy", "bald", "margin", "least_confidence", "random")


@dataclass(frozen=True)
class Options:
    """Options of a campaign, fixed when it starts."""

    region: str = _option(
        "auto",
        "Size of the regions to annotate, in pixels, multiples of 8: a number for squares, "
        "HEIGHTxWIDTH, 'image' for whole images, or 'auto', an eighth of the shortest image side.",
        _accepted_by(lambda text: text == "auto" or parse_region(text)),
    )
    information: str = _option(
        "entropy", f"Information measure: {', '.join(INFORMATION)}.", _one_of(*INFORMATION)
    )
    committee: int = _option(
        20, "Monte-Carlo dropout passes for vote_entropy and bald.", _number(2, 255)
    )
    fusion: str = _option(
        "product",
        "How information and cost become a score: none (information alone), ratio (Eq. 3), "
        "product (Eq. 4), convex (Eq. 5).",
        _one_of("none", "ratio", "product", "convex"),
    )
    alpha: float = _option(
        0.75, "Weight of the information in convex fusion, 0 to 1.", _number(0, 1)
    )
    cost: str = _option(
        "est",
        "Where a region's cost comes from: est (the cost model) or gt (the ground truth; "
        "simulation only).",
        _one_of("est", "gt"),
    )
    clicks: str = _option(
        "vertices+intersections",
        "Which clicks of a region count: vertices, intersections, corners, joined by +.",
        _accepted_by(parse_clicks),
    )
    max_overlap: float = _option(
        0.0,
        "Share of a region's area that may overlap an annotated region, 0 up to 1.",
        _number(0, 0.99),
    )
    budget: str = _option(
        "5%",
        "What a round may annotate: 5images (the area of so many), 2% (of the train pixels), "
        "3000clicks, or 600seconds (with --cost_unit=seconds). People's clicks and seconds are "
        "those that the cost model expects.",
        _accepted_by(parse_budget),
    )
    initial: str = _option(
        "10%",
        "What round 0 annotates at random: whole images, as 10images or 5% (of the images, at "
        "least one), or random regions, as 40regions.",
        _accepted_by(parse_initial),
    )
    seed: int = _option(0, "Every random number of the campaign is drawn from it.", _number(0))
    backbone: str = _option("vgg16", "vgg16 or mobilenet.", _one_of("vgg16", "mobilenet"))
    model: str = _option(
        "",
        "A segmentation model of your own, package.module:function; the function takes the "
        "number of classes and returns a Keras model from images to logits.",
        _plugin,
    )
    cost_model: str = _option(
        "", "A cost model of your own, likewise; the function is called with 1.", _plugin
    )
    weights: str = _option(
        "",
        "Initial weights of the backbone: a file of Keras's VGG16 or MobileNet weights, or "
        "'imagenet'. Default: random.",
    )
    width_multiplier: float = _option(
        0.25, "Every layer's width is multiplied by it (MobileNet's alpha).", _number(0, 4, True)
    )
    image_size: str = _option(
        "",
        "HEIGHTxWIDTH in pixels that images and labels are resized to on reading. Default: as "
        "they are.",
        _accepted_by(parse_image_size),
    )
    normalization: str = _option(
        "batch", "batch (normalisation) or none (the letter of FCN8s).", _one_of("batch", "none")
    )
    precision: str = _option(
        "float32",
        "float32, mixed_bfloat16 or mixed_float16.",
        _one_of("float32", "mixed_bfloat16", "mixed_float16"),
    )
    train_on: str = _option(
        "mask",
        "mask (whole images, unlabelled positions weigh 0), crop (regions with their receptive "
        "field; batch size 1), or auto (whichever costs less time, image by image; likewise).",
        _one_of("mask", "crop", "auto"),
    )
    warm_start: bool = _option(
        False, "Start each round's training from the round before instead of from scratch."
    )
    epochs: int = _option(100, "Most training epochs of a model in a round.", _number(1))
    patience: int = _option(
        10, "Epochs without improvement on val after which training stops.", _number(1)
    )
    batch_size: int = _option(1, "Images in a training step, on all devices together.", _number(1))
    learning_rate: float = _option(1e-4, "Adam's learning rate.", _number(0, above=True))
    cache: str = _option(
        "auto",
        "Where decoded training and val samples stay between epochs: memory, disk (in the "
        "campaign's folder, until the training ends), none (they are decoded again), or auto "
        "(memory if a quarter of it is enough, else none). The results are the same.",
        _one_of("auto", "memory", "disk", "none"),
    )
    annotator: str = _option(
        "oracle",
        "Who annotates: oracle (reads the ground truth) or files (people: each round waits for "
        "what cereals collect reads from their annotation tool).",
        _one_of("oracle", "files"),
    )
    cost_unit: str = _option(
        "clicks",
        "What the cost model learns to expect: clicks, or the seconds that people need (annotator "
        "files).",
        _one_of(*COST_UNITS),
    )

    def __post_init__(self) -> None:
        for option in fields(self):
            expected = option.metadata["rule"](getattr(self, option.name))
            if expected:
                value = getattr(self, option.name)
                raise UserError(f"--{option.name}={value}: expected {expected}")
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
        unit = parse_budget(self.budget).unit
        if unit in COST_UNITS and unit != self.cost_unit:
            raise UserError(f"--budget={self.budget}: expected --cost_unit={unit} beside it")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Options":
        """Read options as `to_json` gives them.

        Raises:
            UserError: An unknown option, or a value that breaks its rule.
        """
        known = {option.name for option in fields(cls)}
        unknown = sorted(content.keys() - known)
        if unknown:
            raise UserError(f"unknown option {unknown[0]!r}")
        for option in fields(cls):
            found = content.get(option.name, option.default)
            accepted = (float, int) if option.type is float else (option.type,)
            if type(found) not in accepted:
                raise UserError(f"{option.name}: {found!r} is not of type {option.type.__name__}")
        return cls(**content)

    def to_json(self) -> dict[str, Any]:
        """Return every option by name."""
        return asdict(self)


BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
"""What may be typed for a boolean option."""


def parse_option(name: str, kind: type, text: str) -> Any:
    """Turn what was typed for an option into a value of its type.

    Raises:
        UserError: Not of that type.
    """
    if kind is bool:
        if text.lower() not in BOOLEANS:
            raise UserError(f"--{name}={text}: expected true or false")
        return BOOLEANS[text.lower()]
    try:
        return kind(text)
    except ValueError:
        expected = {"int": "a whole number", "float": "a number"}[kind.__name__]
        raise UserError(f"--{name}={text}: expected {expected}") from None
