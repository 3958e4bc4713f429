"""Which edges of a colonoscopy frame outline a lesion?

The first half of the hand-crafted polyp detector (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1).
Edge pixels are classified by the appearance around them, seen in a window turned to the edge's
normal so that one boundary looks the same in every pose. The window is cut into overlapping
sub-patches; a few low-frequency DCT coefficients of each, in luminance and two colour ratios, at a
fine scale (the edge) and a coarse one (its context), are the features of a random forest with
three classes: no lesion boundary, lesion on the bright side, lesion on the dark side. Knowing
the side tells the voting in `votes` which way to look for the lesion.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage as ndi
from PIL import Image
from skimage.feature import canny
from skimage.filters import gaussian
from sklearn.ensemble import RandomForestClassifier

from medtune_jax.applications.polyps.forest import Forest

OTHER, LESION_BRIGHT, LESION_DARK = 0, 1, 2

WORKING_SIDE = 256
"""Longest side of the frame the detector works on; every length below is in its pixels."""

_MAX_EDGES = 1800
_EDGE_BLUR = 2.0
_FAINTEST = 2e-3  # gradient, log units per pixel: 0.2% of the light
_PATCH = 16
_SUB_PATCH, _STRIDE = 8, 4
_SPACINGS = (1.0, 3.0)
_COEFFICIENTS = ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
_FLAT = 0.02  # contrast (standard deviation of a log channel) below which a window counts as flat
_BOUNDARY_TOLERANCE = 3.0
_AMBIGUOUS = 6.0


@dataclass(frozen=True)
class WorkingFrame:
    """A frame at the working resolution.

    channels: float32 [3, h, w]: log luminance, log(red/green), log(green/blue).
    valid: bool [h, w], False on the black surround of the endoscope's field of view.
    scale: working pixels per frame pixel.
    """

    channels: np.ndarray
    valid: np.ndarray
    scale: float


@dataclass(frozen=True)
class Edges:
    """Edge points: position [n, 2] (row, col) and unit normal [n, 2] towards the brighter side.

    weight: how many edge pixels each point stands for (more than 1 when the frame has too many).
    """

    position: np.ndarray
    normal: np.ndarray
    weight: float


def working_frame(image: np.ndarray) -> WorkingFrame:
    """Scales a uint8 RGB frame [H, W, 3] to `WORKING_SIDE` and splits light from colour.

    Logarithms turn the fall-off of the light source into an offset that the features ignore.
    """
    scale = WORKING_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.float32)
    red, green, blue = np.moveaxis(small + 8.0, -1, 0)
    light = np.log(small.mean(-1) + 8.0)
    channels = np.stack([light, np.log(red / green), np.log(green / blue)])
    return WorkingFrame(channels.astype(np.float32), _field_of_view(small), scale)


def find_edges(frame: WorkingFrame) -> Edges:
    """Canny edges of luminance and of redness, without those of the black surround.

    The normal is that of the stronger of the two gradients, turned to the side of higher luminance.
    """
    edges = np.zeros(frame.valid.shape, bool)
    for channel in frame.channels[:2]:
        edges |= canny(channel, _EDGE_BLUR, 0.6, 0.8, mask=frame.valid, use_quantiles=True)
    position = np.argwhere(edges)
    light, redness = (_gradient(channel, _EDGE_BLUR, position) for channel in frame.channels[:2])
    normal = np.where(_length(light) >= _length(redness), light, redness)
    visible = np.flatnonzero(_length(normal) >= _FAINTEST)  # a flat frame has quantiles too
    weight = max(1.0, len(visible) / _MAX_EDGES)
    kept = np.linspace(0, len(visible) - 1, min(len(visible), _MAX_EDGES)).astype(np.intp)
    position, normal, light = (column[visible[kept]] for column in (position, normal, light))
    normal = np.where((normal * light).sum(1, keepdims=True) < 0, -normal, normal)
    normal /= np.maximum(_length(normal), 1e-9)
    return Edges(position.astype(np.float32), normal, weight)


def edge_features(frame: WorkingFrame, edges: Edges) -> np.ndarray:
    """DCT features float32 [n, d] of the window around each edge point, turned to its normal."""
    axis = np.arange(_PATCH, dtype=np.float32) - (_PATCH - 1) / 2
    tangent = np.stack([-edges.normal[:, 1], edges.normal[:, 0]], -1)
    along, across = np.repeat(axis, _PATCH), np.tile(axis, _PATCH)
    height, width = frame.valid.shape
    features = []
    for spacing in _SPACINGS:
        # Nearest pixel of an image smoothed to the spacing: a look-up, as good as interpolation.
        smooth = ndi.gaussian_filter(frame.channels, (0, spacing / 2, spacing / 2))
        row, col = (
            edges.position[:, k, None]
            + (along * spacing) * tangent[:, k, None]
            + (across * spacing) * edges.normal[:, k, None]
            for k in (0, 1)
        )
        row = np.clip(row + 0.5, 0, height - 1).astype(np.int32)
        col = np.clip(col + 0.5, 0, width - 1).astype(np.int32)
        window = smooth.reshape(3, -1).take(row * width + col, axis=1)
        mean = window.mean(-1, keepdims=True)
        window -= mean
        contrast = np.sqrt(np.einsum("cnp,cnp->cn", window, window) / window.shape[-1])[..., None]
        shape = window @ _SUB_PATCH_DCT / (contrast + _FLAT)
        features += [*shape, *mean, *contrast]
    return np.concatenate(features, 1, dtype=np.float32)


def edge_labels(mask: np.ndarray, edges: Edges) -> np.ndarray:
    """Class int [n] of each edge point by a lesion mask bool [h, w]; -1: too close to call.

    A point is boundary when it lies within 3 px of the mask's outline with its normal within 45
    degrees of the outline's; points a little farther off are left out of the training.
    """
    if not mask.any():
        return np.full(len(edges.position), OTHER)
    outside, inside = ndi.distance_transform_edt(~mask), ndi.distance_transform_edt(mask)
    signed = (inside - outside).astype(np.float32)  # grows into the lesion
    row, col = edges.position.astype(np.intp).T
    inward = _gradient(signed, 1.5, edges.position.astype(np.intp))
    cosine = ((inward * edges.normal).sum(1, keepdims=True) / np.maximum(_length(inward), 1e-6))[
        :, 0
    ]
    distance = np.abs(signed[row, col])
    label = np.full(len(row), OTHER)
    label[distance <= _AMBIGUOUS] = -1
    on_boundary = (distance <= _BOUNDARY_TOLERANCE) & (np.abs(cosine) >= np.sqrt(0.5))
    label[on_boundary] = np.where(cosine[on_boundary] > 0, LESION_BRIGHT, LESION_DARK)
    return label


class BoundaryClassifier:
    """Random forest over `edge_features`: P(other, lesion on the bright side, on the dark side)."""

    def __init__(self, forest: Forest):
        self.forest = forest

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, seed: int) -> "BoundaryClassifier":
        """Trains on features [n, d] and labels [n] in {0, 1, 2}, the classes balanced by weight."""
        forest = RandomForestClassifier(
            60,
            max_depth=14,
            min_samples_leaf=5,
            max_features="sqrt",
            class_weight="balanced_subsample",
            n_jobs=2,
            random_state=seed,
        )
        forest.fit(features, labels)
        return cls(Forest.of(forest))

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, 3]; the columns are OTHER, LESION_BRIGHT, LESION_DARK."""
        full = np.zeros((len(features), 3), np.float32)
        if len(features):
            full[:, self.forest.classes] = self.forest.predict_proba(features)
        return full


def _gradient(image: np.ndarray, blur: float, position: np.ndarray) -> np.ndarray:
    """Gradient (row, col) of the blurred image at integer positions [n, 2]: float32 [n, 2]."""
    row, col = position.T
    derivatives = (ndi.gaussian_filter(image, blur, order=order) for order in ((1, 0), (0, 1)))
    return np.stack([d[row, col] for d in derivatives], -1).astype(np.float32)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.hypot(vectors[:, :1], vectors[:, 1:])


def _field_of_view(small: np.ndarray) -> np.ndarray:
    """The lit part of the frame, some pixels off its rim (closing keeps dark folds inside)."""
    lit = gaussian(small.max(-1), 2.0, preserve_range=True) > 20
    lit = ndi.binary_closing(np.pad(lit, 16), iterations=12)[16:-16, 16:-16]
    return ndi.binary_erosion(lit, iterations=4, border_value=1)


def _sub_patch_dct() -> np.ndarray:
    """[patch pixels, sub-patches x coefficients]: cutting and DCT are linear, hence one product."""
    starts = range(0, _PATCH - _SUB_PATCH + 1, _STRIDE)
    columns = []
    for top in starts:
        for left in starts:
            for u, v in _COEFFICIENTS:
                spectrum = np.zeros((_SUB_PATCH, _SUB_PATCH))
                spectrum[u, v] = 1.0
                window = np.zeros((_PATCH, _PATCH))
                window[top : top + _SUB_PATCH, left : left + _SUB_PATCH] = scipy.fft.idctn(
                    spectrum, norm="ortho"
                )
                columns.append(window.ravel())
    return np.stack(columns, 1).astype(np.float32) / _SUB_PATCH


_SUB_PATCH_DCT = _sub_patch_dct()
