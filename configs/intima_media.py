"""Intima-media segmentation: how deep to tune a network that finds two interfaces of the carotid wall.

    medtune sweep --config=configs/intima_media.py --config.data.dir=DIR --output=STUDY
    medtune sweep --config=configs/intima_media.py:small --output=STUDY

DIR holds SUBJECT/NAME.png with NAME.LI.csv, NAME.MA.csv (x,y in pixels) and calibration.csv (image,mm_per_pixel), or
the CUBS data set (data.layout=cubs). Without DIR the regions are generated: speckle phantoms with exact interfaces.
The numbers are those of Tajbakhsh et al. 2016 (docs/intima-media.md): three classes, no augmentation of the
interfaces, half of the subjects to test on, the training set reduced by subject.
"""

from medtune_jax.study import choose_preset, cpu_sized, default_config


def get_config(preset=""):
    config = default_config("intima_media")
    config.network = "alexnet"

    # Every depth; smaller training sets drop whole subjects.
    config.sweep.depths = "all"
    config.sweep.fractions = "1.0,0.5,0.25,0.1"
    config.sweep.seeds = 3
    choose_preset("intima_media", preset, config, {"small": _small})
    return config


def _small(config):
    """SqueezeNet at 67 px on 40 generated subjects: a quarter of an hour on two cores."""
    cpu_sized(config, epochs=8, patience=4)
    config.data.update(
        {
            "test_fraction": 0.2,
            "train_patches": 4500,
            "column_step": 6,
            "subjects": 40,
            "rois": 2,
        }
    )
    config.sweep.fractions = "1.0,0.04"  # 0.04 of 26 training subjects is one
    config.sweep.seeds = 1
