"""The colon wall: a bent tube with haustral folds, mucosal texture and vessels.

Lengths are in tube radii (about 25 mm). The wall is a map over angle (columns) and length (rows)
that repeats after two circumferences, far beyond what the camera's light reaches.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from medtune_jax.phantoms.colonoscopy.texture import Array, bilinear, f32, periodic_noise, vessels

PERIOD = 4 * np.pi  # length after which the wall repeats; rows = 2 x columns makes texels square


@dataclass(frozen=True)
class Wall:
    """radius [2T, T]; look [2S, S, 4]: linear RGB albedo, wetness; grain [G, G]; bends [K, 3]."""

    radius: Array
    look: Array
    grain: Array
    bends: Array

    @cached_property
    def mean_colour(self) -> Array:
        """Mean linear RGB albedo [3]."""
        return self.look[..., :3].mean((0, 1))

    def centre(self, z: Array) -> tuple[Array, Array]:
        """x and y of the tube's centre line at length `z`."""
        x, y = np.zeros_like(z), np.zeros_like(z)
        for amplitude, frequency, phase in self.bends:
            x += amplitude * np.sin(frequency * z + phase)
            y += amplitude * np.cos(0.83 * frequency * z + 2 * phase)
        return x, y

    def polar(self, point: Array) -> tuple[Array, Array]:
        """Distance from the centre line and angle of points [3, N]."""
        cx, cy = self.centre(point[2])
        dx, dy = point[0] - cx, point[1] - cy
        return np.sqrt(dx * dx + dy * dy), np.arctan2(dy, dx)

    def clearance(self, point: Array) -> Array:
        """Radial distance from points [3, N] to the wall, positive in the lumen: [N]."""
        rho, theta = self.polar(point)
        scale = np.float32(self.radius.shape[1] / (2 * np.pi))
        return bilinear(self.radius, theta * scale, point[2] * scale) - rho

    def at(self, theta: float, z: float, depth: float = 0.0) -> Array:
        """The point [3] at angle `theta`, length `z`, `depth` inside the lumen from the wall."""
        scale = self.radius.shape[1] / (2 * np.pi)
        row, column = round(z * scale) % len(self.radius), round(theta * scale)
        rho = self.radius[row, column % self.radius.shape[1]] - depth
        cx, cy = self.centre(f32([z]))
        return f32([cx[0] + rho * np.cos(theta), cy[0] + rho * np.sin(theta), z])


def make_wall(rng: np.random.Generator, texels: int = 1024) -> Wall:
    """A random wall; `texels` around the circumference of its texture (a power of two)."""
    columns = min(texels, 512)
    radius = _radius(rng, columns)
    look = _look(rng, texels, radius)
    grain = periodic_noise(rng, (256, 256), 1.6) + 0.8 * periodic_noise(rng, (256, 256), 5.0)
    bends = np.column_stack(
        [rng.uniform(0.15, 0.5, 2), rng.uniform(0.3, 0.8, 2), rng.uniform(0, 2 * np.pi, 2)]
    )
    return Wall(radius, look, grain / grain.std(), bends.astype(np.float32))


def _radius(rng: np.random.Generator, columns: int) -> Array:
    """Radius map: three-lobed cross-section, haustra, semilunar folds, harmless small bulges."""
    rows = 2 * columns
    theta = np.arange(columns, dtype=np.float32) * (2 * np.pi / columns)
    z = np.arange(rows, dtype=np.float32)[:, None] * (PERIOD / rows)
    twist = rng.uniform(0, 2 * np.pi) + 0.6 * np.sin(2 * np.pi * z / PERIOD + rng.uniform(0, 6))
    shape = (rows, columns)
    radius = (
        1.05 + 0.06 * periodic_noise(rng, shape, columns / 9) - 0.07 * np.cos(3 * theta + twist)
    )
    radius += 0.008 * periodic_noise(rng, shape, columns / 60)
    radius -= _folds(rng, theta, z, rng.uniform(0.6, 1.1))
    bulges = periodic_noise(rng, shape, columns / 40)
    radius -= 0.09 * np.maximum(bulges - 2.1, 0)  # mimics of small polyps
    return radius.astype(np.float32)


def _folds(rng: np.random.Generator, theta: Array, z: Array, spacing: float) -> Array:
    """Height [Z, T] of crescent-shaped folds that reach into the lumen, about `spacing` apart."""
    count = round(PERIOD / spacing)
    height = np.zeros((z.size, theta.size), np.float32)
    for k in range(count):
        centre = (k + rng.uniform(-0.25, 0.25)) * PERIOD / count
        line = centre + (rng.normal(0, 0.09, (3, 1)) * np.cos(_waves(rng, theta, 3))).sum(0)
        line = line.astype(np.float32)
        lobes = 0.5 + 0.5 * np.cos(rng.choice([1, 2, 3, 3]) * theta + rng.uniform(0, 6))
        crest = rng.uniform(0.22, 0.48) * (0.3 + 0.7 * lobes) * (1 + 0.1 * np.cos(7 * theta + k))
        width = rng.uniform(0.09, 0.17)
        first, last = np.floor(np.array([line.min() - 0.7, line.max() + 0.7]) * len(z) / PERIOD)
        rows = np.arange(first, last).astype(int)  # only where the fold rises, wrapped
        gap = np.abs(rows[:, None] * np.float32(PERIOD / len(z)) - line) / width
        rows %= len(z)
        height[rows] = np.maximum(height[rows], crest * np.exp(-(gap**1.6)))
    return ndimage.gaussian_filter(height, theta.size / 340, mode="wrap")


def _waves(rng: np.random.Generator, theta: Array, count: int) -> Array:
    """Angles [count, T] of the first `count` harmonics of `theta`, each with a random phase."""
    return f32(np.arange(1, count + 1)[:, None] * theta + rng.uniform(0, 2 * np.pi, (count, 1)))


def _look(rng: np.random.Generator, texels: int, radius: Array) -> Array:
    """Linear RGB albedo and wetness [2S, S, 4]: mucosa, patches, vessels, residue, dark grooves."""
    shape = (2 * texels, texels)
    zoom = texels // radius.shape[1]
    groove = radius - ndimage.uniform_filter(radius, radius.shape[1] // 12, mode="wrap")
    groove = np.repeat(np.repeat(groove, zoom, 0), zoom, 1)
    mucosa = f32([0.80, 0.21, 0.11]) * rng.uniform(0.8, 1.15, 3).astype(np.float32)
    patches = periodic_noise(rng, shape, texels / 24)
    mottle = periodic_noise(rng, shape, texels / 160)
    vein = vessels(rng, shape, int(rng.integers(14, 45))) * np.clip(0.75 + 0.35 * patches, 0.15, 1)
    redness = 0.10 * patches + 0.06 * mottle + rng.uniform(0.6, 1.1) * vein
    absorb = f32([0.28, 1.0, 0.85])  # blood takes green and blue before red
    albedo = mucosa * np.exp(-redness[..., None] * absorb)
    albedo *= np.exp(-np.clip(3.5 * groove, -0.5, 0.9) + 0.03 * mottle)[..., None]
    residue = np.clip(3 * (periodic_noise(rng, shape, texels / 110) - rng.uniform(2.6, 3.6)), 0, 1)
    albedo += residue[..., None] * (f32([0.62, 0.30, 0.07]) - albedo)
    wet = np.clip(0.5 + 0.35 * periodic_noise(rng, shape, texels / 50), 0, 1)
    return np.concatenate([albedo, wet[..., None]], -1).astype(np.float32)
