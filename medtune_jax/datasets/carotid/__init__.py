"""Regions of the carotid wall in ultrasound, with traced contours, from the user's folders or CUBS."""

from medtune_jax.datasets.carotid.files import (
    SUFFIXES,
    cubs_experts,
    cubs_images,
    read_cubs,
    read_dicom,
    read_new,
    read_plain,
)
from medtune_jax.datasets.carotid.roi import Roi, check_roi, check_size, crop_around, with_contours

__all__ = [
    "SUFFIXES",
    "Roi",
    "check_roi",
    "check_size",
    "crop_around",
    "cubs_experts",
    "cubs_images",
    "read_cubs",
    "read_dicom",
    "read_new",
    "read_plain",
    "with_contours",
]
