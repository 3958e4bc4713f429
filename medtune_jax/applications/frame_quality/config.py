"""The fields of config.data that this application adds (Tajbakhsh et al. 2016, II-C; docs/paper.md, 3)."""

DEFAULTS = {
    # Six complete videos, one frame every 5 s, balanced to 4,000 frames of 500 x 350; split by video, about half each.
    "tfds": "",  # a set prepared by `medtune data prepare`: nerthus, hyper_kvasir_quality
    "mask_background": "",  # black or white: what surrounds lesions; empty: black, refused where that is in doubt
    "seconds_between_frames": 5.0,
    "frame_height": 350,  # pixels: every frame is scaled to this height; 0: left as it is
    "test_fraction": 0.5,  # of the videos, where the data fix no split
    # Without data.dir: generated videos. More and shorter ones than the paper's: an interval is over videos.
    "phantom": {"videos": 40, "frames": 100, "height": 350, "width": 500, "seed": 0},
    # Random crops of the network's input size; the score of a frame is the mean over its crops.
    "crops": 20,  # a frame: 40,000 to train on. The paper says 40,000 in all, and also 200 a frame [open]
    "test_crops": 40,  # of a test frame; the mean over more of them is the better score
    "crop_seed": 0,
}
