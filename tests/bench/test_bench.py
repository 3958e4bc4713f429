"""Every benchmark runs on a tiny case, and the PyTorch twins compute what the package computes."""

import json
import sys
import time
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest

from medtune_jax import networks

torch = pytest.importorskip("torch")
BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
TINY = ["--size", "63", "--batch", "2", "--repeats", "1", "--networks", "squeezenet"]
CASES = {
    "step": (["--steps", "1"], 2),
    "depth": (["--depths", "conv10", "--steps", "2"], 3),
    "forms": (["--first", "2"], 2),
    "roofline": (["--depths", "fire9,conv10"], 6),
    "memory": (["--depths", "conv10"], 1),
    "stages": (["--depths", "conv10"], 4),
    "sweep": (["--depths", "conv10", "--epochs", "1", "--videos", "4", "--batch", "32"], 4),
}


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", CASES)
def test_a_benchmark_prints_a_table_and_writes_its_rows(name, tmp_path, monkeypatch, capsys):
    options, count = CASES[name]
    file = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", [name, *TINY, *options, "--json", str(file)])
    import_module(name).main()
    rows = json.loads(file.read_text())
    assert len(rows) == count
    assert all(np.isfinite(row["medtune"]) and row["medtune"] > 0 for row in rows)
    assert {"network", "case", "medtune", "torch", "ratio", "unit"} <= rows[0].keys()
    assert "squeezenet" in capsys.readouterr().out


def test_forms_compares_every_form_that_a_cpu_takes():
    """A map smaller than its kernel, too: side, channels, features, kernel size, stride, pad, not the first."""
    row = import_module("forms")._row("network", (2, 4, 4, 3, 1, 1, 0), 2, 1, time.perf_counter)
    assert "direct" in row.note and "winograd" in row.note
    assert row.note.endswith("chosen: windows")


def test_cost_grows_depth_by_depth_and_is_drawn(tmp_path, monkeypatch):
    cost = import_module("cost")
    file, picture = tmp_path / "cost.json", tmp_path / "cost.png"
    words = ["--patches", "20,40", "--depths", "2", "--size", "63", "--epochs", "2"]
    monkeypatch.setattr(sys, "argv", ["cost", *words, "--json", str(file), "--plot", str(picture)])
    cost.main()
    rows = json.loads(file.read_text())["rows"]
    depths = ["only conv10", "fire9-conv10"]
    assert [(row["patches"], row["depth"]) for row in rows] == [
        (n, d) for n in (20, 40) for d in depths
    ]
    assert all(not row["failure"] and row["total"] >= row["seconds"] > 0 for row in rows)
    assert rows[0]["total"] < rows[1]["total"] and rows[0]["peak_gib"] <= rows[1]["peak_gib"]
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["squeezenet", "googlenet"])
def test_the_twin_has_the_same_scores(name):
    torch_networks = import_module("torch_networks")
    size = 64
    network = networks.get(name, 3)
    params = networks.initial_params(network, jax.random.key(0), "msra", size)
    x = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    twin = torch_networks.build(network, params, size).eval()
    with torch.no_grad():
        theirs = twin(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()
    ours = np.asarray(jax.jit(network.apply)(params, x))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(ours).max())


def test_flattened_weights_follow_the_order_of_the_twin():
    """VGG's fc6 reads H,W,C here and C,H,W in PyTorch; a small stand-in of both."""
    torch_networks = import_module("torch_networks")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 3, 4, 5)).astype(np.float32)
    kernel = generator.normal(size=(60, 7)).astype(np.float32)
    twin = torch_networks.Dense(60, 7, relu=False)
    torch_networks._load_stage(twin, {"kernel": kernel, "bias": np.zeros(7)}, (3, 4, 5))
    theirs = twin(torch.tensor(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    np.testing.assert_allclose(theirs, x.reshape(2, 60) @ kernel, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["device", "correct", "step", "depth", "big_study", "roofline"])
def test_a_visit_to_a_gpu_is_rehearsed_on_the_cpu(part, tmp_path, monkeypatch):
    gpu = import_module("gpu")
    monkeypatch.setattr(sys, "argv", ["gpu", part, "--toy", "--out", str(tmp_path)])
    gpu.main()
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows and all({"part", "device"} <= row.keys() for row in rows)
    assert not [row for row in rows if "failed" in row]
