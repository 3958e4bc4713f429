"""Tuning depth, per-stage rates and Caffe's SGD as an optax partition."""

from medtune_jax.tuning.depth import SCRATCH, Depth, every_depth, parse
from medtune_jax.tuning.sgd import (
    caffe_sgd,
    group_rates,
    labels,
    optimizer,
    split,
    update,
    update_by_stage,
)

__all__ = [
    "SCRATCH",
    "Depth",
    "caffe_sgd",
    "every_depth",
    "group_rates",
    "labels",
    "optimizer",
    "parse",
    "split",
    "update",
    "update_by_stage",
]
