import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.labels import name2label
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cereals_tf.data_prep import records
from cereals_tf.data_prep.dataset import PreparedData
from cereals_tf.data_prep.errors import UserError
from cereals_tf.data_prep.prepare import prepare
from cereals_tf.data_prep.toy import STYLES, write_toy

TOWNS = {"train": "toytown", "val": "toyville"}
SMALL = {"train_images": 3, "val_images": 2, "height": 64, "width": 96}


def painted(objects, height, width, ids=None):
    ids = ids or {name: label.id for name, label in name2label.items()}
    image = Image.new("L", (width, height), 255)
    for label, polygon in objects:
        ImageDraw.Draw(image).polygon(polygon, fill=ids[label])
    return np.asarray(image)


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy") / "new" / "cityscapes"
    write_toy(out, **SMALL, seed=7)
    return out


@pytest.fixture(scope="module")
def land(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy") / "land"
    write_toy(out, **SMALL, seed=7, style="aerial")
    return out


def drawn(style, images):
    return [STYLES[style].draw(np.random.default_rng([1, i]), 128, 256) for i in range(images)]


@pytest.fixture(scope="module")
def scenes():
    return drawn("streets", 40)


@pytest.fixture(scope="module")
def aerial_scenes():
    return drawn("aerial", 16)


def test_files_lie_where_cityscapes_has_them(toy):
    expected = {
        f"{kind}/{split}/{TOWNS[split]}/{TOWNS[split]}_{index:06d}_000000_{ending}"
        for split, images in (("train", 3), ("val", 2))
        for index in range(images)
        for kind, ending in (
            ("leftImg8bit", "leftImg8bit.png"),
            ("gtFine", "gtFine_polygons.json"),
            ("gtFine", "gtFine_labelIds.png"),
        )
    }
    assert set(contents(toy)) == expected
    assert [path.name for path in toy.parent.iterdir()] == ["cityscapes"]


def test_images_are_colour_and_labels_are_greyscale_at_the_asked_size(toy):
    for path in toy.rglob("*.png"):
        image = Image.open(path)
        assert image.size == (96, 64)
        assert image.mode == ("RGB" if "leftImg8bit" in path.name else "L")


def test_label_ids_are_what_cityscapesscripts_paints_from_the_polygons(toy):
    paths = sorted(toy.rglob("*_polygons.json"))
    assert len(paths) == 5
    for path in paths:
        annotation = Annotation()
        annotation.fromJsonFile(str(path))
        stored = Image.open(str(path).replace("polygons.json", "labelIds.png"))
        np.testing.assert_array_equal(stored, createLabelImage(annotation, "ids"))


def test_polygons_file_is_what_was_drawn(toy):
    path = toy / "gtFine/val/toyville/toyville_000001_000000_gtFine_polygons.json"
    stored = json.loads(path.read_text())
    image, objects = STYLES["streets"].draw(np.random.default_rng([7, 1, 1]), 64, 96)
    assert (stored["imgHeight"], stored["imgWidth"]) == (64, 96)
    assert stored["objects"] == [
        {"label": label, "polygon": [list(point) for point in polygon]}
        for label, polygon in objects
    ]
    picture = toy / "leftImg8bit/val/toyville/toyville_000001_000000_leftImg8bit.png"
    np.testing.assert_array_equal(Image.open(picture), image)


def test_same_seed_gives_the_same_bytes_and_other_seeds_do_not(toy, tmp_path):
    for seed in (7, 8):
        write_toy(tmp_path / str(seed), **SMALL, seed=seed)
    first, same, other = contents(toy), contents(tmp_path / "7"), contents(tmp_path / "8")
    assert same == first
    assert not any(other[name] == first[name] for name in first)


def test_aerial_images_likewise(land, toy, tmp_path):
    for seed in (7, 8):
        write_toy(tmp_path / str(seed), **SMALL, seed=seed, style="aerial")
    first, same, other = contents(land), contents(tmp_path / "7"), contents(tmp_path / "8")
    assert same == first
    assert [name for name in first if other[name] == first[name]] == ["classes.json"]
    assert {*first} - {*contents(toy)} == {"classes.json"}


def test_prepare_reads_aerial_images_with_their_own_classes(land, tmp_path):
    prepare(land, tmp_path / "data", "cityscapes")
    data = PreparedData.open(tmp_path / "data")
    assert [*data.classes.names] == [*STYLES["aerial"].ids]
    for record in records.read_shards(data.shards("train")):
        frame = record[records.IMAGE_ID].numpy().decode()
        annotation = land / f"gtFine/train/toytown/{frame}_gtFine"
        stored = Image.open(f"{annotation}_labelIds.png")
        np.testing.assert_array_equal(records.decode_label(record[records.LABEL_ENCODED]), stored)
        found = [
            {"label": data.classes.names[polygon.class_id], "polygon": polygon.points.tolist()}
            for polygon in records.polygons_of(record)
        ]
        assert found == json.loads(Path(f"{annotation}_polygons.json").read_text())["objects"]


def test_more_images_leave_the_earlier_ones_as_they_were(toy, tmp_path):
    write_toy(tmp_path / "more", **{**SMALL, "train_images": 5, "val_images": 3}, seed=7)
    more = contents(tmp_path / "more")
    assert contents(toy).items() <= more.items()
    pictures = [data for name, data in more.items() if name.startswith("leftImg8bit")]
    assert len(set(pictures)) == 8


@given(
    st.sampled_from([*STYLES]), st.integers(64, 150), st.integers(64, 150), st.integers(0, 10**6)
)
@settings(max_examples=30)
def test_scene_of_any_size_is_covered_by_visible_polygons_inside_it(style, height, width, seed):
    image, objects = STYLES[style].draw(np.random.default_rng(seed), height, width)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert (painted(objects, height, width, STYLES[style].ids) != 255).all()
    owners = Image.new("I", (width, height), -1)
    for index, (_, polygon) in enumerate(objects):
        assert len(polygon) >= 3
        assert all(type(value) is int for point in polygon for value in point)
        assert np.min(polygon) >= 0
        assert (np.max(polygon, axis=0) < (width, height)).all()
        ImageDraw.Draw(owners).polygon(polygon, fill=index)
    assert set(np.unique(np.asarray(owners))) == set(range(len(objects)))


@pytest.mark.parametrize("style", STYLES)
def test_picture_changes_where_the_labels_change(style, request):
    pictures = request.getfixturevalue({"streets": "scenes", "aerial": "aerial_scenes"}[style])

    def contrast_at_label_borders(shift):
        at_borders, elsewhere = [], []
        for image, objects in pictures[:10]:
            labels = painted(objects, 128, 256, STYLES[style].ids)
            ids = np.roll(labels, shift, axis=1)[:, 8:-8]
            steps = np.abs(np.diff(image.astype(float), axis=1)).mean(2)[:, 8:-8]
            border = np.diff(ids.astype(int), axis=1) != 0
            at_borders.append(steps[border].mean())
            elsewhere.append(steps[~border].mean())
        return np.mean(at_borders) / np.mean(elsewhere)

    contrasts = {shift: contrast_at_label_borders(shift) for shift in (-4, -2, 0, 2, 4)}
    assert max(contrasts, key=contrasts.get) == 0
    assert contrasts[0] > {"streets": 2, "aerial": 1.4}[style]


def test_sky_and_road_are_everywhere_and_rare_classes_are_rare(scenes):
    present = Counter(label for _, objects in scenes for label in {name for name, _ in objects})
    assert min(present["sky"], present["road"]) >= 38
    rare = ("bus", "truck", "rider", "bicycle", "traffic light", "wall", "fence")
    assert all(present[label] < 0.6 * len(scenes) for label in rare)
    assert all(present[label] > 0 for label in rare)
    assert len(present) == 17


def test_aerial_images_have_all_classes_very_unevenly(aerial_scenes):
    ids = STYLES["aerial"].ids
    labels = [painted(objects, 128, 256, ids) for _, objects in aerial_scenes]
    counts = sum(np.bincount(label.ravel(), minlength=len(ids)) for label in labels)
    shares = dict(zip(ids, counts / counts.sum(), strict=True))
    assert len(shares) == 11
    assert 0 < shares["car"] < 0.002 < shares["track"] < 0.05 < shares["trees"] < shares["grass"]
    assert max(shares.values()) < 0.5
    vertices = [sum(len(polygon) for _, polygon in objects) for _, objects in aerial_scenes]
    assert max(vertices) > 3 * min(vertices)


def test_clicks_differ_between_scenes_and_between_their_sides(scenes):
    xs = [np.concatenate([polygon for _, polygon in objects])[:, 0] for _, objects in scenes]
    totals = np.array([len(x) for x in xs])
    left = np.array([(x < 128).mean() for x in xs])
    assert totals.max() > 2 * totals.min()
    assert left.min() < 0.4
    assert left.max() > 0.6


def test_scene_below_the_smallest_size_is_refused():
    with pytest.raises(ValueError, match="63"):
        STYLES["streets"].draw(np.random.default_rng(0), 64, 63)


def test_unknown_style_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(UserError, match="--style=moon: unknown, expected one of streets, aerial"):
        write_toy(tmp_path / "out", **SMALL, style="moon")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("train_images", 0),
        ("val_images", -1),
        ("height", 63),
        ("width", 0),
        ("seed", -1),
    ],
)
def test_bad_number_is_refused_and_named(tmp_path, option, value):
    with pytest.raises(UserError, match=f"--{option}: found {value}, expected"):
        write_toy(tmp_path / "out", **{**SMALL, option: value})
    assert not list(tmp_path.iterdir())


def test_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("kept")
    with pytest.raises(UserError, match="out"):
        write_toy(out, **SMALL)
    assert contents(tmp_path) == {"out/precious": b"kept"}


def test_file_in_the_way_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="file"):
            write_toy(out, **SMALL)
    assert contents(tmp_path) == {"file": b"kept"}


def test_empty_folder_is_filled(toy, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    write_toy(out, **SMALL, seed=7)
    assert contents(out) == contents(toy)


def test_interruption_leaves_nothing_behind(tmp_path):
    def interrupted(scenes):
        yield from list(scenes)[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_toy(tmp_path / "out", **SMALL, progress=interrupted)
    assert not list(tmp_path.iterdir())


def test_progress_sees_every_scene(tmp_path):
    seen = []

    def noted(scenes):
        for scene in scenes:
            seen.append(scene)
            yield scene

    write_toy(tmp_path / "out", **SMALL, progress=noted)
    assert len(seen) == 5
