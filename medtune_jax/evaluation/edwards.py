"""Maximum-likelihood FROC curve: initial detection followed by candidate analysis.

The model is the one named by Edwards et al. 2002 (Medical Physics 29, 2861); the likelihood below
is derived here.

Model. A detector first raises candidates and then scores them.

- The number of false candidates in an image is Poisson with mean `rate` (lambda).
- A lesion is raised as a candidate with probability `detection` (nu), independently.
- After some increasing transformation of the scores, unknown and not needed, false candidates
  are N(0, 1) and true ones N(a / b, 1 / b^2): the binormal model of ROC analysis.

A threshold z then gives

    false marks per image  f = lambda * Phi(-z)
    sensitivity            s = nu * Phi(a - b z) = nu * Phi(a + b * Phi^-1(f / lambda))

for f < lambda, and s = nu from f = lambda on, where every candidate is marked.

Likelihood. Cut the scores at z_1 < ... < z_{K-1} into K ordered bins and count: f_k false and t_k
true candidates (each lesion's highest-scoring one) in bin k, F and T in all, in I images with L
lesions. Splitting a Poisson number of marks into bins gives independent Poisson numbers, and the
lesions, missed ones included, are multinomial, so that

    log likelihood =   F log(I lambda) - I lambda                   (how many false candidates)
                     + T log nu + (L - T) log(1 - nu)               (how many lesions were raised)
                     + sum_k f_k log p_k + sum_k t_k log q_k        (in which bin they fell)

with p_k = Phi(z_k) - Phi(z_{k-1}) and q_k = Phi(b z_k - a) - Phi(b z_{k-1} - a). The three lines
share no parameter: lambda = F / I and nu = T / L are found at once, and the last line is an
ordinal binormal fit of (a, b, z). Bins make the fit depend on the order of the scores only.

Interval. The information is block-diagonal: I / lambda, L / (nu (1 - nu)), and for the third line
the expected information F sum_k dp_k dp_k' / p_k + T sum_k dq_k dq_k' / q_k. The delta method takes
it to logit(s), whose symmetric interval is mapped back and so stays within 0..1.

The model takes candidates as independent. Frames of one video are not; then the analysis by
video (`froc.sensitivity_at`) is the interval to trust, and this one is too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import norm

from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import Detections
from medtune_jax.evaluation.readers import Estimate

_TINY = 1e-300
_EXTREME = 50.0  # |a| or b beyond this: the likelihood has no maximum at finite parameters


@dataclass(frozen=True)
class FrocModel:
    """A fitted curve.

    Attributes:
      rate: lambda, false candidates per image.
      detection: nu, share of lesions with a candidate.
      a, b: binormal parameters; mean and deviation of the true scores are a / b and 1 / b.
      images, lesions: numbers the fit rests on.
      shape_covariance: [2, 2] of (a, b).
    """

    rate: float
    detection: float
    a: float
    b: float
    images: int
    lesions: int
    shape_covariance: np.ndarray

    def sensitivity(self, rates: Sequence[float] | np.ndarray) -> np.ndarray:
        """Sensitivity [T] at false marks per image [T]."""
        share = np.clip(np.asarray(rates, dtype=float) / self.rate, 0, 1)
        return self.detection * norm.cdf(self.a + self.b * norm.ppf(share))

    def sensitivity_at(self, rates: Sequence[float]) -> list[Estimate]:
        """Sensitivity at each rate (> 0) with its 95% interval."""
        return [self._interval(float(rate)) for rate in rates]

    def _interval(self, false_per_image: float) -> Estimate:
        estimate = float(self.sensitivity([false_per_image])[0])
        # At nu = 1 the information is infinite; half a miss keeps the variance honest.
        nu = min(self.detection, (self.lesions - 0.5) / self.lesions)
        share = min(false_per_image / self.rate, 1.0)
        if share < 1:
            z = norm.ppf(share)
            argument = self.a + self.b * z
            found, slope = norm.cdf(argument), nu * norm.pdf(argument)
            by_shape = slope * np.array([1.0, z])
            by_rate = -slope * self.b * share / (self.rate * max(norm.pdf(z), _TINY))
        else:
            found, by_shape, by_rate = 1.0, np.zeros(2), 0.0
        variance = (
            found**2 * nu * (1 - nu) / self.lesions
            + by_shape @ self.shape_covariance @ by_shape
            + by_rate**2 * self.rate / self.images
        )
        centre = np.clip(nu * found, 1e-9, 1 - 1e-9)
        reach = norm.ppf(0.975) * np.sqrt(variance) / (centre * (1 - centre))
        low, high = expit(logit(centre) + np.array([-reach, reach]))
        return Estimate(estimate, float(min(low, estimate)), float(max(high, estimate)))


def fit_froc(detections: Detections, bins: int = 12) -> FrocModel:
    """Fits the model to a detector's candidates by maximum likelihood.

    Args:
      bins: at most this many score bins, cut at quantiles of the true and false scores alike.

    Raises:
      UserError: no false or no true candidate, or scores that do not overlap: then the binormal
        parameters are not determined, and only the empirical curve can be given.
    """
    true = detections.score[detections.first_hit]
    false = detections.score[detections.false]
    if not true.size or not false.size:
        raise UserError(
            f"The FROC model needs true and false candidates, but there are {true.size} and "
            f"{false.size}: use the empirical curve."
        )
    if true.min() > false.max() or true.max() < false.min():
        raise UserError(
            "The scores of true and false candidates do not overlap: the FROC model is not "
            "determined; use the empirical curve."
        )
    a, b, covariance = _fit_shape(*_bin(false, true, bins))
    return FrocModel(
        rate=false.size / detections.images,
        detection=true.size / detections.lesion_image.size,
        a=a,
        b=b,
        images=detections.images,
        lesions=detections.lesion_image.size,
        shape_covariance=covariance,
    )


def _bin(false: np.ndarray, true: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts [K] of false and true scores in common bins, none of them empty of both."""
    levels = np.arange(1, bins) / bins
    # Both classes must be resolved, and false candidates may outnumber true ones a hundredfold.
    cuts = np.concatenate([np.quantile(x, levels[::2], method="lower") for x in (false, true)])
    cuts = np.unique(np.append(cuts, np.median(np.append(false, true))))
    size = cuts.size + 1
    f = np.bincount(np.searchsorted(cuts, false, side="right"), minlength=size)
    t = np.bincount(np.searchsorted(cuts, true, side="right"), minlength=size)
    used = f + t > 0
    return f[used].astype(float), t[used].astype(float)


def _cells(a: float, b: float, cuts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Bin probabilities p, q [K] and their derivatives [K, 2 + cuts] by (a, b, cuts)."""
    inner = b * cuts - a
    p = np.diff(norm.cdf(cuts), prepend=0, append=1)
    q = np.diff(norm.cdf(inner), prepend=0, append=1)
    at_cuts = np.zeros((2, cuts.size, 2 + cuts.size))
    density, shifted = norm.pdf(cuts), norm.pdf(inner)
    at_cuts[0, :, 2:] = np.diag(density)
    at_cuts[1, :, 0] = -shifted
    at_cuts[1, :, 1] = shifted * cuts
    at_cuts[1, :, 2:] = np.diag(b * shifted)
    dp, dq = np.diff(at_cuts, axis=1, prepend=0, append=0)
    return np.maximum(p, _TINY), np.maximum(q, _TINY), dp, dq


def _fit_shape(f: np.ndarray, t: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Ordinal binormal fit: a, b and their covariance from bin counts [K]."""
    if f.size < 3:
        raise UserError(
            f"The candidates' scores fall into {f.size} levels: a FROC model needs at least 3; "
            "use the empirical curve."
        )

    # b and the gaps between cuts are positive: they enter by their logarithms.
    def unpack(x: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
        gaps = np.exp(x[3:])
        return x[0], np.exp(x[1]), x[2] + np.append(0, np.cumsum(gaps)), gaps

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, cuts, gaps = unpack(x)
        p, q, dp, dq = _cells(a, b, cuts)
        gradient = -(f / p) @ dp - (t / q) @ dq
        by_gap = np.cumsum(gradient[:2:-1])[::-1] * gaps
        return (
            float(-f @ np.log(p) - t @ np.log(q)),
            np.concatenate([[gradient[0], gradient[1] * b, gradient[2:].sum()], by_gap]),
        )

    def probits(counts: np.ndarray) -> np.ndarray:
        smooth = np.cumsum(counts + 0.5)
        return norm.ppf(smooth[:-1] / smooth[-1])

    cuts = probits(f)
    start = np.concatenate(
        [[np.mean(cuts - probits(t)), 0.0, cuts[0]], np.log(np.maximum(np.diff(cuts), 1e-3))]
    )
    found = minimize(objective, start, jac=True, method="BFGS", options={"maxiter": 2000})
    a, b, cuts, _ = unpack(found.x)
    p, q, dp, dq = _cells(a, b, cuts)
    information = f.sum() * (dp.T / p) @ dp + t.sum() * (dq.T / q) @ dq
    if max(abs(a), b, 1 / b) > _EXTREME or np.linalg.cond(information) > 1e14:
        raise UserError(
            "The FROC model does not settle on these scores (too few overlapping candidates): use "
            "the empirical curve."
        )
    return float(a), float(b), np.linalg.inv(information)[:2, :2]
