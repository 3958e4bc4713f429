"""Which devices a study runs on, and how its arrays lie on them."""

from medtune_jax.training.devices.choice import DEVICES, give_back_freed, keep_freed_memory, start

__all__ = ["DEVICES", "give_back_freed", "keep_freed_memory", "start"]
