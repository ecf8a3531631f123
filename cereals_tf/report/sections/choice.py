"""What a round chose its regions by, on the images where it chose most."""

from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex

from cereals_tf.report.composite import draw_panels
from cereals_tf.report.panels import ColourScale, Panel, legend_of, panels_of
from cereals_tf.report.pictures import Pictures, picture_uri
from cereals_tf.report.sections.section import Section
from cereals_tf.report.views import AcquisitionStep, ImageView

STOPS = 9
"""Colours from which the page blends a colour bar."""


def choice_section(step: AcquisitionStep, explained: bool, pictures: Pictures) -> Section:
    """Return the section on what a round chose, or on what the round to come will choose by.

    Args:
        step: What the round saw on some images.
        explained: Say how the pictures are to be read.
        pictures: Where they are written.
    """
    options = step.options
    content = {
        "number": step.number,
        "complete": step.complete,
        "explained": explained,
        "random": step.measure.of_windows,
        "fusion": options.fusion,
        "from_ground_truth": options.cost == "gt",
        "labelled": step.campaign.data.labelled("train"),
        "views": [
            _shown(step, view, f"step-{step.number:03d}-{place}", pictures)
            for place, view in enumerate(step.views, start=1)
        ],
    }
    verb = "chose" if step.complete else "will choose by"
    title = f"What round {step.number} {verb}"
    return Section(f"round-{step.number}", title, "choice.html", content)


def _shown(step: AcquisitionStep, view: ImageView, name: str, pictures: Pictures) -> dict[str, Any]:
    """Write an image's pictures side by side; return them one by one, its photograph once."""
    panels, legend = panels_of(step, view), legend_of(view, step.campaign.data.classes)
    pictures.write(name, draw_panels(panels, legend))
    return {
        "image_id": view.image_id,
        "photograph": {"id": name, "source": picture_uri(view.image)},
        "size": view.label.shape,
        "panels": [shown_panel(panel, name) for panel in panels],
        "legend": legend,
    }


def shown_panel(panel: Panel, photograph: str = "") -> dict[str, Any]:
    """Return what the page needs to show a panel.

    Args:
        panel: The panel.
        photograph: Where the page has the photograph; it is not repeated.
    """
    height, width = panel.frame
    rows, columns = (panel.stride * side for side in panel.pixels.shape[:2])
    return {
        "title": panel.title,
        "words": panel.words,
        "frame": (width, height),
        "photograph": photograph if panel.photograph else "",
        "source": "" if panel.photograph else picture_uri(panel.pixels),
        "covered": (columns, rows),
        "outlines": _path(panel.outlines()),
        "colour": panel.colour,
        "scale": _bar(panel.scale) if panel.scale else None,
    }


def _path(frames: Sequence[tuple[float, float, float, float]]) -> str:
    """Return frames (x, y, width, height) in the language of SVG's paths."""
    return "".join(
        f"M{x:.5g} {y:.5g}h{width:.5g}v{height:.5g}h{-width:.5g}z" for x, y, width, height in frames
    )


def _bar(scale: ColourScale) -> dict[str, Any]:
    colours = colormaps[scale.colours]
    stops = [to_hex(colours(place / (STOPS - 1))) for place in range(STOPS)]
    low, high = f"{scale.low:.3g}", f"{scale.high:.3g}"
    return {"low": low, "high": high, "unit": scale.unit, "stops": ", ".join(stops)}
