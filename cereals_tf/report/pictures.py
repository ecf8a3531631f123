"""Pictures as files, and as they stand in the page: as small as their content allows."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from cereals_tf.report.figures import raster

MOST_PIXELS = 130_000
"""Of a picture of an image in the page, where four of them share a row."""

QUALITY, EXACT_QUALITY = 75, 95
"""Of JPEG, up to 95."""

CHART_COLOURS = 64


@dataclass(frozen=True)
class Pictures:
    """Writes figures to a folder, whole, and gives their charts to the page."""

    folder: Path

    def add(self, name: str, figure: Figure, *descriptions: str) -> list[dict[str, str]]:
        """Write `name`.png; return the data URI of each of its charts with its description.

        The charts of a figure are side by side, in parts of equal width.
        """
        whole = self.write(name, figure)
        charts = np.array_split(whole, len(descriptions), axis=1)
        return [
            {"source": chart_uri(chart), "description": description}
            for chart, description in zip(charts, descriptions, strict=True)
        ]

    def write(self, name: str, figure: Figure) -> np.ndarray:
        """Write `name`.png; return its pixels, uint8 [h, w, 3]."""
        pixels = raster(figure)
        Image.fromarray(pixels).save(self.folder / f"{name}.png")
        return pixels


def chart_uri(pixels: np.ndarray) -> str:
    """Return a chart, uint8 [h, w, 3], as a PNG of a few colours."""
    return _data_uri(_of_few_colours(pixels), "png", optimize=True)


def stacked_png(figures: Iterable[Figure]) -> bytes:
    """Return charts of equal width, one below the other, as a PNG file of a few colours."""
    content = io.BytesIO()
    stacked = np.concatenate([raster(figure) for figure in figures])
    _of_few_colours(stacked).save(content, "png", optimize=True)
    return content.getvalue()


def _of_few_colours(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).quantize(CHART_COLOURS, dither=Image.Dither.NONE)


def picture_uri(pixels: np.ndarray, exact_colours: bool = False) -> str:
    """Return a picture of at most `MOST_PIXELS` pixels, smaller than the given one if need be.

    Args:
        pixels: uint8 [h, w, 3] or [h, w, 4]. If it has up to 256 different colours, the picture is
            a PNG of these; otherwise a JPEG.
        exact_colours: Let no colour run into its neighbour there, as colours of classes must not.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, (MOST_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    image = Image.fromarray(pixels)
    if image.getcolors(256) is None:
        reduced = image.convert("RGB").resize(size, Image.Resampling.BOX)
        how = (
            {"quality": EXACT_QUALITY, "subsampling": 0} if exact_colours else {"quality": QUALITY}
        )
        return _data_uri(reduced, "jpeg", optimize=True, **how)
    return _data_uri(_indexed(image.resize(size, Image.Resampling.NEAREST)), "png", optimize=True)


def _indexed(image: Image.Image) -> Image.Image:
    """Return an image of up to 256 different colours with exactly these as its palette."""
    pixels = np.asarray(image.convert("RGBA")).view(np.uint32)[..., 0]
    colours, places = np.unique(pixels, return_inverse=True)
    palette = colours.view(np.uint8).reshape(-1, 4)[:, : len(image.mode)]
    indexed = Image.fromarray(places.reshape(pixels.shape).astype(np.uint8))  # flat in NumPy 1
    indexed.putpalette(palette.tobytes(), image.mode)
    return indexed


def _data_uri(image: Image.Image, kind: str, **options: int | bool) -> str:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
