"""COCO: instances as polygons or run lengths in JSON, rasterised by pycocotools."""

import os
import re
import reprlib
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import one_of, option
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.problems import InvalidError, SourceLog
from cereals_tf.data_prep.sources.coco_masks import coco_masks, drawable_parts
from cereals_tf.data_prep.sources.images import images_below, remark_unlisted
from cereals_tf.data_prep.sources.label_map import evenly_spaced_palette
from cereals_tf.data_prep.sources.masks import OutlineOptions, read_tolerance
from cereals_tf.data_prep.sources.reading import (
    INVALID_SHAPES,
    OTHER_SIZE,
    file_inside,
    key_below,
    outline_object,
    read_object,
    splits_matching,
)
from cereals_tf.data_prep.sources.source import Annotation, Item
from cereals_tf.data_prep.sources.splits import (
    DividedOptions,
    divided,
    pair,
    split_names,
    splits_found,
    splits_of,
)
from cereals_tf.data_prep.text import is_unicode, shown

IGNORE_ID = 255
BACKGROUND = "background"
_MAX_RUN_BITS = 30
_SERVED = "/data/local-files/?d="
"""What Label Studio puts before the paths of files that it does not keep itself."""


class _Layout(NamedTuple):
    """Where the annotation file of a split is, and the folder of its images."""

    annotations: str
    images: str


_LAYOUTS = (
    _Layout("annotations/instances_{split}2017.json", "{split}2017"),
    _Layout("annotations/instances_{split}.json", "images/{split}"),
    _Layout("annotations/instances_{split}.json", "{split}"),
    _Layout("{split}/_annotations.coco.json", "{split}"),
    _Layout("annotations/instances_default.json", "images/default"),
    _Layout("annotations/instances_default.json", "images"),
    _Layout("result.json", "images"),
)
"""Those of COCO, CVAT (by subset), others, Roboflow, CVAT (two versions), and Label Studio."""


class _Category(NamedTuple):
    name: str
    is_stuff: bool


@dataclass
class _Image:
    """An entry of `images`, and the entries of `annotations` that name it."""

    item: Item
    size: list[Any]
    annotations: list[dict[str, Any]] = field(default_factory=list)


class _Object(NamedTuple):
    """One annotation: pycocotools' run lengths, and the polygons that an annotator drew."""

    class_id: int
    rle: dict[str, Any]
    polygons: Sequence[Polygon]


class _File(NamedTuple):
    """An annotation file, its JSON and the folder of its images."""

    split: str
    path: Path
    content: dict[str, Any]
    pictures: Path


@dataclass(frozen=True)
class CocoOptions(OutlineOptions, DividedOptions):
    """How COCO is read."""

    images: str = option(
        "",
        "Folder of the images in SOURCE, {split} standing for the split's name there. By default "
        "{split}2017, or where CVAT, Roboflow or Label Studio put them.",
    )
    annotations: str = option(
        "",
        "JSON file in SOURCE, {split} standing for the split's name there. By default "
        "annotations/instances_{split}2017.json, or as CVAT, Roboflow or Label Studio name it.",
    )
    tolerance: float = option(
        1.0,
        "How far the polygon of an object in run lengths may be from its mask, pixels.",
        read_tolerance,
    )
    crowds: str = option(
        "class",
        "Annotations with iscrowd, as which CVAT writes every mask: class (they are of their "
        "class) or ignore.",
        one_of("class", "ignore"),
    )


class CocoSource:
    """`train2017`, `val2017` and `annotations/instances_{train,val}2017.json`, or other names.

    One annotation file for all images, `--annotations` without `{split}`, is divided into train and
    val. Only images that a file lists are read.

    Train may have no annotation file: people will annotate all images of its folder. With
    `unlabelled_train` the file may also list images alone, which otherwise show only background,
    and one file for all images makes val of those that have annotations and train of all others in
    the folder.

    The classes are the categories in the order of their ids, without an unused one that only groups
    the others. Pixels without annotation belong to the class `background`, which comes first unless
    a category has this name. Where a category is marked as stuff (`isthing` is 0) they are void
    instead, and ignored.

    An object's pixels are those of `annToMask` of pycocotools. Larger objects are painted first,
    ties by the annotation's id. Polygons are the annotation's own, in COCO's coordinates, where
    the first pixel is centred at (0.5, 0.5); those of run lengths are the mask's contours,
    simplified at `tolerance` pixels.
    """

    def __init__(self, folder: Path, options: CocoOptions) -> None:
        self._rasterizer = coco_masks("coco")
        self._folder = folder
        self.options = options
        self.log = SourceLog()
        self._splits: dict[str, list[Item]] = {}
        self._images: dict[Path, _Image] = {}
        files = list(self._files(_layout(folder, options)))
        categories = self._categories(files)
        for file in files:
            listed = self._listed(file, categories)
            self._splits.setdefault(file.split, []).extend(self._items(file, listed))
            self._images |= listed
        self.classes_from = str(files[-1].path)
        self.classes, self._train_ids, self.background = _classes(files[-1].path, categories)
        self._remark_crowds(files)
        if not (options.unlabelled_train and any(not file.split for file in files)):
            in_splits = [item.image for items in self._splits.values() for item in items]
            pictures = [file.pictures for file in files]
            remark_unlisted(pictures, [*in_splits, *self._images], self.log)

    def _files(self, layout: _Layout) -> Iterator[_File]:
        """Give the annotation files; a train split without one goes to the splits at once."""
        annotations, images = layout
        if "{split}" in images and "{split}" not in annotations:
            found = f"found {self.options.images}" if self.options.images else "as --images=images"
            raise UserError(
                f"--annotations={annotations} is one file for all images: expected one folder "
                f"in --images, {found}"
            )
        if "{split}" not in annotations:
            path = self._folder / annotations
            yield _File("", path, read_object(path), self._folder / images)
            return
        found = {name for part in layout for name in splits_matching(self._folder, part)}
        place = str(self._folder / annotations)
        for split, names in split_names(found, self.options, place).items():
            for name in names:
                path, pictures = (self._folder / part.replace("{split}", name) for part in layout)
                if split == "val" or os.path.lexists(path):
                    yield _File(split, path, read_object(path), pictures)
                elif split == "train":
                    self._splits[split] = pair(images_below(pictures, self.log), {}, self.log)
                else:
                    self.log.remarks.append(f"{pictures}: without {path.name}, it is left out")

    def _categories(self, files: Sequence[_File]) -> dict[int, _Category]:
        """Return the categories, which all files share, but for an unused one of their kind."""
        used = {
            _number(entry.get("category_id"))
            for file in files
            for entry in _unchecked(file, "annotations")
            if isinstance(entry, dict)
        }
        first, *others = files
        entries = _entries(first.path, first.content, "categories", SourceLog())
        groups = _groups([entry for _, entry in entries], used)
        if groups:
            named = ", ".join(sorted(str(entry.get("name")) for entry in groups))
            self.log.remarks.append(
                f"{first.path}: the category {shown(named)} has no annotations and groups the "
                "others, it is no class"
            )
        left_out = {entry["id"] for entry in groups}
        found = _read_categories(first, left_out)
        for file in others:
            if _read_categories(file, left_out) != found:
                raise UserError(f"{file.path}: its categories are not those of the other splits")
        return found

    def _listed(self, file: _File, categories: Mapping[int, _Category]) -> dict[Path, _Image]:
        """Return the images that a file lists, with their annotations, by the path of the image."""
        if not file.pictures.is_dir():
            raise UserError(f"{file.pictures}: no such folder")
        by_id: dict[int, _Image | None] = {}
        places: dict[str, str] = {}
        for where, entry in _entries(file.path, file.content, "images", self.log):
            by_id[entry["id"]] = None
            with self.log.noted("images that are listed but cannot be used"):
                image = self._find(file, entry.get("file_name"), where)
                inside = file.pictures in image.parents
                key = key_below(file.pictures if inside else self._folder, image)
                if key in places:
                    raise UserError(
                        f"{where} has the image {key!r}, also the image of {places[key]}"
                    )
                places[key] = where
                stated = [entry.get("height"), entry.get("width")]
                size = [value if (n := _number(value)) is None else n for value in stated]
                by_id[entry["id"]] = _Image(Item(key, image, file.path), size)
        if not by_id:
            raise self.log.nothing_left(f"{file.path}: no images")
        if file.split == "train" and self.options.unlabelled_train:
            file.content.setdefault("annotations", [])
        for where, entry in _entries(file.path, file.content, "annotations", self.log):
            with self.log.noted("annotations of no image or no category"):
                image_id = _whole(where, entry, "image_id")
                category = _whole(where, entry, "category_id")
                if image_id not in by_id:
                    raise UserError(
                        f"{where} has the image_id {reprlib.repr(image_id)}, which no image has"
                    )
                if category not in categories:
                    raise UserError(
                        f"{where} has the category_id {reprlib.repr(category)}, which no category "
                        "has"
                    )
                if found := by_id[image_id]:
                    found.annotations.append({**entry, "category_id": category})
        return {image.item.image: image for image in by_id.values() if image}

    def _find(self, file: _File, name: Any, where: str) -> Path:
        """Return the image that an entry names: in the images' folder, the file's, or the source.

        Tools write backslashes, and folders that are not there: then, what of the name is there.
        """
        if not isinstance(name, str):
            return file_inside(file.pictures, file.pictures, name, where)
        served = name.partition(_SERVED)[2]
        named = unquote(served) if served else PureWindowsPath(name).as_posix()
        parts = PurePosixPath(named).parts
        ends = ["/".join(parts[i:]) for i in range(1, len(parts)) if ".." not in parts[i:]]
        places = [
            (file.pictures, file.pictures, named),
            (self._folder, file.path.parent, named),
            (self._folder, self._folder, named),
            *((file.pictures, file.pictures, end) for end in ends),
        ]
        for root, place, candidate in places:
            if os.path.isfile(place / candidate):
                return file_inside(root, place, candidate, where)
        for root, place, candidate in places:
            with suppress(UserError):
                return file_inside(root, place, candidate, where)
        return file_inside(file.pictures, file.pictures, named, where)

    def _items(self, file: _File, listed: Mapping[Path, _Image]) -> list[Item]:
        """Return the items of a file; where it is of all images, also of those it does not list."""
        items = {image.item.image_id: image.item for image in listed.values()}
        annotated = {image.item.image_id for image in listed.values() if image.annotations}
        if file.split == "train" and self.options.unlabelled_train:
            items = {
                key: item if key in annotated else item._replace(annotation=None)
                for key, item in items.items()
            }
        if not file.split and self.options.unlabelled_train:
            unlisted = pair(images_below(file.pictures, self.log), {}, self.log)
            items = {item.image_id: item for item in unlisted}
            items |= {
                image.item.image_id: image.item for image in listed.values() if image.annotations
            }
        return list(items.values())

    def _remark_crowds(self, files: Sequence[_File]) -> None:
        crowds = sum(
            isinstance(entry, dict) and entry.get("iscrowd") == 1
            for file in files
            for entry in _unchecked(file, "annotations")
        )
        if crowds and self.options.crowds == "ignore":
            self.log.remarks.append(f"{crowds} annotations are crowds, their pixels are ignored")

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        if "" in self._splits:
            return divided(self._splits[""], self.options, self.log)
        return splits_of(self._splits, self.options, self.log)

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        assert item.annotation
        image = self._images[item.image]
        if image.size not in ([height, width], [None, None]):
            raise InvalidError(
                OTHER_SIZE,
                f"{item.annotation}: says [height, width] {reprlib.repr(image.size)} of "
                f"{item.image.name}, the image is {[height, width]}",
            )
        log = SourceLog()
        objects: list[_Object] = []
        for entry in sorted(image.annotations, key=lambda entry: entry["id"]):
            with log.noted(INVALID_SHAPES):
                objects += self._objects(item.annotation, entry, height, width, log)
        objects.sort(key=lambda found: -int(self._rasterizer.area(found.rle)))
        label = np.full((height, width), self.background, np.uint8)
        for found in objects:
            label[self._rasterizer.decode(found.rle) > 0] = found.class_id
        polygons = [polygon for found in objects for polygon in found.polygons]
        return Annotation(label, polygons, log.problems)

    def _objects(
        self, path: Path, entry: dict[str, Any], height: int, width: int, log: SourceLog
    ) -> list[_Object]:
        """Return the object of an annotation, none if it has no polygon that can be painted."""
        where = f"{path}: annotation {reprlib.repr(entry['id'])}"
        segmentation, crowd = entry.get("segmentation"), entry.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise UserError(f"{where} has 'iscrowd' {reprlib.repr(crowd)}, expected 0 or 1")
        ignored = crowd and self.options.crowds == "ignore"
        class_id = IGNORE_ID if ignored else self._train_ids[entry["category_id"]]
        if segmentation is None:
            segmentation = []
        if isinstance(segmentation, list):
            alone = segmentation and all(type(value) in (int, float) for value in segmentation)
            several = [segmentation] if alone else segmentation
            parts = drawable_parts(where, several, height, width, log)
            if not parts:
                return []
            polygons = [Polygon(class_id, np.reshape(part, (-1, 2))) for part in parts]
            rle = self._rasterizer.merge(self._rasterizer.frPyObjects(parts, height, width))
        else:
            runs = {"size": [height, width], "counts": _runs(where, segmentation, height, width)}
            rle = self._rasterizer.frPyObjects(runs, height, width)
            mask = self._rasterizer.decode(rle)
            polygons = outline_object(mask, class_id, self.options.tolerance)
        return [_Object(class_id, rle, polygons)]


def _layout(folder: Path, options: CocoOptions) -> _Layout:
    """Return the layout that the options name, or the first that is found."""
    usual, *_ = _LAYOUTS
    if options.annotations or options.images:
        return _Layout(options.annotations or usual.annotations, options.images or usual.images)
    for layout in _LAYOUTS:
        if "{split}" not in layout.annotations:
            if (folder / layout.annotations).is_file() and (folder / layout.images).is_dir():
                return layout
            continue
        of_files, of_images = (
            splits_found(splits_matching(folder, part), options) for part in layout
        )
        if "train" in of_images and {"train", "val"} & of_files:
            return layout
    if not any(splits_matching(folder, layout.annotations) for layout in _LAYOUTS):
        raise UserError(
            f"{folder}: no JSON file where COCO and others have it, as "
            f"{usual.annotations.replace('{split}', 'train')}: give --annotations=FILE and "
            "--images=FOLDER"
        )
    return usual


def _unchecked(file: _File, key: str) -> list[Any]:
    """Return a list of a file, not checked yet, empty where it is none."""
    content = file.content.get(key)
    return content if isinstance(content, list) else []


def _entries(
    path: Path, content: Mapping[str, Any], key: str, log: SourceLog
) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects of a list that have ids of their own, each with its place for messages."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise UserError(f"{path}: '{key}' is {type(entries).__name__}, expected a list")
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: {key}[{number}]"
        with log.noted(f"damaged entries of {key}"):
            if not isinstance(entry, dict):
                raise UserError(f"{where} is {type(entry).__name__}, expected an object")
            identity = _whole(where, entry, "id")
            if identity in found:
                raise UserError(f"{where} has the duplicate id {reprlib.repr(identity)}")
            found[identity] = (where, {**entry, "id": identity})
    return list(found.values())


def _whole(where: str, entry: Mapping[str, Any], key: str) -> int:
    number = _number(entry.get(key))
    if number is None:
        found = reprlib.repr(entry.get(key))
        raise UserError(f"{where} has '{key}' {found}, expected a whole number")
    return number


def _number(value: Any) -> int | None:
    """Return a whole number that JSON has as such, as 1.0 or as "1"."""
    if type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _groups(entries: Sequence[dict[str, Any]], used: Container[int]) -> list[dict[str, Any]]:
    """Return unused categories that only group the others, as the root that Roboflow writes."""
    above = [entry.get("supercategory") for entry in entries if entry["id"] in used]
    return [
        entry
        for entry in entries
        if entry["id"] not in used
        and above
        and (
            (isinstance(entry.get("name"), str) and entry["name"] in above)
            or (entry.get("supercategory") == "none" and "none" not in above)
        )
    ]


def _read_categories(file: _File, left_out: Container[int]) -> dict[int, _Category]:
    log = SourceLog()
    categories: dict[int, _Category] = {}
    names = set()
    for where, entry in _entries(file.path, file.content, "categories", log):
        name = entry.get("name")
        if entry["id"] in left_out:
            continue
        if not isinstance(name, str) or not name.strip() or not is_unicode(name):
            raise UserError(f"{where} has the name {reprlib.repr(name)}, expected text")
        name = name.strip()
        if name in names:
            raise UserError(f"{where} has the duplicate name {shown(name)}")
        names.add(name)
        categories[entry["id"]] = _Category(name, entry.get("isthing") == 0)
    for problem in log.problems:
        raise UserError(problem.text)
    if not categories:
        raise UserError(f"{file.path}: no categories")
    return categories


def _classes(
    path: Path, categories: Mapping[int, _Category]
) -> tuple[Classes, dict[int, int], int]:
    """Return the classes, the train id of each category id, and that of unlabelled pixels."""
    names = [categories[identity].name for identity in sorted(categories)]
    if BACKGROUND in names:
        background = names.index(BACKGROUND)
    elif any(category.is_stuff for category in categories.values()):
        background = IGNORE_ID
    else:
        names.insert(0, BACKGROUND)
        background = 0
    if not 2 <= len(names) <= IGNORE_ID:
        raise UserError(f"{path}: {len(names)} classes with background, expected 2 to {IGNORE_ID}")
    palette = list(evenly_spaced_palette(len(names)))
    if background != IGNORE_ID:
        palette[background] = (0, 0, 0)
    train_ids = {identity: names.index(category.name) for identity, category in categories.items()}
    return Classes(tuple(names), tuple(palette), IGNORE_ID), train_ids, background


def _runs(where: str, segmentation: Any, height: int, width: int) -> list[int]:
    """Check run lengths, compressed or not, which pycocotools trusts; return them uncompressed."""
    if not isinstance(segmentation, dict):
        raise UserError(
            f"{where} has the segmentation {reprlib.repr(segmentation)}, expected polygons or RLE"
        )
    if segmentation.get("size") != [height, width]:
        raise UserError(
            f"{where} has an RLE of size {reprlib.repr(segmentation.get('size'))}, "
            f"its image is {[height, width]}"
        )
    counts = segmentation.get("counts")
    runs = _decompressed(where, counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise UserError(f"{where} has an RLE whose counts are no lengths of runs")
    if sum(runs) != height * width:
        raise UserError(
            f"{where} has an RLE of {reprlib.repr(sum(runs))} pixels, "
            f"its image has {height * width}"
        )
    return runs


def _decompressed(where: str, text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each number is written in base 32, the lowest digit first, in characters from `0`; bit 5 of a
    character says that more follow, bit 4 of the last one is the sign. From the fourth number on,
    it is the difference to the run two before (`rleFrString` of cocoapi's maskApi.c).
    """
    runs: list[int] = []
    value = bits = 0
    for character in text:
        digit = ord(character) - ord("0")
        if not 0 <= digit < 64 or bits > _MAX_RUN_BITS:
            raise UserError(f"{where} has an RLE with the wrong character {character!a}")
        value |= (digit & 31) << bits
        bits += 5
        if digit < 32:
            value -= (digit & 16) << bits - 4
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    if bits:
        raise UserError(f"{where} has an RLE that ends within a number")
    return runs
