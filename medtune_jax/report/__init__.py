"""One self-contained page that answers "how deep should I tune?", from a study directory alone."""

from medtune_jax.report.section import Section
from medtune_jax.report.sections import SECTIONS
from medtune_jax.report.write import ANSWER, write_report

__all__ = ["ANSWER", "SECTIONS", "Section", "write_report"]
