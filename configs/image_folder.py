"""How deep to fine-tune on your own labelled images.

    medtune sweep --config=configs/image_folder.py --config.data.dir=DIR --output=STUDY
    medtune sweep --config=configs/image_folder.py --config.data.tfds=colorectal_histology --config.data.dir=PREPARED \\
        --output=STUDY

DIR holds labels.csv (image,label,patient[,split]) or one sub-folder a class. Every depth of SqueezeNet with its bundled
ImageNet weights, and training from scratch, on all and on a quarter of the training patients, three seeds each.
"""

from medtune_jax.study import default_config


def get_config():
    config = default_config("image_folder")
    config.network = "squeezenet"
    config.sweep.depths = "all"
    config.sweep.fractions = "1.0,0.25"
    config.sweep.seeds = 3
    return config
