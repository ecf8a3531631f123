"""CVAT: images, their labels, and annotations in the XML of CVAT for images 1.1.

A region is shown as a box of a label of its own, whose attributes say what was asked for; an
annotator ticks its attribute `done`, or `skip` to decline it. What comes back is painted as in the
other tools: a point at (x, y) is the middle of the pixel there.
"""

import json
import reprlib
from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from cereals_tf.annotation.drawn import (
    NOT_HANDED_OUT,
    REGION,
    Drawn,
    PlacedMask,
    Shape,
    is_request,
)
from cereals_tf.annotation.tasks import (
    ImageTask,
    RegionTask,
    file_stem,
    frame_of,
    hint,
    labels_of,
    predicted_digests,
)
from cereals_tf.data_prep.clicks import MAX_COORDINATE
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.cvat import (
    CvatImage,
    images_in,
    mask_of,
    outline_of,
    painters_order,
    read_xml,
)
from cereals_tf.data_prep.sources.cvat import Shape as CvatShape
from cereals_tf.data_prep.sources.reading import (
    INVALID_SHAPES,
    files_below,
    outline_object,
    unpacked,
)
from cereals_tf.data_prep.text import shown

IMAGES = "images"
LABELS = "labels.json"
ANNOTATIONS = "annotations.xml"
TOLERANCE = 2.0
"""How far the polygon by which clicks are counted may be from a mask, pixels."""
_BY_MODEL = ("auto", "semi-auto")
"""What CVAT calls the source of shapes that a model drew, alone or guided by clicks."""
_TEXTS = ("region", "round", "request", "image", "predicted", "hint")
_TICKS = ("done", "skip")
"""Attributes of a region's frame: texts, and what annotators tick."""


def labels_json(classes: Classes) -> list[dict[str, Any]]:
    """Return the labels of a task as CVAT's raw constructor takes them.

    Raises:
        UserError: See `labels_of`.
    """
    own = [
        {"name": label.name, "color": _hex(label.colour), "type": "any", "attributes": []}
        for label in labels_of(classes)
    ]
    frame = frame_of(classes)
    texts = [_attribute(name, "text", "") for name in _TEXTS]
    ticks = [_attribute(name, "checkbox", "false") for name in _TICKS]
    attributes = [*ticks, *texts]
    return [
        *own,
        {
            "name": frame.name,
            "color": _hex(frame.colour),
            "type": "rectangle",
            "attributes": attributes,
        },
    ]


def _attribute(name: str, kind: str, default: str) -> dict[str, Any]:
    return {
        "name": name,
        "mutable": False,
        "input_type": kind,
        "default_value": default,
        "values": [default],
    }


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def annotations_xml(tasks: Sequence[ImageTask], classes: Classes) -> bytes:
    """Return frames and predictions as a file of CVAT for images 1.1.

    Args:
        tasks: In the order of their files' names, which CVAT gives them.
        classes: The classes that the predictions' ids are of.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    _add_labels(root, classes)
    for place, task in enumerate(tasks):
        size = {"width": str(task.entry.width), "height": str(task.entry.height)}
        about = {"id": str(place), "name": task.file_name, **size}
        image = ElementTree.SubElement(root, "image", about)
        digests = predicted_digests(task, classes)
        for region in task.regions:
            _add_frame(image, region, digests.get(region.number, ""))
        predicted = [polygon for region in task.regions for polygon in region.predicted or ()]
        for layer, polygon in enumerate(predicted, 1):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in polygon.points)
            name = classes.names[polygon.class_id]
            _add_shape(image, "polygon", name, layer, source="auto", points=points)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _add_labels(root: ElementTree.Element, classes: Classes) -> None:
    """Add what readers other than CVAT need: the labels, by the names that XML has for them."""
    meta = ElementTree.SubElement(root, "meta")
    listed = ElementTree.SubElement(ElementTree.SubElement(meta, "task"), "labels")
    for label in labels_json(classes):
        element = ElementTree.SubElement(listed, "label")
        for name in ("name", "color", "type"):
            ElementTree.SubElement(element, name).text = label[name]
        attributes = ElementTree.SubElement(element, "attributes")
        for attribute in label["attributes"]:
            part = ElementTree.SubElement(attributes, "attribute")
            for name in ("name", "input_type", "default_value"):
                ElementTree.SubElement(part, name).text = attribute[name]


def _add_frame(image: ElementTree.Element, region: RegionTask, predicted: str) -> None:
    y, x, height, width = region.window
    sides = {"xtl": x, "ytl": y, "xbr": x + width, "ybr": y + height}
    box = {name: f"{value:.2f}" for name, value in sides.items()}
    shape = _add_shape(image, "box", REGION, 0, source="file", **box)
    texts = {
        "region": str(region.number),
        "round": str(region.round),
        "request": region.request,
        "image": quote(region.entry.image_id),
        "predicted": predicted,
        "hint": hint(region),
    }
    for name, text in {**dict.fromkeys(_TICKS, "false"), **texts}.items():
        ElementTree.SubElement(shape, "attribute", name=name).text = text


def _add_shape(
    image: ElementTree.Element, kind: str, label: str, layer: int, **values: str
) -> ElementTree.Element:
    return ElementTree.SubElement(
        image, kind, {"label": label, "occluded": "0", **values, "z_order": str(layer)}
    )


def write_tasks(folder: Path, tasks: Iterable[ImageTask], classes: Classes) -> int:
    """Write images, `labels.json` and `annotations.xml`, for a task of CVAT.

    Returns:
        How many regions the tasks are for.
    """
    labels = json.dumps(labels_json(classes), ensure_ascii=False, indent=1)
    (folder / IMAGES).mkdir(exist_ok=True)
    listed = []
    for task in tasks:
        write_atomically(folder / IMAGES / task.file_name, task.image_encoded)
        listed.append(task)
    listed.sort(key=lambda task: task.file_name)
    write_atomically(folder / LABELS, labels.encode())
    write_atomically(folder / ANNOTATIONS, annotations_xml(listed, classes))
    return sum(len(task.regions) for task in listed)


def read_drawings(
    source: Path, log: SourceLog, where: str = "", completed: Container[int] = ()
) -> list[Drawn]:
    """Read what CVAT exports as CVAT for images 1.1: its zip file, a folder, or the XML.

    Args:
        source: The file or folder.
        log: Is told of images that were not handed out as they are.
        where: What messages call it; by default that.
        completed: The numbers of images that the task says are done.

    Raises:
        UserError: It is no such file, or has no region.
    """
    with unpacked(source) as inner:
        files = [inner] if not inner.is_dir() else files_below(inner, [".xml"])
        if not files:
            raise UserError(f"{source}: no XML file of CVAT for images")
        named = {where or str(source / path.relative_to(inner)): path for path in files}
        roots = {name: read_xml(path, name) for name, path in named.items()}
    listed = [image for name, root in roots.items() for image in images_in(name, root, log)]
    drawings = [drawn for image in listed for drawn in _drawings_of(image, log, completed)]
    if not drawings and not log.problems:
        raise UserError(
            f"{where or source}: has no box of the label {REGION}, expected an export of a task "
            f"with the {ANNOTATIONS} that `cereals tasks` wrote"
        )
    return drawings


class _Frame(NamedTuple):
    """What the box of a region says."""

    asked: dict[str, Any]
    number: int
    done: bool
    skip: bool
    predicted: str


def _drawings_of(image: CvatImage, log: SourceLog, completed: Container[int]) -> list[Drawn]:
    """Return what was drawn in an image, once for each state that its regions are in."""
    frames = []
    for shape in image.shapes:
        if shape.values.get("label") == REGION:
            with log.noted(NOT_HANDED_OUT):
                frames.append(_frame(image, shape))
    if not frames:
        return []
    own = SourceLog()
    shapes = _shapes(image, frames[0].asked["size"], own)
    states: dict[tuple[Any, ...], list[_Frame]] = {}
    for frame in frames:
        key = (frame.asked["round"], frame.asked["request"], frame.done, frame.skip)
        states.setdefault(key, []).append(frame)
    return [
        Drawn(
            image.where,
            **of_state[0].asked,
            regions=tuple(frame.number for frame in of_state),
            shapes=shapes,
            finished=of_state[0].done or image.number in completed,
            skipped=of_state[0].skip,
            handed_out={frame.number: frame.predicted for frame in of_state if frame.predicted},
            problems=own.problems,
        )
        for of_state in states.values()
    ]


def _frame(image: CvatImage, shape: CvatShape) -> _Frame:
    """Return what the box of a region says.

    Raises:
        UserError: It is damaged, or on another image than its region's.
    """
    texts = shape.attributes
    number, asked_round = (_whole(texts.get(name, "")) for name in ("region", "round"))
    height, width = (_whole(side or "") for side in image.size)
    image_id, request = unquote(texts.get("image", "")), texts.get("request", "")
    if number is None or not is_request(image_id, (height, width), request, asked_round):
        stated = {name: texts.get(name) for name in _TEXTS[:4]}
        raise UserError(
            f"{shape.where} is the box of a region, of {reprlib.repr(stated)}, in an image of the "
            f"size {reprlib.repr(image.size)}, expected one that `cereals tasks` wrote"
        )
    if PurePosixPath(PureWindowsPath(image.name).as_posix()).stem != file_stem(image_id):
        raise UserError(
            f"{shape.where} is the box of region {number}, which is in the image {shown(image_id)}"
        )
    asked = {
        "round": asked_round,
        "request": request,
        "image_id": image_id,
        "size": (height, width),
    }
    done, skip = (texts.get(name, "").lower() == "true" for name in _TICKS)
    return _Frame(asked, number, done, skip, texts.get("predicted", ""))


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _shapes(image: CvatImage, size: tuple[int, int], log: SourceLog) -> list[Shape]:
    """Return what was drawn in an image, in painter's order."""
    drawn = [shape for shape in image.shapes if shape.values.get("label") != REGION]
    shapes = []
    for shape in painters_order(drawn, log):
        with log.noted(INVALID_SHAPES):
            shapes.append(_shape(shape, size))
    return shapes


def _shape(shape: CvatShape, size: tuple[int, int]) -> Shape:
    label = shape.values.get("label", "")
    by_model = shape.values.get("source") in _BY_MODEL
    if shape.kind != "mask":
        points = outline_of(shape)
        if len(points) < 3 or not abs(points).max() <= MAX_COORDINATE:
            raise UserError(f"{shape.where} has {len(points)} points, expected 3 near the image")
        return Shape(shape.where, label, [points], by_model=by_model)
    pixels = mask_of(shape, *size)
    outlines = [polygon.points for polygon in outline_object(pixels, 0, TOLERANCE)]
    return Shape(shape.where, label, outlines, PlacedMask.of(pixels), by_model)
