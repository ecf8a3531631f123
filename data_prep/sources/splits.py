"""Which images of a source are in which split, and with which annotation."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import number, option
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.images import ImageOptions
from cereals_tf.data_prep.sources.reading import DUPLICATES
from cereals_tf.data_prep.sources.source import Item
from cereals_tf.data_prep.text import counted

_USUAL = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What data sets usually call the splits, in lower case."""

_WITHOUT_ANNOTATION = "images without an annotation"
_WITHOUT_IMAGE = "annotations without an image"


def _split_option(split: str) -> str:
    usual = ", ".join(_USUAL[split])
    return option(
        "",
        f"What SOURCE calls the split {split}, also several names joined by commas. Default: "
        f"{usual}, in any case.",
    )


@dataclass(frozen=True)
class SplitOptions(ImageOptions):
    """Options of all sources."""

    train: str = _split_option("train")
    val: str = _split_option("val")
    test: str = _split_option("test")
    unlabelled_train: bool = option(
        False,
        "People will annotate train (start --annotator=files). Where the source has no splits, "
        "images without an annotation are train, the others val (see --labelled_train). Where it "
        "has, images of train that have an annotation are round 0; a train split without any is "
        "recognised without this option too.",
    )
    as_one: bool = False
    """Whether all images are one split, train, with an annotation or without."""


@dataclass(frozen=True)
class DividedOptions(SplitOptions):
    """Options of sources that may have no splits."""

    val_percent: float = option(
        20.0, "Share of the images that become val where the source has no splits, percent."
    )
    labelled_train: float = option(
        0.0,
        "With --unlabelled_train, where the source has no splits: share of the images with an "
        "annotation that become train instead of val, percent. They are round 0.",
        number(0, 100),
    )


def known_splits(found: Collection[str], options: SplitOptions) -> dict[str, list[str]]:
    """Return what a source calls its splits, of the names found in it."""
    names = {}
    for split, usual in _USUAL.items():
        given = _given(split, options)
        matching = [name for name in sorted(found) if name.lower() in usual]
        if given or matching:
            names[split] = given or matching
    return names


def splits_found(found: Collection[str], options: SplitOptions) -> set[str]:
    """Return the splits that are there by all their names, of the names found in a source."""
    known = known_splits(found, options)
    return {split for split, names in known.items() if set(names) <= set(found)}


def split_names(found: Collection[str], options: SplitOptions, place: str) -> dict[str, list[str]]:
    """Return what a source calls each split that it has, train and val at least.

    Args:
        found: The names that it has, of splits and perhaps of other things.
        options: What it calls them, if that is unusual.
        place: Where they were found, `{split}` standing for the name, for messages.

    Raises:
        UserError: Train or val is not there, or a name that an option gives, or two usual names of
            one split.
    """
    names = known_splits(found, options)
    needed = () if options.as_one and names else ("train", "val")
    for split in (*needed, *names):
        of_split = names.get(split, [split])
        missing = [name for name in of_split if name not in found]
        if missing:
            there = ", ".join(sorted(found)) or "none"
            raise UserError(
                f"{place.replace('{split}', missing[0])}: no such folder or file, expected "
                f"--{split}=NAME for another name, there are {there}"
            )
        if len(of_split) > 1 and not _given(split, options):
            raise UserError(
                f"{place.replace('{split}', of_split[0])}: there is {of_split[1]} too, expected "
                f"--{split}=NAME to say which"
            )
    return names


def _given(split: str, options: SplitOptions) -> list[str]:
    return [name for name in map(str.strip, getattr(options, split).split(",")) if name]


def pair(images: Mapping[str, Path], annotations: Mapping[str, Path], log: SourceLog) -> list[Item]:
    """Return an item for each image, with the annotation of the same key if there is one."""
    for key in sorted(annotations.keys() - images.keys()):
        log.invalid(_WITHOUT_IMAGE, f"{annotations[key]}: annotation without an image")
    return [Item(key, images[key], annotations.get(key)) for key in sorted(images)]


def splits_of(
    parts: Mapping[str, Sequence[Item]], options: SplitOptions, log: SourceLog
) -> dict[str, list[Item]]:
    """Return the items of a source's splits that can be used.

    Of train, none or, with `unlabelled_train`, some may have an annotation; otherwise all images
    must. A test split without any is left out.

    Args:
        parts: The items of each split.
        options: Whether people will annotate train.
        log: Is told of the others.

    Raises:
        UserError: A split would be empty, or people would have nothing to annotate.
    """
    splits = {}
    if options.as_one:
        every = [item for items in parts.values() for item in items]
        parts = {}
        splits["train"] = _of_different_ids(every, log)
    for split, items in parts.items():
        annotated = [item for item in items if item.annotation]
        if split == "test" and not annotated:
            log.remarks.append(
                f"test has no annotations, it is left out ({counted(len(items), 'image')})"
            )
        elif split == "train" and (options.unlabelled_train or not annotated):
            splits[split] = _for_people(items, log)
        else:
            hint = "; with --unlabelled_train people annotate such images" * (split == "train")
            splits[split] = _annotated(items, log, hint)
    for split, items in splits.items():
        if not items:
            raise log.nothing_left(f"no image is left for {split}")
    return splits


def divided(
    items: Sequence[Item], options: DividedOptions, log: SourceLog
) -> dict[str, list[Item]]:
    """Return the splits of a source that has none.

    With `unlabelled_train` they are the images without and with an annotation, some of which may
    be train too. Otherwise every n-th image, by `val_percent`, is val, so that neighbours in a
    sequence are spread evenly.

    Raises:
        UserError: A split would be empty.
    """
    if options.as_one:
        return splits_of({"": items}, options, log)
    if options.unlabelled_train:
        return _divided_by_annotation(_of_different_ids(items, log), options.labelled_train)
    hint = "; with --unlabelled_train such images are train, others val"
    annotated = _annotated(items, log, hint)
    if not annotated:
        raise log.nothing_left("no image is left")
    return divided_evenly(annotated, options.val_percent)


def _annotated(items: Sequence[Item], log: SourceLog, hint: str = "") -> list[Item]:
    for item in items:
        if not item.annotation:
            text = f"{item.image}: image without an annotation{hint}"
            log.invalid(_WITHOUT_ANNOTATION, text)
    return _of_different_ids([item for item in items if item.annotation], log)


def _for_people(items: Sequence[Item], log: SourceLog) -> list[Item]:
    if items and all(item.annotation for item in items):
        raise UserError(
            f"--unlabelled_train: all {len(items)} images of train have an annotation, as "
            f"{items[0].annotation}, expected some that people will annotate"
        )
    return _of_different_ids(items, log)


def _of_different_ids(items: Sequence[Item], log: SourceLog) -> list[Item]:
    """Return the first item of each id, in the order of the ids."""
    first: dict[str, Item] = {}
    for item in _sorted(items):
        other = first.setdefault(item.image_id, item)
        if other is not item:
            text = f"{item.image}: duplicate id {item.image_id!r}, also of {other.image}"
            log.invalid(DUPLICATES, text)
    return list(first.values())


def _divided_by_annotation(items: Sequence[Item], labelled: float) -> dict[str, list[Item]]:
    """Return images without an annotation and `labelled` percent of the others as train."""
    splits = {
        "train": [item for item in items if not item.annotation],
        "val": [item for item in items if item.annotation],
    }
    for (split, members), word in zip(splits.items(), ("without", "with"), strict=True):
        if not members:
            raise UserError(
                f"--unlabelled_train: none of {counted(len(items), 'image')} is {word} an "
                f"annotation, expected some: they become {split}"
            )
    if not labelled:
        return splits
    parts = divided_evenly(splits["val"], 100 - labelled, f"--labelled_train={labelled:g}")
    return {"train": _sorted([*splits["train"], *parts["train"]]), "val": parts["val"]}


def _sorted(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: item[:2])


def divided_evenly(
    items: Sequence[Item], val_percent: float, named: str = ""
) -> dict[str, list[Item]]:
    """Take every n-th item as val, so that neighbours in a sequence are spread evenly.

    Args:
        items: The items.
        val_percent: Which share of them val gets, percent.
        named: The option that says so, for messages; by default `--val_percent`.

    Raises:
        UserError: Train or val would be empty.
    """
    share = val_percent / 100.0
    places = np.arange(len(items))
    is_val = np.floor((places + 1) * share) > np.floor(places * share)
    splits = {
        "train": [item for item, val in zip(items, is_val, strict=True) if not val],
        "val": [item for item, val in zip(items, is_val, strict=True) if val],
    }
    for split, members in splits.items():
        if not members:
            enough = f"{math.ceil(100 / len(items))} or more" if len(items) > 1 else "two images"
            least = f", expected {enough}" * (not named and split == "val")
            named = named or f"--val_percent={val_percent:g}"
            raise UserError(
                f"{named} of {counted(len(items), 'image')} leaves no image for {split}{least}"
            )
    return splits
