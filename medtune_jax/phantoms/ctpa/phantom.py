"""Assemble a phantom CTPA: tissue, contrast, emboli and mimics, then the scanner."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medtune_jax.phantoms.ctpa.anatomy import HEART, Anatomy, make_anatomy, paint_chest
from medtune_jax.phantoms.ctpa.emboli import (
    Embolus,
    Mimic,
    mix_flow,
    move_heart,
    paint_dim_veins,
    paint_emboli,
    paint_nodes,
    place_emboli,
)
from medtune_jax.phantoms.ctpa.shapes import capsule_distances, coverage


@dataclass(frozen=True)
class Phantom:
    """A synthetic CTPA with its truth.

    hu: int16 [z, y, x]; labels: uint8 [z, y, x], 0 background, k the k-th embolus;
    spacing: mm (z, y, x). Positions of emboli and mimics are mm from the centre of voxel
    (0, 0, 0), in array order: divide by `spacing` for voxels.
    """

    hu: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    emboli: tuple[Embolus, ...]
    mimics: tuple[Mimic, ...]
    anatomy: Anatomy


def ctpa_phantom(
    seed: int,
    shape: tuple[int, int, int] = (96, 160, 160),
    spacing: tuple[float, float, float] = (1.5, 1.2, 1.2),
    emboli: int = 4,
    noise_hu: float = 18.0,
    mimics: int = 4,
) -> Phantom:
    """A seeded phantom CTPA of a chest.

    Args:
      seed: same seed, same voxels.
      shape: voxels (z, y, x).
      spacing: mm (z, y, x); shape x spacing is the field of view (14 x 19 x 19 cm by default).
      emboli: how many filling defects, of the four kinds in turn; 0 for a healthy patient.
      noise_hu: standard deviation of the noise after the smooth reconstruction kernel.
      mimics: how many of each kind of look-alike (nodes, dim veins, unmixed blood).

    Raises UserError where the field of view cannot hold so many emboli.
    """
    rng = np.random.default_rng(seed)
    mm = np.array(spacing, float)
    extent = np.array(shape) * mm
    anatomy = make_anatomy(extent, rng)
    arteries = anatomy.arteries
    defects = place_emboli(arteries, extent, mm, emboli, rng)

    image = paint_chest(shape, mm, anatomy, rng)
    lookalikes = paint_nodes(image, mm, arteries, mimics, rng)
    lookalikes += paint_dim_veins(image, mm, arteries, mimics, rng)

    cover = np.zeros(shape, np.float32)
    segments = (arteries.start, arteries.end, arteries.radius)
    for _, box, distance in capsule_distances(*segments, shape, mm):
        np.maximum(cover[box], coverage(distance, float(mm.mean())), out=cover[box])
    lumen = np.full(shape, anatomy.artery_hu, np.float32)
    lookalikes += mix_flow(lumen, mm, arteries, defects, mimics // 2, rng)
    labels = paint_emboli(lumen, cover, mm, defects)
    image += cover * (lumen - image)
    del cover, lumen

    beside_heart = (np.array(HEART[0]) + np.array([0.02, 0.05, 0.17])) * extent
    image, motion = move_heart(image, mm, beside_heart, 0.12 * float(extent[2]))
    hu = scan(image, mm, noise_hu, rng)
    return Phantom(hu, labels, spacing, tuple(defects), (*lookalikes, motion), anatomy)


def scan(
    image: np.ndarray, spacing: np.ndarray, noise_hu: float, rng: np.random.Generator
) -> np.ndarray:
    """Blur by the scanner's point spread (0.6 mm) and add noise with a smooth kernel (0.8 mm)."""
    blurred = ndimage.gaussian_filter(image, 0.6 / spacing)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, 0.8 / spacing, mode="wrap")
    blurred += noise * np.float32(noise_hu / noise.std())
    return np.clip(np.rint(blurred), -1024, 3071).astype(np.int16)
