"""Writes drawn scenes to a folder."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.files import new_folder
from cereals_tf.data_prep.sources.label_map import ClassesOptions
from cereals_tf.data_prep.toy.canvas import LabelledPolygon
from cereals_tf.data_prep.toy.registry import STYLES
from cereals_tf.data_prep.toy.style import SMALLEST_SIDE

_SPLITS = ("train", "val")
_TOWNS = {"train": "toytown", "val": "toyville"}


def write_toy(
    out: Path,
    train_images: int = 60,
    val_images: int = 20,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
    style: str = "streets",
) -> None:
    """Writes scenes as a small Cityscapes: `leftImg8bit/` and `gtFine/`.

    A scene depends on the style, the seed, the split, its number and its size only, so that more
    images never change earlier ones. A style with classes of its own has a classes file. The folder
    appears whole or not at all.

    Args:
        out: The folder to make; an empty one may exist there.
        train_images: Number of images in the split `train`.
        val_images: Number of images in the split `val`.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        seed: The seed, 0 or more.
        progress: Wraps the iterable of scenes to draw, for instance in a progress bar.
        style: What to draw, one of `STYLES`.

    Raises:
        UserError: There is no such style, a number is too small, or `out` is taken or cannot be
            written.
    """
    if style not in STYLES:
        raise UserError(f"--style={style}: unknown, expected one of {', '.join(STYLES)}")
    for name, value, smallest in (
        ("train_images", train_images, 1),
        ("val_images", val_images, 1),
        ("height", height, SMALLEST_SIDE),
        ("width", width, SMALLEST_SIDE),
        ("seed", seed, 0),
    ):
        if value < smallest:
            raise UserError(f"--{name}: found {value}, expected {smallest} or more")
    scenes = [
        (split, index)
        for split, images in zip(_SPLITS, (train_images, val_images), strict=True)
        for index in range(images)
    ]
    drawn = STYLES[style]
    with new_folder(out) as unfinished:
        if drawn.classes:
            text = json.dumps(drawn.classes, indent=2)
            (unfinished / ClassesOptions.classes).write_text(text, encoding="utf-8")
        for split, index in progress(scenes):
            rng = np.random.default_rng([seed, _SPLITS.index(split), index])
            image, objects = drawn.draw(rng, height, width)
            _write_scene(unfinished, split, index, image, objects, drawn.ids)


def _write_scene(
    root: Path,
    split: str,
    index: int,
    image: np.ndarray,
    objects: list[LabelledPolygon],
    label_ids: Mapping[str, int],
) -> None:
    height, width = image.shape[:2]
    town = _TOWNS[split]
    name = f"{town}_{index:06d}_000000"
    images, labels = (root / kind / split / town for kind in ("leftImg8bit", "gtFine"))
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(images / f"{name}_leftImg8bit.png")
    annotation = {
        "imgHeight": height,
        "imgWidth": width,
        "objects": [{"label": label, "polygon": polygon} for label, polygon in objects],
    }
    (labels / f"{name}_gtFine_polygons.json").write_text(json.dumps(annotation), encoding="utf-8")
    ids = Image.new("L", (width, height))
    draw = ImageDraw.Draw(ids)
    for label, polygon in objects:
        draw.polygon(polygon, fill=label_ids[label])
    ids.save(labels / f"{name}_gtFine_labelIds.png")
