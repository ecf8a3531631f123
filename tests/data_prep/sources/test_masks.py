import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cereals_tf.data_prep.description import Classes
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.sources.label_map import train_id_map
from cereals_tf.data_prep.sources.masks import MaskOptions, MaskSource, read_mask
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

THREE = train_id_map(Classes(("a", "b", "c"), ((0, 0, 0), (128, 0, 0), (0, 128, 0)), 9))
COLOURS = np.zeros((10, 3), np.uint8)
COLOURS[:3] = THREE.classes.palette
WITHOUT_COLOURS = replace(THREE, colours={})


def _read(folder, image, labels_as=THREE, **options):
    image.save(folder / "mask.png", **options)
    found = read_mask(folder / "mask.png", labels_as)
    assert found.dtype == np.uint8
    return found


@pytest.mark.parametrize("bits", [4, 8])
def test_palettes_without_a_class_s_colour_leave_the_indices(tmp_path, bits):
    image = Image.fromarray(MASK)
    image.putpalette(np.random.default_rng(0).integers(1, 128, 48 if bits == 4 else 768).tolist())
    np.testing.assert_array_equal(_read(tmp_path, image, bits=bits), MASK)
    assert Image.open(tmp_path / "mask.png").mode == "P"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("void", [9, 7])
def test_palettes_with_the_colours_of_other_classes_have_the_say(tmp_path, place, void):
    """Tools that sort the colours, or number them as they meet them, write such masks."""
    rank = np.roll(np.arange(3), place)
    indices = np.where(MASK == 9, void, rank[np.minimum(MASK, 2)]).astype(np.uint8)
    palette = np.full((256, 3), 77, np.uint8)
    palette[rank] = COLOURS[:3]
    image = Image.fromarray(indices)
    image.putpalette(palette.ravel().tolist())
    if void == 7:
        named = "label id 7 is neither" if place == 0 else "expected 'ids' among the classes"
        with pytest.raises(UserError, match=rf"mask\.png: .*{named}"):
            _read(tmp_path, image)
        return
    np.testing.assert_array_equal(_read(tmp_path, image), MASK)
    stated = replace(THREE, ids_are_stated=True)
    np.testing.assert_array_equal(_read(tmp_path, image, stated), indices)


def test_palettes_of_grey_are_read_as_grey(tmp_path):
    """Programs that make PNG files small turn grey into palettes."""
    indices = np.searchsorted([0, 1, 2, 9], MASK).astype(np.uint8)
    image = Image.fromarray(indices)
    image.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 9, 9, 9])
    np.testing.assert_array_equal(_read(tmp_path, image), MASK)


def test_palettes_of_one_colour_leave_the_indices(tmp_path):
    image = Image.fromarray(MASK)
    image.putpalette([0] * 768)
    np.testing.assert_array_equal(_read(tmp_path, image), MASK)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16"])
def test_grey_values_are_ids_in_every_mode(tmp_path, mode):
    grey = Image.fromarray(MASK.astype(np.uint16)) if mode == "I;16" else Image.fromarray(MASK)
    image = grey if mode == "I;16" else grey.convert(mode)
    np.testing.assert_array_equal(_read(tmp_path, image), MASK)


def test_masks_of_few_bits_keep_their_values(tmp_path):
    """Written by hand, as Pillow writes none of 2 or 4 bits without a palette."""
    for bits in (1, 2, 4):
        mask = np.minimum(MASK, 2**bits - 1)
        mask[mask == 3] = 2
        path = tmp_path / f"{bits}.png"
        path.write_bytes(_grey_png(mask, bits))
        labels_as = replace(WITHOUT_COLOURS, ids={0: 0, 1: 1, 2: 2, 9: 9})
        np.testing.assert_array_equal(read_mask(path, labels_as), mask)


def _grey_png(mask, bits):
    height, width = mask.shape
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    binary = (mask[..., None] >> np.arange(bits)[::-1] & 1).reshape(height, -1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in binary)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif"])
def test_colours_are_the_classes(tmp_path, suffix):
    known = np.minimum(MASK, 2)
    path = tmp_path / f"mask.{suffix}"
    Image.fromarray(COLOURS[known]).save(path)
    np.testing.assert_array_equal(read_mask(path, THREE), known)


def test_transparent_pixels_are_ignored_whatever_their_colour(tmp_path):
    rgba = np.dstack([COLOURS[np.minimum(MASK, 2)], np.where(MASK == 9, 0, 255)])
    rgba[MASK == 9, :3] = 200
    np.testing.assert_array_equal(_read(tmp_path, Image.fromarray(rgba.astype(np.uint8))), MASK)


def test_what_stands_for_nothing_is_refused_or_ignored(tmp_path):
    strange = COLOURS[np.minimum(MASK, 2)]
    strange[0, 0] = 1, 2, 3
    image = Image.fromarray(strange)
    with pytest.raises(UserError, match=r"mask\.png: 1 pixel has .* no class, as \[1, 2, 3\]"):
        _read(tmp_path, image)
    with pytest.raises(UserError, match="an RGB mask, expected 'palette'"):
        _read(tmp_path, image, WITHOUT_COLOURS)
    expected = np.minimum(MASK, 2)
    expected[0, 0] = 9
    others = replace(THREE, others=True)
    np.testing.assert_array_equal(_read(tmp_path, image, others), expected)
    values = Image.fromarray(np.where(MASK == 9, 77, MASK).astype(np.uint8))
    np.testing.assert_array_equal(_read(tmp_path, values, others), MASK)
    with pytest.raises(UserError, match="label id 77 is neither one of the 3 classes"):
        _read(tmp_path, values)


def test_masks_stored_with_loss_or_in_other_modes_are_refused(tmp_path):
    path = tmp_path / "mask.png"
    for form in ("JPEG", "MPO"):
        more = {"save_all": True, "append_images": [Image.fromarray(MASK)]}
        Image.fromarray(MASK).save(path, form, **(more if form == "MPO" else {}))
        with pytest.raises(UserError, match=rf"mask\.png: .*{form}, which alters ids"):
            read_mask(path, THREE)
    Image.fromarray(MASK.astype(np.float32)).save(path, "TIFF")
    with pytest.raises(UserError, match=r"mask\.png: a mask is grey, RGB .*, found mode F"):
        read_mask(path, THREE)
