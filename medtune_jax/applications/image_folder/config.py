"""The fields of config.data that this application adds."""

DEFAULTS = {
    # A folder (data.dir) with labels.csv, or with one sub-folder of images a class:
    "patient_pattern": "",  # of class folders: a regular expression on file names, group 1 is the patient
    # or a data set that TFDS prepared under data.dir, in place of a folder of images:
    "tfds": "",
    "image_feature": "image",
    "label_feature": "label",
    "group_feature": "",  # what tells its patients apart; empty: not known
}
