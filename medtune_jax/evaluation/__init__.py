"""Figures of merit and their uncertainty, from labels and scores alone."""

from medtune_jax.evaluation.classification import figures
from medtune_jax.evaluation.intervals import difference, interval
from medtune_jax.evaluation.metric import AUC, AUPRC, Metric

__all__ = ["AUC", "AUPRC", "Metric", "difference", "figures", "interval"]
