"""Free-response ROC: how many lesions are found at how many false marks per image.

The hit rule, in full:

1. A detector returns candidates: (image, score, the lesion hit or none). What a hit is
   geometrically (the candidate's centre inside the lesion's mask, say) is the application's rule.
2. At a threshold t the candidates with score >= t are its marks.
3. A lesion counts once: it is found at t when its highest-scoring hit reaches t.
4. Further hits on a lesion are neither true nor false positives.
5. A candidate that hits no lesion is one false positive, also in an image with lesions.
6. A lesion that no candidate hits is a miss at every threshold; it stays in the denominator of
   the sensitivity.
7. False positives are divided by the number of all images, those without lesion or candidate
   included.
8. Candidates of equal score pass a threshold together: one step of the curve.
9. "Sensitivity at r false positives per image" is the highest sensitivity of a threshold with
   at most r; there is no interpolation between thresholds.

An image is a frame (polyps) or a volume (embolism). A candidate that covers two lesions is given
as two rows, one per lesion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation import readers
from medtune_jax.evaluation.readers import Estimate, Readings
from medtune_jax.evaluation.sweep import Statistic, ThresholdSweep, estimate, most_hits_within

# Operating points: per frame (polyps) and per volume (embolism), docs/paper.md sections 1 and 2.
PER_FRAME = (0.001, 0.01, 0.1)
PER_VOLUME = (1.0, 2.0, 3.0, 4.0, 5.0)


@dataclass(frozen=True)
class Detections:
    """The candidates of one detector on one test set.

    Attributes:
      images: number of images, those without lesion or candidate included.
      lesion_image: [L] int, the image (0..images-1) that holds each lesion, found or not.
      image: [M] int, the image of each candidate.
      score: [M] float, higher is more suspicious.
      lesion: [M] int, the lesion (0..L-1) that the candidate hits, or -1.
    """

    images: int
    lesion_image: np.ndarray
    image: np.ndarray
    score: np.ndarray
    lesion: np.ndarray

    def __post_init__(self) -> None:
        for name in ("lesion_image", "image", "score", "lesion"):
            kind = float if name == "score" else int
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        if not self.image.shape == self.score.shape == self.lesion.shape:
            raise UserError("Candidates need one image, one score and one lesion (or -1) each.")
        if not np.isfinite(self.score).all():
            row = int(np.flatnonzero(~np.isfinite(self.score))[0])
            raise UserError(f"Candidate {row} has the score {self.score[row]}: it must be finite.")
        if not self.lesion_image.size:
            raise UserError("The test set has no lesion: sensitivity is undefined.")
        self._check_range("image", self.image, 0, self.images)
        self._check_range("lesion_image", self.lesion_image, 0, self.images)
        self._check_range("lesion", self.lesion, -1, self.lesion_image.size)
        hit = self.lesion >= 0
        strays = hit & (self.lesion_image[self.lesion] != self.image)
        if strays.any():
            row = int(np.flatnonzero(strays)[0])
            raise UserError(
                f"Candidate {row} lies in image {self.image[row]} but its lesion "
                f"{self.lesion[row]} lies in image {self.lesion_image[self.lesion[row]]}."
            )

    @staticmethod
    def _check_range(name: str, values: np.ndarray, low: int, stop: int) -> None:
        outside = np.flatnonzero((values < low) | (values >= stop))
        if outside.size:
            raise UserError(
                f"Field {name}, row {outside[0]}: {values[outside[0]]} is outside "
                f"{low}..{stop - 1}."
            )

    @property
    def false(self) -> np.ndarray:
        """[M] bool: the candidate hits no lesion (rule 5)."""
        return self.lesion < 0

    @property
    def ill(self) -> np.ndarray:
        """[images] bool: the image holds a lesion."""
        return np.isin(np.arange(self.images), self.lesion_image)

    @property
    def first_hit(self) -> np.ndarray:
        """[M] bool: the highest-scoring hit of its lesion (rule 3); one candidate per lesion."""
        # False candidates (-1) sort first and, with -1 before them, start no lesion.
        by_lesion = np.lexsort((-self.score, self.lesion))
        starts = np.diff(self.lesion[by_lesion], prepend=-1) != 0
        first = np.zeros(self.lesion.shape, dtype=bool)
        first[by_lesion[starts]] = True
        return first


Rates = Sequence[float] | np.ndarray


def froc_statistic(detections: Detections, rates: Rates) -> Statistic:
    """Sensitivity at each rate as a function of image weights: [R, images] -> [R, len(rates)].

    Lesions and candidates weigh what their image weighs.
    """
    sweep = ThresholdSweep(detections.score)
    first_hit, false = detections.first_hit, detections.false

    def statistic(weights: np.ndarray) -> np.ndarray:
        marks = weights[:, detections.image]
        hits, alarms = sweep.counts(marks * first_hit), sweep.counts(marks * false)
        images = weights.sum(axis=1)
        lesions = weights[:, detections.lesion_image].sum(axis=1, keepdims=True)
        found = [most_hits_within(hits, alarms, rate * images) for rate in rates]
        return np.stack(found, axis=-1) / lesions

    return statistic


def runs_statistic(runs: Sequence[Detections], rates: Rates) -> Statistic:
    """`froc_statistic` of the detections of each run: [R, images] -> [R, S, len(rates)]."""
    each = [froc_statistic(detections, rates) for detections in runs]
    return lambda weights: np.stack([statistic(weights) for statistic in each], axis=1)


def sensitivities(runs: Sequence[Detections], rates: Rates) -> np.ndarray:
    """Sensitivity [T] at each number of false positives per image, mean over the detections of each run."""
    return np.asarray(estimate(runs_statistic(runs, rates), runs[0].images).mean(axis=0))


def readings(
    runs: Sequence[Detections], rates: Rates, groups: Sequence[str] | np.ndarray
) -> Readings:
    """`sensitivities` by run, and without each group; a figure a rate. groups: [images]."""
    return readers.read(
        runs_statistic(runs, rates), groups, [runs[0].ill, ~runs[0].ill], in_steps=True
    )


def too_few(runs: Sequence[Detections], groups: Sequence[str] | np.ndarray) -> str:
    """Why a test set is too small for an interval; empty if it is not.

    The lesions are what sensitivity counts; of patients without one none is needed.
    """
    holders = np.asarray(groups)[runs[0].lesion_image]
    return readers.lacking([holders], words=("patients", "lesions"))


def sensitivity_at(
    runs: Sequence[Detections], rates: Rates, groups: Sequence[str] | np.ndarray
) -> list[Estimate]:
    """`sensitivities` with 95% intervals over patients and runs (`readers`).

    groups: [images] video or patient of each image.
    """
    why = too_few(runs, groups)
    if why:
        return [Estimate(float(value), why=why) for value in sensitivities(runs, rates)]
    return [readers.of_mean(each) for each in readings(runs, rates, groups).each]


def sensitivity_difference(
    first: Sequence[Detections],
    second: Sequence[Detections],
    rates: Rates,
    groups: Sequence[str] | np.ndarray,
    fixed: bool = False,
) -> Estimate:
    """Sensitivity of the first detector minus the second's, mean over rates and runs, paired by patient and run.

    Arguments as of `intervals.difference`.

    Raises UserError for detectors that were not judged on the same images and lesions.
    """
    one, other = first[0], second[0]
    if one.images != other.images or not np.array_equal(one.lesion_image, other.lesion_image):
        raise UserError("Two detectors can be compared only on the same images and lesions.")
    why = too_few(first, groups)
    if why:
        means = [sensitivities(runs, rates).mean() for runs in (first, second)]
        return Estimate(float(means[0] - means[1]), why=why)
    one_read, other_read = (readings(runs, rates, groups).averaged() for runs in (first, second))
    return readers.of_difference(one_read, other_read, fixed=fixed)
