"""The page of a review: regions whose labels look wrong, in pictures, and a table of all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cereals_tf.campaign.folder.campaign import Campaign
from cereals_tf.campaign.folder.rows import write_rows
from cereals_tf.campaign.learning.events import side_by_side
from cereals_tf.campaign.review import Reviewed
from cereals_tf.campaign.round import Round
from cereals_tf.data_prep import records
from cereals_tf.data_prep.files import new_folder
from cereals_tf.data_prep.grid import STRIDE
from cereals_tf.report.page import PAGE, render
from cereals_tf.report.pictures import picture_uri
from cereals_tf.tables import review_row

TABLE = "review.csv"


def write_review(campaign: Campaign, reviewed: Sequence[Reviewed], out: Path, most: int) -> Path:
    """Write `index.html`, complete in itself, and `review.csv`; return the page.

    Args:
        campaign: The campaign.
        reviewed: Its regions, the worst first.
        out: New folder.
        most: How many of them are shown in pictures.

    Raises:
        UserError: `out` is taken or cannot be written, or the data set is damaged.
    """
    rows = [review_row(campaign, each) for each in reviewed]
    shown = reviewed[:most]
    pictures = _pictures(campaign, shown)
    with new_folder(out) as partial:
        columns = list(rows[0]) if rows else []
        write_rows(partial / TABLE, columns, [list(row.values()) for row in rows])
        content = {
            "name": campaign.folder.resolve().name,
            "regions": [
                {**row, "picture": pictures[each.name]}
                for row, each in zip(rows, shown, strict=False)
            ],
            "all_regions": len(reviewed),
            "people": campaign.options.annotator == "files",
            "classes": zip(
                campaign.data.classes.names,
                ("#{:02x}{:02x}{:02x}".format(*rgb) for rgb in campaign.data.classes.palette),
                strict=True,
            ),
        }
        (partial / PAGE).write_text(render(content, "review.html"), encoding="utf-8")
    return out / PAGE


def _pictures(campaign: Campaign, reviewed: Sequence[Reviewed]) -> Mapping[Any, str]:
    """Return for each region, by name: image, labels and prediction side by side, as data URI."""
    by_image: dict[str, list[Reviewed]] = {}
    for each in reviewed:
        by_image.setdefault(each.region.image_id, []).append(each)
    split = Round(campaign).annotator.labelled()
    found = {}
    for record in split.records(list(by_image)):
        image, label = split.image(record).numpy(), split.label(record).numpy()
        for each in by_image[record[records.IMAGE_ID].numpy().decode()]:
            inside = each.region.box.slices
            part = label[inside]
            predicted = np.kron(each.predicted, np.ones((STRIDE, STRIDE), np.uint8))
            predicted = predicted[: part.shape[0], : part.shape[1]]
            panels = side_by_side(image[inside], part, predicted, campaign.data.classes)
            found[each.name] = picture_uri(panels, exact_colours=True)
    return found
