"""What a round gave: `metrics.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.sources.reading import read_object


@dataclass(frozen=True)
class Training:
    """How the training of a model went.

    Attributes:
        epochs: Epochs that were trained.
        best_epoch: The one whose weights were kept, from 1.
        losses: Mean loss of each epoch.
        val_metrics: The metric on val after each epoch.
    """

    epochs: int
    best_epoch: int
    losses: Sequence[float]
    val_metrics: Sequence[float]


@dataclass(frozen=True)
class Metrics:
    """The content of metrics.json; shares are in percent of the train split.

    Attributes:
        round: The round's number, from 0.
        miou: Mean IoU on val, 0 to 1; None where it is not defined.
        iou_per_class: IoU by class name; None where a class never occurs.
        cost_mean_squared_error: Of the cost model on val, per position.
        cost_mean_squared_error_of_mean: The same, if the mean of what is annotated were predicted
            everywhere; None in rounds of version 0.1.
        bill_estimated: What the round's regions were expected to take when they were chosen, in
            clicks (in seconds with --cost_unit=seconds); None where no model chose them.
        bill_true: What they took, likewise.
        bill_factor: What their estimates were multiplied by, see `--correct_bill`.
        cost_rank_correlation: Spearman's, of estimate and truth among them, likewise.
        cost_rank_correlation_pool: The same over windows of the pool that they were chosen from;
            None where nobody knows the truth.
        test_miou: As `miou`, on test; None where the data set has no labels of it.
        test_iou_per_class: As `iou_per_class`, likewise.
        regions: Regions that are annotated after this round.
        pixels: Pixels in them, each counted once.
        pixels_percent: Their share of all pixels.
        clicks: Clicks billed for them.
        clicks_percent: Their share of all clicks; None where nobody knows how many there are.
        training: How each model's training went, by the model's name.
        devices: Devices that trained together.
        seconds: Computing time of each stage.
        versions: Versions of this package and what it stands on, by name.
        options: What the round ran with, in written forms; None in rounds of version 0.1.
    """

    round: int
    miou: float | None
    iou_per_class: Mapping[str, float | None]
    cost_mean_squared_error: float
    regions: int
    pixels: int
    pixels_percent: float
    clicks: int
    clicks_percent: float | None
    training: Mapping[str, Training]
    devices: int
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    cost_mean_squared_error_of_mean: float | None = None
    bill_estimated: float | None = None
    bill_true: float | None = None
    bill_factor: float = 1.0
    cost_rank_correlation: float | None = None
    cost_rank_correlation_pool: float | None = None
    test_miou: float | None = None
    test_iou_per_class: Mapping[str, float | None] | None = None
    options: Mapping[str, Any] | None = None

    @property
    def cost_model_is_useless(self) -> bool:
        """Whether the cost model predicts val no better than a constant does."""
        constant = self.cost_mean_squared_error_of_mean
        return constant is not None and not self.cost_mean_squared_error < constant

    @property
    def bill_ratio(self) -> float | None:
        """The estimated bill of the round's regions over the true one."""
        if self.bill_estimated is None or not self.bill_true:
            return None
        return self.bill_estimated / self.bill_true

    def on(self, split: str) -> "Metrics":
        """Return these with `miou` and `iou_per_class` of `val` or of `test`."""
        if split == "val":
            return self
        per_class = self.test_iou_per_class or {}
        return replace(self, miou=self.test_miou, iou_per_class=per_class)

    @property
    def total_seconds(self) -> float:
        """The computing time of the round."""
        return sum(self.seconds.values())

    @classmethod
    def read(cls, path: Path) -> "Metrics":
        """Read metrics.json; what a later version added is passed over.

        Raises:
            UserError: The file is missing or damaged.
        """
        content = read_object(path)
        try:
            known: dict[str, Any] = {
                field.name: content[field.name]
                for field in fields(cls)
                if field.name in content or field.default is MISSING
            }
            known["training"] = {
                name: Training(**training) for name, training in known["training"].items()
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: cannot be read: lacks or misstates {error}") from None
        return cls(**known)

    def write(self, path: Path) -> None:
        """Write metrics.json atomically."""
        write_atomically(path, (json.dumps(asdict(self), indent=1) + "\n").encode())
