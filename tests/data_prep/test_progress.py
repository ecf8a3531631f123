"""Bars that say what they are part of, where anybody asked for them."""

import pytest

from cereals_tf.data_prep import progress
from cereals_tf.data_prep.progress import Progress, show_progress, within


@pytest.fixture
def shown():
    before = progress._shown
    show_progress()
    yield
    show_progress(before)


def test_bars_are_named_after_the_work_that_they_are_part_of(shown, capsys):
    with within("round 3"):
        assert list(Progress(range(3), "first", 3)) == [0, 1, 2]
        with Progress(desc="second", total=2, bar_format="{desc}: {n}") as bar:
            bar.update()
    assert list(Progress(range(3), desc="third")) == [0, 1, 2]
    drawn = capsys.readouterr().err.replace("\n", "\r").split("\r")
    found = {line.rpartition(": ")[0] for line in drawn if line}
    assert found == {"round 3: first", "round 3: second", "third"}


def test_nobody_sees_bars_unasked(capsys):
    show_progress(False)
    with within("round 3"):
        assert list(Progress(range(3), desc="hidden")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
