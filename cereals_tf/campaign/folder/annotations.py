"""What people annotated of a round's request: a JSON file per region, each written atomically."""

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cereals_tf.acquisition.regions import Region
from cereals_tf.data_prep.annotated_image import encode_label
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import sync, write_atomically
from cereals_tf.data_prep.grid import Box
from cereals_tf.data_prep.polygons import Polygon


@dataclass(frozen=True, eq=False)
class RegionAnnotation:
    """What people drew in one region.

    Attributes:
        number: The region's number in the request.
        image_id: Its image.
        window: The region in pixels of the original image, see `own_window`.
        label: uint8 [window.height, window.width], train ids; the ignore id where ignored.
        polygons: Whole, as drawn by people, in painter's order; points in pixels of the original
            image.
        seconds: What it took; None where nobody measured.
        assisted: Whether a model drew some of it, so that nobody knows the clicks.
        annotator: Who drew it, or in which file or folder it came; '' where nobody said.
    """

    number: int
    image_id: str
    window: Box
    label: np.ndarray
    polygons: Sequence[Polygon]
    seconds: float | None
    assisted: bool = False
    annotator: str = ""

    def __post_init__(self) -> None:
        found, expected = (self.label.dtype, self.label.shape), (np.uint8, self.window[2:])
        if found != expected:
            raise ValueError(f"`label` must be {expected}. Received: {found}")


class AnnotationStore:
    """The annotations of one round, in a folder that the first of them makes.

    A region has one file, whether it is annotated or skipped, so what is written later replaces
    what was there.
    """

    def __init__(self, folder: Path, changes: int = 0, void: Mapping[str, int] = {}) -> None:
        """Look at a folder, which need not be there.

        Args:
            folder: The folder.
            changes: How many changes the campaign has seen, which every skip is noted with.
            void: By image, the change that took back what was skipped in it before, see
                `unskipped_by`; a skip that is noted with fewer changes is as if it were not there.
        """
        self.folder = folder
        self._changes = changes
        self._void = void

    def annotated(self) -> dict[int, RegionAnnotation]:
        """Return the annotations by number, in order.

        Raises:
            UserError: A file is damaged.
        """
        found = {number: self.read(number) for number in sorted(self.numbers())}
        return {number: annotation for number, annotation in found.items() if annotation}

    def numbers(self) -> set[int]:
        """Return the numbers of the regions that are annotated or skipped."""
        found = {int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdecimal()}
        return {number for number in found if not self._is_void(number)} if self._void else found

    def skipped(self) -> set[int]:
        """Return the numbers of the regions that people skipped; no label is looked at for it.

        Raises:
            UserError: A file is damaged.
        """
        return {number for number in self.numbers() if self._content(number).get("skipped")}

    def annotators(self) -> dict[int, str]:
        """Return who annotated each region, '' where nobody said; see `RegionAnnotation`.

        Raises:
            UserError: A file is damaged.
        """
        contents = {number: self._content(number) for number in sorted(self.numbers())}
        return {
            number: str(content.get("annotator", ""))
            for number, content in contents.items()
            if not content.get("skipped")
        }

    def read(self, number: int) -> RegionAnnotation | None:
        """Return the annotation of a region, None if it is skipped.

        Raises:
            UserError: The file is missing or damaged.
        """
        content = self._content(number)
        with self._damage_named(number):
            return None if content.get("skipped") else _annotation(content)

    def write(self, annotation: RegionAnnotation) -> None:
        """Keep an annotation, in place of an earlier one of the region or of a skip."""
        self._write(
            annotation.number,
            {
                "image_id": annotation.image_id,
                "window": list(annotation.window),
                "seconds": annotation.seconds,
                "label": base64.b64encode(encode_label(annotation.label)).decode(),
                "polygons": [
                    {"class_id": int(polygon.class_id), "points": polygon.points.tolist()}
                    for polygon in annotation.polygons
                ],
                **({"assisted": True} if annotation.assisted else {}),
                **({"annotator": annotation.annotator} if annotation.annotator else {}),
            },
        )

    def skip(self, number: int, region: Region) -> None:
        """Note that a region is never to be annotated, in place of an annotation of it."""
        content = {"image_id": region.image_id, "box": list(region.box), "skipped": True}
        self._write(number, content | ({"changes": self._changes} if self._changes else {}))

    def _is_void(self, number: int) -> bool:
        content = self._content(number)
        with self._damage_named(number):
            since = self._void.get(content["image_id"], 0)
            return bool(content.get("skipped")) and content.get("changes", 0) < since

    def _write(self, number: int, content: dict[str, Any]) -> None:
        self.folder.mkdir(exist_ok=True)
        sync(self.folder.parent)
        write_atomically(self._path(number), json.dumps({"number": number, **content}).encode())

    def _content(self, number: int) -> dict[str, Any]:
        with self._damage_named(number):
            content = json.loads(self._path(number).read_bytes())
            if content["number"] != number:
                raise ValueError(f"'number' is {content['number']!r}, expected {number}")
            return content

    @contextmanager
    def _damage_named(self, number: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self._path(number)}: cannot be read: {error!r}") from None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.json"


def _annotation(content: dict[str, Any]) -> RegionAnnotation:
    png = base64.b64decode(content["label"], validate=True)
    polygons = [
        Polygon(part["class_id"], np.array(part["points"], np.float64).reshape(-1, 2))
        for part in content["polygons"]
    ]
    seconds = content["seconds"]
    return RegionAnnotation(
        content["number"],
        content["image_id"],
        Box(*content["window"]),
        np.array(Image.open(io.BytesIO(png), formats=["PNG"])),
        polygons,
        None if seconds is None else float(seconds),
        content.get("assisted") is True,
        str(content.get("annotator", "")),
    )
