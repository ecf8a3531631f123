"""Annotations that exist elsewhere, in another campaign or a prepared data set, for a round 0.

They become the request of the new campaign's round 0 and the answer to it, as if people had been
asked for just these regions.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.annotators.people import labelled_images
from cereals_tf.campaign.folder import campaign as campaign_folder
from cereals_tf.campaign.folder.annotations import AnnotationStore, RegionAnnotation
from cereals_tf.campaign.folder.campaign import ANNOTATIONS, REQUEST, Campaign
from cereals_tf.campaign.folder.request import own_window, read_request, write_request
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import may_click_in
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.dataset import DESCRIPTION, ImageEntry, PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.grid import STRIDE, Box
from cereals_tf.data_prep.polygons import Polygon
from cereals_tf.data_prep.remote import RemotePath
from cereals_tf.data_prep.text import counted, shown
from cereals_tf.trainers.split import Record, Split

UNKNOWN_IMAGE = "of images that are not of train"
LABELLED = "of images that have labels already"
SMALL = f"of less than {STRIDE}x{STRIDE} pixels"


@dataclass(frozen=True)
class Part:
    """An annotated rectangle of an image.

    Attributes:
        split: The image's split.
        entry: The image, at its original size.
        window: The rectangle, in pixels of the original image.
        kept: Where what people drew there is kept, and its number; None: in the image's record.
    """

    split: str
    entry: ImageEntry
    window: Box
    kept: tuple[AnnotationStore, int] | None = None


@dataclass(frozen=True)
class Brought:
    """Annotations that a campaign begins with.

    Attributes:
        source: The data set that they are of.
        data: The campaign's data set.
        image_size: What the campaign resizes its images to; None: nothing.
        parts: What is annotated in the order of annotation.
        boxes: The region, in the campaign's pixels, that each becomes.
        left_out: How many are not brought, by the reason.
    """

    source: PreparedData
    data: PreparedData
    image_size: tuple[int, int] | None
    parts: Sequence[Part]
    boxes: Sequence[Box]
    left_out: Counter[str]

    @property
    def summary(self) -> str:
        """What is brought and what is not, for the user to read."""
        images = len({part.entry.image_id for part in self.parts})
        left = "".join(f"; left out: {count} {reason}" for reason, count in self.left_out.items())
        regions = counted(len(self.parts), "annotated region")
        return f"round 0 has {regions} in {counted(images, 'image')}{left}"

    def write(self, working: Path) -> None:
        """Write the request of round 0 and the answer to it into the folder of a new round.

        Raises:
            UserError: What is annotated is damaged, of other pictures or of other classes.
        """
        self._refuse_other_pictures()
        working.mkdir()
        regions = [
            Region(part.entry.image_id, box)
            for part, box in zip(self.parts, self.boxes, strict=True)
        ]
        write_request(working / REQUEST, [Chosen(region) for region in regions])
        store = AnnotationStore(working / ANNOTATIONS)
        for annotation in self._annotations():
            store.write(annotation)

    def has_seconds(self) -> bool:
        """Whether somebody measured how long some of them took."""
        kept = (part.kept for part in self.parts if part.kept)
        found = (store.read(number) for store, number in kept)
        return any(annotation and annotation.seconds is not None for annotation in found)

    def _annotations(self) -> Iterator[RegionAnnotation]:
        for number, part in enumerate(self.parts):
            if part.kept:
                store, of_store = part.kept
                annotation = store.read(of_store)
                assert annotation
                if (annotation.image_id, annotation.window) != (part.entry.image_id, part.window):
                    raise UserError(f"{store.folder}: region {of_store} is not as it was asked for")
                yield self._fitted(number, annotation)
        for split in self.source.splits:
            in_records: dict[str, list[int]] = {}
            for number, part in enumerate(self.parts):
                if part.split == split and not part.kept:
                    in_records.setdefault(part.entry.image_id, []).append(number)
            for record in _records(self.source, split, in_records):
                image_id = _image_id(record)
                for number in in_records[image_id]:
                    annotation = _in_record(number, record, self.parts[number].window)
                    yield self._fitted(number, annotation)

    def _fitted(self, number: int, annotation: RegionAnnotation) -> RegionAnnotation:
        """Return an annotation as region `number` of the new campaign, in its classes' ids."""
        entry, was = self.parts[number].entry, annotation.window
        window = own_window(self.boxes[number], entry, self.image_size)
        inside = window._replace(y=window.y - was.y, x=window.x - was.x)
        ids = self.source.classes.ids_in(self.data.classes)
        label = ids[annotation.label[inside.slices]]
        polygons = [Polygon(int(ids[p.class_id]), p.points) for p in annotation.polygons]
        if (label < 0).any() or any(polygon.class_id < 0 for polygon in polygons):
            names = sorted(set(self.source.classes.names) - set(self.data.classes.names))
            raise UserError(
                f"{self.source.folder}: image {shown(entry.image_id)} has classes that "
                f"{self.data.folder} does not: one or more of {', '.join(map(shown, names))}"
            )
        return replace(
            annotation,
            number=number,
            window=window,
            label=label.astype(np.uint8),
            polygons=polygons,
        )

    def _refuse_other_pictures(self) -> None:
        """Raise UserError if an image is another one than that of the same id in train."""
        if self.source.fingerprint == self.data.fingerprint:
            return
        ids: dict[str, list[str]] = {}
        for part in self.parts:
            ids.setdefault(part.split, []).append(part.entry.image_id)
        for split, image_ids in ids.items():
            differing = list(dict.fromkeys(image_ids))
            for form in (_file, _pixels):
                ours = _digests(self.data, "train", differing, form)
                theirs = _digests(self.source, split, differing, form)
                differing = [each for each in differing if ours[each] != theirs[each]]
            if differing:
                raise UserError(
                    f"{self.source.folder}: has other pictures than {self.data.folder} under the "
                    f"names of {counted(len(differing), 'image')}, as {shown(differing[0])}"
                )


def brought(
    folder: Path | RemotePath, data: PreparedData, image_size: tuple[int, int] | None
) -> Brought:
    """Return what is annotated elsewhere of a data set's train images.

    Args:
        folder: A campaign, or a prepared data set.
        data: The data set of the new campaign.
        image_size: What that resizes its images to; None: nothing.

    Raises:
        UserError: It is neither, nothing there is annotated of train's images, or an image has
            another size.
    """
    source, parts = _annotated_in(folder)
    train = {entry.image_id: entry for entry in data.images["train"]}
    labelled = {chosen.region.image_id for chosen in labelled_images(Split(data, "train"))}
    left_out: Counter[str] = Counter()
    kept, boxes = [], []
    for part in parts:
        entry = train.get(part.entry.image_id)
        box = _box_inside(part.window, part.entry, image_size)
        if entry is None:
            left_out[UNKNOWN_IMAGE] += 1
        elif entry.image_id in labelled:
            left_out[LABELLED] += 1
        elif (entry.height, entry.width) != (part.entry.height, part.entry.width):
            raise UserError(
                f"{source.folder}: the image {shown(entry.image_id)} has "
                f"{part.entry.height}x{part.entry.width} pixels, in {data.folder} it has "
                f"{entry.height}x{entry.width}"
            )
        elif box is None:
            left_out[SMALL] += 1
        else:
            kept.append(part)
            boxes.append(box)
    if not kept:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise UserError(
            f"--annotations={folder}: nothing to begin with, expected annotations of images of "
            f"{data.folder}'s train{f'; there are {why}' if why else ''}"
        )
    return Brought(source, data, image_size, kept, boxes, left_out)


def _annotated_in(folder: Path | RemotePath) -> tuple[PreparedData, Iterable[Part]]:
    if isinstance(folder, Path) and (folder / campaign_folder.DESCRIPTION).is_file():
        campaign = Campaign.open(folder)
        last = {(part.entry.image_id, part.window): part for part in _parts_of(campaign)}
        return campaign.data, last.values()  # without what was drawn again
    if not (folder / DESCRIPTION).is_file():
        raise UserError(
            f"--annotations={folder}: neither a campaign nor a prepared data set; what another "
            "tool wrote is prepared first, with: cereals prepare"
        )
    data = PreparedData.open(folder)
    return data, (
        Part(split, entry, Box(0, 0, entry.height, entry.width))
        for split in data.splits
        for entry in data.images[split]
        if entry.labelled
    )


def _parts_of(campaign: Campaign) -> Iterator[Part]:
    """Give what is annotated in a campaign, with what is collected of the round in progress."""
    entries = {entry.image_id: entry for entry in campaign.data.images["train"]}

    def part(region: Region, kept: tuple[AnnotationStore, int] | None) -> Part:
        entry = entries[region.image_id]
        window = own_window(region.box, entry, campaign.image_size)
        return Part("train", entry, window, kept)

    for done in campaign.rounds():
        numbers = {asked.region: number for number, asked in enumerate(done.request)}
        for region in (annotated.region for annotated in done.regions):
            number = numbers.get(region)
            yield part(region, None if number is None else (done.annotations, number))
    if (campaign.working / REQUEST).exists():
        request, store = read_request(campaign.working / REQUEST), campaign.annotations
        for number in sorted(store.numbers() - store.skipped()):
            yield part(request[number].region, (store, number))


def _box_inside(window: Box, entry: ImageEntry, image_size: tuple[int, int] | None) -> Box | None:
    """Return the largest region, in a campaign's pixels, inside a rectangle of the original image.

    None if there is none.
    """
    height, width = image_size or (entry.height, entry.width)
    top, bottom = _inside(window.y, window.height, height, entry.height)
    left, right = _inside(window.x, window.width, width, entry.width)
    if bottom <= top or right <= left:
        return None
    return Box(top, left, bottom - top, right - left)


def _inside(start: int, length: int, size: int, original: int) -> tuple[int, int]:
    """Scale an interval from an axis of `original` to one of `size` pixels, rounding to cells."""
    end = start + length
    first = -(-start * size // (original * STRIDE)) * STRIDE
    last = size if end == original else end * size // (original * STRIDE) * STRIDE
    return first, last


def _records(data: PreparedData, split: str, image_ids: Iterable[str]) -> Iterator[Record]:
    with damage_named(data, split):
        yield from Split(data, split).records(list(image_ids))


def _image_id(record: Record) -> str:
    return bytes(record[records.IMAGE_ID].numpy()).decode()


def _in_record(number: int, record: Record, window: Box) -> RegionAnnotation:
    """Return the part of an image's label in a rectangle, with the polygons that touch it."""
    label = records.decode_label(record[records.LABEL_ENCODED]).numpy()
    polygons = [
        polygon
        for polygon in records.polygons_of(record)
        if may_click_in(window, polygon.points, *label.shape)
    ]
    part = label[window.slices]
    return RegionAnnotation(number, _image_id(record), window, part, polygons, None)


def _digests(
    data: PreparedData, split: str, image_ids: Sequence[str], form: Callable[[Record], bytes]
) -> dict[str, bytes]:
    return {
        _image_id(record): hashlib.sha256(form(record)).digest()
        for record in _records(data, split, image_ids)
    }


def _file(record: Record) -> bytes:
    return bytes(record[records.IMAGE_ENCODED].numpy())


def _pixels(record: Record) -> bytes:
    return records.decode_image(record[records.IMAGE_ENCODED]).numpy().tobytes()
