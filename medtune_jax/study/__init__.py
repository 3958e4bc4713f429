"""A study: its config, plan, runs and results."""

from medtune_jax.study.config import choose_preset, cpu_sized, default_config
from medtune_jax.study.foresight import Foresight, probe
from medtune_jax.study.plan import Plan, PlannedRun, make_plan
from medtune_jax.study.report import compare, next_study, report
from medtune_jax.study.sweep import sweep
from medtune_jax.study.tune import Tuned, tune

__all__ = [
    "Foresight",
    "Plan",
    "PlannedRun",
    "Tuned",
    "choose_preset",
    "compare",
    "cpu_sized",
    "default_config",
    "make_plan",
    "next_study",
    "probe",
    "report",
    "sweep",
    "tune",
]
