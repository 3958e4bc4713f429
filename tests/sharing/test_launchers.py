"""Several launchers on one study, killed and stopped at any moment: each run once, and the same bytes as by one."""

import csv
import random
import re
import shutil
import signal
import time

import pytest

from medtune_jax.report.load import load_study
from medtune_jax.report.results import write_results
from medtune_jax.study import default_config, sweep
from tests.sharing.launchers import command, finished, launch, leftovers, results, stopped


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """The results of one launcher that nobody disturbs."""
    study = tmp_path_factory.mktemp("alone") / "study"
    code, said = finished(launch(command(images, study)))
    assert code == 0, said
    return results(study)


def runs_done(said):
    return re.findall(r"^\[\d+/\d+\] (.*?): ", said, re.MULTILINE)


def test_three_launchers_at_once_run_every_run_once(images, alone, tmp_path):
    words = command(images, tmp_path / "study", training__keep_weights=True)
    processes = [launch(words) for _ in range(3)]
    ended = [finished(process) for process in processes]
    assert [code for code, _ in ended] == [0, 0, 0], ended
    assert sorted(run for _, said in ended for run in runs_done(said)) == [
        f"conv10 fraction {fraction} seed {seed}" for fraction in (0.5, 0.75, 1) for seed in (0, 1)
    ]
    assert results(tmp_path / "study") == alone
    assert not leftovers(tmp_path / "study")


def test_what_a_killed_launcher_had_is_taken_over(images, alone, tmp_path):
    """Killed as soon as it has claimed a job."""
    study = tmp_path / "study"
    first = launch(command(images, study))
    while not list(study.glob("claims/*.0001")) and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    finished(first)
    code, said = finished(launch(command(images, study)))
    assert code == 0, said
    assert results(study) == alone
    assert not leftovers(study)


@pytest.mark.slow
def test_signals_at_any_moment_are_obeyed_and_cost_no_bit(images, alone, tmp_path):
    """The first ones come while Python still imports, the later ones in the middle of training."""
    study, draw = tmp_path / "study", random.Random(0)
    codes = {signal.SIGINT: 130, signal.SIGTERM: 75, signal.SIGUSR1: 75}
    for number in range(20):
        sent = draw.choice(list(codes))
        process = launch(command(images, study))
        time.sleep(0.3 * 1.18**number)
        process.send_signal(sent)
        asked = time.monotonic()
        code, said = finished(process)
        if code == 0:  # it was done before
            break
        assert code == codes[sent], said
        assert said.count("medtune: interrupted") == 1 and "Traceback" not in said
        assert time.monotonic() - asked < 60
    finished(launch(command(images, study)))
    assert results(study) == alone
    assert not leftovers(study)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_stopped_between_steps_goes_on_there(images, tmp_path, sent):
    """fire9 convolves and takes single steps on a CPU. The same bits, and no step taken twice."""
    fields = {
        "sweep__depths": "fire9", "sweep__fractions": "1.0", "sweep__seeds": 1,
        "training__epochs": 40, "training__patience": 40, "training__batch": 4,
    }  # fmt: skip
    whole, study = tmp_path / "whole", tmp_path / "study"
    code, said = finished(launch(command(images, whole, **fields)))
    assert code == 0, said
    code, said = stopped(command(images, study, **fields), study, sent, 1.0)
    assert code == 75, said
    assert leftovers(study) and all(name.endswith(".partial") for name in leftovers(study))
    code, said = finished(launch(command(images, study, **fields)))
    assert code == 0, said
    assert results(study) == results(whole)
    assert not leftovers(study)


def test_a_sweep_in_which_every_run_failed_ends_with_1(images, tmp_path):
    words = command(images, tmp_path / "study", rates__head=1e30, training__batch=4)
    code, said = finished(launch(words))
    assert code == 1
    assert "medtune: all 6 runs failed, the first for this: diverged" in said
    assert finished(launch(words))[0] == 1  # there is nothing left to try


def test_a_damaged_run_runs_again_and_no_other(images, tmp_path):
    config = default_config()
    config.data.dir, config.image_size = str(images), 64
    config.sweep.depths, config.sweep.seeds = "conv10", 3
    config.training.epochs, config.training.keep_weights = 1, False
    sweep(config, tmp_path, quiet=True)
    before = results(tmp_path)
    first, second, third = sorted((tmp_path / "runs").iterdir())
    content = (first / "scores.csv").read_bytes()
    (first / "scores.csv").write_bytes(content.replace(b"dark", b"dork", 1))
    (second / "history.csv").unlink()
    write_results(load_study(tmp_path))
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["missing", "missing", "done"]
    stamp = (third / "result.json").stat().st_mtime_ns
    sweep(config, tmp_path, quiet=True)
    assert results(tmp_path) == before
    assert (third / "result.json").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_a_seed_that_runs_again_alone_ends_in_the_bits_it_had_beside_the_other(
    images, alone, tmp_path
):
    """Killed between the writing of two runs that trained together, say."""
    study = tmp_path / "study"
    for kept in ("f1-s0", "f0.75-s1"):
        code, said = finished(launch(command(images, study)))
        assert code == 0, said
        again = next(path for path in (study / "runs").iterdir() if f"conv10-{kept}" in path.name)
        shutil.rmtree(again)
    assert finished(launch(command(images, study)))[0] == 0
    assert results(study) == alone
