"""Which images of a source are in which split, and with which annotation."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.option import option
from cereals_tf.data_prep.sources.source import Item


@dataclass(frozen=True)
class SplitOptions:
    """Options of sources that have their splits."""

    unlabelled_train: bool = option(
        False,
        "People will annotate train (start --annotator=files). Where the source has no splits, "
        "images without an annotation are train, the others val. Where it has, no image of train "
        "may have one; without this option, such a train split is recognised too.",
    )


@dataclass(frozen=True)
class DividedOptions(SplitOptions):
    """Options of sources that may have no splits."""

    val_percent: float = option(
        20.0, "Share of the images that become val where the source has no splits, percent."
    )


def pair(images: dict[str, Path], annotations: dict[str, Path]) -> list[Item]:
    """Return an item for each image, with the annotation of the same key if there is one.

    Raises:
        UserError: An annotation without an image.
    """
    for key in sorted(annotations.keys() - images.keys()):
        raise UserError(f"{annotations[key]}: annotation without an image")
    return [Item(key, images[key], annotations.get(key)) for key in sorted(images)]


def splits_of(parts: dict[str, list[Item]], options: SplitOptions) -> dict[str, list[Item]]:
    """Return a source's splits; of train none may have an annotation, else all images must.

    Args:
        parts: The items of each split.
        options: Whether train has to lack annotations.

    Raises:
        UserError: An image lacks an annotation, or has one in spite of `unlabelled_train`, or two
            files without an annotation have the same id.
    """
    for split, items in parts.items():
        annotated = [item for item in items if item.annotation]
        if split == "train" and annotated and options.unlabelled_train:
            raise UserError(
                f"--unlabelled_train: {annotated[0].annotation} annotates an image of train, "
                "expected none that does"
            )
        if len(annotated) < len(items) and (split != "train" or annotated):
            lacking = next(item for item in items if not item.annotation)
            raise UserError(f"{lacking.image}: image without an annotation")
        if not annotated:
            _refuse_duplicates(items)
    return parts


def divided(items: Sequence[Item], options: DividedOptions) -> dict[str, list[Item]]:
    """Return the splits of a source that has none.

    With `unlabelled_train` they are the images without and with an annotation. Otherwise every
    n-th image, by `val_percent`, is val, so that neighbours in a sequence are spread evenly.

    Raises:
        UserError: An image lacks an annotation, a split would be empty, or two files without an
            annotation have the same id.
    """
    if options.unlabelled_train:
        return _divided_by_annotation(items)
    for item in items:
        if not item.annotation:
            raise UserError(
                f"{item.image}: image without an annotation; with --unlabelled_train such images "
                "are train, others val"
            )
    return divided_evenly(items, options.val_percent)


def _divided_by_annotation(items: Sequence[Item]) -> dict[str, list[Item]]:
    _refuse_duplicates(items)
    splits = {
        "train": [item for item in items if not item.annotation],
        "val": [item for item in items if item.annotation],
    }
    for (split, members), word in zip(splits.items(), ("without", "with"), strict=True):
        if not members:
            raise UserError(
                f"--unlabelled_train: none of {len(items)} images is {word} an annotation, "
                f"expected some: they become {split}"
            )
    return splits


def _refuse_duplicates(items: Sequence[Item]) -> None:
    for item, other in pairwise(items):
        if item.image_id == other.image_id:
            raise UserError(f"{other.image}: duplicate id {item.image_id!r}, also of {item.image}")


def divided_evenly(items: Sequence[Item], val_percent: float) -> dict[str, list[Item]]:
    """Take every n-th item as val, so that neighbours in a sequence are spread evenly.

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
            raise UserError(
                f"--val_percent={val_percent:g} of {len(items)} images leaves no image for {split}"
            )
    return splits
