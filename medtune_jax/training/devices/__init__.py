"""Which devices a study runs on, and how its arrays lie on them."""

from medtune_jax.training.devices.choice import DEVICES, start

__all__ = ["DEVICES", "start"]
