"""Regions of the carotid wall in ultrasound, with traced contours, from the user's folders or CUBS."""

from medtune_jax.datasets.carotid.files import SUFFIXES, read_cubs, read_new, read_plain
from medtune_jax.datasets.carotid.roi import Roi, check_roi

__all__ = ["SUFFIXES", "Roi", "check_roi", "read_cubs", "read_new", "read_plain"]
