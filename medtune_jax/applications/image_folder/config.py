"""The fields of config.data that this application adds."""

DEFAULTS = {
    # A folder (data.dir) with a table,
    "table": "",  # its name; empty: labels.csv
    "columns": "",  # its own names for image, label, patient[, split], as in image_id,dx,lesion_id
    "subgroups": "",  # further columns, whose values are sub-groups of the test set (site,sex); empty: those that fit
    "findings": "",  # several an image: all words of the label column, apart by |, or those named (words or columns)
    "uncertain": "ignore",  # what -1 in a finding's own column means: ignore, positive, negative
    "blank": "negative",  # what an empty cell means there
    # or with folders that say the class:
    "layout": "",  # what they are from the top, as in SPLIT/CLASS/PATIENT; empty: found by their names
    "class_pattern": "",  # a regular expression on paths, group 1 is the class; empty: a folder is
    "patient_pattern": "",  # a regular expression on file names (findings: the image column), group 1 is the patient
    "duplicates": "identical",  # pictures under two patients that join them: identical, near (copies too), none
    # or a data set that TFDS prepared under data.dir, in place of a folder of images:
    "tfds": "",
    "image_feature": "image",
    "label_feature": "label",
    "group_feature": "",  # what tells its patients apart; empty: not known
}
