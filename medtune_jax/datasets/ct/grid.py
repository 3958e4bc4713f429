"""One canonical grid for every CT volume: axes (z, y, x) towards head, back and left, HU, mm.

These are DICOM's patient (LPS) axes in numpy order, so an axial slice is `hu[k]`, drawn as
radiologists see it: front up, the patient's right side on the left.
"""

from dataclasses import dataclass

import numpy as np

from medtune_jax.errors import UserError

# Direction cosines may miss a signed permutation by this much (about one degree).
OBLIQUE_TOLERANCE = 0.02
# mm of pixels, and from slice to slice: what scanners make (docs/data-pixels.md), and resampled volumes.
PIXELS_MM = (0.1, 5.0)
SLICES_MM = (0.1, 20.0)


@dataclass(frozen=True)
class Volume:
    """A CT volume on the canonical grid.

    hu: int16 [z, y, x], Hounsfield units; spacing: mm (z, y, x); origin: LPS position in mm
    (z, y, x) of the centre of voxel (0, 0, 0); patient: identifier, the unit of every split. notes:
    what a person should know of how its files were read.
    """

    hu: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    patient: str
    notes: tuple[str, ...] = ()

    @property
    def affine(self) -> np.ndarray:
        """4 x 4 map from voxel (z, y, x, 1) to LPS mm (z, y, x, 1)."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine


Triple = tuple[float, float, float]


def canonical(
    array: np.ndarray, affine: np.ndarray, name: str
) -> tuple[np.ndarray, Triple, Triple]:
    """Permute and flip a 3-D array onto the canonical grid.

    Args:
      array: any 3-D array, indices (i, j, k).
      affine: 4 x 4 map from (i, j, k, 1) to LPS mm (x, y, z, 1).
      name: what to call the array in errors.

    Returns array [z, y, x], spacing and origin in mm (z, y, x). Raises UserError where the grid
    is oblique, sheared or singular, or its voxels are such as no scanner makes.
    """
    matrix = np.asarray(affine, float)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    if not np.isfinite(affine).all() or spacing.min() <= 0:
        raise UserError(f"{name} has no usable voxel spacing ({spacing.tolist()}): rewrite it.")
    cosines = matrix / spacing
    # The array axis that runs along each of z, y, x.
    order = np.abs(cosines).argmax(axis=1)[::-1]
    signs = np.sign(cosines[[2, 1, 0], order])
    straight = np.zeros((3, 3))
    straight[[2, 1, 0], order] = signs
    if np.abs(cosines - straight).max() > OBLIQUE_TOLERANCE:
        angle = np.degrees(np.arccos(np.clip(np.abs(cosines).max(axis=1).min(), -1, 1)))
        raise UserError(
            f"{name} is oblique: its axes lie {angle:.1f} degrees off the patient's axes; "
            "resample it to an axial grid first."
        )
    _require_plausible(spacing[order], name)
    corner = np.where(signs < 0, np.array(array.shape)[order] - 1, 0)
    index = np.zeros(4)
    index[order], index[3] = corner, 1
    origin = (np.asarray(affine, float) @ index)[[2, 1, 0]]
    flips = tuple(slice(None, None, -1) if s < 0 else slice(None) for s in signs)
    reordered = np.ascontiguousarray(array.transpose(order)[flips])
    return reordered, _triple(spacing[order]), _triple(origin)


def _require_plausible(spacing: np.ndarray, name: str) -> None:
    """spacing: mm (z, y, x)."""
    low, high = np.transpose([SLICES_MM, PIXELS_MM, PIXELS_MM])
    if ((spacing < low) | (spacing > high)).any():
        raise UserError(
            f"{name} states voxels of {' x '.join(f'{mm:g}' for mm in spacing)} mm (z, y, x), but CT has pixels of "
            f"{PIXELS_MM[0]:g} to {PIXELS_MM[1]:g} mm and slices {SLICES_MM[0]:g} to {SLICES_MM[1]:g} mm apart: "
            "correct it; is its unit mm?"
        )


def _triple(values: np.ndarray) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def to_int16(values: np.ndarray, name: str) -> np.ndarray:
    """Hounsfield units as int16, rounded; UserError where they are not finite or do not fit."""
    if not np.isfinite(values.min()) or not np.isfinite(values.max()):
        raise UserError(f"{name} holds values that are not finite: repair or rewrite it.")
    low, high = values.min(), values.max()
    if low < -32768 or high > 32767:
        raise UserError(
            f"{name} holds values from {low:g} to {high:g}, which are not Hounsfield units."
        )
    if np.issubdtype(values.dtype, np.floating):
        values = np.rint(values)
    return values.astype(np.int16)
