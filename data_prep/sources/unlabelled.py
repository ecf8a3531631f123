"""A folder of images that nobody has annotated."""

from pathlib import Path

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.images import ImageOptions, images_below
from cereals_tf.data_prep.sources.source import Annotation, Item

_IGNORE_ID = 255


class UnlabelledSource:
    """Image files at any depth; an image's id is its path without the suffix.

    It has no classes, so that it can only be added to a data set that has.
    """

    def __init__(self, folder: Path, options: ImageOptions) -> None:
        self._folder = folder
        self.options = options
        self.log = SourceLog()
        self.classes = Classes((), (), _IGNORE_ID)
        self.classes_from = str(folder)
        self.background = _IGNORE_ID

    def items(self) -> dict[str, list[Item]]:
        """See `Source.items`."""
        found = images_below(self._folder, self.log)
        return {"train": [Item(image_id, found[image_id], None) for image_id in sorted(found)]}

    def annotation(self, item: Item, height: int, width: int) -> Annotation:
        """See `Source.annotation`; no item has one."""
        raise NotImplementedError
