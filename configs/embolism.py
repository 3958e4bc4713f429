"""Pulmonary embolism detection in CT angiography: which depth, how much data (Tajbakhsh et al. 2016, II-B).

    medtune sweep --config=configs/embolism.py --config.data.dir=DIR --output=STUDY
    medtune sweep --config=configs/embolism.py:small --output=STUDY      # two CPU cores, under 15 minutes

DIR holds DIR/PATIENT/dicom/*.dcm (or volume.nii.gz, volume.nrrd) with DIR/PATIENT/emboli.nii.gz, whose values number
the emboli; CAD-PE and FUMPE are read as downloaded. Without DIR, phantom patients are written to disk as DICOM first.
"""

from dataclasses import asdict

from ml_collections import ConfigDict

from medtune_jax.applications.embolism.candidates import CandidateConfig
from medtune_jax.applications.embolism.vessel import VesselConfig
from medtune_jax.study import choose_preset, cpu_sized, default_config


def get_config(preset=""):
    config = default_config()
    config.application = "embolism"
    config.network = "alexnet"

    # Patients: about half of them are for the test, as in the paper (199 and 127 emboli).
    config.data.test_fraction = 0.4
    config.data.max_left_out = 0.2  # refuse when more patients than this share cannot be read
    config.data.phantoms = ConfigDict(
        {
            "patients": 60,
            "healthy": 4,
            "emboli": 5,  # a patient, on average
            "seed": 0,
            "shape": (96, 160, 160),  # voxels (z, y, x)
            "spacing": (1.5, 1.2, 1.2),  # mm
        }
    )

    # Candidates by tobogganing, the vessel's axes by principal components: HU and mm.
    config.data.candidates = ConfigDict(asdict(CandidateConfig()))
    config.data.vessel = ConfigDict(asdict(VesselConfig()))

    # Two channels: the vessel's cross-section and longitudinal plane (or three orthogonal slices), in every width,
    # shift along the vessel (a share of the width) and rotation about it.
    config.data.representation = "vessel"  # or orthogonal
    config.data.widths_mm = "10,15,20"
    config.data.shifts = "-0.2,0,0.2"
    config.data.rotations = 5
    config.data.window = (-200.0, 500.0)  # HU that become black and white

    # Training sets shrink by whole emboli.
    config.data.reduce = "emboli"  # or patients
    config.sweep.depths = "all"
    config.sweep.fractions = "1.0,0.5,0.25"
    config.sweep.seeds = 3
    config.training.batch = 128

    choose_preset("embolism", preset, config, {"small": _small})
    return config


def _small(config):
    """SqueezeNet at 67 px on 30 generated patients, every candidate seen in three widths only."""
    cpu_sized(config, epochs=8, patience=3)
    config.data.phantoms.patients = 30
    config.data.phantoms.healthy = 2
    config.data.shifts = "0"
    config.data.rotations = 1
    config.sweep.depths = "conv10,fire9,fire5,conv1,scratch"
