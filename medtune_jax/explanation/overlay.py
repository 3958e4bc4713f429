"""A map drawn over its image."""

from __future__ import annotations

import numpy as np

_OPAQUE = 0.65  # where the map is 1; where it is 0 the image is as it was


def overlay(image: np.ndarray, map_: np.ndarray) -> np.ndarray:
    """uint8 [S,S,3]: an image uint8 [S,S,3] below its map [S,S] of 0 to 1, from clear over purple to yellow."""
    from matplotlib import colormaps  # takes a while to import

    colour = colormaps["inferno"](map_)[..., :3] * 255
    opaque = _OPAQUE * map_[..., None]
    return np.round(image * (1 - opaque) + colour * opaque).astype(np.uint8)
