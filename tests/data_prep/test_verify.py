import itertools
import shutil
import struct

import pytest

from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.progress import show_progress
from cereals_tf.data_prep.verify import verify


def test_undamaged_data_pass(cityscapes_data, masks_data):
    verify(cityscapes_data)
    verify(masks_data)


def test_damage_in_one_shard_does_not_hide_that_in_another(masks_data, tmp_path):
    shutil.copytree(masks_data.folder, tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    (train,), (val,) = data.shards("train"), data.shards("val")
    train.write_bytes(train.read_bytes()[:-30])
    content = bytearray(val.read_bytes())
    content[len(content) // 2] ^= 4
    val.write_bytes(content)
    with pytest.raises(UserError) as caught:
        verify(data)
    message = str(caught.value)
    assert message.startswith("2 damaged: ")
    assert f"{train}: record 2: " in message
    assert f"{val}: record 0: " in message
    assert "\n" not in message


def _starts(content):
    """Where each record's data begin, and the end of all."""
    starts, place = [], 0
    while place < len(content):
        starts.append(place + 12)
        place += struct.unpack_from("<Q", content, place)[0] + 16
    return [*starts, place]


def test_every_damaged_record_is_named_and_no_other(masks_data, tmp_path):
    shutil.copytree(masks_data.folder, tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    sound = {path: path.read_bytes() for split in data.splits for path in data.shards(split)}
    places = [
        (path, number)
        for path, content in sound.items()
        for number in range(len(_starts(content)) - 1)
    ]
    assert len(places) == 4
    for chosen in itertools.product([False, True], repeat=4):
        damaged = list(itertools.compress(places, chosen))
        for path, content in sound.items():
            altered = bytearray(content)
            for number in (number for shard, number in damaged if shard == path):
                altered[_starts(content)[number] + 5] ^= 16
            path.write_bytes(altered)
        if not damaged:
            verify(data)
            continue
        with pytest.raises(UserError, match=f"^{len(damaged)} damaged: ") as caught:
            verify(data)
        named = str(caught.value).partition("damaged: ")[2].split("; ")
        expected = [f"{path}: record {number}" for path, number in damaged]
        assert [name.rpartition(": ")[0] for name in named] == expected


def test_a_damaged_length_ends_its_shard_and_the_others_are_read(masks_data, tmp_path):
    shutil.copytree(masks_data.folder, tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    (train,), (val,) = data.shards("train"), data.shards("val")
    for path, number in ((train, 1), (val, 0)):
        content = bytearray(path.read_bytes())
        content[_starts(content)[number] - 12] ^= 1
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        verify(data)
    message = str(caught.value)
    assert message.startswith("3 damaged: ")
    assert f"{train}: record 1: " in message
    assert f"{val}: record 0: " in message
    assert f"{data.folder}: 2 records of train, dataset.json says 3" in message


def test_missing_records_are_noticed(masks_data, tmp_path):
    shutil.copytree(masks_data.folder, tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    (train,) = data.shards("train")
    content = train.read_bytes()
    train.write_bytes(content[: _starts(content)[2] - 12])
    with pytest.raises(UserError, match=r"^1 damaged: .*: 2 records of train, .* says 3$"):
        verify(data)


def test_progress_counts_records_where_it_is_asked_for(masks_data, capsys):
    for asked in (True, False):
        show_progress(asked)
        verify(masks_data)
        assert ("4/4" in capsys.readouterr().err) == asked
