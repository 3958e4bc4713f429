"""The hand-crafted judge of frame quality: how badly a few DCT terms reconstruct each cell.

After Tajbakhsh et al. 2016, II-C (docs/paper.md, 3). Where a frame is blurred, over-exposed or too close
to the wall, each small cell is explained by its few dominant DCT coefficients; where it is sharp,
vessels and folds leave a residue. Maps of that residue are pooled locally (over a grid, because a
frame can be sharp in one half) and globally (as a histogram), and a random forest judges.
"""

from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
import scipy.fft
from PIL import Image
from sklearn.ensemble import RandomForestClassifier

from medtune_jax.errors import UserError

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


class QualityBaseline:
    """P(informative) of a frame by a random forest on `quality_features`; made by `fit`."""

    def __init__(self, forest: RandomForestClassifier):
        self.forest = forest

    @classmethod
    def fit(
        cls, features: np.ndarray, quality: Sequence[int] | np.ndarray, seed: int = 0
    ) -> "QualityBaseline":
        """Trains on the `quality_features` [n, d] of frames and their quality (1 informative, 0 not).

        Raises UserError when one of the two classes has no frame.
        """
        labels = np.asarray(quality, int)
        for value, meaning in ((1, "informative"), (0, "non-informative")):
            if value not in labels:
                raise UserError(
                    f"no {meaning} frame (quality {value}) among the {len(labels)} training "
                    "frames; the quality baseline needs both classes."
                )
        forest = RandomForestClassifier(
            200, min_samples_leaf=2, class_weight="balanced", n_jobs=2, random_state=seed
        )
        forest.fit(features, labels)
        forest.n_jobs = 1
        return cls(forest)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """P(informative) of each frame, float64 [n]."""
        return self.forest.predict_proba(features)[:, 1]

    def save(self, path: str | Path) -> None:
        """Writes the forest with joblib: load such a file only from a place you trust."""
        joblib.dump(self.forest, path)

    @classmethod
    def load(cls, path: str | Path) -> "QualityBaseline":
        """Reads what `save` wrote."""
        return cls(joblib.load(path))
