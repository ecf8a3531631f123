"""The pictures of an image at an acquisition step, and their colours in a figure."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.grid import Box
from cereals_tf.report import figures
from cereals_tf.report.composite import draw_panels
from cereals_tf.report.panels import MOST_POSITIONS, legend_of, map_panel, panels_of
from cereals_tf.report.pictures import picture_uri
from cereals_tf.report.sections.choice import shown_panel
from cereals_tf.report.views import AcquisitionStep, ImageView

MAPS = ["Information: entropy", "Predicted cost", "True clicks", "Fused: product"]


@pytest.mark.parametrize("height,width", [(21, 13), (16, 100)])
def test_panels_of_any_size(campaign, sky, height, width):
    rng = np.random.default_rng(0)
    cells = (-(-height // 8), -(-width // 8))
    label = rng.choice(np.array([0, 10, 255], np.uint8), (height, width))
    region = Annotated(Chosen(Region("a", Box(0, 0, 8, 8))), 64, RegionClicks(0, 0, 0))
    below, beside = Box(8, 0, 8, 8), Box(0, 8, 8, 8)
    view = ImageView(
        "a",
        rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        label,
        np.full((height, width), 13, np.uint8),
        rng.random(cells),
        np.zeros(cells),
        np.zeros(cells),
        [region],
        [replace(region, chosen=Chosen(Region("a", below if width == 13 else beside)))],
    )
    panels = panels_of(AcquisitionStep(campaign, 1, True, [view]), view)
    titles = ["Annotated before", "Ground truth", "Prediction", *MAPS, "Newly selected"]
    assert [panel.title for panel in panels] == titles
    legend = legend_of(view, campaign.data.classes)
    assert [key.name for key in legend] == ["road", sky, "car", "no label", "labelled before"]
    figure = draw_panels(panels, legend)
    drawn = [text.get_text() for text in figure.legends[0].get_texts()]
    assert drawn == [figures.plain(key.name) for key in legend]
    assert [axes.get_title(loc="left") for axes in figure.axes] == titles
    for axes in figure.axes:
        box = axes.get_position()
        shape = box.height * figure.get_figheight() / (box.width * figure.get_figwidth())
        assert shape == pytest.approx(height / width)
    drawn = Image.fromarray(figures.raster(figure))
    colours = {colour for _, colour in drawn.getcolors(1 << 24)}
    palette = campaign.data.classes.palette
    assert {(0, 0, 0), palette[0], palette[10], palette[13]} <= colours


def test_panels_without_information_or_selection(step):
    unseen = replace(step.views[0], information=None)
    panels = panels_of(replace(step, complete=False, views=[unseen]), unseen)
    titles = ["Annotated before", "Ground truth", "Prediction", *MAPS[1:3]]
    assert [panel.title for panel in panels] == titles


@settings(max_examples=30)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_large_maps_are_means_of_what_is_not_masked(height, width, seed):
    rng = np.random.default_rng(seed)
    values = np.ma.array(rng.random((height, width)), mask=rng.random((height, width)) < 0.6)
    panel = map_panel("", (8 * height, 8 * width), values, "viridis", "")
    rows, columns = panel.pixels.shape[:2]
    side = panel.stride // 8
    assert rows * columns <= MOST_POSITIONS
    assert (rows, columns) == (-(-height // side), -(-width // side))
    for y, x in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)):
        block = values[y * side : (y + 1) * side, x * side : (x + 1) * side].compressed()
        assert (panel.pixels[y, x, 3] == 255) == bool(block.size)
        if block.size:
            masked = np.ma.array([[block.mean()]])
            np.testing.assert_array_equal(panel.pixels[y, x], panel.scale.pixels(masked)[0, 0])


def test_thirty_large_images_take_less_than_3_megabytes(campaign):
    """Grainy pictures and maps of 1024x2048; the charts of a page take 0.3 MB."""
    rng = np.random.default_rng(0)

    def blobs(height, width):
        small = Image.fromarray(rng.integers(0, 256, (height, width)).astype(np.uint8))
        return np.asarray(small.resize((2048, 1024), Image.Resampling.BICUBIC), float)

    image = np.stack([blobs(24, 48) for _ in range(3)], axis=-1)
    image = (image + rng.normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8)
    label = (blobs(5, 10) / 256 * 11).astype(np.uint8)
    maps = [blobs(20, 40)[::8, ::8] + rng.normal(0, 12, (128, 256)) for _ in range(3)]
    view = ImageView("a", image, label, np.flip(label), *maps, [], [])
    panels = panels_of(AcquisitionStep(campaign, 1, True, [view]), view)
    assert len(panels) == 8
    shown = [picture_uri(image), *(shown_panel(panel, "a")["source"] for panel in panels)]
    assert 30 * sum(map(len, shown)) < 2_700_000
