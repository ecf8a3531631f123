"""Where the annotations went: to which images, to which classes, to which positions."""

from collections.abc import Mapping, Sequence

import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign, CommittedRound
from cereals_tf.campaign.folder.regions import Annotated
from cereals_tf.campaign.options import Options
from cereals_tf.data_prep.damage import damage_named
from cereals_tf.data_prep.dataset import ImageEntry
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.report import figures
from cereals_tf.report.composite import draw_panels
from cereals_tf.report.panels import Panel, map_panel
from cereals_tf.report.pictures import Pictures
from cereals_tf.report.sections.choice import shown_panel
from cereals_tf.report.sections.section import Section
from cereals_tf.report.statistics import (
    annotated_by_image,
    annotated_train,
    class_pixels,
    position_maps,
    unlabelled_cells,
)
from cereals_tf.report.tables import Column, Table

LISTED_IMAGES = 5


def spending_section(
    campaign: Campaign, rounds: Sequence[CommittedRound], pictures: Pictures
) -> Section:
    """Return the section on the regions that were chosen by score; of round 0 if it is alone."""
    data, reader = campaign.data, annotated_train(campaign)
    options = campaign.options
    chosen = annotated_by_image(rounds[1:] or rounds)
    before = annotated_by_image(rounds[:1]) if rounds[1:] else {}
    with damage_named(data, "train"):
        acquired = class_pixels(reader, chosen, before)
    per_class = data.split("train").pixels_per_class
    available = np.array([per_class[name] for name in data.classes.names])
    numbers = np.array([len(chosen.get(entry.image_id, ())) for entry in reader.images])
    positions = _position_panels(reader.images, chosen, options)
    pictures.write("positions", draw_panels(positions, rows=1))
    descriptions = ["How many images have how many regions"]
    if acquired.any() or available.any():
        descriptions.append("Each class's share of the acquired and of all pixels")
    content = {
        "charts": pictures.add(
            "spending",
            figures.spending(numbers, data.classes.names, acquired, available),
            *descriptions,
        ),
        "positions": [shown_panel(panel) for panel in positions],
        "sizes": len({(entry.height, entry.width) for entry in reader.images}),
        "labelled": data.labelled("train"),
        "after_start": bool(rounds[1:]),
        "images": int(np.count_nonzero(numbers)),
        "all_images": len(numbers),
        "table": _most_annotated(reader.images, chosen, options),
    }
    return Section("budget", "Where the budget went", "spending.html", content)


def _position_panels(
    images: Sequence[ImageEntry],
    regions: Mapping[str, Sequence[Annotated]],
    options: Options,
) -> list[Panel]:
    share, clicks = (np.ma.asarray(values) for values in position_maps(images, regions, options))
    height, width = (STRIDE * side for side in share.shape)
    return [
        map_panel(title, (height, width), values, colours, unit)
        for title, values, colours, unit in (
            ("Regions", 100 * share, "viridis", "% of the train images"),
            ("Clicks", clicks, "magma", "clicks per train image and 8x8 px"),
        )
    ]


def _most_annotated(
    images: Sequence[ImageEntry],
    chosen: Mapping[str, Sequence[Annotated]],
    options: Options,
) -> Table:
    sizes = {entry.image_id: (entry.height, entry.width) for entry in images}
    most = sorted(chosen, key=lambda image_id: (-len(chosen[image_id]), image_id))
    rows = []
    for image_id in most[:LISTED_IMAGES]:
        regions = chosen[image_id]
        share = 1 - unlabelled_cells(regions, *sizes[image_id]).mean()
        clicks = sum(region.bill(options) for region in regions)
        rows.append([image_id, f"{len(regions):,}", f"{100 * share:.1f}", f"{clicks:,}"])
    columns = [
        Column("image"),
        Column("regions", "number"),
        Column("area", "% of the image"),
        Column("clicks", "number"),
    ]
    return Table("images-table", columns, rows)
