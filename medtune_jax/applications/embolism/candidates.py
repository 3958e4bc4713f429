"""Candidates by tobogganing: dark concentrations inside bright, contrast-filled vessels.

Every voxel slides to its lowest neighbour until it reaches a local minimum; the voxels of one
minimum form a cluster (Tajbakhsh et al. 2016, II-B; Liang & Bi 2007). A path only descends, so
sliding is confined to voxels in the range of an embolus near contrast; voxels of a vessel's wall
slide out into dark lung and take no part. Clusters are ranked by how far contrast and lung
enclose them, and touching ones are merged.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.errors import UserError

NEIGHBOURS = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)])


@dataclass(frozen=True)
class CandidateConfig:
    """Settings of the search; HU and mm.

    low, high: range of an embolus (the paper's; its bounds are "about -50..100").
    contrast: HU from which a voxel counts as contrast-filled blood.
    smooth_mm: Gaussian smoothing before sliding, against minima made of noise.
    wall_mm: voxels this near to lung are vessel wall; at least one voxel.
    reach_mm: an embolus voxel has contrast within this distance, and rays look this far.
    cavity_mm: gaps between the lungs up to twice this wide belong to the chest cavity.
    min_score: clusters that contrast and lung enclose less are dropped.
    min_volume_mm3: touching clusters that amount to less are noise.
    max_candidates: the best so many are kept.
    """

    low: float = -50.0
    high: float = 100.0
    contrast: float = 150.0
    smooth_mm: float = 0.5
    wall_mm: float = 1.2
    reach_mm: float = 9.0
    cavity_mm: float = 30.0
    min_score: float = 0.5
    min_volume_mm3: float = 2.0
    max_candidates: int = 60


@dataclass(frozen=True)
class Candidate:
    """A suspected embolus: position [3] (voxels z, y, x), its cluster [n, 3], and its score.

    The score is the enclosure by contrast and lung, 0 to 1 (see `enclosure`).
    """

    position: np.ndarray
    cluster: np.ndarray
    score: float


def find_candidates(volume: Volume, config: CandidateConfig | None = None) -> list[Candidate]:
    """Candidates of a CTPA volume, best first.

    Raises UserError where the volume shows no lung (the values are not HU, or not a chest).
    """
    config = config or CandidateConfig()
    spacing = np.array(volume.spacing)
    cavity, step = chest_cavity(volume, config.cavity_mm)
    crop = _bounding_box(cavity, step, volume.hu.shape)
    hu = ndimage.gaussian_filter(
        volume.hu[crop], config.smooth_mm / spacing, output=np.float32, truncate=3.0
    )
    region = _near_contrast(hu, cavity, crop, step, spacing, config)
    region &= (hu >= config.low) & (hu <= config.high)
    voxels = _slide_out_walls(hu, region, spacing, config)
    roots = toboggan(hu, voxels)
    clusters = _Clusters(voxels, roots, hu.shape)
    scores = enclosure(hu, clusters.positions, spacing, config)
    offset = np.array([s.start for s in crop])
    return _merge(clusters, scores, spacing, offset, config)


def chest_cavity(volume: Volume, cavity_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Lungs and all between them, on a grid coarsened to about 2.5 mm.

    Returns a bool mask and the integer step (z, y, x) of its grid in voxels. Lungs are the large
    air-filled spaces that do not touch the sides of the image; closing them by `cavity_mm` adds
    the mediastinum. Raises UserError where there is no lung.
    """
    spacing = np.array(volume.spacing)
    step = np.maximum(np.rint(2.5 / spacing).astype(int), 1)
    coarse = volume.hu[:: step[0], :: step[1], :: step[2]] < -400
    labels, count = ndimage.label(coarse)
    sides = [labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]]
    outside = np.unique(np.concatenate([s.ravel() for s in sides]))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[outside] = sizes[0] = 0
    if sizes.max() < 0.005 * coarse.size:
        raise UserError(
            f"Patient {volume.patient}: no lung found: check that the volume shows the chest "
            "and holds Hounsfield units."
        )
    lung = (sizes >= 0.1 * sizes.max())[labels]
    mm = spacing * step
    closed = ndimage.distance_transform_edt(~lung, sampling=mm) <= cavity_mm
    return ndimage.distance_transform_edt(closed, sampling=mm) > cavity_mm, step


def toboggan(values: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Slide every voxel to its local minimum, by its lowest neighbour of 26, within a region.

    Args:
      values: 3-D array. Of equal neighbours the one with the smaller flat index is lower.
      voxels: flat indices of the region, ascending, none on the border of the array.

    Returns, for each of `voxels`, the flat index of the minimum that it reaches.
    """
    flat, count = values.ravel(), len(voxels)
    offsets = NEIGHBOURS @ np.array([values.shape[1] * values.shape[2], values.shape[2], 1])
    # Everything below counts within the region; the extra last place stands for all outside.
    rank = np.full(flat.size, count, np.int32)
    rank[voxels] = np.arange(count, dtype=np.int32)
    height = np.append(flat[voxels].astype(np.float32), np.float32(np.inf))
    lowest, target = height[:-1].copy(), np.arange(count, dtype=np.int32)
    for offset in offsets:
        neighbour = rank[voxels + offset]
        value = height[neighbour]
        lower = (value < lowest) | ((value == lowest) & (neighbour < target))
        np.copyto(lowest, value, where=lower)
        np.copyto(target, neighbour, where=lower)
    # Pointer doubling: each round halves what is left of every path.
    while True:
        further = target[target]
        if np.array_equal(further, target):
            return voxels[target]
        target = further


class _Clusters:
    """Voxels grouped by the minimum they slide to, stored one cluster after the other."""

    def __init__(self, voxels: np.ndarray, roots: np.ndarray, shape: tuple[int, ...]) -> None:
        order = np.argsort(roots, kind="stable")
        self.shape, self._voxels = shape, voxels[order]
        self.minima, self.sizes = np.unique(roots[order], return_counts=True)

    @property
    def positions(self) -> np.ndarray:
        """The minima, where the clusters concentrate: [n, 3] voxels (z, y, x)."""
        return np.stack(np.unravel_index(self.minima, self.shape), axis=1)

    def members(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices of the voxels of the `chosen` [n] clusters, and the cluster of each."""
        owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        kept = chosen[owner]
        return self._voxels[kept], owner[kept]


def enclosure(
    hu: np.ndarray, positions: np.ndarray, spacing: np.ndarray, config: CandidateConfig
) -> np.ndarray:
    """How far contrast and lung enclose each position [n, 3] of `hu`: a score in 0..1.

    Rays leave in all directions and end at contrast, at lung, or undecided after `reach_mm`. A
    central defect meets contrast everywhere; one that fills its vessel meets contrast at the ends
    and lung elsewhere; soft tissue of the mediastinum leaves most rays undecided; a speck in the
    lung meets no contrast. So the score is the share of decided pairs of opposite rays, halved
    by the lack of pairs that meet contrast at all.
    """
    travel = np.arange(1.0, config.reach_mm + 0.5)[:, None, None] * hemisphere(49) / spacing
    scores = np.zeros(len(positions))
    for block in range(0, len(positions), 8192):
        start = positions[block : block + 8192]
        one, two = _ray_ends(hu, start, travel, config), _ray_ends(hu, start, -travel, config)
        decided = ((one != OPEN) & (two != OPEN)).mean(axis=1)
        contrast = ((one == BRIGHT) | (two == BRIGHT)).mean(axis=1)
        scores[block : block + 8192] = decided * (0.5 + 0.5 * contrast)
    return scores


OPEN, BRIGHT, DARK = 0, 1, 2


def _ray_ends(
    hu: np.ndarray, start: np.ndarray, travel: np.ndarray, config: CandidateConfig
) -> np.ndarray:
    """What each ray meets first: OPEN, BRIGHT or DARK, [n, rays]; travel is [steps, rays, 3]."""
    shape, steps = hu.shape, len(travel)
    points = np.rint(start[:, None, None] + travel).astype(np.int32)
    points = np.clip(points, 0, np.array(shape) - 1)
    values = hu[points[..., 0], points[..., 1], points[..., 2]]
    bright, dark = values > config.contrast, values < config.low - 150
    first_bright = np.where(bright.any(axis=1), bright.argmax(axis=1), steps)
    first_dark = np.where(dark.any(axis=1), dark.argmax(axis=1), steps)
    met = np.where(first_bright < first_dark, BRIGHT, DARK)
    return np.where(first_bright == first_dark, OPEN, met).astype(np.int8)


def hemisphere(count: int) -> np.ndarray:
    """Unit vectors [count, 3] spread evenly over a half sphere (a Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    z, turn = k / count, np.pi * (1 + np.sqrt(5)) * k
    ring = np.sqrt(1 - z**2)
    return np.stack([z, ring * np.cos(turn), ring * np.sin(turn)], axis=1)


def _merge(
    clusters: _Clusters,
    scores: np.ndarray,
    spacing: np.ndarray,
    offset: np.ndarray,
    config: CandidateConfig,
) -> list[Candidate]:
    """Join enclosed clusters that touch, drop specks, and keep the best candidates.

    Noise splits a clot into several minima, and only together do they show its middle and its
    size. What is not enclosed is left out first: it would join clots through soft tissue.
    """
    enclosed = scores >= config.min_score
    voxels, owner = clusters.members(enclosed)
    mask = np.zeros(clusters.shape, bool)
    mask.ravel()[voxels] = True
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    label = labels.ravel()[voxels] - 1
    best = np.zeros(count)
    np.maximum.at(best, label, scores[owner])
    size = np.bincount(label, minlength=count)
    best[size * spacing.prod() < config.min_volume_mm3] = 0
    # Equal scores are common: the larger candidate goes first.
    order = np.lexsort((-size, -best))[: config.max_candidates]
    by_label = np.argsort(label, kind="stable")
    first = np.concatenate([[0], np.cumsum(size)])
    candidates = []
    for k in order[best[order] > 0]:
        flat = voxels[by_label[first[k] : first[k + 1]]]
        cluster = np.stack(np.unravel_index(flat, clusters.shape), axis=1)
        position = (_medoid(cluster, spacing) + offset).astype(float)
        candidates.append(Candidate(position, (cluster + offset).astype(np.int32), float(best[k])))
    return candidates


def _medoid(cluster: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The voxel of a cluster nearest to its centroid."""
    gap = ((cluster - cluster.mean(axis=0)) * spacing) ** 2
    return cluster[gap.sum(axis=1).argmin()]


def _bounding_box(
    coarse: np.ndarray, step: np.ndarray, shape: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    """The voxels that a mask on the coarse grid spans, with a margin."""
    box = ndimage.find_objects(coarse.astype(np.uint8))[0]
    z, y, x = (
        slice(max((s.start - 1) * int(h), 0), min((s.stop + 1) * int(h), n))
        for s, h, n in zip(box, step, shape, strict=True)
    )
    return z, y, x


def _near_contrast(
    hu: np.ndarray,
    cavity: np.ndarray,
    crop: tuple[slice, slice, slice],
    step: np.ndarray,
    spacing: np.ndarray,
    config: CandidateConfig,
) -> np.ndarray:
    """Voxels of the cavity within `reach_mm` of contrast; distances on the coarse grid."""
    bright = hu[:: step[0], :: step[1], :: step[2]] > config.contrast
    axes = [np.arange(n) // h for n, h in zip(hu.shape, step, strict=True)]
    starts = [s.start // int(h) for s, h in zip(crop, step, strict=True)]
    inside = cavity[np.ix_(*(np.arange(n) + a for n, a in zip(bright.shape, starts, strict=True)))]
    bright &= inside
    if not bright.any():
        return np.zeros(hu.shape, bool)
    distance = ndimage.distance_transform_edt(~bright, sampling=spacing * step)
    return ((distance <= config.reach_mm) & inside)[np.ix_(*axes)]


def _slide_out_walls(
    hu: np.ndarray, region: np.ndarray, spacing: np.ndarray, config: CandidateConfig
) -> np.ndarray:
    """Flat indices of the region without the walls of vessels.

    Partial volume makes a rim about one voxel wide between a vessel and the lung whose HU fall in
    the range of an embolus: it slides out into the lung. Left in place, it would be a slope down
    which an embolus that touches the wall slides out as well.
    """
    reach = np.maximum(np.floor(config.wall_mm / spacing), 1).astype(int)
    for axis, width in enumerate(reach):
        edge = np.moveaxis(region, axis, 0)
        edge[:width] = edge[-width:] = False
    voxels = np.flatnonzero(region)
    flat = hu.ravel()
    wall = np.zeros(len(voxels), bool)
    strides = np.array([hu.shape[1] * hu.shape[2], hu.shape[2], 1])
    for offset in _ball(reach, spacing, config.wall_mm) @ strides:
        wall |= flat[voxels + offset] < config.low
    return voxels[~wall]


def _ball(reach: np.ndarray, spacing: np.ndarray, radius: float) -> np.ndarray:
    """Voxel offsets [n, 3] within `radius` mm, and the six nearest in any case."""
    grid = np.indices(tuple((2 * reach + 1).tolist())).reshape(3, -1).T - reach
    near = np.linalg.norm(grid * spacing, axis=1) <= radius
    return grid[near | (np.abs(grid).sum(axis=1) == 1)]
