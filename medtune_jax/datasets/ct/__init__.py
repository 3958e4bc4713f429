"""CT volumes from DICOM, NIfTI or NRRD, in Hounsfield units on one canonical grid."""

from medtune_jax.datasets.ct.cases import Case, find_cases, load_case
from medtune_jax.datasets.ct.dicom import read_dicom_series
from medtune_jax.datasets.ct.files import read_mask, read_volume
from medtune_jax.datasets.ct.grid import Volume

__all__ = [
    "Case",
    "Volume",
    "find_cases",
    "load_case",
    "read_dicom_series",
    "read_mask",
    "read_volume",
]
