"""Cityscapes: polygons in JSON, painted to train ids as the official tools paint them."""

import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import one_of, option
from cereals_tf.data_prep.polygons import Polygon, paint
from cereals_tf.data_prep.sources.reading import (
    annotations_below,
    checked_id,
    images_below,
    read_json,
    read_points,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import SplitOptions, pair, splits_of

IGNORE_ID = 255


class Label(NamedTuple):
    """One label of Cityscapes: its name, id, train id (255: not evaluated), and colour."""

    name: str
    id: int
    train_id: int
    colour: tuple[int, int, int]


LABELS = (
    Label("unlabeled", 0, 255, (0, 0, 0)),
    Label("ego vehicle", 1, 255, (0, 0, 0)),
    Label("rectification border", 2, 255, (0, 0, 0)),
    Label("out of roi", 3, 255, (0, 0, 0)),
    Label("static", 4, 255, (0, 0, 0)),
    Label("dynamic", 5, 255, (111, 74, 0)),
    Label("ground", 6, 255, (81, 0, 81)),
    Label("road", 7, 0, (128, 64, 128)),
    Label("sidewalk", 8, 1, (244, 35, 232)),
    Label("parking", 9, 255, (250, 170, 160)),
    Label("rail track", 10, 255, (230, 150, 140)),
    Label("building", 11, 2, (70, 70, 70)),
    Label("wall", 12, 3, (102, 102, 156)),
    Label("fence", 13, 4, (190, 153, 153)),
    Label("guard rail", 14, 255, (180, 165, 180)),
    Label("bridge", 15, 255, (150, 100, 100)),
    Label("tunnel", 16, 255, (150, 120, 90)),
    Label("pole", 17, 5, (153, 153, 153)),
    Label("polegroup", 18, 255, (153, 153, 153)),
    Label("traffic light", 19, 6, (250, 170, 30)),
    Label("traffic sign", 20, 7, (220, 220, 0)),
    Label("vegetation", 21, 8, (107, 142, 35)),
    Label("terrain", 22, 9, (152, 251, 152)),
    Label("sky", 23, 10, (70, 130, 180)),
    Label("person", 24, 11, (220, 20, 60)),
    Label("rider", 25, 12, (255, 0, 0)),
    Label("car", 26, 13, (0, 0, 142)),
    Label("truck", 27, 14, (0, 0, 70)),
    Label("bus", 28, 15, (0, 60, 100)),
    Label("caravan", 29, 255, (0, 0, 90)),
    Label("trailer", 30, 255, (0, 0, 110)),
    Label("train", 31, 16, (0, 80, 100)),
    Label("motorcycle", 32, 17, (0, 0, 230)),
    Label("bicycle", 33, 18, (119, 11, 32)),
    Label("license plate", -1, -1, (0, 0, 142)),
)
_TRAIN_IDS = {label.name: label.train_id for label in LABELS}
_EVALUATED = sorted(
    (label for label in LABELS if label.train_id not in (-1, IGNORE_ID)),
    key=lambda label: label.train_id,
)
CLASSES = Classes(
    names=tuple(label.name for label in _EVALUATED),
    palette=tuple(label.colour for label in _EVALUATED),
    ignore_id=IGNORE_ID,
)


@dataclass(frozen=True)
class CityscapesOptions(SplitOptions):
    """How Cityscapes is read."""

    annotations: str = option(
        "gtFine", "Which annotations, gtFine or gtCoarse.", one_of("gtFine", "gtCoarse")
    )


class CityscapesSource:
    """`leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_polygons.json`.

    Images may be JPEG too. The splits are the folders found; train and val must be there. Train may
    have no annotation at all: people will annotate its images.
    """

    classes = CLASSES
    classes_from = "Cityscapes"
    background = IGNORE_ID

    def __init__(self, folder: Path, options: CityscapesOptions) -> None:
        self._options = options
        self._images = folder / "leftImg8bit"
        self._annotations = folder / options.annotations
        self._suffix = f"_{options.annotations}_polygons"

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        for folder in (*(self._images / split for split in ("train", "val")), self._annotations):
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder")
        splits = [split for split in ("train", "val", "test") if (self._images / split).is_dir()]
        return splits_of({split: self._pairs(split) for split in splits}, self._options)

    def _pairs(self, split: str) -> list[Item]:
        images = images_below(self._images / split)
        annotations = {
            path.relative_to(self._annotations / split).with_suffix("").as_posix(): path
            for path in annotations_below(self._annotations / split, [".json"], split)
            if path.stem.endswith(self._suffix)
        }
        return pair(_by_frame(images, "_leftImg8bit"), _by_frame(annotations, self._suffix))

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        assert item.annotation
        content = read_json(item.annotation)
        stated = [content.get("imgHeight"), content.get("imgWidth")]
        if stated != [height, width]:
            raise UserError(
                f"{item.annotation}: says [imgHeight, imgWidth] {reprlib.repr(stated)}, "
                f"its image {item.image.name} is {[height, width]}"
            )
        polygons = _polygons(item.annotation, content.get("objects"))
        return Annotation(paint(polygons, height, width, background=self.background), polygons)


def _by_frame(files: dict[str, Path], suffix: str) -> dict[str, Path]:
    """Key files by CITY_SEQUENCE_FRAME, which is unique in Cityscapes, without their folder."""
    frames: dict[str, Path] = {}
    for key, path in files.items():
        name = key.rpartition("/")[2]
        if not name.endswith(suffix):
            raise UserError(f"{path}: expected a name that ends in {suffix}{path.suffix}")
        frame = checked_id(name.removesuffix(suffix), path)
        if frame in frames:
            raise UserError(f"{path}: duplicate id {frame!r}, also the id of {frames[frame]}")
        frames[frame] = path
    return frames


def _polygons(path: Path, objects: Any) -> list[Polygon]:
    if not isinstance(objects, list):
        raise UserError(f"{path}: 'objects' is {type(objects).__name__}, expected a list")
    polygons = []
    for number, item in enumerate(objects):
        where = f"{path}: object {number}"
        if not isinstance(item, dict):
            raise UserError(f"{where} is {type(item).__name__}, expected an object")
        if item.get("deleted"):
            continue
        train_id = _train_id(where, item.get("label"))
        if train_id >= 0:
            polygons.append(Polygon(train_id, read_points(where, item.get("polygon"))))
    return polygons


def _train_id(where: str, name: Any) -> int:
    """Return the train id of a label; a group such as `cargroup` counts as its members."""
    if not isinstance(name, str):
        raise UserError(f"{where} has label {reprlib.repr(name)}, expected a name")
    if name not in _TRAIN_IDS:
        name = name.removesuffix("group")
    if name not in _TRAIN_IDS:
        raise UserError(f"{where} has the unknown class name {reprlib.repr(name)}")
    return _TRAIN_IDS[name]
