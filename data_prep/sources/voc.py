"""PASCAL VOC: masks and lists of image names, for VOC's classes or any others."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.images import images_below, remark_unlisted
from cereals_tf.data_prep.sources.label_map import (
    ClassesOptions,
    Colour,
    LabelMap,
    read_colour,
    train_id_map,
)
from cereals_tf.data_prep.sources.label_sets import (
    IGNORE_ID,
    VOC,
    VOC_VOID,
    LabelSet,
    label_set_of,
    voc_palette,
)
from cereals_tf.data_prep.sources.masks import OutlineOptions, annotation_of_mask
from cereals_tf.data_prep.sources.reading import file_inside, key_below, read_file
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import (
    DividedOptions,
    divided,
    known_splits,
    pair,
    split_names,
    splits_of,
)
from cereals_tf.data_prep.text import shown

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_LISTS = "ImageSets/Segmentation"
_LABELS = "labelmap.txt"
_MASKS = "SegmentationClass"


@dataclass(frozen=True)
class VocOptions(ClassesOptions, OutlineOptions, DividedOptions):
    """How PASCAL VOC is read."""


class _Listed(NamedTuple):
    """A name in a list, and the place where it stands, for messages."""

    name: str
    where: str


class VocSource:
    """`JPEGImages`, `SegmentationClass` and the lists `ImageSets/Segmentation/{train,val}.txt`.

    They lie in the source or in the latest year of its `VOCdevkit`. Only listed images are read;
    one list of another name is divided into train and val, where with `unlabelled_train` images
    that it does not have are train. A mask has ids in grey or in a palette, or the classes'
    colours. Train may have no mask at all: people will annotate its images.

    The classes are those of the classes file, or of CVAT's `labelmap.txt`, or else VOC's, whose
    void (255) is ignored. Polygons are the masks' contours, simplified at `tolerance` pixels.
    """

    def __init__(self, folder: Path, options: VocOptions) -> None:
        years = sorted(folder.glob("VOCdevkit/VOC[0-9]*"))
        self._folder = years[-1] if years else folder
        self._images, self._masks = (self._folder / name for name in ("JPEGImages", _MASKS))
        self.options = options
        self.log = SourceLog()
        path = self._folder / _LABELS
        own = LabelSet(str(path), _read_labelmap(path)) if path.is_file() else VOC
        self.classes_from, self._labels_as = label_set_of(folder, options, own)
        self.classes = self._labels_as.classes
        self.background = self.classes.ignore_id

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        for part in (self._images.name, _MASKS, _LISTS):
            if not (self._folder / part).is_dir():
                raise UserError(f"{self._folder / part}: no such folder")
        lists = {path.stem for path in (self._folder / _LISTS).glob("[!.]*.txt")}
        if len(lists) == 1 and not known_splits(lists, self.options):
            items = self._listed_items(lists, True, {})
            if self.options.unlabelled_train:
                every = pair(images_below(self._images, self.log), {}, self.log)
                listed = {item.image_id for item in items}
                items += [item for item in every if item.image_id not in listed]
            else:
                remark_unlisted([self._images], [item.image for item in items], self.log)
            return divided(items, self.options, self.log)
        names = split_names(lists, self.options, str(self._folder / _LISTS / "{split}.txt"))
        seen: dict[str, str] = {}
        parts = {
            split: self._listed_items(of_split, split != "val", seen)
            for split, of_split in names.items()
        }
        listed = [item.image for items in parts.values() for item in items]
        remark_unlisted([self._images], listed, self.log)
        return splits_of(parts, self.options, self.log)

    def _listed_items(
        self, lists: Iterable[str], may_lack_masks: bool, seen: dict[str, str]
    ) -> list[Item]:
        """Return the items of some lists; `seen` has the places of ids that were listed before."""
        listed = [
            entry
            for name in sorted(lists)
            for entry in _read_list(self._folder / _LISTS / f"{name}.txt")
        ]
        any_masked = any(self._has_mask(entry.name) for entry in listed)
        by_people = may_lack_masks and (self.options.unlabelled_train or not any_masked)
        items = []
        for name, where in listed:
            with self.log.noted("images or masks that are listed but not there"):
                item = self._item(name, where, not by_people or self._has_mask(name))
                if item.image_id in seen:
                    first = seen[item.image_id]
                    raise UserError(f"{where}: {name!r} is listed twice, also at {first}")
                seen[item.image_id] = where
                items.append(item)
        return items

    def _has_mask(self, name: str) -> bool:
        return any(os.path.isfile(self._masks / f"{name}{form}") for form in (".png", ".PNG"))

    def _item(self, name: str, where: str, masked: bool) -> Item:
        images, masks = self._images, self._masks
        names = [f"{name}{form}" for suffix in _SUFFIXES for form in (suffix, suffix.upper())]
        found = next((file for file in names if os.path.isfile(images / file)), names[0])
        image = file_inside(images, images, found, where)
        mask = file_inside(masks, masks, f"{name}.png", where) if masked else None
        return Item(key_below(images, image), image, mask)

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        return annotation_of_mask(item, height, width, self._labels_as, self.options.tolerance)


def _read_list(path: Path) -> list[_Listed]:
    try:
        lines = read_file(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a list of image names in UTF-8") from None
    names = [
        _Listed(_without_suffix(line.strip()), f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not names:
        raise UserError(f"{path}: lists no image")
    return names


def _without_suffix(name: str) -> str:
    return name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in _SUFFIXES else name


def _read_labelmap(path: Path) -> LabelMap:
    """Read CVAT's `labelmap.txt`, whose lines are `label:red,green,blue:parts:actions`.

    A label without a colour has VOC's of its place.

    Raises:
        UserError: A line is of another form, or a label or a colour is there twice.
    """
    colours: dict[str, Colour] = {}
    for line in read_file(path).decode("utf-8-sig", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, *fields = line.strip().rsplit(":", 3)
        try:
            colour = read_colour(fields[0]) if fields[0] else voc_palette(len(colours) + 1)[-1]
        except (IndexError, ValueError):
            raise UserError(
                f"{path}: {shown(line)}, expected label:red,green,blue:parts:actions"
            ) from None
        if name in colours or colour in colours.values():
            raise UserError(f"{path}: {shown(line)}: its label or its colour is there twice")
        colours[name] = colour
    if not 2 <= len(colours) <= IGNORE_ID:
        raise UserError(f"{path}: {len(colours)} labels, expected 2 to {IGNORE_ID}")
    found = train_id_map(Classes(tuple(colours), tuple(colours.values()), IGNORE_ID))
    return replace(found, colours={VOC_VOID: IGNORE_ID, **found.colours})
