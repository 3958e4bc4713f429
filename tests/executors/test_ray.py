"""A real Ray: two worker processes, one killed in the middle; the same bytes as by one process."""

import json
import os
import signal
import time

import pytest

from medtune_jax.sharing.claims import Claims
from tests.executors.conftest import TWELVE, launch, lives
from tests.sharing.launchers import command, finished, leftovers, results
from tests.sharing.test_several_hosts import assert_equal_to

pytest.importorskip("ray", reason="no Ray: install the extra 'cluster'")
pytestmark = pytest.mark.slow


def tasks(images, study):
    words = command(images, study, **TWELVE)
    return launch([*words, "--executor=ray", "--executor.workers=2", "--executor.num_cpus=0.5"])


def both_at_work(study, process):
    """The leases of two workers."""
    give_up = time.monotonic() + 200
    while len(held := Claims(study / "claims").held()) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return held


def test_a_killed_worker_is_replaced_and_costs_no_bit(images, alone, tmp_path):
    study = tmp_path / "study"
    process = tasks(images, study)
    held = both_at_work(study, process)
    assert held[0].pid != held[1].pid
    os.kill(held[0].pid, signal.SIGKILL)
    code, said = finished(process)
    assert code == 0, said
    assert results(study) == alone
    assert not leftovers(study)
    submitted = json.loads((study / "submitted" / "0001" / "submission.json").read_text())
    assert submitted["place"].startswith("127.0.0.1:") and len(submitted["workers"]) == 2
    log = "\n".join(path.read_text() for path in study.glob("submitted/0001/ray-*.log"))
    assert (
        log.count("starts from the features") == 3
    )  # two workers, and the one in place of the killed one


def test_a_group_trains_together_and_starts_again_where_one_process_is_lost(images, tmp_path):
    alone, study = tmp_path / "alone", tmp_path / "study"
    fields = {"sweep__depths": "conv10", "training__epochs": 2}
    assert finished(launch(command(images, alone, **fields)))[0] == 0
    options = ["--executor=ray", "--executor.workers=1", "--executor.num_cpus=0.5"]
    words = [*command(images, study, **fields), *options, "--executor.processes=2"]
    process = launch(words)
    give_up = time.monotonic() + 200
    while not (held := Claims(study / "claims").held()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up
        time.sleep(0.02)
    os.kill(held[0].pid, signal.SIGKILL)
    code, said = finished(process)
    assert code == 0, said
    assert_equal_to(study, alone)
    assert not leftovers(study)
    folder = study / "submitted" / "0001"
    assert {path.name for path in folder.glob("*.log")} == {"ray-0-0.log", "ray-0-1.log"}
    assert "process 1 of 2 has lost another one" in (folder / "ray-0-1.log").read_text()


def test_cancel_ends_the_tasks_and_their_launcher(images, alone, tmp_path):
    study = tmp_path / "study"
    process = tasks(images, study)
    held = both_at_work(study, process)
    assert finished(launch(["cancel", str(study)]))[0] == 0
    code, said = finished(process)
    assert code == 130 and "cancelled by `medtune cancel`" in said
    assert not any(lives(lease.pid) for lease in held)
    assert finished(tasks(images, study))[0] == 0
    assert results(study) == alone


def test_no_cluster_at_an_address_is_one_sentence(images, tmp_path):
    words = command(images, tmp_path / "study", **TWELVE)
    process = launch([*words, "--executor=ray", "--executor.address=127.0.0.1:9"])
    code, said = finished(process)
    assert code == 2
    assert "no Ray cluster answers at executor.address '127.0.0.1:9'" in said
