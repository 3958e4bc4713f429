"""The fields of config.data that this application adds (Tajbakhsh et al. 2016, II-B; docs/paper.md, 2)."""

from dataclasses import asdict

from medtune_jax.applications.embolism.candidates import CandidateConfig
from medtune_jax.applications.embolism.vessel import VesselConfig

DEFAULTS = {
    # About half of the patients are for the test, as in the paper (199 and 127 emboli).
    "test_fraction": 0.4,
    "max_left_out": 0.2,  # refuse when more patients than this share cannot be read
    "phantoms": {
        "patients": 60,
        "healthy": 4,
        "emboli": 5,  # per patient, on average
        "seed": 0,
        "shape": (96, 160, 160),  # voxels (z, y, x)
        "spacing": (1.5, 1.2, 1.2),  # mm
    },
    # Candidates by tobogganing, the vessel's axes by principal components: HU and mm.
    "candidates": asdict(CandidateConfig()),
    "vessel": asdict(VesselConfig()),
    # Two channels: the vessel's cross-section and longitudinal plane (or three orthogonal slices), in every width,
    # shift along the vessel (a share of the width) and rotation about it.
    "representation": "vessel",  # or orthogonal
    "widths_mm": "10,15,20",
    "shifts": "-0.2,0,0.2",
    "rotations": 5,
    "window": (-200.0, 500.0),  # HU that become black and white
    "reduce": "emboli",  # training sets shrink by whole emboli, or by patients
}
