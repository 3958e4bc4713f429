"""The vessel at a candidate: its own axes, in which a network sees it (Tajbakhsh et al. 2016, II-B)."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medtune_jax.applications.embolism.candidates import Candidate, hemisphere
from medtune_jax.datasets.ct.grid import Volume

# The vessel's middle and radius are looked for this near to a candidate.
NEAR_MM = 3.0


@dataclass(frozen=True)
class VesselConfig:
    """Settings of the vessel's axes; HU and mm.

    subvolume_mm: width of the local sub-volume (about 15 mm in the paper).
    threshold: HU from which a voxel is contrast-filled vessel (about 100 in the paper).
    solid: HU from which a voxel is no lung; in the lung, vessel and clot are what is solid.
    crowded: where solid tissue fills more than this share of the sub-volume, there is soft tissue
      around the vessel, and only `threshold` and the cluster tell the vessel.
    close_mm: a clot's hollows in the thresholded vessel are closed up to twice this width.
    line_radii, line_mm: half the length of the straight line that first looks for the axis, in
      vessel radii, and its bounds.
    weight_mm: voxels count by a Gaussian about the vessel's middle, whose deviation is the larger
      of so many mm and the vessel's radius: branches farther off must not bend the axis.
    tube_radii: voxels farther from the axis (in radii, plus 1 mm) are other branches.
    min_voxels: a component smaller than this shows no vessel.
    """

    subvolume_mm: float = 15.0
    threshold: float = 100.0
    solid: float = -100.0
    crowded: float = 0.5
    close_mm: float = 3.5
    line_radii: float = 2.5
    line_mm: tuple[float, float] = (4.0, 9.0)
    weight_mm: float = 2.0
    tube_radii: float = 0.8
    min_voxels: int = 20


@dataclass(frozen=True)
class Frame:
    """A centre (voxels z, y, x) and three orthonormal axes (rows, in mm z, y, x).

    For a vessel: v1 along it, v2 and v3 across; `variances` are those of the vessel's voxels
    along the axes (mm^2), `radius_mm` is its largest inscribed radius. Where no vessel is
    found the axes are the body's and `found` is False.
    """

    centre: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    radius_mm: float
    found: bool


def body_frame(candidate: Candidate) -> Frame:
    """The body's own axes (z, y, x) at a candidate: the frame of orthogonal slices."""
    return Frame(np.asarray(candidate.position, float), np.eye(3), np.ones(3), 0.0, False)


def vessel_frame(volume: Volume, candidate: Candidate, config: VesselConfig | None = None) -> Frame:
    """Centre and axes of the vessel at a candidate, by PCA of the voxels along it.

    The paper takes the component of voxels above a threshold together with the candidate's
    cluster. A clot that fills or lines its vessel leaves most of itself out of both, which bends
    the axis, so here the component is of all solid voxels where lung surrounds the vessel, and of
    the paper's, closed, elsewhere. PCA of a whole component points between the vessels of a
    branching, so it is confined to a tube about the straight line that runs deepest inside the
    component. Where there is no component, the body's axes with `found` False.
    """
    config = config or VesselConfig()
    spacing, position = np.array(volume.spacing), np.asarray(candidate.position, float)
    # Twice the sub-volume's radius, so that its border does not cut wide vessels.
    low, local = around(volume.hu, position, config.subvolume_mm / spacing)
    offsets = (np.moveaxis(np.indices(local.shape), 0, -1) + low - position) * spacing
    distance = np.linalg.norm(offsets, axis=-1)
    seed = tuple(np.rint(position).astype(int) - low)

    vessel = _component(local > config.solid, seed)
    if vessel[distance <= config.subvolume_mm / 2].mean() > config.crowded:
        bright = local > config.threshold
        members = candidate.cluster - low
        members = members[((members >= 0) & (members < local.shape)).all(axis=1)]
        bright[tuple(members.T)] = True
        closed = _close(bright, config.close_mm, spacing)
        vessel = _component(bright | (closed & (local > config.solid)), seed)
    if vessel.sum() < config.min_voxels:
        return body_frame(candidate)

    # Beyond the box the vessel goes on as at its faces.
    depth = ndimage.distance_transform_edt(np.pad(vessel, 1, "edge"), sampling=spacing)
    depth = depth[1:-1, 1:-1, 1:-1]
    ridge = np.where(distance <= NEAR_MM, depth, 0)
    radius = float(ridge.max())
    # The middle of the vessel beside the candidate, which may hang on its wall.
    middle = offsets[np.unravel_index(np.argmax(ridge - 0.3 * distance), ridge.shape)]
    half = float(np.clip(config.line_radii * radius, *config.line_mm))
    line = _deepest_line(np.minimum(depth, radius), position - low, middle, half, spacing)
    points = offsets[vessel] - middle
    width = max(config.weight_mm, radius)
    axes, variances = _tube_axes(points, line, config.tube_radii * radius + 1, half + 1, width)
    return Frame(position, axes, variances, radius, True)


def around(
    hu: np.ndarray, position: np.ndarray, reach: np.ndarray, margin: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The first voxel (z, y, x) and the values of the box within `reach` and a margin (voxels) of a position."""
    middle, steps = np.rint(position).astype(int), np.ceil(reach).astype(int) + margin
    low = np.maximum(middle - steps, 0)
    high = np.minimum(middle + steps + 1, hu.shape)
    return low, hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]]


def _component(mask: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """The 26-connected component at the seed; empty where the seed is not in the mask."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return (labels == labels[seed]) & mask[seed]


def _close(mask: np.ndarray, radius: float, spacing: np.ndarray) -> np.ndarray:
    """Morphological closing by a ball of `radius` mm."""
    if not mask.any():
        return mask
    # Beyond the box the mask goes on as at its faces.
    dilated = np.pad(ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius, 1, "edge")
    if dilated.all():
        return np.ones_like(mask)
    return (ndimage.distance_transform_edt(dilated, sampling=spacing) > radius)[1:-1, 1:-1, 1:-1]


def _deepest_line(
    depth: np.ndarray, position: np.ndarray, middle: np.ndarray, half: float, spacing: np.ndarray
) -> np.ndarray:
    """The direction in which a straight line through `middle` runs deepest inside a vessel.

    depth: mm to the nearest voxel outside [z, y, x]; position: voxels; middle: mm from it; half:
    half the line's length in mm. Returns a unit vector (mm z, y, x).
    """
    directions = hemisphere(600)
    travel = np.arange(-half, half + 0.1, 0.75)[:, None]
    points = position + (middle + travel[:, None] * directions) / spacing
    depths = ndimage.map_coordinates(
        depth, np.moveaxis(points, -1, 0), output=np.float32, order=1, mode="nearest"
    )
    return directions[depths.mean(axis=0).argmax()]


def _tube_axes(
    points: np.ndarray, line: np.ndarray, tube: float, half: float, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes and variances of the points [n, 3] within `tube` and `half` mm of a line.

    The line runs through the origin; points count by a Gaussian of deviation `width` about it.
    """
    along = points @ line
    aside = np.linalg.norm(points - np.outer(along, line), axis=1)
    inside = points[(aside <= tube) & (np.abs(along) <= half)]
    weights = np.exp(-0.5 * (inside**2).sum(axis=1) / width**2)
    covariance = np.cov(inside.T, aweights=weights, ddof=0)
    variances, vectors = np.linalg.eigh(covariance)
    axes = vectors.T[::-1].copy()
    # Signs are arbitrary: fix them, and make the axes right-handed.
    for row in axes[:2]:
        row *= np.sign(row[np.abs(row).argmax()])
    axes[2] = np.cross(axes[0], axes[1])
    return axes, variances[::-1].copy()
