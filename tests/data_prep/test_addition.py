"""Images are added beside what is prepared, in the data set's classes, and nothing else changes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cereals_tf.data_prep import records
from cereals_tf.data_prep.addition import add
from cereals_tf.data_prep.dataset import PreparedData, chained, extended
from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.duplicates import near_duplicates
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.verify import verify

NAMES = ("ground", "thing", "other")
TURNED = ["other", "ground"]
"""Names of some of the classes as another source orders them."""


def write_images(folder, images, names=NAMES, ignore_id=9):
    """Write {name: (image, mask or None)} in one folder of images and one of masks."""
    for name, arrays in images.items():
        for part, array in zip(("images", "labels"), arrays, strict=True):
            path = folder / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if array is not None:
                Image.fromarray(array).save(path)
    classes = {"names": list(names), "ignore_id": ignore_id}
    (folder / "classes.json").write_text(json.dumps(classes))
    return folder


def noise(seed, ids=(0, 1, 2, 9), height=24, width=40):
    rng = np.random.default_rng(seed)
    blocks = rng.choice(np.array(ids, np.uint8), (3, 4)).repeat(8, axis=0).repeat(10, axis=1)
    image = rng.integers(0, 256, (6, 10, 3), np.uint8)
    return cv2.resize(image, (width, height)), blocks[:height, :width]


@pytest.fixture
def data(tmp_path) -> PreparedData:
    source = write_images(tmp_path / "source", {f"a{number}": noise(number) for number in range(5)})
    prepare(source, tmp_path / "data", "masks")
    return PreparedData.open(tmp_path / "data")


def labels_of(data, split):
    return {
        record[records.IMAGE_ID].numpy().decode(): records.decode_label(
            record[records.LABEL_ENCODED]
        ).numpy()
        for record in records.read_shards(data.shards(split))
    }


def test_images_of_other_class_ids_are_added(data, tmp_path, snapshot_of):
    before = snapshot_of(data.folder)
    images = {f"b{number}": noise(10 + number, (0, 1, 7)) for number in range(3)}
    source = write_images(tmp_path / "new", images, TURNED, ignore_id=7)
    name = add(source, data, data.classes, "masks", {}, "train", "june/")
    assert name == "added-001"
    after = snapshot_of(data.folder)
    assert {path: after[path] for path in before} == before
    whole, alone = PreparedData.open(data.folder), PreparedData.open(data.folder, ())
    assert (alone.fingerprint, alone.images) == (data.fingerprint, data.images)
    part = PreparedData.open_part(data.folder / name)
    assert whole.fingerprint == chained([data.fingerprint, part.fingerprint]) != data.fingerprint
    assert whole.images["train"][: len(data.images["train"])] == data.images["train"]
    assert whole.images["val"] == data.images["val"]
    found = labels_of(whole, "train")
    assert list(found) == [entry.image_id for entry in whole.images["train"]]
    table = np.full(8, 9, np.uint8)
    table[:2] = [NAMES.index(one) for one in TURNED]
    for image_id, (_, mask) in images.items():
        np.testing.assert_array_equal(found[f"june/{image_id}"], table[mask])
    pixels = {
        one: sum(int((label == i).sum()) for label in found.values()) for i, one in enumerate(NAMES)
    }
    assert whole.split("train").pixels_per_class == pixels
    verify(whole)
    with pytest.raises(UserError, match=r"has an image 'a0' already, one of 5 .* --prefix=TEXT"):
        add(tmp_path / "source", whole, data.classes, "masks", {})


def test_what_another_user_added_is_found(data, tmp_path):
    """Whoever does not see an addition of these images gets it; the images are written once."""
    write_images(tmp_path / "new", {"b": noise(10)})
    name = add(tmp_path / "new", data, data.classes, "masks", {})
    assert add(tmp_path / "new", data, data.classes, "masks", {}) == name
    with pytest.raises(UserError, match="has an image 'b' already"):
        add(tmp_path / "new", PreparedData.open(data.folder), data.classes, "masks", {})
    other = write_images(tmp_path / "other", {"c": noise(11)})
    assert add(other, data, data.classes, "masks", {}, "val", labelled=True) == "added-002"
    whole = PreparedData.open(data.folder)
    assert [entry.image_id for entry in whole.images["val"]][-1] == "c"
    assert PreparedData.open(data.folder, [name]).images["val"] == data.images["val"]


def test_images_without_labels(data, tmp_path):
    source = write_images(tmp_path / "new", {"b": noise(10), "c": (noise(11)[0], None)})
    with pytest.raises(UserError, match=r"c\.png: 1 of 2 images have no annotation"):
        add(source, data, data.classes, "masks", {}, labelled=True)
    add(source, data, data.classes, "masks", {})
    add(source / "images", PreparedData.open(data.folder), data.classes, "images", {}, prefix="x/")
    whole = PreparedData.open(data.folder)
    labelled = {entry.image_id: entry.labelled for entry in whole.images["train"]}
    assert [image_id for image_id, has in labelled.items() if not has] == ["c", "x/b", "x/c"]
    assert not whole.labelled("train")
    assert whole.split("train").labelled_images == len(labelled) - 3


def test_classes(data, tmp_path):
    source = write_images(tmp_path / "new", {"b": noise(10, (0, 3))}, (*NAMES, "tram"))
    with pytest.raises(UserError, match=r"has the classes 'tram'.*--add_class"):
        add(source, data, data.classes, "masks", {})
    classes = Classes((*NAMES, "tram"), (*data.classes.palette, (1, 2, 3)), 9)
    add(source, data, classes, "masks", {})
    whole = PreparedData.open(data.folder)
    assert whole.classes == classes
    assert whole.split("train").pixels_per_class["tram"] > 0
    assert whole.split("val").pixels_per_class["tram"] == 0
    alone = extended(data, {}, classes)
    assert alone.classes == classes and alone.fingerprint == data.fingerprint
    assert alone.images == data.images


def test_what_is_refused_leaves_nothing(data, tmp_path, snapshot_of):
    before = snapshot_of(data.folder)
    source = write_images(tmp_path / "new", {"b": noise(10)})

    def refuse(images):
        assert [(one.image_id, one.height, one.width) for one in images] == [("b", 24, 40)]
        raise UserError("too small")

    with pytest.raises(UserError, match="too small"):
        add(source, data, data.classes, "masks", {}, accept=refuse)
    (tmp_path / "empty" / "images").mkdir(parents=True)
    with pytest.raises(UserError):
        add(tmp_path / "empty", data, data.classes, "images", {})
    with pytest.raises(UserError, match=r"--dataset=movies: unknown, expected one of .*images"):
        add(source, data, data.classes, "movies", {})
    assert snapshot_of(data.folder) == before


def test_images_that_look_alike(data, tmp_path):
    """Brighter, a little smaller, stored with loss: the same picture; others are others."""
    folder = tmp_path / "new"
    folder.mkdir()
    image = noise(2)[0]
    Image.fromarray(cv2.resize(image, (36, 22)) // 2 + 60).save(folder / "same.jpg", quality=80)
    Image.fromarray(noise(30)[0]).save(folder / "new.png")
    name = add(folder, data, data.classes, "images", {})
    shards = [shard for split in data.splits for shard in data.shards(split)]
    part = PreparedData.open_part(data.folder / name)
    assert near_duplicates(part.shards("train"), shards, 7) == {"same": "a2"}


@pytest.fixture
def snapshot_of():
    def read(folder: Path) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))
        }

    return read
