"""A run's network as files that others can use: formats, their check against the run, and a model card."""

from medtune_jax.export.package import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
