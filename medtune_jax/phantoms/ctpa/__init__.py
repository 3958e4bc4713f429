"""Phantom CT pulmonary angiograms: a seeded chest with emboli, mimics and their truth."""

from medtune_jax.phantoms.ctpa.emboli import KINDS, Embolus, Mimic
from medtune_jax.phantoms.ctpa.files import write_dicom_series, write_dicom_study, write_nifti
from medtune_jax.phantoms.ctpa.phantom import Phantom, ctpa_phantom

__all__ = [
    "KINDS",
    "Embolus",
    "Mimic",
    "Phantom",
    "ctpa_phantom",
    "write_dicom_series",
    "write_dicom_study",
    "write_nifti",
]
