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
    config = default_config()
    config.application = "frame_quality"
    # The paper's AlexNet: --config.network=caffenet --config.weights=CHECKPOINT (see `medtune weights list`).
    config.network = "squeezenet"

    # Six complete videos, one frame every 5 s, balanced to 4,000 frames of 500 x 350; split by video, about half each.
    config.data.tfds = ""  # a set prepared by `medtune data prepare`: nerthus, hyper_kvasir_quality
    config.data.seconds_between_frames = 5.0
    config.data.frame_height = 350  # every frame is scaled to this height; 0: left as it is
    config.data.test_fraction = 0.5
    # Without data.dir: generated videos. More and shorter ones than the paper's: an interval is over videos.
    config.data.phantom = {"videos": 40, "frames": 100, "height": 350, "width": 500, "seed": 0}

    # Random crops of the network's input size; the score of a frame is the mean over its crops.
    config.data.crops = (
        20  # a frame: 40,000 to train on. The paper says 40,000 in all, and also 200 a frame.
    )
    config.data.test_crops = 40  # of a test frame; the mean over more of them is the better score
    config.data.crop_seed = 0

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
