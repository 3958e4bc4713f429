"""The hand-crafted rival: features of each candidate and a multi-instance classifier.

The same candidates as the network's, described by their vessel and shape, by Haralick's
co-occurrence statistics and by wavelet energies of the two vessel planes (Tajbakhsh et al.
2016, II-B, after Liang & Bi 2007). Several candidates hit one embolus and it counts once, so the
candidates of an embolus are a bag, of which one good instance is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops
from sklearn.ensemble import RandomForestClassifier

from medtune_jax.applications.embolism.candidates import Candidate
from medtune_jax.applications.embolism.patches import PatchGrid, plane_affines, sample_planes
from medtune_jax.applications.embolism.vessel import Frame
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.errors import UserError

if TYPE_CHECKING:
    from medtune_jax.applications.embolism.cases import Patient

PLANE_NAMES = ("cross", "long")
HARALICK = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
VESSEL = (
    "score",
    "volume_mm3",
    "hu_mean",
    "hu_sd",
    "hu_min",
    "cluster_length_mm",
    "cluster_elongation",
    "vessel_found",
    "vessel_radius_mm",
    "vessel_elongation",
    "rim_hu",
    "rim_bright",
    "rim_dark",
)
LEVELS = 3
FEATURE_NAMES = (
    *VESSEL,
    *(f"{plane}_{name}_{d}" for plane in PLANE_NAMES for d in (1, 2) for name in HARALICK),
    *(
        f"{plane}_haar_{band}_{level}"
        for plane in PLANE_NAMES
        for level in range(1, LEVELS + 1)
        for band in ("rows", "columns", "diagonal")
    ),
)
# Contrast window of the planes, HU.
WINDOW = (-200.0, 400.0)
PATCH = PatchGrid(widths_mm=(15.0,), shifts=(0.0,), rotations=0, size=32)


def candidate_features(
    volume: Volume, candidates: Sequence[Candidate], frames: Sequence[Frame]
) -> np.ndarray:
    """Features float64 [candidates, len(FEATURE_NAMES)] of the candidates of one volume, in their vessels' frames."""
    pairs = zip(candidates, frames, strict=True)
    rows = [_features_of(volume, candidate, frame) for candidate, frame in pairs]
    return np.array(rows).reshape(len(rows), len(FEATURE_NAMES))


def _features_of(volume: Volume, candidate: Candidate, frame: Frame) -> np.ndarray:
    affines = plane_affines(frame, volume.spacing, "vessel", PATCH)
    planes = sample_planes(volume.hu, affines[0], PATCH.size)
    cluster = candidate.cluster
    hu = volume.hu[tuple(cluster.T)].astype(float)
    points = (cluster - cluster.mean(axis=0)) * volume.spacing
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(points.T @ points / len(points)), 0))
    rim = _rim(volume, cluster)
    vessel = [
        candidate.score,
        len(cluster) * float(np.prod(volume.spacing)),
        hu.mean(),
        hu.std(),
        hu.min(),
        2 * spread[2],
        spread[2] / (spread[0] + 0.5),
        float(frame.found),
        frame.radius_mm,
        np.sqrt(frame.variances[0] / max(frame.variances[1], 1e-6)),
        rim.mean(),
        (rim > 150).mean(),
        (rim < -200).mean(),
    ]
    texture = [haralick(plane) for plane in planes]
    waves = [haar_energies(plane) for plane in planes]
    return np.concatenate([vessel, *texture, *waves])


def _rim(volume: Volume, cluster: np.ndarray, width: int = 2) -> np.ndarray:
    """HU of the shell, `width` voxels wide, around a cluster."""
    low = np.maximum(cluster.min(axis=0) - width, 0)
    high = np.minimum(cluster.max(axis=0) + width + 1, volume.hu.shape)
    mask = np.zeros(high - low, bool)
    mask[tuple((cluster - low).T)] = True
    shell = ndimage.binary_dilation(mask, np.ones((3, 3, 3)), iterations=width) & ~mask
    return volume.hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]][shell]


def haralick(plane: np.ndarray, levels: int = 16) -> np.ndarray:
    """Haralick statistics of a plane in HU at distances 1 and 2, averaged over four directions."""
    low, high = WINDOW
    gray = np.clip((plane - low) / (high - low) * levels, 0, levels - 1).astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrix = graycomatrix(gray, [1, 2], angles, levels, symmetric=True, normed=True)
    return np.stack([graycoprops(matrix, p).mean(axis=1) for p in HARALICK], axis=1).ravel()


def haar_energies(plane: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """Root mean square of the Haar details (rows, columns, diagonal) at each level, in HU.

    The plane's sides must be divisible by 2 ** levels. The transform is orthonormal.
    """
    smooth, energies = np.clip(plane, *WINDOW), []
    for _ in range(levels):
        a, b = smooth[0::2, 0::2], smooth[0::2, 1::2]
        c, d = smooth[1::2, 0::2], smooth[1::2, 1::2]
        details = ((a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2)
        energies += [np.sqrt(np.mean(detail**2)) for detail in details]
        smooth = (a + b + c + d) / 2
    return np.array(energies)


@dataclass
class MultiInstanceForest:
    """A random forest trained on bags: of each embolus only the candidates that witness it.

    Training starts with every instance of a positive bag as positive; then instances that the
    forest, out of bag, holds less likely than `keep` times the best of their bag are set aside,
    and the forest is trained again, until the witnesses stay the same (the iterated scheme of
    Andrews et al. 2002, mi-SVM, with a forest). Negatives are instances of their own. Out-of-bag
    estimates are used because a forest is always sure of what it was trained on.
    """

    trees: int = 200
    keep: float = 0.7
    rounds: int = 5
    seed: int = 0

    def fit(self, features: np.ndarray, bags: np.ndarray) -> MultiInstanceForest:
        """Train on features [n, d]; bags [n] number the emboli, -1 for a false candidate.

        Bags must be unique over volumes. Raises UserError where one of the classes is missing.
        """
        positive = bags >= 0
        if positive.all() or not positive.any():
            missing = "false" if positive.all() else "true"
            raise UserError(f"The baseline has no {missing} candidates to learn from.")
        witness = positive.copy()
        bag_of = np.where(positive, bags, bags.max() + 1)
        for _ in range(self.rounds):
            used = witness | ~positive
            self.forest_ = self._forest().fit(features[used], witness[used])
            likely = np.nan_to_num(self.forest_.oob_decision_function_[:, 1])
            score = self.forest_.predict_proba(features)[:, 1]
            score[used] = likely
            best = np.zeros(bag_of.max() + 1)
            np.maximum.at(best, bag_of, score)
            chosen = positive & (score >= self.keep * best[bag_of])
            if np.array_equal(chosen, witness):
                break
            witness = chosen
        self.witnesses_ = witness
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probability [n] that each candidate lies on an embolus."""
        if not len(features):
            return np.zeros(0)
        return self.forest_.predict_proba(features)[:, 1]

    def _forest(self) -> RandomForestClassifier:
        return RandomForestClassifier(
            self.trees,
            min_samples_leaf=2,
            # "balanced" would draw the rare class into every bootstrap, and leave it no estimate out of bag.
            class_weight="balanced_subsample",
            oob_score=True,
            random_state=self.seed,
            n_jobs=1,
        )


def baseline_scores(training: Mapping[str, Patient], test: Mapping[str, Patient]) -> np.ndarray:
    """Scores of the test candidates by hand-crafted features and a multi-instance forest."""
    bags, emboli = [], 0
    for patient in training.values():
        first = patient.first_hit
        bags.append(np.where(first >= 0, emboli + first, -1))
        emboli += len(patient.labels)
    features = np.concatenate([p.features for p in training.values()])
    forest = MultiInstanceForest().fit(features, np.concatenate(bags))
    return forest.predict(np.concatenate([p.features for p in test.values()]))
