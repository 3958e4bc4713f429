"""Where are the polyps in a colonoscopy frame? The study of Tajbakhsh et al. 2016, II-A (docs/paper.md, 1).

    medtune sweep --config=configs/polyps.py --config.weights=ALEXNET --output=STUDY                           phantoms
    medtune sweep --config=configs/polyps.py --config.weights=ALEXNET --config.data.dir=VIDEOS --output=STUDY  your own
    medtune sweep ... --config.data.tfds=asu_mayo --config.data.dir=PREPARED --output=STUDY

VIDEOS holds VIDEO/FRAME.png with VIDEO/masks/FRAME.png, or VIDEO.mp4 with masks/VIDEO/NUMBER.png, or images/ and masks/
(Kvasir-SEG); with the folders train and test, the split is yours. ALEXNET: see `medtune weights list`. `:small` is a
study for two cores and ten minutes:

    medtune sweep --config=configs/polyps.py:small --output=/tmp/polyps-small
"""

from medtune_jax.study import choose_preset, cpu_sized, default_config


def get_config(preset=""):
    config = default_config("polyps")
    config.network = "alexnet"

    # Every depth and training from scratch; smaller training sets drop whole videos.
    config.sweep.depths = "all"
    config.sweep.fractions = "1.0,0.5,0.25"
    config.sweep.seeds = 3
    config.training.batch = 128

    choose_preset("polyps", preset, config, {"small": _small})
    return config


def _small(config):
    """SqueezeNet at 67 px on 72 short generated videos: many different polyps, few frames of each."""
    cpu_sized(config, epochs=6, patience=3)
    config.data.phantom = {"videos": 72, "frames": 6, "height": 144, "width": 192, "seed": 0}
    config.data.test_fraction = 0.34
    config.data.candidates = 6
    config.data.detector_frames = 120
    config.data.train_patches = 2400
    config.data.test_variants = 4
    config.sweep.fractions = "1.0,0.25"
