"""What a round saw on some images, against regions.csv and the data set itself."""

from dataclasses import replace

import numpy as np
import pytest

from cereals_tf.acquisition.regions import Region
from cereals_tf.acquisition.selection import Chosen
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.data_prep import records
from cereals_tf.data_prep.clicks import RegionClicks
from cereals_tf.data_prep.grid import Box
from cereals_tf.trainers.split import Split


def test_maps_are_those_that_chose_the_regions(campaign, step):
    """regions.csv keeps the sums over each region that the selection saw."""
    assert step.number == 1 and step.complete
    shown = [region for view in step.views for region in view.new]
    assert len(shown) == len(campaign.round(1).regions) > 10
    for view in step.views:
        assert not view.before
        for region in view.new:
            y, x, _, _ = region.region.box
            rows, columns = slice(y // 8, y // 8 + 2), slice(x // 8, None)
            for values, total in (
                (view.information, region.chosen.information),
                (view.cost, region.chosen.cost),
            ):
                assert values[rows, columns][:, :2].sum() == pytest.approx(total, rel=1e-4)


def test_views_show_the_images_with_the_most_new_regions_and_their_truth(campaign, step):
    chosen = [done.region.image_id for done in campaign.round(1).regions]
    most = sorted(set(chosen), key=lambda image_id: (-chosen.count(image_id), image_id))
    assert [view.image_id for view in step.views] == most[:3]
    view = step.views[0]
    reader = Split(campaign.data, "train")
    (record,) = reader.records([view.image_id])
    np.testing.assert_array_equal(view.image, reader.image(record))
    np.testing.assert_array_equal(view.label, reader.label(record))
    points = records.polygons_of(record)
    assert view.clicks.sum() == sum(len(polygon.points) for polygon in points)


def test_fused_map_is_scaled_over_the_unlabelled_positions_shown(step):
    first, second, _ = step.views
    labelled = Annotated(
        Chosen(Region(second.image_id, Box(0, 0, 64, 88))), 0, RegionClicks(0, 0, 0)
    )
    step = replace(step, views=[first, replace(second, before=[labelled])])
    information = np.append(first.information, second.information[:, 11])
    cost = np.append(first.cost, second.cost[:, 11])
    gain = (first.information - information.min()) / np.ptp(information)
    saving = 1 - (first.cost - cost.min()) / max(np.ptp(cost), 1e-9)
    np.testing.assert_allclose(step.fused(first), gain * saving, atol=1e-5)
