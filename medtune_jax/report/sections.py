"""The sections of the page, in order.

An application adds its own by giving `write_report` a longer list.
"""

from medtune_jax.report import charts, fairness, findings, foresight, methods, pairs, reviewer, ways
from medtune_jax.report.section import SectionMaker

SECTIONS: tuple[SectionMaker, ...] = (
    findings.answer,
    charts.by_depth,
    findings.tests,
    ways.section,
    foresight.section,
    findings.verdicts,
    findings.recommendation,
    charts.precision_recall,
    charts.roc,
    reviewer.figures,
    reviewer.calibration,
    reviewer.confusion,
    reviewer.subgroups,
    pairs.section,
    charts.convergence,
    fairness.rates,
    methods.stages,
    methods.cost,
    methods.provenance,
)
