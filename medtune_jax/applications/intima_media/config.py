"""The fields of config.data that this application adds (Tajbakhsh et al. 2016, II-D; docs/paper.md, 4)."""

DEFAULTS = {
    "layout": "plain",  # of data.dir: plain, cubs (as downloaded), or tfds (CUBS, prepared)
    "expert": "",  # the folder of CUBS profiles to learn from
    "test_fraction": 0.48,  # of the subjects: 132 of 276 regions
    # Three classes: background, on the lumen-intima and on the media-adventitia interface. No augmentation.
    "patch": 32.0,  # side of a patch in source pixels [open]
    "train_patches": 200_000,  # of the three classes together; 0: every interface point once
    "background_distance": 3.0,  # pixels between background and both interfaces [open]
    "column_step": 1,  # score every n-th column of a test region
    "patch_seed": 0,
    # Without data.dir: generated regions.
    "subjects": 92,
    "rois": 3,  # of each subject
    "phantom_seed": 0,
}
