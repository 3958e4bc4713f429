"""Which colonoscopy frames are worth a look: the study of Tajbakhsh et al. 2016, II-C (docs/paper.md, 3).

    medtune sweep --config=configs/frame_quality.py --output=STUDY                           phantoms
    medtune sweep --config=configs/frame_quality.py --config.data.dir=VIDEOS --output=STUDY  your own
    medtune sweep --config=configs/frame_quality.py --config.data.tfds=nerthus --config.data.dir=PREPARED --output=STUDY

VIDEOS holds VIDEO/FRAME.png or VIDEO.mp4, and quality.csv with video,frame,quality (1 informative, 0 not); with the
folders train and test, the split is yours. `:small` is a study for two cores and ten minutes:

    medtune sweep --config=configs/frame_quality.py:small --output=/tmp/quality-small
"""

from medtune_jax.study import choose_preset, cpu_sized, default_config


def get_config(preset=""):
    config = default_config("frame_quality")
    # The paper's AlexNet: --config.network=caffenet --config.weights=CHECKPOINT (see `medtune weights list`).
    config.network = "squeezenet"

    # Every depth and training from scratch; smaller training sets drop whole frames.
    config.sweep.depths = "all"
    config.sweep.fractions = "1.0,0.1,0.05,0.01"
    config.sweep.seeds = 3
    config.training.batch = 128

    choose_preset("frame_quality", preset, config, {"small": _small})
    return config


def _small(config):
    """SqueezeNet at 67 px on 40 short generated videos, with fewer crops of a frame."""
    cpu_sized(config, epochs=6, patience=3)
    config.data.phantom = {"videos": 40, "frames": 30, "height": 180, "width": 256, "seed": 0}
    config.data.frame_height = 180  # as generated: scaling down would hide the blur to be judged
    config.data.crops = 4
    config.data.test_crops = 12
    config.sweep.fractions = "1.0,0.1"
