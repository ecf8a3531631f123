"""What `dataset.json` must hold, so that all who read it later can rely on it."""

import re
import reprlib
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.text import is_unicode

_LARGEST = 2**63 - 1
_LONGEST = 1000  # characters of a file name
_SIZE = re.compile(r"[1-9][0-9]*x[1-9][0-9]*")


class _Field(NamedTuple):
    """A value of a description and its place in it, for messages."""

    path: Path | RemotePath
    place: str
    value: Any

    def of(self, key: str) -> "_Field":
        """Return a field of this field."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        place = f"{self.place}.{key}" if self.place else key
        if key not in self.value:
            raise UserError(f"{self.path}: not a data set description, it lacks {place!a}")
        return _Field(self.path, place, self.value[key])

    def refuse(self, expected: str) -> NoReturn:
        found = reprlib.repr(self.value)
        place = f"{self.place!a} is " if self.place else "found "
        raise UserError(f"{self.path}: {place}{found}, expected {expected}")

    def whole(self, least: int = 0, most: int = _LARGEST) -> int:
        """Return the value, a whole number."""
        if type(self.value) is not int or not least <= self.value <= most:
            self.refuse(f"a whole number from {least} to {most}")
        return self.value

    def counts(self) -> dict[str, int]:
        """Return the value, whole numbers by name."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return {key: self.of(key).whole() for key in self.value}


def check_description(path: Path | RemotePath, content: Any) -> None:
    """Check the content of a `dataset.json` of this format version.

    Args:
        path: The file, for messages.
        content: What its JSON stands for.

    Raises:
        UserError: A field is missing, of another type, or contradicts another one; it is named.
    """
    root = _Field(path, "", content)
    names = _class_names(root.of("classes"))
    _check_palette(root.of("palette"), len(names))
    root.of("ignore_id").whole(len(names), 255)
    splits = root.of("splits")
    if not isinstance(splits.value, dict) or not all(map(is_unicode, splits.value)):
        splits.refuse("an object of splits by name")
    for split in ("train", "val", *splits.value):
        _check_split(splits.of(split), names, split == "train")


def _class_names(field: _Field) -> list[str]:
    names = field.value
    valid = isinstance(names, list) and all(
        isinstance(name, str) and name and is_unicode(name) for name in names
    )
    if not valid or len(set(names)) != len(names) or not 2 <= len(names) <= 255:
        field.refuse("2 to 255 different names")
    return names


def _check_palette(field: _Field, classes: int) -> None:
    valid = isinstance(field.value, list) and all(
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in colour)
        for colour in field.value
    )
    if not valid or len(field.value) != classes:
        field.refuse(f"{classes} [red, green, blue] of 0 to 255")


def _check_split(split: _Field, names: list[str], may_lack_labels: bool) -> None:
    images = split.of("images").whole(least=1)
    _check_shards(split.of("shards"))
    sizes = split.of("image_sizes")
    counts = sizes.counts()
    if sum(counts.values()) != images or not all(map(_SIZE.fullmatch, counts)):
        sizes.refuse(f"{images} images by HEIGHTxWIDTH")
    for kind in ("pixels", "clicks"):
        total = split.of(kind).whole(least=int(kind == "pixels"))
        ignored = split.of(f"{kind}_ignored").whole()
        per_class = split.of(f"{kind}_per_class")
        counts = per_class.counts()
        if list(counts) != names or sum(counts.values()) + ignored != total:
            per_class.refuse(f"a number for each class, {total - ignored} together")
    overlaps = split.of("polygon_iou_per_class")
    for name in names:
        value = overlaps.of(name).value
        if value is not None and (type(value) not in (int, float) or not 0 <= value <= 1):
            overlaps.of(name).refuse("null or 0 to 1")
    if "labelled" in split.value:
        _check_labelled(split, may_lack_labels)


def _check_labelled(split: _Field, may_lack_labels: bool) -> None:
    labelled = split.of("labelled")
    if type(labelled.value) is not bool:
        labelled.refuse("true or false")
    if labelled.value:
        return
    if not may_lack_labels:
        labelled.refuse("true, as only train may lack labels")
    if split.value["pixels_ignored"] != split.value["pixels"] or split.value["clicks"]:
        labelled.refuse("true, as there are labelled pixels or clicks")


def _check_shards(field: _Field) -> None:
    shards = field.value
    if not isinstance(shards, list) or not shards:
        field.refuse("a list of file names")
    for shard in shards:
        valid = isinstance(shard, str) and shard.isprintable() and 0 < len(shard) <= _LONGEST
        if not valid or shard.startswith("/") or ".." in PurePosixPath(shard).parts:
            field.refuse("names of files inside the data set")
    if len(set(shards)) != len(shards):
        field.refuse("each file once")
