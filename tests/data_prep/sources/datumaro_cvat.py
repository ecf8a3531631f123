"""Run in datumaro's environment: writes what CVAT exports, and reads what is to be imported.

python datumaro_cvat.py write FOLDER    random shapes, and what datumaro's masks make of them
python datumaro_cvat.py read FILE       prints the labels and the shapes of an XML file
"""

import json
import sys
from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType, Bbox, Mask, Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 40, 56
LABELS = ("road", "car", "sky")


def _shape(rng, layer):
    label, kind = int(rng.integers(len(LABELS))), int(rng.integers(3))
    corner = rng.integers(0, 25, 2).astype(float)
    size = rng.integers(4, 15, 2).astype(float)
    if kind == 0:
        points = (corner + rng.uniform(0, 15, (5, 2))).round(2)
        return Polygon(points.ravel().tolist(), label=label, z_order=layer)
    if kind == 1:
        return Bbox(*corner, *size, label=label, z_order=layer)
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    (x, y), (width, height) = corner.astype(int), size.astype(int)
    pixels[y : y + height, x : x + width] = rng.random((height, width)) < 0.6
    return Mask(pixels, label=label, z_order=layer)


def _pixels(shape):
    if isinstance(shape, Mask):
        return np.asarray(shape.image).astype(bool)
    polygon = shape.as_polygon() if isinstance(shape, Bbox) else shape.points
    written = [round(float(value), 2) for value in polygon]
    parts = coco_mask.frPyObjects([written], HEIGHT, WIDTH)
    return coco_mask.decode(coco_mask.merge(parts)) > 0


def write(folder):
    rng = np.random.default_rng(7)
    items, truth = [], {}
    for number in range(6):
        layers = rng.permutation(8)
        shapes = [_shape(rng, int(layer)) for layer in layers]
        label = np.full((HEIGHT, WIDTH), -1, np.int16)
        for shape in sorted(shapes, key=lambda shape: shape.z_order):
            label[_pixels(shape)] = shape.label
        truth[f"frame{number}"] = label
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        media = Image.from_numpy(data=pixels)
        items.append(DatasetItem(f"frame{number}", media=media, annotations=shapes))
    dataset = Dataset.from_iterable(items, categories=list(LABELS))
    dataset.export(str(folder), "cvat", save_media=True, image_ext=".png")
    np.savez(folder / "truth.npz", **truth)


def read(file):
    from datumaro.plugins.data_formats.cvat.base import CvatBase

    base = CvatBase(str(file))
    labels = [label.name for label in base.categories()[AnnotationType.label].items]
    found = [
        {
            "image": item.id,
            "size": list(item.media.size),
            "label": labels[shape.label],
            "type": shape.type.name,
            "points": list(shape.points) if hasattr(shape, "points") else None,
            "layer": shape.z_order,
            "attributes": {str(key): str(value) for key, value in shape.attributes.items()},
        }
        for item in base
        for shape in item.annotations
    ]
    print(json.dumps({"labels": labels, "shapes": found}))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
