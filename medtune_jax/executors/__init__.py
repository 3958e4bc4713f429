"""Workers for a study's jobs: processes of this machine, a Slurm array, Ray tasks. They claim jobs as launchers do."""

from medtune_jax.executors.cancel import cancel_study
from medtune_jax.executors.launch import launch
from medtune_jax.executors.options import EXECUTORS, Executor, chosen

__all__ = ["EXECUTORS", "Executor", "cancel_study", "chosen", "launch"]
