"""Tables for a paper."""

import csv

from medtune_jax.evaluation import AUC
from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from medtune_jax.report.tables import comparisons, escaped
from tests.report.fake_study import write_study


def test_tables_for_a_paper_say_what_the_evidence_says(study_dir):
    evidence = Evidence(load_study(study_dir))
    with (study_dir / "tables/by_depth.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(evidence.cells)
    for row in rows:
        wanted = evidence.merit.mean((row["depth"], float(row["fraction"])))
        assert float(row["estimate"]) == wanted.estimate and float(row["low"]) == wanted.low
    text = (study_dir / "tables/by_depth.tex").read_text()
    assert text.count(r"\\") == 1 + len(evidence.study.depths) and "25\\%" in text
    assert f"Test {AUC.title} by tuned stages" in text
    made = comparisons(evidence)
    assert len(made.text) == len(evidence.comparisons) > 0
    assert {row[2] for row in made.values} == {c.other for c in evidence.comparisons}


def test_latex_is_escaped():
    assert escaped("a_b & 5% {x} < 0.001") == r"a\_b \& 5\% \{x\} $<$ 0.001"


def test_a_study_without_a_finished_run_has_no_tables(tmp_path):
    directory = write_study(
        tmp_path, depths=("conv10",), fractions=(1.0,), seeds=1, missing=[("conv10", 1.0, 0)]
    )
    write_report(directory)
    assert not (directory / "tables").exists()
