"""Geometry of the land, in metres: parcels, and lines that wind through it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parcel:
    """A piece of land: its corners [N, 2], convex, and the angle along its longest side."""

    corners: np.ndarray
    angle: float

    @classmethod
    def of(cls, corners: np.ndarray) -> "Parcel":
        """Returns the parcel with these corners."""
        sides = np.roll(corners, -1, axis=0) - corners
        along, down = sides[np.argmax(np.hypot(*sides.T))]
        return cls(corners, float(np.arctan2(down, along)))

    @property
    def area(self) -> float:
        """Its area in square metres."""
        x, y = self.corners.T
        return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2

    def within(self, margin: float) -> np.ndarray:
        """Returns its corners, moved inwards by about so many metres."""
        share = max(0.3, 1 - 2 * margin / np.sqrt(self.area))
        middle = self.corners.mean(0)
        return middle + share * (self.corners - middle)

    def spots(self, rng: np.random.Generator, along: float, across: float) -> np.ndarray:
        """Returns the places [N, 2] of a grid in it with these distances, a little at random."""
        turn = rotation(self.angle)
        local = self.corners @ turn.T
        steps = np.array((along, across))
        counts = np.ceil(np.ptp(local, axis=0) / steps - 0.5).astype(int)
        places = np.array([*np.ndindex(*counts)]).reshape(-1, 2) + 0.5
        return (local.min(0) + (places + rng.uniform(-0.12, 0.12, places.shape)) * steps) @ turn


def rotation(angle: float) -> np.ndarray:
    """Returns the matrix that takes (x, y) to (along, across) of an angle."""
    return np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])


def rectangle(centre: np.ndarray, length: float, width: float, angle: float) -> np.ndarray:
    """Returns the corners [4, 2] of a rectangle."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (length / 2, width / 2)
    return centre + corners @ rotation(angle)


def divide(
    rng: np.random.Generator, extent: np.ndarray, area: float
) -> tuple[list[Parcel], list[np.ndarray]]:
    """Divides land into parcels of about this area in square metres.

    Returns:
        The parcels, which cover [0, extent], and the seams [2, 2] between them, long ones first.
    """
    parcels: list[Parcel] = []
    seams: list[np.ndarray] = []
    size = float(np.hypot(*extent))
    waiting = [Parcel.of(rectangle(extent / 2, size, size, rng.uniform(0, np.pi)))]
    while waiting:
        parcel = waiting.pop(0)
        if (parcel.corners.max(0) < 0).any() or (parcel.corners.min(0) > extent).any():
            continue
        if parcel.area < area * rng.uniform(0.8, 2.0):
            parcels.append(parcel)
            continue
        angle = parcel.angle + rng.normal(0, 0.06)
        spread = np.ptp(parcel.corners @ rotation(parcel.angle)[0])
        along = np.array((np.cos(angle), np.sin(angle)))
        point = parcel.corners.mean(0) + along * spread * rng.uniform(-0.15, 0.15)
        halves, seam = _cut(parcel.corners, point, along)
        seams.append(seam)
        waiting += map(Parcel.of, halves)
    return parcels, seams


def _cut(
    corners: np.ndarray, point: np.ndarray, normal: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Cuts a convex polygon by a line through a point; returns both parts and the cut."""
    heights = (corners - point) @ normal
    parts: tuple[list, list] = ([], [])
    cut: list[np.ndarray] = []
    for index, corner in enumerate(corners):
        before, here, there = corners[index - 1], heights[index], heights[index - 1]
        if here * there < 0:
            crossing = before + (corner - before) * there / (there - here)
            cut.append(crossing)
            for part in parts:
                part.append(crossing)
        parts[int(here > 0)].append(corner)
    return [np.array(part) for part in parts], np.array(cut)


def winding(
    rng: np.random.Generator, extent: np.ndarray, angle: float, bend: float, length: float
) -> np.ndarray:
    """Returns the line [N, 2] of something that winds through the land.

    Args:
        rng: Where every random choice comes from.
        extent: Width and height of the land.
        angle: Where it leads.
        bend: How far it leaves the straight line.
        length: From one bend to the same bend again.
    """
    reach = float(np.hypot(*extent))
    along = np.arange(-reach, reach, length / 14)
    phase = rng.uniform(0, 2 * np.pi, 2)
    across = bend * np.sin(2 * np.pi * along / length + phase[0])
    across += 0.4 * bend * np.sin(2 * np.pi * along / (0.57 * length) + phase[1])
    line = extent * rng.uniform(0.25, 0.75, 2) + np.stack([along, across], 1) @ rotation(angle)
    seen = np.flatnonzero(((line > -25) & (line < extent + 25)).all(1))
    return line[seen[0] : seen[-1] + 1]


def ribbon(line: np.ndarray, half: float | np.ndarray) -> np.ndarray:
    """Returns the outline of what lies within `half` metres of a line [N, 2]."""
    steps = np.gradient(line, axis=0)
    normals = np.stack([-steps[:, 1], steps[:, 0]], 1) / np.hypot(*steps.T)[:, None]
    offsets = normals * np.broadcast_to(half, len(line))[:, None]
    return np.concatenate([line + offsets, (line - offsets)[::-1]])


def ragged(rng: np.random.Generator, outline: np.ndarray, step: float, jitter: float) -> np.ndarray:
    """Returns an outline with vertices about every `step` metres, moved at random."""
    parts = []
    for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        count = max(1, round(float(np.hypot(*(end - start))) / step))
        parts.append(start + np.arange(count)[:, None] / count * (end - start))
    points = np.concatenate(parts)
    return points + rng.normal(0, jitter, points.shape)
