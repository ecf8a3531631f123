import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.masks import (
    MaskOptions,
    MaskSource,
    evenly_spaced_palette,
    read_classes,
    read_id_mask,
)
from cereals_tf.data_prep.sources.registry import open_source
from cereals_tf.data_prep.sources.source import Item
from cereals_tf.data_prep.sources.splits import divided_evenly

MASK = np.random.default_rng(0).choice(np.array([0, 1, 2, 9], np.uint8), (20, 30))


def _ids(splits):
    return {split: [item.image_id for item in items] for split, items in splits.items()}


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("{split}/images", "{split}/labels"),
        ("images/{split}", "labels/{split}"),
        ("{split}/images", "{split}/masks"),
        ("images/{split}", "masks/{split}"),
    ],
)
def test_layouts_with_splits_are_found(tmp_path, write_masks, images, labels):
    names = ["train/b", "train/a", "val/c", "test/d"]
    write_masks(tmp_path, names, images, labels)
    splits = MaskSource(tmp_path, MaskOptions()).items()
    assert _ids(splits) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    for item in splits["train"]:
        assert item.image == tmp_path / images.replace("{split}", "train") / item.image.name


def test_folders_are_given_by_patterns(tmp_path, write_masks):
    patterns = {"images": "{split}_rgb{0}", "labels": "ids/{split}"}
    write_masks(tmp_path, ["train/a", "val/b"], **patterns)
    splits = MaskSource(tmp_path, MaskOptions(**patterns)).items()
    assert _ids(splits) == {"train": ["a"], "val": ["b"]}


@pytest.mark.parametrize("labels", ["labels", "masks"])
@pytest.mark.parametrize(("percent", "expected"), [(20, [4, 9]), (30, [3, 6, 9]), (10, [9])])
def test_images_without_splits_are_divided_the_same_way_every_time(
    tmp_path, write_masks, labels, percent, expected
):
    write_masks(tmp_path, [f"n{i}" for i in range(10)], "images", labels)
    for _ in range(2):
        splits = MaskSource(tmp_path, MaskOptions(val_percent=percent)).items()
        assert [int(name[1:]) for name in _ids(splits)["val"]] == expected
        assert sorted(_ids(splits)["train"] + _ids(splits)["val"]) == [f"n{i}" for i in range(10)]


@given(st.integers(2, 300), st.floats(0.1, 99.9))
def test_share_of_val_is_the_one_asked_for(count, percent):
    items = [Item(str(i), Path(), Path()) for i in range(count)]
    try:
        splits = divided_evenly(items, percent)
    except UserError:
        assert count * percent / 100 < 1 + 1e-9 or count * (1 - percent / 100) < 1
        return
    assert abs(len(splits["val"]) - count * percent / 100) <= 1
    assert sorted(splits["train"] + splits["val"]) == sorted(items)
    assert all(list(part) == sorted(part, key=items.index) for part in splits.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "images"}, "--images and --labels go together"),
        ({"labels": "labels"}, "--images and --labels go together"),
        ({"images": "images", "labels": "{split}"}, "belongs in both or neither"),
        ({"images": "pictures", "labels": "labels"}, "pictures: no such folder"),
        ({"images": "{split}/images", "labels": "{split}/labels"}, "images: no such folder"),
        ({"images": "{}", "labels": "{"}, "no such folder"),
        ({"val_percent": 0.0}, "--val_percent=0 .* val"),
        ({"val_percent": 100.0}, "--val_percent=100 .* train"),
        ({"val_percent": float("nan")}, "--val_percent=nan"),
        ({"val_percent": -20.0}, "--val_percent=-20"),
        ({"val_percent": 170.0}, "--val_percent=170"),
        ({"tolerance": -1.0}, "--tolerance=-1"),
        ({"tolerance": float("nan")}, "--tolerance=nan"),
        ({"classes": "nowhere.json"}, r"nowhere\.json: no such classes file"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, write_masks, options, message):
    write_masks(tmp_path, ["a", "b", "c"], "images", "labels")
    with pytest.raises(UserError, match=message):
        open_source("masks", tmp_path, options).items()


def test_folders_of_no_known_layout_are_refused(tmp_path, write_masks):
    write_masks(tmp_path, ["a"], "pictures", "labels")
    with pytest.raises(UserError, match="give --images and --labels"):
        MaskSource(tmp_path, MaskOptions())


# Masks.


@pytest.mark.parametrize("bits", [4, 8])
def test_palette_masks_keep_their_indices(tmp_path, bits):
    image = Image.fromarray(MASK)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 48 if bits == 4 else 768).tolist())
    image.save(tmp_path / "mask.png", bits=bits)
    assert Image.open(tmp_path / "mask.png").mode == "P"
    found = read_id_mask(tmp_path / "mask.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, MASK)


def test_greyscale_masks_keep_their_values(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_id_mask(tmp_path / "mask.png"), mask)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MASK.astype(np.uint16)),
        Image.fromarray(np.repeat(MASK[..., None], 3, axis=2)),
        Image.fromarray(MASK).convert("RGBA"),
        Image.fromarray(MASK).convert("LA"),
        Image.fromarray(MASK).convert("1"),
    ],
    ids=lambda image: image.mode,
)
def test_masks_of_other_modes_are_refused(tmp_path, image):
    image.save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=r"mask\.png: an id mask is 8-bit"):
        read_id_mask(tmp_path / "mask.png")


def test_masks_stored_with_loss_are_refused(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "mask.png", "jpeg")
    with pytest.raises(UserError, match=r"mask\.png: .*JPEG"):
        read_id_mask(tmp_path / "mask.png")


# Classes.


def _classes(tmp_path, content):
    path = tmp_path / "classes.json"
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_classes(path)


def test_classes_have_defaults(tmp_path):
    found = _classes(tmp_path, {"names": ["straße", "auto"]})
    assert found.names == ("straße", "auto")
    assert found.ignore_id == 255
    assert found.palette == evenly_spaced_palette(2)
    found = _classes(
        tmp_path, {"names": ["a", "b"], "ignore_id": 2, "palette": [[0, 1, 2], [253, 254, 255]]}
    )
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
}


@pytest.mark.parametrize("content", list(BAD_CLASSES.values()), ids=list(BAD_CLASSES))
def test_bad_classes_are_refused_and_the_file_named(tmp_path, content):
    with pytest.raises(UserError, match=r"classes\.json") as caught:
        _classes(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_missing_classes_are_refused(tmp_path):
    for path in (tmp_path / "classes.json", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_classes(path)
