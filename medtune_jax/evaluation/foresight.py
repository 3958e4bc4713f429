"""What features of a frozen network know of the classes, without tuning it: LogME, and a linear probe."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from medtune_jax.evaluation.labels import several, sides

_ITERATIONS = 100  # of the fixed point; ten are the rule
_CLOSE = 1e-3  # relative change of alpha / beta at which it has settled
_STEPS = 1000  # of the probe's solver
_TINY = 1e-12


@dataclass(frozen=True)
class Known:
    """What a stage's output says. features: their number; logme and validation (the probe's): by seed."""

    stage: str
    features: int
    logme: tuple[float, ...]
    validation: tuple[float, ...]


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """Logarithm of the maximum evidence per image, mean over classes: higher is better (You et al., ICML 2021).

    features: float [N, D]. labels: int [N], or [N, F] of findings, 1, 0, and -1 where nothing is known. Each class is a
    target of 1 and 0 for a Bayesian linear model whose two precisions, of weights and of noise, are those of the
    greatest evidence; so it needs no validation data and punishes features that fit by their number alone.
    """
    classes = labels.shape[1] if several(labels) else int(labels.max()) + 1
    scores = []
    for c in range(classes):
        positive, negative = sides(labels, (c,))
        known = positive | negative
        scores.append(_evidence(np.asarray(features[known], float), positive[known].astype(float)))
    return float(np.mean(scores))


def _evidence(features: np.ndarray, target: np.ndarray) -> float:
    """Of one target [N], at the fixed point of both precisions (Algorithm 3 of the paper, by one decomposition)."""
    count = len(target)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    spectrum, squares = singular**2, (left.T @ target) ** 2
    outside = max(float(target @ target - squares.sum()), 0.0)  # what no weights can reach
    alpha = beta = 1.0
    for _ in range(_ITERATIONS):
        ratio = alpha / beta
        effective = (spectrum / (spectrum + ratio)).sum()
        weights = (spectrum * squares / (spectrum + ratio) ** 2).sum()
        residual = (squares / (1 + spectrum / ratio) ** 2).sum() + outside
        alpha = effective / (weights + _TINY)
        beta = (count - effective) / (residual + _TINY)
        if abs(alpha / beta - ratio) <= _CLOSE * ratio:
            break
    variance = (
        spectrum / alpha + 1 / beta
    )  # of the target along the left singular vectors; 1 / beta along all others
    spread = np.log(variance).sum() - (count - len(spectrum)) * np.log(beta)
    distance = (squares / variance).sum() + beta * outside
    return float(-0.5 * (count * np.log(2 * np.pi) + spread + distance) / count)


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    classes: int,
    balanced: bool = False,
) -> np.ndarray:
    """Outputs [M, C] for `others` [M, D] of a logistic regression (L2, C = 1) on standardised features [N, D].

    labels: int [N] in 0..C-1, of which each class is there: outputs go through a softmax; or [N, F] of
    findings, as in `log_me`: outputs are log-odds. balanced: classes weigh as much as each other, whatever their sizes.
    """
    if not several(labels):
        # Not the logarithm of its probabilities, which saturate.
        scores = np.asarray(_fitted(features, labels, balanced).decision_function(others))
        return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)
    outputs = []
    for finding in range(classes):
        positive, negative = sides(labels, (finding,))
        known = positive | negative
        model = _fitted(features[known], positive[known], balanced)
        outputs.append(model.decision_function(others))
    return np.stack(outputs, axis=1)


def _fitted(features: np.ndarray, labels: np.ndarray, balanced: bool) -> Pipeline:
    weight = "balanced" if balanced else None
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=_STEPS, class_weight=weight)
    )
    with warnings.catch_warnings():  # near the optimum the ranking no longer changes
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, labels)
