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
    config = default_config()
    config.application = "polyps"
    config.network = "alexnet"

    # 40 short videos with a lesion mask for every frame; split by video, half of the frames to test on.
    config.data.tfds = ""  # a set prepared by `medtune data prepare`: asu_mayo, cvc_clinicdb, ...
    config.data.test_fraction = 0.5  # of the videos, where the data fix no split
    config.data.most_frames = 0  # take that many frames, evenly from the whole set; 0: all
    config.data.longest_side = 512  # frames that are longer are shrunk to it
    # Without data.dir: generated videos, kept in ~/.cache/medtune (data.dir=phantom:DIR keeps them in DIR).
    config.data.phantom = {"videos": 40, "frames": 473, "height": 288, "width": 384, "seed": 0}

    # Candidates of the hand-crafted detector, which learns from training videos only.
    config.data.candidates = 10  # a frame, at most
    config.data.detector_frames = 2000  # training frames it learns from, evenly chosen; 0: all
    config.data.detector_seed = 0
    config.data.smallest_lesion = 20  # pixels; smaller specks of a mask are no lesion

    # Patches: the box x 1.0, 1.2, 1.5; 5 positions shifted by 10%; 8 mirror/flip variants: 120 a candidate.
    config.data.train_patches = (
        100_000  # stratified: half of them polyps, spread evenly over the videos
    )
    config.data.test_variants = (
        120  # of each test candidate, whose probability is the mean over them
    )
    config.data.square = (
        False  # True: a square round the box instead of the box stretched to a square [open]
    )
    config.data.patch_seed = 0

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
