"""The grid of Table 1: which campaigns there are, and with which options."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from cereals_tf.acquisition.fusion import FUSIONS
from cereals_tf.acquisition.information import MEASURES
from cereals_tf.campaign.options import OPTIONS, Options, read_region_size
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.data_prep.option import refuse_without_effect

IMAGE = "image"
NONE = "none"
BASELINES = ("random_grid", "random")
"""The measures that the others are compared with, the fair one first."""
REFERENCE = "reference"
SHARE = r"(0(?:\.\d+)?|1(?:\.0+)?)"
"""A number from 0 to 1."""
LINEAR_COST_MODEL = "cereals_tf.reproduce.linear_cost:linear_cost_model"
"""Takes the cost model's place where nothing depends on it, as its training would take half of the
time."""

SET_BY_GRID = {
    "region": "regions",
    "information": "informations",
    "fusion": "fusions",
    "alpha": "fusions",
    "cost": "costs",
}
"""Options of a campaign that the grid sets, and the grid's field that does."""


@dataclass(frozen=True)
class FusionSetting:
    """How a campaign fuses information and cost.

    Attributes:
        kind: As `Options.fusion` has it.
        alpha: Weight of the information, for those that have it as a parameter.
    """

    kind: str
    alpha: float | None = None

    @classmethod
    def parse(cls, text: str) -> "FusionSetting":
        """Parse `ratio`, `convex0.75` with its alpha, or `package.module:function`.

        Raises:
            UserError: None of these.
        """
        if ":" in text:
            return cls(text)
        forms = {}
        for name, fusion in FUSIONS.items():
            weighted = "alpha" in fusion.parameters
            found = re.fullmatch(name + (SHARE if weighted else ""), text)
            if found:
                return cls(name, float(found[1]) if weighted else None)
            forms[f"{name}ALPHA, as {name}0.75" if weighted else name] = name
        known = ", ".join(form for form, name in forms.items() if name != NONE)
        raise UserError(f"--fusions: {text!r} is none of {known}, or package.module:function")

    def __str__(self) -> str:
        return self.kind if self.alpha is None else f"{self.kind}{self.alpha:g}"


@dataclass(frozen=True)
class Cell:
    """One cell of the table: what is repeated with several seeds.

    Attributes:
        information: A measure.
        region: The regions' size as the user named it, as `1/16`, `image` or `64`.
        size: The size as `--region` is written.
        fusion: How information and cost are fused.
        cost: `est` or `gt`; empty without fusion.
    """

    information: str
    region: str
    size: str
    fusion: FusionSetting
    cost: str

    @property
    def name(self) -> str:
        """A name that is unique in its grid, and fit for a folder."""
        parts = (self.information, self.size, str(self.fusion), self.cost)
        return "-".join(part for part in parts if part).replace(":", ".")

    @property
    def title(self) -> str:
        """The name in words, as `vote entropy 128x128 ratio, estimated`."""
        size = "images" if self.size == IMAGE else self.size
        words = f"{self.information.replace('_', ' ')} {size}"
        if self.fusion.kind == NONE:
            return words
        return f"{words} {self.fusion}, {'true' if self.cost == 'gt' else 'estimated'}"


def unfused(cells: Iterable[Cell]) -> dict[tuple[str, str], Cell]:
    """Return the cells without fusion, by their measure and the size of their regions."""
    return {(cell.information, cell.size): cell for cell in cells if cell.fusion.kind == NONE}


@dataclass(frozen=True)
class Grid:
    """Which campaigns there are.

    Attributes:
        informations: Measures of information.
        regions: Sizes of regions for the campaigns without fusion: `image`, a share of the image's
            width as `1/8`, or pixels.
        fusions: Fusions besides none; of each measure but those of windows.
        fusion_region: The size of the regions of the campaigns with fusion.
        costs: Where their costs come from: est, gt.
        repeats: Seeds of each cell.
        rounds: Rounds of a campaign, the first one included.
        split: Whose mIoU the tables and curves are of, `val` or `test`.
    """

    informations: tuple[str, ...] = ("entropy", "vote_entropy", *BASELINES)
    regions: tuple[str, ...] = (IMAGE, "1/4", "1/8", "1/16")
    fusions: tuple[str, ...] = ("ratio", "product", "convex0.5", "convex0.75", "convex0.9")
    fusion_region: str = "1/16"
    costs: tuple[str, ...] = ("gt", "est")
    repeats: int = 5
    rounds: int = 10
    split: str = "val"

    def __post_init__(self) -> None:
        for name, choices in (("informations", MEASURES), ("costs", ("gt", "est"))):
            for value in getattr(self, name):
                if value not in choices and not (":" in value and name == "informations"):
                    raise UserError(f"--{name}: {value!r} is none of {', '.join(choices)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and len(set(value)) < len(value):
                raise UserError(f"--{field.name}={','.join(value)}: names something twice")
        if not self.informations or not self.regions:
            raise UserError("--informations, --regions: expected at least one of each")
        for text in self.fusions:
            if FusionSetting.parse(text).kind == NONE:
                raise UserError("--fusions: none is part of every grid")
        if self.split not in ("val", "test"):
            raise UserError(f"--split={self.split}: expected val or test")
        for name in ("repeats", "rounds"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name}={getattr(self, name)}: expected at least 1")

    def cells(self, width: int) -> list[Cell]:
        """Return all cells for images of this width in pixels, those without fusion first.

        Raises:
            UserError: A size of regions is no size, or two are the same.
        """
        sizes = {region: region_size(region, width) for region in self.regions}
        if len(set(sizes.values())) < len(sizes):
            raise UserError(
                f"--regions={','.join(sizes)}: of images {width} pixels wide, some are the same "
                f"size: {', '.join(sizes.values())}"
            )
        plain = FusionSetting(NONE)
        cells = [
            Cell(information, region, size, plain, cost="")
            for information in self.informations
            for region, size in sizes.items()
        ]
        return cells + list(self._fused(width))

    def _fused(self, width: int) -> Iterator[Cell]:
        size = region_size(self.fusion_region, width) if self.fusions else ""
        fused = [name for name in self.informations if not _is_of_windows(name)]
        for information, text, cost in product(fused, self.fusions, self.costs):
            fusion = FusionSetting.parse(text)
            yield Cell(information, self.fusion_region, size, fusion, cost)


def _is_of_windows(information: str) -> bool:
    return information in MEASURES and MEASURES[information].of_windows


def region_size(text: str, width: int) -> str:
    """Return a region's size as `--region` is written.

    Args:
        text: `image`, a share of the width as `1/8` (made a multiple of 8), or pixels.
        width: Width of the images, pixels.

    Raises:
        UserError: None of these.
    """
    share = re.fullmatch(r"1/([1-9]\d{0,3})", text)
    if share:
        side = max(STRIDE, round(width / int(share[1]) / STRIDE) * STRIDE)
        return f"{side}x{side}"
    try:
        size = read_region_size(text)
    except ValueError as error:
        message = f"--regions: {text!r} is neither image, nor 1/N of the width, nor {error}"
        raise UserError(message) from None
    return size if isinstance(size, str) else f"{size.height}x{size.width}"


@dataclass(frozen=True)
class Planned:
    """A campaign of the grid.

    Attributes:
        name: Its folder's name.
        cell: Its cell; None for the reference, a model trained on the whole train split.
        repeat: Which repeat, from 0.
        options: Its options.
        rounds: How many rounds it has.
    """

    name: str
    cell: Cell | None
    repeat: int
    options: Options
    rounds: int


def plan(grid: Grid, base: Options, width: int) -> list[Planned]:
    """Return all campaigns of a grid, repeat after repeat, each with its reference first.

    Args:
        grid: The grid.
        base: The options that all campaigns share; its seed is that of the first repeat.
        width: Width of the images, pixels.

    Raises:
        UserError: An option that the grid sets, or that has no effect in it, or a wrong size of
            regions.
    """
    usual = Options.by_recipe(recipe=base.recipe).to_json()
    given = {name: value for name, value in base.to_json().items() if value != usual[name]}
    _refuse_set_by_grid(base, given)
    if base.cost_model and not (grid.fusions and "est" in grid.costs):
        raise UserError("--cost_model: has an effect only with est in --costs, and --fusions")
    cells = grid.cells(width)
    # Beside a frozen encoder a cost head takes no time, and lets features be all that is read.
    linear = {"cost_model": LINEAR_COST_MODEL} if base.encoder == "trained" else {}
    planned = []
    for repeat in range(grid.repeats):
        seed = base.seed + repeat
        options = base.but(seed=seed, initial="100%", fusion=NONE, **linear)
        planned.append(Planned(f"{REFERENCE}-seed{seed}", None, repeat, options, 1))
        for cell in cells:
            options = base.but(
                seed=seed, **options_of(cell), **(linear if cell.cost != "est" else {})
            )
            name = f"{cell.name}-seed{seed}"
            planned.append(Planned(name, cell, repeat, options, grid.rounds))
    choosing = (one.options.to_json() for one in planned if one.cell)
    refuse_without_effect(OPTIONS, given, *choosing)
    return planned


def options_of(cell: Cell) -> dict[str, Any]:
    """Return the options that a cell sets, in their written forms."""
    options: dict[str, Any] = {
        "region": cell.size,
        "information": cell.information,
        "fusion": cell.fusion.kind,
    }
    if cell.fusion.alpha is not None:
        options["alpha"] = cell.fusion.alpha
    if cell.cost:
        options["cost"] = cell.cost
    return options


def _refuse_set_by_grid(base: Options, given: Mapping[str, Any]) -> None:
    for name, field in SET_BY_GRID.items():
        if name in given:
            raise UserError(f"--{name}={given[name]}: the grid sets it, use --{field}")
    if base.annotator != "oracle":
        raise UserError(f"--annotator={base.annotator}: a grid is annotated by the oracle")


def names(text: str) -> tuple[str, ...]:
    """Split what was typed for a list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
