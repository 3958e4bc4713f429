"""Polyps as solid bodies that grow out of the wall: sessile, pedunculated or flat.

Each is a signed distance (positive outside, in tube radii) in its own frame: two tangents of the
wall and the height above it.
"""

from dataclasses import dataclass

import numpy as np

from medtune_jax.phantoms.colonoscopy.texture import Array, f32
from medtune_jax.phantoms.colonoscopy.wall import Wall

KINDS = ("sessile", "pedunculated", "flat")


@dataclass(frozen=True)
class Polyp:
    """One lesion; rows of `axes`: tangent, tangent, height; `reach` bounds it around `base`."""

    kind: str
    base: Array
    axes: Array
    radii: Array
    stalk: Array
    lumps: Array
    albedo: Array
    reach: float

    def local(self, point: Array) -> Array:
        """Points [3, N] in the polyp's own frame [3, N]."""
        return self.axes @ (point - self.base[:, None])

    def distance(self, point: Array, clearance: Array) -> Array:
        """Signed distance [N] of points [3, N] whose clearance from the wall is known [N]."""
        q = self.local(point)
        if self.kind == "flat":
            q[2] = clearance  # a flat lesion follows the wall, also over a fold
        lumpy = sum(a * np.sin(w @ q + p) for a, p, *w in self.lumps)
        head = _ellipsoid(q - self.stalk[:, None], self.radii) - lumpy
        if self.kind != "pedunculated":
            return head
        along = np.clip(self.stalk @ q / (self.stalk @ self.stalk), 0, 1)
        shaft = np.linalg.norm(q - self.stalk[:, None] * along, axis=0) - 0.38 * self.radii[0]
        return np.minimum(head, shaft)


def _ellipsoid(q: Array, radii: Array) -> Array:
    """First-order signed distance to an axis-aligned ellipsoid."""
    scaled = q / radii[:, None]
    k0 = np.sqrt((scaled**2).sum(0)) + 1e-6
    k1 = np.sqrt(((scaled / radii[:, None]) ** 2).sum(0)) + 1e-6
    return k0 * (k0 - 1) / k1


def make_polyp(rng: np.random.Generator, wall: Wall, theta: float, z: float) -> Polyp:
    """A random polyp on the wall at angle `theta` and length `z`."""
    kind = str(rng.choice(KINDS, p=[0.5, 0.25, 0.25]))
    size = rng.uniform(0.12, 0.36)  # half-width: 3 to 9 mm
    aspect, spin = rng.uniform(0.75, 1.0), rng.uniform(0, 2 * np.pi)
    if kind == "sessile":
        radii = f32([size, aspect * size, rng.uniform(0.6, 1.0) * size])
        stalk = f32([0, 0, 0.2 * size])
    elif kind == "pedunculated":
        size = 0.8 * size
        radii = f32([size, aspect * size, rng.uniform(0.8, 1.1) * size])
        stalk = f32([*rng.normal(0, 0.5, 2) * size, rng.uniform(1.4, 2.2) * size])
    else:
        size = 1.2 * size
        radii, stalk = f32([size, aspect * size, rng.uniform(0.05, 0.10)]), f32([0, 0, 0])
    axes = _frame(wall, theta, z, spin)
    waves = rng.normal(0, 1, (4, 3)) * np.array([[1.6], [2.5], [3.5], [5.0]]) / size
    heights = (
        rng.uniform(0.03, 0.10, 4)
        * f32([1, 0.8, 0.4, 0.2])
        * min(size, 4 * radii[2])
        * (0.3 if kind == "flat" else 1)
    )
    lumps = np.column_stack([heights, rng.uniform(0, 6.3, 4), waves]).astype(np.float32)
    red, pale = f32([0.74, 0.11, 0.07]), f32([0.88, 0.44, 0.28])
    albedo = red + (pale - red) * np.float32(rng.beta(0.5, 0.6))
    reach = float(np.linalg.norm(stalk) + radii.max() * 1.3 + 0.06)
    return Polyp(kind, wall.at(theta, z), axes, radii, stalk, lumps, albedo, reach)


def _frame(wall: Wall, theta: float, z: float, spin: float) -> Array:
    """Orthonormal rows: two tangents turned by `spin`, and the wall's inward normal."""
    step = 0.08
    around = wall.at(theta + step, z) - wall.at(theta - step, z)
    ahead = wall.at(theta, z + step) - wall.at(theta, z - step)
    inward = np.cross(ahead, around)
    inward = inward / np.linalg.norm(inward)
    if inward @ (wall.at(theta, z, 0.1) - wall.at(theta, z)) < 0:
        inward = -inward
    u = around / np.linalg.norm(around)
    u = u - inward * (u @ inward)
    u = u / np.linalg.norm(u)
    v = np.cross(inward, u)
    turned = np.cos(spin) * u + np.sin(spin) * v
    return np.stack([turned, np.cross(inward, turned), inward]).astype(np.float32)
