import json
import shutil
from pathlib import Path

import pytest

from cereals_tf.data_prep.dataset import ImageEntry, PreparedData
from cereals_tf.data_prep.errors import UserError


@pytest.fixture
def folder(masks_data, tmp_path):
    """A copy of a prepared data set, to damage."""
    return shutil.copytree(masks_data.folder, tmp_path / "data")


def test_describes_what_was_prepared(masks_data):
    assert masks_data.splits == ("train", "val")
    assert masks_data.classes.names == ("ground", "thing", "other")
    assert len(masks_data.classes) == 3
    assert masks_data.classes.ignore_id == 9
    assert len(masks_data.classes.palette) == 3
    assert [path.name for path in masks_data.shards("val")] == ["data_tfrecord-00000-of-00001"]
    train = masks_data.images["train"]
    assert [entry.image_id for entry in train] == ["a", "b", "c"]
    assert all(isinstance(entry, ImageEntry) and entry.clicks > 0 for entry in train)
    assert {(entry.height, entry.width) for entry in train} == {(20, 30)}
    with pytest.raises(UserError, match=r"no split 'test', it has train, val"):
        masks_data.shards("test")


def test_a_description_is_written_as_it_was_read(masks_data, cityscapes_data):
    of_0_1 = PreparedData.open(Path(__file__).parents[1] / "cereals_tf/version_0_1/data")
    for data in (masks_data, cityscapes_data, of_0_1):
        written = json.dumps(data.description.to_json(), indent=1) + "\n"
        assert written == (data.folder / "dataset.json").read_text()


def test_fingerprint_tells_data_sets_apart(masks_data, cityscapes_data, folder):
    assert PreparedData.open(folder).fingerprint == masks_data.fingerprint
    assert cityscapes_data.fingerprint != masks_data.fingerprint
    for name in ("dataset.json", "images.csv", "Split-val/data_tfrecord-00000-of-00001"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b"\n")
        assert PreparedData.open(folder).fingerprint != masks_data.fingerprint
        (folder / name).write_bytes(content)


def _without(*keys):
    def change(content):
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        return json.dumps(content)

    return change


DESCRIPTIONS = {
    "empty": lambda content: "",
    "no JSON": lambda content: "{",
    "no UTF-8": lambda content: b"\xff\xfe\xfd",
    "a list": lambda content: "[]",
    "no version": _without("format_version"),
    "other version": lambda content: json.dumps({**content, "format_version": 2}),
    "no splits": _without("splits"),
    "splits a list": lambda content: json.dumps({**content, "splits": ["train", "val"]}),
    "no shards": _without("splits", "val", "shards"),
    "shards a number": lambda content: json.dumps({**content, "splits": {"val": {"shards": 1}}}),
    "no classes": _without("classes"),
    "no ignore_id": _without("ignore_id"),
    "palette of numbers": lambda content: json.dumps({**content, "palette": [1, 2, 3]}),
    "nested too deeply": lambda content: "[" * 100_000,
}


@pytest.mark.parametrize("change", list(DESCRIPTIONS.values()), ids=list(DESCRIPTIONS))
def test_bad_description_is_refused_and_named(folder, change):
    path = folder / "dataset.json"
    changed = change(json.loads(path.read_text()))
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(UserError, match=r"dataset\.json") as caught:
        PreparedData.open(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("clicks", "vertices"),
        lambda text: text.replace("train,a,20", "train,a,twenty"),
        lambda text: text.replace("train,a,", "training,a,"),
        lambda text: text.replace("train,a,20,30", "train,a"),
        lambda text: text.rpartition("val,")[0],
        lambda text: "",
        lambda text: f'{text}val,"{"x" * 200_000}",1,1,1\n',
    ],
)
def test_bad_image_list_is_refused_and_named(folder, change):
    path = folder / "images.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=r"images\.csv"):
        _ = PreparedData.open(folder).images


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="not a prepared data set"):
        PreparedData.open(tmp_path)
    (folder / "images.csv").unlink()
    with pytest.raises(UserError, match=r"images\.csv"):
        _ = PreparedData.open(folder).images
    shard = folder / "Split-train/data_tfrecord-00000-of-00001"
    shard.unlink()
    with pytest.raises(UserError, match=f"{shard}: missing"):
        PreparedData.open(folder)
