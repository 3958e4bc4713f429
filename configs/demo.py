"""The demo: frame quality on generated colonoscopy frames, small enough for two cores and a coffee.

bash scripts/demo.sh
"""

from medtune_jax.study import cpu_sized, default_config


def get_config():
    config = default_config()
    cpu_sized(config, epochs=8, patience=4)
    config.data.test_fraction = 0.25  # 12 of 48 videos
    config.sweep.fractions = "1.0,0.25"
    config.sweep.seeds = 3  # fewer give no p for a difference
    return config
