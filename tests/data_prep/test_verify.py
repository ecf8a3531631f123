import shutil

import pytest

from data_prep.dataset import PreparedData
from data_prep.errors import UserError
from data_prep.verify import verify


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
