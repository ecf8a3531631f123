"""Drawn street scenes with polygons, in the folder layout and with the class names of Cityscapes.

A scene is a straight street seen through a pinhole camera. Everything stands at a place in metres,
is projected, and is painted from far to near; the picture is painted from the very polygons that
are its labels, so that the two agree at every pixel. Street sides differ in what they hold, from
bare lawn to a crowd, because that is what makes the choice of regions matter.

The layout, the JSON of the polygons and the label ids are those of Cordts et al., "The Cityscapes
Dataset for Semantic Urban Scene Understanding", 2016.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_prep.errors import UserError
from data_prep.files import new_folder
from data_prep.sources.cityscapes import LABELS

_LABEL_IDS = {label.name: label.id for label in LABELS}

SMALLEST_SIDE = 64
"""The smallest height and width of a scene, in pixels."""

LabelledPolygon = tuple[str, list[tuple[int, int]]]
"""A Cityscapes label name and the (x, y) pixels of the outline."""

_SPLITS = ("train", "val")
_TOWNS = {"train": "toytown", "val": "toyville"}
_STREET_END = 110.0
_LEFT, _RIGHT = -1, 1

_Colours = np.ndarray
_Paint = _Colours | tuple[float, float, float] | Callable[[np.ndarray, np.ndarray], _Colours]
"""One colour, or a function of pixel columns and rows [N] that gives colours [N, 3]."""

_CAR_COLOURS = [
    (225, 225, 222), (205, 208, 210), (40, 42, 46), (66, 70, 76), (128, 132, 136), (158, 34, 32),
    (36, 62, 118), (70, 110, 150), (44, 74, 56), (196, 160, 58), (120, 84, 64), (92, 30, 44),
]  # fmt: skip
_FACADE_COLOURS = [
    (168, 104, 82), (146, 92, 78), (186, 168, 138), (204, 192, 166), (150, 146, 140),
    (176, 150, 112), (122, 116, 112), (200, 176, 150), (164, 172, 174), (190, 140, 108),
]  # fmt: skip
_CLOTHES_COLOURS = [
    (42, 46, 62), (96, 30, 34), (150, 146, 138), (38, 70, 104), (196, 180, 150), (60, 62, 60),
    (176, 90, 44), (92, 112, 80), (214, 214, 210), (116, 66, 104),
]  # fmt: skip
_LEAF_COLOURS = [(66, 98, 44), (52, 84, 46), (86, 108, 48), (104, 104, 46), (46, 74, 50)]
_SKIN_COLOURS = [(224, 178, 148), (190, 138, 106), (122, 82, 60), (236, 194, 168)]


def draw_scene(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, list[LabelledPolygon]]:
    """Draws one street scene.

    Args:
        rng: Where every random choice comes from.
        height: Height of the picture in pixels, at least `SMALLEST_SIDE`.
        width: Width of the picture in pixels, at least `SMALLEST_SIDE`.

    Returns:
        The picture, uint8 [height, width, 3], and its labelled polygons in painter's order (later
        ones hide earlier ones). Their points are pixels of the picture, they cover every pixel,
        and each polygon keeps at least one pixel that no later one hides.

    Raises:
        ValueError: The picture is too small.
    """
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(f"height, width: found {height}, {width}; need at least {SMALLEST_SIDE}")
    canvas = _Canvas(rng, height, width)
    street = _Street.draw(rng)
    _paint_sky(canvas)
    _paint_ground(canvas, street)
    _paint_horizon(canvas, street)
    for side in (_LEFT, _RIGHT):
        _paint_roadside(canvas, street, side)
    actors = _traffic(canvas, street)
    for side in (_LEFT, _RIGHT):
        actors += _street_furniture(canvas, street, side) + _passers_by(canvas, street, side)
    for _, paint in sorted(actors, key=lambda actor: actor[0], reverse=True):
        paint()
    return canvas.develop(), canvas.visible_objects()


def write_toy(
    out: Path,
    train_images: int = 60,
    val_images: int = 20,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
    progress: Callable[[Iterable], Iterable] = iter,
) -> None:
    """Writes street scenes as a small Cityscapes: `leftImg8bit/` and `gtFine/`.

    A scene depends on the seed, the split, its number and its size only, so that more images never
    change earlier ones. The folder appears whole or not at all.

    Args:
        out: The folder to make; an empty one may exist there.
        train_images: Number of images in the split `train`.
        val_images: Number of images in the split `val`.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        seed: The seed, 0 or more.
        progress: Wraps the iterable of scenes to draw, for instance in a progress bar.

    Raises:
        UserError: A number is too small, or `out` is taken or cannot be written.
    """
    for name, value, smallest in (
        ("train_images", train_images, 1),
        ("val_images", val_images, 1),
        ("height", height, SMALLEST_SIDE),
        ("width", width, SMALLEST_SIDE),
        ("seed", seed, 0),
    ):
        if value < smallest:
            raise UserError(f"--{name}: found {value}, expected {smallest} or more")
    scenes = [
        (split, index)
        for split, images in zip(_SPLITS, (train_images, val_images), strict=True)
        for index in range(images)
    ]
    with new_folder(out) as unfinished:
        for split, index in progress(scenes):
            rng = np.random.default_rng([seed, _SPLITS.index(split), index])
            image, objects = draw_scene(rng, height, width)
            _write_scene(unfinished, split, index, image, objects)


def _write_scene(
    root: Path, split: str, index: int, image: np.ndarray, objects: list[LabelledPolygon]
) -> None:
    height, width = image.shape[:2]
    town = _TOWNS[split]
    name = f"{town}_{index:06d}_000000"
    images, labels = (root / kind / split / town for kind in ("leftImg8bit", "gtFine"))
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(images / f"{name}_leftImg8bit.png")
    annotation = {
        "imgHeight": height,
        "imgWidth": width,
        "objects": [{"label": label, "polygon": polygon} for label, polygon in objects],
    }
    (labels / f"{name}_gtFine_polygons.json").write_text(json.dumps(annotation), encoding="utf-8")
    ids = Image.new("L", (width, height), _LABEL_IDS["unlabeled"])
    draw = ImageDraw.Draw(ids)
    for label, polygon in objects:
        draw.polygon(polygon, fill=_LABEL_IDS[label])
    ids.save(labels / f"{name}_gtFine_labelIds.png")


# Camera, light, street and canvas


@dataclass(frozen=True)
class _Camera:
    """A pinhole camera that looks along the street; metres: x to the right, y up, z ahead."""

    focal: float
    vanishing_x: float
    horizon: int
    height: float

    @classmethod
    def draw(cls, rng: np.random.Generator, height: int, width: int) -> "_Camera":
        return cls(
            focal=min(width, 2 * height) * rng.uniform(0.6, 0.75),
            vanishing_x=width * rng.uniform(0.38, 0.62),
            horizon=round(height * rng.uniform(0.42, 0.53)),
            height=rng.uniform(1.5, 2.1),
        )

    def project(self, points: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """Projects points in metres [N, 3] to pixels (x, y) [N, 2]."""
        x, y, z = np.asarray(points, float).T
        scale = self.focal / np.maximum(z, 0.5)
        return np.stack(
            [self.vanishing_x + scale * x, self.horizon + scale * (self.height - y)], axis=1
        )

    def on_ground(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (x, z) in metres of the ground seen at the pixels."""
        z = np.minimum(self.focal * self.height / np.maximum(ys - self.horizon, 0.3), 400.0)
        return (xs - self.vanishing_x) * z / self.focal, z

    def on_wall(self, xs: np.ndarray, ys: np.ndarray, x: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns (y, z) in metres of the plane that runs along the street at `x`."""
        offset = np.maximum(np.sign(x) * (xs - self.vanishing_x), 0.5)
        z = np.minimum(self.focal * abs(x) / offset, _STREET_END)
        return self.height - (ys - self.horizon) * z / self.focal, z

    def on_front(self, xs: np.ndarray, ys: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns (x, y) in metres of the plane that faces the camera at `z`."""
        scale = z / self.focal
        return (xs - self.vanishing_x) * scale, self.height - (ys - self.horizon) * scale


@dataclass(frozen=True)
class _Light:
    """Weather: colours of the sky, the side of the sun (0: overcast), haze and exposure."""

    zenith: np.ndarray
    haze: np.ndarray
    sun: int
    haze_distance: float
    exposure: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Light":
        sun = int(rng.choice([_LEFT, 0, _RIGHT], p=[0.35, 0.3, 0.35]))
        zenith = (96, 148, 204) if sun else (168, 178, 188)
        warmth = rng.normal(0.0, 0.05)
        return cls(
            zenith=np.array(zenith) + rng.normal(0, 10, 3),
            haze=np.array((214, 222, 228)) + rng.normal(0, 7, 3),
            sun=sun,
            haze_distance=rng.uniform(110, 320),
            exposure=rng.uniform(0.78, 1.12) * np.array((1 + warmth, 1.0, 1 - warmth)),
        )

    def on(self, normal: Sequence[float]) -> float:
        """Returns the brightness of a surface with the unit normal (x, y, z)."""
        x, y, z = normal
        if not self.sun:
            return 0.92 + 0.14 * y
        return 0.78 + 0.36 * max(0.0, 0.62 * self.sun * x + 0.68 * y - 0.4 * z)


@dataclass(frozen=True)
class _Street:
    """Kerbs and house fronts (x in metres), and per side what stands there and how crowded."""

    kerbs: dict[int, float]
    fronts: dict[int, float]
    styles: dict[int, str]
    crowding: dict[int, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Street":
        kerbs = {_LEFT: -rng.uniform(4.6, 7.5), _RIGHT: rng.uniform(2.8, 5.0)}
        crowds = [0.0, 0.0] if rng.random() < 0.25 else rng.choice([0.0, 0.4, 1.0], 2).tolist()
        styles = ["houses", "park", "fenced", "walled", "open"]
        chances = [0.52, 0.18, 0.1, 0.09, 0.11]
        return cls(
            kerbs=kerbs,
            fronts={side: kerb + side * rng.uniform(2.2, 4.2) for side, kerb in kerbs.items()},
            styles={side: str(rng.choice(styles, p=chances)) for side in kerbs},
            crowding=dict(zip(kerbs, crowds, strict=True)),
        )


class _Canvas:
    """Paints labelled polygons, far to near, and remembers which one owns each pixel."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng = rng
        self.height, self.width = height, width
        self.camera = _Camera.draw(rng, height, width)
        self.light = _Light.draw(rng)
        self.image = np.zeros((height, width, 3), np.float32)
        self._depth = np.full((height, width), np.inf, np.float32)
        self._objects: list[LabelledPolygon] = []
        self._plate = Image.new("I", (width, height), -1)
        self._owners = np.full((height, width), -1, np.int32)
        self._current = -1
        enlarged = max(1.0, min(width, 2 * height) / 256)
        self._noise = {1: self._draw_noise(1)}
        self._noise |= {size: self._draw_noise(round(size * enlarged)) for size in (2, 6, 20)}

    def _draw_noise(self, size: int) -> np.ndarray:
        shape = (self.height // size + 2, self.width // size + 2)
        coarse = Image.fromarray(self.rng.standard_normal(shape, np.float32))
        return np.asarray(coarse.resize((self.width, self.height), Image.Resampling.BICUBIC))

    def noise(self, xs: np.ndarray, ys: np.ndarray, weights: dict[int, float]) -> np.ndarray:
        """Returns 1 + noise at the pixels, [N, 1].

        `weights` goes from the size of the grains to their standard deviation. Sizes are in pixels
        of a picture 256 wide and grow with larger ones, except for grains of one pixel.
        """
        total = sum(weight * self._noise[size][ys, xs] for size, weight in weights.items())
        return 1 + np.expand_dims(total, -1)

    def textured(self, colour: Sequence[float], weights: dict[int, float]) -> _Paint:
        """Returns the paint of a colour times `noise` with these weights."""
        return lambda xs, ys: np.asarray(colour, np.float32) * self.noise(xs, ys, weights)

    def add(
        self,
        label: str,
        points: np.ndarray,
        paint: _Paint,
        depth: float | Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        """Paints and records an object; one outside the picture is left out.

        Args:
            label: Cityscapes label name.
            points: Outline in pixels, [N, 2], of any extent; it is clipped to the picture.
            paint: Its colours.
            depth: Its distance in metres, or a function of pixel columns and rows that gives it.
        """
        polygon = _pixel_polygon(points, self.height, self.width)
        self._current = -1
        if len(polygon) < 3:
            return
        self._current = len(self._objects)
        self._objects.append((label, polygon))
        ImageDraw.Draw(self._plate).polygon(polygon, fill=self._current)
        (left, top), (right, bottom) = np.min(polygon, 0).tolist(), np.max(polygon, 0).tolist()
        box = self._plate.crop((left, top, right + 1, bottom + 1))
        ys, xs = np.nonzero(np.asarray(box) == self._current)
        xs, ys = xs + left, ys + top
        self._owners[ys, xs] = self._current
        self._colour(xs, ys, paint)
        self._depth[ys, xs] = depth(xs, ys) if callable(depth) else depth

    def detail(self, points: np.ndarray, paint: _Paint) -> None:
        """Paints a polygon inside the object added last, without a label of its own."""
        xs, ys = self._stencil(points)
        own = self._owners[ys, xs] == self._current
        self._colour(xs[own], ys[own], paint)

    def stroke(self, points: np.ndarray, colour: Sequence[float], width: float) -> None:
        """Paints a line, `width` pixels wide, inside the object added last."""
        xs, ys = self._stencil(points, max(1, round(width)))
        own = self._owners[ys, xs] == self._current
        self._colour(xs[own], ys[own], colour)

    def shadow(self, points: np.ndarray, strength: float) -> None:
        """Darkens what is already there."""
        xs, ys = self._stencil(points)
        self.image[ys, xs] *= 1 - strength

    def visible_objects(self) -> list[LabelledPolygon]:
        """Returns the objects that own a pixel, in painter's order."""
        return [self._objects[index] for index in np.unique(self._owners)]

    def develop(self) -> np.ndarray:
        """Returns the picture with haze, exposure, a soft lens and sensor noise, as uint8."""
        light = self.light
        clear = np.where(np.isinf(self._depth), 1, np.exp(-self._depth / light.haze_distance))
        image = (light.haze + (self.image - light.haze) * clear[..., None]) * light.exposure
        image = image.astype(np.float32)
        padded = np.pad(image, ((1, 1), (0, 0), (0, 0)), mode="edge")
        image = 0.76 * image + 0.12 * (padded[:-2] + padded[2:])
        padded = np.pad(image, ((0, 0), (1, 1), (0, 0)), mode="edge")
        image = 0.76 * image + 0.12 * (padded[:, :-2] + padded[:, 2:])
        noise = self.rng.standard_normal(image.shape, np.float32) * self.rng.uniform(1.5, 5.0)
        return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)

    def _colour(self, xs: np.ndarray, ys: np.ndarray, paint: _Paint) -> None:
        self.image[ys, xs] = paint(xs, ys) if callable(paint) else paint

    def _stencil(self, points: np.ndarray, pen: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns columns and rows of the pixels in a polygon, or on a line `pen` pixels wide."""
        corners = np.rint(points).astype(int)
        left, top = np.maximum(corners.min(0) - pen, 0).tolist()
        right, bottom = np.minimum(corners.max(0) + pen + 1, (self.width, self.height)).tolist()
        if left >= right or top >= bottom:
            return np.empty(0, int), np.empty(0, int)
        mask = Image.new("L", (right - left, bottom - top))
        outline = [(x - left, y - top) for x, y in corners.tolist()]
        if pen:
            ImageDraw.Draw(mask).line(outline, fill=1, width=pen)
        else:
            ImageDraw.Draw(mask).polygon(outline, fill=1)
        ys, xs = np.nonzero(np.asarray(mask))
        return xs + left, ys + top


def _pixel_polygon(points: np.ndarray, height: int, width: int) -> list[tuple[int, int]]:
    """Clips an outline to the picture (Sutherland-Hodgman), rounds it and drops repeated points."""
    outline = np.asarray(points, float).tolist()
    for axis, bound, sign in ((0, 0, 1), (0, width - 1, -1), (1, 0, 1), (1, height - 1, -1)):
        inside = [sign * (point[axis] - bound) for point in outline]
        if min(inside) >= 0:
            continue
        clipped = []
        for index, (point, here) in enumerate(zip(outline, inside, strict=True)):
            before, there = outline[index - 1], inside[index - 1]
            if here * there < 0:
                share = there / (there - here)
                clipped.append([a + (b - a) * share for a, b in zip(before, point, strict=True)])
            if here >= 0:
                clipped.append(point)
        if not clipped:
            return []
        outline = clipped
    pixels = [(round(x), round(y)) for x, y in outline]
    return [point for index, point in enumerate(pixels) if point != pixels[index - 1]]


def _pick(rng: np.random.Generator, choices: Sequence) -> np.ndarray:
    """Draws one colour of a list and varies it a little."""
    return np.array(choices[rng.integers(len(choices))]) * rng.normal(1, 0.06) + rng.normal(0, 5, 3)


# Sky, ground and roadsides


def _strip(x1: float, x2: float, z1: float, z2: float) -> list[tuple[float, float, float]]:
    """Returns the corners of a rectangle on the ground."""
    return [(x1, 0, z1), (x1, 0, z2), (x2, 0, z2), (x2, 0, z1)]


def _upright(x: float, y1: float, y2: float, z1: float, z2: float) -> list[tuple]:
    """Returns the corners of a rectangle that stands along the street."""
    return [(x, y1, z1), (x, y2, z1), (x, y2, z2), (x, y1, z2)]


def _facing(x1: float, x2: float, y1: float, y2: float, z: float) -> list[tuple]:
    """Returns the corners of a rectangle that stands across the street."""
    return [(x1, y1, z), (x1, y2, z), (x2, y2, z), (x2, y1, z)]


def _paint_sky(canvas: _Canvas) -> None:
    light, horizon = canvas.light, canvas.camera.horizon
    cloudiness = canvas.rng.uniform(-0.6, 1.0) if light.sun else 0.2

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        height = (1 - ys / max(horizon, 1))[:, None] ** 0.8
        clear = light.haze + (light.zenith - light.haze) * height
        cloud = canvas.noise(xs, ys, {20: 0.6, 6: 0.12}) - 1 + cloudiness - 0.6
        return clear + (np.array((242, 243, 245)) - clear) * np.clip(cloud, 0, 0.85)

    right = canvas.width - 1
    canvas.add("sky", np.array([(0, 0), (right, 0), (right, horizon), (0, horizon)]), paint, np.inf)


def _paint_ground(canvas: _Canvas, street: _Street) -> None:
    camera, rng = canvas.camera, canvas.rng

    def depth(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        return camera.on_ground(xs, ys)[1]

    grass = _pick(rng, [(104, 122, 58), (122, 124, 66), (88, 112, 56), (138, 122, 84)])
    lawn = canvas.textured(grass * canvas.light.on((0, 1, 0)), {1: 0.04, 6: 0.05, 20: 0.07})
    right, bottom = canvas.width - 1, canvas.height - 1
    horizon = camera.horizon
    corners = np.array([(0, horizon), (right, horizon), (right, bottom), (0, bottom)])
    canvas.add("terrain", corners, lawn, depth)
    for side in (_LEFT, _RIGHT):
        edges = sorted((street.kerbs[side], street.fronts[side]))
        paving = _paving(canvas, street.kerbs[side])
        canvas.add("sidewalk", camera.project(_strip(*edges, 0.5, 300)), paving, depth)
    kerbs = street.kerbs[_LEFT], street.kerbs[_RIGHT]
    canvas.add("road", camera.project(_strip(*kerbs, 0.5, 300)), _asphalt(canvas, *kerbs), depth)
    if canvas.light.sun and street.styles[canvas.light.sun] == "houses":
        _paint_house_shadows(canvas, street)


def _paint_house_shadows(canvas: _Canvas, street: _Street) -> None:
    sun, z = canvas.light.sun, 3.0
    while z < 60:
        length = canvas.rng.uniform(6, 16)
        reach = street.fronts[sun] - sun * canvas.rng.uniform(1, 9)
        far_side = street.fronts[-sun]
        reach = max(reach, far_side) if sun == _RIGHT else min(reach, far_side)
        canvas.shadow(canvas.camera.project(_strip(street.fronts[sun], reach, z, z + length)), 0.34)
        z += length


def _paving(canvas: _Canvas, kerb: float) -> _Paint:
    """Returns the paint of a sidewalk: slabs with joints, and the kerbstone."""
    slab = _pick(canvas.rng, [(148, 142, 136), (132, 130, 130), (160, 146, 132), (124, 118, 114)])
    size = canvas.rng.uniform(0.8, 1.6)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        x, z = canvas.camera.on_ground(xs, ys)
        joint = (((x - kerb) / size % 1 < 0.1) | (z / size % 1 < 0.1)) & (z < 16)
        tone = 1 - 0.16 * joint + 0.2 * (np.abs(x - kerb) < 0.22)
        return slab * tone[:, None] * canvas.noise(xs, ys, {1: 0.03, 20: 0.05})

    return paint


def _asphalt(canvas: _Canvas, left: float, right: float) -> _Paint:
    """Returns the paint of a road: asphalt with lane markings and, at times, a zebra crossing."""
    rng = canvas.rng
    asphalt = np.array((1.0, 1.0, 1.02)) * rng.uniform(78, 122) + rng.normal(0, 3, 3)
    lanes = np.linspace(left, right, rng.integers(3, 5))[1:-1]
    phase = rng.uniform(0, 7)
    edge_lines = rng.random() < 0.5
    zebra = rng.uniform(7, 20) if rng.random() < 0.3 else np.inf

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        x, z = canvas.camera.on_ground(xs, ys)
        to_lane = np.min([np.abs(x - lane) for lane in lanes], axis=0)
        marked = (to_lane < 0.1 + z / 400) & ((z + phase) % 7 < 3.2) & (z < 70)
        if edge_lines:
            to_edge = np.minimum(x - left, right - x)
            marked |= (np.abs(to_edge - 0.4) < 0.07 + z / 500) & (z < 60)
        marked = np.where(np.abs(z - zebra) < 2.5, x % 1 < 0.5, marked)
        marked &= ~((np.abs(z - zebra) > 1.5) & (np.abs(z - zebra) < 2.5))
        worn = asphalt * canvas.noise(xs, ys, {1: 0.035, 20: 0.05})
        return np.where(marked[:, None], 0.3 * worn + 0.7 * np.array((222, 222, 214)), worn)

    return paint


def _paint_horizon(canvas: _Canvas, street: _Street) -> None:
    """Paints what closes the view between the houses: a line of trees or of roofs."""
    rng, camera = canvas.rng, canvas.camera
    unit = camera.focal / _STREET_END
    trees = rng.random() < 0.65
    left, right = (
        camera.vanishing_x + unit * (street.fronts[side] + side * 12)
        if street.styles[side] == "houses"
        else (-unit, 0, canvas.width + 9 * unit)[side + 1]
        for side in (_LEFT, _RIGHT)
    )
    xs = np.arange(left, right, rng.uniform(2.5, 5) * unit)
    tops = camera.horizon - unit * rng.uniform(*((3, 9) if trees else (6, 16)), len(xs))
    if not trees:
        xs, tops = np.repeat(xs, 2)[1:], np.repeat(tops, 2)[:-1]
    base = camera.horizon + unit
    outline = np.concatenate([np.stack([xs, tops], 1), [(xs[-1], base), (xs[0], base)]])
    colour = _pick(rng, _LEAF_COLOURS if trees else _FACADE_COLOURS)
    paint = canvas.textured(colour, {1: 0.05, 2: 0.16 if trees else 0.04})
    canvas.add("vegetation" if trees else "building", outline, paint, _STREET_END)


def _paint_roadside(canvas: _Canvas, street: _Street, side: int) -> None:
    rng = canvas.rng
    style, front = street.styles[side], street.fronts[side]
    z = _STREET_END
    while z > 4:
        length = rng.uniform(7, 18)
        near = max(z - length, 2.0)
        if style == "houses" and rng.random() < 0.88:
            _paint_house(canvas, side, front, near, z)
        elif style == "open":
            if rng.random() < 0.25:
                _paint_bush(canvas, front + side * rng.uniform(2, 25), near + 6)
        else:
            _paint_grove(canvas, side, front, near, z)
        z = near
    if style in ("walled", "fenced"):
        _paint_barrier(canvas, style, front)


def _paint_grove(canvas: _Canvas, side: int, front: float, near: float, far: float) -> None:
    rng = canvas.rng
    places = sorted((rng.uniform(near, far) for _ in range(rng.integers(1, 4))), reverse=True)
    for z in places:
        x = front + side * rng.uniform(1, 10)
        if rng.random() < 0.65:
            _paint_tree(canvas, x, max(z, 5.0), rng.uniform(1.3, 3.2))
        else:
            _paint_bush(canvas, x, max(z, 5.0))


def _paint_barrier(canvas: _Canvas, style: str, x: float) -> None:
    """Paints a wall or a fence along the street."""
    rng, camera = canvas.rng, canvas.camera
    far, near = rng.uniform(40, _STREET_END), rng.choice([1.0, rng.uniform(6, 14)])
    height = rng.uniform(1.8, 3.2) if style == "walled" else rng.uniform(1.1, 1.9)
    shade = canvas.light.on((-np.sign(x), 0, 0))
    colour = _pick(rng, _FACADE_COLOURS if style == "walled" else [(74, 78, 74), (128, 98, 68)])
    spacing = rng.uniform(0.25, 0.5)

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        y, z = camera.on_wall(xs, ys, x)
        solid = colour * shade * canvas.noise(xs, ys, {1: 0.04, 6: 0.03})
        if style == "walled":
            course = (y % 0.4 < 0.08) | (y > height - 0.2)
            return solid * (1 - 0.14 * course[:, None])
        bar = (z / spacing % 1 < 0.45) | (np.abs(y - height * 0.85) < 0.12) | (y < 0.2)
        return np.where(bar[:, None], solid, canvas.image[ys, xs] * 0.85 + solid * 0.15)

    outline = camera.project(_upright(x, 0, height, float(near), far))
    canvas.add(
        "wall" if style == "walled" else "fence",
        outline,
        paint,
        lambda xs, ys: camera.on_wall(xs, ys, x)[1],
    )


def _paint_house(canvas: _Canvas, side: int, x: float, near: float, far: float) -> None:
    """Paints a house with its front along the street at `x`, and the gable that faces us."""
    rng, camera, light = canvas.rng, canvas.camera, canvas.light
    eaves = 2.9 * rng.integers(2, 5) + rng.uniform(0.3, 1.2)
    ridge = eaves + (rng.uniform(1.8, 3.5) if rng.random() < 0.5 else 0)
    back = x + side * rng.uniform(7, 11)
    middle = (x + back) / 2
    colour = _pick(rng, _FACADE_COLOURS)
    windows = _windows(canvas, colour, eaves)

    def front(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        y, z = camera.on_wall(xs, ys, x)
        return windows(xs, ys, z, y) * light.on((-side, 0, 0))

    def gable(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        across, y = camera.on_front(xs, ys, near)
        return windows(xs, ys, across, y) * light.on((0, 0, -1)) * 0.92

    outline = [(x, 0, far), (x, eaves, far), (middle, ridge, far), (middle, ridge, near)]
    gable_outline = [(x, 0, near), (x, eaves, near), (middle, ridge, near)]
    gable_outline += [(back, eaves, near), (back, 0, near)]
    if ridge == eaves:
        outline = [*outline[:2], (x, eaves, near)]
    canvas.add(
        "building",
        camera.project([*outline, *gable_outline[3:], (x, 0, near)]),
        front,
        lambda xs, ys: np.clip(camera.on_wall(xs, ys, x)[1], near, far),
    )
    if ridge > eaves:
        tiles = _pick(rng, [(132, 70, 54), (84, 76, 78), (104, 62, 52), (70, 72, 80)])
        slope = [(x, eaves, near), (x, eaves, far), (middle, ridge, far), (middle, ridge, near)]
        shade = light.on((-0.6 * side, 0.8, 0))
        canvas.detail(camera.project(slope), canvas.textured(tiles * shade, {1: 0.06, 2: 0.05}))
    canvas.detail(camera.project(gable_outline), gable)


def _windows(canvas: _Canvas, colour: np.ndarray, eaves: float) -> Callable[..., np.ndarray]:
    """Returns the paint of a facade from pixels and metres along and up the wall."""
    rng = canvas.rng
    spacing, share = rng.uniform(1.8, 3.2), rng.uniform(0.3, 0.55)
    glass = _pick(rng, [(70, 82, 96), (52, 56, 62), (112, 128, 142)]).astype(np.float32)
    frame = np.minimum(colour * rng.choice([0.7, 1.35]), 235)
    shop = _pick(rng, _CLOTHES_COLOURS) if rng.random() < 0.4 else None
    brick = rng.random() < 0.5

    def paint(xs: np.ndarray, ys: np.ndarray, along: np.ndarray, up: np.ndarray) -> np.ndarray:
        across, storey = along / spacing % 1, up / 2.9 % 1
        from_middle, from_sill = np.abs(across - 0.5), np.abs(storey - 0.52)
        storeys = up < eaves - 0.2
        outer = (from_middle < share / 2 + 0.06) & (from_sill < 0.31) & storeys
        inner = (from_middle < share / 2) & (from_sill < 0.26) & storeys
        wall = colour * canvas.noise(xs, ys, {1: 0.07 if brick else 0.02, 20: 0.05})
        wall[up % 2.9 < 0.18] *= 0.88
        wall[outer] = frame
        if shop is not None:
            inner |= (up > 0.5) & (up < 2.2) & (across > 0.08)
            wall[(up >= 2.2) & (up < 2.9)] = shop
        wall[inner] = glass * canvas.noise(xs[inner], ys[inner], {6: 0.18})
        return wall

    return paint


# Plants


def _blob(rng: np.random.Generator, centre: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """Returns the ragged outline of foliage, in pixels."""
    count = int(np.clip(2 * np.pi * np.mean(radii) / 4, 9, 44))
    angles = np.arange(count) * (2 * np.pi / count) + rng.uniform(-0.4, 0.4, count) / count
    waves = sum(
        rng.normal(0, 0.1 / order) * np.cos(order * angles + rng.uniform(0, 6))
        for order in (2, 3, 5)
    )
    reach = 1 + waves + rng.normal(0, 0.07, count)
    return centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] * radii


def _paint_foliage(
    canvas: _Canvas, x: float, y: float, z: float, radii: tuple[float, float]
) -> None:
    """Paints a crown or bush with its centre at (x, y, z); radii in metres."""
    unit = canvas.camera.focal / z
    centre = canvas.camera.project([(x, y, z)])[0]
    leaves = _pick(canvas.rng, _LEAF_COLOURS)
    sun = canvas.light.sun

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        right, down = (xs - centre[0]) / (radii[0] * unit), (ys - centre[1]) / (radii[1] * unit)
        shade = np.clip(1 - 0.3 * down + 0.2 * sun * right, 0.5, 1.4)
        return leaves * shade[:, None] * canvas.noise(xs, ys, {1: 0.13, 2: 0.24})

    outline = _blob(canvas.rng, centre, (radii[0] * unit, radii[1] * unit))
    canvas.add("vegetation", outline, paint, z)


def _paint_tree(canvas: _Canvas, x: float, z: float, radius: float) -> None:
    rng = canvas.rng
    stem, thickness = rng.uniform(1.6, 2.6), rng.uniform(0.12, 0.22)
    _paint_ground_shadow(canvas, x, z, radius, 0.6 * radius)
    bark = _pick(rng, [(84, 68, 54), (72, 64, 58), (104, 92, 80)])
    trunk = _post(canvas, x, z, thickness, stem + 0.3 * radius)
    canvas.add("vegetation", trunk, canvas.textured(bark, {1: 0.08}), z)
    _paint_foliage(canvas, x, stem + radius, z, (radius, radius * rng.uniform(0.85, 1.4)))


def _paint_bush(canvas: _Canvas, x: float, z: float) -> None:
    radius = canvas.rng.uniform(0.6, 1.6)
    _paint_ground_shadow(canvas, x, z, radius, 0.5 * radius)
    _paint_foliage(canvas, x, 0.6 * radius, z, (1.2 * radius, 0.7 * radius))


def _paint_ground_shadow(canvas: _Canvas, x: float, z: float, half: float, deep: float) -> None:
    """Darkens the ground under something that is 2 * half wide and 2 * deep long."""
    shift = -0.5 * half * canvas.light.sun
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    across, along = np.cos(angles), np.sin(angles)
    for size in (1.0, 0.75):
        ring = [
            (x + shift + size * half * u, 0, max(z + size * deep * v, 1.0))
            for u, v in zip(across, along, strict=True)
        ]
        canvas.shadow(canvas.camera.project(ring), 0.24 if canvas.light.sun else 0.15)


# Street furniture

_Actor = tuple[float, Callable[[], None]]
"""The distance of something that stands in the street, and the function that paints it."""


def _post(canvas: _Canvas, x: float, z: float, thickness: float, height: float) -> np.ndarray:
    """Returns the outline of an upright post, at least one pixel step wide."""
    (left, foot), (right, top) = canvas.camera.project(
        [(x - thickness / 2, 0, z), (x + thickness / 2, height, z)]
    )
    left = np.rint(left)
    right = max(np.rint(right), left + 1)
    return np.array([(left, foot), (left, top), (right, top), (right, foot)])


def _street_furniture(canvas: _Canvas, street: _Street, side: int) -> list[_Actor]:
    """Returns lamps, signs, traffic lights and trees that stand along one kerb."""
    rng = canvas.rng
    x = street.kerbs[side] + side * 0.5
    actors: list[_Actor] = []
    if rng.random() < 0.4 + 0.4 * street.crowding[side]:
        for z in np.arange(rng.uniform(9, 20), 50, rng.uniform(14, 26)):
            actors.append((z, partial(_paint_lamp, canvas, side, x, z, rng.uniform(5, 7))))
    if rng.random() < 0.15 + 0.3 * street.crowding[side]:
        for z in rng.uniform(8, 24, rng.integers(1, 3)):
            actors.append((z, partial(_paint_sign, canvas, x, z)))
    if rng.random() < 0.16:
        z = rng.uniform(9, 22)
        actors.append((z, partial(_paint_traffic_light, canvas, x, z)))
    if rng.random() < 0.1 + 0.35 * street.crowding[side]:
        for z in np.arange(rng.uniform(8, 16), 55, rng.uniform(6, 14)):
            place = x + side * rng.uniform(0.3, 0.9)
            actors.append((z, partial(_paint_tree, canvas, place, z, rng.uniform(0.9, 1.8))))
    return actors


def _paint_lamp(canvas: _Canvas, side: int, x: float, z: float, height: float) -> None:
    """Paints a lamp post whose arm reaches over the road."""
    unit = canvas.camera.focal / z
    (left, foot), (_, top), (right, _), _ = _post(canvas, x, z, 0.16, height)
    inner, outer = (right, left) if side == _LEFT else (left, right)
    tip, thick = inner - side * 1.3 * unit, max(0.14 * unit, 1)
    outline = [(outer, foot), (outer, top), (tip, top - thick), (tip, top), (inner, top + thick)]
    grey = _pick(canvas.rng, [(96, 100, 102), (70, 76, 74), (136, 140, 142)])
    canvas.add("pole", np.array([*outline, (inner, foot)]), canvas.textured(grey, {1: 0.05}), z)


def _paint_sign(canvas: _Canvas, x: float, z: float) -> None:
    """Paints a traffic sign on its pole: round, triangular or square."""
    rng, camera = canvas.rng, canvas.camera
    height, radius = rng.uniform(2.2, 2.7), rng.uniform(0.32, 0.45)
    grey = canvas.textured((140, 142, 144), {1: 0.04})
    canvas.add("pole", _post(canvas, x, z, 0.09, height + radius), grey, z)
    corners, turn = [(12, 0.0), (3, np.pi / 2), (4, np.pi / 4)][rng.integers(3)]
    angles = turn + np.arange(corners) * 2 * np.pi / corners
    reach = radius * (1 if corners == 12 else 1.25)
    centre = np.array((x, height, z))
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(corners)], 1) * reach
    red, white, blue = (186, 34, 38), (232, 232, 228), (34, 82, 164)
    rim, face = [(red, white), (blue, blue), (red, white), (white, (226, 188, 44))][rng.integers(4)]
    canvas.add("traffic sign", camera.project(centre + ring), rim, z)
    canvas.detail(camera.project(centre + 0.6 * ring), face)
    mark = camera.project(centre + 0.25 * ring * (0.5, 1, 1))
    canvas.detail(mark, white if face == blue else (40, 40, 44))


def _paint_traffic_light(canvas: _Canvas, x: float, z: float) -> None:
    camera = canvas.camera
    canvas.add("pole", _post(canvas, x, z, 0.12, 3.4), (78, 80, 82), z)
    canvas.add(
        "traffic light", camera.project(_facing(x - 0.2, x + 0.2, 2.5, 3.5, z)), (34, 36, 36), z
    )
    lit = canvas.rng.integers(3)
    for lamp, colour in enumerate([(60, 224, 110), (246, 190, 50), (240, 52, 44)]):
        y = 2.66 + 0.33 * lamp
        glow = np.array(colour) * (1.0 if lamp == lit else 0.28)
        canvas.detail(camera.project(_facing(x - 0.1, x + 0.1, y - 0.09, y + 0.09, z)), glow)


# Vehicles

_Face = tuple[np.ndarray, str]
"""Corners [N, 3] in metres, clockwise as seen from outside, and a material."""


def _extruded(profile: Sequence[tuple[float, float, float, str]], sides: str) -> list[_Face]:
    """Returns the faces of a profile stretched across a vehicle.

    Args:
        profile: Points (z, y, half width, material of the strip to the next point), from the rear
            bottom over the top to the front bottom.
        sides: Material of the two sides.
    """
    right = np.array([(half, y, z) for z, y, half, _ in profile])
    left = right * (-1, 1, 1)
    strips = [
        (np.array([left[i], left[i + 1], right[i + 1], right[i]]), profile[i][3])
        for i in range(len(profile) - 1)
    ]
    return [(left[::-1], sides), (right, sides), *strips]


def _on_sides(half: float, outline: Sequence[tuple[float, float]], material: str) -> list[_Face]:
    """Returns a shape given by (z, y), clockwise from the right, on both sides of a vehicle."""
    right = np.array([(half, y, z) for z, y in outline])
    return [(right, material), ((right * (-1, 1, 1))[::-1], material)]


def _on_ends(
    length: float, half: float, y1: float, y2: float, materials: tuple[str, str], inner: float = 0.0
) -> list[_Face]:
    """Returns rectangles on rear and front; with `inner` > 0 a pair at each end."""
    spans = [(-half, -inner), (inner, half)] if inner else [(-half, half)]
    rear = [np.array(_facing(x1, x2, y1, y2, 0.0)) for x1, x2 in spans]
    return [(face, materials[0]) for face in rear] + [
        ((face + np.array((0, 0, length)))[::-1], materials[1]) for face in rear
    ]


def _wheels(half: float, radius: float, places: Sequence[float]) -> list[_Face]:
    angles = -np.arange(10) * 2 * np.pi / 10
    faces = []
    for z in places:
        for size, material in ((1.0, "tyre"), (0.55, "rim")):
            ring = np.stack([np.cos(angles), np.sin(angles)], 1) * radius * size + (z, radius)
            faces += _on_sides(half, ring.tolist(), material)
    return faces


def _car_model(rng: np.random.Generator) -> list[_Face]:
    length, half = rng.uniform(3.7, 4.6), 0.9
    belt, roof = rng.uniform(0.88, 0.98), rng.uniform(1.38, 1.68)
    boot = rng.choice([0.05, 0.7])
    body = [
        (0.0, 0.28, half, "paint"),
        (0.0, belt - 0.1, half, "paint"),
        (0.1, belt, half - 0.06, "paint"),
        (length - 1.1, belt, half - 0.06, "paint"),
        (length - 0.1, belt - 0.18, half - 0.1, "paint"),
        (length, 0.55, half, "paint"),
        (length, 0.28, half, "paint"),
    ]
    cabin = [
        (boot, belt, half - 0.06, "glass"),
        (boot + 0.45, roof - 0.06, half - 0.2, "paint"),
        (boot + 0.6, roof, half - 0.28, "paint"),
        (length - 2.1, roof, half - 0.28, "paint"),
        (length - 1.9, roof - 0.06, half - 0.2, "glass"),
        (length - 1.1, belt, half - 0.06, "glass"),
    ]
    pillar = length / 2 - 0.1
    return [
        *_extruded(body, "paint"),
        *_extruded(cabin, "glass"),
        *_on_sides(
            half - 0.12,
            [(pillar, belt), (pillar, roof), (pillar + 0.14, roof), (pillar + 0.14, belt)],
            "paint",
        ),
        *_wheels(half, 0.33, (0.75, length - 0.85)),
        *_on_ends(length, half - 0.05, 0.6, 0.78, ("tail", "head"), inner=0.55),
        *_on_ends(length, 0.27, 0.42, 0.54, ("plate", "plate")),
        *_on_ends(length, half, 0.26, 0.36, ("tyre", "tyre")),
    ]


def _bus_model(rng: np.random.Generator) -> list[_Face]:
    length, half, roof = rng.uniform(9, 12), 1.25, rng.uniform(2.9, 3.2)
    body = [
        (0.0, 0.35, half, "paint"),
        (0.0, roof - 0.2, half, "paint"),
        (0.2, roof, half - 0.15, "paint"),
        (length - 0.2, roof, half - 0.15, "paint"),
        (length, roof - 0.2, half, "paint"),
        (length, 0.35, half, "paint"),
    ]
    faces = _extruded(body, "paint")
    for z in np.arange(0.4, length - 1.2, 1.5):
        pane = [(z, 1.35), (z, roof - 0.5), (z + 1.3, roof - 0.5), (z + 1.3, 1.35)]
        faces += _on_sides(half, pane, "glass")
    return [
        *faces,
        *_wheels(half, 0.48, (2.2, length - 2.6)),
        *_on_ends(length, half - 0.15, 1.4, roof - 0.55, ("glass", "glass")),
        *_on_ends(length, 0.8, roof - 0.42, roof - 0.18, ("display", "display")),
        *_on_ends(length, half - 0.1, 0.65, 0.9, ("tail", "head"), inner=0.85),
    ]


def _truck_model(rng: np.random.Generator) -> list[_Face]:
    load, half, roof = rng.uniform(4.5, 7), 1.25, rng.uniform(2.9, 3.6)
    front = load + 2.0
    cargo = [
        (0.0, 0.8, half, "cargo"),
        (0.0, roof, half, "cargo"),
        (load, roof, half, "cargo"),
        (load, 0.8, half, "cargo"),
    ]
    cab = [
        (load + 0.1, 0.5, half - 0.1, "paint"),
        (load + 0.1, 2.5, half - 0.15, "paint"),
        (front - 0.5, 2.5, half - 0.15, "glass"),
        (front, 1.5, half - 0.1, "paint"),
        (front, 0.5, half - 0.1, "paint"),
    ]
    window = [(load + 0.7, 1.5), (load + 0.7, 2.2), (front - 0.5, 2.2), (front - 0.2, 1.5)]
    left, right, _hidden_by_load, *rest = _extruded(cab, "paint")
    return [
        *_extruded(cargo, "cargo"),
        *(left, right, *rest),
        *_on_sides(half - 0.1, window, "glass"),
        *_wheels(half, 0.48, (1.2, load + 1.0)),
        *_on_ends(front, half - 0.1, 0.62, 0.82, ("tail", "head"), inner=0.85),
        *_on_ends(front, half, 0.8, 0.92, ("tyre", "paint")),
    ]


_MODELS = {"car": _car_model, "bus": _bus_model, "truck": _truck_model}


def _paint_vehicle(canvas: _Canvas, label: str, x: float, z: float, yaw: float) -> None:
    """Paints a vehicle with its middle at (x, z), heading along the street where yaw is 0."""
    rng, camera = canvas.rng, canvas.camera
    faces = _MODELS[label](rng)
    colours = _materials(rng, label)
    points = np.concatenate([corners for corners, _ in faces])
    half, _, length = points.max(0)
    turn = np.array([(np.cos(yaw), 0, -np.sin(yaw)), (0, 1, 0), (np.sin(yaw), 0, np.cos(yaw))])

    def placed(corners: np.ndarray) -> np.ndarray:
        return (corners - (0, 0, length / 2)) @ turn + (x, 0, z)

    footprint = placed(np.array(_strip(-half - 0.25, half + 0.25, -0.4, length + 0.3)))
    canvas.shadow(camera.project(footprint - (0.35 * canvas.light.sun, 0, 0)), 0.45)
    pixels = camera.project(placed(points))
    canvas.add(label, _convex_hull(pixels), (30, 30, 32), z)
    ends = np.cumsum([len(corners) for corners, _ in faces])
    for (corners, material), outline in zip(faces, np.split(pixels, ends[:-1]), strict=True):
        if _signed_area(outline) < 0.5:
            continue
        a, b, c = corners[:3] @ turn
        normal = np.cross(b - a, c - b)
        shade = canvas.light.on(normal / np.linalg.norm(normal))
        gleam = {6: 0.2} if material == "glass" else {1: 0.02, 20: 0.05}
        canvas.detail(outline, canvas.textured(colours[material] * shade, gleam))


def _materials(rng: np.random.Generator, label: str) -> dict[str, np.ndarray]:
    bus_colours = [(190, 44, 40), (214, 176, 48), (62, 108, 160), (214, 216, 212), (56, 118, 84)]
    named = {
        "tyre": (28, 28, 30),
        "rim": (126, 128, 130),
        "tail": (196, 30, 28),
        "head": (240, 240, 222),
        "plate": (222, 222, 206),
        "display": (28, 26, 20),
    }
    return {name: np.array(colour, float) for name, colour in named.items()} | {
        "paint": _pick(rng, bus_colours if label == "bus" else _CAR_COLOURS),
        "cargo": _pick(rng, [(206, 204, 198), (150, 160, 168), (120, 112, 84), (186, 120, 60)]),
        "glass": _pick(rng, [(46, 54, 62), (78, 92, 104), (30, 34, 40)]),
    }


def _convex_hull(points: np.ndarray) -> np.ndarray:
    """Returns the hull of points [N, 2] (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, np.round(points, 1).tolist()))

    def chain(sequence: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        hull: list[tuple[float, float]] = []
        for x, y in sequence:
            while len(hull) > 1:
                (x1, y1), (x2, y2) = hull[-2:]
                if (x2 - x1) * (y - y1) > (y2 - y1) * (x - x1):
                    break
                hull.pop()
            hull.append((x, y))
        return hull[:-1]

    return np.array(chain(ordered) + chain(reversed(ordered)))


def _signed_area(outline: np.ndarray) -> float:
    """Returns the area of a polygon [N, 2]; positive where it runs clockwise on the screen."""
    x, y = outline.T
    return float(x @ np.append(y[1:], y[0]) - y @ np.append(x[1:], x[0])) / 2


def _traffic(canvas: _Canvas, street: _Street) -> list[_Actor]:
    """Returns the vehicles: parked along the kerbs and driving."""
    rng = canvas.rng
    actors: list[_Actor] = []

    def vehicle(label: str, x: float, z: float, yaw: float) -> None:
        actors.append((z, partial(_paint_vehicle, canvas, label, x, z, yaw)))

    for side in (_LEFT, _RIGHT):
        if rng.random() < 0.1 + 0.8 * street.crowding[side]:
            x, z = street.kerbs[side] - side * 1.05, rng.uniform(8, 20)
            end = rng.uniform(20, 50)
            while z < end:
                vehicle("car", x, z, rng.choice([0, np.pi]) + rng.normal(0, 0.03))
                z += rng.uniform(5.2, 7) if rng.random() < 0.8 else rng.uniform(9, 22)
    lanes = {0.0: 0.0, np.pi: street.kerbs[_LEFT] / 2 - 0.6}
    for yaw, x in lanes.items():
        z = rng.uniform(10, 34)
        for _ in range(rng.poisson(0.5 + 0.4 * max(street.crowding.values()))):
            label = str(rng.choice(["car", "bus", "truck"], p=[0.7, 0.15, 0.15]))
            vehicle(label, x + rng.normal(0, 0.25), z + 4 * (label != "car"), yaw)
            z += rng.uniform(9, 25)
    if rng.random() < 0.08:
        vehicle("car", rng.uniform(-3, 3), rng.uniform(14, 26), rng.choice([-1, 1]) * np.pi / 2)
    return actors


# People


def _passers_by(canvas: _Canvas, street: _Street, side: int) -> list[_Actor]:
    """Returns the people and bicycles of one side of the street."""
    rng, crowding = canvas.rng, street.crowding[side]
    kerb, front = street.kerbs[side], street.fronts[side]
    actors: list[_Actor] = []
    for _ in range(rng.poisson(0.2 + 7 * crowding)):
        x, z = kerb + (front - kerb) * rng.uniform(0.1, 0.9), rng.uniform(8, 26)
        actors.append((z, partial(_paint_person, canvas, x, z)))
    if rng.random() < 0.05 + 0.12 * crowding:
        x, z = rng.uniform(-2, 2) + kerb / 3, rng.uniform(8, 18)
        actors.append((z, partial(_paint_person, canvas, x, z)))
    if rng.random() < 0.13:
        x, z = kerb - side * rng.uniform(0.8, 2.2), rng.uniform(7, 18)
        actors.append((z, partial(_paint_cyclist, canvas, x, z)))
    if rng.random() < 0.05 + 0.12 * crowding:
        x, z = front - side * 0.5, rng.uniform(9, 18)
        for number in range(rng.integers(1, 4)):
            spot = z + 0.9 * number
            actors.append((spot, partial(_paint_bicycle, canvas, x, spot, rng.uniform(0.6, 1.0))))
    return actors


def _billboard(
    canvas: _Canvas, x: float, z: float, outline: Sequence[Sequence[float]], stretch: float = 1.0
) -> np.ndarray:
    """Projects a flat shape, (right, up) in metres from (x, z), that faces the camera."""
    return canvas.camera.project([(x + stretch * right, up, z) for right, up in outline])


def _dressed(canvas: _Canvas, z: float, waist: float, neck: float, crown: float) -> _Paint:
    """Returns the paint of a person: shoes, trousers, a top, skin and hair, by height in metres."""
    rng = canvas.rng
    trousers, top = _pick(rng, _CLOTHES_COLOURS) * 0.7, _pick(rng, _CLOTHES_COLOURS)
    skin = _pick(rng, _SKIN_COLOURS)
    hair = _pick(rng, [(48, 38, 32), (110, 80, 48), (30, 28, 28), (150, 140, 130)])
    colours = np.array([(34, 32, 32), trousers, top, skin, hair])
    levels = [0.08, waist, neck, neck + 0.62 * (crown - neck)]

    def paint(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        _, up = canvas.camera.on_front(xs, ys, z)
        return colours[np.searchsorted(levels, up)] * canvas.noise(xs, ys, {1: 0.04, 2: 0.07})

    return paint


def _paint_person(canvas: _Canvas, x: float, z: float) -> None:
    rng = canvas.rng
    tall = rng.choice([rng.uniform(1.58, 1.9), rng.uniform(1.1, 1.4)], p=[0.88, 0.12])
    stride, left_arm, right_arm = rng.uniform(0.05, 0.2), *rng.uniform(0.0, 0.1, 2)
    outline = np.array(
        [
            (-stride - 0.09, 0.0), (-0.16, 0.44), (-0.19, 0.5), (-0.25 - left_arm, 0.47),
            (-0.26 - left_arm / 2, 0.66), (-0.21, 0.82), (-0.08, 0.86), (-0.1, 0.93),
            (-0.05, 1.0), (0.05, 1.0), (0.1, 0.93), (0.08, 0.86), (0.21, 0.82),
            (0.26 + right_arm / 2, 0.66), (0.25 + right_arm, 0.47), (0.19, 0.5), (0.16, 0.44),
            (stride + 0.09, 0.0), (stride - 0.04, 0.0), (0.0, 0.42), (-stride + 0.04, 0.0),
        ]
    )  # fmt: skip
    _paint_ground_shadow(canvas, x, z, 0.35, 0.2)
    dress = _dressed(canvas, z, 0.5 * tall, 0.85 * tall, tall)
    shape = outline * (tall / 1.75 * rng.choice([-1, 1]), tall)
    canvas.add("person", _billboard(canvas, x, z, shape, rng.uniform(0.8, 1.1)), dress, z)


def _paint_bicycle(canvas: _Canvas, x: float, z: float, stretch: float) -> None:
    """Paints a bicycle; `stretch` below 1 turns it away from the side view."""
    outline = [
        (-0.86, 0.2), (-0.86, 0.5), (-0.68, 0.68), (-0.42, 0.66), (-0.4, 0.95), (-0.12, 0.95),
        (-0.1, 0.7), (0.32, 0.74), (0.3, 1.06), (0.52, 1.06), (0.56, 0.7), (0.8, 0.56),
        (0.88, 0.3), (0.74, 0.06), (0.52, 0.0), (0.28, 0.14), (-0.2, 0.16), (-0.5, 0.0),
        (-0.72, 0.04),
    ]  # fmt: skip
    shape = partial(_billboard, canvas, x, z, stretch=stretch)
    unit = canvas.camera.focal / z
    colour = _pick(canvas.rng, _CAR_COLOURS)
    angles = np.linspace(0, 2 * np.pi, 13)
    canvas.add("bicycle", shape(outline), lambda xs, ys: canvas.image[ys, xs] * 0.8, z)
    for hub in (-0.53, 0.53):
        ring = np.stack([hub + 0.31 * np.cos(angles), 0.34 + 0.31 * np.sin(angles)], 1)
        canvas.stroke(shape(ring.tolist()), (26, 26, 28), max(0.07 * unit, 1))
    frame = [(-0.53, 0.34), (-0.26, 0.9), (-0.08, 0.34), (-0.53, 0.34), (-0.22, 0.7), (0.4, 0.74)]
    canvas.stroke(shape([*frame, (-0.08, 0.34)]), colour, max(0.06 * unit, 1))
    canvas.stroke(shape([(0.53, 0.34), (0.38, 1.02)]), colour, max(0.06 * unit, 1))
    canvas.stroke(shape([(-0.4, 0.92), (-0.12, 0.92)]), (30, 28, 28), max(0.08 * unit, 1))


def _paint_cyclist(canvas: _Canvas, x: float, z: float) -> None:
    """Paints a rider on a bicycle."""
    rng = canvas.rng
    stretch = rng.choice([-1, 1]) * rng.uniform(0.45, 0.95)
    _paint_ground_shadow(canvas, x, z, 0.8 * abs(stretch), 0.25)
    _paint_bicycle(canvas, x, z, stretch)
    outline = [
        (-0.12, 0.14), (0.04, 0.5), (-0.36, 0.86), (-0.38, 1.08), (-0.16, 1.5), (-0.02, 1.56),
        (-0.04, 1.68), (0.06, 1.8), (0.2, 1.78), (0.24, 1.62), (0.14, 1.52), (0.24, 1.28),
        (0.46, 1.12), (0.42, 1.0), (0.14, 1.12), (-0.04, 1.0), (0.24, 0.78), (0.2, 0.56),
        (0.06, 0.12),
    ]  # fmt: skip
    dress = _dressed(canvas, z, 0.98, 1.54, 1.8)
    canvas.add("rider", _billboard(canvas, x, z, outline, stretch), dress, z)
