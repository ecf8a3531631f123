"""Tests of classes files, and of what values and colours stand for."""

import json

import pytest

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.label_map import evenly_spaced_palette, read_label_map


def _classes(tmp_path, content):
    path = tmp_path / "classes.json"
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_label_map(path)


def test_classes_have_defaults(tmp_path):
    found = _classes(tmp_path, {"names": ["straße", "auto"]}).classes
    assert found.names == ("straße", "auto")
    assert found.ignore_id == 255
    assert found.palette == evenly_spaced_palette(2)
    found = _classes(
        tmp_path, {"names": ["a", "b"], "ignore_id": 2, "palette": [[0, 1, 2], [253, 254, 255]]}
    ).classes
    assert found.ignore_id == 2
    assert found.palette == ((0, 1, 2), (253, 254, 255))


@pytest.mark.parametrize("classes", [2, 12, 255])
def test_drawn_palette_is_of_distinct_colours(classes):
    palette = evenly_spaced_palette(classes)
    assert len(set(palette)) == classes
    assert all(0 <= part <= 255 for colour in palette for part in colour)


TWO = {"names": ["a", "b"]}
BAD_CLASSES = {
    "no JSON": "names: [a, b]",
    "nothing": "",
    "no text": b"\xff\xfe\x00",
    "nested": "[" * 10**5,
    "a list": ["a", "b"],
    "no names": {"ignore_id": 255},
    "names by id": {"names": {"0": "a", "1": "b"}},
    "names are numbers": {"names": [0, 1]},
    "an empty name": {"names": ["a", ""]},
    "one name": {"names": ["a"]},
    "256 names": {"names": [str(i) for i in range(256)]},
    "a name twice": {"names": ["a", "b", "a"]},
    "ignore_id of a class": {**TWO, "ignore_id": 1},
    "ignore_id too large": {**TWO, "ignore_id": 256},
    "ignore_id negative": {**TWO, "ignore_id": -1},
    "ignore_id a fraction": {**TWO, "ignore_id": 2.5},
    "ignore_id true": {**TWO, "ignore_id": True},
    "ignore_id nothing": {**TWO, "ignore_id": None},
    "palette too short": {**TWO, "palette": [[1, 2, 3]]},
    "palette of pairs": {**TWO, "palette": [[1, 2], [3, 4]]},
    "palette ragged": {**TWO, "palette": [[1, 2, 3], [3, 4]]},
    "palette of texts": {**TWO, "palette": ["#ff0000", "#00ff00"]},
    "palette of fractions": {**TWO, "palette": [[0.5, 0.5, 0.5], [1, 1, 1]]},
    "palette beyond 255": {**TWO, "palette": [[1, 2, 3], [1, 2, 256]]},
    "palette by name": {**TWO, "palette": {"a": [1, 2, 3], "b": [4, 5, 6]}},
    "palette nested": {**TWO, "palette": [[1, 2, 3], [1, 2, [3]]]},
    "ids too few": {**TWO, "ids": [1]},
    "ids by name": {**TWO, "ids": {"a": 1, "b": 2}},
    "ids too large": {**TWO, "ids": [1, 65536]},
    "ids negative": {**TWO, "ids": [0, -1]},
    "ids of fractions": {**TWO, "ids": [0, 1.0]},
    "ids true": {**TWO, "ids": [0, True]},
    "no id of a class": {**TWO, "ids": [0, []]},
    "an id of two classes": {**TWO, "ids": [7, [8, 7]]},
    "ids nothing": {**TWO, "ids": None},
    "colours too few": {**TWO, "colours": [[1, 2, 3]]},
    "a colour of two classes": {**TWO, "colours": [[1, 2, 3], [[3, 2, 1], [1, 2, 3]]]},
    "colours of pairs": {**TWO, "colours": [[1, 2], [3, 4]]},
    "ignored a number": {**TWO, "ignored": 7},
    "ignored another word": {**TWO, "ignored": "rest"},
    "ignored a class": {**TWO, "ignored": ["a"]},
    "ignored an id of a class": {**TWO, "ignored": [1]},
    "ignored a colour of a class": {
        **TWO,
        "palette": [[1, 2, 3], [3, 2, 1]],
        "ignored": [[1, 2, 3]],
    },
    "ignored true": {**TWO, "ignored": [True]},
    "ignored nothing": {**TWO, "ignored": None},
}


@pytest.mark.parametrize("content", list(BAD_CLASSES.values()), ids=list(BAD_CLASSES))
def test_bad_classes_are_refused_and_the_file_named(tmp_path, content):
    with pytest.raises(UserError, match=r"classes\.json") as caught:
        _classes(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_missing_classes_are_refused(tmp_path):
    for path in (tmp_path / "classes.json", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_label_map(path)


def test_ids_and_colours_may_be_several_and_what_is_ignored_is_said(tmp_path):
    found = _classes(
        tmp_path,
        {
            "names": ["road", "car"],
            "palette": [[1, 1, 1], [2, 2, 2]],
            "ids": [[7, 8], 26],
            "colours": [[128, 64, 128], [[0, 0, 142], [0, 0, 70]]],
            "ignored": [0, 1, [0, 0, 0], "sky"],
        },
    )
    assert found.ids == {7: 0, 8: 0, 26: 1, 0: 255, 1: 255, 255: 255}
    assert found.colours == {(128, 64, 128): 0, (0, 0, 142): 1, (0, 0, 70): 1, (0, 0, 0): 255}
    assert found.names == {"road": 0, "car": 1, "sky": 255}
    assert found.ids_are_stated and not found.others


def test_a_class_may_have_the_ignore_id_s_value_in_masks(tmp_path):
    found = _classes(tmp_path, {"names": ["ground", "building"], "ids": [0, 255]})
    assert found.ids == {0: 0, 255: 1}
    assert found.classes.ignore_id == 255


def test_colours_of_several_classes_stand_for_none(tmp_path):
    palette = [[1, 2, 3], [4, 5, 6], [1, 2, 3], [1, 2, 3]]
    found = _classes(tmp_path, {"names": ["a", "b", "c", "d"], "palette": palette})
    assert found.colours == {(4, 5, 6): 1}
    assert _classes(tmp_path, {"names": ["a", "b"]}).colours == {}
    assert _classes(tmp_path, {"names": ["a", "b"], "ignored": "others"}).others
