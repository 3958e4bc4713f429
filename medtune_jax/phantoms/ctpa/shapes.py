"""Signed distances of capsules and ellipsoids on an anisotropic grid, and their partial volume.

Positions are millimetres in array order (z, y, x); voxel (0, 0, 0) is centred at the origin.
"""

from collections.abc import Iterator

import numpy as np

Box = tuple[slice, slice, slice]


def box_around(
    low: np.ndarray, high: np.ndarray, shape: tuple[int, ...], spacing: np.ndarray
) -> Box | None:
    """The voxels between two corners (mm), or None where the volume holds none of them."""
    first = np.maximum(np.floor(low / spacing).astype(int), 0)
    last = np.minimum(np.ceil(high / spacing).astype(int) + 1, shape)
    if np.any(first >= last):
        return None
    z, y, x = (slice(int(low), int(high)) for low, high in zip(first, last, strict=True))
    return z, y, x


def grid(box: Box, spacing: np.ndarray) -> list[np.ndarray]:
    """Open (broadcastable) z, y, x coordinates in mm of the voxels of a box."""
    axes = [
        np.arange(s.start, s.stop, dtype=np.float32) * np.float32(h)
        for s, h in zip(box, spacing, strict=True)
    ]
    return list(np.ix_(*axes))


def capsule_distances(
    start: np.ndarray,
    end: np.ndarray,
    radius: np.ndarray,
    shape: tuple[int, ...],
    spacing: np.ndarray,
    margin: float = 3.0,
) -> Iterator[tuple[int, Box, np.ndarray]]:
    """Yield (index, box, signed distance in mm) of each tapered capsule, within its own box.

    `start`, `end` are [n, 3] in mm and `radius` is [n, 2] (at start and end); negative inside.
    """
    for i, (a, b, (r0, r1)) in enumerate(zip(start, end, radius, strict=True)):
        reach = max(r0, r1) + margin
        box = box_around(np.minimum(a, b) - reach, np.maximum(a, b) + reach, shape, spacing)
        if box is None:
            continue
        offset = [g - np.float32(c) for g, c in zip(grid(box, spacing), a, strict=True)]
        axis = (b - a).astype(np.float32)
        length2 = max(float(axis @ axis), 1e-6)
        t = sum(o * c for o, c in zip(offset, axis, strict=True)) / np.float32(length2)
        t = np.clip(t, 0, 1)
        gap2 = sum((o - t * c) ** 2 for o, c in zip(offset, axis, strict=True))
        yield i, box, np.sqrt(gap2) - (np.float32(r0) + t * np.float32(r1 - r0))


def ellipsoid_distance(
    centre: np.ndarray, semi_axes: np.ndarray, box: Box, spacing: np.ndarray
) -> np.ndarray:
    """Approximate signed distance (mm) to an ellipsoid, exact for a ball; negative inside."""
    scaled = sum(
        ((g - np.float32(c)) / np.float32(s)) ** 2
        for g, c, s in zip(grid(box, spacing), centre, semi_axes, strict=True)
    )
    return (np.sqrt(scaled) - 1) * np.float32(np.min(semi_axes))


def coverage(distance: np.ndarray, voxel: float) -> np.ndarray:
    """Share of each voxel that lies inside a surface: a linear ramp one voxel (mm) wide."""
    return np.clip(0.5 - distance / np.float32(voxel), 0, 1)
