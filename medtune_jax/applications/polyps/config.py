"""The fields of config.data that this application adds (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1)."""

DEFAULTS = {
    # 40 short videos with a lesion mask for every frame; split by video, half of the frames to test on.
    "tfds": "",  # a set prepared by `medtune data prepare`: asu_mayo, cvc_clinicdb, ...
    "test_fraction": 0.5,  # of the videos, where the data fix no split
    "most_frames": 0,  # take that many frames, evenly from the whole set; 0: all
    "longest_side": 512,  # pixels: frames that are longer are shrunk to it
    # Without data.dir: generated videos, kept in ~/.cache/medtune (data.dir=phantom:DIR keeps them in DIR).
    "phantom": {"videos": 40, "frames": 473, "height": 288, "width": 384, "seed": 0},
    # Candidates of the hand-crafted detector, which learns from training videos only.
    "candidates": 10,  # per frame, at most
    "detector_frames": 2000,  # training frames it learns from, evenly chosen; 0: all
    "detector_seed": 0,
    "mask_background": "",  # black or white: what surrounds lesions; empty: black, refused where that is in doubt
    "smallest_lesion": 20,  # pixels; smaller specks of a mask are no lesion
    # Patches: the box x 1.0, 1.2, 1.5; 5 positions shifted by 10%; 8 mirror/flip variants: 120 per candidate.
    "train_patches": 100_000,  # stratified: half of them polyps, spread evenly over the videos
    "test_variants": 120,  # of each test candidate, whose probability is the mean over them
    "square": False,  # True: a square round the box instead of the box stretched to a square [open]
    "patch_seed": 0,
}
