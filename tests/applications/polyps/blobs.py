"""Frames with a shaded ball on a textured background: the simplest thing that resembles a polyp."""

import numpy as np
import scipy.ndimage as ndi


def blob_frame(
    rng: np.random.Generator, lesion: bool = True, height: int = 160, width: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """(image uint8 [H, W, 3], mask bool [H, W]); folds (long edges) are in every frame."""
    row, col = np.mgrid[:height, :width]
    texture = ndi.gaussian_filter(rng.normal(size=(height, width)), 3)
    light = 130 + 120 * texture
    for _ in range(3):  # folds: bright on one side, fading on the other
        angle, place = rng.uniform(0, np.pi), rng.uniform(-60, 60)
        across = np.cos(angle) * (row - height / 2) + np.sin(angle) * (col - width / 2) - place
        light += 45 * np.exp(-np.maximum(across, 0) / 25) * (across > 0)
    mask = np.zeros((height, width), bool)
    if lesion:
        radius = rng.uniform(14, 34)
        centre = rng.uniform(radius + 4, np.array([height, width]) - radius - 4)
        stretch = rng.uniform(0.8, 1.25)
        distance = np.hypot((row - centre[0]) * stretch, (col - centre[1]) / stretch) / radius
        mask = distance < 1
        light = np.where(mask, 205 - 75 * distance**4 + 40 * texture, light)
    noise = rng.normal(0, 2, (height, width, 3))
    colour = np.array([1.0, 0.62, 0.5])
    image = ndi.gaussian_filter(light, 1.0)[..., None] * colour + noise
    return np.clip(image, 0, 255).astype(np.uint8), mask
