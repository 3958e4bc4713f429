"""Compile training for an accelerator that this machine does not have, and read what its compiler made.

    python scripts/bench/ahead.py --target cuda --networks alexnet --batch 256
    python scripts/bench/ahead.py --target tpu --networks alexnet,googlenet

The program is a whole epoch (steps, then validation) with every stage tuned, in bfloat16. A row says how long it took
to compile, the MiB that a step needs beside its arguments, how many kernels the loop of the steps runs, and what
they read and write, every operand once; `--least MB` lists them. Nothing is timed but the compiler, which can try no
algorithms without a device.

cuda: an H100, with JAX's own plugin and NVIDIA's libraries from PyPI (`pip install jax[cuda13]`). tpu: v5e, with `pip
install libtpu`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import abstract
import common
import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from medtune_jax import networks
from medtune_jax.training.runners import train_and_validate

MIB = 2**20
_WIDTH = {"pred": 1, "u8": 1, "s8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4}
_ARRAY = re.compile(rf"\b({'|'.join(_WIDTH)})\[([\d,]*)\]")
_LINE = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z\-]+)\((.*)")
_FREE = ("parameter", "get-tuple-element", "bitcast", "constant", "tuple", "while")
# What XLA's compiler asks of a card, as NVIDIA's documents of an H100 SXM say.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  name: "NVIDIA H100 80GB HBM3" device_memory_size: 84942979072 memory_bandwidth: 3352320000000
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 l2_cache_size: 52428800
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 patch: 0 }
"""


@dataclass(frozen=True)
class Kernel:
    """One kernel of a program: its name, what it is, MB read and written, and where it comes from."""

    name: str
    kind: str
    megabytes: float
    source: str


def main() -> None:
    arguments = common.parser(__doc__, "alexnet,squeezenet,googlenet,vgg16")
    arguments.add_argument("--target", choices=TARGETS, default="cuda")
    arguments.add_argument("--least", type=float, default=0.0, help="MB of a kernel to be listed")
    arguments.add_argument("--hlo", type=Path, help="write the compiled programs into this folder")
    options = arguments.parse_args()
    device = TARGETS[options.target]()
    rows = []
    for name in options.networks.split(","):
        began = time.perf_counter()
        program = compiled(name, device, options.batch, options.size)
        seconds, text = time.perf_counter() - began, program.as_text()
        if options.hlo:
            options.hlo.mkdir(parents=True, exist_ok=True)
            (options.hlo / f"{name}-{options.target}.hlo").write_text(text)
        found = list(kernels(loop_of(text)))
        total = sum(kernel.megabytes for kernel in found)
        memory = program.memory_analysis().temp_size_in_bytes / MIB
        note = f"{len(found)} kernels a step, {total / 1000:.1f} GB read and written; compiled in {seconds:.0f} s"
        case = f"training, batch {options.batch}"
        rows.append(common.Row(name, case, memory, None, None, "MiB", note=note))
        listed = (k for k in found if options.least and k.megabytes >= options.least)
        for kernel in sorted(listed, key=lambda k: -k.megabytes):
            print(f"{kernel.megabytes:8.0f} MB  {kernel.kind:40.40}  {kernel.source[-70:]}")
    common.report(f"Compiled for {device.device_kind}, which is not here", rows, options.json)


def cuda() -> Any:
    """An H100 to compile for."""
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    jax.config.update("jax_platforms", "cpu")
    plugin = "jax_plugins.xla_cuda13"
    folder = Path(find_spec(plugin).submodule_search_locations[0])
    jax._src.xla_bridge.register_plugin(
        "cuda", library_path=str(next(folder.glob("*.so"))), options=dict
    )
    topology = topologies.get_topology_desc("", "cuda", target_config=_H100, topology="1x1x1")
    return _traced_for("gpu", topology)


def tpu() -> Any:
    """A TPU v5e to compile for."""
    library = find_spec("libtpu")
    os.environ.setdefault("TPU_LIBRARY_PATH", str(Path(library.origin).parent / "libtpu.so"))
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_WORKER_ID", "0")
    jax.config.update("jax_platforms", "cpu")
    return _traced_for("tpu", topologies.get_topology_desc("v5e:2x2", "tpu"))


def _traced_for(backend: str, topology: Any) -> Any:
    """The package looks up its forms by the backend while it traces."""
    jax.default_backend = lambda: backend
    return topology.devices[0]


TARGETS: dict[str, Callable[[], Any]] = {"cuda": cuda, "tpu": tpu}


def compiled(name: str, device: Any, batch: int, size: int = 0) -> jax.stages.Compiled:
    """An epoch of training every stage, and of validating twice as many patches at a time."""
    network = networks.get(name, common.CLASSES)
    size, place = size or network.preprocessing.size, SingleDeviceSharding(device)
    task, given = abstract.epoch(network, size, 4 * batch, (4, batch), (2, 2 * batch))
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), given
    )
    program = jax.jit(partial(train_and_validate, task), donate_argnums=0)
    # Without a device no algorithm can be tried.
    options = {"xla_gpu_autotune_level": 0} if device.platform == "gpu" else None
    return program.lower(*arguments).compile(compiler_options=options)


def loop_of(text: str) -> str:
    """The largest computation of a compiled program that runs kernels: the body of its loop over steps."""
    bodies = [body for body in re.split(r"\n(?=%|ENTRY)", text) if not body.startswith("%fused")]
    return max(bodies, key=lambda body: sum(kernel.megabytes for kernel in kernels(body)))


def kernels(computation: str) -> Iterator[Kernel]:
    """Those of one computation in the text of a compiled program."""
    sizes: dict[str, int] = {}
    for line in computation.splitlines():
        if not (match := _LINE.match(line)):
            continue
        name, shape, operation, rest = match.groups()
        sizes[name] = sum(_bytes(*found.groups()) for found in _ARRAY.finditer(shape))
        if operation in _FREE:
            continue
        read = sum(sizes.get(argument, 0) for argument in _operands(rest))
        target = re.search(r'custom_call_target="([^"]+)"', line)
        source = re.search(r'op_name="([^"]*)"', line)
        yield Kernel(
            name,
            target[1] if target else f"{operation} {name}",
            (read + sizes[name]) / 1e6,
            source[1] if source else "",
        )


def _operands(rest: str) -> list[str]:
    return re.findall(r"%([\w.\-]+)", rest.split("),")[0])


def _bytes(kind: str, dimensions: str) -> int:
    return _WIDTH[kind] * int(np.prod([int(n) for n in dimensions.split(",") if n]))


if __name__ == "__main__":
    main()
