"""Readers of other programs' weight files; each returns `Layer` records in the source's layout."""

from medtune_jax.weights.formats.layer import Layer

__all__ = ["Layer"]
