"""The endoscope's view: fisheye rays, sphere tracing from coarse to fine, shading by its light."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medtune_jax.phantoms.colonoscopy.polyp import Polyp
from medtune_jax.phantoms.colonoscopy.texture import Array, bilinear, f32
from medtune_jax.phantoms.colonoscopy.wall import Wall

FAR = np.float32(9.0)  # nothing beyond this returns visible light
BLEND = 0.05  # width of the shoulder between a polyp and the wall
PYRAMID = ((4, 48, 0.4), (2, 10, 0.45), (1, 5, 0.5))  # pixel step, marching steps, step factor


@dataclass(frozen=True)
class View:
    """Linear light [H, W, 3] and lesion labels [H, W] (0 = wall, k = the k-th polyp)."""

    light: Array
    lesions: np.ndarray


def look(position: Array, target: Array, roll: float) -> tuple[Array, Array]:
    """A camera pose: position [3] and rows right, down, forward [3, 3], looking at `target`."""
    forward = (target - position) / np.linalg.norm(target - position)
    up = f32([np.sin(roll), np.cos(roll), 0])
    right = np.cross(up, forward)
    right = right / np.linalg.norm(right)
    return position, np.stack([right, np.cross(forward, right), forward]).astype(np.float32)


def render(
    wall: Wall, polyps: list[Polyp], pose: tuple[Array, Array], size: tuple[int, int]
) -> View:
    """What a camera at `pose` sees: each ray is traced to the wall or a polyp, lit by the tip."""
    origin, axes = pose
    reach = np.full(tuple(-(-s // 4) for s in size), 0.02, np.float32)
    for step, count, factor in PYRAMID:
        rays = _rays(size, step) @ axes
        shape = rays.shape[:2]
        reach = _enlarge(reach, shape)
        rays = np.ascontiguousarray(rays.reshape(-1, 3).T)
        scene = _Scene(wall, polyps, origin, rays)
        t = reach.ravel()
        t, last = _march(scene, origin, rays, t, count, factor)
        late = np.flatnonzero(np.abs(last) > 0.015 * t)
        if step == 1 and late.size:  # rays that graze an edge must first get past it
            grazing = _Scene(wall, polyps, origin, rays[:, late])
            t[late], _ = _march(grazing, origin, rays[:, late], t[late], 24, factor)
        reach = t.reshape(shape)
    light, lesions = _shade(scene, origin, rays, t)
    return View(light.reshape(*size, 3), lesions.reshape(size))


def _march(
    scene: "_Scene", origin: Array, rays: Array, t: Array, count: int, factor: float
) -> tuple[Array, Array]:
    """Distances [N] along the rays after `count` steps of sphere tracing, and the last step [N]."""
    for _ in range(count):
        before = t
        t = np.clip(t + np.float32(factor) * scene.field(origin[:, None] + t * rays), 0, FAR)
    return t, t - before


def _rays(size: tuple[int, int], step: int) -> Array:
    """Unit directions [H, W, 3] (right, down, forward) of an equidistant 144 degree fisheye."""
    half = np.hypot(*size) / 2
    y = np.arange(0, size[0], step, dtype=np.float32)[:, None] + (step - size[0]) / 2
    x = np.arange(0, size[1], step, dtype=np.float32) + (step - size[1]) / 2
    radius = np.sqrt(x * x + y * y) + np.float32(1e-6)
    angle = radius * np.float32(np.deg2rad(72) / half)
    across = np.sin(angle) / radius
    return np.stack([x * across, y * across, np.cos(angle)], -1)


def _enlarge(reach: Array, shape: tuple[int, int]) -> Array:
    """A start for finer rays that lies before every surface the coarse neighbours met."""
    if reach.shape == shape:
        return reach
    near = ndimage.minimum_filter(reach, 3) - np.float32(0.02)
    return np.repeat(np.repeat(near, 2, 0), 2, 1)[: shape[0], : shape[1]]


class _Scene:
    """Wall and polyps joined for one bundle of rays; polyps are evaluated only where rays pass."""

    def __init__(self, wall: Wall, polyps: list[Polyp], origin: Array, rays: Array):
        self.wall, self.near = wall, []
        for label, polyp in enumerate(polyps, 1):
            offset = polyp.base - origin
            along = np.maximum(offset @ rays, 0)
            gap = np.linalg.norm(offset[:, None] - along * rays, axis=0)
            index = np.flatnonzero(gap < polyp.reach)
            if index.size:
                self.near.append((label, polyp, index))

    def field(self, point: Array) -> Array:
        """Free distance [N] at points [3, N] to the union of wall and polyps, smoothly joined."""
        free = self.wall.clearance(point)
        for _, polyp, index in self.near:
            there = free[index]
            body = polyp.distance(point[:, index], there)
            share = np.clip(0.5 + 0.5 * (there - body) / BLEND, 0, 1)
            free[index] = there + (body - there) * share - BLEND * share * (1 - share)
        return free

    def normal(self, point: Array) -> Array:
        """Unit normals [3, N] towards the lumen, by forward differences."""
        step = np.float32(0.012)
        here = self.field(point)
        slope = np.empty_like(point)
        for axis in range(3):
            moved = point.copy()
            moved[axis] += step
            slope[axis] = self.field(moved) - here
        return slope / (np.linalg.norm(slope, axis=0) + 1e-9)


def _shade(scene: _Scene, origin: Array, rays: Array, t: Array) -> tuple[Array, np.ndarray]:
    """Linear RGB [N, 3] and lesion labels [N] at distance `t` along the rays."""
    wall = scene.wall
    point = origin[:, None] + t * rays
    _, theta = wall.polar(point)
    texel = np.float32(wall.look.shape[1] / (2 * np.pi))
    surface = bilinear(wall.look, theta * texel, point[2] * texel)
    albedo, wet = surface[:, :3], surface[:, 3]
    fade = 1 / (1 + (t / 1.5) ** 2)  # fine grain averages out with distance
    grain = fade * bilinear(wall.grain, theta * (5 * 256 / np.pi), point[2] * (5 * 256 / np.pi))
    lesions = np.zeros(t.size, np.int32)
    for label, polyp, index in scene.near:
        there = wall.clearance(point[:, index])
        body = polyp.distance(point[:, index], there)
        share = np.clip(0.5 + (there - body) / BLEND, 0, 1)
        q = polyp.local(point[:, index])
        pits = bilinear(wall.grain, q[0] * 900, q[1] * 900)
        skin = polyp.albedo * (1 + 0.07 * pits * fade[index])[:, None]
        skin = skin * (albedo[index] / wall.mean_colour) ** 0.4  # vessels show through
        albedo[index] += share[:, None] * (skin - albedo[index])
        lesions[index[body < there]] = label
    normal = scene.normal(point)
    facing = np.clip(-(normal * rays).sum(0) + 0.03 * grain, 0, 1)
    glow = 1 / (t * t + 0.3)
    depth_tint = np.exp(-f32([0.02, 0.17, 0.22]) * t[:, None])  # light reddens between walls
    diffuse = albedo * (1 + 0.05 * grain)[:, None] * depth_tint
    diffuse *= (glow * (0.25 + 0.75 * np.sqrt(facing)) * (t < 0.98 * FAR))[:, None]
    glint = np.clip((facing + 0.004 * grain * wet + 0.008 * wet - 1.0) / 0.008, 0, 1) ** 2
    return diffuse + (2.5 * glint * glow)[:, None], lesions
