"""The kinds of data sets that `prepare` reads, each a `Source`."""

from collections.abc import Callable
from pathlib import Path

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.cityscapes import CityscapesSource
from cereals_tf.data_prep.sources.coco import CocoSource
from cereals_tf.data_prep.sources.labelme import LabelmeSource
from cereals_tf.data_prep.sources.masks import MaskSource
from cereals_tf.data_prep.sources.source import Source, SourceOptions
from cereals_tf.data_prep.sources.voc import VocSource

SOURCES: dict[str, Callable[[Path, SourceOptions], Source]] = {
    "cityscapes": CityscapesSource,
    "voc": VocSource,
    "coco": CocoSource,
    "labelme": LabelmeSource,
    "camvid": MaskSource,
    "masks": MaskSource,
}


def open_source(kind: str, folder: Path, options: SourceOptions) -> Source:
    """Open a data set of a kind that `SOURCES` names.

    Raises:
        UserError: Unknown kind, or no such folder.
    """
    if kind not in SOURCES:
        raise UserError(f"--dataset={kind}: unknown, expected one of {', '.join(SOURCES)}")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    return SOURCES[kind](folder, options)
