"""Every pair of depths, in pairs.csv and on the page."""

import csv
import itertools
import re

import pytest

from medtune_jax.evaluation import AUC
from medtune_jax.evaluation.roc import sensitivity_at
from medtune_jax.report import write_report
from medtune_jax.report.pairs import section
from tests.report.fake_study import write_study
from tests.report.reading import text_of


def test_every_pair_of_depths_has_its_row(study_dir, evidence):
    with (study_dir / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    figures = [evidence.merit.title, *(point.title for point in evidence.points)]
    assert figures[0] == "AUC" and len(set(figures)) == 4
    for fraction, figure in itertools.product(evidence.study.fractions, figures):
        own = [r for r in rows if float(r["fraction"]) == fraction and r["figure"] == figure]
        depths = [depth for depth, f in evidence.cells if f == fraction]
        assert len(own) == len(depths) * (len(depths) - 1) // 2
        assert len({frozenset((row["depth"], row["other"])) for row in own}) == len(own)
    row = next(r for r in rows if (r["depth"], r["other"]) == ("conv10", "fire6"))
    wanted = evidence.merit.minus(("conv10", 1.0), ("fire6", 1.0))
    assert float(row["difference"]) == pytest.approx(wanted.estimate)
    assert float(row["low"]) == pytest.approx(wanted.low)
    assert float(row["holm_p"]) >= float(row["p"]) == pytest.approx(wanted.p)


def test_pairs_at_operating_points_are_differences_of_the_roc(evidence):
    cells = [("conv10", 1.0), ("fire9", 1.0)]
    one, other = (
        sensitivity_at(AUC, evidence.labels, evidence.judged(cell), evidence.groups)
        for cell in cells
    )
    for point, mine, yours in zip(evidence.points, one, other, strict=True):
        assert point.mean(cells[0]).estimate == pytest.approx(mine.estimate)
        found = point.minus(*cells)
        assert found.estimate == pytest.approx(mine.estimate - yours.estimate)
        assert found.low < found.estimate < found.high and 0 < found.p <= 1


def test_the_page_marks_only_pairs_that_differ_clearly(evidence):
    clear = sum(
        pair.holm_p is not None and pair.holm_p < 0.05
        for _, pairs in evidence.pairs[evidence.main_fraction]
        for pair in pairs
    )
    assert str(section(evidence).html).count("<strong>") == clear > 0


def test_depths_without_a_common_seed_are_not_compared(tmp_path):
    cells = [("conv10", 1.0, 0), ("scratch", 1.0, 1), ("conv10", 1.0, 2), ("scratch", 1.0, 2)]
    directory = write_study(
        tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), seeds=3, failed=cells
    )
    text = text_of(write_report(directory).read_text())
    assert "no seed has finished in both" in text and not re.search(r"\bnan\b|None", text)
