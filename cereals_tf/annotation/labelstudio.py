"""Label Studio: a labelling configuration, one task a region, and its JSON export.

Points and rectangles are in percent of the image's size. Everything here works on plain JSON, so
that it serves files and a running server alike.
"""

import json
import math
import reprlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from cereals_tf.annotation.drawn import (
    NOT_HANDED_OUT,
    REGION,
    Drawn,
    PlacedMask,
    Shape,
    is_request,
)
from cereals_tf.annotation.rle import decode_mask
from cereals_tf.annotation.tasks import (
    ImageTask,
    RegionTask,
    TaskLabel,
    frame_of,
    hint,
    labels_of,
    priority,
)
from cereals_tf.data_prep.clicks import MAX_COORDINATE
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.reading import (
    INVALID_SHAPES,
    outline_object,
    read_json,
    read_points,
)

TASKS = "tasks.json"
CONFIGURATION = "config.xml"
IMAGES = "images"
TOLERANCE = 2.0
"""How far the polygon by which clicks are counted may be from a brush mask, pixels."""
MODEL_VERSION = "CEREALS"
"""One for all rounds: a project shows the predictions of one version only."""
_OF_NO_REGION = (
    *("relation", "choices", "textarea", "rating", "number", "datetime", "taxonomy", "pairwise"),
    *("ranker", "list", "chat"),
)
"""Types of results that say something of the task or of a region, and draw nothing."""
_FRAME = {"opacity": "0.1", "strokeWidth": "3", "canRotate": "false"}


def configuration(classes: Classes) -> str:
    """Return the labelling configuration: polygons and brushes of every class over the image.

    Raises:
        UserError: See `labels_of`.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="$hint", size="5")
    ElementTree.SubElement(
        view, "Image", name="image", value="$image", zoom="true", zoomControl="true"
    )
    labels = labels_of(classes)
    _add_tool(view, "PolygonLabels", "polygon", labels, opacity="0.4", strokeWidth="2")
    _add_tool(view, "BrushLabels", "brush", labels)
    _add_tool(view, "RectangleLabels", "region", [frame_of(classes)], **_FRAME)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _add_tool(
    view: ElementTree.Element, tag: str, name: str, labels: Iterable[TaskLabel], **look: str
) -> None:
    tool = ElementTree.SubElement(view, tag, {"name": name, "toName": "image", **look})
    for label in labels:
        colour = "#{:02x}{:02x}{:02x}".format(*label.colour)
        ElementTree.SubElement(tool, "Label", value=label.name, background=colour)


def task_json(task: RegionTask, image_url: str, classes: Classes) -> dict[str, Any]:
    """Return a region's task in Label Studio's import form.

    Args:
        task: The region.
        image_url: Where Label Studio finds the image.
        classes: The classes that the prediction's ids are of.
    """
    height, width = task.entry.height, task.entry.width
    y, x, region_height, region_width = task.window
    frame = {
        "x": 100 * x / width,
        "y": 100 * y / height,
        "width": 100 * region_width / width,
        "height": 100 * region_height / height,
        "rotation": 0,
    }
    results = [_result(task, "region", "region", "rectanglelabels", REGION, frame)]
    for number, polygon in enumerate(task.predicted or ()):
        points = 100 * polygon.points / [width, height]
        value = {"points": points.tolist(), "closed": True}
        name = classes.names[polygon.class_id]
        results.append(_result(task, f"{number}", "polygon", "polygonlabels", name, value))
    prediction = {"model_version": MODEL_VERSION, "result": results}
    if task.chosen.score is not None:
        prediction["score"] = task.chosen.score
    return {
        "data": {
            "image": image_url,
            "hint": hint(task),
            "image_id": task.entry.image_id,
            "size": [height, width],
            "round": task.round,
            "request": task.request,
            "region": task.number,
            "window": list(task.window),
            **priority(task),
        },
        "predictions": [prediction],
    }


def _result(
    task: RegionTask, key: str, tool: str, kind: str, label: str, value: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"{task.number}-{key}",
        "type": kind,
        "from_name": tool,
        "to_name": "image",
        "original_width": task.entry.width,
        "original_height": task.entry.height,
        "image_rotation": 0,
        "readonly": kind == "rectanglelabels",
        "value": {**value, kind: [label]},
    }


def write_tasks(folder: Path, tasks: Iterable[ImageTask], classes: Classes) -> int:
    """Write images, `tasks.json` and `config.xml`, for Label Studio to import.

    The tasks name images as Label Studio serves local files whose root is the folder.

    Returns:
        How many regions the tasks are for.
    """
    text = configuration(classes)
    (folder / IMAGES).mkdir(exist_ok=True)
    listed = []
    for task in tasks:
        write_atomically(folder / IMAGES / task.file_name, task.image_encoded)
        url = f"/data/local-files/?d={IMAGES}/{quote(task.file_name)}"
        listed += [task_json(region, url, classes) for region in task.regions]
    write_atomically(folder / CONFIGURATION, text.encode())
    content = json.dumps(sorted(listed, key=lambda task: task["data"]["region"]), indent=1)
    write_atomically(folder / TASKS, content.encode())
    return len(listed)


def read_drawings(source: Path, log: SourceLog) -> list[Drawn]:
    """Read a JSON export of Label Studio.

    Args:
        source: The file.
        log: Is told of tasks that are damaged or were not handed out.

    Raises:
        UserError: It is no such export.
    """
    content = read_json(source)
    if not isinstance(content, list):
        raise UserError(
            f"{source}: expected a list of tasks, Label Studio's export as JSON, found "
            f"{type(content).__name__}"
        )
    return drawings_in(str(source), content, log)


def drawings_in(where: str, tasks: Iterable[Any], log: SourceLog) -> list[Drawn]:
    """Return what annotators drew in tasks.

    Args:
        where: What begins a message about them.
        tasks: As Label Studio exports them.
        log: Is told of those that are damaged or were not handed out.
    """
    drawings = []
    for place, task in enumerate(tasks):
        with log.noted(NOT_HANDED_OUT):
            drawings.append(drawings_of(task, f"{where}: {_named(task, place)}"))
    return drawings


def _named(task: Any, place: int) -> str:
    """Return what Label Studio calls a task: its id, where it has one."""
    found = task.get("id") if isinstance(task, dict) else None
    return f"entry {place}" if found is None else f"task {reprlib.repr(found)}"


def drawings_of(task: Any, where: str) -> Drawn:
    """Return what annotators drew in one task.

    Of several annotations the one that is starred as ground truth counts, or else the newest; one
    that was skipped counts only if all were. Results that are no regions of the image are passed
    over.

    Args:
        task: The task as Label Studio exports it, with `data` and `annotations`.
        where: What begins a message about it.

    Raises:
        UserError: It is damaged, or was not handed out by a campaign.
    """
    if not isinstance(task, dict) or not isinstance(task.get("annotations"), list):
        raise UserError(
            f"{where}: has no list of annotations, expected Label Studio's export as JSON (not "
            "JSON-MIN)"
        )
    asked = _asked(where, task.get("data"))
    for number, annotation in enumerate(task["annotations"]):
        if not isinstance(annotation, dict):
            raise UserError(f"{where}: annotation {number} is no object")
    kept = [found for found in task["annotations"] if not found.get("was_cancelled")]
    if not kept:
        return Drawn(where, **asked, skipped=bool(task["annotations"]))
    chosen = max(kept, key=_precedence)
    results = chosen.get("result")
    if not isinstance(results, list):
        raise UserError(f"{where}: its annotation has no list 'result'")
    shapes: list[Shape] = []
    log = SourceLog()
    for number, result in enumerate(results):
        with log.noted(INVALID_SHAPES):
            shapes += _shapes(f"{where}: {_result_name(result, number)}", result, asked["size"])
    seconds = _seconds(where, chosen)
    return Drawn(
        where,
        **asked,
        shapes=shapes,
        seconds=seconds,
        finished=True,
        problems=log.problems,
        annotator=_annotator(chosen.get("completed_by")),
    )


def _annotator(user: Any) -> str:
    """Return how an export names who annotated: by address, or by number alone."""
    known = user.get("email") or user.get("id") if isinstance(user, dict) else user
    return str(known) if isinstance(known, (str, int)) else ""


def _result_name(result: Any, number: int) -> str:
    """Return what Label Studio calls a result: its id, where it has one."""
    found = result.get("id") if isinstance(result, dict) else None
    return f"result {number}" if found is None else f"result {reprlib.repr(found)}"


def _precedence(annotation: dict[str, Any]) -> tuple[bool, str, int]:
    """Return what is largest for the annotation that counts."""
    stamp = annotation.get("updated_at") or annotation.get("created_at")
    number = annotation.get("id")
    return (
        annotation.get("ground_truth") is True,
        stamp if isinstance(stamp, str) else "",
        number if type(number) is int else -1,
    )


def _asked(where: str, data: Any) -> dict[str, Any]:
    """Return what a task asked for, as attributes of `Drawn`."""
    if not isinstance(data, dict) or not {"image_id", "request", "region"} <= data.keys():
        raise UserError(
            f"{where}: its data lacks image_id, request or region: expected a task that "
            "`cereals tasks` wrote"
        )
    keys = ("image_id", "request", "round", "region", "size")
    stated: list[Any] = [data.get(key) for key in keys]
    image_id, request, number, region, size = stated
    if not is_request(image_id, size, request, number) or type(region) is not int:
        raise UserError(
            f"{where}: its data is damaged: image_id {reprlib.repr(image_id)}, size "
            f"{reprlib.repr(size)}, request {reprlib.repr(request)}, round {reprlib.repr(number)}, "
            f"region {reprlib.repr(region)}"
        )
    return {
        "round": number,
        "request": request,
        "image_id": image_id,
        "size": (size[0], size[1]),
        "regions": (region,),
    }


def _seconds(where: str, annotation: dict[str, Any]) -> float | None:
    seconds = annotation.get("lead_time")
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise UserError(
            f"{where}: its annotation has lead_time {reprlib.repr(seconds)}, expected seconds"
        )
    return float(seconds)


def _shapes(where: str, result: Any, size: tuple[int, int]) -> list[Shape]:
    """Return the shape of one result; none for the frames of regions and what is no region."""
    if not isinstance(result, dict):
        raise UserError(f"{where} is {reprlib.repr(result)}, expected an object")
    kind, value = result.get("type"), result.get("value")
    if kind in _OF_NO_REGION:
        return []
    if not isinstance(value, dict):
        raise UserError(f"{where} has the value {reprlib.repr(value)}, expected an object")
    if kind == "rectanglelabels" and value.get(kind) == [REGION]:
        return []
    if kind not in ("polygonlabels", "brushlabels"):
        raise UserError(f"{where} is of type {reprlib.repr(kind)}, expected a polygon or a brush")
    names = value.get(kind)
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise UserError(f"{where} has the labels {reprlib.repr(names)}, expected one class name")
    stated = (result.get("original_height"), result.get("original_width"))
    if stated != size or result.get("image_rotation"):
        raise UserError(
            f"{where} is drawn on an image of {stated[0]!r}x{stated[1]!r} turned by "
            f"{result.get('image_rotation')!r} degrees, expected {size[0]}x{size[1]} upright"
        )
    make = _polygon if kind == "polygonlabels" else _brush
    by_model = str(result.get("origin")).startswith("prediction")
    return [replace(make(where, names[0], value, size), by_model=by_model)]


def _polygon(where: str, name: str, value: dict[str, Any], size: tuple[int, int]) -> Shape:
    """Return a polygon; its points are rounded to float32, which undoes the division by 100."""
    percent = read_points(where, value.get("points"))
    points = (percent * [size[1], size[0]] / 100).astype(np.float32).astype(np.float64)
    if len(points) < 3 or np.abs(points).max() > MAX_COORDINATE:
        raise UserError(
            f"{where} is a polygon of {len(points)} points, as far as "
            f"{np.abs(points).max():g} pixels away, expected at least 3, near the image"
        )
    return Shape(where, name, [points])


def _brush(where: str, name: str, value: dict[str, Any], size: tuple[int, int]) -> Shape:
    rle = value.get("rle")
    if value.get("format") != "rle" or not isinstance(rle, list):
        raise UserError(f"{where} is a brush mask of format {reprlib.repr(value.get('format'))}")
    if not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise UserError(f"{where} is a brush mask with values that are no bytes")
    try:
        mask = PlacedMask.of(decode_mask(rle, *size))
    except ValueError as error:
        raise UserError(f"{where} is a brush mask that cannot be decoded: {error}") from None
    outlines = outline_object(mask.pixels, 0, TOLERANCE) if mask.pixels.size else []
    corner = np.array([mask.x, mask.y])
    return Shape(where, name, [polygon.points + corner for polygon in outlines], mask)
