"""The chest of a phantom CTPA: where lungs, heart, vessels and airways lie, and their tissue.

Coordinates are mm in array order: z towards the head, y towards the back, x towards the
patient's left (DICOM's LPS axes). Positions scale with the field of view; vessel radii are those
of an adult, and shrink only in fields of view under about 19 cm.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medtune_jax.phantoms.ctpa.shapes import (
    Box,
    capsule_distances,
    coverage,
    ellipsoid_distance,
    grid,
)
from medtune_jax.phantoms.ctpa.tree import Tree, grow, murray_daughters, perpendicular

Fractions = tuple[float, float, float]

# Centre and semi-axes as fractions of the field of view (z, y, x).
BODY = ((0.5, 0.5, 0.5), (4.0, 0.44, 0.48))
LUNGS = (((0.5, 0.5, 0.27), (0.62, 0.31, 0.18)), ((0.5, 0.5, 0.73), (0.62, 0.31, 0.18)))
HEART = ((0.28, 0.42, 0.56), (0.22, 0.19, 0.17))
ATRIUM = ((0.42, 0.58, 0.52), (0.09, 0.06, 0.10))

AIR, LUNG, FAT, MUSCLE, SOFT, BONE, MYOCARDIUM = -1000, -860, -100, 55, 40, 420, 90


@dataclass(frozen=True)
class Anatomy:
    """Vessel and airway trees of one patient, in mm, and their contrast in HU."""

    arteries: Tree
    veins: Tree
    airways: Tree
    great_vessels: Tree
    artery_hu: float
    vein_hu: float


class Lungs:
    """The two lungs: ellipsoids less the heart's."""

    def __init__(self, extent: np.ndarray) -> None:
        self._pairs = [(np.array(c) * extent, np.array(s) * extent) for c, s in LUNGS]
        self._heart = (np.array(HEART[0]) * extent, np.array(HEART[1]) * extent * 1.05)

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Whether [..., 3] points (mm) lie well inside a lung."""

        def level(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
            return (((points - pair[0]) / pair[1]) ** 2).sum(axis=-1)

        lung = np.minimum(level(self._pairs[0]), level(self._pairs[1])) < 0.86
        return lung & (level(self._heart) > 1.05)

    def cover(self, box: Box, spacing: np.ndarray, voxel: float) -> np.ndarray:
        """Share of each voxel of the box that is lung."""
        lung = np.minimum(*(ellipsoid_distance(c, s, box, spacing) for c, s in self._pairs))
        heart = ellipsoid_distance(*self._heart, box, spacing)
        return coverage(np.maximum(lung, -heart), voxel)


def make_anatomy(extent: np.ndarray, rng: np.random.Generator) -> Anatomy:
    """Grow the vessels and airways of one patient in a field of view of `extent` mm (z, y, x)."""
    lungs = Lungs(extent)
    arteries = _arteries(extent, lungs, rng)
    return Anatomy(
        arteries=arteries,
        veins=_veins(extent, lungs, arteries, rng),
        airways=_airways(extent, arteries, rng),
        great_vessels=_great_vessels(extent),
        artery_hu=rng.uniform(270, 350),
        vein_hu=rng.uniform(190, 270),
    )


def _stem(points: list[Fractions], radii: list[float], extent: np.ndarray) -> Tree:
    """A chain of segments through points given as fractions of the field of view."""
    p = np.array(points) * extent
    r = np.array(radii)
    parent = np.arange(-1, len(p) - 2)
    return Tree(p[:-1], p[1:], np.stack([r[:-1], r[1:]], axis=1), parent)


def _arteries(extent: np.ndarray, lungs: Lungs, rng: np.random.Generator) -> Tree:
    """Pulmonary trunk, its bifurcation, and a tree in each lung."""
    trunk_radius = float(np.clip(0.052 * extent[2], 3.5, 13))
    fork, jitter = np.array([0.58, 0.47, 0.51]), rng.normal(0, 0.01, (3, 3))
    trunk = _stem([(0.40, 0.36, 0.55), tuple(fork)], [trunk_radius] * 2, extent)
    (right, left), _ = murray_daughters(trunk_radius, 0.53)
    tree = trunk
    for side, radius, row in ((-1, right, 1), (1, left, 2)):
        hilum = np.array([0.56 + 0.03 * side, 0.52, 0.51 + 0.14 * side]) + jitter[row]
        start, end = fork * extent, hilum * extent
        branch = grow(
            start, end, radius, lungs.inside, rng, max_length=0.11 * extent[2], avoid=tree
        )
        root = len(tree)
        tree = tree.joined(branch)
        tree.parent[root] = 0
    return tree


def _veins(extent: np.ndarray, lungs: Lungs, arteries: Tree, rng: np.random.Generator) -> Tree:
    """Four pulmonary veins from the left atrium, grown where the arteries leave room."""
    atrium = np.array(ATRIUM[0])
    radius = 0.5 * arteries.radius[0, 0]
    veins: Tree | None = None
    for side in (-1, 1):
        for up in (-0.09, 0.07):
            tip = (atrium + np.array([up, 0.02, side * 0.16])) * extent
            taken = arteries if veins is None else arteries.joined(veins)
            start = (atrium + np.array([0, 0, side * 0.05])) * extent
            branch = grow(
                start, tip, radius, lungs.inside, rng, max_length=0.11 * extent[2], avoid=taken
            )
            veins = branch if veins is None else veins.joined(branch)
    assert veins is not None
    return veins


def _airways(extent: np.ndarray, arteries: Tree, rng: np.random.Generator) -> Tree:
    """Trachea, main bronchi, and a bronchus along each artery wider than 2.4 mm."""
    caliber = 0.7 * arteries.radius[0, 0]
    carina = (0.66, 0.58, 0.5)
    trachea = _stem([(1.02, 0.56, 0.5), carina], [caliber] * 2, extent)
    mains = [_stem([carina, (0.58, 0.60, x)], [0.7 * caliber] * 2, extent) for x in (0.36, 0.64)]
    wide = np.flatnonzero(arteries.radius[:, 0] > 1.2)[3:]
    radius = 0.8 * arteries.radius[wide]
    angle = rng.uniform(0, 2 * np.pi)
    beside = np.array([perpendicular(d, angle) for d in arteries.direction[wide]])
    offset = beside * (arteries.radius[wide, :1] + radius[:, :1] + 1.2)
    companions = Tree(
        arteries.start[wide] + offset,
        arteries.end[wide] + offset,
        radius,
        np.full(len(wide), -1),
    )
    return trachea.joined(mains[0]).joined(mains[1]).joined(companions)


def _great_vessels(extent: np.ndarray) -> Tree:
    """Ascending and descending aorta, and the superior vena cava."""
    r = float(np.clip(0.06 * extent[2], 4, 14))
    ascending = _stem([(0.40, 0.40, 0.46), (0.75, 0.38, 0.45)], [1.1 * r, r], extent)
    arch = _stem([(0.75, 0.38, 0.45), (0.80, 0.50, 0.53), (0.72, 0.66, 0.56)], [r] * 3, extent)
    descending = _stem([(0.72, 0.66, 0.56), (-0.02, 0.70, 0.55)], [0.85 * r] * 2, extent)
    cava = _stem([(1.02, 0.42, 0.41), (0.45, 0.46, 0.40)], [0.6 * r] * 2, extent)
    return ascending.joined(arch).joined(descending).joined(cava)


def blend(image: np.ndarray, box: Box, cover: np.ndarray, value: np.ndarray | float) -> None:
    """Composite `value` over the image in place, by the share `cover` of each voxel."""
    view = image[box]
    view += cover * (np.float32(value) - view)


def paint_chest(
    shape: tuple[int, int, int], spacing: np.ndarray, anatomy: Anatomy, rng: np.random.Generator
) -> np.ndarray:
    """Tissue without pulmonary arteries: float32 HU [z, y, x]."""
    extent, voxel = np.array(shape) * spacing, float(spacing.mean())
    whole: Box = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    image = np.full(shape, AIR, np.float32)

    def organ(centre: Fractions, semi: Fractions, scale: float = 1.0) -> np.ndarray:
        semi_mm = np.array(semi) * extent * scale
        return coverage(
            ellipsoid_distance(np.array(centre) * extent, semi_mm, whole, spacing), voxel
        )

    blend(image, whole, organ(*BODY), FAT)
    blend(image, whole, organ(*BODY, scale=0.94), MUSCLE)
    _paint_bones(image, whole, extent, spacing, voxel)
    blend(image, whole, organ((0.5, 0.5, 0.5), (4.0, 0.33, 0.20)), SOFT)
    # Mediastinal fat lies in lobules between the organs, at a correlation length of about 4 mm.
    lobules = _texture(shape, spacing, 4.0, rng) > 0.8
    blend(image, whole, organ((0.5, 0.5, 0.5), (4.0, 0.31, 0.18)) * lobules, FAT)

    lungs = Lungs(extent)
    depth = grid(whole, spacing)[1] / np.float32(extent[1])
    parenchyma = LUNG + 22 * _texture(shape, spacing, 2.5, rng) + 60 * (depth - 0.5)
    blend(image, whole, lungs.cover(whole, spacing, voxel), parenchyma)
    blend(image, whole, organ(*HEART), MYOCARDIUM)
    blend(image, whole, organ(*HEART, scale=0.78), anatomy.vein_hu)
    blend(image, whole, organ(*ATRIUM), anatomy.vein_hu)

    paint_tubes(image, spacing, anatomy.airways, 20, wall=1.0)
    paint_tubes(image, spacing, anatomy.airways, -980)
    paint_tubes(image, spacing, anatomy.veins, anatomy.vein_hu)
    paint_tubes(image, spacing, anatomy.great_vessels, anatomy.vein_hu + 30)
    return image


def paint_tubes(
    image: np.ndarray, spacing: np.ndarray, tree: Tree, value: float, wall: float = 0.0
) -> None:
    """Composite every segment of a tree, `wall` mm wider than it is, at `value` HU."""
    voxel, radius = float(spacing.mean()), tree.radius + wall
    for _, box, distance in capsule_distances(tree.start, tree.end, radius, image.shape, spacing):
        blend(image, box, coverage(distance, voxel), value)


def _paint_bones(
    image: np.ndarray, whole: Box, extent: np.ndarray, spacing: np.ndarray, voxel: float
) -> None:
    """Vertebral column, sternum, and ribs: a shell around the lungs, cut by tilted planes."""
    z, y, _ = grid(whole, spacing)
    centre, semi = np.array(BODY[0]) * extent, np.array(BODY[1]) * extent * 0.86
    shell = np.abs(ellipsoid_distance(centre, semi, whole, spacing)) - 3
    pitch = 24.0
    plane = np.abs(np.mod(z + 0.5 * (extent[1] - y), pitch) - pitch / 2) - 5
    blend(image, whole, coverage(np.maximum(shell, plane), voxel), BONE)
    spine = Tree(
        np.array([[-20, 0.84, 0.5], [-20, 0.13, 0.5]]) * [1, extent[1], extent[2]],
        np.array([[2, 0.84, 0.5], [2, 0.13, 0.5]]) * extent,
        np.array([[0.07, 0.07], [0.03, 0.03]]) * extent[1],
        np.array([-1, -1]),
    )
    paint_tubes(image, spacing, spine, 0.6 * BONE)


def _texture(
    shape: tuple[int, ...], spacing: np.ndarray, length_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """Gaussian random field of unit variance with the given correlation length."""
    field = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(field, length_mm / 2 / spacing, mode="wrap")
    return field / field.std()
