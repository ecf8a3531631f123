"""Prepared data sets of given images and masks, made by the real conversion."""

import json
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy

IGNORE_ID = 9


@pytest.fixture(scope="session")
def write_data(tmp_path_factory):
    """Prepares a data set of three classes from {split: {image id: (image, mask)}}."""

    def write(splits: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> PreparedData:
        folder = tmp_path_factory.mktemp("trainers")
        for split in ("train", "val"):
            for image_id, arrays in splits.get(split, splits["train"]).items():
                for part, array in zip(("images", "labels"), arrays, strict=True):
                    path = folder / "source" / split / part / f"{image_id}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array).save(path, compress_level=1)
        classes = {"names": ["ground", "thing", "other"], "ignore_id": IGNORE_ID}
        (folder / "source" / "classes.json").write_text(json.dumps(classes))
        prepare(folder / "source", folder / "data", "masks", {"tolerance": 1.0})
        return PreparedData.open(folder / "data")

    return write


@pytest.fixture(scope="session")
def noise():
    """Draws (image, mask) of a size: noise, and blocks of 6x10 pixels of classes 0 to 2 and 9."""

    def draw(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        cells = rng.choice(np.array([0, 1, 2, 9], np.uint8), (-(-height // 6), -(-width // 10)))
        return image, cells.repeat(6, axis=0).repeat(10, axis=1)[:height, :width]

    return draw


@pytest.fixture(scope="session")
def toy_source(tmp_path_factory) -> Path:
    """Drawn scenes of 64x96: four of train, three of val."""
    out = tmp_path_factory.mktemp("toy") / "source"
    write_toy(out, train_images=4, val_images=3, height=64, width=96, seed=5)
    return out


@pytest.fixture(scope="session")
def toy_data(toy_source) -> PreparedData:
    prepare(toy_source, toy_source.parent / "data", "cityscapes")
    return PreparedData.open(toy_source.parent / "data")


@pytest.fixture(scope="session")
def randomize():
    """Gives every weight of a model a random value, batch normalisation's statistics too."""

    def fill(model: keras.Model, seed: int = 0) -> keras.Model:
        rng = np.random.default_rng(seed)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                shape = layer.gamma.shape  # gamma, beta, mean, variance
                layer.set_weights([rng.uniform(low, 1.0, shape) for low in (0.5, 0, -0.5, 0.5)])
        return model

    return fill
