"""Where the vessel of an embolus runs."""

import numpy as np

from medtune_jax.phantoms.ctpa.emboli import Embolus
from medtune_jax.phantoms.ctpa.tree import Tree


def vessel_at(arteries: Tree, embolus: Embolus, point: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit direction (z, y, x) and radius (mm) of the embolus' vessel nearest to a point (mm)."""
    index = np.array(embolus.vessels)
    a, b = arteries.start[index], arteries.end[index]
    t = ((point - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(1)
    t = np.clip(t, 0, 1)[:, None]
    segment = index[int(np.argmin(np.linalg.norm(point - (a + t * (b - a)), axis=1)))]
    return arteries.direction[segment], float(arteries.radius[segment].mean())
