"""Edges vote for what they surround (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1).

Every edge point votes along its normal, towards the side on which `boundary` expects the lesion,
with the probability it gives. The votes are kept apart by direction, and by distance: a field of
votes at one distance is a blurred ring sector, so that one convolution per direction and distance
casts the votes of all points at once. A place where votes of *different* directions meet is
surrounded, and wins; a place where one straight fold sends many votes of the same direction does
not. The edges that voted for a place (its vote band) give its box.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage as ndi

from medtune_jax.applications.polyps.boundary import LESION_BRIGHT, LESION_DARK, Edges

GRID = 2  # working pixels per cell of the vote maps
DIRECTIONS = 8
RADII = np.array([4.5, 7.0, 11.0, 17.0, 27.0, 42.0, 66.0])  # working pixels
_RADIUS_SPREAD = 0.35  # of the logarithm of the distance
_SECTOR_POWER = 4  # votes fall off with cos^4 of the angle to the normal
_BAND_QUANTILE = 0.1


class Votes(NamedTuple):
    """One row a vote: where it starts [n, 2], its direction (radians) and its evidence [n]."""

    position: np.ndarray
    angle: np.ndarray
    evidence: np.ndarray

    @classmethod
    def towards_lesions(cls, edges: Edges, probability: np.ndarray) -> "Votes":
        """Two votes a point: to its bright side and to its dark side, by their probabilities."""
        angle = np.arctan2(edges.normal[:, 0], edges.normal[:, 1])
        evidence = probability[:, [LESION_BRIGHT, LESION_DARK]].T.ravel()
        return cls(
            np.concatenate([edges.position, edges.position]),
            np.concatenate([angle, angle + np.pi]),
            edges.weight * evidence,
        )


class VoteMaps(NamedTuple):
    """directed: votes of each direction, float32 [radii, directions, h, w], saturating at 1.

    surround: how surrounded each place is, float32 [radii, h, w]: about 1 at the centre of a full
    circle of certain boundary pixels, whatever its radius. h, w: working size / GRID.
    """

    directed: np.ndarray
    surround: np.ndarray


class Peaks(NamedTuple):
    """Local maxima: radius index [k], cell row [k] and cell column [k] in the vote maps."""

    level: np.ndarray
    row: np.ndarray
    col: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        """(row, col) in working pixels, float [k, 2]."""
        return np.stack([self.row, self.col], -1) * GRID + (GRID - 1) / 2


def cast_votes(votes: Votes, shape: tuple[int, int]) -> VoteMaps:
    """Casts all votes onto a frame of working size `shape`."""
    height, width = -(-shape[0] // GRID), -(-shape[1] // GRID)
    place = (votes.angle % (2 * np.pi)) * DIRECTIONS / (2 * np.pi)
    lower = np.floor(place).astype(np.intp)
    share = place - lower
    cell = np.ravel_multi_index((votes.position // GRID).astype(np.intp).T, (height, width))
    index = np.concatenate([lower % DIRECTIONS, (lower + 1) % DIRECTIONS]) * (height * width)
    index += np.concatenate([cell, cell])
    weight = np.concatenate([votes.evidence * (1 - share), votes.evidence * share])
    evidence = np.bincount(index, weight, DIRECTIONS * height * width)
    evidence = evidence.reshape(DIRECTIONS, height, width).astype(np.float32)

    fields, padded = _vote_fields(height, width)
    cast = scipy.fft.irfft2(scipy.fft.rfft2(evidence, padded) * fields, padded)
    # A crowd of parallel edges counts once: votes of one direction saturate.
    directed = 1 - np.exp(-np.maximum(cast[..., :height, :width], 0))
    pairs = directed.sum(1) ** 2 - (directed**2).sum(1)
    most = DIRECTIONS * (DIRECTIONS - 1) * (1 - np.exp(-1.0)) ** 2
    surround = np.sqrt(np.maximum(pairs, 0) / most)
    blur = 0.2 * RADII / GRID
    smooth = [ndi.gaussian_filter(s, b) for s, b in zip(surround, blur, strict=True)]
    return VoteMaps(directed, np.stack(smooth))


def find_peaks(surround: np.ndarray, most: int) -> Peaks:
    """The `most` highest local maxima of the surround maps [radii, h, w], best first."""
    levels = []
    for level, radius in zip(surround, RADII, strict=True):
        size = max(3, 2 * round(radius / GRID / 2) + 1)
        levels.append((level == ndi.maximum_filter(level, size)) & (level > 1e-3))
    level, row, col = np.nonzero(np.stack(levels))
    # A small ring is seldom as complete as a large one that gathers many edges: even the odds.
    rank = surround[level, row, col] * RADII[level] ** -0.3
    best = np.argsort(-rank, kind="stable")[:most]
    return Peaks(level[best], row[best], col[best])


def band_boxes(peaks: Peaks, votes: Votes) -> np.ndarray:
    """Boxes (row, col, height, width) [k, 4], working pixels, of the vote bands of the peaks.

    A box spans the weighted 10% to 90% of the points that voted for its peak.
    """
    offset = peaks.centre[:, None] - votes.position
    distance = np.maximum(np.hypot(offset[..., 0], offset[..., 1]), 0.5)
    angle = np.arctan2(offset[..., 0], offset[..., 1]) - votes.angle
    weight = votes.evidence * _field(distance, angle, RADII[peaks.level][:, None])
    (top, bottom), (left, right) = (
        _weighted_span(votes.position[:, axis], weight) for axis in (0, 1)
    )
    return np.stack(
        [
            (top + bottom) / 2,
            (left + right) / 2,
            np.maximum(bottom - top, 4),
            np.maximum(right - left, 4),
        ],
        -1,
    )


@lru_cache(maxsize=4)
def _vote_fields(height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Spectra [radii, directions, ...] of the vote fields, and the size they are padded to."""
    reach = int(np.ceil(RADII[-1] * np.exp(2 * _RADIUS_SPREAD) / GRID))
    padded = (
        scipy.fft.next_fast_len(height + reach, real=True),
        scipy.fft.next_fast_len(width + reach, real=True),
    )
    row = scipy.fft.fftfreq(padded[0], 1 / padded[0])[:, None] * GRID
    col = scipy.fft.fftfreq(padded[1], 1 / padded[1])[None, :] * GRID
    direction = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    inside = np.maximum(np.abs(row), np.abs(col)) <= reach * GRID
    distance = np.maximum(np.hypot(row, col), GRID / 2)
    angle = np.arctan2(row, col) - direction[:, None, None]
    radius = RADII[:, None, None, None]
    # Each direction holds 2 pi r / directions pixels of a full circle of radius r: their vote is 1.
    field = inside * _field(distance, angle, radius) * DIRECTIONS / (2 * np.pi * radius)
    return scipy.fft.rfft2(field.astype(np.float32)), padded


def _field(distance: np.ndarray, angle: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The strength of a vote at a distance and an angle from its normal, for a ring's radius."""
    ring = np.exp(-0.5 * (np.log(distance / radius) / _RADIUS_SPREAD) ** 2)
    return ring * np.maximum(np.cos(angle), 0) ** _SECTOR_POWER


def _weighted_span(value: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted quantiles (low, high) of value [n] under each row of weight [k, n]."""
    order = np.argsort(value, kind="stable")
    value = value[order]
    share = np.cumsum(weight[:, order], 1)
    share /= np.maximum(share[:, -1:], 1e-12)
    low = (share < _BAND_QUANTILE).sum(1)
    high = (share < 1 - _BAND_QUANTILE).sum(1)
    last = len(value) - 1
    return value[np.minimum(low, last)], value[np.minimum(high, last)]
