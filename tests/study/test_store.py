"""The study directory: whole folders or none, and one study a directory."""

import json
from pathlib import Path

import pytest

from medtune_jax.errors import UserError
from medtune_jax.study import store
from medtune_jax.study.store import Outcome, Store
from medtune_jax.training import Epoch


def outcome(status="done", reason=None, **more):
    return Outcome(
        {"run": "r", "status": status, "reason": reason, **more}, [Epoch(1, 4, 0.5, 0.75)]
    )


def depth(name):
    stages = ("conv1", "fire9", "conv10")
    tuned = stages[stages.index(name) :] if name in stages else stages
    return {"name": name, "label": name, "tuned": tuned, "scratch": name not in stages}


def manifest(identity="one", depths=("conv10",), seeds=1, fingerprint="f", network="squeezenet"):
    runs = [
        {"run": f"{name}-{seed}", "depth": name, "fraction": 1.0, "seed": seed}
        for name in depths
        for seed in range(seeds)
    ]
    return {
        "identity": identity,
        "network": {"name": network},
        "data": {"fingerprint": fingerprint},
        "depths": [depth(name) for name in depths],
        "fractions": [1.0],
        "seeds": seeds,
        "runs": runs,
    }


def test_a_run_is_written_with_all_its_files(tmp_path):
    place = Store(tmp_path)
    rows = [("image", "score"), ("a.png", "0.5")]
    place.write("r", Outcome(outcome().result, [Epoch(1, 4, 0.5, 0.75)], rows, {"seconds": 1.0}))
    folder = tmp_path / "runs" / "r"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.json" for name in ("result", "timing", "config", "versions")
    } | {"history.csv", "scores.csv"}
    assert (folder / "history.csv").read_text() == "epoch,batches,loss,validation\n1,4,0.5,0.75\n"
    assert (folder / "scores.csv").read_text() == "image,score\na.png,0.5\n"
    assert place.result("r")["status"] == "done"
    assert "jax" in json.loads((folder / "versions.json").read_text())


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    place = Store(tmp_path)

    def full(rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "csv_bytes", full)
    with pytest.raises(OSError, match="No space"):
        place.write("r", outcome())
    assert place.result("r") is None
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_write_that_fails_keeps_other_runs(tmp_path, monkeypatch):
    place = Store(tmp_path)
    place.write("first", outcome())
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        place.write("second", outcome())
    assert place.settled("first")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_what_is_settled(tmp_path):
    place = Store(tmp_path)
    place.write("done", outcome())
    place.write(
        "diverged", outcome("failed", "diverged at step 3: loss nan at a highest rate of 1")
    )
    place.write("crashed", outcome("failed", "RuntimeError: out of memory"))
    assert [place.settled(name) for name in ("done", "diverged", "crashed", "absent")] == [
        True, True, False, False
    ]  # fmt: skip


def test_a_second_try_replaces_a_failure(tmp_path):
    place = Store(tmp_path)
    place.write("r", outcome("failed", "RuntimeError: x"))
    place.write("r", outcome())
    assert place.settled("r")


def test_a_damaged_result_is_named(tmp_path):
    place = Store(tmp_path)
    place.write("r", outcome())
    (tmp_path / "runs" / "r" / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result.json is damaged"):
        place.settled("r")


def test_a_larger_sweep_of_the_study_adds_its_runs(tmp_path):
    place = Store(tmp_path)
    place.open(manifest(depths=("scratch",), seeds=2))
    place.open(manifest(depths=("fire9", "conv10")))
    merged = json.loads((tmp_path / "study.json").read_text())
    assert [depth["name"] for depth in merged["depths"]] == ["conv10", "fire9", "scratch"]
    assert merged["seeds"] == 2
    assert len(merged["runs"]) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fingerprint": "g"}, "of other data"),
        ({"network": "alexnet"}, "of another network or other weights"),
        ({}, "with other settings"),
    ],
)
def test_another_study_is_refused(tmp_path, changes, reason):
    place = Store(tmp_path)
    place.open(manifest())
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(UserError, match=f"holds another study .{reason}.*choose another --output"):
        place.open(manifest("two", **changes))
    assert (tmp_path / "study.json").read_bytes() == before
