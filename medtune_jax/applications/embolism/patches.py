"""The planes in which a network sees a candidate, in every variant.

A frame of reference (a centre and three axes) and a tuple of planes make a representation. The
vessel-aligned one takes the vessel's own axes and two planes, its cross-section and its
longitudinal section (Tajbakhsh et al. 2016, II-B); the orthogonal one takes the body's axes and
three planes: axial, sagittal and coronal. Both yield affine maps from pixels to voxels, so one
sampler serves them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict
from scipy import ndimage

from medtune_jax.applications.embolism.vessel import Frame
from medtune_jax.errors import UserError
from medtune_jax.fields import items
from medtune_jax.patches import Planes, padded

if TYPE_CHECKING:
    from medtune_jax.applications.embolism.cases import Patient

# Each plane is spanned by two axes of the frame: (down the rows, along the columns).
PLANES = {
    "vessel": ((1, 2), (0, 1)),
    "orthogonal": ((1, 2), (0, 1), (0, 2)),
}
AIR_HU = -1024
REDUCTIONS = ("emboli", "patients")


@dataclass(frozen=True)
class PatchGrid:
    """The variants of one candidate's image: every width x shift x rotation.

    widths_mm: physical widths of the square patch; shifts: along the first axis of the frame, as
    a share of the width; rotations: how many further images turn about that axis, evenly over a
    full turn; size: pixels per side. The paper's factors do not multiply out to its totals, so
    each is a field.
    """

    widths_mm: tuple[float, ...] = (10.0, 15.0, 20.0)
    shifts: tuple[float, ...] = (-0.2, 0.0, 0.2)
    rotations: int = 5
    size: int = 227

    @property
    def variants(self) -> int:
        """Images per candidate."""
        return len(self.widths_mm) * len(self.shifts) * (self.rotations + 1)

    @property
    def reach_mm(self) -> float:
        """The farthest that a pixel lies from its candidate."""
        shift = max(abs(s) for s in self.shifts)
        return max(self.widths_mm) * max(np.hypot(0.5 + shift, 0.5), np.hypot(shift, np.sqrt(0.5)))


def patch_grid(data: ConfigDict, size: int) -> PatchGrid:
    """The variants of a candidate; UserError for settings that make no sense."""
    for field, known in (("representation", PLANES), ("reduce", REDUCTIONS)):
        if data[field] not in known:
            raise UserError(f"data.{field} is '{data[field]}': use {' or '.join(known)}")
    if data.rotations < 0:
        raise UserError(f"data.rotations is {data.rotations}: give 0 or more")
    if not data.window[0] < data.window[1]:
        raise UserError(f"data.window is {tuple(data.window)}: give (black, white) in HU")
    widths = _numbers(data.widths_mm, "data.widths_mm", lambda width: 0 < width <= 200)
    shifts = _numbers(data.shifts, "data.shifts", lambda shift: abs(shift) <= 1)
    return PatchGrid(widths, shifts, data.rotations, size)


def planes(
    patients: Mapping[str, Patient],
    representation: str,
    grid: PatchGrid,
    window: tuple[float, float],
) -> Planes:
    """The images of all candidates: patients, then candidates, then variants."""
    affines = [
        plane_affines(p.frame(k, representation), tuple(p.spacing), representation, grid)
        for p in patients.values()
        for k in range(len(p))
    ]
    cut = [
        block[tuple(slice(n) for n in shape)]
        for p in patients.values()
        for block, shape in zip(p.blocks, p.shapes, strict=True)
    ]
    blocks, shapes = padded(cut)
    source = np.repeat(np.arange(len(cut), dtype=np.int32), grid.variants)
    return Planes(blocks, shapes, source, np.concatenate(affines), grid.size, window)


def plane_affines(
    frame: Frame,
    spacing: tuple[float, float, float],
    representation: str,
    grid: PatchGrid,
) -> np.ndarray:
    """Sampling recipes of one candidate: float32 [variants, planes, 3, 3].

    Each matrix maps a pixel (row, column, 1) to voxel coordinates (z, y, x); its columns are the
    step per row, the step per column, and the voxel of pixel (0, 0). Pixel centres are width / size
    mm apart, and the middle of the grid is the candidate. Variants run over widths, then shifts,
    then rotations; the planes, in `PLANES`, are the channels.
    """
    turns = 2 * np.pi * np.arange(grid.rotations + 1) / (grid.rotations + 1)
    axes = np.stack([_turned(frame.axes, turn) for turn in turns])
    span = np.array(PLANES[representation])
    # Steps of one mm, in voxels: [rotations, planes, 3].
    down, along = axes[:, span[:, 0]] / spacing, axes[:, span[:, 1]] / spacing
    affines = [
        _plane(down, along, frame.centre + shift * width * frame.axes[0] / spacing, width, grid)
        for width in grid.widths_mm
        for shift in grid.shifts
    ]
    return np.concatenate(affines).astype(np.float32)


def sample_planes(hu: np.ndarray, affines: np.ndarray, size: int) -> np.ndarray:
    """Trilinear samples float32 [..., size, size] of `hu` at affines [..., 3, 3]; air outside.

    The reference in numpy for the sampler on the device.
    """
    rows, columns = np.mgrid[:size, :size]
    pixels = np.stack([rows, columns, np.ones_like(rows)]).reshape(3, -1)
    voxels = np.moveaxis(affines.astype(np.float64) @ pixels, -2, 0)
    values = ndimage.map_coordinates(
        hu, voxels, output=np.float32, order=1, mode="constant", cval=AIR_HU
    )
    return values.reshape(*affines.shape[:-2], size, size)


def _plane(
    down: np.ndarray, along: np.ndarray, middle: np.ndarray, width: float, grid: PatchGrid
) -> np.ndarray:
    pixel = width / grid.size
    row, column = pixel * down, pixel * along
    origin = middle - (grid.size - 1) / 2 * (row + column)
    return np.stack([row, column, origin], axis=-1)


def _turned(axes: np.ndarray, angle: float) -> np.ndarray:
    """The axes after a turn of the second and third about the first."""
    first, second, third = axes
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([first, cosine * second + sine * third, cosine * third - sine * second])


def _numbers(text: str, field: str, fits: Callable[[float], bool]) -> tuple[float, ...]:
    """'10, 15' -> (10.0, 15.0); UserError unless every number fits."""
    try:
        values = tuple(map(float, items(str(text))))
    except ValueError:
        values = ()
    if not values or not all(map(fits, values)):
        raise UserError(f"{field} is '{text}': give numbers separated by commas, in range")
    return values
