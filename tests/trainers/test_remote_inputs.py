"""Reading images of a data set in an object store, here the file system in memory."""

import secrets

import pytest
import tensorflow as tf

from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import write_toy
from cereals_tf.trainers.split import Split


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> tuple[Split, Split]:
    """The same train split from local files and from a store."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder / "streets", train_images=5, val_images=1, height=64, width=64)
    prepare(folder / "streets", folder / "data", "cityscapes")
    remote = f"ram://{secrets.token_hex(8)}/data"
    for path in (folder / "data").rglob("*"):
        copy = f"{remote}/{path.relative_to(folder / 'data').as_posix()}"
        if path.is_dir():
            tf.io.gfile.makedirs(copy)
        else:
            tf.io.gfile.makedirs(copy.rpartition("/")[0])
            tf.io.gfile.copy(str(path), copy)
    local, stored = (PreparedData.open(data) for data in (folder / "data", remote))
    return Split(local, "train"), Split(stored, "train")


@pytest.mark.parametrize("places", [None, [], [2], [3, 0, 1]])
def test_a_store_gives_the_same_records_in_the_same_order(readers, places):
    names = [entry.image_id for entry in readers[0].images]
    chosen = None if places is None else [names[place] for place in places]
    found = [
        [
            (record[records.IMAGE_ID].decode(), record[records.IMAGE_ENCODED])
            for record in reader.records(chosen).as_numpy_iterator()
        ]
        for reader in readers
    ]
    assert found[0] == found[1]
    wanted = names if chosen is None else chosen
    assert [image_id for image_id, _ in found[1]] == [name for name in names if name in wanted]
