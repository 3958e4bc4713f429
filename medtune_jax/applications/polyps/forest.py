"""A random forest as plain arrays, so that a study can keep its detector: scikit-learn's own form is a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from sklearn.ensemble import RandomForestClassifier


@dataclass(frozen=True)
class Forest:
    """Trees of N nodes in all, one after another.

    roots: int [T]. left, right: int [N], where a row goes whose feature [N] is at most, or above, threshold float [N];
    a leaf's are itself. share: float [N, K], of each class among the training rows in a node. classes: int [K]. depth:
    int [1], of the deepest tree.
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    share: np.ndarray
    classes: np.ndarray
    depth: np.ndarray

    @classmethod
    def of(cls, fitted: RandomForestClassifier) -> Forest:
        trees = [estimator.tree_ for estimator in fitted.estimators_]
        sizes = np.array([tree.node_count for tree in trees])
        roots = np.cumsum(sizes) - sizes
        inner = np.concatenate([tree.children_left >= 0 for tree in trees])
        own = np.arange(sizes.sum())
        left, right = (
            np.concatenate([getattr(t, side) + r for t, r in zip(trees, roots, strict=True)])
            for side in ("children_left", "children_right")
        )
        return cls(
            roots=roots,
            left=np.where(inner, left, own).astype(np.int32),
            right=np.where(inner, right, own).astype(np.int32),
            feature=np.where(inner, np.concatenate([t.feature for t in trees]), 0).astype(np.int16),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            share=np.concatenate([tree.value[:, 0] for tree in trees]),
            classes=np.asarray(fitted.classes_, int),
            depth=np.array([max(tree.max_depth for tree in trees)]),
        )

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Float64 [n, K]: the mean over the trees of the shares in the leaf that a row [n, d] ends in."""
        x, rows = np.asarray(features, np.float32), np.arange(len(features))
        node = np.repeat(self.roots[:, None], len(x), axis=1)
        for _ in range(int(self.depth[0])):
            down = x[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(down, self.left[node], self.right[node])
        mean: np.ndarray = self.share[node].sum(axis=0) / len(self.roots)
        return mean

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Its fields by name."""
        return {f"{prefix}_{field.name}": getattr(self, field.name) for field in fields(self)}

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray], prefix: str) -> Forest:
        """What `arrays` made."""
        return cls(**{field.name: arrays[f"{prefix}_{field.name}"] for field in fields(cls)})
