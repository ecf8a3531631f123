"""Tiny data sets to convert, in both layouts."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy

CLASSES = {"names": ["ground", "thing", "other"], "ignore_id": 9}
IDS = (0, 1, 2, 9)


def _save(array, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def _blocky_mask(rng, height, width):
    cells = rng.choice(np.array(IDS, np.uint8), (-(-height // 5), -(-width // 5)))
    return cells.repeat(5, axis=0).repeat(5, axis=1)[:height, :width]


@pytest.fixture(scope="session")
def write_masks():
    """Writes images (noise) and masks (5x5 blocks) of the given names, and classes.json."""

    def write(folder: Path, names, images="{split}/images", labels="{split}/labels", size=(20, 30)):
        for number, name in enumerate(names):
            rng = np.random.default_rng(number)
            split, _, stem = name.rpartition("/")
            mask = _blocky_mask(rng, *size)
            image = mask[..., None] * [20, 15, 10]
            image = (image + rng.integers(0, 40, image.shape)).astype(np.uint8)
            _save(image, folder / images.replace("{split}", split) / f"{stem}.png")
            _save(mask, folder / labels.replace("{split}", split) / f"{stem}.png")
        (folder / "classes.json").write_text(json.dumps(CLASSES))
        return folder

    return write


class _Strict:
    """A source whose first problem is raised."""

    def __init__(self, source):
        self._source = source

    def items(self):
        try:
            splits = self._source.items()
        finally:
            for problem in self._source.log.problems:
                raise UserError(problem.text)
        return splits

    def annotation(self, item, height, width):
        found = self._source.annotation(item, height, width)
        for problem in found.problems:
            raise UserError(problem.text)
        return found


@pytest.fixture(scope="session")
def strict():
    return _Strict


@pytest.fixture(scope="session")
def cityscapes_source(tmp_path_factory):
    """Drawn scenes of 64x96: three of train, two of val; each with an ignored object more."""
    out = tmp_path_factory.mktemp("cityscapes") / "source"
    write_toy(out, train_images=3, val_images=2, height=64, width=96, seed=3)
    for path in out.rglob("*_polygons.json"):
        content = json.loads(path.read_text())
        content["objects"] += [
            {"label": "static", "polygon": [[5, 5], [30.5, 8], [28, 40], [4, 33]]},
            {"label": "license plate", "polygon": [[50, 50], [55, 50], [55, 55]]},
        ]
        path.write_text(json.dumps(content))
    return out


@pytest.fixture(scope="session")
def masks_source(tmp_path_factory, write_masks):
    names = ["train/a", "train/b", "train/c", "val/d"]
    return write_masks(tmp_path_factory.mktemp("masks") / "source", names)


@pytest.fixture(scope="session")
def convert():
    """Converts a source and opens the result."""

    def run(source: Path, out: Path, kind: str, **options) -> PreparedData:
        prepare(source, out, kind, options)
        return PreparedData.open(out)

    return run


@pytest.fixture(scope="session")
def cityscapes_data(tmp_path_factory, cityscapes_source, convert):
    return convert(cityscapes_source, tmp_path_factory.mktemp("prepared") / "data", "cityscapes")


@pytest.fixture(scope="session")
def masks_data(tmp_path_factory, masks_source, convert):
    return convert(masks_source, tmp_path_factory.mktemp("prepared") / "data", "masks")
