"""Which devices a study runs on, and how its arrays lie on them."""

from medtune_jax.training.devices.choice import DEVICES, keep_freed_memory, start

__all__ = ["DEVICES", "keep_freed_memory", "start"]
