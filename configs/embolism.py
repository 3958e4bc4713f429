"""Pulmonary embolism detection in CT angiography: which depth, how much data (Tajbakhsh et al. 2016, II-B).

    medtune sweep --config=configs/embolism.py --config.data.dir=DIR --output=STUDY
    medtune sweep --config=configs/embolism.py:small --output=STUDY      # two CPU cores, under 15 minutes

DIR holds DIR/PATIENT/dicom/*.dcm (or volume.nii.gz, volume.nrrd) with DIR/PATIENT/emboli.nii.gz, whose values number
the emboli; CAD-PE and FUMPE are read as downloaded. Without DIR, phantom patients are written to disk as DICOM first.
"""

from medtune_jax.study import choose_preset, cpu_sized, default_config


def get_config(preset=""):
    config = default_config("embolism")
    config.network = "alexnet"

    # Every depth and training from scratch; smaller training sets drop whole emboli (data.reduce).
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
