"""One part of a short visit to an accelerator (scripts/bench/gpu.sh runs them all, the most telling first).

    python scripts/bench/gpu.py step --out DIR [--toy]

A part writes each row to DIR/rows.jsonl as soon as it is known, so that a visit that is cut short leaves results.
`--toy` is a rehearsal: the same code on sizes that a CPU bears.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import common
import cost
import depth
import jax
import jax.numpy as jnp
import numpy as np
import roofline
import stacking
import step

from medtune_jax import networks, study
from medtune_jax.networks import forms
from medtune_jax.phantoms.colonoscopy import write_image_folder
from medtune_jax.training import Batch, Memory, Settings, Task
from medtune_jax.training.step import loss_and_gradients

GIGA = 1e9


@dataclass(frozen=True)
class Visit:
    """Where rows go, and how large everything is."""

    out: Path
    toy: bool
    networks: tuple[str, ...]
    batch: int
    patches: int
    cases: str
    depths: str
    steps: int

    def write(self, part: str, **row: Any) -> None:
        row = {"part": part, "device": jax.devices()[0].device_kind, **row}
        with (self.out / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
        print(*(f"{k}={v}" for k, v in shown.items() if k != "device"), flush=True)

    def size(self, network: str) -> int:
        smallest = networks.get(network, 2).smallest
        return 0 if not (self.toy and smallest) else max(smallest, 63)

    def options(self, **given: Any) -> argparse.Namespace:
        """As the other benchmarks parse them."""
        shared = {
            "clock": "wall",
            "torch_compile": False,
            "torch_amp": False,
            "torch_keeps_memory": False,
            "size": 0,
            "batch": self.batch,
            "repeats": 2 if self.toy else 5,
        }
        return argparse.Namespace(**{**shared, **given})


def device(visit: Visit) -> None:
    """What the card is and what it can do: matrix products in three precisions, a copy."""
    card = jax.devices()[0]
    memory = (card.memory_stats() or {}).get("bytes_limit", 0) / 2**30
    visit.write("device", kind=card.device_kind, jax=jax.__version__, memory_gib=memory)
    timed = partial(common.dispatched, repeats=5, clock=time.perf_counter, inner=10)
    side = 256 if visit.toy else 8192
    for name, dtype, precision in (
        ("bfloat16", jnp.bfloat16, None),
        ("float32", jnp.float32, None),
        ("float32 highest", jnp.float32, "highest"),
    ):
        a = jax.random.normal(jax.random.key(0), (side, side), dtype)
        product = jax.jit(partial(jnp.matmul, precision=precision))
        seconds, spread = timed(lambda product=product, a=a: product(a, a))
        visit.write(
            "device", case=f"product {name}", tflops=2 * side**3 / seconds / 1e12, spread=spread
        )
    count = 2**20 if visit.toy else 2**30
    scale = jax.jit(lambda a: 2 * a)
    held = jnp.ones(count, jnp.float32)
    seconds, spread = timed(lambda: scale(held))
    visit.write("device", case="copy", gb_per_s=8 * count / seconds / GIGA, spread=spread)


def correct(visit: Visit) -> None:
    """Every stage's output and every gradient of a step against the CPU's, in float32 as exact as it goes, in float32
    as it comes, and in bfloat16: norm of the difference over the norm.
    """
    cpu = jax.devices("cpu")[0]
    for name in visit.networks:
        network, params, size = common.network_and_params(name, visit.size(name))
        pixels, labels = common.random_patches(4, size)
        # The benchmarks' weights divide pixels by 64; norms do something only where activations are as large as pixels.
        x = 64 * np.asarray(network.preprocessing(pixels.pixels))
        with jax.default_device(cpu):
            exact = jax.device_get(_outputs(network, jnp.float32)(params, x, labels))
        for case, dtype, precision in (
            ("float32 highest", jnp.float32, "highest"),
            ("float32", jnp.float32, None),
            ("bfloat16", jnp.bfloat16, None),
        ):
            began = time.perf_counter()
            with jax.default_matmul_precision(precision) if precision else nullcontext():
                found = jax.device_get(_outputs(network, dtype)(params, x, labels))
            outputs, gradients = (
                {key: _distance(found[i][key], exact[i][key]) for key in exact[i]} for i in (0, 1)
            )
            worst = max(outputs, key=outputs.get)
            visit.write(
                "correct",
                network=name,
                case=case,
                stage=worst,
                output=outputs[worst],
                logits=outputs[network.head],
                gradient=max(gradients.values()),
                loss=_distance(found[2], exact[2]),
                seconds=time.perf_counter() - began,
            )


def _outputs(network: networks.Network, dtype) -> Callable[..., Any]:
    """(outputs by stage, gradients by stage, loss) of a batch, dropout included."""
    first = network.names[0]
    task = Task(network, network.names, first, lambda arrays, rows: arrays["x"][rows], dtype)

    def both(params, x, labels):
        taps: dict[str, Any] = {}
        network.apply(params, x.astype(dtype), taps=taps)
        batch = Batch({"x": x}, labels, jnp.arange(len(x)))
        loss, gradients = loss_and_gradients(task, params, {}, batch, jax.random.key(1))
        taps = {name: tap.astype(jnp.float32) for name, tap in taps.items()}
        flat = {
            stage: jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(part)])
            for stage, part in gradients.items()
        }
        return taps, flat, loss

    return jax.jit(both)


def _distance(found: Any, exact: Any) -> float:
    found, exact = np.asarray(found, float), np.asarray(exact, float)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def small_study(visit: Visit) -> None:
    """A study of phantoms on this device against the same on the CPU: scores in float32, and seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_image_folder(folder / "frames", videos=8)
        found = {}
        for case, platform, dtype in (
            ("device", "", "float32"),
            ("device again", "", "float32"),
            ("cpu", "cpu", "float32"),
            ("device", "", "bfloat16"),
        ):
            environment = {**os.environ, "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
            if platform:
                environment["JAX_PLATFORMS"] = platform
            output = folder / f"{case}-{dtype}"
            began = time.perf_counter()
            arguments = [sys.executable, __file__, "_study", str(data), str(output), dtype]
            subprocess.run(arguments, check=True, env=environment)
            seconds = time.perf_counter() - began
            found[f"{case} {dtype}"] = _study_scores(output)
            visit.write("small_study", case=case, dtype=dtype, seconds=seconds)
        exact = found["cpu float32"]
        for case, scores in found.items():
            worst = max(float(np.abs(scores[run] - exact[run]).max()) for run in exact)
            visit.write("small_study", case=case, worst_log_odds=worst, runs=len(exact))


def _study(data: str, output: str, dtype: str) -> None:
    config = study.default_config()
    config.augment.depths = "none"
    config.data.dir, config.image_size = data, 67
    config.sweep.depths, config.sweep.seeds = "conv10,fire9,fire5,scratch", 2
    config.training.epochs, config.training.dtype = 2, dtype
    study.sweep(config, output, quiet=True)


def _study_scores(output: Path) -> dict[str, np.ndarray]:
    """Test log-odds by run."""
    found = {}
    for file in sorted(output.glob("runs/*/scores.csv")):
        with file.open(newline="") as lines:
            run = file.parent.name.rpartition("-")[0]  # without the digest, which knows the dtype
            found[run] = np.array(
                [
                    [float(v) for k, v in row.items() if k.startswith("logit_")]
                    for row in csv.DictReader(lines)
                ]
            )
    return found


def steps(visit: Visit) -> None:
    """Whole networks against PyTorch's best, training and forward."""
    for name in visit.networks:
        options = visit.options(
            steps=2 if visit.toy else 8, size=visit.size(name), cases=visit.cases
        )
        _guarded(visit, "step", lambda name=name, options=options: step.rows_of(name, options))


def _guarded(visit: Visit, part: str, rows: Callable[[], Iterable[common.Row]]) -> None:
    """One case that fails must not cost the visit."""
    began = time.perf_counter()
    try:
        for row in rows():
            visit.write(part, **asdict(row), took=time.perf_counter() - began)
    except Exception as error:
        visit.write(part, failed=f"{type(error).__name__}: {str(error)[:300]}")
    jax.clear_caches()


def forms_of_a_step(visit: Visit) -> None:
    """Training AlexNet with each choice of `networks.forms` turned over."""
    backend = jax.default_backend()
    chosen = forms.BY_BACKEND[backend]
    turned = {"as chosen": chosen} | {
        f"{name} {not value}": replace(chosen, **{name: not value})
        for name, value in asdict(chosen).items()
        if name != "products"
    }
    for case, choice in turned.items():
        forms.BY_BACKEND[backend] = choice
        jax.clear_caches()
        _guarded(visit, "forms", lambda case=case: [_training_row(visit, visit.networks[0], case)])
    forms.BY_BACKEND[backend] = chosen


def _training_row(visit: Visit, name: str, case: str) -> common.Row:
    network, params, size = common.network_and_params(name, visit.size(name))
    count = visit.batch * (2 if visit.toy else 16)
    patches, labels = common.random_patches(count, size)
    cache = common.cache_of(network, params, patches, labels, size, 0)
    first, repeats = network.names[0], 2 if visit.toy else 5
    timed = common.epochs_of_fit(network, params, first, cache, visit.batch, repeats, {})
    seconds = timed["medtune"]
    images = count / statistics.median(seconds)
    spread = common.spread(seconds)
    return common.Row(name, case, images, None, None, "images/s", repeats, spread)


def profile(visit: Visit) -> None:
    """The kernels of a training epoch by their share of the device's time."""
    for name in visit.networks[:2]:
        network, params, size = common.network_and_params(name, visit.size(name))
        count = visit.batch * (2 if visit.toy else 8)
        patches, labels = common.random_patches(count, size)
        cache = common.cache_of(network, params, patches, labels, size, 0)
        with tempfile.TemporaryDirectory() as folder:
            ended = itertools.count(1)

            def begin_with_the_last(ended=ended, folder=folder):
                if next(ended) == 3:
                    jax.profiler.start_trace(folder)

            common.epochs_of_fit(
                network,
                params,
                network.names[0],
                cache,
                visit.batch,
                3,
                {"trace": begin_with_the_last},
            )
            jax.profiler.stop_trace()
            kernels, total = _kernels(Path(folder))
        visit.write(
            "profile",
            network=name,
            batch=visit.batch,
            steps=count // visit.batch,
            device_ms=total / 1e6,
        )
        for kernel, (nanoseconds, calls) in kernels[:45]:
            visit.write(
                "profile",
                network=name,
                kernel=kernel[:110],
                ms=nanoseconds / 1e6,
                calls=calls,
                share=nanoseconds / max(total, 1),
            )


def _kernels(folder: Path) -> tuple[list[tuple[str, tuple[float, int]]], float]:
    """([kernel, (nanoseconds, calls)] from the slowest, their sum), over the streams of a GPU."""
    file = next(folder.rglob("*.xplane.pb"))
    spent, calls = Counter(), Counter()
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        if "GPU" not in plane.name:
            continue
        for line in plane.lines:
            if not line.name.startswith("Stream"):
                continue
            for event in line.events:
                stats = dict(event.stats)
                name = f"{stats.get('hlo_op', '')} {event.name}"
                spent[name] += event.duration_ns
                calls[name] += 1
    return [(n, (s, calls[n])) for n, s in spent.most_common()], float(sum(spent.values()))


def depths(visit: Visit) -> None:
    """AlexNet at every depth, features cached and not, against PyTorch's frozen step."""
    name = "squeezenet" if visit.toy else "alexnet"
    options = visit.options(
        depths="fire9,conv10" if visit.toy else visit.depths or "fc7,fc8",
        steps=4 if visit.toy else visit.steps,
        whole_steps=2 if visit.toy else 8,
        cache_gib=20.0,
        size=visit.size(name),
        repeats=3,
    )
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    _guarded(visit, "depth", lambda: depth.rows_of(name, options, clock))


def big_study(visit: Visit) -> None:
    """Nine AlexNet networks on patches cut from frames while training: seconds of every depth, with compiling."""
    name = "squeezenet" if visit.toy else "alexnet"
    network, params, size = common.network_and_params(name, visit.size(name))
    names = ("conv10", "fire9") if visit.toy else (*network.names[::-1], "scratch")
    if visit.depths and not visit.toy:
        names = tuple(visit.depths.split(","))
    settings = Settings(batch=128, score_batch=256, epochs=10, patience=10)
    memory, began = Memory.of_this_machine(), time.perf_counter()
    for row in cost.by_depth(network, params, size, visit.patches, names, settings, memory):
        peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30
        visit.write("big_study", **row, peak_gib=peak)
    visit.write("big_study", patches=visit.patches, total=time.perf_counter() - began)


def stages(visit: Visit) -> None:
    """Every stage of AlexNet by itself against the card's own ceilings."""
    name = "squeezenet" if visit.toy else visit.networks[0]
    options = visit.options(
        depths="conv10" if visit.toy else "", size=visit.size(name), networks=name
    )
    _guarded(
        visit, "roofline", lambda: roofline.rows_of(name, options, *roofline.ceilings(options))
    )


def stacks(visit: Visit) -> None:
    """Three seeds together against one after another."""
    cases = stacking.CASES[:1] if visit.toy else stacking.CASES
    for case in cases:
        try:
            visit.write("stacking", **stacking.case(*case, repeats=2 if visit.toy else 5))
        except Exception as error:
            visit.write("stacking", case=str(case), failed=str(error)[:300])


PARTS: dict[str, Callable[[Visit], None]] = {
    "device": device,
    "correct": correct,
    "small_study": small_study,
    "step": steps,
    "forms": forms_of_a_step,
    "profile": profile,
    "depth": depths,
    "big_study": big_study,
    "roofline": stages,
    "stacking": stacks,
}


def main() -> None:
    if sys.argv[1:2] == ["_study"]:
        _study(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("gpu-visit"))
    parser.add_argument("--networks", default="alexnet,squeezenet,googlenet,vgg16")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--patches", type=int, default=10_000, help="of big_study")
    parser.add_argument("--cases", default="training,forward", help="of step")
    parser.add_argument("--depths", default="", help="of big_study and depth; default: all")
    parser.add_argument("--steps", type=int, default=32, help="an epoch of depth")
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    chosen = ("squeezenet",) if given.toy else tuple(given.networks.split(","))
    toy = given.toy
    batch, patches = (2, 64) if toy else (given.batch, given.patches)
    visit = Visit(given.out, toy, chosen, batch, patches, given.cases, given.depths, given.steps)
    PARTS[given.part](visit)


if __name__ == "__main__":
    main()
