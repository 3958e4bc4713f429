"""Hand-crafted polyp candidates (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1).

Edges are classified by `boundary`, vote in `votes`, and the places they surround are candidates. A
place is not yet a polyp: the colon's lumen is surrounded too. A second random forest looks at the
vote band of each place (how complete from every direction, at which radius, at which neighbouring
radii) and at its context (colour and light inside against around it) and gives the score, the
probability of a lesion. This score alone is the hand-crafted baseline of the study.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
from PIL import Image
from skimage.measure import label as connected_components
from skimage.measure import regionprops
from sklearn.ensemble import RandomForestClassifier

from medtune_jax.applications.polyps.boundary import (
    OTHER,
    BoundaryClassifier,
    WorkingFrame,
    edge_features,
    edge_labels,
    find_edges,
    working_frame,
)
from medtune_jax.applications.polyps.forest import Forest
from medtune_jax.applications.polyps.votes import (
    GRID,
    RADII,
    Peaks,
    VoteMaps,
    Votes,
    band_boxes,
    cast_votes,
    find_peaks,
)
from medtune_jax.errors import UserError
from medtune_jax.progress import parallel, reported

_PROPOSALS = 100  # places per frame that the second forest looks at
_BLOCKS = 10
_FIT = 0.3  # IoU
_CORE, _MUCH_SMALLER = 0.8, 0.3  # shares of the half axes of a box, of its size
_RING = np.stack([f(np.arange(8) * np.pi / 4) for f in (np.sin, np.cos)], -1)


class Candidate(NamedTuple):
    """A possible polyp: centre, height and width of its box in frame pixels, and a score, 0..1."""

    row: float
    col: float
    height: float
    width: float
    score: float


class CandidateDetector:
    """Finds polyp candidates in colonoscopy frames; made by `fit`."""

    def __init__(self, classifier: BoundaryClassifier, judge: Forest):
        self.classifier = classifier
        self.judge = judge

    def arrays(self) -> dict[str, np.ndarray]:
        """Both forests, to be kept; `read` makes the detector of them again."""
        return {**self.classifier.forest.arrays("boundary"), **self.judge.arrays("judge")}

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray]) -> "CandidateDetector":
        """The detector of what `arrays` gave."""
        boundary, judge = (Forest.read(arrays, name) for name in ("boundary", "judge"))
        return cls(BoundaryClassifier(boundary), judge)

    def candidates(self, image: np.ndarray, maximum: int = 10) -> list[Candidate]:
        """At most `maximum` candidates of a uint8 RGB frame [H, W, 3], best first; may be none."""
        frame = working_frame(image)
        boxes, features = _propose(frame, self.classifier)
        if not len(boxes):
            return []
        score = self.judge.predict_proba(features)[:, 1]
        kept = _separate(boxes, score, maximum)
        table = boxes[kept] / frame.scale
        table[:, :2] += 0.5 / frame.scale - 0.5  # pixel centres, not corners, are whole numbers
        return [Candidate(*values) for values in np.column_stack([table, score[kept]]).tolist()]


def fit(
    frames: Iterable[tuple[np.ndarray, np.ndarray]], seed: int = 0, jobs: int = 1
) -> CandidateDetector:
    """Trains both forests from frames (uint8 [H, W, 3]) with lesion masks (bool [H, W]).

    Frames without a lesion are welcome. Blocks of neighbouring frames alternate between the
    forests, for the second must see votes as they are on frames new to the first: give frames in
    the order of their videos. jobs: processes (-1: one a core); the result does not depend on it.
    Raises UserError when a mask has another size than its frame, or no frame shows a lesion
    boundary.
    """
    shrunk = [_shrink(*pair, index) for index, pair in enumerate(frames)]
    block = np.arange(len(shrunk)) * _BLOCKS // max(len(shrunk), 1)
    halves = [[pair for pair, b in zip(shrunk, block, strict=True) if b % 2 == k] for k in (0, 1)]
    if not all(any(mask.any() for _, mask in half) for half in halves):
        halves = [shrunk, shrunk]
    rng = np.random.default_rng(seed)
    classifier = _fit_classifier(halves[0], rng, seed, jobs)
    return CandidateDetector(classifier, _fit_judge(halves[1], classifier, seed, jobs))


def _shrink(image: np.ndarray, mask: np.ndarray, index: int) -> tuple[WorkingFrame, np.ndarray]:
    """The frame and its mask at the working resolution."""
    if mask.shape != image.shape[:2]:
        raise UserError(
            f"frame {index}: its mask is {mask.shape[0]} x {mask.shape[1]} but the frame is "
            f"{image.shape[0]} x {image.shape[1]}; give a mask of the frame's size."
        )
    frame = working_frame(image)
    size = frame.valid.shape[::-1]
    small = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
    return frame, np.asarray(small)


def _fit_classifier(
    pairs: list[tuple[WorkingFrame, np.ndarray]], rng: np.random.Generator, seed: int, jobs: int
) -> BoundaryClassifier:
    boundary, other = _Reservoir(rng), _Reservoir(rng)
    work = parallel(_labelled_edges, pairs, jobs)
    for features, label in reported(work, len(pairs), "boundary classifier: frames"):
        boundary.add(features[label > OTHER], label[label > OTHER])
        other.add(features[label == OTHER], label[label == OTHER])
    if not len(boundary):
        raise UserError(
            f"none of the {len(pairs)} training frames shows a lesion boundary; "
            "the candidate detector needs frames with lesion masks to learn from."
        )
    columns = zip(boundary.take(), other.take(), strict=True)
    features, label = (np.concatenate(column) for column in columns)
    return BoundaryClassifier.fit(features, label, seed)


def _labelled_edges(frame: WorkingFrame, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = find_edges(frame)
    return edge_features(frame, edges), edge_labels(mask, edges)


def _fit_judge(
    pairs: list[tuple[WorkingFrame, np.ndarray]],
    classifier: BoundaryClassifier,
    seed: int,
    jobs: int,
) -> Forest:
    """The second forest: is a place a lesion's, that is, centred in it with a box that fits?"""
    features, fits = [], []
    places = parallel(_propose, [(frame, classifier) for frame, _ in pairs], jobs)
    work = zip(places, (mask for _, mask in pairs), strict=True)
    for (boxes, described), mask in reported(work, len(pairs), "candidate judge: frames"):
        features.append(described)
        fits.append(_fits(boxes, mask))
    if not any(fit.any() for fit in fits):
        raise UserError(
            f"no lesion of the {len(pairs)} training frames is surrounded by visible edges; "
            "the candidate detector needs more frames with lesions."
        )
    forest = RandomForestClassifier(
        100, min_samples_leaf=5, class_weight="balanced_subsample", n_jobs=2, random_state=seed
    )
    forest.fit(np.concatenate(features), np.concatenate(fits))
    return Forest.of(forest)


def _fits(boxes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether each box [k, 4] is centred in a lesion and overlaps the lesion's box: bool [k]."""
    numbered = connected_components(mask, connectivity=2)
    row, col = np.rint(boxes[:, :2]).astype(np.intp).T
    lesion = numbered[row, col]
    extent = np.array(
        [(0, 0, 0, 0), *(region.bbox for region in regionprops(numbered))], np.float64
    )
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    true_low, true_high = extent[lesion, :2] - 0.5, extent[lesion, 2:] - 0.5
    sides = np.maximum(np.minimum(high, true_high) - np.maximum(low, true_low), 0)
    shared = sides.prod(1)
    union = (high - low).prod(1) + (true_high - true_low).prod(1) - shared
    return (lesion > 0) & (shared >= _FIT * union)


def _propose(frame: WorkingFrame, classifier: BoundaryClassifier) -> tuple[np.ndarray, np.ndarray]:
    """Surrounded places: boxes [k, 4] in working pixels, and features [k, d]."""
    edges = find_edges(frame)
    votes = Votes.towards_lesions(edges, classifier.probabilities(edge_features(frame, edges)))
    maps = cast_votes(votes, frame.valid.shape)
    peaks = find_peaks(maps.surround, _PROPOSALS)
    boxes = band_boxes(peaks, votes) if len(peaks.row) else np.zeros((0, 4))
    boxes[:, :2] = np.clip(boxes[:, :2], 0, np.array(frame.valid.shape) - 1)
    return boxes, _describe(frame, maps, peaks, boxes)


def _describe(frame: WorkingFrame, maps: VoteMaps, peaks: Peaks, boxes: np.ndarray) -> np.ndarray:
    """What the second forest knows of each place: float32 [k, d]."""
    level, row, col = peaks
    directed = np.sort(maps.directed[level, :, row, col], axis=1)
    neighbours = maps.surround[:, row, col].T
    here = maps.surround[level, row, col]
    size = np.log(boxes[:, 2:])
    columns = [directed, neighbours, here, RADII[level], size, size[:, 0] - size[:, 1]]
    columns += _context(frame, peaks)
    return np.column_stack(columns).astype(np.float32)


def _context(frame: WorkingFrame, peaks: Peaks) -> list[np.ndarray]:
    """Light and colour at each place, and on a ring of twice its radius around it."""
    radius = RADII[peaks.level]
    channels = frame.channels[:, ::GRID, ::GRID]
    smooth = np.stack(
        [ndi.gaussian_filter(channels, (0, s, s), truncate=2.0) for s in RADII / (2 * GRID)]
    )
    ring = np.stack([peaks.row, peaks.col], -1)[:, None] + 2 * radius[:, None, None] / GRID * _RING
    ring = np.clip(np.rint(ring).astype(np.intp), 0, np.array(channels.shape[1:]) - 1)
    around = smooth[peaks.level[:, None], :, ring[..., 0], ring[..., 1]]
    here = smooth[peaks.level, :, peaks.row, peaks.col]
    contrast = here[:, None] - around
    return [here, contrast.mean(1), contrast.min(1), contrast.max(1)]


def _separate(boxes: np.ndarray, score: np.ndarray, maximum: int) -> list[int]:
    """Indices of the best candidates, without those that repeat a better one.

    A candidate repeats another when its centre lies in the core of the other's box, unless it is
    much smaller: a polyp may well lie within a fold that is a candidate, too.
    """
    centre, size = boxes[:, :2], np.sqrt(boxes[:, 2:].prod(1))
    offset = (centre[:, None] - centre) / (boxes[:, 2:] / 2)
    repeats = (np.linalg.norm(offset, axis=-1) < _CORE) & (size[:, None] > _MUCH_SMALLER * size)
    kept: list[int] = []
    for index in np.argsort(-score, kind="stable"):
        if len(kept) < maximum and not repeats[index, kept].any():
            kept.append(int(index))
    return kept


class _Reservoir:
    """A uniform random sample of all rows added, in bounded memory for any number of frames."""

    def __init__(self, rng: np.random.Generator, maximum: int = 30_000):
        self.rng, self.maximum = rng, maximum
        self.rows: list[tuple[np.ndarray, ...]] = []  # priority, features, label

    def __len__(self) -> int:
        return sum(len(block[0]) for block in self.rows)

    def add(self, features: np.ndarray, label: np.ndarray) -> None:
        self.rows.append((self.rng.random(len(label)), features, label))
        if len(self) > 2 * self.maximum:
            self._thin()

    def take(self) -> tuple[np.ndarray, ...]:
        """Features and labels of the sample."""
        self._thin()
        return self.rows[0][1:]

    def _thin(self) -> None:
        columns = zip(*self.rows, strict=True)
        priority, features, label = (np.concatenate(column) for column in columns)
        keep = np.sort(np.argsort(priority)[: self.maximum])
        self.rows = [(priority[keep], features[keep], label[keep])]
