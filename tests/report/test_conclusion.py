"""The first paragraph claims what the study bears, says what it does not, and what would settle it."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from medtune_jax.cli import run
from medtune_jax.report import ANSWER, write_report
from medtune_jax.report.conclusion import conclusion
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.findings import _how_chosen
from medtune_jax.report.load import load_study
from medtune_jax.report.merit import Merit
from medtune_jax.study import next_study, report
from tests.report.fake_study import write_study
from tests.report.reading import text_of

DEPTHS = ("conv10", "fire9", "fire8", "fire7", "scratch")


def alike(depth, fraction):
    return {"scratch": 1.4, "conv10": 1.55}.get(depth, 1.65)


def apart(depth, fraction):
    return {"scratch": 0.6, "conv10": 1.0, "fire8": 2.4}.get(depth, 1.8)


def said(directory, skill=alike, **options):
    options = {"depths": DEPTHS, "fractions": (1.0,), "skill": skill, **options}
    return conclusion(Evidence(load_study(write_study(directory, **options))))


def test_what_is_shown_is_concluded(tmp_path):
    text = said(tmp_path, apart)
    assert text.startswith("Tune from fire8 (fire8-conv10). With 100% of the training data")
    assert "This can be concluded: fire8-conv10 is better than training from scratch by 0." in text
    assert "and better than tuning only conv10 by" in text
    assert re.search(
        r"chance that it lies within 0.01 of the best tuned depth is \d+% by validation AUC", text
    )
    assert re.search(r"and on the test set \d+%", text)
    assert "cannot" not in text


def test_broken_training_is_no_evidence_of_depth(tmp_path):
    lost = [("fire7", 1.0, seed) for seed in (0, 1)]
    text = said(tmp_path / "lost", apart, failed=lost, collapsed=[("fire9", 1.0, 2)])
    assert (
        "collapsed, with the same score for half or more of the test images (fire9-conv10)" in text
    )
    assert "runs failed (fire7-conv10: 2 of 3)" in text
    assert "can be concluded: fire8" not in text and "chance" not in text and "takes" not in text
    few = said(tmp_path / "few", apart, seeds=5, failed=[("fire8", 1.0, 0)])
    assert "mean of 4 seeds; 1 of 5 runs failed" in few and "This can be concluded" in few


def test_what_chance_may_explain_is_not_and_has_a_price(tmp_path):
    text = said(tmp_path)
    assert "can be concluded:" not in text and "whether it differs from" in text
    found = re.search(
        r"takes ([\d,]+) test patients with (\d+) seeds, or ([\d,]+) with (\d+)", text
    )
    few, many = (int(found[i].replace(",", "")) for i in (1, 3))
    assert few > many and int(found[2]) < int(found[4])
    assert "(here 80 with 3 seeds)" in text


def test_two_seeds_give_no_tests_and_say_what_to_add(tmp_path):
    text = said(tmp_path, seeds=2)
    assert "two seeds give no test of a difference" in text and "--config.sweep.seeds=3" in text
    assert "p = " not in text and "p < " not in text and "chance that it" not in text


def test_one_seed_and_few_patients(tmp_path):
    text = said(tmp_path / "one", seeds=1)
    assert (
        "one seed tells nothing of other training runs" in text and "--config.sweep.seeds=3" in text
    )
    assert "cannot be told yet" in text and not re.search(r"takes \d", text)
    text = said(tmp_path / "few", patients=8)
    assert "at least 20 images of 5 patients of every class" in text
    assert not re.search(r"takes \d+ test|p = |nan|None", text)


def test_a_lone_depth_has_no_rival(tmp_path):
    text = said(tmp_path, depths=("conv10",))
    assert (
        "cannot be concluded: whether another depth would be better, since no other was run" in text
    )


def test_the_page_the_file_and_the_command_say_the_same(tmp_path, capsys):
    directory = write_study(tmp_path, depths=DEPTHS, fractions=(1.0,), skill=alike)
    page = text_of(report(directory).read_text())
    paragraph = (directory / ANSWER).read_text().strip()
    assert paragraph in page.replace("&#39;", "'")
    assert run(["report", str(directory)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == paragraph


def test_another_figure_of_merit(tmp_path):
    """Errors in pixels: less is better, the metric stands beside it, margin and unit are its own."""
    write_study(tmp_path, depths=DEPTHS, fractions=(1.0,), skill=apart)
    study = load_study(tmp_path)

    def made(evidence):
        def read(cell):
            own = evidence.metric.readings(cell)
            return own._replace(figures=10 - 5 * own.figures, without=10 - 5 * own.without)

        return Merit(study, "mean error", read, margin=0.05, unit="px", digits=2, scale="log")

    evidence = Evidence(study, made)
    text = conclusion(evidence)
    assert re.search(r"test mean error of \d\.\d\d px \(95% interval", text)
    assert "; its image AUC is 0." in text
    shown = r"is better than training from scratch by (\S+) px \((\S+) to ([\d.]+), Holm"
    size, low, high = map(float, re.search(shown, text).groups())
    assert 0 < low < size < high
    assert "and on the test set, within 0.05 px of mean error, " in text
    chances, _ = evidence.chances
    assert max(chances, key=chances.get) == "fire8"
    page = write_report(tmp_path, merit=made).read_text()
    assert "Difference in test mean error (px)" in page and "in image AUC" in page


def test_margins_are_the_configs(tmp_path):
    directory = write_study(tmp_path, depths=DEPTHS, fractions=(1.0,), skill=apart, seeds=2)
    path = directory / "study.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["answer"] = {"validation_margin": 0.5, "margin": 0.03}
    path.write_text(json.dumps(manifest))
    evidence = Evidence(load_study(directory))
    assert evidence.recommendations[1.0].depth == "conv10"
    assert evidence.merit.margin == 0.03 and evidence.metric.margin == 0.5


def test_plan_prints_a_table(tmp_path, capsys):
    directory = write_study(tmp_path, depths=DEPTHS, fractions=(1.0,), skill=alike)
    assert run(["plan", str(directory), "--detect=0.04", "--power=0.9"]) == 0
    text = capsys.readouterr().out
    found = next_study(directory, 0.04, 0.9)
    assert text.strip() == found.text and "A difference of 0.04 in AUC" in text
    rows = [line.split() for line in text.splitlines()[3:6]]
    assert [int(row[0]) for row in rows] == [size.seeds for size in found.sizes]
    patients = [int(row[1].replace(",", "")) for row in rows]
    assert patients == sorted(patients, reverse=True) and found.power == 0.9
    lenient = next_study(directory, 0.04).sizes[0].patients
    assert lenient < found.sizes[0].patients


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, [], "add --detect=0.02"),
        ({}, ["--detect=much"], "--detect=much is no number"),
        ({}, ["--detect=0.02", "--power=2"], "a power of 2"),
        ({}, ["--detect=-0.1"], "above 0"),
        ({}, ["--detect=0.9"], "ends at 0 and 1"),
        ({"seeds": 1}, ["--detect=0.02"], "run three seeds"),
        ({"patients": 8}, ["--detect=0.02"], "5 patients of every class"),
        ({"depths": ("conv10",)}, ["--detect=0.02"], "takes two depths"),
        ({"depths": ("scratch",)}, ["--detect=0.02"], "no tuned depth has a finished run"),
    ],
)
def test_plan_says_what_is_wrong_in_one_sentence(tmp_path, capsys, options, arguments, message):
    write_study(tmp_path, **{"depths": DEPTHS, "fractions": (1.0,), **options})
    assert run(["plan", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


def test_no_chance_is_a_number_out_of_range(tmp_path):
    write_study(tmp_path, depths=DEPTHS, fractions=(1.0,), failed=[("fire9", 1.0, 1)])
    evidence = Evidence(load_study(tmp_path))
    for found in (evidence.chances[0], evidence.recommendations[1.0].chances):
        assert set(found) == set(DEPTHS[:-1])
        assert all(0 <= value <= 1 for value in found.values())
        assert np.sum(list(found.values())) >= 1  # one of them is the best


def test_a_better_mean_is_never_better_by_nothing(tmp_path):
    evidence = Evidence(load_study(write_study(tmp_path, depths=DEPTHS, fractions=(1.0,))))
    (fraction,) = evidence.recommendations
    chosen = evidence.recommendations[fraction]
    rival = next(depth for depth in DEPTHS if depth != chosen.depth)
    for gap, shown in (
        (0.00004, "by less than 0.0001"),
        (0.0123, "by 0.0123"),
        (0.0, "It has the best mean"),
    ):
        means = {**chosen.means, chosen.depth: 0.8, rival: 0.8 + gap}
        evidence.recommendations[fraction] = replace(chosen, best=rival, means=means)
        assert shown in _how_chosen(evidence, fraction)
