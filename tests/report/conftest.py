"""A study with runs that failed or are missing, and its report."""

import pytest

from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from tests.report.fake_study import middle_is_best, write_study


@pytest.fixture(scope="session")
def study_dir(tmp_path_factory):
    """With its pictures of all kinds."""
    directory = write_study(
        tmp_path_factory.mktemp("study"),
        skill=middle_is_best,
        failed=[("conv1", 1.0, 1)],
        missing=[("fire2", 0.25, 2), ("scratch", 0.25, 0)],
        validation=60,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medtune_jax.report.figures.KINDS", ("svg", "png", "pdf"))
        write_report(directory)
    return directory


@pytest.fixture(scope="session")
def evidence(study_dir):
    return Evidence(load_study(study_dir))


@pytest.fixture(scope="session")
def page(study_dir):
    return (study_dir / "report.html").read_text()
