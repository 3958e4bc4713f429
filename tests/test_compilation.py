"""Compiled programs are kept, and found again."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
from jax._src import compilation_cache

from medtune_jax import compilation

PROGRAM = """
import jax
import numpy as np
from medtune_jax import compilation, networks, tuning
compilation.keep_programs()
network = networks.get("squeezenet", 2)
params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), network.abstract_params(63))
own = {"conv10": params["conv10"]}
x = np.zeros((1, *network.shapes(63)["fire9"]), np.float32)
network.run(params, x, "conv10")
kind = tuning.Optimizer()
states = tuning.initial_states(kind, own)
update = compilation.compiled(tuning.update_stage, static=(0,))
rates = {"conv10": tuning.StageRates(1e-3, 2e-3)}
jax.block_until_ready(tuning.update(kind, own, states, rates, own, update))
"""


def programs(home: Path, seed: str) -> set[str]:
    """Names of the programs that are kept after a process, which orders sets by `seed`."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(home), "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
    return {file.name for file in home.rglob("*-cache")}


def test_another_process_finds_every_program(tmp_path):
    first = programs(tmp_path, "1")
    assert any("update_stage" in name for name in first)
    assert programs(tmp_path, "2") == first


def test_damaged_programs_are_never_run_and_are_replaced(tmp_path):
    """One byte turned over, half a file, nothing, and a file that JAX's own cache wrote."""
    programs(tmp_path, "1")
    files = sorted(tmp_path.rglob("*-cache"))
    whole = [file.read_bytes() for file in files]
    for number, (file, content) in enumerate(zip(files, whole, strict=True)):
        middle = len(content) // 2
        turned = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes((turned, content[:middle], b"", content[32:])[number % 4])
    assert programs(tmp_path, "1") == {file.name for file in files}
    for file in files:
        kept = file.read_bytes()
        assert hashlib.sha256(kept[32:]).digest() == kept[:32], file.name
    stamps = [file.stat().st_mtime_ns for file in files]
    programs(tmp_path, "1")
    assert [file.stat().st_mtime_ns for file in files] == stamps


def test_machines_that_differ_keep_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "user_cache", lambda: tmp_path)
    monkeypatch.setattr(compilation_cache, "get_file_cache", None)
    before = {
        name: getattr(jax.config, name)
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }
    folders = []
    try:
        for machine in ("x86_64", "aarch64"):
            monkeypatch.setattr(compilation.platform, "machine", lambda machine=machine: machine)
            compilation.keep_programs()
            folders.append(jax.config.jax_compilation_cache_dir)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    assert len(set(folders)) == 2
    assert all(Path(folder).parent == tmp_path / "compiled" for folder in folders)


def test_options_that_this_version_does_not_know_are_left_out():
    known = compilation._is_known
    assert known("xla_backend_optimization_level", 2) and not known("xla_of_another_version", True)
    assert set(compilation.options(True)) == set(compilation.options())
