"""Figures: what they draw, and the files beside the page for slides and papers."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medtune_jax.evaluation import AUC, AUPRC
from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import PRECISION_RECALL, ROC, by_depth, curves
from medtune_jax.report.findings import answer
from medtune_jax.report.load import load_study
from tests.report.fake_study import write_study
from tests.report.reading import text_of


def test_figures_are_saved_as_png(study_dir):
    names = sorted(path.name for path in (study_dir / "figures").glob("*.png"))
    wanted = ("confusion", "convergence", "map", "metric_by_depth", "reliability", "roc")
    assert names == [f"{name}.png" for name in wanted]
    for name in names:
        with Image.open(study_dir / "figures" / name) as picture:
            assert picture.width > 900 and np.asarray(picture.convert("L")).std() > 5


def test_every_figure_is_there_for_slides_and_papers(study_dir):
    kinds = {}
    for path in (study_dir / "figures").iterdir():
        kinds.setdefault(path.stem, set()).add(path.suffix)
    assert "map" in kinds and all(kind == {".png", ".svg", ".pdf"} for kind in kinds.values())


def test_the_map_is_drawn_where_the_training_set_has_several_sizes(evidence, tmp_path):
    (drawing,) = answer(evidence).drawings
    (ax,) = drawing.figure.axes
    shown = {text.get_text() for text in ax.texts}
    assert shown == {f"{evidence.metric.readings(cell).mean:.3f}" for cell in evidence.cells}
    for row, (fraction, chosen) in enumerate(evidence.recommendations.items()):
        column = evidence.study.depths.index(chosen.depth)
        assert (column, row) in [patch.get_xy() for patch in ax.patches], fraction
    alone = write_study(tmp_path, fractions=(1.0,))
    assert not answer(Evidence(load_study(alone))).drawings


def test_many_depths_do_not_overlap(tmp_path):
    stages = [f"inception_{i}{c}" for i in range(3, 8) for c in "abcd"]
    directory = write_study(
        tmp_path,
        stages=stages,
        depths=(*reversed(stages), "scratch-gaussian", "scratch-xavier", "scratch-msra"),
        fractions=(1.0, 0.5, 0.25, 0.1, 0.05, 0.01),
        seeds=1,
        patients=40,
    )
    evidence = Evidence(load_study(directory))
    figure = by_depth(evidence).figure
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    assert [t.get_text() for t in labels][-3:] == [
        "scratch (gaussian)",
        "scratch (xavier)",
        "scratch (msra)",
    ]
    # Parallel slanted lines of text are clear of each other if their anchors are far enough apart.
    anchors = np.array([t.get_window_extent().x1 for t in labels])
    height = labels[0].get_fontsize() * figure.dpi / 72
    assert np.diff(anchors).min() * np.sin(np.pi / 4) > height


def test_curve_legend_and_table_are_one_definition(tmp_path):
    """Three classes of which the metric tells one pair from the third, and images in doubt."""
    metric = replace(AUC, tasks=lambda classes: [(1, 2)])
    directory = write_study(
        tmp_path,
        classes=("wall", "intima", "media"),
        depths=("conv10", "conv1"),
        fractions=(1.0,),
        doubtful=30,
        metric=metric,
    )
    text = text_of(write_report(directory, metric=metric).read_text())
    assert "intima or media against wall" in text and "FPR 0.10" in text
    evidence = Evidence(load_study(directory, metric))
    ax = curves(evidence, ROC).figure.axes[0]
    drawn = [line for line in ax.lines if ":" in str(line.get_label())]
    assert drawn
    for line in drawn:
        x, y = line.get_xdata(), line.get_ydata()
        area = np.trapezoid(np.append(y, 1), np.append(x, 1))
        assert area == pytest.approx(float(line.get_label().split(": ")[1]), abs=5e-3)
    figure = evidence.test("conv1", 1.0).estimate
    assert any(line.get_label().endswith(f": {figure:.3f}") for line in drawn)


def test_auprc_has_its_own_curves(tmp_path):
    """No ROC curve is labelled with the area under another curve."""
    directory = write_study(
        tmp_path, depths=("conv10", "conv1"), fractions=(1.0,), metric=AUPRC, skill=lambda *_: 0.8
    )
    text = text_of(write_report(directory).read_text())
    assert text.index("Precision-recall curves") < text.index("ROC curves")
    assert "Test AUPRC" in text and "test AUC" not in text
    evidence = Evidence(load_study(directory))
    labels = [t.get_text() for t in curves(evidence, ROC).figure.axes[0].get_legend().texts]
    assert labels and not any(re.search(r"0\.\d", label) for label in labels)
    for line in curves(evidence, PRECISION_RECALL).figure.axes[0].lines:
        shown = float(line.get_label().split(": ")[1])
        assert line.get_ydata().mean() == pytest.approx(shown, abs=3e-3)
