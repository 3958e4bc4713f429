"""Emboli as filling defects of the arterial lumen, and look-alikes that are none.

An embolus is a bundle of capsules subtracted from the contrast of the lumen: a central one hangs
in the stream, a saddle straddles a bifurcation, a mural one clings to one wall, a peripheral one
fills a small artery.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medtune_jax.errors import UserError
from medtune_jax.phantoms.ctpa.anatomy import blend
from medtune_jax.phantoms.ctpa.shapes import (
    box_around,
    capsule_distances,
    coverage,
    ellipsoid_distance,
)
from medtune_jax.phantoms.ctpa.tree import Tree, perpendicular

KINDS = ("central", "saddle", "peripheral", "mural")
# Radius (mm) of the arteries that carry each kind.
CALIBRES = {
    "central": (2.5, 9.0),
    "saddle": (3.0, 9.5),
    "peripheral": (1.5, 3.2),
    "mural": (3.0, 9.0),
}
SEPARATION_MM = 12.0
BORDER_MM = 9.0


@dataclass(frozen=True)
class Embolus:
    """One filling defect: its label in the mask, and the vessel that carries it.

    `vessels` are the indices of the arterial segments it lies in; `pieces` its own capsules
    (start and end [k, 3], radius [k]) in mm.
    """

    label: int
    kind: str
    hu: float
    centre: np.ndarray
    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    vessels: tuple[int, ...]


@dataclass(frozen=True)
class Mimic:
    """A structure that looks like an embolus and is none: its kind and centre in mm."""

    kind: str
    centre: np.ndarray


def place_emboli(
    arteries: Tree,
    extent: np.ndarray,
    spacing: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> list[Embolus]:
    """Choose `count` sites at least 12 mm apart, the four kinds in turn where vessels allow.

    Raises UserError where the field of view holds too few vessels.
    """
    # No reader marks what is not three voxels across.
    visible = 1.6 * float(spacing.max())
    sites = [(kind, i) for kind in KINDS for i in _sites(arteries, kind, extent, visible)]
    order = rng.permutation(len(sites))
    turn = np.roll(KINDS, -int(rng.integers(len(KINDS))))
    emboli: list[Embolus] = []
    while len(emboli) < count:
        wanted = str(turn[len(emboli) % len(KINDS)])
        free = [k for k in order if _is_free(arteries, sites[k][1], emboli)]
        if not free:
            raise UserError(
                f"The phantom has room for {len(emboli)} of {count} emboli: "
                "use a larger shape or spacing, or ask for fewer."
            )
        chosen = next((k for k in free if sites[k][0] == wanted), free[0])
        kind, segment = sites[chosen]
        emboli.append(_make_embolus(arteries, kind, segment, len(emboli) + 1, rng))
    return emboli


def _sites(arteries: Tree, kind: str, extent: np.ndarray, visible: float) -> list[int]:
    """Segments that can carry an embolus of one kind, well inside the field of view."""
    low, high = CALIBRES[kind]
    radius = arteries.radius.mean(axis=1)
    centre = arteries.end if kind == "saddle" else (arteries.start + arteries.end) / 2
    fits = (radius >= max(low, visible)) & (radius <= high) & (arteries.length > 3 * radius)
    fits &= ((centre > BORDER_MM) & (centre < extent - BORDER_MM)).all(axis=1)
    if kind == "saddle":
        daughters = np.bincount(arteries.parent[arteries.parent >= 0], minlength=len(arteries))
        fits &= daughters == 2
    return np.flatnonzero(fits).tolist()


def _is_free(arteries: Tree, segment: int, emboli: list[Embolus]) -> bool:
    points = np.stack([arteries.start[segment], arteries.end[segment]])
    points = np.concatenate([points, points.mean(axis=0, keepdims=True)])
    return all(
        np.linalg.norm(points - e.centre, axis=1).min() > SEPARATION_MM and segment not in e.vessels
        for e in emboli
    )


def _make_embolus(
    arteries: Tree, kind: str, segment: int, label: int, rng: np.random.Generator
) -> Embolus:
    r = float(arteries.radius[segment].mean())
    along, length = arteries.direction[segment], float(arteries.length[segment])
    middle = arteries.start[segment] + rng.uniform(0.4, 0.6) * length * along
    vessels: tuple[int, ...] = (segment,)
    if kind == "saddle":
        vessels = (segment, *np.flatnonzero(arteries.parent == segment).tolist())
        middle = arteries.end[segment]
        daughters = list(vessels[1:])
        reach = np.minimum(2.2 * arteries.radius[daughters, 0], 0.6 * arteries.length[daughters])
        end = middle + reach[:, None] * arteries.direction[daughters]
        start = np.repeat(middle[None], 2, axis=0)
        radius = np.full(2, rng.uniform(0.5, 0.65) * arteries.radius[daughters, 0].min())
    else:
        thickness, half_length, offset = {
            "central": (rng.uniform(0.5, 0.7), rng.uniform(1.0, 1.8), 0.0),
            "mural": (rng.uniform(0.55, 0.7), rng.uniform(1.2, 2.0), 0.5),
            "peripheral": (1.3, rng.uniform(1.5, 2.5), 0.0),
        }[kind]
        middle = middle + offset * r * perpendicular(along, rng.uniform(0, 2 * np.pi))
        half = min(half_length * r, 0.4 * length) * along
        start, end = (middle - half)[None], (middle + half)[None]
        radius = np.array([thickness * r])
    hu = rng.uniform(30, 70)
    return Embolus(label, kind, hu, middle, start, end, radius, vessels)


def paint_emboli(
    lumen: np.ndarray, artery_cover: np.ndarray, spacing: np.ndarray, emboli: list[Embolus]
) -> np.ndarray:
    """Lower the HU of the lumen in place where emboli lie; returns their labels, uint8."""
    voxel = float(spacing.mean())
    labels = np.zeros(lumen.shape, np.uint8)
    for e in emboli:
        capsules = (e.start, e.end, np.stack([e.radius, e.radius], axis=1))
        for _, box, distance in capsule_distances(*capsules, lumen.shape, spacing):
            cover = coverage(distance, voxel)
            blend(lumen, box, cover, e.hu)
            labels[box][(cover > 0.5) & (artery_cover[box] > 0.5)] = e.label
    return labels


def paint_nodes(
    image: np.ndarray,
    spacing: np.ndarray,
    arteries: Tree,
    count: int,
    rng: np.random.Generator,
) -> list[Mimic]:
    """Lymph nodes, 30-60 HU, that touch hilar arteries; painted in place."""
    sites = np.flatnonzero((arteries.radius[:, 0] > 2.5) & (arteries.parent >= 0))
    mimics = []
    for i in rng.choice(sites, min(count, len(sites)), replace=False):
        semi = rng.uniform(3.0, 6.0) * rng.uniform(0.8, 1.2, 3)
        aside = perpendicular(arteries.direction[i], rng.uniform(0, 2 * np.pi))
        at = arteries.start[i] + rng.uniform(0.2, 0.8) * (arteries.end[i] - arteries.start[i])
        centre = at + aside * (arteries.radius[i].mean() + 0.85 * semi.mean())
        box = box_around(centre - semi - 3, centre + semi + 3, image.shape, spacing)
        if box is None:
            continue
        distance = ellipsoid_distance(centre, semi, box, spacing)
        blend(image, box, coverage(distance, float(spacing.mean())), rng.uniform(30, 60))
        mimics.append(Mimic("lymph node", centre))
    return mimics


def paint_dim_veins(
    image: np.ndarray,
    spacing: np.ndarray,
    arteries: Tree,
    count: int,
    rng: np.random.Generator,
) -> list[Mimic]:
    """Poorly filled veins that cross beside an artery, so that partial volume joins the two."""
    sites = np.flatnonzero((arteries.radius[:, 0] > 1.5) & (arteries.radius[:, 0] < 4))
    mimics = []
    for i in rng.choice(sites, min(count, len(sites)), replace=False):
        angle = rng.uniform(0, 2 * np.pi)
        aside, across = perpendicular(arteries.direction[i], np.array([angle, angle + np.pi / 2]))
        r = rng.uniform(1.5, 2.5)
        middle = (arteries.start[i] + arteries.end[i]) / 2
        centre = middle + aside * (arteries.radius[i].mean() + 0.8 * r)
        reach = rng.uniform(8, 14) * across
        capsule = ((centre - reach)[None], (centre + reach)[None], np.array([[r, r]]))
        for _, box, distance in capsule_distances(*capsule, image.shape, spacing):
            blend(image, box, coverage(distance, float(spacing.mean())), rng.uniform(60, 130))
        mimics.append(Mimic("dim vein", centre))
    return mimics


def mix_flow(
    lumen: np.ndarray,
    spacing: np.ndarray,
    arteries: Tree,
    emboli: list[Embolus],
    count: int,
    rng: np.random.Generator,
) -> list[Mimic]:
    """Unmixed blood: soft dark clouds in arteries free of emboli; painted in place."""
    carriers = {v for e in emboli for v in e.vessels}
    sites = [i for i in np.flatnonzero(arteries.radius[:, 0] > 3.0) if i not in carriers]
    mimics = []
    for i in rng.permutation(sites)[:count]:
        r = float(arteries.radius[i].mean())
        centre = arteries.start[i] + rng.uniform(0.3, 0.7) * (arteries.end[i] - arteries.start[i])
        box = box_around(centre - 2.5 * r, centre + 2.5 * r, lumen.shape, spacing)
        if box is None:
            continue
        distance = ellipsoid_distance(centre, np.full(3, r), box, spacing) + np.float32(r)
        cloud = np.exp(-0.5 * (distance / np.float32(0.55 * r)) ** 2)
        lumen[box] -= np.float32(rng.uniform(0.6, 0.85)) * lumen[box] * cloud
        mimics.append(Mimic("unmixed blood", centre))
    return mimics


def move_heart(
    image: np.ndarray, spacing: np.ndarray, centre: np.ndarray, reach: float
) -> tuple[np.ndarray, Mimic]:
    """Double contours about `centre`, as cardiac motion leaves them, fading out at `reach` mm."""
    box = box_around(centre - reach, centre + reach, image.shape, spacing)
    assert box is not None
    distance = ellipsoid_distance(centre, np.full(3, reach), box, spacing)
    weight = np.clip(-distance / np.float32(0.4 * reach), 0, 1)
    region = image[box]
    shift = np.array([0.0, 1.6, 1.6]) / spacing
    moved = [ndimage.shift(region, s * shift, order=1, mode="nearest") for s in (-1, 1)]
    region += weight * ((moved[0] + moved[1]) / 2 - region)
    return image, Mimic("motion", centre)
