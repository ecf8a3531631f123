"""Adding images to a data set that is prepared, in a folder of their own inside it.

What was prepared before stays as it is, to the byte: whoever uses it without the addition sees no
difference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cereals_tf.data_prep.dataset import ImageEntry, PreparedData, addition_name, additions
from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import refuse_unwritable
from cereals_tf.data_prep.parallel import cores
from cereals_tf.data_prep.prepare import Said, convert, listed_shards, write_here
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.images import ImageOptions
from cereals_tf.data_prep.sources.reading import unpacked
from cereals_tf.data_prep.sources.registry import ADDED_KINDS, kind_named, open_source
from cereals_tf.data_prep.sources.source import Annotation, Item, Source
from cereals_tf.data_prep.text import shown


class AddedSource:
    """A source whose images become one split of a data set, in its classes; see `Source`.

    Args:
        source: The source, opened as one split.
        split: The split.
        prefix: What the images' ids begin with beside their names.
        classes: The data set's classes.

    Raises:
        UserError: The source has a class that the data set does not have.
    """

    def __init__(self, source: Source, split: str, prefix: str, classes: Classes) -> None:
        unknown = [name for name in source.classes.names if name not in classes.names]
        if unknown:
            raise UserError(
                f"{source.classes_from}: has the classes {', '.join(map(shown, unknown))}, which "
                f"the data set does not have, expected some of {', '.join(classes.names)}; "
                "--add_class=NAME appends one"
            )
        self._source, self._split, self._prefix = source, split, prefix
        self._ids = source.classes.ids_in(classes)
        self.classes = classes
        self.classes_from = source.classes_from
        self.background = int(self._ids[source.background])
        self.log: SourceLog = source.log

    @property
    def options(self) -> ImageOptions:
        """See `Source.options`."""
        return self._source.options

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        found = [item for items in self._source.items().values() for item in items]
        named = [item._replace(image_id=f"{self._prefix}{item.image_id}") for item in found]
        return {self._split: named}

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`."""
        item = item._replace(image_id=item.image_id.removeprefix(self._prefix))
        label, polygons, problems = self._source.annotation(item, height, width)
        polygons = [replace(each, class_id=int(self._ids[each.class_id])) for each in polygons]
        return Annotation(self._ids[label].astype(np.uint8), polygons, problems)


def add(
    folder: Path,
    data: PreparedData,
    classes: Classes,
    kind: str,
    options: Mapping[str, Any],
    split: str = "train",
    prefix: str = "",
    labelled: bool = False,
    workers: int = 1,
    note: Callable[[str], object] = lambda text: None,
    invalid: str = "refuse",
    problems: Path | None = None,
    accept: Callable[[Sequence[ImageEntry]], object] = lambda images: None,
) -> str:
    """Add the images of a source to a data set; the same call goes on after an interruption.

    Args:
        folder: The source, or a zip file of it.
        data: What the caller sees of the data set.
        classes: All classes, those of the data set first.
        kind: What the source is, one of `ADDED_KINDS`.
        options: How it is read: those of the kind's options that do not have their defaults.
        split: The split that all its images become part of.
        prefix: What the images' ids begin with beside their names.
        labelled: Whether all images must have labels.
        workers: As in `prepare`, as are the others.
        note: Told what the user should know.
        invalid: What becomes of images and shapes with problems: `refuse` or `skip`.
        problems: A file to list all problems in.
        accept: Told the images before they are there; may refuse them.

    Returns:
        The name of the addition's folder in the data set's. Where another user of the data set has
        added just these images, it is that addition.

    Raises:
        ProblemsError: Parts of the source cannot be used, and `invalid` refuses that.
        UserError: The source cannot be used, an image's id is taken, or an image lacks labels.
    """
    if problems:
        refuse_unwritable(problems)
    with unpacked(folder) as inner:
        said = Said(folder, inner, note, invalid == "skip", problems)
        with said.errors_named():
            opened = open_source(kind, inner, options, as_one=True)
            source = AddedSource(opened, split, prefix, classes)
            shards = listed_shards(source, said)
            items = [item for shard in shards for item in shard.items]
            if not items:
                raise UserError(f"{inner}: no image to add")
            if labelled:
                _refuse_unlabelled(items, split)
            if there := _added_before(data, split, items, invalid == "skip"):
                return there
            name = addition_name(len(additions(data.folder)) + 1)
            checked = asdict(kind_named(kind, ADDED_KINDS).checked(options))
            write = partial(write_here, source, workers or cores())
            convert(source, shards, data.folder / name, (kind, checked), write, said, accept)
            return name


def _refuse_unlabelled(items: Sequence[Item], split: str) -> None:
    lacking = [item for item in items if not item.annotation]
    if lacking:
        raise UserError(
            f"{lacking[0].image}: {len(lacking)} of {len(items)} images have no annotation, "
            f"expected one of each, as {split} is read with its labels"
        )


def _added_before(data: PreparedData, split: str, items: Sequence[Item], skip: bool) -> str:
    """Return the addition that the caller does not see and that has these images, '' if none.

    Raises:
        UserError: The data set, all additions included, has other images of their ids.
    """
    whole = PreparedData.open(data.folder)
    known = {entry.image_id for entries in whole.images.values() for entry in entries}
    taken = [item for item in items if item.image_id in known]
    if not taken:
        return ""
    ids = {item.image_id for item in taken}
    for name, part in whole.parts.items():
        same = (
            name not in data.parts
            and [*part.images] == [split]
            and ({entry.image_id for entry in part.images[split]} == ids)
        )
        if same and (skip or len(taken) == len(items)):
            return name
    raise UserError(
        f"{taken[0].image}: {data.folder} has an image {shown(taken[0].image_id)} already, one of "
        f"{len(taken)} whose ids are taken, expected other names, or --prefix=TEXT before them"
    )
