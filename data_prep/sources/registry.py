"""The kinds of data sets that `prepare` reads: for each its name, what it is, and its options.

A new kind is a file with its `Source` and the dataclass of its options, and an entry here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import Option, options_of, read_options
from cereals_tf.data_prep.sources.cityscapes import CityscapesOptions, CityscapesSource
from cereals_tf.data_prep.sources.coco import CocoOptions, CocoSource
from cereals_tf.data_prep.sources.cvat import CvatOptions, CvatSource
from cereals_tf.data_prep.sources.images import ImageOptions
from cereals_tf.data_prep.sources.labelme import LabelmeOptions, LabelmeSource
from cereals_tf.data_prep.sources.masks import CamvidSource, MaskOptions, MaskSource
from cereals_tf.data_prep.sources.source import Source
from cereals_tf.data_prep.sources.splits import SplitOptions
from cereals_tf.data_prep.sources.unlabelled import UnlabelledSource
from cereals_tf.data_prep.sources.voc import VocOptions, VocSource


@dataclass(frozen=True)
class SourceKind:
    """One kind of data sets.

    Attributes:
        name: What `--dataset` calls it.
        help: What it is, in a line.
        options: The dataclass of its options.
        source: Opens a folder with such options.
    """

    name: str
    help: str
    options: type
    source: Callable[[Path, Any], Source]

    def checked(self, given: Mapping[str, Any]) -> Any:
        """Return all options of the kind, an instance of its dataclass.

        Args:
            given: Those that do not have their defaults, by name.

        Raises:
            UserError: An option that this kind does not have, or a value that breaks its rule.
        """
        own = {option.name for option in options_of(self.options)}
        for name in given:
            if name not in own:
                takers = [f"--dataset={kind.name}" for kind, _ in _kinds_with(name)]
                expected = f", expected {' or '.join(takers)}" if takers else ""
                raise UserError(f"--{name}: no option of --dataset={self.name}{expected}")
        return read_options(self.options, given)


_KINDS = (
    SourceKind(
        "cityscapes",
        "Cityscapes: leftImg8bit with gtFine's or gtCoarse's polygons",
        CityscapesOptions,
        CityscapesSource,
    ),
    SourceKind(
        "voc", "PASCAL VOC: JPEGImages, SegmentationClass and lists of names", VocOptions, VocSource
    ),
    SourceKind(
        "coco", "COCO: instances in JSON files, as polygons or run lengths", CocoOptions, CocoSource
    ),
    SourceKind("cvat", "CVAT for images 1.1: XML beside the images", CvatOptions, CvatSource),
    SourceKind("labelme", "LabelMe: a JSON file beside each image", LabelmeOptions, LabelmeSource),
    SourceKind(
        "camvid", "CamVid as Cambridge or SegNet give it, or as masks", MaskOptions, CamvidSource
    ),
    SourceKind(
        "masks", "any folders of images and of masks, and classes.json", MaskOptions, MaskSource
    ),
)
KINDS = {kind.name: kind for kind in _KINDS}
ADDED_KINDS = {
    **KINDS,
    "images": SourceKind(
        "images", "a folder of images without annotations", ImageOptions, UnlabelledSource
    ),
}
"""The kinds of what can be added to a data set that is prepared."""
OF_SPLITS = ("unlabelled_train", "labelled_train", "val_percent")
"""Options that say which split an image is in."""
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def kind_named(name: str, kinds: Mapping[str, SourceKind] = KINDS) -> SourceKind:
    """Return a kind of data sets.

    Raises:
        UserError: There is no such kind.
    """
    if name not in kinds:
        raise UserError(f"--dataset={name}: unknown, expected one of {', '.join(kinds)}")
    return kinds[name]


def open_source(
    kind: str, folder: Path, given: Mapping[str, Any] = NO_OPTIONS, as_one: bool = False
) -> Source:
    """Open a data set.

    Args:
        kind: What it is, a key of `KINDS`, or of `ADDED_KINDS` with `as_one`.
        folder: Where it lies.
        given: Those of the kind's options that do not have their defaults, by name.
        as_one: Whether all its images are one split, train, annotated or not.

    Raises:
        UserError: Unknown kind, no such folder, or see `SourceKind.checked`.
    """
    found = kind_named(kind, ADDED_KINDS if as_one else KINDS)
    options = found.checked(given)
    if folder.is_file():
        raise UserError(f"{folder}: a file, expected a folder or a zip file")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if as_one and isinstance(options, SplitOptions):
        options = replace(options, as_one=True)
    return found.source(folder, options)


def all_options() -> tuple[Option, ...]:
    """Return the options of all kinds, each once; the help says which kinds have it."""
    names = dict.fromkeys(option.name for kind in _KINDS for option in options_of(kind.options))
    return tuple(_merged(name) for name in names)


def _kinds_with(name: str) -> list[tuple[SourceKind, Option]]:
    return [
        (kind, option)
        for kind in _KINDS
        for option in options_of(kind.options)
        if option.name == name
    ]


def _merged(name: str) -> Option:
    """Return an option of several kinds; where they have their own defaults, the help says them."""
    found = _kinds_with(name)
    first = found[0][1]
    defaults = {option.default for _, option in found}
    kinds_by_help: dict[str, list[str]] = {}
    for kind, option in found:
        by_default = (
            f" By default {option.default}." if len(defaults) > 1 and option.default else ""
        )
        kinds_by_help.setdefault(option.help + by_default, []).append(kind.name)
    if list(map(len, kinds_by_help.values())) == [len(_KINDS)]:
        return first
    text = " ".join(f"{', '.join(kinds)}: {words}" for words, kinds in kinds_by_help.items())
    default = first.default if len(defaults) == 1 else first.form()
    return Option(name, first.form, default, text, _read=_as_written)


def _as_written(form: Any) -> Any:
    """Read nothing into a written form, which the kind that takes it will read."""
    return form
