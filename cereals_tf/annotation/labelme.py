"""LabelMe: a JSON file beside each image, as LabelMe itself writes and reads it.

Beyond LabelMe's own fields a file has `cereals`: what was asked for, which LabelMe keeps when it
saves. The flag `done` tells that an annotator is finished with an image.
"""

import json
import reprlib
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

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
    TaskLabel,
    file_stem,
    frame_of,
    hint,
    labels_of,
    predicted_digests,
    priority,
)
from cereals_tf.data_prep.dataset import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import write_atomically
from cereals_tf.data_prep.problems import SourceLog
from cereals_tf.data_prep.sources.labelme import drawn_shape, label_of, shapes_of
from cereals_tf.data_prep.sources.reading import INVALID_SHAPES, files_below, read_object
from cereals_tf.data_prep.text import shown

LABELS = "labels.txt"
CONFIGURATION = "labelmerc.yaml"
DONE = "done"
PREDICTED = "predicted"
"""Description of the shapes that the model of the round before drew."""
FORMAT_VERSION = 1
LABELME_VERSION = "5.5.0"
TOLERANCE = 2.0
"""How far the polygon by which clicks are counted may be from a circle or a mask, pixels."""


def write_tasks(folder: Path, tasks: Iterable[ImageTask], classes: Classes) -> int:
    """Write images with their JSON files, `labels.txt` and a configuration with the colours.

    A JSON file that is there already stays as it is: somebody may have drawn in it.

    Returns:
        How many regions the tasks are for.
    """
    labels = labels_of(classes)
    write_atomically(folder / LABELS, "".join(f"{label.name}\n" for label in labels).encode())
    write_atomically(folder / CONFIGURATION, _configuration(labels, frame_of(classes)).encode())
    count = 0
    for task in tasks:
        path = folder / f"{file_stem(task.entry.image_id)}.json"
        write_atomically(folder / task.file_name, task.image_encoded)
        if not path.exists():
            content = json.dumps(file_json(task, classes), ensure_ascii=False, indent=2)
            write_atomically(path, content.encode())
        count += len(task.regions)
    return count


def _configuration(labels: Iterable[TaskLabel], frame: TaskLabel) -> str:
    """Return a configuration file of LabelMe, in the part of YAML that is JSON."""
    colours = {label.name: list(label.colour) for label in labels}
    content = {
        "labels": list(colours),
        "validate_label": "exact",
        "sort_labels": False,
        "shape_color": "manual",
        "label_colors": {**colours, frame.name: list(frame.colour)},
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def file_json(task: ImageTask, classes: Classes) -> dict[str, Any]:
    """Return the content of an image's JSON file: the regions, and the predictions in them."""
    return {
        "version": LABELME_VERSION,
        "flags": {DONE: False},
        "shapes": [
            *map(_frame, task.regions),
            *(
                {
                    **_shape(classes.names[polygon.class_id], "polygon", polygon.points.tolist()),
                    "description": PREDICTED,
                }
                for region in task.regions
                for polygon in region.predicted or ()
            ),
        ],
        "imagePath": task.file_name,
        "imageData": None,
        "imageHeight": task.entry.height,
        "imageWidth": task.entry.width,
        "cereals": {
            "format_version": FORMAT_VERSION,
            "round": task.regions[0].round,
            "request": task.regions[0].request,
            "image_id": task.entry.image_id,
            "regions": [
                {
                    "region": region.number,
                    "window": list(region.window),
                    **priority(region),
                }
                for region in task.regions
            ],
            "predicted": {
                str(number): digest for number, digest in predicted_digests(task, classes).items()
            },
        },
    }


def _frame(task: RegionTask) -> dict[str, Any]:
    y, x, height, width = task.window
    score = task.chosen.score
    described = hint(task) if score is None else f"{hint(task)}, score {score:.4g}"
    shape = _shape(REGION, "rectangle", [[x, y], [x + width, y + height]])
    return {**shape, "group_id": task.number, "description": described}


def _shape(label: str, kind: str, points: list[list[float]]) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def read_drawings(source: Path, log: SourceLog) -> list[Drawn]:
    """Read the JSON files in a folder, or one of them.

    Args:
        source: The folder or the file.
        log: Is told of files that are damaged or were not handed out.

    Raises:
        UserError: There is no such file.
    """
    files = [source] if source.is_file() else files_below(source, [".json"])
    if not files:
        raise UserError(f"{source}: no JSON files of LabelMe")
    drawings = []
    for path in files:
        with log.noted(NOT_HANDED_OUT):
            drawings.append(_drawings_in(path))
    return drawings


def _drawings_in(path: Path) -> Drawn:
    content = read_object(path)
    asked = _asked(path, content)
    height, width = asked["size"]
    shapes = []
    log = SourceLog()
    for where, shape in shapes_of(path, content):
        with log.noted(INVALID_SHAPES):
            label = label_of(where, shape).strip()
            if label == REGION:
                _refuse_foreign(where, shape, asked)
                continue
            mask, outlines = drawn_shape(where, shape, height, width, TOLERANCE)
            drawn = Shape(where, label, outlines, PlacedMask.of(mask), _is_by_model(shape))
            shapes.append(drawn)
    flags = content.get("flags")
    finished = isinstance(flags, dict) and flags.get(DONE) is True
    return Drawn(str(path), **asked, shapes=shapes, finished=finished, problems=log.problems)


def _is_by_model(shape: dict[str, Any]) -> bool:
    """Whether a model drew a shape: ours, LabelMe's from a text, or X-AnyLabeling's.

    LabelMe's polygons and masks from a click on an object cannot be told from others.
    """
    description, score = shape.get("description"), shape.get("score")
    if description == PREDICTED or type(score) in (int, float):
        return True
    try:
        said = json.loads(description) if isinstance(description, str) else None
    except ValueError:
        return False
    return isinstance(said, dict) and {"score", "text"} <= said.keys()


def _refuse_foreign(where: str, shape: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse the frame of a region that is not one of the file's."""
    number = shape.get("group_id")
    if number not in asked["regions"]:
        raise UserError(
            f"{where} is {REGION} with group_id {reprlib.repr(number)}, expected one of the "
            f"regions asked for: {', '.join(map(str, asked['regions']))}"
        )


def _asked(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return what a file asked for, as attributes of `Drawn`."""
    asked = content.get("cereals")
    if not isinstance(asked, dict):
        raise UserError(f"{path}: has no 'cereals', expected a file that `cereals tasks` wrote")
    version = asked.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        found = reprlib.repr(version)
        raise UserError(f"{path}: 'cereals' of version {found}, expected {FORMAT_VERSION}")
    stated: list[Any] = [asked.get(key) for key in ("image_id", "request", "round")]
    image_id, request, number = stated
    size = (content.get("imageHeight"), content.get("imageWidth"))
    if not is_request(image_id, size, request, number):
        raise UserError(
            f"{path}: damaged: image_id {reprlib.repr(image_id)}, size {reprlib.repr(size)}, "
            f"request {reprlib.repr(request)}, round {reprlib.repr(number)}"
        )
    _refuse_other_image(path, content.get("imagePath"), image_id)
    return {
        "round": number,
        "request": request,
        "image_id": image_id,
        "size": size,
        "regions": _numbers(path, asked.get("regions")),
        "handed_out": _digests(path, asked.get("predicted")),
    }


def _refuse_other_image(path: Path, name: Any, image_id: str) -> None:
    stem = file_stem(image_id)
    found = PureWindowsPath(name).name if isinstance(name, str) else None
    if found not in (f"{stem}.png", f"{stem}.jpg"):
        raise UserError(
            f"{path}: 'imagePath' is {reprlib.repr(name)}, expected {stem}.png or {stem}.jpg, the "
            f"image {shown(image_id)}"
        )


def _numbers(path: Path, regions: Any) -> tuple[int, ...]:
    listed = regions if isinstance(regions, list) else [None]
    found = [region.get("region") if isinstance(region, dict) else None for region in listed]
    numbers = [number for number in found if type(number) is int]
    if len(numbers) < len(found):
        raise UserError(f"{path}: 'cereals' has the regions {reprlib.repr(regions)}")
    return tuple(numbers)


def _digests(path: Path, predicted: Any) -> dict[int, str]:
    valid = isinstance(predicted, dict) and all(
        key.isascii() and key.isdigit() and isinstance(digest, str)
        for key, digest in predicted.items()
    )
    if not valid:
        raise UserError(f"{path}: 'cereals' has 'predicted' {reprlib.repr(predicted)}")
    return {int(key): digest for key, digest in predicted.items()}
