"""Branching vessels: Murray's law sets radii and branching angles, free space sets directions.

Murray (1926): flow splits so that r0^3 = r1^3 + r2^3, and each daughter leaves its parent at
the angle of least work, cos(theta1) = (r0^4 + r1^4 - r2^4) / (2 r0^2 r1^2).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Inside = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tree:
    """Straight tapered segments: start, end [n, 3] mm (z, y, x); radius [n, 2] mm; parent [n]."""

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    parent: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def length(self) -> np.ndarray:
        """Length of each segment in mm."""
        return np.linalg.norm(self.end - self.start, axis=1)

    @property
    def direction(self) -> np.ndarray:
        """Unit vector of each segment, [n, 3]."""
        return (self.end - self.start) / np.maximum(self.length, 1e-6)[:, None]

    def joined(self, other: "Tree") -> "Tree":
        """Both trees as one; the parents of the second keep pointing into the second."""
        moved = np.where(other.parent < 0, -1, other.parent + len(self))
        return Tree(
            np.concatenate([self.start, other.start]),
            np.concatenate([self.end, other.end]),
            np.concatenate([self.radius, other.radius]),
            np.concatenate([self.parent, moved]),
        )


def murray_daughters(radius: float, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Radii and branching angles (rad) of the two daughters that carry `share` and the rest."""
    r = radius * np.cbrt([share, 1 - share])
    cosine = (radius**4 + r**4 - r[::-1] ** 4) / (2 * radius**2 * r**2)
    return r, np.arccos(np.clip(cosine, -1, 1))


def perpendicular(direction: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Unit vectors orthogonal to `direction`, at the given angles (rad) around it."""
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    u = np.cross(direction, helper)
    u /= np.linalg.norm(u)
    return np.multiply.outer(np.cos(angle), u) + np.multiply.outer(
        np.sin(angle), np.cross(direction, u)
    )


def _sample_points(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    return start[..., None, :] + np.array([0.35, 0.7, 1.0])[:, None] * (end - start)[..., None, :]


class _Space:
    """Where vessels already are, so that new ones keep clear of them."""

    def __init__(self, avoid: Tree | None) -> None:
        self._points: list[np.ndarray] = []
        self._radii: list[np.ndarray] = []
        if avoid is not None:
            self.add(avoid.start, avoid.end, avoid.radius.mean(axis=1))

    def add(self, start: np.ndarray, end: np.ndarray, radius: np.ndarray) -> None:
        self._points.append(_sample_points(start, end).reshape(-1, 3))
        self._radii.append(np.repeat(radius, 3))

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """Distance (mm) of [..., 3] points to the nearest vessel surface."""
        if not self._points:
            return np.full(points.shape[:-1], np.inf)
        self._points, self._radii = [np.concatenate(self._points)], [np.concatenate(self._radii)]
        gap = np.linalg.norm(points[..., None, :] - self._points[0], axis=-1) - self._radii[0]
        return gap.min(axis=-1)


def grow(
    stem_start: np.ndarray,
    stem_end: np.ndarray,
    radius: float,
    inside: Inside,
    rng: np.random.Generator,
    min_radius: float = 0.8,
    max_length: float = 30.0,
    avoid: Tree | None = None,
    tries: int = 12,
) -> Tree:
    """Grow a tree from a stem until vessels are thinner than `min_radius` or leave `inside`.

    `inside` maps [..., 3] points (mm) to bool. Of `tries` random planes of bifurcation, the one
    whose daughters stay farthest from other vessels is taken, which fills the space evenly.
    """
    space = _Space(avoid)
    starts, ends, radii, parents = [stem_start], [stem_end], [(radius, radius)], [-1]
    open_ends = deque([0])
    while open_ends:
        parent = open_ends.popleft()
        tip, r0 = ends[parent], radii[parent][1]
        along = (tip - starts[parent]) / np.linalg.norm(tip - starts[parent])
        daughters, angles = murray_daughters(r0, rng.uniform(0.25, 0.75))
        azimuth = rng.uniform(0, 2 * np.pi, tries)
        first = len(starts)
        for r, theta, turn in zip(daughters, angles, (0.0, np.pi), strict=True):
            if r < min_radius:
                continue
            spread = theta * rng.uniform(0.7, 1.6, (tries, 1))
            sideways = perpendicular(along, azimuth + turn)
            direction = np.cos(spread) * along + np.sin(spread) * sideways
            length = np.minimum(r * rng.uniform(3.5, 6, (tries, 1)), max_length)
            end, room = _roomiest(tip, tip + length * direction, inside, space)
            if room == -np.inf or (room < 0.5 and len(starts) > 8):
                continue
            starts.append(tip)
            ends.append(end)
            radii.append((r, 0.95 * r))
            parents.append(parent)
            open_ends.append(len(starts) - 1)
        if len(starts) > first:
            new = (starts[first:], ends[first:], [r for r, _ in radii[first:]])
            space.add(*map(np.array, new))
    return Tree(np.array(starts), np.array(ends), np.array(radii), np.array(parents))


def _roomiest(
    tip: np.ndarray, ends: np.ndarray, inside: Inside, space: _Space
) -> tuple[np.ndarray, float]:
    """Of vessels from `tip` to each of [tries, 3] ends the end of the one farthest from all others, and how far (mm);
    -inf if none stays inside.
    """
    points = _sample_points(np.broadcast_to(tip, ends.shape), ends)
    fits = inside(points).all(axis=1)
    if not fits.any():
        return tip, -np.inf
    room = np.where(fits, space.clearance(points[:, 1:]).min(axis=1), -np.inf)
    best = int(np.argmax(room))
    return ends[best], float(room[best])
