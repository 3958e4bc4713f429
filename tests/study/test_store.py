"""The study directory: whole folders or none, and one study a directory."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from medtune_jax.errors import UserError
from medtune_jax.paths import json_with_sum
from medtune_jax.study import store
from medtune_jax.study.report import evidence_of
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


def manifest(
    identity="one", depths=("conv10",), seeds=1, fingerprint="f", network="squeezenet", epochs=5
):
    runs = [
        {"run": f"{name}-{seed}", "depth": name, "fraction": 1.0, "seed": seed}
        for name in depths
        for seed in range(seeds)
    ]
    return {
        "identity": identity,
        "network": {"name": network},
        "config": {"training": {"epochs": epochs, "keep": 3}, "sweep": {"depths": list(depths)}},
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
    } | {"history.csv", "scores.csv", "SHA256SUMS"}
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


FILES = ["result.json", "history.csv", "timing.json", "config.json", "versions.json", "SHA256SUMS"]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\x00", b"[1, 2]", None])
@pytest.mark.parametrize("name", FILES)
def test_a_run_with_a_damaged_file_runs_again(tmp_path, name, damage):
    place = Store(tmp_path)
    place.write("r", replace(outcome(), timing={"seconds": 1.0}, config={"batch": 32}))
    file = tmp_path / "runs" / "r" / name
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:] if damage is None else damage)
    assert place.result("r") is None and not place.settled("r")
    place.write("r", outcome())
    assert place.settled("r")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["r"]


@pytest.mark.parametrize("name", ["table.csv", "SHA256SUMS"])
def test_a_damaged_file_of_the_application_is_named_until_it_is_written_anew(tmp_path, name):
    fields = {name: [] for name in ("network", "depths", "fractions", "classes", "runs")}
    (tmp_path / "study.json").write_bytes(json_with_sum(fields))
    Store(tmp_path).keep({"table.csv": b"a\n1\n"})
    file = tmp_path / "application" / name
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(UserError) as error:
        evidence_of(tmp_path)
    assert str(file.parent) in str(error.value) and name in str(error.value)
    Store(tmp_path).keep({"table.csv": b"a\n1\n"})
    assert file.read_bytes() == content


def test_a_run_of_a_version_without_sums_is_read(tmp_path):
    place = Store(tmp_path)
    place.write("r", outcome())
    (tmp_path / "runs" / "r" / "SHA256SUMS").unlink()
    assert place.settled("r")
    (tmp_path / "runs" / "r" / "result.json").write_text("{")
    assert not place.settled("r")


def test_two_processes_may_write_one_run(tmp_path):
    """At the same moment, many times: neither fails, and one whole folder stays."""
    places = [Store(tmp_path) for _ in range(4)]
    rows = [("image", "score"), ("a.png", "0.5")]
    for number in range(20):
        name = f"r{number}"
        if number % 2:
            places[0].write(name, outcome("failed", "RuntimeError: x"))
        with ThreadPoolExecutor(4) as pool:
            done = Outcome(outcome().result, [Epoch(1, 4, 0.5, 0.75)], rows)
            list(pool.map(lambda place, n=name, d=done: place.write(n, d), places))
        assert places[0].settled(name)
    assert len(list((tmp_path / "runs").iterdir())) == 20


def test_a_result_that_is_there_is_not_replaced(tmp_path):
    place = Store(tmp_path)
    place.write("r", outcome())
    before = place.attempt("r")
    place.write("r", outcome("failed", "RuntimeError: too late"))
    assert place.attempt("r") == before and place.settled("r")


def test_what_a_dead_writer_left_is_cleared(tmp_path):
    place = Store(tmp_path)
    place.write("r", outcome())
    for name in (".r-abc", ".s-abc", ".r.partial"):
        (tmp_path / "runs" / name).mkdir()
    place.clear(["r"])
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [".r.partial", ".s-abc", "r"]


@pytest.mark.parametrize(
    "change", [("one", "two"), ('"seeds": 1', '"seeds": 2'), ("{", "["), ("\n", "")]
)
def test_a_damaged_manifest_is_named(tmp_path, change):
    Store(tmp_path).open(manifest())
    path = tmp_path / "study.json"
    path.write_text(path.read_text().replace(*change))
    if change == ("\n", ""):
        Store(tmp_path).open(manifest())  # only laid out otherwise
        return
    with pytest.raises(UserError, match=r"study\.json is damaged"):
        Store(tmp_path).open(manifest())


def test_a_place_that_cannot_be_written_is_one_sentence():
    with pytest.raises(UserError, match=r"cannot write to /proc/medtune"):
        Store("/proc/medtune").open(manifest())


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
        ({"network": "alexnet"}, "of another network, other weights or another version"),
        ({"epochs": 9}, "training.epochs is 5 there and 9 here"),
    ],
)
def test_another_study_is_refused(tmp_path, changes, reason):
    place = Store(tmp_path)
    place.open(manifest())
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(UserError, match=f"holds another study .{reason}.*choose another --output"):
        place.open(manifest("two", **changes))
    assert (tmp_path / "study.json").read_bytes() == before
