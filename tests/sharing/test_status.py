"""`medtune status` and `medtune retry`, from files alone."""

import json
import re
import subprocess
import sys
import time

import pytest

from medtune_jax import cli
from medtune_jax.errors import UserError
from medtune_jax.paths import json_with_sum
from medtune_jax.report.load import read_manifest
from medtune_jax.sharing.claims import Claims
from medtune_jax.sharing.status import described, retry_failed, status
from medtune_jax.study.store import read_manifest as store_manifest

OUTSIDE = ("../../precious", "/precious", "..", "a\\b", "", 7, None, "a\nb", "a\u202eb", "x" * 300)
REASON = "RuntimeError: out of memory"


def study(folder, done=2, failed=1, waiting=3):
    runs = [{"run": f"r{n}", "depth": f"d{n % 2}"} for n in range(done + failed + waiting)]
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_bytes(json_with_sum({"runs": runs}))
    for number, run in enumerate(runs[: done + failed]):
        place = folder / "runs" / run["run"]
        place.mkdir(parents=True)
        result = {"status": "done"} if number < done else {"status": "failed", "reason": REASON}
        (place / "result.json").write_text(json.dumps(result))
        (place / "timing.json").write_text(json.dumps({"seconds": 60.0 * (number % 2 + 1)}))
    return folder


def test_what_is_done_failed_running_and_left(tmp_path, capsys):
    study(tmp_path)
    claim = Claims(tmp_path / "claims", lambda: "seed 0 epoch 3").take("d0-f1")
    with claim:
        claim._write(doing="seed 0 epoch 3")
        assert cli.run(["status", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        # Left are two runs of d1 and one of d0.
        assert "2 of 6 runs done, 1 failed, 3 to do, about 5:00 left" in said
        assert f"running: d0-f1 on {claim._lease.host}, process {claim._lease.pid}" in said
        assert "seed 0 epoch 3" in said
        assert f"failed: r2: {REASON}" in said
    assert "nobody works at it" in described(status(tmp_path))


def test_a_launcher_that_was_killed_is_silent(tmp_path):
    study(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom medtune_jax.sharing.claims import Claims\n"
        "Claims(Path(sys.argv[1])).take('d0-f1')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "claims")], check=True)
    found = status(tmp_path)
    assert found.seconds is None
    assert "silent: d0-f1" in described(found) and "nobody works at it" in described(found)


def test_retry_makes_failed_runs_wait_and_keeps_all_others(tmp_path, capsys):
    study(tmp_path)
    assert cli.run(["retry", str(tmp_path)]) == 2
    assert "add --failed" in capsys.readouterr().err
    assert cli.run(["retry", str(tmp_path), "--failed"]) == 0
    assert "1 failed runs wait again" in capsys.readouterr().out
    found = status(tmp_path)
    assert (len(found.done), len(found.failed), len(found.left)) == (2, 0, 4)
    assert retry_failed(tmp_path) == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"runs": 3}', b'{"runs": [3]}', b"\xff"])
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "study.json").write_bytes(content)
    with pytest.raises(UserError, match=r"study\.json is damaged"):
        status(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"status": "dnne"}'])
def test_a_damaged_result_waits_again(tmp_path, content):
    study(tmp_path)
    (tmp_path / "runs" / "r0" / "result.json").write_bytes(content)
    found = status(tmp_path)
    assert (len(found.done), len(found.left)) == (1, 4)


@pytest.mark.parametrize("content", ["many", "[60.0]", "1e999", "null", '"x"', "1" + "0" * 400])
def test_a_damaged_time_counts_as_none(tmp_path, content):
    path = study(tmp_path, done=1, failed=0, waiting=0) / "runs" / "r0" / "timing.json"
    path.write_text(f'{{"seconds": {content}}}')
    assert "1 of 1 runs done" in described(status(tmp_path))
    assert status(tmp_path).done == {"r0": 0.0}


def test_a_lease_from_the_future_is_silent_and_shown_on_one_line(tmp_path):
    study(tmp_path)
    lease = {"renewed": time.time() + 7200, "host": "a\x1b[31m\nb", "doing": "x" * 5000}
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "d0-f1.0001").write_text(json.dumps({"settled": [], **lease}))
    (line,) = [line for line in described(status(tmp_path)).splitlines() if "silent" in line]
    assert "on a[31mb, process 0" in line and len(line) < 300
    assert re.search(r"its clock is (1:59:5|2:00:0)\d ahead", line)


@pytest.mark.parametrize("renewed", ['"1"', "1e999", "1e300", "-1.0", "null"])
def test_a_damaged_lease_is_shown_as_silent(tmp_path, renewed):
    study(tmp_path)
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "d0-f1.0001").write_text(f'{{"settled": [], "renewed": {renewed}}}')
    assert "silent: d0-f1" in described(status(tmp_path))


def test_no_study_is_one_sentence(tmp_path, capsys):
    assert cli.run(["status", str(tmp_path)]) == 2
    assert "holds no study.json" in capsys.readouterr().err


def test_watching_ends_when_nothing_is_left(tmp_path, capsys, monkeypatch):
    study(tmp_path, done=1, failed=0, waiting=1)
    looks = []

    def finish(_):
        looks.append(1)
        place = tmp_path / "runs" / "r1"
        place.mkdir(exist_ok=True)
        (place / "result.json").write_text('{"status": "done"}')

    monkeypatch.setattr(time, "sleep", finish)
    assert cli.run(["status", str(tmp_path), "--watch"]) == 0
    said = capsys.readouterr().out
    assert looks == [1] and "1 of 2 runs done" in said and "2 of 2 runs done" in said


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_leads_nowhere_outside_the_study(tmp_path, name):
    """Its sum is right: somebody made it so. `retry` would remove the folder of a failed run."""
    (tmp_path / "a").mkdir()
    folder, outside = study(tmp_path / "a" / "study"), tmp_path / "a" / "precious"
    outside.mkdir()
    (outside / "result.json").write_text(json.dumps({"status": "failed", "reason": REASON}))
    runs = [{"run": name, "depth": "d0"}]
    (folder / "study.json").write_bytes(json_with_sum({"runs": runs}))
    for read in (status, retry_failed, read_manifest, lambda at: store_manifest(at / "study.json")):
        with pytest.raises(UserError, match="is damaged"):
            read(folder)
    assert (outside / "result.json").is_file()
