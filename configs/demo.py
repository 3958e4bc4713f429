"""The demo: frame quality on generated colonoscopy frames, small enough for two cores and a coffee.

bash scripts/demo.sh
"""

from medtune_jax.study import default_config


def get_config():
    config = default_config()
    config.image_size = 67
    config.data.patient_pattern = ""
    config.sweep.depths = "conv10,fire8,fire5,conv1,scratch"
    config.sweep.fractions = "1.0,0.25"
    config.sweep.seeds = 2
    config.training.epochs = 8
    config.training.patience = 4
    return config
