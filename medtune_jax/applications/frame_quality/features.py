"""What the hand-crafted judge sees of a frame: how badly a few DCT terms reconstruct each cell.

After Tajbakhsh et al. 2016, II-C (docs/paper.md, 3). Where a frame is blurred, over-exposed or too close to the wall,
each small cell is explained by its few dominant DCT coefficients; where it is sharp, vessels and folds leave a residue.
Maps of that residue are pooled locally (over a grid, because a frame can be sharp in one half) and globally (as a
histogram).
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from PIL import Image

WORKING_SIDE = 256  # longest side, pixels: the cells then mean the same in every video
_CELL = 8
_DOMINANT = (1, 4, 12)  # coefficients kept of 64
_GRID = 4
_FLOOR, _CEILING, _BINS = 1e-2, 64.0, 16  # gray levels, histogram on a log scale


def reconstruction_errors(image: np.ndarray) -> np.ndarray:
    """Error maps float32 [3, h/8, w/8] of a uint8 RGB frame: RMS gray levels in each 8 x 8 cell.

    One map for each number of dominant coefficients kept. The DCT is orthonormal, so the error of a
    reconstruction is the energy of the coefficients left out: none needs to be carried out.
    """
    scale = WORKING_SIDE / max(image.shape[:2])
    rows, cols = (max(_CELL, round(n * scale) // _CELL * _CELL) for n in image.shape[:2])
    small = Image.fromarray(image).convert("L").resize((cols, rows), Image.Resampling.BOX)
    cells = np.asarray(small, np.float32).reshape(rows // _CELL, _CELL, cols // _CELL, _CELL)
    spectrum = scipy.fft.dctn(cells.swapaxes(1, 2), axes=(2, 3), norm="ortho")
    energy = -np.sort(-(spectrum.reshape(*spectrum.shape[:2], -1) ** 2), axis=-1)
    left_out = np.cumsum(energy[..., ::-1], -1)[..., ::-1]
    return np.sqrt(np.moveaxis(left_out[..., list(_DOMINANT)], -1, 0) / _CELL**2)


def quality_features(image: np.ndarray) -> np.ndarray:
    """Pooled log errors float32 [d]: mean and spread of each field of a grid, and histograms."""
    errors = np.log(np.clip(reconstruction_errors(image), _FLOOR, _CEILING))
    row, col = (np.arange(n) * _GRID // n for n in errors.shape[1:])
    field = (row[:, None] * _GRID + col).ravel()
    flat = errors.reshape(len(errors), -1)
    features = []
    for level in flat:
        count = np.maximum(np.bincount(field, minlength=_GRID**2), 1)
        mean = np.bincount(field, level, _GRID**2) / count
        square = np.bincount(field, level**2, _GRID**2) / count
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        histogram, _ = np.histogram(level, _BINS, (np.log(_FLOOR), np.log(_CEILING)))
        features += [mean, spread, np.sort(mean), histogram / len(level)]
    return np.concatenate(features).astype(np.float32)
