"""Leases: one owner at a time, whoever dies and whatever the clocks say."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from medtune_jax.sharing import claims as module
from medtune_jax.sharing.claims import Claims, LostError, latest, read

ELSEWHERE = {"node": "another boot/another space", "host": "other"}


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_job_has_one_owner_until_it_is_given_back(tmp_path):
    one, other = Claims(tmp_path), Claims(tmp_path)
    with one.take("a-f1") as claim:
        assert other.take("a-f1") is None and one.take("a-f1") is None
        assert other.take("b-f0.5") is not None
        claim.settle("run")
    assert "run" in other.settled()
    with other.take("a-f1"):
        assert sorted(lease.job for lease in one.held()) == ["a-f1", "b-f0.5"]
    assert latest(tmp_path)["a-f1"].name == "a-f1.0002"


def test_a_lease_that_was_given_back_is_read_once(tmp_path, monkeypatch):
    asked = []
    for job in "abc":
        with Claims(tmp_path).take(job) as claim:
            claim.settle(job)
    monkeypatch.setattr(module, "read", lambda path: asked.append(path.name) or read(path))
    onlooker = Claims(tmp_path)
    assert [onlooker.settled() for _ in range(3)] == [{"a", "b", "c"}] * 3
    assert sorted(asked) == ["a.0001", "b.0001", "c.0001"]
    with onlooker.take("b") as claim:
        claim.settle("again")
    assert onlooker.settled() == {"a", "b", "c", "again"}


def test_of_many_who_try_one_gets_it(tmp_path):
    everyone = [Claims(tmp_path) for _ in range(8)]
    for number in range(10):
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda c, n=number: c.take(f"job{n}"), everyone))
        assert sum(claim is not None for claim in taken) == 1


def test_the_job_of_a_process_that_was_killed_is_free_at_once(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom medtune_jax.sharing.claims import Claims\n"
        "with Claims(Path(sys.argv[1])).take('a') as claim:\n claim.settle('r')\n"
        " claim._write()\n print('mine', flush=True)\n time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"mine\n"
    assert Claims(tmp_path).take("a") is None
    owner.kill()
    while module._birth(owner.pid):  # not reaped yet: a zombie counts as dead
        time.sleep(0.01)
    claims = Claims(tmp_path)
    assert claims.take("a") is not None
    assert claims.settled() == {"r"}
    owner.wait()
    owner.stdout.close()


def test_a_process_number_that_is_used_again_is_another_process(tmp_path):
    claim = Claims(tmp_path).take("a")
    edit(claim._path, birth="1")
    assert Claims(tmp_path).take("a") is not None


def test_another_hosts_owner_is_dead_after_a_time_without_renewal(tmp_path, monkeypatch):
    """By the onlooker's clock since it first looked: what clocks the lease was written by does not matter."""
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    claim = Claims(tmp_path).take("a")
    edit(claim._path, **ELSEWHERE, renewed=1e12)
    onlooker = Claims(tmp_path)
    assert onlooker.take("a") is None
    clock[0] += module.PATIENCE - 1
    assert onlooker.take("a") is None
    edit(claim._path, renewed=0.0)  # it lives, and its clock was set back
    clock[0] += 2
    assert onlooker.take("a") is None
    clock[0] += module.PATIENCE + 1
    assert onlooker.take("a") is not None


def test_an_owner_that_slept_too_long_learns_of_it(tmp_path):
    claim = Claims(tmp_path, beat=0.01).take("a")
    with claim:
        claim.check()
        (tmp_path / "a.0002").write_bytes(b"")
        until = time.monotonic() + 60
        with pytest.raises(LostError):
            while time.monotonic() < until:
                claim.check()
                time.sleep(0.01)


def test_a_lease_is_renewed_with_what_its_owner_does(tmp_path):
    renewed = threading.Event()

    def doing():
        renewed.set()
        return "epoch 3"

    with Claims(tmp_path, doing, beat=0.01).take("a") as claim:
        assert renewed.wait(60)
        until = time.monotonic() + 60
        while not (lease := read(claim._path)).doing and time.monotonic() < until:
            time.sleep(0.01)
    assert lease.doing == "epoch 3" and not lease.released
    assert read(claim._path).released and read(claim._path).pid == os.getpid()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"other": 1}', b'{"settled": 3}'),
        *(b'{"settled": [], "renewed": "1"}', b'{"settled": [], "renewed": 1e999}'),
    ],
)
def test_a_damaged_lease_is_held_for_a_while_and_then_taken_over(tmp_path, monkeypatch, content):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    (tmp_path / "a.0001").write_bytes(content)
    claims = Claims(tmp_path)
    assert claims.take("a") is None
    clock[0] = module.PATIENCE + 1
    assert claims.take("a") is not None


def test_other_files_in_the_folder_are_no_claims(tmp_path):
    for name in (".a.0001-xyz", "notes.txt", "a", "a.0001.bak"):
        (tmp_path / name).write_text("x")
    assert latest(tmp_path) == {}
    assert Claims(tmp_path / "absent").settled() == set()
