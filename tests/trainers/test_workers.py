"""What one worker alone does; several are tried in tests/cereals_tf/campaign/test_workers.py."""

from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from cereals_tf.data_prep.errors import UserError
from cereals_tf.trainers.workers import ALONE, Workers, open_workers


def of_many(count, index):
    worker = Workers(index)
    worker.count = count
    return worker


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 5, 14])
def test_shares_are_all_of_it_in_order(count, items):
    shares = [of_many(count, index).share(range(items)) for index in range(count)]
    assert list(chain.from_iterable(shares)) == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_parts_are_all_of_a_batch_in_order():
    images, weights = np.arange(12).reshape(6, 2), np.arange(6.0)
    batches = tf.data.Dataset.from_tensors(((images, images * 2), weights))
    parts = [of_many(3, index).parts(batches) for index in range(3)]
    found = [next(part.as_numpy_iterator()) for part in parts]
    np.testing.assert_array_equal(np.concatenate([own for _, own in found]), weights)
    for place, whole in enumerate((images, images * 2)):
        np.testing.assert_array_equal(np.concatenate([seen[place] for seen, _ in found]), whole)


def test_one_worker_alone_waits_for_nobody():
    for name in ("none", "mirrored"):
        assert open_workers(name, 1) is ALONE
    assert ALONE.told(7) == 7
    assert ALONE.total(np.array([2.0])) == [2.0]
    with ALONE.chief_first():
        ALONE.wait()
    variable = tf.Variable(3.0)
    ALONE.follow_chief([variable])
    assert variable.numpy() == 3.0


def test_workers_share_the_images_of_a_step_equally(monkeypatch):
    cluster = '{"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}'
    monkeypatch.setenv("TF_CONFIG", f'{{"cluster": {cluster}}}')
    with pytest.raises(UserError, match=r"2 workers share .* must be a multiple of 2; it is 3"):
        open_workers("multiworker", 3)


def test_an_error_of_tensorflow_is_that_of_another_worker_where_there_are_some():
    with pytest.raises(tf.errors.UnavailableError), ALONE.losses_named("campaign"):
        raise tf.errors.UnavailableError(None, None, "gone")
